"""Matrices of a structure: covariance, constant diagonals, dominance, grading, exact singularity."""

from dataclasses import dataclass
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from skdmi.distributions.base import Distribution, require, require_number
from skdmi.distributions.pieces import log_uniform, random_permutations, random_signs, uniform
from skdmi.linalg.orthogonal import haar_orthogonal


@dataclass(frozen=True, repr=False)
class Wishart(Distribution):
    r"""Sample covariance matrices: symmetric, positive definite.

    .. math:: A = G G^T / \nu + \mathrm{ridge} \cdot I, \qquad G \in R^{m \times \nu}, \; g_{ij} \sim N(0, 1)

    Parameters
    ----------
    degrees_of_freedom : int or None, default=None
        The number of observations :math:`\nu`; None is 4 m.
    ridge : float, default=0.0
        What is added to the diagonal.

    Raises
    ------
    ValueError
        If a parameter is not allowed; on drawing, if all matrices would be singular (:math:`\nu < m` without ridge).

    References
    ----------
    J. Wishart, "The generalised product moment distribution in samples from a normal multivariate population",
    Biometrika 20A, 1928.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmi.distributions import Wishart
    >>> stack = Wishart().sample(100, 4, random_state=0)
    >>> bool((stack == stack.transpose(0, 2, 1)).all()), bool(np.linalg.eigvalsh(stack).min() > 0)
    (True, True)
    """

    degrees_of_freedom: int | None = None
    ridge: float = 0.0

    def _check(self) -> None:
        require_number(self, "degrees_of_freedom", Integral, optional=True, at_least=1)
        require_number(self, "ridge", at_least=0)

    def _draw(self, n_matrices: int, matrix_size: int, **where: Any) -> Tensor:
        observations = self.degrees_of_freedom or 4 * matrix_size
        if self.ridge == 0:
            enough = f"at least matrix_size={matrix_size} (or ridge > 0): every matrix would be singular"
            require(self, "degrees_of_freedom", observations >= matrix_size, enough)
        g = torch.randn(n_matrices, matrix_size, observations, **where)
        stack = g @ g.mT
        stack = (stack + stack.mT) / (2 * observations)  # the product alone need not be symmetric in its last bits
        stack.diagonal(dim1=1, dim2=2).add_(self.ridge)
        return stack


@dataclass(frozen=True, repr=False)
class Toeplitz(Distribution):
    r"""Constant diagonals with independent uniform values.

    .. math:: a_{ij} = c_{i - j}, \qquad c_k \sim U[\mathrm{low}, \mathrm{high})

    Parameters
    ----------
    low, high : float, default=-1.0 and 1.0
        Ends of the interval.
    symmetric : bool, default=False
        Whether :math:`c_{-k} = c_k`.

    Raises
    ------
    ValueError
        If a parameter is not allowed.

    Examples
    --------
    >>> from skdmi.distributions import Toeplitz
    >>> A = Toeplitz().sample(1, 4, random_state=0)[0]
    >>> bool((A[1:, 1:] == A[:-1, :-1]).all())
    True
    """

    low: float = -1.0
    high: float = 1.0
    symmetric: bool = False

    def _check(self) -> None:
        require_number(self, "low")
        require_number(self, "high", above=self.low)
        require(self, "symmetric", isinstance(self.symmetric, bool), "True or False")

    def _draw(self, n_matrices: int, matrix_size: int, **where: Any) -> Tensor:
        rows = torch.arange(matrix_size, device=where["device"])
        diagonal = rows[:, None] - rows[None, :]
        diagonal = diagonal.abs() if self.symmetric else diagonal + matrix_size - 1
        n_diagonals = matrix_size if self.symmetric else 2 * matrix_size - 1
        return uniform(self.low, self.high, n_matrices, n_diagonals, **where)[:, diagonal]


