"""``skdmi score``: how good a model is on the matrices of a file, as it answers, refined, and beside LAPACK."""

from pathlib import Path

import click
import numpy as np

import skdmi
from skdmi.cli.options import INPUT_FILE, example, model_option, plot_option
from skdmi.cli.plots import StackSample, save_figure
from skdmi.cli.streams import finite_stacks, paired_stacks, quietly

TOLERANCES = (0.05, 0.02, 0.01, 0.005)


@click.command(epilog=example("skdmi score M.mx --model my-3x3"))
@click.argument("matrices", metavar="INPUT", type=INPUT_FILE)
@model_option("A shipped model or a model directory.", required=True)
@click.option("--inverses", type=INPUT_FILE, help="Score the inverses in this file as well, whoever computed them.")
@plot_option("Draw the model's residual norms against condition numbers; of a long file, a sample.")
def score(matrices: Path, model: str, inverses: Path | None, plot: Path | None) -> None:
    """Measure a model on every matrix in a file: its own answers, those refined and certified, and LAPACK's.

    Residual norms are ||I - A X||_F; a missing inverse counts sqrt(m), as the zero matrix would. "Within 5 %" is the
    share of inverses with sum_ij |(I - A X)_ij| / m < 0.05 (Charton 2021), "half norm" the share with spectral norm
    ||I - A X||_2 < 1/2, from where Newton-Schulz steps finish the work.
    """
    network = skdmi.load_pretrained(model)
    inverters = {model: network, "refined": skdmi.RefinedInverter(network), "LAPACK": skdmi.ExactInverter()}
    columns: dict[str, _Column] = {}
    sample = StackSample()
    pairs = paired_stacks(matrices, inverses) if inverses else ((A, None) for A in finite_stacks(matrices))
    for A, given in pairs:
        answers = {name: quietly(inverter.transform, A) for name, inverter in inverters.items()}
        if given is not None:
            answers[str(inverses)] = given
        for name, X in answers.items():
            columns.setdefault(name, _Column(A.shape[-1])).add(A, X)
        if plot:
            sample.add(A, answers[model])
    if plot:
        display = skdmi.inspection.ResidualDisplay.from_predictions(sample.A, sample.X, name=model)
        save_figure(display.figure_, plot)
    click.echo(_table({name: column.rows() for name, column in columns.items()}))


class _Column:
    """The figures of one way to invert, gathered chunk by chunk: eight bytes a matrix."""

    def __init__(self, m: int) -> None:
        self.m = m
        self.norms: list[np.ndarray] = []
        self.n_good = np.zeros(len(TOLERANCES) + 1)

    def add(self, A: np.ndarray, X: np.ndarray) -> None:
        metrics = skdmi.metrics
        self.norms.append(metrics.frobenius_residuals(A, X))
        shares = [metrics.within_tolerance_share(A, X, tolerance) for tolerance in TOLERANCES]
        self.n_good += np.array([*shares, metrics.half_norm_share(A, X)]) * len(A)

    def rows(self) -> dict[str, str]:
        found = np.concatenate(self.norms)
        norms = skdmi.metrics.with_missing_as_zero(found, self.m)
        figures = {
            "residual norm, mean": norms.mean(),
            "residual norm, median": np.median(norms),
            "residual norm, 99 % below": np.quantile(norms, 0.99),
            "residual norm, largest": norms.max(),
        }
        names = [*(f"within {tolerance:.1%}" for tolerance in TOLERANCES), "half norm"]
        shares = dict(zip(names, self.n_good / len(norms), strict=True))
        return {
            "matrices": str(len(norms)),
            "missing inverses": str(np.isnan(found).sum()),
            **{name: f"{value:.2e}" for name, value in figures.items()},
            **{name: f"{value:.2%}" for name, value in shares.items()},
        }


def _table(columns: dict[str, dict[str, str]]) -> str:
    """Lay out columns of figures: names on the left, numbers flush right.

    >>> print(_table({"a": {"mean": "1", "max": "10"}, "LAPACK": {"mean": "2", "max": "20"}}))
           a  LAPACK
    mean   1       2
    max   10      20
    """
    names = list(next(iter(columns.values())))
    cells = [["", *names], *([title, *rows.values()] for title, rows in columns.items())]
    widths = [max(map(len, column)) for column in cells]
    lines = []
    for label, *values in zip(*cells, strict=True):
        numbers = (value.rjust(width) for value, width in zip(values, widths[1:], strict=True))
        lines.append("  ".join([label.ljust(widths[0]), *numbers]).rstrip())
    return "\n".join(lines)
