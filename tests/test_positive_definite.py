"""Laws of proofs of positive definiteness: never false, seldom missing, bounds near the exact eigenvalue and below."""

import itertools
import math

import numpy as np
import pytest
import torch
from flint import arb_mat, ctx
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.lib.arithmetic_settings import SETTINGS
from benchmarks.lib.exact_arithmetic import rational
from benchmarks.lib.positive_definite_attack import FAMILIES, attack, count_false, is_definite
from skdmi.linalg import certify
from skdmi.linalg.positive_definite import certify_positive_definite, is_symmetric
from tests.marks import slow_but
from tests.tensors import stack_of

DTYPES = [torch.float32, torch.float64]
both_dtypes = pytest.mark.parametrize("dtype", DTYPES)
every_setting = pytest.mark.parametrize("setting", SETTINGS)


def examined(A, X=None):
    """Return what is found of A with LAPACK's inverse, or another."""
    X = torch.linalg.inv_ex(A.double()).inverse if X is None else X
    return certify_positive_definite(A, X, certify(A, X).error_bound)


def symmetric(A):
    return A.tril() + A.tril(-1).mT


def gram(G):
    return symmetric(G @ G.mT)


def wishart(n, m, *, n_samples=None, seed=0):
    G = np.random.default_rng(seed).standard_normal((n, m, n_samples or 2 * m))
    return gram(torch.from_numpy(G))


def hilbert(m):
    i = torch.arange(m, dtype=torch.float64)
    return 1 / (i[:, None] + i + 1)


def in_units(A, exponents):
    D = 2.0 ** torch.as_tensor(exponents, dtype=torch.float64)
    return A * D[..., :, None] * D[..., None, :]


def smallest_eigenvalue(A):
    """Return the smallest eigenvalue of a float64 matrix, to 200 bits and rounded."""
    before, ctx.prec = ctx.prec, 400
    try:
        values = arb_mat(rational(A)).eig(multiple=True)
        return min(float(value.real.mid()) for value in values)
    finally:
        ctx.prec = before


# Never false


@pytest.mark.parametrize("seed", slow_but([0], range(8)))
def test_no_attack_wins_a_false_proof_or_bound(seed):
    proved, false = attack(2000, seed=seed)
    assert proved > 500
    assert false == 0


@pytest.mark.parametrize("family", FAMILIES)
@both_dtypes
@every_setting
def test_no_family_wins_under_any_setting(family, dtype, setting):
    for m in (1, 2, 3, 5):
        A = torch.from_numpy(FAMILIES[family](np.random.default_rng(m), 30, m)).to(dtype)
        with SETTINGS[setting]():
            found = examined(A)
        assert count_false(A, found) == 0


@settings(max_examples=150, deadline=None, database=None)
@given(
    entries=st.lists(st.integers(-2, 2), min_size=9, max_size=9),
    rank=st.integers(1, 3),
    powers=st.lists(st.integers(-30, 30), min_size=3, max_size=3),
    nudge=st.integers(-2, 2),
    dtype=st.sampled_from(DTYPES),
)
def test_gram_matrices_are_proved_only_where_they_are_definite(entries, rank, powers, nudge, dtype):
    G = torch.tensor(entries, dtype=torch.float64).reshape(3, 3)[:, :rank]
    A = in_units(G @ G.mT, powers).to(dtype)
    A[0, 0] *= 1 + nudge * torch.finfo(dtype).eps
    found = examined(A[None])
    assert count_false(A[None], found) == 0
    if nudge == 0:
        assert found.proved.item() == is_definite(rational(A))


@pytest.mark.parametrize("m", [1, 2, 3, 8, 20, 60])
@both_dtypes
def test_semidefinite_singular_matrices_are_never_proved(m, dtype):
    rng = np.random.default_rng(m)
    G = torch.from_numpy(rng.integers(-3, 4, (50, m, m - 1))).double()
    A = (G @ G.mT).to(dtype)
    assert not examined(A).proved.any()
    assert not examined(in_units(A.double(), rng.integers(-30, 30, (50, m))).to(dtype)).proved.any()


