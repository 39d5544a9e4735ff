"""Variants of the networks, one change each, and the loop that trains all seeds of one at once: for ``ablation.py``."""

import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from skdmi.distributions import Distribution
from skdmi.iteration import deflate
from skdmi.iteration.learned import STARTS, PolynomialInverse, _Foresight, _Reader, power_scalars
from skdmi.iteration.loop import keep_better
from skdmi.iteration.steps import combine, fit_directions, minimal_residual_basis, power_chain, residual
from skdmi.linalg import frobenius_norm
from skdmi.linalg.residuals import product
from skdmi.training import cosine

Loss = Callable[[Callable[[Tensor], Tensor], Tensor], Tensor]
PoolDraw = Callable[[int, torch.Generator], Tensor]


class Mixed(PolynomialInverse):
    """Learned steps of any degrees, before the last, cubic one; without deflation, unless ``rank`` says otherwise."""

    def __init__(
        self, squarings: Sequence[int], width: int = 16, *, start: str = "transpose", **options: float
    ) -> None:
        options = {"rank": 0, "n_squarings": max(squarings, default=1), **options}
        super().__init__(len(squarings) + 1, width, start=start, **options)
        self.squarings = (*squarings, 1)
        if squarings:
            reach = self.blocks[0].reach
            self.blocks = nn.ModuleList(_Foresight(width, 2, n, reach) for n in squarings)

    def n_products(self, m: int) -> int:
        uniform = PolynomialInverse(self.depth, 1, start=self.start, n_squarings=self.squarings[0])
        extra = sum(n - self.squarings[0] for n in self.squarings[:-1])
        return uniform.n_products(m) - len(uniform.recomputed) + len(self.recomputed) + extra


class Reset(nn.Module):
    """A step that forgets what the steps before it have read."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, h: Tensor, R: Tensor, S: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.block(torch.zeros_like(h), R, S)


class Silent(nn.Module):
    """A reader that reads nothing and writes zeros."""

    def __init__(self, n_coefficients: int) -> None:
        super().__init__()
        self.n_coefficients = n_coefficients

    def forward(self, h: Tensor, scalars: Tensor) -> tuple[Tensor, Tensor]:
        return h, scalars.new_zeros(len(scalars), self.n_coefficients)


class MomentsOnly(_Foresight):
    """A step whose departure reads the first four moments of R, not the scalars of its least-squares problem."""

    def __init__(self, width: int, n_squarings: int) -> None:
        super().__init__(width, 2, n_squarings, 1.0)
        self.departure = _Reader(7, width, 2, 3)

    def forward(self, h: Tensor, R: Tensor, S: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        scalars = power_scalars(R, S)
        h, coefficients = self.chain(h, scalars)
        powers, directions = minimal_residual_basis(R, S, power_chain(S, R, self.n_squarings, coefficients))
        problem = fit_directions(R, directions)
        h, departure = self.departure(h, scalars)
        departure = self.reach * departure / (1 + departure.square().sum(dim=-1, keepdim=True)).sqrt()
        return h, powers, directions, problem.coefficients(problem.coordinates + departure)


class TwoDirections(_Foresight):
    """A step without the multiple of X itself."""

    def __init__(self, width: int, n_squarings: int) -> None:
        super().__init__(width, 2, n_squarings, 1.0)
        self.departure = _Reader(7, width, 2, 2)

    def forward(self, h: Tensor, R: Tensor, S: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        h, coefficients = self.chain(h, power_scalars(R, S))
        T = power_chain(S, R, self.n_squarings, coefficients)
        powers, directions = minimal_residual_basis(R, S, T, n_coefficients=2)
        problem = fit_directions(R, directions)
        scalars = torch.cat([power_scalars(R, S)[:, :3], problem.coordinates, problem.cosines], dim=-1)
        h, departure = self.departure(h, scalars)
        departure = self.reach * departure / (1 + departure.square().sum(dim=-1, keepdim=True)).sqrt()
        return h, powers, directions, problem.coefficients(problem.coordinates + departure)


def with_blocks(core: Mixed, change: Callable[[nn.Module], nn.Module]) -> Mixed:
    core.blocks = nn.ModuleList(change(block) for block in core.blocks)
    return core


def silenced(reader: str) -> Callable[[nn.Module], nn.Module]:
    """Return a change of blocks that makes their ``"chain"`` or ``"departure"`` read nothing and write zeros."""

    def change(block: nn.Module) -> nn.Module:
        setattr(block, reader, Silent(getattr(block, reader).write.out_features))
        return block

    return change


def logarithmic(norms: Tensor, log_weight: float = 0.05) -> Tensor:
    return norms.mean() + log_weight * torch.log1p(norms / 0.01).mean()


def last_residual(log_weight: float = 0.05) -> Loss:
    def loss(network: Callable[[Tensor], Tensor], A: Tensor) -> Tensor:
        return logarithmic(frobenius_norm(residual(A, network(A))), log_weight)

    return loss


@dataclass(frozen=True)
class Deflation:
    """After which steps :func:`~skdmi.linalg.deflate` comes, 0 for the start, with what rank and how many powers."""

    steps: frozenset[int]
    rank: int
    n_powers: int = 2


def iterates(core: Mixed, A: Tensor, deflation: Deflation | None = None) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield X and R after every step of a network, without its guard."""
    X, R = STARTS[core.start](A)
    h = A.new_zeros(len(A), core.width)
    for step in range(1, core.depth + 1):
        if deflation and step - 1 in deflation.steps:
            X, R = deflate(A, X, R, deflation.rank, deflation.n_powers)
        S = product(R, R)
        if step <= len(core.blocks):
            h, powers, directions, c = core.blocks[step - 1](h, R, S)
        else:
            powers, directions = minimal_residual_basis(R, S, S)
            problem = fit_directions(R, directions)
            c = problem.coefficients(problem.coordinates)
        X, R = combine(X, R, powers, directions, c)
        if step in core.recomputed:
            R = residual(A, X)
        if deflation and step == core.depth and step in deflation.steps:
            X, R = deflate(A, X, R, deflation.rank, deflation.n_powers)
        yield X, R


