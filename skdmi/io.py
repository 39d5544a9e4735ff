"""Stacks of square matrices in files, read and written as streams.

Three formats, told apart by the suffix, or by ``format``, their name without the dot, whatever the file is called:

========  =================================================================================================
``.mx``   Text: a row of comma-separated numbers a line, and a line ``END`` after each matrix.
``.npy``  A NumPy array of shape ``(n_matrices, m, m)``, or ``(m, m)`` for one matrix.
``.csv``  Text: one single matrix, a row of comma-separated numbers a line. What is ``.mx`` inside is read too.
========  =================================================================================================

Reading and writing take the memory of one chunk, however many matrices the file holds; a file is written whole or not
at all. So ``write_stack(path, map(invert, iter_stacks(path)))`` inverts a file larger than memory in place.
"""

import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from errno import EEXIST
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, TextIO, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["atomic_path", "iter_stacks", "read_stack", "write_stack"]

PathLike: TypeAlias = str | os.PathLike[str]
Stack: TypeAlias = NDArray[Any]

FORMATS = ("mx", "npy", "csv")
SUFFIXES = tuple(f".{name}" for name in FORMATS)
END = "END"
# What closes a matrix when it is written; reading does without after the last one, so a .csv file needs none.
END_LINES = {"mx": f"{END}\n", "csv": ""}
CHUNK_ENTRIES = 2**18  # Larger chunks are no faster, but text takes a dozen times the memory of its numbers.


