"""Laws of `skdmi.linalg`: what is exact is exact, what is singular is found, and every step is the best of its kind."""

import math
import re
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.polynomial import Polynomial
from torch import Tensor

from skdmi.iteration import deflate, minimal_residual, newton_schulz, steps
from skdmi.iteration.deflation import orthonormalize
from skdmi.iteration.loop import (
    combine,
    identity_start,
    keep_better,
    minimal_residual_basis,
    minimal_residual_start,
    minimal_residual_step,
    power_chain,
    recomputation_schedule,
)
from skdmi.iteration.steps import fit_directions, n_chain_coefficients
from skdmi.linalg import (
    characteristic_inverse,
    complex_to_real,
    exact_inverse,
    frobenius_norm,
    real_to_complex,
    residual,
    scale_by_power_of_two,
    split_exponent,
    with_exact_gradient,
)
from skdmi.linalg.characteristic import characteristic_products, characteristic_start
from skdmi.linalg.residuals import holds_diagonals, identity_like, product, trace, transpose
from tests.matrices import make_stack
from tests.products import ProductCounter

DTYPES = [torch.float32, torch.float64]
REGULAR = ["uniform", "well", "condition", "spd", "orthogonal", "permutation", "graded"]
property_test = settings(max_examples=30, deadline=None, database=None)
seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(1, 8)


def stack_of(kind="well", n_matrices=8, m=3, *, dtype=torch.float64, **keywords) -> Tensor:
    return torch.from_numpy(make_stack(kind, n_matrices, m, **keywords)).to(dtype)


def norms_of(A: Tensor, X: Tensor) -> Tensor:
    return frobenius_norm(residual(A.double(), X.double()))


def scaled(A: Tensor) -> Tensor:
    """Return A with Frobenius norms of the square root of m, as a network sees it; zero matrices as they are."""
    return A * math.sqrt(A.shape[-2]) / frobenius_norm(A).clamp_min(torch.finfo(A.dtype).tiny)[..., None, None]


def step_of(R: Tensor, n_coefficients: int = 3, n_squarings: int = 1) -> tuple[Tensor, Tensor]:
    S = product(R, R)
    return minimal_residual_basis(R, S, power_chain(S, R, n_squarings), n_coefficients)


def is_missing(X: Tensor) -> Tensor:
    """Return which members are NaN throughout, and check that no other has a NaN at all."""
    nan = X.isnan().flatten(-2)
    torch.testing.assert_close(nan.all(dim=-1), nan.any(dim=-1))
    return nan.all(dim=-1)


def assert_equal(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=0, atol=0, equal_nan=True)


# Exact scaling


@pytest.mark.parametrize("dtype", DTYPES)
@property_test
@given(seed=seeds, power=st.integers(-1074, 1023), m=sizes)
def test_splitting_the_exponent_is_undone_by_scaling(dtype, seed, power, m):
    info = torch.finfo(dtype)
    power = max(power, -149) if dtype == torch.float32 else power
    power = min(power, int(math.log2(info.max)))
    A = torch.ldexp(stack_of("uniform", 2, m, seed=seed), torch.tensor(power / 2).floor())
    A = torch.ldexp(A, torch.tensor(power) - torch.tensor(power / 2).floor()).to(dtype)
    B, exponent = split_exponent(A)
    largest = B.abs().amax(dim=(-2, -1))
    assert ((largest >= 0.5) & (largest < 1) | (largest == 0)).all()
    assert_equal(scale_by_power_of_two(B, exponent), A)


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        (torch.float64, 1e300),
        (torch.float64, 1e-300),
        (torch.float64, 5e-324),
        (torch.float64, 2.0**-1022),
        (torch.float64, torch.finfo(torch.float64).max),
        (torch.float32, 1e38),
        (torch.float32, 1e-38),
        (torch.float32, 2.0**-149),
        (torch.float32, torch.finfo(torch.float32).max),
    ],
)
def test_splitting_agrees_with_frexp_at_the_edges_of_the_range(dtype, value):
    A = torch.tensor([[value, 0.0], [0.0, -value]], dtype=dtype)
    B, exponent = split_exponent(A)
    mantissa, expected = math.frexp(A[0, 0].item())
    assert exponent.item() == expected
    assert_equal(B, torch.tensor([[mantissa, 0.0], [0.0, -mantissa]], dtype=dtype))
    assert_equal(scale_by_power_of_two(B, exponent), A)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_zero_matrix_has_exponent_zero(dtype):
    zero = torch.zeros(2, 3, 3, dtype=dtype)
    B, exponent = split_exponent(zero)
    assert_equal(B, zero)
    assert exponent.tolist() == [0, 0]


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 252), (torch.float64, 2044)])
@property_test
@given(data=st.data())
def test_scaling_agrees_with_ldexp_on_the_whole_range(dtype, limit, data):
    exponent = data.draw(st.integers(-limit, limit))
    value = data.draw(st.floats(allow_nan=False, allow_infinity=False, width=torch.finfo(dtype).bits))
    try:
        expected = math.ldexp(value, exponent)
    except OverflowError:
        expected = math.copysign(math.inf, value)
    scaled = scale_by_power_of_two(torch.tensor([[value]], dtype=dtype), torch.tensor(exponent)).item()
    if expected == 0 or abs(expected) >= torch.finfo(dtype).tiny:
        assert scaled == torch.tensor(expected, dtype=torch.float64).to(dtype).item()
    else:
        assert abs(scaled - expected) <= torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps


def test_each_member_has_its_own_exponent():
    A = stack_of("uniform", n_matrices=3)
    powers = torch.tensor([-1000, 0, 1000])
    scaled = scale_by_power_of_two(A, powers)
    assert_equal(split_exponent(scaled)[0], split_exponent(A)[0])
    assert_equal(split_exponent(scaled)[1] - split_exponent(A)[1], powers.int())


# Residuals


