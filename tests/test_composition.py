"""Inverters inside inverters: whatever the depth, they fit, clone, search, pickle, warn and differentiate as one."""

import pickle
import warnings
from functools import cache

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skdmi import BlockInverter, EnsembleInverter, ExactInverter, NeuralMatrixInverter, RefinedInverter
from skdmi.distributions import Members
from skdmi.exceptions import SingularMatrixWarning
from skdmi.metrics import frobenius_residuals, neg_mean_frobenius_residual
from tests.marks import slow_but
from tests.matrices import make_stack

TINY = {"depth": 1, "width": 4, "max_epochs": 0, "batches_per_epoch": 2, "batch_size": 16, "random_state": 0}

COMPOSITIONS = {
    "R(n)": RefinedInverter,
    "E(n)": lambda n: EnsembleInverter(n, 2, random_state=0),
    "B(n)": lambda n: BlockInverter(n, block_size=3),
    "B(R(n))": lambda n: BlockInverter(RefinedInverter(n), block_size=3),
    "R(E(n))": lambda n: RefinedInverter(EnsembleInverter(n, 2, random_state=0)),
    "E(R(n))": lambda n: EnsembleInverter(RefinedInverter(n), 2, random_state=0),
    "R(B(n))": lambda n: RefinedInverter(BlockInverter(n, block_size=3)),
    "R(R(n))": lambda n: RefinedInverter(RefinedInverter(n)),
    "R(B(R(n)))": lambda n: RefinedInverter(BlockInverter(RefinedInverter(n), block_size=3)),
    "E(B(R(n)))": lambda n: EnsembleInverter(BlockInverter(RefinedInverter(n), block_size=3), 2, random_state=0),
    "R(B(R(E(n))))": lambda n: RefinedInverter(
        BlockInverter(RefinedInverter(EnsembleInverter(n, 2, random_state=0)), block_size=3)
    ),
}
# The network as it answers, without refinement, is no better than its training; and that of these tests is poor.
EXACT = [name for name in COMPOSITIONS if name != "E(n)"]


def stack_for(name, kind="uniform", **options):
    """Return matrices of a size that the composition takes when the network inside takes 3 x 3 ones."""
    return make_stack(kind, n_matrices=8, m=7 if "B" in name else 3, **options)


def innermost(inverter):
    while True:
        inside = getattr(inverter, "inverter_", None)
        inverter = inside if inside is not None else getattr(inverter, "estimators_", [None])[0]
        if inverter is None or not hasattr(inverter, "inverter"):
            return inverter


# One level, and every level inside another.
QUICK = ("R(n)", "E(n)", "R(B(R(E(n))))")


@pytest.fixture(params=slow_but(QUICK, COMPOSITIONS))
def name(request):
    return request.param


@pytest.fixture(scope="module")
def fit_once():
    return cache(lambda name: COMPOSITIONS[name](NeuralMatrixInverter(**TINY)).fit(stack_for(name)))


@pytest.fixture
def fitted(fit_once, name):
    return fit_once(name)


# As one estimator


def test_it_inverts(fitted, name):
    A = stack_for(name)
    X = fitted.transform(A)
    norms = frobenius_residuals(A, X)
    if name in EXACT:
        assert norms.max() < 1e-10
    np.testing.assert_array_equal(fitted.residual_norms(A), norms)
    assert fitted.score(A) == -norms.mean()
    m = A.shape[-1]
    assert (fitted.matrix_size_, fitted.n_features_in_) == (m, m * m)
    np.testing.assert_array_equal(fitted.transform(A.reshape(8, m * m)), X.reshape(8, m * m))


def test_the_network_inside_is_fitted_for_what_it_sees(fitted, name):
    network = innermost(fitted)
    assert type(network) is NeuralMatrixInverter
    assert network.matrix_size_ == 3
    assert network.distribution_ == Members()


def test_a_clone_is_unfitted_and_fits_to_the_same(fitted, name):
    A = stack_for(name)
    cloned = clone(fitted)
    assert str(cloned) == str(fitted)
    with pytest.raises(NotFittedError):
        cloned.transform(A)
    with pytest.raises(NotFittedError):
        cloned.invert(torch.from_numpy(A))
    np.testing.assert_allclose(cloned.fit(A).transform(A), fitted.transform(A), rtol=1e-4, atol=1e-10)


def test_a_pickle_answers_the_same(fitted, name):
    A = stack_for(name)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).transform(A), fitted.transform(A))


