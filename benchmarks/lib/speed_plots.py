"""Time against size, from the figures that ``benchmarks.throughput`` and ``benchmarks.routes`` have saved.

``python -m benchmarks.lib.speed_plots RESULTS IMAGES`` reads one directory and draws into the other.
"""

import argparse
from collections.abc import Iterable
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from benchmarks.lib.inverses import CHOLESKY, INV, NETWORK, NUMPY, SCIPY, TORCH
from benchmarks.lib.records import Record, load_records

STYLES = {
    NUMPY: {"color": "black", "marker": "."},
    TORCH: {"color": "C1", "marker": "."},
    SCIPY: {"color": "C4", "marker": "."},
    CHOLESKY: {"color": "C2", "marker": "x"},
    NETWORK: {"color": "C3", "marker": "^", "linestyle": "none"},
    "lanes": {"color": "C0", "marker": "."},
    "large": {"color": "C0", "marker": ".", "linestyle": "--"},
    "lapack": {"color": "C0", "marker": ".", "linestyle": ":"},
    INV: {"color": "C0", "marker": "."},
}
LABELS = {
    CHOLESKY: "Cholesky, torch (Wishart)",
    NETWORK: "network, no proof",
    "lanes": "skdmi.inv, lanes",
    "large": "skdmi.inv, one at a time",
    "lapack": "skdmi.inv, LAPACK and a proof",
}


def draw_small(results: Path, file: Path) -> None:
    """Draw every route and peer for stacks of small matrices, a panel a dtype; from Wishart matrices Cholesky alone."""
    rows = load_records(results / "routes.json")[1]
    stacks = [row for row in load_records(results / "throughput.json")[1] if row["part"] == "stacks"]
    rows += [row for row in stacks if row["family"] == "U[-1,1]" and row["method"] == NETWORK]
    rows += [row for row in stacks if row["family"] == "Wishart" and row["method"] == CHOLESKY]
    figure, panels = plt.subplots(1, 2, figsize=(6.5, 3.6), layout="constrained", sharey=True)
    for dtype, axes in zip(("float32", "float64"), panels, strict=True):
        _draw(axes, [row for row in rows if row["dtype"] == dtype])
        axes.set(title=f"stacks, {dtype}", xlabel="m")
    panels[0].set_ylabel("processor time a matrix, ns")
    _finish(figure, panels, file)


def draw_large(results: Path, file: Path) -> None:
    """Draw what one large matrix takes, a panel a family."""
    rows = [row for row in load_records(results / "throughput.json")[1] if row["part"] == "large"]
    figure, panels = plt.subplots(1, 2, figsize=(6.5, 3.6), layout="constrained", sharey=True)
    for family, axes in zip(("U[-1,1]", "Wishart"), panels, strict=True):
        _draw(axes, [row for row in rows if row["dtype"] == "float64" and row["family"] == family], unit=1e6)
        axes.set(title=f"one {family} matrix, float64", xlabel="N")
    panels[0].set_ylabel("processor time, ms")
    _finish(figure, panels, file)


def _draw(axes: plt.Axes, rows: Iterable[Record], unit: float = 1.0) -> None:
    """Draw a line a method through the medians, with bars from quartile to quartile."""
    rows = list(rows)
    for name, style in STYLES.items():
        found = sorted((row for row in rows if row["method"] == name), key=lambda row: row["m"])
        if found:
            middle = [row["ns"] / unit for row in found]
            bars = [[abs(row["ns_quartiles"][side] - row["ns"]) / unit for row in found] for side in (0, 1)]
            label = LABELS.get(name, name)
            axes.errorbar([row["m"] for row in found], middle, bars, markersize=4, elinewidth=0.5, label=label, **style)
    axes.set(xscale="log", yscale="log")
    sizes = sorted({row["m"] for row in rows})
    ticks = [size for size in sizes if size & (size - 1) == 0]
    axes.set_xticks(ticks, [str(size) for size in ticks])
    axes.minorticks_off()
    axes.grid(alpha=0.25, linewidth=0.5)


def _finish(figure: plt.Figure, panels: Iterable[plt.Axes], file: Path) -> None:
    entries = [pair for axes in panels for pair in zip(*axes.get_legend_handles_labels(), strict=True)]
    handles = {label: handle for handle, label in entries}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(file, dpi=110)
    plt.close(figure)


def save_plots(results: Path, images: Path) -> None:
    plt.rcParams.update({"font.size": 8, "axes.titlesize": 8, "legend.fontsize": 7, "lines.linewidth": 1})
    draw_small(results, images / "speed.png")
    draw_large(results, images / "speed_large.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("images", type=Path)
    options = parser.parse_args()
    save_plots(options.results, options.images)


if __name__ == "__main__":
    main()