def iter_stacks(path: PathLike, *, chunk_size: int | None = None, format: str | None = None) -> Iterator[Stack]:
    r"""Read a file of matrices as a stream of stacks.

    Parameters
    ----------
    path : str or path-like
        A file that ends in ``.mx``, ``.npy`` or ``.csv``. In text, spaces around numbers, blank lines, Windows line
        ends, a byte order mark and a missing last ``END`` are accepted, and so are ``nan`` and ``inf``.
    chunk_size : int, optional
        The largest number of matrices in a stack. By default as many as fill about 2 MB.
    format : {"mx", "npy", "csv"}, optional
        By default that of the suffix.

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
    name = _format_name(path, format)
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"chunk_size={chunk_size!r}; expected a positive number of matrices, or None")
    os.stat(path)  # A missing file is an error here, not at the first stack.
    return _iter_npy(path, chunk_size) if name == "npy" else _iter_text(path, chunk_size, name)


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
        float64, or float32 if the file is an ``.npy`` file of float32.

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
        A file that ends in ``.mx``, ``.npy`` or ``.csv``. It is replaced if it exists.
    stack : array of shape (n_matrices, m, m) or (m, m), or iterable of such arrays
        The matrices. An iterable is consumed one array at a time. An ``.npy`` file has the dtype of the first array,
        float32 or float64 (other real dtypes become float64); text has the exact value of either.
    format : {"mx", "npy", "csv"}, optional
        By default that of the suffix.

    Raises
    ------
    ValueError
        If the suffix is unknown, there is no matrix, there are several for a ``.csv`` file, or the matrices are not
        real, square and of one size. Nothing is written then.
    OSError
        If the file cannot be written.

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
    name = _format_name(path, format)
    arrays: Iterable[Any] = (stack,) if hasattr(stack, "__array__") else stack
    stacks = _checked(path, arrays)
    with atomic_path(path) as temporary:
        if name == "npy":
            with open(temporary, "wb") as binary:
                n_matrices = _write_npy(path, binary, stacks)
        else:
            with open(temporary, "w", encoding="ascii", newline="\n") as text:
                n_matrices = _write_text(path, text, stacks, END_LINES[name])
        if n_matrices == 0:
            raise ValueError(f"{path}: there is no matrix to write; expected at least one")


@contextmanager
def atomic_path(path: PathLike) -> Iterator[Path]:
    """Replace a file whole or not at all.

    The block writes to a temporary file in the same folder. If it succeeds, that file takes the place of `path` in one
    step; if it raises anything, Ctrl-C included, the temporary file is removed and `path` is as it was before.

    Parameters
    ----------
    path : str or path-like
        The file to write. As with `open`, symbolic links are followed, an existing file keeps its permissions, and a
        new one gets those of the umask.

    Yields
    ------
    pathlib.Path
        The temporary file: empty, with the suffix of `path`.

    Raises
    ------
    OSError
        If no file can be written there, or `path` is something that is not a file.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "answer.txt"
    ...     with atomic_path(path) as temporary:
    ...         _ = temporary.write_text("42")
    ...         path.exists()
    ...     path.read_text()
    False
    '42'
    """
    target = Path(os.path.realpath(path))
    existed = target.exists()
    if existed and not target.is_file():
        raise OSError(EEXIST, "Exists and is not a file, so it cannot be replaced", os.fspath(path))
    temporary = target.with_name(f".skdmi-{secrets.token_hex(8)}{target.suffix}")
    try:
        temporary.touch(exist_ok=False)
    except OSError as error:  # The user should read the name that they gave.
        raise OSError(error.errno, error.strerror, os.fspath(path)) from None
    try:
        if existed:
            shutil.copymode(target, temporary)
        yield temporary
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _format_name(path: PathLike, format: str | None) -> str:
    if format is not None and format not in FORMATS:
        raise ValueError(f"format={format!r}; expected one of {', '.join(FORMATS)}, or None, which is by suffix")
    suffix = Path(path).suffix.lower()
    if format is None and suffix not in SUFFIXES:
        raise ValueError(f"{path}: the suffix is {suffix!r}; expected one of {', '.join(SUFFIXES)}")
    return format or suffix.removeprefix(".")


def _chunk_size(chunk_size: int | None, m: int) -> int:
    return chunk_size or max(1, CHUNK_ENTRIES // m**2)


def _as_stack(source: str, array: Stack) -> Stack:
    """Return `array` as a stack, without a copy, or raise a ValueError that starts with `source`."""
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{source} has dtype {array.dtype}; expected real numbers")
    stack = array[None] if array.ndim == 2 else array
    if stack.ndim != 3 or stack.shape[1] != stack.shape[2] or stack.shape[1] == 0:
        raise ValueError(f"{source} has shape {array.shape}; expected (n_matrices, m, m) or (m, m)")
    return stack


def _dtype(stack: Stack) -> np.dtype[Any]:
    """Return float32 for float32 and float64 for everything else, in native byte order."""
    return np.dtype(np.float32 if stack.dtype.kind == "f" and stack.dtype.itemsize == 4 else np.float64)


# Reading


def _iter_npy(path: PathLike, chunk_size: int | None) -> Iterator[Stack]:
    try:
        array = np.lib.format.open_memmap(path, mode="r")
    except OSError:
        raise
    except Exception as error:  # On a damaged header also SyntaxError, TokenError and OverflowError.
        raise ValueError(f"{path}: not a readable .npy file of numbers: {error}") from error
    stack = _as_stack(f"{path}: the array", array)
    if len(stack) == 0:
        raise ValueError(f"{path}: the file holds no matrix; expected at least one")
    step = _chunk_size(chunk_size, stack.shape[1])
    for start in range(0, len(stack), step):
        yield np.array(stack[start : start + step], dtype=_dtype(stack), order="C")


def _iter_text(path: PathLike, chunk_size: int | None, format: str) -> Iterator[Stack]:
    """Parse whole chunks of lines that repeat m rows and an end; where one does not, look for the line."""
    # Bytes that are not text become a character that no number contains: an error with a line number, like any other.
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        lines: Iterator[str] = filter(None, map(str.strip, file))
        first = next(lines, None)
        if first is None:
            raise ValueError(f"{path}:1: the file is empty; expected rows of comma-separated numbers")
        m = first.count(",") + 1
        lines = chain([first], lines)
        n_good = 0
        while rows := list(islice(lines, _chunk_size(chunk_size, m) * (m + 1))):
            if len(rows) % (m + 1) == m:  # Only at the end of the file.
                rows.append(END)
            ends = rows[m :: m + 1]
            del rows[m :: m + 1]
            fits = len(rows) == m * len(ends) and ends.count(END) == len(ends)
            numbers = _parse(rows, m) if fits else None
            if numbers is None:
                _raise_line_error(path, file, format, m, n_good)
            yield numbers.reshape(-1, m, m)
            n_good += len(rows) + len(ends)


def _parse(rows: list[str], m: int) -> Stack | None:
    """Return the numbers of `rows` if each of them has m, else None: the one definition of what a number is."""
    text = "".join(rows)
    # Python's float also reads "1_000" and the digits of other scripts; no other reader of these files does.
    if "_" in text or not text.isascii() or set(map(str.count, rows, repeat(","))) != {m - 1}:
        return None
    tokens = chain.from_iterable(map(str.split, rows, repeat(",")))
    try:
        return np.fromiter(map(float, tokens), np.float64, count=len(rows) * m)
    except ValueError:
        return None


def _raise_line_error(path: PathLike, file: TextIO, format: str, m: int, n_good: int) -> NoReturn:
    """Raise the error of the first line that does not fit, past `n_good` lines (blank ones not counted) that do."""
    file.seek(0)
    numbered = ((number, line) for number, line in enumerate(map(str.strip, file), start=1) if line)
    n_rows = 0
    for number, line in islice(numbered, n_good, None):
        where = f"{path}:{number}:"
        if line == END:
            if n_rows == 0:
                raise ValueError(f"{where} {END} without a matrix; expected rows of comma-separated numbers before it")
            if n_rows < m:
                raise ValueError(f"{where} {END} after {n_rows} of {m} rows; expected a square matrix, {m} x {m}")
            n_rows = 0
            continue
        tokens = line.split(",")
        if _parse([line], len(tokens)) is None:
            wrong = next(token.strip() for token in tokens if _parse([token], 1) is None)
            shown = wrong if len(wrong) <= 40 else wrong[:40] + "..."
            raise ValueError(
                f"{where} got {shown!r}, expected a number; rows are comma-separated numbers in plain text"
            )
        if n_rows == m:
            after = f"the line {END}" if format == "mx" else f"the end of the file, or the line {END} between matrices,"
            raise ValueError(f"{where} row {m + 1} of a matrix with {m} columns; expected {after} after {m} rows")
        if len(tokens) != m and n_rows > 0:
            raise ValueError(f"{where} a row of {len(tokens)} numbers; expected {m}, as in the row before")
        if len(tokens) != m:
            raise ValueError(
                f"{where} a matrix with {len(tokens)} columns; expected {m}, as in the matrices before; "
                "write each size into its own file"
            )
        n_rows += 1
    if 0 < n_rows < m:
        raise ValueError(
            f"{path}:{number}: the file ends after {n_rows} of {m} rows; expected {m} x {m}; is it cut off?"
        )
    raise ValueError(f"{path}: the file changed while it was read; try again")


# Writing


def _checked(path: PathLike, stacks: Iterable[ArrayLike]) -> Iterator[Stack]:
    """Yield each of `stacks` as a C-contiguous float stack, all with the same m."""
    m = None
    for index, item in enumerate(stacks):
        stack = _as_stack(f"{path}: array {index} to write", np.asarray(item))
        m = m or stack.shape[1]
        if stack.shape[1] != m:
            k = stack.shape[1]
            raise ValueError(
                f"{path}: array {index} to write holds {k} x {k} matrices after {m} x {m} ones; use two files"
            )
        yield np.ascontiguousarray(stack, dtype=_dtype(stack))


def _write_npy(path: PathLike, file: BinaryIO, stacks: Iterator[Stack]) -> int:
    """Write the header twice: NumPy pads it so that the number of matrices, known only at the end, has room."""
    n_matrices = 0
    header: dict[str, Any] = {}
    for stack in stacks:
        if not header:
            header = {"descr": stack.dtype.str, "fortran_order": False, "shape": (0, *stack.shape[1:])}
            np.lib.format.write_array_header_1_0(file, header)
        elif not np.can_cast(stack.dtype, header["descr"]):
            raise ValueError(f"{path}: a {stack.dtype} stack after float32 ones; convert all to one dtype")
        file.write(np.ascontiguousarray(stack, dtype=header["descr"]).data)
        n_matrices += len(stack)
    if n_matrices:
        file.seek(0)
        np.lib.format.write_array_header_1_0(file, header | {"shape": (n_matrices, *header["shape"][1:])})
    return n_matrices


def _write_text(path: PathLike, file: TextIO, stacks: Iterator[Stack], end: str) -> int:
    n_matrices = 0
    for stack in stacks:
        n_matrices += len(stack)
        if n_matrices > 1 and not end:
            raise ValueError(f"{path}: more than one matrix for a .csv file, which holds one; write .mx or .npy")
        step = _chunk_size(None, stack.shape[1])
        for start in range(0, len(stack), step):
            file.write(_format(stack[start : start + step], end))
    return n_matrices


def _format(stack: Stack, end: str) -> str:
    """Return the text of a stack. One format string for all of it writes exact digits about as fast as Python can."""
    m = stack.shape[1]
    row = ",".join(["%r"] * m) + "\n"
    matrix = row * m + end
    text: str = (matrix * len(stack)) % tuple(stack.ravel().tolist())
    return text
