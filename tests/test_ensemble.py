"""EnsembleInverter: what members find together, how they are made, kept, saved."""

import pickle
import warnings

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils._param_validation import InvalidParameterError

from skdmi import EnsembleInverter, ExactInverter, NeuralMatrixInverter, RefinedInverter, load_pretrained
from skdmi.estimators.ensemble import best_inverse, mean_inverse
from skdmi.exceptions import SingularMatrixWarning
from skdmi.metrics import frobenius_residuals
from tests.matrices import make_stack
from tests.models import change, untrained

TINY = {"depth": 1, "width": 4, "max_epochs": 0, "batches_per_epoch": 2, "batch_size": 16}
STACK = make_stack("uniform", n_matrices=12, m=3)
COMBINATIONS = ("mean", "best")


class Foreign(TransformerMixin, BaseEstimator):
    """An inverter of no kin: ``factor`` times the inverse, NaN for the members listed in ``missing``."""

    def __init__(self, factor=1.0, missing=(), random_state=None):
        self.factor = factor
        self.missing = missing
        self.random_state = random_state

    def fit(self, X, y=None):
        self.y_ = y
        return self

    def transform(self, X):
        inverses = self.factor * np.linalg.inv(X)
        inverses[list(self.missing)] = np.nan
        return inverses


def network(**parameters):
    """Return a network whose first weights, unlike a polynomial's, already differ by seed."""
    return NeuralMatrixInverter(**TINY | {"block": "dense"} | parameters)


@pytest.fixture(scope="module")
def ensemble():
    return EnsembleInverter(network(matrix_size=3), random_state=0).fit()


def seeds(ensemble):
    return [member.random_state for member in ensemble.estimators_]


# What members find together


@pytest.mark.parametrize("n_estimators", [1, 2, 3, 7])
@pytest.mark.parametrize("combine", COMBINATIONS)
def test_equal_members_answer_as_each_does(tiny_network, combine, n_estimators):
    same = EnsembleInverter.from_fitted([tiny_network] * n_estimators, combine=combine)
    np.testing.assert_array_equal(same.transform(STACK), tiny_network.transform(STACK))


def test_mean_is_the_mean(ensemble):
    members = np.mean([member.transform(STACK) for member in ensemble.estimators_], axis=0)
    np.testing.assert_allclose(ensemble.transform(STACK), members, rtol=1e-5, atol=1e-5)


def test_best_is_never_worse_than_any_member(ensemble):
    best = clone(ensemble).set_params(combine="best").fit()
    members = [member.residual_norms(STACK) for member in best.estimators_]
    assert len(set(np.argmin(members, axis=0))) > 1
    np.testing.assert_array_equal(best.residual_norms(STACK), np.min(members, axis=0))


def test_best_is_measured_in_float64():
    A = torch.tensor([[[1.0]]])
    exact, near = torch.tensor([[[1.0]]]), torch.tensor([[[1.0 + 2**-23]]])
    for inverses in ([exact, near], [near, exact]):
        assert best_inverse(A, inverses).item() == 1.0


@pytest.mark.parametrize("combine", COMBINATIONS)
def test_members_that_are_nan_are_ignored(combine):
    members = [Foreign(1.0, missing=[0, 1]), Foreign(1.0, missing=[1]), Foreign(1.0, missing=[1, 2])]
    together = EnsembleInverter(members, combine=combine).fit(STACK)
    with pytest.warns(SingularMatrixWarning, match=r"1 of 12 matrices .* at index 1\.") as record:
        X = together.transform(STACK)
    assert len(record) == 1
    assert np.flatnonzero(np.isnan(X).any(axis=(1, 2))).tolist() == [1]
    np.testing.assert_allclose(np.delete(X, 1, axis=0), np.linalg.inv(np.delete(STACK, 1, axis=0)), rtol=1e-9)
    assert np.flatnonzero(np.isnan(together.residual_norms(STACK))).tolist() == [1]


def test_a_singular_member_is_missing_and_invert_does_not_warn():
    A = STACK.copy()
    A[4] = make_stack("singular", n_matrices=1)[0]
    together = EnsembleInverter(ExactInverter(), n_estimators=2).fit(A)
    assert together.invert(torch.from_numpy(A)).isnan().any(-1).any(-1).nonzero().tolist() == [[4]]
    with pytest.warns(SingularMatrixWarning, match=r"1 of 12 matrices .* at index 4\.") as record:
        together.transform(A)
    assert len(record) == 1


@pytest.mark.parametrize("combine", [mean_inverse, best_inverse], ids=COMBINATIONS)
def test_combining_nothing_finite_is_nan(combine):
    A = torch.ones(2, 1, 1)
    missing = torch.tensor([[[torch.nan]], [[1.0]]])
    torch.testing.assert_close(combine(A, [missing, missing]), missing, equal_nan=True)


