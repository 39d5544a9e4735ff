"""The derivatives of the inverse, for inverters that are found in ways that have none of their own."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.forward_ad import _set_fwd_grad_enabled

from skdmi.linalg.residuals import missing
from skdmi.validation import check_square


def with_exact_gradient(A: Tensor, solve: Callable[[Tensor], Tensor]) -> Tensor:
    r"""Return ``X = solve(A)`` with the derivatives of the true inverse, of every order, backward and forward.

    .. math:: \frac{\partial}{\partial A} \langle G, A^{-1} \rangle = -X^H G X^H, \qquad
       \mathrm{d} X = -X \, \mathrm{d} A \, X

    Members that are not finite get the gradient 0 and spoil no other one. Under :mod:`torch.func` too: what ``vmap``
    maps over becomes part of the stack before ``solve`` sees it, so ``solve`` may look at numbers and choose.

    Parameters
    ----------
    A : Tensor of shape (n_matrices, m, m)
        Of floating or complex dtype.
    solve : callable
        Maps A, detached, to its inverses, of any such dtype.

    Returns
    -------
    Tensor of shape (n_matrices, m, m)
        What ``solve`` returned, in the dtype of A, as a differentiable function of A.

    Raises
    ------
    ValueError
        If A does not hold square matrices.

    Examples
    --------
    >>> A = torch.tensor([[[2.0]], [[0.0]]], requires_grad=True)
    >>> with_exact_gradient(A, lambda A: torch.where(A == 0, torch.nan, 1 / A)).sum().backward()
    >>> A.grad.flatten()
    tensor([-0.2500, -0.0000])
    """
    check_square("a stack", A)
    return _ExactGradient.apply(A, solve)


class _ExactGradient(torch.autograd.Function):
    """Saves its own output, so that a second derivative passes through ``backward`` or ``jvp`` again."""

    @staticmethod
    def forward(A: Tensor, solve: Callable[[Tensor], Tensor]) -> Tensor:
        return solve(A.detach())

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Callable[[Tensor], Tensor]], output: Tensor) -> None:
        A, _ = inputs
        ctx.where = {"dtype": A.dtype, "device": A.device}
        ctx.save_for_backward(output)
        ctx.save_for_forward(output)

    @staticmethod
    def backward(ctx: Any, G: Tensor) -> tuple[Tensor, None]:
        (X,) = ctx.saved_tensors
        found = _found(X)
        # In place of a missing inverse zeros, lest its NaN reach the gradient of another function.
        X_t = _double(torch.where(found, X, 0.0)).mH
        return -(X_t @ _double(torch.where(found, G, 0.0)) @ X_t).to(**ctx.where), None

    @staticmethod
    def jvp(ctx: Any, dA: Tensor, _: None) -> Tensor:
        (X,) = ctx.saved_tensors
        with _set_fwd_grad_enabled(True):  # torch switches it off here, and a derivative of dX would be zero
            X64 = _double(torch.where(_found(X), X, 0.0))
            return -(X64 @ _double(dA).to(X64.device) @ X64).to(X)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int, None], A: Tensor, solve: Callable[[Tensor], Tensor]) -> tuple[Tensor, int]:
        A = A.movedim(in_dims[0], 0)
        X = _ExactGradient.apply(A.flatten(0, 1), solve)
        return X.unflatten(0, A.shape[:2]), 0


def _found(X: Tensor) -> Tensor:
    return ~missing(X)[..., None, None]


def _double(A: Tensor) -> Tensor:
    """Return A in double precision, on the CPU where its device has none; no branch on numbers: ``vmap`` forbids it."""
    A = A.cpu() if A.device.type == "mps" else A
    return A.to(torch.complex128) if A.is_complex() else A.double()
