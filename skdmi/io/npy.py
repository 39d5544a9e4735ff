"""The format `.npy`: a NumPy array, of the bytes that ``numpy.save`` writes."""

import ast
import math
from collections.abc import Iterator
from io import BufferedIOBase, BytesIO
from typing import Any, BinaryIO, TypeAlias

import numpy as np

from skdmi.chunks import chunk_size as default_size
from skdmi.io.format import Format, Stack, check_stack, float_dtype

PIECE = 2**24
"""Bytes read at a time, so that memory is taken for what has come and not for what a header promises."""

MAX_HEADER = 500
"""Characters in a header. Of numbers it has hardly more than 100; one of thousands may exhaust Python's parser."""

Header: TypeAlias = tuple[tuple[int, ...], bool, np.dtype[Any]]
"""The shape, whether the array is in Fortran order, and the dtype."""


def _read(name: str, file: BufferedIOBase, chunk_size: int | None) -> Iterator[Stack]:
    shape, in_fortran_order, dtype = _read_header(name, file)
    check_stack(f"{name}: the array", dtype, shape)
    if 0 in shape:
        raise ValueError(f"{name}: the file holds no matrix; expected at least one.")
    stack_shape = (math.prod(shape[:-2]), *shape[-2:])
    starts = range(0, stack_shape[0], chunk_size or default_size(shape[-1]))
    if in_fortran_order:
        array = _map(name, file, dtype, shape).reshape(stack_shape)
        chunks = (array[start : start + starts.step] for start in starts)
    else:
        _check_size(name, file, dtype, shape)
        chunks = (_take(name, file, dtype, (min(starts.step, starts.stop - start), *shape[-2:])) for start in starts)
    for chunk in chunks:
        yield np.array(chunk, dtype=float_dtype(dtype), order="C")


def _read_header(name: str, file: BufferedIOBase) -> Header:
    try:
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0), (3, 0)):
            raise ValueError(f"version {version}")
        # The third is the second but for names of fields, which numbers have none of, and the integers of Python 2.
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        length = file.read(2 if version == (1, 0) else 4)
        text = file.read(min(int.from_bytes(length, "little"), 2**16))
        if len(text.rstrip()) > MAX_HEADER:
            raise ValueError(f"a header of more than {MAX_HEADER} characters")
        if version == (3, 0):
            ast.literal_eval(text.decode())
        header: Header = read(BytesIO(length + text))
        if any(type(side) is not int or side < 0 for side in header[0]):
            raise ValueError(f"shape {header[0]}")
    except OSError:
        raise
    except Exception as error:  # On a damaged header also SyntaxError, TokenError and OverflowError.
        raise _unreadable(name, error) from error
    return header


def _unreadable(name: str, what: object) -> ValueError:
    # What numpy quotes of a header may be no text, or steer a terminal.
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(what))
    return ValueError(
        f"{name}: not a readable .npy file of numbers ({shown}); expected what numpy.save writes; save it again."
    )


def _check_size(name: str, file: BufferedIOBase, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    """Refuse a file that is cut off before the first of its matrices is read; a pipe shows it at its end only."""
    if file.seekable():
        start = file.tell()
        size = file.seek(0, 2) - file.seek(start)
        if size < dtype.itemsize * math.prod(shape):
            raise _unreadable(name, f"{size} bytes for an array of shape {shape}")


def _map(name: str, file: BufferedIOBase, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Stack:
    """Map an array into memory whose order does not let its matrices be read one after the other."""
    if not file.seekable():
        raise ValueError(f"{name}: an array in Fortran order in a pipe; expected C order; see numpy.ascontiguousarray.")
    _check_size(name, file, dtype, shape)
    return np.memmap(file, dtype, "r", file.tell(), shape, "F")


def _take(name: str, file: BufferedIOBase, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Stack:
    """Read the next matrices."""
    size = dtype.itemsize * math.prod(shape)
    data = bytearray()
    while len(data) < size and (piece := file.read(min(PIECE, size - len(data)))):
        data += piece
    if len(data) < size:
        raise _unreadable(name, f"it ends {size - len(data)} bytes before the end of a matrix")
    return np.frombuffer(data, dtype).reshape(shape)


class _Writer:
    """Writes the header twice: NumPy pads it so that the number of matrices, known only at the end, has room."""

    def __init__(self, name: str, file: BinaryIO) -> None:
        self._name = name
        self._file = file
        self._n_matrices = 0
        self._header: dict[str, Any] = {}

    def write(self, stack: Stack) -> None:
        if not self._header:
            self._header = {"descr": stack.dtype.str, "fortran_order": False, "shape": (0, *stack.shape[1:])}
            np.lib.format.write_array_header_1_0(self._file, self._header)
        elif not np.can_cast(stack.dtype, self._header["descr"]):
            raise ValueError(
                f"{self._name}: a {stack.dtype} stack after float32 ones; expected float32; convert all to one dtype."
            )
        self._file.write(np.ascontiguousarray(stack, dtype=self._header["descr"]).data)
        self._n_matrices += len(stack)

    def finish(self) -> None:
        self._file.seek(0)
        shape = (self._n_matrices, *self._header["shape"][1:])
        np.lib.format.write_array_header_1_0(self._file, self._header | {"shape": shape})


NPY = Format(_read, _Writer, goes_back=True)
