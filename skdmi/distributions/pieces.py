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