@pytest.mark.parametrize("combine", COMBINATIONS)
def test_invert_is_differentiable(combine):
    exact = EnsembleInverter(ExactInverter(), n_estimators=2, combine=combine).fit()
    A = torch.from_numpy(STACK[:3]).requires_grad_()
    assert torch.autograd.gradcheck(exact.invert, A)
    A = torch.cat([A, torch.zeros(1, 3, 3)]).detach().requires_grad_()
    exact.invert(A)[:3].sum().backward()
    assert A.grad.isfinite().all()


@pytest.mark.parametrize("combine", COMBINATIONS)
def test_gradients_are_those_of_the_members(ensemble, combine):
    members = [ensemble.estimators_[0]] * 3
    A, B = (torch.from_numpy(make_stack()).requires_grad_() for _ in range(2))
    EnsembleInverter.from_fitted(members, combine=combine).invert(A).square().sum().backward()
    members[0].invert(B).square().sum().backward()
    torch.testing.assert_close(A.grad, B.grad, rtol=1e-4, atol=1e-4)


def test_containers_and_layouts_are_kept(ensemble):
    X = ensemble.transform(STACK)
    np.testing.assert_array_equal(ensemble.transform(STACK.reshape(12, 9)).reshape(12, 3, 3), X)
    np.testing.assert_array_equal(ensemble.transform(torch.from_numpy(STACK)).numpy(), X)
    np.testing.assert_allclose(ensemble.transform(da.from_array(STACK, chunks=5)).compute(), X, rtol=1e-4, atol=1e-4)
    assert ensemble.transform(STACK.astype(np.float32)).dtype == np.float32


# How members are made


def test_members_are_trained_copies_with_seeds_of_their_own(ensemble):
    assert len(ensemble.estimators_) == len(set(seeds(ensemble))) == 3
    assert all(type(seed) is int for seed in seeds(ensemble))
    first, second, _ = (member.transform(STACK) for member in ensemble.estimators_)
    assert (first != second).any()
    assert ensemble.inverter.random_state is None
    assert not hasattr(ensemble.inverter, "module_")


def test_an_integer_seed_determines_all_and_another_changes_all(ensemble):
    again = clone(ensemble).fit()
    assert seeds(again) == seeds(ensemble)
    np.testing.assert_array_equal(again.transform(STACK), ensemble.transform(STACK))
    other = clone(ensemble).set_params(random_state=1).fit()
    assert not set(seeds(other)) & set(seeds(ensemble))
    assert not set(seeds(clone(other).set_params(random_state=None).fit())) & set(seeds(other))


def test_a_random_state_instance_moves_on():
    random = np.random.RandomState(0)
    both = [EnsembleInverter(Foreign(), 2, random_state=random).fit(STACK) for _ in range(2)]
    assert len({seed for each in both for seed in seeds(each)}) == 4


def test_nested_seeds_are_drawn_too():
    pipeline = make_pipeline(FunctionTransformer(), Foreign(random_state=5))
    drawn = [member[-1].random_state for member in EnsembleInverter(pipeline, 3).fit(STACK).estimators_]
    assert len({5, *drawn}) == 4


@pytest.mark.slow
def test_fitting_in_parallel_changes_nothing():
    one, two = (
        EnsembleInverter(network(matrix_size=3), 2, n_jobs=n_jobs, random_state=0).fit(STACK) for n_jobs in (1, 2)
    )
    assert seeds(one) == seeds(two)
    np.testing.assert_allclose(one.transform(STACK), two.transform(STACK), rtol=1e-4, atol=1e-4)


def test_the_default_is_a_network():
    fitted = EnsembleInverter(n_estimators=1)
    assert fitted.__sklearn_tags__().requires_fit
    with pytest.raises(ValueError, match="matrix_size=None and no X"):
        fitted.fit()
    with pytest.raises(NotFittedError):
        fitted.transform(STACK)


def test_y_is_passed_on():
    y = np.arange(12)
    assert all(member.y_ is y for member in EnsembleInverter(Foreign()).fit(STACK, y).estimators_)


def test_a_list_names_each_member():
    mixed = EnsembleInverter([network(), ExactInverter()], 2, combine="best", random_state=0).fit(STACK)
    assert [type(member) for member in mixed.estimators_] == [NeuralMatrixInverter, ExactInverter]
    assert isinstance(mixed.estimators_[0].random_state, int)
    with pytest.raises(ValueError, match="n_estimators=3, but inverter is a list of 2"):
        mixed.set_params(n_estimators=3).fit(STACK)


