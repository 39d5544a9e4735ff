"""Covariance matrices of Gaussian processes at fixed points, of random hyperparameters."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from skdmi.distributions.base import Distribution, number_array, require
from skdmi.distributions.pieces import mirrored
from skdmi.distributions.ranges import Range, log_uniform_in, require_range, require_variance

KERNELS: dict[str, Callable[[Tensor], Tensor]] = {
    "rbf": lambda r: (r.square() / -2).exp(),
    "matern12": lambda r: (-r).exp(),
    "matern32": lambda r: (1 + 3**0.5 * r) * (-(3**0.5) * r).exp(),
    "matern52": lambda r: (1 + 5**0.5 * r + 5 / 3 * r.square()) * (-(5**0.5) * r).exp(),
    "rational-quadratic": lambda r: 1 / (1 + r.square() / 2),
}
"""Functions of the distance in units of the length scale, by name."""
REGULAR = ("line", "grid")


@dataclass(frozen=True, repr=False)
class GaussianProcessKernel(Distribution):
    r"""Noisy covariance matrices of a Gaussian process: symmetric, positive definite.

    .. math:: a_{ij} = k(\|p_i - p_j\|_2 / \ell) + \sigma^2 \, [i = j]

    with the length scale :math:`\ell` and the variance of the noise :math:`\sigma^2` log-uniform, and the kernel k
    picked for each matrix among those named:

    ======================  ===================================================================
    ``rbf``                 :math:`\exp(-r^2 / 2)`
    ``matern12``            :math:`\exp(-r)`
    ``matern32``            :math:`(1 + \sqrt 3 r) \exp(-\sqrt 3 r)`
    ``matern52``            :math:`(1 + \sqrt 5 r + 5 r^2 / 3) \exp(-\sqrt 5 r)`
    ``rational-quadratic``  :math:`1 / (1 + r^2 / 2)`
    ======================  ===================================================================

    Parameters
    ----------
    points : {"line", "grid"} or sequence of points, default="line"
        The :math:`p_i`. ``"line"`` is m points at equal distances from 0 to 1; ``"grid"``, for m a square, is as many
        in the unit square, row by row. Points of one's own are tuples of coordinates, or numbers, and m is their
        number.
    kernels : sequence of str, default=("rbf",)
        Names from the table.
    length_scales : float or (low, high), default=(0.1, 1.0)
        The range of :math:`\ell`, in the units of the points; one number is the same for all matrices.
    noise : float or (low, high), default=(1e-3, 1e-1)
        The range of :math:`\sigma^2`. It bounds the condition number by :math:`1 + m / \sigma^2`; without noise
        matrices of smooth kernels are singular to rounding.

    Raises
    ------
    ValueError
        If a parameter is not allowed; on drawing, if there is no such matrix of that size.

    References
    ----------
    C. E. Rasmussen and C. K. I. Williams, "Gaussian Processes for Machine Learning", MIT Press, 2006, chapter 4.

    Examples
    --------
    >>> from skdmi.distributions import GaussianProcessKernel
    >>> GaussianProcessKernel([0.0, 1.0, 3.0], ["matern12"], length_scales=1, noise=0).sample(1, 3, random_state=0)
    array([[[1.        , 0.36787944, 0.04978707],
            [0.36787944, 1.        , 0.13533528],
            [0.04978707, 0.13533528, 1.        ]]])
    """

    points: str | tuple[Any, ...] = "line"
    kernels: tuple[str, ...] = ("rbf",)
    length_scales: Range = (0.1, 1.0)
    noise: Range = (1e-3, 1e-1)

    def _check(self) -> None:
        points = number_array(self.points)
        holds = self.points in REGULAR or (points is not None and points.ndim in (1, 2) and points.size > 0)
        require(
            self,
            "points",
            holds,
            '"line", "grid", or a sequence of points, all of as many finite numbers (or a number)',
        )
        holds = isinstance(self.kernels, tuple) and bool(self.kernels) and all(k in KERNELS for k in self.kernels)
        require(self, "kernels", holds, f"a sequence of names among {tuple(KERNELS)}")
        require_range(self, "length_scales", lambda low, _: low > 0, "above 0")
        require_variance(self, "noise")

    def _draw(self, n_matrices: int, matrix_size: int, **where: Any) -> Tensor:
        anywhere = {"generator": where["generator"], "device": where["device"]}
        points = self._points(matrix_size).to(where["device"], where["dtype"])
        scales = log_uniform_in(self.length_scales, n_matrices, 1, 1, **where)
        stack = (points[:, None] - points).square().sum(-1).sqrt() / scales
        choice = torch.randint(len(self.kernels), (n_matrices,), **anywhere)
        for k, kernel in enumerate(self.kernels):
            chosen = choice == k
            stack[chosen] = KERNELS[kernel](stack[chosen])
        stack.diagonal(dim1=1, dim2=2).add_(log_uniform_in(self.noise, n_matrices, 1, **where))
        return mirrored(stack)

    def _points(self, matrix_size: int) -> Tensor:
        """Return the points ``(m, n_coordinates)``, in float64."""
        if isinstance(self.points, str):
            side = matrix_size if self.points == "line" else math.isqrt(matrix_size)
            line = torch.linspace(0, 1, side, device="cpu", dtype=torch.float64)
            if self.points == "line":
                return line[:, None]
            require(
                self, "points", side**2 == matrix_size, f"what has {matrix_size} points; a grid has a square of them"
            )
            return torch.cartesian_prod(line, line)
        expected = f"as many points as matrix_size={matrix_size}, not {len(self.points)}"
        require(self, "points", len(self.points) == matrix_size, expected)
        return torch.tensor(self.points, device="cpu", dtype=torch.float64).reshape(matrix_size, -1)
