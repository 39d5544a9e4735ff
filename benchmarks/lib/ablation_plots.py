"""The pictures of what decided the design, from the tables that ``docs/ablation.rst`` shows.

``python -m benchmarks.lib.ablation_plots docs/ablation.rst docs/images`` reads the page and draws them anew.
"""

import argparse
import re
from collections.abc import Mapping
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

Row = tuple[float, ...]
PRODUCTS, KFLOP, MEAN, FAILING, SPREAD = range(5)


def read_tables(page: Path) -> dict[str, dict[str, Row]]:
    """Return the rows below each figure: products, kflop, mean, what fails 5 %, and its spread; of a name the first."""
    pattern = re.compile(
        r"^   +(\S.*?)  +(\d+) +\d+ +(\d+) +\d+ +\d+ +([\d.e+-]+)(?:±\S+)? +\S+ +([\d.]+)(?:±([\d.]+))? ", re.MULTILINE
    )
    tables: dict[str, dict[str, Row]] = {}
    for part in page.read_text().split(".. figure:: images/")[1:]:
        rows = tables[part.splitlines()[0]] = {}
        for name, products, kflop, mean, share, spread in pattern.findall(part):
            row = (float(products), float(kflop), float(mean), 100 - float(share), float(spread or 0))
            rows.setdefault(name, row)
    return tables


def draw_deflation(rows: Mapping[str, Row], file: Path) -> None:
    """Draw the mean residual norm of cubic steps against all operations, a panel a size, a line a number of steps."""
    figure, panels = plt.subplots(1, 3, figsize=(9.6, 3.6), sharey=True)
    for m, axes in zip((16, 32, 64), panels, strict=True):
        for n_steps in range(3, 7):
            names = [f"{m}x{m}, {n_steps} cubic steps, {end}" for end in ("untrained", "rank 1", "rank 2", "rank 4")]
            found = [rows[name] for name in names if name in rows]
            if found:
                costs = [row[KFLOP] / (2 * m**3 / 1000) for row in found]
                (line,) = axes.plot(costs, [row[MEAN] for row in found], "o-", color=f"C{n_steps - 3}")
                axes.text(costs[0], found[0][MEAN] * 1.3, f"{n_steps} steps", color=line.get_color(), ha="center")
        axes.set(title=f"{m} x {m}", yscale="log", xlabel="all operations, in products", ylim=(None, 3))
        axes.margins(x=0.15)
    panels[0].set_ylabel("mean residual norm")
    _save(figure, file)


def draw_degree(rows: Mapping[str, Row], file: Path) -> None:
    """Draw what fails untrained and trained, a row a sequence of degrees, by the products they take."""
    names = [name for name in rows if name.startswith("degrees ") and f"{name}, untrained" in rows]
    names.sort(key=lambda name: (rows[name][PRODUCTS], -rows[name][FAILING]))
    figure, axes = plt.subplots(figsize=(7.6, 4.4))
    for y, name in enumerate(names):
        untrained, trained = rows[f"{name}, untrained"][FAILING], rows[name][FAILING]
        axes.plot([untrained, trained], [y, y], color="0.85", linewidth=3, zorder=1)
        axes.plot(untrained, y, "o", color="C6", markersize=9, label=None if y else "untrained")
        axes.plot(trained, y, "o", color="C0", label=None if y else "trained")
    axes.set_yticks(range(len(names)), [f"{name[8:]}: {rows[name][PRODUCTS]:.0f} products" for name in names])
    axes.set(xscale="log", xlabel="inverses off by more than 5 %, in %", title="16 x 16, U[-1,1]: degrees of the steps")
    _finish_rows(figure, axes, file)


def draw_memory(rows: Mapping[str, Row], file: Path) -> None:
    """Draw what fails when a part of the network is left out."""
    names = list(rows)
    names = names[: names.index("untrained")]
    figure, axes = plt.subplots(figsize=(7.6, 4.0))
    for y, name in enumerate(names):
        color = "C0" if name == "as it is" else "C1"
        axes.errorbar(rows[name][FAILING], y, xerr=rows[name][SPREAD], fmt="o", color=color)
    axes.plot(rows["untrained"][FAILING], len(names), "o", color="C6")
    axes.axvline(rows["as it is"][FAILING], color="C0", linewidth=1, linestyle=":", zorder=1)
    axes.set_yticks(range(len(names) + 1), [*names, "untrained"])
    axes.set(xscale="log", xlabel="inverses off by more than 5 %, in %", title="16 x 16, U[-1,1], 16 products")
    _finish_rows(figure, axes, file)


def _finish_rows(figure: plt.Figure, axes: plt.Axes, file: Path) -> None:
    axes.set_xticks([1, 2, 5, 10, 20, 50, 100], ["1", "2", "5", "10", "20", "50", "100"])
    axes.minorticks_off()
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc="outside lower center", ncols=2)
    _save(figure, file)


def _save(figure: plt.Figure, file: Path) -> None:
    figure.savefig(file, dpi=120)
    plt.close(figure)


DRAWN = {
    "ablation_deflation.png": draw_deflation,
    "ablation_degree.png": draw_degree,
    "ablation_memory.png": draw_memory,
}


@plt.style.context("skdmi.inspection.paper")
def save_plots(page: Path, images: Path) -> None:
    tables = read_tables(page)
    for name, draw in DRAWN.items():
        draw(tables[name], images / name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path)
    parser.add_argument("images", type=Path)
    options = parser.parse_args()
    save_plots(options.page, options.images)


if __name__ == "__main__":
    main()
