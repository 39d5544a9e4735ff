"""What a format is, and what every format is held to: real square matrices, a chunk at a time."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

PathLike: TypeAlias = str | os.PathLike[str]
Stack: TypeAlias = NDArray[Any]


class Format(NamedTuple):
    """A format: how its files are read and written. What does not fit is a ValueError that starts with the path."""

    read: Callable[[PathLike, int | None], Iterator[Stack]]
    """Maps a path and the largest number of matrices in a stack, or None, to stacks of shape (n_matrices, m, m), one at
    least, float32 or float64, C-contiguous and free to be written to."""
    write: Callable[[PathLike, Path, Iterator[Stack]], int]
    """Takes the path for messages, the file to write in its place, and stacks as `read` gives them, but perhaps none
    or empty ones; returns how many matrices it wrote."""


def as_stack(source: str, array: Stack) -> Stack:
    """Return an array as a stack, without a copy, or raise a ValueError that starts with `source`.

    >>> as_stack("The array", np.eye(2)).shape
    (1, 2, 2)
    >>> as_stack("The array", np.ones(3))
    Traceback (most recent call last):
    ValueError: The array has shape (3,); expected (n_matrices, m, m) or (m, m).
    """
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{source} has dtype {array.dtype}; expected real numbers, as float64 holds.")
    stack = array[None] if array.ndim == 2 else array
    if stack.ndim != 3 or stack.shape[1] != stack.shape[2] or stack.shape[1] == 0:
        raise ValueError(f"{source} has shape {array.shape}; expected (n_matrices, m, m) or (m, m).")
    return stack


def float_dtype(stack: Stack) -> np.dtype[Any]:
    """Return float32 for float32 and float64 for everything else, in native byte order.

    >>> float_dtype(np.ones(1, ">f4")), float_dtype(np.ones(1, int))
    (dtype('float32'), dtype('float64'))
    """
    return np.dtype(np.float32 if stack.dtype.kind == "f" and stack.dtype.itemsize == 4 else np.float64)
