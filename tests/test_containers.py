"""The one door for X: what X may be, what comes back, what is refused and in which words."""

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import validate_data

from skdmi import BlockInverter, EnsembleInverter, ExactInverter, NeuralMatrixInverter, RefinedInverter, load_pretrained
from skdmi.exceptions import SingularMatrixError, SingularMatrixWarning
from tests.matrices import make_stack

STACK = make_stack(n_matrices=7, m=3)
FLAT = STACK.reshape(7, 9)
TOLERANCE = {"rtol": 1e-4, "atol": 1e-4}


def memmap(path, mode):
    np.save(path, STACK)
    return np.load(path, mmap_mode=mode)


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def interleaved(array):
    wide = np.full((*array.shape[:-1], 2 * array.shape[-1]), np.nan)
    wide[..., ::2] = array
    return wide[..., ::2]


# Layout, container, dtype


@pytest.mark.parametrize(
    "container",
    [
        np.asfortranarray,
        np.ndarray.tolist,
        interleaved,
        read_only,
        lambda a: a[::-1].copy()[::-1],
        lambda a: a.astype(">f8"),
        lambda a: a.astype(object),
        lambda a: a.view(type("Sub", (np.ndarray,), {})),
        lambda a: list(a),
        lambda a: tuple(map(tuple, a)),
    ],
    ids=["fortran", "list", "strided", "read_only", "reversed", "big_endian", "object", "subclass", "rows", "tuples"],
)
@pytest.mark.parametrize("X", [STACK, FLAT], ids=["stack", "flat"])
def test_array_likes_give_numpy_in_the_same_layout(inverter, X, container):
    inverses = inverter.transform(container(X))
    assert type(inverses) is np.ndarray
    assert inverses.dtype == np.float64
    np.testing.assert_array_equal(inverses, inverter.transform(X))


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_memory_mapped_arrays(inverter, tmp_path, mode):
    X = memmap(tmp_path / "stack.npy", mode)
    np.testing.assert_array_equal(inverter.transform(X), inverter.transform(STACK))
    np.testing.assert_array_equal(np.load(tmp_path / "stack.npy"), STACK)


def test_flat_is_the_stack_row_by_row(inverter):
    np.testing.assert_array_equal(inverter.transform(FLAT).reshape(STACK.shape), inverter.transform(STACK))


def test_data_frames_give_numpy():
    inverses = ExactInverter().transform(pd.DataFrame(FLAT))
    assert type(inverses) is np.ndarray
    np.testing.assert_array_equal(inverses, ExactInverter().transform(FLAT))


def test_a_container_needs_no_more_than_shape_and_array_protocol():
    class Table:
        shape = FLAT.shape

        def __array__(self, dtype=None, copy=None):
            return FLAT.astype(dtype or float)

    np.testing.assert_array_equal(ExactInverter().transform(Table()), ExactInverter().transform(FLAT))


