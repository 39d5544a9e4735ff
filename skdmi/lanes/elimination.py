"""Gauss-Jordan elimination with partial pivoting, each lane with pivots of its own."""

from skdmi.lanes.vectors import OPTIONS, absolute, fnma, load, njit, select, splat, store


@njit(**OPTIONS)
def eliminate(W, X, pivots, t, rows, m):
    """Invert W, which is overwritten, into X; where a pivot is zero, X is not finite.

    In step k, row k changes places with row ``rows[k]``, another one in each lane. The pivot row of the next step is
    gathered while this one passes.
    """
    row = _largest(W, 0, m)
    for j in range(m):
        store(pivots, j, _gather(W, row, j, 0, m))
    for k in range(m):
        store(rows, k, row)
        _form_multipliers(W, pivots, t, row, k, m)
        next_row = row
        if k + 1 < m:
            _eliminate_column(W, pivots, t, row, row, k + 1, k, m)
            next_row = _largest(W, k + 1, m)
            store(pivots, k + 1, _gather(W, next_row, k + 1, k + 1, m))
        for j in range(m):
            if j != k + 1:
                store(pivots, j, _eliminate_column(W, pivots, t, row, next_row, j, k, m))
        row = next_row
    find_places(rows, t, m)
    exchange_columns(W, X, t, m)


@njit(**OPTIONS)
def _largest(W, k, m):
    """Return in which row, from k on, column k has its largest entry; -1 where it is not a number."""
    largest = row = splat(W, -1.0)
    for i in range(k, m):
        size = absolute(load(W, k * m + i))
        better = size > largest
        row, largest = select(better, splat(W, float(i)), row), select(better, size, largest)
    return row


@njit(**OPTIONS)
def _gather(W, row, j, k, m):
    """Return the entry of column j in a row that is k or below."""
    found = load(W, j * m + k)
    for i in range(k + 1, m):
        found = select(row == splat(W, float(i)), load(W, j * m + i), found)
    return found


@njit(**OPTIONS)
def _form_multipliers(W, pivots, t, row, k, m):
    """Exchange in column k, form the multipliers, and put the column of the identity in its place."""
    zero, one = splat(W, 0.0), splat(W, 1.0)
    reciprocal, replaced = one / load(pivots, k), load(W, k * m + k)
    store(pivots, k, one)
    for i in range(m):
        w = load(W, k * m + i)
        if i > k:
            w = select(row == splat(W, float(i)), replaced, w)
        store(t, i, w * reciprocal)
        store(W, k * m + i, zero)
    store(t, k, reciprocal)


@njit(**OPTIONS)
def _eliminate_column(W, pivots, t, row, next_row, j, k, m):
    """Exchange and eliminate in column j; return its entry in the row of the next pivot."""
    above, replaced = load(pivots, j), load(W, j * m + k)
    for i in range(k):
        store(W, j * m + i, fnma(load(t, i), above, load(W, j * m + i)))
    store(W, j * m + k, load(t, k) * above)
    found = above
    for i in range(k + 1, m):
        number = splat(W, float(i))
        w = fnma(load(t, i), above, select(row == number, replaced, load(W, j * m + i)))
        store(W, j * m + i, w)
        found = select(next_row == number, w, found)
    return found


@njit(**OPTIONS)
def find_places(rows, places, m):
    """Find where columns come from when they are exchanged as rows were, in reverse."""
    for j in range(m):
        store(places, j, splat(rows, float(j)))
    for k in range(m - 1, -1, -1):
        row, place = load(rows, k), load(places, k)
        found = place
        for j in range(k + 1, m):
            is_other, other = row == splat(rows, float(j)), load(places, j)
            found = select(is_other, other, found)
            store(places, j, select(is_other, place, other))
        store(places, k, found)


@njit(**OPTIONS)
def exchange_columns(W, X, places, m):
    """Bring the columns of W from their places into X."""
    for j in range(m):
        place = load(places, j)
        for i in range(0, m, 2):
            k = min(i + 1, m - 1)
            x, x_next = load(W, i), load(W, k)
            for source in range(1, m):
                is_source = place == splat(W, float(source))
                x = select(is_source, load(W, source * m + i), x)
                x_next = select(is_source, load(W, source * m + k), x_next)
            store(X, j * m + i, x)
            store(X, j * m + k, x_next)
