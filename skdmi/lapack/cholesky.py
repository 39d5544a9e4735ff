"""Symmetric matrices by the factors of Cholesky: which may be positive definite, their scales, their inverses."""

import sys
from threading import Lock

import numpy as np
from numpy import ndarray

from skdmi.lapack.scaling import ALONE

SECONDS = 0.2
"""What the import of LAPACK's other functions takes: it is made once so much work would have gained by it."""
_BLOCK = 64
_NEAR = 2.0**16


class Wrappers:
    """The functions of LAPACK that numpy has not, imported once they are worth it."""

    def __init__(self) -> None:
        self._work, self._lock = 0.0, Lock()

    def are_ready(self, work: float) -> bool:
        """Return whether they may be called, where the work in hand takes so many seconds without them."""
        if "scipy.linalg.lapack" in sys.modules:
            return True
        with self._lock:
            self._work += work
            return self._work > SECONDS


WRAPPERS = Wrappers()


def may_be_positive_definite(A: ndarray) -> ndarray:
    """Return which members have a first row that is the first column, a positive diagonal, and so the first minors.

    Two entries settle it of most that are not symmetric; m > 2.
    """
    found: ndarray = (A[:, 0, 1:3] == A[:, 1:3, 0]).all(axis=1)
    if found.any():
        rows, diagonals = A[found, 0], np.einsum("nii->ni", A)[found]
        are_first = (rows == A[found, :, 0]).all(axis=1) & (diagonals > 0).all(axis=1)
        rows /= np.sqrt(diagonals)
        found[found] = are_first & (np.abs(rows[:, 1:]) < rows[:, :1]).all(axis=1)
    return found


def are_symmetric(A: ndarray) -> ndarray:
    """Return which members are symmetric to the bit; signs of zeros do not matter."""
    if A.shape[-1] > ALONE:
        return np.array([_is_symmetric(member) for member in A])
    found: ndarray = np.equal(A, A.transpose(0, 2, 1)).all(axis=(1, 2))
    return found


def _is_symmetric(A: ndarray) -> bool:
    """Compare by blocks, up to the first that differs."""
    return all(np.array_equal(A[i : i + _BLOCK, i:], A[i:, i : i + _BLOCK].T) for i in range(0, len(A), _BLOCK))


def symmetric_scales(A: ndarray) -> ndarray | None:
    """Return d, powers of two that bring the diagonals of ``D A D`` to [1/2, 2); None where one matrix gains nothing.

    The diagonals of A are positive.
    """
    diagonal = np.einsum("nii->ni", A).astype(np.float64)
    if A.shape[-1] > ALONE:
        lowest, highest = diagonal.min(), diagonal.max()
        if highest <= 4 * lowest and 1 / _NEAR <= highest <= _NEAR:
            return None
    exponents = (diagonal.view(np.int64) >> 52) - 1022
    d: ndarray = ((1023 - (exponents >> 1)) << 52).view(np.float64)
    return d


def invert_symmetric(A: ndarray, X: ndarray) -> ndarray:
    """Write the inverses of A into X, both float64, symmetric to the bit, and NaN where there is no factor."""
    from scipy.linalg.lapack import dpotrf, dpotri, dtrtri

    is_small = A.shape[-1] <= ALONE
    finish = dtrtri if is_small else dpotri
    np.copyto(X, A)
    for member in X:
        # What is a lower triangle here is an upper one to LAPACK, which works in place and leaves zeros in the other.
        factor, trouble = dpotrf(member.T, lower=0, clean=1, overwrite_a=1)
        if not trouble:
            _, trouble = finish(factor, lower=0, overwrite_c=1)
        if trouble:
            member.fill(np.nan)
    if is_small:  # dpotri would wake threads for a product that costs less
        product = np.matmul(X.transpose(0, 2, 1), X)
        np.add(product, product.transpose(0, 2, 1), out=X)
        X *= 0.5
    else:
        _fill_upper_triangles(X)
    return X


def _fill_upper_triangles(X: ndarray) -> None:
    """Copy lower triangles into upper ones, which are zero, or NaN as all of the matrix is."""
    for i in range(0, X.shape[-1], _BLOCK):
        rows = slice(i, i + _BLOCK)
        block = X[:, rows, rows]
        block += block.transpose(0, 2, 1)
        X[:, rows, i + _BLOCK :] = X[:, i + _BLOCK :, rows].transpose(0, 2, 1)
    np.einsum("nii->ni", X)[...] *= 0.5
