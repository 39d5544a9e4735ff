"""Matrices as text, which `.mx` and `.csv` share: a row of comma-separated numbers a line, END between matrices."""

from codecs import getincrementaldecoder
from collections.abc import Callable, Iterable, Iterator
from io import BufferedIOBase, IncrementalNewlineDecoder
from itertools import chain, repeat
from typing import BinaryIO, TypeVar

import numpy as np

from skdmi.chunks import chunk_size as default_size
from skdmi.io.format import Stack

T = TypeVar("T")
END = "END"
PIECE = 2**16
"""Bytes that are read at a time, whatever the size of a matrix: as many as a pipe holds."""
MAX_LINE = 2**21
"""Characters in a line. A row of 80,000 numbers with all their digits fits, whose matrix would fill 50 GB; without a
limit, a file without ends of lines would be held in memory whole."""


def read_text(name: str, file: BufferedIOBase, chunk_size: int | None) -> Iterator[Stack]:
    """Read a file once, from where it stands to its end, and parse all lines of a piece at a time.

    Yields
    ------
    ndarray of shape (n_matrices, m, m)
        float64.

    Raises
    ------
    ValueError
        If a line does not fit. The message starts with the name and the number of the line.
    """
    pieces = _parsed(name, file)
    first = next(pieces)
    m = first.shape[1]
    for rows in _regrouped(chain([first], pieces), (chunk_size or default_size(m)) * m):
        yield rows.reshape(-1, m, m)


def _parsed(name: str, file: BufferedIOBase) -> Iterator[Stack]:
    """Yield the rows of one piece after the other, of shape (n_rows, m), for the m of the first row."""
    m = n_rows = last = 0  # Columns; rows since the last END; the last line that is not blank.
    for number, lines in _pieces(name, file):
        rows = list(filter(None, lines))
        if not rows:
            continue
        m = m or rows[0].count(",") + 1
        numbers = _parse_from(n_rows, rows, m)
        if numbers is None:
            raise ValueError(_first_fault(name, [pair for pair in enumerate(lines, number) if pair[1]], n_rows, m))
        yield numbers.reshape(-1, m)
        n_rows = (n_rows + len(rows)) % (m + 1)
        last = number + next(index for index in reversed(range(len(lines))) if lines[index])
    if m == 0:
        raise ValueError(f"{name}:1: the file is empty; expected rows of comma-separated numbers.")
    if 0 < n_rows < m:
        raise ValueError(
            f"{name}:{last}: the file ends after {n_rows} of {m} rows; expected {m} x {m}; it may be cut off."
        )


def _pieces(name: str, file: BufferedIOBase) -> Iterator[tuple[int, list[str]]]:
    """Yield lines, without the spaces around them, as they come, with the number of the first."""
    # Bytes that are not text become a character that no number contains: an error with a line number, like any other.
    decoder = IncrementalNewlineDecoder(getincrementaldecoder("utf-8-sig")("replace"), translate=True)
    number, rest = 1, ""
    while True:
        data = file.read1(PIECE)
        lines = (rest + decoder.decode(data, final=not data)).split("\n")
        rest = lines.pop() if data else ""
        if len((lines or [rest])[0]) > MAX_LINE:  # Any other line lies within a piece.
            raise ValueError(
                f"{name}:{number}: a line of more than {MAX_LINE:,} characters; expected a row of comma-separated "
                "numbers a line; it may be no text."
            )
        yield number, list(map(str.strip, lines))
        if not data:
            return
        number += len(lines)


def _regrouped(arrays: Iterable[Stack], n: int) -> Iterator[Stack]:
    """Yield the rows of arrays n at a time, fewer at the end.

    >>> [len(array) for array in _regrouped([np.ones((5, 2)), np.ones((3, 2))], 3)]
    [3, 3, 2]
    """
    held: list[Stack] = []
    n_held = 0
    for array in arrays:
        held.append(array)
        n_held += len(array)
        if n_held >= n:
            joined = np.concatenate(held)
            n_whole = n_held - n_held % n
            yield from (joined[start : start + n] for start in range(0, n_whole, n))
            held, n_held = [joined[n_whole:]], n_held - n_whole
    if n_held:
        yield np.concatenate(held)


