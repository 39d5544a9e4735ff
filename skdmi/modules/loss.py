"""The loss: how far ``A X`` is from the identity."""

import torch
from torch import Tensor, nn
from torch.linalg import matrix_norm

from skdmi.linalg.residuals import residual


class IdentityLoss(nn.Module):
    r"""The identity loss: no matrix is ever inverted to compute it.

    .. math:: \operatorname{mean}_A \left( r_A + w \log(1 + r_A / s) \right), \quad r_A = \|I - A X\|_F

    The first term alone (``log_weight=0``) is the mean residual norm; it is ruled by the few hardest matrices. The
    second keeps the easy ones worth improving, down to residuals of about s.

    Parameters
    ----------
    log_weight : float, default=0.0
        w.
    log_scale : float, default=0.01
        s.

    Examples
    --------
    >>> A = torch.eye(2).expand(3, 2, 2)
    >>> IdentityLoss()(A * 0.5, A).item()
    0.7071067690849304
    """

    def __init__(self, log_weight: float = 0.0, log_scale: float = 0.01) -> None:
        super().__init__()
        self.log_weight = log_weight
        self.log_scale = log_scale

    def forward(self, X_pred: Tensor, A: Tensor) -> Tensor:
        """Return the loss of the computed inverses ``X_pred`` of A, both ``(n, m, m)``, as a scalar."""
        norms = matrix_norm(residual(A, X_pred))
        loss = norms.mean()
        if self.log_weight:
            loss = loss + self.log_weight * torch.log1p(norms / self.log_scale).mean()
        return loss
