"""``skdmi audit``: what anybody's inverse makes of matrices that break inverses."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import click

from skdmi.cli.options import POSITIVE, example, name_in
from skdmi.cli.summary import name_ranges

BUILT_IN = {"numpy": "numpy.linalg.inv", "torch": "torch.linalg.inv", "skdmi": "skdmi.inv"}
PREFIX = "python:"


@click.command(epilog=example("skdmi audit python:numpy.linalg.inv --dtype float32"))
@click.argument("function", metavar="FUNCTION")
@click.option(
    "--family",
    "families",
    type=name_in("skdmi.datasets.families", "FAMILIES"),
    multiple=True,
    metavar="NAME",
    help="A family of matrices, such as delta-rule; may be given several times.  [default: all]",
)
@click.option(
    "--size",
    "sizes",
    type=POSITIVE,
    multiple=True,
    metavar="M",
    help="The side of matrices, for what is tied to a size; may be given several times.  [default: all]",
)
@click.option("--dtype", type=click.Choice(["float64", "float32"]), default="float64", help="Of the matrices.")
def audit(function: str, families: tuple[str, ...], sizes: tuple[int, ...], dtype: str) -> None:
    """Run a function that inverts matrices on those that break inverses, and count what is wrong, and what is silent.

    FUNCTION is python:module.function, where modules of the current directory are found, too; or numpy, torch or skdmi,
    for numpy.linalg.inv, torch.linalg.inv and skdmi.inv. It takes numpy arrays or torch tensors, stacks or single
    matrices, and returns X; or X and certified, as a pair or as attributes of an object.

    Every answer is held against the exact inverse, in units in which rows and columns are alike. It is right if its
    error is at most what a backward stable method may have, min(8 m u cond(A), 0.01); of a singular matrix, or one
    whose inverse the dtype cannot hold, if that is said. To raise an error, to return NaN or infinity, to take down a
    flag and to warn is to say so. Largest errors are those of answers about which nothing was said.

    Exits with 0 if nothing is wrong and silent and with 1 otherwise.
    """
    from skdmi.datasets import judge

    with importing_from_here():
        call = find(BUILT_IN.get(function, function.removeprefix(PREFIX)), function)
        report = judge(call, families=families or None, sizes=sizes or None, dtype=dtype, verbose=1)
    click.echo(str(report))
    silent = [f"{name} ({name_ranges(indices)})" for name, indices in report.silent().items()]
    if silent:
        counts = report.counts()
        share = f"{counts['wrong and silent']} of {sum(counts.values())}"
        raise click.ClickException(f"{function}: {share} are wrong and silent: {', '.join(silent)}.")


@contextmanager
def importing_from_here() -> Iterator[None]:
    """Let modules of the current directory be found, as ``python -m`` does."""
    sys.path.insert(0, "")
    try:
        yield
    finally:
        sys.path.remove("")


def find(path: str, given: str) -> Callable[[Any], Any]:
    """Return the function ``module.function``, imported; ``given`` is what the user wrote."""
    if given not in BUILT_IN and not given.startswith(PREFIX):
        short = ", ".join(BUILT_IN)
        raise click.UsageError(f"Got {given!r}; expected {PREFIX}module.function, or one of {short}.")
    parts = path.split(".")
    if len(parts) < 2 or not all(part.isidentifier() for part in parts):
        raise click.UsageError(f"Got {given!r}; expected a module and a function, as in {PREFIX}numpy.linalg.inv.")
    found, names = _import_longest(parts, given)
    for name in names:
        if not hasattr(found, name):
            raise click.UsageError(f"{given}: there is no {name!r} in {getattr(found, '__name__', found)}.")
        found = getattr(found, name)
    if not callable(found):
        raise click.UsageError(f"{given} is of type {type(found).__name__}; expected a function.")
    return found


def _import_longest(parts: list[str], given: str) -> tuple[Any, list[str]]:
    """Import the longest leading part that is a module, and return it and the names that are left."""
    for end in range(len(parts) - 1, 0, -1):
        name = ".".join(parts[:end])
        try:
            return import_module(name), parts[end:]
        except ModuleNotFoundError as error:
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise click.UsageError(f"{given}: importing {name} failed: {error}.") from error
        except Exception as error:
            raise click.UsageError(f"{given}: importing {name} failed: {type(error).__name__}: {error}") from error
    raise click.UsageError(f"{given}: there is no module {parts[0]!r}, here or installed.")
