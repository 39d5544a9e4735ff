"""Norms of matrices in lanes and of their products, in the units of the matrix as well: what proof and promise need."""

from collections import namedtuple

from numba import njit

from skdmi.lanes.vectors import OPTIONS, absolute, fma, larger, load, select, splat, square_root, store

Units = namedtuple("Units", ["p", "rp", "q", "rq"])
"""Pointers to the powers of two of rows and columns, the largest 1, and to their reciprocals."""
Sums = namedtuple("Sums", ["x", "px", "a", "pa", "ax", "pax", "xa", "pxa"])
"""Pointers to m vectors: ``|X| e``, ``|X| p``, ``|A| e``, ``|A| rq``, ``|A||X| e``, ``|A||X| p``, ``|X||A| e``,
``|X||A| rq``, of the equilibrated A."""
Norms = namedtuple("Norms", ["A", "A_unit", "X", "X_unit", "A_one", "X_one"])
"""Frobenius norms of A, ``D1^-1 A``, X, ``X D1``; largest column sums of ``D1^-1 A D2^-1`` and ``D2 X D1``."""


@njit(**OPTIONS)
def measure(A, X, units, sums, m):
    """Return the `Norms` of A and X, and form their `Sums`."""
    zero = splat(A, 0.0)
    for i in range(m):
        store(sums.a, i, zero)
        store(sums.pa, i, zero)
        store(sums.x, i, zero)
        store(sums.px, i, zero)
        store(sums.xa, i, zero)
        store(sums.pxa, i, zero)
        store(sums.ax, i, zero)
        store(sums.pax, i, zero)
    A_square = A_unit = A_one = zero
    for j in range(m):
        rq, column = load(units.rq, j), zero
        for i in range(m):
            a = absolute(load(A, j * m + i))
            store(sums.a, i, load(sums.a, i) + a)
            store(sums.pa, i, fma(a, rq, load(sums.pa, i)))
            A_square = fma(a, a, A_square)
            a = a * load(units.rp, i)
            A_unit = fma(a, a, A_unit)
            column = column + a
        A_one = larger(column * rq, A_one)
    X_square = X_unit = X_one = zero
    for j in range(m):
        p, column, above, p_above = load(units.p, j), zero, load(sums.a, j), load(sums.pa, j)
        for i in range(m):
            x = absolute(load(X, j * m + i))
            store(sums.x, i, load(sums.x, i) + x)
            store(sums.px, i, fma(x, p, load(sums.px, i)))
            store(sums.xa, i, fma(x, above, load(sums.xa, i)))
            store(sums.pxa, i, fma(x, p_above, load(sums.pxa, i)))
            X_square = fma(x, x, X_square)
            column = fma(x, load(units.q, i), column)
            x = x * p
            X_unit = fma(x, x, X_unit)
        X_one = larger(column * p, X_one)
    for j in range(m):
        above, p_above = load(sums.x, j), load(sums.px, j)
        for i in range(m):
            a = absolute(load(A, j * m + i))
            store(sums.ax, i, fma(a, above, load(sums.ax, i)))
            store(sums.pax, i, fma(a, p_above, load(sums.pax, i)))
    roots = square_root(A_square), square_root(A_unit), square_root(X_square), square_root(X_unit)
    return Norms(roots[0], roots[1], roots[2], roots[3], A_one, X_one)


@njit(**OPTIONS)
def squares(R, before, after, m):
    """Return the squared Frobenius norms of R and of ``diag(before) R diag(after)``."""
    plain = scaled = splat(R, 0.0)
    for j in range(m):
        factor = load(after, j)
        for i in range(m):
            r = load(R, j * m + i)
            plain = fma(r, r, plain)
            r = r * (load(before, i) * factor)
            scaled = fma(r, r, scaled)
    return plain, scaled


@njit(**OPTIONS)
def is_explained(square, before, sizes, is_scaled, unit, tol, m):
    """Return whether a residual norm is at most ``10 u || sizes ||_2 / sqrt m``, or ``tol``."""
    total = splat(sizes, 0.0)
    for i in range(m):
        size = load(sizes, i)
        if is_scaled:
            size = size * load(before, i)
        total = fma(size, size, total)
    allowed = total * splat(sizes, 100.0 * unit * unit / m)
    return (square <= allowed) | (square <= splat(sizes, tol * tol))


@njit(**OPTIONS)
def leans_on_small_entries(X, units, n_bits, m):
    """Return where errors of small entries may count in some row or column in the units of the matrix.

    An error is as large as the largest entry of the row or column after equilibration lets it be; see
    :func:`skdmi.iteration.refinement.refine`.
    """
    zero, few = splat(X, 0.0), splat(X, n_bits)
    leans = zero > zero
    for j in range(m):
        largest = unit = size = zero
        for i in range(m):
            x, q = absolute(load(X, j * m + i)), load(units.q, i)
            largest, unit = larger(x, largest), select(x > zero, larger(q, unit), unit)
            size = larger(x * q, size)
        leans = leans | (largest * unit > size * few)
    for i in range(m):
        largest = unit = size = zero
        for j in range(m):
            x, p = absolute(load(X, j * m + i)), load(units.p, j)
            largest, unit = larger(x, largest), select(x > zero, larger(p, unit), unit)
            size = larger(x * p, size)
        leans = leans | (largest * unit > size * few)
    return leans
