"""The public methods of every inverter: laws, state, the tensor door, scores, output containers."""

import copy
import warnings
from pathlib import Path

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from sklearn import config_context
from sklearn.exceptions import NotFittedError

from skdmi import BlockInverter, ExactInverter, NeuralMatrixInverter, RefinedInverter
from skdmi.containers import computable
from skdmi.estimators.base import Answer, BaseInverter
from skdmi.exceptions import SingularMatrixWarning
from skdmi.linalg.residuals import in_dtype_of
from skdmi.metrics import frobenius_residuals, neg_mean_frobenius_residual
from tests.matrices import make_stack

STACK = make_stack(n_matrices=7, m=3)
FLAT = STACK.reshape(7, 9)
COLUMNS = [f"a{i}{j}" for i in range(3) for j in range(3)]
# A float32 network rounds by position in the stack, wherever vector instructions leave a remainder.
TOLERANCE = {"rtol": 1e-4, "atol": 1e-4}
RESIDUAL_TOLERANCE = 1e-5  # for residual norms, which are rounding themselves


class Doubler(BaseInverter):
    """Answers 2 A for what it is given, so that nothing but the door can go wrong; NaN where A[0, 0] is zero."""

    def fit(self, X, y=None):
        self._open_stack(X)
        return self

    def _invert(self, A):
        assert A.is_floating_point()
        assert A.ndim == 3
        assert A.isfinite().all()
        return Answer(in_dtype_of(A, torch.where((A[:, 0, 0] == 0)[:, None, None], torch.nan, 2 * computable(A))))

    def _check_ready(self):
        pass


@pytest.fixture
def frame():
    return pd.DataFrame(FLAT, columns=COLUMNS, index=[f"row{i}" for i in range(7)])


def bad_entry(value):
    X = STACK.copy()
    X[4, 1, 2] = value
    return X


# Laws


@pytest.mark.parametrize(
    "container",
    [np.array, torch.from_numpy, lambda a: torch.from_numpy(a).half(), lambda a: pd.DataFrame(a.reshape(-1, 9))],
    ids=["numpy", "torch", "half", "frame"],
)
def test_arguments_are_never_changed(container):
    stack = make_stack(n_matrices=6)
    stack[2] = make_stack("singular", n_matrices=1)[0]
    X = container(stack.copy())
    before = copy.deepcopy(X)

    def bits(array):
        if isinstance(array, torch.Tensor):
            array = array.view(torch.int16 if array.itemsize == 2 else torch.int64)
        return np.asarray(array).tobytes()

    network = NeuralMatrixInverter(depth=1, width=4, max_epochs=0, batches_per_epoch=2, batch_size=16, random_state=0)
    for inverter in (ExactInverter(), ExactInverter(singular="pinv"), network):
        inverter.fit(X)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SingularMatrixWarning)
            inverses = inverter.transform(X)
        inverter.residual_norms(X)
        inverter.score(X)
        if isinstance(X, torch.Tensor):
            inverter.invert(X)
            inverses.fill_(0)
        else:
            inverses[:] = 0
        assert bits(X) == bits(before)


def test_permuting_a_stack_permutes_the_answer(inverter):
    order = np.random.default_rng(0).permutation(7)
    np.testing.assert_allclose(inverter.transform(STACK[order]), inverter.transform(STACK)[order], **TOLERANCE)
    np.testing.assert_allclose(
        inverter.residual_norms(STACK[order]), inverter.residual_norms(STACK)[order], atol=RESIDUAL_TOLERANCE
    )


def test_the_answer_to_a_matrix_does_not_depend_on_its_company(inverter):
    for i in range(7):
        np.testing.assert_allclose(inverter.transform(STACK[i : i + 1])[0], inverter.transform(STACK)[i], **TOLERANCE)


def test_transform_is_deterministic(inverter):
    np.testing.assert_array_equal(inverter.transform(STACK), inverter.transform(STACK))


def test_no_gradient_flows_through_transform(inverter):
    with torch.enable_grad():
        assert not inverter.transform(torch.from_numpy(STACK).requires_grad_()).requires_grad


# Size and state


