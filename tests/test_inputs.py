"""What is refused, by every door and in the same words: what was got, what was expected, what to do."""

import array
import collections
import decimal
import fractions
import warnings

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, TensorDataset

import skdmi
from skdmi import ExactInverter, RefinedInverter
from skdmi.arrays import as_float_array
from skdmi.containers import as_stack
from skdmi.distributions import Uniform
from skdmi.kinds import is_dask
from skdmi.metrics import frobenius_residuals
from skdmi.validation import check_square, refuse_non_finite
from tests.matrices import make_stack

STACK = make_stack(n_matrices=2, m=3)
FLAT = STACK.reshape(2, 9)
DOORS = {
    "transform": ExactInverter().transform,
    "fit": lambda X: ExactInverter().fit(X),
    "residual_norms": ExactInverter().residual_norms,
    "score": ExactInverter().score,
    "report": RefinedInverter().report,
    "inv": skdmi.inv,
}


class Sub(np.ndarray):
    pass


def masked(container=np.ma.array):
    return container(STACK, mask=np.arange(18).reshape(2, 3, 3) == 13)


def objects(*matrices):
    X = np.empty(len(matrices), dtype=object)
    for i, matrix in enumerate(matrices):
        X[i] = matrix
    return X


def quantized():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.quantize_per_tensor(torch.from_numpy(STACK).float(), 0.1, 0, torch.qint8)


def nested(layout):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.nested.nested_tensor([torch.eye(3), torch.eye(3)], layout=layout)


def masked_tensor():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        X = torch.from_numpy(STACK)
        return torch.masked.masked_tensor(X, X > 0)


def tensor(**options):
    return lambda: torch.from_numpy(STACK).to(**options)


def half_complex():
    with warnings.catch_warnings(action="ignore"):  # torch says that it is an experiment
        return torch.from_numpy(STACK).to(torch.complex32)


