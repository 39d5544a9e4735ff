"""The one door for X: a stack in any layout and container goes in checked and comes out the way it went in."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, clone
from sklearn.utils import check_array
from sklearn.utils._set_output import _get_output_config
from sklearn.utils.validation import validate_data
from torch import Tensor

from skdmi.estimators.meta import check_size, known_size
from skdmi.linalg.residuals import RECTANGULAR_ADVICE
from skdmi.validation import as_array, check_dtypes

__all__ = [
    "Door",
    "check_dask",
    "computable",
    "first_index",
    "is_dask",
    "output_container",
    "refuse_non_finite",
    "through_dask",
    "to_numpy",
]


@dataclass(frozen=True)
class Door:
    """A stack on its way in, and what is needed to lead an answer out the same way."""

    stack: Tensor
    shape: tuple[int, ...]
    is_torch: bool

    @classmethod
    def open(cls, estimator: BaseEstimator, X: Any, *, reset: bool = False, keeps_shape: bool = False) -> Self:
        """Check X, the argument of ``fit`` (``reset``) or of a method whose answer has X's shape or has not."""
        X = as_array(X)
        _check_layout(estimator, X.shape, reset=reset, keeps_shape=keeps_shape)
        return cls.open_checked(estimator, X, reset=reset)

    @classmethod
    def open_checked(cls, estimator: BaseEstimator, X: Any, *, reset: bool = False, start: int = 0) -> Self:
        """Check all of X but its layout; messages count from index ``start``."""
        is_torch = isinstance(X, Tensor)
        flat = _flat_tensor(estimator, X, reset=reset) if is_torch else _flat_array(estimator, X, reset=reset)
        m = _side(flat.shape[1])
        if not reset:
            check_size(estimator, m)
        refuse_non_finite(flat, start)
        return cls(flat.reshape(-1, m, m), tuple(X.shape), is_torch)

    def pass_through(self, function: Callable[[Tensor, int], Tensor], *, start: int = 0, keeps_shape: bool) -> Any:
        """Return ``function(stack, start)`` in the container of X and, with ``keeps_shape``, in its shape."""
        with torch.no_grad():
            answer = function(self.stack, start)
        if keeps_shape:
            answer = answer.reshape(self.shape)
        return answer if self.is_torch else answer.cpu().numpy()


def through_dask(
    estimator: BaseEstimator, X: Any, function: Callable[[Tensor, int], Tensor], *, keeps_shape: bool
) -> Any:
    """Apply the door to every chunk of whole matrices, lazily; shapes and dtypes are checked now, values then.

    Indices in messages count from the whole stack; from the chunk where chunk sizes are not known.
    """
    dtype = check_dask(estimator, X, keeps_shape=keeps_shape)

    def through(block: np.ndarray, block_info: Any = None) -> np.ndarray:
        if len(block) == 0:
            return block.astype(dtype) if keeps_shape else np.empty(0)
        start = first_index(block_info) if block_info else 0
        door = Door.open_checked(estimator, as_array(block), start=start)
        return door.pass_through(function, start=start, keeps_shape=keeps_shape)

    whole = X.rechunk(dict.fromkeys(range(1, X.ndim), -1))
    dropped = [] if keeps_shape else list(range(1, X.ndim))
    meta = np.empty((0,) * (X.ndim - len(dropped)), dtype)
    return whole.map_blocks(through, dtype=dtype, drop_axis=dropped, meta=meta)


def first_index(block_info: Any) -> int:
    """Return the index of the first matrix of a chunk, from what dask says of it; 0 where chunk sizes are not known."""
    start = block_info[0]["array-location"][0][0]
    return 0 if math.isnan(start) else int(start)


def check_dask(estimator: BaseEstimator, X: Any, *, keeps_shape: bool) -> np.dtype:
    """Check all of a dask array that is known before it is computed, and return the dtype of the answer."""
    check_dtypes(X)
    if isinstance(X._meta, np.ma.MaskedArray):
        raise ValueError(
            "X is a dask array of masked arrays, whose masks are not known before it is computed. Expected every entry "
            "to be known: dask.array.ma.filled(X, value), or dask.array.ma.getdata(X) if nothing is masked."
        )
    as_array(X._meta)
    _check_layout(estimator, X.shape, reset=False, keeps_shape=keeps_shape)
    if X.shape[0] == 0:
        raise ValueError(_empty_refusal(X.shape))
    if X.ndim == 2:
        fitted = getattr(estimator, "n_features_in_", X.shape[1])
        if X.shape[1] != fitted:
            raise ValueError(
                f"X has {X.shape[1]} features, but {type(estimator).__name__} is expecting {fitted} features as input."
            )
        _side(X.shape[1])
    native = X.dtype.newbyteorder("=")
    return native if native in (np.float32, np.float64) and keeps_shape else np.dtype(np.float64)


def is_dask(X: Any) -> bool:
    """Return whether X is a dask array, without importing dask."""
    return type(X).__module__.partition(".")[0] == "dask" and hasattr(X, "map_blocks") and hasattr(X, "chunks")


def output_container(estimator: BaseEstimator) -> str | None:
    """Return the name of the container that ``set_output`` or the global configuration asks for, if any."""
    container = _get_output_config("transform", estimator)["dense"]
    return None if container == "default" else container


def computable(stack: Tensor) -> Tensor:
    """Return half precision as float32, which LAPACK and the network need, and anything else as it is."""
    return stack.float() if stack.dtype in (torch.float16, torch.bfloat16) else stack


def to_numpy(array: Any) -> np.ndarray:
    """Return any container of the door as a numpy array, computing what is lazy."""
    return array.cpu().numpy() if isinstance(array, Tensor) else np.asarray(array)


