"""What an X may be: real numbers in a container that is read as an array; all else is refused, with what to do."""

from collections.abc import Iterable, Mapping, Sequence
from numbers import Number
from typing import TYPE_CHECKING, Any

import numpy as np

from skdmi.dtypes import FLOATS, float_dtype
from skdmi.kinds import is_masked, is_sparse, is_tensor, is_torch_data

if TYPE_CHECKING:
    from torch import Tensor

STACK = "(n_matrices, m, m) or (n_matrices, m * m)"
_CONTAINERS = "a numpy array, torch tensor, dask array, list or DataFrame"
_TENSOR_DTYPES = {
    *("bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"),
    *("float16", "bfloat16", "float32", "float64"),
}
_HALF = ("torch.float16", "torch.bfloat16")
_WIDEST = {"f": 8, "c": 16}
"""Bytes of the numbers, real and complex, in which LAPACK computes."""


def as_array(X: Any, *, name: str = "X", shape: str = STACK, allows_complex: bool = False) -> Any:
    """Return X, or what it holds as a numpy array if it has no shape or holds objects; refuse what cannot be a stack.

    Numbers themselves are not looked at, but for objects and masks.

    Parameters
    ----------
    X : object
    name, shape : str
        What messages call X, and the shape that they say is expected.
    allows_complex : bool, default=False
        Whether numbers may be complex.

    Raises
    ------
    TypeError
        If X is no container of numbers, or holds anything but real numbers.
    ValueError
        If X is ragged or complex, holds strings, or has masked entries.

    Examples
    --------
    >>> as_array([[1, 2], [3, 4]])
    array([[1, 2],
           [3, 4]])
    >>> as_array(matrix for matrix in [[[1.0]], [[2.0]]])
    Traceback (most recent call last):
        ...
    TypeError: X is a generator. Expected real numbers in a numpy array, ... Try numpy.stack(list(X)).
    """
    expected = _expected(shape)
    if is_tensor(X):
        check_tensor(X, name=name, expected=expected, allows_complex=allows_complex)
        return X
    _refuse_sparse(X, name)
    if not _has_shape(X):
        X = _read(X, name, shape, allows_complex)
        _refuse_sparse(X, name)
    check_dtypes(X, name=name, expected=expected, allows_complex=allows_complex)
    if is_masked(X):
        X = _unmasked(X, name)
    if isinstance(X, np.ndarray):
        if X.dtype == object:
            return object_numbers(X, name=name, shape=shape, allows_complex=allows_complex)
        return _narrowed(X, name) if X.dtype.kind in "fc" and X.dtype.itemsize > _WIDEST[X.dtype.kind] else X
    if _holds_objects(X):
        numbers = object_numbers(np.asarray(X), name=name, shape=shape, allows_complex=allows_complex)
        return X if hasattr(X, "columns") else numbers
    return X


def as_float_array(X: Any, *, name: str = "X", shape: str = STACK, allows_complex: bool = False) -> np.ndarray:
    """Return an array-like as a C-contiguous, aligned numpy array of :func:`float_dtype`; X itself where it is that.

    What is read-only, as a memory map may be, stays so. Axes are not looked at, nor whether numbers are finite.

    Parameters
    ----------
    X : array-like
        Anything but a tensor.
    name, shape, allows_complex
        As for :func:`as_array`.

    Raises
    ------
    TypeError, ValueError
        As :func:`as_array`, and if a column of objects holds anything but real numbers.

    Examples
    --------
    >>> as_float_array([[1, 2], [3, 4]])
    array([[1., 2.],
           [3., 4.]])
    """
    is_float = type(X) is np.ndarray and X.dtype in FLOATS
    array = X if is_float else np.asarray(as_array(X, name=name, shape=shape, allows_complex=allows_complex))
    if array.dtype == object:
        array = object_numbers(array, name=name, shape=shape, allows_complex=allows_complex)
    return as_contiguous(array, float_dtype(array.dtype))


