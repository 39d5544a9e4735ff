"""How far an inverse is off, and how far a backward stable one may be: in units that hide nothing."""

from typing import NamedTuple

import numpy as np

FACTOR = 8
"""Times ``m u cond``: a worst case of rounding in which errors average out, as they do, is far below it."""
LIMIT = 1e-2
"""What is further off than this is wrong, however ill-conditioned the matrix."""
LOG_MEAN_PASSES = 16


class Distance(NamedTuple):
    """What :func:`measure` returns, for each matrix, shape (n_matrices,)."""

    error: np.ndarray
    allowed: np.ndarray
    condition: np.ndarray
    """``cond_2`` of the equilibrated matrix."""


def measure(A: np.ndarray, X: np.ndarray, inverse: np.ndarray, inverse_low: np.ndarray) -> Distance:
    r"""Measure inverses against exact ones.

    In the units of the equilibrated matrix, with :math:`D_1, D_2` powers of two and u the unit roundoff of A,

    .. math:: A' = D_1 A D_2, \quad
       \epsilon = \frac{\| D_2^{-1} \max(|X - A^{-1}| - m \eta, 0) D_1^{-1} \|_F}{\| D_2^{-1} A^{-1} D_1^{-1} \|_F},
       \qquad \epsilon \le \min(8\, m\, u\, \kappa_2(A'), 10^{-2})

    is allowed. A method that is backward stable for :math:`A'`, row by row or column by column, has an error of
    :math:`c\, u\, \kappa_2(A')`, with a c of the order of 1 in practice. Both sides are nearly the same in all units of
    rows and columns: an error that is small only beside entries in a larger unit is not small here. Of several scalings
    by largest entries, the one with the smallest :math:`\kappa_2(A')` is taken: alone, rows or columns that are scaled
    so come within a factor of about m of the least condition number that can be reached (van der Sluis 1969).

    :math:`\eta`, the smallest subnormal number, is what gradual underflow may take from an entry; to lose all of a
    subnormal entry, as where a processor takes it for zero, counts as an error if it shows in these units.

    Parameters
    ----------
    A, X : ndarrays of shape (n_matrices, m, m)
        Matrices, float32 or float64, and what was returned, in any dtype.
    inverse, inverse_low : ndarrays of shape (n_matrices, m, m)
        The exact inverses as pairs, finite.

    Returns
    -------
    Distance
        The error is NaN where X is not finite.

    References
    ----------
    van der Sluis, "Condition numbers and equilibration of matrices", Numerische Mathematik 14, 1969.

    Higham, "Accuracy and stability of numerical algorithms", 2nd edition, SIAM, 2002, chapter 14.

    Examples
    --------
    >>> A = np.array([[[2.0, 0.0], [0.0, 4e20]]])
    >>> exact = np.array([[[0.5, 0.0], [0.0, 2.5e-21]]])
    >>> measure(A, np.array([[[0.5, 0.0], [0.0, 0.0]]]), exact, 0 * exact).error.round(2)
    array([0.59])
    """
    m = A.shape[-1]
    precision = np.finfo(A.dtype)
    with np.errstate(all="ignore"):
        rows, columns, condition = best_units(A.astype(np.float64), inverse)
        difference = np.abs((X - inverse) - inverse_low)
        difference = np.maximum(difference - m * float(precision.smallest_subnormal), 0)
        error = _norm(scaled(difference, -columns, -rows)) / _norm(scaled(inverse, -columns, -rows))
    error = np.where(np.isfinite(X).all(axis=(1, 2)), np.nan_to_num(error, nan=np.inf), np.nan)
    return Distance(error, np.minimum(FACTOR * m * float(precision.eps) / 2 * condition, LIMIT), condition)


def best_units(A: np.ndarray, inverse: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the exponents of D1 and D2, of several the best, and the condition number of ``D1 A D2``.

    >>> A = np.array([[[1.0, 0.0], [0.0, 2.0**40]]])
    >>> rows, columns, condition = best_units(A, 1 / np.where(A == 0, np.inf, A))
    >>> (rows + columns).tolist(), condition.tolist()
    ([[-1, -41]], [1.0])
    """
    found = []
    for rows, columns in _candidates(A):
        both = scaled(A, rows, columns), scaled(inverse, -columns, -rows)
        norms = [np.linalg.norm(B, 2, axis=(1, 2)) for B in both]
        found.append((rows, columns, norms[0] * norms[1]))
    chosen = np.argmin([condition for _, _, condition in found], axis=0)
    rows, columns, condition = (np.stack(parts)[chosen, np.arange(len(A))] for parts in zip(*found, strict=True))
    return rows, columns, condition


def scaled(A: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return A with rows and columns multiplied by powers of two.

    >>> scaled(np.ones((1, 2, 2)), np.array([[0, 1]]), np.array([[0, 2]]))
    array([[[1., 4.],
            [2., 8.]]])
    """
    return np.ldexp(A, rows[:, :, None] + columns[:, None, :])


def _candidates(A: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return exponents by largest entries, rows first and columns first; and so after means of logarithms."""
    exponents = np.where(A == 0, -np.inf, np.frexp(A)[1])
    r, c = _log_means(exponents)
    after = exponents + r[:, :, None] + c[:, None, :]
    by_rows, by_columns, r_after = _by_largest(exponents), _by_largest(exponents.swapaxes(1, 2)), _by_largest(after)
    pairs = [by_rows, by_columns[::-1], (r + r_after[0], c + r_after[1])]
    return [(rows.astype(np.int64), columns.astype(np.int64)) for rows, columns in pairs]


def _by_largest(exponents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return exponents that bring the largest entry of every row, then of every column, to [1/2, 1)."""
    rows = -exponents.max(axis=2)
    return rows, -(exponents + rows[:, :, None]).max(axis=1)


def _log_means(exponents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return rounded exponents that bring the geometric means of the entries of rows and columns to 1, nearly."""
    present = np.isfinite(exponents)
    known = np.where(present, exponents, 0.0)
    n_in_rows, n_in_columns = present.sum(axis=2), present.sum(axis=1)
    rows = columns = np.zeros(known.shape[:2])
    for _ in range(LOG_MEAN_PASSES):
        rows = -(present * (known + columns[:, None, :])).sum(axis=2) / n_in_rows
        columns = -(present * (known + rows[:, :, None])).sum(axis=1) / n_in_columns
    return np.rint(rows), np.rint(columns)


def _norm(A: np.ndarray) -> np.ndarray:
    """Return Frobenius norms of matrices whose entries may be too large or small to be squared."""
    largest = np.abs(A).max(axis=(1, 2))
    unit = np.where((largest > 0) & np.isfinite(largest), largest, 1.0)
    norms: np.ndarray = np.linalg.norm(A / unit[:, None, None], axis=(1, 2)) * unit
    return norms
