"""Files of matrices on their way through a command: a chunk at a time, with the index in the file in every message."""

import math
import os
import sys
from codecs import StreamWriter, getwriter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import Enum
from errno import EBADF
from io import BufferedIOBase
from itertools import zip_longest
from pathlib import Path
from typing import Any, BinaryIO, TextIO, TypeAlias, cast

import click
import numpy as np

import skdmi
from skdmi.estimators.policies import left_to_another
from skdmi.io.atomic import errors_naming, is_stream
from skdmi.io.mx import MX
from skdmi.io.stacks import StackWriter, open_writer
from skdmi.progress import above_bars, is_watched, progress


class Standard(Enum):
    """What ``-`` stands for: text of matrices, or of a table."""

    INPUT = "standard input"
    OUTPUT = "standard output"

    def __str__(self) -> str:
        return self.value


File: TypeAlias = Path | Standard
BEGINNING = 2**22
"""Bytes of a text, to tell how many matrices there are."""
END = b"END\n"
Reader: TypeAlias = Callable[[File], Iterator[np.ndarray]]


def read_stacks(file: File, format: str | None = None) -> Iterator[np.ndarray]:
    """Read a file of matrices, or standard input, chunk by chunk."""
    if isinstance(file, Path):
        return skdmi.io.iter_stacks(file, format=format)
    return _read_standard_input()


def _read_standard_input() -> Iterator[np.ndarray]:
    name = str(Standard.INPUT)
    with errors_naming(name):
        yield from MX.read(name, cast(BufferedIOBase, _opened(sys.stdin).buffer), None)


def write_stacks(file: File, stacks: Iterable[np.ndarray], format: str | None = None) -> None:
    """Write a file of matrices, whole or not at all, or standard output."""
    with open_stacks(file, format) as writer:
        for stack in stacks:
            writer.write(stack)


@contextmanager
def open_stacks(file: File, format: str | None = None) -> Iterator[StackWriter]:
    """Open a file of matrices, which is written whole or not at all, or standard output."""
    if isinstance(file, Path):
        with open_writer(file, format=format) as writer:
            yield writer
        return
    with errors_naming(str(file)):
        stdout = _opened(sys.stdout)
        writer = StackWriter(str(file), cast(BinaryIO, _Whole(stdout.buffer)), MX)
        yield writer
        writer.finish()
        stdout.flush()


@contextmanager
def open_text(file: File) -> Iterator["_Text"]:
    """Open a text file, which is written whole or not at all, or standard output."""
    if isinstance(file, Path):
        with skdmi.io.atomic_path(file) as temporary, open(temporary, "w", encoding="utf-8", newline="") as text:
            yield _Text(str(file), text)
        return
    with errors_naming(str(file)):
        stdout = _opened(sys.stdout)
        yield _Text(str(file), getwriter("utf-8")(cast(BinaryIO, _Whole(stdout.buffer))))
        stdout.flush()


class _Whole:
    """Bytes that are written to the last one; unbuffered, as PYTHONUNBUFFERED has it, a stream may take only some."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def write(self, data: bytes) -> int:
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) or 0 :]
        return len(data)


class _Text:
    """Text that is written while other files are; its errors have its name."""

    def __init__(self, name: str, file: TextIO | StreamWriter) -> None:
        self._name = name
        self._file = file

    def write(self, text: str) -> None:
        with errors_naming(self._name):
            self._file.write(text)


def _opened(stream: TextIO | None) -> TextIO:
    if stream is None:  # The shell closed it.
        raise OSError(EBADF, os.strerror(EBADF))
    return stream


def say(text: str, *outputs: File | None) -> None:
    """Print what a command has to say, on stderr if one of its outputs is on stdout."""
    with errors_naming(str(Standard.OUTPUT)), above_bars():
        click.echo(text, err=Standard.OUTPUT in outputs)


def finite_stacks(file: File, read: Reader = read_stacks) -> Iterator[np.ndarray]:
    """Read a file of matrices that are to be inverted, so finite ones, chunk by chunk and with progress."""
    return _finite(file, read(file))


def _finite(file: File, stacks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    start = 0
    for stack in with_progress(stacks, expected_count(file) if is_watched() else None):
        bad = np.flatnonzero(~np.isfinite(stack).all(axis=(1, 2)))
        if len(bad):
            raise ValueError(
                f"{file}: the matrix at index {start + bad[0]} has a NaN or infinite entry; expected finite matrices."
            )
        yield stack
        start += len(stack)


def paired_stacks(
    matrices: File, inverses: File | None, read: Reader = read_stacks
) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """Read matrices and their inverses, None without a second file, side by side; an error if they do not fit."""
    if inverses is None:
        return ((A, None) for A in finite_stacks(matrices, read))
    if inverses == matrices and (isinstance(matrices, Standard) or is_stream(matrices)):
        raise click.UsageError(f"{matrices} can be read once, for matrices or for inverses; expected two files.")
    counted = _Counted(matrices, read), _Counted(inverses, read)
    return _paired(*counted)


def _paired(matrices: "_Counted", inverses: "_Counted") -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for A, X in zip_longest(_finite(matrices.file, matrices), inverses):
        if A is None or X is None or A.shape != X.shape:
            raise ValueError(f"{matrices.contents()} and {inverses.contents()}; expected as many, of one size.")
        yield A, X


class _Counted:
    """The matrices of a file, counted as they pass: a pipe cannot be read again."""

    def __init__(self, file: File, read: Reader) -> None:
        self.file = file
        self._stacks = read(file)
        self._n_matrices = self._m = 0

    def __iter__(self) -> Iterator[np.ndarray]:
        for stack in self._stacks:
            self._n_matrices += len(stack)
            self._m = stack.shape[1]
            yield stack

    def contents(self) -> str:
        """Read the rest and return what there was."""
        for _ in self:
            pass
        return f"{self.file} holds {self._n_matrices} matrices of {self._m} x {self._m}"


def quietly(method: Callable[[np.ndarray], Any], stack: np.ndarray) -> Any:
    """Invert a chunk without warnings that would give indices within the chunk: the command says it, once."""
    with left_to_another():
        return method(stack)


def with_progress(stacks: Iterable[np.ndarray], n_matrices: int | None = None) -> Iterator[np.ndarray]:
    """Pass stacks on and count their matrices on stderr, if that is a terminal."""
    with progress(n_matrices, "matrices") as bar:
        for stack in stacks:
            yield stack
            bar.advance(len(stack))


def expected_count(file: File) -> int | None:
    """Return about how many matrices a file holds, by its size and its beginning; None where that does not tell."""
    if not isinstance(file, Path) or is_stream(file):
        return None
    try:
        with file.open("rb") as opened:
            beginning = opened.read(BEGINNING)
        if beginning.startswith(np.lib.format.MAGIC_PREFIX):
            return math.prod(np.load(file, mmap_mode="r").shape[:-2])
        size = file.stat().st_size
    except Exception:  # Of a damaged header it may be anything; who reads the file will say so.
        return None
    n_matrices = beginning.count(END)
    return round(n_matrices * size / (beginning.rindex(END) + len(END))) if n_matrices else None
