"""How far something is, at what rate, and what remains: a bar on a terminal, and silence everywhere else.

Bars are drawn on stderr, by the main thread of the main process, and only if stderr is a terminal: workers of joblib,
threads of dask, pipes, files and notebooks see nothing of them. What is printed or warned of meanwhile stands above.
"""

import sys
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from multiprocessing import parent_process
from threading import current_thread, main_thread
from typing import Any
from weakref import WeakSet

__all__ = ["trainings"]

SECONDS_OF_SILENCE = 0.5
"""What is done within them has no bar."""
MANY = 10_000
"""From here on thousands and millions are counted, not each."""


class Bar:
    """What nobody sees: the bar where there is no terminal, and how any other is moved."""

    def advance(self, n: int = 1, **figures: Any) -> None:
        """Say that so many more are done, and with which figures, such as a loss."""


class _Drawn(Bar):
    def __init__(self, bar: Any) -> None:
        self._bar = bar

    def advance(self, n: int = 1, **figures: Any) -> None:
        if figures:
            self._bar.set_postfix(figures, refresh=False)
        self._bar.update(n)


_OPEN: WeakSet[Any] = WeakSet()
_OF_TRAININGS: ContextVar[Bar | None] = ContextVar("_OF_TRAININGS", default=None)


def is_watched(verbose: int | bool = True) -> bool:
    """Return whether a bar would be seen: there is a terminal, and this is not a worker.

    >>> is_watched(verbose=0)
    False
    """
    if not verbose or sys.stderr is None or parent_process() is not None or current_thread() is not main_thread():
        return False
    try:
        return sys.stderr.isatty()
    except (AttributeError, ValueError):  # replaced by what is no file, or closed
        return False


@contextmanager
def progress(
    total: int | None, unit: str, *, verbose: int | bool = True, label: str | None = None, done: int = 0
) -> Iterator[Bar]:
    """Show how far the block is, while it runs, if somebody watches.

    Parameters
    ----------
    total : int or None
        How many there are; None where that is not known, so that nothing is said of the time that remains.
    unit : str
        Of what, in the plural.
    verbose : int or bool, default=True
        0 is silence.
    label : str, optional
        Stands in front.
    done : int, default=0
        How many were done before, which do not count for the rate.

    Yields
    ------
    bar : Bar
        Call ``bar.advance(n)`` when n more are done.

    Examples
    --------
    >>> with progress(10, "matrices") as bar:
    ...     bar.advance(10)
    """
    if not is_watched(verbose):
        yield Bar()
        return
    from tqdm import tqdm

    look = {"unit": f" {unit}", "unit_scale": (total or MANY) >= MANY, "dynamic_ncols": True, "leave": False}
    with (
        tqdm(total=total, desc=label, initial=done, delay=SECONDS_OF_SILENCE, file=sys.stderr, **look) as bar,
        _warnings_above(),
    ):
        _OPEN.add(bar)
        yield _Drawn(bar)


def above_bars() -> AbstractContextManager[None]:
    """Return a context in which to print: bars are wiped before, and drawn again after.

    >>> with above_bars():
    ...     print("An epoch has ended.")
    An epoch has ended.
    """
    tqdm = sys.modules.get("tqdm")
    if tqdm is None or sys.stderr is None or not is_watched():
        return nullcontext()
    wiped: AbstractContextManager[None] = tqdm.tqdm.external_write_mode(file=sys.stderr)
    return wiped


def close_bars() -> None:
    """Wipe the bars of what an error has ended, so that it is said on a line of its own.

    >>> close_bars()
    """
    for bar in list(_OPEN):
        bar.close()


@contextmanager
def _warnings_above() -> Iterator[None]:
    """Show warnings above bars, in whichever way they are shown."""
    show = warnings.showwarning

    def above(*args: Any, **kwargs: Any) -> None:
        with above_bars():
            show(*args, **kwargs)

    warnings.showwarning = above
    try:
        yield
    finally:
        if warnings.showwarning is above:
            warnings.showwarning = show


@contextmanager
def trainings(total: int | None = None) -> Iterator[None]:
    """Show how many trainings have ended, where others begin them: around a search, with ``n_jobs=1``.

    Parameters
    ----------
    total : int, optional
        How many there will be: candidates times splits, and one to refit. None gives the rate alone.

    Yields
    ------
    None
        While trainings are counted.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.model_selection import GridSearchCV, ShuffleSplit
    >>> from skdmi import NeuralMatrixInverter
    >>> from skdmi.progress import trainings
    >>> A = np.random.default_rng(0).normal(size=(100, 3, 3)) + 4 * np.eye(3)
    >>> search = GridSearchCV(
    ...     NeuralMatrixInverter(max_epochs=0), {"depth": [1, 2, 3]}, cv=ShuffleSplit(1, random_state=0)
    ... )
    >>> with trainings(3 * 1 + 1):
    ...     len(search.fit(A).cv_results_["params"])
    3
    """
    with progress(total, "trainings") as bar:
        token = _OF_TRAININGS.set(bar)
        try:
            yield
        finally:
            _OF_TRAININGS.reset(token)


def one_training_ended() -> None:
    """Tell whoever counts trainings.

    >>> one_training_ended()
    """
    bar = _OF_TRAININGS.get()
    if bar is not None:
        bar.advance()
