"""The start that is fitted to a family: what it gains on it, and that it loses nothing off it."""

import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.exceptions import ConvergenceWarning
from torch.linalg import matrix_norm

from skdmi import NeuralMatrixInverter
from skdmi.distributions import Affine, Covariance, GaussianProcessKernel, Uniform, Wishart
from skdmi.iteration import IDENTITY, STARTS, TRANSPOSE, FamilyStart, count_operations, count_products, iterate
from skdmi.iteration.family import count_equations, least_squares
from skdmi.iteration.fitting import Members, adapt, fit_family, set_guard
from skdmi.linalg.residuals import residual
from skdmi.metrics import frobenius_residuals, neg_mean_operations
from skdmi.modules import InverterResNet
from skdmi.modules.cost import Iteration, network_steps_to, steps_to
from skdmi.modules.network import normalized
from tests.tensors import property_test, stack_of

DIFFUSION, ADVECTION = Affine.diffusion(4), Affine.advection_diffusion(4)
FAMILIES = {"diffusion": (DIFFUSION, IDENTITY), "advection": (ADVECTION, TRANSPOSE)}
ALONE = {"max_epochs": 0, "random_state": 0}
BRIEFLY = {"depth": 2, "width": 4, "max_epochs": 2, "batches_per_epoch": 4, "batch_size": 32, "random_state": 0}


def members_of(distribution, n_matrices, m=16, seed=1):
    A = torch.from_numpy(distribution.sample(n_matrices, m, random_state=seed))
    return normalized(A)[0]


@pytest.fixture(scope="module", params=FAMILIES)
def fitted(request):
    distribution, plain = FAMILIES[request.param]
    return fit_family(Members.of(members_of(distribution, 200)), 16, plain=plain), members_of(distribution, 300, seed=2)


# The start


def test_the_residual_is_that_of_the_inverse(fitted):
    start, A = fitted
    X, R = start(A)
    torch.testing.assert_close(R, residual(A, X), rtol=0, atol=1e-12)


def test_members_start_near_their_inverses(fitted):
    start, A = fitted
    assert start.accepts(A).double().mean() > 0.98
    learned, plain = (matrix_norm(begin(A)[1]) for begin in (start, start.plain.function))
    assert learned.median() < plain.median() / 4


def test_an_unfitted_start_is_the_plain_one():
    A = stack_of("uniform", 20, 6)
    for plain in STARTS.values():
        start = FamilyStart(6, n_atoms=2, n_places=3, plain=plain).double()
        assert not start.accepts(A).any()
        torch.testing.assert_close(iterate(A, 3, start=start), iterate(A, 3, start=plain), rtol=1e-6, atol=1e-6)


def test_matrices_of_another_size_get_the_plain_start(fitted):
    start, _ = fitted
    A = stack_of("uniform", 5, 7)
    assert torch.equal(iterate(A, 2, start=start), iterate(A, 2, start=start.plain))
    assert not start.accepts(A).any()


def test_a_member_does_not_depend_on_the_others(fitted):
    start, A = fitted
    mixed = torch.cat([A[:3], normalized(stack_of("uniform", 3, A.shape[-1]))[0]])
    together = start(mixed)
    for chosen in (slice(0, 1), slice(2, 5)):
        for part, whole in zip(start(mixed[chosen]), together, strict=True):
            torch.testing.assert_close(part, whole[chosen], rtol=0, atol=1e-10)


@property_test
@given(seed=st.integers(0, 2**20), kind=st.sampled_from(["uniform", "spd", "orthogonal", "condition", "permutation"]))
def test_off_the_family_nothing_is_worse(seed, kind):
    for distribution, plain in FAMILIES.values():
        start = _start_of(distribution, plain)
        A = normalized(stack_of(kind, 8, 16, seed=seed))[0]
        for n_steps in (1, 2, 3):
            mine, theirs = (matrix_norm(residual(A, iterate(A, n_steps, start=begin))) for begin in (start, plain))
            assert (mine <= 1.1 * theirs + 1e-9).all()


_STARTS = {}


def _start_of(distribution, plain):
    if plain not in _STARTS:
        _STARTS[plain] = fit_family(Members.of(members_of(distribution, 100)), 16, plain=plain)
    return _STARTS[plain]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_weights_are_those_of_least_squares(dtype):
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(10, 5, 12, generator=generator, dtype=dtype)
    target = torch.randn(10, 12, generator=generator, dtype=dtype)
    expected = torch.linalg.lstsq(directions.mT.double(), target.double().unsqueeze(-1)).solution.squeeze(-1)
    tolerance = 1e3 * torch.finfo(dtype).eps
    torch.testing.assert_close(least_squares(directions, target).double(), expected, rtol=tolerance, atol=tolerance)


