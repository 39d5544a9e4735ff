"""RefinedInverter: what it returns is certified, what it cannot certify it says, and it composes."""

import dataclasses
import pickle
import warnings

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import config_context
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils._param_validation import InvalidParameterError

from skdmi import BlockInverter, EnsembleInverter, ExactInverter, NeuralMatrixInverter, RefinedInverter
from skdmi.estimators.meta import invert_with, requires_fit
from skdmi.estimators.policies import UNCERTIFIED_POLICIES
from skdmi.estimators.report import SOURCES, InversionReport
from skdmi.exceptions import InaccurateInverseWarning, SingularMatrixError, SingularMatrixWarning, UncertifiedError
from skdmi.iteration import refine
from skdmi.linalg import certify
from skdmi.metrics import certified_share, frobenius_residuals, neg_mean_refinement_steps
from tests.matrices import make_stack
from tests.test_refinement import assert_law

TINY = {"depth": 1, "width": 4, "max_epochs": 0, "batches_per_epoch": 2, "batch_size": 16, "random_state": 0}
STACK = make_stack("uniform", n_matrices=12, m=3)
FLAT = STACK.reshape(12, 9)
COUNTING = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]])
HILBERT = 1 / (np.arange(14)[:, None] + np.arange(14) + 1)


class Constant(TransformerMixin, BaseEstimator):
    """A foreign transformer: one answer for all, whatever fit was given; no ``invert``."""

    def __init__(self, value=0.0):
        self.value = value

    def fit(self, X, y=None):
        self.fitted_on_ = X
        self.y_ = y
        return self

    def transform(self, X):
        assert isinstance(X, np.ndarray)
        X[:] = self.value
        return X


@pytest.fixture
def refined_network(tiny_network):
    return RefinedInverter(FrozenEstimator(tiny_network))


def with_singular_members(indices, n_matrices=8, dtype=np.float64):
    stack = make_stack(n_matrices=n_matrices, m=3, dtype=dtype)
    stack[indices] = make_stack("singular", n_matrices=len(indices), m=3, dtype=dtype)
    return stack


def quietly(function, *args):
    with warnings.catch_warnings():
        for category in (SingularMatrixWarning, InaccurateInverseWarning):
            warnings.simplefilter("ignore", category)
        return function(*args)


# Laws


