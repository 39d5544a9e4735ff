"""``skdmi invert``: from a file of matrices to a file of inverses, certified one by one, in constant memory."""

import csv
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import chain, count, tee
from pathlib import Path
from typing import Any

import click
import numpy as np
from click.core import ParameterSource

import skdmi
from skdmi.cli.models import default_model
from skdmi.cli.options import INPUT_FILE, OUTPUT_FILE, example, model_option, plot_option
from skdmi.cli.plots import StackSample, save_figure
from skdmi.cli.streams import finite_stacks, quietly
from skdmi.estimators.report import INACCURATE
from skdmi.exceptions import name_indices

__all__ = ["Summary", "certified_inverses", "invert", "raw_inverses"]

CERTIFYING = ("report", "tol", "uncertified", "singular")
COLUMNS = ("residual_norm", "error_bound", "certified", "converged", "n_steps", "source")


@click.command(epilog=example("skdmi invert M.mx I.mx --report certificates.csv"))
@click.argument("matrices", metavar="INPUT", type=INPUT_FILE)
@click.argument("inverses", metavar="OUTPUT", type=OUTPUT_FILE)
@model_option("A shipped model or a model directory.  [default: the shipped model for the size]")
@click.option("--raw", is_flag=True, help="Write what the network answers, neither refined nor certified.")
@click.option(
    "--report",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE.csv",
    help="Write a table as well: residual norm, error bound, certificate, steps and source of every inverse.",
)
@click.option(
    "--tol", type=click.FloatRange(min=0), help="Residual norm to refine to.  [default: what rounding allows]"
)
@click.option(
    "--uncertified",
    type=click.Choice(["exact", "nan", "keep", "raise"]),
    default="exact",
    help="What to do with an inverse that has no certificate: ask LAPACK, write NaN, keep it, or stop.",
)
@click.option(
    "--singular",
    type=click.Choice(["warn", "raise", "pinv"]),
    default="warn",
    help="What to do with a matrix without a certified inverse: write NaN, stop, or write the pseudo-inverse.",
)
@plot_option("Draw the entries of the inverses against those of LAPACK; of a long file, a sample.")
def invert(
    matrices: Path,
    inverses: Path,
    model: str | None,
    raw: bool,
    report: Path | None,
    tol: float | None,
    plot: Path | None,
    **policies: str,
) -> None:
    """Invert every matrix in a file, of any size, and prove each inverse.

    The answers of a network for small matrices are put together to the full size, refined and certified: a certificate
    proves that the matrix has an inverse, with a bound on the error of the one written. INPUT is read chunk by chunk,
    so it may be larger than memory. OUTPUT is written whole or not at all, in the format of its suffix; it may be
    INPUT. The summary gives the residual norms ||I - A X||_F of what was written.
    """
    _check_options(raw, report, (matrices, inverses, *([plot] if plot else [])))
    stacks = finite_stacks(matrices)
    first = next(stacks)
    stacks = chain([first], stacks)
    stacks, seen = tee(stacks) if plot else (stacks, iter(()))
    m = first.shape[-1]
    summary, sample = Summary(), StackSample()
    with _table(report) if report else nullcontext() as table:
        if raw:
            answers = raw_inverses(skdmi.load_pretrained(model or default_model(m)), stacks, summary)
        else:
            from skdmi.api import certified_inverter  # imports torch

            inverter = certified_inverter(m, model=model or "auto", tol="auto" if tol is None else tol, **policies)
            answers = certified_inverses(inverter, stacks, summary, table)
        skdmi.io.write_stack(inverses, sample.watch(seen, answers) if plot else answers)
    if plot:
        _draw(sample, plot)
    if summary.missing:
        reason = "have no certificate" if policies["uncertified"] == "nan" else "are singular to working precision"
        rescued = f" In float64, {summary.n_rescued} of them would have one." if summary.n_rescued else ""
        click.echo(
            f"Warning: {len(summary.missing)} of {summary.n_matrices} matrices {reason}, at index "
            f"{name_indices(summary.missing)}; their inverses are NaN.{rescued}",
            err=True,
        )
    if summary.inaccurate:
        click.echo(
            f"Warning: {len(summary.inaccurate)} of {summary.n_matrices} inverses are certified, but their relative "
            f"error may exceed {INACCURATE:g}, at index {name_indices(summary.inaccurate)}; --report has the bounds.",
            err=True,
        )
    click.echo(f"{summary}: {inverses}")