def test_weights_of_directions_that_depend_on_each_other_are_finite():
    directions = torch.ones(2, 3, 4)
    directions[1] = 0
    assert least_squares(directions, torch.ones(2, 4)).isfinite().all()


def test_the_start_can_be_differentiated(fitted):
    start, A = copy.deepcopy(fitted[0]), fitted[1][:5]
    matrix_norm(start(A)[1]).sum().backward()
    for name in ("constant", "atoms", "equations"):
        gradient = getattr(start, name).grad
        assert gradient.isfinite().all()
        assert gradient.any()


def test_operations_are_counted(fitted):
    start, A = fitted
    m, k = A.shape[-1], len(start.atoms)
    at_least = 2 * k * m**2 + 2 * k**2 * count_equations(k)
    assert at_least < start.n_operations(m) < 4 * at_least
    assert count_operations(m, 2, start) - 2 * m**3 * count_products(2, start) > start.n_operations(m)


# Fitting


def test_few_members_give_few_atoms():
    start = fit_family(Members.of(members_of(DIFFUSION, 30)), 16)
    assert len(start.atoms) == 7


def test_a_singular_member_is_left_out():
    A = members_of(DIFFUSION, 40)
    with_singular = torch.cat([A, torch.zeros_like(A[:1])])
    one, other = (fit_family(Members.of(stack), 4) for stack in (A, with_singular))
    assert torch.equal(one.constant, other.constant)


def test_one_matrix_again_and_again_is_a_family():
    A = members_of(DIFFUSION, 1).expand(40, -1, -1)
    start = fit_family(Members.of(A), 4)
    assert matrix_norm(start(A)[1]).max() < 1e-4


def test_the_constant_is_the_best_one():
    A = members_of(Covariance(np.diag(np.logspace(0, -2, 8)), 16), 100, m=8)
    constant = fit_family(Members.of(A), 1).constant.detach()
    best = matrix_norm(residual(A, constant.expand_as(A))).square().mean()
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        moved = constant * (1 + 0.01 * torch.randn(8, 8, generator=generator, dtype=torch.float64))
        assert matrix_norm(residual(A, moved.expand_as(A))).square().mean() > best


def test_a_constant_alone_gains_in_the_steps_after_it():
    """Around an ill-conditioned core it need not be the best at once."""
    A = members_of(Covariance(np.diag(np.logspace(0, -3, 16)), 64), 200)
    alone, with_atoms = (fit_family(Members.of(A), n_atoms, plain=IDENTITY) for n_atoms in (0, 1))
    with torch.no_grad():
        with_atoms.atoms.zero_()
        norms = [matrix_norm(residual(A, iterate(A, 3, start=start))).median() for start in (alone, with_atoms)]
    assert norms[0] < norms[1]


def test_a_start_follows_its_family():
    cores = np.ones(8), np.logspace(0, -1.5, 8)
    before, after = (members_of(Covariance(np.diag(core), 16), 200, m=8) for core in cores)
    start = fit_family(Members.of(before), 0, plain=IDENTITY)
    followed = copy.deepcopy(start)
    for _ in range(8):
        adapt(followed, after)
    lag, near = (matrix_norm(residual(after, one.constant.expand_as(after))).mean() for one in (start, followed))
    assert near < 0.9 * lag
    assert not torch.equal(start.constant, followed.constant)


# The estimator


@pytest.mark.parametrize(
    ("distribution", "expected"),
    [
        (Affine.diffusion(6), "family"),
        (Affine.advection_diffusion(6), "family"),
        (Uniform(), "transpose"),
        (Wishart(), "identity"),
    ],
    ids=["diffusion", "advection", "uniform", "wishart"],
)
def test_the_start_is_chosen_by_what_X_is(distribution, expected):
    X = distribution.sample(200, 36, random_state=0)
    inverter = NeuralMatrixInverter(depth=1, **ALONE).fit(X)
    assert inverter.start_ == expected
    assert (inverter.n_atoms_ > 0) == (expected == "family")
    A = distribution.sample(200, 36, random_state=1)
    scores = {name: neg_mean_operations(NeuralMatrixInverter(1, start=name, **ALONE).fit(X), A) for name in STARTS}
    assert neg_mean_operations(inverter, A) >= max(scores.values())


def test_without_X_nothing_is_chosen():
    assert NeuralMatrixInverter(matrix_size=4, **ALONE).fit().start_ == "transpose"


