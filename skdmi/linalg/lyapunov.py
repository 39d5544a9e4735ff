"""Lyapunov equations by products."""

import torch
from torch import Tensor
from torch.linalg import matrix_norm

from skdmi.linalg.residuals import identity_like

_MAX_STEPS = 40


def lyapunov(H: Tensor, C: Tensor) -> Tensor:
    r"""Solve ``H X + X H = C`` by products, H symmetric positive definite; differentiable.

    .. math:: B_{k+1} = \tfrac12 B_k (3 I - B_k^2), \qquad
       C_{k+1} = \tfrac12 (C_k (3 I - B_k^2) - B_k^2 C_k + B_k C_k B_k), \qquad X = \tfrac12 C_\infty

    from H and C over the norm of H: the sign of a matrix of twice the size, by blocks.

    References
    ----------
    Song, Sebe and Wang, "Fast differentiable matrix square root", ICLR 2022.

    Examples
    --------
    >>> lyapunov(torch.tensor([[2.0]]), torch.tensor([[8.0]]))
    tensor([[2.]])
    """
    eye = identity_like(H)
    norm = matrix_norm(H.detach())[..., None, None]
    B, C = H / norm, C / norm
    nearly = torch.finfo(H.dtype).eps ** 0.5
    for _ in range(_MAX_STEPS):
        S = B @ B
        distance = matrix_norm(eye - S.detach())
        T = 3 * eye - S
        B, C = B @ T / 2, (C @ T - S @ C + B @ C @ B) / 2
        if not (distance > nearly).any():
            break
    return C / 2
