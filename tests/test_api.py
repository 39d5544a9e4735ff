"""The one-liners: any size, any leading axes, numpy and torch, certified, or a clear refusal."""

import warnings

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from sklearn import config_context
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.utils._param_validation import InvalidParameterError

import skdmi
from skdmi import BlockInverter, EnsembleInverter, ExactInverter, NeuralMatrixInverter, RefinedInverter
from skdmi.api import certified_inverter
from skdmi.exceptions import SingularMatrixError, SingularMatrixWarning, UncertifiedError
from skdmi.metrics import frobenius_residuals
from tests.marks import slow_but
from tests.matrices import make_stack
from tests.models import untrained

SIZES = (1, 2, 3, 7, 40)
DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")),
]


def with_singular_members(*indices, m=3):
    A = make_stack("uniform", n_matrices=6, m=m)
    A[list(indices)] = make_stack("singular", n_matrices=len(indices), m=m)
    return A


# What comes back


@pytest.mark.parametrize("m", SIZES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("leading", [(), (1,), (6,), (2, 3), (1, 3, 1, 2)], ids=str)
def test_inverses_of_any_size_and_leading_axes(m, dtype, leading):
    A = make_stack("uniform", n_matrices=6, m=m, dtype=dtype)[: int(np.prod(leading, dtype=int))]
    X = skdmi.inv(A.reshape(*leading, m, m))
    assert (X.shape, X.dtype) == ((*leading, m, m), dtype)
    X = X.reshape(-1, m, m)
    bound = np.finfo(dtype).eps * np.linalg.norm(np.abs(A) @ np.abs(X), axis=(1, 2))
    assert (frobenius_residuals(A, X) <= 5 * bound).all()


@pytest.mark.parametrize("m", slow_but([3, 7], SIZES))
@pytest.mark.parametrize("kind", ["well", "condition", "spd", "permutation", "graded"])
def test_inverses_are_certified_and_close_to_those_of_lapack(kind, m):
    A = make_stack(kind, m=m)
    report = certified_inverter(m).report(A)
    assert report.certified.all()
    np.testing.assert_array_equal(report.inverse, skdmi.inv(A))
    errors = skdmi.metrics.relative_inverse_errors(A, report.inverse)
    assert (errors <= report.error_bound + 1e-13 * np.linalg.cond(A)).all()


def test_one_matrix_is_a_stack_of_one():
    A = make_stack("uniform", n_matrices=1, m=9)[0]  # flat, it could be nine 3 x 3 matrices
    np.testing.assert_array_equal(skdmi.inv(A), skdmi.inv(A[None])[0])


@pytest.mark.parametrize(
    "container",
    [
        np.ndarray.tolist,
        lambda A: A.astype(int),
        lambda A: A.astype(object),
        np.asfortranarray,
        lambda A: np.broadcast_to(A, A.shape),
        lambda A: np.repeat(A, 2, axis=0)[::2],
        pd.DataFrame,
    ],
    ids=["list", "int", "object", "fortran", "read-only", "strided", "frame"],
)
def test_array_likes_give_numpy(container):
    A = np.array([[2.0, 1.0, 0.0], [1.0, 3.0, 1.0], [0.0, 1.0, 4.0]])
    X = skdmi.inv(container(A))
    assert type(X) is np.ndarray
    np.testing.assert_allclose(X, np.linalg.inv(A), rtol=1e-14)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("m", [1, 3, 7])
def test_tensors_give_tensors_on_their_device(device, dtype, m):
    A = torch.from_numpy(make_stack("spd", m=m)).to(device, dtype).requires_grad_()
    X = skdmi.inv(A)
    assert (X.dtype, X.device, X.shape) == (dtype, A.device, A.shape)
    assert not X.requires_grad
    torch.testing.assert_close(
        X.double(), torch.linalg.inv(A.detach().double()), rtol=0, atol=50 * torch.finfo(dtype).eps
    )


def test_dask_stays_lazy():
    A = make_stack("uniform", n_matrices=6, m=4)
    X = skdmi.inv(da.from_array(A, chunks=(4, 4, 4)))
    assert isinstance(X, da.Array)
    np.testing.assert_allclose(X.compute(), skdmi.inv(A), rtol=1e-9)


def test_the_argument_and_the_global_state_are_left_alone():
    A = make_stack("uniform", m=7)
    before, seed, filters = A.copy(), torch.get_rng_state(), list(warnings.filters)
    first = skdmi.inv(A)
    np.testing.assert_array_equal(A, before)
    assert torch.equal(torch.get_rng_state(), seed)
    assert warnings.filters == filters
    np.testing.assert_array_equal(skdmi.inv(A), first)
    first[:] = 0
    np.testing.assert_array_equal(A, before)


def test_tables_asked_for_elsewhere_are_none_of_its_business():
    A = make_stack("uniform", m=7)
    with config_context(transform_output="pandas"):
        X = skdmi.inv(A)
        assert type(X) is np.ndarray
    np.testing.assert_array_equal(X, skdmi.inv(A))


# Singular and uncertified members


@pytest.mark.parametrize("m", [1, 2, 3, 7, 12])
def test_singular_members_are_named_along_the_flattened_leading_axes(m):
    A = with_singular_members(1, 4, m=m)
    with pytest.warns(SingularMatrixWarning, match=r"2 of 6 .* at index 1, 4\.") as record:
        X = skdmi.inv(A.reshape(2, 3, m, m)).reshape(6, m, m)
    assert len(record) == 1
    assert np.flatnonzero(np.isnan(X).any(axis=(1, 2))).tolist() == [1, 4]
    np.testing.assert_allclose(np.delete(X, [1, 4], 0), skdmi.inv(np.delete(A, [1, 4], 0)), rtol=1e-9)


@pytest.mark.parametrize("m", [2, 3, 7])
def test_policies(m):
    A = with_singular_members(4, m=m)
    with pytest.raises(SingularMatrixError, match="at index 4"):
        skdmi.inv(A, singular="raise")
    with pytest.raises(UncertifiedError, match="at index 4"):
        skdmi.inv(A, uncertified="raise")
    np.testing.assert_allclose(skdmi.inv(A, singular="pinv")[4], np.linalg.pinv(A[4], rcond=1e-13), atol=1e-10)
    with pytest.warns(SingularMatrixWarning, match="at index 4"):
        assert np.isnan(skdmi.inv(A, uncertified="nan")[4]).all()
    assert np.linalg.norm(skdmi.inv(A, uncertified="keep")[4]) > 0


def test_the_matrix_that_lapack_inverts_without_complaint():
    with pytest.warns(SingularMatrixWarning, match="1 of 1"):
        assert np.isnan(skdmi.inv(np.arange(1.0, 10).reshape(3, 3))).all()


def test_tol_stops_refinement():
    A = make_stack("uniform", n_matrices=200, m=5)
    loose, tight = (frobenius_residuals(A, skdmi.inv(A, tol=tol, model=untrained(5))).max() for tol in (0.1, "auto"))
    assert 1e-10 < loose <= 0.1
    assert tight < 1e-10


@pytest.mark.parametrize("policy", [{"tol": "small"}, {"tol": -1.0}, {"uncertified": "ignore"}, {"singular": "ignore"}])
def test_policies_are_checked(policy):
    with pytest.raises(InvalidParameterError, match=f"'{next(iter(policy))}' parameter"):
        skdmi.inv(np.eye(3), **policy)


# What is refused


@pytest.mark.parametrize(
    ("A", "match"),
    [
        (3.0, r"got shape \(\)"),
        (np.ones(3), r"got shape \(3,\)"),
        (np.ones((2, 3)), r"m, m\).*got shape \(2, 3\)"),
        (torch.ones(4, 2, 3), r"got shape \(4, 2, 3\)"),
        (np.ones((0, 2, 3)), r"got shape \(0, 2, 3\)"),
        ([[1.0, 2.0], [3.0]], "ragged"),
        ([[1.0, np.nan], [0.0, 1.0]], "NaN .*at index 0"),
        (np.where(np.arange(4)[:, None, None] == 2, np.inf, np.eye(2)), "inf.* the first at index 2"),
        ([["one", "two"], ["three", "four"]], "could not convert"),
    ],
)
def test_what_has_no_inverse_is_refused(A, match):
    with pytest.raises(ValueError, match=match):
        skdmi.inv(A)


def test_sparse_matrices_are_refused():
    with pytest.raises(TypeError, match="toarray"):
        skdmi.inv(sp.eye_array(3))


# Models


def test_every_kind_of_model(tiny_network, tmp_path):
    tiny_network.save_pretrained(tmp_path / "tiny")
    twice = EnsembleInverter.from_fitted([tiny_network, tiny_network])
    for m in (2, 3, 7):
        A = make_stack("well", m=m)
        expected = np.linalg.inv(A)
        for model in (tiny_network, FrozenEstimator(tiny_network), tmp_path / "tiny", str(tmp_path / "tiny"), twice):
            np.testing.assert_allclose(skdmi.inv(A, model=model), expected, rtol=1e-9, atol=1e-12)
        for model in ("uniform-3x3-short", untrained(5), ExactInverter()):
            np.testing.assert_allclose(skdmi.inv(A, model=model), expected, rtol=1e-9, atol=1e-12)


def test_a_model_is_never_trained(tiny_network):
    inside = certified_inverter(7, model=tiny_network).inverter.inverter.inverter
    assert inside.estimator is tiny_network
    with pytest.raises(NotFittedError):
        skdmi.inv(np.eye(3), model=NeuralMatrixInverter(matrix_size=3))


def test_an_unknown_model_says_which_there_are():
    with pytest.raises(FileNotFoundError, match="uniform-3x3-short"):
        skdmi.inv(np.eye(3), model="nope")


def test_the_composition_is_as_deep_as_the_size_asks_for():
    kinds = {m: [type(part) for part in parts(certified_inverter(m, model="uniform-3x3-short"))] for m in (3, 40)}
    assert kinds == {
        3: [RefinedInverter, FrozenEstimator],
        40: [RefinedInverter, BlockInverter, RefinedInverter, FrozenEstimator],
    }


def test_without_a_name_there_is_no_network():
    assert [type(part) for part in parts(certified_inverter(3))] == [RefinedInverter]


def parts(inverter):
    while inverter is not None:
        yield inverter
        inverter = getattr(inverter, "inverter", None)


def test_a_local_model_of_the_same_name_changes_no_choice(tiny_network, tmp_path, monkeypatch):
    A = make_stack("well")
    expected = skdmi.inv(A)
    tiny_network.save_pretrained(tmp_path / "uniform-3x3-short")
    monkeypatch.chdir(tmp_path)
    np.testing.assert_array_equal(skdmi.inv(A), expected)
    with pytest.raises(ValueError, match=r"'\./uniform-3x3-short'"):
        skdmi.load_pretrained("uniform-3x3-short")
    assert skdmi.load_pretrained("./uniform-3x3-short").depth == tiny_network.depth


def test_without_shipped_models_there_are_inverses(tmp_path, monkeypatch):
    monkeypatch.setattr("skdmi.persistence.shipped.SHIPPED", tmp_path)
    A = make_stack("uniform", n_matrices=2, m=40)
    np.testing.assert_allclose(skdmi.inv(A), np.linalg.inv(A), rtol=1e-7, atol=1e-9)
