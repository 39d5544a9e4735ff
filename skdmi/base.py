"""``BaseInverter``, the one shape of every inverter, and the one door through which a stack enters and leaves."""

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils import check_array
from sklearn.utils._set_output import _get_output_config
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from skdmi.exceptions import SingularMatrixError, SingularMatrixWarning
from skdmi.metrics import frobenius_residuals, with_missing_as_zero

__all__ = ["SINGULAR_POLICIES", "BaseInverter", "settle_singular", "unchanged_on_error"]

SINGULAR_POLICIES = ("warn", "raise", "pinv")


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
    feature_names_in_ : ndarray of shape (n_features_in_,)
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
            A matrix without an inverse is NaN. Lists and DataFrames give numpy arrays, unless ``set_output`` says
            otherwise; dask arrays are not computed.

        Raises
        ------
        ValueError
            If X is empty, complex, not finite, not made of square matrices, or of a size that was not fitted.
        """
        self._check_ready()
        inverses = self._through_door(X, self._invert_and_settle, keeps_shape=True)
        return inverses if _output_container(self) is None else _to_numpy(inverses)

    def invert(self, A: Tensor) -> Tensor:
        """Invert tensors directly: differentiable, without scikit-learn's validation, never warning.

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
            If A is not a tensor of real floating dtype.
        ValueError
            If the last two axes of A are not square, or of a size that the inverter cannot take.
        """
        self._check_ready()
        if not isinstance(A, Tensor) or not A.is_floating_point():
            got = f"a tensor of {A.dtype}" if isinstance(A, Tensor) else f"{type(A).__name__}"
            raise TypeError(f"invert takes a torch tensor of real floating dtype, got {got}; transform takes arrays.")
        if A.ndim < 2 or A.shape[-1] != A.shape[-2]:
            raise ValueError(f"invert takes square matrices, shape (..., m, m), got shape {tuple(A.shape)}.")
        stack = A.reshape(-1, *A.shape[-2:])
        finite = stack.isfinite().all(dim=-1).all(dim=-1)[:, None, None]
        X = self._invert(_computable(torch.where(finite, stack, 0.0)))
        return torch.where(finite, X, torch.nan).to(A.dtype).reshape(A.shape)

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
        return self._through_door(X, lambda A, start: frobenius_residuals(A, self._invert(A)), keeps_shape=False)

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
        norms = _to_numpy(self.residual_norms(X))
        *_, last = shape = np.shape(X)
        return -float(with_missing_as_zero(norms, last if len(shape) == 3 else math.isqrt(last)).mean())

    def _invert(self, A: Tensor) -> Tensor:
        """Invert a finite float32 or float64 stack ``(n_matrices, m, m)``; NaN where there is no inverse."""
        raise NotImplementedError

    def _settle(self, A: Tensor, X: Tensor, start: int) -> Tensor:
        """Say or mend what is missing in X, the inverses of A; A is X's stack from index ``start``."""
        del A, start
        return X

    def _invert_and_settle(self, A: Tensor, start: int) -> Tensor:
        return self._settle(A, self._invert(A), start)

    def _check_ready(self) -> None:
        check_is_fitted(self)

    def _open_stack(self, X: Any, *, reset: bool = True) -> Tensor:
        """Check the X of a fit and return it as a tensor ``(n_matrices, m, m)``; with ``reset`` it fixes the size."""
        if _is_dask(X):
            X = X.compute()
        if reset:
            self._set_size(None)
        stack = _computable(_Door.open(self, X, reset=reset).stack)
        if reset:
            self.matrix_size_ = stack.shape[-1]
        return stack

    def _set_size(self, m: int | None) -> None:
        """Fix the size without X, or with None forget it."""
        for name in ("matrix_size_", "n_features_in_", "feature_names_in_"):
            vars(self).pop(name, None)
        if m is not None:
            self.matrix_size_ = int(m)
            self.n_features_in_ = self.matrix_size_**2

    def _through_door(self, X: Any, function: Callable[[Tensor, int], Tensor], *, keeps_shape: bool) -> Any:
        if _is_dask(X):
            return _through_dask(self, X, function, keeps_shape=keeps_shape)
        return _Door.open(self, X, reset=False).pass_through(function, keeps_shape=keeps_shape)

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