@pytest.mark.parametrize("m", [2, 5, 16, 40])
@pytest.mark.parametrize("size", [1e-3, 1e-12, 1e-15, 1e-17])
def test_one_tiny_negative_eigenvalue_is_enough(m, size):
    rng = np.random.default_rng(0)
    Q = np.linalg.qr(rng.standard_normal((20, m, m)))[0]
    values = np.append(rng.uniform(0.5, 2, (20, m - 1)), np.full((20, 1), -size), axis=1)[:, None]
    A = symmetric(torch.from_numpy((Q * values) @ Q.transpose(0, 2, 1)))
    found = examined(A)
    if size >= 1e-12:
        assert not found.proved.any()
    chosen = slice(20 if m <= 16 else 2)
    assert count_false(A[chosen], type(found)(*(T[chosen] for T in found))) == 0


def test_inverses_of_other_matrices_prove_nothing_about_this_one():
    A = wishart(5, 6)
    other = torch.linalg.inv(wishart(5, 6, seed=1))
    for X, bound in ((other, certify(A, other).error_bound), (torch.full_like(A, torch.nan), torch.zeros(5))):
        found = certify_positive_definite(A, X, bound)
        assert count_false(A, found) == 0
        assert found.proved.all()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@both_dtypes
def test_what_is_not_finite_or_not_symmetric_spoils_nobody(value, dtype):
    A = wishart(8, 4).to(dtype)
    expected = examined(A)
    A[1, 2, 2] = value
    A[3, 0, 1] = A[3, 1, 0] = value
    A[5, 2, 3] = torch.nextafter(A[5, 2, 3], torch.tensor(math.inf, dtype=dtype))
    found = examined(A)
    assert found.proved.tolist() == [True, False] * 3 + [True] * 2
    assert found.smallest_eigenvalue.isnan().tolist() == [False, True] * 3 + [False] * 2
    torch.testing.assert_close(found.smallest_eigenvalue[::2], expected.smallest_eigenvalue[::2], rtol=1e-12, atol=0)


@every_setting
def test_symmetry_is_that_of_bits(setting):
    A = torch.zeros(3, 2, 2, dtype=torch.float64)
    A[0, 0, 1] = -0.0
    A[1, 0, 1] = 2.0**-1074
    A[2, 0, 1] = A[2, 1, 0] = 2.0**-1074
    with SETTINGS[setting]():
        assert is_symmetric(A).tolist() == [True, False, True]


# Seldom missing


@pytest.mark.parametrize("m", [1, 2, 3, 8, 16, 64, 150])
@both_dtypes
def test_covariances_in_any_units_are_proved(m, dtype):
    A = wishart(10, m, seed=m)
    exponents = np.random.default_rng(m).integers(-40, 1, (10, m))
    for B in (A, in_units(A, exponents)):
        found = examined(symmetric(B.to(dtype)))
        assert found.proved.all()
        assert (found.smallest_eigenvalue > 0).all()


@pytest.mark.parametrize("m", range(1, 12))
def test_hilbert_matrices_are_proved(m):
    A = hilbert(m)[None]
    found = examined(A)
    assert found.proved.all()
    assert count_false(A, found) == 0


@pytest.mark.parametrize("m", [4, 8, 12])
@pytest.mark.parametrize("theta", [0.3, 0.6, 1.0])
def test_gram_matrices_of_kahan_are_proved_where_rounding_leaves_them_definite(m, theta):
    R = math.sin(theta) ** torch.arange(m, dtype=torch.float64)[:, None]
    R = R * (torch.eye(m, dtype=torch.float64) - math.cos(theta) * torch.ones(m, m, dtype=torch.float64).triu(1))
    A = symmetric(R.mT @ R)
    found = examined(A[None])
    assert count_false(A[None], found) == 0
    unit = A.diagonal().rsqrt()
    if torch.linalg.eigvalsh(A * unit * unit[:, None])[0] > 4 * m * 2.0**-52:
        assert found.proved.all()


@pytest.mark.parametrize("m", [2, 6, 16, 50])
def test_what_is_definite_beyond_rounding_is_proved(m):
    A = wishart(20, m, seed=m)
    unit = A.diagonal(dim1=-2, dim2=-1).rsqrt()
    A = symmetric(A * unit[:, :, None] * unit[:, None, :])
    identity = torch.eye(m, dtype=torch.float64)
    A = A - (torch.linalg.eigvalsh(A)[:, 0] - 8 * m * 2.0**-52)[:, None, None] * identity
    assert examined(A).proved.all()


