"""Norms of matrices in lanes and of their products, in the units of the matrix as well: what proof and promise need."""

from collections import namedtuple

from skdmi.lanes.vectors import OPTIONS, absolute, fma, larger, load, njit, part, select, splat, square_root, store

Units = namedtuple("Units", ["p", "rp", "q", "rq"])
"""Pointers to the powers of two of rows and columns, the largest 1, and to their reciprocals."""
Sums = namedtuple("Sums", ["a", "pa", "c", "pc", "x", "px", "xa", "pxa", "cx", "pcx", "qx", "ax", "pax"])
"""Pointers to m vectors, of the equilibrated A: ``|A| e``, ``|A| rq``, ``|A|^T e``, ``|A|^T rp``; ``|X| e``, ``|X| p``,
``|X||A| e``, ``|X||A| rq``, ``|X|^T|A|^T e``, ``|X|^T|A|^T rp``, ``|X|^T q``; ``|A||X| e``, ``|A||X| p``."""
Norms = namedtuple("Norms", ["A", "X", "AX", "AX_unit", "A_one", "X_one"])
"""Frobenius norms of A and X; bounds on the spectral norms of ``|A||X|`` and ``D1^-1 |A||X| D1``; largest column sums
of ``D1^-1 A D2^-1`` and ``D2 X D1``."""


@njit(**OPTIONS)
def sums_in(room, m):
    """Return the `Sums`, which lie behind each other in a room."""
    return Sums(
        room,
        part(room, m),
        part(room, 2 * m),
        part(room, 3 * m),
        part(room, 4 * m),
        part(room, 5 * m),
        part(room, 6 * m),
        part(room, 7 * m),
        part(room, 8 * m),
        part(room, 9 * m),
        part(room, 10 * m),
        part(room, 11 * m),
        part(room, 12 * m),
    )


@njit(**OPTIONS)
def measure(A, X, units, sums, m):
    """Return the `Norms` of A and X, and form their `Sums`."""
    A_norm, X_norm = _sum_A(A, units, sums, m), _sum_X(X, units, sums, m)
    _sum_AX(A, sums, m)
    A_one = X_one = rows = unit_rows = columns = unit_columns = splat(A, 0.0)
    for i in range(m):
        p = load(units.p, i)
        A_one = larger(load(sums.pc, i) * load(units.rq, i), A_one)
        X_one = larger(load(sums.qx, i) * p, X_one)
        rows, columns = larger(load(sums.ax, i), rows), larger(load(sums.cx, i), columns)
        unit_rows = larger(load(sums.pax, i) * load(units.rp, i), unit_rows)
        unit_columns = larger(load(sums.pcx, i) * p, unit_columns)
    return Norms(A_norm, X_norm, square_root(rows * columns), square_root(unit_rows * unit_columns), A_one, X_one)


@njit(**OPTIONS)
def _sum_A(A, units, sums, m):
    """Sum over rows and columns of A, two rows at a time; return its norm. An odd last row is its own neighbour."""
    square = zero = splat(A, 0.0)
    for j in range(m):
        store(sums.c, j, zero)
        store(sums.pc, j, zero)
    for i in range(0, m, 2):
        k = min(i + 1, m - 1)
        counts = splat(A, 1.0 if k > i else 0.0)
        rp, rp_next = load(units.rp, i), load(units.rp, k) * counts
        row = row_unit = row_next = row_unit_next = zero
        for j in range(m):
            a, a_next, rq = absolute(load(A, j * m + i)), absolute(load(A, j * m + k)), load(units.rq, j)
            row, row_unit = row + a, fma(a, rq, row_unit)
            row_next, row_unit_next = row_next + a_next, fma(a_next, rq, row_unit_next)
            store(sums.pc, j, fma(a_next, rp_next, fma(a, rp, load(sums.pc, j))))
            square = fma(a, a, square)
            a_next = a_next * counts
            square = fma(a_next, a_next, square)
            store(sums.c, j, load(sums.c, j) + (a + a_next))
        store(sums.a, i, row)
        store(sums.pa, i, row_unit)
        store(sums.a, k, row_next)
        store(sums.pa, k, row_unit_next)
    return square_root(square)


@njit(**OPTIONS)
def _sum_X(X, units, sums, m):
    """Sum over rows and columns of X as over those of A, weighted by what was found there."""
    square = zero = splat(X, 0.0)
    for j in range(m):
        store(sums.cx, j, zero)
        store(sums.pcx, j, zero)
        store(sums.qx, j, zero)
    for i in range(0, m, 2):
        k = min(i + 1, m - 1)
        counts = splat(X, 1.0 if k > i else 0.0)
        c, pc, q = load(sums.c, i), load(sums.pc, i), load(units.q, i)
        c_next, pc_next, q_next = load(sums.c, k), load(sums.pc, k), load(units.q, k)
        row = row_p = row_a = row_pa = next_row = next_p = next_a = next_pa = zero
        for j in range(m):
            x, x_next, p = absolute(load(X, j * m + i)), absolute(load(X, j * m + k)), load(units.p, j)
            above, p_above = load(sums.a, j), load(sums.pa, j)
            row, row_p, row_a, row_pa = row + x, fma(x, p, row_p), fma(x, above, row_a), fma(x, p_above, row_pa)
            next_row, next_p = next_row + x_next, fma(x_next, p, next_p)
            next_a, next_pa = fma(x_next, above, next_a), fma(x_next, p_above, next_pa)
            square = fma(x, x, square)
            x_next = x_next * counts
            square = fma(x_next, x_next, square)
            store(sums.cx, j, fma(x_next, c_next, fma(x, c, load(sums.cx, j))))
            store(sums.pcx, j, fma(x_next, pc_next, fma(x, pc, load(sums.pcx, j))))
            store(sums.qx, j, fma(x_next, q_next, fma(x, q, load(sums.qx, j))))
        store(sums.x, i, row)
        store(sums.px, i, row_p)
        store(sums.xa, i, row_a)
        store(sums.pxa, i, row_pa)
        store(sums.x, k, next_row)
        store(sums.px, k, next_p)
        store(sums.xa, k, next_a)
        store(sums.pxa, k, next_pa)
    return square_root(square)


@njit(**OPTIONS)
def _sum_AX(A, sums, m):
    """Form ``|A|`` times the row sums of X."""
    zero = splat(A, 0.0)
    for i in range(0, m, 2):
        k = min(i + 1, m - 1)
        row = row_p = next_row = next_p = zero
        for j in range(m):
            a, a_next = absolute(load(A, j * m + i)), absolute(load(A, j * m + k))
            x, px = load(sums.x, j), load(sums.px, j)
            row, row_p = fma(a, x, row), fma(a, px, row_p)
            next_row, next_p = fma(a_next, x, next_row), fma(a_next, px, next_p)
        store(sums.ax, i, row)
        store(sums.pax, i, row_p)
        store(sums.ax, k, next_row)
        store(sums.pax, k, next_p)


@njit(**OPTIONS)
def widest(units, m):
    """Return how far scales lie apart: the largest ratio of those of rows times that of columns."""
    p = q = splat(units.rp, 1.0)
    for i in range(m):
        p, q = larger(load(units.rp, i), p), larger(load(units.rq, i), q)
    return p * q


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
def is_goal_below_one(before, sizes, unit, m):
    """Return whether what rounding explains in a dtype, at most ``10 u || before sizes ||_2``, is below 1."""
    total = splat(sizes, 0.0)
    for i in range(m):
        size = load(sizes, i) * load(before, i)
        total = fma(size, size, total)
    return total < splat(sizes, 0.01 / (unit * unit))


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
