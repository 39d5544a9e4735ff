"""A correction of low rank for the directions that are hardest to invert."""

import torch
from torch import Tensor

from skdmi.linalg.elementary import check_square


def deflate(A: Tensor, X: Tensor, R: Tensor, rank: int, n_powers: int = 2) -> tuple[Tensor, Tensor]:
    r"""Take the dominant directions out of the residual: :math:`O(k m^2)` operations, no product of matrices.

    From the k = ``rank`` largest columns of R, a block power iteration of ``n_powers`` steps finds V, near the dominant
    directions of R, which belong to the smallest singular values of A. With :math:`W = A X V` made orthonormal, and
    :math:`U = X V` transformed with it,

    .. math:: X \leftarrow X + U W^T R, \qquad R \leftarrow (I - W W^T) R.

    Every column of R loses its projection on W, so whatever V is, no column grows. Polynomials in R have to bring down
    all directions together; the few that lag behind are here brought down by themselves, as in deflated Krylov methods
    (Saad, "Numerical Methods for Large Eigenvalue Problems", 2nd ed. 2011, ch. 4 and 5). It pays between the steps of
    an iteration, each of which separates the directions further.

    Parameters
    ----------
    A, X, R : Tensors of shape (..., m, m)
        R is the residual ``I - A X``.
    rank : int
        k; no more than half of m are taken, and 0 changes nothing.

    Returns
    -------
    X, R : Tensors of shape (..., m, m)

    Raises
    ------
    ValueError
        If A, X or R does not hold square matrices.

    Examples
    --------
    >>> A = torch.diag(torch.tensor([1.0, 1.0, 0.125]))
    >>> X, R = deflate(A, A, torch.eye(3) - A @ A, rank=1)
    >>> X.diagonal()
    tensor([1., 1., 8.])
    """
    for name, matrices in (("A", A), ("X", X), ("R", R)):
        check_square(name, matrices)
    rank = min(rank, A.shape[-1] // 2)
    if rank == 0:
        return X, R
    columns = R.square().sum(dim=-2).topk(rank, dim=-1).indices
    V = R.gather(-1, columns.unsqueeze(-2).expand(*R.shape[:-1], rank))
    for _ in range(n_powers - 1):
        V = R @ orthonormalize(V, V)[1]
    U = X @ orthonormalize(V, V)[1]
    U, W = orthonormalize(U, A @ U)
    rows = W.mT @ R
    return X + U @ rows, R - W @ rows


def orthonormalize(U: Tensor, W: Tensor) -> tuple[Tensor, Tensor]:
    """Make the columns of W orthonormal and do to those of U the same (modified Gram and Schmidt).

    Columns, ``(..., m, k)``; one of W that depends on those before it becomes zero, and so does one far below the
    rounding of 1, whose inverse norm would overflow in gradients.

    >>> orthonormalize(torch.eye(2), torch.tensor([[2.0, 1.0], [0.0, 1.0]]))
    (tensor([[ 0.5000, -0.5000],
            [ 0.0000,  1.0000]]), tensor([[1., 0.],
            [0., 1.]]))
    """
    done: list[tuple[Tensor, Tensor]] = []
    eps = torch.finfo(W.dtype).eps
    for u, w in zip(U.split(1, dim=-1), W.split(1, dim=-1), strict=True):
        before = torch.linalg.vector_norm(w, dim=-2, keepdim=True)
        for u_done, w_done in done:
            along = (w_done * w).sum(dim=-2, keepdim=True)
            u, w = u - along * u_done, w - along * w_done
        norm = torch.linalg.vector_norm(w, dim=-2, keepdim=True)
        independent = norm > eps**0.75 * before.clamp_min(eps)
        scale = torch.where(independent, 1 / torch.where(independent, norm, 1.0), 0.0)
        done.append((u * scale, w * scale))
    return torch.cat([u for u, _ in done], dim=-1), torch.cat([w for _, w in done], dim=-1)
