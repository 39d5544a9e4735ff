"""Numpy, torch, dask: the containers that a stack comes in, a row each, and how its answer leaves in the same."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from skdmi.arrays import STACK, as_array, as_contiguous, as_float_array, check_dtypes, to_numpy
from skdmi.chunks import chunk_size
from skdmi.dtypes import float_dtype, is_complex
from skdmi.kinds import is_dask, is_tensor
from skdmi.validation import refuse_empty, side_of

Validate: TypeAlias = Callable[..., Any]
"""``validate(X, **options)``: scikit-learn's ``validate_data`` for one estimator."""
Answer: TypeAlias = Callable[[Any, int], Tensor]
"""``answer(X, start)``: what is found for a part of a stack that begins at an index."""


class Container(NamedTuple):
    """A container: how it is known, checked, read, and given back."""

    holds: Callable[[Any], bool]
    """Whether an object is of this kind."""
    check: Callable[..., Any]
    """``check(X, allows_complex=...)`` returns X, or what it holds as an array; refuses what cannot be a stack. Numbers
    need not be looked at."""
    compute: Callable[..., Any]
    """``compute(X, allows_complex=...)`` returns X, checked, as an array whose numbers are there."""
    read: Callable[[Any, Validate], Tensor]
    """Returns a computed X as a tensor of float or complex dtype, ``(n_matrices, m * m)``, validated on the way."""
    give: Callable[[Tensor], Any]
    """Returns a tensor as such a container."""
    apply: Callable[[Answer, Any, bool], Any]
    """``apply(answer, X, keeps_shape)`` returns the answer for X, in its shape or one number a matrix."""


def container_of(X: Any) -> Container:
    """Return the row for X: numpy's for lists, tables and all that numpy reads.

    >>> container_of(torch.eye(2)[None]) is CONTAINERS["torch"], container_of([[[1.0]]]) is CONTAINERS["numpy"]
    (True, True)
    """
    return next(row for row in CONTAINERS.values() if row.holds(X))


def computable(stack: Tensor) -> Tensor:
    """Return half precision as float32, which LAPACK and the network need, and anything else as it is."""
    return stack.float() if stack.dtype in (torch.float16, torch.bfloat16) else stack


def is_for_routes(A: Tensor) -> bool:
    """Return whether a tensor is one for the routes of numpy arrays: on the CPU, and float32 or float64."""
    return A.device.type == "cpu" and A.dtype.itemsize >= 4


def in_parts(A: Tensor) -> tuple[Tensor, ...]:
    """Return a stack in parts, so that what refinement and certificates need beside it does not grow with it."""
    return A.split(chunk_size(A.shape[-1]))


def as_stack(X: Any, *, name: str = "X", shape: str = STACK, allows_complex: bool = False) -> Tensor:
    """Return a stack as a tensor, a flat one, where ``shape`` allows it, as ``(n_matrices, m, m)``; no check of axes.

    In its own dtype if that is one of LAPACK's; half precision as float32, all else as float64.

    >>> as_stack([[1, 2, 3, 4]])
    tensor([[[1., 2.],
             [3., 4.]]], dtype=torch.float64)
    """
    X = as_array(X, name=name, shape=shape, allows_complex=allows_complex)
    if not is_tensor(X):
        X = np.asarray(X)
        # torch warns of read-only arrays, such as joblib's memory maps, and refuses negative strides: those are copied.
        X = torch.from_numpy(as_contiguous(X, float_dtype(X.dtype), writeable=True))
    stack = computable(X if X.is_floating_point() or X.is_complex() else X.double())
    return stack.reshape(len(stack), side_of(stack.shape[1]), -1) if stack.ndim == 2 and shape == STACK else stack


def first_index(block_info: Any) -> int:
    """Return the index of the first matrix of a chunk, from what dask says of it; 0 where chunk sizes are not known."""
    start = block_info[0]["array-location"][0][0]
    return 0 if math.isnan(start) else int(start)


def _as_it_is(X: Any) -> Any:
    return X


def _shaped(found: Tensor, X: Any, keeps_shape: bool) -> Tensor:
    return found.reshape(X.shape) if keeps_shape else found


def _read_numpy(X: Any, validate: Validate) -> Tensor:
    if len(X.shape) == 3:
        X = np.asarray(X).reshape(X.shape[0], X.shape[1] * X.shape[2])
    if isinstance(X, np.ndarray):
        X = X.astype(X.dtype.newbyteorder("="), copy=False)
    if is_complex(X):  # scikit-learn refuses it
        validate(X, skip_check_array=True)
        array = as_float_array(X, allows_complex=True)
    else:
        array = validate(X, dtype=[np.float64, np.float32], ensure_all_finite=False)
    return torch.from_numpy(as_contiguous(array, writeable=True))


def _read_torch(X: Tensor, validate: Validate) -> Tensor:
    refuse_empty(X.shape)
    flat = X.detach().flatten(1)
    validate(flat, skip_check_array=True)
    return flat if flat.is_floating_point() or flat.is_complex() else flat.double()


def _check_dask(X: Any, *, allows_complex: bool = False) -> Any:
    """Check all of a dask array that is known before it is computed."""
    check_dtypes(X, allows_complex=allows_complex)
    if isinstance(X._meta, np.ma.MaskedArray):
        raise ValueError(
            "X is a dask array of masked arrays, whose masks are not known before it is computed. Expected every entry "
            "to be known: dask.array.ma.filled(X, value), or dask.array.ma.getdata(X) if nothing is masked."
        )
    as_array(X._meta, allows_complex=allows_complex)
    if X.shape[0] == 0:
        refuse_empty(X.shape)
    return X


def _apply_dask(answer: Answer, X: Any, keeps_shape: bool) -> Any:
    """Answer every chunk of whole matrices, lazily; indices count from the whole stack where chunk sizes are known."""
    dtype = float_dtype(X.dtype) if keeps_shape else np.dtype(np.float64)

    def through(block: np.ndarray, block_info: Any = None) -> np.ndarray:
        if len(block) == 0:
            return block.astype(dtype) if keeps_shape else np.empty(0)
        start = first_index(block_info) if block_info else 0
        block = as_array(block, allows_complex=True)  # The whole array was asked.
        return to_numpy(_shaped(answer(block, start), block, keeps_shape))

    whole = X.rechunk(dict.fromkeys(range(1, X.ndim), -1))
    dropped = [] if keeps_shape else list(range(1, X.ndim))
    meta = np.empty((0,) * (X.ndim - len(dropped)), dtype)
    return whole.map_blocks(through, dtype=dtype, drop_axis=dropped, meta=meta)


CONTAINERS = {
    "torch": Container(
        holds=is_tensor,
        check=as_array,
        compute=as_array,
        read=_read_torch,
        give=_as_it_is,
        apply=lambda answer, X, keeps_shape: _shaped(answer(X, 0), X, keeps_shape),
    ),
    "dask": Container(
        holds=is_dask,
        check=_check_dask,
        compute=lambda X, **options: as_array(X.compute(), **options),
        read=_read_numpy,
        give=to_numpy,
        apply=_apply_dask,
    ),
    "numpy": Container(
        holds=lambda X: True,
        check=as_array,
        compute=as_array,
        read=_read_numpy,
        give=to_numpy,
        apply=lambda answer, X, keeps_shape: to_numpy(_shaped(answer(X, 0), X, keeps_shape)),
    ),
}
"""The first that holds X is taken, so numpy, which reads what the others do not, comes last."""
