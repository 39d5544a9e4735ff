"""Random pieces of which distributions are made; ``where`` is generator, device and dtype, as torch takes them."""

from __future__ import annotations

import math
from typing import Any

import torch


def random_signs(*shape: int, **where: Any) -> torch.Tensor:
    """Return a tensor of independent fair signs, -1 or 1."""
    return torch.randint(0, 2, shape, **where).mul_(2).sub_(1)


def log_uniform(low: float, high: float, *shape: int, **where: Any) -> torch.Tensor:
    """Return independent numbers between ``low`` and ``high`` whose logarithm is uniform."""
    return (
        torch.empty(shape, device=where["device"], dtype=where["dtype"])
        .uniform_(math.log(low), math.log(high), generator=where["generator"])
        .exp_()
    )


def random_permutations(n_matrices: int, matrix_size: int, **where: Any) -> torch.Tensor:
    """Return uniform random permutations of ``0 .. m - 1`` as an integer tensor ``(n_matrices, m)``."""
    return torch.rand(n_matrices, matrix_size, **where).argsort(-1)


def haar_orthogonal(n_matrices: int, matrix_size: int, **where: Any) -> torch.Tensor:
    r"""Return orthogonal matrices ``(n_matrices, m, m)`` from the uniform (Haar) distribution.

    .. math:: Q = H_1 H_2 \cdots H_m D = (I - V T V^T) D, \qquad T^{-1} = \mathrm{striu}(V^T V) + I / 2

    :math:`H_k = I - 2 v_k v_k^T` reflects a standard normal vector of length m - k + 1 onto its first axis, so that Q
    is the orthogonal factor of a normal matrix (Stewart 1980); the signs D make its distribution uniform, which the
    factor as it leaves a QR routine is not (Mezzadri 2007). The product of all reflections at once, with striu the
    strict upper triangle, is the UT transform (Joffrain, Low, Quintana-Orti, van de Geijn and Van Zee 2006): three
    products over the whole stack, where ``torch.linalg.qr`` goes through it matrix by matrix.
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