@pytest.mark.parametrize("dtype", DTYPES)
def test_right_and_left_residual_are_what_they_say(dtype):
    A, X = stack_of("uniform", dtype=dtype), stack_of("uniform", seed=1, dtype=dtype)
    eye = np.eye(3)
    np.testing.assert_allclose(residual(A, X), eye - A.numpy() @ X.numpy(), atol=1e-6)
    np.testing.assert_allclose(residual(A, X, left=True), eye - X.numpy() @ A.numpy(), atol=1e-6)
    np.testing.assert_allclose(frobenius_norm(A), np.linalg.norm(A.numpy(), axis=(1, 2)), rtol=1e-6)
    assert residual(A, X).dtype == dtype
    assert_equal(identity_like(A), torch.eye(3, dtype=dtype))


# Exact inverses


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", REGULAR)
def test_exact_inverse_inverts_in_the_dtype_of_its_argument(kind, dtype):
    A = stack_of(kind, m=4, dtype=dtype)
    X = exact_inverse(A)
    assert X.dtype == dtype
    expected = torch.linalg.inv(A.double()).to(dtype)  # not of the equilibrated matrices, so rounding differs
    tolerance = max(1e-9, torch.finfo(dtype).eps)
    torch.testing.assert_close(X, expected, rtol=tolerance, atol=tolerance * expected.abs().max().item())


@property_test
@given(seed=seeds, m=st.integers(2, 8), rank_loss=st.integers(1, 2), singular=st.lists(st.booleans(), min_size=1))
def test_missing_are_the_singular_members_and_no_others(seed, m, rank_loss, singular):
    singular = torch.tensor(singular)
    good = stack_of("condition", len(singular), m, condition=1e10, seed=seed)
    bad = stack_of("singular", len(singular), m, rank=max(m - rank_loss, 0), seed=seed)
    X = exact_inverse(torch.where(singular[:, None, None], bad, good))
    assert_equal(is_missing(X), singular)
    assert_equal(X[~singular], exact_inverse(good)[~singular])


@pytest.mark.parametrize("m", [3, 4])
def test_no_rounding_makes_an_integer_singular_matrix_pass(m):
    # About one in a thousand of these has an inverse from LAPACK whose rounded residual norm is below 1.
    for seed in range(4):
        assert is_missing(exact_inverse(stack_of("singular", 5000, m, seed=seed))).all()


@pytest.mark.parametrize(
    "matrix",
    [
        [[0.0]],
        [[1.0, 2.0], [2.0, 4.0]],
        [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]],
        [[0.1, 0.1], [0.1, 0.1]],
        [[1e200, 1e200], [1e-200, 1e-200]],
    ],
)
def test_textbook_singular_matrices_are_missing(matrix):
    assert is_missing(exact_inverse(torch.tensor(matrix, dtype=torch.float64))).all()


def test_bad_scaling_is_not_singularity():
    diagonal = torch.tensor([[1.0, 0.0], [0.0, 1e-200]], dtype=torch.float64)
    assert_equal(exact_inverse(diagonal), torch.tensor([[1.0, 0.0], [0.0, 1 / 1e-200]], dtype=torch.float64))
    rows_scaled = torch.tensor([[1.0, 0.5], [0.5e-200, 1e-200]], dtype=torch.float64)
    expected = torch.tensor([[4.0, -2e200], [-2.0, 4e200]], dtype=torch.float64) / 3
    torch.testing.assert_close(exact_inverse(rows_scaled), expected)


@property_test
@given(seed=seeds, powers=st.lists(st.integers(-400, 400), min_size=6, max_size=6))
def test_scaling_rows_and_columns_scales_the_inverse(seed, powers):
    A = stack_of("well", 1, seed=seed)
    rows, columns = (2.0 ** torch.tensor(half, dtype=torch.float64) for half in (powers[:3], powers[3:]))
    scaled_back = columns[:, None] * exact_inverse(rows[:, None] * A * columns) * rows
    torch.testing.assert_close(scaled_back, exact_inverse(A), rtol=1e-9, atol=1e-12)


def test_an_inverse_beyond_the_range_is_missing():
    A = torch.tensor([[1.0, 0.0], [0.0, 1e-40]])
    assert is_missing(exact_inverse(A)).all()
    assert not is_missing(exact_inverse(A.double())).any()
    assert is_missing(exact_inverse(torch.tensor([[1e-320]], dtype=torch.float64))).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_gradient_of_the_exact_inverse(dtype):
    A = stack_of("well", dtype=dtype).requires_grad_()
    G = stack_of("uniform", seed=1, dtype=dtype)
    (gradient,) = torch.autograd.grad(exact_inverse(A), A, G)
    (expected,) = torch.autograd.grad(torch.linalg.inv(A), A, G)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-4 if dtype == torch.float32 else 1e-12)
    X = torch.linalg.inv(A.detach())
    torch.testing.assert_close(gradient, -X.mT @ G @ X.mT, rtol=1e-4, atol=1e-4 if dtype == torch.float32 else 1e-12)


def test_a_singular_member_spoils_no_gradient():
    stack = torch.cat([stack_of("well", 2), stack_of("singular", 2), stack_of("zero", 2)])
    stack[2] = torch.tensor([[1.0, 2.0, 0.0], [2.0, 4.0, 0.0], [0.0, 0.0, 1.0]])
    A = stack.clone().requires_grad_()
    X = exact_inverse(A)
    X[~is_missing(X.detach())].sum().backward()
    good = stack[:2].clone().requires_grad_()
    torch.linalg.inv(good).sum().backward()
    torch.testing.assert_close(A.grad, torch.cat([good.grad, torch.zeros(4, 3, 3, dtype=torch.float64)]))


@pytest.mark.parametrize("shape", [(3, 3), (0, 3, 3), (2, 4, 3, 3)])
def test_any_leading_shape(shape):
    A = stack_of("well", max(1, math.prod(shape[:-2])))[: math.prod(shape[:-2])].reshape(shape)
    for X in (exact_inverse(A), minimal_residual(A, 5), newton_schulz(A, A.mT, 1)):
        assert X.shape == shape
    torch.testing.assert_close(exact_inverse(A), torch.linalg.inv(A))


# Newton-Schulz


