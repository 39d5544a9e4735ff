"""Matrices of a stack into lanes of either precision, and back, where the stack may have another."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core.extending import intrinsic

from skdmi.lanes.elementary import exponent_of, power_of_two
from skdmi.lanes.vectors import (
    LANES,
    OPTIONS,
    SINGLE,
    _address,
    _element,
    _splat,
    _transposed,
    _vector_at,
    load,
    njit,
    select,
    splat,
    store,
)

FARTHEST = 2.0**500
"""Of the largest entry of a float64 matrix, or of its reciprocal."""


def _rows(builder: Any, stack: Any, bases: Any, powers: Any, entry: Any, vector: Any) -> list[tuple[Any, Any]]:
    """Return where a row of entries of every matrix is, and the power of two that belongs to it."""
    rows = []
    for lane in range(vector.lanes):
        number = ir.Constant(entry.type, lane)
        first = builder.add(_element(builder, bases, number), entry)
        row = ir.VectorType(stack.type.pointee, vector.lanes)
        at = builder.bitcast(builder.gep(stack, [first]), row.as_pointer())
        power = None
        if row.element == ir.DoubleType() and vector == SINGLE:
            power = _splat(builder, _element(builder, powers, number), row)
        rows.append((at, power))
    return rows


@intrinsic
def _load_across(context: Any, stack: Any, bases: Any, powers: Any, entry: Any, order: Any, A: Any) -> Any:
    """Bring as many entries of as many matrices as there are lanes into lanes; float64 into float32 times powers."""
    vector = _vector_at(A)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        stack, bases, powers, entry, order, A = args
        rows = []
        for at, power in _rows(builder, stack, bases, powers, entry, vector):
            row = builder.load(at, align=4)
            if power is not None:
                row = builder.fptrunc(builder.fmul(row, power), vector.value)
            elif row.type != vector.value:
                row = builder.fpext(row, vector.value)
            rows.append(row)
        for k, entries in enumerate(_transposed(builder, rows)):
            number = _element(builder, order, builder.add(entry, ir.Constant(entry.type, k)))
            builder.store(entries, _address(builder, A, number, vector), align=8 * LANES)
        return context.get_dummy_value()

    return types.none(stack, bases, powers, types.intp, order, A), generate


@intrinsic
def _store_across(context: Any, X: Any, order: Any, entry: Any, powers: Any, stack: Any, bases: Any) -> Any:
    """Bring entries in lanes back to where they come from."""
    vector = _vector_at(X)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        X, order, entry, powers, stack, bases = args
        vectors = []
        for k in range(vector.lanes):
            number = _element(builder, order, builder.add(entry, ir.Constant(entry.type, k)))
            vectors.append(builder.load(_address(builder, X, number, vector), align=8 * LANES))
        places = _rows(builder, stack, bases, powers, entry, vector)
        for row, (at, power) in zip(_transposed(builder, vectors), places, strict=True):
            kind = at.type.pointee
            if power is not None:
                row = builder.fmul(builder.fpext(row, kind), power)
            elif row.type != kind:
                row = builder.fptrunc(row, kind)
            builder.store(row, at, align=4)
        return context.get_dummy_value()

    return types.none(X, order, types.intp, powers, stack, bases), generate


@njit(**OPTIONS)
def pack(stack, is_wide, bases, powers, order, A, lanes, m):
    """Bring the matrices that begin at ``bases`` into lanes, ``A[j m + i]`` entry (i, j)."""
    pack_entries(stack, is_wide, bases, powers, order, A, lanes, m * m)


@njit(**OPTIONS)
def pack_entries(stack, is_wide, bases, powers, order, A, lanes, n_entries):
    """Bring matrices of so many entries into lanes, each entry to its place in the order."""
    entry = 0
    if n_entries < lanes:
        for entry in range(n_entries):
            for lane in range(lanes):
                a = stack[bases[lane] + entry]
                A[order[entry] * lanes + lane] = a * powers[lane] if is_wide else a
        return
    while entry + lanes <= n_entries:
        _load_across(stack, bases, powers, entry, order, A)
        entry += lanes
    if entry < n_entries:
        _load_across(stack, bases, powers, n_entries - lanes, order, A)


@njit(**OPTIONS)
def pack_either(double, single, is_single, bases, powers, order, A, m):
    """Bring matrices into lanes of float64 from the stack that there is."""
    if is_single:
        pack(single, False, bases, powers, order, A, LANES, m)
    else:
        pack(double, False, bases, powers, order, A, LANES, m)


@njit(**OPTIONS)
def unpack(X, order, stack, is_wide, bases, powers, lanes, m):
    """Bring matrices in lanes back into a stack."""
    unpack_entries(X, order, stack, is_wide, bases, powers, lanes, m * m)


@njit(**OPTIONS)
def unpack_entries(X, order, stack, is_wide, bases, powers, lanes, n_entries):
    """Bring matrices of so many entries in lanes back into a stack, each entry from its place in the order."""
    entry = 0
    if n_entries < lanes:
        for entry in range(n_entries):
            for lane in range(lanes):
                x = float(X[order[entry] * lanes + lane])
                stack[bases[lane] + entry] = x * powers[lane] if is_wide else x
        return
    while entry + lanes <= n_entries:
        _store_across(X, order, entry, powers, stack, bases)
        entry += lanes
    if entry < n_entries:
        _store_across(X, order, n_entries - lanes, powers, stack, bases)


@njit(**OPTIONS)
def measure(stack, bases, powers, m):
    """Put powers of two that bring the largest entries of float64 matrices near 1 into ``powers``: two vectors of them.

    That of a matrix beyond `FARTHEST` is NaN, that of zeros is 1.
    """
    for lane in range(2 * LANES):
        largest = 0.0
        for entry in range(m * m):
            largest = max(largest, abs(stack[bases[lane] + entry]))
        if largest == 0.0:
            largest = 0.5
        powers[lane] = largest if 1 / FARTHEST <= largest <= FARTHEST else float("nan")
    for half in range(2):
        size = load(powers, half)
        power = power_of_two(splat(powers, 0.0) - exponent_of(size))
        store(powers, half, select(size > splat(powers, 0.0), power, size))