class Stepwise(nn.Module):
    """A network that returns its last iterate, or with ``best=True`` its best one, and never goes back."""

    def __init__(self, core: Mixed, *, best: bool = False, deflation: Deflation | None = None) -> None:
        super().__init__()
        self.core = core
        self.best = best
        self.deflation = deflation

    def n_products(self, m: int) -> int:
        return self.core.n_products(m)

    def forward(self, A: Tensor) -> Tensor:
        *earlier, (X, R) = iterates(self.core, A, self.deflation)
        for step, pair in enumerate(earlier, start=1):
            if self.best and step in self.core.recomputed:
                X, R = keep_better((X, R), *pair)
        return X


class EveryIterate(nn.Module):
    """The residual norms after every step, ``(n_steps, n)``, for a loss on all of them."""

    def __init__(self, core: Mixed) -> None:
        super().__init__()
        self.core = core

    def forward(self, A: Tensor) -> Tensor:
        return torch.stack([frobenius_norm(R) for _, R in iterates(self.core, A)])


def every_residual(weight: float) -> Loss:
    """Return a loss with ``weight`` times the mean over all earlier iterates; for :class:`EveryIterate`."""

    def loss(network: Callable[[Tensor], Tensor], A: Tensor) -> Tensor:
        *earlier, last = network(A)
        return logarithmic(last) + weight * torch.stack([logarithmic(norms) for norms in earlier]).mean()

    return loss


@dataclass(frozen=True)
class Training:
    """What a training takes; the learning rate's factor follows ``schedule(n_steps)``."""

    n_steps: int
    batch_size: int
    learning_rate: float = 3e-3
    weight_decay: float = 1e-4
    schedule: Callable[[int], Callable[[int], float]] = cosine
    loss: Loss = field(default_factory=last_residual)


@dataclass(frozen=True)
class Trained:
    """Networks of several seeds, and the seconds that one of them took."""

    networks: list[nn.Module]
    seconds: float
    averaged: list[nn.Module]
    """With an exponential average of the weights over the last two percent of training or so."""


