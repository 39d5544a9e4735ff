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
_DIAGONALS = 5
"""As in :mod:`skdmi.lanes.large`, :mod:`skdmi.lanes.blocks` and :mod:`skdmi.lanes.panels`. The first vectors are the
diagonals of D1, D2, their inverses, and I."""
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

    estimated: int = 160
    sides: float = 1.1
    factored: int = 256

    def __init__(self, m: int) -> None:
        lanes = count_lanes()
        step = m + -m % lanes
        wide = m + _TILE_COLUMNS * lanes
        size = max((wide + 4 * _PANEL) * wide, _BLOCK_ROWS * m + _BLOCK + m * wide)
        unaligned = np.empty(_N_FIGURES + _N_VECTORS * step + size + 8)
        room = unaligned[-unaligned.ctypes.data % 64 // 8 :]
        self.m: int = m
        self._figures = room[:_N_FIGURES]
        self._scaled, self._inverse = np.empty((1, m, m)), np.empty((1, m, m))
        self._vectors = room[_N_FIGURES : _N_FIGURES + _N_VECTORS * step].reshape(_N_VECTORS, step)
        self._p, self._q = (self._vectors[k : k + 1, :m] for k in range(2))
        self._at_room, self._at_scaled, self._n_units = address(room), address(self._scaled), 1
        self._at_A = self._at_scaled

    def equilibrate(self, A: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool]:
        """Return ``A' = D1 A D2``, the diagonals, and whether any number there is not 1."""
        double, single = addresses(A)
        LARGE(double, single, self._at_scaled, None, self._at_room, _EQUILIBRATE, single is not None, self.m)
        is_graded = bool(self._figures[11])
        return self._take(A, is_graded), self._p, self._q, is_graded

    def scale(self, A: np.ndarray, d: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool]:
        """Return ``A' = D A D``, the diagonals, and whether d is given."""
        diagonal = np.ones((1, self.m)) if d is None else d
        self._vectors[:_DIAGONALS] = 0
        self._vectors[:2, : self.m], self._vectors[2:4, : self.m], self._vectors[4, : self.m] = (
            diagonal,
            1 / diagonal,
            1,
        )
        if d is not None:
            np.multiply(A, d[:, :, None] * d[:, None, :], out=self._scaled)
        elif A.dtype != np.float64:
            self._scaled[...] = A
        return self._take(A, d is not None), diagonal, diagonal, d is not None

    def _take(self, A: np.ndarray, is_graded: bool) -> np.ndarray:
        """Return A', from now on that of all passes: what was written, or A itself."""
        double, single = addresses(A)
        self._n_units = 1 + is_graded
        is_scaled = is_graded or single is not None
        self._at_A = self._at_scaled if is_scaled else double
        return self._scaled if is_scaled else A

    def place(self, A: np.ndarray) -> np.ndarray:
        """Return where eliminations write theirs."""
        del A
        return self._inverse

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
