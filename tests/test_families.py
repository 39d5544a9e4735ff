"""Laws of the distributions that describe a family of matrices: what every member of it keeps."""

import json
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.gaussian_process.kernels import RBF, Matern, RationalQuadratic

from skdmi.distributions import (
    Affine,
    Covariance,
    DeltaRule,
    GaussianProcessKernel,
    KroneckerChannel,
    Members,
    Mixture,
    Uniform,
    from_dict,
)
from skdmi.distributions.kernels import KERNELS
from tests.matrices import make_stack

few = settings(max_examples=12)

CORE = make_stack("spd", 1, 5)[0]
DEFINITE = [
    (GaussianProcessKernel(), 7),
    (GaussianProcessKernel("grid", list(KERNELS), length_scales=0.3), 9),
    (GaussianProcessKernel([(0.0, 1.0, 2.0), (0.2, 1.0, 1.9), (0.5, 0.5, 2.0)], noise=0.5), 3),
    (GaussianProcessKernel(np.random.default_rng(0).uniform(size=(20, 2)), ("matern32",)), 20),
    (Affine.diffusion(4), 16),
    (Affine.diffusion(3, regions=4, low=1e-2), 9),
    (Affine([np.eye(3), np.ones((3, 3))], low=(1, 0), high=(1, 5), log=False), 3),
    (Covariance(CORE), 5),
    (Covariance(CORE, degrees_of_freedom=2, ridge=0.1), 5),
    (KroneckerChannel(), 6),
    (KroneckerChannel(n_receive=3, transmit_correlation=0.9, receive_correlation=(0, 0.5), noise=0.1), 8),
]
OTHERS = [
    (Affine.advection_diffusion(4), 16),
    (DeltaRule(), 6),
    (DeltaRule((0.2, 0.99), beta=1, key_size=3), 12),
]


def named(families):
    return pytest.mark.parametrize(("family", "m"), families, ids=[repr(family) for family, _ in families])


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def is_symmetric(stack):
    return bool((stack == stack.transpose(0, 2, 1)).all())


# What every family promises