def test_tables_in_tables_out_where_tables_are_asked_for_globally(fitted, name):
    A = stack_for(name)
    m = A.shape[-1]
    frame = pd.DataFrame(A.reshape(8, m * m)).add_prefix("a")
    with config_context(transform_output="pandas"):
        inverter = clone(fitted).fit(frame)
        table = inverter.transform(frame)
        assert isinstance(table, pd.DataFrame)
        assert list(table.columns) == list(frame.columns) == list(inverter.get_feature_names_out())
        np.testing.assert_allclose(inverter.residual_norms(frame), fitted.residual_norms(A), atol=1e-4)
        assert isinstance(inverter.invert(torch.from_numpy(A)), torch.Tensor)
    np.testing.assert_allclose(table, fitted.transform(A.reshape(8, m * m)), rtol=1e-4, atol=1e-10)


def test_containers_and_dtypes_are_kept(fitted, name):
    # Without refinement float32 rounding, which differs by position in the stack, grows with the condition number.
    A = stack_for(name, "uniform" if name in EXACT else "well", dtype=np.float32)
    X = fitted.transform(A)
    tensor = fitted.transform(torch.from_numpy(A))
    lazy = fitted.transform(da.from_array(A, chunks=(5, *A.shape[1:])))
    assert X.dtype == lazy.dtype == np.float32
    assert tensor.dtype == torch.float32
    np.testing.assert_array_equal(tensor.numpy(), X)
    np.testing.assert_allclose(lazy.compute(), X, rtol=1e-4, atol=1e-4)


def test_one_warning_from_the_outermost_with_its_indices(name):
    A = stack_for(name)
    A[[2, 5]] = make_stack("singular", n_matrices=2, m=A.shape[-1])
    inverter = COMPOSITIONS[name](ExactInverter()).fit()
    with pytest.warns(SingularMatrixWarning, match=r"2 of 8 matrices .* at index 2, 5\.") as record:
        X = inverter.transform(A)
    assert len(record) == 1
    assert np.flatnonzero(np.isnan(X).any(axis=(1, 2))).tolist() == [2, 5]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert inverter.invert(torch.from_numpy(A)).isnan().any(-1).any(-1).nonzero().flatten().tolist() == [2, 5]
        assert np.flatnonzero(np.isnan(inverter.residual_norms(A))).tolist() == [2, 5]
        assert np.isfinite(inverter.score(A))


@pytest.mark.parametrize("name", slow_but(QUICK, EXACT))
def test_gradients_are_those_of_the_inverse(fitted, name):
    A = torch.from_numpy(stack_for(name, "well")).requires_grad_()
    B = A.detach().clone().requires_grad_()
    weights = torch.from_numpy(make_stack(n_matrices=8, m=A.shape[-1], seed=1))
    (fitted.invert(A.reshape(2, 4, *A.shape[1:])).reshape(A.shape) * weights).sum().backward()
    (torch.linalg.inv(B) * weights).sum().backward()
    torch.testing.assert_close(A.grad, B.grad, rtol=1e-6, atol=1e-6)


def test_y_goes_all_the_way(name):
    A = stack_for(name)
    y = np.arange(8)
    inverter = COMPOSITIONS[name](NeuralMatrixInverter(**TINY))
    assert inverter.fit(A, y).score(A, y) <= 0
    assert inverter.fit_transform(A, y).shape == A.shape


# Searches


@pytest.mark.parametrize("outer", ["refined", "ensemble"])
def test_search_two_levels_down(outer):
    A = make_stack("uniform", n_matrices=12, m=5)
    block = BlockInverter(NeuralMatrixInverter(**TINY, matrix_size=3))
    inverter = RefinedInverter(block) if outer == "refined" else EnsembleInverter(block, 2, random_state=0)
    search = GridSearchCV(
        inverter,
        {"inverter__inverter__depth": [1, 2]},
        scoring=neg_mean_frobenius_residual,
        cv=KFold(2),
        error_score="raise",
    ).fit(A)
    assert innermost(search.best_estimator_).depth == search.best_params_["inverter__inverter__depth"]
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert frobenius_residuals(A, search.transform(A)).max() < 1e-8


def test_search_over_parameters_of_every_level(name):
    A = stack_for(name)
    inverter = COMPOSITIONS[name](NeuralMatrixInverter(**TINY))
    deep = [key for key in inverter.get_params() if key.endswith("__depth")]
    assert len(deep) == 1
    search = GridSearchCV(inverter, {deep[0]: [2]}, cv=KFold(2), error_score="raise").fit(A)
    assert innermost(search.best_estimator_).depth == 2


