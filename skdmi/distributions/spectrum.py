"""Matrices with chosen singular values or eigenvalues."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from skdmi.distributions.base import Distribution, require, require_number
from skdmi.distributions.pieces import log_uniform, random_signs
from skdmi.linalg.orthogonal import haar_orthogonal

DEFAULT_MAX_COND = 1e3


def _semicircle(*shape: int, **where: Any) -> Tensor:
    # One coordinate of a uniform point in the disc of radius 2.
    return torch.rand(*shape, **where).sqrt_().mul_(2) * torch.rand(*shape, **where).mul_(2 * math.pi).cos_()


def _laplace(*shape: int, **where: Any) -> Tensor:
    sizes = torch.empty(shape, device=where["device"], dtype=where["dtype"])
    return sizes.exponential_(math.sqrt(2), generator=where["generator"]) * random_signs(*shape, **where)


# Laws of independent values with mean square 1 (Marchenko-Pastur: mean 1).
INDEPENDENT_LAWS: dict[str, Callable[..., Tensor]] = {
    "semicircle": _semicircle,
    "uniform": lambda *shape, **where: torch.rand(*shape, **where).mul_(2).sub_(1).mul_(math.sqrt(3)),
    "gaussian": torch.randn,
    "laplace": _laplace,
    "marchenko-pastur": lambda *shape, **where: _semicircle(*shape, **where).square_(),
    "positive": lambda *shape, **where: _semicircle(*shape, **where).abs_(),
}
LAWS = ("log-uniform", *INDEPENDENT_LAWS)


@dataclass(frozen=True, repr=False)
class Spectrum(Distribution):
    r"""Chosen singular values, or eigenvalues, between random orthogonal factors.

    .. math:: A = U \, \mathrm{diag}(\lambda) \, V^T
              \quad\text{or, symmetric,}\quad A = U \, \mathrm{diag}(\lambda) \, U^T

    with U and V independent and uniform on the orthogonal group. The values :math:`\lambda` are drawn by ``law``:

    ====================  ============================================================================================
    ``log-uniform``       the condition number c is log-uniform on [1, ``max_cond``]; one value is 1, one 1/c, the
                          others log-uniform between. Symmetric: positive definite
    ``semicircle``        Wigner's semicircle of radius 2: the limit for symmetric matrices of independent entries
    ``uniform``           uniform on [-sqrt 3, sqrt 3]
    ``gaussian``          standard normal
    ``laplace``           Laplace with standard deviation 1
    ``marchenko-pastur``  the square of ``semicircle``, on [0, 4]: the limit for G G^T / m with square normal G
    ``positive``          the absolute value of ``semicircle``
    ====================  ============================================================================================

    Parameters
    ----------
    law : str, default="log-uniform"
        One of the above.
    max_cond : float or None, default=None
        Largest condition number of ``log-uniform``; None is 1000. The other laws have no bound and accept None only.
    symmetric : bool, default=False
        Whether the values are eigenvalues of exactly symmetric matrices. Otherwise their sizes are singular values.

    Raises
    ------
    ValueError
        If a parameter is not allowed.

    Notes
    -----
    All laws but the first draw the m values independently; those of a finite random matrix also repel one another. They
    are the laws between which Charton (2021) tests how a model of symmetric matrices generalises. Values are met up to
    the rounding of the products, relative to the largest: in float32, condition numbers up to about 1e6 mean something.

    References
    ----------
    F. Charton, "Linear algebra with transformers", 2021, arXiv:2112.01898.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmi.distributions import Spectrum
    >>> cond = np.linalg.cond(Spectrum(max_cond=100).sample(1000, 4, random_state=0))
    >>> bool(cond.max() < 100.001), bool(cond.min() < 1.1)
    (True, True)
    """

    law: str = "log-uniform"
    max_cond: float | None = None
    symmetric: bool = False

    def _check(self) -> None:
        require(self, "law", self.law in LAWS, f"one of {LAWS}")
        if self.law == "log-uniform":
            require_number(self, "max_cond", optional=True, at_least=1)
        else:
            require(self, "max_cond", self.max_cond is None, f"None, since law={self.law!r} bounds no condition number")
        require(self, "symmetric", isinstance(self.symmetric, bool), "True or False")

    def _draw(self, n_matrices: int, matrix_size: int, **where: Any) -> Tensor:
        if self.law == "log-uniform":
            cond = log_uniform(1, self.max_cond or DEFAULT_MAX_COND, n_matrices, 1, **where)
            exponents = torch.rand(n_matrices, matrix_size, **where)
            exponents[:, 0] = 0
            exponents[:, 1:2] = 1
            values = cond.pow(-exponents)
        else:
            values = INDEPENDENT_LAWS[self.law](n_matrices, matrix_size, **where)
        left = haar_orthogonal(n_matrices, matrix_size, **where)
        right = left if self.symmetric else haar_orthogonal(n_matrices, matrix_size, **where)
        stack = (left * values[:, None, :]) @ right.mT
        return (stack + stack.mT) / 2 if self.symmetric else stack
