"""Accuracy of trained networks beside unlearned methods at equal products, on fresh matrices.

``python benchmarks/accuracy.py [--seeds 5] [--n-matrices 10000]`` trains every network anew, once a seed, and prints a
table a problem. Products are of m x m matrices, the last residual included; residuals are measured in float64; all
methods but LAPACK compute in float32. Nanoseconds are medians of alternating runs over the whole stack, the estimator's
validation included.
"""

import argparse
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import mean, median
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skdmi import ExactInverter, NeuralMatrixInverter
from skdmi.distributions import Distribution, Uniform
from skdmi.linalg import minimal_residual, minimal_residual_start, newton_schulz
from skdmi.metrics import frobenius_residuals, within_tolerance_share

PUBLISHED = Uniform(min_abs_det=0.1)
TOLERANCES = (0.05, 0.02, 0.01, 0.005)
HEADER = f"{'method':38}{'products':>9}{'parameters':>11}{'ns':>8}{'train s':>8}{'mean':>10}{'p99':>10}{'max':>10}"
HEADER += "".join(f"{100 * t:>7g}%" for t in TOLERANCES)


@dataclass(frozen=True)
class Figures:
    """What a method reaches on a stack."""

    mean: float
    p99: float
    worst: float
    shares: tuple[float, ...]

    @classmethod
    def measure(cls, A: np.ndarray, X: np.ndarray) -> "Figures":
        norms = frobenius_residuals(A, X)
        shares = tuple(100 * within_tolerance_share(A, X, t) for t in TOLERANCES)
        return cls(norms.mean(), np.quantile(norms, 0.99), norms.max(), shares)

    @classmethod
    def average(cls, figures: list["Figures"]) -> "Figures":
        shares = tuple(mean(column) for column in zip(*(f.shares for f in figures), strict=True))
        return cls(mean(f.mean for f in figures), mean(f.p99 for f in figures), max(f.worst for f in figures), shares)

    def row(self, name: str, products: Any, parameters: Any, ns: float | None, seconds: float | None) -> str:
        timing = f"{ns:8.0f}" if ns is not None else f"{'':8}"
        training = f"{seconds:8.0f}" if seconds is not None else f"{'':8}"
        shares = "".join(f"{share:8.2f}" for share in self.shares)
        errors = f"{self.mean:10.2e}{self.p99:10.2e}{self.worst:10.2e}"
        return f"{name:38}{products:>9}{parameters:>11}{timing}{training}{errors}{shares}"


def newton_schulz_from_transpose(A: Tensor, n_products: int) -> Tensor:
    X, _ = minimal_residual_start(A / A.abs().amax(dim=(-2, -1), keepdim=True))
    return newton_schulz(A, X / A.abs().amax(dim=(-2, -1), keepdim=True), (n_products - 1) // 2)


def unlearned(depth: int, n_products: int) -> dict[str, tuple[Any, Callable[[Tensor], Tensor]]]:
    return {
        "Newton-Schulz": (
            1 + 2 * ((n_products - 1) // 2),
            partial(newton_schulz_from_transpose, n_products=n_products),
        ),
        "MR-2, untrained": (n_products, partial(minimal_residual, n_steps=depth, n_coefficients=2)),
        "MR-3, untrained": (n_products, partial(minimal_residual, n_steps=depth)),
        "LAPACK, float64": ("-", lambda A: torch.from_numpy(ExactInverter().transform(A.double().numpy()))),
    }


def nanoseconds(methods: dict[str, Callable[[Tensor], Any]], A: Tensor, repeats: int = 5) -> dict[str, float]:
    spent: dict[str, list[float]] = {name: [] for name in methods}
    for _ in range(repeats):
        for name, method in methods.items():
            started = time.perf_counter()
            method(A)
            spent[name].append(time.perf_counter() - started)
    return {name: 1e9 * median(values) / len(A) for name, values in spent.items()}


def train(n_seeds: int, **parameters: Any) -> list[tuple[NeuralMatrixInverter, float]]:
    trained = []
    for seed in range(n_seeds):
        started = time.perf_counter()
        inverter = NeuralMatrixInverter(**parameters, random_state=seed).fit()
        trained.append((inverter, time.perf_counter() - started))
    return trained


def compare(
    title: str,
    distribution: Distribution,
    m: int,
    networks: list[tuple[NeuralMatrixInverter, float]],
    n_matrices: int,
    published: str | None = None,
) -> None:
    """Print a table: every seed's network on its own fresh matrices, the unlearned methods on the first seed's."""
    stacks = [distribution.sample(n_matrices, m, random_state=1000 + seed) for seed in range(len(networks))]
    stacks = [torch.from_numpy(A.astype(np.float32)) for A in stacks]
    first = networks[0][0]
    baselines = unlearned(first.depth, first.module_.n_products)
    timed = {name: method for name, (_, method) in baselines.items()} | {"network": _inverse(first)}
    ns = nanoseconds(timed, stacks[0])
    print(f"\n{title}\n{HEADER}")
    if published:
        print(published)
    for name, (products, method) in baselines.items():
        figures = Figures.average([Figures.measure(A.numpy(), method(A).numpy()) for A in stacks])
        print(figures.row(name, products, 0, ns[name], None))
    found = [Figures.measure(A.numpy(), _inverse(net)(A).numpy()) for A, (net, _) in zip(stacks, networks, strict=True)]
    parameters = sum(p.numel() for p in first.module_.parameters())
    label = f"network, depth {first.depth}, {len(networks)} seeds"
    seconds = max(seconds for _, seconds in networks)
    print(Figures.average(found).row(label, first.module_.n_products, parameters, ns["network"], seconds))
    print(f"{'':38}seeds' means: {', '.join(f'{f.mean:.2e}' for f in found)}")


def _inverse(inverter: NeuralMatrixInverter) -> Callable[[Tensor], Tensor]:
    def inverse(A: Tensor) -> Tensor:
        with torch.no_grad():
            return inverter.invert(A)

    return inverse


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--n-matrices", type=int, default=10_000)
    options = parser.parse_args()
    n = options.n_matrices
    print(
        f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} thread(s), torch {torch.__version__}"
    )

    compare(
        "3x3, U[-1,1], |det| > 0.1; depth 2, trained without the filter",
        PUBLISHED,
        3,
        short := train(options.seeds, depth=2, matrix_size=3),
        n,
        f"{'DeepMatrixInversion (published)':38}{'-':>9}{14138139:>11}{'':16}{0.0226:10.2e}{0.0872:10.2e}{0.251:10.2e}",
    )
    compare("3x3, U[-1,1], no filter; the same networks", Uniform(), 3, short, n)
    medium = train(options.seeds, depth=3, matrix_size=5)
    recalled = f"{'Charton 2022 (recalled)':38}{'-':>9}{24_000_000:>11}{'':46}{90:8.0f}"
    compare("5x5, U[-1,1], no filter; depth 3", Uniform(), 5, medium, n, recalled)
    for m in (4, 6, 8):
        compare(f"{m}x{m}, U[-1,1], no filter; trained at 5x5 only", Uniform(), m, medium, n)
    default = train(options.seeds, matrix_size=3)
    compare("3x3, U[-1,1], |det| > 0.1; the default network and training", PUBLISHED, 3, default, n)
    compare("3x3, U[-1,1], no filter; the same networks", Uniform(), 3, default, n)


if __name__ == "__main__":
    main()
