"""Laws of the distributions: what is drawn, from which randomness, and that a distribution is a plain value."""

import copy
import json
import math
import pickle
from dataclasses import FrozenInstanceError, dataclass
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.base import clone
from sklearn.preprocessing import FunctionTransformer

from skdmi import distributions
from skdmi.distributions import (
    DeltaRule,
    DiagonallyDominant,
    Distribution,
    GaussianProcessKernel,
    Graded,
    KroneckerChannel,
    Members,
    Mixture,
    Normal,
    Resampled,
    Singular,
    Spectrum,
    Toeplitz,
    Uniform,
    Wishart,
    from_dict,
)
from skdmi.distributions.rejection import abs_determinants, draw_filtered
from skdmi.distributions.spectrum import LAWS
from skdmi.linalg import haar_orthogonal
from tests.matrices import make_stack

DATA_FREE = [
    Uniform(),
    Uniform(low=0, high=5, min_abs_det=0.1, max_cond=1000.0),
    Normal(mean=0.5, std=2.0, max_cond=1e4),
    Wishart(),
    Wishart(degrees_of_freedom=2, ridge=0.5),
    Toeplitz(),
    Toeplitz(symmetric=True),
    DiagonallyDominant(dominance=1.5),
    *[Spectrum(law, symmetric=symmetric) for law in LAWS for symmetric in (False, True)],
    Graded(),
    Singular(),
    Singular(rank=0),
    GaussianProcessKernel(kernels=("rbf", "matern12"), noise=0.1),
    KroneckerChannel(),
    DeltaRule(beta=(0.5, 1.0)),
    Mixture((Uniform(), Mixture((Graded(), Singular()), weights=(1, 0.5)))),
]


def seeded(seed=0, device="cpu"):
    return torch.Generator(device).manual_seed(seed)


def is_symmetric(stack):
    return bool((stack == stack.transpose(0, 2, 1)).all())


def exact_rank(matrix):
    """The rank of an integer matrix, by elimination over the rationals."""
    rows = [[Fraction(int(entry)) for entry in row] for row in matrix]
    rank = 0
    for column in range(len(rows)):
        pivot = next((i for i in range(rank, len(rows)) if rows[i][column]), None)
        if pivot is None:
            continue
        rows[rank], rows[pivot] = rows[pivot], rows[rank]
        for i in range(rank + 1, len(rows)):
            factor = rows[i][column] / rows[rank][column]
            rows[i] = [a - factor * b for a, b in zip(rows[i], rows[rank], strict=True)]
        rank += 1
    return rank


# What every distribution promises


def check_stack_of(distribution, device, dtype):
    for n_matrices, m in [(0, 3), (1, 1), (7, 2), (20, 3), (5, 6)]:
        stack = distribution(n_matrices, m, generator=seeded(0, device), device=device, dtype=dtype)
        assert stack.shape == (n_matrices, m, m)
        assert stack.dtype == dtype
        assert stack.device.type == device
        assert stack.is_contiguous()
        assert stack.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("distribution", DATA_FREE, ids=repr)
def test_stack_has_the_asked_shape_and_dtype(distribution, dtype):
    check_stack_of(distribution, "cpu", dtype)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_stack_is_drawn_on_the_device_of_the_generator():
    for distribution in DATA_FREE:
        check_stack_of(distribution, "cuda", torch.float32)
    for bound in (Resampled().bind(make_stack()), Members().bind(make_stack())):
        assert bound(5, 3, generator=seeded(0, "cuda"), device="cuda").is_cuda


@pytest.mark.parametrize(
    "distribution", [*DATA_FREE, Resampled().bind(make_stack()), Members().bind(make_stack())], ids=repr
)
def test_same_generator_state_same_matrices_and_nothing_global_is_touched(distribution):
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002
    first = distribution(9, 3, generator=seeded(4))
    second = distribution(9, 3, generator=seeded(4))
    third = distribution(9, 3, generator=seeded(5))
    sampled = distribution.sample(9, 3, random_state=4)
    assert torch.equal(first, second)
    assert not torch.equal(first, third) or distribution == Singular(rank=0)
    assert torch.equal(torch_state, torch.get_rng_state())
    assert np.array_equal(numpy_state[1], np.random.get_state()[1])  # noqa: NPY002
    assert sampled.dtype == np.float64
    assert np.array_equal(sampled, distribution.sample(9, 3, random_state=4))


