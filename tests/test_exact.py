"""ExactInverter: the laws of the inverse, and what happens to matrices that have none."""

import pickle
import warnings

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.utils._param_validation import InvalidParameterError

from skdmi import ExactInverter, RefinedInverter
from skdmi.estimators.policies import SINGULAR_POLICIES
from skdmi.estimators.singular import settle_singular
from skdmi.exceptions import SingularMatrixError, SingularMatrixWarning
from skdmi.linalg import pseudo_inverse
from skdmi.linalg.residuals import missing
from tests.matrices import make_stack

REGULAR = ("uniform", "well", "condition", "spd", "orthogonal", "permutation", "graded")
SIZES = (1, 2, 3, 5, 8, 17, 32)


def with_singular_members(indices, n_matrices=6, m=3, dtype=np.float64):
    stack = make_stack(n_matrices=n_matrices, m=m, dtype=dtype)
    stack[indices] = make_stack("singular", n_matrices=len(indices), m=m, dtype=dtype)
    return stack


# Laws


@pytest.mark.parametrize("m", SIZES)
@pytest.mark.parametrize("kind", REGULAR)
def test_inverse_from_both_sides(kind, m):
    A = make_stack(kind, m=m)
    X = ExactInverter().transform(A)
    tolerance = 1e-13 * np.linalg.cond(A).max() * m
    np.testing.assert_allclose(A @ X, np.broadcast_to(np.eye(m), A.shape), atol=tolerance)
    np.testing.assert_allclose(X @ A, np.broadcast_to(np.eye(m), A.shape), atol=tolerance)


@pytest.mark.parametrize("m", SIZES)
def test_laws_of_the_inverse(m):
    invert = ExactInverter().transform
    A, B = make_stack(m=m), make_stack(m=m, seed=1)
    np.testing.assert_allclose(invert(invert(A)), A, atol=1e-12)
    np.testing.assert_allclose(invert(A.transpose(0, 2, 1)), invert(A).transpose(0, 2, 1), atol=1e-11)
    np.testing.assert_allclose(invert(A @ B), invert(B) @ invert(A), atol=1e-10)
    for c in (-3.0, 1e-100, 1e100):
        np.testing.assert_allclose(invert(c * A), invert(A) / c, rtol=1e-9, atol=1e-12 / abs(c))


def test_permutations_and_diagonals_are_inverted_exactly():
    P = make_stack("permutation", m=5)
    np.testing.assert_array_equal(ExactInverter().transform(P), P.transpose(0, 2, 1))
    D = np.array([np.diag([2.0, 2.0**-300, 2.0**300, -1.0])])
    np.testing.assert_array_equal(ExactInverter().transform(D), [np.diag([0.5, 2.0**300, 2.0**-300, -1.0])])


def test_float32_is_computed_in_float64_and_rounded_once():
    A = make_stack("condition", condition=1e5, dtype=np.float32)
    np.testing.assert_array_equal(
        ExactInverter().transform(A), ExactInverter().transform(A.astype(np.float64)).astype(np.float32)
    )


def test_any_size_at_each_call_until_one_is_fitted():
    exact = ExactInverter()
    for m in SIZES:
        assert exact.transform(make_stack(m=m)).shape == (8, m, m)
    assert exact.fit(make_stack(m=3)) is exact
    with pytest.raises(ValueError, match="X holds 5 x 5 matrices, but ExactInverter is fitted for 3 x 3"):
        exact.transform(make_stack(m=5))
    assert exact.invert(torch.from_numpy(make_stack(m=5))).shape == (8, 5, 5)
    assert exact.fit().transform(make_stack(m=5)).shape == (8, 5, 5)


def test_it_needs_no_fit_and_learns_nothing():
    A = make_stack()
    np.testing.assert_array_equal(ExactInverter().transform(A), ExactInverter().fit(A).transform(A))
    np.testing.assert_array_equal(ExactInverter().fit_transform(A), ExactInverter().transform(A))
    assert vars(ExactInverter().fit()) == {"singular": "warn", "verbose": 0}


