"""Vectors along the rows of one matrix in memory, wherever it begins and however its rows end."""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.extending import intrinsic

from skdmi.lanes.vectors import _INT32, DOUBLE, LANES, _splat, _transposed

TILE_COLUMNS = 3
"""Vectors in a row of a tile of as many rows as there are lanes: with these, registers are full, 32 of them or 16."""


def _load(builder: Any, pointer: Any) -> Any:
    """Return numbers as doubles; nothing is known of where they lie but that each is aligned."""
    row = ir.VectorType(pointer.type.pointee, LANES)
    loaded = builder.load(builder.bitcast(pointer, row.as_pointer()), align=4)
    return loaded if row == DOUBLE.value else builder.fpext(loaded, DOUBLE.value)


@intrinsic
def at(context: Any, pointer: Any, index: Any) -> Any:
    """Return a pointer to the number with an index."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.gep(args[0], [args[1]])

    return pointer(pointer, types.intp), generate


@intrinsic
def load_at(context: Any, pointer: Any, index: Any) -> Any:
    """Return the numbers from an index on, as doubles."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _load(builder, builder.gep(args[0], [args[1]]))

    return DOUBLE(pointer, types.intp), generate


@intrinsic
def store_at(context: Any, pointer: Any, index: Any, x: Any) -> Any:
    """Put doubles where numbers lie from an index on, rounded if these are float32."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer, index, x = args
        row = ir.VectorType(pointer.type.pointee, LANES)
        target = builder.bitcast(builder.gep(pointer, [index]), row.as_pointer())
        builder.store(x if row == DOUBLE.value else builder.fptrunc(x, row), target, align=4)
        return context.get_dummy_value()

    return types.none(pointer, types.intp, DOUBLE), generate


@intrinsic
def without(context: Any, x: Any, n_lanes: Any) -> Any:
    """Return a vector with zeros in so many of its first lanes."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        integers = ir.VectorType(args[1].type, LANES)
        kept = builder.icmp_signed(">=", ir.Constant(integers, list(range(LANES))), _splat(builder, args[1], integers))
        return builder.select(kept, args[0], ir.Constant(DOUBLE.value, [0.0] * LANES))

    return DOUBLE(DOUBLE, types.intp), generate


def _over_lanes(combine: Callable[[Any, Any, Any], Any]) -> Any:
    """Return a generator that combines the halves of a vector until one number is left."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        x, n = args[0], LANES
        while n > 1:
            n //= 2
            mask = ir.Constant(ir.VectorType(_INT32, LANES), [(i + n) % LANES for i in range(LANES)])
            x = combine(builder, x, builder.shuffle_vector(x, x, mask))
        return builder.extract_element(x, ir.Constant(_INT32, 0))

    return generate


@intrinsic
def total(context: Any, x: Any) -> Any:
    """Return the sum of all lanes."""
    return types.float64(DOUBLE), _over_lanes(lambda builder, a, b: builder.fadd(a, b))


@intrinsic
def largest_lane(context: Any, x: Any) -> Any:
    """Return the largest number in a lane; none is NaN."""
    larger = _over_lanes(lambda builder, a, b: builder.select(builder.fcmp_ordered(">", b, a), b, a))
    return types.float64(DOUBLE), larger


@intrinsic
def exponents(context: Any, x: Any) -> Any:
    """Return e with ``2^(e-1) <= |x| < 2^e``, as numbers; -1022 of zeros and subnormal numbers."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        integers = DOUBLE.integers

        def everywhere(n: int) -> Any:
            return ir.Constant(integers, [n] * LANES)

        bits = builder.lshr(builder.bitcast(args[0], integers), everywhere(52))
        biased = builder.sitofp(builder.and_(bits, everywhere(0x7FF)), DOUBLE.value)
        return builder.fsub(biased, ir.Constant(DOUBLE.value, [1022.0] * LANES))

    return DOUBLE(DOUBLE), generate


