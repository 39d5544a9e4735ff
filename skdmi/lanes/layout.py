"""From a stack to lanes and back, and the powers of two that take units out."""

from numba import njit

from skdmi.lanes.vectors import (
    LANES,
    OPTIONS,
    absolute,
    exponent_of,
    larger,
    load,
    power_above,
    power_reciprocal,
    select,
    splat,
    store,
)

WIDEST = 2.0**200
"""Rows or columns whose scales lie further apart are left to the reference."""
FARTHEST = 2.0**500
"""Entries beyond this, and rows below its reciprocal, too."""
UNBALANCED = 4.0
"""See :mod:`skdmi.linalg.scaling`: powers of two below the largest entry."""


@njit(**OPTIONS)
def pack(stack, members, is_list, first, count, A, m):
    """Bring matrices of a stack into lanes, ``A[j m + i]`` entry (i, j); lanes without a matrix take the identity."""
    for lane in range(count):
        member = members[first + lane] if is_list else first + lane
        for i in range(m):
            for j in range(m):
                A[(j * m + i) * LANES + lane] = stack[(member * m + i) * m + j]
    for lane in range(count, LANES):
        for i in range(m):
            for j in range(m):
                A[(j * m + i) * LANES + lane] = 1.0 if i == j else 0.0


@njit(**OPTIONS)
def unpack(X, stack, members, is_list, first, count, m):
    """Bring matrices in lanes back into a stack."""
    for lane in range(count):
        member = members[first + lane] if is_list else first + lane
        for i in range(m):
            for j in range(m):
                stack[(member * m + i) * m + j] = X[(j * m + i) * LANES + lane]


@njit(**OPTIONS)
def equilibrate(A, p, q, sums, m):
    """Scale rows by p, then columns by q, powers of two that bring the largest entries to [1/2, 1), in place.

    Returns where A is inside the range, and where every row and column is balanced, see :mod:`skdmi.linalg.scaling`.
    """
    zero, one = splat(A, 0.0), splat(A, 1.0)
    total = zero
    for i in range(m):
        store(p, i, zero)
    for j in range(m):
        for i in range(m):
            a = absolute(load(A, j * m + i))
            total = total + a
            store(p, i, larger(a, load(p, i)))
    far = splat(A, FARTHEST)
    inside = total <= far
    highest, lowest = zero, far
    for i in range(m):
        size = load(p, i)
        power = select(size > zero, power_reciprocal(power_above(size)), one)
        inside = inside & (power <= far)
        highest, lowest = larger(power, highest), select(power < lowest, power, lowest)
        store(p, i, power)
        store(sums, i, zero)
    widest = splat(A, WIDEST)
    inside = inside & (highest <= lowest * widest)
    balanced = inside
    for j in range(m):
        size = zero
        for i in range(m):
            size = larger(absolute(load(A, j * m + i)) * load(p, i), size)
        power = select(size > zero, power_reciprocal(power_above(size)), one)
        inside = inside & (power <= widest)
        store(q, j, power)
        column = zero
        for i in range(m):
            a = load(A, j * m + i) * (load(p, i) * power)
            store(A, j * m + i, a)
            a = absolute(a)
            below = select(a > zero, exponent_of(a) + splat(A, UNBALANCED), zero)
            column = column + below
            store(sums, i, load(sums, i) + below)
        balanced = balanced & (column >= zero)
    for i in range(m):
        balanced = balanced & (load(sums, i) >= zero)
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
def scale_back(X, p, q, Y, m):
    """Form ``Y = D2 X D1`` from the inverse of ``D1 A D2``; return where every entry is as exact as in X."""
    zero, tiny = splat(X, 0.0), splat(X, 2.0**-300)
    exact = zero == zero
    for j in range(m):
        for i in range(m):
            x = load(X, j * m + i)
            size = absolute(x)
            exact = exact & ((size >= tiny) | (size == zero))
            store(Y, j * m + i, x * (load(q, i) * load(p, j)))
    return exact
