"""Gauss-Jordan elimination of complex matrices with partial pivoting, each lane with pivots of its own.

A matrix is two planes, the real and the imaginary parts, m^2 vectors each, one behind the other. The size of an entry
is ``|b| + |c|``.
"""

from skdmi.lanes.elimination import exchange_columns, find_places
from skdmi.lanes.vectors import OPTIONS, absolute, fma, fnma, load, njit, part, select, splat, store


@njit(**OPTIONS)
def eliminate(W, X, pivots, t, rows, m):
    """Invert W, which is overwritten, into X; where a pivot is zero, X is not finite.

    As :func:`skdmi.lanes.elimination.eliminate`; the pivots and the multipliers are 2 m vectors each.
    """
    row = _largest(W, 0, m)
    for j in range(m):
        _gather(W, pivots, row, j, 0, m)
    for k in range(m):
        store(rows, k, row)
        _form_multipliers(W, pivots, t, row, k, m)
        next_row = row
        if k + 1 < m:
            _eliminate_column(W, pivots, t, row, row, k + 1, k, m)
            next_row = _largest(W, k + 1, m)
            _gather(W, pivots, next_row, k + 1, k + 1, m)
        for j in range(m):
            if j != k + 1:
                _eliminate_column(W, pivots, t, row, next_row, j, k, m)
        row = next_row
    find_places(rows, t, m)
    exchange_columns(W, X, t, m)
    exchange_columns(part(W, m * m), part(X, m * m), t, m)


@njit(**OPTIONS)
def _largest(W, k, m):
    """Return in which row, from k on, column k has its largest entry; -1 where it is not a number."""
    largest = row = splat(W, -1.0)
    for i in range(k, m):
        size = absolute(load(W, k * m + i)) + absolute(load(W, m * m + k * m + i))
        better = size > largest
        row, largest = select(better, splat(W, float(i)), row), select(better, size, largest)
    return row


@njit(**OPTIONS)
def _gather(W, pivots, row, j, k, m):
    """Put the entry of column j in a row that is k or below among the pivots."""
    square = m * m
    real, imaginary = load(W, j * m + k), load(W, square + j * m + k)
    for i in range(k + 1, m):
        found = row == splat(W, float(i))
        real = select(found, load(W, j * m + i), real)
        imaginary = select(found, load(W, square + j * m + i), imaginary)
    store(pivots, j, real)
    store(pivots, m + j, imaginary)


@njit(**OPTIONS)
def _form_multipliers(W, pivots, t, row, k, m):
    """Exchange in column k, form the multipliers, and put the column of the identity in its place."""
    zero, one, square = splat(W, 0.0), splat(W, 1.0), m * m
    b, c = load(pivots, k), load(pivots, m + k)
    size = one / fma(b, b, c * c)
    b, c = b * size, (zero - c) * size
    replaced, replaced_imaginary = load(W, k * m + k), load(W, square + k * m + k)
    store(pivots, k, one)
    store(pivots, m + k, zero)
    for i in range(m):
        real, imaginary = load(W, k * m + i), load(W, square + k * m + i)
        if i > k:
            found = row == splat(W, float(i))
            real, imaginary = select(found, replaced, real), select(found, replaced_imaginary, imaginary)
        store(t, i, fnma(imaginary, c, real * b))
        store(t, m + i, fma(real, c, imaginary * b))
        store(W, k * m + i, zero)
        store(W, square + k * m + i, zero)
    store(t, k, b)
    store(t, m + k, c)


@njit(**OPTIONS)
def _eliminate_column(W, pivots, t, row, next_row, j, k, m):
    """Exchange and eliminate in column j; put its entry in the row of the next pivot among the pivots."""
    square = m * m
    b, c = load(pivots, j), load(pivots, m + j)
    replaced, replaced_imaginary = load(W, j * m + k), load(W, square + j * m + k)
    for i in range(k):
        u, v = load(t, i), load(t, m + i)
        store(W, j * m + i, fma(v, c, fnma(u, b, load(W, j * m + i))))
        store(W, square + j * m + i, fnma(u, c, fnma(v, b, load(W, square + j * m + i))))
    u, v = load(t, k), load(t, m + k)
    store(W, j * m + k, fnma(v, c, u * b))
    store(W, square + j * m + k, fma(u, c, v * b))
    found_real, found_imaginary = b, c
    for i in range(k + 1, m):
        number = splat(W, float(i))
        is_row, is_next = row == number, next_row == number
        u, v = load(t, i), load(t, m + i)
        real = select(is_row, replaced, load(W, j * m + i))
        imaginary = select(is_row, replaced_imaginary, load(W, square + j * m + i))
        real = fma(v, c, fnma(u, b, real))
        imaginary = fnma(u, c, fnma(v, b, imaginary))
        store(W, j * m + i, real)
        store(W, square + j * m + i, imaginary)
        found_real = select(is_next, real, found_real)
        found_imaginary = select(is_next, imaginary, found_imaginary)
    store(pivots, j, found_real)
    store(pivots, m + j, found_imaginary)
