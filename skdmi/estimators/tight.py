"""Inverses that are exact or nearly so but for one rounding, and a bound for every entry of them."""

from typing import Any

import numpy as np

from skdmi.estimators.report import INACCURATE as INACCURATE_BOUND
from skdmi.figures import CERTIFIED, CONVERGED, INACCURATE, LOOSE, NONSINGULAR, Figures
from skdmi.lanes import checks


def invert_tightly(A: np.ndarray) -> tuple[np.ndarray, Figures, np.ndarray]:
    """Invert a stack, see :func:`skdmi.linalg.refine_tightly`; return X, what is found of each, and the entry bounds.

    What is certified here is A as it is stored.

    Parameters
    ----------
    A : ndarray of shape (n_matrices, m, m)
        float32 or float64, finite, contiguous.

    Examples
    --------
    >>> X, figures, bound = invert_tightly(np.array([[[3.0]], [[0.0]]]))
    >>> X[0], bool(bound[0] < 1e-16), figures.has(CERTIFIED)
    (array([[0.33333333]]), True, array([ True, False]))
    """
    n, m, _ = A.shape
    if not checks.is_ready(m, n):
        return _by_reference(A)
    wide, bound = np.empty((n, m, m)), np.empty((n, m, m))
    found = checks.invert_tightly(A, wide, bound)
    error_bound, norm, rho = found.error_bound, found.residual_norm, found.rho
    X = wide if A.dtype == np.float64 else _rounded(wide, A.dtype, bound, error_bound)
    if X is not wide:
        norm = np.full(n, np.nan)
    figures = _figures(X, error_bound, norm, rho)
    outside = found.outside
    if outside.any():
        X[outside], theirs, bound[outside] = _by_reference(A[outside])
        for kept, new in zip(figures, theirs, strict=True):
            if kept is not None:
                kept[outside] = new
    return X, figures, bound


def _rounded(X: np.ndarray, dtype: Any, bound: np.ndarray, error_bound: np.ndarray) -> np.ndarray:
    """Round inverses; enlarge both bounds, in place, by what that changes."""
    m = X.shape[-1]
    with np.errstate(over="ignore", invalid="ignore"):
        rounded = X.astype(dtype)
        bound += np.abs(rounded - X)
        bound *= 1 + 2.0**-50
        q = np.linalg.norm(bound, axis=(1, 2)) / np.linalg.norm(rounded.astype(np.float64), axis=(1, 2))
        q = q * (1 + m * m * 2.0**-49) + 2.0**-400
        np.copyto(error_bound, np.where(q < 1, q / (1 - q) * (1 + 2.0**-50), np.inf), where=~np.isnan(error_bound))
    return rounded


def _figures(X: np.ndarray, error_bound: np.ndarray, norm: np.ndarray, rho: np.ndarray) -> Figures:
    """Return what the routes say of inverses; without a finite bound, or beyond the range, there is no proof."""
    proved = np.isfinite(error_bound) & np.isfinite(X).all(axis=(1, 2))
    status = proved * np.uint8(CERTIFIED | NONSINGULAR | CONVERGED | LOOSE)
    status |= ~(error_bound <= INACCURATE_BOUND) * np.uint8(INACCURATE)
    return Figures(status, error_bound, norm, np.ones(len(X)), rho)


def _by_reference(A: np.ndarray) -> tuple[np.ndarray, Figures, np.ndarray]:
    import torch

    from skdmi.estimators.reference import refined_tightly  # imports torch

    found = refined_tightly(torch.from_numpy(A))
    certificate, X = found.certificate, found.inverse.numpy().astype(A.dtype)
    error_bound, norm, rho = (T.numpy() for T in (certificate.error_bound, found.residual_norm, certificate.rho))
    return X, _figures(X, error_bound, norm, rho), found.entry_bound.numpy()