@pytest.mark.parametrize("distribution", DATA_FREE, ids=repr)
def test_the_generator_advances(distribution):
    generator = seeded()
    first, second = distribution(50, 3, generator=generator), distribution(50, 3, generator=generator)
    assert not torch.equal(first, second) or distribution == Singular(rank=0)


def test_random_state_is_scikit_learns():
    random_state = np.random.RandomState(3)
    first, second = Uniform().sample(2, 3, random_state=random_state), Uniform().sample(2, 3, random_state=random_state)
    assert not np.array_equal(first, second)
    assert np.array_equal(first, Uniform().sample(2, 3, random_state=np.random.RandomState(3)))
    assert Uniform().sample(2, 3).shape == (2, 3, 3)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"n_matrices": -1}, ValueError, "n_matrices=-1; expected an integer of at least 0"),
        ({"matrix_size": 0}, ValueError, "matrix_size=0; expected an integer of at least 1"),
        ({"matrix_size": 2.0}, ValueError, "matrix_size=2.0"),
        ({"dtype": torch.float16}, ValueError, "dtype=torch.float16; expected one of"),
        ({"generator": None}, TypeError, "generator=None; expected a torch.Generator"),
    ],
)
def test_wrong_arguments_of_a_draw(arguments, error, message):
    with pytest.raises(error, match=message):
        Uniform()(**{"n_matrices": 2, "matrix_size": 2, "generator": seeded()} | arguments)


# A distribution is a value


@pytest.mark.parametrize(
    "distribution", [*DATA_FREE, Resampled(), Resampled(augment=["sign"], jitter=0), Members(0.5)], ids=repr
)
def test_a_distribution_is_a_plain_value(distribution):
    assert from_dict(json.loads(json.dumps(distribution.to_dict()))) == distribution
    assert eval(repr(distribution), vars(distributions)) == distribution
    for twin in (
        copy.deepcopy(distribution),
        pickle.loads(pickle.dumps(distribution)),
        clone(distribution, safe=False),
    ):
        assert twin == distribution
        assert hash(twin) == hash(distribution)
        assert repr(twin) == repr(distribution)
    assert not hasattr(distribution, "fit")
    assert not hasattr(distribution, "get_params")
    with pytest.raises(FrozenInstanceError):
        distribution.low = 3


def test_repr_shows_what_differs_from_the_defaults():
    assert repr(Uniform()) == "Uniform()"
    assert repr(Uniform(-2, min_abs_det=0.1)) == "Uniform(low=-2, min_abs_det=0.1)"
    assert repr(Mixture([Normal(std=2)])) == "Mixture(components=(Normal(std=2),))"


def test_a_distribution_survives_the_clone_of_an_estimator_that_holds_it():
    estimator = FunctionTransformer(kw_args={"distribution": Uniform(max_cond=10)})
    assert clone(estimator).kw_args["distribution"] == Uniform(max_cond=10)