@named(DEFINITE + OTHERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_family_draws_the_same_from_the_same_state(family, m, dtype):
    first, second = (family(30, m, generator=seeded(1), dtype=dtype) for _ in range(2))
    assert first.shape == (30, m, m)
    assert first.dtype == dtype
    assert first.isfinite().all()
    assert torch.equal(first, second)
    assert not torch.equal(first, family(30, m, generator=seeded(2), dtype=dtype))
    assert len({matrix.numpy().tobytes() for matrix in first}) == 30
    assert family(0, m, generator=seeded()).shape == (0, m, m)


@named(DEFINITE)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_said_to_be_positive_definite_is_so_and_symmetric_in_bits(family, m, dtype):
    stack = family(200, m, generator=seeded(), dtype=dtype).numpy()
    assert is_symmetric(stack)
    assert np.linalg.eigvalsh(stack.astype(float)).min() > 0


@named(DEFINITE + OTHERS)
def test_a_family_is_a_value_that_json_holds_and_a_line_shows(family, m):
    del m
    twin = from_dict(json.loads(json.dumps(family.to_dict())))
    assert twin == family
    assert hash(twin) == hash(family)
    assert pickle.loads(pickle.dumps(family)) == family
    assert len(repr(family)) < 200
    assert family.bind(make_stack()) is family
    assert not family.uses_data


def test_repr_counts_what_it_does_not_show():
    assert repr(Affine.diffusion(6)) == "Affine(matrices=<4 x 36 x 36 numbers>)"
    assert repr(Affine([[[2]]], low=1)) == "Affine(matrices=(((2,),),), low=1)"
    assert repr(GaussianProcessKernel(list(range(17)))) == "GaussianProcessKernel(points=<17 numbers>)"
    with pytest.raises(ValueError, match=r"Covariance got core=<6 x 7 numbers>; expected a sequence of m rows of m"):
        Covariance(np.ones((6, 7)))


@pytest.mark.parametrize(
    ("kind", "parameters", "message"),
    [
        (GaussianProcessKernel, {"points": "circle"}, r"points='circle'; expected \"line\", \"grid\", or a sequence"),
        (GaussianProcessKernel, {"points": [[0, 1], [2]]}, r"points=\(\(0, 1\), \(2,\)\); expected"),
        (GaussianProcessKernel, {"points": [0, np.nan]}, "points="),
        (GaussianProcessKernel, {"points": ["0", "1"]}, "points="),
        (GaussianProcessKernel, {"points": 3}, "points=3"),
        (GaussianProcessKernel, {"points": []}, "points="),
        (GaussianProcessKernel, {"kernels": "rbf"}, "kernels='rbf'; expected a sequence of names among .*'matern12'"),
        (GaussianProcessKernel, {"kernels": ["linear"]}, "kernels="),
        (GaussianProcessKernel, {"kernels": []}, "kernels="),
        (GaussianProcessKernel, {"length_scales": 0}, r"length_scales=0; expected a number or a pair .*, above 0"),
        (GaussianProcessKernel, {"length_scales": (1, 0.5)}, "length_scales="),
        (GaussianProcessKernel, {"noise": (0, 1)}, "noise=.*, above 0; or 0"),
        (GaussianProcessKernel, {"noise": "low"}, "noise='low'"),
        (Affine, {"matrices": [[1, 2], [3, 4]]}, "expected a sequence of matrices of finite numbers, all m x m"),
        (Affine, {"matrices": [[[1, 2]]]}, "matrices="),
        (Affine, {"matrices": "eye"}, "matrices='eye'"),
        (Affine, {"matrices": [np.eye(2), np.eye(3)]}, "matrices="),
        (Affine, {"matrices": [np.eye(2)], "low": (1, 2)}, "low=.*; expected a finite number, or one for each of 1"),
        (Affine, {"matrices": [np.eye(2)], "high": None}, "high=None"),
        (Affine, {"matrices": [np.eye(2)], "low": -1}, "low=-1; expected numbers above 0, or log=False"),
        (Affine, {"matrices": [np.eye(2)] * 2, "low": 2, "high": (3, 1)}, "high=.*; expected at least low=2"),
        (Affine, {"matrices": [np.eye(2)], "log": 1}, "log=1; expected True or False"),
        (Affine.diffusion, {"side": 0}, "side=0; expected an integer of at least 1"),
        (Affine.diffusion, {"side": 2, "regions": 4}, "regions=4; expected at most side . 1, which is 3"),
        (Affine.advection_diffusion, {"side": 2.0}, "side=2.0"),
        (Affine.advection_diffusion, {"side": 2, "time_step": [0, 1]}, "time_step=.*, above 0"),
        (Covariance, {"core": 1}, "core=1"),
        (Covariance, {"core": [[1, 2], [3, 4]]}, "core=.*; expected a symmetric positive definite matrix"),
        (Covariance, {"core": [[1, 2], [2, 1]]}, "core="),
        (Covariance, {"core": np.eye(3), "degrees_of_freedom": 2}, "degrees_of_freedom=2; expected at least 3"),
        (Covariance, {"core": np.eye(3), "ridge": -1}, "ridge=-1"),
        (KroneckerChannel, {"n_receive": 0}, "n_receive=0"),
        (KroneckerChannel, {"transmit_correlation": 1}, "transmit_correlation=1; .* at least 0 and below 1"),
        (KroneckerChannel, {"receive_correlation": (-0.5, 0.5)}, "receive_correlation="),
        (KroneckerChannel, {"noise": -1}, "noise=-1"),
        (DeltaRule, {"key_correlation": (0, 1)}, "key_correlation="),
        (DeltaRule, {"beta": 3}, "beta=3; .*, from 0 to 2"),
        (DeltaRule, {"beta": (0.1, 0.5, 1)}, "beta="),
        (DeltaRule, {"key_size": 1.5}, "key_size=1.5"),
    ],
)  # fmt: skip
def test_a_wrong_parameter_of_a_family_is_named(kind, parameters, message):
    with pytest.raises(ValueError, match=message):
        kind(**parameters)


@pytest.mark.parametrize(
    ("family", "m", "message"),
    [
        (GaussianProcessKernel([0, 1]), 3, "expected as many points as matrix_size=3, not 2"),
        (GaussianProcessKernel("grid"), 8, "points='grid'; expected what has 8 points; a grid has a square of them"),
        (Affine.diffusion(2), 5, "matrix_size=5; expected 4, the size of the matrices of Affine"),
        (Covariance(CORE), 3, "matrix_size=3; expected 5, the size of the core of Covariance"),
        (KroneckerChannel(n_receive=3, noise=0), 4, r"n_receive=3; expected at least matrix_size=4 \(or noise > 0\)"),
    ],
)
def test_a_size_that_the_family_does_not_have_is_refused(family, m, message):
    with pytest.raises(ValueError, match=message):
        family.sample(2, m)


# Each family


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("rbf", RBF(0.3)),
        ("matern12", Matern(0.3, nu=0.5)),
        ("matern32", Matern(0.3, nu=1.5)),
        ("matern52", Matern(0.3, nu=2.5)),
        ("rational-quadratic", RationalQuadratic(0.3, alpha=1)),
    ],
)
def test_kernels_are_those_of_scikit_learn(name, reference):
    X = np.random.default_rng(0).uniform(size=(12, 2))
    A = GaussianProcessKernel(X, [name], length_scales=0.3, noise=0.01).sample(1, 12)[0]
    np.testing.assert_allclose(A, reference(X) + 0.01 * np.eye(12), atol=1e-14)


