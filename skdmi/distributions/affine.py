"""Families of matrices that depend affinely on parameters, as those of discretised differential equations."""

from dataclasses import dataclass
from numbers import Integral
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from skdmi.distributions.base import Distribution, is_number, number_array, require
from skdmi.distributions.pieces import uniform
from skdmi.distributions.ranges import Range, ends_of


@dataclass(frozen=True, repr=False)
class Affine(Distribution):
    r"""Sums of given matrices with random coefficients.

    .. math:: A(\mu) = \sum_{k=1}^K \mu_k A_k

    with independent :math:`\mu_k` between ``low`` and ``high``: the parametrised families of reduced-basis methods
    (Hesthaven, Rozza and Stamm 2016, chapter 3). `diffusion` and `advection_diffusion` write the matrices of two of
    them.

    Parameters
    ----------
    matrices : sequence of K matrices, each a nested sequence or an array m x m
        The :math:`A_k`.
    low, high : float or sequence of K floats, default=0.1 and 10.0
        Ends of the interval of every :math:`\mu_k`, or of each. Where they are equal the coefficient is fixed.
    log : bool, default=True
        Whether the coefficients, above 0 then, are log-uniform; if not, they are uniform.

    Raises
    ------
    ValueError
        If a parameter is not allowed; on drawing, if m is not that of the matrices.

    Notes
    -----
    If the :math:`A_k` are symmetric, so is every A, in its bits; if they are positive semidefinite and their sum is
    positive definite, A is so for positive coefficients.

    References
    ----------
    J. S. Hesthaven, G. Rozza and B. Stamm, "Certified Reduced Basis Methods for Parametrized Partial Differential
    Equations", Springer, 2016.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmi.distributions import Affine
    >>> A = Affine([np.eye(2), np.ones((2, 2))], low=(3, 1), high=(3, 2)).sample(1, 2, random_state=0)[0]
    >>> float(A[0, 0] - A[0, 1]), bool(1 <= A[0, 1] <= 2)
    (3.0, True)
    """

    matrices: tuple[tuple[tuple[float, ...], ...], ...]
    low: float | tuple[float, ...] = 0.1
    high: float | tuple[float, ...] = 10.0
    log: bool = True

    def _check(self) -> None:
        matrices = number_array(self.matrices)
        shape = () if matrices is None else matrices.shape
        holds = len(shape) == 3 and shape[1] == shape[2] and 0 not in shape
        require(self, "matrices", holds, "a sequence of matrices of finite numbers, all m x m")
        require(self, "log", isinstance(self.log, bool), "True or False")
        expected = f"a finite number, or one for each of {shape[0]} matrices"
        require(self, "low", self._each(self.low) is not None, expected)
        require(self, "high", self._each(self.high) is not None, expected)
        low, high = np.array(self.low), np.array(self.high)
        require(self, "low", not self.log or bool((low > 0).all()), "numbers above 0, or log=False")
        require(self, "high", bool((low <= high).all()), f"at least low={self.low}")

    @classmethod
    def diffusion(cls, side: int, *, regions: int = 2, low: float = 0.1, high: float = 10.0) -> Self:
        r"""Diffusion in the unit square, of a conductivity that differs between regions.

        .. math:: -\nabla \cdot (\mu(x) \nabla u) = f, \quad u = 0 \text{ on the boundary}

        by linear finite elements on a grid of ``side`` x ``side`` inner nodes, with :math:`\mu = \mu_k` on the k-th of
        ``regions`` x ``regions`` blocks of cells, row by row: symmetric positive definite matrices, m = side^2. With
        equal conductivities it is the five-point stencil: 4 on the diagonal, -1 for neighbours.

        Parameters
        ----------
        side : int
            Inner nodes along an edge.
        regions : int, default=2
            Regions along an edge, at most ``side`` + 1.
        low, high : float, default=0.1 and 10.0
            Ends of the interval of the conductivities, which are log-uniform.

        Returns
        -------
        Affine
            Of regions^2 matrices, which draws for ``matrix_size=side**2`` only.

        Raises
        ------
        ValueError
            If a parameter is not allowed.

        Examples
        --------
        >>> import numpy as np
        >>> from skdmi.distributions import Affine
        >>> family = Affine.diffusion(side=6)
        >>> family
        Affine(matrices=<4 x 36 x 36 numbers>)
        >>> bool(np.linalg.eigvalsh(family.sample(100, 36, random_state=0)).min() > 0)
        True
        """
        _require_counts(side=side, regions=regions)
        if regions > side + 1:
            raise ValueError(f"Got regions={regions}; expected at most side + 1, which is {side + 1}.")
        nodes = np.arange((side + 2) ** 2).reshape(side + 2, side + 2)
        region = np.arange(side + 1) * regions // (side + 1)
        matrices: Any = np.zeros((regions**2, nodes.size, nodes.size))
        for row in range(side + 1):
            for column in range(side + 1):
                matrix = matrices[region[row] * regions + region[column]]
                corners = nodes[row : row + 2, column : column + 2]
                # An edge of a cell has half of its conductivity; the other half is that of the cell beyond.
                for ends in (*corners, *corners.T):
                    matrix[np.ix_(ends, ends)] += [[0.5, -0.5], [-0.5, 0.5]]
        inner = nodes[1:-1, 1:-1].ravel()
        return cls(matrices[:, inner[:, None], inner], low, high)

    @classmethod
    def advection_diffusion(
        cls,
        side: int,
        *,
        diffusion: Range = (0.01, 1.0),
        velocity: Range = (0.1, 10.0),
        time_step: Range = (0.01, 1.0),
    ) -> Self:
        r"""One implicit step of advection and diffusion in the unit square: unsymmetric M-matrices.

        .. math:: A = \frac{1}{\Delta t} I + \nu K + v_x U_x + v_y U_y

        for :math:`u_t - \nu \Delta u + v \cdot \nabla u = f`, u = 0 on the boundary, by finite differences on a grid of
        ``side`` x ``side`` inner nodes at distances h = 1 / (side + 1), and m = side^2: K is the five-point stencil
        over h^2, and the :math:`U` are the upwind differences :math:`(u_i - u_{i - 1}) / h`, along rows and across.

        Parameters
        ----------
        side : int
            Inner nodes along an edge.
        diffusion : float or (low, high), default=(0.01, 1.0)
            The range of :math:`\nu`. All four coefficients are log-uniform.
        velocity : float or (low, high), default=(0.1, 10.0)
            The range of :math:`v_x` and :math:`v_y`, positive both: the wind blows towards larger x and y.
        time_step : float or (low, high), default=(0.01, 1.0)
            The range of :math:`\Delta t`.

        Returns
        -------
        Affine
            Of four matrices, which draws for ``matrix_size=side**2`` only.

        Raises
        ------
        ValueError
            If a parameter is not allowed.

        Examples
        --------
        >>> from skdmi.distributions import Affine
        >>> A = Affine.advection_diffusion(side=3, diffusion=1, velocity=2, time_step=0.1).sample(1, 9)[0]
        >>> print(A[4].reshape(3, 3))  # 1 / 0.1 + 4 * 4^2 + 2 * 2 * 4 in the middle
        [[  0. -24.   0.]
         [-24.  90. -16.]
         [  0. -16.   0.]]
        """
        _require_counts(side=side)
        ends = {}
        for name, value in (("diffusion", diffusion), ("velocity", velocity), ("time_step", time_step)):
            found = ends_of(tuple(value) if isinstance(value, list) else value)
            if found is None or found[0] <= 0:
                raise ValueError(f"Got {name}={value!r}; expected a number or a pair (low, high), above 0.")
            ends[name] = found
        one = np.eye(side)
        below = np.eye(side, k=-1)
        upwind = (one - below) * (side + 1)
        stencil = (2 * one - below - below.T) * (side + 1) ** 2
        both = np.kron(stencil, one) + np.kron(one, stencil)
        matrices: Any = np.eye(side**2), both, np.kron(one, upwind), np.kron(upwind, one)
        (slow, fast), (short, long) = ends["velocity"], ends["time_step"]
        low, high = ends["diffusion"]
        return cls(matrices, (1 / long, low, slow, slow), (1 / short, high, fast, fast))

    def _each(self, value: Any) -> np.ndarray | None:
        """Return a number for each matrix, or None if a value is neither that nor one for all."""
        array = number_array(value)
        if array is None or array.shape not in ((), (len(self.matrices),)):
            return None
        return np.broadcast_to(array, len(self.matrices))

    def _draw(self, n_matrices: int, matrix_size: int, **where: Any) -> Tensor:
        device, dtype = where["device"], where["dtype"]
        matrices = torch.tensor(self.matrices, device=device, dtype=dtype)
        m = matrices.shape[-1]
        if matrix_size != m:
            raise ValueError(f"Got matrix_size={matrix_size}; expected {m}, the size of the matrices of {self!r}.")
        low, high = (torch.tensor(self._each(ends), device=device, dtype=dtype) for ends in (self.low, self.high))
        share = uniform(0, 1, n_matrices, len(matrices), **where)
        mu = torch.lerp(low.log(), high.log(), share).exp() if self.log else torch.lerp(low, high, share)
        mu = torch.clamp(mu, low, high)  # what is fixed is so exactly

        # Products and sums are rounded apart, and so alike in every entry: what is symmetric stays so.
        stack = torch.zeros(n_matrices, m, m, device=device, dtype=dtype)
        for k, matrix in enumerate(matrices):
            stack += mu[:, k, None, None] * matrix
        return stack


def _require_counts(**counts: Any) -> None:
    for name, value in counts.items():
        if not is_number(value, Integral) or value < 1:
            raise ValueError(f"Got {name}={value!r}; expected an integer of at least 1.")
