"""The derivatives of the inverse square root, for roots that are found in ways that have none of their own."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.forward_ad import _set_fwd_grad_enabled

from skdmi.linalg.lyapunov import lyapunov
from skdmi.linalg.residuals import missing
from skdmi.validation import check_square


def with_root_gradient(A: Tensor, solve: Callable[[Tensor], Tensor]) -> Tensor:
    r"""Return ``Z = solve(A)`` with the derivatives of the inverse square root, of every order, backward and forward.

    .. math:: \mathrm{d} Z = -Z\, X Z, \qquad Z X + X Z = Z\, \mathrm{d} A\, Z

    with X the derivative of :math:`Z^{-1}`, for symmetric :math:`\mathrm{d} A`; the map is its own adjoint. It is
    solved by products (:func:`skdmi.linalg.lyapunov.lyapunov`). Members that are not finite get the gradient 0 and
    spoil no other one.

    Parameters
    ----------
    A : Tensor of shape (n_matrices, m, m)
        Symmetric, of real floating dtype.
    solve : callable
        Maps A, detached, to its inverse square roots.

    Returns
    -------
    Tensor of shape (n_matrices, m, m)
        In the dtype of A.

    Examples
    --------
    >>> A = torch.tensor([[[4.0]]], requires_grad=True)
    >>> with_root_gradient(A, torch.rsqrt).sum().backward()
    >>> A.grad.item()
    -0.0625
    """
    check_square("a stack", A)
    return _RootGradient.apply(A, solve)


class _RootGradient(torch.autograd.Function):
    """Saves its own output, so that a second derivative passes through ``backward`` or ``jvp`` again."""

    @staticmethod
    def forward(A: Tensor, solve: Callable[[Tensor], Tensor]) -> Tensor:
        return solve(A.detach())

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Callable[[Tensor], Tensor]], output: Tensor) -> None:
        ctx.save_for_backward(output)
        ctx.save_for_forward(output)

    @staticmethod
    def backward(ctx: Any, G: Tensor) -> tuple[Tensor, None]:
        (Z,) = ctx.saved_tensors
        return _derivative(Z, G), None

    @staticmethod
    def jvp(ctx: Any, dA: Tensor, _: None) -> Tensor:
        (Z,) = ctx.saved_tensors
        with _set_fwd_grad_enabled(True):  # torch switches it off here, and a derivative of dZ would be zero
            return _derivative(Z, dA)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int, None], A: Tensor, solve: Callable[[Tensor], Tensor]) -> tuple[Tensor, int]:
        A = A.movedim(in_dims[0], 0)
        Z = _RootGradient.apply(A.flatten(0, 1), solve)
        return Z.unflatten(0, A.shape[:2]), 0


def _derivative(Z: Tensor, D: Tensor) -> Tensor:
    """Return ``-Z X Z`` with ``Z X + X Z = Z D Z``, D symmetrized, in float64; zeros where there is no root."""
    found = ~missing(Z)[..., None, None]
    eye = torch.eye(Z.shape[-1], dtype=torch.float64, device=Z.device)
    Z64, D64 = torch.where(found, Z.double(), eye), torch.where(found, D.double(), 0.0)
    X = lyapunov(Z64, Z64 @ (D64 + D64.mT) @ Z64 / 2)
    return -(Z64 @ X @ Z64).to(Z.dtype)
