"""Residual norm against products: networks, and methods without training."""

from collections.abc import Sequence

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch

from benchmarks.lib.figures import draw, measure_errors
from benchmarks.lib.networks import Network
from benchmarks.lib.peers import FAMILIES
from skdmi.distributions import Uniform

SIZES = (3, 5, 8, 16)
MOST_PRODUCTS = {3: 18, 5: 21, 8: 24, 16: 30}
LABELS = (
    "Newton-Schulz",
    "MR-2",
    "MR-3",
    "MR-3, deflated",
    "Chebyshev, exact spectrum",
    "characteristic, Newton",
    "characteristic, MR-3",
)
SHOWN = ("Newton-Schulz", "MR-2", "MR-3, deflated", "Chebyshev, exact spectrum", "characteristic, Newton")


QUANTILES = {"median": 0.5, "99 %": 0.99}


@plt.style.context("skdmi.inspection.paper")
def save_plot(networks: Sequence[Network], file: str, n_matrices: int) -> None:
    """Save the medians and 99th percentiles of four sizes, U[-1,1]: a row each."""
    figure, grid = plt.subplots(2, 4, figsize=(10.5, 6.0), sharex="col", sharey=True)
    for m, axes in zip(SIZES, grid.T, strict=True):
        _draw_size(axes, m, networks, n_matrices)
    for axes, name in zip(grid[:, 0], QUANTILES, strict=True):
        axes.set_ylabel(rf"$\|I - A X\|_F$: {name}")
    figure.supxlabel("products, the last residual included", fontsize=10)
    entries = [pair for axes in grid.flat for pair in zip(*axes.get_legend_handles_labels(), strict=True)]
    handles = {label: handle for handle, label in entries}
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=6)
    figure.savefig(file, dpi=120)
    plt.close(figure)


def _draw_size(column: Sequence[plt.Axes], m: int, networks: Sequence[Network], n_matrices: int) -> None:
    A = draw(Uniform(), n_matrices, m, 4000)
    most = MOST_PRODUCTS[m]
    for label, family in zip(LABELS, FAMILIES, strict=True):
        if label in SHOWN:
            methods = [method for method in family(m, False) if method.products <= most]
            products = [method.products for method in methods]
            found = np.transpose([_quantiles(A, method(A)) for method in methods])
            for axes, norms in zip(column, found, strict=True):
                axes.plot(products, norms, ".-", color=f"C{SHOWN.index(label)}", linewidth=1.2, label=label)
    for network in networks:
        smallest, largest = network.sizes
        if network.products(m) and smallest <= m <= largest and network.start != "identity":
            found = np.mean([_quantiles(A, X) for X in network.inverses(A)], axis=0)
            for axes, norm in zip(column, found, strict=True):
                axes.plot(network.products(m), norm, _marker(network), color="black", markersize=7, label="network")
    column[0].set(title=f"{m} x {m}, U[-1,1]", yscale="log", ylim=(1e-7, 10), xlim=(0, most + 0.5))


def _quantiles(A: torch.Tensor, X: torch.Tensor) -> np.ndarray:
    return np.quantile(measure_errors(A, X).right, list(QUANTILES.values()))


def _marker(network: Network) -> str:
    return "^" if network.is_special else "D"
