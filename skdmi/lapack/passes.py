"""What is done to matrices beside LAPACK, or in its place: in numpy, or by whatever else finds the same figures."""

from typing import Protocol

import numpy as np
from numpy import ndarray

from skdmi.lapack.residuals import Sizes, measure, residual, squares_of
from skdmi.lapack.scaling import BY_TERMS, Rooms, Scaled, Units, equilibrate, unscale


class Passes(Protocol):
    """Passes over matrices, called in this order; what one has found may stay inside for the next."""

    estimated: int
    """Beyond this size it is cheaper to estimate the left residual first."""
    sides: float
    """How many times as large as the right residual the left one is as a rule, both squared."""
    factored: int
    """From this size on factors of Cholesky gain on `eliminate` and on LAPACK's elimination."""

    def equilibrate(self, A: ndarray) -> tuple[ndarray, ndarray, ndarray, bool]:
        """Return the fields of `Scaled`."""

    def scale(self, A: ndarray, d: ndarray | None) -> tuple[ndarray, ndarray, ndarray, bool]:
        """Return the fields of `Scaled` where ``A' = D A D``, or A' is A."""

    def place(self, A: ndarray) -> ndarray:
        """Return where inverses of A' may be put, contiguous each."""

    def eliminate(self, A: ndarray) -> ndarray | None:
        """Return an inverse of A' that costs less than LAPACK's, to be tried first, if there is one."""

    def arrange(self, X: ndarray) -> ndarray:
        """Return X' of LAPACK as it should lie in memory."""

    def measure(self, A: ndarray, X: ndarray, units: Units) -> tuple[tuple[ndarray, ...], ndarray]:
        """Return the fields of `Sizes`, and the `squares` of ``I - A X``."""

    def squares(self, A: ndarray, X: ndarray, units: Units, *, is_left: bool = False) -> ndarray:
        """Return the squares of the norms of ``I - A X``, or else of ``I - X A``, in all units."""

    def is_balanced(self, A: ndarray) -> ndarray:
        """Return where no row or column lies far below its largest entry, see :mod:`skdmi.linalg.scaling`."""

    def finish(self, inverse: ndarray, X: ndarray) -> None:
        """Write ``X = D2 X' D1``, rounded; X' may be lost."""


class NumpyPasses:
    """Passes in numpy, over as many members as there are rooms for."""

    estimated: int = 96
    sides: float = 3.0
    factored: int = 24

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self._scaled: Scaled

    def equilibrate(self, A: ndarray) -> Scaled:
        """Return the matrices scaled, and the scales."""
        self._scaled = equilibrate(A, self._rooms)
        return self._scaled

    def scale(self, A: ndarray, d: ndarray | None) -> Scaled:
        """Return the matrices scaled by d on either side; leave ``|A'|`` in the first room."""
        ones = np.ones((1, A.shape[-1]))
        if d is not None:
            np.multiply(A, d[:, :, None] * d[:, None, :], out=self._rooms.A)
        elif A.dtype != np.float64:
            self._rooms.A[...] = A
        B = A if d is None and A.dtype == np.float64 else self._rooms.A
        np.abs(B, out=self._rooms.first)
        scales = ones if d is None else d
        self._scaled = Scaled(B, scales, scales, d is not None)
        return self._scaled

    def place(self, A: ndarray) -> ndarray:
        """Return the room of inverses."""
        return self._rooms.X

    def eliminate(self, A: ndarray) -> None:
        """Return nothing."""

    def arrange(self, X: ndarray) -> ndarray:
        """Return small matrices with the members last in memory."""
        if X.shape[-1] > BY_TERMS:
            return X
        self._rooms.X[...] = X
        return self._rooms.X

    def measure(self, A: ndarray, X: ndarray, units: Units) -> tuple[Sizes, ndarray]:
        """Return the sizes, and the squares of the right residual."""
        sizes = measure(A, X, units, self._rooms)
        return sizes, self.squares(A, X, units)

    def squares(self, A: ndarray, X: ndarray, units: Units, *, is_left: bool = False) -> ndarray:
        """Return the squares of a residual."""
        if is_left:
            return squares_of(residual(X, A, out=self._rooms.first), units.q, units.rq)
        return squares_of(residual(A, X, out=self._rooms.first), units.rp, units.p)

    def is_balanced(self, A: ndarray) -> ndarray:
        """Return where the sums of exponents, less the largest of the row, then of the column, are no less than -4."""
        E = np.abs(A, dtype=np.float64).view(np.int64)
        E >>= 52
        is_entry = E > 0
        E -= E.max(axis=2, keepdims=True)
        E -= E.max(axis=1, where=is_entry, initial=-4096, keepdims=True) - 4
        E *= is_entry
        balanced: ndarray = (E.sum(axis=1) >= 0).all(axis=1) & (E.sum(axis=2) >= 0).all(axis=1)
        return balanced

    def finish(self, inverse: ndarray, X: ndarray) -> None:
        """Scale the inverse in place, and round it."""
        unscale(inverse, self._scaled)
        X[...] = inverse
