"""What ``singular`` asks for, done to a stack of inverses in tensors."""

import torch
from torch import Tensor

from skdmi.estimators.policies import SINGULAR, settle_missing, warn_singular
from skdmi.linalg.exact import pseudo_inverse
from skdmi.linalg.residuals import missing


def settle_singular(
    A: Tensor, X: Tensor, policy: str, start: int = 0, *, reason: str = SINGULAR, hint: str = ""
) -> Tensor:
    """Deal with the members of A whose inverse in X is missing, as ``singular=policy`` asks.

    A pseudo-inverse beyond the range of the dtype of X is missing too: NaN, with the warning. See
    :func:`skdmi.estimators.policies.settle_missing` for the messages.

    Raises
    ------
    SingularMatrixError
        Under ``"raise"``, naming the indices, counted from ``start``.
    """
    absent = missing(X)
    if not settle_missing(absent, policy, start, reason=reason, hint=hint):
        return X
    X = X.clone()
    X[absent] = pseudo_inverse(A[absent]).inverse.to(X)
    absent = missing(X)
    X[absent] = torch.nan
    warn_singular(absent, start, "Their pseudo-inverses are beyond the range of the dtype, so they are NaN; scale X.")
    return X