@pytest.mark.parametrize(
    ("X", "names"),
    [
        (STACK.reshape(12, 9), None),
        (torch.from_numpy(STACK), None),
        (da.from_array(STACK, chunks=4), None),
        (pd.DataFrame(STACK.reshape(12, 9)).add_prefix("a"), [f"a{i}" for i in range(9)]),
    ],
    ids=["flat", "torch", "dask", "frame"],
)
def test_every_container_can_be_fitted(X, names):
    fitted = EnsembleInverter(network(), 2, random_state=0).fit(X)
    assert (fitted.matrix_size_, fitted.n_features_in_) == (3, 9)
    assert all(member.matrix_size_ == 3 for member in fitted.estimators_)
    assert list(getattr(fitted, "feature_names_in_", [])) == (names or [])


def test_size_without_X_is_that_of_the_members(ensemble):
    assert (ensemble.matrix_size_, ensemble.n_features_in_) == (3, 9)
    with pytest.raises(ValueError, match="X holds 4 x 4 matrices, but EnsembleInverter is fitted for 3 x 3"):
        ensemble.transform(make_stack(m=4))
    any_size = EnsembleInverter(ExactInverter()).fit()
    assert not hasattr(any_size, "matrix_size_")
    assert any_size.transform(make_stack(m=4)).shape == (8, 4, 4)


@pytest.mark.parametrize(
    "parameters",
    [
        {"inverter": "network"},
        {"n_estimators": 0},
        {"n_estimators": 1.5},
        {"combine": "median"},
        {"n_jobs": "all"},
        {"random_state": "seed"},
    ],
)
def test_parameters_are_checked(parameters):
    name, _ = next(iter(parameters.items()))
    unfitted = EnsembleInverter(ExactInverter()).set_params(**parameters)
    before = dict(vars(unfitted))
    with pytest.raises(InvalidParameterError, match=f"The '{name}' parameter of EnsembleInverter"):
        unfitted.fit(STACK)
    assert vars(unfitted) == before


def test_a_failed_fit_leaves_the_ensemble_as_it_was(ensemble):
    fitted = pickle.loads(pickle.dumps(ensemble))
    for X in (STACK[0, 0], make_stack(m=4), np.full((2, 3, 3), np.nan)):
        with pytest.raises(ValueError):  # noqa: PT011
            fitted.fit(X)
    np.testing.assert_array_equal(fitted.transform(STACK), ensemble.transform(STACK))


def test_what_members_did_not_gain_is_said_once_at_the_users_line():
    learns_nothing = NeuralMatrixInverter(**TINY | {"matrix_size": 1, "max_epochs": 1})
    for inner in (learns_nothing, RefinedInverter(learns_nothing)):
        members = [inner, ExactInverter(), inner]
        with pytest.warns(ConvergenceWarning, match="^2 of 3 members: Training gained nothing") as caught:
            fitted = EnsembleInverter(members, random_state=0).fit()
        assert [warning.filename for warning in caught] == [__file__]
        assert len(fitted.estimators_) == 3


@pytest.mark.slow
def test_what_members_in_other_processes_did_not_gain_is_said_once():
    learns_nothing = NeuralMatrixInverter(**TINY | {"matrix_size": 1, "max_epochs": 1})
    with pytest.warns(ConvergenceWarning, match="^2 of 2 members: Training gained nothing") as caught:
        EnsembleInverter(learns_nothing, 2, n_jobs=2, random_state=0).fit()
    assert len(caught) == 1


# Frozen members


@pytest.mark.parametrize("nested", [False, True])
def test_copies_of_a_frozen_inverter_are_an_error(tiny_network, nested):
    frozen = FrozenEstimator(tiny_network)
    if nested:
        frozen = RefinedInverter(frozen)
    with pytest.raises(ValueError, match=r"3 copies of a frozen inverter would all be equal.*from_fitted"):
        EnsembleInverter(frozen).fit(STACK)
    one = EnsembleInverter(frozen, n_estimators=1).fit(STACK)
    np.testing.assert_array_equal(one.transform(STACK), frozen.transform(STACK))


def test_a_frozen_copy_needs_no_fit_and_copies_do_not_become_right_by_that(tiny_network):
    one = EnsembleInverter(FrozenEstimator(tiny_network), 1)
    assert not one.__sklearn_tags__().requires_fit
    np.testing.assert_array_equal(one.transform(STACK), tiny_network.transform(STACK))
    with pytest.raises(ValueError, match="copies of a frozen inverter"):
        EnsembleInverter(FrozenEstimator(tiny_network), 2).transform(STACK)