def test_numpy_numbers_and_lists_are_stored_as_plain_python():
    distribution = Mixture([Uniform(low=np.float32(0.5)), Wishart(np.int64(8))], weights=np.array([1.0, 3.0]).tolist())
    assert distribution == Mixture((Uniform(low=0.5), Wishart(8)), weights=(1.0, 3.0))
    assert type(distribution.components[1].degrees_of_freedom) is int
    json.dumps(distribution.to_dict())


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ("Uniform", "expected a dict whose 'name' is one of"),
        ({"low": 1}, "expected a dict whose 'name' is one of"),
        ({"name": "Cauchy"}, "'Cauchy'}; expected a dict whose 'name' is one of .*Uniform"),
        ({"name": ["Uniform"]}, "is one of"),
        ({"name": "Normal", "sigma": 1}, r"Normal got \(sigma\); expected \(mean, std, min_abs_det, max_cond\)"),
        ({"name": "Mixture"}, r"Mixture got \(\); expected \(components, weights\): .*'components'"),
        ({"name": "Mixture", "components": [{"name": "os.system"}]}, "'os.system'}; expected"),
        ({"name": "Uniform", "low": "__import__('os')"}, "Uniform got low="),
        ({"name": "Uniform", "low": {"name": "Normal"}}, r"Uniform got low=Normal\(\)"),
    ],
)
def test_from_dict_refuses_what_it_does_not_know(description, message):
    with pytest.raises(ValueError, match=message):
        from_dict(description)


def test_a_distribution_of_ones_own():
    @dataclass(frozen=True, repr=False)
    class ScaledIdentity(Distribution):
        scale: float = 1.0

        def _draw(self, n_matrices, matrix_size, *, generator, device, dtype):
            del generator
            return self.scale * torch.eye(matrix_size, device=device, dtype=dtype).repeat(n_matrices, 1, 1)

    assert from_dict(ScaledIdentity(2.0).to_dict()) == ScaledIdentity(2.0)
    assert np.array_equal(ScaledIdentity(2.0).sample(3, 2), np.stack([2 * np.eye(2)] * 3))
    with pytest.raises(TypeError, match="A distribution named 'Uniform' exists already"):
        type("Uniform", (Distribution,), {"__module__": __name__})


@pytest.mark.parametrize(
    ("kind", "parameters", "message"),
    [
        (Uniform, {"low": "a"}, "Uniform got low='a'; expected None or a finite number"),
        (Uniform, {"high": math.nan}, "Uniform got high=nan"),
        (Uniform, {"low": True}, "Uniform got low=True"),
        (Uniform, {"low": 1}, "Uniform got high=None; expected more than low, which is 1"),
        (Uniform, {"low": -1e308, "high": 1e308}, "Uniform got high=1e"),
        (Uniform, {"min_abs_det": -0.1}, "min_abs_det=-0.1; expected a finite number of at least 0"),
        (Normal, {"max_cond": 0.5}, "max_cond=0.5; expected None or a finite number of at least 1"),
        (Normal, {"mean": math.inf}, "mean=inf"),
        (Normal, {"std": 0}, "std=0; expected a finite number above 0"),
        (Wishart, {"degrees_of_freedom": 0}, "degrees_of_freedom=0"),
        (Wishart, {"degrees_of_freedom": 2.5}, "degrees_of_freedom=2.5; expected None or an integer"),
        (Wishart, {"ridge": -1}, "ridge=-1"),
        (Toeplitz, {"low": 2}, "high=1.0; expected a finite number above 2"),
        (Toeplitz, {"low": None}, "low=None"),
        (Toeplitz, {"symmetric": "yes"}, "symmetric='yes'; expected True or False"),
        (DiagonallyDominant, {"dominance": 1}, "dominance=1; expected a finite number above 1"),
        (Spectrum, {"law": "cauchy"}, "law='cauchy'; expected one of .*'log-uniform'"),
        (Spectrum, {"max_cond": 0.9}, "max_cond=0.9"),
        (Spectrum, {"law": "laplace", "max_cond": 10}, "max_cond=10; expected None, since law='laplace'"),
        (Spectrum, {"symmetric": 1}, "symmetric=1"),
        (Graded, {"max_grade": 0}, "max_grade=0"),
        (Singular, {"rank": -1}, "rank=-1"),
        (Mixture, {"components": ()}, r"components=\(\); expected a sequence of at least one"),
        (Mixture, {"components": Uniform()}, r"components=Uniform\(\); expected a sequence"),
        (Mixture, {"components": [Uniform]}, "not a class"),
        (Mixture, {"components": [Uniform()], "weights": [1, 2]}, r"weights=\(1, 2\); expected None or 1 finite"),
        (Mixture, {"components": [Uniform()], "weights": [0]}, "not all 0"),
        (Mixture, {"components": [Uniform()], "weights": 1}, "weights=1"),
        (Resampled, {"augment": ("rotate",)}, r"augment=\('rotate',\); expected a sequence of names among \('permute'"),
        (Resampled, {"augment": "sign"}, "augment='sign'"),
        (Resampled, {"jitter": -1}, "jitter=-1"),
        (Members, {"pairs": 1.5}, "Members got pairs=1.5; expected a number from 0 to 1"),
    ],
)
def test_a_wrong_parameter_is_named_with_its_value_and_what_is_allowed(kind, parameters, message):
    with pytest.raises(ValueError, match=message):
        kind(**parameters)


