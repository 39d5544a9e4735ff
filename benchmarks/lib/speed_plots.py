"""Time over numpy's against size, from the figures that ``benchmarks.throughput`` and ``benchmarks.routes`` have saved.

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

TICKS = (0.1, 0.2, 0.5, 1, 2, 5)
STYLES = {
    "lanes": {"color": "C5", "marker": ".", "linewidth": 1},
    "large": {"color": "C5", "marker": "x", "linewidth": 1, "linestyle": "--"},
    "lapack": {"color": "C5", "linewidth": 1, "linestyle": ":"},
    TORCH: {"color": "C1", "marker": "."},
    SCIPY: {"color": "C3", "marker": "."},
    CHOLESKY: {"color": "C2", "marker": "x"},
    NETWORK: {"color": "black", "marker": "^", "linestyle": "none"},
    INV: {"color": "C0", "marker": "o", "markersize": 4, "linewidth": 2.5},
}
LABELS = {
    CHOLESKY: "Cholesky, torch (Wishart)",
    NETWORK: "network, no proof",
    INV: "skdmi.inv, proved",
    "lanes": "its lanes, where not taken too",
    "large": "its route for large matrices",
    "lapack": "LAPACK and a proof",
}


def draw_small(results: Path, file: Path) -> None:
    """Draw every route and peer for stacks of small matrices, a panel a dtype; from Wishart matrices Cholesky alone."""
    routes = load_records(results / "routes.json")[1]
    stacks = [row for row in load_records(results / "throughput.json")[1] if row["part"] == "stacks"]
    rows = routes + [row | {"method": INV} for row in routes if row["taken"]]
    rows += [row for row in stacks if row["family"] == "U[-1,1]" and row["method"] == NETWORK]
    rows += [row for row in stacks if row["family"] == "Wishart" and row["method"] == CHOLESKY]
    figure, panels = plt.subplots(1, 2, figsize=(9.6, 4.6), sharey=True)
    for dtype, axes in zip(("float32", "float64"), panels, strict=True):
        _draw(axes, [row for row in rows if row["dtype"] == dtype])
        axes.set(title=f"Stacks of m x m matrices, {dtype}", xlabel="m")
    _finish(figure, panels, file)


def draw_large(results: Path, file: Path) -> None:
    """Draw what one large matrix takes, a panel a family."""
    rows = [row for row in load_records(results / "throughput.json")[1] if row["part"] == "large"]
    figure, panels = plt.subplots(1, 2, figsize=(9.6, 4.0), sharey=True)
    for family, axes in zip(("U[-1,1]", "Wishart"), panels, strict=True):
        _draw(axes, [row for row in rows if row["dtype"] == "float64" and row["family"] == family])
        axes.set(title=f"One {family} matrix, float64", xlabel="N")
    _finish(figure, panels, file)


def _draw(axes: plt.Axes, rows: Iterable[Record]) -> None:
    """Draw a line a method through the medians; that of ``skdmi.inv`` in a band from quartile to quartile."""
    rows = list(rows)
    for name, style in STYLES.items():
        found = sorted((row for row in rows if row["method"] == name), key=lambda row: row["m"])
        sizes = [row["m"] for row in found]
        if name == INV:
            axes.fill_between(sizes, *zip(*(row["over_numpy_quartiles"] for row in found), strict=True), alpha=0.2)
        if found:
            axes.plot(sizes, [row["over_numpy"] for row in found], label=LABELS.get(name, name), **style)
    sizes = sorted({row["m"] for row in rows})
    axes.axhline(1, color="C6", label=NUMPY)
    axes.set(xscale="log", yscale="log")
    ticks = [size for size in sizes if size & (size - 1) == 0]
    axes.set_xticks(ticks, [str(size) for size in ticks])
    axes.set_yticks(TICKS, [f"{tick:g}" for tick in TICKS])
    axes.minorticks_off()


def _finish(figure: plt.Figure, panels: Iterable[plt.Axes], file: Path) -> None:
    panels = list(panels)
    panels[0].set_ylabel(f"processor time over that of\n{NUMPY}")
    entries = [pair for axes in panels for pair in zip(*axes.get_legend_handles_labels(), strict=True)]
    handles = {label: handle for handle, label in entries}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4)
    figure.savefig(file, dpi=120)
    plt.close(figure)


@plt.style.context("skdmi.inspection.paper")
def save_plots(results: Path, images: Path) -> None:
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
