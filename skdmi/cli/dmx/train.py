"""``dmxtrain``: train an ensemble and save it in a directory that carries the time in its name."""

import math
import sys
import time
from concurrent.futures import BrokenExecutor
from contextlib import redirect_stdout, suppress
from functools import partial
from io import TextIOBase
from pathlib import Path
from typing import Any

import click
import numpy as np

import skdmi
from skdmi.cli.dmx.common import command, compare, draw_plot, plot_option, published_distribution
from skdmi.cli.errors import one_line
from skdmi.cli.options import NUMBER, POSITIVE, random_state_option
from skdmi.cli.signals import Signals, leave_signals_to_parent
from skdmi.cli.unfinished import Unfinished, checkpoint_every_option, unfinished
from skdmi.processes import end_with_parent
from skdmi.progress import progress
from skdmi.typing import BlockName

N_VALIDATION = 10_000
WORTH_WORKERS = 500_000  # Matrices; fewer are seen before a worker process has started.
SMALL = 16  # Up to this size further threads gain nothing, and on busy cores cost a multiple of the time.
# What a network of each kind is by default, beyond the defaults of NeuralMatrixInverter.
NETWORKS: dict[str, dict[str, Any]] = {
    "polynomial": {"depth": 3},
    "feedback": {"depth": 8, "width": 32},
    "dense": {"depth": 7, "width": 128, "optimizer": "adam", "learning_rate": 1e-4, "log_weight": 0.0},
}


@command("dmxtrain --msize 3 --epochs 5 --n_repeats 2 --batch_size 1024 --mout Model_3x3")
@click.option("--msize", "matrix_size", type=POSITIVE, required=True, help="The side m of the matrices.")
@click.option("--nmx_samples", type=POSITIVE, default=1_000_000, help="Number of fresh matrices in an epoch.")
@click.option("--nunits", "width", type=POSITIVE, help="Size of the hidden vector.  [default: by --block; dense: 128]")
@click.option("--nlayers", "depth", type=POSITIVE, help="Number of residual blocks.  [default: by --block; dense: 7]")
@click.option("--block", type=click.Choice(list(NETWORKS)), default="polynomial", help="Kind of block.")
@click.option("--rmin", type=float, default=-1.0, help="The smallest entry.")
@click.option("--rmax", type=float, default=1.0, help="The largest entry.")
@click.option("--epochs", "max_epochs", type=NUMBER, default=100, help="Number of epochs; 0: the untrained iteration.")
@click.option("--batch_size", type=POSITIVE, default=1024, help="Number of matrices in a batch.")
@click.option("--n_repeats", type=POSITIVE, default=20, help="Number of networks in the ensemble.")
@click.option("--mout", default="Model", metavar="PREFIX", help="The directory is PREFIX_ and the time, to the second.")
@click.option(
    "--n_jobs", type=POSITIVE, help="Number of networks trained at a time.  [default: one a core; one on a GPU]"
)
@plot_option
@random_state_option
@checkpoint_every_option("--checkpoint_every")
@click.option(
    "--resume",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Go on with the unfinished training in this directory, given the same options; begin there if there is none.",
)
def dmxtrain(
    matrix_size: int,
    nmx_samples: int,
    block: BlockName,
    rmin: float,
    rmax: float,
    max_epochs: int,
    batch_size: int,
    n_repeats: int,
    mout: str,
    n_jobs: int | None,
    plotout: Path | None,
    random_state: int | None,
    checkpoint_every: int,
    resume: Path | None,
    **shape: int | None,
) -> None:
    """Train an ensemble of networks on matrices with entries from RMIN to RMAX and |det| > 0.1.

    Every matrix is fresh. Epochs are logged on stderr, and each network is saved when it is trained; Ctrl-C saves the
    best weights so far and exits with 130, SIGTERM with 143. Killed at any moment, a training goes on with --resume, to
    the same weights on the same machine. At the end the ensemble inverts 10,000 fresh matrices, as it is, neither
    refined nor certified; the plot shows the same.
    """
    import torch
    from joblib import cpu_count
    from sklearn.base import clone

    distribution = published_distribution(rmin, rmax)
    batch_size = min(batch_size, nmx_samples)
    if n_jobs is None:
        in_turn = torch.cuda.is_available() or nmx_samples * max_epochs < WORTH_WORKERS
        n_jobs = 1 if in_turn else min(n_repeats, cpu_count())
    if n_jobs == 1 and block != "dense" and matrix_size <= SMALL:
        click.get_current_context().call_on_close(partial(torch.set_num_threads, torch.get_num_threads()))
        torch.set_num_threads(1)
    network = skdmi.NeuralMatrixInverter(
        **(NETWORKS[block] | {name: value for name, value in shape.items() if value}),
        block=block,
        matrix_size=matrix_size,
        distribution=distribution,
        max_epochs=max_epochs,
        batches_per_epoch=math.ceil(nmx_samples / batch_size),
        batch_size=batch_size,
        verbose=1,
    )
    directory = _fresh_directory(mout) if resume is None else resume
    try:
        begun = unfinished(
            directory, resume=resume is not None, checkpoint_every=checkpoint_every, random_state=random_state
        )
        with begun as training:
            random = np.random.RandomState(training.random_state)
            A = distribution.sample(N_VALIDATION, matrix_size, random_state=random)
            seeds = [{"random_state": random.randint(2**31 - 1)} for _ in range(n_repeats)]
            networks = [clone(network).set_params(**training.parameters | seed) for seed in seeds]
            ensemble, directory = _train(networks, n_jobs, training)
    finally:
        with suppress(OSError):  # That it is not empty.
            directory.rmdir()
    X = ensemble.transform(A)
    norms = skdmi.metrics.frobenius_residuals(A, X)
    X_true = skdmi.ExactInverter().transform(A)
    n_untrained = sum(one.best_epoch_ == 0 for one in ensemble.estimators_)
    untrained = f"{n_untrained} of {n_repeats} networks untrained; " if n_untrained else ""
    click.echo(
        f"{N_VALIDATION:,} fresh matrices, not refined: residual norm mean {norms.mean():.3g}, max {norms.max():.3g}, "
        f"{compare(X_true, X)}; {untrained}saved in {directory}"
    )
    if plotout:
        draw_plot(X_true, X, plotout)