def _draw(sample: StackSample, plot: Path) -> None:
    """Draw the inverses against those of LAPACK; against pseudo-inverses where a matrix is singular."""
    if not np.isfinite(sample.X).any():
        click.echo(f"Warning: no inverse to draw, so {plot} is not written.", err=True)
        return
    X_true = skdmi.ExactInverter(singular="pinv").transform(sample.A.astype(np.float64))
    display = skdmi.inspection.InversionDisplay.from_predictions(X_true, sample.X)
    save_figure(display.figure_, plot)


def _check_options(raw: bool, report: Path | None, others: tuple[Path, ...]) -> None:
    source = click.get_current_context().get_parameter_source
    given = [name for name in CERTIFYING if source(name) is ParameterSource.COMMANDLINE]
    if raw and given:
        raise click.UsageError(f"--raw refines and certifies nothing; leave out --{given[0]}.")
    if report and report.resolve() in [path.resolve() for path in others]:
        raise click.UsageError(f"--report is {report}, a file of matrices; expected a file of its own.")


@dataclass
class Summary:
    """What is to be said of a stream of inverses."""

    n_matrices: int = 0
    total: float = 0.0
    largest: float = 0.0
    missing: list[int] = field(default_factory=list)
    uncertified: list[int] = field(default_factory=list)
    inaccurate: list[int] = field(default_factory=list)
    n_certified: int | None = None
    n_rescued: int = 0
    sources: Counter[str] = field(default_factory=Counter)

    def add(self, norms: np.ndarray) -> None:
        """Take note of the residual norms of a chunk, NaN where there is no inverse."""
        self.missing += (np.flatnonzero(np.isnan(norms)) + self.n_matrices).tolist()
        self.n_matrices += len(norms)
        self.total += float(np.nansum(norms))
        self.largest = max(self.largest, float(np.nanmax(norms, initial=0.0)))

    def add_report(self, report: Any) -> None:
        """Take note of the report on a chunk."""
        self.uncertified += (np.flatnonzero(~report.certified) + self.n_matrices).tolist()
        self.inaccurate += (np.flatnonzero(report.inaccurate) + self.n_matrices).tolist()
        self.add(report.residual_norm)
        self.n_certified = (self.n_certified or 0) + int(report.certified.sum())
        self.sources.update(report.source.tolist())

    def __str__(self) -> str:
        parts = [f"{self.n_matrices} matrices"]
        if self.n_certified is not None:
            sources = ", ".join(f"{n} {name}" for name, n in self.sources.items() if name != "none")
            parts.append(f"{self.n_certified} certified" + f" ({sources})" * bool(sources))
        n_inverses = self.n_matrices - len(self.missing)
        if n_inverses:
            parts.append(f"residual norm mean {self.total / n_inverses:.3g}, max {self.largest:.3g}")
        return ", ".join([*parts, f"{len(self.missing)} missing inverses"])


def raw_inverses(inverter: Any, stacks: Iterable[np.ndarray], summary: Summary) -> Iterator[np.ndarray]:
    """Yield what an inverter answers."""
    for stack in stacks:
        X = quietly(inverter.transform, stack)
        summary.add(skdmi.metrics.frobenius_residuals(stack, X))
        yield X


def certified_inverses(
    inverter: Any, stacks: Iterable[np.ndarray], summary: Summary, table: Any = None
) -> Iterator[np.ndarray]:
    """Yield the inverses that a RefinedInverter reports, and write a row for each to the table, if there is one."""
    for stack in stacks:
        start = summary.n_matrices
        try:
            report = quietly(inverter.report, stack)
        except np.linalg.LinAlgError as error:  # Its indices are those within the chunk.
            raise ValueError(f"{error} Counted from matrix {start}." if start else str(error)) from error
        summary.add_report(report)
        refused = report.source == "none"
        if stack.dtype == np.float32 and refused.any():
            in_float64 = quietly(inverter.report, stack[refused].astype(np.float64))
            summary.n_rescued += int(in_float64.certified.sum())
        if table:
            table.writerows(zip(count(start), *(getattr(report, name).tolist() for name in COLUMNS), strict=False))
        yield report.inverse


@contextmanager
def _table(path: Path) -> Iterator[Any]:
    """Give a writer of rows to a file that is written whole or not at all."""
    with skdmi.io.atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["index", *COLUMNS])
        yield table
