"""The format `.csv`: text of one single matrix and nothing else, as spreadsheets have it."""

from collections.abc import Iterator
from pathlib import Path

from skdmi.io.format import Format, PathLike, Stack
from skdmi.io.text import read_text, write_text


def _write(path: PathLike, temporary: Path, stacks: Iterator[Stack]) -> int:
    return write_text(temporary, _at_most_one(path, stacks), end="")


def _at_most_one(path: PathLike, stacks: Iterator[Stack]) -> Iterator[Stack]:
    n_matrices = 0
    for stack in stacks:
        n_matrices += len(stack)
        if n_matrices > 1:
            raise ValueError(f"{path}: more than one matrix for a .csv file; expected one; write .mx or .npy.")
        yield stack


CSV = Format(read_text, _write)