@dataclass(frozen=True, repr=False)
class DiagonallyDominant(Distribution):
    r"""Strictly row diagonally dominant matrices, of independent uniform entries off the diagonal.

    .. math:: |a_{ii}| = \mathrm{dominance} \sum_{j \ne i} |a_{ij}|, \qquad |a_{ij}| \sim U(0, 1]

    with independent random signs. For m = 1, where the sum is empty, :math:`|a_{11}| \sim U(0, 1]`.

    Parameters
    ----------
    dominance : float, default=2.0
        How far the diagonal outweighs the rest of its row; above 1, and by more than the rounding of a sum of m
        entries if dominance is to be strict in the bits.

    Raises
    ------
    ValueError
        If a parameter is not allowed.

    Notes
    -----
    The inverse has maximum row sum at most :math:`1 / \min_i (|a_{ii}| - \sum_{j \ne i} |a_{ij}|)` (Varah 1975).

    References
    ----------
    J. M. Varah, "A lower bound for the smallest singular value of a matrix", Linear Algebra Appl. 11, 1975.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmi.distributions import DiagonallyDominant
    >>> A = np.abs(DiagonallyDominant(dominance=3).sample(1, 4, random_state=0)[0])
    >>> print(A.diagonal() / (A.sum(1) - A.diagonal()))
    [3. 3. 3. 3.]
    """

    dominance: float = 2.0

    def _check(self) -> None:
        require_number(self, "dominance", above=1)

    def _draw(self, n_matrices: int, matrix_size: int, **where: Any) -> Tensor:
        sizes = 1 - torch.rand(n_matrices, matrix_size, matrix_size, **where)  # never 0
        if matrix_size > 1:
            diagonal = sizes.diagonal(dim1=1, dim2=2)
            diagonal.zero_()
            diagonal.copy_(self.dominance * sizes.sum(-1))
        return sizes * random_signs(n_matrices, matrix_size, matrix_size, **where)


@dataclass(frozen=True, repr=False)
class Graded(Distribution):
    r"""Rows that shrink geometrically: well-conditioned but for the units of its rows.

    .. math:: A = D Q, \qquad d_i = g^{-(i - 1) / (m - 1)}, \; i = 1, \dots, m

    with Q uniform on the orthogonal group and the grade g log-uniform on [1, ``max_grade``]. The condition number is g;
    that of the rows scaled to equal length is 1.

    Parameters
    ----------
    max_grade : float, default=1000.0
        Largest ratio of the first row to the last.

    Raises
    ------
    ValueError
        If a parameter is not allowed.

    References
    ----------
    N. J. Higham, "Accuracy and Stability of Numerical Algorithms", 2nd ed., SIAM, 2002, chapter 7 (scaling).

    Examples
    --------
    >>> import numpy as np
    >>> from skdmi.distributions import Graded
    >>> lengths = np.linalg.norm(Graded(max_grade=100).sample(1000, 3, random_state=0), axis=2)
    >>> bool(np.allclose(lengths[:, 0], 1)), bool(0.01 < lengths[:, 2].min() < 0.011)
    (True, True)
    """

    max_grade: float = 1e3

    def _check(self) -> None:
        require_number(self, "max_grade", at_least=1)

    def _draw(self, n_matrices: int, matrix_size: int, **where: Any) -> Tensor:
        grade = log_uniform(1, self.max_grade, n_matrices, 1, **where)
        exponents = torch.linspace(0, 1, matrix_size, device=where["device"], dtype=where["dtype"])
        return grade.pow(-exponents)[:, :, None] * haar_orthogonal(n_matrices, matrix_size, **where)


@dataclass(frozen=True, repr=False)
class Singular(Distribution):
    r"""Integer matrices that are singular in their very bits.

    .. math:: A = P_1 L U P_2, \qquad L \in Z^{m \times r}, \; U \in Z^{r \times m}

    L is unit lower and U unit upper trapezoidal, other entries uniform on -4, ..., 4, so that the rank is exactly r;
    P_1 and P_2 are random permutations. Entries are integers of size at most 16 r: float32 holds
    them exactly.

    Parameters
    ----------
    rank : int or None, default=None
        The rank r, below m; None is m - 1. Rank 0 is the zero matrix.

    Raises
    ------
    ValueError
        If a parameter is not allowed; on drawing, if ``rank`` is not below m.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmi.distributions import Singular
    >>> np.linalg.matrix_rank(Singular().sample(3, 4, random_state=0))
    array([3, 3, 3])
    """

    rank: int | None = None

    def _check(self) -> None:
        require_number(self, "rank", Integral, optional=True, at_least=0)

    def _draw(self, n_matrices: int, matrix_size: int, **where: Any) -> Tensor:
        rank = matrix_size - 1 if self.rank is None else self.rank
        require(self, "rank", rank < matrix_size, f"less than matrix_size={matrix_size}")
        lower = torch.randint(-4, 5, (n_matrices, matrix_size, rank), **where).tril_(-1)
        upper = torch.randint(-4, 5, (n_matrices, rank, matrix_size), **where).triu_(1)
        lower.diagonal(dim1=1, dim2=2).fill_(1)
        upper.diagonal(dim1=1, dim2=2).fill_(1)
        rows = random_permutations(n_matrices, matrix_size, **where)
        columns = random_permutations(n_matrices, matrix_size, **where)
        return lower.gather(1, rows[:, :, None].expand_as(lower)) @ upper.gather(2, columns[:, None].expand_as(upper))
