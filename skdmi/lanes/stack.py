"""Stacks through the kernel: numpy arrays in and out."""

from functools import partial

import numpy as np

from skdmi.figures import WANTING, Figures
from skdmi.lanes.compiler import Kernel, count_lanes
from skdmi.lanes.parts import address, addresses, do_in_parts, flushes, room

LARGEST, LARGEST_OF_FEW = 64, 28
"""The largest m (``benchmarks/routes.py``), and that of fewer than ``m / 8`` matrices: one takes as long as a lane full
of them."""
MAX_STEPS = 7
"""From a start, the correction included."""
_SINGLE, _LIST, _START, _CORRECTS, _MEASURES, _PROVES = 1, 2, 4, 8, 16, 32
_N_DETAILS, _N_FIGURES = 4, 7
_N_VECTORS = 90, 25, 8
"""Of the room that the kernel needs: in all, times m, times m^2."""

INVERSE = Kernel("inverse", "pointer " * 8 + "integer " * 5 + "number number")


def is_ready(m: int, n_matrices: int = 0) -> bool:
    """Return whether the kernel can be called for that many m x m matrices, see :meth:`Kernel.is_ready`."""
    largest = LARGEST_OF_FEW if 0 < 8 * n_matrices < m else LARGEST
    return m <= largest and INVERSE.is_ready(n_matrices * _seconds_without(m)) and not flushes()


def invert(
    A: np.ndarray,
    X: np.ndarray,
    *,
    start: np.ndarray | None = None,
    corrects: bool = True,
    tol: float = 0.0,
    details: bool = False,
    proof: bool = False,
) -> Figures:
    r"""Invert a stack into X by Gauss-Jordan elimination and certify it, matrix by matrix.

    Each matrix is equilibrated by powers of two, inverted with partial pivoting in float64, and proved as by
    :func:`skdmi.linalg.certify`; both residuals are measured, in the units of the matrix as well. Where one is larger
    than rounding explains, or the matrix delicate, the inverse is made exact to about its last bit by
    :math:`X + X (R + R^2 + \dots)` with a residual in twice the precision. The answer for a matrix does not depend on
    the others.

    Parameters
    ----------
    A, X : ndarrays of shape (n_matrices, m, m)
        Both float32 or both float64, contiguous; X is overwritten. A matrix that is not finite has no certificate.
    start : ndarray of shape (n_matrices, m, m), optional
        float64: inverses to improve by Newton-Schulz steps in the place of an elimination.
    corrects : bool, default=True
    tol : float, default=0.0
        A residual norm that is small enough.
    details : bool, default=False
        Whether to return error bounds, residual norms and numbers of steps, else the status alone.
    proof : bool, default=False
        Whether to return rho and the condition interval as well.

    Returns
    -------
    Figures
        X of members that are not certified is what was found.
    """
    n, m, _ = A.shape
    figures = np.empty((_N_FIGURES if proof else _N_DETAILS, n)) if details or proof else None
    status = np.empty(n, np.uint8)
    task = partial(_invert_part, A, X, start, corrects, tol, status, figures)
    do_in_parts(task, n, m)
    return Figures(status) if figures is None else Figures(status, *figures[1:])


def _invert_part(
    A: np.ndarray,
    X: np.ndarray,
    start: np.ndarray | None,
    corrects: bool,
    tol: float,
    status: np.ndarray,
    details: np.ndarray | None,
    part: slice,
) -> None:
    """Invert a part of a stack, then once more, with a correction, what wants one."""
    A, X, start = A[part], X[part], None if start is None else start[part]
    figures = np.empty((1, len(A))) if details is None else details[:, part]
    flags = _MEASURES * (len(figures) > 1) | _PROVES * (len(figures) == _N_FIGURES)
    call = partial(_call, A, X, start, figures, tol, flags)
    call(None)
    found = figures[0].astype(np.uint8)
    wanting = found & WANTING
    if corrects and wanting.any():
        wanting = wanting.nonzero()[0]
        call(wanting)
        found[wanting] = figures[0, wanting]
    status[part] = found


def _call(
    A: np.ndarray,
    X: np.ndarray,
    start: np.ndarray | None,
    figures: np.ndarray,
    tol: float,
    flags: int,
    members: np.ndarray | None,
) -> None:
    """Call the kernel for a stack, or with a correction for some of its members."""
    n, m, _ = A.shape
    is_single = A.dtype == np.float32
    flags |= _SINGLE * is_single | _START * (start is not None) | (_LIST | _CORRECTS) * (members is not None)
    in_all, times_m, times_square = _N_VECTORS
    size = (in_all + times_m * m + times_square * m * m) * count_lanes()
    INVERSE(
        *(*addresses(A), address(start), *addresses(X), address(members)),
        *(address(figures), address(room(size)), 0, n if members is None else len(members), m),
        *(figures.strides[0] // 8, flags, 2.0**-24 if is_single else 2.0**-53, tol),
    )


def _seconds_without(m: int) -> float:
    """Return what a matrix takes by the route without the kernel, about."""
    return 1e-6 + 5e-9 * m**3