@pytest.mark.parametrize("kind", ["uniform", "well", "condition", "spd", "orthogonal", "permutation", "graded"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("tol", ["auto", 1e-3])
def test_both_residuals_are_small_and_everything_is_certified(refined_network, kind, dtype, tol):
    A = make_stack(kind, 20, 3, dtype=dtype)
    inverter = refined_network.set_params(tol=tol)
    report, from_left = inverter.report(A), inverter.report(A, left=True)
    assert report.inverse.dtype == dtype
    assert report.certified.all()
    assert report.converged.all()
    assert from_left.converged.all()
    assert_law(torch.from_numpy(A), torch.from_numpy(report.inverse), tol=0.0 if tol == "auto" else tol)


@pytest.mark.parametrize("m", [1, 2, 4, 8, 20])
def test_untrained_iteration_for_every_size(m):
    A = make_stack("uniform", 10, m)
    assert_law(torch.from_numpy(A), torch.from_numpy(RefinedInverter().transform(A)))


@pytest.mark.parametrize("scale", [1e-300, 1e-30, 1e30, 1e300])
def test_scale_is_no_obstacle(refined_network, scale):
    for inverter in (RefinedInverter(), refined_network):
        report = inverter.report(scale * STACK)
        assert report.certified.all()
        np.testing.assert_allclose(report.inverse * scale, np.linalg.inv(STACK), rtol=1e-9)


def test_badly_scaled_rows_and_columns():
    A = STACK * np.array([1e-30, 1.0, 1e30])[:, None] * np.array([1e-20, 1e10, 1.0])
    report = RefinedInverter().report(A)
    assert report.certified.all()
    assert (report.error_bound < 1e-12).all()
    assert (report.source == "exact").all()


def test_permuting_a_stack_permutes_the_answer(refined_network):
    stack = with_singular_members([1, 5])
    order = np.random.default_rng(0).permutation(len(stack))
    refined, permuted = (quietly(refined_network.report, A) for A in (stack, stack[order]))
    np.testing.assert_allclose(permuted.inverse, refined.inverse[order], rtol=1e-12, atol=1e-13)
    np.testing.assert_array_equal(permuted.source, refined.source[order])


def test_the_gradient_is_that_of_the_true_inverse(refined_network):
    for inverter in (RefinedInverter(), refined_network):
        A = torch.from_numpy(STACK).requires_grad_()
        weights = torch.from_numpy(make_stack("uniform", 12, 3, seed=5))
        (found,) = torch.autograd.grad((weights * inverter.invert(A)).sum(), A)
        (expected,) = torch.autograd.grad((weights * torch.linalg.inv(A)).sum(), A)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_the_gradient_is_right_by_finite_differences_twice():
    A = torch.from_numpy(make_stack("well", 2, 2)).requires_grad_()
    assert torch.autograd.gradcheck(RefinedInverter().invert, A)
    assert torch.autograd.gradgradcheck(RefinedInverter().invert, A)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_gradient_has_the_dtype_of_its_argument(dtype):
    A = torch.from_numpy(make_stack("well", 4, 3)).to(dtype).requires_grad_()
    RefinedInverter().invert(A).sum().backward()
    assert A.grad.dtype == dtype
    assert A.grad.isfinite().all()


def test_bad_members_spoil_no_gradient():
    A = torch.from_numpy(with_singular_members([0, 3]))
    A[5, 0, 0] = torch.nan
    A.requires_grad_()
    RefinedInverter().invert(A).nansum().backward()
    good = [1, 2, 4, 6, 7]
    B = A.detach()[good].requires_grad_()
    torch.linalg.inv(B).sum().backward()
    torch.testing.assert_close(A.grad[good], B.grad, rtol=1e-9, atol=1e-9)
    assert (A.grad[[0, 3, 5]] == 0).all()


def test_parts_of_a_stack_do_not_show(monkeypatch):
    A = with_singular_members([0, 5])
    whole, singular = RefinedInverter().report(A[1:5]), pytest.warns(SingularMatrixWarning, match="at index 0, 5")
    monkeypatch.setattr("skdmi.containers.chunk_size", lambda m: 3)
    with singular as caught:
        report = RefinedInverter().report(A)
    assert len(caught) == 1
    assert report.certified.tolist() == [i not in (0, 5) for i in range(8)]
    np.testing.assert_allclose(report.inverse[1:5], whole.inverse, rtol=1e-12, atol=1e-13)


# Certificates


@pytest.mark.parametrize("uncertified", ["exact", "nan", "raise"])
@pytest.mark.parametrize("value", [0.0, 1e-3, 1e300, np.nan])
@pytest.mark.parametrize("max_steps", [0, 1, 50])
def test_nothing_uncertified_leaves(uncertified, value, max_steps):
    A = np.concatenate([STACK, COUNTING[None], make_stack("condition", 3, 3, condition=1e14)])
    inverter = RefinedInverter(Constant(value), max_steps=max_steps, uncertified=uncertified).fit(A)
    try:
        X = quietly(inverter.transform, A)
    except UncertifiedError:
        assert uncertified == "raise"
        return
    certified = certify(torch.from_numpy(A), torch.from_numpy(X)).certified.numpy()
    np.testing.assert_array_equal(np.isfinite(X).all(axis=(1, 2)), certified)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_certificate_is_that_of_the_bits_returned(refined_network, dtype):
    A = torch.from_numpy(make_stack("condition", 20, 3, condition=100)).to(dtype)
    report = refined_network.report(A)
    assert report.inverse.dtype == dtype
    computed = torch.float32 if dtype.itemsize == 2 else dtype
    certificate = certify(A.to(computed), report.inverse.to(computed))
    np.testing.assert_array_equal(report.certified, certificate.certified.numpy())
    if dtype == torch.float64:
        np.testing.assert_allclose(report.error_bound, certificate.error_bound.numpy(), rtol=0.5)
    else:
        rounding = torch.finfo(dtype).eps
        assert (report.error_bound <= certificate.error_bound.numpy()).all()
        assert ((rounding / 100 < report.error_bound) & (report.error_bound < 2 * rounding)).all()
    torch.testing.assert_close(refined_network.transform(A), report.inverse, rtol=0, atol=0)


def test_error_bounds_bound_the_error(refined_network):
    report = refined_network.report(STACK)
    true = np.linalg.inv(STACK.astype(np.float64))
    errors = np.linalg.norm(report.inverse - true, axis=(1, 2)) / np.linalg.norm(true, axis=(1, 2))
    assert (errors <= report.error_bound + 1e-15 * np.linalg.cond(STACK)).all()  # LAPACK errs too


@pytest.mark.parametrize("inverter", [RefinedInverter(), RefinedInverter(ExactInverter())])
def test_counting_to_nine_is_flagged(inverter):
    with pytest.warns(SingularMatrixWarning, match=r"1 of 3 .* at index 1\."):
        X = inverter.transform(np.stack([np.eye(3), COUNTING, np.eye(3)]))
    assert np.isnan(X[1]).all()
    np.testing.assert_array_equal(X[[0, 2]], np.stack([np.eye(3)] * 2))


@pytest.mark.parametrize("indices", [[0], [3], [7], [0, 1, 2], list(range(8))])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_bad_members_spoil_no_other(refined_network, indices, dtype):
    stack = with_singular_members(indices, dtype=dtype)
    with pytest.warns(SingularMatrixWarning) as record:
        report = refined_network.report(stack)
    assert len(record) == 1
    good = np.setdiff1d(np.arange(8), indices)
    assert (report.source[indices] == "none").all()
    assert np.isnan(report.inverse[indices]).all()
    assert not report.certified[indices].any()
    if len(good):
        alone = refined_network.report(stack[good])
        np.testing.assert_allclose(
            report.inverse[good], alone.inverse, rtol=1e-6 if dtype == np.float32 else 1e-12, atol=1e-13
        )
        assert report.certified[good].all()


# Policies


def test_uncertified_exact_hands_the_few_to_lapack(tiny_network):
    hard = make_stack("condition", 2, 3, condition=1e10)
    A = np.concatenate([STACK, hard])
    report = RefinedInverter(FrozenEstimator(tiny_network), max_steps=10).report(A)
    assert (report.source[:12] == "refined").all()
    assert report.certified.all()
    assert (RefinedInverter(FrozenEstimator(tiny_network), max_steps=1).report(hard).source == "exact").all()
    np.testing.assert_allclose(report.inverse[12:], ExactInverter().transform(A[12:]), rtol=1e-5)


def test_what_is_certified_and_inaccurate_comes_with_its_bound_and_one_warning():
    A = np.stack([np.eye(10), HILBERT[:10, :10], HILBERT[1:11, :10], np.eye(10)])
    with pytest.warns(InaccurateInverseWarning, match=r"1 of 4 inverses .* at index 2\. .*error_bound") as caught:
        report = RefinedInverter().report(A)
    assert len(caught) == 1
    assert report.certified.all()
    assert report.inaccurate.tolist() == [False, False, True, False]
    assert report.error_bound[[0, 3]].max() < 1e-14


def test_float32_that_float64_would_certify_is_said_to_be():
    A = np.stack([make_stack("condition", 1, 3, condition=1e9)[0], COUNTING, np.eye(3)]).astype(np.float32)
    with pytest.warns(
        SingularMatrixWarning, match=r"2 of 3 .* index 0, 1\. .*In double precision, 1 of them would have an inverse"
    ):
        RefinedInverter().transform(A)
    with pytest.warns(SingularMatrixWarning, match=r"1 of 3 .* at index 1\. [^6]*$"):
        RefinedInverter().transform(A.astype(np.float64))


def test_products_that_cancel_to_zero_do_not_converge():
    A = np.array([
        [[3.0, 1.0], [1e-20, 2.3e-20]],
        [[13.332860986456808, -932.30631517593], [1.208358070501291e-112, -1.1990667452175783e-112]],
    ])  # fmt: skip
    report = RefinedInverter().report(A)
    assert report.certified.all()
    assert not report.converged.any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_inverse_converges_to_a_goal_of_one_or_more(dtype):
    A = make_stack("well", 20, 3, dtype=dtype)
    A[:, 2] *= dtype(2.0**-60)
    for report in (RefinedInverter().report(A), RefinedInverter(tol=2.0).report(A)):
        assert report.certified.all()
        assert (report.error_bound < 2 * np.finfo(dtype).eps * 30).all()
        assert (report.residual_norm[report.converged] < 1).all()
    assert not RefinedInverter(tol=2.0).report(A).converged.any()


@pytest.mark.parametrize("scale", [2.0**-660, 2.0**660])
def test_residuals_and_bounds_are_finite_at_any_scale(scale):
    plain, scaled = RefinedInverter().report(STACK), RefinedInverter().report(scale * STACK)
    np.testing.assert_array_equal(scaled.inverse * scale, plain.inverse)
    np.testing.assert_array_equal(scaled.residual_norm, plain.residual_norm)
    np.testing.assert_allclose(scaled.error_bound, plain.error_bound, rtol=1e-12)
    assert scaled.converged.all()


def test_uncertified_nan_leaves_them_missing():
    with pytest.warns(SingularMatrixWarning, match="at index 0"):
        X = RefinedInverter(max_steps=1, uncertified="nan").transform(HILBERT[None])
    assert np.isnan(X).all()


def test_uncertified_keep_returns_them():
    report = RefinedInverter(max_steps=1, uncertified="keep").report(np.stack([HILBERT, np.eye(14)]))
    assert report.certified.tolist() == [False, True]
    assert report.source.tolist() == ["exact"] * 2
    assert np.isfinite(report.inverse).all()
    assert np.isnan(report.error_bound[0])


@pytest.mark.parametrize("method", ["transform", "report"])
def test_uncertified_raise_names_the_indices(method):
    inverter = RefinedInverter(max_steps=1, uncertified="raise")
    with pytest.raises(UncertifiedError, match=r"1 of 2 inverses .* at index 1\. uncertified='exact'"):
        getattr(inverter, method)(np.stack([np.eye(14), HILBERT]))
    assert issubclass(UncertifiedError, np.linalg.LinAlgError)


def test_singular_raise():
    with pytest.raises(SingularMatrixError, match="at index 2, 4"):
        RefinedInverter(singular="raise").transform(with_singular_members([2, 4]))


def test_singular_pinv():
    stack = with_singular_members([2, 4])
    report = RefinedInverter(singular="pinv").report(stack)
    np.testing.assert_allclose(report.inverse[[2, 4]], np.linalg.pinv(stack[[2, 4]], rcond=1e-13), atol=1e-12)
    assert report.source.tolist() == ["pinv" if i in (2, 4) else "exact" for i in range(8)]
    assert not report.converged[[2, 4]].any()
    assert report.error_bound.max() < 1e-12
    assert not report.certified[[2, 4]].any()


@pytest.mark.parametrize("uncertified", UNCERTIFIED_POLICIES)
@pytest.mark.parametrize("singular", ["warn", "raise", "pinv"])
def test_invert_and_scores_never_warn_or_raise(uncertified, singular):
    inverter = RefinedInverter(uncertified=uncertified, singular=singular)
    stack = with_singular_members([1])
    X = inverter.invert(torch.from_numpy(stack))
    assert X[1].isnan().all() == (uncertified != "keep")
    assert X[[0, 2, 3]].isfinite().all()
    assert inverter.residual_norms(stack).shape == (8,)
    assert inverter.score(stack) <= -(3**0.5 if uncertified != "keep" else 1) / 8 * 0.999


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tol", -1.0),
        ("tol", "small"),
        ("max_steps", -1),
        ("uncertified", "maybe"),
        ("singular", "nan"),
        ("inverter", 3),
    ],
)
def test_parameters_are_checked_in_fit_and_before_any_use(name, value):
    inverter = RefinedInverter().set_params(**{name: value})
    for use in (inverter.fit, inverter.transform, inverter.report):
        with pytest.raises(InvalidParameterError, match=name):
            use(STACK)


