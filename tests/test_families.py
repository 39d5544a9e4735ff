"""Laws of the distributions that describe a family of matrices: what every member of it keeps."""

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from skdmi.distributions import Members, Mixture, Uniform
from tests.matrices import make_stack

few = settings(max_examples=12)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def is_symmetric(stack):
    return bool((stack == stack.transpose(0, 2, 1)).all())


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
