"""Where an iteration begins: one value each, in one table."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from skdmi.linalg.residuals import identity_like, trace


class Start(NamedTuple):
    """A start: what it computes, what that costs, and what it asks of A."""

    function: Callable[[Tensor], tuple[Tensor, Tensor]]
    """Maps A, ``(n_matrices, m, m)``, scaled near 1, to a first inverse X and its residual ``I - A X``, of the same
    shape; X may be multiples of the identity, ``(n_matrices, 1, 1)``."""
    n_products: int
    """Products of m x m matrices that it spends; one less where X is a multiple of the identity, which spares the
    first step its product with X."""
    asks: str = "nothing"
    """What it asks of A, in words: that is, for what matrices it is the better choice."""


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
    P = A @ A.mT
    c = A.square().sum(dim=(-2, -1)) / P.square().sum(dim=(-2, -1)).clamp_min(torch.finfo(A.dtype).tiny)
    c = c[..., None, None]
    return c * A.mT, identity_like(A) - c * P


def identity_start(A: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return the best multiple of the identity as a first inverse, and its residual: no product.

    .. math:: X_0 = c I, \quad R_0 = I - c A, \quad
       c = \operatorname{argmin}_c \|I - c A\|_F = \operatorname{tr} A / \|A\|_F^2

    The start for symmetric positive definite matrices: the condition number is not squared, as it is by
    :func:`transpose_start`. The spectral norm of :math:`R_0` is below 1 where c times the largest eigenvalue is below
    2, that is unless few eigenvalues stand far above all others.

    Returns
    -------
    c : Tensor of shape (..., 1, 1)
        Of which X is the multiple of the identity.
    R : Tensor of shape (..., m, m)

    Examples
    --------
    >>> c, R = identity_start(torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
    >>> c, R.diagonal()
    (tensor([[0.6000]]), tensor([ 0.4000, -0.2000]))
    """
    c = trace(A) / A.square().sum(dim=(-2, -1)).clamp_min(torch.finfo(A.dtype).tiny)
    c = c[..., None, None]
    return c, identity_like(A) - c * A


TRANSPOSE = Start(transpose_start, 1)
IDENTITY = Start(identity_start, -1, asks="symmetric positive definite matrices")

STARTS = {"transpose": TRANSPOSE, "identity": IDENTITY}
"""By the name that estimators, commands and cards use; a new start is a new row."""