def as_contiguous(array: np.ndarray, dtype: Any = None, *, writeable: bool = False) -> np.ndarray:
    """Return an array, or a copy if need be, C-contiguous and aligned, and ``writeable`` if that is asked for.

    Nor does an axis of length 1 run backwards, which numpy allows and torch refuses.
    """
    is_so = array.flags.c_contiguous and array.flags.aligned and (array.flags.writeable or not writeable)
    if not is_so or (dtype is not None and array.dtype != dtype):
        array = np.require(array, dtype, ["C", "A", "W"] if writeable else ["C", "A"])
    return array.copy() if min(array.strides, default=0) < 0 else array


def check_tensor(
    X: "Tensor",
    *,
    name: str = "X",
    expected: str = "Expected a dense tensor of real numbers.",
    allows_complex: bool = False,
) -> None:
    """Refuse a tensor that cannot be computed with: no plain dense one, without numbers, or of an unusual dtype.

    Raises
    ------
    TypeError
        Saying what it is, and what to do.
    ValueError
        If it is complex.

    Examples
    --------
    >>> import torch
    >>> check_tensor(torch.empty(2, 2, device="meta"))
    Traceback (most recent call last):
        ...
    TypeError: X is a tensor on the meta device, which has a shape but no numbers. ...
    """
    fault = tensor_fault(X, name)
    if fault is not None:
        if not X.is_nested:
            _refuse_sparse(X, name)
        raise TypeError(f"{name} is {fault[0]}. {expected} Try {fault[1]}.")
    if X.is_complex() and not allows_complex:
        raise ValueError(_complex_refusal(X.dtype))


def tensor_fault(X: "Tensor", name: str = "X") -> tuple[str, str] | None:
    """Return what is wrong with a tensor that cannot be computed with, and what to try; None for others.

    >>> import torch
    >>> tensor_fault(torch.ones(1).to(torch.float8_e5m2))
    ('a tensor of torch.float8_e5m2, in which nothing can be computed', 'X.float()')
    """
    if X.is_nested:
        return "a nested tensor", f"torch.stack({name}.unbind()), or one stack for each size"
    if hasattr(X, "get_mask"):
        return "a masked tensor", f"{name}.to_tensor(value)"
    if X.is_quantized:
        return f"a quantized tensor, {X.dtype}", f"{name}.dequantize()"
    if str(X.layout) != "torch.strided":
        return f"a {X.layout} tensor of {X.dtype}", f"{name}.to_dense()"
    if X.is_meta:
        return "a tensor on the meta device, which has a shape but no numbers", "one that has been computed or loaded"
    if str(X.dtype) == "torch.complex32":
        return f"a tensor of {X.dtype}, in which nothing can be computed", f"{name}.to(torch.complex64)"
    if not X.is_complex() and str(X.dtype).removeprefix("torch.") not in _TENSOR_DTYPES:
        return f"a tensor of {X.dtype}, in which nothing can be computed", f"{name}.float()"
    return None


def check_dtypes(
    X: Any, *, name: str = "X", expected: str = "Expected real numbers.", allows_complex: bool = False
) -> None:
    """Refuse an array or table of a dtype that is not real: complex, strings, dates, records, sparse columns.

    Raises
    ------
    TypeError
        For dates, records and sparse columns.
    ValueError
        For complex numbers and strings.

    Examples
    --------
    >>> check_dtypes(np.array(["1.5"]))
    Traceback (most recent call last):
        ...
    ValueError: X holds strings, dtype <U3: could not convert them to numbers. ... Try X.astype(float).
    """
    dtypes = getattr(X, "dtypes", None)
    for dtype in [X.dtype] if hasattr(X, "dtype") else [] if dtypes is None else list(dtypes):
        kind = getattr(dtype, "kind", None)
        if not allows_complex and (kind == "c" or getattr(dtype, "is_complex", False)):
            raise ValueError(_complex_refusal(dtype))
        if hasattr(dtype, "fill_value") and hasattr(dtype, "subtype"):
            raise TypeError(_sparse_refusal(name))
        if kind in ("U", "S", "T"):
            raise ValueError(_string_refusal(name, f"dtype {dtype}", expected))
        if kind in ("M", "m"):
            raise TypeError(
                f"{name} holds dates or times, dtype {dtype}. {expected} Try differences in a unit, as floats."
            )
        if kind == "V":
            fields = getattr(dtype, "names", None)
            what, advice = f"dtype {dtype}, in which nothing can be computed", f"{name}.astype(numpy.float32)"
            if fields:
                what = f"records with the fields {', '.join(fields)}"
                advice = f"numpy.lib.recfunctions.structured_to_unstructured({name})"
            raise TypeError(f"{name} holds {what}. {expected} Try {advice}.")