# Steps


@pytest.mark.parametrize("max_steps", [0, 1, 2, 5])
def test_max_steps_is_honoured(max_steps):
    report = RefinedInverter(max_steps=max_steps).report(make_stack("uniform", 30, 6))
    assert (report.n_steps <= max_steps).all()
    assert report.certified.all()


def test_an_answer_that_needs_no_step_is_the_inner_one():
    report = RefinedInverter(ExactInverter(), tol=1e-3).report(STACK)
    assert (report.source == "network").all()
    assert (report.n_steps == 0).all()
    np.testing.assert_array_equal(report.inverse, ExactInverter().transform(STACK))


def test_a_network_saves_steps(tiny_network):
    A = make_stack("uniform", 500, 3)
    from_network = RefinedInverter(FrozenEstimator(tiny_network)).report(A, left=False).n_steps.mean()
    assert from_network < refine(torch.from_numpy(A)).n_steps.double().mean()


def test_global_settings_change_no_bit(refined_network):
    stack = STACK.astype(np.float32)
    expected = refined_network.transform(stack)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        with torch.autocast("cpu", dtype=torch.bfloat16):
            np.testing.assert_array_equal(refined_network.transform(stack), expected)
            np.testing.assert_array_equal(RefinedInverter().transform(STACK), RefinedInverter().transform(STACK))
    finally:
        torch.set_float32_matmul_precision(before)


