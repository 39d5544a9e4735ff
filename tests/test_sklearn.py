"""Every inverter among the tools of scikit-learn: common checks, pipelines, searches, copies."""

import copy
import pickle
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import config_context
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks

from skdmi import BlockInverter, EnsembleInverter, ExactInverter, NeuralMatrixInverter, RefinedInverter
from skdmi.metrics import neg_mean_frobenius_residual
from tests.common_checks import expected_failed_checks, open_padded_door, takes_complex
from tests.matrices import make_stack

TINY = {"depth": 1, "width": 4, "max_epochs": 1, "batches_per_epoch": 2, "batch_size": 16, "random_state": 0}
# Common checks fit for a few steps, on a few matrices of scikit-learn's choice: to gain nothing is no failure.
pytestmark = pytest.mark.filterwarnings(
    "ignore:(. of . members. )?(Training gained nothing|There is little to learn):sklearn.exceptions.ConvergenceWarning"
)
STACK = make_stack(n_matrices=12, m=3)
FLAT = STACK.reshape(12, 9)
COLUMNS = [f"a{i}{j}" for i in range(3) for j in range(3)]


def inverters(**options):
    network = NeuralMatrixInverter(**TINY, **options)
    return [
        ExactInverter(),
        network,
        BlockInverter(network, block_size=2),
        EnsembleInverter(network, 2, random_state=0),
        RefinedInverter(network),
    ]


def twins():
    """Return all inverters in float64: answers that round by position in the stack must agree to 1e-9."""
    options = {"net_params": {"module__precision": "float64"}}
    return [*inverters(**options), NeuralMatrixInverter(**TINY, **options, start="identity")]


each_inverter = pytest.mark.parametrize("unfitted", inverters(), ids=lambda inverter: type(inverter).__name__)
each_inverter_marked = pytest.mark.parametrize(
    "unfitted",
    [*inverters()[:2], *(pytest.param(inverter, marks=pytest.mark.slow) for inverter in inverters()[2:])],
    ids=lambda inverter: type(inverter).__name__,
)


# Common checks


@pytest.fixture
def padded_door(monkeypatch):
    open_padded_door(monkeypatch)