def train(make: Callable[[], nn.Module], draw: PoolDraw, n_seeds: int, how: Training) -> Trained:
    """Train ``n_seeds`` networks side by side, one ``vmap`` over them all, each on matrices of its own.

    ``draw(n, generator)`` returns n matrices, or their spectra, scaled near 1.
    """
    networks = []
    for seed in range(n_seeds):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            networks.append(make())
    stacked, _ = stack_module_state(networks)
    holder = nn.ParameterDict({name.replace(".", "/"): value for name, value in stacked.items()})
    parameters = {name: holder[name.replace(".", "/")] for name in stacked}
    average = AveragedModel(holder, multi_avg_fn=get_ema_multi_avg_fn(1 - min(0.5, 50 / how.n_steps)))
    optimizer = torch.optim.AdamW(holder.parameters(), lr=how.learning_rate, weight_decay=how.weight_decay)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, how.schedule(how.n_steps))
    template = networks[0]

    def seed_loss(state: dict[str, Tensor], A: Tensor) -> Tensor:
        return how.loss(lambda B: functional_call(template, state, (B,)), A)

    losses = vmap(seed_loss, randomness="different")
    generator = torch.Generator().manual_seed(1)
    started = time.thread_time()
    for _ in range(how.n_steps):
        A = draw(n_seeds * how.batch_size, generator)
        optimizer.zero_grad()
        losses(parameters, A.reshape(n_seeds, how.batch_size, *A.shape[1:])).sum().backward()
        clip_each(list(holder.parameters()))
        optimizer.step()
        scheduler.step()
        average.update_parameters(holder)
    seconds = (time.thread_time() - started) / n_seeds
    return Trained(unstack(networks, holder), seconds, unstack(networks, average.module))


def clip_each(parameters: list[Tensor], limit: float = 1.0) -> None:
    """Clip the gradient of each network, along the first axis of the parameters; drop what is not finite of it."""
    gradients = [p.grad.nan_to_num_(0.0, 0.0, 0.0) for p in parameters if p.grad is not None]
    norms = sum(g.square().flatten(1).sum(dim=1) for g in gradients).sqrt()
    factor = (limit / norms.clamp_min(1e-12)).clamp_max(1.0)
    for g in gradients:
        g.mul_(factor.reshape(-1, *[1] * (g.dim() - 1)))


def unstack(networks: list[nn.Module], holder: nn.Module) -> list[nn.Module]:
    state = {name.replace("/", "."): value.detach() for name, value in holder.items()}
    copies = copy.deepcopy(networks)
    for seed, network in enumerate(copies):
        network.load_state_dict({name: value[seed].clone() for name, value in state.items()})
        network.eval()
    return copies


@cache
def matrices(distribution: Distribution, m: int, n: int, seed: int) -> Tensor:
    """Return n matrices in float32, scaled to the Frobenius norm ``sqrt(m)`` that the networks' cores expect."""
    A = torch.from_numpy(distribution.sample(n, m, random_state=seed)).float()
    return A * (math.sqrt(m) / frobenius_norm(A).clamp_min(1e-30))[:, None, None]


@cache
def spectra(distribution: Distribution, m: int, n: int, symmetric: bool = False) -> Tensor:
    """Return the singular values, or eigenvalues, of n matrices, ``(n, m, 1)``."""
    parts = matrices(distribution, m, n, seed=0).split(10_000)
    of = torch.linalg.eigvalsh if symmetric else torch.linalg.svdvals
    return torch.cat([of(part) for part in parts]).unsqueeze(-1)


def from_pool(pool: Tensor, weights: Tensor | None = None) -> PoolDraw:
    """Return a draw with replacement from a pool, with probabilities if ``weights`` are given."""
    cumulative = None if weights is None else weights.double().cumsum(0) / weights.double().sum()

    def draw(n: int, generator: torch.Generator) -> Tensor:
        if cumulative is None:
            return pool[torch.randint(len(pool), (n,), generator=generator)]
        chosen = torch.searchsorted(cumulative, torch.rand(n, generator=generator, dtype=torch.float64))
        return pool[chosen.clamp_max(len(pool) - 1)]

    return draw


def from_pools(pools: Sequence[Tensor]) -> PoolDraw:
    """Return a draw that takes each batch from one pool chosen at random."""
    draws = [from_pool(pool) for pool in pools]

    def draw(n: int, generator: torch.Generator) -> Tensor:
        return draws[int(torch.randint(len(draws), (), generator=generator))](n, generator)

    return draw
