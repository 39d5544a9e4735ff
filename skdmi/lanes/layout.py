"""The powers of two that take units out, and the order in which entries lie in lanes."""

from skdmi.lanes.vectors import (
    OPTIONS,
    absolute,
    larger,
    load,
    njit,
    power_above,
    power_reciprocal,
    select,
    splat,
    store,
)

WIDEST = 2.0**200
"""Rows or columns whose scales lie further apart are left to the reference."""
FARTHEST = 2.0**800
"""Entries beyond this, and rows below its reciprocal, too."""
_LEAST, _MOST = 2.0**-1000, 2.0**1000
UNBALANCED = 2.0**12
"""A row or column whose geometric mean is so many times below 1 is not balanced."""


@njit(**OPTIONS)
def transposition(order, m):
    """Put ``j m + i`` at place ``i m + j``: matrices in lanes are stored by columns."""
    for i in range(m):
        for j in range(m):
            order[i * m + j] = j * m + i


@njit(**OPTIONS)
def equilibrate(A, p, q, products, m):
    """Scale rows by p, then columns by q, powers of two that bring the largest entries to [1/2, 1), in place.

    Returns where A is inside the range, and where every row and column is balanced, see :mod:`skdmi.linalg.scaling`.
    """
    zero, one, far = splat(A, 0.0), splat(A, 1.0), splat(A, FARTHEST)
    highest, lowest, total = zero, far, zero
    for i in range(m):
        size = zero
        for j in range(m):
            a = absolute(load(A, j * m + i))
            total, size = total + a, larger(a, size)
        power = select(size > zero, power_reciprocal(power_above(size)), one)
        highest, lowest = larger(power, highest), select(power < lowest, power, lowest)
        store(p, i, power)
        store(products, i, one)
    widest = splat(A, WIDEST)
    inside = (total <= far) & (highest <= far) & (highest <= lowest * widest)
    balanced = inside
    for j in range(m):
        size = zero
        for i in range(m):
            size = larger(absolute(load(A, j * m + i)) * load(p, i), size)
        power = select(size > zero, power_reciprocal(power_above(size)), one)
        inside = inside & (power <= widest)
        store(q, j, power)
        product = one
        for i in range(m):
            a = load(A, j * m + i) * (load(p, i) * power)
            store(A, j * m + i, a)
            a = absolute(a) * splat(A, UNBALANCED)
            a = select(a > zero, a, one)
            product = product * a
            store(products, i, load(products, i) * a)
        balanced = balanced & (product >= one)
    for i in range(m):
        balanced = balanced & (load(products, i) >= one)
    return inside, balanced


@njit(**OPTIONS)
def relative(p, highest, lowest, m):
    """Divide powers of two by the largest of them into ``highest``, and form their reciprocals in ``lowest``."""
    largest = load(p, 0)
    for i in range(1, m):
        largest = larger(load(p, i), largest)
    for i in range(m):
        power = load(p, i) * power_reciprocal(largest)
        store(highest, i, power)
        store(lowest, i, power_reciprocal(power))


@njit(**OPTIONS)
def scale_inverse(X, Y, p, q, m):
    """Form ``Y = D2^-1 X D1^-1`` from an inverse of A: one of ``D1 A D2``."""
    for j in range(m):
        for i in range(m):
            scale = power_reciprocal(load(q, i)) * power_reciprocal(load(p, j))
            store(Y, j * m + i, load(X, j * m + i) * scale)


@njit(**OPTIONS)
def scale_back(X, p, q, Y, m):
    """Form ``Y = D2 X D1`` from the inverse of ``D1 A D2``; return where an entry may not be as exact as in X."""
    zero, least, most = splat(X, 0.0), splat(X, _LEAST), splat(X, _MOST)
    inexact = zero > zero
    for j in range(m):
        for i in range(m):
            x = load(X, j * m + i)
            y = x * (load(q, i) * load(p, j))
            size = absolute(y)
            inexact = inexact | ((size < least) & (absolute(x) > zero)) | ((size > most) & (absolute(x) < most))
            store(Y, j * m + i, y)
    return inexact
