"""Files of matrices on their way through a command: a chunk at a time, with the index in the file in every message."""

import warnings
from collections.abc import Callable, Iterable, Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from tqdm import tqdm

import skdmi

Reader: TypeAlias = Callable[[Path], Iterator[np.ndarray]]


def finite_stacks(path: Path, read: Reader = skdmi.io.iter_stacks) -> Iterator[np.ndarray]:
    """Read a file of matrices that are to be inverted, so finite ones, chunk by chunk and with progress."""
    start = 0
    for stack in with_progress(read(path)):
        bad = np.flatnonzero(~np.isfinite(stack).all(axis=(1, 2)))
        if len(bad):
            raise ValueError(
                f"{path}: the matrix at index {start + bad[0]} has a NaN or infinite entry; expected finite matrices."
            )
        yield stack
        start += len(stack)


def paired_stacks(
    matrices: Path, inverses: Path | None, read: Reader = skdmi.io.iter_stacks
) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """Read matrices and their inverses, None without a second file, side by side; an error if they do not fit."""
    if inverses is None:
        yield from ((A, None) for A in finite_stacks(matrices, read))
        return
    for A, X in zip_longest(finite_stacks(matrices, read), read(inverses)):
        if A is None or X is None or A.shape != X.shape:
            what = " and ".join(_contents(path, read) for path in (matrices, inverses))
            raise ValueError(f"{what}; expected as many, of one size.")
        yield A, X


def _contents(path: Path, read: Reader) -> str:
    shapes = [stack.shape for stack in read(path)]
    m = shapes[0][1]
    return f"{path} holds {sum(shape[0] for shape in shapes)} matrices of {m} x {m}"


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
