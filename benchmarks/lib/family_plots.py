"""Residual norm against products, a plot a family, from what ``benchmarks.families`` has measured.

``python -m benchmarks.lib.family_plots FILE DIRECTORY`` draws the figures of one run anew.
"""

import argparse
import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from PIL import Image

from benchmarks.lib.families import FAMILIES
from benchmarks.lib.records import Record, load_records

STYLES = {
    "MR-3, deflated, c A^T": {"color": "C7", "marker": "."},
    "MR-3, deflated, Jacobi": {"color": "C1", "marker": "."},
    "best constant": {"color": "C2", "marker": "x"},
    "sketched": {"color": "C4", "marker": "+"},
    "fitted": {"color": "C0", "marker": "s", "markerfacecolor": "none", "markersize": 7},
    "trained": {"color": "black", "marker": "^"},
}


def save_plots(rows: Sequence[Record], directory: Path) -> None:
    """Draw a plot for each family among the rows."""
    directory.mkdir(parents=True, exist_ok=True)
    plt.rcParams.update({"font.size": 8, "axes.titlesize": 8, "legend.fontsize": 7, "lines.linewidth": 1})
    for family in FAMILIES:
        own = [row for row in rows if row["family"] == family.name and row["seed"] == 0]
        if own:
            _draw(own, f"{family.title}, {family.m} x {family.m}", directory / f"families_{family.name}.png")


def _draw(rows: Sequence[Record], title: str, file: Path) -> None:
    figure, axes = plt.subplots(figsize=(5.2, 3.0), layout="constrained")
    floors = {}
    for row in rows:
        if row["curve"]:
            name = row["method"].split(",")[0] if row["method"].startswith("sketched") else row["method"]
            _draw_curve(axes, row, name)
        elif row["method"].startswith("LAPACK"):
            floors["LAPACK, float32: 99 %"] = row["direct_p99"]
    for label, norm in floors.items():
        axes.axhline(norm, color="C3", linewidth=0.8, linestyle=":", label=label)
    axes.axhline(1e-2, color="black", linewidth=0.5, alpha=0.5)
    axes.set(title=title, yscale="log", xlim=(-0.5, 22.5), xlabel="products, the last residual included")
    axes.set_ylim(1e-7, 20)
    axes.set_ylabel(r"$\|I - A X\|_F$: median, 99 % (dashed)")
    axes.grid(alpha=0.25, linewidth=0.5)
    figure.legend(loc="outside right center", frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=100)
    plt.close(figure)
    Image.open(buffer).convert("RGB").quantize(64).save(file, optimize=True)  # a third of the bytes


def _draw_curve(axes: plt.Axes, row: Record, name: str) -> None:
    curve = [point for point in row["curve"] if None not in point]
    products, median, p99 = zip(*curve, strict=True)
    style = {"markersize": 4} | STYLES[name]
    axes.plot(products, median, label=row["method"], **style)
    axes.plot(products, p99, linestyle="--", alpha=0.6, **style)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("directory", type=Path)
    options = parser.parse_args()
    save_plots([row for row in load_records(options.file)[1] if row["part"] == "families"], options.directory)


if __name__ == "__main__":
    main()
