"""Laws of the metrics: the plain formulas of numpy, in float64, whatever the container and whatever is missing."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV, ShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skdmi import RefinedInverter
from skdmi.metrics import (
    frobenius_residuals,
    half_norm_share,
    mean_frobenius_residual,
    neg_mean_frobenius_residual,
    neg_mean_refinement_steps,
    relative_inverse_errors,
    with_missing_as_zero,
    within_tolerance_share,
)
from tests.matrices import make_stack

PER_MATRIX = [frobenius_residuals, relative_inverse_errors]
OVER_ALL = [mean_frobenius_residual, within_tolerance_share, half_norm_share]
property_test = settings(max_examples=50)
seeds = st.integers(0, 2**32 - 1)


def nearly_inverted(n_matrices=20, m=3, *, noise=0.1, seed=0, kind="well"):
    """Return a stack and inverses of it that are wrong by about `noise`, a hundredth of it to all of it."""
    A = make_stack(kind, n_matrices, m, seed=seed)
    errors = np.geomspace(noise / 100, noise, n_matrices)[:, None, None] * make_stack("uniform", n_matrices, m, seed=1)
    return A, np.linalg.inv(A) + errors


def without(X, *indices):
    X = X.copy()
    X[list(indices), 0, 0] = np.nan
    return X


# The formulas


@property_test
@given(seed=seeds, n=st.integers(1, 5), m=st.integers(1, 6), noise=st.sampled_from([1e-12, 1e-3, 0.1, 2.0]))
def test_the_formulas(seed, n, m, noise):
    A, X = nearly_inverted(n, m, noise=noise, seed=seed)
    eye = np.eye(m)
    right, left = eye - A @ X, eye - X @ A
    norms = np.linalg.norm(right, axis=(1, 2))
    close = {"rtol": 1e-9, "atol": 1e-13}
    np.testing.assert_allclose(frobenius_residuals(A, X), norms, **close)
    np.testing.assert_allclose(frobenius_residuals(A, X, left=True), np.linalg.norm(left, axis=(1, 2)), **close)
    np.testing.assert_allclose(mean_frobenius_residual(A, X), norms.mean(), **close)
    inverse = np.linalg.inv(A)
    errors = np.linalg.norm(X - inverse, axis=(1, 2)) / np.linalg.norm(inverse, axis=(1, 2))
    np.testing.assert_allclose(relative_inverse_errors(A, X), errors, rtol=1e-9, atol=1e-13)
    np.testing.assert_allclose(relative_inverse_errors(A, X, inverse=inverse), errors, rtol=1e-9, atol=1e-13)
    deviations = np.abs(right).sum(axis=(1, 2)) / m
    for tolerance in (0.005, 0.05, 0.5):
        assert within_tolerance_share(A, X, tolerance) == pytest.approx((deviations < tolerance).mean())
    spectral = [np.linalg.norm(R, ord=2) for R in right]
    assert half_norm_share(A, X) == pytest.approx(np.mean(np.array(spectral) < 0.5))


def test_the_default_tolerance_is_five_per_cent():
    A, X = nearly_inverted(100)
    assert 0 < within_tolerance_share(A, X) < 1
    assert within_tolerance_share(A, X) == within_tolerance_share(A, X, 0.05)


def test_a_given_inverse_replaces_lapacks():
    A, X = nearly_inverted()
    assert (relative_inverse_errors(A, X, inverse=X) == 0).all()
    singular = make_stack("singular")
    assert np.isnan(relative_inverse_errors(singular, singular)).all()
    assert (relative_inverse_errors(singular, 2 * singular, inverse=singular) == 1).all()


def test_one_matrix_of_one_entry():
    A, X = [[[2.0]]], [[[0.75]]]
    assert frobenius_residuals(A, X).tolist() == [0.5]
    assert relative_inverse_errors(A, X).tolist() == [0.5]
    assert mean_frobenius_residual(A, X) == 0.5
    assert within_tolerance_share(A, X, 0.6) == 1.0


@pytest.mark.parametrize("m", [1, 2, 4])
def test_thresholds_are_strict(m):
    A = np.eye(m)[None]
    assert within_tolerance_share(A, 1.5 * A, 0.5) == 0.0
    assert within_tolerance_share(A, 1.5 * A, math.nextafter(0.5, 1)) == 1.0
    assert half_norm_share(A, 1.5 * A) == 0.0
    assert half_norm_share(A, math.nextafter(1.5, 1) * A) == 1.0


def test_the_spectral_norm_counts_and_not_the_frobenius_norm():
    A = np.eye(9)[None]
    assert frobenius_residuals(A, 0.6 * A).item() > 1
    assert half_norm_share(A, 0.6 * A) == 1.0


# What is missing


def test_a_missing_inverse_counts_as_the_zero_matrix():
    A, X = nearly_inverted(6, 4)
    zeros = X.copy()
    zeros[[1, 4]] = 0
    assert mean_frobenius_residual(A, without(X, 1, 4)) == pytest.approx(mean_frobenius_residual(A, zeros))
    assert with_missing_as_zero(np.array([np.nan, 0.25, np.inf]), 9).tolist() == [3.0, 0.25, np.inf]


@pytest.mark.parametrize("metric", PER_MATRIX)
def test_missing_is_nan_for_that_matrix_alone(metric):
    A, X = nearly_inverted(6)
    values = metric(A, without(X, 1, 4))
    assert np.flatnonzero(np.isnan(values)).tolist() == [1, 4]
    np.testing.assert_array_equal(np.delete(values, [1, 4]), np.delete(metric(A, X), [1, 4]))


@pytest.mark.parametrize("metric", [within_tolerance_share, half_norm_share])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_not_correct(metric, value):
    A = make_stack(n_matrices=4)
    X = np.linalg.inv(A)
    assert metric(A, X) == 1.0
    X[0] = value
    X[1, 2, 0] = value
    assert metric(A, X) == 0.5


# Containers and dtypes


@pytest.mark.parametrize("metric", PER_MATRIX)
def test_the_answer_comes_in_the_container_of_the_matrices(metric):
    A, X = nearly_inverted()
    expected = metric(A, X)
    assert isinstance(expected, np.ndarray)
    assert expected.dtype == np.float64
    assert expected.shape == (20,)
    np.testing.assert_array_equal(metric(A.tolist(), X.tolist()), expected)
    np.testing.assert_array_equal(metric(A, torch.from_numpy(X)), expected)
    for other in (X, torch.from_numpy(X)):
        values = metric(torch.from_numpy(A), other)
        assert isinstance(values, torch.Tensor)
        assert values.dtype == torch.float64
        np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize("metric", OVER_ALL)
def test_one_number_is_a_float_from_any_container(metric):
    A, X = nearly_inverted()
    values = [metric(A, X), metric(A.tolist(), X), metric(torch.from_numpy(A), X), metric(A, torch.from_numpy(X))]
    assert all(type(value) is float for value in values)
    assert len(set(values)) == 1


@pytest.mark.parametrize("metric", PER_MATRIX + OVER_ALL)
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_everything_is_measured_in_float64(metric, dtype):
    A, X = (array.astype(dtype) for array in nearly_inverted(noise=1e-7 if dtype == np.float32 else 1e-3))
    expected = metric(A.astype(np.float64), X.astype(np.float64))
    np.testing.assert_array_equal(metric(A, X), expected)
    np.testing.assert_array_equal(metric(torch.from_numpy(A), torch.from_numpy(X)), expected)


def test_a_float32_residual_below_its_own_rounding_is_seen():
    # 1 + 2^-23 times its float32 inverse is 1 in float32.
    A = np.full((1, 1, 1), 1 + 2.0**-23, dtype=np.float32)
    assert 0 < frobenius_residuals(A, (1 / A)).item() < 2.0**-24


def test_integers_are_matrices_too():
    A = make_stack("permutation").astype(int)
    assert (frobenius_residuals(A, A.transpose(0, 2, 1)) == 0).all()


@pytest.mark.parametrize("metric", PER_MATRIX + OVER_ALL)
def test_read_only_and_reversed_arrays_are_measured_in_silence_and_left_alone(metric):
    A, X = nearly_inverted()
    expected, reversed_expected = metric(A, X), metric(A[::-1].copy(), X[::-1].copy())
    before = A.copy(), X.copy()
    A.flags.writeable = X.flags.writeable = False
    np.testing.assert_array_equal(metric(A, X), expected)
    np.testing.assert_array_equal(metric(A[::-1], X[::-1]), reversed_expected)
    np.testing.assert_array_equal((A, X), before)


def test_gradients_pass_where_a_tensor_is_returned_and_hinder_nowhere():
    A, X = (torch.from_numpy(array).requires_grad_() for array in nearly_inverted())
    for metric in OVER_ALL:
        assert metric(A, X) == metric(A.detach(), X.detach())
    assert isinstance(frobenius_residuals(A.detach().numpy(), X), np.ndarray)
    frobenius_residuals(A, X).sum().backward()
    assert X.grad.isfinite().all()
    assert X.grad.abs().sum() > 0


@pytest.mark.parametrize("metric", PER_MATRIX + OVER_ALL)
@pytest.mark.parametrize(
    ("A", "X"),
    [
        (np.zeros((2, 3, 3)), np.zeros((3, 3, 3))),
        (np.zeros((2, 3, 3)), np.zeros((1, 3, 3))),
        (np.zeros((2, 3, 3)), np.zeros((2, 4, 4))),
        (np.zeros((2, 9)), np.zeros((2, 9))),
        (np.zeros((3, 3)), np.zeros((3, 3))),
        (np.zeros((2, 3, 4)), np.zeros((2, 3, 4))),
    ],
)
def test_shapes_that_do_not_fit_are_refused(metric, A, X):
    with pytest.raises(ValueError, match=r"two stacks of one shape \(n_matrices, m, m\), got \(.*reshape\(-1, m, m\)"):
        metric(A, X)


def test_a_given_inverse_of_another_shape_is_refused():
    A = make_stack(n_matrices=2)
    with pytest.raises(ValueError, match=r"got \(2, 3, 3\) and \(1, 3, 3\)"):
        relative_inverse_errors(A, A, inverse=A[:1])


# The scorer


class Scaled(TransformerMixin, BaseEstimator):
    """A foreign transformer of flat stacks: the exact inverse, times a factor."""

    def __init__(self, factor=1.0, as_stack=False):
        self.factor = factor
        self.as_stack = as_stack

    def fit(self, X, y=None):
        del y
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X):
        m = math.isqrt(np.asarray(X).reshape(len(X), -1).shape[1])
        inverses = self.factor * np.linalg.inv(np.asarray(X).reshape(-1, m, m))
        return inverses if self.as_stack else inverses.reshape(len(X), -1)


@pytest.mark.parametrize("as_stack", [True, False])
@pytest.mark.parametrize("flat", [True, False])
def test_the_scorer_takes_either_layout_on_either_side(flat, as_stack):
    A = make_stack(m=4)
    X = A.reshape(-1, 16) if flat else A
    score = neg_mean_frobenius_residual(Scaled(0.75, as_stack), X, y="ignored")
    assert score == pytest.approx(-0.25 * 2)


def test_the_scorer_takes_tensors():
    A = make_stack()
    identity = FunctionTransformer(lambda X: torch.from_numpy(np.linalg.inv(A)))
    assert neg_mean_frobenius_residual(identity, torch.from_numpy(A)) == pytest.approx(0, abs=1e-12)


def test_the_scorer_ranks_foreign_transformers_and_pipelines():
    X = make_stack(n_matrices=20).reshape(20, 9)
    pipeline = make_pipeline(FunctionTransformer(), Scaled())
    search = GridSearchCV(
        pipeline,
        {"scaled__factor": [0.5, 1.0, 1.2]},
        scoring=neg_mean_frobenius_residual,
        cv=ShuffleSplit(2, random_state=0),
    ).fit(X)
    assert search.best_params_ == {"scaled__factor": 1.0}
    np.testing.assert_allclose(search.cv_results_["mean_test_score"], np.array([-0.5, 0, -0.2]) * 3**0.5, atol=1e-12)


@pytest.mark.parametrize("depth", [0, 1, 2])
@pytest.mark.parametrize("scale", [None, 2.0])
def test_refinement_steps_are_those_of_what_a_pipeline_ends_in(depth, scale):
    A = make_stack("well")
    refined = RefinedInverter(Scaled(0.9))
    expected = -refined.fit(A).report(A * (scale or 1.0)).n_steps.mean()
    assert expected < 0
    pipeline = make_pipeline(FunctionTransformer(lambda X: X * (scale or 1.0)), refined)
    for _ in range(depth):
        pipeline = make_pipeline(pipeline)
    assert neg_mean_refinement_steps(pipeline.fit(A), A) == expected
    assert neg_mean_refinement_steps(make_pipeline(FunctionTransformer(), Scaled()).fit(A), A) == 0.0


def test_what_inverts_nothing_has_no_refinement_steps():
    with pytest.raises(TypeError, match=r"LinearRegression\(\) has neither report nor transform"):
        neg_mean_refinement_steps(LinearRegression(), make_stack())


@pytest.mark.parametrize("n_columns", [8, 10, 12])
def test_the_scorer_does_not_guess_a_size(n_columns):
    X = np.ones((9, n_columns))
    with pytest.raises(ValueError, match="its number of columns is a square; got"):
        neg_mean_frobenius_residual(FunctionTransformer(), X)