def _parse_from(n_rows: int, lines: list[str], m: int) -> Stack | None:
    """Return the numbers of lines that follow `n_rows` rows of a matrix, None if they do not fit.

    >>> _parse_from(1, ["3,4", "END", "5,6"], 2)
    array([3., 4., 5., 6.])
    """
    rows = lines.copy()
    ends = rows[m - n_rows :: m + 1]
    del rows[m - n_rows :: m + 1]
    return parse(rows, m) if ends.count(END) == len(ends) else None


def parse(rows: list[str], m: int) -> Stack | None:
    """Return the numbers of `rows` if each of them has m, else None: the one definition of what a number is.

    >>> parse(["1, 2", "3e-1, nan"], 2)
    array([1. , 2. , 0.3, nan])
    >>> parse(["1, 2", "3, x"], 2) is None
    True
    """
    text = "".join(rows)
    # Python's float also reads "1_000" and the digits of other scripts; no other reader of these files does.
    if "_" in text or not text.isascii() or set(map(str.count, rows, repeat(","))) - {m - 1}:
        return None
    tokens = chain.from_iterable(map(str.split, rows, repeat(",")))
    try:
        return np.fromiter(map(float, tokens), np.float64, count=len(rows) * m)
    except ValueError:
        return None


def _first_fault(name: str, lines: list[tuple[int, str]], n_rows: int, m: int) -> str:
    """Return what is wrong with the first of numbered lines that does not fit after `n_rows` rows of a matrix.

    >>> _first_fault("a.mx", [(3, "3,4"), (5, "END"), (6, "5,6,7")], n_rows=1, m=2)
    'a.mx:6: a matrix with 3 columns; expected 2, as in the matrices before; write each size into its own file.'
    """

    def fits(start: int, part: list[tuple[int, str]]) -> bool:
        return _parse_from((n_rows + start) % (m + 1), [line for _, line in part], m) is not None

    index = _first_unfit(lines, fits)
    number, line = lines[index]
    n_rows = (n_rows + index) % (m + 1)
    return f"{name}:{number}: " + (_end_fault(n_rows, m) if line == END else _row_fault(line, n_rows, m))


def _first_unfit(items: list[T], fits: Callable[[int, list[T]], bool]) -> int:
    """Return the index of the first item that does not fit, where a run of items, with its start, is known to fit."""
    start, stop = 0, len(items)
    while stop - start > 1:
        middle = (start + stop) // 2
        if fits(start, items[start:middle]):
            start = middle
        else:
            stop = middle
    return start


def _end_fault(n_rows: int, m: int) -> str:
    if n_rows == 0:
        return f"{END} without a matrix; expected rows of comma-separated numbers before it."
    return f"{END} after {n_rows} of {m} rows; expected a square matrix, {m} x {m}."


def _row_fault(line: str, n_rows: int, m: int) -> str:
    tokens = line.split(",")
    if parse([line], len(tokens)) is None:
        index = _first_unfit(tokens, lambda _, part: parse([",".join(part)], len(part)) is not None)
        wrong = tokens[index].strip()
        shown = wrong if len(wrong) <= 40 else wrong[:40] + "..."
        return f"got {shown!r}; expected a number; rows are comma-separated numbers in plain text."
    if n_rows == m:
        return (
            f"row {m + 1} of a matrix with {m} columns; expected the end of the file, or the line {END} between "
            f"matrices, after {m} rows."
        )
    if n_rows > 0:
        return f"a row of {len(tokens)} numbers; expected {m}, as in the row before."
    return (
        f"a matrix with {len(tokens)} columns; expected {m}, as in the matrices before; "
        "write each size into its own file."
    )


class TextWriter:
    """Writes stacks as text, `end` after each matrix."""

    def __init__(self, name: str, file: BinaryIO, end: str) -> None:
        del name
        self._file = file
        self._end = end

    def write(self, stack: Stack) -> None:
        """Write the next matrices."""
        step = default_size(stack.shape[1])
        for start in range(0, len(stack), step):
            self._file.write(_to_text(stack[start : start + step], self._end).encode("ascii"))

    def finish(self) -> None:
        """Do nothing: all is written."""


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
