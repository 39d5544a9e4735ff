"""Random pieces of which distributions are made; ``where`` is generator, device and dtype, as torch takes them."""

import math
from typing import Any

import torch
from torch import Tensor


def random_signs(*shape: int, **where: Any) -> Tensor:
    """Return a tensor of independent fair signs, -1 or 1."""
    return torch.randint(0, 2, shape, **where).mul_(2).sub_(1)


def uniform(low: float, high: float, *shape: int, **where: Any) -> Tensor:
    """Return independent numbers that are uniform between ``low`` and ``high``."""
    empty = torch.empty(shape, device=where["device"], dtype=where["dtype"])
    return empty.uniform_(low, high, generator=where["generator"])


def log_uniform(low: float, high: float, *shape: int, **where: Any) -> Tensor:
    """Return independent numbers between ``low`` and ``high`` whose logarithm is uniform."""
    return uniform(math.log(low), math.log(high), *shape, **where).exp_()


def random_permutations(n_matrices: int, matrix_size: int, **where: Any) -> Tensor:
    """Return uniform random permutations of ``0 .. m - 1`` as an integer tensor ``(n_matrices, m)``."""
    return torch.rand(n_matrices, matrix_size, **where).argsort(-1)


def exponential_correlation_root(correlation: Tensor, size: int) -> Tensor:
    r"""Return the Cholesky factor L of matrices of exponential correlation, in closed form.

    .. math:: (L L^T)_{ij} = \rho^{|i - j|}, \qquad L_{ij} = \rho^{i - j} \, \sqrt{1 - \rho^2 \, [j > 1]}, \; i \ge j

    Parameters
    ----------
    correlation : Tensor of shape (n_matrices,)
        The correlations of neighbours, at least 0 and below 1.
    size : int
        The side of each factor.

    Examples
    --------
    >>> L = exponential_correlation_root(torch.tensor([0.5]), 3)[0]
    >>> L @ L.T
    tensor([[1.0000, 0.5000, 0.2500],
            [0.5000, 1.0000, 0.5000],
            [0.2500, 0.5000, 1.0000]])
    """
    rows = torch.arange(size, device=correlation.device)
    root = correlation[:, None, None].pow((rows[:, None] - rows).clamp_min(0)).tril_()
    root[:, :, 1:] *= (1 - correlation.square()).sqrt_()[:, None, None]
    return root


def mirrored(stack: Tensor) -> Tensor:
    """Return the lower triangles and their mirror images: symmetric in bits, which functions of entries may not be."""
    return stack.tril() + stack.tril(-1).mT