@pytest.mark.parametrize("exponent", [-1074, -1060, -1022, -600, -149, 0, 600, 1018])
@every_setting
def test_scales_of_the_whole_range_do_not_matter(exponent, setting):
    integers = torch.tensor([[[2.0, 1.0, 0.0], [1.0, 3.0, -1.0], [0.0, -1.0, 7.0]]], dtype=torch.float64)
    A, X = torch.from_numpy(np.ldexp(integers.numpy(), exponent)), torch.linalg.inv(integers)
    if abs(exponent) <= 1000:
        X = torch.ldexp(X, -torch.tensor(exponent))
    with SETTINGS[setting]():
        found = certify_positive_definite(A, X, certify(A, X).error_bound)
    assert found.proved.all()
    assert count_false(A, found) == 0


# Bounds


@pytest.mark.parametrize("m", [1, 2, 3, 5, 8, 12])
def test_bounds_are_below_the_exact_eigenvalue_and_near_it(m):
    A = wishart(6, m, seed=m)
    found = examined(A)
    for A_k, bound in zip(A, found.smallest_eigenvalue.tolist(), strict=True):
        exact = smallest_eigenvalue(A_k)
        assert bound <= exact * (1 + 1e-15)
        assert bound >= exact / 2


@pytest.mark.parametrize("condition", [1e2, 1e6, 1e10])
@pytest.mark.parametrize("m", [4, 16, 80])
def test_bounds_are_as_good_as_inverses(m, condition):
    A = stack_of("spd", 5, m)
    Q = torch.linalg.eigh(A).eigenvectors
    values = torch.cat([torch.full((1,), 1 / condition), torch.linspace(0.3, 1, m - 1)]).double()
    A = symmetric((Q * values) @ Q.mT)
    X = torch.linalg.inv(A)
    error_bound = certify(A, X).error_bound
    found = certify_positive_definite(A, X, error_bound)
    exact = torch.linalg.eigvalsh(A)[:, 0]
    assert (found.smallest_eigenvalue <= exact * (1 + 1e-15 * m * condition)).all()
    assert (found.smallest_eigenvalue >= exact * (1 - 2 * error_bound - 1e-15 * m * condition - 1e-12)).all()


def test_without_an_inverse_there_is_a_positive_bound():
    A = in_units(wishart(5, 4), [0, -10, -20, 3])
    found = certify_positive_definite(A)
    assert found.proved.all()
    assert (found.smallest_eigenvalue > 0).all()
    assert count_false(A, found) == 0
    assert (found.smallest_eigenvalue <= examined(A).smallest_eigenvalue).all()


@pytest.mark.parametrize("bound", [math.nan, math.inf, 1.0, 2.0, -1.0])
def test_error_bounds_that_say_nothing_are_left_alone(bound):
    A = wishart(3, 4)
    found = certify_positive_definite(A, torch.linalg.inv(A), torch.full((3,), bound))
    for one, other in zip(found, certify_positive_definite(A), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


# Shapes


@both_dtypes
def test_any_leading_shape(dtype):
    A = wishart(12, 3).to(dtype)
    expected = examined(A)
    for shape in ((12,), (3, 4), (2, 1, 6)):
        found = examined(A.reshape(*shape, 3, 3))
        assert found.proved.shape == found.smallest_eigenvalue.shape == shape
        torch.testing.assert_close(
            found.smallest_eigenvalue.flatten(), expected.smallest_eigenvalue, rtol=1e-12, atol=0
        )
    alone = examined(A[0])
    assert alone.proved.shape == ()
    assert alone.smallest_eigenvalue.dtype == torch.float64
    nothing = examined(A[:0])
    assert nothing.proved.shape == nothing.smallest_eigenvalue.shape == (0,)


@pytest.mark.parametrize("shape", [(3,), (2, 3)])
def test_what_is_not_square_is_refused(shape):
    for arguments in ((torch.ones(shape),), (torch.eye(3), torch.ones(shape), torch.tensor(0.0))):
        with pytest.raises(ValueError, match="square"):
            certify_positive_definite(*arguments)


def test_the_judge_knows_definite_from_semidefinite():
    for entries in itertools.product([-1, 0, 1], repeat=3):
        a, b, c = entries
        A = rational(torch.tensor([[a, b], [b, c]], dtype=torch.float64))
        assert is_definite(A) == (a > 0 and a * c - b * b > 0)
        assert is_definite(A, strictly=False) == (a >= 0 and c >= 0 and a * c - b * b >= 0)
