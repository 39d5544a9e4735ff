"""One file for a card and its arrays: safetensors, with the card as JSON in the metadata of the header.

=======  ==================================================================================================
8 bytes  The length of the header, little-endian.
header   ``{"__metadata__": {"format": "skdmi", "version": "2", "card": "<JSON>"}, name: {"dtype": "F32", "shape":
         [2, 3], "data_offsets": [0, 24]}, ...}``, in ASCII.
data     The arrays, one after the other, little-endian.
=======  ==================================================================================================

One rename replaces such a file, so no reader meets half of one. Nothing in it runs code, and what it says is held
against the limits of this module and the size of the file before memory is taken for it. The package safetensors reads
such files; it is not asked here because it parses a header before anybody could limit it, and writes metadata in random
order, so that equal models would be unequal files.
"""

import json
import math
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from skdmi.io import atomic_path

FORMAT = "skdmi"
VERSION = 2
"""Of the format: a reader refuses files of a later one."""
MAX_HEADER = 8 * 2**20
MAX_VALUES = 750_000
"""Of JSON in a header; an upper bound of them is counted on its text."""
MAX_NESTING = 64
MAX_ARRAYS = 50_000
MAX_DIMENSIONS = 8
MAX_BYTES = 2**40
DTYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
    "I64": np.dtype("<i8"),
    "U8": np.dtype("u1"),
}


class Entry(NamedTuple):
    """What a header says of an array."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]


@dataclass(frozen=True)
class OpenFile:
    """A file of which the header was read and found in order."""

    path: Path
    card: dict[str, Any]
    entries: dict[str, Entry]
    """By name, in the order of the data."""
    _data: BufferedReader

    def arrays(self) -> dict[str, np.ndarray]:
        """Read the arrays; once.

        Raises
        ------
        ValueError
            If the file was cut short meanwhile.
        """
        return {name: self._array(name, entry) for name, entry in self.entries.items()}

    def _array(self, name: str, entry: Entry) -> np.ndarray:
        array = np.empty(entry.shape, entry.dtype)
        if array.size and self._data.readinto(array.reshape(-1).view(np.uint8).data) != array.nbytes:
            raise damaged(self.path, f"it ends within {name!r}")
        return array.astype(entry.dtype.newbyteorder("="), copy=False)


def write_file(path: str | os.PathLike[str], card: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Write a card and its arrays, whole or not at all.

    Parameters
    ----------
    path : path
        Replaced if it is there.
    card : dict
        What JSON can hold.
    arrays : dict of ndarrays
        In float32, float64, int64 or uint8.

    Raises
    ------
    OSError
        If the file cannot be written.
    TypeError
        If JSON cannot hold the card.
    ValueError
        If `read_file` would refuse the file, because of a dtype or the size of the card.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "answer.safetensors"
    ...     write_file(path, {"about": "an answer"}, {"x": np.array([42.0])})
    ...     read_file(path)
    ({'about': 'an answer'}, {'x': array([42.])})
    """
    path = Path(path)
    # Alignment is kept by writing wide ones first; the order is fixed, so that equal models are equal files.
    ordered = dict(sorted(arrays.items(), key=lambda item: (-item[1].dtype.itemsize, item[0])))
    header = _header(path, card, ordered)
    _parse(path, header, sum(array.nbytes for array in ordered.values()))
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for array in ordered.values():
            file.write(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())