FRAME = pd.DataFrame(FLAT)
CASES = {
    # Masks
    "masked": (masked, ValueError, r"has masked entries, in 1 of 2 members, the first at index 1\..*filled\(value\)"),
    "list of masked": (lambda: list(masked()), ValueError, r"has masked entries, .*\.filled\(value\)"),
    "masked constant": (lambda: [[np.ma.masked, 1.0, 0.0, 1.0]], ValueError, "has masked entries"),
    "masked tensor": (masked_tensor, TypeError, r"is a masked tensor\. .*to_tensor\(value\)"),
    # Objects
    "objects": (
        lambda: objects(*STACK),
        TypeError,
        r"array of objects, of shape \(2,\), each of which is an array of shape \(3, 3\)\. .*numpy\.stack\(\w\)",
    ),
    "grid of objects": (lambda: objects(*STACK)[:, None], TypeError, r"numpy\.stack\(\w\.ravel\(\)\)"),
    "tensors as objects": (lambda: objects(*torch.from_numpy(STACK)), TypeError, r"array of shape \(3, 3\)"),
    "several sizes": (lambda: objects(np.eye(2), np.eye(3)), ValueError, "is ragged.*a stack each"),
    "series": (lambda: pd.Series(list(STACK)), TypeError, r"array of objects.*numpy\.stack\(\w\)"),
    "objects in columns": (lambda: pd.DataFrame({"a": list(STACK)}), TypeError, "array of objects"),
    "dicts": (lambda: np.array([[{}, 1, 2, 3]], dtype=object), TypeError, r"no number: .*argument must be .*'dict'"),
    # Not arrays
    "generator": (lambda: (A for A in STACK), TypeError, r"is a generator\. .*Try numpy\.stack\(list\(\w\)\)"),
    "map": (lambda: map(np.asarray, STACK), TypeError, r"is a map\. .*numpy\.stack"),
    "iterator": (lambda: iter(STACK), TypeError, r"is an iterator\. .*numpy\.stack"),
    "loader": (lambda: DataLoader(TensorDataset(torch.ones(2, 3, 3))), TypeError, r"is a DataLoader\. .*batches"),
    "data set": (lambda: TensorDataset(torch.ones(2, 3, 3)), TypeError, r"is a TensorDataset\. .*batches"),
    "dict": (lambda: {"a": STACK}, TypeError, r"is a dict\. .*stack\(list\(\w\.values\(\)\)\)"),
    "set": (lambda: {1, 2}, TypeError, "is a set"),
    "distribution": (Uniform, TypeError, "is a Uniform"),
    "class": (lambda: Uniform, TypeError, "is the class Uniform"),
    "module": (lambda: torch.nn.Linear(3, 3), TypeError, "is a Linear"),
    "str": (lambda: "stack.npy", TypeError, r"is a str\. .*skdmi\.io"),
    "bytes": (lambda: b"stack.npy", TypeError, "is a bytes"),
    "number": (lambda: 3.0, ValueError, r"got (0 axes: |shape )\(\)"),
    "numbers": (lambda: np.ones(9), ValueError, r"got (1 axes: |shape )\(9,\)"),
    "array.array": (lambda: array.array("d", [1.0, 2.0]), ValueError, r"got (1 axes: |shape )\(2,\)"),
    "range": (lambda: range(9), ValueError, r"got (1 axes: |shape )\(9,\)"),
    # Unusual tensors
    "float8": (tensor(dtype=torch.float8_e4m3fn), TypeError, r"tensor of torch\.float8_e4m3fn.*Try \w\.float\(\)"),
    "nested": (lambda: nested(torch.strided), TypeError, r"is a nested tensor.*torch\.stack\(\w\.unbind\(\)\)"),
    "jagged": (lambda: nested(torch.jagged), TypeError, r"is a nested tensor.*torch\.stack\(\w\.unbind\(\)\)"),
    "meta": (tensor(device="meta"), TypeError, "tensor on the meta device, which has a shape but no numbers"),
    "sparse": (lambda: torch.from_numpy(STACK).to_sparse(), TypeError, "Sparse data was passed.*to_dense"),
    "csr": (lambda: torch.eye(3, dtype=torch.float64).to_sparse_coo(), TypeError, "Sparse data was passed.*to_dense"),
    "quantized": (quantized, TypeError, r"quantized tensor, torch\.qint8\. .*Try \w\.dequantize\(\)"),
    "half complex": (half_complex, TypeError, r"torch.complex32, in which .*to\(torch.complex64\)"),
    "list of meta": (lambda: [torch.empty(3, 3, device="meta")], TypeError, "meta device"),
    # Other sparse data
    "scipy": (lambda: sp.csr_array(np.eye(9)), TypeError, "Sparse data was passed.*toarray"),
    "list of scipy": (lambda: [sp.csr_array(np.eye(3))], TypeError, "Sparse data was passed.*toarray"),
    "sparse columns": (lambda: FRAME.astype(pd.SparseDtype(float, 0.0)), TypeError, "Sparse data .*columns of pandas"),
    # Unusual numbers
    "strings": (lambda: STACK.astype(str), ValueError, r"holds strings, dtype <U32: could not .*astype\(float\)"),
    "strings as objects": (lambda: STACK.astype(str).astype(object), ValueError, "holds strings, such as '"),
    "strings in a list": (lambda: [["1", "2", "3", "4"]], ValueError, "holds strings, dtype <U1"),
    "strings in columns": (lambda: FRAME.astype(str), ValueError, "holds strings"),
    "dates": (lambda: np.zeros((2, 3, 3), "M8[s]"), TypeError, r"dates or times, dtype datetime64\[s\]"),
    "durations": (lambda: np.zeros((2, 3, 3), "m8[s]"), TypeError, r"dates or times, dtype timedelta64\[s\]"),
    "dates in columns": (lambda: FRAME.assign(day=pd.Timestamp(0)), TypeError, "dates or times"),
    "records": (
        lambda: np.zeros((2, 9), dtype=[("a", float), ("b", float)]),
        TypeError,
        r"records with the fields a, b\. .*structured_to_unstructured",
    ),
    "void": (lambda: np.zeros((2, 3, 3), "V4"), TypeError, r"dtype \|V4, in which nothing can be computed"),
    "long": (
        lambda: STACK.astype(np.longdouble) * np.longdouble("1e400"),
        ValueError,
        "beyond the range of float64|infinity",
    ),
    "huge": (lambda: [[[10**400]]], ValueError, "beyond the range of float64.*Scale"),
    # Shapes
    "rectangular": (
        lambda: np.ones((2, 3, 4)),
        ValueError,
        r"got shape \(2, 3, 4\)\. .*see skdmi\.pinv, with its damping for damped least squares",
    ),
    "rectangular tensor": (lambda: torch.ones(2, 4, 3), ValueError, r"got shape \(2, 4, 3\)\. .*damped least squares"),
    "ragged": (lambda: [np.eye(2), np.eye(3)], ValueError, "is ragged.*a stack each"),
    # dask
    "masked dask": (lambda: da.from_array(masked()), ValueError, r"dask array of masked arrays|masked entries"),
    "dask of strings": (lambda: da.from_array(STACK.astype(str)), ValueError, "holds strings"),
    "dask of dates": (lambda: da.from_array(np.zeros((2, 3, 3), "M8[s]")), TypeError, "dates or times"),
    "rectangular dask": (lambda: da.ones((2, 3, 4)), ValueError, r"got shape \(2, 3, 4\)\. .*damped least squares"),
}


@pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)
@pytest.mark.parametrize(("make", "error", "message"), CASES.values(), ids=CASES)
def test_one_clear_error_at_every_door(door, make, error, message):
    with pytest.raises(error, match=f"(?s){message}"):
        door(make())


@pytest.mark.parametrize("name", [name for name, (make, *_) in CASES.items() if isinstance(make(), torch.Tensor)])
@pytest.mark.parametrize("inverter", [ExactInverter(), RefinedInverter()], ids=repr)
def test_invert_refuses_unusual_tensors_too(inverter, name):
    message = r"square matrices.*got shape \(2, 4, 3\)\. .*damped least squares"
    if name != "rectangular tensor":
        message = "invert takes a dense torch tensor of real floating dtype, got a .*Try "
    with pytest.raises(TypeError if name != "rectangular tensor" else ValueError, match=f"(?s){message}"):
        inverter.invert(CASES[name][0]())


@pytest.mark.parametrize("name", ["masked", "half complex", "generator", "float8", "scipy", "objects", "strings"])
def test_metrics_refuse_likewise(name):
    make, error, message = CASES[name]
    with pytest.raises(error, match=f"(?s){message}"):
        frobenius_residuals(make(), STACK)
    with pytest.raises(error, match=f"(?s){message}"):
        frobenius_residuals(STACK, make())


def test_a_chunk_that_turns_out_to_be_masked_is_refused_when_it_is_computed():
    X = da.from_array(STACK, chunks=1).map_blocks(np.ma.masked_greater, 0.0, meta=STACK[:0])
    with pytest.raises(ValueError, match="has masked entries"):
        ExactInverter().transform(X).compute(scheduler="synchronous")


# What looks unusual and holds real numbers


@pytest.mark.parametrize("door", [ExactInverter().transform, skdmi.inv], ids=["transform", "inv"])
@pytest.mark.parametrize(
    "make",
    [
        lambda: np.ma.array(STACK),
        lambda: np.ma.array(STACK, mask=False),
        lambda: list(np.ma.array(STACK)),
        lambda: list(torch.from_numpy(STACK)),
        lambda: list(torch.from_numpy(STACK).requires_grad_()),
        lambda: collections.deque(STACK),
        lambda: memoryview(STACK),
        lambda: STACK.astype(np.longdouble),
        lambda: [[[fractions.Fraction(x) for x in row] for row in A] for A in STACK.tolist()],
        lambda: [[[decimal.Decimal(x) for x in row] for row in A] for A in STACK.tolist()],
    ],
    ids=["masked", "no mask", "masks", "tensors", "grad", "deque", "view", "long", "fractions", "decimals"],
)
def test_what_holds_real_numbers_is_inverted(door, make):
    found = door(make())
    assert type(found) is np.ndarray
    np.testing.assert_allclose(found, door(STACK), rtol=1e-12)


def test_a_list_of_tensors_keeps_single_precision():
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        assert ExactInverter().transform(list(torch.from_numpy(STACK).to(dtype))).dtype == np.float32


@pytest.mark.parametrize("dtype", ["category", "Float64", object])
def test_tables_of_other_dtypes_that_hold_numbers(dtype):
    np.testing.assert_array_equal(ExactInverter().transform(FRAME.astype(dtype)), ExactInverter().transform(FLAT))


def memory_map(array, path):
    np.save(path, array)
    return np.load(path, mmap_mode="r")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_arrays_that_need_no_copy_are_not_copied(dtype, tmp_path):
    for X in (STACK.astype(dtype), FLAT.astype(dtype), np.array(STACK, dtype)[1:], STACK.astype(dtype).view(Sub)):
        found = as_float_array(X)
        assert type(found) is np.ndarray
        assert np.shares_memory(found, X)
    mapped = memory_map(STACK.astype(dtype), tmp_path / "stack.npy")
    assert np.shares_memory(as_float_array(mapped), mapped)


