"""Networks outside the matrices that they were trained on, beside MR-2 at no fewer products.

``python -m benchmarks.domain [--n-matrices 2000] [--train] [--networks DIR]`` prints, a table a network: what it
returns, how much of that was flagged by ``domain_`` beforehand (outside the recorded range of condition number, or of
that and of scale), and how much is certified after refinement without the exact fallback ("-" where the estimator keeps
to its one size); then other sizes. Float32, residuals in float64.
"""

import argparse
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.linalg
import torch
from sklearn.frozen import FrozenEstimator
from torch import Tensor
from torch.linalg import matrix_norm

from benchmarks.lib.figures import draw, measure_errors
from benchmarks.lib.machine import keep_to_one_thread
from benchmarks.lib.networks import Network, shipped_networks, trained_networks
from benchmarks.lib.peers import unlearned
from skdmi import RefinedInverter
from skdmi.distributions import Graded, Normal, Spectrum, Toeplitz, Uniform, Wishart
from skdmi.distributions.spectrum import INDEPENDENT_LAWS

SIZE = 16
SIZES = (2, 3, 4, 5, 8, 12, 14, 16, 20, 24, 32, 48)
HILBERT_SIZES = (4, 8, 16)
CONDITION, SCALE = "condition", "scale"


def stacks(n_matrices: int) -> dict[str, Tensor]:
    """Return a stack of every family, 16x16 but for the Hilbert matrices, of which there is one a size."""
    families = {
        "uniform": Uniform(),
        "normal": Normal(),
        "Wishart": Wishart(),
        "Toeplitz": Toeplitz(),
        **{f"symmetric, {law}": Spectrum(law, symmetric=True) for law in INDEPENDENT_LAWS},
        "graded": Graded(),
    }
    found = {name: draw(distribution, n_matrices, SIZE, 5000) for name, distribution in families.items()}
    hilbert = {f"Hilbert {m}": torch.from_numpy(scipy.linalg.hilbert(m)).float()[None] for m in HILBERT_SIZES}
    return found | hilbert


def outside(domain: Mapping[str, Any], A: Tensor, *quantities: str) -> np.ndarray:
    """Return which matrices lie outside the recorded range of any of the quantities."""
    values = {
        SCALE: matrix_norm(A.double()).numpy() / A.shape[-1] ** 0.5,
        CONDITION: torch.linalg.cond(A.double()).numpy(),
    }
    return np.any([(values[name] < domain[name][0]) | (values[name] > domain[name][-1]) for name in quantities], axis=0)


def certified_percent(inverter: Any, A: Tensor) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return 100 * RefinedInverter(inverter, uncertified="nan").report(A).certified.mean()


def print_families(network: Network, families: Mapping[str, Tensor], certified: Mapping[str, float]) -> None:
    inverter, frozen = network.first, FrozenEstimator(network.first)
    print(f"\n{network.name} ({network.start}), trained on {inverter.distribution_}, m = {_spell(network.sizes)}")
    print(
        f"{'':26}{'products':>9}{'median':>9}{'p99':>9}{'5 %':>8}{'cond. %':>9}{'scale, %':>9}{'certified %':>12}",
        end="",
    )
    print(f"{'MR-2: products':>18}{'median':>9}{'p99':>9}{'5 %':>8}{'certified %':>12}")
    for name, A in families.items():
        m = A.shape[-1]
        products = network.products(m)
        peer = next(method for method in unlearned(m, products) if method.name == "MR-2")
        flagged = "".join(
            f"{100 * outside(inverter.domain_, A, *of).mean():9.1f}" for of in ((CONDITION,), (CONDITION, SCALE))
        )
        refused = network.is_special and m != network.sizes[0]
        refined = "-" if refused else f"{certified_percent(frozen, A):.2f}"
        print(
            f"{name:26}{products:>9}{_raw(A, network.inverses(A)[0])}{flagged}{refined:>12}"
            f"{peer.products:>18}{_raw(A, peer(A))}{certified[name]:12.2f}"
        )


def _spell(sizes: tuple[int, int]) -> str:
    return str(sizes[0]) if sizes[0] == sizes[1] else f"{sizes[0]} to {sizes[1]}"


def _raw(A: Tensor, X: Tensor) -> str:
    errors = measure_errors(A, X)
    within = 100 * np.mean(errors.deviation < 0.05)
    return f"{np.median(errors.right):9.1e}{np.quantile(errors.right, 0.99):9.1e}{within:8.2f}"


def print_sizes(network: Network, n_matrices: int) -> None:
    """Print a network on U[-1,1] of other sizes: as it is, and made to use there what it learned elsewhere."""
    core = network.first.module_.core
    sizes = core.smallest, core.largest
    print(f"\n{network.name}, trained for m = {_spell(sizes)}, on U[-1,1]; for other m it takes untrained steps")
    print(f"{'m':>4}{'products':>9}{'median':>9}{'p99':>9}{'5 %':>8}{'what it learned, all the same':>36}", end="")
    print(f"{'MR-2: products':>18}{'median':>9}{'p99':>9}{'5 %':>8}")
    for m in SIZES:
        A = draw(Uniform(), max(100, int(n_matrices * min(1, SIZE / m))), m, 6000)
        products = network.products(m)
        peer = next(method for method in unlearned(m, products) if method.name == "MR-2")
        as_it_is = _raw(A, network.inverses(A)[0])
        core.smallest, core.largest = 1, None
        forced = _raw(A, network.inverses(A)[0])
        core.smallest, core.largest = sizes
        print(f"{m:>4}{products:>9}{as_it_is}{forced:>36}{peer.products:>18}{_raw(A, peer(A))}")


def print_all(networks: Sequence[Network], n_matrices: int) -> None:
    """Print every family for the networks that take 16x16 matrices, then other sizes."""
    families = stacks(n_matrices)
    certified = {name: certified_percent(None, A) for name, A in families.items()}
    chosen = [n for n in networks if n.start and n.sizes[0] <= SIZE <= n.sizes[1]]
    for network in chosen:
        print_families(network, families, certified)
    for network in (n for n in chosen if n.start == "transpose"):
        print_sizes(network, n_matrices)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n-matrices", type=int, default=2000)
    parser.add_argument("--train", action="store_true", help="a default network for 16x16, too")
    parser.add_argument("--networks", type=Path, help="directory that keeps the network trained on the spot")
    options = parser.parse_args()
    print(keep_to_one_thread())
    trained = trained_networks(int(options.train), options.networks, settings=((SIZE, 4),))
    print_all(shipped_networks() + trained, options.n_matrices)
    print(f"\n{time.process_time():.0f} s of processor time")


if __name__ == "__main__":
    main()