def test_fit_fixes_the_size_in_both_layouts():
    for X in (STACK, FLAT, torch.from_numpy(STACK), da.from_array(STACK), STACK.tolist()):
        fitted = ExactInverter().fit(X)
        assert (fitted.matrix_size_, fitted.n_features_in_) == (3, 9)
        assert not hasattr(fitted, "feature_names_in_")


def test_fit_takes_tensors_that_require_grad():
    X = torch.from_numpy(STACK).requires_grad_()
    assert not Doubler()._open_stack(X).requires_grad
    network = NeuralMatrixInverter(depth=1, width=4, max_epochs=0, batches_per_epoch=2, batch_size=16, random_state=0)
    network.fit(X)
    assert X.grad is None
    np.testing.assert_array_equal(network.transform(STACK), network.fit(STACK).transform(STACK))


def test_without_x_an_inverter_of_any_size_sets_none():
    fitted = ExactInverter().fit(STACK).fit()
    assert not hasattr(fitted, "matrix_size_")
    assert not hasattr(fitted, "n_features_in_")
    for m in (1, 2, 5):
        assert fitted.transform(make_stack(m=m)).shape == (8, m, m)


def test_a_failing_fit_leaves_the_estimator_as_it_was(tiny_network, frame):
    for fitted in (ExactInverter().fit(frame), copy.deepcopy(tiny_network)):
        before = dict(vars(fitted))
        for bad in (bad_entry(np.nan), np.ones((2, 3, 4)), np.ones((3, 5)), [], sp.csr_matrix(FLAT)):
            with pytest.raises((ValueError, TypeError)):
                fitted.fit(bad)
            assert vars(fitted).keys() == before.keys()
            assert all(value is before[name] for name, value in vars(fitted).items())


def test_a_failing_first_fit_leaves_the_estimator_unfitted():
    for inverter in (ExactInverter(), NeuralMatrixInverter()):
        before = dict(vars(inverter))
        with pytest.raises(ValueError, match="NaN"):
            inverter.fit(bad_entry(np.nan))
        assert vars(inverter) == before


def test_an_unfitted_inverter_that_needs_fit_says_so():
    inverter = NeuralMatrixInverter()
    for method in (inverter.transform, inverter.residual_norms, inverter.score):
        with pytest.raises(NotFittedError):
            method(STACK)
    with pytest.raises(NotFittedError):
        inverter.invert(torch.from_numpy(STACK))


# invert, the tensor door


@pytest.mark.parametrize("shape", [(), (4,), (2, 3), (2, 1, 2), (0,), (3, 0)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_invert_takes_leading_axes_and_keeps_dtype(inverter, shape, dtype):
    n_matrices = int(np.prod(shape))
    A = torch.from_numpy(make_stack(n_matrices=max(n_matrices, 1)))[:n_matrices].reshape(*shape, 3, 3).to(dtype)
    X = inverter.invert(A)
    assert X.shape == A.shape
    assert X.dtype == dtype
    if n_matrices:
        expected = inverter.transform(A.reshape(-1, 3, 3)).reshape(A.shape)
        torch.testing.assert_close(X, expected, rtol=1e-2, atol=1e-2)


def test_invert_is_differentiable_through_leading_axes():
    A = torch.from_numpy(make_stack(n_matrices=6)).reshape(2, 3, 3, 3).requires_grad_()
    X = ExactInverter().invert(A)
    G = torch.from_numpy(make_stack(n_matrices=6, seed=1)).reshape(2, 3, 3, 3)
    (gradient,) = torch.autograd.grad(X, A, G)
    torch.testing.assert_close(gradient, (-X.mT @ G @ X.mT).detach())
    assert torch.autograd.gradcheck(ExactInverter().invert, A)


def test_the_network_is_differentiable(tiny_network):
    A = torch.from_numpy(STACK).reshape(7, 1, 3, 3).requires_grad_()
    (gradient,) = torch.autograd.grad(tiny_network.invert(A).square().sum(), A)
    assert gradient.shape == A.shape
    assert gradient.isfinite().all()
    assert all((part != 0).any() for part in gradient)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_non_finite_members_stay_local_in_invert(inverter, value):
    A = torch.from_numpy(bad_entry(value)).requires_grad_()
    X = inverter.invert(A)
    good = torch.arange(7) != 4
    assert X[4].isnan().all()
    torch.testing.assert_close(X[good], inverter.invert(torch.from_numpy(STACK)[good]), **TOLERANCE)
    (gradient,) = torch.autograd.grad(X[good].sum(), A)
    assert gradient[good].isfinite().all()
    assert (gradient[4] == 0).all()


def test_singular_members_stay_local_in_invert_and_warn_nobody():
    stack = make_stack(n_matrices=3)
    stack[1] = make_stack("singular", n_matrices=1)[0]
    A = torch.from_numpy(stack).requires_grad_()
    X = ExactInverter(singular="raise").invert(A)
    assert X[1].isnan().all()
    (gradient,) = torch.autograd.grad(X[[0, 2]].sum(), A)
    assert gradient[[0, 2]].isfinite().all()


@pytest.mark.parametrize(
    "A",
    [STACK, STACK.tolist(), torch.eye(3, dtype=torch.int64), torch.eye(3).to_sparse(), None],
    ids=["numpy", "list", "int", "sparse", "none"],
)
def test_invert_takes_dense_real_floating_tensors(inverter, A):
    with pytest.raises(TypeError, match=r"invert takes a dense torch tensor of real floating dtype, got .*transform"):
        inverter.invert(A)


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 3, 4), (), (2, 0, 0)])
def test_invert_takes_square_matrices(inverter, shape):
    with pytest.raises(ValueError, match=r"Expected A of square matrices, shape \(\.\.\., m, m\), got shape"):
        inverter.invert(torch.ones(shape))


