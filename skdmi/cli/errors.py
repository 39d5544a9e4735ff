"""The one place where failures become a line on stderr and an exit code, for every command."""

import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from skdmi.cli.signals import Signals
from skdmi.progress import close_bars

CONTEXT_SETTINGS = {"help_option_names": ["-h", "--help"], "show_default": True, "max_content_width": 100}
ENDED_BY_SIGNAL = 128  # Plus its number: what a shell reports, 130 for Ctrl-C.


class OneLineErrors(click.Command):
    """A command whose failures are one line: usage errors, and whatever the library raises for its user to read."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Parse the command line."""
        with _usage_in_one_line():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        signals = ctx.ensure_object(Signals)
        with warnings.catch_warnings(), _usage_in_one_line():
            warnings.showwarning = _print_warning
            try:
                with signals.heard(), _no_bar_left():
                    result = super().invoke(ctx)
                if signals.first:  # It waited for the end.
                    raise KeyboardInterrupt
                return result
            except BrokenPipeError:  # The reader of a pipe has seen enough; click ends quietly.
                raise
            except (ValueError, OSError) as error:
                raise click.ClickException(one_line(error)) from error
            except (MemoryError, RuntimeError) as error:
                if not _is_lack_of_memory(error):
                    raise
                raise click.ClickException(f"There is not enough memory: {one_line(error)}") from error
            except KeyboardInterrupt:
                number = signals.first or signal.SIGINT
                click.echo("Terminated." if number == signal.SIGTERM else "Interrupted.", err=True)
                ctx.exit(ENDED_BY_SIGNAL + number)


@contextmanager
def _no_bar_left() -> Iterator[None]:
    """Wipe the bars of a command that fails before it is said why."""
    try:
        yield
    finally:
        close_bars()


@contextmanager
def _usage_in_one_line() -> Iterator[None]:
    """Say what is wrong with a command line and where help is, in place of click's three lines."""
    try:
        yield
    except click.UsageError as error:
        if error.ctx is None or type(error).__name__ == "NoArgsIsHelpError":  # Which is no error: it prints the help.
            raise
        text = one_line(error.format_message())
        # Without a context click prints the message alone.
        raise click.UsageError(f"{text} See '{error.ctx.command_path} --help'.") from error


@contextmanager
def needing_an_extra() -> Iterator[None]:
    """Make a usage error of an ImportError, which says what to install."""
    try:
        yield
    except ImportError as error:
        raise click.UsageError(str(error)) from error


def one_line(error: object) -> str:
    """Return what an error says, in one line."""
    text = str(error)
    if isinstance(error, OSError) and error.filename is not None:
        text = f"{error.filename}: {error.strerror}."
    return " ".join(text.split())


def _is_lack_of_memory(error: Exception) -> bool:
    # Of torch on a CPU it is a RuntimeError like any other, but for its words.
    return isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error)


def _print_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    click.echo(f"Warning: {one_line(message)}", err=True)
