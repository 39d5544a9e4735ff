"""``skdmi invert``: from a file of matrices to a file of inverses, certified one by one, in constant memory."""

import csv
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import click
import numpy as np

import skdmi
from skdmi.cli.models import default_network
from skdmi.cli.options import INPUT, OUTPUT, SuffixedFile, example, plot_option, refuse_same_file
from skdmi.cli.plots import StackSample, save_figure
from skdmi.cli.streams import File, Standard, finite_stacks, open_text, say, write_stacks
from skdmi.cli.summary import COLUMNS, Summary
from skdmi.estimators.report import INACCURATE


@click.command(epilog=example("skdmi invert M.mx I.mx --report certificates.csv"))
@click.argument("matrices", metavar="INPUT", type=INPUT)
@click.argument("inverses", metavar="OUTPUT", type=OUTPUT)
@click.option(
    "--model",
    metavar="NAME|DIR",
    help="A shipped model, a model directory, or owner/name of a hub.  "
    "[default: none; with --raw an untrained network]",
)
@click.option("--raw", is_flag=True, help="Write what the network answers, neither refined nor certified.")
@click.option(
    "--report",
    type=SuffixedFile(dash=Standard.OUTPUT),
    metavar="FILE.csv",
    help="Write a table as well: residual norm, error bound, certificate, steps and source of every inverse.",
)
@click.option(
    "--tol", type=click.FloatRange(min=0), help="Residual norm to refine to.  [default: what rounding allows]"
)
@click.option(
    "--uncertified",
    type=click.Choice(["exact", "nan", "keep", "raise"]),
    help="What to do with an inverse that has no certificate: ask LAPACK, write NaN, keep it, or stop.  "
    "[default: exact]",
)
@click.option(
    "--singular",
    type=click.Choice(["warn", "raise", "pinv"]),
    help="What to do with a matrix without a certified inverse: write NaN, stop, or write the pseudo-inverse.  "
    "[default: warn]",
)
@click.option(
    "--tight", is_flag=True, help="Write exact inverses, rounded, or nearly: by residuals in twice the precision."
)
@plot_option("Draw the entries of the inverses against those of LAPACK; of a long file, a sample.")
def invert(
    matrices: File,
    inverses: File,
    model: str | None,
    raw: bool,
    report: File | None,
    plot: Path | None,
    **policies: Any,
) -> None:
    """Invert every matrix in a file, of any size, and prove each inverse.

    They are inverted directly, or with --model by a network, whose answers for small matrices are put together to the
    full size and refined; a certificate proves that the matrix has an inverse, with a bound on the error of the one
    written. INPUT is read chunk by chunk, so it may be larger than memory. OUTPUT is written whole or not at all, in
    the format of its suffix; it may be INPUT. A dash, -, is .mx text from standard input or to standard output. The
    summary gives the residual norms ||I - A X||_F of what was written.
    """
    given = {name: value for name, value in policies.items() if value is not None and value is not False}
    if raw and (report or given):
        option = next(iter(given), "report")
        raise click.UsageError(
            f"--raw refines and certifies nothing, so --{option} does nothing; leave one of them out."
        )
    refuse_same_file("--report", report, matrices, inverses, plot)
    stacks = finite_stacks(matrices)
    first = next(stacks)
    m = first.shape[-1]
    summary, sample = Summary(), StackSample()
    with _table(report) if report else nullcontext() as table:
        if raw:
            answer = partial(summary.raw, skdmi.load_pretrained(model) if model else default_network())
        else:
            from skdmi.api import certified_inverter  # imports torch

            inverter = certified_inverter(m, model=model or "auto", **given)
            answer = partial(summary.certified, inverter, table=table)

        def invert_chunk(A: np.ndarray) -> np.ndarray:
            X = answer(A)
            if plot:
                sample.add(A, X)
            return X

        write_stacks(inverses, map(invert_chunk, chain([first], stacks)))
    if plot:
        _draw(sample, plot)
    reason = "have no certificate" if given.get("uncertified") == "nan" else "are singular to working precision"
    rescued = f"In float64, {summary.n_rescued} of them would have an inverse." if summary.n_rescued else ""
    summary.warn(summary.missing, f"{reason}, so their inverses are NaN", rescued)
    inaccurate = f"are certified, but the relative error of their inverses may exceed {INACCURATE:g}"
    summary.warn(summary.inaccurate, inaccurate, "See --report for the bounds.")
    say(f"{summary}: {inverses}", inverses, report)


def _draw(sample: StackSample, plot: Path) -> None:
    """Draw the inverses against those of LAPACK; against pseudo-inverses where a matrix is singular."""
    if not np.isfinite(sample.X).any():
        click.echo(f"Warning: There is no inverse to draw, so {plot} is not written.", err=True)
        return
    X_true = skdmi.ExactInverter(singular="pinv").transform(sample.A.astype(np.float64))
    save_figure(skdmi.inspection.InversionDisplay.from_predictions(X_true, sample.X), plot)


@contextmanager
def _table(report: File) -> Iterator[Any]:
    """Give a writer of rows to a file that is written whole or not at all, or to standard output."""
    with open_text(report) as text:
        table = csv.writer(text)
        table.writerow(["index", *COLUMNS])
        yield table