@pytest.mark.parametrize("X", [STACK, FLAT], ids=["stack", "flat"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_tensors_give_tensors_of_their_dtype(inverter, X, dtype):
    given = torch.from_numpy(X).to(dtype)
    inverses = inverter.transform(given)
    assert isinstance(inverses, torch.Tensor)
    assert inverses.dtype == dtype
    assert inverses.shape == given.shape
    assert inverses.device == given.device
    computed_in = torch.float64 if dtype == torch.float64 else torch.float32
    torch.testing.assert_close(inverses, inverter.transform(given.to(computed_in)).to(dtype), rtol=0, atol=0)


@pytest.mark.parametrize("kind", ["transposed", "grad", "parameter", "inference", "expanded"])
def test_tensors_of_every_kind(inverter, kind):
    plain = torch.from_numpy(STACK)
    X = {
        "transposed": plain.mT.contiguous().mT,
        "grad": plain.clone().requires_grad_(),
        "parameter": torch.nn.Parameter(plain.clone()),
        "expanded": plain[:1].expand(7, 3, 3),
    }
    with torch.inference_mode():
        X["inference"] = plain.clone()
    inverses = inverter.transform(X[kind])
    assert not inverses.requires_grad
    expected = inverter.transform(plain)
    expected = expected[:1].expand(7, 3, 3) if kind == "expanded" else expected
    torch.testing.assert_close(inverses, expected, **TOLERANCE if kind == "expanded" else {})
    assert np.isfinite(inverter.score(X[kind]))


@pytest.mark.parametrize("dtype", ["float32", "float64", ">f4", ">f8"])
def test_float32_and_float64_are_kept(inverter, dtype):
    X = STACK.astype(dtype)
    assert inverter.transform(X).dtype == X.dtype.newbyteorder("=")
    assert inverter.transform(X.reshape(7, 9)).dtype == X.dtype.newbyteorder("=")
    lazy = inverter.transform(da.from_array(X, chunks=3))
    assert lazy.dtype == lazy.compute().dtype == X.dtype.newbyteorder("=")


@pytest.mark.parametrize("dtype", ["int64", "int8", "uint16", "bool", "float16", "longdouble"])
def test_other_real_dtypes_become_float64(dtype):
    X = np.array([np.eye(3), np.eye(3)[::-1]], dtype=dtype)
    for given in (X, X.reshape(2, 9), X.tolist()):
        inverses = ExactInverter().transform(given)
        assert inverses.dtype == np.float64
        np.testing.assert_array_equal(inverses, given)
    lazy = ExactInverter().transform(da.from_array(X, chunks=1))
    assert lazy.dtype == lazy.compute().dtype == np.float64


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8, torch.bool])
def test_other_real_tensors_become_float64(inverter, dtype):
    assert inverter.transform(torch.eye(3)[None].to(dtype)).dtype == torch.float64


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_tensors_stay_on_their_device(inverter):
    X = torch.from_numpy(STACK).cuda()
    assert inverter.transform(X).device == inverter.invert(X).device == X.device
    torch.testing.assert_close(inverter.transform(X).cpu(), inverter.transform(X.cpu()), **TOLERANCE)


def test_a_table_that_cannot_hold_float32_and_float64_holds_float64():
    frame = pd.DataFrame(FLAT).astype({0: "float32"})
    assert ExactInverter().transform(frame).dtype == np.float64
    assert ExactInverter().transform(frame.astype("float32")).dtype == np.float32


# Refusals: what was got, what was expected, what to try


def bad_entry(value):
    X = STACK.copy()
    X[4, 1, 2] = value
    return X


@pytest.mark.parametrize(("value", "name"), [(np.nan, "NaN"), (np.inf, "infinity"), (-np.inf, "infinity")])
@pytest.mark.parametrize("container", [np.array, torch.from_numpy, np.ndarray.tolist, lambda a: a.astype(np.float32)])
def test_non_finite_entries_are_refused(inverter, value, name, container):
    message = rf"X contains {name} .* in 1 of 7 matrices, the first at index 4\. .* leave those matrices out"
    for method in (inverter.transform, inverter.residual_norms, inverter.score, clone(inverter).fit):
        with pytest.raises(ValueError, match=message):
            method(container(bad_entry(value)))
    with pytest.raises(ValueError, match=message):
        inverter.transform(container(bad_entry(value).reshape(7, 9)))


@pytest.mark.parametrize(
    "sparse",
    [
        lambda: sp.csr_matrix(FLAT),
        lambda: sp.coo_array(FLAT),
        lambda: sp.coo_array(STACK),
        lambda: sp.csr_array(np.eye(4)),
        lambda: torch.from_numpy(STACK).to_sparse(),
        lambda: torch.from_numpy(FLAT).to_sparse(),
    ],
    ids=["csr_matrix", "coo", "coo_stack", "square", "torch_stack", "torch"],
)
def test_sparse_is_refused(inverter, sparse):
    for method in (inverter.transform, inverter.score, clone(inverter).fit):
        with pytest.raises(TypeError, match=r"Sparse data was passed for X, but dense data is required.*toarray"):
            method(sparse())


@pytest.mark.parametrize(
    "container",
    [
        np.array,
        torch.from_numpy,
        np.ndarray.tolist,
        lambda a: a.reshape(7, 9),
        lambda a: a.astype(object),
        lambda a: pd.DataFrame(a.reshape(7, 9)),
        lambda a: da.from_array(a, chunks=3),
    ],
    ids=["numpy", "torch", "list", "flat", "object", "frame", "dask"],
)
def test_complex_is_refused_by_what_learned_real_matrices(container):
    network = load_pretrained("uniform-3x3-short")
    for method in (network.transform, network.score, RefinedInverter(network).transform):
        with pytest.raises(
            ValueError, match=r"Complex data not supported here, got .*complex128.*linalg\.complex_to_real"
        ):
            method(container(STACK + 0j))