# Containers


def test_every_container_in_every_layout(refined_network):
    expected = refined_network.transform(STACK)
    np.testing.assert_array_equal(refined_network.transform(FLAT), expected.reshape(12, 9))
    assert isinstance(refined_network.transform(torch.from_numpy(STACK)), torch.Tensor)
    np.testing.assert_array_equal(refined_network.transform(torch.from_numpy(STACK)).numpy(), expected)
    lazy = refined_network.transform(da.from_array(STACK, chunks=(5, 3, 3)))
    assert isinstance(lazy, da.Array)
    np.testing.assert_allclose(lazy.compute(), expected, rtol=1e-12, atol=1e-13)
    np.testing.assert_array_equal(refined_network.transform(STACK.tolist()), expected)
    frame = pd.DataFrame(FLAT)
    with config_context(transform_output="pandas"):
        fitted = clone(refined_network).fit(frame)
        np.testing.assert_array_equal(fitted.transform(frame).to_numpy(), expected.reshape(12, 9))


def test_dask_names_indices_of_the_whole_stack():
    stack = da.from_array(with_singular_members([6]), chunks=(4, 3, 3))
    with pytest.warns(SingularMatrixWarning, match="at index 6"):
        RefinedInverter().transform(stack).compute()


# Reports


@pytest.mark.parametrize("container", [np.asarray, torch.from_numpy, lambda A: da.from_array(A, chunks=5)])
@pytest.mark.parametrize("shape", [(12, 3, 3), (12, 9)])
def test_reports_are_consistent(refined_network, container, shape):
    X = container(STACK.reshape(shape))
    with config_context(transform_output="pandas"):  # concerns transform alone
        report = refined_network.report(X)
    assert isinstance(report.inverse, torch.Tensor if isinstance(X, torch.Tensor) else np.ndarray)
    inverse = np.asarray(report.inverse)
    assert inverse.shape == shape
    np.testing.assert_allclose(inverse, refined_network.transform(STACK).reshape(shape), rtol=1e-12, atol=1e-13)
    norms = frobenius_residuals(STACK, inverse.reshape(12, 3, 3))
    np.testing.assert_allclose(report.residual_norm, norms, rtol=0, atol=1e-13)  # a chunk rounds by position
    for field in dataclasses.fields(InversionReport)[1:]:
        if field.default is None:  # of what nobody asked for
            assert getattr(report, field.name) is None
            continue
        values = getattr(report, field.name)
        assert isinstance(values, np.ndarray)
        assert values.shape == (12,)
    assert len(report) == 12
    assert report.certified.dtype == report.converged.dtype == bool
    assert set(report.source) <= set(SOURCES)
    frame = report.to_frame()
    assert list(frame.columns) == ["residual_norm", "error_bound", "certified", "converged", "n_steps", "source"]
    assert len(frame) == 12
    assert report.summary() in repr(report)
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.source = None