# pytest's strict mode makes an expected failure that passes an error.
@parametrize_with_checks(inverters()[:2], expected_failed_checks=expected_failed_checks)
def test_real_class_passes(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks(inverters()[2:], expected_failed_checks=expected_failed_checks)
def test_real_class_passes_with_a_network_inside(estimator, check):
    check(estimator)


@parametrize_with_checks(twins()[:2], expected_failed_checks=takes_complex)
def test_padded_twin_passes(estimator, check, padded_door):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks(twins()[2:], expected_failed_checks=takes_complex)
def test_padded_twin_passes_with_a_network_inside_or_from_another_start(estimator, check, padded_door):
    check(estimator)


@pytest.mark.parametrize(
    "name",
    [
        "check_dataframe_column_names_consistency",
        "check_do_not_raise_errors_in_init_or_set_params",
        "check_get_feature_names_out_error",
        "check_global_output_transform_pandas",
        "check_inplace_ensure_writeable",
        "check_n_features_in_after_fitting",
        "check_set_output_transform",
        "check_set_output_transform_pandas",
        "check_transformer_get_feature_names_out",
        "check_transformer_get_feature_names_out_pandas",
    ],
)
@each_inverter_marked
@pytest.mark.filterwarnings("ignore:X .* feature names")  # these checks mix tables and arrays
def test_padded_twin_passes_what_scikit_learn_asks_of_its_own(unfitted, name, padded_door):
    getattr(estimator_checks, name)(type(unfitted).__name__, unfitted)


@each_inverter
def test_invalid_parameters_are_named(unfitted, padded_door):
    estimator_checks.check_param_validation(type(unfitted).__name__, unfitted)


@each_inverter
def test_every_expected_failure_is_a_check_that_exists(unfitted):
    run = {
        getattr(check, "func", check).__name__
        for _, check in estimator_checks.estimator_checks_generator(unfitted, mark=None)
    }
    assert set(expected_failed_checks(unfitted)) <= run
    assert len(run) > 40


# What replaces them


@each_inverter
def test_y_is_ignored(unfitted):
    y = np.arange(12)
    with_y, without = clone(unfitted).fit(STACK, y), clone(unfitted).fit(STACK)
    assert with_y.score(STACK, y) == without.score(STACK)
    np.testing.assert_array_equal(clone(unfitted).fit_transform(STACK, y), without.transform(STACK))


@each_inverter
def test_fit_leaves_parameters_alone(unfitted):
    inverter = clone(unfitted)
    before = {name: pickle.dumps(value) for name, value in inverter.get_params().items()}
    assert inverter.fit(FLAT) is inverter
    assert {name: pickle.dumps(value) for name, value in inverter.get_params().items()} == before
    learned = set(vars(inverter)) - set(before)
    assert all(name.endswith("_") or name.startswith("_") for name in learned)


@each_inverter
def test_transform_leaves_the_estimator_alone(unfitted):
    inverter = clone(unfitted).fit(STACK)
    inverter.transform(STACK)
    before = pickle.dumps(inverter)
    inverter.transform(FLAT)
    inverter.residual_norms(STACK)
    inverter.score(STACK)
    inverter.invert(torch.from_numpy(STACK))
    assert pickle.dumps(inverter) == before


@each_inverter
def test_fit_is_idempotent(unfitted):
    inverter = clone(unfitted).fit(STACK)
    first = inverter.transform(STACK)
    np.testing.assert_array_equal(inverter.fit(STACK).transform(STACK), first)
    np.testing.assert_array_equal(clone(inverter).fit(STACK).transform(STACK), first)


@each_inverter
def test_fit_transform_is_fit_then_transform(unfitted):
    np.testing.assert_array_equal(clone(unfitted).fit_transform(STACK), clone(unfitted).fit(STACK).transform(STACK))


@each_inverter
def test_one_matrix_is_enough(unfitted):
    assert clone(unfitted).fit(STACK[:1]).transform(STACK[:1]).shape == (1, 3, 3)


# Copies


@pytest.mark.parametrize("how", ["pickle", "joblib", "deepcopy"])
def test_copies_agree(inverter, tmp_path, how):
    if how == "joblib":
        joblib.dump(inverter, tmp_path / "inverter.joblib")
        copied = joblib.load(tmp_path / "inverter.joblib")
    else:
        copied = pickle.loads(pickle.dumps(inverter)) if how == "pickle" else copy.deepcopy(inverter)
    assert repr(copied) == repr(inverter)
    np.testing.assert_array_equal(copied.transform(STACK), inverter.transform(STACK))


def test_clone_forgets_what_was_learned(tiny_network):
    cloned = clone(tiny_network)
    assert cloned.get_params() == tiny_network.get_params()
    assert not [name for name in vars(cloned) if name.endswith("_")]
    np.testing.assert_array_equal(cloned.fit().transform(STACK), tiny_network.transform(STACK))


def test_output_setting_survives_copies():
    exact = ExactInverter().set_output(transform="pandas").fit(FLAT)
    for copied in (clone(exact).fit(FLAT), pickle.loads(pickle.dumps(exact))):
        assert isinstance(copied.transform(FLAT), pd.DataFrame)


def test_a_frozen_network_survives_clone_fit_and_pickling_in_a_pipeline(tiny_network):
    expected = tiny_network.transform(STACK)
    pipeline = make_pipeline(FunctionTransformer(), FrozenEstimator(tiny_network))
    for copied in (clone(pipeline), pickle.loads(pickle.dumps(pipeline)), clone(pipeline).fit(STACK[:2])):
        np.testing.assert_array_equal(copied.transform(STACK), expected)
        assert copied.score(STACK) == tiny_network.score(STACK)
    np.testing.assert_array_equal(clone(pipeline).fit_transform(STACK), expected)


# Pipelines


@each_inverter
def test_pipeline(unfitted):
    pipeline = Pipeline([("double", FunctionTransformer(lambda X: 2 * X)), ("invert", clone(unfitted))])
    inverses = pipeline.fit(STACK).transform(STACK)
    np.testing.assert_array_equal(inverses, clone(unfitted).fit(2 * STACK).transform(2 * STACK))
    assert pipeline.score(STACK) == pipeline["invert"].score(2 * STACK)
    assert list(pipeline["invert"].get_feature_names_out()) == [f"x{i}" for i in range(9)]


def test_pipeline_of_two_inversions_is_the_identity():
    pipeline = make_pipeline(ExactInverter(), ExactInverter())
    np.testing.assert_allclose(pipeline.fit_transform(STACK), STACK)


@pytest.mark.parametrize("scope", ["set_output", "global"])
@each_inverter_marked
def test_data_frames_through_a_pipeline(unfitted, scope):
    frame = pd.DataFrame(FLAT, columns=COLUMNS, index=[f"row{i}" for i in range(12)])
    pipeline = make_pipeline(FunctionTransformer(feature_names_out="one-to-one"), clone(unfitted))
    with config_context(transform_output="pandas" if scope == "global" else "default"):
        if scope == "set_output":
            pipeline.set_output(transform="pandas")
        table = pipeline.fit(frame).transform(frame)
        assert isinstance(table, pd.DataFrame)
        assert list(table.columns) == list(pipeline.get_feature_names_out()) == COLUMNS
        assert list(table.index) == list(frame.index)
        assert list(pipeline[-1].feature_names_in_) == COLUMNS
        assert np.isfinite(pipeline.score(frame))
    np.testing.assert_array_equal(table, clone(unfitted).fit(FLAT).transform(FLAT))


# Searches


@pytest.mark.slow
def test_grid_search_over_depth_and_width(tiny_network):
    X = make_stack(n_matrices=12, m=8)
    grid = {"depth": [1, 3], "width": [4, 8]}
    network = NeuralMatrixInverter(**TINY)
    searches = [
        GridSearchCV(network, grid, cv=KFold(2), n_jobs=n_jobs, error_score="raise").fit(X) for n_jobs in (1, 2)
    ]
    one, two = (search.cv_results_["mean_test_score"] for search in searches)
    np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5)
    assert (one <= 0).all()
    for search in searches:
        assert search.best_params_["depth"] == 3
        assert search.best_estimator_.module_ is not network
        assert search.transform(X).shape == X.shape
        assert search.score(X) == search.best_estimator_.score(X)