@pytest.mark.parametrize(
    ("empty", "message"),
    [
        (np.empty((0, 3, 3)), r"X is empty: shape \(0, 3, 3\)\. .* skdmi\.inv takes empty stacks, too"),
        (np.empty((0, 9)), r"X is empty: shape \(0, 9\)"),
        (np.empty((3, 0)), r"0 feature\(s\)"),
        (np.empty((3, 0, 0)), r"square matrices.*got shape \(3, 0, 0\)"),
        (torch.empty((0, 3, 3)), r"X is empty: shape \(0, 3, 3\)\. Expected at least one matrix"),
        (torch.empty((3, 0)), r"X is empty: shape \(3, 0\)"),
        (da.from_array(np.empty((0, 3, 3))), r"X is empty: shape \(0, 3, 3\)"),
        ([], r"got 1 axes: \(0,\)\. Reshape your data"),
        ([[]], r"0 feature\(s\)"),
        ([[[]]], r"got shape \(1, 1, 0\)"),
    ],
)
def test_empty_is_refused(inverter, empty, message):
    for method in (inverter.transform, clone(inverter).fit):
        with pytest.raises(ValueError, match=message):
            method(empty)


@pytest.mark.parametrize(
    "ragged",
    [
        [[[1.0, 2.0], [3.0, 4.0]], [[5.0]]],
        [[1.0, 2.0], [3.0]],
        [np.eye(2), np.eye(3)],
        np.array([np.eye(2), np.eye(3)], dtype=object),
    ],
)
def test_ragged_is_refused(inverter, ragged):
    with pytest.raises(ValueError, match=r"X is ragged: .*\(n_matrices, m, m\).*a stack each"):
        inverter.transform(ragged)


@pytest.mark.parametrize("container", [np.array, torch.from_numpy, da.from_array, np.ndarray.tolist])
def test_non_square_is_refused(inverter, container):
    for method in (inverter.transform, clone(inverter).fit):
        with pytest.raises(ValueError, match=r"square matrices, shape \(.*\), got shape \(2, 3, 4\).*skdmi\.pinv"):
            method(container(np.ones((2, 3, 4))))


@pytest.mark.parametrize("container", [np.array, torch.from_numpy, da.from_array, pd.DataFrame])
def test_columns_that_are_no_square_are_refused(container):
    for method in (ExactInverter().transform, ExactInverter().fit):
        with pytest.raises(ValueError, match=r"its number of columns is a square; got 5 columns.*X\[None\]"):
            method(container(np.ones((2, 5))))


@pytest.mark.parametrize("container", [np.array, torch.from_numpy, da.from_array, np.ndarray.tolist])
def test_another_size_is_refused_in_matrix_words_for_stacks(tiny_network, container):
    for fitted in (tiny_network, ExactInverter().fit(STACK)):
        for method in (fitted.transform, fitted.residual_norms, fitted.score):
            with pytest.raises(ValueError, match=r"X holds 4 x 4 matrices, but \w+ is fitted for 3 x 3\..*Block"):
                method(container(make_stack(m=4)))


@pytest.mark.parametrize("container", [np.array, torch.from_numpy, da.from_array, pd.DataFrame])
def test_another_size_is_refused_in_the_words_of_scikit_learn_for_flat_stacks(container):
    fitted = ExactInverter().fit(STACK)
    with pytest.raises(ValueError, match="X has 16 features, but ExactInverter is expecting 9 features as input"):
        fitted.transform(container(make_stack(m=4).reshape(8, 16)))


@pytest.mark.parametrize("container", [np.array, torch.from_numpy, da.from_array, pd.DataFrame, np.ndarray.tolist])
def test_one_matrix_is_not_a_flat_stack(tiny_network, container):
    for fitted in (tiny_network, ExactInverter().fit(STACK)):
        with pytest.raises(ValueError, match=r"one matrix a row. For one 3 x 3 matrix pass X\[None\]"):
            fitted.transform(container(np.eye(3)))
    four = ExactInverter().fit(make_stack(m=4))
    with pytest.raises(ValueError, match=r"X has 4 features, .* expecting 16 features .* 4 x 4 matrix pass X\[None\]"):
        four.transform(container(np.eye(4)))


