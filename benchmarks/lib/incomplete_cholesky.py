"""Incomplete Cholesky factorisation without fill-in, for the benchmark of preconditioners."""

from typing import Any

import numpy as np
import scipy.sparse as sp
from numba import njit
from scipy.sparse.linalg import LinearOperator


@njit(cache=False)
def _factorise(pointers: np.ndarray, columns: np.ndarray, values: np.ndarray) -> None:
    """Overwrite the lower triangle of a matrix, rows sorted, by L with ``L L^T`` equal to it where it has entries."""
    n = len(pointers) - 1
    for i in range(n):
        for at in range(pointers[i], pointers[i + 1]):
            j = columns[at]
            total = values[at]
            a, b = pointers[i], pointers[j]
            while a < pointers[i + 1] and b < pointers[j + 1] and columns[a] < j and columns[b] < j:
                if columns[a] == columns[b]:
                    total -= values[a] * values[b]
                    a += 1
                    b += 1
                elif columns[a] < columns[b]:
                    a += 1
                else:
                    b += 1
            values[at] = np.sqrt(total) if i == j else total / values[pointers[j + 1] - 1]


@njit(cache=False)
def _solve(pointers: np.ndarray, columns: np.ndarray, values: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the solution of ``L L^T x = b``."""
    x = b.copy()
    n = len(pointers) - 1
    for i in range(n):
        for at in range(pointers[i], pointers[i + 1] - 1):
            x[i] -= values[at] * x[columns[at]]
        x[i] /= values[pointers[i + 1] - 1]
    for i in range(n - 1, -1, -1):
        x[i] /= values[pointers[i + 1] - 1]
        for at in range(pointers[i], pointers[i + 1] - 1):
            x[columns[at]] -= values[at] * x[i]
    return x


def incomplete_cholesky(A: Any) -> LinearOperator:
    """Return the preconditioner of a symmetric positive definite matrix; NaN where a pivot is not positive."""
    lower = sp.csr_array(sp.tril(A, format="csr"))
    lower.sort_indices()
    parts = lower.indptr.astype(np.int64), lower.indices.astype(np.int64), lower.data.astype(np.float64)
    _factorise(*parts)
    return LinearOperator(A.shape, lambda b: _solve(*parts, np.ascontiguousarray(b, np.float64).ravel()))
