"""Determinants of stacks through the kernel: numpy arrays in and out."""

from collections.abc import Callable
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np

from skdmi.lanes.compiler import Kernel, count_lanes
from skdmi.lanes.parts import address, addresses, do_in_parts, flushes, room

LARGEST, LARGEST_OF_FEW = 64, 16
"""The largest m, and that of fewer than ``m / 8`` matrices: one takes as long as a lane full of them."""
_SINGLE = 1
_N_FIGURES = 6
_N_VECTORS = 40, 8, 4
"""Of the room that the kernel needs: in all, times m, times m^2."""
_UNIT = 2.0**-53
_HALF_ROOT = 0.5**0.5
_LN2_HIGH = 0.693145751953125
"""The first 16 bits of log 2: times an integer below ``2^37``, they are exact."""
_LN2_LOW = 1.42860682030941723212e-6
_LOOSE = 2.0**-47
"""An error beside that of the logarithm, and twice its rounding, that is left to the reference, which looks closer."""

DETERMINANT = Kernel("determinant", "pointer " * 4 + "integer " * 5)

ArrayT = TypeVar("ArrayT")
"""Numpy's array, torch's tensor or dask's array."""


class LogDeterminant(NamedTuple, Generic[ArrayT]):
    """What is found of the determinant of each matrix of a stack; every field has shape (...).

    Parameters
    ----------
    sign : array or Tensor
        1.0, -1.0, or 0.0 where a pivot is zero; proved where the bound is finite.
    log_abs_det : array or Tensor
        The natural logarithm of the absolute value.
    log_abs_det_bound : array or Tensor
        No less than the error of ``log_abs_det``; infinite where nothing is proved.

    Examples
    --------
    >>> import numpy as np
    >>> import skdmi
    >>> found = skdmi.slogdet(np.array([[2.0, 0.0], [0.0, -4.0]]))
    >>> float(found.sign), round(float(found.log_abs_det), 6), bool(found.log_abs_det_bound < 1e-14)
    (-1.0, 2.079442, True)
    """

    sign: ArrayT
    log_abs_det: ArrayT
    log_abs_det_bound: ArrayT


class Parts(NamedTuple):
    """A determinant ``2^exponent (high + low) e^value``, but for its sign, of each matrix; arrays of one kind."""

    high: Any
    """In [1/2, 1), or 0."""
    low: Any
    """What rounding took from the mantissa."""
    exponent: Any
    """An integer, as a number."""
    value: Any
    """A correction of the logarithm."""
    error: Any
    """A bound on the error of the correction; infinite where nothing is proved."""


def log_determinant(parts: Parts, m: int, log: Callable[[Any], Any]) -> tuple[Any, Any]:
    r"""Return the logarithm of a product of m pivots, and a bound on its error.

    .. math:: n \log 2 + (\log(h) + l / h + v), \quad 2^{-1/2} \le h < 2^{1/2}

    Beside the last sum, rounded once, and m products of error :math:`8 u^2` at most, only what is smaller than 1 is
    rounded. ``log`` may be off by four units in the last place.

    >>> log_abs_det, bound = log_determinant(Parts(0.5, 0.0, 11.0, 0.0, 0.0), 1, np.log)
    >>> log_abs_det == np.log(1024), bound < 1e-15
    (np.True_, np.True_)
    """
    high, low, exponent, value, error = parts
    doubled = 1.0 * (high < _HALF_ROOT)
    high, low, exponent = high + doubled * high, low + doubled * low, exponent - doubled
    logarithm = log(high)
    rest = exponent * _LN2_LOW + low / (high + 1.0 * (high == 0.0))
    found = exponent * _LN2_HIGH + (logarithm + (rest + value))
    rounding = 12 * _UNIT * (abs(logarithm) + abs(rest) + abs(value)) + _UNIT * abs(found)
    return found, (error + rounding + 8 * (m + 1) * _UNIT**2) * (1 + 2.0**-48)


def is_ready(m: int, n_matrices: int = 0) -> bool:
    """Return whether the kernel can be called for that many m x m matrices, see :meth:`Kernel.is_ready`."""
    largest = LARGEST_OF_FEW if 0 < 8 * n_matrices < m else LARGEST
    return 0 < m <= largest and DETERMINANT.is_ready(n_matrices * (5e-6 + 5e-9 * m**3)) and not flushes()


def log_determinants(A: np.ndarray) -> tuple[LogDeterminant[np.ndarray], np.ndarray]:
    r"""Return the determinants of a stack, and which are left to the reference, :func:`skdmi.linalg.slogdet`.

    Each matrix is equilibrated by powers of two and eliminated with partial pivoting in float64, while what rounding
    takes is gathered in twice the precision; the theorem is that of the reference, see
    :mod:`skdmi.lanes.determinant`. The answer for a matrix does not depend on the others.

    Parameters
    ----------
    A : ndarray of shape (n_matrices, m, m)
        float32 or float64, contiguous.

    Returns
    -------
    found : LogDeterminant
        float64, of shape (n_matrices,).
    left : ndarray of shape (n_matrices,)
        bool: not finite, out of the range of the kernel, or so ill-conditioned that a closer look pays.
    """
    n, m, _ = A.shape
    figures = np.empty((_N_FIGURES, n))
    do_in_parts(partial(_find_part, A, figures), n, m)
    sign, *parts = figures
    with np.errstate(all="ignore"):
        found = LogDeterminant(sign, *log_determinant(Parts(*parts), m, np.log))
        return found, ~(parts[-1] <= _LOOSE + 2 * _UNIT * abs(found.log_abs_det))


def _find_part(A: np.ndarray, figures: np.ndarray, part: slice) -> None:
    """Call the kernel for a part of a stack."""
    A, figures = A[part], figures[:, part]
    n, m, _ = A.shape
    in_all, times_m, times_square = _N_VECTORS
    size = (in_all + times_m * m + times_square * m * m) * count_lanes()
    flags = _SINGLE * (A.dtype == np.float32)
    DETERMINANT(*addresses(A), address(figures), address(room(size)), 0, n, m, figures.strides[0] // 8, flags)
