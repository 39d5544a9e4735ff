"""What two certificates allow two inverses of one matrix to differ by."""

import numpy as np


def agree(A, one, other):
    r"""Return whether inverses, each with its rho below 1, differ by no more than both may be off.

    In the units of a file, where every row, then every column of A has a sum in [1, 2), each is within
    ``rho ||A^-1||_2`` of the inverse, and ``||A^-1||_2 <= ||X|| / (1 - rho)``.

    Parameters
    ----------
    A : ndarray, shape (n_matrices, m, m)
    one, other : dict
        With ``"inverse"`` and ``"rho"``.
    """
    A = A.astype(np.float64)
    rows = 2.0 ** np.floor(np.log2(np.abs(A).sum(2, keepdims=True)))
    columns = 2.0 ** np.floor(np.log2(np.abs(A / rows).sum(1, keepdims=True)))
    X, Y = (columns.swapaxes(1, 2) * outputs["inverse"] * rows.swapaxes(1, 2) for outputs in (one, other))
    largest = _norms(X) / (1 - one["rho"].astype(np.float64))
    return _norms(X - Y) <= (one["rho"] + other["rho"]) * largest


def _norms(stack):
    return np.linalg.norm(stack, axis=(1, 2))
