"""What sparse systems may be: one square matrix, or a list of them."""

from typing import Any

import numpy as np
import scipy.sparse as sp

from skdmi.arrays import described

_EXPECTED = "Expected a square scipy sparse matrix or array, a dense 2-D array, or a list of them"


def as_systems(X: Any, n_unknowns: int | None = None) -> list[sp.csr_array]:
    """Return the systems in X, one or a list, as CSR arrays of float or complex dtype, duplicates summed.

    Parameters
    ----------
    X : sparse matrix, array of shape (n, n), or list of them
    n_unknowns : int, optional
        The n of a fit.

    Raises
    ------
    TypeError
        If one is no matrix of numbers.
    ValueError
        If one is not square, has another number of unknowns, or an entry that is not finite.

    Examples
    --------
    >>> [A.shape for A in as_systems(sp.eye_array(3))]
    [(3, 3)]
    >>> as_systems(sp.eye_array(3, 4))
    Traceback (most recent call last):
        ...
    ValueError: System 0 has shape (3, 4). Expected a square scipy sparse matrix or array, ...
    """
    if isinstance(X, np.ndarray) and X.dtype == object:
        X = X.ravel()
    systems = list(X) if are_many(X) else [X]
    if len(systems) == 0:
        raise ValueError(f"X holds no system. {_EXPECTED}.")
    return [_as_system(A, k, n_unknowns) for k, A in enumerate(systems)]


def are_many(X: Any) -> bool:
    """Return whether X is a list of systems, or an array of them, and not one.

    >>> are_many(np.ones((2, 3, 3))), are_many([sp.eye_array(3)]), are_many(np.eye(3))
    (True, True, False)
    """
    if isinstance(X, np.ndarray):
        return X.ndim == 3 or (X.dtype == object and X.ndim > 0)
    return isinstance(X, list | tuple)


def _as_system(A: Any, k: int, n_unknowns: int | None) -> sp.csr_array:
    if not (sp.issparse(A) or isinstance(A, np.ndarray)) or A.dtype.kind not in "fciub":
        raise TypeError(f"System {k} is {described(A)} that holds no numbers. {_EXPECTED}.")
    if A.ndim != 2 or A.shape[0] != A.shape[1] or A.shape[0] == 0:
        raise ValueError(f"System {k} has shape {tuple(A.shape)}. {_EXPECTED}.")
    if n_unknowns not in (None, A.shape[0]):
        raise ValueError(
            f"System {k} has {A.shape[0]} unknowns, the fit was for {n_unknowns}. Expected as many; fit again."
        )
    widest = np.complex128 if A.dtype.kind == "c" else np.float64
    dtype = A.dtype if A.dtype in (np.float32, np.complex64) else widest
    system = sp.csr_array(A, dtype=dtype, copy=True)
    system.sum_duplicates()
    if not np.isfinite(system.data).all():
        raise ValueError(f"System {k} has entries that are NaN or infinite. Expected finite ones.")
    return system


def is_hermitian(A: sp.csr_array) -> bool:
    """Return whether a matrix equals its conjugate transposed, to the bit.

    >>> is_hermitian(sp.csr_array([[1.0, 2.0], [2.0, 1.0]])), is_hermitian(sp.csr_array([[1.0, 2.0], [0.0, 1.0]]))
    (True, False)
    """
    return (A != A.conj().T).nnz == 0