@property_test
@given(seed=seeds, m=sizes)
def test_newton_schulz_squares_the_residual(seed, m):
    A = stack_of("well", 4, m, seed=seed)
    X, R = minimal_residual_start(A)
    for n_steps in (0, 1, 2):
        expected = torch.linalg.matrix_power(R, 2**n_steps)
        torch.testing.assert_close(residual(A, newton_schulz(A, X, n_steps)), expected, rtol=0, atol=1e-12)


# The minimal-residual iteration


@property_test
@given(seed=seeds, m=sizes, kind=st.sampled_from(["uniform", "well", "condition"]))
def test_the_start_is_the_best_multiple_of_the_transpose(seed, m, kind):
    A = stack_of(kind, 4, m, seed=seed)
    X, R = minimal_residual_start(A)
    torch.testing.assert_close(R, residual(A, X), rtol=0, atol=1e-13)
    for factor in (0.99, 1.01):
        assert (norms_of(A, X) <= norms_of(A, factor * X)).all()
    assert (torch.linalg.matrix_norm(R, ord=2) < 1).all()


@property_test
@given(
    seed=seeds,
    m=sizes,
    kind=st.sampled_from(["uniform", "well", "condition", "orthogonal", "graded"]),
    nearness=st.sampled_from([0.0, 1e-1, 1e-3, 1e-5]),
)
def test_a_step_is_never_worse_than_the_steps_with_fixed_coefficients(seed, m, kind, nearness):
    A = stack_of(kind, 4, m, seed=seed)
    if nearness:
        A = stack_of("orthogonal", 4, m, seed=seed) + nearness * A
    A, _ = split_exponent(A)
    X, R = minimal_residual_start(A)
    one_step = {n: norms_of(A, minimal_residual(A, 1, n_coefficients=n)) for n in (2, 3)}
    rounding = 1e-13 * frobenius_norm(A) * frobenius_norm(torch.linalg.pinv(A))
    newton, hyperpower = norms_of(A, newton_schulz(A, X, 1)), norms_of(A, X + X @ (R + R @ R))
    assert (one_step[2] <= newton + rounding).all()
    assert (one_step[2] <= hyperpower + rounding).all()
    assert (one_step[3] <= one_step[2] + rounding).all()
    assert (one_step[3] <= norms_of(A, X) + rounding).all()


@pytest.mark.parametrize("n_coefficients", [2, 3])
@pytest.mark.parametrize("kind", ["well", "spd", "orthogonal", "uniform"])
def test_more_steps_are_never_worse(kind, n_coefficients):
    A = stack_of(kind, 32, 5)
    norms = [norms_of(A, minimal_residual(A, n, n_coefficients=n_coefficients)) for n in range(12)]
    floor = 1e-14 * torch.linalg.cond(A)
    for before, after in pairwise(norms):
        assert (after <= before + floor).all()
    if kind != "uniform":
        assert (norms[-1] < 10 * floor).all()


@pytest.mark.parametrize("m", [1, 2, 3])
@pytest.mark.parametrize("dtype", DTYPES)
def test_three_coefficients_solve_m_up_to_three_in_one_step(m, dtype):
    # By Cayley and Hamilton the inverse of P = A A^T is a polynomial of degree m - 1 in P, and one step reaches all of
    # degree 3 without a constant term in I - R: up to m = 3 the least residual is zero.
    A = stack_of("well", 32, m, dtype=dtype)
    eps = torch.finfo(dtype).eps
    assert (norms_of(A, minimal_residual(A, 1)) < 50 * eps**0.5).all()
    assert (norms_of(A, minimal_residual(A, 4)) < 1e2 * eps).all()


def test_what_one_step_cannot_solve():
    for m, n_coefficients in ((3, 2), (4, 3)):
        A = stack_of("well", 32, m)
        assert (norms_of(A, minimal_residual(A, 1, n_coefficients=n_coefficients)) > 0.01).any()


