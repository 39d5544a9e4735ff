"""Random orthogonal matrices."""

from typing import Any

import torch
from torch import Tensor


def haar_orthogonal(n_matrices: int, matrix_size: int, **where: Any) -> Tensor:
    r"""Return orthogonal matrices ``(n_matrices, m, m)`` from the uniform (Haar) distribution.

    .. math:: Q = H_1 H_2 \cdots H_m D = (I - V T V^T) D, \qquad T^{-1} = \mathrm{striu}(V^T V) + I / 2

    :math:`H_k = I - 2 v_k v_k^T` reflects a standard normal vector of length m - k + 1 onto its first axis, so that Q
    is the orthogonal factor of a normal matrix (Stewart 1980); the signs D make its distribution uniform, which the
    factor as it leaves a QR routine is not (Mezzadri 2007). The product of all reflections at once, with striu the
    strict upper triangle, is the UT transform (Joffrain, Low, Quintana-Orti, van de Geijn and Van Zee 2006): three
    products over the whole stack, where ``torch.linalg.qr`` goes through it matrix by matrix.

    Parameters
    ----------
    n_matrices : int
        How many.
    matrix_size : int
        Their size m.
    **where
        Generator, device and dtype, as torch takes them.

    Returns
    -------
    Tensor of shape (n_matrices, m, m)
        The matrices Q.

    Examples
    --------
    >>> Q = haar_orthogonal(1, 3, generator=torch.Generator().manual_seed(0), device="cpu", dtype=torch.float64)[0]
    >>> torch.allclose(Q @ Q.mT, torch.eye(3, dtype=torch.float64))
    True
    """
    v = torch.randn(n_matrices, matrix_size, matrix_size, **where).tril_()
    diagonal = v.diagonal(dim1=1, dim2=2)
    signs = torch.where(diagonal < 0, -1, 1).to(v.dtype)
    diagonal.add_(signs * torch.linalg.vector_norm(v, dim=1))
    # A normal vector of length 1 can be exactly 0; its reflection is then the identity.
    v /= torch.linalg.vector_norm(v, dim=1, keepdim=True).clamp_min(torch.finfo(v.dtype).tiny)
    t_inverse = (v.mT @ v).triu_(1)
    t_inverse.diagonal(dim1=1, dim2=2).fill_(0.5)
    q = v @ torch.linalg.solve_triangular(t_inverse, v.mT, upper=True)
    q.diagonal(dim1=1, dim2=2).sub_(1)
    return q.mul_(signs[:, None, :])
