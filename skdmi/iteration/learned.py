"""The rule that is learned: a network that reads nothing but scalars of the residual, and chooses the next step."""

import torch
from torch import Generator, Tensor, nn

from skdmi.iteration.adjoint import Gradients, Tensors, with_adjoint
from skdmi.iteration.family import FamilyStart
from skdmi.iteration.layers import LayerNorm, Linear
from skdmi.iteration.least_squares import LeastSquares, gram_ridge
from skdmi.iteration.loop import count_products, iterate
from skdmi.iteration.starts import TRANSPOSE, Start
from skdmi.iteration.steps import Rule, least_residual


class PolynomialInverse(nn.Module):
    r"""Deflated minimal-residual steps with foresight: a network moves the best coefficients by what it has learned.

    It is :func:`~skdmi.iteration.iterate` with a rule of its own. With a hidden vector :math:`h = 0` of size ``width``
    at the start, each step

    1. reads scalars f of the residual R and of the step's least-squares problem
       (:class:`~skdmi.iteration.LeastSquares`), whose coordinates y minimise the next :math:`\|R\|_F`, into h:
       :math:`h \leftarrow h + W f`, then :math:`h \leftarrow h + V \operatorname{gelu}(U \tilde h)`, :math:`\tilde h`
       the layer-normed h;
    2. departs from y by :math:`\delta = O \tilde h`, shortened below ``reach``, so that the step still takes
       :math:`\|R\|_F^2` to at most :math:`\|R\|_F^2 (1 - \|y\|^2 + \text{reach}^2)`.

    O is zero at the start, so the untrained network is the iteration itself, and training can only add foresight: a
    step that is worse now and better later. The last step has nothing to foresee and stays at y (unless it is the only
    one). What is learned at one size misleads at others, so outside ``sizes`` the network is the untrained iteration;
    and so it is for a matrix that a :class:`~skdmi.iteration.FamilyStart` refuses.

    Parameters
    ----------
    depth : int
        Number of steps.
    width : int
        Size of h.
    expansion : int
        The hidden layer of a block has ``expansion * width`` units.
    start : Start or FamilyStart, default=TRANSPOSE
        Where the steps begin: see :mod:`skdmi.iteration.starts`.
    rank : int, default=2
        Of the deflations.
    sizes : (int, int or None), default=(1, None)
        The smallest and the largest m for which what was learned is used.
    reach : float, default=1.0
        Bound of :math:`\|\delta\|`.
    generator : torch.Generator, optional
        Of the first weights; by default torch's global one.

    Examples
    --------
    >>> network = PolynomialInverse(2, width=4, generator=torch.Generator().manual_seed(0))
    >>> A = torch.tensor([[[2.0, 1.0], [1.0, 3.0]]]) / 3
    >>> torch.equal(network(A), iterate(A, 2)), network.n_products(2)
    (True, 8)
    """

    smallest: int
    largest: int | None

    def __init__(
        self,
        depth: int,
        width: int,
        expansion: int = 2,
        *,
        start: Start | FamilyStart = TRANSPOSE,
        rank: int = 2,
        sizes: tuple[int, int | None] = (1, None),
        reach: float = 1.0,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        self.depth = depth
        self.width = width
        self.start: Start | FamilyStart = start
        self.rank = rank
        self.smallest, self.largest = sizes
        n_blocks = max(1, depth - 1)
        self.blocks: nn.ModuleList = nn.ModuleList(
            _Foresight(width, expansion, reach, generator) for _ in range(n_blocks)
        )

    def n_products(self, m: int) -> int:
        """Return the number of products of m x m matrices, the last residual included.

        Parameters
        ----------
        m : int
            Size of the matrices, on which it does not depend.

        Returns
        -------
        int
            For one matrix: :func:`~skdmi.iteration.count_products`.

        Examples
        --------
        >>> PolynomialInverse(depth=3, width=4).n_products(8)
        11
        """
        del m
        return count_products(self.depth, self.start)

    def forward(self, A: Tensor) -> Tensor:
        r"""Return the inverses.

        Parameters
        ----------
        A : Tensor of shape (n_matrices, m, m)
            Scaled near 1, as by :math:`\|A\|_F = \sqrt m`.

        Returns
        -------
        Tensor of shape (n_matrices, m, m)
            In the dtype of A; differentiable in A and in the weights.

        Examples
        --------
        >>> A = torch.eye(3)[None]
        >>> torch.allclose(PolynomialInverse(depth=1, width=4)(A), A)
        True
        """
        if not isinstance(self.start, FamilyStart):
            return iterate(A, self.depth, start=self.start, rank=self.rank, choose=self.rule(A))
        begun = self.start.begin(A)
        return iterate(A, self.depth, start=begun, rank=self.rank, choose=self.rule(A, begun.accepted))

    def rule(self, A: Tensor, accepted: Tensor | None = None) -> Rule:
        """Return the rule for one pass over A: it remembers what the steps before have read.

        Parameters
        ----------
        A : Tensor of shape (n_matrices, m, m)
            The stack of the pass.
        accepted : Tensor of shape (n_matrices,), optional
            Where a family start was allowed; by default its guard is asked.

        Returns
        -------
        callable
            ``choose(step, R, problem)``, for :func:`~skdmi.iteration.iterate`.

        Examples
        --------
        >>> A, network = torch.eye(3)[None] + 0.1, PolynomialInverse(depth=2, width=4)
        >>> torch.equal(iterate(A, 2, choose=network.rule(A)), network(A))
        True
        """
        m = A.shape[-1]
        if not (self.smallest <= m and (self.largest is None or m <= self.largest)):
            return least_residual
        h = A.new_zeros(A.shape[0], self.width)
        if accepted is None and isinstance(self.start, FamilyStart):
            accepted = self.start.accepts(A)
        known = None if accepted is None else accepted.unsqueeze(-1)

        def choose(step: int, R: Tensor, problem: LeastSquares) -> Tensor:
            nonlocal h
            if step > len(self.blocks):
                return problem.coordinates
            h, departure = self.blocks[step - 1](h, problem, R.shape[-1])
            if known is not None:
                departure = torch.where(known, departure, 0.0)
            return problem.coordinates + departure

        return choose


class _Foresight(nn.Module):
    """What a step remembers, and how it departs from the least residual."""

    def __init__(self, width: int, expansion: int, reach: float, generator: Generator | None) -> None:
        super().__init__()
        self.reach = reach
        self.departure = _Reader(14, width, expansion, 3, generator)

    def forward(self, h: Tensor, problem: LeastSquares, m: int) -> tuple[Tensor, Tensor]:
        h, departure = self.departure(h, residual_scalars(problem, m))
        return h, self.reach * departure / (1 + departure.square().sum(dim=-1, keepdim=True)).sqrt()


class _Reader(nn.Module):
    """Read scalars into the hidden vector, think, and write coefficients."""

    def __init__(
        self, n_scalars: int, width: int, expansion: int, n_coefficients: int, generator: Generator | None
    ) -> None:
        super().__init__()
        self.read = Linear(n_scalars, width, generator)
        self.norm = LayerNorm(width)
        self.up = Linear(width, expansion * width, generator)
        self.down = _zeros(Linear(expansion * width, width, generator))
        self.norm_out = LayerNorm(width)
        self.write = _zeros(Linear(width, n_coefficients, generator))

    def forward(self, h: Tensor, scalars: Tensor) -> tuple[Tensor, Tensor]:
        h = h + self.read(scalars)
        h = h + self.down(nn.functional.gelu(self.up(self.norm(h))))
        return h, self.write(self.norm_out(h))


def residual_scalars(problem: LeastSquares, m: int) -> Tensor:
    r"""Return what a step reads before it departs, ``(n, 5 + 3 k)``, each of order 1.

    :math:`1 / m`, :math:`\operatorname{tr} R / m`, :math:`\operatorname{tr} R / (\sqrt m \|R\|)`,
    :math:`\log(\|R\|^2 / m)`, the log of the remainder of the least-squares step, its coordinates and cosines, and the
    log of its scales. The third direction is :math:`I - R`, so its inner product with R holds the trace.
    """
    return _scalars(problem.cosines.mT, problem.coordinates.mT, problem.scale.mT, problem.norm, m=m)[0].mT


def _scalars_adjoint(
    needed: tuple[bool, ...], inputs: Tensors, outputs: Tensors, kept: Tensors, gradients: Gradients
) -> Gradients:
    del needed, outputs
    (cosines, coordinates, scale, _), (mean_square, root, ratio, remainder, norm) = inputs, kept
    (gradient,) = gradients
    assert gradient is not None
    _, of_trace, of_ratio, of_log_square, of_log_remainder = gradient[:5]
    of_coordinates, of_cosines, of_log_scale = gradient[5:].chunk(3)
    of_mean_square = of_trace * ratio + 0.5 * of_ratio * ratio / root + 0.3 * of_log_square / mean_square
    of_ratio = (of_trace * root + of_ratio) * root / scale[2]
    of_cosines, of_scale = of_cosines.clone(), 0.3 * of_log_scale / scale
    of_cosines[2] += of_ratio
    of_scale[2] -= of_ratio * cosines[2] / scale[2]
    is_free = remainder > gram_ridge(remainder.dtype)
    of_coordinates = of_coordinates - (0.2 * of_log_remainder / remainder * is_free) * coordinates
    return of_cosines, of_coordinates, of_scale, of_mean_square * 2 * mean_square / norm


@with_adjoint(_scalars_adjoint)
def _scalars(cosines: Tensor, coordinates: Tensor, scale: Tensor, norm: Tensor, *, m: int) -> tuple[Tensors, Tensors]:
    """Return the scalars, ``(5 + 3 k, n)``."""
    norm = norm.clamp_min(torch.finfo(norm.dtype).tiny ** 0.5)
    mean_square = norm.square() / m
    root = mean_square.sqrt()
    ratio = 1 + cosines[2] / scale[2]
    remainder = (1 - coordinates.square().sum(dim=0)).clamp_min(gram_ridge(norm.dtype))
    scalars = [
        torch.full_like(norm, 1 / m),
        mean_square * ratio,
        root * ratio,
        0.3 * mean_square.log(),
        0.1 * remainder.log(),
    ]
    read = torch.cat([torch.stack(scalars), coordinates, cosines, 0.3 * scale.log()])
    return (read,), (mean_square, root, ratio, remainder, norm)


def _zeros(layer: Linear) -> Linear:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
