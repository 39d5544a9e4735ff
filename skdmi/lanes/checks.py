"""Stacks and their inverses through the kernel that checks: numpy arrays in and out."""

from functools import partial
from typing import NamedTuple

import numpy as np

from skdmi.figures import OUTSIDE
from skdmi.lanes.compiler import Kernel, count_lanes
from skdmi.lanes.parts import address, addresses, do_in_parts, flushes, room

LARGEST = 64
"""The largest m."""
_SINGLE, _SINGLE_INVERSE, _TIGHT, _REFINES = 1, 2, 4, 8
_N_VECTORS = 100, 26, 9
"""Of the room that the kernel needs: in all, times m, times m^2."""

CHECK = Kernel("check", "pointer " * 7 + "integer " * 5 + "number")


class Checked(NamedTuple):
    """What is found of every inverse; float64 arrays of shape (n_matrices,), but for the status, uint8."""

    status: np.ndarray
    """`NONSINGULAR` where A as stored is proved to be, `CERTIFIED` where all that rounds to it is; `OUTSIDE` where
    another route may prove more, or bound more closely."""
    error_bound: np.ndarray
    """NaN where A is not proved nonsingular."""
    residual_norm: np.ndarray
    left_residual_norm: np.ndarray
    rho: np.ndarray
    """That of A as it is stored."""
    condition_lower: np.ndarray
    condition_upper: np.ndarray

    @property
    def outside(self) -> np.ndarray:
        """Return where the status is `OUTSIDE`, bool."""
        found: np.ndarray = (self.status & OUTSIDE) != 0
        return found


def is_ready(m: int, n_matrices: int = 0) -> bool:
    """Return whether the kernel can be called for that many m x m matrices, see :meth:`Kernel.is_ready`."""
    return m <= LARGEST and CHECK.is_ready(n_matrices * _seconds_without(m)) and not flushes()


def check(A: np.ndarray, X: np.ndarray, bound: np.ndarray | None = None) -> Checked:
    """Certify inverses, whoever computed them; with ``bound`` every entry of them.

    Parameters
    ----------
    A, X : ndarrays of shape (n_matrices, m, m)
        float32 or float64, contiguous.
    bound : ndarray of shape (n_matrices, m, m), optional
        float64, contiguous; overwritten by the bounds of :func:`skdmi.linalg.tight.certify_tightly`.
    """
    flags = _SINGLE_INVERSE * (X.dtype == np.float32) | _TIGHT * (bound is not None)
    return _in_parts(A, X, bound, flags)


def invert_tightly(A: np.ndarray, X: np.ndarray, bound: np.ndarray) -> Checked:
    """Invert a stack into X, exactly or nearly so but for one rounding, and bound every entry.

    By elimination, and as many steps as :func:`skdmi.linalg.tight.refine_tightly` takes.

    Parameters
    ----------
    A : ndarray of shape (n_matrices, m, m)
        float32 or float64, contiguous.
    X, bound : ndarrays of shape (n_matrices, m, m)
        float64, contiguous; overwritten.
    """
    return _in_parts(A, X, bound, _TIGHT | _REFINES)


def _in_parts(A: np.ndarray, X: np.ndarray, bound: np.ndarray | None, flags: int) -> Checked:
    n, m, _ = A.shape
    figures = np.empty((len(Checked._fields), n))
    do_in_parts(partial(_call, A, X, bound, figures, flags), n, m)
    return Checked(figures[0].astype(np.uint8), *figures[1:])


def _call(A: np.ndarray, X: np.ndarray, bound: np.ndarray | None, figures: np.ndarray, flags: int, part: slice) -> None:
    """Call the kernel for a part of a stack."""
    A, X, bound = A[part], X[part], None if bound is None else bound[part]
    n, m, _ = A.shape
    is_single = A.dtype == np.float32
    in_all, times_m, times_square = _N_VECTORS
    size = (in_all + times_m * m + times_square * m * m) * count_lanes()
    CHECK(
        *(*addresses(A), *addresses(X), address(bound), address(figures[:, part]), address(room(size)), 0, n, m),
        *(figures.shape[1], flags | _SINGLE * is_single, 2.0**-24 if is_single else 2.0**-53),
    )


def _seconds_without(m: int) -> float:
    """Return what a matrix takes by the route without the kernel, about."""
    return 1e-6 + 2e-8 * m**3
