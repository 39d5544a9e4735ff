"""Gauss-Jordan elimination with partial pivoting, each lane with pivots of its own."""

from numba import njit

from skdmi.lanes.vectors import LANES, OPTIONS, absolute, fnma, load, select, splat, store


@njit(**OPTIONS)
def eliminate(W, X, pivots, t, used, rows, m):
    """Invert W, which is overwritten, into X; where a pivot is zero, X is not finite.

    No rows are exchanged: row ``rows[k]``, which differs from lane to lane, holds the pivot of column k, and its
    reciprocal ends where the row began. The pivot row of the next step is gathered while this one passes.
    """
    zero, one, none = splat(W, 0.0), splat(W, 1.0), splat(W, -1.0)
    largest, row = none, none
    for i in range(m):
        store(used, i, zero)
        size, number = absolute(load(W, i)), splat(W, float(i))
        better = size > largest
        row, largest = select(better, number, row), select(better, size, largest)
    for j in range(m):
        found = zero
        for i in range(m):
            found = select(row == splat(W, float(i)), load(W, j * m + i), found)
        store(pivots, j, found)
    for k in range(m):
        store(rows, k, row)
        reciprocal = one / load(pivots, k)
        store(pivots, k, one)
        for i in range(m):
            is_pivot = row == splat(W, float(i))
            store(t, i, select(is_pivot, zero - reciprocal, load(W, k * m + i) * reciprocal))
            store(used, i, select(is_pivot, one, load(used, i)))
            store(W, k * m + i, zero)
        next_row = row
        if k + 1 < m:
            next_row = _eliminate_next(W, pivots, t, used, row, k + 1, m)
        for j in range(m):
            if j == k + 1:
                continue
            above, found = load(pivots, j), zero
            for i in range(m):
                number = splat(W, float(i))
                w = fnma(load(t, i), above, select(row == number, zero, load(W, j * m + i)))
                store(W, j * m + i, w)
                found = select(next_row == number, w, found)
            store(pivots, j, found)
        row = next_row
    _undo_pivoting(W, X, rows, m)


@njit(**OPTIONS)
def _eliminate_next(W, pivots, t, used, row, k, m):
    """Eliminate in column k and find its pivot."""
    zero, one, none = splat(W, 0.0), splat(W, 1.0), splat(W, -1.0)
    above, largest, next_row = load(pivots, k), none, none
    for i in range(m):
        number = splat(W, float(i))
        w = fnma(load(t, i), above, select(row == number, zero, load(W, k * m + i)))
        store(W, k * m + i, w)
        size = select(load(used, i) == one, none, absolute(w))
        better = size > largest
        next_row, largest = select(better, number, next_row), select(better, size, largest)
    found = zero
    for i in range(m):
        found = select(next_row == splat(W, float(i)), load(W, k * m + i), found)
    store(pivots, k, found)
    return next_row


@njit(**OPTIONS)
def _undo_pivoting(W, X, rows, m):
    """Bring entry ``(rows[k], j)`` of W to ``(k, rows[j])``, lane by lane; without a pivot there is no inverse."""
    for lane in range(LANES):
        for j in range(m):
            s = int(rows[j * LANES + lane])
            for k in range(m):
                r = int(rows[k * LANES + lane])
                if r < 0 or s < 0:
                    X[(j * m + k) * LANES + lane] = float("nan")
                else:
                    X[(s * m + k) * LANES + lane] = W[(j * m + r) * LANES + lane]
