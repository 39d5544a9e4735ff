"""The three ways to a file of matrices, which know no format but look it up in one table."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skdmi.io.atomic import atomic_path, errors_naming, is_stream
from skdmi.io.csv import CSV
from skdmi.io.format import Format, PathLike, Stack, check_stack, float_dtype
from skdmi.io.mx import MX
from skdmi.io.npy import NPY

FORMATS = {"mx": MX, "npy": NPY, "csv": CSV}
"""By the name, which is the suffix without its dot; a new format is a new row."""


def iter_stacks(path: PathLike, *, chunk_size: int | None = None, format: str | None = None) -> Iterator[Stack]:
    r"""Read a file of matrices as a stream of stacks.

    Parameters
    ----------
    path : str or path-like
        A file that ends in ``.mx``, ``.npy`` or ``.csv``. In text, spaces around numbers, blank lines, Windows line
        ends, a byte order mark and a missing last ``END`` are accepted, and so are ``nan`` and ``inf``; a line has at
        most 2,097,152 characters. Or a pipe, which is opened once, at the first stack, and read as its bytes come; it
        may hold an array of ``.npy`` in C order.
    chunk_size : int, optional
        The largest number of matrices in a stack. By default as many as fill about 2 MB.
    format : {"mx", "npy", "csv"}, optional
        By default that of the suffix; of pipes and devices without such a suffix ``"mx"``.

    Returns
    -------
    iterator of ndarray of shape (n_matrices, m, m)
        ``1 <= n_matrices <= chunk_size``, m the same throughout. The dtype is float64, or float32 if the file is an
        ``.npy`` file of float32.

    Raises
    ------
    ValueError
        At once if the suffix, `format` or `chunk_size` is not valid; from the iterator if the file does not hold square
        matrices of one size. The message starts with the path and, for text, the number of the line.
    OSError
        If the file cannot be opened.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "two.mx"
    ...     _ = path.write_text("0.1,-0.2\n0.3,0.4\nEND\n1,0\n0,1\nEND\n")
    ...     [stack.tolist() for stack in iter_stacks(path, chunk_size=1)]
    [[[[0.1, -0.2], [0.3, 0.4]]], [[[1.0, 0.0], [0.0, 1.0]]]]
    """
    found = _find_format(path, format)
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"chunk_size={chunk_size!r}; expected a positive number of matrices, or None for about 2 MB.")
    os.stat(path)  # A missing file is an error here, not at the first stack.
    return _read(path, found, chunk_size)


def read_stack(path: PathLike, *, format: str | None = None) -> Stack:
    r"""Read a whole file of matrices.

    Parameters
    ----------
    path : str or path-like
        A file that ends in ``.mx``, ``.npy`` or ``.csv``; see `iter_stacks` for what is accepted.
    format : {"mx", "npy", "csv"}, optional
        By default that of the suffix.

    Returns
    -------
    ndarray of shape (n_matrices, m, m)
        The stack, float64, or float32 if the file is an ``.npy`` file of float32.

    Raises
    ------
    ValueError
        If the suffix is unknown or the file does not hold square matrices of one size.
    OSError
        If the file cannot be opened.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "one.csv"
    ...     _ = path.write_text("1, 2\n3, 4\n")
    ...     read_stack(path)
    array([[[1., 2.],
            [3., 4.]]])
    """
    return np.concatenate(list(iter_stacks(path, format=format)))


def write_stack(path: PathLike, stack: NDArray[Any] | Iterable[ArrayLike], *, format: str | None = None) -> None:
    """Write matrices to a file, whole or not at all.

    Every number reads back bit for bit, and a matrix of NaN, which stands for a missing inverse, as NaN. The file
    may be the one that the matrices are being read from.

    Parameters
    ----------
    path : str or path-like
        A file that ends in ``.mx``, ``.npy`` or ``.csv``. It is replaced if it exists; see `atomic_path`. Or a pipe or
        a character device, which is written straight, and takes text.
    stack : array of shape (n_matrices, m, m) or (m, m), or iterable of such arrays
        The matrices. An iterable is consumed one array at a time. An ``.npy`` file has the dtype of the first array,
        float32 or float64 (other real dtypes become float64); text has the exact value of either.
    format : {"mx", "npy", "csv"}, optional
        By default that of the suffix.

    Raises
    ------
    ValueError
        If the suffix is unknown, there is no matrix, there are several for a ``.csv`` file, or the matrices are not
        real, square and of one size, or the format is ``.npy`` in a pipe. Nothing is written then, but to a pipe.
    OSError
        If the file cannot be written; the disk may be full. It names the file.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "stack.mx"
    ...     write_stack(path, np.array([[[0.5, 0.0], [0.0, 0.1]], [[np.nan, np.nan], [np.nan, np.nan]]]))
    ...     print(path.read_text(), end="")
    0.5,0.0
    0.0,0.1
    END
    nan,nan
    nan,nan
    END
    """
    arrays: Iterable[Any] = (stack,) if hasattr(stack, "__array__") else stack
    with open_writer(path, format=format) as writer:
        for array in arrays:
            writer.write(array)


@contextmanager
def open_writer(path: PathLike, *, format: str | None = None) -> Iterator["StackWriter"]:
    """Write a file of matrices, whole or not at all, by a writer that takes them array by array.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "two.mx"
    ...     with open_writer(path) as writer:
    ...         writer.write(np.eye(2))
    ...         writer.write(np.ones((1, 2, 2)))
    ...     read_stack(path).shape
    (2, 2, 2)
    """
    found = _find_format(path, format)
    if found.goes_back and is_stream(path):
        raise ValueError(
            f"{path}: a pipe cannot take this format, whose beginning tells the number of matrices; expected a file; "
            "write .mx into pipes."
        )
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        writer = StackWriter(os.fspath(path), file, found)
        yield writer
        writer.finish()


class StackWriter:
    """Writes arrays to an open file, which are real matrices of one size, one at least; else it is a ValueError.

    An OSError names the file, also where several are written side by side.

    Parameters
    ----------
    name : str
        Of the file, for messages.
    file : binary file
    format : Format
    """

    def __init__(self, name: str, file: BinaryIO, format: Format) -> None:
        self._name = name
        self._writer = format.writer(name, file)
        self._m = 0
        self._n_arrays = self._n_matrices = 0

    def write(self, array: ArrayLike) -> None:
        """Write the next matrices, of shape (n_matrices, m, m) or (m, m)."""
        stack = np.asarray(array)
        what = f"{self._name}: array {self._n_arrays} to write"
        check_stack(what, stack.dtype, stack.shape)
        m = stack.shape[-1]
        self._m = self._m or m
        if m != self._m:
            raise ValueError(
                f"{what} holds {m} x {m} matrices after {self._m} x {self._m} ones; expected one size; use two files."
            )
        stack = np.ascontiguousarray(stack, dtype=float_dtype(stack.dtype)).reshape(-1, m, m)
        with errors_naming(self._name):
            self._writer.write(stack)
        self._n_arrays += 1
        self._n_matrices += len(stack)

    def finish(self) -> None:
        """Write what is known only after the last matrix."""
        if self._n_matrices == 0:
            raise ValueError(f"{self._name}: there is no matrix to write; expected at least one.")
        with errors_naming(self._name):
            self._writer.finish()


def _read(path: PathLike, format: Format, chunk_size: int | None) -> Iterator[Stack]:
    with errors_naming(path), open(path, "rb") as file:
        yield from format.read(os.fspath(path), file, chunk_size)


def _find_format(path: PathLike, format: str | None) -> Format:
    suffix = Path(path).suffix.lower()
    name = suffix.removeprefix(".") if format is None else format
    if name in FORMATS:
        return FORMATS[name]
    if format is None and is_stream(path):  # Its name is not for the user to choose.
        return MX
    if format is not None:
        raise ValueError(f"format={format!r}; expected one of {', '.join(FORMATS)}, or None for that of the suffix.")
    suffixes = ", ".join(f".{name}" for name in FORMATS)
    raise ValueError(f"{path}: the suffix is {suffix!r}; expected one of {suffixes}; or name the format by format=.")
