"""What becomes of a matrix without an inverse, or with one that may be far off: policies, warnings, errors."""

import os
import sys
import warnings
from pathlib import Path

import sklearn
import torch
from torch import Tensor

from skdmi.estimators.report import INACCURATE
from skdmi.exceptions import InaccurateInverseWarning, SingularMatrixError, SingularMatrixWarning, name_indices
from skdmi.linalg.exact import pseudo_inverse
from skdmi.linalg.residuals import missing

SINGULAR = "are singular to working precision"
SINGULAR_POLICIES = ("warn", "raise", "pinv")
_NOT_THE_USERS = tuple(f"{folder}{os.sep}" for folder in (Path(__file__).parents[1], Path(sklearn.__file__).parent))
"""Where a warning does not point to: scikit-learn's wrappers lie between ``transform`` and the line that calls it."""


def settle_singular(
    A: Tensor, X: Tensor, policy: str, start: int = 0, *, reason: str = SINGULAR, hint: str = ""
) -> Tensor:
    """Deal with the members of A whose inverse in X is missing, as ``singular=policy`` asks.

    A pseudo-inverse beyond the range of the dtype of X is missing too: NaN, with the warning. Messages say ``reason``
    of the missing, and end with ``hint``.

    Raises
    ------
    SingularMatrixError
        Under ``"raise"``, naming the indices, counted from ``start``.
    """
    chosen = missing(X)
    if not chosen.any():
        return X
    if policy == "raise":
        found = _name_missing(chosen, start, reason)
        raise SingularMatrixError(f"{found} singular='warn' returns NaN for them, 'pinv' pseudo-inverses.{hint}")
    if policy == "warn":
        warn_singular(X, start, f"Their inverses are NaN; singular='pinv' returns pseudo-inverses.{hint}", reason)
        return X
    X = X.clone()
    X[chosen] = pseudo_inverse(A[chosen]).inverse.to(X)
    X[missing(X)] = torch.nan
    warn_singular(X, start, "Their pseudo-inverses are beyond the range of the dtype, so they are NaN; scale X.")
    return X


def warn_singular(X: Tensor, start: int, advice: str, reason: str = SINGULAR) -> None:
    """Warn once of the missing members of X, if any, at the user's line; ``advice`` says what they are, what to try."""
    chosen = missing(X)
    if chosen.any():
        message = f"{_name_missing(chosen, start, reason)} {advice}"
        warnings.warn(message, SingularMatrixWarning, stacklevel=_users_stacklevel())


def warn_inaccurate(chosen: Tensor, dtype: torch.dtype, start: int, what: str) -> None:
    """Warn once, at the user's line, of inverses whose error may be large; indices count from ``start``."""
    if chosen.any():
        advice = "" if dtype == torch.float64 else " Try A.astype(float64), which holds the same numbers."
        warnings.warn(
            f"{int(chosen.sum())} of {len(chosen)} inverses {what} their relative error may exceed {INACCURATE:g}, at "
            f"index {name_indices(chosen.nonzero(), start)}. These matrices are singular but for the last digits of "
            f"their entries; RefinedInverter().report(A).error_bound has bounds.{advice} Scale or pose the problem so "
            f"that it is better conditioned.",
            InaccurateInverseWarning,
            stacklevel=_users_stacklevel(),
        )


def float64_hint(A: Tensor, n_rescued: int) -> str:
    """Say, at the end of a message, how many of the missing inverses of A there would be in float64; or nothing.

    >>> float64_hint(torch.eye(2), 3)
    ' In float64, 3 of them would have an inverse: try A.astype(float64).'
    """
    if A.dtype == torch.float64 or n_rescued == 0:
        return ""
    return f" In float64, {n_rescued} of them would have an inverse: try A.astype(float64)."


def pinv_advice(meta: object) -> str:
    """Say, after the names of singular matrices, what became of them, and who puts pseudo-inverses there."""
    return (
        f"Their inverses are NaN; RefinedInverter({type(meta).__name__}(...), singular='pinv') returns pseudo-inverses."
    )


def _name_missing(chosen: Tensor, start: int, reason: str) -> str:
    return f"{int(chosen.sum())} of {len(chosen)} matrices {reason}, at index {name_indices(chosen.nonzero(), start)}."


def _users_stacklevel() -> int:
    """Return the ``stacklevel`` at which a warning of the calling function points to the user's line."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_NOT_THE_USERS):
        frame, level = frame.f_back, level + 1
    return level