def test_report_from_the_left():
    left = RefinedInverter().report(STACK, left=True)
    np.testing.assert_array_equal(left.residual_norm, frobenius_residuals(STACK, left.inverse, left=True))


def test_summary_of_a_mixed_stack():
    stack = np.concatenate([with_singular_members([0]), make_stack("condition", 1, 3, condition=1e13)])
    summary = quietly(RefinedInverter().report, stack).summary()
    assert summary.startswith("8 of 9 certified, 8 converged; 8 exact, 1 none; largest residual norm")
    assert quietly(RefinedInverter().report, stack[:1]).summary() == "0 of 1 certified, 0 converged; 1 none"


@pytest.mark.parametrize("tol", [1e-3, 1e-20])
def test_converged_says_whether_the_tolerance_is_met(tol):
    report = RefinedInverter(tol=tol).report(STACK)
    np.testing.assert_array_equal(report.converged, report.residual_norm <= tol)
    assert report.certified.all()


# Composition


def test_it_needs_a_fit_only_where_the_inner_one_does(tiny_network):
    network = NeuralMatrixInverter(**TINY)
    frozen = FrozenEstimator(tiny_network)
    for ready in (None, ExactInverter(), frozen, RefinedInverter(), FrozenEstimator(ExactInverter())):
        inverter = RefinedInverter(ready)
        assert not requires_fit(inverter)
        assert inverter.transform(STACK).shape == STACK.shape
        assert not hasattr(inverter, "inverter_")
    for unfitted in (network, RefinedInverter(network), FrozenEstimator(network), Constant()):
        inverter = RefinedInverter(unfitted)
        assert requires_fit(inverter)
        for use in (inverter.transform, inverter.report, lambda X, to=inverter: to.invert(torch.from_numpy(X))):
            with pytest.raises(NotFittedError):
                use(STACK)


