"""``BaseInverter``, the one shape of every inverter."""

import math
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
import torch
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from skdmi.containers import Door, computable, is_dask, output_container, through_dask, to_numpy
from skdmi.estimators.report import INACCURATE
from skdmi.exceptions import InaccurateInverseWarning, SingularMatrixError, SingularMatrixWarning
from skdmi.linalg.exact import pseudo_inverse
from skdmi.linalg.residuals import RECTANGULAR_ADVICE, missing
from skdmi.metrics import frobenius_residuals, with_missing_as_zero
from skdmi.validation import described, tensor_fault

__all__ = [
    "SINGULAR_POLICIES",
    "BaseInverter",
    "float64_hint",
    "name_indices",
    "name_singular",
    "settle_singular",
    "unchanged_on_error",
    "warn_inaccurate",
    "warn_singular",
]

SINGULAR = "are singular to working precision"
SINGULAR_POLICIES = ("warn", "raise", "pinv")
_NOT_THE_USERS = tuple(str(Path(file).parent) + os.sep for file in (__file__, sklearn.__file__))
"""Where a warning does not point to: scikit-learn's wrappers lie between ``transform`` and the line that calls it."""


class BaseInverter(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Base of all inverters: a subclass says how a stack of tensors is inverted, this class does the rest.

    A subclass implements ``fit`` and :meth:`_invert`; one whose answers may be missing also :meth:`_settle`. Stacks
    come as ``(n_matrices, m, m)`` or flat, ``(n_matrices, m * m)``, row-major; numpy, torch and dask containers go out
    as they came in, other array-likes as numpy; float32 and float64 are kept, other real dtypes become float64, and
    torch's half precisions are computed in float32 and returned as given.

    Attributes
    ----------
    matrix_size_ : int
        m. Not set by an inverter that takes any size and was fitted without X.
    n_features_in_ : int
        ``m * m``, for both layouts.
    feature_names_in_ : ndarray of shape (n_features,)
        Column names, when ``fit`` saw a DataFrame.
    """

    def transform(self, X: Any) -> Any:
        """Return the (approximate) inverse of every matrix.

        Parameters
        ----------
        X : array-like of shape (n_matrices, m, m) or (n_matrices, m * m)
            Matrices to invert: numpy array, torch tensor, dask array, list or DataFrame (flat rows).

        Returns
        -------
        inverses : array of the shape, container and dtype of X
            A matrix without an inverse, or with one beyond the range of the dtype, is NaN. Lists and DataFrames give
            numpy arrays, unless ``set_output`` says otherwise; dask arrays are not computed.

        Raises
        ------
        ValueError
            If X is empty, complex, not finite, not made of square matrices, or of a size that was not fitted.
        """
        self._check_ready()
        inverses = self._through_door(X, self._invert_and_settle, keeps_shape=True)
        return inverses if output_container(self) is None else to_numpy(inverses)

    def invert(self, A: Tensor) -> Tensor:
        """Invert tensors directly: differentiable, without scikit-learn's validation, never warning.

        Transforms of :mod:`torch.func` may be put around it, one inside the other: ``vmap``, ``grad``, ``jacrev``,
        ``jacfwd``, ``jvp``, ``vjp``.

        Parameters
        ----------
        A : Tensor of shape (..., m, m)
            Of real floating dtype.

        Returns
        -------
        X : Tensor of shape (..., m, m)
            On the device and in the dtype of A. Members without an inverse, and members with a NaN or infinite entry,
            are NaN.

        Raises
        ------
        TypeError
            If A is not a dense tensor of real floating dtype.
        ValueError
            If the last two axes of A are not square, or of a size that the inverter cannot take.
        """
        self._check_ready()
        if not isinstance(A, Tensor):
            raise TypeError(
                f"invert takes a dense torch tensor of real floating dtype, got {described(A)}; transform takes arrays."
            )
        fault = tensor_fault(A, "A")
        if fault is None and not A.is_floating_point():
            advice = "skdmi.linalg.complex_to_real" if A.is_complex() else "A.double()"
            fault = f"a tensor of {A.dtype}", advice
        if fault is not None:
            raise TypeError(
                f"invert takes a dense torch tensor of real floating dtype, got {fault[0]}. Try {fault[1]}; "
                f"transform takes arrays."
            )
        if A.ndim < 2 or A.shape[-1] != A.shape[-2] or A.shape[-1] == 0:
            advice = f" {RECTANGULAR_ADVICE}" if A.ndim > 1 and A.shape[-1] != A.shape[-2] else ""
            raise ValueError(f"invert takes square matrices, shape (..., m, m), got shape {tuple(A.shape)}.{advice}")
        stack = A.reshape(-1, *A.shape[-2:])
        finite = ~missing(stack)[:, None, None]
        X = self._invert_in_dtype(torch.where(finite, stack, 0.0))
        return torch.where(finite, X, torch.nan).reshape(A.shape)

    def residual_norms(self, X: Any) -> Any:
        r"""Return :math:`\|I - A X\|_F` of every matrix and its computed inverse, measured in float64.

        Parameters
        ----------
        X : array-like of shape (n_matrices, m, m) or (n_matrices, m * m)

        Returns
        -------
        norms : array of shape (n_matrices,), float64, in the container of X
            NaN where there is no inverse.
        """
        self._check_ready()
        return self._through_door(
            X, lambda A, start: frobenius_residuals(A, self._invert_in_dtype(A)), keeps_shape=False
        )

    def score(self, X: Any, y: Any = None) -> float:
        """Return minus the mean residual norm over the stack: larger is better, 0 is perfect.

        A missing inverse counts ``sqrt(m)``, as the zero matrix would.

        Parameters
        ----------
        X : array-like of shape (n_matrices, m, m) or (n_matrices, m * m)
        y : ignored
            Present for scikit-learn.
        """
        del y
        norms = to_numpy(self.residual_norms(X))
        *_, last = shape = np.shape(X)
        return -float(with_missing_as_zero(norms, last if len(shape) == 3 else math.isqrt(last)).mean())

    def _invert(self, A: Tensor) -> Tensor:
        """Invert a finite float32 or float64 stack ``(n_matrices, m, m)``; NaN where there is no inverse."""
        raise NotImplementedError

    def _settle(self, A: Tensor, X: Tensor, start: int) -> Tensor:
        """Say or mend what is missing in X, the inverses of A, in A's dtype; A is X's stack from index ``start``."""
        del A, start
        return X

    def _invert_in_dtype(self, A: Tensor) -> Tensor:
        """Invert a finite stack in its own dtype; an inverse beyond the range of that dtype is missing too."""
        X = self._invert(computable(A)).to(A.dtype)
        return torch.where(missing(X)[:, None, None], torch.nan, X)

    def _invert_and_settle(self, A: Tensor, start: int) -> Tensor:
        return self._settle(A, self._invert_in_dtype(A), start)

    def _check_ready(self) -> None:
        check_is_fitted(self)

    def _open_stack(self, X: Any, *, reset: bool = True) -> Tensor:
        """Check the X of a fit and return it as a tensor ``(n_matrices, m, m)``; with ``reset`` it fixes the size."""
        if is_dask(X):
            X = X.compute()
        if reset:
            self._set_size(None)
        stack = computable(Door.open(self, X, reset=reset).stack)
        if reset:
            self.matrix_size_ = stack.shape[-1]
        return stack

    def _set_size(self, m: int | None) -> None:
        """Fix the size without X, or with None forget it."""
        for name in ("matrix_size_", "n_features_in_", "feature_names_in_", "_size_is_named"):
            self.__dict__.pop(name, None)
        if m is not None:
            self.matrix_size_ = int(m)
            self.n_features_in_ = self.matrix_size_**2
            self._size_is_named = True

    def _through_door(self, X: Any, function: Callable[[Tensor, int], Tensor], *, keeps_shape: bool) -> Any:
        if is_dask(X):
            return through_dask(self, X, function, keeps_shape=keeps_shape)
        return Door.open(self, X, keeps_shape=keeps_shape).pass_through(function, keeps_shape=keeps_shape)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the columns of a flat stack of inverses: those of the stack itself.

        Parameters
        ----------
        input_features : array-like of str, optional
            Must match ``feature_names_in_`` where there is one.

        Returns
        -------
        names : ndarray of str
            ``feature_names_in_``, or else ``"x0", "x1", ...``

        Raises
        ------
        NotFittedError
            If no size is fixed, so that the number of columns is not known.
        """
        if not hasattr(self, "n_features_in_"):
            # set_output takes these words of scikit-learn's for leave to number the columns instead.
            raise NotFittedError(
                f"{type(self).__name__} does not provide get_feature_names_out until fit has fixed the matrix size."
            )
        return super().get_feature_names_out(input_features)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


@contextmanager
def unchanged_on_error(estimator: BaseEstimator) -> Iterator[None]:
    """Leave the estimator exactly as it was if the block raises."""
    before = dict(vars(estimator))
    try:
        yield
    except BaseException:
        vars(estimator).clear()
        vars(estimator).update(before)
        raise


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
        found = name_singular(X, start, reason)
        raise SingularMatrixError(f"{found} singular='warn' returns NaN for them, 'pinv' pseudo-inverses.{hint}")
    if policy == "pinv":
        X = X.clone()
        X[chosen] = pseudo_inverse(A[chosen]).inverse.to(X)
        X[missing(X)] = torch.nan
        warn_singular(X, start, "Their pseudo-inverses are beyond the range of the dtype, so they are NaN; scale X.")
    else:
        warn_singular(X, start, f"Their inverses are NaN; singular='pinv' returns pseudo-inverses.{hint}", reason)
    return X


def float64_hint(A: Tensor, n_rescued: int) -> str:
    """Say, at the end of a message, how many of the missing inverses of A there would be in float64; or nothing.

    >>> float64_hint(torch.eye(2), 3)
    ' In float64, 3 of them would have an inverse: try A.astype(float64).'
    """
    if A.dtype == torch.float64 or n_rescued == 0:
        return ""
    return f" In float64, {n_rescued} of them would have an inverse: try A.astype(float64)."


def warn_inaccurate(chosen: Tensor, dtype: torch.dtype, start: int, what: str) -> None:
    """Warn once, at the user's line, of inverses whose error may be large; indices count from ``start``."""
    if chosen.any():
        advice = "" if dtype == torch.float64 else " Try A.astype(float64), which holds the same numbers."
        warnings.warn(
            f"{int(chosen.sum())} of {len(chosen)} inverses {what} their relative error may exceed {INACCURATE:g}, at "
            f"index {name_indices(chosen, start)}. These matrices are singular but for the last digits of their "
            f"entries; RefinedInverter().report(A).error_bound has bounds.{advice} Scale or pose the problem so that "
            f"it is better conditioned.",
            InaccurateInverseWarning,
            stacklevel=_users_stacklevel(),
        )


def warn_singular(X: Tensor, start: int, advice: str, reason: str = SINGULAR) -> None:
    """Warn once of the missing members of X, if any, at the user's line; ``advice`` says what they are, what to try."""
    if missing(X).any():
        message = f"{name_singular(X, start, reason)} {advice}"
        warnings.warn(message, SingularMatrixWarning, stacklevel=_users_stacklevel())


def _users_stacklevel() -> int:
    """Return the ``stacklevel`` at which a warning of the calling function points to the user's line."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_NOT_THE_USERS):
        frame, level = frame.f_back, level + 1
    return level


def name_singular(X: Tensor, start: int = 0, reason: str = SINGULAR) -> str:
    """Say which members of X, the inverses of a stack from index ``start`` on, are missing.

    >>> name_singular(torch.tensor([[[1.0]], [[torch.nan]]]))
    '1 of 2 matrices are singular to working precision, at index 1.'
    """
    chosen = missing(X)
    return f"{int(chosen.sum())} of {len(X)} matrices {reason}, at index {name_indices(chosen, start)}."


def name_indices(chosen: Tensor, start: int = 0) -> str:
    """Name the first ten of the indices chosen by a mask, counted from ``start``.

    >>> name_indices(torch.tensor([True, False, True]), start=5)
    '5, 7'
    """
    indices = (chosen.nonzero().flatten() + start).tolist()
    return ", ".join(map(str, indices[:10])) + (", ..." if len(indices) > 10 else "")