def test_regular_points_are_in_order():
    line = GaussianProcessKernel("line", ["matern12"], length_scales=1, noise=0)
    np.testing.assert_allclose(-np.log(line.sample(1, 5)[0, 0]), [0, 0.25, 0.5, 0.75, 1], atol=1e-15)
    grid = GaussianProcessKernel("grid", ["matern12"], length_scales=1, noise=0)
    np.testing.assert_allclose(-np.log(grid.sample(1, 4)[0, 0]), [0, 1, 1, 2**0.5], atol=1e-15)
    assert line.sample(3, 1).shape == grid.sample(3, 1).shape == (3, 1, 1)


def test_hyperparameters_are_log_uniform_and_every_kernel_is_drawn():
    noise = GaussianProcessKernel(noise=(1e-4, 1)).sample(3000, 2, random_state=0)[:, 0, 0] - 1
    assert stats.kstest(noise, stats.loguniform(1e-4, 1).cdf).pvalue > 0.01
    scale = -1 / np.log(GaussianProcessKernel("line", ["matern12"]).sample(3000, 2, random_state=0)[:, 0, 1])
    assert stats.kstest(scale, stats.loguniform(0.1, 1).cdf).pvalue > 0.01
    several = GaussianProcessKernel(kernels=list(KERNELS), length_scales=1)
    values, counts = np.unique(several.sample(1000, 2, random_state=0)[:, 0, 1], return_counts=True)
    assert len(values) == len(KERNELS)
    assert counts.min() > 150


@few
@given(log=st.booleans(), n_terms=st.integers(1, 4), m=st.integers(2, 5), seed=st.integers(0, 100))
def test_affine_matrices_are_the_sums_with_coefficients_in_range(log, n_terms, m, seed):
    matrices = make_stack("uniform", n_terms, m, seed=seed)
    low, high = np.linspace(0.1, 2, n_terms), np.linspace(3, 2, n_terms)
    stack = Affine(matrices, low, high, log=log).sample(20, m, random_state=seed)
    mu, *_ = np.linalg.lstsq(matrices.reshape(n_terms, -1).T, stack.reshape(20, -1).T, rcond=None)
    assert ((mu.T - low) > -1e-6).all()
    assert ((high - mu.T) > -1e-6).all()
    np.testing.assert_allclose(np.einsum("kn,kij->nij", mu, matrices), stack, atol=1e-9)