# Frozen inside


def compose_frozen(name, network):
    """Put a frozen network inside; where an ensemble would copy it, let it hold a single one."""
    inverter = COMPOSITIONS[name](FrozenEstimator(network))
    single = {key: 1 for key in inverter.get_params() if key.rpartition("__")[2] == "n_estimators"}
    return inverter.set_params(**single)


def test_a_frozen_network_needs_no_fit_and_survives_everything(name, tiny_network):
    A = stack_for(name)
    weights = pickle.dumps(tiny_network)
    inverter = compose_frozen(name, tiny_network)
    expected = inverter.transform(A)
    assert not inverter.__sklearn_tags__().requires_fit
    assert not inverter.__sklearn_tags__()._skip_test
    for copied in (
        clone(inverter),
        pickle.loads(pickle.dumps(inverter)),
        clone(inverter).fit(A),
        clone(inverter).fit(),
    ):
        np.testing.assert_allclose(copied.transform(A), expected, rtol=1e-9, atol=1e-12)
    assert innermost(clone(inverter).fit(A)).estimator is tiny_network
    search = GridSearchCV(make_pipeline(inverter), {}, cv=KFold(2), error_score="raise").fit(A)
    assert innermost(search.best_estimator_[-1]).estimator is tiny_network
    assert pickle.dumps(tiny_network) == weights


@pytest.mark.parametrize("name", slow_but(QUICK, (name for name in COMPOSITIONS if "B" not in name)))
def test_a_frozen_network_of_another_size_is_an_error_at_fit(name, tiny_network):
    inverter = compose_frozen(name, tiny_network)
    with pytest.raises(ValueError, match="4 x 4"):
        inverter.fit(make_stack(m=4))
    assert not hasattr(inverter, "matrix_size_")


@pytest.mark.filterwarnings("default::sklearn.exceptions.ConvergenceWarning")  # what is gained hangs on the processor
def test_an_ensemble_of_fitted_members_is_an_inverter_like_any_other(name, tiny_network):
    members = EnsembleInverter.from_fitted([tiny_network, clone(tiny_network).set_params(random_state=1).fit()])
    A = stack_for(name, "well")
    inverter = compose_frozen(name, members)
    together = inverter.transform(A)
    np.testing.assert_allclose(together, np.linalg.inv(A), atol=1e-2)
    np.testing.assert_allclose(clone(inverter).fit(A).transform(A), together, rtol=1e-9, atol=1e-12)


def test_blocks_have_the_size_of_fitted_members(tiny_network):
    A = make_stack("well", m=7)
    block = BlockInverter(RefinedInverter(EnsembleInverter.from_fitted([tiny_network]))).fit(A)
    assert block.block_size_ == 3
    np.testing.assert_allclose(block.transform(A), np.linalg.inv(A), rtol=1e-9, atol=1e-12)


# Foreign inverters inside


def test_anything_with_fit_and_transform_can_stand_inside(name):
    A = stack_for(name)
    foreign = make_pipeline(FunctionTransformer(), FunctionTransformer(np.linalg.inv))
    for output in ("default", "pandas"):
        with config_context(transform_output=output):
            inverter = COMPOSITIONS[name](foreign).fit(A)
            assert inverter.residual_norms(A).max() < 1e-10
    np.testing.assert_allclose(inverter.transform(A), np.linalg.inv(A), rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize(
    "outer",
    [
        lambda inner: RefinedInverter(inner),
        lambda inner: BlockInverter(inner, block_size=2),
        lambda inner: EnsembleInverter(inner, n_estimators=1),
        lambda inner: RefinedInverter(EnsembleInverter(inner, n_estimators=1)),
    ],
    ids=["refined", "block", "ensemble", "ensemble in refined"],
)
@pytest.mark.parametrize(
    "inner", [StandardScaler(), make_pipeline(StandardScaler(), ExactInverter())], ids=["one", "two"]
)
def test_what_takes_two_dimensions_inside_an_inverter_is_told_where_it_belongs(outer, inner):
    A = make_stack("well", 20, 2)
    hint = r"StandardScaler.*\. It is inside an inverter, so it is given stacks, here of shape \(20,"
    with pytest.raises(ValueError, match=hint) as caught:
        outer(inner).fit(A)
    assert str(caught.value).count("X.reshape(len(X), -1)") == 1
    before = make_pipeline(StandardScaler(), outer(ExactInverter()))
    assert before.fit_transform(A.reshape(20, 4)).shape == (20, 4)
