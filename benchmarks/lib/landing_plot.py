"""The picture of the first page, from figures that ``benchmarks.families`` and ``benchmarks.routes`` have saved.

``python -m benchmarks.lib.landing_plot RESULTS FILE`` reads a directory and draws one picture.
"""

import argparse
from pathlib import Path
from statistics import median

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from benchmarks.lib.records import Record, load_records

FAMILIES = {
    "diffusion": "diffusion, 36",
    "kernels-64": "kernels, 64",
    "kernels-32": "kernels, 32",
    "advection": "advection, 64",
    "permuted": "the same, rows permuted",
    "channels": "channels, 16",
    "uniform": "independent entries, 16",
}
LEARNED, UNTRAINED = "C0", "C6"


def products(rows: list[Record], family: str, prefix: str) -> float:
    """Return what 99 % of fresh members need to a residual norm of 0.01: the median of seeds, the best of untrained."""
    found: dict[str, list[float]] = {}
    for row in rows:
        if row.get("family") == family and "products" in row and row["method"].startswith(prefix):
            found.setdefault(row["method"], []).append(row["products"][1][1] or float("inf"))
    return min(median(counts) for counts in found.values())


def draw_gain(axes: plt.Axes, rows: list[Record]) -> None:
    for y, family in enumerate(reversed(FAMILIES)):
        untrained, learned = (products(rows, family, prefix) for prefix in ("MR-3, deflated", "trained"))
        axes.plot([learned, untrained], [y, y], color="0.85", linewidth=3, zorder=1)
        axes.plot(untrained, y, "o", color=UNTRAINED, markersize=9.5)  # A ring is left to see where both are equal.
        axes.plot(learned, y, "o", color=LEARNED, markersize=6)
        if y == len(FAMILIES) - 1:
            axes.text(learned, y + 0.3, "learned", color=LEARNED)
            axes.text(untrained, y + 0.3, "untrained", color=UNTRAINED, ha="right")
    axes.set_xticks(range(0, 21, 5))
    axes.set_yticks(range(len(FAMILIES)), [FAMILIES[family] for family in reversed(FAMILIES)])
    axes.set(xlim=(0, 20.5), ylim=(-0.5, len(FAMILIES) - 0.3), xlabel="products of matrices to a residual norm of 0.01")
    axes.set_title("What a family saves, if it has something in common")
    axes.grid(axis="y", visible=False)


def draw_time(axes: plt.Axes, rows: list[Record]) -> None:
    taken = sorted((row for row in rows if row["taken"] and row["dtype"] == "float64"), key=lambda row: row["m"])
    sizes = [row["m"] for row in taken]
    axes.plot(sizes, [row["over_numpy"] for row in taken], color=LEARNED, linewidth=2)
    axes.axhline(1, color=UNTRAINED, linewidth=1)
    axes.text(3, 0.97, "numpy.linalg.inv,\nnothing proved", color="0.35", va="top")
    axes.text(24, 0.28, "skdmi.inv, proved", color=LEARNED)
    axes.set(xlim=(1, max(sizes)), ylim=(0, None), xlabel="m, of stacks of m x m matrices")
    axes.set_title("What a proved inverse takes, over numpy's time")


def draw(results: Path, file: Path) -> None:
    plt.style.use("skdmi.inspection.paper")
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.6, 3.4))
    draw_gain(left, load_records(results / "families.json")[1])
    draw_time(right, load_records(results / "routes.json")[1])
    figure.savefig(file, dpi=160)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("file", type=Path)
    options = parser.parse_args()
    draw(options.results, options.file)


if __name__ == "__main__":
    main()
