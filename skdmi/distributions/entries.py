"""Matrices of independent entries, with optional filters on the determinant and the condition number."""

import math
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from skdmi.distributions.base import Distribution, check_stack, require, require_number
from skdmi.distributions.pieces import uniform
from skdmi.distributions.rejection import check_filters, draw_filtered


@dataclass(frozen=True, repr=False)
class Uniform(Distribution):
    r"""Independent entries, uniform on an interval.

    .. math:: a_{ij} \sim U[\mathrm{low}, \mathrm{high}), \quad
              \text{kept if } |\det A| > \mathrm{min\_abs\_det} \text{ and } \kappa_2(A) \le \mathrm{max\_cond}

    Parameters
    ----------
    low : float or None, default=None
        Lower end. None is -1, and the smallest entry of X after ``bind(X)``.
    high : float or None, default=None
        Upper end. None is 1, and the largest entry of X after ``bind(X)``.
    min_abs_det : float, default=0.0
        Only matrices with a larger ``|det|`` are kept; 0 keeps all.
    max_cond : float or None, default=None
        Only matrices with at most this 2-norm condition number are kept; None keeps all.

    Raises
    ------
    ValueError
        If a parameter is not allowed; on drawing, if fewer than one matrix in 10,000 passes the filters.

    See Also
    --------
    Spectrum : A chosen condition number, without rejection.

    Notes
    -----
    The filters are decided in float64. ``Uniform(min_abs_det=0.1)`` at 3 x 3 is the distribution of
    DeepMatrixInversion; ``Uniform(-10, 10)`` at 5 x 5 that of Charton (2021). A bound on the determinant is
    no bound on what is hard to invert: that is the condition number.

    References
    ----------
    F. Charton, "Linear algebra with transformers", 2021, arXiv:2112.01898.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmi.distributions import Uniform
    >>> stack = Uniform(low=0, max_cond=20).sample(100, 3, random_state=0)
    >>> bool(stack.min() >= 0), bool(np.linalg.cond(stack).max() <= 20)
    (True, True)
    >>> Uniform(low=-2).bind(5 * np.eye(3)[None])
    Uniform(low=-2, high=5.0)
    """

    low: float | None = None
    high: float | None = None
    min_abs_det: float = 0.0
    max_cond: float | None = None

    def _check(self) -> None:
        require_number(self, "low", optional=True)
        require_number(self, "high", optional=True)
        low, high = self._interval()
        require(self, "high", 0 < high - low < math.inf, f"more than low, which is {low:g} (None is 1)")
        check_filters(self)

    def bind(self, X: np.ndarray) -> Self:
        """Take the ends of the interval that are None from X.

        Parameters
        ----------
        X : ndarray of shape (n_matrices, m, m)
            The data.

        Returns
        -------
        Uniform
            With both ends given.

        Raises
        ------
        ValueError
            If X is not a stack, or its entries span no interval.

        Examples
        --------
        >>> from skdmi.distributions import Uniform
        >>> Uniform(low=None, high=None).bind(np.array([[[0.0, 3.0], [1.0, 2.0]]]))
        Uniform(low=0.0, high=3.0)
        """
        X = check_stack(X)
        low, high = self._interval(X.min(), X.max())
        return replace(self, low=low, high=high)

    def _interval(self, low: float = -1.0, high: float = 1.0) -> tuple[float, float]:
        return (low if self.low is None else self.low), (high if self.high is None else self.high)

    def _draw(self, n_matrices: int, matrix_size: int, **where: Any) -> Tensor:
        def propose(n: int) -> Tensor:
            return uniform(*self._interval(), n, matrix_size, matrix_size, **where)

        return draw_filtered(self, propose, n_matrices, matrix_size)


@dataclass(frozen=True, repr=False)
class Normal(Distribution):
    r"""Independent normal entries.

    .. math:: a_{ij} \sim N(\mathrm{mean}, \mathrm{std}^2), \quad
              \text{kept if } |\det A| > \mathrm{min\_abs\_det} \text{ and } \kappa_2(A) \le \mathrm{max\_cond}

    Parameters
    ----------
    mean : float, default=0.0
        Mean of the entries.
    std : float, default=1.0
        Standard deviation of the entries, positive.
    min_abs_det : float, default=0.0
        Only matrices with a larger ``|det|`` are kept; 0 keeps all.
    max_cond : float or None, default=None
        Only matrices with at most this 2-norm condition number are kept; None keeps all.

    Raises
    ------
    ValueError
        If a parameter is not allowed; on drawing, if fewer than one matrix in 10,000 passes the filters.

    Notes
    -----
    With mean 0 this is the real Ginibre ensemble, whose condition number is of the order of m (Edelman 1988).

    References
    ----------
    A. Edelman, "Eigenvalues and condition numbers of random matrices", SIAM J. Matrix Anal. Appl. 9, 1988.

    Examples
    --------
    >>> from skdmi.distributions import Normal
    >>> round(float(Normal(std=2.0).sample(10_000, 3, random_state=0).std()), 1)
    2.0
    """

    mean: float = 0.0
    std: float = 1.0
    min_abs_det: float = 0.0
    max_cond: float | None = None

    def _check(self) -> None:
        require_number(self, "mean")
        require_number(self, "std", above=0)
        check_filters(self)

    def _draw(self, n_matrices: int, matrix_size: int, **where: Any) -> Tensor:
        def propose(n: int) -> Tensor:
            return torch.randn(n, matrix_size, matrix_size, **where).mul_(self.std).add_(self.mean)

        return draw_filtered(self, propose, n_matrices, matrix_size)
