"""What the commands of DeepMatrixInversion share: files of any name, plots, figures of merit."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np

import skdmi
from skdmi.cli.errors import CONTEXT_SETTINGS, OneLineErrors
from skdmi.cli.options import PLOT_FILE, SuffixedFile, example
from skdmi.cli.plots import check_plot_file, save_figure
from skdmi.cli.streams import File, Standard, read_stacks
from skdmi.inspection.drawing import pyplot
from skdmi.inspection.inversion import figures_of_merit, finite_entries

INPUT = SuffixedFile(exists=True, dash=Standard.INPUT)
OUTPUT = SuffixedFile(dash=Standard.OUTPUT)
MIN_ABS_DET = 0.1  # Of the matrices that DeepMatrixInversion trains on and generates.
SCREEN = Path("screen")


def _check_plot(ctx: click.Context, param: click.Parameter, path: Path | None) -> Path | None:
    return path if path in (None, SCREEN) else check_plot_file(PLOT_FILE.convert(path, param, ctx))


plot_option = click.option(
    "--plotout",
    metavar="FILE|screen",
    type=SuffixedFile(),
    callback=_check_plot,
    help="Plot the entries of the inverses against those of the true ones.",
)


def command(call: str, **settings: Any) -> Callable[[Any], click.Command]:
    """Return what makes a function a command, with ``call`` for the example in its help."""
    return click.command(cls=OneLineErrors, context_settings=CONTEXT_SETTINGS | settings, epilog=example(call))


def stack_format(file: File) -> str:
    """Return the format of a file: text with END lines, which DeepMatrixInversion writes under any name.

    >>> stack_format(Path("prediction.csv")), stack_format(Path("M.npy"))
    ('mx', 'npy')
    """
    return "npy" if isinstance(file, Path) and file.suffix.lower() == ".npy" else "mx"


def read(file: File) -> Iterator[np.ndarray]:
    """Read a file of matrices, whatever its name, or standard input, chunk by chunk."""
    return read_stacks(file, stack_format(file))


def published_distribution(low: float, high: float) -> Any:
    """Return where DeepMatrixInversion takes its matrices from, or raise a usage error."""
    try:
        return skdmi.distributions.Uniform(low, high, min_abs_det=MIN_ABS_DET)
    except ValueError as error:
        raise click.UsageError(f"No matrices have entries from {low:g} to {high:g}: {error}") from error


def compare(X_true: np.ndarray, X_pred: np.ndarray) -> str:
    """Return R2, MSE and MAE over the entries of the inverses that are there, as a text.

    >>> compare(np.array([[[1.0, 2.0], [3.0, 4.0]]]), np.array([[[1.5, 2.5], [3.5, 4.5]]]))
    'R2 1 - 0.2, MSE 0.25, MAE 0.5'
    """
    true, predicted = finite_entries(X_true, X_pred)
    if not len(true):
        return "no inverse to compare"
    return "R2 1 - {:.2g}, MSE {:.3g}, MAE {:.3g}".format(*figures_of_merit(true, predicted))


def draw_plot(X_true: np.ndarray, X_pred: np.ndarray, plotout: Path) -> None:
    """Draw predicted against true entries, into a file or on the screen, if there is one."""
    display = skdmi.inspection.InversionDisplay.from_predictions(X_true, X_pred)
    if plotout != SCREEN:
        save_figure(display, plotout)
    elif display.figure_.canvas.required_interactive_framework is None:
        click.echo("Warning: There is no display, so no plot is shown. Give --plotout the name of a file.", err=True)
    else:
        pyplot().show()