# Independent entries


def test_uniform_entries_are_uniform():
    entries = Uniform(-3, 2).sample(5000, 2, random_state=0).ravel()
    assert entries.min() >= -3
    assert entries.max() <= 2
    assert stats.kstest(entries, stats.uniform(-3, 5).cdf).pvalue > 0.01


def test_normal_entries_are_normal():
    entries = Normal(1, 3).sample(5000, 2, random_state=0).ravel()
    assert stats.kstest(entries, stats.norm(1, 3).cdf).pvalue > 0.01


@pytest.mark.parametrize(("low", "high"), [(None, None), (-9, None), (None, 9)])
def test_uniform_takes_its_open_ends_from_the_data(low, high):
    X = make_stack("uniform", 20)
    distribution = Uniform(low, high, max_cond=1e3)
    expected = Uniform(X.min() if low is None else low, X.max() if high is None else high, max_cond=1e3)
    assert distribution.bind(X) == expected
    assert not distribution.uses_data
    assert from_dict(distribution.bind(X).to_dict()) == expected
    assert (distribution.low, distribution.high) == (low, high)


def test_uniform_cannot_be_bound_to_one_value_or_to_no_stack():
    with pytest.raises(ValueError, match=r"Uniform got high=0.0; expected more than low, which is 0"):
        Uniform().bind(np.zeros((2, 3, 3)))
    for shape in [(3, 3), (2, 3, 4), (0, 3, 3)]:
        with pytest.raises(ValueError, match=r"X has shape .*; expected a stack \(n_matrices, m, m\)"):
            Uniform().bind(np.zeros(shape))


@pytest.mark.parametrize("distribution", [Normal(), Wishart(), Singular()], ids=repr)
def test_binding_changes_nothing_where_no_data_is_needed(distribution):
    assert distribution.bind(make_stack()) is distribution
    assert not distribution.uses_data


@pytest.mark.parametrize("kind", [Uniform, Normal])
@pytest.mark.parametrize("m", [1, 2, 3, 5])
def test_filtered_matrices_meet_both_bounds(kind, m):
    stack = kind(min_abs_det=0.2, max_cond=12.0)(3000, m, generator=seeded()).double().numpy()
    assert stack.shape == (3000, m, m)
    assert np.abs(np.linalg.det(stack)).min() > 0.2 * (1 - 1e-12)
    assert np.linalg.cond(stack).max() <= 12 * (1 + 1e-12)


def test_the_filter_conditions_the_distribution_and_does_nothing_else():
    unfiltered = Uniform().sample(20_000, 2, random_state=0)
    chosen = unfiltered[np.abs(np.linalg.det(unfiltered)) > 0.3]
    filtered = Uniform(min_abs_det=0.3).sample(len(chosen), 2, random_state=1)
    assert stats.ks_2samp(chosen[:, 0, 1], filtered[:, 0, 1]).pvalue > 0.01


@pytest.mark.parametrize("m", [1, 2, 3, 4, 7])
def test_determinants_in_closed_form_are_those_of_lapack(m):
    stack = make_stack("uniform", 50, m)
    np.testing.assert_allclose(abs_determinants(torch.from_numpy(stack)), np.abs(np.linalg.det(stack)), rtol=1e-10)


