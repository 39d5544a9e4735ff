"""One large matrix through the kernel: all that is done to it beside LAPACK."""

from threading import local
from typing import Any

import numpy as np

from skdmi.lanes.compiler import Kernel, count_lanes
from skdmi.lanes.parts import address, addresses, count_threads, flushes

LARGE = Kernel("large", "pointer " * 5 + "integer " * 3)
KEPT = 512
"""The largest m for which a thread keeps the room."""
ALONE = 512
"""The largest m for which one thread here is faster than several of LAPACK's."""
_EQUILIBRATE, _ELIMINATE, _MEASURE, _RIGHT, _LEFT, _BALANCE, _FINISH = range(7)
_N_FIGURES, _N_VECTORS, _BLOCK_ROWS, _BLOCK, _TILE_COLUMNS, _PANEL = 16, 11, 192, 192 * 192, 3, 96
"""As in :mod:`skdmi.lanes.large`, :mod:`skdmi.lanes.blocks` and :mod:`skdmi.lanes.panels`."""
_KEPT = local()


def is_ready(m: int, n_matrices: int = 0) -> bool:
    """Return whether the kernel can be called for that many m x m matrices, see :meth:`Kernel.is_ready`."""
    if m > ALONE and count_threads() > 1:
        return False
    return LARGE.is_ready(n_matrices * _seconds_without(m)) and not flushes()


def passes_for(m: int) -> "CompiledPasses":
    """Return the passes over m x m matrices, which belong to the thread.

    Parameters
    ----------
    m : int
        No less than the number of lanes.
    """
    kept: CompiledPasses | None = getattr(_KEPT, "passes", None)
    if kept is None or kept.m != m:
        kept = CompiledPasses(m)
        _KEPT.passes = kept if m <= KEPT else None
    return kept


class CompiledPasses:
    """What :func:`skdmi.lapack.invert` does to one matrix, compiled: see :class:`skdmi.lapack.passes.Passes`.

    What is found of a matrix is overwritten by that of the next.
    """

    estimated, sides = 160, 1.1

    def __init__(self, m: int) -> None:
        lanes = count_lanes()
        step = m + -m % lanes
        wide = m + _TILE_COLUMNS * lanes
        size = max((wide + 4 * _PANEL) * wide, _BLOCK_ROWS * m + _BLOCK + m * wide)
        unaligned = np.empty(_N_FIGURES + _N_VECTORS * step + size + 8)
        room = unaligned[-unaligned.ctypes.data % 64 // 8 :]
        self.m, self._figures = m, room[:_N_FIGURES]
        self._scaled, self._inverse = np.empty((1, m, m)), np.empty((1, m, m))
        self._p, self._q = (room[None, _N_FIGURES + k * step :][:, :m] for k in range(2))
        self._at_room, self._at_scaled, self._n_units = address(room), address(self._scaled), 1
        self._at_A = self._at_scaled

    def equilibrate(self, A: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool]:
        """Return ``A' = D1 A D2``, the diagonals, and whether any number there is not 1."""
        double, single = addresses(A)
        LARGE(double, single, self._at_scaled, None, self._at_room, _EQUILIBRATE, single is not None, self.m)
        is_graded = bool(self._figures[11])
        self._n_units = 1 + is_graded
        is_scaled = is_graded or single is not None
        self._at_A = self._at_scaled if is_scaled else double
        return self._scaled if is_scaled else A, self._p, self._q, is_graded

    def eliminate(self, A: np.ndarray) -> np.ndarray:
        """Return the inverse of A', not finite where a pivot is zero."""
        del A
        LARGE(self._at_A, None, address(self._inverse), None, self._at_room, _ELIMINATE, 0, self.m)
        return self._inverse

    def arrange(self, X: np.ndarray) -> np.ndarray:
        """Return X."""
        return X

    def measure(self, A: np.ndarray, X: np.ndarray, units: Any) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
        """Return the fields of :class:`skdmi.lapack.residuals.Sizes`, and the `squares` of ``I - A X``."""
        del A, units  # They are known.
        LARGE(self._at_A, None, address(X), None, self._at_room, _MEASURE, 0, self.m)
        pairs = self._figures[:10].reshape(5, 1, 2)[:, :, : self._n_units].copy()
        return (*pairs[:4], self._figures[10:11]), pairs[4]

    def squares(self, A: np.ndarray, X: np.ndarray, units: Any, *, is_left: bool = False) -> np.ndarray:
        """Return the squares of ``||I - A X||_F``, or of the left residual, in all units."""
        del A, units
        LARGE(self._at_A, None, address(X), None, self._at_room, _LEFT if is_left else _RIGHT, 0, self.m)
        return self._figures[None, 8 : 8 + self._n_units].copy()

    def is_balanced(self, A: np.ndarray) -> np.ndarray:
        """Return whether no row or column of A lies far below its largest entry."""
        double, single = addresses(A)
        LARGE(double, single, None, None, self._at_room, _BALANCE, single is not None, self.m)
        return self._figures[11:12] > 0

    def finish(self, inverse: np.ndarray, X: np.ndarray) -> None:
        """Write ``D2 X' D1``, rounded to the dtype of X."""
        double, single = addresses(X)
        LARGE(address(inverse), None, double, single, self._at_room, _FINISH, single is not None, self.m)


def _seconds_without(m: int) -> float:
    """Return what a matrix takes by the route without the kernel, about."""
    return 1e-4 + 1.2e-10 * m**3
