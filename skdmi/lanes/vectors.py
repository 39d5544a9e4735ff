"""Vector registers as numbers of numba: one matrix in each lane; LLVM fits them to the processor.

No operation here may be contracted or reassociated: numba compiles without fastmath, and a product and a sum are one
rounding only where :func:`fma` says so.
"""

import operator
from collections.abc import Callable
from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel import PrimitiveModel
from numba.core.extending import intrinsic, register_model
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import AbstractTemplate, infer_global, signature

from skdmi.lanes.compiler import count_lanes

LANES = count_lanes()
"""Of float64; float32 has twice as many."""
OPTIONS: dict[str, Any] = {"error_model": "numpy", "nogil": True, "boundscheck": False}
"""Of every function of the kernels. No fastmath: the proofs need every operation as it is written."""


def njit(**options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return numba's decorator. Its own type would name the parameters of functions, of which kernels declare no types.

    >>> njit(**OPTIONS)(lambda x: x + 1)(1)
    2
    """
    return numba.njit(**options)


_INT32 = ir.IntType(32)
_FRACTION, _ONE_EXPONENT, _TWICE_BIAS = 0x000FFFFFFFFFFFFF, 1 << 52, 0x7FE << 52


class Vector(types.Type):
    """A vector of floats, one for each lane."""

    def __init__(self, bits: int, lanes: int) -> None:
        self.bits: int = bits
        self.lanes: int = lanes
        super().__init__(name=f"Vector({bits}, {lanes})")

    @property
    def value(self) -> ir.VectorType:
        """Its type in LLVM."""
        return ir.VectorType(ir.FloatType() if self.bits == 32 else ir.DoubleType(), self.lanes)

    @property
    def integers(self) -> ir.VectorType:
        """The type of its bits."""
        return ir.VectorType(ir.IntType(self.bits), self.lanes)


class Mask(types.Type):
    """A truth value for each lane."""

    def __init__(self, lanes: int) -> None:
        self.lanes: int = lanes
        super().__init__(name=f"Mask({lanes})")

    @property
    def value(self) -> ir.VectorType:
        """Its type in LLVM."""
        return ir.VectorType(ir.IntType(1), self.lanes)


SINGLE, DOUBLE = Vector(32, 2 * LANES), Vector(64, LANES)
MASKS = {SINGLE.lanes: Mask(SINGLE.lanes), DOUBLE.lanes: Mask(DOUBLE.lanes)}


@register_model(Vector)
@register_model(Mask)
class _Model(PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, kind.value)


def _vector_at(pointer: Any) -> Vector:
    if isinstance(pointer, Vector):
        return pointer
    return SINGLE if pointer.dtype == types.float32 else DOUBLE


def _define(op: Any, kinds: list[Any], returned: Callable[[Any], Any], lower: Callable[..., Any]) -> None:
    """Give an operator of Python a meaning for two vectors of one kind."""

    @infer_global(op)
    class _Template(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:
            if len(args) == 2 and args[0] == args[1] and args[0] in kinds:
                return signature(returned(args[0]), *args)
            return None

    for kind in kinds:
        lower_builtin(op, kind, kind)(lambda context, builder, sig, args: lower(builder, *args))


_VECTORS = [SINGLE, DOUBLE]
for _op, _name in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    _define(_op, _VECTORS, lambda kind: kind, lambda builder, a, b, name=_name: getattr(builder, name)(a, b))
for _op, _name in (
    (operator.gt, ">"),
    (operator.lt, "<"),
    (operator.ge, ">="),
    (operator.le, "<="),
    (operator.eq, "=="),
):
    _define(
        _op,
        _VECTORS,
        lambda kind: MASKS[kind.lanes],
        lambda builder, a, b, name=_name: builder.fcmp_ordered(name, a, b),
    )
for _op, _name in ((operator.and_, "and_"), (operator.or_, "or_"), (operator.xor, "xor")):
    _define(
        _op, list(MASKS.values()), lambda kind: kind, lambda builder, a, b, name=_name: getattr(builder, name)(a, b)
    )


def _address(builder: Any, pointer: Any, index: Any, vector: Vector) -> Any:
    offset = builder.mul(index, ir.Constant(index.type, vector.lanes))
    return builder.bitcast(builder.gep(pointer, [offset]), vector.value.as_pointer())


def _splat(builder: Any, x: Any, value: ir.VectorType) -> Any:
    undefined = ir.Constant(value, ir.Undefined)
    first = builder.insert_element(undefined, x, ir.Constant(_INT32, 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(_INT32, value.count), [0] * value.count))


@intrinsic
def load(context: Any, pointer: Any, index: Any) -> Any:
    """Return the vector with a number from an array of them, aligned to 64 bytes."""
    vector = _vector_at(pointer)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.load(_address(builder, args[0], args[1], vector), align=vector.bits * vector.lanes // 8)

    return vector(pointer, types.intp), generate


@intrinsic
def store(context: Any, pointer: Any, index: Any, x: Any) -> Any:
    """Put a vector into an array of them."""
    vector = _vector_at(pointer)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        builder.store(args[2], _address(builder, args[0], args[1], vector), align=vector.bits * vector.lanes // 8)
        return context.get_dummy_value()

    return types.none(pointer, types.intp, vector), generate


@intrinsic
def part(context: Any, pointer: Any, index: Any) -> Any:
    """Return a pointer to the vector with a number, from which vectors are counted anew."""
    vector = _vector_at(pointer)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.bitcast(_address(builder, args[0], args[1], vector), args[0].type)

    return pointer(pointer, types.intp), generate


@intrinsic
def as_integers(context: Any, pointer: Any) -> Any:
    """Return a pointer to integers in the same place."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.IntType(64).as_pointer())

    return types.CPointer(types.int64)(pointer), generate


@intrinsic
def splat(context: Any, like: Any, x: Any) -> Any:
    """Return a number in all lanes of a vector, like another one or like those that a pointer points to."""
    vector = _vector_at(like)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        x = args[1] if vector.bits == 64 else builder.fptrunc(args[1], ir.FloatType())
        return _splat(builder, x, vector.value)

    return vector(like, types.float64), generate


@intrinsic
def select(context: Any, mask: Any, a: Any, b: Any) -> Any:
    """Return a where the mask is true, b elsewhere."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.select(*args)

    return a(mask, a, a), generate


@intrinsic
def some(context: Any, mask: Any) -> Any:
    """Return whether a mask is true in some lane."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        bits = builder.bitcast(args[0], ir.IntType(mask.lanes))
        return builder.icmp_unsigned("!=", bits, ir.Constant(bits.type, 0))

    return types.boolean(mask), generate


def _llvm(name: str, n_args: int) -> Any:
    """Return a generator of a call of an intrinsic function of LLVM."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        vector = sig.return_type
        kind = ir.FunctionType(vector.value, [vector.value] * n_args)
        full_name = f"llvm.{name}.v{vector.lanes}f{vector.bits}"
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, full_name), args)

    return generate


_fma = _llvm("fma", 3)


@intrinsic
def fma(context: Any, a: Any, b: Any, c: Any) -> Any:
    """Return ``a b + c``, rounded once."""
    return a(a, a, a), _fma


@intrinsic
def fnma(context: Any, a: Any, b: Any, c: Any) -> Any:
    """Return ``c - a b``, rounded once."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _fma(context, builder, sig, [builder.fneg(args[0]), args[1], args[2]])

    return a(a, a, a), generate


@intrinsic
def absolute(context: Any, a: Any) -> Any:
    """Return ``|a|``."""
    return a(a), _llvm("fabs", 1)


@intrinsic
def square_root(context: Any, a: Any) -> Any:
    """Return the square root, rounded correctly."""
    return a(a), _llvm("sqrt", 1)


@intrinsic
def larger(context: Any, a: Any, b: Any) -> Any:
    """Return b where it is larger; else a, which may be NaN."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        a, b = args  # in this form it is one instruction on most processors
        return builder.select(builder.fcmp_ordered(">", b, a), b, a)

    return a(a, a), generate


@intrinsic
def smaller(context: Any, a: Any, b: Any) -> Any:
    """Return a where it is smaller, or b is NaN; else b."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        isnt = builder.or_(builder.fcmp_ordered("<", *args), builder.fcmp_unordered("uno", args[1], args[1]))
        return builder.select(isnt, *args)

    return a(a, a), generate


def _on_bits(change: Callable[..., Any]) -> Any:
    """Return a generator that changes the bits of a vector of doubles."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        integers = sig.args[0].integers
        bits = builder.bitcast(args[0], integers)
        changed = change(builder, bits, lambda n: ir.Constant(integers, [n] * integers.count))
        return builder.bitcast(changed, args[0].type)

    return generate


@intrinsic
def power_above(context: Any, a: Any) -> Any:
    """Return ``2^e`` with ``2^(e-1) <= a < 2^e``, of positive normal doubles."""
    return a(a), _on_bits(
        lambda builder, bits, all_: builder.add(builder.and_(bits, all_(~_FRACTION & (2**64 - 1))), all_(_ONE_EXPONENT))
    )


@intrinsic
def power_reciprocal(context: Any, a: Any) -> Any:
    """Return ``1 / a`` of a power of two within ``2^+-1022``."""
    return a(a), _on_bits(lambda builder, bits, all_: builder.sub(all_(_TWICE_BIAS), bits))


@intrinsic
def as_single(context: Any, a: Any) -> Any:
    """Return doubles rounded to float32."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        single = builder.fptrunc(args[0], ir.VectorType(ir.FloatType(), a.lanes))
        return builder.fpext(single, a.value)

    return a(a), generate


def _transposed(builder: Any, vectors: list[Any]) -> list[Any]:
    """Return vector k of entries l as vector l of entries k: halves are exchanged between pairs, ever nearer ones."""
    n = len(vectors)
    step = n // 2
    while step:
        places = [
            [i if not i & step else n + i - step for i in range(n)],
            [i + step if not i & step else n + i for i in range(n)],
        ]
        masks = [ir.Constant(ir.VectorType(_INT32, n), chosen) for chosen in places]
        for k in range(n):
            if not k & step:
                pair = vectors[k], vectors[k + step]
                vectors[k], vectors[k + step] = (builder.shuffle_vector(*pair, mask) for mask in masks)
        step //= 2
    return vectors


def _element(builder: Any, pointer: Any, number: Any) -> Any:
    return builder.load(builder.gep(pointer, [number]))