@pytest.mark.parametrize(
    ("distribution", "message"),
    [
        (Uniform(min_abs_det=100), "matrix_size=3, 0 passed min_abs_det=100, .* Relax the filter"),
        (Uniform(min_abs_det=0.1, max_cond=1), "passed min_abs_det=0.1, and 0 of those max_cond=1;"),
    ],
)
def test_a_filter_that_cannot_be_met_says_so(distribution, message):
    with pytest.raises(ValueError, match=message):
        distribution(10, 3, generator=seeded())


def test_rejection_draws_little_more_than_it_needs_in_few_chunks():
    chunks = []

    def propose(n):
        chunks.append(n)
        return torch.rand(n, 1, 1, generator=generator)

    generator = seeded()
    stack = draw_filtered(Uniform(min_abs_det=0.5), propose, 100_000, 1)
    assert stack.shape == (100_000, 1, 1)
    assert stack.min() > 0.5
    assert len(chunks) <= 3
    assert sum(chunks) < 210_000


# Structures


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_wishart_is_exactly_symmetric_and_positive_definite_with_the_identity_as_its_mean(dtype):
    stack = Wishart()(4000, 5, generator=seeded(), dtype=dtype).numpy()
    assert is_symmetric(stack)
    assert np.linalg.eigvalsh(stack).min() > 0
    # An entry has variance (1 + [i = j]) / 20.
    np.testing.assert_allclose(stack.mean(0), np.eye(5), atol=5 * math.sqrt(2 / 20 / 4000))


def test_wishart_ridge_bounds_the_eigenvalues_from_below():
    assert np.linalg.eigvalsh(Wishart(2, ridge=0.5).sample(100, 6, random_state=0)).min() >= 0.5 - 1e-12


def test_wishart_refuses_what_is_always_singular():
    with pytest.raises(ValueError, match="degrees_of_freedom=2; expected at least matrix_size=3"):
        Wishart(2).sample(1, 3)


@pytest.mark.parametrize("symmetric", [False, True])
def test_toeplitz_has_constant_diagonals(symmetric):
    stack = Toeplitz(2, 3, symmetric=symmetric).sample(50, 6, random_state=0)
    assert np.array_equal(stack[:, 1:, 1:], stack[:, :-1, :-1])
    assert is_symmetric(stack) == symmetric
    assert len(np.unique(stack[0])) == (6 if symmetric else 11)
    assert stack.min() >= 2
    assert stack.max() <= 3


def test_diagonally_dominant_rows_are_dominated_by_the_given_factor():
    stack = DiagonallyDominant(1.5)(500, 6, generator=seeded()).double().numpy()
    diagonal = np.abs(np.einsum("nii->ni", stack))
    rest = np.abs(stack).sum(2) - diagonal
    np.testing.assert_allclose(diagonal, 1.5 * rest, rtol=1e-6)
    assert 0.45 < (stack > 0).mean() < 0.55
    assert np.all(DiagonallyDominant().sample(500, 1, random_state=0) != 0)


def test_graded_rows_shrink_geometrically_and_the_grade_is_the_condition_number():
    stack = Graded(max_grade=1e4).sample(500, 4, random_state=0)
    lengths = np.linalg.norm(stack, axis=2)
    np.testing.assert_allclose(lengths[:, 0], 1)
    np.testing.assert_allclose(lengths[:, 1:] / lengths[:, :-1], np.repeat(lengths[:, 3:] ** (1 / 3), 3, axis=1))
    np.testing.assert_allclose(np.linalg.cond(stack), 1 / lengths[:, 3], rtol=1e-9)
    np.testing.assert_allclose(np.linalg.cond(stack / lengths[:, :, None]), 1)
    assert stats.kstest(-np.log(lengths[:, 3]) / math.log(1e4), "uniform").pvalue > 0.01


@pytest.mark.parametrize(("m", "rank"), [(1, None), (2, None), (3, None), (5, None), (5, 2), (4, 0)])
def test_singular_matrices_have_the_exact_rank_in_float32(m, rank):
    stack = Singular(rank)(30, m, generator=seeded())
    assert torch.equal(stack, stack.round())
    assert {exact_rank(matrix) for matrix in stack.numpy()} == {m - 1 if rank is None else rank}