@pytest.mark.parametrize("side", [4, 9, 16, 25])
@pytest.mark.parametrize("container", [np.array, torch.from_numpy, da.from_array, np.ndarray.tolist])
def test_a_square_array_is_ambiguous_without_a_fixed_size(side, container):
    for method in (ExactInverter().transform, ExactInverter().fit, NeuralMatrixInverter().fit):
        root = int(side**0.5)
        message = rf"A {side} x {side} array is ambiguous.*X\[None\] or X\.reshape\(-1, {root}, {root}\)"
        with pytest.raises(ValueError, match=message):
            method(container(np.eye(side)))


def test_a_fixed_or_named_size_settles_what_a_square_array_is(tiny_network):
    X = make_stack(n_matrices=9).reshape(9, 9)
    assert tiny_network.transform(X).shape == (9, 9)
    assert ExactInverter().fit(STACK).transform(X).shape == (9, 9)
    network = clone(tiny_network).set_params(max_epochs=0)
    assert network.fit(X).matrix_size_ == 3
    with pytest.raises(ValueError, match=r"For one 3 x 3 matrix pass X\[None\]"):
        network.fit(np.eye(3))


@pytest.mark.parametrize("container", [np.array, torch.from_numpy, da.from_array])
def test_the_size_of_an_inner_inverter_settles_it_too(tiny_network, container):
    frozen = FrozenEstimator(tiny_network)
    nine, X = container(make_stack(n_matrices=9).reshape(9, 9)), container(make_stack(m=4))
    for inverter in (
        RefinedInverter(frozen),
        EnsembleInverter([frozen], 1),
        RefinedInverter(EnsembleInverter(frozen, 1)),
    ):
        for method in (inverter.transform, inverter.fit_transform):
            assert np.asarray(method(nine)).shape == (9, 9)
        for wrong in (X, X.reshape(len(X), 16)):
            with pytest.raises(ValueError, match=r"is fitted for 3 x 3|is expecting 9 features"):
                np.asarray(clone(inverter).transform(wrong))
    with pytest.raises(ValueError, match="ambiguous"):  # it takes any size
        BlockInverter(frozen).transform(nine)


def test_one_by_one_matrices_are_numbers():
    X = np.array([[2.0], [4.0]])
    np.testing.assert_array_equal(ExactInverter().transform(X), [[0.5], [0.25]])
    np.testing.assert_array_equal(ExactInverter().fit(X).transform([[5.0]]), [[0.2]])


@pytest.mark.parametrize("container", [np.array, torch.from_numpy, da.from_array, np.ndarray.tolist])
@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.ones(9), r"Expected shape \(n_matrices, m, m\) .* got 1 axes: \(9,\)\. .*X\.reshape\(1, -1\)"),
        (np.ones((2, 2, 3, 3)), r"got 4 axes: \(2, 2, 3, 3\). Try X\.reshape\(-1, m, m\), or invert\(A\)"),
    ],
    ids=["1-D", "4-D"],
)
def test_other_numbers_of_axes_are_refused(inverter, container, X, message):
    for method in (inverter.transform, clone(inverter).fit):
        with pytest.raises(ValueError, match=message):
            method(container(X))


# dask


@pytest.mark.parametrize("chunks", [(7, 3, 3), (1, 1, 1), (3, 2, 1), ((2, 0, 5), 3, 3), ((1, 4, 2), (1, 2), (2, 1))])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dask_stays_lazy_and_agrees_with_numpy(inverter, chunks, dtype):
    X = STACK.astype(dtype)
    lazy = inverter.transform(da.from_array(X, chunks=chunks))
    assert isinstance(lazy, da.Array)
    assert lazy.shape == X.shape
    assert lazy.dtype == dtype
    computed = lazy.compute(scheduler="synchronous")
    assert computed.dtype == dtype
    np.testing.assert_allclose(computed, inverter.transform(X), **TOLERANCE)
    np.testing.assert_allclose(lazy.compute(scheduler="threads"), computed, **TOLERANCE)


