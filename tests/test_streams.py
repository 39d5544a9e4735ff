"""Pipes and lines without end: what is read once, as it comes, in bounded memory."""

import io
import os
import threading
import tracemalloc
from contextlib import contextmanager
from itertools import chain, repeat

import numpy as np
import pytest

from skdmi.io import iter_stacks, read_stack, write_stack
from skdmi.io.text import MAX_LINE, PIECE
from tests.matrices import make_stack
from tests.test_atomic import names, posix

pytestmark = posix


@contextmanager
def piped(path, pieces):
    """Write pieces of bytes into a new pipe from another thread, as far as somebody reads them."""
    os.mkfifo(path)

    def write():
        try:
            with open(path, "wb", buffering=0) as file:
                for piece in pieces:
                    file.write(piece)
        except BrokenPipeError:
            pass

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    yield path
    writer.join()


@contextmanager
def at_most(n_bytes):
    """Assert that so much memory is enough."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < n_bytes
    finally:
        tracemalloc.stop()


def as_npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


# Pipes


@pytest.mark.parametrize("chunk_size", [1, 30, None])
@pytest.mark.parametrize(("name", "suffix"), [("a.mx", ".mx"), ("a.npy", ".npy"), ("a", ".mx"), ("a.txt", ".mx")])
def test_a_pipe_is_read_as_a_file_is(tmp_path, name, suffix, chunk_size):
    stack = make_stack(n_matrices=200, m=7)
    write_stack(tmp_path / f"file{suffix}", stack)
    data = (tmp_path / f"file{suffix}").read_bytes()
    pieces = [data[start : start + 10_000] for start in range(0, len(data), 10_000)]
    with piped(tmp_path / name, pieces) as path:
        chunks = list(iter_stacks(path, chunk_size=chunk_size))
    np.testing.assert_array_equal(np.concatenate(chunks), stack)
    assert {len(chunk) for chunk in chunks[:-1]} <= {chunk_size}


def test_a_matrix_is_there_before_the_next_is_written(tmp_path):
    os.mkfifo(tmp_path / "a.mx")
    with open(os.open(tmp_path / "a.mx", os.O_RDWR), "wb", buffering=0) as writer:  # Which waits for no reader.
        stacks = iter_stacks(tmp_path / "a.mx", chunk_size=1)
        for number in range(3):
            writer.write(b"%d\nEND\n" % number)
            assert next(stacks).tolist() == [[[number]]]
    assert list(stacks) == []


@pytest.mark.parametrize("name", ["a.mx", "a"])
def test_what_is_written_into_a_pipe_is_what_is_read_from_it(tmp_path, name):
    stack = make_stack(n_matrices=500)
    os.mkfifo(tmp_path / name)
    writer = threading.Thread(target=write_stack, args=(tmp_path / name, stack), daemon=True)
    writer.start()
    np.testing.assert_array_equal(read_stack(tmp_path / name), stack)
    writer.join()
    assert names(tmp_path) == [name]


def test_an_npy_file_is_refused_in_a_pipe_before_it_waits_for_a_reader(tmp_path):
    os.mkfifo(tmp_path / "a.npy")
    for path, format in ((tmp_path / "a.npy", None), (os.devnull, "npy")):
        with pytest.raises(ValueError, match=rf"^{path}: a pipe cannot take .*; write \.mx into pipes\.$"):
            write_stack(path, make_stack(), format=format)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (as_npy(np.asfortranarray(make_stack())), "Fortran order in a pipe; expected C order"),
        (as_npy(make_stack())[:-5], r"not a readable \.npy file .*it ends 5 bytes before the end of a matrix"),
        (as_npy(make_stack())[:50], r"not a readable \.npy file"),
        (b"1,2\n3,4\n", r"not a readable \.npy file"),
    ],
    ids=["order", "cut off", "header", "text"],
)
def test_a_pipe_that_holds_no_stack_is_refused(tmp_path, data, message):
    with piped(tmp_path / "a.npy", [data]) as path, pytest.raises(ValueError, match=rf"(?s)^{path}: .*{message}"):
        read_stack(path)


# Memory


def test_an_array_takes_the_memory_of_what_has_come_not_of_what_is_promised(tmp_path):
    header = io.BytesIO()
    shape = (2**20, 2**20, 2**20)
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": shape})
    data = header.getvalue() + bytes(1000)
    (tmp_path / "file.npy").write_bytes(data)
    with at_most(1e8), piped(tmp_path / "pipe.npy", [data]) as pipe:
        for path in (pipe, tmp_path / "file.npy"):
            with pytest.raises(ValueError, match=rf"^{path}: not a readable \.npy file"):
                next(iter_stacks(path))


@pytest.mark.parametrize("letters", [b"1", b"1,", b" ", b"x", b"\xff", b"\xe2\x82\xac"])
def test_a_line_without_end_is_refused_in_bounded_memory(tmp_path, letters):
    endless = chain([b"7\nEND\n" * 3], repeat(letters * 2**14))
    with (
        at_most(1e8),
        piped(tmp_path / "a.mx", endless) as path,
        pytest.raises(ValueError, match=rf"^{path}:7: a line of more than 2,097,152 characters; .*\.$"),
    ):
        read_stack(path)


def test_a_device_without_end_is_refused():
    with pytest.raises(ValueError, match=r"^/dev/zero:1: a line of more than"):
        read_stack("/dev/zero")


def test_a_line_may_be_as_long_as_is_said(tmp_path):
    path = tmp_path / "a.mx"
    path.write_text("1" + " " * (MAX_LINE - 1) + "\nEND\n2")
    np.testing.assert_array_equal(read_stack(path), [[[1]], [[2]]])
    path.write_text("3\nEND\n1" + " " * MAX_LINE + "\nEND\n2")
    with pytest.raises(ValueError, match=rf"^{path}:3: a line of more than 2,097,152 characters"):
        read_stack(path)


MILLION = "0," * (10**6 - 1) + "0"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("," * 10**6, 1, "got ''; expected a number"),
        (MILLION + "x", 1, "got '0x'; expected a number"),
        (MILLION + "\n" + "1,2\n" * 10**5, 2, "a row of 2 numbers; expected 1000000"),
        (MILLION, 1, "the file ends after 1 of 1000000 rows"),
        ("1,2\n" + f"{MILLION}\n" * 9, 2, "a row of 1000000 numbers; expected 2"),
    ],
    ids=["commas", "text", "narrow", "cut off", "wide"],
)
def test_a_row_of_a_million_is_refused_before_much_is_read(tmp_path, text, line, message):
    path = tmp_path / "a.mx"
    path.write_text(text)
    with at_most(1e8), pytest.raises(ValueError, match=rf"^{path}:{line}: {message}"):
        read_stack(path)


@pytest.mark.parametrize("blank", ["", "\n", "\n \r\n"])
def test_the_line_of_a_fault_is_found_wherever_it_is(tmp_path, blank):
    path = tmp_path / "a.mx"
    matrix = f"1,2\n3,4\nEND\n{blank}"
    n = 2 * PIECE // len(matrix)
    path.write_bytes((matrix * n + "1,2\n3;4\n" + matrix * n).encode())
    with pytest.raises(ValueError, match=rf"^{path}:{n * matrix.count(chr(10)) + 2}: got '3;4'"):
        read_stack(path)
