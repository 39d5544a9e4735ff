"""The options and arguments that several commands share."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

import skdmi
from skdmi.cli.plots import PLOT_SUFFIXES, check_plot_file

__all__ = [
    "INPUT_FILE",
    "OUTPUT_FILE",
    "POSITIVE",
    "DistributionType",
    "example",
    "model_option",
    "plot_option",
    "random_state_option",
]

SUFFIXES = (".mx", ".npy", ".csv")


class StackFile(click.Path):
    """A file of matrices, told by its suffix before any work is done."""

    def __init__(self, *, exists: bool) -> None:
        super().__init__(exists=exists, dir_okay=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the path."""
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if path.suffix.lower() not in SUFFIXES:
            self.fail(f"{path}: the suffix is {path.suffix!r}; expected one of {', '.join(SUFFIXES)}", param, ctx)
        return path


INPUT_FILE = StackFile(exists=True)
OUTPUT_FILE = StackFile(exists=False)
POSITIVE = click.IntRange(min=1)


class DistributionType(click.ParamType):
    """A distribution: the name of one with its defaults, or its description in JSON."""

    name = "distribution"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the distribution that a text describes."""
        if not isinstance(value, str):
            return value
        try:
            description = json.loads(value) if value.lstrip().startswith("{") else {"name": value}
        except ValueError as error:
            self.fail(f'{value} is not JSON ({error}); expected e.g. \'{{"name": "Uniform", "low": 0}}\'', param, ctx)
        try:
            return skdmi.distributions.from_dict(description)
        except (ValueError, TypeError) as error:
            self.fail(str(error), param, ctx)


def example(command: str) -> str:
    """Return the epilog of a command's help: one example, in lines that click leaves as they are."""
    return f"\b\nExample:\n  {command}"


def model_option(help: str, *, required: bool = False) -> Callable[[Any], Any]:
    """Return the option ``--model``."""
    return click.option("--model", metavar="NAME|DIR", required=required, help=help)


def plot_option(help: str) -> Callable[[Any], Any]:
    """Return the option ``--plot``; what forbids a picture is found out before the command begins."""

    def check(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
        del ctx, param
        if value is not None:
            check_plot_file(value)
        return value

    suffixes = ", ".join(PLOT_SUFFIXES)
    return click.option(
        "--plot",
        type=click.Path(path_type=Path),
        callback=check,
        metavar="FILE",
        help=f"{help} The suffix gives the format: {suffixes}. Needs matplotlib.",
    )


random_state_option = click.option(
    "--random-state", type=click.IntRange(0, 2**32 - 1), metavar="SEED", help="The same seed gives the same result."
)
