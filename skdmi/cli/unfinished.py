"""Unfinished trainings: what lies beside a model until it is saved, and what becomes of a model that cannot be."""

import json
import os
import secrets
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path
from typing import Any

import click

from skdmi.cli.errors import one_line
from skdmi.cli.options import NUMBER
from skdmi.cli.signals import Signals
from skdmi.io import atomic_path
from skdmi.io.atomic import fcntl
from skdmi.persistence import check_writable
from skdmi.persistence.directories import CHECKPOINTS, SCRATCH

OPTIONS = "options.json"
DETERMINE_NOTHING = ("output", "mout", "resume", "checkpoint_every", "device", "n_jobs", "plot", "plotout", "logdir")
"""Options that may be others when a training goes on."""


def checkpoint_every_option(name: str) -> Callable[[Any], Any]:
    """Return the option that says how often checkpoints are written."""
    help = "Write a checkpoint after every K epochs, from which --resume goes on; 0: none."
    return click.option(name, type=NUMBER, default=1, metavar="K", help=help)


@dataclass(frozen=True)
class Unfinished:
    """The folder ``checkpoints`` in the directory of a model to be."""

    output: Path
    checkpoint_every: int
    random_state: int
    """Given, or that of the training that goes on, or drawn."""

    @property
    def directory(self) -> Path:
        """Where checkpoints are."""
        return self.output / CHECKPOINTS

    @property
    def parameters(self) -> dict[str, Any]:
        """Those of a NeuralMatrixInverter that belong to checkpoints."""
        if not self.checkpoint_every:
            return {"random_state": self.random_state}
        every = {"checkpoint_dir": str(self.directory), "checkpoint_every": self.checkpoint_every}
        return every | {"random_state": self.random_state}

    def save(self, save: Callable[[Path], None], *, is_finished: bool = True) -> Path:
        """Save the model, remove what was kept until then if it ``is_finished``, and return its directory.

        Signals wait. Where the model cannot be saved, somebody at a terminal is asked for another directory; without
        anybody, or an answer, it is kept in a temporary one.

        Raises
        ------
        click.ClickException
            If it is not saved where it was asked for; it says why, and where the model is.
        """
        signals = click.get_current_context().ensure_object(Signals)
        target: Path | None = self.output
        while target is not None:
            with signals.waiting():
                try:
                    save(target)
                except OSError as error:
                    failure = one_line(error)
                else:
                    if is_finished:
                        self.remove()
                    return target
            target = _ask(failure, signals)
        with signals.waiting():
            raise click.ClickException(f"{failure} {self._keep(save)}")

    def _keep(self, save: Callable[[Path], None]) -> str:
        """Save a model in a temporary directory, and say so."""
        try:
            kept = Path(tempfile.mkdtemp(prefix="skdmi-"))
            save(kept)
        except OSError as error:
            return f"Nor can the model be kept elsewhere: {one_line(error)}{self.hint}"
        return f"The model is kept in {kept}; move it where it should be."

    @property
    def hint(self) -> str:
        """A sentence on how to go on, if there is a checkpoint."""
        return f" --resume goes on from {self.directory}." if self.checkpoints() else ""

    def checkpoints(self) -> list[Path]:
        """Return the files of checkpoints."""
        return sorted(self.directory.glob("[!.]*.safetensors"))

    def remove(self) -> None:
        """Remove what was written here; the directory too, if there is nothing else in it."""
        for path in (*self.checkpoints(), self.directory / OPTIONS, *self.directory.glob(f"{SCRATCH}*")):
            path.unlink(missing_ok=True)
        with suppress(OSError):
            self.directory.rmdir()