def _fresh_directory(prefix: str) -> Path:
    """Make a directory named by the time."""
    while True:
        directory = Path(f"{prefix}_{time.strftime('%Y%m%d%H%M%S')}")
        with suppress(FileExistsError):  # Of another training, that began in the same second.
            directory.mkdir(parents=True)
            return directory
        time.sleep(0.1)


def _train(networks: list[Any], n_jobs: int, training: Unfinished) -> tuple[Any, Path]:
    """Train networks, saving after each all that there are, in their order; return the ensemble and its directory."""
    from joblib import Parallel, delayed

    from skdmi.estimators.convergence import warn_of_members

    click.get_current_context().ensure_object(Signals).saves = True
    tasks = (delayed(_fit)(one, f"network {i} of {len(networks)}: ") for i, one in enumerate(networks, 1))
    trained: list[Any] = []
    failures: list[str] = []
    try:
        with progress(len(networks), "networks", verbose=n_jobs == 1) as bar:  # Workers log on the terminal themselves.
            for one, texts in Parallel(n_jobs=n_jobs, return_as="generator")(tasks):
                trained.append(one)
                failures += texts
                bar.advance()
                if len(trained) < len(networks):
                    _save_so_far(trained, training)
    except KeyboardInterrupt:
        trained += [one for one in networks[len(trained) :] if hasattr(one, "module_")]
        so_far = ""
        if trained:
            directory = training.save(_ensemble(trained).save_pretrained, is_finished=False)
            so_far = f"The best weights so far are saved in {directory}."
        click.echo(f"{so_far}{training.hint}".strip(), err=True)
        raise
    except BrokenExecutor as error:
        raise click.ClickException(f"A process that trained networks was killed.{training.hint}") from error
    warn_of_members(failures, len(networks), "networks")
    ensemble = _ensemble(trained)
    return ensemble, training.save(ensemble.save_pretrained)


def _save_so_far(trained: list[Any], training: Unfinished) -> None:
    """Save the networks that there are; if that fails training goes on, at whose end there may be room."""
    try:
        _ensemble(trained).save_pretrained(training.output)
    except OSError as error:
        click.echo(f"Warning: {one_line(error)} Training goes on.", err=True)


def _fit(network: Any, label: str) -> tuple[Any, list[str]]:
    from skdmi.estimators.convergence import collected

    end_with_parent()
    leave_signals_to_parent()
    with redirect_stdout(_Labelled(label)), collected() as failures:  # skorch prints its log.
        return network.fit(), failures


class _Labelled(TextIOBase):
    """What is printed goes to stderr, every line with a label in front."""

    def __init__(self, label: str) -> None:
        self.label = label

    def write(self, text: str) -> int:
        lines = filter(None, text.splitlines())  # The end of a line is written by itself.
        sys.stderr.writelines(f"{self.label}{line}\n" for line in lines)
        return len(text)


def _ensemble(networks: list[Any]) -> Any:
    for one in networks:
        one.set_params(verbose=0)  # Who loads the model did not ask for a log.
    return skdmi.EnsembleInverter.from_fitted(networks)
