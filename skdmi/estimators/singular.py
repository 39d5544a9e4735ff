"""What ``singular`` asks for, done to a stack of inverses in tensors."""

import numpy as np
import torch
from torch import Tensor

from skdmi.estimators.policies import SINGULAR, settle_missing, warn_beyond_range
from skdmi.linalg.certificate import rounded_error_bound
from skdmi.linalg.complex import complex_to_real, nearest_complex
from skdmi.linalg.exact import pseudo_inverse
from skdmi.linalg.residuals import missing


def settle_singular(
    A: Tensor, X: Tensor, absent: Tensor, policy: str, start: int = 0, *, reason: str = SINGULAR, hint: str = ""
) -> Tensor:
    """Deal with the members of A whose inverse in X is absent, as ``singular=policy`` asks.

    A pseudo-inverse beyond the range of the dtype of X is missing too: NaN, with the warning. See
    :func:`skdmi.estimators.policies.settle_missing` for the messages.

    Raises
    ------
    SingularMatrixError
        Under ``"raise"``, naming the indices, counted from ``start``.
    """
    if not settle_missing(absent, policy, start, reason=reason, hint=hint):
        return X
    return with_pseudo_inverses(A, X, absent, start)


def with_pseudo_inverses(A: Tensor, X: Tensor, absent: Tensor, start: int = 0) -> Tensor:
    """Return inverses with pseudo-inverses where they are absent; one beyond the range is NaN, with a warning."""
    X = X.clone()
    X[absent] = _pseudo_inverses(A[absent], X.dtype)
    warn_beyond_range(missing(X), start)
    return X


def put_pseudo_inverses(A: np.ndarray, X: np.ndarray, absent: np.ndarray) -> None:
    """Put pseudo-inverses, in numpy arrays, where inverses are absent."""
    X[absent] = _pseudo_inverses(torch.from_numpy(A[absent]), torch.from_numpy(X[:0]).dtype).numpy()
    warn_beyond_range(np.isnan(X).any(axis=(1, 2)), 0)


def pseudo_inverse_bound(A: Tensor, X: Tensor) -> Tensor:
    """Return bounds on the relative errors of pseudo-inverses, of complex matrices through the embedding."""
    if A.is_complex():
        A, X = complex_to_real(A), complex_to_real(X)
    found = pseudo_inverse(A)
    return rounded_error_bound(found.error_bound, found.inverse, X)


def _pseudo_inverses(A: Tensor, dtype: torch.dtype) -> Tensor:
    if A.is_complex():
        return nearest_complex(_pseudo_inverses(complex_to_real(A), A.real.dtype))
    found = pseudo_inverse(A).inverse.to(dtype)
    return torch.where(missing(found)[:, None, None], torch.nan, found)