def test_singular_rank_is_below_the_size():
    with pytest.raises(ValueError, match="rank=3; expected less than matrix_size=3"):
        Singular(3).sample(1, 3)


# Chosen spectra


@pytest.mark.parametrize("m", [1, 2, 3, 6])
def test_haar_matrices_are_orthogonal_and_uniform(m):
    q = haar_orthogonal(4000, m, generator=seeded(), device="cpu", dtype=torch.float64)
    torch.testing.assert_close(q @ q.mT, torch.eye(m, dtype=torch.float64).expand_as(q))
    # The first and the last entry of a Haar matrix have the same symmetric law, E (tr Q)^2 = 1, and det is a fair sign.
    for entry in (q[:, 0, 0], q[:, -1, -1], q[:, 0, -1]):
        if m == 1:
            assert abs(float(entry.mean())) < 4 / math.sqrt(4000)
        else:
            law = stats.beta(0.5, (m - 1) / 2)
            assert stats.kstest(entry.square().numpy(), law.cdf).pvalue > 0.001
            assert abs(float(entry.mean())) < 4 / math.sqrt(4000 * m)
    assert float(q.diagonal(dim1=1, dim2=2).sum(1).square().mean()) == pytest.approx(1, abs=0.1)
    assert abs(float(torch.linalg.det(q).mean())) < 4 / math.sqrt(4000)


@pytest.mark.parametrize("symmetric", [False, True])
def test_log_uniform_condition_numbers(symmetric):
    stack = Spectrum(max_cond=1e4, symmetric=symmetric).sample(1000, 4, random_state=0)
    values = np.linalg.svd(stack, compute_uv=False)
    np.testing.assert_allclose(values[:, 0], 1)
    assert stats.kstest(-np.log(values[:, -1]) / math.log(1e4), "uniform").pvalue > 0.01
    assert is_symmetric(stack) == symmetric
    assert not symmetric or np.linalg.eigvalsh(stack).min() > 0


def semicircle_cdf(x):
    return stats.semicircular(scale=2).cdf(x)


LAW_CDFS = {
    "semicircle": semicircle_cdf,
    "uniform": stats.uniform(-math.sqrt(3), 2 * math.sqrt(3)).cdf,
    "gaussian": stats.norm.cdf,
    "laplace": stats.laplace(scale=1 / math.sqrt(2)).cdf,
    "marchenko-pastur": lambda x: 2 * semicircle_cdf(np.sqrt(np.maximum(x, 0))) - 1,
    "positive": lambda x: 2 * semicircle_cdf(x) - 1,
}


@pytest.mark.parametrize("law", LAWS[1:])
def test_eigenvalues_and_singular_values_follow_their_law(law):
    symmetric = Spectrum(law, symmetric=True).sample(1500, 4, random_state=0)
    assert is_symmetric(symmetric)
    assert stats.kstest(np.linalg.eigvalsh(symmetric).ravel(), LAW_CDFS[law]).pvalue > 0.01
    general = Spectrum(law).sample(1500, 4, random_state=1)
    assert not is_symmetric(general)
    sizes = np.linalg.svd(general, compute_uv=False).ravel()
    assert stats.ks_2samp(sizes, np.abs(np.linalg.eigvalsh(symmetric)).ravel()).pvalue > 0.01


def test_float32_spectra_are_met_to_rounding():
    stack = Spectrum(max_cond=100)(200, 8, generator=seeded()).double().numpy()
    values = np.linalg.svd(stack, compute_uv=False)
    np.testing.assert_allclose(values[:, 0], 1, atol=1e-5)
    assert values.min() > 0.01 - 1e-5


# Mixtures


def constant(value):
    def draw(n_matrices, matrix_size, *, generator, device, dtype):
        del generator
        return torch.full((n_matrices, matrix_size, matrix_size), value, device=device, dtype=dtype)

    return draw


