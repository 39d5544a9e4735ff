"""Processes that work for another end with it, even where it is killed."""

import os
import threading
import time
from functools import cache
from multiprocessing import current_process, parent_process
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess

SECONDS_BETWEEN_LOOKS = 1.0
INIT = 1


def end_with_parent() -> None:
    """Let this process end, at once and with status 1, when the one ends that it works for; in others do nothing.

    It works for another if it is a worker of joblib's, or any daemonic process of :mod:`multiprocessing`. These are of
    no use to anybody after their parent, but learn of its death by a signal too late: after the task at hand, or never.
    A thread watches from the first call on, whatever becomes of the task.

    Examples
    --------
    >>> end_with_parent()  # not a worker
    """
    parent = parent_process()
    if parent is not None and _is_worker(current_process()):
        _watch(parent)


def _is_worker(process: BaseProcess) -> bool:
    return process.daemon or type(process).__name__.startswith("Loky")


@cache
def _watch(parent: BaseProcess) -> None:
    threading.Thread(target=_end_after, args=[parent], name="end_with_parent", daemon=True).start()


def _end_after(parent: BaseProcess) -> None:
    guardian = os.getppid()
    while os.getppid() == guardian and _may_live(parent.pid, guardian):
        if parent.sentinel is None:  # of loky, but for Windows
            time.sleep(SECONDS_BETWEEN_LOOKS)
        elif wait([parent.sentinel], SECONDS_BETWEEN_LOOKS):
            break
    os._exit(1)


def _may_live(parent: int | None, guardian: int) -> bool:
    """Return False if a parent was dead before the first look: init has adopted this process, or there is no such pid.

    On Windows the sentinel tells, and there is no signal 0.
    """
    if os.name == "nt" or parent is None:
        return True
    if guardian == INIT != parent:
        return False
    try:
        os.kill(parent, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