@intrinsic
def transpose(context: Any, A: Any, step: Any, n_rows: Any, out: Any) -> Any:
    """Put as many columns as there are lanes, each as a vector, behind each other; zeros for rows that are missing.

    Rows lie ``step`` numbers apart.
    """

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        A, step, n_rows, out = args
        nothing = ir.Constant(DOUBLE.value, [0.0] * LANES)
        rows = []
        for row in range(LANES):
            number = ir.Constant(step.type, row)
            exists = builder.icmp_signed("<", number, n_rows)
            offset = builder.select(exists, builder.mul(step, number), ir.Constant(step.type, 0))
            rows.append(builder.select(exists, _load(builder, builder.gep(A, [offset])), nothing))
        for column, vector in enumerate(_transposed(builder, rows)):
            target = builder.gep(out, [ir.Constant(step.type, column * LANES)])
            builder.store(vector, builder.bitcast(target, DOUBLE.value.as_pointer()), align=8)
        return context.get_dummy_value()

    return types.none(A, types.intp, types.intp, types.CPointer(types.float64)), generate


@intrinsic
def add_tile(context: Any, A: Any, X: Any, C: Any, step: Any, n_inner: Any, is_first: Any) -> Any:
    """Add a product to a tile of C, whose rows lie ``step`` numbers apart; or put it there, if it is the first.

    Of A a column of the tile's height is followed by the next one, of X a row of its width.
    """
    double = types.CPointer(types.float64)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        A, X, C, step, n_inner, is_first = args
        integer, vector = step.type, DOUBLE.value
        nothing = ir.Constant(vector, [0.0] * LANES)
        places = [(row, column) for row in range(LANES) for column in range(TILE_COLUMNS)]

        def target(row: int, column: int) -> Any:
            offset = builder.add(builder.mul(step, ir.Constant(integer, row)), ir.Constant(integer, column * LANES))
            return builder.bitcast(builder.gep(C, [offset]), vector.as_pointer())

        before = builder.block
        with builder.if_then(builder.not_(is_first)):
            loaded = [builder.load(target(*place), align=8) for place in places]
            loading = builder.block
        entries = []
        for entry in loaded:
            phi = builder.phi(vector)
            phi.add_incoming(nothing, before)
            phi.add_incoming(entry, loading)
            entries.append(phi)
        before, body, after = builder.block, builder.append_basic_block("body"), builder.append_basic_block("after")
        builder.branch(body)
        builder.position_at_end(body)
        k = builder.phi(integer)
        k.add_incoming(ir.Constant(integer, 0), before)
        sums = [builder.phi(vector) for _ in places]
        column = builder.gep(A, [builder.mul(k, ir.Constant(integer, LANES))])
        row = builder.gep(X, [builder.mul(k, ir.Constant(integer, TILE_COLUMNS * LANES))])
        right = [_load(builder, builder.gep(row, [ir.Constant(integer, c * LANES)])) for c in range(TILE_COLUMNS)]
        kind = ir.FunctionType(vector, [vector] * 3)
        fma = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fma.v{LANES}f64")
        left: Any = None
        for (r, c), entry, before_it in zip(places, sums, entries, strict=True):
            if c == 0:
                left = _splat(builder, builder.load(builder.gep(column, [ir.Constant(integer, r)])), vector)
            entry.add_incoming(before_it, before)
            entry.add_incoming(builder.call(fma, [left, right[c], entry]), body)
        following = builder.add(k, ir.Constant(integer, 1))
        k.add_incoming(following, body)
        builder.cbranch(builder.icmp_signed("<", following, n_inner), body, after)
        builder.position_at_end(after)
        for place, entry in zip(places, sums, strict=True):
            builder.store(entry.incomings[1][0], target(*place), align=8)
        return context.get_dummy_value()

    return types.none(double, double, double, types.intp, types.intp, types.boolean), generate