def test_invert_takes_any_size_that_the_inverter_can(tiny_network):
    A = torch.from_numpy(make_stack(m=5))
    for inverter in (ExactInverter().fit(STACK), tiny_network):
        assert inverter.invert(A).shape == A.shape


# Residual norms and score


def test_residual_norms_measure_what_transform_returns(inverter):
    for X in (STACK, STACK.astype(np.float32), torch.from_numpy(STACK), torch.from_numpy(STACK).bfloat16()):
        norms = inverter.residual_norms(X)
        assert type(norms) is type(X)
        assert norms.shape == (7,)
        assert norms.dtype in (np.float64, torch.float64)
        np.testing.assert_allclose(norms, frobenius_residuals(X, inverter.transform(X)), rtol=1e-6, atol=1e-14)
        assert inverter.score(X) == pytest.approx(-float(norms.mean()), rel=1e-6)
        assert inverter.score(X) == pytest.approx(neg_mean_frobenius_residual(inverter, X), rel=1e-6)


def test_residual_norms_and_score_in_every_layout(inverter):
    norms, score = inverter.residual_norms(STACK), inverter.score(STACK)
    assert type(score) is float
    for X in (FLAT, STACK.tolist(), FLAT.tolist(), torch.from_numpy(FLAT), da.from_array(STACK, chunks=3)):
        np.testing.assert_allclose(inverter.residual_norms(X), norms, atol=RESIDUAL_TOLERANCE)
        assert inverter.score(X, "ignored") == pytest.approx(score, abs=RESIDUAL_TOLERANCE)
    assert score <= 0


@pytest.mark.parametrize("m", [1, 2, 3, 5])
def test_a_missing_inverse_is_nan_and_counts_as_the_zero_matrix(m):
    stack = make_stack(n_matrices=6, m=m)
    stack[[0, 2, 3]] = 0
    exact = ExactInverter()
    for X in (stack, stack.reshape(6, m * m), torch.from_numpy(stack), da.from_array(stack, chunks=3)):
        missing = np.isnan(np.asarray(exact.residual_norms(X)))
        np.testing.assert_array_equal(missing, [True, False, True, True, False, False])
        assert exact.score(X) == pytest.approx(-np.sqrt(m) / 2)


def test_residual_norms_of_data_frames(frame):
    exact = ExactInverter()
    np.testing.assert_array_equal(exact.residual_norms(frame), exact.residual_norms(STACK))
    assert exact.score(frame) == exact.score(STACK)


# set_output and names


