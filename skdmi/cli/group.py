"""``skdmi`` itself: where commands are found, and the one place where failures become a line and an exit code."""

import warnings
from importlib import import_module
from typing import Any, TextIO

import click

import skdmi

__all__ = ["main"]

COMMANDS = ("train", "invert", "generate", "verify", "score", "info")
INTERRUPTED = 130  # What a shell reports for a program that Ctrl-C ended: 128 + SIGINT.


class CommandGroup(click.Group):
    """The commands of `COMMANDS`, each the function of its name in the module of its name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order in which a newcomer meets them."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import the module of a command and return the command."""
        del ctx
        return getattr(import_module(f"skdmi.cli.{name}"), name) if name in COMMANDS else None

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; whatever the library raises for its user to read becomes one line on stderr."""
        with warnings.catch_warnings():
            warnings.showwarning = _print_warning
            try:
                return super().invoke(ctx)
            except BrokenPipeError:  # The reader of a pipe has seen enough; click ends quietly.
                raise
            except (ValueError, OSError) as error:
                raise click.ClickException(_one_line(error)) from error
            except KeyboardInterrupt:
                click.echo("Interrupted.", err=True)
                ctx.exit(INTERRUPTED)


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split())


def _print_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    del category, filename, lineno, file, line
    click.echo(f"Warning: {' '.join(str(message).split())}", err=True)


@click.group(
    cls=CommandGroup,
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True, "max_content_width": 100},
)
@click.version_option(skdmi.__version__)
def main() -> None:
    """Invert stacks of small square matrices with a neural network.

    Matrices are read from and written to .mx files (rows of comma-separated numbers, END after each matrix), .npy files
    (an array of shape (n_matrices, m, m)) and .csv files (a single matrix).
    """