@pytest.mark.parametrize("combine", COMBINATIONS)
def test_fitted_members_survive_clone_pickle_and_fit(ensemble, combine):
    together = EnsembleInverter.from_fitted(ensemble.estimators_, combine=combine)
    expected = together.transform(STACK)
    weights = [pickle.dumps(member) for member in ensemble.estimators_]
    for copied in (clone(together), pickle.loads(pickle.dumps(together)), clone(clone(together)).fit(STACK[:2])):
        assert not copied.__sklearn_tags__().requires_fit
        np.testing.assert_array_equal(copied.transform(STACK), expected)
        assert copied.score(STACK) == together.score(STACK)
    assert [pickle.dumps(member) for member in ensemble.estimators_] == weights
    if combine == "mean":
        np.testing.assert_array_equal(expected, ensemble.transform(STACK))


def test_a_search_keeps_fitted_members(ensemble):
    together = EnsembleInverter.from_fitted(ensemble.estimators_)
    search = GridSearchCV(together, {"combine": COMBINATIONS}, cv=KFold(2), error_score="raise").fit(STACK)
    for kept, member in zip(search.best_estimator_.estimators_, ensemble.estimators_, strict=True):
        assert kept.estimator is member


def test_from_fitted_says_what_is_wrong(tiny_network):
    with pytest.raises(NotFittedError):
        EnsembleInverter.from_fitted([tiny_network, network()])
    with pytest.raises(ValueError, match="n_estimators"):
        EnsembleInverter.from_fitted([])
    with pytest.raises(ValueError, match=r"different sizes, m = \[3, 5\]"):
        EnsembleInverter.from_fitted([load_pretrained("uniform-3x3-short"), untrained(5)])
    with pytest.raises(ValueError, match="4 x 4"):
        EnsembleInverter.from_fitted([tiny_network]).fit(make_stack(m=4))


def test_sizes_that_disagree_are_an_error_at_fit(tiny_network):
    with pytest.raises(ValueError, match=r"different sizes, m = \[3, 4\]"):
        EnsembleInverter([FrozenEstimator(tiny_network), ExactInverter()], 2).fit(make_stack(m=4))


# Files


def test_a_saved_ensemble_comes_back(ensemble, tmp_path):
    ensemble.save_pretrained(tmp_path / "committee")
    assert sorted(path.name for path in (tmp_path / "committee").iterdir()) == ["README.md", "model.safetensors"]
    loaded = EnsembleInverter.from_pretrained(tmp_path / "committee")
    assert (loaded.n_estimators, loaded.combine, loaded.matrix_size_) == (3, "mean", 3)
    for copied in (loaded, clone(loaded), load_pretrained(tmp_path / "committee")):
        np.testing.assert_array_equal(copied.transform(STACK), ensemble.transform(STACK))


def test_an_ensemble_of_ensembles_replaces_an_ensemble(ensemble, tmp_path):
    ensemble.save_pretrained(tmp_path / "committee")
    outer = EnsembleInverter.from_fitted([ensemble], combine="best")
    outer.save_pretrained(tmp_path / "committee")
    loaded = EnsembleInverter.from_pretrained(tmp_path / "committee")
    assert loaded.combine == "best"
    np.testing.assert_array_equal(loaded.transform(STACK), ensemble.transform(STACK))
    assert [path.name for path in tmp_path.iterdir()] == ["committee"]


def test_what_cannot_be_saved_says_so_before_anything_is_written(tmp_path):
    with pytest.raises(TypeError, match="A ExactInverter cannot be saved"):
        EnsembleInverter([network(), ExactInverter()], 2).fit(STACK).save_pretrained(tmp_path / "committee")
    with pytest.raises(NotFittedError):
        EnsembleInverter(network()).save_pretrained(tmp_path / "committee")
    assert list(tmp_path.iterdir()) == []


def test_loading_what_is_no_ensemble(ensemble, tmp_path):
    ensemble.save_pretrained(tmp_path / "committee")
    with pytest.raises(ValueError, match="holds a 'NeuralMatrixInverter', not a EnsembleInverter"):
        EnsembleInverter.from_pretrained("uniform-3x3-short")
    with pytest.raises(ValueError, match=r"EnsembleInverter\.from_pretrained"):
        NeuralMatrixInverter.from_pretrained(tmp_path / "committee")
    change(tmp_path / "committee", lambda card: {name: value for name, value in card.items() if name != "combine"})
    with pytest.raises(ValueError, match="combine is missing; expected one of 'mean', 'best'"):
        EnsembleInverter.from_pretrained(tmp_path / "committee")


def test_residuals_of_answers_that_overflow_never_win():
    A = torch.full((1, 1, 1), 1e300, dtype=torch.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        X = best_inverse(A, [torch.full_like(A, 1e300), 1 / A])
    assert frobenius_residuals(A, X).item() < 1e-15
