"""Pseudo-inverses of stacks through the kernel: numpy arrays in and out."""

from functools import partial
from math import isqrt

import numpy as np

from skdmi.lanes.compiler import Kernel, count_lanes
from skdmi.lanes.parts import address, addresses, do_in_parts, flushes, room

LARGEST = 2**12
"""The largest number of entries."""
_SINGLE, _TALL = 1, 2
_N_FIGURES = 3
_N_VECTORS = 200, 12, 7, 3
"""Of the room that the kernel needs: in all, times p + q, times p q, times p^2."""

PSEUDO_INVERSE = Kernel("pseudo", "pointer " * 6 + "integer " * 6 + "number")


def is_ready(p: int, q: int, n_matrices: int = 0) -> bool:
    """Return whether the kernel can be called for that many p x q matrices, see :meth:`Kernel.is_ready`."""
    return 0 < p * q <= LARGEST and PSEUDO_INVERSE.is_ready(n_matrices * 5e-6) and not flushes()


def pseudo_invert(A: np.ndarray, X: np.ndarray) -> np.ndarray:
    r"""Pseudo-invert a stack into X by normal equations and Newton steps, and bound the errors, matrix by matrix.

    With the rows scaled by powers of two where p is at most q, and else of the transposed matrix,

    .. math:: X_0 = A^T (A A^T)^{-1}, \quad X_{k+1} = X_k (2 I - A X_k)

    in float64, proved as by :func:`skdmi.linalg.certify_pinv`. The answer for a matrix does not depend on the others.

    Parameters
    ----------
    A : ndarray of shape (n_matrices, p, q)
        float32 or float64, contiguous.
    X : ndarray of shape (n_matrices, q, p)
        Of the same dtype, contiguous; overwritten.

    Returns
    -------
    ndarray of shape (3, n_matrices)
        The status, a sum of bits of :mod:`skdmi.figures`, OUTSIDE where the reference should look; the error bound;
        no more than one over the condition number.
    """
    n, p, q = A.shape
    figures = np.empty((_N_FIGURES, n))
    do_in_parts(partial(_call, A, X, figures), n, isqrt(p * q))
    return figures


def _call(A: np.ndarray, X: np.ndarray, figures: np.ndarray, part: slice) -> None:
    """Call the kernel for a part of a stack."""
    A, X, figures = A[part], X[part], figures[:, part]
    n, *shape = A.shape
    p, q = sorted(shape)
    in_all, times_sum, times_entries, times_square = _N_VECTORS
    size = (in_all + times_sum * (p + q) + times_entries * p * q + times_square * p * p) * count_lanes()
    is_single = A.dtype == np.float32
    flags = _SINGLE * is_single | _TALL * (shape[0] > shape[1])
    PSEUDO_INVERSE(
        *(*addresses(A), *addresses(X), address(figures), address(room(size)), 0, n, p, q),
        *(figures.strides[0] // 8, flags, 2.0**-24 if is_single else 2.0**-53),
    )
