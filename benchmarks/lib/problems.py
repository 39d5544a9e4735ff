"""The problems of the accuracy tables, and every method's figures on them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.lib.figures import Figures, draw, measure
from benchmarks.lib.networks import Network
from benchmarks.lib.peers import Method, direct_methods, unlearned
from skdmi.distributions import Distribution, Uniform, Wishart

NAN = float("nan")


@dataclass(frozen=True)
class Problem:
    """Matrices of one size from one distribution, the product budgets asked about, and what is published."""

    key: str
    title: str
    m: int
    distribution: Distribution
    budgets: tuple[int, ...] = ()
    published: tuple["Row", ...] = ()

    @property
    def is_symmetric(self) -> bool:
        return isinstance(self.distribution, Wishart)

    def concerns(self, network: Network) -> bool:
        """Whether a network was trained for such matrices, or for any."""
        smallest, largest = network.sizes
        return smallest <= self.m <= largest and (network.start == "identity") == self.is_symmetric


@dataclass(frozen=True)
class Row:
    """A method on a problem."""

    name: str
    kind: str
    """"published", "network", "unlearned" or "direct"."""
    products: int | None
    figures: Figures
    start: str = ""
    network: Network | None = None

    @property
    def key(self) -> str:
        """By which :func:`timed` knows it."""
        return f"{self.name}|{self.products}"


def _published(name: str, **known: float) -> Row:
    unknown = dict.fromkeys(("mean", "median", "p99", "p999", "max", "left_mean", "left_max", "half_norm"), NAN)
    within = known.pop("within", NAN), NAN, NAN, NAN
    return Row(name, "published", None, Figures(**(unknown | known), within=within, further_products=NAN))


DEEP_MATRIX_INVERSION = _published(
    "DeepMatrixInversion (published)",
    mean=0.0226,
    median=0.0181,
    p99=0.0872,
    max=0.251,
    left_mean=0.0335,
    left_max=0.631,
)
CHARTON = _published("Charton 2022 (recalled: about 90)", within=0.9)

PROBLEMS = (
    Problem("3 filtered", "3x3, U[-1,1], |det| > 0.1", 3, Uniform(min_abs_det=0.1), (8,), (DEEP_MATRIX_INVERSION,)),
    Problem("3", "3x3, U[-1,1], no filter", 3, Uniform(), (8,)),
    Problem("5", "5x5, U[-10,10], no filter (Charton's problem)", 5, Uniform(-10, 10), (11, 15), (CHARTON,)),
    Problem("8", "8x8, U[-1,1], no filter", 8, Uniform(), (15,)),
    Problem("16", "16x16, U[-1,1], no filter", 16, Uniform(), (15, 18)),
    Problem("32", "32x32, U[-1,1], no filter", 32, Uniform(), (18,)),
    Problem("64", "64x64, U[-1,1], no filter", 64, Uniform(), (21,)),
    Problem("Wishart 4", "4x4, Wishart, 16 degrees of freedom", 4, Wishart()),
    Problem("Wishart 16", "16x16, Wishart, 64 degrees of freedom", 16, Wishart(), (7, 9, 11)),
    Problem("Wishart 32", "32x32, Wishart, 128 degrees of freedom", 32, Wishart()),
)


def sample(problem: Problem, n_matrices: int, random_state: int = 1000) -> Tensor:
    """Draw fresh matrices, fewer where they are large."""
    return draw(problem.distribution, share_of(n_matrices, problem.m, free=32), problem.m, random_state)


def share_of(n_matrices: int, m: int, free: int) -> int:
    """Return the number of matrices, reduced in proportion to their entries for m above ``free``."""
    return max(1, int(n_matrices * min(1.0, (free / m) ** 2)))


def methods(problem: Problem, networks: Iterable[Network]) -> tuple[list[tuple[str, Method]], list[Network]]:
    """Return the kinds and methods without training that a problem's networks are compared with, and these networks."""
    concerned = [network for network in networks if problem.concerns(network)]
    m, symmetric = problem.m, problem.is_symmetric
    found: dict[tuple[str, int | None], tuple[str, Method]] = {}
    for network in concerned:
        budget = network.products(m)
        if budget is None:
            continue
        for method in unlearned(m, budget, symmetric=symmetric):
            found.setdefault((method.name, method.products), ("unlearned", method))
    for budget in problem.budgets:
        for method in unlearned(m, budget, symmetric=symmetric, within=True):
            found.setdefault((method.name, method.products), ("unlearned", method))
    return [*found.values(), *(("direct", method) for method in direct_methods(m, symmetric=symmetric))], concerned


def measure_all(problem: Problem, networks: Iterable[Network], A: Tensor) -> list[Row]:
    """Measure every method on A; seeds of a network are averaged."""
    others, concerned = methods(problem, networks)
    rows = [Row(method.name, kind, method.products, measure(A, method(A))) for kind, method in others]
    for network in concerned:
        figures = Figures.average([measure(A, X) for X in network.inverses(A)])
        rows.append(Row(network.name, "network", network.products(problem.m), figures, network.start, network))
    order = ("published", "network", "unlearned", "direct")
    rows.sort(key=lambda row: (row.kind == "direct", row.products is None, row.products or 0, order.index(row.kind)))
    return [*problem.published, *rows]


def timed(problem: Problem, networks: Iterable[Network]) -> dict[str, Callable[[Tensor], Tensor]]:
    """Return what can be timed, by name and products; networks go through their estimator's validation."""
    others, concerned = methods(problem, networks)
    plain = {f"{method.name}|{method.products}": method for _, method in others if method.is_timed}
    return plain | {f"{network.name}|{network.products(problem.m)}": _inverse(network) for network in concerned}


def _inverse(network: Network) -> Callable[[Tensor], Tensor]:
    def inverse(A: Tensor) -> Tensor:
        with torch.no_grad():
            return network.first.invert(A)

    return inverse
