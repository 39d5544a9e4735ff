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
    "MR-3, deflated, c A^T": {"color": "C6", "linewidth": 9, "alpha": 0.35, "solid_capstyle": "round"},
    "MR-3, deflated, Jacobi": {"color": "C4", "linewidth": 3.5},
    "best constant": {"color": "C2", "marker": "x", "markersize": 7},
    "sketched": {"color": "C3", "marker": "+"},
    "fitted": {"color": "C5", "linewidth": 6, "alpha": 0.45, "solid_capstyle": "round"},
    "trained": {"color": "C0", "marker": "^"},
}
LABELS = {
    "MR-3, deflated, c A^T": "untrained, from $c A^T$",
    "MR-3, deflated, Jacobi": "untrained, from the diagonal",
    "best constant": "best constant start",
    "fitted": "start learned",
    "trained": "start and steps learned",
}
QUANTILES = ("median", "99 %")
TARGET = 0.01
"""The residual norm that tables count products to."""


@plt.style.context("skdmi.inspection.paper")
def save_plots(rows: Sequence[Record], directory: Path) -> None:
    """Draw a plot for each family among the rows."""
    directory.mkdir(parents=True, exist_ok=True)
    for family in FAMILIES:
        own = [row for row in rows if row["family"] == family.name and row["seed"] == 0]
        if own:
            _draw(own, f"{family.title}, {family.m} x {family.m}", directory / f"families_{family.name}.png")


def _draw(rows: Sequence[Record], title: str, file: Path) -> None:
    figure, panels = plt.subplots(1, 2, figsize=(8.4, 3.6), sharex=True, sharey=True)
    for row in sorted(rows, key=lambda row: -STYLES.get(row["method"], {}).get("linewidth", 0)):  # Bands lie below.
        if row["curve"]:
            _draw_curve(panels, row)
        elif row["method"].startswith("LAPACK"):
            label = "LAPACK, float32"
            panels[1].axhline(row["direct_p99"], color="black", linewidth=1, linestyle=":", label=label)
    for axes, quantile in zip(panels, QUANTILES, strict=True):
        axes.axhline(TARGET, color="0.6", linewidth=0.8)
        axes.text(22.2, 1.2 * TARGET, f"{TARGET}", color="0.4", ha="right", va="bottom")
        axes.set(yscale="log", xlim=(-0.5, 22.5), ylim=(1e-7, 20), xlabel="products, the last residual included")
        axes.set_title(f"{title}: {quantile}")
    panels[0].set_ylabel(r"$\|I - A X\|_F$")
    figure.legend(*panels[1].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=120)
    plt.close(figure)
    Image.open(buffer).convert("RGB").quantize(64).save(file, optimize=True)  # a third of the bytes


def _draw_curve(panels: Sequence[plt.Axes], row: Record) -> None:
    products, *quantiles = zip(*(point for point in row["curve"] if None not in point), strict=True)
    style = STYLES["sketched" if row["method"].startswith("sketched") else row["method"]]
    for axes, norms in zip(panels, quantiles, strict=True):
        axes.plot(
            products,
            norms,
            label=LABELS.get(row["method"], row["method"].replace("c A^T", "$c A^T$")),
            **{"linewidth": 1.2} | style,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("directory", type=Path)
    options = parser.parse_args()
    save_plots([row for row in load_records(options.file)[1] if row["part"] == "families"], options.directory)


if __name__ == "__main__":
    main()
