"""The residual of one large matrix, block by block: entries of a product stay in registers, its operands in caches."""

from skdmi.lanes.rows import TILE_COLUMNS, add_tile, at, load_at, store_at, total, transpose, without
from skdmi.lanes.vectors import LANES, OPTIONS, fma, njit, splat

HEIGHT, WIDTH = LANES, TILE_COLUMNS * LANES
"""Of a tile."""
DEPTH = 128
"""Rows of X in a block: with them a tile's columns of X fill half the nearest cache."""
BLOCK_ROWS, BLOCK_COLUMNS = 192, 192
"""Of a block of the product: with its operands it stays in the next cache."""


@njit(**OPTIONS)
def padded(m, width):
    """Return the next multiple of a width."""
    return (m + width - 1) // width * width


@njit(**OPTIONS)
def squares(R, step, n_rows, n_columns, before, after):
    """Return the squares of the Frobenius norms of R, with rows ``step`` apart, and of ``diag(before) R diag(after)``.

    R has at least as many columns as there are lanes.
    """
    zero = splat(R, 0.0)
    plain, weighted = zero, 0.0
    for i in range(n_rows):
        row, kept, scaled = at(R, i * step), zero, zero
        for j in range(0, n_columns, LANES):
            first = min(j, n_columns - LANES)
            x, weight = without(load_at(row, first), j - first), load_at(after, first)
            square = x * x
            kept = kept + square
            scaled = fma(square, weight * weight, scaled)
        plain = plain + kept
        weighted += total(scaled) * (before[i] * before[i])
    return total(plain), weighted


@njit(**OPTIONS)
def residual_squares(A, X, before, after, m, room):
    """Return `squares` of ``I - A X``; vectors of numbers have zeros up to the next multiple of ``LANES``."""
    packed_A, C = room, at(room, BLOCK_ROWS * m)
    packed_X = at(C, BLOCK_ROWS * BLOCK_COLUMNS)
    pack_columns(X, m, packed_X, m, m)
    plain = weighted = 0.0
    for row in range(0, m, BLOCK_ROWS):
        n_rows = min(BLOCK_ROWS, m - row)
        pack_rows(at(A, row * m), m, packed_A, n_rows, m)
        for column in range(0, m, BLOCK_COLUMNS):
            n_columns = min(BLOCK_COLUMNS, m - column)
            _multiply(packed_A, packed_X, C, n_rows, column, n_columns, m)
            for i in range(max(row, column), min(row + n_rows, column + n_columns)):
                C[(i - row) * BLOCK_COLUMNS + i - column] -= 1.0
            found = squares(C, BLOCK_COLUMNS, n_rows, padded(n_columns, LANES), at(before, row), at(after, column))
            plain, weighted = plain + found[0], weighted + found[1]
    return plain, weighted


@njit(**OPTIONS)
def pack_columns(X, step, out, n_rows, n_columns):
    """Bring X into blocks of ``DEPTH`` rows, each in strips of ``WIDTH`` columns with zeros beyond the last."""
    n_strips = padded(n_columns, WIDTH) // WIDTH
    zero = splat(X, 0.0)
    for k in range(n_rows):
        first = k // DEPTH * DEPTH
        depth = min(DEPTH, n_rows - first)
        row, target = at(X, k * step), at(out, first * n_strips * WIDTH + (k - first) * WIDTH)
        for strip in range(n_strips):
            for column in range(0, WIDTH, LANES):
                j, place = strip * WIDTH + column, strip * depth * WIDTH + column
                if j + LANES <= n_columns:
                    store_at(target, place, load_at(row, j))
                else:
                    store_at(target, place, zero)
                    for rest in range(j, n_columns):
                        target[place + rest - j] = row[rest]


@njit(**OPTIONS)
def pack_rows(A, step, out, n_rows, n_columns):
    """Bring A into blocks of ``DEPTH`` columns, each in strips of ``HEIGHT`` rows, column by column."""
    n_strips = padded(n_rows, HEIGHT) // HEIGHT
    for strip in range(n_strips):
        source, rows = at(A, strip * HEIGHT * step), n_rows - strip * HEIGHT
        for first in range(0, n_columns, DEPTH):
            depth = min(DEPTH, n_columns - first)
            target = at(out, (first * n_strips + strip * depth) * HEIGHT)
            k = 0
            while k + LANES <= depth:
                transpose(at(source, first + k), step, rows, at(target, k * HEIGHT))
                k += LANES
            while k < depth:
                for r in range(HEIGHT):
                    target[k * HEIGHT + r] = source[r * step + first + k] if r < rows else 0.0
                k += 1


@njit(**OPTIONS)
def _multiply(A, X, C, n_rows, column, n_columns, m):
    """Form a block of the product of packed matrices."""
    height, width = padded(n_rows, HEIGHT), padded(m, WIDTH)
    for first in range(0, m, DEPTH):
        depth = min(DEPTH, m - first)
        for j in range(0, n_columns, WIDTH):
            right = at(X, first * width + (column + j) * depth)
            for i in range(0, n_rows, HEIGHT):
                left = at(A, first * height + i * depth)
                add_tile(left, right, at(C, i * BLOCK_COLUMNS + j), BLOCK_COLUMNS, depth, first == 0)