def read_file(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the card and the arrays of a file.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is no such file, damaged, or of a later format.
    """
    with open_file(path) as file:
        return file.card, file.arrays()


def read_header(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, Entry]]:
    """Return the card, and dtype and shape of every array, without reading the arrays; it raises as `read_file`."""
    with open_file(path) as file:
        return file.card, file.entries


@contextmanager
def open_file(path: str | os.PathLike[str], *, foreign: bool = False) -> Iterator[OpenFile]:
    """Open a file and read its header; it raises as `read_file`.

    With ``foreign``, safetensors that were not written here are opened, too: their card is empty.
    """
    path = Path(path)
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > size - 8:
            raise damaged(path, f"it is shorter, {size:,} bytes, than it says")
        if length > MAX_HEADER:
            raise damaged(path, f"its header has {length:,} bytes, at most {MAX_HEADER:,} are allowed")
        header = file.read(length)
        if len(header) < length:
            raise damaged(path, "it ends within its header")
        card, entries = _parse(path, header, size - 8 - length, foreign)
        yield OpenFile(path, card, entries, file)


def open_regular(path: Path) -> BufferedReader:
    """Open a file for reading; a pipe or a device, which may never end, is a ValueError and not waited for."""

    def opener(name: str, flags: int) -> int:
        descriptor = os.open(name, flags | getattr(os, "O_NONBLOCK", 0))
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise ValueError(f"{path} is not a file but a directory, a pipe or a device; give a file.")
        return descriptor

    return open(path, "rb", opener=opener)


def count_values(text: bytes) -> int:
    """Return a bound of the number of values in a JSON text."""
    return 1 + sum(map(text.count, (b",", b":", b"[", b"{")))


def parse_json(path: Path, text: bytes, what: str, encoding: str = "ascii") -> dict[str, Any]:
    """Return the object that a JSON text holds, once it is known to fit into memory.

    Raises
    ------
    ValueError
        If it is not so encoded, not JSON, not an object, or holds too much.
    """
    if count_values(text) > MAX_VALUES:
        raise damaged(path, f"{what} holds more than {MAX_VALUES:,} values")
    try:
        # A single character beyond ASCII would quadruple the memory of all the text.
        content = json.loads(text.decode(encoding))
    except UnicodeDecodeError:
        raise damaged(path, f"{what} is not in {encoding}") from None
    except RecursionError:
        raise damaged(path, f"{what} is nested too deep") from None
    except ValueError as error:
        raise damaged(path, f"{what} is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise damaged(path, f"{what} is not a JSON object")
    level: list[Any] = [content]
    for _ in range(MAX_NESTING):
        level = [
            part
            for value in level
            if isinstance(value, dict | list)
            for part in (value.values() if isinstance(value, dict) else value)
        ]
    if level:
        raise damaged(path, f"{what} is nested too deep")
    return content


def damaged(path: Path, what: str) -> ValueError:
    """Return the error of a file that is not what it should be."""
    return ValueError(f"{path} is damaged: {what}. Take it from a copy, or save it again.")


def _header(path: Path, card: dict[str, Any], arrays: dict[str, np.ndarray]) -> bytes:
    codes = {dtype: code for code, dtype in DTYPES.items()}
    text = json.dumps(card, separators=(",", ":"))
    header: dict[str, Any] = {"__metadata__": {"format": FORMAT, "version": str(VERSION), "card": text}}
    end = 0
    for name, array in arrays.items():
        dtype = array.dtype.newbyteorder("<")
        if dtype not in codes:
            raise ValueError(f"{path} cannot hold {name!r} of dtype {array.dtype}, only {', '.join(DTYPES)}.")
        begin, end = end, end + array.nbytes
        header[name] = {"dtype": codes[dtype], "shape": list(array.shape), "data_offsets": [begin, end]}
    content = json.dumps(header, separators=(",", ":")).encode("ascii")
    content += b" " * (-len(content) % 8)
    if len(content) > MAX_HEADER:
        raise ValueError(f"{path} would need a header of {len(content):,} bytes; at most {MAX_HEADER:,} can be read.")
    return content


def _parse(path: Path, header: bytes, n_bytes: int, foreign: bool = False) -> tuple[dict[str, Any], dict[str, Entry]]:
    """Return what a header says, if that is all of the data that follow it."""
    entries = parse_json(path, header, "its header")
    metadata = entries.pop("__metadata__", None)
    is_ours = isinstance(metadata, dict) and metadata.get("format") == FORMAT
    if not is_ours and not foreign:
        raise ValueError(f"{path} is not a file of skdmi: its header has no format={FORMAT!r} in its metadata.")
    card = _card(path, metadata) if is_ours else {}
    if len(entries) > MAX_ARRAYS:
        raise damaged(path, f"it lists {len(entries):,} arrays, at most {MAX_ARRAYS:,} are allowed")
    placed = sorted((_entry(path, name, value) for name, value in entries.items()), key=lambda entry: entry[1:3])
    end = 0
    for name, begin, stop, _ in placed:
        if begin != end:
            raise damaged(path, f"{name[:80]!r} begins at {begin}, not where the array before it ends, {end}")
        end = stop
    if end != n_bytes:
        raise damaged(path, f"it holds {n_bytes:,} bytes of arrays, and lists {end:,}")
    return card, {name: entry for name, _, _, entry in placed}


def _card(path: Path, metadata: dict[str, Any]) -> dict[str, Any]:
    version, text = metadata.get("version"), metadata.get("card")
    if not isinstance(version, str) or not (version.isascii() and version.isdigit()) or len(version) > 9:
        raise damaged(path, f"its version is {str(version)[:20]!r}, not a number")
    if int(version) > VERSION:
        raise ValueError(
            f"{path} was written by a newer skdmi (format {version}, this one reads {VERSION}); update it."
        )
    if not isinstance(text, str) or not text.isascii():
        raise damaged(path, "it has no card in ASCII")
    return parse_json(path, text.encode("ascii"), "its card")


def _entry(path: Path, name: str, value: Any) -> tuple[str, int, int, Entry]:
    """Return name, first byte, byte after the last, and the entry of an array."""
    match value:
        case {"dtype": str(code), "shape": list(shape), "data_offsets": [begin, end]} if code in DTYPES:
            dtype = DTYPES[code]
        case {"dtype": str(code)} if code not in DTYPES:
            raise damaged(path, f"{name[:80]!r} is of dtype {code[:20]!r}, not one of {', '.join(DTYPES)}")
        case _:
            raise damaged(path, f"of {name[:80]!r} it does not say dtype, shape and data_offsets")
    numbers_are_sound = all(type(number) is int and 0 <= number <= MAX_BYTES for number in (*shape, begin, end))
    if len(shape) > MAX_DIMENSIONS:
        raise damaged(path, f"{name[:80]!r} has {len(shape):,} dimensions, at most {MAX_DIMENSIONS} are allowed")
    # An empty array may not be of a size that no array has, either.
    if not numbers_are_sound or math.prod(max(length, 1) for length in shape) * dtype.itemsize > MAX_BYTES:
        raise damaged(path, f"{name[:80]!r} has the shape {str(shape)[:80]} at {str([begin, end])[:80]}")
    if math.prod(shape) * dtype.itemsize != end - begin:
        raise damaged(path, f"{name[:80]!r} of shape {str(shape)[:80]} does not fill bytes {begin} to {end}")
    return name, begin, end, Entry(dtype, tuple(shape))
