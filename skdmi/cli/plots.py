"""Pictures that commands write: checked before the work begins, written whole or not at all."""

import os
from pathlib import Path
from typing import Any

import click
import numpy as np

import skdmi
from skdmi.chunks import chunk_size
from skdmi.cli.errors import needing_an_extra
from skdmi.inspection.drawing import pyplot

PLOT_SUFFIXES = (".png", ".pdf", ".svg", ".eps", ".jpg")
SAMPLED_ENTRIES = 2**17
DPI = 300


def check_plot_file(path: Path) -> Path:
    """Raise a usage error if no picture can be written there; else have matplotlib draw without a display.

    Raises
    ------
    click.UsageError
        If the directory is not there or not writable, or matplotlib is not installed.
    """
    folder = Path(os.path.realpath(path)).parent
    if not os.access(folder, os.W_OK):
        raise click.UsageError(f"{path}: the directory {folder} is not there, or not writable; expected one that is.")
    with needing_an_extra():
        pyplot().switch_backend("agg")
    return path


def save_figure(display: Any, path: Path) -> None:
    """Write the figure of a display in the format of the suffix, whole or not at all, and close it."""
    with skdmi.io.atomic_path(path) as temporary:
        display.figure_.savefig(temporary, dpi=DPI)
    pyplot().close(display.figure_)


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
        chosen = np.sort(np.argsort(keys)[: chunk_size(A.shape[-1], SAMPLED_ENTRIES)])
        self._keys, self.A, self.X = keys[chosen], A[chosen], X[chosen]
