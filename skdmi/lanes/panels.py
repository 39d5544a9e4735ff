"""The inverse of one large matrix by Gauss-Jordan elimination with partial pivoting, many columns at a time."""

from skdmi.lanes.blocks import HEIGHT, WIDTH, pack_columns, pack_rows, padded
from skdmi.lanes.rows import add_tile, at, load_at, store_at
from skdmi.lanes.vectors import LANES, OPTIONS, as_integers, fma, fnma, njit, splat

NARROW, WIDER, WIDEST = 24, 48, 96
"""Columns in a panel: the wider, the fewer times a large matrix comes from far memory; no more than ``DEPTH``."""


@njit(**OPTIONS)
def panel_width(m):
    """Return how many columns are eliminated before the others are changed."""
    if m <= 512:
        return NARROW
    return WIDER if m <= 1280 else WIDEST


@njit(**OPTIONS)
def eliminate(A, X, order, factors, room, m):
    """Write the inverse of A into X, with what is not finite where a pivot is zero.

    In a panel columns are eliminated one by one, and become those of the inverse. All other columns are changed as they
    would have been: the rows of pivots one after the other, then everything by ``W + F R``, by tiles, with the factors
    F and these rows R as they were when they were used. What the explicit inverse of a block would lose is not lost.
    """
    step, width, order = padded(m, WIDTH), panel_width(m), as_integers(order)
    W, n_rows = room, padded(m, HEIGHT)
    P = at(W, n_rows * step)
    F = at(P, n_rows * width)
    packed_F = at(F, n_rows * width)
    packed_R = at(packed_F, n_rows * width)
    _copy(A, W, step, m)
    for i in range(m):
        order[i] = i
    for first in range(0, m, width):
        depth, n_columns = min(width, m - first), min(width, step - first)
        _copy_columns(at(W, first), step, P, n_columns, n_columns, m)
        for k in range(depth):
            _take_pivot(P, F, W, order, first + k, k, n_columns, step, m)
            _eliminate_column(P, F, factors, first + k, k, n_columns, m)
        pivots = at(F, first * n_columns)
        _follow(at(W, first * step), pivots, depth, n_columns, step)
        for k in range(depth):
            for earlier in range(k + 1):
                pivots[k * n_columns + earlier] = 0.0
        pack_rows(F, n_columns, packed_F, m, depth)
        pack_columns(at(W, first * step), step, packed_R, depth, step)
        for j in range(0, step, WIDTH):
            if j < first or j >= first + n_columns:
                for i in range(0, m, HEIGHT):
                    tile = at(W, i * step + j)
                    add_tile(at(packed_F, i * depth), at(packed_R, j * depth), tile, step, depth, False)
        _copy_columns(P, n_columns, at(W, first), step, n_columns, m)
    for i in range(m):
        row, target = at(W, i * step), at(X, i * m)
        for j in range(m):
            target[order[j]] = row[j]


@njit(**OPTIONS)
def _copy_columns(A, step, out, out_step, n_columns, m):
    for i in range(m):
        for j in range(0, n_columns, LANES):
            store_at(out, i * out_step + j, load_at(A, i * step + j))


@njit(**OPTIONS)
def _follow(R, factors, depth, width, step):
    """Change the rows of pivots as each of them was when it became one."""
    for j in range(0, step, WIDTH):
        strip = at(R, j)
        for k in range(depth):
            target = at(strip, k * step)
            x, y, z = load_at(target, 0), load_at(target, LANES), load_at(target, 2 * LANES)
            for earlier in range(k):
                factor, row = splat(R, factors[k * width + earlier]), at(strip, earlier * step)
                x = fma(factor, load_at(row, 0), x)
                y = fma(factor, load_at(row, LANES), y)
                z = fma(factor, load_at(row, 2 * LANES), z)
            reciprocal = splat(R, factors[k * width + k])
            store_at(target, 0, x * reciprocal)
            store_at(target, LANES, y * reciprocal)
            store_at(target, 2 * LANES, z * reciprocal)


@njit(**OPTIONS)
def _copy(A, W, step, m):
    """Copy A to where there are zeros beyond its last row and column."""
    for i in range(padded(m, HEIGHT)):
        row = at(W, i * step)
        for j in range(0, step, LANES):
            if i < m and j + LANES <= m:
                store_at(row, j, load_at(A, i * m + j))
            else:
                for column in range(j, j + LANES):
                    row[column] = A[i * m + column] if i < m and column < m else 0.0


@njit(**OPTIONS)
def _take_pivot(P, F, W, order, row, k, width, step, m):
    """Bring the row with the largest entry in a column of the panel to where it is the pivot."""
    best, largest = row, abs(P[row * width + k])
    for i in range(row + 1, m):
        size = abs(P[i * width + k])
        if size > largest:
            best, largest = i, size
    if best != row:
        order[row], order[best] = order[best], order[row]
        _swap(at(P, row * width), at(P, best * width), width)
        _swap(at(F, row * width), at(F, best * width), width)
        _swap(at(W, row * step), at(W, best * step), step)


@njit(**OPTIONS)
def _swap(x, y, n):
    for j in range(0, n, LANES):
        kept = load_at(x, j)
        store_at(x, j, load_at(y, j))
        store_at(y, j, kept)


@njit(**OPTIONS)
def _eliminate_column(P, F, factors, row, k, width, m):
    """Eliminate a column of the panel from all rows but that of the pivot; put there what it leaves of the inverse."""
    for i in range(m):
        factor = P[i * width + k]
        factors[i], F[i * width + k], P[i * width + k] = factor, -factor, 0.0
    reciprocal = 1.0 / factors[row]
    factors[row], F[row * width + k], P[row * width + k] = 0.0, reciprocal, 1.0
    pivot_row = at(P, row * width)
    for j in range(0, width, LANES):
        pivot = load_at(pivot_row, j) * splat(P, reciprocal)
        store_at(pivot_row, j, pivot)
        for i in range(m):
            place = i * width + j
            store_at(P, place, fnma(splat(P, factors[i]), pivot, load_at(P, place)))
