"""Matrices as text, which `.mx` and `.csv` share: a row of comma-separated numbers a line, END between matrices."""

from collections.abc import Iterable, Iterator
from itertools import chain, islice, repeat
from pathlib import Path

import numpy as np

from skdmi.chunks import chunk_size as default_size
from skdmi.io.format import PathLike, Stack

END = "END"


def read_text(path: PathLike, chunk_size: int | None) -> Iterator[Stack]:
    """Parse whole chunks of lines that repeat m rows and an end; where one does not, look for the line.

    Yields
    ------
    ndarray of shape (n_matrices, m, m)
        float64.

    Raises
    ------
    ValueError
        If a line does not fit. The message starts with the path and the number of the line.
    """
    # Bytes that are not text become a character that no number contains: an error with a line number, like any other.
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        lines: Iterator[str] = filter(None, map(str.strip, file))
        first = next(lines, None)
        if first is None:
            raise ValueError(f"{path}:1: the file is empty; expected rows of comma-separated numbers.")
        m = first.count(",") + 1
        lines = chain([first], lines)
        n_good = 0
        while rows := list(islice(lines, (chunk_size or default_size(m)) * (m + 1))):
            if len(rows) % (m + 1) == m:  # Only at the end of the file.
                rows.append(END)
            ends = rows[m :: m + 1]
            del rows[m :: m + 1]
            fits = len(rows) == m * len(ends) and ends.count(END) == len(ends)
            numbers = parse(rows, m) if fits else None
            if numbers is None:
                file.seek(0)
                raise ValueError(_first_fault(path, file, m, n_good))
            yield numbers.reshape(-1, m, m)
            n_good += len(rows) + len(ends)


def parse(rows: list[str], m: int) -> Stack | None:
    """Return the numbers of `rows` if each of them has m, else None: the one definition of what a number is.

    >>> parse(["1, 2", "3e-1, nan"], 2)
    array([1. , 2. , 0.3, nan])
    >>> parse(["1, 2", "3, x"], 2) is None
    True
    """
    text = "".join(rows)
    # Python's float also reads "1_000" and the digits of other scripts; no other reader of these files does.
    if "_" in text or not text.isascii() or set(map(str.count, rows, repeat(","))) != {m - 1}:
        return None
    tokens = chain.from_iterable(map(str.split, rows, repeat(",")))
    try:
        return np.fromiter(map(float, tokens), np.float64, count=len(rows) * m)
    except ValueError:
        return None


def _first_fault(path: PathLike, lines: Iterable[str], m: int, n_good: int) -> str:
    """Return what is wrong with the first line that does not fit, past `n_good` that do, blank ones not counted.

    >>> _first_fault("a.mx", ["1,2", "3,4", "", "END", "5,6,7"], m=2, n_good=3)
    'a.mx:5: a matrix with 3 columns; expected 2, as in the matrices before; write each size into its own file.'
    """
    numbered = ((number, line) for number, line in enumerate(map(str.strip, lines), start=1) if line)
    n_rows = 0
    for number, line in islice(numbered, n_good, None):
        fault = _end_fault(n_rows, m) if line == END else _row_fault(line, n_rows, m)
        if fault:
            return f"{path}:{number}: {fault}"
        n_rows = 0 if line == END else n_rows + 1
    if 0 < n_rows < m:
        return f"{path}:{number}: the file ends after {n_rows} of {m} rows; expected {m} x {m}; it may be cut off."
    return f"{path}: the file changed while it was read; expected it to stay as it was; try again."


def _end_fault(n_rows: int, m: int) -> str | None:
    if n_rows == 0:
        return f"{END} without a matrix; expected rows of comma-separated numbers before it."
    if n_rows < m:
        return f"{END} after {n_rows} of {m} rows; expected a square matrix, {m} x {m}."
    return None


def _row_fault(line: str, n_rows: int, m: int) -> str | None:
    tokens = line.split(",")
    if parse([line], len(tokens)) is None:
        wrong = next(token.strip() for token in tokens if parse([token], 1) is None)
        shown = wrong if len(wrong) <= 40 else wrong[:40] + "..."
        return f"got {shown!r}; expected a number; rows are comma-separated numbers in plain text."
    if n_rows == m:
        return (
            f"row {m + 1} of a matrix with {m} columns; expected the end of the file, or the line {END} between "
            f"matrices, after {m} rows."
        )
    if len(tokens) == m:
        return None
    if n_rows > 0:
        return f"a row of {len(tokens)} numbers; expected {m}, as in the row before."
    return (
        f"a matrix with {len(tokens)} columns; expected {m}, as in the matrices before; "
        "write each size into its own file."
    )


def write_text(temporary: Path, stacks: Iterable[Stack], end: str) -> int:
    """Write stacks as text, `end` after each matrix, and return how many matrices there were."""
    n_matrices = 0
    with open(temporary, "w", encoding="ascii", newline="\n") as file:
        for stack in stacks:
            n_matrices += len(stack)
            step = default_size(stack.shape[1])
            for start in range(0, len(stack), step):
                file.write(_to_text(stack[start : start + step], end))
    return n_matrices


def _to_text(stack: Stack, end: str) -> str:
    r"""Return the text of a stack, of shape (n_matrices, m, m), with the digits that tell each number from all others.

    >>> _to_text(np.array([[[0.1, 2.0], [np.nan, -np.inf]]]), end="END\n")
    '0.1,2.0\nnan,-inf\nEND\n'
    """
    # One format string for all of a stack writes exact digits about as fast as Python can.
    m = stack.shape[1]
    row = ",".join(["%r"] * m) + "\n"
    matrix = row * m + end
    text: str = (matrix * len(stack)) % tuple(stack.ravel().tolist())
    return text
