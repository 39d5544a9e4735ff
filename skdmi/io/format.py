"""What a format is, and what every format is held to: real square matrices, a chunk at a time."""

import os
from collections.abc import Callable, Iterator
from io import BufferedIOBase
from typing import Any, BinaryIO, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

PathLike: TypeAlias = str | os.PathLike[str]
Stack: TypeAlias = NDArray[Any]


class Writer(Protocol):
    """What writes to an open file. Its stacks are as `Format.read` gives them, of one m, but perhaps empty."""

    def write(self, stack: Stack) -> None:
        """Write the next matrices."""

    def finish(self) -> None:
        """Write what is known only after the last matrix."""


class Format(NamedTuple):
    """A format: how files are read and written. What does not fit is a ValueError that starts with the file's name."""

    read: Callable[[str, BufferedIOBase, int | None], Iterator[Stack]]
    """Maps a name for messages, a file open for reading, which may be a pipe, and the largest number of matrices in a
    stack, or None, to stacks of shape (n_matrices, m, m), one at least, float32 or float64, C-contiguous and free to be
    written to."""
    writer: Callable[[str, BinaryIO], Writer]
    """Maps a name for messages and a file open for writing to what writes to it."""
    goes_back: bool = False
    """Whether the writer goes back in the file, which cannot be done in a pipe."""


def check_stack(source: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    """Raise a ValueError that starts with `source` if an array is neither a stack nor a matrix of real numbers.

    >>> check_stack("The array", np.dtype(float), (3,))
    Traceback (most recent call last):
    ValueError: The array has shape (3,); expected (n_matrices, m, m) or (m, m).
    """
    if dtype.kind not in "fiub":
        raise ValueError(f"{source} has dtype {dtype}; expected real numbers, as float64 holds.")
    if len(shape) not in (2, 3) or shape[-1] != shape[-2] or shape[-1] == 0:
        raise ValueError(f"{source} has shape {shape}; expected (n_matrices, m, m) or (m, m).")


def float_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return float32 for float32 and float64 for everything else, in native byte order.

    >>> float_dtype(np.dtype(">f4")), float_dtype(np.dtype(int))
    (dtype('float32'), dtype('float64'))
    """
    return np.dtype(np.float32 if dtype.kind == "f" and dtype.itemsize == 4 else np.float64)