@pytest.mark.parametrize("weights", [None, (3, 1, 0), (1e-3, 2e-3, 1e-3)])
def test_each_matrix_comes_whole_from_a_component_by_weight(weights):
    stack = Mixture([constant(0.0), constant(1.0), constant(2.0)], weights).sample(6000, 2, random_state=0)
    assert np.array_equal(stack, np.broadcast_to(stack[:, :1, :1], stack.shape))
    shares = np.full(3, 1 / 3) if weights is None else np.array(weights) / sum(weights)
    for value, share in enumerate(shares):
        drawn = stack[:, 0, 0] == value
        assert stats.binomtest(int(drawn.sum()), 6000, share).pvalue > 0.001
        assert stats.binomtest(int(drawn[:3000].sum()), 3000, share).pvalue > 0.001  # the order is random too


def test_a_mixture_with_a_callable_is_no_json():
    with pytest.raises(ValueError, match=r"cannot be written as JSON\. Use a Distribution in its place"):
        Mixture([Uniform(), constant(1.0)]).to_dict()


def test_a_mixture_binds_its_components():
    X = make_stack("well", 5)
    mixture = Mixture([Resampled(augment=(), jitter=0), Uniform(), constant(7.0)], weights=(2, 1, 1))
    assert mixture.uses_data
    assert not Mixture([Uniform(), constant(7.0)]).uses_data
    bound = mixture.bind(X)
    assert bound.uses_data
    assert bound.components[1] == Uniform(X.min(), X.max())
    assert bound.weights == mixture.weights
    stack = bound.sample(200, 3, random_state=0)
    members = (stack[:, None] == X).all(axis=(2, 3)).any(axis=1)
    assert 60 < members.sum() < 140
    assert stack[~members].min() >= X.min()


# Variations on data


def variations(X, augment, jitter=0.0, n_matrices=40):
    return Resampled(augment=augment, jitter=jitter).bind(X).sample(n_matrices, X.shape[1], random_state=0)


def fingerprint(stack):
    """The sorted sizes of all entries: what permutations, signs and transposition keep in every bit."""
    return np.sort(np.abs(stack).reshape(len(stack), -1), axis=1)


def test_without_maps_the_data_set_is_replayed():
    X = make_stack("well", 6)
    stack = variations(X, ())
    assert {matrix.tobytes() for matrix in stack} == {matrix.tobytes() for matrix in X}


@pytest.mark.parametrize("kind", ["well", "spd"])
@pytest.mark.parametrize("augment", [("permute",), ("sign",), ("transpose",), ("permute", "sign", "transpose")])
@settings(max_examples=8)
@given(m=st.integers(1, 6), seed=st.integers(0, 100))
def test_exact_maps_keep_the_size_of_every_entry_and_the_singular_values(kind, augment, m, seed):
    X = make_stack(kind, 1, m, seed=seed)
    stack = variations(X, augment, n_matrices=10)
    assert np.array_equal(fingerprint(stack), np.repeat(fingerprint(X), 10, axis=0))
    values = np.linalg.svd(X, compute_uv=False)
    np.testing.assert_allclose(np.linalg.svd(stack, compute_uv=False), np.repeat(values, 10, axis=0), rtol=1e-9)


@pytest.mark.parametrize("augment", ["permute", "sign", "scale", "transpose"])
def test_every_map_does_something_and_reaches_all_it_can(augment):
    X = np.array([[[1.0, 2.0], [3.0, 5.0]]])
    stack = variations(X, (augment,), n_matrices=400)
    n_distinct = len({matrix.tobytes() for matrix in stack})
    # Rows and columns in two orders each; four signs of rows by four of columns, but for a common one.
    assert n_distinct == {"permute": 4, "sign": 8, "scale": 400, "transpose": 2}[augment]


def test_scale_is_log_uniform_between_a_half_and_two():
    factors = variations(np.ones((1, 2, 2)), ("scale",), n_matrices=2000)
    assert np.array_equal(factors, np.broadcast_to(factors[:, :1, :1], factors.shape))
    assert stats.kstest((np.log2(factors[:, 0, 0]) + 1) / 2, "uniform").pvalue > 0.01


