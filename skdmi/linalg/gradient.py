"""The gradient of the inverse, for inverses that are found in ways that have none of their own."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from skdmi.linalg.elementary import double, missing


def with_exact_gradient(A: Tensor, solve: Callable[[Tensor], Tensor]) -> Tensor:
    r"""Return ``X = solve(A)`` with the derivatives of the true inverse, of every order.

    .. math:: \frac{\partial}{\partial A} \langle G, A^{-1} \rangle = -X^T G X^T

    Members that are not finite get the gradient 0 and spoil no other one.

    Parameters
    ----------
    A : Tensor of shape (n_matrices, m, m)
        Of real floating dtype.
    solve : callable
        Maps A, detached, to its inverses, of any floating dtype.

    Examples
    --------
    >>> A = torch.tensor([[[2.0]], [[0.0]]], requires_grad=True)
    >>> with_exact_gradient(A, lambda A: torch.where(A == 0, torch.nan, 1 / A)).sum().backward()
    >>> A.grad.flatten()
    tensor([-0.2500, -0.0000])
    """
    return _ExactGradient.apply(A, solve)


class _ExactGradient(torch.autograd.Function):
    """Saves its own output, so that a second derivative passes through ``backward`` again."""

    @staticmethod
    def forward(ctx: Any, A: Tensor, solve: Callable[[Tensor], Tensor]) -> Tensor:
        X = solve(A.detach())
        ctx.where = {"dtype": A.dtype, "device": A.device}
        ctx.save_for_backward(X)
        return X

    @staticmethod
    def backward(ctx: Any, G: Tensor) -> tuple[Tensor, None]:
        (X,) = ctx.saved_tensors
        found = ~missing(X)[:, None, None]
        # In place of a missing inverse zeros, lest its NaN reach the gradient of another function.
        X_t = double(torch.where(found, X, 0.0)).mT
        return -(X_t @ double(torch.where(found, G, 0.0)) @ X_t).to(**ctx.where), None