def test_fit_clones_fits_and_hands_on_y():
    inner, y = Constant(), np.arange(12)
    inverter = RefinedInverter(inner).fit(FLAT, y)
    assert inverter.inverter_ is not inner
    assert not hasattr(inner, "y_")
    np.testing.assert_array_equal(inverter.inverter_.fitted_on_, STACK)
    assert inverter.inverter_.y_ is y
    assert (inverter.matrix_size_, inverter.n_features_in_) == (3, 9)


def test_sizes(tiny_network):
    frozen = RefinedInverter(FrozenEstimator(tiny_network))
    large = make_stack(m=4)
    with pytest.raises(ValueError, match="X holds 4 x 4 matrices, but the inner inverter is fitted for 3 x 3"):
        clone(frozen).fit(large)
    with pytest.raises(ValueError, match="X holds 4 x 4 matrices"):
        frozen.transform(large)
    assert frozen.invert(torch.from_numpy(large)).isfinite().all()  # what the network takes
    assert clone(frozen).fit().matrix_size_ == 3
    free = RefinedInverter().fit()
    assert not hasattr(free, "matrix_size_")
    assert free.transform(large).shape == large.shape
    assert RefinedInverter().fit(large).matrix_size_ == 4


def test_a_failing_fit_leaves_the_estimator_as_it_was():
    inverter = RefinedInverter(ExactInverter()).fit(STACK)
    before = pickle.dumps(inverter)
    with pytest.raises(ValueError, match="NaN"):
        inverter.fit(np.full((2, 4, 4), np.nan))
    assert pickle.dumps(inverter) == before


def test_foreign_transformers_stand_inside():
    pipeline = make_pipeline(FunctionTransformer(), ExactInverter())
    with config_context(transform_output="pandas"):
        report = RefinedInverter(pipeline).fit(STACK).report(STACK)
    assert report.certified.all()
    assert (report.n_steps <= 1).all()
    inner = make_pipeline(FunctionTransformer(), ExactInverter())
    with pytest.warns(SingularMatrixWarning) as record:
        RefinedInverter(inner).fit(STACK).transform(with_singular_members([3]))
    assert len(record) == 1  # the inner one keeps quiet


