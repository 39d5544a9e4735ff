"""The pictures of the first page, from figures that ``benchmarks.families`` and ``benchmarks.routes`` have saved.

``python -m benchmarks.lib.landing_plot RESULTS IMAGES`` reads one directory and draws into the other.
"""

import argparse
from pathlib import Path
from statistics import median

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from benchmarks.lib.inverses import TORCH
from benchmarks.lib.records import Record, load_records

FAMILIES = {
    "diffusion": "diffusion, 36",
    "kernels-64": "kernels, 64",
    "kernels-32": "kernels, 32",
    "advection": "advection, 64",
    "permuted": "the same, permuted",
    "circuit": "circuit, 48",
    "covariances": "covariances, 32",
    "channels": "channels, 16",
    "uniform": "independent, 16",
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
            axes.text(untrained + 0.6, y, "untrained", color=UNTRAINED, va="center")
    axes.set_xticks(range(0, 21, 5))
    axes.set_yticks(range(len(FAMILIES)), [FAMILIES[family] for family in reversed(FAMILIES)])
    axes.set(xlim=(0, 20.5), ylim=(-0.5, len(FAMILIES) - 0.3), xlabel="products to a residual norm of 0.01")
    axes.set_title("What having something in common saves")
    axes.grid(axis="y", visible=False)


def draw_time(axes: plt.Axes, rows: list[Record]) -> None:
    of_float64 = sorted((row for row in rows if row["dtype"] == "float64"), key=lambda row: row["m"])
    for is_shown, style in ((_is_torchs, {"color": UNTRAINED}), (_is_taken, {"color": LEARNED, "linewidth": 2})):
        shown = [row for row in of_float64 if is_shown(row)]
        axes.plot([row["m"] for row in shown], [row["over_numpy"] for row in shown], **style)
    axes.axhline(1, color="0.35", linewidth=1)
    axes.text(12, 1.02, "numpy.linalg.inv", color="0.35", va="bottom")
    axes.text(58, 0.46, "torch.linalg.inv", color="0.35", va="top")
    axes.text(24, 0.28, "skdmi.inv, proved", color=LEARNED)
    axes.set(xlim=(0, 100), ylim=(0, None), xlabel="m, of stacks of m x m matrices")
    axes.set_title("Time over numpy's")


def _is_torchs(row: Record) -> bool:
    return bool(row["method"] == TORCH)


def _is_taken(row: Record) -> bool:
    return bool(row["taken"])


@plt.style.context("skdmi.inspection.paper")
def draw(results: Path, images: Path) -> None:
    for name, draw_one, figures in (("learn", draw_gain, "families"), ("trust", draw_time, "routes")):
        figure, axes = plt.subplots(figsize=(4.8, 3.4))
        draw_one(axes, load_records(results / f"{figures}.json")[1])
        figure.savefig(images / f"landing_{name}.png", dpi=200)
        plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("images", type=Path)
    options = parser.parse_args()
    draw(options.results, options.images)


if __name__ == "__main__":
    main()
