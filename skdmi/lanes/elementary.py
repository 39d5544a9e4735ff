"""Exponentials, logarithms and the normal distribution in lanes of either precision, to a few units in the last place.

Each is a polynomial on a short interval; powers of two and exponents come from the bits.
"""

from collections.abc import Callable, Sequence
from math import factorial, log
from typing import Any

from llvmlite import ir
from numba.core.extending import intrinsic

from skdmi.lanes.vectors import OPTIONS, SINGLE, _fma, absolute, fma, fnma, larger, njit, select, splat

_TAIL_SINGLE = (
    *(0.00494891682007, 0.0910896647678, 0.340472717674, -0.325769969922, 0.65112704816, -0.311811253192),
    0.0499428723638,
)
_TAIL_DOUBLE = (
    *(-1.6623289895743675e-05, 0.14002613683934134, 0.13525194922677158, 0.15219777904589818, -0.04936991471692226),
    *(0.5048577530881457, -1.1480717259520323, 2.11105238932986, -2.9852647579497047, 2.967927201449344),
    *(-2.0469457849661064, 0.9706847811362783, -0.30491241715534684, 0.05755152296071879, -0.0049682890463497),
)
"""``exp(x^2 / 2) Phi(-x)`` as a polynomial in ``1 / (1 + 0.35 x)``: fits by least squares, weighted by
``exp(-x^2 / 2)``, on the Chebyshev nodes of [0, 5.5] and [0, 8.5], off by 7e-9 and 5e-17."""
_LN2 = log(2.0)
_LN2_HIGH = 0.693145751953125
"""The first 16 bits of log 2: times an exponent, they are exact."""
_LN2_LOW = 1.428606820309417232e-6


def _polynomial(single: Sequence[float], double: Sequence[float]) -> Any:
    """Return a function of vectors: a polynomial with coefficients for each precision, the constant first."""

    @intrinsic
    def polynomial(context: Any, x: Any) -> Any:
        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            *rest, value = [ir.Constant(x.value, [c] * x.lanes) for c in (single if x == SINGLE else double)]
            for coefficient in reversed(rest):
                value = _fma(context, builder, sig, [value, args[0], coefficient])
            return value

        return x(x), generate

    return polynomial


def _on_bits(change: Callable[..., Any]) -> Any:
    """Return a function of vectors that changes their bits; it is told of the fraction's width and the bias."""

    @intrinsic
    def changed(context: Any, x: Any) -> Any:
        width, bias = (23, 127) if x == SINGLE else (52, 1023)

        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            def bits_of(number: float) -> Any:
                return builder.bitcast(ir.Constant(x.value, [number] * x.lanes), x.integers)

            def all_(n: int) -> Any:
                return ir.Constant(x.integers, [n] * x.lanes)

            return change(builder, args[0], x, width, bias, bits_of, all_)

        return x(x), generate

    return changed


def _power(builder: Any, n: Any, x: Any, width: int, bias: int, bits_of: Any, all_: Any) -> Any:
    shifted = builder.fadd(n, ir.Constant(x.value, [2.0**width + bias] * x.lanes))
    return builder.bitcast(builder.shl(builder.bitcast(shifted, x.integers), all_(width)), x.value)


def _fraction(builder: Any, a: Any, x: Any, width: int, bias: int, bits_of: Any, all_: Any) -> Any:
    bits = builder.and_(builder.bitcast(a, x.integers), all_(2**width - 1))
    return builder.bitcast(builder.or_(bits, bits_of(0.5)), x.value)


def _exponent(builder: Any, a: Any, x: Any, width: int, bias: int, bits_of: Any, all_: Any) -> Any:
    bits = builder.lshr(builder.bitcast(a, x.integers), all_(width))
    beside = builder.bitcast(builder.or_(bits, bits_of(2.0**width)), x.value)
    return builder.fsub(beside, ir.Constant(x.value, [2.0**width + bias - 1] * x.lanes))


def _nearest(builder: Any, a: Any, x: Any, width: int, bias: int, bits_of: Any, all_: Any) -> Any:
    far = ir.Constant(x.value, [1.5 * 2.0**width] * x.lanes)
    return builder.fsub(builder.fadd(a, far), far)


def _unit(builder: Any, a: Any, x: Any, width: int, bias: int, bits_of: Any, all_: Any) -> Any:
    return ir.Constant(x.value, [2.0**-width] * x.lanes)


power_of_two: Any = _on_bits(_power)
"""Of an integer, as a number, the exponent of a normal one."""
fraction_of: Any = _on_bits(_fraction)
"""f in [1/2, 1) of a positive normal number ``f 2^e``."""
exponent_of: Any = _on_bits(_exponent)
"""e, as a number."""
nearest_integer: Any = _on_bits(_nearest)
"""Of a number below ``2^22``, or ``2^51``."""
epsilon_of: Any = _on_bits(_unit)
"""The distance from 1 to the next number, in the precision of the argument."""

_exponential = _polynomial(*([1 / factorial(k) for k in range(n)] for n in (8, 14)))
_area_tangent = _polynomial(*([2 / (2 * k + 1) for k in range(n)] for n in (6, 12)))
_tail = _polynomial(_TAIL_SINGLE, _TAIL_DOUBLE)


@njit(**OPTIONS)
def exponential(x):
    """Return ``exp(x)`` of numbers from -87 to 87."""
    n = nearest_integer(x * splat(x, 1 / _LN2))
    rest = fnma(n, splat(x, _LN2_LOW), fnma(n, splat(x, _LN2_HIGH), x))
    return _exponential(rest) * power_of_two(n)


@njit(**OPTIONS)
def logarithm(x):
    """Return ``log(x)`` of positive normal numbers."""
    one = splat(x, 1.0)
    fraction, exponent = fraction_of(x), exponent_of(x)
    is_low = fraction < splat(x, 0.5**0.5)
    fraction = select(is_low, fraction + fraction, fraction)
    exponent = select(is_low, exponent - one, exponent)
    s = (fraction - one) / (fraction + one)
    low = fma(exponent, splat(x, _LN2_LOW), s * _area_tangent(s * s))
    return fma(exponent, splat(x, _LN2_HIGH), low)


@njit(**OPTIONS)
def gelu(x):
    """Return x times the normal distribution function of x: its tail, or what the tail leaves of 1."""
    zero, one = splat(x, 0.0), splat(x, 1.0)
    size = absolute(x)
    exponent = larger(splat(x, -0.5) * size * size, splat(x, -87.0))
    tail = exponential(exponent) * _tail(one / fma(size, splat(x, 0.35), one))
    return x * select(x > zero, one - tail, tail)
