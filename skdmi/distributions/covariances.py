"""Sample covariance matrices around a given one."""

from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skdmi.distributions.base import Distribution, number_array, require, require_number
from skdmi.distributions.resampled import SYMMETRY_TOLERANCE


@dataclass(frozen=True, repr=False)
class Covariance(Distribution):
    r"""Sample covariance matrices of normal data of a given covariance: symmetric, positive definite.

    .. math:: A = L G G^T L^T / \nu + \mathrm{ridge} \cdot I, \qquad C = L L^T, \;
              G \in R^{m \times \nu}, \; g_{ij} \sim N(0, 1)

    with L the Cholesky factor of the core C, so that :math:`A - \mathrm{ridge} \cdot I` has the Wishart distribution
    with mean C. `Wishart` is the case C = I, of every size.

    Parameters
    ----------
    core : sequence of m rows of m numbers, or an array
        C, symmetric (exactly, or up to float32 rounding) and positive definite.
    degrees_of_freedom : int or None, default=None
        The number of observations :math:`\nu`; None is 4 m. The more, the closer matrices stay to the core.
    ridge : float, default=0.0
        What is added to the diagonal.

    Raises
    ------
    ValueError
        If a parameter is not allowed, or all matrices would be singular (:math:`\nu < m` without ridge); on drawing, if
        m is not that of the core.

    References
    ----------
    J. Wishart, "The generalised product moment distribution in samples from a normal multivariate population",
    Biometrika 20A, 1928.

    Examples
    --------
    A core of condition number 1000, and samples around it:

    >>> import numpy as np
    >>> from skdmi.distributions import Covariance
    >>> Q, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((6, 6)))
    >>> core = (Q * np.geomspace(1, 1e-3, 6)) @ Q.T
    >>> family = Covariance(core, degrees_of_freedom=200)
    >>> family
    Covariance(core=<6 x 6 numbers>, degrees_of_freedom=200)
    >>> stack = family.sample(2000, 6, random_state=0)
    >>> bool(np.abs(stack.mean(0) - core).max() < 0.01), round(np.log10(np.median(np.linalg.cond(stack))))
    (True, 3)
    """

    core: tuple[tuple[float, ...], ...]
    degrees_of_freedom: int | None = None
    ridge: float = 0.0

    def _check(self) -> None:
        core = number_array(self.core)
        holds = core is not None and core.ndim == 2 and core.shape[0] == core.shape[1] > 0
        require(self, "core", holds, "a sequence of m rows of m finite numbers")
        require(self, "core", _root(self.core) is not None, "a symmetric positive definite matrix")
        require_number(self, "degrees_of_freedom", Integral, optional=True, at_least=1)
        require_number(self, "ridge", at_least=0)
        if self.ridge == 0 and self.degrees_of_freedom is not None:
            m = len(self.core)
            enough = f"at least {m}, the size of the core (or ridge > 0): every matrix would be singular"
            require(self, "degrees_of_freedom", self.degrees_of_freedom >= m, enough)

    def _draw(self, n_matrices: int, matrix_size: int, **where: Any) -> Tensor:
        m = len(self.core)
        if matrix_size != m:
            raise ValueError(f"Got matrix_size={matrix_size}; expected {m}, the size of the core of {self!r}.")
        observations = self.degrees_of_freedom or 4 * m
        root = torch.tensor(_root(self.core), device=where["device"], dtype=where["dtype"])
        observed = root @ torch.randn(n_matrices, m, observations, **where)
        stack = observed @ observed.mT
        stack = (stack + stack.mT) / (2 * observations)  # the product alone need not be symmetric in its last bits
        stack.diagonal(dim1=1, dim2=2).add_(self.ridge)
        return stack


def _root(core: Any) -> np.ndarray | None:
    """Return the Cholesky factor, or None if a matrix is not symmetric positive definite."""
    C = np.array(core, dtype=np.float64)
    if (np.abs(C - C.T) > SYMMETRY_TOLERANCE * np.abs(C).max()).any():
        return None
    try:
        return np.linalg.cholesky(C)
    except np.linalg.LinAlgError:
        return None
