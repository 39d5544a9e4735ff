"""Products in lanes of either precision, by tiles whose entries stay in registers."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.extending import intrinsic

from skdmi.lanes.vectors import LANES, OPTIONS, Vector, _vector_at, fma, load, njit, part, splat, store

ROWS, COLUMNS = 4, 4 if LANES == 8 else 2
"""Of a tile: what 32 registers hold beside a column of A and a row of X, or 16 of half the width."""
NEAR = 2**15 // (8 * LANES)
"""Vectors in a part of A that stays in the nearest cache while all columns of X pass by."""


def _tile(is_added: bool) -> Any:
    """Return a function of one tile of a product, with a loop of its own for every number of rows and columns."""

    @intrinsic
    def tile(
        context: Any,
        n_rows: Any,
        n_columns: Any,
        A: Any,
        a: Any,
        A_step: Any,
        X: Any,
        x: Any,
        X_step: Any,
        B: Any,
        C: Any,
        c: Any,
        C_step: Any,
        n_inner: Any,
    ) -> Any:
        vector = _vector_at(A)

        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            rows, columns, *operands = args
            done = builder.append_basic_block("done")
            shape = builder.add(builder.mul(rows, ir.Constant(rows.type, COLUMNS + 1)), columns)
            switch = builder.switch(shape, done)
            for n_rows in range(1, ROWS + 1):
                for n_columns in range(1, COLUMNS + 1):
                    block = builder.append_basic_block(f"tile{n_rows}x{n_columns}")
                    switch.add_case(ir.Constant(rows.type, n_rows * (COLUMNS + 1) + n_columns), block)
                    builder.position_at_end(block)
                    _generate_loop(builder, vector, n_rows, n_columns, operands, is_added)
                    builder.branch(done)
            builder.position_at_end(done)
            return context.get_dummy_value()

        index = types.intp
        return types.none(index, index, A, index, index, A, index, index, A, A, index, index, index), generate

    return tile


def _generate_loop(builder: Any, vector: Vector, n_rows: int, n_columns: int, operands: Any, is_added: bool) -> None:
    """Generate the loop over the inner index of a tile: its entries are what goes round."""
    A, a, A_step, X, x, X_step, B, C, c, C_step, n_inner = operands
    A, X, B, C = (builder.bitcast(pointer, vector.value.as_pointer()) for pointer in (A, X, B, C))
    integer, alignment = c.type, vector.bits * vector.lanes // 8
    places = [(row, column) for column in range(n_columns) for row in range(n_rows)]

    def address(pointer: Any, index: Any, row: int, column: int, step: Any) -> Any:
        along = builder.add(index, builder.mul(step, ir.Constant(integer, column)))
        return builder.gep(pointer, [builder.add(along, ir.Constant(integer, row))])

    if is_added:
        entries = [builder.load(address(B, c, *place, C_step), align=alignment) for place in places]
    else:
        entries = [ir.Constant(vector.value, [0.0] * vector.lanes)] * len(places)
    before, body, after = builder.block, builder.append_basic_block("body"), builder.append_basic_block("after")
    builder.branch(body)
    builder.position_at_end(body)
    k = builder.phi(integer)
    k.add_incoming(ir.Constant(integer, 0), before)
    sums = [builder.phi(vector.value) for _ in places]
    for total, entry in zip(sums, entries, strict=True):
        total.add_incoming(entry, before)
    column_of_A, row_of_X = builder.add(a, builder.mul(k, A_step)), builder.add(x, k)
    left = [builder.load(address(A, column_of_A, row, 0, A_step), align=alignment) for row in range(n_rows)]
    right = [builder.load(address(X, row_of_X, 0, q, X_step), align=alignment) for q in range(n_columns)]
    kind = ir.FunctionType(vector.value, [vector.value] * 3)
    fma = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fma.v{vector.lanes}f{vector.bits}")
    for (row, column), total in zip(places, sums, strict=True):
        total.add_incoming(builder.call(fma, [left[row], right[column], total]), body)
    following = builder.add(k, ir.Constant(integer, 1))
    k.add_incoming(following, body)
    builder.cbranch(builder.icmp_signed("<", following, n_inner), body, after)
    builder.position_at_end(after)
    for place, total in zip(places, sums, strict=True):
        builder.store(total.incomings[1][0], address(C, c, *place, C_step), align=alignment)


_tile_alone, _tile_added = _tile(is_added=False), _tile(is_added=True)


def _product(tile: Any) -> Any:
    @njit(**OPTIONS)
    def product(A, A_step, X, X_step, B, C, n_rows, n_columns, n_inner):
        column = 0
        while column < n_columns:
            columns = min(COLUMNS, n_columns - column)
            row = 0
            while row < n_rows:
                rows = min(ROWS, n_rows - row)
                c = column * n_rows + row
                tile(rows, columns, A, row, A_step, X, column * X_step, X_step, B, C, c, n_rows, n_inner)
                row += rows
            column += columns

    return product


_plain, _added = _product(_tile_alone), _product(_tile_added)


@njit(**OPTIONS)
def multiply(A, X, C, n_columns, m):
    """Form ``C = A X``, A of shape (m, m), X and C of shape (m, n_columns), all column-major."""
    multiply_rectangles(A, X, C, m, n_columns, m)


@njit(**OPTIONS)
def add_product(X, P, C, m):
    """Form ``C = X + X P``, of shape (m, m)."""
    add_rectangles(X, X, P, C, m, m, m)


@njit(**OPTIONS)
def multiply_rectangles(A, X, C, n_rows, n_columns, n_inner):
    """Form ``C = A X``, A of shape (n_rows, n_inner), X of shape (n_inner, n_columns), all column-major."""
    done = min(n_inner, max(4, NEAR // n_rows))
    _plain(A, n_rows, X, n_inner, A, C, n_rows, n_columns, done)
    _add_rest(A, X, C, done, n_rows, n_columns, n_inner)


@njit(**OPTIONS)
def add_rectangles(B, A, X, C, n_rows, n_columns, n_inner):
    """Form ``C = B + A X``, of such shapes; C may be B, but neither A nor X."""
    done = min(n_inner, max(4, NEAR // n_rows))
    _added(A, n_rows, X, n_inner, B, C, n_rows, n_columns, done)
    _add_rest(A, X, C, done, n_rows, n_columns, n_inner)


@njit(**OPTIONS)
def _add_rest(A, X, C, done, n_rows, n_columns, n_inner):
    """Add to C what the columns of A from ``done`` on contribute, as many at a time."""
    k = done
    while k < n_inner:
        count = min(done, n_inner - k)
        _added(part(A, k * n_rows), n_rows, part(X, k), n_inner, C, C, n_rows, n_columns, count)
        k += count


@njit(**OPTIONS)
def multiply_symmetric(A, X, C, m):
    """Form ``C = A X`` of shape (m, m), where that is symmetric: the lower triangle is computed, the other copied."""
    done, column = min(m, max(4, NEAR // m)), 0
    while column < m:
        columns, row = min(COLUMNS, m - column), column
        while row < m:
            rows, c = min(ROWS, m - row), column * m + row
            _tile_alone(rows, columns, A, row, m, X, column * m, m, A, C, c, m, done)
            k = done
            while k < m:
                count = min(done, m - k)
                _tile_added(rows, columns, A, k * m + row, m, X, column * m + k, m, C, C, c, m, count)
                k += count
            row += rows
        for j in range(column, column + columns):
            for i in range(j + 1, m):
                store(C, i * m + j, load(C, j * m + i))
        column += columns


@njit(**OPTIONS)
def multiply_transposed(W, X, C, k, m):
    """Form ``C = W^T X``, the transpose W^T of shape (k, m) column-major, X of shape (m, m), C of shape (k, m)."""
    _plain(W, k, X, m, W, C, k, m, m)


@njit(**OPTIONS)
def add_outer(U, rows, X, k, m):
    """Form ``X += U rows``, U of shape (m, k), rows of shape (k, m), in place."""
    _added(U, m, rows, k, X, X, m, m, k)


@njit(**OPTIONS)
def residual(A, X, R, m):
    """Form ``R = I - A X``."""
    zero, one = splat(A, 0.0), splat(A, 1.0)
    multiply(A, X, R, m, m)
    for entry in range(m * m):
        store(R, entry, zero - load(R, entry))
    for i in range(m):
        store(R, i * (m + 1), one + load(R, i * (m + 1)))


@njit(**OPTIONS)
def square_norm(A, m):
    """Return the square of the Frobenius norm of A, summed by columns."""
    total = splat(A, 0.0)
    for j in range(m):
        column = splat(A, 0.0)
        for i in range(m):
            column = fma(load(A, j * m + i), load(A, j * m + i), column)
        total = total + column
    return total
