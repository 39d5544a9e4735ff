"""``skdmi score``: how good a model is on the matrices of a file, as it answers, refined, and beside LAPACK."""

from pathlib import Path
from typing import TypeAlias

import click
import numpy as np

import skdmi
from skdmi.cli.options import INPUT, example, plot_option
from skdmi.cli.plots import StackSample, save_figure
from skdmi.cli.streams import File, paired_stacks, quietly, say

TOLERANCES = (0.05, 0.02, 0.01, 0.005)
Measured: TypeAlias = tuple[np.ndarray, int, list[float]]
"""Of a chunk: residual norms, the number of missing inverses, and shares of good ones. Eight bytes a matrix."""


@click.command(epilog=example("skdmi score M.mx --model my-3x3"))
@click.argument("matrices", metavar="INPUT", type=INPUT)
@click.option(
    "--model", metavar="NAME|DIR", required=True, help="A shipped model, a model directory, or owner/name of a hub."
)
@click.option("--inverses", type=INPUT, help="Score the inverses in this file as well, whoever computed them.")
@plot_option("Draw the model's residual norms against condition numbers; of a long file, a sample.")
def score(matrices: File, model: str, inverses: File | None, plot: Path | None) -> None:
    """Measure a model on every matrix in a file: its own answers, those refined and certified, and LAPACK's.

    Residual norms are ||I - A X||_F; a missing inverse counts sqrt(m), as the zero matrix would. "Within 5 %" is the
    share of inverses with sum_ij |(I - A X)_ij| / m < 0.05 (Charton 2021), "half norm" the share with spectral norm
    ||I - A X||_2 < 1/2, from where Newton-Schulz steps finish the work. A dash, -, is .mx text from standard input.
    """
    pairs = paired_stacks(matrices, inverses)
    network = skdmi.load_pretrained(model)
    inverters = {model: network, "refined": skdmi.RefinedInverter(network), "LAPACK": skdmi.ExactInverter()}
    measured: dict[str, list[Measured]] = {}
    sample = StackSample()
    for A, given in pairs:
        answers = {name: quietly(inverter.transform, A) for name, inverter in inverters.items()}
        if given is not None:
            answers[str(inverses)] = given
        for name, X in answers.items():
            measured.setdefault(name, []).append(_measure(A, X))
        if plot:
            sample.add(A, answers[model])
    if plot:
        display = skdmi.inspection.ResidualDisplay.from_predictions(sample.A, sample.X, name=model)
        save_figure(display, plot)
    say(_table({name: _column(chunks) for name, chunks in measured.items()}))


def _measure(A: np.ndarray, X: np.ndarray) -> Measured:
    metrics = skdmi.metrics
    found = metrics.frobenius_residuals(A, X)
    shares = [metrics.within_tolerance_share(A, X, tolerance) for tolerance in TOLERANCES]
    n_missing = int(np.isnan(found).sum())
    return metrics.with_missing_as_zero(found, A.shape[-1]), n_missing, [*shares, metrics.half_norm_share(A, X)]


def _column(chunks: list[Measured]) -> dict[str, str]:
    parts, n_missing, shares = zip(*chunks, strict=True)
    norms = np.concatenate(parts)
    *within, half = np.average(shares, axis=0, weights=[len(part) for part in parts])
    return {
        "matrices": str(len(norms)),
        "missing inverses": str(sum(n_missing)),
        "residual norm, mean": f"{norms.mean():.2e}",
        "residual norm, median": f"{np.median(norms):.2e}",
        "residual norm, 99 % below": f"{np.quantile(norms, 0.99):.2e}",
        "residual norm, largest": f"{norms.max():.2e}",
        **{f"within {tolerance:.1%}": f"{share:.2%}" for tolerance, share in zip(TOLERANCES, within, strict=True)},
        "half norm": f"{half:.2%}",
    }


def _table(columns: dict[str, dict[str, str]]) -> str:
    """Lay out columns of figures: names on the left, numbers flush right.

    >>> print(_table({"a": {"mean": "1", "max": "10"}, "LAPACK": {"mean": "2", "max": "20"}}))
           a  LAPACK
    mean   1       2
    max   10      20
    """
    rows = [["", *columns]]
    rows += [[name, *(column[name] for column in columns.values())] for name in next(iter(columns.values()))]
    first, *widths = (max(map(len, cells)) for cells in zip(*rows, strict=True))
    return "\n".join("  ".join([name.ljust(first), *map(str.rjust, cells, widths)]) for name, *cells in rows)