def object_numbers(X: np.ndarray, *, name: str = "X", shape: str = STACK, allows_complex: bool = False) -> np.ndarray:
    """Return an array of objects that are numbers, fractions and decimals too, as float64, or complex128 if need be.

    Raises
    ------
    TypeError
        If one is no number, such as a matrix.
    ValueError
        If one is complex, a string, or beyond the range of float64; or if they are matrices of several shapes.

    Examples
    --------
    >>> object_numbers(np.array([[1, 0.5]], dtype=object))
    array([[1. , 0.5]])
    """
    expected = _expected(shape)
    kind: type[complex] = float
    for entry in X.flat:
        if isinstance(entry, str | bytes):
            raise ValueError(_string_refusal(name, f"such as {entry!r:.40}", expected))
        if isinstance(entry, complex | np.complexfloating):
            if not allows_complex:
                raise ValueError(_complex_refusal(np.asarray(entry).dtype))
            kind = complex
        if is_sparse(entry):
            raise TypeError(_sparse_refusal(name))
        if getattr(entry, "ndim", 0) or isinstance(entry, list | tuple):
            shapes = {tuple(np.shape(entry)) if _is_even(entry) else None for entry in X.flat}
            if len(shapes) > 1 or None in shapes:
                raise ValueError(_ragged_refusal(name, shape))
            raise TypeError(
                f"{name} is an array of objects, of shape {X.shape}, each of which is an array of shape "
                f"{shapes.pop()}. {expected} Try numpy.stack({name if X.ndim == 1 else f'{name}.ravel()'})."
            )
    try:
        return X.astype(kind)
    except OverflowError as error:
        raise ValueError(f"{name} holds a number beyond the range of float64: {error}. Scale it.") from error
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} holds an object that is no number: {error}. {expected}") from error


def _has_shape(X: Any) -> bool:
    shape = getattr(X, "shape", None)
    return isinstance(shape, tuple) and not isinstance(X, type)


def _expected(shape: str) -> str:
    return f"Expected real numbers in {_CONTAINERS}, of shape {shape}."


def _read(X: Any, name: str, shape: str, allows_complex: bool) -> np.ndarray:
    """Return a sequence, a number or whatever offers itself as an array as an array, or refuse it."""
    expected = _expected(shape)
    numbers = isinstance(X, Number | Sequence | memoryview) or any(
        hasattr(X, attribute) for attribute in ("__array__", "__array_interface__", "__array_struct__")
    )
    if isinstance(X, str | bytes | bytearray):
        raise TypeError(f"{name} is a {type(X).__name__}. {expected} For a file see skdmi.io.")
    if isinstance(X, type) or is_torch_data(X) or not numbers:
        raise TypeError(f"{name} is {described(X)}. {expected}{_advice(X, name)}")
    if isinstance(X, Sequence):
        _refuse_masks(X, name)
        if len(X) and all(is_tensor(part) for part in X):
            for part in X:
                check_tensor(part, name=f"a tensor in {name}", allows_complex=allows_complex)
            X = [to_numpy((part.float() if str(part.dtype) in _HALF else part).detach()) for part in X]
    try:
        return np.asarray(X)
    except ValueError as error:
        raise ValueError(_ragged_refusal(name, shape)) from error
    except (TypeError, RuntimeError) as error:
        raise TypeError(f"{name} is {described(X)} that cannot be read: {error}. {expected}") from error


def to_numpy(array: Any) -> np.ndarray:
    """Return any container as a numpy array, computing what is lazy.

    >>> import torch
    >>> to_numpy(torch.ones(2)), to_numpy([1])
    (array([1., 1.], dtype=float32), array([1]))
    """
    return array.cpu().resolve_conj().resolve_neg().numpy() if is_tensor(array) else np.asarray(array)


