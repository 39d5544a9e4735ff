"""Learned coefficients of a matrix polynomial: the network that reads nothing but scalars of its own residual."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from skdmi.linalg import characteristic_products, characteristic_start, deflate, frobenius_norm, keep_better
from skdmi.linalg.elementary import identity_like, product, trace
from skdmi.linalg.iterations import recomputation_schedule
from skdmi.linalg.steps import (
    LeastSquares,
    combine,
    fit_directions,
    identity_start,
    minimal_residual_basis,
    minimal_residual_start,
    minimal_residual_step,
    n_chain_coefficients,
    power_chain,
    residual,
)
from skdmi.modules.norm import LayerNorm

__all__ = ["STARTS", "PolynomialInverse"]

STARTS: dict[str, Callable[[Tensor], tuple[Tensor, Tensor]]] = {
    "transpose": minimal_residual_start,
    "identity": identity_start,
    "characteristic": characteristic_start,
}


class PolynomialInverse(nn.Module):
    r"""Deflated minimal-residual steps with foresight: a network moves the best coefficients by what it has learned.

    From a start X and a hidden vector :math:`h = 0` of size ``width``, each step

    1. takes the ``rank`` dominant directions out of the residual R (:func:`~skdmi.linalg.deflate`), save at the first
       step from a multiple of the identity;
    2. forms :math:`S = R R`, :math:`R S` and the least-squares problem of the step
       :math:`X + X (c_1 R + c_2 S + c_3 I)` (:func:`~skdmi.linalg.fit_directions`), whose coordinates y minimise the
       next :math:`\|R\|_F`;
    3. reads scalars f of R and of this problem into h: :math:`h \leftarrow h + W f`, then
       :math:`h \leftarrow h + V \operatorname{gelu}(U \tilde h)`, :math:`\tilde h` the layer-normed h;
    4. departs from y by :math:`\delta = O \tilde h`, shortened below ``reach``, so that the step still takes
       :math:`\|R\|_F^2` to at most :math:`\|R\|_F^2 (1 - \|y\|^2 + \text{reach}^2)`.

    O is zero at the start, so the untrained network is :func:`skdmi.linalg.minimal_residual`, and training can only add
    foresight: a step that is worse now and better later. The last step has nothing to foresee and stays at y (unless it
    is the only one).

    With ``n_squarings`` n above 1, all steps but the last put into the place of S a :func:`~skdmi.linalg.power_chain`,
    a polynomial in R of degree :math:`2^n` in n products, whose coefficients are read off h after scalars of R and S.

    What is learned at one size misleads at others, so outside ``sizes`` the network is the untrained iteration.

    Parameters
    ----------
    depth : int
        Number of steps.
    width : int
        Size of h.
    expansion : int
        The hidden layer of a block has ``expansion * width`` units.
    start : {"transpose", "identity", "characteristic"}, default="transpose"
        :func:`~skdmi.linalg.minimal_residual_start`; :func:`~skdmi.linalg.identity_start`, for symmetric positive
        definite matrices; :func:`~skdmi.linalg.characteristic_start`, for very small ones.
    rank : int, default=2
        k of the deflations.
    n_squarings : int, default=1
        n. With 1 all steps are cubic.
    sizes : (int, int or None), default=(1, None)
        The smallest and the largest m for which what was learned is used.
    reach : float, default=1.0
        Bound of :math:`\|\delta\|`.
    """

    def __init__(
        self,
        depth: int,
        width: int,
        expansion: int = 2,
        *,
        start: str = "transpose",
        rank: int = 2,
        n_squarings: int = 1,
        sizes: tuple[int, int | None] = (1, None),
        reach: float = 1.0,
    ) -> None:
        super().__init__()
        self.depth = depth
        self.width = width
        self.start = start
        self.n_squarings = n_squarings
        self.rank = rank
        self.smallest, self.largest = sizes
        self.recomputed = recomputation_schedule(depth, n_squarings)
        squarings = [n_squarings] * (depth - 1) or [1]
        self.blocks = nn.ModuleList(_Foresight(width, expansion, n, reach) for n in squarings)

    def n_products(self, m: int) -> int:
        """Return the number of products of m x m matrices, the last residual included."""
        # From a multiple of the identity the first step spares its product with X.
        start = {"transpose": 1, "identity": -1, "characteristic": characteristic_products(m) + 2}[self.start]
        return start + (self.n_squarings + 2) * (self.depth - 1) + 3 + len(self.recomputed)

    def forward(self, A: Tensor) -> Tensor:
        """Return the inverses of A, ``(n, m, m)``, scaled near 1."""
        X, R = STARTS[self.start](A)
        best = X * identity_like(A) if self.start == "identity" else X, R
        h = A.new_zeros(A.shape[0], self.width)
        learned = self.smallest <= A.shape[-2] and (self.largest is None or A.shape[-2] <= self.largest)
        for step in range(1, self.depth + 1):
            if self.rank and (step > 1 or self.start != "identity"):
                X, R = deflate(A, X, R, self.rank)
            if learned and step <= len(self.blocks):
                h, powers, directions, c = self.blocks[step - 1](h, R, product(R, R))
                X, R = combine(X, R, powers, directions, c)
            else:
                X, R = minimal_residual_step(X, R, n_squarings=self.n_squarings if step < self.depth else 1)
            if step in self.recomputed:
                R = residual(A, X)
                X, R, best = _guard(X, R, best)
        return best[0]


class _Foresight(nn.Module):
    """One step: from R, S and the hidden vector to the next hidden vector, and the step's polynomials."""

    def __init__(self, width: int, expansion: int, n_squarings: int, reach: float) -> None:
        super().__init__()
        self.reach = reach
        self.n_squarings = n_squarings
        n_coefficients = n_chain_coefficients(n_squarings)
        self.chain = _Reader(7, width, expansion, n_coefficients) if n_coefficients else None
        self.departure = _Reader(14, width, expansion, 3)

    def forward(self, h: Tensor, R: Tensor, S: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        coefficients = None
        if self.chain is not None:
            h, coefficients = self.chain(h, power_scalars(R, S))
        powers, directions = minimal_residual_basis(R, S, power_chain(S, R, self.n_squarings, coefficients))
        problem = fit_directions(R, directions)
        h, departure = self.departure(h, residual_scalars(R, problem))
        departure = self.reach * departure / (1 + departure.square().sum(dim=-1, keepdim=True)).sqrt()
        return h, powers, directions, problem.coefficients(problem.coordinates + departure)


class _Reader(nn.Module):
    """Read scalars into the hidden vector, think, and write coefficients."""

    def __init__(self, n_scalars: int, width: int, expansion: int, n_coefficients: int) -> None:
        super().__init__()
        self.read = nn.Linear(n_scalars, width)
        self.norm = LayerNorm(width)
        self.up = nn.Linear(width, expansion * width)
        self.down = _zeros(nn.Linear(expansion * width, width))
        self.norm_out = LayerNorm(width)
        self.write = _zeros(nn.Linear(width, n_coefficients))

    def forward(self, h: Tensor, scalars: Tensor) -> tuple[Tensor, Tensor]:
        h = h + self.read(scalars)
        h = h + self.down(nn.functional.gelu(self.up(self.norm(h))))
        return h, self.write(self.norm_out(h))


def power_scalars(R: Tensor, S: Tensor) -> Tensor:
    r"""Return what a step reads before it chooses T, ``(n, 7)``, each of order 1: the first four moments of R.

    :math:`1 / m`, :math:`\operatorname{tr} R / m`, :math:`\log(\|R\|^2 / m)`, :math:`\log(\|S\|^2 / \|R\|^2)`, and the
    cosines between I, R and S.
    """
    m, tiny = R.shape[-2], torch.finfo(R.dtype).tiny ** 0.5
    r, s = frobenius_norm(R).clamp_min(tiny), frobenius_norm(S).clamp_min(tiny)
    t = trace(R)
    scalars = [
        torch.full_like(t, 1 / m),
        t / m,
        0.6 * (r / m**0.5).log(),
        0.6 * (s / r).log(),
        t / (m**0.5 * r),
        r * (r / (m**0.5 * s)),
        (R * S).sum(dim=(-2, -1)) / r / s,
    ]
    return torch.stack(scalars, dim=-1)


def residual_scalars(R: Tensor, problem: LeastSquares) -> Tensor:
    r"""Return what a step reads before it departs, ``(n, 5 + 3 k)``, each of order 1.

    :math:`1 / m`, :math:`\operatorname{tr} R / m`, :math:`\operatorname{tr} R / (\sqrt m \|R\|)`,
    :math:`\log(\|R\|^2 / m)`, the log of the remainder of the least-squares step, its coordinates and cosines, and the
    log of its scales.
    """
    m = R.shape[-2]
    mean_square = frobenius_norm(R).square().clamp_min(torch.finfo(R.dtype).tiny) / m
    mean_trace = trace(R) / m
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