READ = {
    "big endian float32": (lambda: STACK.astype(">f4"), np.float32),
    "big endian": (lambda: STACK.astype(">f8"), np.float64),
    "half": (lambda: STACK.astype(np.float16), np.float64),
    "long": (lambda: STACK.astype(np.longdouble), np.float64),
    "reversed": (lambda: STACK.astype(np.float32)[:, ::-1, ::-1], np.float32),
    "fortran": (lambda: np.asfortranarray(STACK), np.float64),
    "unaligned": (lambda: np.frombuffer(b"0" + STACK.tobytes(), np.float64, offset=1).reshape(2, 3, 3), np.float64),
    "list": (lambda: STACK.tolist(), np.float64),
    "objects": (lambda: STACK.astype(object), np.float64),
    "masked": (lambda: np.ma.array(STACK.astype(np.float32)), np.float32),
    "tensors": (lambda: list(torch.from_numpy(STACK).float()), np.float32),
    "frame": (lambda: FRAME, np.float64),
    "frame of float32": (lambda: FRAME.astype(np.float32), np.float32),
    "frame of Float64": (lambda: FRAME.astype("Float64"), np.float64),
    "frame of decimals": (lambda: FRAME.map(decimal.Decimal), np.float64),
    "integers": (lambda: np.rint(STACK).astype(np.int8), np.float64),
    "bool": (lambda: STACK > 0, np.float64),
}


@pytest.mark.parametrize(("make", "dtype"), READ.values(), ids=READ)
def test_arrays_are_read_as_native_contiguous_numbers(make, dtype):
    X = make()
    found = as_float_array(X)
    assert found.dtype == dtype
    assert found.dtype.isnative
    assert found.flags.c_contiguous
    assert found.flags.aligned
    np.testing.assert_array_equal(found, np.asarray(X).astype(dtype))


@pytest.mark.parametrize("door", [as_float_array, as_stack, ExactInverter().transform, skdmi.inv])
@pytest.mark.parametrize("one", [STACK[1:][::-1], FLAT[:1][::-1], STACK[:, :1, :1][:, ::-1, ::-1]])
def test_an_axis_of_length_one_may_run_backwards(door, one):
    if door is not skdmi.inv or one.ndim == 3:
        np.testing.assert_array_equal(door(one), door(one.copy()))
        torch.from_numpy(as_float_array(one))


@pytest.mark.parametrize("name", CASES)
def test_reading_arrays_refuses_what_every_door_does(name):
    make, error, message = CASES[name]
    X = make()
    if not isinstance(X, torch.Tensor) and not is_dask(X):
        with pytest.raises(error, match=message):
            check_square("A", as_float_array(X, name="A", shape="(..., m, m)"))


@pytest.mark.parametrize(("value", "kind"), [(np.nan, "NaN"), (np.inf, "infinity"), (-np.inf, "infinity")], ids=str)
@pytest.mark.parametrize("container", [np.asarray, torch.as_tensor], ids=["numpy", "torch"])
def test_non_finite_entries_are_refused_alike_in_arrays_and_tensors(value, kind, container):
    A = np.ones((5, 2, 2))
    refuse_non_finite(container(A))
    refuse_non_finite(container(A[:0]))
    A[[1, 3], 0, 1] = value
    for X in (A, A.reshape(5, 4)):
        with pytest.raises(ValueError, match=rf"^X contains {kind} \(NaN or inf\) in 2 of 5 matrices, .* index 11\."):
            refuse_non_finite(container(X), 10)


@settings(max_examples=20, deadline=None, database=None)
@given(shape=st.lists(st.integers(0, 4), max_size=4).map(tuple), of_torch=st.booleans())
def test_every_shape_is_inverted_or_refused_as_an_array(shape, of_torch):
    rng = np.random.default_rng(0)
    X = rng.standard_normal(shape)
    container = torch.from_numpy if of_torch else np.asarray
    if len(shape) > 1 and shape[-1] == shape[-2]:
        X = X + 4 * np.eye(shape[-1])
        np.testing.assert_allclose(X @ np.asarray(skdmi.inv(container(X))), np.eye(shape[-1]) + 0 * X, atol=1e-9)
    else:
        with pytest.raises(ValueError, match="got shape"):
            skdmi.inv(container(X))
