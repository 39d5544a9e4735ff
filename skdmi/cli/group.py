"""``skdmi`` itself: where commands are found."""

from importlib import import_module

import click

import skdmi
from skdmi.cli.errors import CONTEXT_SETTINGS, OneLineErrors

COMMANDS = ("train", "invert", "generate", "verify", "score", "audit", "export", "info")


class CommandGroup(OneLineErrors, click.Group):
    """The commands of `COMMANDS`, each the function of its name in the module of its name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order in which a newcomer meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import the module of a command and return the command."""
        return getattr(import_module(f"skdmi.cli.{name}"), name) if name in COMMANDS else None


@click.group(cls=CommandGroup, context_settings=CONTEXT_SETTINGS)
@click.version_option(skdmi.__version__)
def main() -> None:
    """Invert stacks of small square matrices: with a proof each, directly or by neural networks.

    Matrices are read from and written to .mx files (rows of comma-separated numbers, END after each matrix), .npy files
    (an array of shape (n_matrices, m, m)) and .csv files (a single matrix).
    """
