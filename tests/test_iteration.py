"""Laws of the iteration: where it starts, that it never goes back, and that what it spends is what is counted."""

import math
import re
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.linalg import matrix_norm

from skdmi import NeuralMatrixInverter
from skdmi.iteration import (
    IDENTITY,
    STARTS,
    TRANSPOSE,
    Start,
    count_products,
    iterate,
    least_residual,
    minimal_residual,
    newton_schulz,
)
from skdmi.iteration.least_squares import fit_directions
from skdmi.iteration.loop import keep_better, recomputation_schedule
from skdmi.linalg import exact_inverse, residual, scale_by_power_of_two, split_exponent
from skdmi.linalg.residuals import identity_like
from skdmi.modules import InverterResNet, PolynomialInverse
from skdmi.modules.network import FAMILY
from tests.matrices import make_stack
from tests.products import ProductCounter
from tests.tensors import DTYPES, REGULAR, assert_equal, fixed, norms_of, property_test, scaled, seeds, sizes, stack_of

transpose_start = TRANSPOSE.function
identity_start = IDENTITY.function


# Starts


@property_test
@given(seed=seeds, m=sizes, kind=st.sampled_from(["uniform", "well", "condition"]))
def test_the_start_is_the_best_multiple_of_the_transpose(seed, m, kind):
    A = stack_of(kind, 4, m, seed=seed)
    X, R = transpose_start(A)
    torch.testing.assert_close(R, residual(A, X), rtol=0, atol=1e-13)
    for factor in (0.99, 1.01):
        assert (norms_of(A, X) <= norms_of(A, factor * X)).all()
    assert (torch.linalg.matrix_norm(R, ord=2) < 1).all()


@property_test
@given(seed=seeds, m=sizes, kind=st.sampled_from(["uniform", "spd", "orthogonal"]))
def test_the_start_is_the_best_multiple_of_the_inverted_diagonal(seed, m, kind):
    A = stack_of(kind, 4, m, seed=seed)
    d, R = identity_start(A)
    assert d.shape == (4, m, 1)
    X = d * identity_like(A)
    torch.testing.assert_close(R, residual(A, X), rtol=1e-13, atol=1e-13)
    for factor in (0.99, 1.01):
        assert (norms_of(A, X) <= norms_of(A, factor * X) + 1e-14).all()
    diagonal = A.diagonal(dim1=1, dim2=2)
    positive = (diagonal > 0).all(dim=1)
    relative = d.squeeze(-1) * torch.where(positive[:, None], diagonal, 1.0)
    torch.testing.assert_close(relative, relative[:, :1].expand(-1, m))
    if kind == "spd":
        assert (torch.linalg.eigvals(R).abs() < 1).all()
    assert_equal(identity_start(torch.zeros_like(A))[1], identity_like(A).expand_as(A))


# Newton-Schulz


@property_test
@given(seed=seeds, m=sizes)
def test_newton_schulz_squares_the_residual(seed, m):
    A = stack_of("well", 4, m, seed=seed)
    X, R = transpose_start(A)
    for n_steps in (0, 1, 2):
        expected = torch.linalg.matrix_power(R, 2**n_steps)
        torch.testing.assert_close(residual(A, newton_schulz(A, X, n_steps)), expected, rtol=0, atol=1e-12)