@property_test
@given(seed=seeds, m=sizes, n_steps=st.integers(0, 6))
def test_orthogonal_equivariance(seed, m, n_steps):
    A, Q, P = stack_of("well", 1, m, seed=seed), *stack_of("orthogonal", 2, m, seed=seed)
    expected = P.mT @ minimal_residual(A, n_steps) @ Q.mT
    torch.testing.assert_close(minimal_residual(Q @ A @ P, n_steps), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@property_test
@given(seed=seeds, power=st.integers(-100, 100))
def test_powers_of_two_leave_the_iteration_exactly(dtype, seed, power):
    A = stack_of("uniform", 4, seed=seed, dtype=dtype)
    X = minimal_residual(A, 3)
    assert_equal(minimal_residual(A * 2.0**power, 3), X * 2.0**-power)


@pytest.mark.parametrize(
    "invert",
    [exact_inverse, lambda A: minimal_residual(A, 4), lambda A: minimal_residual(A, 4, rank=2)],
    ids=["exact", "iteration", "deflated"],
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_permuting_a_stack_permutes_the_answer(invert, dtype):
    A = torch.cat([stack_of(kind, dtype=dtype) for kind in [*REGULAR, "singular", "zero"]])
    order = torch.randperm(len(A), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(invert(A[order]), invert(A)[order], equal_nan=True, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_coefficients", [2, 3])
@pytest.mark.parametrize("rank", [0, 1, 2, 3])
def test_singular_matrices_stay_finite_with_finite_gradients(rank, n_coefficients, dtype):
    A = stack_of("singular", 16, 4, rank=rank, dtype=dtype).requires_grad_()
    X = minimal_residual(A, 12, n_coefficients=n_coefficients)
    assert X.isfinite().all()
    norms = frobenius_norm(residual(A, X))
    assert (norms <= 2 + 1e-6).all()
    assert (norms >= math.sqrt(4 - rank) - 1e-3).all()
    norms.sum().backward()
    assert A.grad.isfinite().all()
    if rank == 0:
        assert_equal(X, torch.zeros_like(X))


@pytest.mark.parametrize("n_coefficients", [2, 3])
def test_gradient_of_the_iteration_is_that_of_finite_differences(n_coefficients):
    A = stack_of("well", 2).requires_grad_()
    torch.autograd.gradcheck(lambda A: minimal_residual(A, 2, n_coefficients=n_coefficients), A, atol=1e-4)


@pytest.mark.parametrize("n_coefficients", [1, 4])
def test_other_numbers_of_coefficients_are_refused(n_coefficients):
    with pytest.raises(ValueError, match=f"n_coefficients={n_coefficients}; expected 2 or 3"):
        minimal_residual(stack_of(), 1, n_coefficients=n_coefficients)


@pytest.mark.parametrize("n_squarings", [1, 3])
@pytest.mark.parametrize("n_coefficients", [2, 3])
def test_a_step_takes_from_the_residual_what_its_directions_say(n_coefficients, n_squarings):
    A = stack_of("well")
    X, R = minimal_residual_start(A)
    powers, directions = step_of(R, n_coefficients, n_squarings)
    c = torch.linspace(-1, 2, 8 * n_coefficients, dtype=torch.float64).reshape(8, n_coefficients)
    X_new, R_new = combine(X, R, powers, directions, c)
    torch.testing.assert_close(R_new, residual(A, X_new))
    assert powers.shape == directions.shape == (8, n_coefficients, 3, 3)
    known = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)[:n_coefficients].expand_as(c)
    torch.testing.assert_close(combine(X, R, powers, directions, known)[0], newton_schulz(A, X, 1))


# Least squares


@property_test
@given(seed=seeds, m=st.integers(4, 10), k=st.integers(1, 4))
def test_the_identity_of_least_squares(seed, m, k):
    generator = torch.Generator().manual_seed(seed)
    R = torch.randn(6, m, m, dtype=torch.float64, generator=generator)
    directions = torch.randn(6, k, m, m, dtype=torch.float64, generator=generator)
    problem = fit_directions(R, directions)
    z = torch.randn(6, k, dtype=torch.float64, generator=generator)
    actual = frobenius_norm(R - (problem.coefficients(z)[..., None, None] * directions).sum(dim=-3)).square()
    y = problem.coordinates
    expected = frobenius_norm(R).square() * (1 - y.square().sum(-1) + (z - y).square().sum(-1))
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(problem.remainder(), 1 - y.square().sum(-1))


@property_test
@given(seed=seeds, m=st.integers(1, 8), kind=st.sampled_from(["uniform", "orthogonal", "condition", "zero", "spd"]))
def test_dependent_directions_only_lower_the_residual(seed, m, kind):
    _, R = minimal_residual_start(split_exponent(stack_of(kind, 6, m, seed=seed))[0])
    _, directions = step_of(R)
    problem = fit_directions(R, directions)
    y = problem.coordinates
    z = y + torch.randn(y.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    actual = frobenius_norm(R - (problem.coefficients(z)[..., None, None] * directions).sum(dim=-3)).square()
    bound = frobenius_norm(R).square() * (1 - y.square().sum(-1) + (z - y).square().sum(-1))
    assert (actual <= bound * (1 + 1e-6) + 1e-12).all()


@property_test
@given(seed=seeds, m=st.integers(3, 8), k=st.integers(1, 3), power=st.integers(-40, 40))
def test_the_coordinates_minimise(seed, m, k, power):
    generator = torch.Generator().manual_seed(seed)
    R = torch.randn(4, m, m, dtype=torch.float64, generator=generator)
    directions = torch.randn(4, k, m, m, dtype=torch.float64, generator=generator)
    directions[:, 0] *= 2.0**power
    problem = fit_directions(R, directions)
    expected = torch.linalg.lstsq(directions.flatten(-2).mT, R.flatten(-2).unsqueeze(-1)).solution.squeeze(-1)
    torch.testing.assert_close(problem.coefficients(problem.coordinates), expected, rtol=1e-9, atol=1e-9 * 2.0**-power)


def test_directions_that_vanish_change_nothing():
    R = stack_of("well")
    directions = torch.stack([torch.zeros_like(R), R / 2, torch.zeros_like(R)], dim=1)
    problem = fit_directions(R, directions)
    c = problem.coefficients(problem.coordinates)
    torch.testing.assert_close(c, torch.tensor([0.0, 2.0, 0.0], dtype=torch.float64).expand_as(c))


# Deflation


def columns_of(R: Tensor) -> Tensor:
    return torch.linalg.vector_norm(R, dim=-2)


def eps_of(A: Tensor, X: Tensor) -> Tensor:
    """Return what rounding may leave of a residual, for each member."""
    return 100 * torch.finfo(A.dtype).eps * (1 + frobenius_norm(A) * frobenius_norm(X))[:, None]


@pytest.mark.parametrize("dtype", DTYPES)
@property_test
@given(
    seed=seeds,
    m=st.integers(1, 12),
    rank=st.integers(0, 8),
    n_powers=st.integers(1, 4),
    kind=st.sampled_from([*REGULAR, "singular", "zero"]),
)
def test_deflation_lets_no_column_of_the_residual_grow_and_keeps_it_that_of_x(dtype, seed, m, rank, n_powers, kind):
    A = scaled(stack_of(kind, 4, m, seed=seed, dtype=dtype))
    X, R = minimal_residual_start(A)
    X_new, R_new = deflate(A, X, R, rank, n_powers)
    assert X_new.dtype == R_new.dtype == dtype
    rounding = eps_of(A, X_new)
    assert (columns_of(R_new) <= columns_of(R) + rounding).all()
    assert (columns_of(R_new - residual(A, X_new)) <= rounding).all()


@property_test
@given(seed=seeds, m=st.integers(2, 12), rank=st.integers(1, 6))
def test_from_any_start_too_no_column_grows(seed, m, rank):
    A, X = stack_of("uniform", 4, m, seed=seed), stack_of("uniform", 4, m, seed=seed + 1)
    R = residual(A, X)
    X_new, R_new = deflate(A, X, R, rank)
    assert (columns_of(R_new) <= columns_of(R) + eps_of(A, X_new)).all()
    torch.testing.assert_close(R_new, residual(A, X_new), rtol=0, atol=eps_of(A, X_new).max().item())


def test_deflation_of_rank_zero_or_of_one_number_changes_nothing():
    for rank, m in ((0, 5), (2, 1)):
        A = stack_of("uniform", m=m)
        X, R = minimal_residual_start(A)
        assert all(new is old for new, old in zip(deflate(A, X, R, rank), (X, R), strict=True))
        assert_equal(minimal_residual(A, 3, rank=rank), minimal_residual(A, 3))


def test_no_more_than_half_of_the_directions_are_taken():
    for m in (2, 5, 8):
        A = stack_of("uniform", m=m)
        X, R = minimal_residual_start(A)
        for most, more in zip(deflate(A, X, R, m // 2), deflate(A, X, R, m), strict=True):
            assert_equal(more, most)
        assert (torch.linalg.matrix_rank(deflate(A, X, R, m)[0] - X) <= m // 2).all()


@property_test
@given(seed=seeds, rank=st.integers(1, 4), missing=st.integers(0, 3), decades=st.integers(0, 6))
def test_a_residual_of_exactly_that_rank_vanishes(seed, rank, missing, decades):
    # All singular values of A but the last `rank` have their inverse in X already.
    m = 2 * rank + missing
    values = torch.ones(m, dtype=torch.float64)
    values[m - rank :] = torch.logspace(-0.1, -0.1 - decades / 2, rank)
    Q, P = stack_of("orthogonal", 2, m, seed=seed)
    A = (Q * values) @ P
    R = (Q * (1 - values**2)) @ Q.mT
    X, R_new = deflate(A[None], A.mT[None], R[None], rank)
    assert frobenius_norm(R_new) < 1e-7
    assert norms_of(A[None], X) < 1e-7


@pytest.mark.parametrize("rank", [1, 2, 4])
@pytest.mark.parametrize("dtype", DTYPES)
def test_deflation_leaves_singular_and_zero_matrices_and_solved_ones_finite(dtype, rank):
    stacks = [stack_of("singular", 4, 8, rank=left, dtype=dtype) for left in range(8)]
    A = scaled(torch.cat([*stacks, torch.eye(8, dtype=dtype)[None], torch.ones(1, 8, 8, dtype=dtype)]))
    for X, R in (minimal_residual_start(A), (torch.zeros_like(A), identity_like(A).expand_as(A))):
        X, R = deflate(A, X, R, rank)
        assert X.isfinite().all()
        assert R.isfinite().all()
        X = minimal_residual(A, 8, rank=rank)
        assert X.isfinite().all()
        assert (norms_of(A, X) <= 8**0.5 + 1e-3).all()
    eye = torch.eye(8, dtype=dtype)[None]
    for new, old in zip(deflate(eye, eye, 0 * eye, rank), (eye, 0 * eye), strict=True):
        assert_equal(new, old)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_member_that_is_not_finite_disturbs_no_other_and_has_a_finite_answer(bad):
    A = scaled(stack_of("uniform", 4, 6))
    X, R = minimal_residual_start(A)
    spoilt = R.clone()
    spoilt[1, 2, 3] = bad
    others = [0, 2, 3]
    for new, expected in zip(deflate(A, X, spoilt, 2), deflate(A, X, R, 2), strict=True):
        torch.testing.assert_close(new[others], expected[others])
    A[1] *= 1e200  # The start is not finite.
    assert minimal_residual(A, 4, rank=2).isfinite().all()


@property_test
@given(seed=seeds, m=st.integers(1, 10), order=st.permutations(range(6)))
def test_deflation_keeps_members_apart(seed, m, order):
    A = scaled(stack_of("uniform", 6, m, seed=seed))
    X, R = minimal_residual_start(A)
    together = deflate(A, X, R, 2)
    for new, expected in zip(deflate(A[order], X[order], R[order], 2), together, strict=True):
        torch.testing.assert_close(new, expected[order], rtol=1e-6, atol=1e-8 * (1 + expected.abs().max().item()))
    for new, expected in zip(deflate(A[3:4], X[3:4], R[3:4], 2), together, strict=True):
        torch.testing.assert_close(new[0], expected[3], rtol=1e-6, atol=1e-8 * (1 + expected.abs().max().item()))


@property_test
@given(seed=seeds, m=st.integers(2, 8), n_steps=st.integers(0, 4), rank=st.integers(1, 3))
def test_permutations_of_rows_and_columns_commute_with_deflated_steps(seed, m, n_steps, rank):
    A, P, Q = stack_of("spd", 1, m, seed=seed), *stack_of("permutation", 2, m, seed=seed)
    expected = Q.mT @ minimal_residual(A, n_steps, rank=rank) @ P.mT
    torch.testing.assert_close(minimal_residual(P @ A @ Q, n_steps, rank=rank), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("m", [8, 16])
def test_deflated_steps_are_on_average_better(m):
    A = stack_of("uniform", 256, m)
    for n_steps in (2, 4, 6):
        deflated, plain = (norms_of(A, minimal_residual(A, n_steps, rank=rank)).mean() for rank in (2, 0))
        assert deflated < 0.8 * plain


def test_deflation_spends_no_product():
    A = stack_of("well", 2, 6)
    X, R = minimal_residual_start(A)
    with ProductCounter(6, 2) as counter:
        deflate(A, X, R, 3)
    assert counter.n_products == 0


@property_test
@given(seed=seeds, m=st.integers(2, 8), k=st.integers(1, 5), repeated=st.booleans())
def test_orthonormal_columns_the_same_combination_and_zeros_where_they_depend(seed, m, k, repeated):
    k = min(k, m)
    generator = torch.Generator().manual_seed(seed)
    W, U = torch.randn(2, 3, m, k, dtype=torch.float64, generator=generator)
    if repeated and k > 1:
        W[..., -1] = W[..., :-1].sum(dim=-1)
    U_new, W_new = orthonormalize(U, W)
    expected = torch.eye(k, dtype=torch.float64)
    if repeated and k > 1:
        expected[-1, -1] = 0.0
        assert_equal(U_new[..., -1], torch.zeros(3, m, dtype=torch.float64))
    torch.testing.assert_close(W_new.mT @ W_new, expected.expand(3, k, k), rtol=0, atol=1e-8)
    combination = torch.linalg.pinv(W) @ W_new
    if not (repeated and k > 1):
        torch.testing.assert_close(U_new, U @ combination, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(orthonormalize(W, W)[0], orthonormalize(W, W)[1])


def test_columns_of_zeros_stay_zeros():
    W = torch.zeros(2, 4, 3)
    for columns in orthonormalize(torch.ones(2, 4, 3), W):
        assert_equal(columns, W)


def test_gradient_of_deflation_is_that_of_finite_differences():
    A = scaled(stack_of("uniform", 2, 4)).requires_grad_()
    torch.autograd.gradcheck(lambda A: deflate(A, *minimal_residual_start(A), 2), A)
    torch.autograd.gradcheck(lambda A: minimal_residual(A, 2, rank=2), A, atol=1e-4)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rank", [1, 2])
def test_gradients_of_deflation_are_finite_where_nothing_is_independent(rank, dtype):
    stacks = [stack_of("singular", 4, 4, rank=left, dtype=dtype) for left in range(4)]
    A = scaled(torch.cat([*stacks, stack_of("orthogonal", 4, 4, dtype=dtype), torch.eye(4, dtype=dtype)[None]]))
    A.requires_grad_()
    X, R = deflate(A, *minimal_residual_start(A), rank)
    (X.square().sum() + R.square().sum()).backward()
    assert A.grad.isfinite().all()


# Steps of high degree


@property_test
@given(seed=seeds, n_squarings=st.integers(1, 5))
def test_a_chain_is_the_polynomial_of_its_formula_whose_degree_doubles(seed, n_squarings):
    given = np.random.default_rng(seed).uniform(-1, 1, n_chain_coefficients(n_squarings))
    coefficients = iter(given)
    Y = [None, Polynomial([0, 1]), Polynomial([0, 0, 1])]  # Y[1] = R, Y[2] = S
    for i in range(2, n_squarings + 1):
        left = [0.0] * (i - 1) if i == 2 else [next(coefficients) for _ in range(1, i)]
        right = [next(coefficients) for _ in range(1, i)]
        Y.append(
            (Y[i] + sum(c * Y[j] for j, c in enumerate(left, 1)))
            * (Y[i] + sum((1 + c) * Y[j] for j, c in enumerate(right, 1)) + next(coefficients))
        )
    assert next(coefficients, None) is None
    T = Y[n_squarings + 1]
    assert T.degree() == 2**n_squarings
    R = scaled(stack_of("spd", 4, 3, seed=seed)) / 2
    values, vectors = torch.linalg.eigh(R)
    expected = vectors @ torch.diag_embed(torch.from_numpy(T(values.numpy()))) @ vectors.mT
    chain = power_chain(R @ R, R, n_squarings, torch.from_numpy(given).expand(4, -1))
    torch.testing.assert_close(chain, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("n_squarings", [1, 2, 3, 4])
def test_a_chain_costs_a_product_less_than_its_squarings_and_is_by_default_that_of_zeros(n_squarings):
    R = stack_of("spd", 4, 6) / 4
    S = R @ R
    with ProductCounter(6, 4) as counter:
        T = power_chain(S, R, n_squarings)
    assert counter.n_products == n_squarings - 1
    assert_equal(T, power_chain(S, R, n_squarings, torch.zeros(4, n_chain_coefficients(n_squarings))))


@pytest.mark.parametrize("n_squarings", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", ["well", "spd", "orthogonal"])
def test_steps_of_high_degree_are_never_worse_than_the_start_and_converge(kind, n_squarings):
    A = stack_of(kind, 32, 5)
    norms = [norms_of(A, minimal_residual(A, n, n_squarings=n_squarings)) for n in range(8)]
    floor = 1e-14 * torch.linalg.cond(A)
    for after in norms:
        assert (after <= norms[0] + floor).all()
    assert (norms[-1] < 10 * floor).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_squarings", [2, 3, 4])
@pytest.mark.parametrize("rank", [0, 1, 2, 3])
def test_steps_of_high_degree_leave_singular_matrices_finite(rank, n_squarings, dtype):
    A = stack_of("singular", 16, 4, rank=rank, dtype=dtype)
    X = minimal_residual(A, 6, n_squarings=n_squarings)
    assert X.isfinite().all()
    assert (norms_of(A, X) <= 2 + 1e-3).all()


# Other starts


@property_test
@given(seed=seeds, m=sizes, kind=st.sampled_from(["uniform", "spd", "orthogonal"]))
def test_the_start_is_the_best_multiple_of_the_identity(seed, m, kind):
    A = stack_of(kind, 4, m, seed=seed)
    c, R = identity_start(A)
    assert c.shape == (4, 1, 1)
    X = c * identity_like(A)
    torch.testing.assert_close(R, residual(A, X), rtol=0, atol=1e-13)
    for factor in (0.99, 1.01):
        assert (norms_of(A, X) <= norms_of(A, factor * X) + 1e-14).all()
    if kind == "spd":
        assert (torch.linalg.matrix_norm(R, ord=2) < 1).all()
    assert_equal(identity_start(torch.zeros_like(A))[1], identity_like(A).expand_as(A))


@pytest.mark.parametrize("m", range(1, 9))
@property_test
@given(
    seed=seeds,
    kind=st.sampled_from(["uniform", "well", "condition", "spd", "orthogonal", "permutation"]),
    power=st.integers(-2, 2),
)
def test_the_characteristic_inverse_is_the_inverse(m, seed, kind, power):
    A = 2.0**power * scaled(stack_of(kind, 4, m, seed=seed))
    expected = np.linalg.inv(A.numpy())
    errors = np.linalg.norm(characteristic_inverse(A).numpy() - expected, axis=(1, 2))
    magnification = np.linalg.norm(A, ord=2, axis=(1, 2)) ** m / abs(np.linalg.det(A))
    assert (errors <= 2e-14 * m * magnification * np.linalg.norm(expected, axis=(1, 2))).all()


@pytest.mark.parametrize("m", range(1, 25))
def test_the_products_of_the_characteristic_inverse_are_counted_and_few(m):
    A = scaled(stack_of("well", 2, m))
    with ProductCounter(m, 2) as counter:
        characteristic_inverse(A)
    assert counter.n_products == characteristic_products(m) <= 3 * math.sqrt(m)
    with ProductCounter(m, 2) as counter:
        characteristic_start(A)
    assert counter.n_products == characteristic_products(m) + 2


def test_without_a_determinant_the_characteristic_inverse_is_not_finite():
    A = torch.cat([stack_of("zero", 1), torch.diag(torch.tensor([1.0, 2.0, 0.0])).double()[None], stack_of("well", 1)])
    assert (~characteristic_inverse(A).isfinite()).flatten(1).any(dim=1).tolist() == [True, True, False]


@pytest.mark.parametrize("dtype", DTYPES)
@property_test
@given(
    seed=seeds,
    m=st.integers(1, 16),
    kind=st.sampled_from(["uniform", "condition", "graded", "spd", "permutation", "singular", "zero"]),
    condition=st.sampled_from([1e3, 1e6, 1e12]),
)
def test_the_characteristic_start_is_never_worse_than_the_transpose_and_what_it_says(dtype, seed, m, kind, condition):
    A = scaled(stack_of(kind, 4, m, seed=seed, condition=condition, dtype=dtype))
    X, R = characteristic_start(A)
    assert X.isfinite().all()
    transpose_norms = frobenius_norm(minimal_residual_start(A)[1])
    assert (frobenius_norm(R) <= transpose_norms + 30 * m * torch.finfo(dtype).eps).all()
    # R is not formed from X: where rounding would part the two, the characteristic inverse is left out.
    assert (norms_of(A, X) <= frobenius_norm(R) + 0.2).all()
    assert (norms_of(A, X) <= transpose_norms + 0.05).all()
    if kind == "permutation":
        assert (norms_of(A, X) < 100 * m * torch.finfo(dtype).eps).all()


# Diagonals


@property_test
@given(seed=seeds, m=st.integers(2, 8))
def test_diagonals_stand_for_diagonal_matrices(seed, m):
    a, b = torch.from_numpy(np.random.default_rng(seed).uniform(-1, 1, (2, 4, m, 1)))
    A, B = torch.diag_embed(a.squeeze(-1)), torch.diag_embed(b.squeeze(-1))
    assert holds_diagonals(a)
    assert not holds_diagonals(A)
    for short, full in (
        (identity_like(a).expand_as(a), identity_like(A).expand_as(A)),
        (product(a, b), product(A, B)),
        (transpose(a), transpose(A)),
        (steps.residual(a, b), residual(A, B)),
    ):
        torch.testing.assert_close(torch.diag_embed(short.squeeze(-1)), full)
    torch.testing.assert_close(trace(a), trace(A))
    torch.testing.assert_close(frobenius_norm(a), frobenius_norm(A))


@property_test
@given(seed=seeds, m=st.integers(2, 8), n_squarings=st.integers(1, 4))
def test_steps_on_singular_values_have_the_residuals_of_the_matrix(seed, m, n_squarings):
    A = stack_of("well", 4, m, seed=seed)
    norms = []
    for B in (A, torch.linalg.svdvals(A).unsqueeze(-1)):
        X, R = steps.minimal_residual_start(B)
        X, R = steps.minimal_residual_step(X, R, n_squarings=n_squarings)
        norms.append(frobenius_norm(steps.residual(B, X)))
    torch.testing.assert_close(*norms, rtol=1e-6, atol=1e-8)


# What is not square is refused

OF_SQUARES = {
    "characteristic_inverse": characteristic_inverse,
    "characteristic_start": characteristic_start,
    "combine": lambda A: combine(A, A, A[:, None], A[:, None], torch.ones(2, 1)),
    "combine X": lambda A: combine(A, torch.ones(2, 3, 3), *torch.ones(2, 2, 1, 3, 3), torch.ones(2, 1)),
    "complex_to_real": lambda A: complex_to_real(A.to(torch.complex64)),
    "deflate": lambda A: deflate(A, A, A, 1),
    "deflate without rank": lambda A: deflate(A, A, A, 0),
    "exact_inverse": exact_inverse,
    "identity_start": identity_start,
    "minimal_residual": lambda A: minimal_residual(A, 6),
    "minimal_residual_basis": lambda A: minimal_residual_basis(A, A, A),
    "minimal_residual_start": minimal_residual_start,
    "minimal_residual_step": lambda A: minimal_residual_step(A, A),
    "newton_schulz": lambda A: newton_schulz(A, A, 0),
    "power_chain": lambda A: power_chain(A, A, 1),
    "real_to_complex": real_to_complex,
    "residual": lambda A: residual(A, A),
    "residual X": lambda A: residual(torch.ones(2, 3, 3), A),
    "with_exact_gradient": lambda A: with_exact_gradient(A, torch.ones_like),
}
OF_DIAGONALS_TOO = {
    "holds_diagonals": holds_diagonals,
    "identity_like": identity_like,
    "product": lambda A: product(A, A),
    "trace": trace,
    "transpose": transpose,
}


@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 3, 1), (2, 1, 3), (3,)], ids=str)
@pytest.mark.parametrize("function", OF_SQUARES.values(), ids=OF_SQUARES)
def test_what_is_not_square_is_refused(function, shape):
    advice = r"pinv.*\(A\^T A \+ l\^2 I\)\^-1 A\^T" if len(shape) > 1 else r"reshape\(1, 1\)"
    message = rf"square matrices, shape \(\.\.\., m, m\), got shape {re.escape(str(shape))}\. .*{advice}"
    with pytest.raises(ValueError, match=message):
        function(torch.rand(shape))


@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 1, 3), (3,)], ids=str)
@pytest.mark.parametrize("function", OF_DIAGONALS_TOO.values(), ids=OF_DIAGONALS_TOO)
def test_what_is_neither_square_nor_a_column_is_refused(function, shape):
    with pytest.raises(ValueError, match=rf"square matrices.*got shape {re.escape(str(shape))}"):
        function(torch.rand(shape))


# Bookkeeping


@given(n_steps=st.integers(1, 50), n_squarings=st.integers(2, 4))
def test_after_steps_of_high_degree_the_last_begins_and_ends_with_a_residual_of_its_own(n_steps, n_squarings):
    steps = recomputation_schedule(n_steps, n_squarings)
    assert {n_steps, max(1, n_steps - 1)} <= steps <= set(range(1, n_steps + 1))
    assert max(after - before for before, after in pairwise([0, *sorted(steps)])) <= 3


@given(n_steps=st.integers(1, 200))
def test_the_residual_is_recomputed_last_and_every_second_or_third_step(n_steps):
    steps = sorted(recomputation_schedule(n_steps))
    assert steps[-1] == n_steps
    assert len(steps) == math.ceil(n_steps / 3)
    gaps = {after - before for before, after in pairwise([0, *steps])}
    assert gaps <= ({2, 3} if n_steps > 1 else {1})


def test_nothing_is_recomputed_before_the_first_step():
    assert recomputation_schedule(0) == recomputation_schedule(0, 3) == frozenset()


@pytest.mark.parametrize(
    ("old", "new", "takes_new"),
    [
        (2.0, 1.0, True),
        (1.0, 2.0, False),
        (1.0, math.nan, False),
        (1.0, math.inf, False),
        (math.nan, 1.0, True),
        (math.inf, 1.0, True),
        (math.nan, math.inf, False),
        (math.inf, math.nan, False),
    ],
)
def test_the_better_is_kept_and_what_is_not_finite_loses(old, new, takes_new):
    best = torch.full((1, 1, 1), 10.0), torch.full((1, 1, 1), old)
    X, R = keep_better(best, torch.full((1, 1, 1), 20.0), torch.full((1, 1, 1), new))
    assert X.item() == (20.0 if takes_new else 10.0)
    assert_equal(R.flatten(), torch.tensor([new if takes_new else old]))


def test_the_loser_gets_no_gradient_even_where_it_is_not_finite():
    X = torch.tensor([[[1.0]], [[2.0]], [[math.nan]]], requires_grad=True)
    best = torch.zeros(3, 1, 1, requires_grad=True), torch.full((3, 1, 1), 0.5)
    kept, _ = keep_better(best, X, torch.tensor([[[0.1]], [[0.9]], [[math.nan]]]))
    kept.sum().backward()
    assert X.grad.flatten().tolist() == [1.0, 0.0, 0.0]
    assert best[0].grad.flatten().tolist() == [0.0, 1.0, 1.0]


# Complex matrices


def complex_stack(m, seed, dtype=torch.complex128):
    return torch.complex(stack_of("well", 3, m, seed=seed), stack_of("uniform", 3, m, seed=seed) / (4 * m)).to(dtype)


@property_test
@given(seed=seeds, m=st.integers(1, 6))
@pytest.mark.parametrize("container", [Tensor.clone, Tensor.numpy], ids=["torch", "numpy"])
def test_real_images_of_complex_matrices_multiply_and_invert_alike(container, seed, m):
    A, B = container(complex_stack(m, seed)), container(complex_stack(m, seed + 1))
    image = complex_to_real(A)
    assert type(image) is type(A)
    assert type(real_to_complex(image)) is type(A)
    linalg = torch.linalg if isinstance(A, Tensor) else np.linalg
    assert (real_to_complex(image) == A).all()
    for found, expected in (
        (complex_to_real(A @ B), image @ complex_to_real(B)),
        (complex_to_real(A.conj().swapaxes(-1, -2)), image.swapaxes(-1, -2)),
        (real_to_complex(linalg.inv(image)), linalg.inv(A)),
    ):
        torch.testing.assert_close(found, expected)
    values = np.linalg.svd(np.asarray(A), compute_uv=False)
    np.testing.assert_allclose(np.linalg.svd(np.asarray(image), compute_uv=False), values.repeat(2, axis=-1))


@pytest.mark.parametrize("container", [Tensor.clone, Tensor.numpy], ids=["torch", "numpy"])
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_complex_precision_is_kept(dtype, container):
    A = container(complex_stack(2, 0, dtype))
    assert str(complex_to_real(A).dtype).removeprefix("torch.") == str(dtype.to_real()).removeprefix("torch.")
    assert real_to_complex(complex_to_real(A)).dtype == A.dtype


def test_big_endian_lists_and_gradients_are_mapped_too():
    A = complex_stack(2, 0)
    np.testing.assert_array_equal(complex_to_real(A.numpy().astype(">c16")), complex_to_real(A))
    np.testing.assert_array_equal(complex_to_real(A.tolist()), complex_to_real(A))
    assert torch.autograd.gradcheck(lambda B: real_to_complex(2 * complex_to_real(B)), A.requires_grad_())


@pytest.mark.parametrize("container", [torch.from_numpy, np.array, np.ndarray.tolist])
def test_a_map_of_the_wrong_kind_of_numbers_is_refused(container):
    A = np.ones((2, 2, 2))
    with pytest.raises(TypeError, match=r"complex_to_real takes complex64 or complex128, got float64\. .*as it is"):
        complex_to_real(container(A))
    with pytest.raises(TypeError, match="real_to_complex takes float32 or float64, got complex128"):
        real_to_complex(container(A + 0j))
    with pytest.raises(TypeError, match="got int64"):
        real_to_complex(container(A.astype(int)))


def test_what_has_no_complex_preimage_or_real_image_is_refused():
    with pytest.raises(ValueError, match=r"even size, shape \(\.\.\., 2 m, 2 m\), got shape \(2, 3, 3\)"):
        real_to_complex(np.ones((2, 3, 3)))
    masked = np.ma.array([[1j, 2], [3, 4]], mask=[[1, 0], [0, 0]])
    for function in (complex_to_real, real_to_complex):
        with pytest.raises(ValueError, match=r"masked entries.*filled"):
            function(masked)
    with pytest.raises(TypeError, match="sparse_coo tensor of complex64"):
        complex_to_real(torch.eye(2, dtype=torch.complex64).to_sparse())
