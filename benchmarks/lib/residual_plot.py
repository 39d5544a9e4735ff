"""Residual norm against products: networks, and methods without training."""

from collections.abc import Sequence

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

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


def save_plot(networks: Sequence[Network], file: str, n_matrices: int) -> None:
    """Save the medians (full) and 99th percentiles (faint) of four sizes, U[-1,1]."""
    plt.rcParams.update({"font.size": 8, "axes.titlesize": 8, "legend.fontsize": 7, "lines.linewidth": 1})
    figure, grid = plt.subplots(2, 2, figsize=(6.5, 5.6), layout="constrained", sharey=True)
    for m, axes in zip(SIZES, grid.flat, strict=True):
        _draw_size(axes, m, networks, n_matrices)
    entries = [pair for axes in grid.flat for pair in zip(*axes.get_legend_handles_labels(), strict=True)]
    handles = {label: handle for handle, label in entries}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(file, dpi=110)
    plt.close(figure)


def _draw_size(axes: plt.Axes, m: int, networks: Sequence[Network], n_matrices: int) -> None:
    A = draw(Uniform(), n_matrices, m, 4000)
    most = MOST_PRODUCTS[m]
    for label, family in zip(LABELS, FAMILIES, strict=True):
        if label in SHOWN:
            methods = [method for method in family(m, False) if method.products <= most]
            quantiles = [np.quantile(measure_errors(A, method(A)).right, (0.5, 0.99)) for method in methods]
            colour = f"C{SHOWN.index(label)}"
            products = [method.products for method in methods]
            median, p99 = np.transpose(quantiles)
            axes.plot(products, median, color=colour, marker=".", markersize=4, label=label)
            axes.plot(products, p99, color=colour, alpha=0.35, linestyle="--")
    for network in networks:
        smallest, largest = network.sizes
        if network.products(m) and smallest <= m <= largest and network.start != "identity":
            norms = np.mean([np.quantile(measure_errors(A, X).right, (0.5, 0.99)) for X in network.inverses(A)], axis=0)
            style = {"marker": _marker(network), "linestyle": "none", "color": "black"}
            axes.plot(network.products(m), norms[0], **style, markersize=6, label="network")
            axes.plot(network.products(m), norms[1], **style, markersize=6, alpha=0.35, markerfacecolor="none")
    axes.set(title=f"{m}x{m}, U[-1,1]", yscale="log", ylim=(1e-7, 10), xlim=(0, most + 0.5))
    axes.set(xlabel="products, the last residual included")
    if m in SIZES[::2]:
        axes.set_ylabel(r"$\|I - A X\|_F$: median, 99th percentile (faint)")
    axes.grid(alpha=0.25, linewidth=0.5)


def _marker(network: Network) -> str:
    return "^" if network.is_special else "D"
