"""Where an iteration begins: one value each, in one table."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from skdmi.linalg.residuals import identity_like, trace


class Start(NamedTuple):
    """A start: what it computes, what that costs, and what it asks of A.

    Parameters
    ----------
    function : Callable[[Tensor], tuple[Tensor, Tensor]]
        Maps A, ``(n_matrices, m, m)``, scaled near 1, to a first inverse X and its residual ``I - A X``, of the same
        shape; X may be diagonal matrices, ``(n_matrices, m, 1)``.
    n_products : int
        Products of m x m matrices that it spends; one less where X is diagonal, which spares the first step its product
        with X.
    asks : str, default='nothing'
        What it asks of A, in words: that is, for what matrices it is the better choice.
    direction : Callable[[Tensor], Tensor] | None, default=None
        Where it is the best multiple of something: what that is, ``(n_matrices, m, m)``, or ``(n_matrices, m, 1)`` for
        diagonal matrices.

    Examples
    --------
    >>> start = Start(lambda A: scaled_start(A, identity_like(A).expand(A.shape)), n_products=1)
    >>> X, R = start.function(2 * torch.eye(2)[None])
    >>> X[0].diagonal(), R.norm()
    (tensor([0.5000, 0.5000]), tensor(0.))
    """

    function: Callable[[Tensor], tuple[Tensor, Tensor]]
    n_products: int
    asks: str = "nothing"
    direction: Callable[[Tensor], Tensor] | None = None

    def deflates(self, X: Tensor) -> bool | Tensor:
        """Return whether a deflation may come before the first step, for all matrices or for each.

        Parameters
        ----------
        X : Tensor of shape (n_matrices, m, m) or (n_matrices, m, 1)
            What ``function`` returned.

        Returns
        -------
        bool or Tensor of shape (n_matrices,)
            Not of diagonal matrices, as those of shape ``(n_matrices, m, 1)`` are.

        Examples
        --------
        >>> TRANSPOSE.deflates(torch.ones(1, 3, 3)), IDENTITY.deflates(torch.ones(1, 3, 1))
        (True, False)
        """
        return X.shape[-1] > 1

    def n_operations(self, m: int) -> int:
        """Return the operations that it spends beside products, about.

        Parameters
        ----------
        m : int
            Size of the matrix.

        Returns
        -------
        int
            Multiplications and additions for one matrix.

        Examples
        --------
        >>> TRANSPOSE.n_operations(4)
        80
        """
        return 5 * m**2


def transpose_start(A: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return the best multiple of the transpose as a first inverse, and its residual: one product.

    .. math:: X_0 = c A^T, \quad R_0 = I - c P, \quad P = A A^T, \quad
       c = \operatorname{argmin}_c \|I - c P\|_F = \|A\|_F^2 / \|P\|_F^2

    The spectral norm of :math:`R_0` is below 1 for every nonsingular A. The zero matrix gives zeros. A should be scaled
    near 1: its fourth powers are formed.

    Returns
    -------
    X, R : Tensors of shape (..., m, m)

    Examples
    --------
    >>> X, R = transpose_start(torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
    >>> X
    tensor([[0.2941, 0.0000],
            [0.0000, 0.5882]])
    """
    return scaled_start(A, A.mT)


def scaled_start(A: Tensor, Y: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return the best multiple of Y as a first inverse, and its residual: one product.

    .. math:: X_0 = c Y, \quad R_0 = I - c P, \quad P = A Y, \quad
       c = \operatorname{argmin}_c \|I - c P\|_F = \operatorname{tr} P / \|P\|_F^2

    Returns
    -------
    X, R : Tensors of shape (..., m, m)

    Examples
    --------
    >>> A = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    >>> scaled_start(A, 3 * torch.linalg.inv(A))[1]
    tensor([[0., 0.],
            [0., 0.]])
    """
    P = A @ Y
    c = _best_multiple(P)
    return c * Y, identity_like(A) - c * P


def identity_start(A: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return the best multiple of the inverted diagonal as a first inverse, and its residual: no product.

    .. math:: X_0 = c D, \quad R_0 = I - c A D, \quad D = \operatorname{diag}(1 / a_{ii}), \quad
       c = \operatorname{argmin}_c \|I - c A D\|_F = m / \|A D\|_F^2

    With D, which costs nothing, the iteration is that from a multiple of the identity on the matrix in Jacobi's
    scaling. Where a diagonal entry is not positive, D is the identity. The start for symmetric positive definite
    matrices: the condition number is not squared, as it is by :func:`transpose_start`. The eigenvalues of :math:`R_0`
    are above -1 where c times the largest of A D is below 2, that is unless few of them stand far above all others.

    Returns
    -------
    X : Tensor of shape (..., m, 1)
        The diagonal of a diagonal matrix.
    R : Tensor of shape (..., m, m)

    References
    ----------
    van der Sluis, "Condition numbers and equilibration of matrices", Numer. Math. 14, 1969: of all diagonal scalings of
    a positive definite matrix this one is within m of the best condition number.

    Examples
    --------
    >>> X, R = identity_start(torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
    >>> X, R.norm()
    (tensor([[1.0000],
            [0.5000]]), tensor(0.))
    """
    d = inverse_diagonal(A)
    P = A * d.unsqueeze(-2)
    c = _best_multiple(P)
    return c * d.unsqueeze(-1), identity_like(A) - c * P


def full(X: Tensor) -> Tensor:
    """Return diagonal matrices, ``(..., m, 1)``, as matrices, ``(..., m, m)``; others as they are.

    >>> full(torch.tensor([[2.0], [3.0]]))
    tensor([[2., 0.],
            [0., 3.]])
    """
    return torch.diag_embed(X.squeeze(-1)) if X.shape[-1] == 1 and X.shape[-2] > 1 else X


def inverse_diagonal(A: Tensor) -> Tensor:
    """Return ``1 / a_ii``, ``(..., m)``; ones where one of the entries is not positive.

    >>> inverse_diagonal(torch.tensor([[[1.0, 0.0], [0.0, 2.0]], [[0.0, 1.0], [1.0, 0.0]]]))
    tensor([[1.0000, 0.5000],
            [1.0000, 1.0000]])
    """
    diagonal = A.diagonal(dim1=-2, dim2=-1)
    usable = diagonal.amin(dim=-1, keepdim=True) > torch.finfo(A.dtype).tiny ** 0.5
    return torch.where(usable, diagonal, 1.0).reciprocal()


def _best_multiple(P: Tensor) -> Tensor:
    return (trace(P) / P.square().sum(dim=(-2, -1)).clamp_min(torch.finfo(P.dtype).tiny))[..., None, None]


TRANSPOSE = Start(transpose_start, 1, direction=lambda A: A.mT)
"""The best multiple of the transpose, for any matrices: :func:`transpose_start`."""
IDENTITY = Start(
    identity_start,
    -1,
    asks="symmetric positive definite matrices",
    direction=lambda A: inverse_diagonal(A).unsqueeze(-1),
)
"""The best multiple of the inverted diagonal, for symmetric positive definite ones: :func:`identity_start`."""

STARTS = {"transpose": TRANSPOSE, "identity": IDENTITY}
"""By the name that estimators, commands and cards use; a new start is a new row."""