def settle_singular(A: Tensor, X: Tensor, policy: str, start: int = 0) -> Tensor:
    """Deal with the members of A whose inverse in X is missing (NaN), as ``singular=policy`` asks.

    Raises
    ------
    SingularMatrixError
        Under ``"raise"``, naming the indices, counted from ``start``.
    """
    missing = X.isnan().any(dim=-1).any(dim=-1)
    if not missing.any():
        return X
    if policy == "pinv":
        X = X.clone()
        X[missing] = torch.linalg.pinv(A[missing].double()).to(X.dtype)
        return X
    indices = (missing.nonzero().flatten() + start).tolist()
    named = ", ".join(map(str, indices[:10])) + (", ..." if len(indices) > 10 else "")
    found = f"{len(indices)} of {len(A)} matrices are singular to working precision, at index {named}."
    if policy == "raise":
        raise SingularMatrixError(f"{found} singular='warn' returns NaN for them, 'pinv' pseudo-inverses.")
    warnings.warn(
        f"{found} Their inverses are NaN; singular='pinv' returns pseudo-inverses.", SingularMatrixWarning, stacklevel=2
    )
    return X


@dataclass(frozen=True)
class _Door:
    """A stack on its way in, and what is needed to lead an answer out the same way."""

    stack: Tensor
    shape: tuple[int, ...]
    is_torch: bool

    @classmethod
    def open(cls, estimator: BaseInverter, X: Any, *, reset: bool) -> Self:
        if not hasattr(X, "shape"):
            X = _as_array(X)
        _check_layout(estimator, X.shape, reset=reset)
        return cls.open_checked(estimator, X, reset=reset)

    @classmethod
    def open_checked(cls, estimator: BaseInverter, X: Any, *, reset: bool) -> Self:
        is_torch = isinstance(X, Tensor)
        flat = _flat_tensor(estimator, X, reset=reset) if is_torch else _flat_array(estimator, X, reset=reset)
        m = math.isqrt(flat.shape[1])
        if m * m != flat.shape[1]:
            raise ValueError(
                f"A flat stack holds one m x m matrix a row, so its number of columns is a square; got "
                f"{flat.shape[1]} columns. One matrix is X[None]; a stack has shape (n_matrices, m, m)."
            )
        _refuse_non_finite(flat)
        return cls(flat.reshape(-1, m, m), tuple(X.shape), is_torch)

    def pass_through(self, function: Callable[[Tensor, int], Tensor], *, start: int = 0, keeps_shape: bool) -> Any:
        with torch.no_grad():
            answer = function(_computable(self.stack), start)
        if keeps_shape:
            answer = answer.to(self.stack.dtype).reshape(self.shape)
        return answer if self.is_torch else answer.cpu().numpy()


def _as_array(X: Any) -> Any:
    try:
        return np.asarray(X)
    except ValueError as error:
        raise ValueError(
            "X is ragged: its rows or matrices differ in length. Expected shape (n_matrices, m, m) or "
            "(n_matrices, m * m); matrices of several sizes need a stack each."
        ) from error


def _check_layout(estimator: BaseInverter, shape: tuple[int, ...], *, reset: bool) -> None:
    """Refuse in the words of matrices what scikit-learn would refuse in the words of features, or misread."""
    shape = tuple(shape)
    fitted = None if reset else getattr(estimator, "matrix_size_", None)
    if len(shape) == 3:
        if shape[1] != shape[2] or shape[1] == 0:
            raise ValueError(
                f"Expected a stack of square matrices, shape (n_matrices, m, m), got shape {shape}. "
                f"A rectangular matrix has no inverse: see numpy.linalg.pinv."
            )
        if fitted is not None and fitted != shape[1]:
            raise ValueError(
                f"X holds {shape[1]} x {shape[1]} matrices, but {type(estimator).__name__} is fitted for "
                f"{fitted} x {fitted}. Fit it for that size; for larger matrices see BlockInverter."
            )
        container = None if reset else _output_container(estimator)
        if container is not None:
            raise ValueError(
                f"A stack of shape {shape} cannot become a {container} table. Pass it flat, "
                f"X.reshape({shape[0]}, {shape[1] ** 2}), or set transform_output to 'default'."
            )
    elif len(shape) > 3:
        raise ValueError(
            f"Expected shape (n_matrices, m, m) or (n_matrices, m * m), got {len(shape)} axes: {shape}. "
            f"Try X.reshape(-1, m, m), or invert(A), which takes any leading axes."
        )
    elif len(shape) == 2 and shape[0] == shape[1] and shape[0] > 1:
        side = shape[0]
        if fitted == side:
            raise ValueError(
                f"X has {side} features, but {type(estimator).__name__} is expecting {side * side} features as input: "
                f"in an estimator a 2-D X is a flat stack, one matrix a row. For one {side} x {side} matrix pass "
                f"X[None]."
            )
        if fitted is None and math.isqrt(side) ** 2 == side:
            root = math.isqrt(side)
            raise ValueError(
                f"A {side} x {side} array is ambiguous: one {side} x {side} matrix, or {side} flat matrices of "
                f"{root} x {root}? Pass X[None] or X.reshape(-1, {root}, {root})."
            )


