"""Stacks of complex matrices through the kernel: numpy arrays in and out."""

from functools import partial

import numpy as np

from skdmi.figures import Figures
from skdmi.lanes.compiler import Kernel, count_lanes
from skdmi.lanes.parts import address, do_in_parts, flushes, room

LARGEST = 64
"""The largest m: beyond, the embedding has kernels of its own."""
_N_FIGURES = 3
_SINGLE = 1
_N_VECTORS = 200, 30, 15
"""Of the room that the kernel needs: in all, times m, times m^2."""

COMPLEX_INVERSE = Kernel("complex_inverse", "pointer " * 6 + "integer " * 5 + "number number")


def is_ready(m: int, n_matrices: int = 0) -> bool:
    """Return whether the kernel can be called for that many m x m matrices, see :meth:`Kernel.is_ready`."""
    largest = LARGEST if 8 * n_matrices >= m else 0
    return 0 < m <= largest and COMPLEX_INVERSE.is_ready(n_matrices * (1e-6 + 2e-8 * m**3)) and not flushes()


def invert(A: np.ndarray, X: np.ndarray, *, tol: float = 0.0) -> Figures:
    """Invert a stack into X by Gauss-Jordan elimination, and certify what norms prove, matrix by matrix.

    Parameters
    ----------
    A, X : ndarrays of shape (n_matrices, m, m)
        Both complex64 or both complex128, contiguous; X is overwritten.
    tol : float, default=0.0
        A residual norm that is small enough.

    Returns
    -------
    Figures
        Status, error bound and residual norm. A member that is not certified, converged and accurate is OUTSIDE.
    """
    n, m, _ = A.shape
    figures = np.empty((_N_FIGURES, n))
    do_in_parts(partial(_call, A, X, figures, tol), n, m)
    return Figures(figures[0].astype(np.uint8), figures[1], figures[2], np.zeros(n))


def _call(A: np.ndarray, X: np.ndarray, figures: np.ndarray, tol: float, part: slice) -> None:
    """Call the kernel for a part of a stack."""
    A, X, figures = A[part], X[part], figures[:, part]
    n, m, _ = A.shape
    is_single = A.dtype == np.complex64
    in_all, times_m, times_square = _N_VECTORS
    size = (in_all + times_m * m + times_square * m * m) * count_lanes()
    pointers = [(None, address(array)) if is_single else (address(array), None) for array in (A, X)]
    COMPLEX_INVERSE(
        *(*pointers[0], *pointers[1], address(figures), address(room(size)), 0, n, m),
        *(figures.strides[0] // 8, _SINGLE * is_single, 2.0**-24 if is_single else 2.0**-53, tol),
    )
