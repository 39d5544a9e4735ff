"""``dmxinvert``: invert the matrices of a file with a trained ensemble, certified, and compare with a target."""

from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import click
import numpy as np

import skdmi
from skdmi.cli.dmx.common import INPUT, OUTPUT, command, compare, draw_plot, plot_option, read, stack_format
from skdmi.cli.options import refuse_same_file
from skdmi.cli.streams import File, paired_stacks, say, write_stacks
from skdmi.cli.summary import Summary
from skdmi.estimators.report import INACCURATE


@command("dmxinvert --inputmx M.mx --inverseout I.mx --model Model_20240920182800 --invtarget T.mx --plotout plot.png")
@click.option("--inputmx", type=INPUT, required=True, metavar="FILE", help="The matrices to invert.")
@click.option("--inverseout", type=OUTPUT, default="Model", metavar="FILE", help="The file for their inverses.")
@click.option("--model", metavar="DIR|NAME", help="A directory that dmxtrain made, or a shipped model.")
@click.option("--invert_mode", type=click.Choice(["nn", "numpy"]), default="nn", help="The network, or LAPACK.")
@click.option("--invtarget", type=INPUT, metavar="FILE", help="The true inverses, to compare with.")
@plot_option
@click.option("--raw", is_flag=True, help="Write what the network answers, neither refined nor certified.")
def dmxinvert(
    inputmx: File,
    inverseout: File,
    model: str | None,
    invert_mode: str,
    invtarget: File | None,
    plotout: Path | None,
    raw: bool,
) -> None:
    """Invert every matrix in a file, refine each inverse, and prove it.

    Matrices of another size than the model's go through blocks. For one that is singular to working precision the
    pseudo-inverse is written, and a line on stderr gives its index. Without --invtarget, the plot is against the
    inverses of LAPACK. Files are text with END after each matrix, whatever their names, or .npy; a dash, -, is
    text from standard input or to standard output.
    """
    if invert_mode == "numpy":
        model = None
    elif model is None:
        raise click.UsageError("Missing option '--model', a directory that dmxtrain made, or a shipped model's name.")
    elif (Path(model) / "config.toml").is_file():
        raise click.UsageError(f"{model} is a TensorFlow model of DeepMatrixInversion; train one anew with dmxtrain.")
    refuse_same_file("--plotout", plotout, inputmx, inverseout, invtarget)
    pairs = paired_stacks(inputmx, invtarget, read)
    first = next(pairs)
    m = first[0].shape[-1]
    summary = Summary()
    answer = partial(summary.raw if raw else summary.certified, _inverter(m, model, raw))
    lapack = skdmi.ExactInverter(singular="pinv")
    compared: list[tuple[np.ndarray, np.ndarray]] = []

    def invert_chunk(pair: tuple[np.ndarray, np.ndarray | None]) -> np.ndarray:
        A, true = pair
        X = answer(A)
        if invtarget or plotout:
            compared.append((lapack.transform(A) if true is None else true, X))
        return X

    write_stacks(inverseout, map(invert_chunk, chain([first], pairs)), stack_format(inverseout))
    summary.warn(summary.missing, "have no inverse, so NaN is written")
    summary.warn(summary.uncertified, "are singular to working precision, so pseudo-inverses are written")
    inaccurate = f"are so nearly singular that the relative error of the inverse may exceed {INACCURATE:g}"
    summary.warn(summary.inaccurate, inaccurate)
    say(f"{summary}: {inverseout}", inverseout)
    if compared:
        X_true, X_pred = map(np.concatenate, zip(*compared, strict=True))
        say(f"against {invtarget or 'LAPACK'}: {compare(X_true, X_pred)}", inverseout)
        if plotout:
            draw_plot(X_true, X_pred, plotout)


def _inverter(m: int, model: str | None, raw: bool) -> Any:
    """Return a model, with blocks around it where it takes another size, or LAPACK; refined and certified or raw."""
    if model is None:
        exact = skdmi.ExactInverter()
        return exact if raw else skdmi.RefinedInverter(exact, singular="pinv")
    if not raw:
        from skdmi.api import certified_inverter  # imports torch

        return certified_inverter(m, model=model, singular="pinv")
    network = skdmi.load_pretrained(model)
    size = getattr(network, "matrix_size_", m)
    return network if size == m else skdmi.BlockInverter(network, block_size=size)
