"""Inverse square roots of stacks through the kernel: numpy arrays in and out."""

from functools import partial

import numpy as np

from skdmi.lanes.compiler import Kernel, count_lanes
from skdmi.lanes.parts import address, addresses, do_in_parts, flushes, room

LARGEST = 64
"""The largest m."""
_SINGLE = 1
_N_FIGURES = 4
_N_VECTORS = 200, 6, 6
"""Of the room that the kernel needs: in all, times m, times m^2."""

ROOT = Kernel("root", "pointer " * 7 + "integer " * 6 + "number")


def is_ready(m: int, n_matrices: int = 0) -> bool:
    """Return whether the kernel can be called for that many m x m matrices, see :meth:`Kernel.is_ready`."""
    is_worth_it = 8 * n_matrices >= m
    return 0 < m <= LARGEST and is_worth_it and ROOT.is_ready(n_matrices * (2e-6 + 2e-8 * m**3)) and not flushes()


def find_roots(A: np.ndarray, Z: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """Put the inverse square roots of a stack into Z, and bound their errors, matrix by matrix.

    By coupled iterations in float64, proved as by :func:`skdmi.linalg.certify_inv_sqrt`. The answer for a matrix does
    not depend on the others.

    Parameters
    ----------
    A, Z : ndarrays of shape (n_matrices, m, m)
        Both float32 or both float64, contiguous; Z is overwritten.
    coefficients : ndarray of shape (n_steps, 2)
        float64, contiguous: of the first steps; the others are found step by step.

    Returns
    -------
    ndarray of shape (4, n_matrices)
        The status, a sum of bits of :mod:`skdmi.figures`, OUTSIDE where the reference should look; the error bound;
        ``||I - Z A Z||_F``; the number of steps.
    """
    n, m, _ = A.shape
    figures = np.empty((_N_FIGURES, n))
    do_in_parts(partial(_call, A, Z, coefficients, figures), n, m)
    return figures


def _call(A: np.ndarray, Z: np.ndarray, coefficients: np.ndarray, figures: np.ndarray, part: slice) -> None:
    """Call the kernel for a part of a stack."""
    A, Z, figures = A[part], Z[part], figures[:, part]
    n, m, _ = A.shape
    in_all, times_m, times_square = _N_VECTORS
    size = (in_all + times_m * m + times_square * m * m) * count_lanes()
    is_single = A.dtype == np.float32
    ROOT(
        *(*addresses(A), *addresses(Z), address(coefficients), address(figures), address(room(size)), 0, n, m),
        *(figures.strides[0] // 8, len(coefficients), _SINGLE * is_single, 2.0**-24 if is_single else 2.0**-53),
    )
