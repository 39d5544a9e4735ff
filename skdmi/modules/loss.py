"""The loss: how far ``A X`` is from the identity."""

import torch
from torch import Tensor, nn

from skdmi.iteration.adjoint import Gradients, Tensors, with_adjoint
from skdmi.linalg.products import add_product, entries, identity_entries, matrices, multiply


class IdentityLoss(nn.Module):
    r"""The identity loss: no matrix is ever inverted to compute it.

    .. math:: \operatorname{mean}_A \left( r_A + w \log(1 + r_A / s) \right), \quad r_A = \|I - A X\|_F

    The first term alone (``log_weight=0``) is the mean residual norm; it is ruled by the few hardest matrices. The
    second keeps the easy ones worth improving, down to residuals of about s.

    Parameters
    ----------
    log_weight : float, default=0.0
        The weight w of the second term.
    log_scale : float, default=0.01
        The residual norm s below which improvements no longer count.

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
        """Return the loss of computed inverses.

        Parameters
        ----------
        X_pred : Tensor of shape (n_matrices, m, m)
            The computed inverses, with which a training begins its call.
        A : Tensor of shape (n_matrices, m, m)
            The matrices, in the place of targets.

        Returns
        -------
        Tensor of shape ()
            Differentiable in both.

        Examples
        --------
        >>> A = torch.eye(2)[None]
        >>> IdentityLoss(log_weight=1.0)(A, A).item()
        0.0
        """
        norms = residual_norms(A, X_pred)
        loss = norms.mean()
        if self.log_weight:
            loss = loss + self.log_weight * torch.log1p(norms / self.log_scale).mean()
        return loss


def residual_norms(A: Tensor, X: Tensor) -> Tensor:
    """Return ``||I - A X||_F``, ``(n, m, m)`` to ``(n)``; where it is 0, its gradient is, too.

    >>> residual_norms(torch.eye(2)[None], torch.zeros(1, 2, 2))
    tensor([1.4142])
    """
    return _residual_norms(A, X)[0]


def _residual_norms_adjoint(
    needed: tuple[bool, ...], inputs: Tensors, outputs: Tensors, kept: Tensors, gradients: Gradients
) -> Gradients:
    (norms,), (a, x, R), (gradient,) = outputs, kept, gradients
    assert gradient is not None
    of_AX = R * (-gradient / norms).masked_fill(norms == 0, 0.0)
    of_A = matrices(multiply(of_AX, x.transpose(0, 1))) if needed[0] else None
    return of_A, matrices(multiply(a.transpose(0, 1), of_AX)) if needed[1] else None


@with_adjoint(_residual_norms_adjoint)
def _residual_norms(A: Tensor, X: Tensor) -> tuple[Tensors, Tensors]:
    a, x = entries(A), entries(X)
    R = add_product(identity_entries(a), a, x, -1)
    squares = torch.linalg.vecdot(R.flatten(0, 1), R.flatten(0, 1), dim=0)
    norms = squares.clamp_min(torch.finfo(R.dtype).tiny).sqrt() * (squares > 0)
    return (norms,), (a, x, R)
