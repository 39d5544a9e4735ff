"""Laws of a step: its least-squares problem, its directions, and the deflation before it."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.linalg import matrix_norm

from skdmi.iteration import IDENTITY, TRANSPOSE, deflate, minimal_residual, newton_schulz, take_step
from skdmi.iteration.deflation import orthonormalize
from skdmi.iteration.least_squares import fit_directions
from skdmi.iteration.steps import STEP_PRODUCTS
from skdmi.linalg import residual, split_exponent
from skdmi.linalg.products import entries
from skdmi.linalg.residuals import identity_like
from tests.products import ProductCounter
from tests.tensors import DTYPES, REGULAR, assert_equal, fixed, norms_of, property_test, scaled, seeds, sizes, stack_of

transpose_start = TRANSPOSE.function


# Steps


@pytest.mark.parametrize("n_coefficients", [2, 3])
def test_a_step_takes_from_the_residual_what_its_directions_say(n_coefficients):
    A = stack_of("well")
    X, R = transpose_start(A)
    z = torch.linspace(-1, 2, 8 * n_coefficients, dtype=torch.float64).reshape(8, n_coefficients)
    X_new, R_new = take_step(X, R, lambda step, R, problem: z, n_coefficients=n_coefficients)
    torch.testing.assert_close(R_new, residual(A, X_new))
    eye, S = identity_like(A).expand_as(A), R @ R
    powers = torch.stack([R, S, eye][:n_coefficients], dim=1)
    directions = powers - R[:, None] @ powers
    c = fit_directions(R, directions).coefficients(z)[..., None, None]
    torch.testing.assert_close(X_new, X @ (eye + (c * powers).sum(dim=1)))
    torch.testing.assert_close(R_new, R - (c * directions).sum(dim=1))


@pytest.mark.parametrize("n_coefficients", [2, 3])
def test_known_steps_are_steps_with_known_coefficients(n_coefficients):
    A = stack_of("well")
    X, R = transpose_start(A)
    for c, expected in (((1, 0, 0), newton_schulz(A, X, 1)), ((1, 1, 0), X + X @ (R + R @ R)), ((0, 0, 0), X)):
        found, _ = take_step(X, R, fixed(*c[:n_coefficients]), n_coefficients=n_coefficients)
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("n_coefficients", [2, 3])
@pytest.mark.parametrize("dtype", DTYPES)
def test_multiples_of_the_identity_step_as_the_matrices_do_for_one_product_less(dtype, n_coefficients):
    A = stack_of("spd", 8, 5, dtype=dtype)
    c, R = IDENTITY.function(A)
    answers, n_products = [], []
    for X in (c, c * identity_like(A)):
        with ProductCounter(5, 8) as counter:
            answers.append(take_step(X, R, n_coefficients=n_coefficients))
        n_products.append(counter.n_products)
    assert n_products == [STEP_PRODUCTS - 1, STEP_PRODUCTS]
    for short, full in zip(*answers, strict=True):
        assert short.shape == A.shape
        torch.testing.assert_close(short, full)


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
    X, R = transpose_start(A)
    one_step = {n: norms_of(A, take_step(X, R, n_coefficients=n)[0]) for n in (2, 3)}
    rounding = 1e-13 * matrix_norm(A) * matrix_norm(torch.linalg.pinv(A))
    newton, hyperpower = norms_of(A, newton_schulz(A, X, 1)), norms_of(A, X + X @ (R + R @ R))
    assert (one_step[2] <= newton + rounding).all()
    assert (one_step[2] <= hyperpower + rounding).all()
    assert (one_step[3] <= one_step[2] + rounding).all()
    assert (one_step[3] <= norms_of(A, X) + rounding).all()


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


# Least squares


@property_test
@given(seed=seeds, m=st.integers(4, 10), k=st.integers(1, 4))
def test_the_identity_of_least_squares(seed, m, k):
    generator = torch.Generator().manual_seed(seed)
    R = torch.randn(6, m, m, dtype=torch.float64, generator=generator)
    directions = torch.randn(6, k, m, m, dtype=torch.float64, generator=generator)
    problem = fit_directions(R, directions)
    z = torch.randn(6, k, dtype=torch.float64, generator=generator)
    actual = matrix_norm(R - (problem.coefficients(z)[..., None, None] * directions).sum(dim=-3)).square()
    y = problem.coordinates
    expected = matrix_norm(R).square() * (1 - y.square().sum(-1) + (z - y).square().sum(-1))
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(problem.remainder(), 1 - y.square().sum(-1))


@property_test
@given(seed=seeds, m=st.integers(1, 8), kind=st.sampled_from(["uniform", "orthogonal", "condition", "zero", "spd"]))
def test_dependent_directions_only_lower_the_residual(seed, m, kind):
    _, R = transpose_start(split_exponent(stack_of(kind, 6, m, seed=seed))[0])
    powers = torch.stack([R, R @ R, identity_like(R).expand_as(R)], dim=1)
    directions = powers - R[:, None] @ powers
    problem = fit_directions(R, directions)
    y = problem.coordinates
    z = y + torch.randn(y.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    actual = matrix_norm(R - (problem.coefficients(z)[..., None, None] * directions).sum(dim=-3)).square()
    bound = matrix_norm(R).square() * (1 - y.square().sum(-1) + (z - y).square().sum(-1))
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
    return 100 * torch.finfo(A.dtype).eps * (1 + matrix_norm(A) * matrix_norm(X))[:, None]


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
    X, R = transpose_start(A)
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
        X, R = transpose_start(A)
        assert all(new is old for new, old in zip(deflate(A, X, R, rank), (X, R), strict=True))
        assert_equal(minimal_residual(A, 3, rank=rank), minimal_residual(A, 3))


def test_no_more_than_half_of_the_directions_are_taken():
    for m in (2, 5, 8):
        A = stack_of("uniform", m=m)
        X, R = transpose_start(A)
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
    assert matrix_norm(R_new) < 1e-7
    assert norms_of(A[None], X) < 1e-7


@pytest.mark.parametrize("rank", [1, 2, 4])
@pytest.mark.parametrize("dtype", DTYPES)
def test_deflation_leaves_singular_and_zero_matrices_and_solved_ones_finite(dtype, rank):
    stacks = [stack_of("singular", 4, 8, rank=left, dtype=dtype) for left in range(8)]
    A = scaled(torch.cat([*stacks, torch.eye(8, dtype=dtype)[None], torch.ones(1, 8, 8, dtype=dtype)]))
    for X, R in (transpose_start(A), (torch.zeros_like(A), identity_like(A).expand_as(A))):
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
    X, R = transpose_start(A)
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
    X, R = transpose_start(A)
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
    X, R = transpose_start(A)
    with ProductCounter(6, 2) as counter:
        deflate(A, X, R, 3)
    assert counter.n_products == 0


@property_test
@given(seed=seeds, m=st.integers(2, 8), k=st.integers(1, 5), repeated=st.booleans())
def test_orthonormal_rows_the_same_combination_and_zeros_where_they_depend(seed, m, k, repeated):
    k = min(k, m)
    generator = torch.Generator().manual_seed(seed)
    W, U = torch.randn(2, k, m, 3, dtype=torch.float64, generator=generator)
    if repeated and k > 1:
        W[-1] = W[:-1].sum(dim=0)
    U_new, W_new = (T.movedim(-1, 0) for T in orthonormalize(torch.cat([U, W], dim=1), m).rows.split(m, dim=1))
    U, W = U.movedim(-1, 0), W.movedim(-1, 0)
    expected = torch.eye(k, dtype=torch.float64)
    if repeated and k > 1:
        expected[-1, -1] = 0.0
        assert_equal(U_new[..., -1, :], torch.zeros(3, m, dtype=torch.float64))
    torch.testing.assert_close(W_new @ W_new.mT, expected.expand(3, k, k), rtol=0, atol=1e-8)
    if not (repeated and k > 1):
        torch.testing.assert_close(U_new, W_new @ torch.linalg.pinv(W) @ U, rtol=1e-6, atol=1e-6)
    assert_equal(orthonormalize(entries(W)).rows, entries(W_new))


def test_rows_of_zeros_stay_zeros():
    rows = torch.cat([torch.ones(3, 4, 2), torch.zeros(3, 4, 2)], dim=1)
    assert_equal(orthonormalize(rows, 4).rows, torch.zeros_like(rows))


def test_gradient_of_deflation_is_that_of_finite_differences():
    A = scaled(stack_of("uniform", 2, 4)).requires_grad_()
    torch.autograd.gradcheck(lambda A: deflate(A, *transpose_start(A), 2), A)
    torch.autograd.gradcheck(lambda A: minimal_residual(A, 2, rank=2), A, atol=1e-4)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rank", [1, 2])
def test_gradients_of_deflation_are_finite_where_nothing_is_independent(rank, dtype):
    stacks = [stack_of("singular", 4, 4, rank=left, dtype=dtype) for left in range(4)]
    A = scaled(torch.cat([*stacks, stack_of("orthogonal", 4, 4, dtype=dtype), torch.eye(4, dtype=dtype)[None]]))
    A.requires_grad_()
    X, R = deflate(A, *transpose_start(A), rank)
    (X.square().sum() + R.square().sum()).backward()
    assert A.grad.isfinite().all()