@pytest.mark.parametrize(("log", "law"), [(True, stats.loguniform(0.5, 4)), (False, stats.uniform(0.5, 3.5))])
def test_coefficients_have_the_law_that_is_named(log, law):
    mu = Affine([[[1.0]]], 0.5, 4, log=log).sample(3000, 1, random_state=0).ravel()
    assert stats.kstest(mu, law.cdf).pvalue > 0.01


def test_equal_ends_fix_a_coefficient_in_bits():
    for log in (True, False):
        assert (Affine([[[1.0]]], 0.3, 0.3, log=log).sample(9, 1) == 0.3).all()


@few
@given(side=st.integers(1, 6), regions=st.integers(1, 7))
def test_diffusion_of_equal_conductivities_is_the_five_point_stencil(side, regions):
    regions = min(regions, side + 1)
    family = Affine.diffusion(side, regions=regions, low=1, high=1)
    second = 2 * np.eye(side) - np.eye(side, k=1) - np.eye(side, k=-1)
    expected = np.kron(second, np.eye(side)) + np.kron(np.eye(side), second)
    assert np.array_equal(family.sample(1, side**2)[0], expected)
    matrices = np.array(family.matrices)
    assert len(matrices) == regions**2
    assert np.linalg.eigvalsh(matrices).min() > -1e-12
    # Nothing flows where nothing differs: only nodes at the boundary lose what they have.
    inner = np.zeros((side, side), dtype=bool)
    inner[1:-1, 1:-1] = True
    assert (matrices.sum(axis=2)[:, inner.ravel()] == 0).all()


def test_advection_diffusion_is_unsymmetric_with_a_nonnegative_inverse():
    stack = Affine.advection_diffusion(5).sample(200, 25, random_state=0)
    off = stack * (1 - np.eye(25))
    assert (off <= 0).all()
    assert not np.allclose(stack, stack.transpose(0, 2, 1), rtol=1e-3)
    assert np.linalg.inv(stack).min() > -1e-12
    # A constant is only lost by flow over the boundary and by the step in time.
    assert (stack.sum(axis=2) > 0).all()


def test_sample_covariances_gather_around_their_core():
    stack = Covariance(CORE, degrees_of_freedom=10_000, ridge=0.5).sample(100, 5, random_state=0)
    np.testing.assert_allclose(stack, np.broadcast_to(CORE + 0.5 * np.eye(5), stack.shape), atol=0.15)
    np.testing.assert_allclose(stack.mean(0), CORE + 0.5 * np.eye(5), atol=0.02)
    # In the coordinates of the core they are Wishart matrices: diagonal entries are chi squared.
    root = np.linalg.inv(np.linalg.cholesky(CORE))
    whitened = root @ Covariance(CORE, 7).sample(2000, 5, random_state=0) @ root.T
    assert stats.kstest(7 * whitened[:, 2, 2], stats.chi2(7).cdf).pvalue > 0.01


def test_channels_have_the_correlations_of_their_transmitters():
    family = KroneckerChannel(n_receive=8, transmit_correlation=0.8, receive_correlation=0.3, noise=0.1)
    expected = 0.8 ** np.abs(np.subtract.outer(np.arange(4), np.arange(4))) + 0.1 * np.eye(4)
    np.testing.assert_allclose(family.sample(20_000, 4, random_state=0).mean(0), expected, atol=0.02)
    free = KroneckerChannel(8, 0, 0, 0).sample(2000, 4, random_state=0)
    assert stats.kstest(8 * free[:, 1, 1], stats.chi2(8).cdf).pvalue > 0.01
    # Correlated receivers count as fewer: the power received varies more.
    near = KroneckerChannel(8, 0, 0.9, 0).sample(2000, 4, random_state=0)
    assert near[:, 1, 1].var() > 2 * free[:, 1, 1].var()


