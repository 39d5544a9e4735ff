"""One large matrix and an inverse that is nearly right: a step onto the floor of rounding, and the proof, in numpy."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy import ndarray

from skdmi.lanes.parts import flushes
from skdmi.lapack.passes import NumpyPasses
from skdmi.lapack.proof import is_moderate, loosest, prove, rounded_bound
from skdmi.lapack.residuals import SHARE, UNIT, estimate, is_explained, measure, residual, squares_of
from skdmi.lapack.scaling import Rooms, Scaled, Units, equilibrate, find_units, scale

PLAIN = 2.0**-5
"""Below this residual norm Newton-Schulz steps converge fast."""
LANDS = 2.0**-26
"""Below this one step, with a product in float32, is enough."""
N_DEFLATED = 16
"""Directions in which the left residual is mended: more are no better, but for spectra that need another method."""
_ROWS = 256
"""In a product that is added to a large matrix part by part: few enough for a cache, enough for speed."""


class Landed(NamedTuple):
    """An inverse that keeps every promise, and what is known of it."""

    inverse: ndarray
    """In the dtype of the matrix."""
    error_bound: float
    n_steps: int


def land(A: ndarray, start: ndarray, *, tol: float = 0.0, max_steps: int = 4) -> Landed | None:
    r"""Return the inverse of a matrix from one that is near, certified, or None where that is not cheap.

    The matrix is equilibrated by powers of two, :math:`A' = D_1 A D_2`. As long as a residual is larger than rounding
    explains, follow

    1. a Newton-Schulz step, :math:`X' + X' R`, :math:`R = I - A' X'`. Below :math:`\|R\| = 2^{-26}` its product is
       formed in float32, for half the price: the correction needs no more digits;
    2. after that last step a second one, for its other side. The rounding E of R leaves :math:`X' E A'` of the left
       residual :math:`L = I - X' A'`, up to the condition number times as much, in the directions of the smallest
       singular values. They are what sixteen Gaussian probes of L span, and

       .. math:: X' + V \, (V^T L) \, X', \quad V = \operatorname{orth}(L \, \Omega)

       mends those, while :math:`A' V` is so small that the right residual stays as it is.

    What is then judged is measured anew: as by :func:`skdmi.lapack.invert`, whose conditions and bounds these are, the
    left residual estimated by probes of its own.

    Parameters
    ----------
    A : ndarray of shape (N, N)
        float32 or float64, finite; N is above 48.
    start : ndarray of shape (N, N)
        float64.
    tol : float, default=0.0
        A residual norm that is small enough.
    max_steps : int, default=4

    Examples
    --------
    >>> A = np.diag(np.arange(1.0, 61.0))
    >>> landed = land(A, np.linalg.inv(A) * (1 + 1e-10))
    >>> landed.n_steps, bool(abs(A @ landed.inverse - np.eye(60)).max() < 1e-15)
    (1, True)
    """
    is_single = A.dtype == np.float32
    unit, tol, spare_bits = (2.0**-24, max(tol, 2.0**-30), 20) if is_single else (UNIT, tol, 0)
    if flushes():
        return None
    with np.errstate(all="ignore"):
        attempt = _Attempt.of(A, start)
        n_steps, before = 0, np.inf
        while True:
            right, rho, bound = attempt.measure(unit)
            explained = (rho < 1) & (bound <= loosest(len(A))) & is_explained(right, attempt.sizes.right, tol)
            is_last = n_steps == max_steps or before < LANDS
            if explained.all() and attempt.keeps_left(tol, thoroughly=is_last):
                break
            norm = float(right[0, 0]) ** 0.5
            if is_last or not norm < min(PLAIN, before / 2):
                return None
            attempt.step_(norm)
            n_steps, before = n_steps + 1, norm
        return attempt.landed(bound, n_steps) if attempt.is_moderate(spare_bits) else None


class _Attempt:
    """A matrix, its inverse as it stands, and arrays to work in; everything with a first axis of one matrix."""

    def __init__(self, A: ndarray, scaled: Scaled, X: ndarray, rooms: Rooms) -> None:
        self.A, self.scaled, self.X, self.rooms = A, scaled, X, rooms
        self.units: Units = find_units(scaled)

    @classmethod
    def of(cls, A: ndarray, start: ndarray) -> "_Attempt":
        rooms = Rooms.of(1, len(A))
        scaled = equilibrate(A[None], rooms)
        X = start[None].copy()
        if scaled.is_graded:
            scale(X, 1 / scaled.q, 1 / scaled.p)
        return cls(A[None], scaled, X, rooms)

    def measure(self, unit: float) -> tuple[ndarray, ndarray, ndarray]:
        """Form ``A X - I``; return the squares of its norm in all units, rho and the error bound."""
        A, X, units, (_, _, first, second) = self.scaled.A, self.X, self.units, self.rooms
        np.abs(A, out=first)
        self.sizes = measure(A, X, units, self.rooms)
        self.R = residual(A, X, out=first)
        second[...] = self.R
        right = squares_of(second, units.rp, units.p)
        return right, *prove(right, self.sizes, unit, A.shape[-1])

    def keeps_left(self, tol: float, *, thoroughly: bool) -> bool:
        """Return whether ``I - X A`` is explained, by an estimate, or measured where that leaves hope."""
        A, X, explained, (_, _, q, rq) = self.scaled.A, self.X, self.sizes.left, self.units
        squares = estimate(X, A, q, rq)
        if is_explained(squares, SHARE * explained, SHARE**0.5 * tol).all():
            return True
        if not (thoroughly or is_explained(squares, explained / 2, tol / 2).all()):
            return False
        squares = squares_of(residual(X, A, out=self.rooms.second), q, rq)
        return bool(is_explained(squares, explained, tol).all())

    def is_moderate(self, spare_bits: int) -> bool:
        """Return whether all is in range and no correction is wanted."""
        is_balanced = NumpyPasses(self.rooms).is_balanced
        asked = np.ones(1, bool)
        return bool(is_moderate(self.A, self.scaled, self.X, self.sizes, spare_bits, is_balanced, asked)[0])

    def step_(self, norm: float) -> None:
        """Take a Newton-Schulz step, and where it is the last one mend the left residual, too."""
        X, R, room = self.X[0], self.R[0], self.rooms.second.reshape(-1)
        if not norm < LANDS:
            X -= np.matmul(X, R, out=room.reshape(X.shape))
            return
        single = room.view(np.float32)[: X.size].reshape(X.shape)
        single[...] = R
        for rows in _parts(X):
            rows -= rows.astype(np.float32) @ single
        A, probes = self.scaled.A[0], _probes(len(X))
        V, _ = np.linalg.qr(probes - X @ (A @ probes))
        correction = (V.T - (V.T @ X) @ A) @ X
        for rows, of_V in zip(_parts(X), _parts(V), strict=True):
            rows += of_V @ correction

    def landed(self, bound: ndarray, n_steps: int) -> Landed:
        X = self.X
        if self.scaled.is_graded:
            scale(X, self.scaled.q, self.scaled.p)
        if self.A.dtype == np.float64:
            return Landed(X[0], float(bound[0]), n_steps)
        rounded = X.astype(self.A.dtype)
        return Landed(rounded[0], float(rounded_bound(bound, rounded, X)[0]), n_steps)


def _parts(A: ndarray) -> list[ndarray]:
    return [A[first : first + _ROWS] for first in range(0, len(A), _ROWS)]


@lru_cache(maxsize=8)
def _probes(m: int) -> ndarray:
    return np.random.Generator(np.random.PCG64(1)).standard_normal((m, N_DEFLATED))