def test_a_foreign_transformer_changes_no_argument():
    stack = STACK.copy()
    RefinedInverter(Constant(7.0)).fit(stack).transform(stack)
    np.testing.assert_array_equal(stack, STACK)
    A = torch.from_numpy(stack)
    assert (invert_with(Constant(7.0), A) == 7).all()
    np.testing.assert_array_equal(stack, STACK)


def test_warnings_come_once_from_the_outermost():
    nested = RefinedInverter(RefinedInverter(RefinedInverter(ExactInverter(singular="raise"), singular="raise")))
    with pytest.warns(SingularMatrixWarning, match="at index 2") as record:
        nested.transform(with_singular_members([2]))
    assert len(record) == 1


def test_clone_pickle_and_pipeline(refined_network):
    expected = refined_network.transform(STACK)
    pipeline = make_pipeline(FunctionTransformer(), refined_network)
    for copied in (clone(refined_network), pickle.loads(pickle.dumps(refined_network)), clone(pipeline).fit(STACK)):
        np.testing.assert_array_equal(copied.transform(STACK), expected)
    fitted = RefinedInverter(NeuralMatrixInverter(**TINY)).fit(STACK)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).transform(STACK), fitted.transform(STACK))


@pytest.mark.parametrize("scoring", [None, neg_mean_refinement_steps, certified_share])
def test_search_over_the_depth_inside(scoring):
    search = GridSearchCV(
        RefinedInverter(NeuralMatrixInverter(**TINY)),
        {"inverter__depth": [1, 3]},
        scoring=scoring,
        cv=KFold(2),
        error_score="raise",
    ).fit(make_stack("uniform", 60, 3))
    assert search.best_estimator_.inverter_.depth == search.best_params_["inverter__depth"]
    if scoring is neg_mean_refinement_steps:
        assert search.best_params_ == {"inverter__depth": 3}
    if scoring is certified_share:
        assert (search.cv_results_["mean_test_score"] == 1).all()


# Scores


def test_score_is_minus_the_mean_residual_norm(refined_network):
    norms = refined_network.residual_norms(STACK)
    assert refined_network.score(STACK) == pytest.approx(-norms.mean())
    assert -1e-12 < refined_network.score(STACK) <= 0


def test_refinement_steps_are_scored_through_it_and_beside_it(tiny_network, refined_network):
    A = make_stack("uniform", 100, 3)
    through, beside = neg_mean_refinement_steps(refined_network, A), neg_mean_refinement_steps(tiny_network, A)
    assert through == pytest.approx(beside, abs=0.1)
    assert through < 0
    assert neg_mean_refinement_steps(refined_network, A.reshape(-1, 9)) == through


def test_certified_share(tiny_network):
    stack = with_singular_members([1, 2])
    assert quietly(certified_share, RefinedInverter(), stack) == 0.75
    assert certified_share(Constant().fit(stack), stack.copy()) == 0.0
    assert certified_share(ExactInverter(), torch.from_numpy(STACK).float()) == 1.0
    assert 0 < certified_share(tiny_network, FLAT) <= 1


def test_residuals_of_large_matrices_stay_at_their_floor():
    A = torch.from_numpy(make_stack("condition", 2, 100, condition=1e6))
    X = RefinedInverter(ExactInverter()).invert(A)
    assert_law(A, X)


def test_columns_of_very_different_scales_are_certified():
    A = make_stack("well", 8, 3) * [1e150, 1.0, 1e-150]
    report = RefinedInverter().report(A)
    assert report.certified.all()
    assert (report.error_bound < 1e-13).all()


@pytest.mark.parametrize("meta", [RefinedInverter, BlockInverter, EnsembleInverter])
def test_a_class_in_the_place_of_an_inverter_is_named(meta):
    with pytest.raises(TypeError, match=r"estimator class instead|unbound method"):  # as scikit-learn says it
        meta(ExactInverter).fit(STACK)