def test_grid_search_over_the_start():
    X = make_stack("spd", 12, 3)
    grid = {"start": ["transpose", "identity"]}
    search = GridSearchCV(NeuralMatrixInverter(**TINY), grid, cv=KFold(2), error_score="raise").fit(X)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_estimator_.start == search.best_params_["start"]
    np.testing.assert_allclose(search.transform(X), np.linalg.inv(X), atol=0.1)


def test_grid_search_with_the_callable_scorer_through_a_pipeline():
    X = make_stack(n_matrices=12, m=8).reshape(12, 64)
    pipeline = Pipeline([("same", FunctionTransformer()), ("invert", NeuralMatrixInverter(**TINY))])
    search = GridSearchCV(
        pipeline, {"invert__depth": [1, 3]}, scoring=neg_mean_frobenius_residual, cv=KFold(2), error_score="raise"
    ).fit(X)
    assert search.best_params_ == {"invert__depth": 3}
    assert search.score(X) == pytest.approx(search.best_estimator_["invert"].score(X), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("X", [STACK, FLAT, STACK.tolist()], ids=["stack", "flat", "list"])
@each_inverter_marked
def test_cross_val_score(unfitted, X):
    scores = cross_val_score(unfitted, X, cv=KFold(3), error_score="raise")
    assert scores.shape == (3,)
    assert (scores <= 0).all()
    callable_scores = cross_val_score(
        unfitted, X, cv=KFold(3), scoring=neg_mean_frobenius_residual, error_score="raise"
    )
    np.testing.assert_allclose(scores, callable_scores, rtol=1e-4, atol=1e-14)


def test_a_search_keeps_a_frozen_network_as_it_is(tiny_network):
    pipeline = Pipeline([("scale", FunctionTransformer(kw_args={})), ("invert", FrozenEstimator(tiny_network))])
    search = GridSearchCV(pipeline, {"scale__validate": [False]}, cv=KFold(2), error_score="raise").fit(STACK)
    np.testing.assert_array_equal(search.transform(STACK), tiny_network.transform(STACK))


# Global state


@each_inverter
def test_global_state_is_left_alone(unfitted):
    def state():
        _, keys, *rest = np.random.get_state()  # noqa: NPY002
        return keys.tobytes(), rest, torch.get_rng_state().numpy().tobytes()

    def settings():
        return torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads(), list(warnings.filters)

    inverter = clone(unfitted)
    before = state(), settings()
    inverter.fit(STACK)
    assert (state(), settings()) == before
    inverter.transform(STACK)
    inverter.score(STACK)
    inverter.invert(torch.from_numpy(STACK))
    pickle.loads(pickle.dumps(inverter)).transform(STACK)
    assert (state(), settings()) == before


@each_inverter
def test_answers_do_not_depend_on_global_state(unfitted):
    expected = clone(unfitted).fit(STACK).transform(STACK)
    state = torch.get_rng_state()
    try:
        torch.manual_seed(12345)
        torch.set_default_dtype(torch.float64)
        np.testing.assert_array_equal(clone(unfitted).fit(STACK).transform(STACK), expected)
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_rng_state(state)


@each_inverter
def test_nothing_is_printed(unfitted, capfd):
    clone(unfitted).fit(STACK).transform(STACK)
    assert capfd.readouterr() == ("", "")