def test_a_described_family_needs_no_data():
    inverter = NeuralMatrixInverter(start="family", matrix_size=16, distribution=DIFFUSION, **ALONE).fit()
    A = DIFFUSION.sample(200, 16, random_state=5)
    assert inverter.out_of_domain(A).mean() < 0.02
    assert inverter.out_of_domain(Uniform().sample(200, 16, random_state=5)).all()


def test_a_fitted_start_survives_files_and_pickles(tmp_path):
    X = DIFFUSION.sample(100, 16, random_state=0)
    inverter = NeuralMatrixInverter(**BRIEFLY).fit(X)
    inverter.save_pretrained(tmp_path / "model")
    copies = [NeuralMatrixInverter.from_pretrained(tmp_path / "model"), pickle.loads(pickle.dumps(inverter))]
    for one in copies:
        np.testing.assert_array_equal(one.transform(X), inverter.transform(X))
        assert (one.start_, one.n_atoms_) == (inverter.start_, inverter.n_atoms_)
        assert one.gain_ == inverter.gain_


def test_training_moves_the_start_and_never_loses():
    X = Covariance(np.diag(np.logspace(0, -2, 8)), 16).sample(200, 8, random_state=0)
    settings = BRIEFLY | {"max_epochs": 0}, BRIEFLY
    alone, trained = (NeuralMatrixInverter(start="family", **given).fit(X) for given in settings)
    assert trained.best_loss_ <= alone.best_loss_
    assert trained.first_loss_ == pytest.approx(alone.best_loss_, rel=1e-4)


def test_the_gain_is_told(capsys):
    X = Affine.diffusion(6).sample(200, 36, random_state=0)
    gain = NeuralMatrixInverter(verbose=1, **ALONE).fit(X).gain_
    assert gain["n_matrices"] == 20
    assert gain["trained"]["0.01"]["products"][0] < gain["untrained"]["0.01"]["products"][0]
    assert gain["trained"]["0.01"]["operations"][0] < gain["untrained"]["0.01"]["operations"][0]
    assert "untrained" in capsys.readouterr().out.splitlines()[-1]
    assert NeuralMatrixInverter(block="feedback", matrix_size=2, **ALONE).fit().gain_ is None


def test_partial_fit_follows_a_family():
    families = (GaussianProcessKernel("line", length_scales=scales) for scales in ((0.3, 0.5), (0.2, 0.3)))
    X, drifted = (family.sample(200, 12, random_state=0) for family in families)
    inverter = NeuralMatrixInverter(**BRIEFLY | {"max_epochs": 0, "start": "family"}).fit(X)
    before = inverter.score(drifted), inverter.out_of_domain(drifted).mean()
    for _ in range(3):
        inverter.partial_fit(drifted)
    assert inverter.out_of_domain(drifted).mean() <= before[1]
    assert inverter.score(drifted) > before[0]


def test_a_start_for_everything_has_no_domain():
    inverter = NeuralMatrixInverter(matrix_size=3, **ALONE).fit()
    with pytest.raises(ValueError, match="start_='transpose' is for all matrices"):
        inverter.out_of_domain(np.eye(3)[None])


@pytest.mark.parametrize("layout", ["stack", "flat", "tensor"])
def test_out_of_domain_answers_in_the_container_of_X(layout):
    X = DIFFUSION.sample(40, 16, random_state=0)
    inverter = NeuralMatrixInverter(start="family", **ALONE).fit(X)
    given = {"stack": X, "flat": X.reshape(40, -1), "tensor": torch.from_numpy(X)}[layout]
    refused = inverter.out_of_domain(given)
    assert type(refused) is type(given)
    assert refused.shape == (40,)
    assert np.asarray(refused).dtype == bool


def test_what_cannot_be_fitted_is_refused():
    X = DIFFUSION.sample(5, 16, random_state=0)
    with pytest.raises(ValueError, match="needs at least 8 matrices that have an inverse"):
        NeuralMatrixInverter(start="family", **ALONE).fit(X)
    with pytest.raises(ValueError, match="for matrices of one size"):
        NeuralMatrixInverter(start="family", matrix_size=(3, 4), **ALONE).fit()
    with pytest.raises(ValueError, match="expected one of"):
        NeuralMatrixInverter(start="inverse", **ALONE).fit(X)


@pytest.mark.parametrize("members", [np.zeros((50, 16, 16)), DIFFUSION.sample(1, 16, random_state=9)])
def test_few_or_singular_members_do_not_move_the_guard(members):
    start = _start_of(DIFFUSION, IDENTITY)
    guarded = copy.deepcopy(start)
    adapt(guarded, normalized(torch.from_numpy(members))[0])
    assert (guarded.bound, guarded.margin) == (start.bound, start.margin)


