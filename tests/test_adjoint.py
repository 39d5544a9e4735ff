"""Backward passes by hand are those of autograd, of which no derivative is lost."""

import pytest
import torch

from skdmi.iteration import adjoint, deflate, take_step
from skdmi.iteration.learned import residual_scalars
from skdmi.iteration.least_squares import fit_directions
from skdmi.iteration.starts import TRANSPOSE, identity_start
from skdmi.modules import IdentityLoss, InverterResNet
from skdmi.modules.loss import residual_norms
from tests.marks import slow_but
from tests.tensors import scaled, stack_of

SIZES = [4, 5, 7, 8, 11]
"""With fewer rows directions depend on each other, and derivatives are those of rounding."""


def deflated(A, n_powers=2):
    return deflate(A, *TRANSPOSE.function(A), 2, n_powers)


OPERATIONS = {
    "deflation": deflated,
    "deflation of one power": lambda A: deflated(A, 1),
    "deflation of three powers": lambda A: deflated(A, 3),
    "step": lambda A: take_step(*TRANSPOSE.function(A)),
    "step of two coefficients": lambda A: take_step(*TRANSPOSE.function(A), n_coefficients=2),
    "step from the identity": lambda A: take_step(*identity_start(A)),
    "foresight": lambda A: take_step(*TRANSPOSE.function(A), lambda step, R, problem: foresight(R, problem)),
}


def foresight(R, problem):
    """Choose by all that a rule may read."""
    read = problem.cosines + problem.scale.log() + problem.norm[..., None] + problem.remainder()[..., None]
    return problem.coordinates + 0.1 * read.sin() + 0.1 * R.diagonal(dim1=-2, dim2=-1)[..., :1]


def by_autograd(monkeypatch):
    monkeypatch.setattr(adjoint, "_is_for_autograd", lambda inputs: True)


@pytest.mark.parametrize("m", slow_but([5, 11], SIZES))
@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_gradients_by_hand_are_those_of_autograd(operation, m, monkeypatch):
    A = scaled(stack_of("spd", 6, m)).requires_grad_()
    weights = stack_of("uniform", 2, len(A[0]), seed=1)
    found = []
    for _ in range(2):
        X, R = operation(A)
        loss = (weights[0] * X).sum() + (weights[1] * R).sum()
        found.append((X, R, *torch.autograd.grad(loss, A)))
        by_autograd(monkeypatch)
    for hand, auto in zip(*found, strict=True):
        torch.testing.assert_close(hand, auto, rtol=1e-7, atol=1e-9)
    assert torch.equal(found[0][0], found[1][0])


@pytest.mark.parametrize("used", [0, 1])
@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_only_one_output_may_be_used(operation, used, monkeypatch):
    A = scaled(stack_of("uniform", 4, 5)).requires_grad_()
    found = []
    for _ in range(2):
        found.append(torch.autograd.grad(operation(A)[used].square().sum(), A)[0])
        by_autograd(monkeypatch)
    torch.testing.assert_close(*found, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("m", [4, 8])
@pytest.mark.parametrize("operation", [deflated, OPERATIONS["foresight"]], ids=["deflation", "foresight"])
def test_derivatives_of_derivatives_and_batched_ones(operation, m):
    A = scaled(stack_of("well", 2, m)).requires_grad_()
    torch.autograd.gradcheck(operation, A, fast_mode=True, check_batched_grad=True)
    torch.autograd.gradgradcheck(operation, A, fast_mode=True, atol=1e-4)


@pytest.mark.parametrize("m", slow_but([3, 16], [2, 3, 5, 16]))
@pytest.mark.parametrize("start", ["transpose", "identity"])
def test_the_gradient_that_trains_a_network(start, m, monkeypatch):
    A = stack_of("spd", 16, m, condition=1e4)
    network = InverterResNet(2, 8, start=start, precision="float64")
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    found = []
    for _ in range(2):
        network.zero_grad()
        IdentityLoss(0.05)(network(A), A).backward()
        found.append([parameter.grad.clone() for parameter in network.parameters()])
        by_autograd(monkeypatch)
    if m > 3:  # of which the iteration leaves more than rounding
        for hand, auto in zip(*found, strict=True):
            torch.testing.assert_close(hand, auto, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("m", [1, 3, 16])
def test_residual_norms_and_scalars(m, monkeypatch):
    A, X = stack_of("uniform", 8, m).requires_grad_(), stack_of("uniform", 8, m, seed=1).requires_grad_()
    _, R = TRANSPOSE.function(scaled(stack_of("uniform", 8, m + 3)).requires_grad_())
    R = R.detach().requires_grad_()
    directions = torch.stack([R - R @ R, R @ R - R @ R @ R, torch.eye(m + 3) - R], dim=1)
    found = []
    for _ in range(2):
        scalars = residual_scalars(fit_directions(R, directions), m + 3)
        of_R = torch.autograd.grad(scalars.sin().sum(), R, retain_graph=True)
        found.append((*torch.autograd.grad(residual_norms(A, X).square().sum(), (A, X)), *of_R))
        by_autograd(monkeypatch)
    for hand, auto in zip(*found, strict=True):
        torch.testing.assert_close(hand, auto, rtol=1e-8, atol=1e-9)
