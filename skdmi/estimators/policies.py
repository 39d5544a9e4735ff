"""What becomes of a matrix without an inverse, or with one that may be far off: policies, warnings, errors.

Functions take masks of shape (n_matrices,), arrays of numpy or torch; indices in messages count from ``start``.
"""

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np

from skdmi.arrays import to_numpy
from skdmi.estimators.report import INACCURATE
from skdmi.exceptions import (
    InaccurateInverseWarning,
    SingularMatrixError,
    SingularMatrixWarning,
    UncertifiedError,
    name_indices,
)
from skdmi.figures import CERTIFIED, NONSINGULAR
from skdmi.figures import INACCURATE as INACCURATE_BIT

SINGULAR = "are singular to working precision"
UNCERTIFIED = "have no certificate after refinement"
SINGULAR_POLICIES = ("warn", "raise", "pinv")
UNCERTIFIED_POLICIES = ("exact", "nan", "keep", "raise")
_PACKAGE = Path(__file__).parents[1]
_IS_LEFT_TO_ANOTHER: ContextVar[bool] = ContextVar("_IS_LEFT_TO_ANOTHER", default=False)


def settle_status(status: Any, absent: Any, dtype: Any, start: int = 0, *, uncertified: str, singular: str) -> bool:
    """Warn or raise, as the policies of a RefinedInverter ask, of certified inverses; return as `settle_missing` does.

    Parameters
    ----------
    status : array of uint8, shape (n_matrices,)
        Bits of :mod:`skdmi.figures`.
    absent : array of bool, shape (n_matrices,)
        Which inverses are not returned.
    dtype : dtype of numpy or torch
        Of the inverses.

    Raises
    ------
    UncertifiedError, SingularMatrixError
        If asked for.

    Examples
    --------
    >>> status = np.array([CERTIFIED, 0], np.uint8)
    >>> settle_status(status, status == 0, np.dtype("float64"), uncertified="exact", singular="pinv")
    True
    """
    status, absent = to_numpy(status), to_numpy(absent)
    far = CERTIFIED | INACCURATE_BIT
    warn_inaccurate((status & far) == far, dtype, start, "are certified, but")
    if uncertified == "raise":
        refuse_uncertified(absent, start)
    reason = SINGULAR if uncertified == "exact" else UNCERTIFIED
    hint = float64_hint(dtype, int(np.count_nonzero(status[absent] & NONSINGULAR)))
    return settle_missing(absent, singular, start, reason=reason, hint=hint)


def settle_missing(absent: Any, policy: str, start: int = 0, *, reason: str = SINGULAR, hint: str = "") -> bool:
    """Warn once, or raise, as ``singular=policy`` asks, of missing inverses; return whether to put pseudo-inverses.

    Messages say ``reason`` of the missing, and end with ``hint``.

    Raises
    ------
    SingularMatrixError
        Under ``"raise"``, naming the indices.

    Examples
    --------
    >>> settle_missing(np.array([False, True]), "raise")
    Traceback (most recent call last):
        ...
    skdmi.exceptions.SingularMatrixError: 1 of 2 matrices are singular to working precision, at index 1. ...
    >>> settle_missing(np.array([False, True]), "pinv"), settle_missing(np.array([False, False]), "pinv")
    (True, False)
    """
    absent = to_numpy(absent)
    if policy == "raise" and absent.any():
        found = _name_missing(absent, start, reason)
        raise SingularMatrixError(f"{found} singular='warn' returns NaN for them, 'pinv' pseudo-inverses.{hint}")
    if policy == "warn":
        warn_singular(absent, start, f"Their inverses are NaN; singular='pinv' returns pseudo-inverses.{hint}", reason)
    return policy == "pinv" and bool(absent.any())


def warn_singular(absent: Any, start: int, advice: str, reason: str = SINGULAR) -> None:
    """Warn once of missing inverses, if any, at the user's line; ``advice`` says what they are, what to try."""
    absent = to_numpy(absent)
    if absent.any() and not _IS_LEFT_TO_ANOTHER.get():
        message = f"{_name_missing(absent, start, reason)} {advice}"
        warnings.warn(message, SingularMatrixWarning, stacklevel=users_stacklevel())


