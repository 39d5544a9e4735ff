"""Signals: SIGTERM ends a command as Ctrl-C does, and neither breaks off the saving of what there is."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import parent_process
from types import FrameType
from typing import Any

DEFAULTS: dict[signal.Signals, Any] = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
"""What is replaced; whoever has asked for something else, such as to ignore Ctrl-C, keeps that."""


class Signals:
    """What a command has been sent, and whether it ends by it.

    Attributes
    ----------
    first : int or None
        The signal that came first.
    saves : bool
        Whether the command saves what there is when the first has come, so that others have to wait for its end.
    """

    def __init__(self) -> None:
        self.first: int | None = None
        self.saves: bool = False
        self._wait = False

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Raise KeyboardInterrupt in the block at a signal; outside the main thread, where none arrive, do nothing."""
        is_main = threading.current_thread() is threading.main_thread()
        mine = [number for number, default in DEFAULTS.items() if is_main and signal.getsignal(number) == default]
        for number in mine:
            signal.signal(number, self._hear)
        try:
            yield
        finally:
            for number in mine:
                signal.signal(number, DEFAULTS[number])

    def _hear(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.first = self.first or number
        if not self._wait:
            self._wait = self.saves
            raise KeyboardInterrupt

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Let signals wait for the end of the command while the block runs."""
        waited, self._wait = self._wait, True
        try:
            yield
        finally:
            self._wait = waited

    @contextmanager
    def not_waiting(self) -> Iterator[None]:
        """Let signals raise KeyboardInterrupt in the block in any case: somebody is asked something."""
        saves, waited = self.saves, self._wait
        self.saves = self._wait = False
        try:
            yield
        finally:
            self.saves, self._wait = saves, waited


def leave_signals_to_parent() -> None:
    """Let a worker process ignore what its parent, which a terminal and a scheduler send the same, ends it for."""
    if parent_process() is not None:
        for number in DEFAULTS:
            signal.signal(number, signal.SIG_IGN)
