"""Deflation in lanes: the dominant directions out of the residual, see :func:`skdmi.iteration.deflate`."""

from skdmi.lanes.elementary import epsilon_of, exponent_of, nearest_integer, power_of_two
from skdmi.lanes.tiles import add_outer, multiply, multiply_transposed
from skdmi.lanes.vectors import OPTIONS, fma, fnma, larger, load, njit, part, select, splat, square_root, store


@njit(**OPTIONS)
def deflate(A, X, R, room, rank, m):
    """Take ``rank`` directions out of R, 1 or 2, in place; ``room`` is for ``4 rank m`` vectors.

    ``X += U D W^T R`` and ``R -= W D W^T R`` with orthogonal columns W and D the reciprocals of their squares: no
    square roots, which all would wait for.
    """
    V, W, transposed = room, part(room, rank * m), part(room, 2 * rank * m)
    rows = part(room, 3 * rank * m)
    _largest_columns(R, V, rank, m)
    _condition(V, rank, m)
    multiply(R, V, W, rank, m)
    _condition(W, rank, m)
    U = V
    multiply(X, W, U, rank, m)
    multiply(A, U, W, rank, m)
    first, second = _orthogonalize(U, W, True, rank, m)
    for k in range(rank):
        for i in range(m):
            w = load(W, k * m + i)
            store(transposed, i * rank + k, w * (second if k else first))
            store(W, k * m + i, splat(R, 0.0) - w)
    multiply_transposed(transposed, R, rows, rank, m)
    add_outer(U, rows, X, rank, m)
    add_outer(W, rows, R, rank, m)


@njit(**OPTIONS)
def _largest_columns(R, V, rank, m):
    """Copy the largest columns of R to V."""
    none = splat(R, -1.0)
    most = next_most = first = second = none
    for j in range(m):
        square = splat(R, 0.0)
        for i in range(m):
            square = fma(load(R, j * m + i), load(R, j * m + i), square)
        index = splat(R, float(j))
        leads, follows = square > most, square > next_most
        next_most = select(leads, most, select(follows, square, next_most))
        second = select(leads, first, select(follows, index, second))
        most, first = select(leads, square, most), select(leads, index, first)
    for i in range(m):
        x = y = splat(R, 0.0)
        for j in range(m):
            index, r = splat(R, float(j)), load(R, j * m + i)
            x, y = select(first == index, r, x), select(second == index, r, y)
        store(V, i, x)
        if rank == 2:
            store(V, m + i, y)


@njit(**OPTIONS)
def _condition(W, rank, m):
    """Make the columns of W orthogonal, of norms near 1 or, where one depends on the other, 0."""
    first, second = _orthogonalize(W, W, False, rank, m)
    for k in range(rank):
        square = second if k else first
        half = nearest_integer(splat(W, 0.5) * exponent_of(square))
        scale = select(square > splat(W, 0.0), power_of_two(half), square)
        for i in range(m):
            store(W, k * m + i, load(W, k * m + i) * scale)


@njit(**OPTIONS)
def _orthogonalize(U, W, is_pair, rank, m):
    """Subtract from the second column of W its part along the first and, if ``is_pair``, from that of U as much.

    Returns one over the squares of the norms of both columns, or 0 where little is left of one.
    """
    u, w = part(U, m * (rank - 1)), part(W, m * (rank - 1))
    square = along = before = splat(W, 0.0)
    for i in range(m):
        x, y = load(W, i), load(w, i)
        square, along, before = fma(x, x, square), fma(x, y, along), fma(y, y, before)
    first = second = _reciprocal(square, square)
    if rank == 2:
        along = along * first
        square = splat(W, 0.0)
        for i in range(m):
            y = fnma(along, load(W, i), load(w, i))
            store(w, i, y)
            square = fma(y, y, square)
            if is_pair:
                store(u, i, fnma(along, load(U, i), load(u, i)))
        second = _reciprocal(square, before)
    return first, second


@njit(**OPTIONS)
def _reciprocal(square, before):
    """Return 1 over the square of a norm, or 0 where the norm is small beside that before, or beside rounding."""
    epsilon = epsilon_of(square)
    least = epsilon * square_root(epsilon) * larger(before, epsilon * epsilon)
    return select(square > least, splat(square, 1.0) / square, splat(square, 0.0))