def _output_container(estimator: BaseInverter) -> str | None:
    container = _get_output_config("transform", estimator)["dense"]
    return None if container == "default" else container


def _flat_array(estimator: BaseInverter, X: Any, *, reset: bool) -> Tensor:
    if getattr(getattr(X, "dtype", None), "kind", None) == "c":
        raise ValueError(_complex_refusal(X.dtype))
    if X.ndim == 3:
        X = np.asarray(X).reshape(X.shape[0], X.shape[1] * X.shape[2])
    options = {"dtype": [np.float64, np.float32], "ensure_all_finite": False}
    if reset or hasattr(estimator, "n_features_in_"):
        array = validate_data(estimator, X, reset=reset, **options)
    else:
        array = check_array(X, estimator=estimator, input_name="X", **options)
    return torch.from_numpy(np.require(array, requirements=["C", "W"]))


def _flat_tensor(estimator: BaseInverter, X: Tensor, *, reset: bool) -> Tensor:
    if X.is_complex():
        raise ValueError(_complex_refusal(X.dtype))
    if X.ndim < 2:
        raise ValueError(f"Expected a tensor of shape (n_matrices, m, m) or (n_matrices, m * m), got {tuple(X.shape)}.")
    if X.numel() == 0:
        raise ValueError(f"X is empty: shape {tuple(X.shape)}. Expected at least one matrix.")
    flat = X.detach().flatten(1)
    if reset or hasattr(estimator, "n_features_in_"):
        validate_data(estimator, flat, reset=reset, skip_check_array=True)
    return flat if flat.is_floating_point() else flat.double()


def _complex_refusal(dtype: Any) -> str:
    return (
        f"Complex data not supported, got {dtype}. Embed the matrices as real ones of twice the size with "
        f"skdmi.linalg.complex_to_real, and bring the inverses back with real_to_complex."
    )


def _refuse_non_finite(flat: Tensor) -> None:
    bad = ~flat.isfinite().all(dim=1)
    if bad.any():
        indices = bad.nonzero().flatten()
        kind = "NaN" if flat.isnan().any() else "infinity"
        raise ValueError(
            f"X contains {kind} (NaN or inf) in {len(indices)} of {len(flat)} matrices, the first at index "
            f"{int(indices[0])}. Expected finite entries: leave those matrices out."
        )


def _computable(stack: Tensor) -> Tensor:
    return stack.float() if stack.dtype in (torch.float16, torch.bfloat16) else stack


def _to_numpy(array: Any) -> np.ndarray:
    return array.cpu().numpy() if isinstance(array, Tensor) else np.asarray(array)


def _is_dask(X: Any) -> bool:
    return type(X).__module__.partition(".")[0] == "dask" and hasattr(X, "map_blocks") and hasattr(X, "chunks")


def _through_dask(
    estimator: BaseInverter, X: Any, function: Callable[[Tensor, int], Tensor], *, keeps_shape: bool
) -> Any:
    """Apply the door to every chunk of whole matrices, lazily; shapes and dtypes are checked now, values then."""
    if X.ndim < 2:
        raise ValueError(f"Expected shape (n_matrices, m, m) or (n_matrices, m * m), got {X.ndim} axes.")
    if X.dtype.kind == "c":
        raise ValueError(_complex_refusal(X.dtype))
    _check_layout(estimator, X.shape, reset=False)
    fitted = getattr(estimator, "n_features_in_", None)
    if X.ndim == 2 and fitted is not None and X.shape[1] != fitted:
        raise ValueError(
            f"X has {X.shape[1]} features, but {type(estimator).__name__} is expecting {fitted} features as input."
        )
    dtype = X.dtype if X.dtype in (np.float32, np.float64) and keeps_shape else np.dtype(np.float64)

    def through(block: np.ndarray, block_info: Any = None) -> np.ndarray:
        if len(block) == 0:
            return block.astype(dtype) if keeps_shape else np.empty(0)
        start = block_info[0]["array-location"][0][0] if block_info else 0
        start = 0 if math.isnan(start) else int(start)
        door = _Door.open_checked(estimator, block, reset=False)
        return door.pass_through(function, start=start, keeps_shape=keeps_shape)

    whole = X.rechunk(dict.fromkeys(range(1, X.ndim), -1))
    dropped = [] if keeps_shape else list(range(1, X.ndim))
    meta = np.empty((0,) * (X.ndim - len(dropped)), dtype)
    return whole.map_blocks(through, dtype=dtype, drop_axis=dropped, meta=meta)
