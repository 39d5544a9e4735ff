"""The gradient of the inverse, whoever finds it, to second order."""

import numpy as np
import pytest
import torch

from skdmi import BlockInverter, ExactInverter, RefinedInverter
from skdmi.linalg import with_exact_gradient
from tests.marks import slow_but
from tests.matrices import make_stack

INVERTERS = [BlockInverter(block_size=2), BlockInverter(), RefinedInverter(), ExactInverter()]


@pytest.mark.parametrize("inverter", slow_but(INVERTERS[2:], INVERTERS), ids=repr)
def test_first_and_second_derivatives_are_those_of_the_inverse(inverter):
    A = torch.from_numpy(make_stack("well", 2, 3)).requires_grad_()
    assert torch.autograd.gradcheck(inverter.invert, A)
    assert torch.autograd.gradgradcheck(inverter.invert, A)


@pytest.mark.parametrize("inverter", INVERTERS, ids=repr)
def test_missing_members_spoil_neither_derivative(inverter):
    A = torch.from_numpy(make_stack("well", 3, 3))
    A[1] = 0
    A.requires_grad_()
    (first,) = torch.autograd.grad(inverter.invert(A).nansum(), A, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), A)
    B = A.detach()[[0, 2]].requires_grad_()
    (expected,) = torch.autograd.grad(torch.linalg.inv(B).sum(), B, create_graph=True)
    torch.testing.assert_close(first[[0, 2]], expected)
    torch.testing.assert_close(second[[0, 2]], torch.autograd.grad(expected.square().sum(), B)[0])
    assert (first[1] == 0).all()
    assert (second[1] == 0).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_the_gradient_has_the_dtype_of_its_argument(dtype):
    A = torch.from_numpy(np.eye(2)[None]).to(dtype).requires_grad_()
    with_exact_gradient(A, lambda A: A.double()).sum().backward()
    assert A.grad.dtype == dtype
    BlockInverter().invert(A).sum().backward()
    torch.testing.assert_close(A.grad, -2 * torch.ones_like(A))
