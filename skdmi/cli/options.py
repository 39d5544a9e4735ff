"""The options and arguments that several commands share."""

import json
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

import click

import skdmi
from skdmi.cli.plots import PLOT_SUFFIXES, check_plot_file
from skdmi.cli.streams import File, Standard
from skdmi.io.atomic import is_stream
from skdmi.io.stacks import FORMATS

STANDARD_NAMES = {
    Standard.INPUT: ("-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"),
    Standard.OUTPUT: ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"),
}


class SuffixedFile(click.Path):
    """A file told by its suffix, if there are `suffixes`, before any work is done.

    With `dash`, ``-`` is that stream, as are its names in /dev, and a pipe or a device may have any name.
    """

    def __init__(self, suffixes: Iterable[str] = (), *, exists: bool = False, dash: Standard | None = None) -> None:
        super().__init__(exists=exists, dir_okay=False, path_type=Path)
        self.suffixes: tuple[str, ...] = tuple(suffixes)
        self.dash = dash

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path, or the stream."""
        if self.dash and value in STANDARD_NAMES[self.dash]:
            return self.dash
        path: Any = super().convert(value, param, ctx)
        if self.dash and is_stream(path):
            return path
        if self.suffixes and path.suffix.lower() not in self.suffixes:
            self.fail(f"{path}: the suffix is {path.suffix!r}; expected one of {', '.join(self.suffixes)}.", param, ctx)
        return path


STACK_SUFFIXES = [f".{name}" for name in FORMATS]
INPUT_FILE = SuffixedFile(STACK_SUFFIXES, exists=True)
INPUT = SuffixedFile(STACK_SUFFIXES, exists=True, dash=Standard.INPUT)
OUTPUT = SuffixedFile(STACK_SUFFIXES, dash=Standard.OUTPUT)
PLOT_FILE = SuffixedFile(PLOT_SUFFIXES)
POSITIVE = click.IntRange(min=1)
NUMBER = click.IntRange(min=0)


def name_in(module: str, table: str, *others: str) -> Callable[[str], str]:
    """Return the type of a name in a table of the package, which is imported only when the command runs, or another."""

    def name(text: str) -> str:
        names = (*others, *getattr(import_module(module), table))
        if text not in names:
            raise click.BadParameter(f"Got {text!r}; expected one of {', '.join(names)}.")
        return text

    return name


def number_or_auto(text: str) -> int | str:
    """Return a number that is not negative, or the word ``"auto"``."""
    if text == "auto":
        return text
    if not text.isdecimal():
        raise click.BadParameter(f"Got {text!r}; expected 'auto' or a number that is not negative.")
    return int(text)


def distribution(text: str) -> Any:
    """Return the distribution that a text describes: the name of one with its defaults, or its description in JSON."""
    try:
        return skdmi.distributions.from_dict(json.loads(text) if text.lstrip().startswith("{") else {"name": text})
    except (TypeError, ValueError) as error:
        what = str(error).removesuffix(".")
        raise click.BadParameter(f'{what}. Try a name, or JSON such as {{"name": "Uniform", "low": 0}}.') from error


def example(command: str) -> str:
    """Return the epilog of a command's help: one example, in lines that click leaves as they are."""
    return f"\b\nExample:\n  {command}"


def refuse_same_file(option: str, path: File | None, *others: File | None) -> None:
    """Raise a usage error if a file is also another one of the command."""

    def resolved(file: File) -> File:
        return file.resolve() if isinstance(file, Path) else file

    if path and resolved(path) in [resolved(other) for other in others if other]:
        raise click.UsageError(f"{option} is {path}, another file of this command; expected a file of its own.")


def plot_option(help: str) -> Callable[[Any], Any]:
    """Return the option ``--plot``; what forbids a picture is found out before the command begins."""
    return click.option(
        "--plot",
        type=PLOT_FILE,
        callback=lambda ctx, param, path: path and check_plot_file(path),
        metavar="FILE",
        help=f"{help} The suffix gives the format: {', '.join(PLOT_SUFFIXES)}. Needs matplotlib.",
    )


random_state_option = click.option(
    "--random-state", type=click.IntRange(0, 2**32 - 1), metavar="SEED", help="The same seed gives the same result."
)
