"""``skdmi invert``: from a file of matrices to a file of inverses, in constant memory."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import click
import numpy as np

import skdmi
from skdmi.cli.models import default_model, load_model
from skdmi.cli.options import INPUT_FILE, OUTPUT_FILE, example, model_option
from skdmi.cli.streams import finite_stacks, name_indices, transform_quietly


@click.command(epilog=example("skdmi invert M.mx I.mx --model my-3x3"))
@click.argument("matrices", metavar="INPUT", type=INPUT_FILE)
@click.argument("inverses", metavar="OUTPUT", type=OUTPUT_FILE)
@model_option("A shipped model or a model directory.  [default: the shipped model for the size]")
@click.option(
    "--method",
    type=click.Choice(["neural", "exact"]),
    default="neural",
    help="A network, or LAPACK, which has no inverse (NaN) for what is singular to working precision.",
)
def invert(matrices: Path, inverses: Path, model: str | None, method: str) -> None:
    """Invert every matrix in a file.

    The file is read chunk by chunk, so it may be larger than memory. OUTPUT is written whole or not at all, in the
    format of its suffix; it may be INPUT. The summary gives the residual norms ||I - A X||_F of what was written.
    """
    if method == "exact" and model is not None:
        raise click.UsageError("--method exact uses no model; leave out --model.")
    stacks = finite_stacks(matrices)
    first = next(stacks)
    m = first.shape[-1]
    inverter = skdmi.ExactInverter() if method == "exact" else load_model(model or default_model(m))
    summary = _Summary()
    skdmi.io.write_stack(inverses, _inverted(inverter, chain([first], stacks), summary))
    if summary.missing:
        click.echo(
            f"Warning: {len(summary.missing)} of {summary.n_matrices} matrices are singular to working precision, at "
            f"index {name_indices(summary.missing)}; their inverses are NaN.",
            err=True,
        )
    click.echo(f"{summary}: {inverses}")


@dataclass
class _Summary:
    """What is to be said of a stream of inverses."""

    n_matrices: int = 0
    total: float = 0.0
    largest: float = 0.0
    missing: list[int] = field(default_factory=list)

    def add(self, norms: np.ndarray) -> None:
        self.missing += (np.flatnonzero(np.isnan(norms)) + self.n_matrices).tolist()
        self.n_matrices += len(norms)
        self.total += float(np.nansum(norms))
        self.largest = max(self.largest, float(np.nanmax(norms, initial=0.0)))

    def __str__(self) -> str:
        n_inverses = self.n_matrices - len(self.missing)
        residuals = f"residual norm mean {self.total / n_inverses:.3g}, max {self.largest:.3g}, " if n_inverses else ""
        return f"{self.n_matrices} matrices, {residuals}{len(self.missing)} missing inverses"


def _inverted(inverter: Any, stacks: Iterable[np.ndarray], summary: _Summary) -> Iterator[np.ndarray]:
    for stack in stacks:
        X = transform_quietly(inverter, stack)
        summary.add(skdmi.metrics.frobenius_residuals(stack, X))
        yield X