def test_a_constant_alone_is_for_tight_families():
    start = FamilyStart(4, n_atoms=0, n_places=0)
    theirs = torch.ones(100, dtype=torch.float64)
    set_guard(start, 0.5 * theirs, theirs)
    assert start.bound > 0
    set_guard(start, torch.linspace(0.1, 0.9, 100, dtype=torch.float64), theirs)
    assert start.bound == 0


def test_one_family_for_several_sizes_is_not_chosen():
    X = DIFFUSION.sample(100, 16, random_state=0)
    assert NeuralMatrixInverter(matrix_size=(16, 20), **ALONE).fit(X).start_ == "transpose"


@pytest.mark.parametrize("name", ["module__start", "module__n_atoms"])
def test_the_start_is_set_by_parameters_alone(name):
    with pytest.raises(ValueError, match=f"net_params sets '{name}'"):
        NeuralMatrixInverter(matrix_size=3, net_params={name: 1}, **ALONE).fit()


def test_a_start_is_not_fitted_to_a_network_that_began_without():
    X = DIFFUSION.sample(40, 16, random_state=0)
    inverter = NeuralMatrixInverter(start="transpose", warm_start=True, **ALONE).fit(X)
    with pytest.raises(ValueError, match="warm_start=False"):
        inverter.set_params(start="family").fit(X)


def test_few_members_are_warned_of():
    X = DIFFUSION.sample(20, 16, random_state=0)
    with pytest.warns(ConvergenceWarning, match="little to learn from 20 matrices"):
        NeuralMatrixInverter(start="family", **ALONE).fit(X)


# Cost


def test_steps_are_those_after_which_the_iteration_is_there():
    A = normalized(stack_of("well", 50, 6))[0]
    steps = steps_to(A, [1e-1, 1e-4], Iteration(TRANSPOSE))
    assert (steps[0] <= steps[1]).all()
    for goal, needed in zip((1e-1, 1e-4), steps, strict=True):
        for n in range(1, 5):
            norms = matrix_norm(residual(A, iterate(A, n)))
            assert (norms[needed <= n] <= 1.01 * goal).all()


def test_a_tolerance_out_of_reach_costs_infinitely():
    iteration = Iteration(TRANSPOSE)
    steps = steps_to(torch.zeros(2, 3, 3), [1e-2], iteration)
    assert iteration.products(steps).isinf().all()
    assert iteration.operations(steps, 3).isinf().all()


def test_a_network_costs_what_its_start_and_steps_cost():
    network = InverterResNet(depth=3, width=4)
    A = normalized(stack_of("well", 30, 5, dtype=torch.float32))[0]
    assert torch.equal(network_steps_to(network.core, A, [1e-2]), steps_to(A, [1e-2], Iteration(TRANSPOSE)))


def test_the_scorer_takes_pipelines_and_flat_stacks_and_refuses_others():
    from sklearn.pipeline import make_pipeline

    from skdmi import ExactInverter

    X = DIFFUSION.sample(50, 16, random_state=0)
    inverter = NeuralMatrixInverter(**ALONE).fit(X)
    score = neg_mean_operations(inverter, X)
    assert score == neg_mean_operations(inverter, X.reshape(50, -1)) == neg_mean_operations(make_pipeline(inverter), X)
    assert score >= neg_mean_operations(inverter, X, tolerance=1e-6)
    with pytest.raises(TypeError, match="block 'polynomial'"):
        neg_mean_operations(ExactInverter(), X)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_of_kernels_a_family_start_halves_the_products(seed):
    points = tuple(map(tuple, np.random.default_rng(seed).random((32, 2))))
    family = GaussianProcessKernel(points)
    inverter = NeuralMatrixInverter(**ALONE).fit(family.sample(300, 32, random_state=seed))
    A = family.sample(1000, 32, random_state=seed + 10)
    assert inverter.start_ == "family"
    plain = NeuralMatrixInverter(start="identity", matrix_size=32, **ALONE).fit()
    scaled = normalized(torch.from_numpy(A).float())[0]
    steps = [network_steps_to(one.module_.core, scaled, [1e-2])[0] for one in (inverter, plain)]
    starts = (one.module_.core.start for one in (inverter, plain))
    products = [Iteration(start).products(n).quantile(0.95) for start, n in zip(starts, steps, strict=True)]
    assert products[0] <= products[1] / 2
    assert frobenius_residuals(A, inverter.transform(A)).max() < 1
