"""Gram matrices of wireless channels with many antennas."""

from dataclasses import dataclass
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from skdmi.distributions.base import Distribution, require, require_number
from skdmi.distributions.pieces import exponential_correlation_root
from skdmi.distributions.ranges import (
    Range,
    ends_of,
    log_uniform_in,
    require_correlation,
    require_variance,
    uniform_in,
)


@dataclass(frozen=True, repr=False)
class KroneckerChannel(Distribution):
    r"""What a linear detector inverts: regularised Gram matrices of correlated channels, symmetric positive definite.

    .. math:: A = H^H H / n + \sigma^2 I, \qquad H = R_r^{1/2} G R_t^{1/2}, \;
              G \in R^{n \times m}, \; g_{ij} \sim N(0, 1)

    with m transmit and n receive antennas, the Kronecker model of correlation (Kermoal et al. 2002), and at both ends
    correlations that decay exponentially along the antennas (Loyka 2001),

    .. math:: (R_t)_{ij} = \rho_t^{|i - j|}, \qquad (R_r)_{ij} = \rho_r^{|i - j|}

    The correlations are uniform and the noise :math:`\sigma^2` is log-uniform in their ranges, for each matrix anew.
    Channels are real, or complex, with :math:`g_{ij} \sim CN(0, 1)`, as those of antennas are (Rayleigh fading).

    Parameters
    ----------
    n_receive : int or None, default=None
        The number n of receive antennas; None is 2 m.
    transmit_correlation : float or (low, high), default=(0.0, 0.7)
        The range of :math:`\rho_t`, at least 0 and below 1; one number is the same for all matrices.
    receive_correlation : float or (low, high), default=(0.0, 0.7)
        The range of :math:`\rho_r`.
    noise : float or (low, high), default=(1e-3, 1e-1)
        The range of :math:`\sigma^2`, the noise in units of the power received from one antenna.
    is_complex : bool, default=False
        Whether channels are complex: matrices are Hermitian then.

    Raises
    ------
    ValueError
        If a parameter is not allowed; on drawing, if all matrices would be singular (n < m without noise).

    References
    ----------
    J. P. Kermoal, L. Schumacher, K. I. Pedersen, P. E. Mogensen and F. Frederiksen, "A stochastic MIMO radio channel
    model with experimental validation", IEEE J. Sel. Areas Commun. 20, 2002.

    S. L. Loyka, "Channel capacity of MIMO architecture using the exponential correlation matrix", IEEE Commun. Lett.
    5, 2001.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmi.distributions import KroneckerChannel
    >>> stack = KroneckerChannel(transmit_correlation=0.6, noise=0.1).sample(20_000, 3, random_state=0)
    >>> print(stack.mean(0).round(1))
    [[1.1 0.6 0.4]
     [0.6 1.1 0.6]
     [0.4 0.6 1.1]]
    """

    n_receive: int | None = None
    transmit_correlation: Range = (0.0, 0.7)
    receive_correlation: Range = (0.0, 0.7)
    noise: Range = (1e-3, 1e-1)
    is_complex: bool = False

    def _check(self) -> None:
        require_number(self, "n_receive", Integral, optional=True, at_least=1)
        require_correlation(self, "transmit_correlation")
        require_correlation(self, "receive_correlation")
        require_variance(self, "noise")
        require(self, "is_complex", isinstance(self.is_complex, bool), "True or False")

    def _draw(self, n_matrices: int, matrix_size: int, **where: Any) -> Tensor:
        n_receive = self.n_receive or 2 * matrix_size
        if ends_of(self.noise) == (0, 0):
            enough = f"at least matrix_size={matrix_size} (or noise > 0): every matrix would be singular"
            require(self, "n_receive", n_receive >= matrix_size, enough)
        transmit = exponential_correlation_root(uniform_in(self.transmit_correlation, n_matrices, **where), matrix_size)
        receive = exponential_correlation_root(uniform_in(self.receive_correlation, n_matrices, **where), n_receive)
        # Any roots will do: they differ by rotations, and a rotated normal matrix is another one.
        fading = self._fading(n_matrices, n_receive, matrix_size, **where)
        channel = receive.to(fading.dtype) @ fading @ transmit.mT.to(fading.dtype)
        stack = channel.mH @ channel
        stack = (stack + stack.mH) / (2 * n_receive)  # the product alone need not be symmetric in its last bits
        stack.diagonal(dim1=1, dim2=2).add_(log_uniform_in(self.noise, n_matrices, 1, **where))
        return stack

    def _fading(self, *shape: int, **where: Any) -> Tensor:
        real = torch.randn(*shape, **where)
        return torch.complex(real, torch.randn(*shape, **where)) / 2**0.5 if self.is_complex else real