def _check_layout(estimator: BaseEstimator, shape: tuple[int, ...], *, reset: bool, keeps_shape: bool) -> None:
    """Refuse in the words of matrices what scikit-learn would refuse in the words of features, or misread."""
    shape = tuple(shape)
    if len(shape) < 2:
        raise ValueError(
            f"Expected shape (n_matrices, m, m) or (n_matrices, m * m), got {len(shape)} axes: {shape}. Reshape your "
            f"data; one flat matrix is X.reshape(1, -1)."
        )
    if len(shape) == 3:
        _check_stack(estimator, shape, reset=reset, keeps_shape=keeps_shape)
    elif len(shape) > 3:
        raise ValueError(
            f"Expected shape (n_matrices, m, m) or (n_matrices, m * m), got {len(shape)} axes: {shape}. "
            f"Try X.reshape(-1, m, m), or invert(A), which takes any leading axes."
        )
    elif len(shape) == 2 and shape[0] == shape[1] and shape[0] > 1:
        _refuse_one_matrix(estimator, shape[0], reset=reset)


def _check_stack(estimator: BaseEstimator, shape: tuple[int, ...], *, reset: bool, keeps_shape: bool) -> None:
    fitted = None if reset else getattr(estimator, "matrix_size_", None)
    if shape[1] != shape[2] or shape[1] == 0:
        advice = RECTANGULAR_ADVICE if shape[1] != shape[2] else "An empty matrix has nothing to invert."
        raise ValueError(f"Expected a stack of square matrices, shape (n_matrices, m, m), got shape {shape}. {advice}")
    if fitted is not None and fitted != shape[1]:
        raise ValueError(
            f"X holds {shape[1]} x {shape[1]} matrices, but {type(estimator).__name__} is fitted for "
            f"{fitted} x {fitted}. Fit it for that size; for larger matrices see BlockInverter."
        )
    container = output_container(estimator) if keeps_shape else None
    if container is not None:
        raise ValueError(
            f"A stack of shape {shape} cannot become a {container} table. Pass it flat, "
            f"X.reshape({shape[0]}, {shape[1] ** 2}), or set transform_output to 'default'."
        )


def _refuse_one_matrix(estimator: BaseEstimator, side: int, *, reset: bool) -> None:
    """Refuse a square 2-D X where it is, or may be meant as, one matrix; a named or fitted size may settle that."""
    # A fit begins anew: what counts is a size that is named, or that of a frozen inverter, which a clone keeps.
    size = known_size(clone(estimator) if reset else estimator)
    if reset and size is None:
        size = getattr(estimator, "matrix_size", None)
    if size == side:
        raise ValueError(
            f"X has {side} features, but {type(estimator).__name__} is expecting {side * side} features as input: "
            f"in an estimator a 2-D X is a flat stack, one matrix a row. For one {side} x {side} matrix pass "
            f"X[None]."
        )
    root = math.isqrt(side)
    if root**2 == side and not isinstance(size, Integral):
        raise ValueError(
            f"A {side} x {side} array is ambiguous: one {side} x {side} matrix, or {side} flat matrices of "
            f"{root} x {root}? Pass X[None] or X.reshape(-1, {root}, {root})."
        )


def _flat_array(estimator: BaseEstimator, X: Any, *, reset: bool) -> Tensor:
    if len(X.shape) == 3:
        X = np.asarray(X).reshape(X.shape[0], X.shape[1] * X.shape[2])
    if not reset and getattr(estimator, "_size_is_named", False):
        X = np.asarray(X)  # No column names were seen in fit, so none can be missed.
    if isinstance(X, np.ndarray):
        X = X.astype(X.dtype.newbyteorder("="), copy=False)
    options = {"dtype": [np.float64, np.float32], "ensure_all_finite": False}
    if reset or hasattr(estimator, "n_features_in_"):
        array = validate_data(estimator, X, reset=reset, **options)
    else:
        array = check_array(X, estimator=estimator, input_name="X", **options)
    return torch.from_numpy(np.require(array, requirements=["C", "W"]))


def _flat_tensor(estimator: BaseEstimator, X: Tensor, *, reset: bool) -> Tensor:
    if X.numel() == 0:
        raise ValueError(_empty_refusal(X.shape))
    flat = X.detach().flatten(1)
    if reset or hasattr(estimator, "n_features_in_"):
        validate_data(estimator, flat, reset=reset, skip_check_array=True)
    return flat if flat.is_floating_point() else flat.double()


def _side(n_columns: int) -> int:
    """Return m, where a flat stack has ``m * m`` columns."""
    m = math.isqrt(n_columns)
    if m * m != n_columns:
        raise ValueError(
            f"A flat stack holds one m x m matrix a row, so its number of columns is a square; got "
            f"{n_columns} columns. One matrix is X[None]; a stack has shape (n_matrices, m, m)."
        )
    return m


def _empty_refusal(shape: tuple[int, ...]) -> str:
    return f"X is empty: shape {tuple(shape)}. Expected at least one matrix."


def refuse_non_finite(flat: Tensor, start: int) -> None:
    """Refuse NaN and infinity in flat matrices, ``(n_matrices, n)``, or parts of them, from index ``start`` on."""
    bad = ~flat.isfinite().all(dim=1)
    if bad.any():
        indices = bad.nonzero().flatten() + start
        kind = "NaN" if flat.isnan().any() else "infinity"
        raise ValueError(
            f"X contains {kind} (NaN or inf) in {len(indices)} of {len(flat)} matrices, the first at index "
            f"{int(indices[0])}. Expected finite entries: leave those matrices out."
        )
