"""Learned coefficients of a matrix polynomial: the network that reads nothing but scalars of its own residual."""

import torch
from torch import Tensor, nn

from skdmi.linalg import (
    LeastSquares,
    combine,
    fit_directions,
    frobenius_norm,
    keep_better,
    minimal_residual_basis,
    minimal_residual_start,
    recomputation_schedule,
    residual,
)

__all__ = ["PolynomialInverse"]


class PolynomialInverse(nn.Module):
    r"""Minimal-residual steps with foresight: a block moves the best coefficients by what it has learned.

    Start from :math:`X = c A^T` and a hidden vector :math:`h = 0` of size ``width``. Each block

    1. forms :math:`S = R R`, :math:`R S` and the least-squares problem of the step
       :math:`X + X (c_1 R + c_2 S + c_3 I)` (:func:`~skdmi.linalg.fit_directions`), whose coordinates y minimise the
       next :math:`\|R\|_F`: the minimal-residual iteration;
    2. reads its scalars f into h: :math:`h \leftarrow h + W f`, then
       :math:`h \leftarrow h + V \operatorname{gelu}(U \tilde h)`, :math:`\tilde h` the layer-normed h;
    3. departs from y by :math:`\delta = O \tilde h`, shortened below ``reach``, so that the step still takes
       :math:`\|R\|_F^2` to at most :math:`\|R\|_F^2 (1 - \|y\|^2 + \text{reach}^2)`.

    O is zero at the start, so the untrained network is :func:`skdmi.linalg.minimal_residual`, and training can only
    add foresight: a step that is worse now and better later. The last step has nothing to foresee and stays at y
    (unless it is the only one). Every step is the same polynomial of :math:`A A^T` for A and for Q A P with orthogonal
    Q and P.

    What is learned at one size misleads at others, so outside ``sizes`` the network is the untrained iteration.

    Parameters
    ----------
    depth : int
        Number of steps.
    width : int
        Size of h.
    expansion : int
        The hidden layer of a block has ``expansion * width`` units.
    sizes : (int, int or None), default=(1, None)
        The smallest and the largest m for which the departures are used.
    n_coefficients : {2, 3}, default=3
        2 leaves out :math:`c_3`.
    reach : float, default=1.0
        Bound of :math:`\|\delta\|`.
    """

    def __init__(
        self,
        depth: int,
        width: int,
        expansion: int = 2,
        *,
        sizes: tuple[int, int | None] = (1, None),
        n_coefficients: int = 3,
        reach: float = 1.0,
    ) -> None:
        super().__init__()
        self.depth = depth
        self.width = width
        self.smallest, self.largest = sizes
        self.n_coefficients = n_coefficients
        self.recomputed = recomputation_schedule(depth)
        n_blocks = max(1, depth - 1)
        self.blocks = nn.ModuleList(_Departure(width, expansion, n_coefficients, reach) for _ in range(n_blocks))

    @property
    def n_products(self) -> int:
        """Number of products of m x m matrices, the last residual included."""
        return 1 + 3 * self.depth + len(self.recomputed)

    def forward(self, A: Tensor) -> Tensor:
        """Return the inverses of A, ``(n, m, m)``, scaled near 1."""
        X, R = best = minimal_residual_start(A)
        h = A.new_zeros(len(A), self.width)
        m = A.shape[-1]
        learned = self.smallest <= m and (self.largest is None or m <= self.largest)
        for step in range(1, self.depth + 1):
            powers, directions = minimal_residual_basis(R, self.n_coefficients)
            problem = fit_directions(R, directions)
            coordinates = problem.coordinates
            if learned and step <= len(self.blocks):
                h, departure = self.blocks[step - 1](h, R, problem)
                coordinates = coordinates + departure
            X, R = combine(X, R, powers, directions, problem.coefficients(coordinates))
            if step in self.recomputed:
                R = residual(A, X)
                X, R, best = _guard(X, R, best)
        return best[0]


class _Departure(nn.Module):
    """One block: from scalars of the residual and the hidden vector to the next hidden vector and the departure."""

    def __init__(self, width: int, expansion: int, n_coefficients: int, reach: float) -> None:
        super().__init__()
        self.reach = reach
        self.read = nn.Linear(5 + 3 * n_coefficients, width)
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, expansion * width)
        self.down = _zeros(nn.Linear(expansion * width, width))
        self.norm_out = nn.LayerNorm(width)
        self.write = _zeros(nn.Linear(width, n_coefficients))

    def forward(self, h: Tensor, R: Tensor, problem: LeastSquares) -> tuple[Tensor, Tensor]:
        h = h + self.read(residual_scalars(R, problem))
        h = h + self.down(nn.functional.gelu(self.up(self.norm(h))))
        departure = self.write(self.norm_out(h))
        return h, self.reach * departure / (1 + departure.square().sum(dim=-1, keepdim=True)).sqrt()


def residual_scalars(R: Tensor, problem: LeastSquares) -> Tensor:
    r"""Return the scalars that a block reads, ``(n, 5 + 3 k)``, each of order 1.

    :math:`1 / m`, :math:`\operatorname{tr} R / m`, :math:`\operatorname{tr} R / (\sqrt m \|R\|)`,
    :math:`\log(\|R\|^2 / m)`, the log of the remainder of the least-squares step, its coordinates and cosines, and the
    log of its scales.
    """
    m = R.shape[-1]
    mean_square = frobenius_norm(R).square().clamp_min(torch.finfo(R.dtype).tiny) / m
    mean_trace = R.diagonal(dim1=-2, dim2=-1).sum(dim=-1) / m
    scalars = [
        torch.full_like(mean_trace, 1 / m),
        mean_trace,
        mean_trace / mean_square.sqrt(),
        0.3 * mean_square.log(),
        0.1 * problem.remainder().log(),
    ]
    scales = 0.3 * problem.scale.log()
    return torch.cat([torch.stack(scalars, dim=-1), problem.coordinates, problem.cosines, scales], dim=-1)


def _guard(
    X: Tensor, R: Tensor, best: tuple[Tensor, Tensor], growth: float = 100.0
) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
    """Keep the best iterate, and go on from it where the recomputed residual is not finite or has grown beyond use.

    A residual that rounding has made larger, but not a hundred times, is best left to the next step, which is a
    minimal-residual step too: going back would repeat what failed.
    """
    best = keep_better(best, X, R)
    sound = (frobenius_norm(R) <= growth * frobenius_norm(best[1]))[:, None, None]
    X, R = (torch.where(sound, torch.nan_to_num(new), old) for new, old in zip((X, R), best, strict=True))
    return X, R, best


def _zeros(layer: nn.Linear) -> nn.Linear:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