def warn_beyond_range(absent: Any, start: int) -> None:
    """Warn once of missing pseudo-inverses, if any."""
    warn_singular(absent, start, "Their pseudo-inverses are beyond the range of the dtype, so they are NaN; scale X.")


def warn_inaccurate(chosen: Any, dtype: Any, start: int, what: str) -> None:
    """Warn once, at the user's line, of inverses, in a dtype of numpy or torch, whose error may be large."""
    chosen = to_numpy(chosen)
    if chosen.any() and not _IS_LEFT_TO_ANOTHER.get():
        advice = "" if is_double(dtype) else " Try double precision, which holds the same numbers."
        warnings.warn(
            f"{chosen.sum()} of {len(chosen)} inverses {what} their relative error may exceed {INACCURATE:g}, at "
            f"index {name_indices(np.flatnonzero(chosen), start)}. These matrices are singular but for the last digits "
            f"of their entries; RefinedInverter().report(A).error_bound has bounds.{advice} Scale or pose the problem "
            f"so that it is better conditioned.",
            InaccurateInverseWarning,
            stacklevel=users_stacklevel(),
        )


@contextmanager
def left_to_another() -> Iterator[None]:
    """Let nobody in this thread warn of missing or inaccurate inverses: whoever calls will.

    ``warnings.catch_warnings`` would change the filters of all threads.

    >>> with left_to_another():
    ...     warn_singular(np.array([True]), 0, "Nobody is told.")
    """
    token = _IS_LEFT_TO_ANOTHER.set(True)
    try:
        yield
    finally:
        _IS_LEFT_TO_ANOTHER.reset(token)


def refuse_uncertified(absent: Any, start: int = 0) -> None:
    """Refuse missing inverses, if any, as ``uncertified="raise"`` asks.

    Raises
    ------
    UncertifiedError
        Naming the indices.
    """
    absent = to_numpy(absent)
    if absent.any():
        raise UncertifiedError(
            f"{absent.sum()} of {len(absent)} inverses {UNCERTIFIED}, "
            f"at index {name_indices(np.flatnonzero(absent), start)}. "
            f"uncertified='exact' inverts those matrices by LAPACK, 'nan' and 'keep' do not raise."
        )


def float64_hint(dtype: Any, n_rescued: int) -> str:
    """Say, at the end of a message, how many inverses missing in a dtype double precision would have; or nothing.

    >>> float64_hint(np.dtype("float32"), 3)
    ' In double precision, 3 of them would have an inverse: try that.'
    """
    if is_double(dtype) or n_rescued == 0:
        return ""
    return f" In double precision, {n_rescued} of them would have an inverse: try that."


def is_double(dtype: Any) -> bool:
    """Return whether a dtype, of numpy or torch, real or complex, is of double precision.

    >>> is_double(np.dtype("complex64"))
    False
    """
    is_complex = getattr(dtype, "kind", "") == "c" or getattr(dtype, "is_complex", False)
    return bool(dtype.itemsize >= (16 if is_complex else 8))


def pinv_advice(meta: object) -> str:
    """Say, after the names of singular matrices, what became of them, and who puts pseudo-inverses there."""
    return (
        f"Their inverses are NaN; RefinedInverter({type(meta).__name__}(...), singular='pinv') returns pseudo-inverses."
    )


def _name_missing(absent: np.ndarray, start: int, reason: str) -> str:
    indices = np.flatnonzero(absent)
    return f"{len(indices)} of {len(absent)} matrices {reason}, at index {name_indices(indices, start)}."


def users_stacklevel() -> int:
    """Return the ``stacklevel`` at which a warning of the calling function points to the user's line.

    That is neither in this package nor in scikit-learn, whose wrappers lie between ``transform`` and its caller.
    """
    sklearn = sys.modules.get("sklearn")
    folders = [_PACKAGE] if sklearn is None else [_PACKAGE, Path(str(sklearn.__file__)).parent]
    not_the_users = tuple(f"{folder}{os.sep}" for folder in folders)
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_code.co_filename.startswith(not_the_users):
        frame, level = frame.f_back, level + 1
    return level
