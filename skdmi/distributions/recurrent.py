"""Triangular matrices of recurrences, as linear attention solves them chunk by chunk."""

from dataclasses import dataclass
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from skdmi.distributions.base import Distribution, require_number
from skdmi.distributions.pieces import exponential_correlation_root
from skdmi.distributions.ranges import Range, require_correlation, require_range, uniform_in


@dataclass(frozen=True, repr=False)
class DeltaRule(Distribution):
    r"""Chunks of linear attention with the delta rule: unit lower triangular.

    .. math:: A = I + \mathrm{tril}(\mathrm{diag}(\beta) \, K K^T, -1)

    for a chunk of m tokens, each with a key of d numbers, the rows of K, of length 1, and a rate of writing
    :math:`\beta_i`, uniform in its range. The inverse of A turns the m writes to the memory, each of which first
    erases what its key finds there, into products of matrices (Yang et al. 2024, section 3). Keys follow each other as

    .. math:: k_i \propto g_i', \qquad g_1' = g_1, \; g_{i + 1}' = \rho \, g_i' + \sqrt{1 - \rho^2} \, g_{i + 1}, \;
              g_i \sim N(0, I_d)

    so that those i tokens apart have correlation :math:`\rho^i`.

    Parameters
    ----------
    key_correlation : float or (low, high), default=0.9
        The range of :math:`\rho`, uniform for each matrix, at least 0 and below 1; one number is the same for all.
    beta : float or (low, high), default=(0.1, 1.0)
        The range of the rates, from 0 to 2. Each token has its own.
    key_size : int or None, default=None
        The length d of a key; None is m.

    Raises
    ------
    ValueError
        If a parameter is not allowed.

    References
    ----------
    S. Yang, B. Wang, Y. Zhang, Y. Shen and Y. Kim, "Parallelizing linear transformers with the delta rule over sequence
    length", NeurIPS 2024, arXiv:2406.06484.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmi.distributions import DeltaRule
    >>> A = DeltaRule(key_correlation=0.6, beta=1, key_size=10_000).sample(1, 4, random_state=0)[0]
    >>> print(A.round(1))
    [[1.  0.  0.  0. ]
     [0.6 1.  0.  0. ]
     [0.4 0.6 1.  0. ]
     [0.2 0.4 0.6 1. ]]
    """

    key_correlation: Range = 0.9
    beta: Range = (0.1, 1.0)
    key_size: int | None = None

    def _check(self) -> None:
        require_correlation(self, "key_correlation")
        require_range(self, "beta", lambda low, high: 0 <= low <= high <= 2, "from 0 to 2")
        require_number(self, "key_size", Integral, optional=True, at_least=1)

    def _draw(self, n_matrices: int, matrix_size: int, **where: Any) -> Tensor:
        root = exponential_correlation_root(uniform_in(self.key_correlation, n_matrices, **where), matrix_size)
        keys = torch.nn.functional.normalize(
            root @ torch.randn(n_matrices, matrix_size, self.key_size or matrix_size, **where), dim=-1
        )
        beta = uniform_in(self.beta, n_matrices, matrix_size, 1, **where)
        stack = (beta * (keys @ keys.mT)).tril_(-1)
        stack.diagonal(dim1=1, dim2=2).fill_(1)
        return stack