# Singular members


@pytest.mark.parametrize(
    "matrix",
    [
        np.zeros((3, 3)),
        np.ones((3, 3)),
        np.arange(1.0, 10).reshape(3, 3),
        np.diag([1.0, 0.0, 1.0]),
        1e200 * np.ones((3, 3)),
        1e-200 * np.arange(1.0, 10).reshape(3, 3),
    ],
)
@pytest.mark.parametrize("m", [3])
def test_singular_to_working_precision(matrix, m):
    with pytest.warns(SingularMatrixWarning, match=r"1 of 1 matrices are singular to working precision, at index 0\. "):
        assert np.isnan(ExactInverter().transform(matrix[None])).all()


@pytest.mark.parametrize("m", [2, 3, 5, 8])
@pytest.mark.parametrize("rank", [0, 1, -1])
def test_integer_matrices_of_deficient_rank_never_pass(m, rank):
    A = make_stack("singular", n_matrices=200, m=m, rank=rank % m)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SingularMatrixWarning)
        assert np.isnan(ExactInverter().transform(A)).all()


@pytest.mark.parametrize("indices", [[0], [5], [1, 4], [0, 1, 2, 3, 4, 5]])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bad_members_spoil_no_other(indices, dtype):
    A = with_singular_members(indices, dtype=dtype)
    regular = np.setdiff1d(np.arange(6), indices)
    with pytest.warns(SingularMatrixWarning) as record:
        X = ExactInverter().transform(A)
    assert len(record) == 1
    assert np.isnan(X[indices]).all()
    if len(regular):
        np.testing.assert_allclose(X[regular], ExactInverter().transform(A[regular]), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(
    "container",
    [np.array, torch.from_numpy, lambda A: A.reshape(6, 9), lambda A: pd.DataFrame(A.reshape(6, 9)), np.ndarray.tolist],
    ids=["numpy", "torch", "flat", "frame", "list"],
)
def test_warn_names_the_indices(container):
    with pytest.warns(SingularMatrixWarning) as record:
        X = ExactInverter(singular="warn").transform(container(with_singular_members([1, 4])))
    (warning,) = record
    assert "2 of 6 matrices are singular to working precision, at index 1, 4." in str(warning.message)
    assert "singular='pinv'" in str(warning.message)
    assert np.isnan(np.asarray(X).reshape(6, 9)).all(axis=1).tolist() == [False, True, False, False, True, False]


def test_warn_names_ten_indices_at_most():
    with pytest.warns(SingularMatrixWarning, match=r"12 of 12 .* 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, \.\.\.\. Their"):
        ExactInverter().transform(np.zeros((12, 2, 2)))


def test_raise_names_the_indices_and_is_a_linalg_error():
    with pytest.raises(SingularMatrixError, match=r"2 of 6 .* at index 1, 4\. .*'warn' returns NaN.*'pinv'"):
        ExactInverter(singular="raise").transform(with_singular_members([1, 4]))
    with pytest.raises(np.linalg.LinAlgError):
        ExactInverter(singular="raise").transform(np.zeros((1, 2, 2)))
    assert ExactInverter(singular="raise").transform(make_stack()).shape == (8, 3, 3)


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_pinv_is_the_pseudo_inverse(rank):
    A = make_stack("singular", rank=rank)
    X = ExactInverter(singular="pinv").transform(A)
    np.testing.assert_allclose(A @ X @ A, A, atol=1e-10)
    np.testing.assert_allclose(X @ A @ X, X, atol=1e-10)
    np.testing.assert_allclose(A @ X, (A @ X).transpose(0, 2, 1), atol=1e-10)
    np.testing.assert_allclose(X @ A, (X @ A).transpose(0, 2, 1), atol=1e-10)


@pytest.mark.parametrize(
    "container",
    [
        np.array,
        torch.from_numpy,
        lambda A: torch.from_numpy(A).half(),
        lambda A: torch.from_numpy(A).bfloat16(),
        lambda A: A.astype(np.float32),
        lambda A: A.reshape(6, 9),
        lambda A: da.from_array(A, chunks=4),
    ],
    ids=["numpy", "torch", "half", "bfloat16", "float32", "flat", "dask"],
)
def test_pinv_in_every_container(container):
    X = container(with_singular_members([1, 4]))
    inverses = ExactInverter(singular="pinv").transform(X)
    assert type(inverses) is type(X)
    assert inverses.dtype == X.dtype
    inverses, given = (
        np.asarray(a.double() if isinstance(a, torch.Tensor) else a, dtype=float).reshape(6, 3, 3)
        for a in (inverses, X)
    )
    assert np.isfinite(inverses).all()
    np.testing.assert_allclose(given[[1, 4]] @ inverses[[1, 4]] @ given[[1, 4]], given[[1, 4]], atol=0.2)


@pytest.mark.parametrize("policy", SINGULAR_POLICIES)
def test_policies_concern_singular_members_only(policy):
    A = make_stack()
    np.testing.assert_array_equal(ExactInverter(singular=policy).transform(A), ExactInverter().transform(A))


@pytest.mark.parametrize("policy", SINGULAR_POLICIES)
def test_scores_and_invert_never_warn_and_report_nan(policy):
    A = with_singular_members([1, 4])
    exact = ExactInverter(singular=policy)
    assert np.isnan(exact.residual_norms(A)).tolist() == [False, True, False, False, True, False]
    assert exact.score(A) == pytest.approx(-2 * np.sqrt(3) / 6)
    assert exact.invert(torch.from_numpy(A)).isnan().any(-1).any(-1).tolist() == [
        False,
        True,
        False,
        False,
        True,
        False,
    ]


@pytest.mark.parametrize(
    "X",
    [
        np.array([[[1e-40]], [[2.0]]], dtype=np.float32),
        np.array([[[5e-324]], [[2.0]]]),
        torch.tensor([[[1e-6]], [[2.0]]], dtype=torch.float16),
        torch.tensor([[[1e-40]], [[2.0]]], dtype=torch.bfloat16),
    ],
    ids=["float32", "float64", "float16", "bfloat16"],
)
def test_an_inverse_beyond_the_range_of_the_dtype_is_none(X):
    with pytest.warns(SingularMatrixWarning, match="1 of 2 .* at index 0"):
        inverses = ExactInverter().transform(X)
    np.testing.assert_array_equal(np.asarray(torch.as_tensor(inverses).double()).ravel(), [np.nan, 0.5])
    with pytest.raises(SingularMatrixError, match="at index 0"):
        ExactInverter(singular="raise").transform(X)
    assert ExactInverter().invert(torch.as_tensor(X)).isnan().flatten().tolist() == [True, False]


def test_settle_singular_leaves_its_arguments_alone():
    A = torch.from_numpy(with_singular_members([1]))
    X = ExactInverter().invert(A)
    before = X.clone()
    absent = missing(X)
    settled = settle_singular(A, X, absent, "pinv")
    assert settled[1].isfinite().all()
    torch.testing.assert_close(X, before, equal_nan=True)
    with pytest.warns(SingularMatrixWarning, match=r"1 of 6 .* at index 101\."):
        settle_singular(A, X, absent, "warn", start=100)


# The estimator


@pytest.mark.parametrize("value", ["ignore", None, 1, True])
def test_parameters_are_checked_in_fit_and_before_any_use(value):
    exact = ExactInverter(singular=value)
    A = make_stack()
    for method in (exact.fit, exact.transform, exact.score, lambda A: exact.invert(torch.from_numpy(A))):
        with pytest.raises(InvalidParameterError, match="The 'singular' parameter of ExactInverter must be"):
            method(A)


def test_parameters_survive_clone_and_pickle():
    exact = ExactInverter(singular="pinv").fit(make_stack())
    assert clone(exact).get_params() == {"singular": "pinv", "verbose": 0}
    assert not hasattr(clone(exact), "matrix_size_")
    assert vars(pickle.loads(pickle.dumps(exact))).keys() == vars(exact).keys()
    assert repr(exact) == "ExactInverter(singular='pinv')"
    with pytest.raises(TypeError, match="positional"):
        ExactInverter("pinv")


@pytest.mark.parametrize(("dtype", "value"), [(np.float64, 1e-310), (np.float32, 1e-40)])
@pytest.mark.parametrize("inverter", [ExactInverter(singular="pinv"), RefinedInverter(singular="pinv")], ids=repr)
def test_a_pseudo_inverse_beyond_the_range_is_nan_and_named(inverter, dtype, value):
    X = np.array([[[1, 0], [0, 0]], [[value, 0], [0, 0]]], dtype)
    with pytest.warns(SingularMatrixWarning, match=r"1 of 2 .* at index 1\. .*pseudo-inverses are beyond the range"):
        found = inverter.transform(X)
    np.testing.assert_array_equal(found[0], X[0])
    assert np.isnan(found[1]).all()


def test_the_source_of_a_pseudo_inverse_beyond_the_range_is_none():
    with pytest.warns(SingularMatrixWarning, match="index 1"):
        report = RefinedInverter(singular="pinv").report(np.array([[[1.0, 0], [0, 0]], [[1e-310, 0], [0, 0]]]))
    assert report.source.tolist() == ["pinv", "none"]


# Pseudo-inverses


@pytest.mark.parametrize("m", [2, 3, 5, 16])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_singular_values_at_the_rounding_of_the_own_dtype_count_as_zero(m, dtype):
    v = torch.linspace(0.1, 0.7, m, dtype=dtype)
    A = torch.outer(v, v)
    v = v.double()
    expected = torch.outer(v, v) / v.square().sum() ** 2
    found = pseudo_inverse(A)
    assert found.rank == 1
    assert torch.linalg.norm(found.inverse - expected) <= 20 * torch.finfo(dtype).eps * torch.linalg.norm(expected)
    for inverter in (ExactInverter(singular="pinv"), RefinedInverter(singular="pinv")):
        X = inverter.transform(A[None])[0]
        assert X.dtype == dtype
        assert torch.linalg.norm(X.double() - expected) <= 20 * torch.finfo(dtype).eps * torch.linalg.norm(expected)


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
@pytest.mark.parametrize(("m", "rank"), [(2, 1), (3, 2), (5, 2), (8, 7), (4, 4)])
def test_the_bound_of_a_pseudo_inverse_is_above_its_error(m, rank, scale):
    flint = pytest.importorskip("flint")
    A = make_stack("singular" if rank < m else "well", 10, m, rank=rank)
    found = pseudo_inverse(torch.from_numpy(scale * A))
    assert (found.rank == rank).all()
    assert (found.error_bound < 1e-10).all()
    if rank < m and scale == 1:  # A = B C of full rank gives C^T (B^T A C^T)^-1 B^T; the columns of A that are B
        for A_i, X_i, bound in zip(A, found.inverse.tolist(), found.error_bound.tolist(), strict=True):
            exact = flint.fmpq_mat(m, m, [int(a) for a in A_i.flatten()])
            reduced, r = exact.rref()
            C = reduced.tolist()[:r]
            pivots = [next(j for j, c in enumerate(row) if c != 0) for row in C]
            B = [[row[j] for j in pivots] for row in exact.tolist()]
            B, C = (flint.fmpq_mat(len(T), len(T[0]), [t for row in T for t in row]) for T in (B, C))
            true = C.transpose() * (B.transpose() * exact * C.transpose()).inv() * B.transpose()
            true = np.array([int(x.p) / int(x.q) for x in true.entries()]).reshape(m, m)
            assert np.linalg.norm(X_i - true, 2) <= (bound + 1e-15) * np.linalg.norm(true, 2)


def test_the_bound_of_a_pseudo_inverse_is_infinite_where_rounding_decides_the_rank():
    A = torch.diag(torch.tensor([1.0, 1e-15], dtype=torch.float64))
    assert pseudo_inverse(A).error_bound == torch.inf