@pytest.mark.parametrize("kind", ["well", "spd"])
def test_jitter_is_relative_to_the_size_of_each_matrix(kind):
    X = make_stack(kind, 1, 4) * 1e6
    noise = (variations(X, (), jitter=0.1, n_matrices=3000) - X) / np.sqrt((X**2).mean())
    assert stats.kstest(noise[:, np.triu(np.ones((4, 4), dtype=bool))].ravel() / 0.1, "norm").pvalue > 0.01


def test_variations_of_positive_definite_matrices_are_symmetric_and_positive_definite():
    X = make_stack("spd", 10, 5)
    bound = Resampled().bind(X)
    for dtype in (torch.float32, torch.float64):
        stack = bound(500, 5, generator=seeded(), dtype=dtype).numpy()
        assert is_symmetric(stack)
        assert np.linalg.eigvalsh(stack).min() > 0
    assert Resampled().bind(X + 1e-8 * np.triu(X)).symmetric
    assert not Resampled().bind(np.concatenate([X, make_stack("well", 1, 5)])).symmetric


def test_variations_are_endless_and_belong_to_the_size_of_the_data():
    bound = Resampled().bind(make_stack("well", 1, 3))
    stack = bound(1000, 3, generator=seeded())
    assert len({matrix.numpy().tobytes() for matrix in stack}) == 1000
    assert bound.uses_data
    assert Resampled().uses_data
    with pytest.raises(ValueError, match="matrix_size=4; expected 3, the size of the matrices of X"):
        bound(1, 4, generator=seeded())


def test_resampled_without_data_says_what_to_do():
    with pytest.raises(ValueError, match=r"Resampled\(jitter=0\) makes matrices from data and has none. Give X to fit"):
        Resampled(jitter=0).sample(1, 3)


def test_bound_data_is_a_copy_that_moves_once_and_is_pickled_without_devices():
    X = make_stack("well", 3)
    bound = Resampled(augment=(), jitter=0).bind(X)
    X[:] = 0
    first = bound(5, 3, generator=seeded())
    assert first.abs().sum() > 0
    (moved,) = bound._moved.values()
    bound(5, 3, generator=seeded())
    assert list(bound._moved.values())[0][0] is moved[0]  # noqa: RUF015
    twin = pickle.loads(pickle.dumps(bound))
    assert twin._moved == {}
    assert torch.equal(twin(5, 3, generator=seeded()), first)
    assert repr(bound) == "<Resampled(augment=(), jitter=0) bound to 3 3 x 3 matrices>"


def test_data_beyond_the_dtype_is_refused():
    bound = Resampled().bind(1e300 * make_stack())
    with pytest.raises(ValueError, match=r"X has entries that torch\.float32 cannot hold"):
        bound(1, 3, generator=seeded())
    with pytest.raises(ValueError, match=r"expected a stack \(n_matrices, m, m\)"):
        Resampled().bind(np.eye(3))


@pytest.mark.parametrize(
    "description",
    [
        {"name": "Uniform", "low": 10**400},
        {"name": "Affine", "matrices": [[[10**400, 1.0], [1.0, 1.0]]]},
        {"name": "Spectrum", "law": "x" * 100_000},
        {"name": "x" * 100_000},
        {"name": "Normal", "x" * 100_000: 1, "\x1b[2J\n": 2},
        {"name": "Mixture", "components": [{"name": "os.system"}]},
        {"name": "Mixture", "components": ["print"]},
        {"name": "Covariance", "core": [[1.0, 2.0], [3.0]]},
    ],
    ids=["huge", "huge-entry", "long-word", "long-name", "long-field", "not-a-distribution", "function", "ragged"],
)
def test_a_hostile_description_is_one_short_error(description):
    with pytest.raises(ValueError, match=r"got|Got") as caught:
        from_dict(description)
    assert len(str(caught.value)) < 1500
    assert str(caught.value).isprintable()
