"""Residuals, and what rounding explains of them, in the units of the matrix as well."""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy import ndarray

from skdmi.lapack.scaling import BY_TERMS, Rooms, Units

UNIT = 2.0**-53
N_PROBES, SHARE = 32, 0.187
"""How many Gaussian probes estimate a squared norm, and how much of what is allowed the estimate may be: `share_of`."""


class Sizes(NamedTuple):
    r"""Squares, ``(n_matrices, k)``: of what rounding explains on either side, and of the norms.

    :math:`10 u \| e^T |A'| |X'| \|_2 / \sqrt m \le 10 u \| |A'| |X'| \|_F`, and its mirror.
    """

    right: ndarray
    left: ndarray
    A: ndarray
    X: ndarray
    condition: ndarray
    """``||A||_1 ||X||_1`` in the units of the matrix, (n_matrices,), no square."""


def product(A: ndarray, X: ndarray, out: ndarray | None = None) -> ndarray:
    """Return ``A X`` of stacks whose members lie as their size asks."""
    if A.shape[-1] > BY_TERMS:
        return np.matmul(A, X, out=out)
    return np.einsum("nij,njk->nik", A, X, out=out)


def measure(A: ndarray, X: ndarray, units: Units, rooms: Rooms) -> Sizes:
    """Return the `Sizes` of A and X; leave ``|X|`` in the second room."""
    _, _, of_A, of_X = rooms
    np.abs(X, out=of_X)
    columns_of_A, columns_of_X = product(units.rp, of_A), product(units.q, of_X)
    condition = (units.rq * columns_of_A)[:, -1].max(axis=1) * (units.p * columns_of_X)[:, -1].max(axis=1)
    right, left = units.p * product(columns_of_A, of_X), units.rq * product(columns_of_X, of_A)
    factor = 100 * UNIT**2 / A.shape[-1]
    explained = [factor * np.einsum("nki,nki->nk", V, V) for V in (right, left)]
    if units.p.shape[1] == 1:
        return Sizes(explained[0], explained[1], _square_norms(A), _square_norms(X), condition)
    rows, columns = np.einsum("nij,nij->ni", A, A)[:, :, None], np.einsum("nij,nij->nj", X, X)[:, :, None]
    norms = [product(V * V, T)[:, :, 0] for V, T in ((units.rp, rows), (units.p, columns))]
    return Sizes(explained[0], explained[1], norms[0], norms[1], condition)


def _square_norms(A: ndarray) -> ndarray:
    """Return ``||A||_F^2``, (n_matrices, 1)."""
    return np.array([[np.vdot(A, A)]]) if len(A) == 1 else np.einsum("nij,nij->n", A, A)[:, None]


def residual(A: ndarray, X: ndarray, out: ndarray | None = None) -> ndarray:
    """Return ``A X - I``."""
    R = product(A, X, out=out)
    diagonal = np.einsum("nii->ni", R)
    diagonal -= 1
    return R


def squares_of(R: ndarray, before: ndarray, after: ndarray) -> ndarray:
    """Return ``||diag(before) R diag(after)||_F^2`` for every row of both; R may become its squares."""
    if before.shape[1] == 1:
        return _square_norms(R)
    return np.einsum("nki,nki->nk", product(before * before, np.square(R, out=R)), after * after)


def keeps_left(
    measure: Callable[[], ndarray],
    estimate: Callable[[int], ndarray],
    n_probes: int,
    explained: ndarray,
    tol: float,
    asked: ndarray,
) -> ndarray:
    """Return whether ``I - X A`` is explained, by an estimate, or measured where that does not decide."""
    if n_probes and asked.any():
        squares, share = estimate(n_probes), share_of(n_probes)
        if is_explained(squares, share * explained, share**0.5 * tol).all():
            return asked
        asked = asked & is_explained(squares, explained, tol)
    if asked.any():
        asked = asked & is_explained(measure(), explained, tol)
    return asked


def probes_that_decide(foreseen: ndarray, explained: ndarray, tol: float, m: int) -> int:
    """Return how many probes will decide on a left residual of the size foreseen, or 0 where it had better be measured.

    So many that their products cost a quarter of what is saved are the most.
    """
    allowed = np.maximum(explained, tol * tol)
    for n_probes in (N_PROBES, max(N_PROBES, m // 8)):
        if ((foreseen < share_of(n_probes) / 1.2 * allowed) | (foreseen > allowed)).all():
            return n_probes
    return 0


@lru_cache(maxsize=32)
def share_of(n_probes: int) -> float:
    r"""Return how much of what is allowed an estimate by k probes may be.

    The estimate of :math:`\|L\|_F^2` is a fraction t < 1 of it or less with probability at most
    :math:`(t e^{1 - t})^{k/2}` (Chernoff; L of rank 1 is the worst), here 1e-6.
    """
    share = 0.0
    for _ in range(1000):
        share = math.exp(share - 1 - 2 * math.log(1e6) / n_probes)
    return share * (1 - 1e-6)


def estimate(first: ndarray, second: ndarray, before: ndarray, after: ndarray, n_probes: int = N_PROBES) -> ndarray:
    """Estimate what `squares_of` measures of ``I - first second``."""
    probes = _probes(first.shape[-1], n_probes)
    found = []
    for k in range(before.shape[1]):
        chosen = after[:, k, :, None] * probes
        Z = before[:, k, :, None] * (chosen - first @ (second @ chosen))
        found.append(np.einsum("nij,nij->n", Z, Z))
    return np.stack(found, axis=1)


@lru_cache(maxsize=8)
def _probes(m: int, n: int) -> ndarray:
    """Return columns with ``E ||L Omega||_F^2 = ||L||_F^2``."""
    return np.random.Generator(np.random.PCG64(0)).standard_normal((m, n)) / n**0.5


def is_explained(squares: ndarray, explained: ndarray, tol: float) -> ndarray:
    """Return whether each residual is at most ``tol`` or explained, in both units."""
    kept = squares <= (np.maximum(explained, tol * tol) if tol > 0 else explained)
    both: ndarray = kept[:, 0] & kept[:, -1]
    return both
