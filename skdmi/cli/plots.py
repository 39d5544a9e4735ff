"""Pictures that commands write: checked before the work begins, written whole or not at all."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np

import skdmi

__all__ = ["PLOT_SUFFIXES", "StackSample", "check_plot_file", "save_figure"]

PLOT_SUFFIXES = (".png", ".pdf", ".svg", ".eps", ".jpg")
SAMPLED_ENTRIES = 2**17
DPI = 300


def check_plot_file(path: Path) -> None:
    """Raise a usage error if no picture can be written there; else have matplotlib draw without a display.

    Raises
    ------
    click.UsageError
        If the suffix is no picture's, the directory is not there or not writable, or matplotlib is not installed.
    """
    if path.suffix.lower() not in PLOT_SUFFIXES:
        expected = ", ".join(PLOT_SUFFIXES)
        raise click.UsageError(f"{path}: the suffix is {path.suffix!r}; expected one of {expected}.")
    if path.is_dir():
        raise click.UsageError(f"{path} is a directory; expected a file.")
    folder = Path(os.path.realpath(path)).parent
    if not os.access(folder, os.W_OK):
        raise click.UsageError(f"{path}: the directory {folder} is not there, or not writable.")
    try:
        import matplotlib
    except ImportError as error:
        raise click.UsageError("Plotting needs matplotlib: pip install skdmi[plot]") from error
    matplotlib.use("agg")


def save_figure(figure: Any, path: Path) -> None:
    """Write a figure in the format of the suffix, whole or not at all, and close it."""
    import matplotlib.pyplot as plt

    with skdmi.io.atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=DPI)
    plt.close(figure)


class StackSample:
    """A uniform sample of a stream of matrices and their inverses, in constant memory: all of a short stream.

    >>> sample = StackSample()
    >>> for A in (np.eye(2)[None], 2 * np.eye(2)[None]):
    ...     sample.add(A, np.linalg.inv(A))
    >>> sample.A.shape, sample.X.shape
    ((2, 2, 2), (2, 2, 2))
    """

    def __init__(self) -> None:
        self._random = np.random.default_rng(0)
        self._keys = np.empty(0)
        self.A = self.X = np.empty((0, 0, 0))

    def add(self, A: np.ndarray, X: np.ndarray) -> None:
        """Take in a chunk: every matrix gets a random key, and those with the smallest keys stay."""
        keys = self._random.random(len(A))
        if len(self._keys):
            keys = np.concatenate([self._keys, keys])
            A, X = np.concatenate([self.A, A]), np.concatenate([self.X, X])
        chosen = np.sort(np.argsort(keys)[: max(1, SAMPLED_ENTRIES // A.shape[-1] ** 2)])
        self._keys, self.A, self.X = keys[chosen], A[chosen], X[chosen]

    def watch(self, stacks: Iterable[np.ndarray], answers: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Pass answers on and take them in, together with their stacks."""
        for A, X in zip(stacks, answers, strict=True):
            self.add(A, X)
            yield X
