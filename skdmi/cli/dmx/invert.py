"""``dmxinvert``: invert the matrices of a file with a trained ensemble, certified, and compare with a target."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import click
import numpy as np

import skdmi
from skdmi.cli.dmx.common import (
    INPUT_FILE,
    OUTPUT_FILE,
    check_plot,
    command,
    compare,
    draw_plot,
    plot_option,
    read,
    stack_format,
)
from skdmi.cli.invert import Summary, certified_inverses, raw_inverses
from skdmi.cli.streams import finite_stacks, paired_stacks
from skdmi.estimators.report import INACCURATE

MAX_RANGES = 100


@command("dmxinvert --inputmx M.mx --inverseout I.mx --model Model_20240920182800 --invtarget T.mx --plotout plot.png")
@click.option("--inputmx", type=INPUT_FILE, required=True, metavar="FILE", help="The matrices to invert.")
@click.option("--inverseout", type=OUTPUT_FILE, default="Model", metavar="FILE", help="The file for their inverses.")
@click.option("--model", metavar="DIR|NAME", help="A directory that dmxtrain made, or a shipped model.")
@click.option("--invert_mode", type=click.Choice(["nn", "numpy"]), default="nn", help="The network, or LAPACK.")
@click.option("--invtarget", type=INPUT_FILE, metavar="FILE", help="The true inverses, to compare with.")
@plot_option
@click.option("--raw", is_flag=True, help="Write what the network answers, neither refined nor certified.")
def dmxinvert(
    inputmx: Path,
    inverseout: Path,
    model: str | None,
    invert_mode: str,
    invtarget: Path | None,
    plotout: Path | None,
    raw: bool,
) -> None:
    """Invert every matrix in a file, refine each inverse, and prove it.

    Matrices of another size than the model's go through blocks. For one that is singular to working precision the
    pseudo-inverse is written, and a line on stderr gives its index. Without --invtarget, the plot is against the
    inverses of LAPACK. Files are text with END after each matrix, whatever their names, or .npy.
    """
    if invert_mode == "nn" and model is None:
        raise click.UsageError("Missing option '--model', a directory that dmxtrain made, or a shipped model's name.")
    if invert_mode == "nn" and (Path(str(model)) / "config.toml").is_file():
        raise click.UsageError(f"{model} is a TensorFlow model of DeepMatrixInversion; train one anew with dmxtrain.")
    check_plot(plotout)
    if plotout is not None and plotout in (inputmx, inverseout, invtarget):
        raise click.UsageError(f"--plotout is {plotout}, a file of matrices; expected a file of its own.")
    pairs: Iterator[tuple[np.ndarray, np.ndarray | None]] = (
        paired_stacks(inputmx, invtarget, read) if invtarget else ((A, None) for A in finite_stacks(inputmx, read))
    )
    first = next(pairs)
    m = first[0].shape[-1]
    kept = _Comparison() if invtarget or plotout else None
    stacks = (A for A, true in chain([first], pairs) if kept is None or kept.add_true(A, true))
    summary = Summary()
    if raw:
        answers = raw_inverses(_raw_inverter(m, model if invert_mode == "nn" else None), stacks, summary)
    else:
        answers = certified_inverses(_certified_inverter(m, model if invert_mode == "nn" else None), stacks, summary)
    answers = answers if kept is None else kept.note(answers)
    skdmi.io.write_stack(inverseout, answers, format=stack_format(inverseout))
    _warn(summary)
    click.echo(f"{summary}: {inverseout}")
    if kept:
        X_true, X_pred = kept.arrays()
        click.echo(f"against {invtarget or 'LAPACK'}: {compare(X_true, X_pred)}")
        if plotout is not None:
            draw_plot(X_true, X_pred, plotout)


@dataclass
class _Comparison:
    """True and computed inverses, kept while they pass by."""

    true: list[np.ndarray] = field(default_factory=list)
    computed: list[np.ndarray] = field(default_factory=list)

    def add_true(self, A: np.ndarray, X: np.ndarray | None) -> bool:
        self.true.append(skdmi.ExactInverter(singular="pinv").transform(A) if X is None else X)
        return True

    def note(self, answers: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        for X in answers:
            self.computed.append(X)
            yield X

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        return np.concatenate(self.true), np.concatenate(self.computed)


def _certified_inverter(m: int, model: str | None) -> Any:
    """Return the inverter of `skdmi.inv` around a model, or around LAPACK."""
    from skdmi.api import certified_inverter  # imports torch

    if model is None:
        return skdmi.RefinedInverter(skdmi.ExactInverter(), singular="pinv")
    return certified_inverter(m, model=model, singular="pinv")


def _raw_inverter(m: int, model: str | None) -> Any:
    """Return a model as it is, or where it takes another size, with blocks around it; or LAPACK."""
    if model is None:
        return skdmi.ExactInverter()
    network = skdmi.load_pretrained(model)
    size = getattr(network, "matrix_size_", m)
    return network if size == m else skdmi.BlockInverter(network, block_size=size)


def _warn(summary: Summary) -> None:
    """Name on stderr what is written and is not a proved inverse."""
    for indices, text in (
        (summary.missing, "have no inverse, NaN is written"),
        (summary.uncertified, "are singular to working precision, pseudo-inverses are written"),
        (summary.inaccurate, f"are so nearly singular that the error of the inverse may exceed {INACCURATE:g}"),
    ):
        if indices:
            share = f"{len(indices)} of {summary.n_matrices} matrices"
            click.echo(f"Warning: {share} {text}: index {name_ranges(indices)}", err=True)


def name_ranges(indices: list[int]) -> str:
    """Return indices in order as a text, neighbours as a range.

    >>> name_ranges([0, 1, 2, 5, 7, 8])
    '0-2, 5, 7-8'
    """
    starts = np.flatnonzero(np.diff(indices, prepend=-2) != 1)
    ends = [*(starts[1:] - 1), len(indices) - 1]
    ranges = [(indices[start], indices[end]) for start, end in zip(starts, ends, strict=True)]
    texts = [f"{first}-{last}" if first < last else str(first) for first, last in ranges[:MAX_RANGES]]
    return ", ".join(texts) + (", ..." if len(ranges) > MAX_RANGES else "")
