"""The format `.mx`: text of any number of matrices, each with a line END after it."""

from collections.abc import Iterator
from pathlib import Path

from skdmi.io.format import Format, PathLike, Stack
from skdmi.io.text import END, read_text, write_text


def _write(path: PathLike, temporary: Path, stacks: Iterator[Stack]) -> int:
    return write_text(temporary, stacks, end=f"{END}\n")


MX = Format(read_text, _write)