@pytest.mark.parametrize("scope", ["estimator", "global"])
def test_pandas_output(frame, scope):
    with config_context(transform_output="pandas" if scope == "global" else "default"):
        exact = ExactInverter().fit(frame)
        if scope == "estimator":
            exact.set_output(transform="pandas")
        table = exact.transform(frame)
        assert isinstance(table, pd.DataFrame)
        assert list(table.columns) == list(exact.get_feature_names_out()) == COLUMNS
        assert list(table.index) == list(frame.index)
        np.testing.assert_allclose(table, np.linalg.inv(STACK).reshape(7, 9))
        pd.testing.assert_frame_equal(exact.fit_transform(frame), table)


@pytest.mark.parametrize("container", [np.array, torch.from_numpy, np.ndarray.tolist, da.from_array])
def test_pandas_output_for_every_flat_container(inverter, container):
    with config_context(transform_output="pandas"):
        table = inverter.transform(container(FLAT))
    assert isinstance(table, pd.DataFrame)
    np.testing.assert_allclose(table, inverter.transform(FLAT), **TOLERANCE)


@pytest.mark.parametrize("container", [np.array, torch.from_numpy, np.ndarray.tolist, da.from_array])
def test_a_stack_cannot_become_a_table(inverter, container):
    with config_context(transform_output="pandas"):
        with pytest.raises(ValueError, match=r"stack of shape \(7, 3, 3\) cannot become a pandas.*X\.reshape\(7, 9\)"):
            inverter.transform(container(STACK))
        assert np.isfinite(inverter.score(container(STACK)))
        assert inverter.residual_norms(container(STACK)).shape == (7,)


def test_default_output_on_the_estimator_beats_the_global_one():
    with config_context(transform_output="pandas"):
        assert type(ExactInverter().set_output(transform="default").transform(STACK)) is np.ndarray


def test_columns_are_numbered_where_no_size_is_fixed(frame):
    table = ExactInverter().set_output(transform="pandas").transform(frame)
    assert list(table.columns) == list(range(9))
    assert list(table.index) == list(frame.index)


def test_feature_names(inverter, frame):
    fitted = ExactInverter().fit(frame)
    assert list(fitted.feature_names_in_) == COLUMNS
    assert list(fitted.get_feature_names_out()) == COLUMNS
    with pytest.raises(ValueError, match="feature names should match"):
        fitted.transform(frame[COLUMNS[::-1]])
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        fitted.transform(FLAT)
    assert not hasattr(fitted.fit(FLAT), "feature_names_in_")
    assert list(fitted.get_feature_names_out()) == [f"x{i}" for i in range(9)]
    with pytest.raises(NotFittedError, match="until fit has fixed the matrix size"):
        ExactInverter().get_feature_names_out()


# The base itself


def test_a_subclass_needs_only_fit_and_invert():
    doubler = Doubler()
    for X in (STACK, FLAT, torch.from_numpy(STACK), torch.from_numpy(FLAT).bfloat16()):
        answer = doubler.transform(X)
        assert type(answer) is type(X)
        torch.testing.assert_close(torch.as_tensor(answer), 2 * torch.as_tensor(X), rtol=0, atol=0)
    assert doubler.fit(STACK).matrix_size_ == 3


def test_an_inverse_beyond_the_range_of_the_dtype_is_missing():
    X = torch.full((2, 1, 1), 6e4, dtype=torch.float16)
    X[1] = 1.0
    for answer in (Doubler().transform(X), Doubler().invert(X)):
        np.testing.assert_array_equal(answer.flatten(), [np.nan, 2.0])
    assert Doubler().residual_norms(X).isnan().tolist() == [True, False]


def test_tags(inverter):
    tags = inverter.__sklearn_tags__()
    assert tags.input_tags.two_d_array
    assert tags.input_tags.three_d_array
    assert not tags.input_tags.sparse
    assert not tags.input_tags.allow_nan
    assert tags.transformer_tags.preserves_dtype == ["float64", "float32"]
    assert tags.requires_fit == isinstance(inverter, NeuralMatrixInverter)
    assert not hasattr(inverter, "inverse_transform")


@pytest.mark.parametrize("inverter", [ExactInverter(), RefinedInverter(), BlockInverter()], ids=repr)
@pytest.mark.parametrize("method", ["transform", "fit_transform"])
def test_warnings_point_to_the_users_line(inverter, method):
    with pytest.warns(SingularMatrixWarning) as record:
        getattr(inverter, method)(np.zeros((1, 2, 2)))
    assert [Path(warning.filename).name for warning in record] == ["test_base.py"]
