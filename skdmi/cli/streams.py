"""Files of matrices on their way through a command: a chunk at a time, with the index in the file in every message."""

import warnings
from collections.abc import Callable, Iterable, Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from tqdm import tqdm

import skdmi

__all__ = ["finite_stacks", "paired_stacks", "quietly", "with_progress"]

Reader: TypeAlias = Callable[[Path], Iterator[np.ndarray]]


def finite_stacks(path: Path, read: Reader = skdmi.io.iter_stacks) -> Iterator[np.ndarray]:
    """Read a file of matrices that are to be inverted, so finite ones, chunk by chunk and with progress."""
    start = 0
    for stack in with_progress(read(path)):
        bad = np.flatnonzero(~np.isfinite(stack).all(axis=(1, 2)))
        if len(bad):
            raise ValueError(
                f"{path}: the matrix at index {start + bad[0]} has a NaN or infinite entry; expected finite matrices"
            )
        yield stack
        start += len(stack)


def paired_stacks(
    matrices: Path, inverses: Path, read: Reader = skdmi.io.iter_stacks
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Read matrices and their inverses from two files side by side; an error if the two do not fit together."""
    for A, X in zip_longest(finite_stacks(matrices, read), read(inverses)):
        if A is not None and X is not None and A.shape[1:] != X.shape[1:]:
            m, k = A.shape[-1], X.shape[-1]
            raise ValueError(f"{matrices} holds {m} x {m} matrices and {inverses} {k} x {k} ones; expected one size")
        if A is None or X is None or len(A) != len(X):
            n_matrices, n_inverses = (sum(map(len, read(path))) for path in (matrices, inverses))
            raise ValueError(f"{matrices} holds {n_matrices} matrices and {inverses} {n_inverses}; expected as many")
        yield A, X


def quietly(method: Callable[[np.ndarray], Any], stack: np.ndarray) -> Any:
    """Invert a chunk without warnings that would give indices within the chunk: the command says it, once."""
    with warnings.catch_warnings():
        for category in (skdmi.exceptions.SingularMatrixWarning, skdmi.exceptions.InaccurateInverseWarning):
            warnings.simplefilter("ignore", category)
        return method(stack)


def with_progress(stacks: Iterable[np.ndarray], n_matrices: int | None = None) -> Iterator[np.ndarray]:
    """Pass stacks on and count their matrices on stderr, if that is a terminal."""
    with tqdm(total=n_matrices, unit=" matrices", unit_scale=True, leave=False, disable=None) as bar:
        for stack in stacks:
            yield stack
            bar.update(len(stack))
