"""What two certificates allow two inverses of one matrix to differ by."""

import numpy as np

from tests.attacks import equilibrated


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
    units = equilibrated(A)[1].swapaxes(1, 2)
    X, Y = (units * outputs["inverse"] for outputs in (one, other))
    largest = _norms(X) / (1 - one["rho"].astype(np.float64))
    return _norms(X - Y) <= (one["rho"] + other["rho"]) * largest


def _norms(stack):
    return np.linalg.norm(stack, axis=(1, 2))
