"""Exact truth about computed inverses, by rationals."""

import numpy as np
import torch

from benchmarks.lib.exact_arithmetic import exactly, rational, rounded, square_norm


def hilbert(m):
    return 1 / (np.arange(m)[:, None] + np.arange(m) + 1.0)


def exact_inverse(A):
    """Return the inverse of one matrix of numpy as a rational matrix, None if it is singular."""
    matrix = rational(torch.from_numpy(A))
    return None if matrix.det() == 0 else matrix.inv()


def errors(X, inverse):
    """Return ``X - A^-1``, rational."""
    return rational(torch.from_numpy(X)) - inverse


def relative_error(X, inverse):
    """Return ``||X - A^-1||_F / ||A^-1||_F``."""
    return rounded(square_norm(errors(X, inverse)) / square_norm(inverse)) ** 0.5


def holds(bound, exact):
    """Return whether a bound, which may be infinite, is at least the absolute value of an exact number."""
    return bound == np.inf or abs(exact) <= exactly(float(bound))


def are_true(A, X, certified, error_bound, entry_bound=None):
    """Demand that all that is said of a stack is true, matrix by matrix."""
    for k in range(len(A)):
        inverse = exact_inverse(A[k])
        if not certified[k]:
            assert entry_bound is None or np.isinf(entry_bound[k]).all()
            continue
        assert inverse is not None, "a singular matrix is certified"
        if not np.isfinite(X[k]).all():  # beyond the range
            assert error_bound[k] == np.inf
            continue
        difference = errors(X[k], inverse)
        if np.isfinite(error_bound[k]):
            assert square_norm(difference) <= exactly(float(error_bound[k])) ** 2 * square_norm(inverse)
        if entry_bound is not None:
            assert all(map(holds, entry_bound[k].flat, difference.entries()))
    return True


def correctly_rounded(inverse, dtype=np.float64):
    """Return the entries of a rational matrix in a dtype, each rounded once."""
    m = inverse.nrows()
    wide = np.array([rounded(x) for x in inverse.entries()]).reshape(m, m)
    if dtype == np.float64:
        return wide
    narrow = wide.astype(dtype)  # where float64 lies halfway between two, the exact number decides
    for index, x in enumerate(inverse.entries()):
        candidates = [np.nextafter(narrow.flat[index], limit, dtype=dtype) for limit in (-np.inf, np.inf)]
        best = min([narrow.flat[index], *candidates], key=lambda c: abs(exactly(float(c)) - x))
        narrow.flat[index] = best
    return narrow