@pytest.mark.parametrize("chunks", [(7, 9), (2, 4), ((3, 0, 4), (1, 8))])
def test_flat_dask(inverter, chunks):
    lazy = inverter.transform(da.from_array(FLAT, chunks=chunks))
    assert lazy.shape == FLAT.shape
    np.testing.assert_allclose(lazy.compute(), inverter.transform(FLAT), **TOLERANCE)


def test_dask_computes_nothing_early(inverter):
    computed = []
    X = da.from_array(STACK, chunks=3).map_blocks(lambda block: computed.append(len(block)) or block, meta=STACK[:0])
    lazy = inverter.transform(X), inverter.residual_norms(X)
    assert not computed
    for part in lazy:
        part.compute()
    assert sum(computed) == 14


def test_dask_with_unknown_chunk_sizes(inverter):
    X = da.from_array(STACK, chunks=(3, 2, 1))
    some = X[X[:, 0, 0] > 0]
    assert np.isnan(some.shape[0])
    expected = STACK[STACK[:, 0, 0] > 0]
    assert 0 < len(expected) < 7
    np.testing.assert_allclose(inverter.transform(some).compute(), inverter.transform(expected), **TOLERANCE)
    np.testing.assert_allclose(inverter.residual_norms(some).compute(), inverter.residual_norms(expected), atol=1e-4)
    assert inverter.score(some) == pytest.approx(inverter.score(expected), abs=1e-5)
    none = X[X[:, 0, 0] > 1e9]
    assert inverter.transform(none).compute().shape == (0, 3, 3)


def test_dask_is_checked_at_once_where_it_can_be():
    def forbidden(block):
        raise AssertionError

    for shape, message in [((4, 5), "5 columns"), ((4, 2, 3), "square"), ((2, 2, 2, 2), "axes"), ((4,), "1 axes")]:
        X = da.ones(shape, chunks=1).map_blocks(forbidden, dtype=float)
        with pytest.raises(ValueError, match=message):
            ExactInverter().transform(X)
    X = da.ones((4, 16), chunks=1).map_blocks(forbidden, dtype=float)
    with pytest.raises(ValueError, match="X has 16 features, but ExactInverter is expecting 9"):
        ExactInverter().fit(STACK).transform(X)


def test_values_are_checked_inside_the_chunks_and_indices_count_from_the_whole_stack(inverter):
    lazy = inverter.transform(da.from_array(bad_entry(np.nan), chunks=(3, 3, 3)))
    with pytest.raises(ValueError, match="the first at index 4"):
        lazy.compute()


@pytest.mark.parametrize("chunks", [(7, 3, 3), (2, 3, 3), ((1, 0, 4, 2), 2, 1)])
def test_singular_members_of_dask_are_named_as_in_the_whole_stack(chunks):
    stack = STACK.copy()
    stack[4] = 0
    X = da.from_array(stack, chunks=chunks)
    with pytest.warns(SingularMatrixWarning, match=r"at index 4\. "):
        inverses = ExactInverter().transform(X).compute(scheduler="synchronous")
    assert np.isnan(inverses[4]).all()
    assert np.isfinite(np.delete(inverses, 4, axis=0)).all()
    with pytest.raises(SingularMatrixError, match="at index 4"):
        ExactInverter(singular="raise").transform(X).compute()


def test_fit_takes_dask():
    assert ExactInverter().fit(da.from_array(STACK, chunks=2)).matrix_size_ == 3
    unmasked = da.from_array(np.ma.array(STACK), chunks=2)  # Only what is computed tells that nothing is masked.
    assert ExactInverter().fit(unmasked).matrix_size_ == 3
    np.testing.assert_array_equal(RefinedInverter().report(unmasked).inverse, RefinedInverter().report(STACK).inverse)


# Tensors


def test_tensors_are_validated_without_a_host_copy(monkeypatch):
    seen = []

    def spy(estimator, X, **options):
        seen.append(options.get("skip_check_array", False))
        return validate_data(estimator, X, **options)

    monkeypatch.setattr("skdmi.estimators.base.validate_data", spy)
    monkeypatch.setattr("skdmi.estimators.base.check_array", None)
    ExactInverter().fit(torch.from_numpy(STACK)).transform(torch.from_numpy(STACK))
    assert seen == [True, True]