@few
@given(m=st.integers(1, 10), key_size=st.one_of(st.none(), st.integers(1, 20)), correlation=st.sampled_from([0, 0.9]))
def test_chunks_of_the_delta_rule_are_unit_lower_triangular_and_bounded_by_their_rates(m, key_size, correlation):
    for dtype in (torch.float32, torch.float64):
        family = DeltaRule(correlation, beta=(0.2, 0.5), key_size=key_size)
        stack = family(20, m, generator=seeded(), dtype=dtype).numpy()
        assert np.array_equal(stack, np.tril(stack))
        assert (stack.diagonal(axis1=1, axis2=2) == 1).all()
        assert np.abs(np.tril(stack, -1)).max() <= 0.5 * (1 + 1e-5)


def test_neighbouring_keys_have_the_correlation_that_is_asked_for():
    stack = DeltaRule(0.9, beta=1, key_size=500).sample(200, 6, random_state=0)
    for apart in range(1, 6):
        np.testing.assert_allclose(stack.diagonal(-apart, axis1=1, axis2=2).mean(0), 0.9**apart, atol=0.02)


# Members of data, and pairs of them


def pairs_of(X, n_matrices=300, pairs=1.0):
    return Members(pairs).bind(X).sample(n_matrices, X.shape[1], random_state=0)


@pytest.mark.parametrize("kind", ["uniform", "well", "condition", "spd", "orthogonal", "graded", "singular", "zero"])
@few
@given(m=st.integers(1, 6), n_members=st.integers(1, 12), seed=st.integers(0, 100))
def test_no_pair_is_worse_conditioned_than_the_worst_member(kind, m, n_members, seed):
    X = make_stack(kind, n_members, m, seed=seed)
    stack = pairs_of(X, 100)
    assert np.isfinite(stack).all()
    with np.errstate(all="ignore"):
        worst = np.linalg.cond(X).max()
        found = np.linalg.cond(stack).max()
    assert found <= worst * (1 + 1e-12 * worst) or not worst < 1e12


@few
@given(n_members=st.integers(2, 5), seed=st.integers(0, 100), spread=st.sampled_from([1.0, 10.0, 1e5]))
def test_every_matrix_lies_between_two_members(n_members, seed, spread):
    rng = np.random.default_rng(seed)
    X = make_stack("uniform", n_members, 4, seed=seed) * spread ** rng.uniform(-1, 1, (n_members, 1, 1))
    for A in pairs_of(X, 50):
        # Nine or more entries decide the weights of at most five members.
        weights, *_ = np.linalg.lstsq(X.reshape(n_members, -1).T, A.ravel(), rcond=None)
        assert weights.min() > -1e-6
        assert weights.sum() == pytest.approx(1)
        assert (weights > 1e-6).sum() <= 2 or spread > 10


def test_members_of_any_norm_have_equal_parts_in_a_pair():
    X = np.array([np.diag([1e-4, 0.0]), np.diag([0.0, 1e4])]) + 1e-12 * np.eye(2)
    stack = pairs_of(X, 2000)
    share = stack[:, 0, 0] / (stack[:, 0, 0] + stack[:, 1, 1])
    assert stats.kstest(share, "uniform").statistic < 0.05


def test_what_convex_combinations_keep_is_kept_in_bits():
    lower = np.tril(make_stack("uniform", 6, 5), -1) + np.eye(5)
    symmetric = make_stack("uniform", 6, 5) + make_stack("uniform", 6, 5).transpose(0, 2, 1)
    rows = np.arange(5)
    toeplitz = np.random.default_rng(0).uniform(-1, 1, (6, 9))[:, rows[:, None] - rows + 4]
    for dtype in (torch.float32, torch.float64):
        for X in (lower, symmetric, toeplitz):
            stack = Members(1).bind(X)(200, 5, generator=seeded(), dtype=dtype).numpy()
            if X is lower:
                assert np.array_equal(stack, np.tril(stack))
                np.testing.assert_allclose(stack.diagonal(axis1=1, axis2=2), 1, rtol=4 * np.finfo(stack.dtype).eps)
            elif X is symmetric:
                assert is_symmetric(stack)
            else:
                assert np.array_equal(stack[:, 1:, 1:], stack[:, :-1, :-1])