def described(X: Any) -> str:
    """Return what X is, in words.

    >>> described(None), described({}), described(int)
    ('None', 'a dict', 'the class int')
    """
    if X is None:
        return "None"
    if isinstance(X, type):
        return f"the class {X.__name__}"
    kind = type(X).__name__
    return f"{'an' if kind[0] in 'aeioAEIO' else 'a'} {kind}"


def _advice(X: Any, name: str) -> str:
    if is_torch_data(X):
        return " Pass its batches one at a time, or torch.cat of them."
    if isinstance(X, Mapping):
        return f" Try numpy.stack(list({name}.values()))."
    return f" Try numpy.stack(list({name}))." if isinstance(X, Iterable) and not isinstance(X, type) else ""


def _holds_objects(X: Any) -> bool:
    dtypes = [X.dtype] if hasattr(X, "dtype") else getattr(X, "dtypes", ())
    return any(getattr(dtype, "kind", "O") == "O" for dtype in dtypes)


def _is_even(entry: Any) -> bool:
    try:
        np.shape(entry)
    except ValueError:
        return False
    return True


def _unmasked(X: "np.ma.MaskedArray", name: str) -> np.ndarray:
    """Return what a masked array holds, if nothing is masked."""
    if np.ma.is_masked(X):
        mask: Any = np.atleast_1d(np.ma.getmaskarray(X))
        members = mask.reshape(len(mask), -1).any(axis=1)
        raise ValueError(
            f"{name} has masked entries, in {members.sum()} of {len(members)} members, the first at index "
            f"{members.argmax()}. Expected every entry to be known: fill them, {name}.filled(value), or leave those "
            f"matrices out."
        )
    return np.ma.getdata(X)


def _narrowed(X: np.ndarray, name: str) -> np.ndarray:
    """Return an array of long doubles as float64 or complex128, if those can hold them."""
    with np.errstate(over="ignore"):
        narrow = X.astype(float_dtype(X.dtype))
    if (np.isinf(narrow) & np.isfinite(X)).any():
        raise ValueError(f"{name}, of dtype {X.dtype}, holds a number beyond the range of {narrow.dtype}. Scale it.")
    return narrow


def _refuse_masks(X: Any, name: str) -> None:
    """Refuse masked entries anywhere in nested lists: numpy would read what is under the mask."""
    for part in X:
        if is_masked(part):
            if np.ma.is_masked(part):
                raise ValueError(
                    f"{name} has masked entries, in an array that it holds. Expected every entry to be known: fill "
                    f"them, .filled(value), or leave those matrices out."
                )
        elif isinstance(part, list | tuple):
            _refuse_masks(part, name)


def _refuse_sparse(X: Any, name: str) -> None:
    torch_sparse = is_tensor(X) and str(X.layout) not in ("torch.strided", "torch._mkldnn")
    if is_sparse(X) or torch_sparse:
        raise TypeError(_sparse_refusal(name))


def _sparse_refusal(name: str) -> str:
    return (
        f"Sparse data was passed for {name}, but dense data is required: the inverse of a sparse matrix is dense. "
        f"Try {name}.toarray(), for a torch tensor or columns of pandas to_dense(); for large sparse systems see "
        f"scipy.sparse.linalg."
    )


def _ragged_refusal(name: str, shape: str) -> str:
    return (
        f"{name} is ragged: its rows or matrices differ in length. Expected shape {shape}; matrices of several sizes "
        f"need a stack each."
    )


def _string_refusal(name: str, which: str, expected: str) -> str:
    return f"{name} holds strings, {which}: could not convert them to numbers. {expected} Try {name}.astype(float)."


def _complex_refusal(dtype: Any) -> str:
    return (
        f"Complex data not supported here, got {dtype}. skdmi.inv and inverters that no fit made real take it; else "
        f"embed the matrices with skdmi.linalg.complex_to_real, and bring the inverses back with real_to_complex."
    )
