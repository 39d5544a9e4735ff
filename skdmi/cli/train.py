"""``skdmi train``: train a network and save it as a model directory."""

import sys
from contextlib import redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

import skdmi
from skdmi.cli.options import (
    INPUT_FILE,
    NUMBER,
    POSITIVE,
    distribution,
    example,
    name_in,
    number_or_auto,
    plot_option,
    random_state_option,
)
from skdmi.cli.plots import save_figure
from skdmi.cli.signals import Signals
from skdmi.cli.unfinished import Unfinished, checkpoint_every_option, unfinished
from skdmi.io.atomic import is_stream


def _check_tensorboard(ctx: click.Context, param: click.Parameter, directory: Path | None) -> Path | None:
    """Find out before the training that TensorBoard is not installed."""
    if directory and find_spec("tensorboard") is None:
        raise click.UsageError('--logdir needs tensorboard. Try pip install "skdmi[tensorboard]".')
    return directory


@click.command(epilog=example("skdmi train --matrix-size 3 --epochs 50 --random-state 0 --output my-3x3"))
@click.option("--output", type=click.Path(path_type=Path), required=True, help="The model directory to write.")
@click.option(
    "--matrix-size",
    type=POSITIVE,
    multiple=True,
    help="The side m of the matrices. Given several times, a polynomial network learns them all, and then takes any.",
)
@click.option("--data", type=INPUT_FILE, help="Train on the matrices in this file, and on convex pairs of them.")
@click.option(
    "--distribution",
    type=distribution,
    help="Where training matrices come from: a name (Uniform, Wishart, ...) or a description in JSON, such as "
    '\'{"name": "Uniform", "low": -1, "high": 1}\'.  [default: Uniform; with --data, Members]',
)
@click.option("--depth", type=POSITIVE, default=4, help="Number of residual blocks.")
@click.option("--width", type=POSITIVE, default=16, help="Size of the hidden vector.")
@click.option(
    "--block",
    type=name_in("skdmi.modules", "BLOCKS"),
    default="polynomial",
    help="Kind of block: polynomial, feedback, dense; all but the first are tied to one size.",
)
@click.option(
    "--start",
    type=name_in("skdmi.iteration", "STARTS", "auto", "family"),
    default="auto",
    help="What a polynomial network starts from: transpose; identity, for positive definite matrices; family, fitted "
    "to members; or auto, the best of these for --data, and transpose without.",
)
@click.option(
    "--atoms",
    "n_atoms",
    type=number_or_auto,
    default="auto",
    help="Number of atoms of a family start, or auto, the best of 0, 8, 16 and 32.",
)
@click.option("--epochs", "max_epochs", type=NUMBER, default=20, help="Number of epochs; 0: the untrained iteration.")
@click.option("--batches-per-epoch", type=POSITIVE, default=100, help="Number of batches in an epoch.")
@click.option("--batch-size", type=POSITIVE, default=1024, help="Number of matrices in a batch.")
@click.option("--learning-rate", type=click.FloatRange(min=0, min_open=True), default=2e-3, help="Its peak.")
@click.option("--device", default="auto", help="auto (CUDA if there is any), cpu, cuda, ...")
@random_state_option
@checkpoint_every_option("--checkpoint-every")
@click.option(
    "--resume",
    is_flag=True,
    help="Go on with the unfinished training in the output directory, given the same options; begin if there is none.",
)
@plot_option("Draw the loss and the learning rate, epoch by epoch.")
@click.option(
    "--logdir",
    type=click.Path(file_okay=False, path_type=Path),
    callback=_check_tensorboard,
    metavar="DIR",
    help="Log every epoch to TensorBoard: tensorboard --logdir DIR. Needs tensorboard.",
)
def train(
    output: Path,
    matrix_size: tuple[int, ...],
    data: Path | None,
    distribution: Any,
    plot: Path | None,
    logdir: Path | None,
    checkpoint_every: int,
    resume: bool,
    random_state: int | None,
    **parameters: Any,
) -> None:
    """Train a network on generated matrices and save it.

    The size comes from --matrix-size or from --data. Every matrix is fresh, and the weights kept are those with the
    lowest validation loss, the first weights among them. Training stops early when nothing is gained for a quarter of
    the epochs, at least 5. Epochs are logged on stderr. Ctrl-C saves the best weights so far and exits with 130,
    SIGTERM with 143. A model that is in the output directory already is replaced; anything else there is left alone.

    Until the model is saved, checkpoints are kept in the output directory. Killed at any moment, a training goes on
    with --resume, to the same weights on the same machine.
    """
    if (data is None) == (not matrix_size):
        raise click.UsageError("Expected either --matrix-size or --data, which says where the size comes from.")
    block = parameters["block"]
    if len(matrix_size) > 1 and not skdmi.modules.BLOCKS[block].takes_any_size:
        raise click.UsageError(f"--block {block} is tied to one size; give --matrix-size once.")
    if data and is_stream(data):
        raise click.UsageError(f"--data {data} is a pipe, and is read more than once; expected a file.")
    if plot and not parameters["max_epochs"]:
        raise click.UsageError("--plot draws epochs, and --epochs 0 has none.")
    _check_device(parameters["device"])
    begun = unfinished(output, resume=resume, checkpoint_every=checkpoint_every, random_state=random_state)
    with begun as training:
        inverter = skdmi.NeuralMatrixInverter(
            matrix_size=matrix_size[0] if len(matrix_size) == 1 else matrix_size or None,
            distribution=distribution or "auto",
            callbacks=[_tensorboard(logdir)] if logdir else None,
            verbose=1,
            **training.parameters,
            **parameters,
        )
        output = _fit_and_save(inverter, None if data is None else skdmi.io.read_stack(data), training)
    if plot and inverter.history_:
        save_figure(skdmi.inspection.TrainingDisplay.from_estimator(inverter), plot)
    first = "fitted: " if inverter.n_atoms_ or inverter.start_ == "family" else "untrained: "
    untrained = first if inverter.best_epoch_ == 0 else ""
    seen = f"{inverter.n_matrices_seen_:,} matrices"
    click.echo(f"{untrained}validation loss {inverter.best_loss_:.4g} after {seen}; saved in {output}")


def _fit_and_save(inverter: Any, X: Any, training: Unfinished) -> Path:
    """Fit and return where the model is saved; if a signal comes, of the best weights so far."""
    click.get_current_context().ensure_object(Signals).saves = True

    def save(directory: Path) -> None:
        inverter.set_params(verbose=0)  # Who loads the model did not ask for a log.
        inverter.save_pretrained(directory)

    try:
        with redirect_stdout(sys.stderr):  # skorch prints its log.
            inverter.fit(X)
    except KeyboardInterrupt:
        so_far = ""
        if hasattr(inverter, "module_"):
            so_far = f"The best weights so far are saved in {training.save(save, is_finished=False)}."
        click.echo(f"{so_far}{training.hint}".strip(), err=True)
        raise
    return training.save(save)


def _check_device(name: str) -> None:
    from skdmi.estimators.devices import resolve_device  # imports torch

    try:
        resolve_device(name, loaded=False)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--device") from error


def _tensorboard(directory: Path) -> Any:
    from skorch.callbacks import TensorBoard
    from torch.utils.tensorboard import SummaryWriter

    return TensorBoard(SummaryWriter(directory))