@few
@given(m=st.integers(1, 8), seed=st.integers(0, 100), spread=st.sampled_from([0, 3, 100]))
def test_positive_definite_stays_positive_definite(m, seed, spread):
    X = make_stack("spd", 7, m, seed=seed) * 10.0 ** np.linspace(-spread, spread, 7)[:, None, None]
    bound = Members(1).bind(X)
    assert (bound._pool.low == 0).all()
    assert (bound._pool.high == 1).all()
    stack = bound.sample(100, m, random_state=seed)
    assert is_symmetric(stack)
    assert np.linalg.eigvalsh(stack).min() > 0


def test_members_are_replayed_in_bits_at_their_share():
    X = make_stack("spd", 6)
    X[0, 0, 1] = X[0, 1, 0] = -0.0
    known = {matrix.tobytes() for matrix in X}
    assert {matrix.tobytes() for matrix in pairs_of(X, pairs=0)} == known
    replayed = sum(matrix.tobytes() in known for matrix in pairs_of(X, 4000, 0.75))
    assert stats.binomtest(replayed, 4000, 0.25).pvalue > 0.001


def test_pairs_are_endless_unless_they_would_be_worse():
    assert len({matrix.tobytes() for matrix in pairs_of(make_stack("spd", 3), 1000)}) == 1000
    X = make_stack("orthogonal", 5)
    np.testing.assert_allclose(np.linalg.svd(pairs_of(X), compute_uv=False), 1, rtol=1e-9)


def test_one_member_and_twins_are_replayed():
    for X in (make_stack("well", 1), np.repeat(make_stack("well", 1), 3, axis=0)):
        np.testing.assert_allclose(pairs_of(X), np.broadcast_to(X[0], (300, 3, 3)), rtol=1e-15)


def test_bound_members_are_a_sampler_like_any_other():
    X = make_stack("spd", 5)
    bound, before = Members().bind(X), X.copy()
    first = bound(20, 3, generator=seeded())
    X[:] = 0
    assert bound.uses_data
    assert Members().uses_data
    assert repr(bound) == "<Members() bound to 5 3 x 3 matrices>"
    assert torch.equal(first, bound(20, 3, generator=seeded()))
    assert torch.equal(first, Members().bind(before)(20, 3, generator=seeded()))
    twin = pickle.loads(pickle.dumps(bound))
    assert twin._moved == {}
    assert torch.equal(first, twin(20, 3, generator=seeded()))
    mixed = Mixture([Members(), Uniform()]).bind(before)
    assert mixed.uses_data
    assert mixed.sample(10, 3, random_state=0).shape == (10, 3, 3)


def test_members_say_what_is_wrong():
    X = make_stack("spd")
    with pytest.raises(ValueError, match=r"Members\(\) makes matrices from data and has none. Give X to fit"):
        Members().sample(1, 3)
    with pytest.raises(ValueError, match="matrix_size=4; expected 3, the size of the matrices of X"):
        Members().bind(X).sample(1, 4)
    with pytest.raises(ValueError, match=r"expected a stack \(n_matrices, m, m\)"):
        Members().bind(np.eye(3))
    with pytest.raises(ValueError, match=r"X has entries that torch\.float64 cannot hold"):
        Members().bind(np.full((2, 3, 3), np.nan))
    with pytest.raises(ValueError, match=r"X has entries that torch\.float32 cannot hold"):
        Members().bind(1e300 * X)(1, 3, generator=seeded())
    assert np.isfinite(Members().bind(1e300 * X).sample(9, 3, random_state=0)).all()