@contextmanager
def unfinished(output: Path, *, resume: bool, checkpoint_every: int, random_state: int | None) -> Iterator[Unfinished]:
    """Begin a training, or go on with one, of which nothing is left if it fails before its first checkpoint.

    Raises
    ------
    click.ClickException
        If there is an unfinished training that is not to go on, or was begun with other options.
    OSError
        If nothing can be written there.
    """
    check_writable(output)
    if resume and not checkpoint_every:
        raise click.UsageError("--resume needs checkpoints; expected another --checkpoint-every than 0.")
    existed, directory = output.exists(), output / CHECKPOINTS
    directory.mkdir(parents=True, exist_ok=True)
    with held(directory):
        given, begun = _options(click.get_current_context()), _begun(directory)
        training = Unfinished(output, checkpoint_every, _seed(random_state, begun if resume else {}))
        try:
            if training.checkpoints() and not resume:
                raise click.ClickException(
                    f"{directory} holds an unfinished training. Go on with --resume, or remove it."
                )
            if resume:
                _compare(training, given, begun)
            with atomic_path(directory / OPTIONS) as temporary:
                temporary.write_text(json.dumps(given | {"--random-state": training.random_state}, indent=1) + "\n")
            yield training
        finally:
            if not training.checkpoints():
                training.remove()
                if not existed:
                    with suppress(OSError):  # That it is not empty.
                        output.rmdir()


@contextmanager
def held(directory: Path) -> Iterator[None]:
    """Keep other trainings out of a directory while the block runs, where there are such locks."""
    if fcntl is None:
        yield
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise click.ClickException(
                f"Another process trains in {directory.parent}. Wait for its end, or give another directory."
            ) from None
        except OSError:  # A file system without locks.
            pass
        yield
    finally:
        os.close(descriptor)


def _options(context: click.Context) -> dict[str, Any]:
    """Return the options that determine the outcome, as JSON has them."""
    options = {
        option.opts[0]: context.params[option.name]
        for option in context.command.params
        if option.name in context.params and option.name not in DETERMINE_NOTHING
    }
    plain: dict[str, Any] = json.loads(json.dumps(options, default=_in_words))
    return plain


def _in_words(value: Any) -> Any:
    """Return the digest of a file, and the description of a distribution."""
    if isinstance(value, Path):
        with value.open("rb") as file:
            return file_digest(file, "blake2b").hexdigest()[:32]
    return value.to_dict()


def _begun(directory: Path) -> dict[str, Any]:
    """Return the options that a training was begun with; none if there is none, or nothing can be read."""
    try:
        begun = json.loads((directory / OPTIONS).read_text())
    except (OSError, RecursionError, ValueError):
        return {}
    return begun if isinstance(begun, dict) else {}


def _seed(given: int | None, begun: dict[str, Any]) -> int:
    if given is not None:
        return given
    seed = begun.get("--random-state")
    return seed if isinstance(seed, int) and 0 <= seed < 2**32 else secrets.randbits(32)


def _compare(training: Unfinished, given: dict[str, Any], begun: dict[str, Any]) -> None:
    """Refuse to go on with other options, or with none that are known."""
    if not training.checkpoints():
        return
    if not begun:
        raise click.ClickException(
            f"{training.directory} holds an unfinished training, but its {OPTIONS} cannot be read. Remove it to train "
            f"anew."
        )
    others = given | {"--random-state": training.random_state}
    names = sorted(name for name in others.keys() | begun.keys() if others.get(name) != begun.get(name))
    if names:
        differences = ", ".join(f"{name} {_shown(begun, name)}, not {_shown(others, name)}" for name in names)
        raise click.ClickException(
            f"{training.directory} holds a training that was begun with {differences}. Give the same options, or "
            f"remove it."
        )


def _shown(options: dict[str, Any], name: str) -> str:
    return "unset" if options.get(name) is None else json.dumps(options[name])


def _ask(failure: str, signals: Signals) -> Path | None:
    """Ask for another directory; None where there is nobody, or no answer."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None
    click.echo(f"The model cannot be saved. {failure}", err=True)
    try:
        with signals.not_waiting():
            return click.prompt("Another directory for it", type=click.Path(path_type=Path), err=True)
    except click.Abort:
        return None