# The minimal-residual iteration


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
    # But for singular members: of these rounding decides, and it goes by the place in a vector register.
    A = torch.cat([stack_of(kind, dtype=dtype) for kind in [*REGULAR, "zero"]])
    order = torch.randperm(len(A), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(invert(A[order]), invert(A)[order], equal_nan=True, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_coefficients", [2, 3])
@pytest.mark.parametrize("rank", [0, 1, 2, 3])
def test_singular_matrices_stay_finite_with_finite_gradients(rank, n_coefficients, dtype):
    A = stack_of("singular", 16, 4, rank=rank, dtype=dtype).requires_grad_()
    X = minimal_residual(A, 12, n_coefficients=n_coefficients)
    assert X.isfinite().all()
    norms = matrix_norm(residual(A, X))
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


# From any start, by any rule

NEWTON = Start(lambda A: newton_of(*transpose_start(A)), 3, asks="patience")
JACOBI = Start(lambda A: jacobi_start(A), 0, asks="a large diagonal")
ALL_STARTS = STARTS | {"newton": NEWTON, "jacobi": JACOBI}


def newton_of(X, R):
    return X + X @ R, R @ R


def jacobi_start(A):
    """Return the reciprocals of the diagonal as a first inverse: no product."""
    reciprocals = 1 / A.diagonal(dim1=-2, dim2=-1)
    return torch.diag_embed(reciprocals), identity_like(A) - A * reciprocals.unsqueeze(-2)


@pytest.mark.parametrize("start", ALL_STARTS.values(), ids=ALL_STARTS)
def test_the_residual_of_a_start_is_that_of_its_inverse(start):
    A = scaled(stack_of("spd", 4, 5))
    X, R = start.function(A)
    torch.testing.assert_close(R, residual(A, X * identity_like(A) if X.shape[-1] == 1 else X), rtol=0, atol=1e-13)


@pytest.mark.parametrize("rank", [0, 2])
@pytest.mark.parametrize("start", ALL_STARTS.values(), ids=ALL_STARTS)
def test_the_products_spent_are_the_products_counted(start, rank):
    A = scaled(stack_of("spd", 8, 6))
    for n_steps in range(1, 9):
        with ProductCounter(6, 8) as counter:
            iterate(A, n_steps, start=start, rank=rank)
        assert counter.n_products == count_products(n_steps, start)
        assert PolynomialInverse(n_steps, 4, start=start, rank=rank).n_products(6) == counter.n_products


@pytest.mark.parametrize("start", ALL_STARTS.values(), ids=ALL_STARTS)
@pytest.mark.parametrize("dtype", DTYPES)
@property_test
@given(seed=seeds, m=sizes, n_steps=st.integers(0, 6))
def test_from_any_start_it_is_never_worse_than_there(start, dtype, seed, m, n_steps):
    A = scaled(stack_of("spd", 4, m, seed=seed, dtype=dtype))
    X, _ = start.function(A)
    X = X * identity_like(A) if X.shape[-1] == 1 else X
    found = iterate(A, n_steps, start=start)
    assert found.shape == A.shape
    rounding = 100 * torch.finfo(dtype).eps * m
    assert (norms_of(A, found) <= norms_of(A, X) + rounding).all()
    if n_steps == 0:
        assert_equal(found, X)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_coefficients", [2, 3])
@pytest.mark.parametrize("rank", [0, 1, 2])
def test_the_default_rule_is_the_minimal_residual_iteration_bit_for_bit(rank, n_coefficients, dtype):
    exact, _ = split_exponent(stack_of("uniform", 8, 5, dtype=dtype))
    exponent = torch.arange(-4, 4)
    for n_steps in range(8):
        found = minimal_residual(
            scale_by_power_of_two(exact, exponent), n_steps, rank=rank, n_coefficients=n_coefficients
        )
        expected = iterate(exact, n_steps, rank=rank, n_coefficients=n_coefficients)
        assert_equal(found, scale_by_power_of_two(expected, -exponent))


def test_the_defaults_are_those_of_the_network():
    A = scaled(stack_of("uniform", 8, 5))
    for n_steps in (1, 4):
        expected = iterate(A, n_steps, start=TRANSPOSE, rank=2, choose=least_residual, n_coefficients=3)
        assert_equal(iterate(A, n_steps), expected)
        assert count_products(n_steps) == count_products(n_steps, TRANSPOSE)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rank", [0, 2])
@pytest.mark.parametrize("start", ALL_STARTS.values(), ids=ALL_STARTS)
def test_an_untrained_network_is_the_iteration_bit_for_bit(start, rank, dtype):
    A = scaled(stack_of("spd", 8, 5, dtype=dtype))
    for n_steps in (1, 2, 5):
        network = PolynomialInverse(n_steps, 8, start=start, rank=rank).to(dtype)
        with torch.no_grad():
            assert_equal(network(A), iterate(A, n_steps, start=start, rank=rank))


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
@pytest.mark.parametrize("n_coefficients", [2, 3])
@pytest.mark.parametrize("n_steps", [0, 1, 2, 7])
def test_a_rule_is_asked_once_a_step_for_coordinates_of_what_it_is_shown(n_steps, n_coefficients, start):
    A = scaled(stack_of("spd", 8, 5))
    asked = []

    def choose(step, R, problem):
        asked.append(step)
        assert R.shape == A.shape
        assert problem.coordinates.shape == problem.cosines.shape == problem.scale.shape == (8, n_coefficients)
        expected = fit_directions(R, directions_of(R)[:, :n_coefficients])
        torch.testing.assert_close(problem.coordinates, expected.coordinates)
        return problem.coordinates

    X = iterate(A, n_steps, start=start, choose=choose, n_coefficients=n_coefficients)
    assert asked == list(range(1, n_steps + 1))
    assert_equal(X, iterate(A, n_steps, start=start, n_coefficients=n_coefficients))


def directions_of(R):
    powers = torch.stack([R, R @ R, identity_like(R).expand_as(R)], dim=1)
    return powers - R[:, None] @ powers


@pytest.mark.parametrize("n_steps", range(6))
@pytest.mark.parametrize(("coefficients", "order"), [((1, 0), 2), ((1, 1), 3), ((1, 0, 0), 2), ((1, 1, 0), 3)])
def test_with_fixed_coefficients_it_is_the_hyperpower_iteration_of_that_order(coefficients, order, n_steps):
    A = scaled(stack_of("well", 8, 4))
    X, R = transpose_start(A)
    found = iterate(A, n_steps, rank=0, choose=fixed(*coefficients), n_coefficients=len(coefficients))
    torch.testing.assert_close(residual(A, found), torch.linalg.matrix_power(R, order**n_steps), rtol=0, atol=1e-11)
    if order == 2:
        torch.testing.assert_close(found, newton_schulz(A, X, n_steps))


@pytest.mark.parametrize("bad", [math.nan, math.inf, 1e6, -1e30])
@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
def test_a_rule_that_goes_astray_is_taken_back(start, bad):
    A = scaled(stack_of("spd", 8, 4))
    for step_of_error in range(1, 6):

        def choose(step, R, problem, step_of_error=step_of_error):
            return torch.full_like(problem.coordinates, bad) if step == step_of_error else problem.coordinates

        X = iterate(A, 6, start=start, choose=choose)
        R_0 = matrix_norm(start.function(A)[1])
        assert X.isfinite().all()
        assert (norms_of(A, X) <= R_0 + 1e-12).all()


# A row of one's own


def test_a_new_row_is_a_start_for_every_network(monkeypatch):
    monkeypatch.setitem(STARTS, "newton", NEWTON)
    A = stack_of("well", 8, 6)
    for depth in (1, 4):
        network = InverterResNet(depth, 8, start="newton", precision="float64")
        with ProductCounter(6, 8) as counter, torch.no_grad():
            X = network(A)
        assert counter.n_products == network.n_products(6) == 3 + 3 * depth + len(recomputation_schedule(depth))
        torch.testing.assert_close(scaled(A) @ iterate(scaled(A), depth, start=NEWTON), A @ X)


def test_a_new_row_is_a_start_for_the_estimator(monkeypatch, tmp_path):
    monkeypatch.setitem(STARTS, "newton", NEWTON)
    inverter = NeuralMatrixInverter(
        2, 8, start="newton", matrix_size=4, max_epochs=1, batches_per_epoch=2, batch_size=32, random_state=0
    ).fit()
    A = make_stack("well", 8, 4)
    assert inverter.module_.core.start is NEWTON
    assert inverter.module_.n_products(4) == count_products(2, NEWTON)
    assert np.isfinite(inverter.transform(A)).all()
    inverter.save_pretrained(tmp_path / "model")
    np.testing.assert_array_equal(
        NeuralMatrixInverter.from_pretrained(tmp_path / "model").transform(A), inverter.transform(A)
    )
    monkeypatch.delitem(STARTS, "newton")
    with pytest.raises(ValueError, match="start is 'newton'; expected one of"):
        NeuralMatrixInverter.from_pretrained(tmp_path / "model")


def test_a_name_without_a_row_is_refused():
    with pytest.raises(ValueError, match=re.escape(f"start='newton'; expected one of {(*STARTS, FAMILY)}")):
        InverterResNet(start="newton")


# Bookkeeping


@given(n_steps=st.integers(1, 200))
def test_the_residual_is_recomputed_last_and_every_second_or_third_step(n_steps):
    steps = sorted(recomputation_schedule(n_steps))
    assert steps[-1] == n_steps
    assert len(steps) == math.ceil(n_steps / 3)
    gaps = {after - before for before, after in pairwise([0, *steps])}
    assert gaps <= ({2, 3} if n_steps > 1 else {1})


def test_nothing_is_recomputed_before_the_first_step():
    assert recomputation_schedule(0) == set()


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
