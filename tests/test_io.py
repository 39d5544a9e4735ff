"""Laws of the streams: a round trip is the identity, chunks do not matter, and what is broken is refused by line."""

import os
import re
import subprocess
import sys
import tracemalloc
from itertools import repeat

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from skdmi.io import iter_stacks, read_stack, write_stack
from skdmi.io.stacks import FORMATS
from tests.marks import slow_but
from tests.matrices import make_stack

SUFFIXES = [f".{name}" for name in FORMATS]
OF_MANY = [suffix for suffix in SUFFIXES if suffix != ".csv"]  # Which holds one matrix.
# `tmp_path` is shared by the examples of one test: each writes the same file anew, which is what users do too.
in_one_folder = settings(
    max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)

SPECIAL = [0.0, -0.0, 5e-324, 2.2250738585072014e-308, 1e308, -1.7976931348623157e308, 0.1, np.inf, -np.inf, np.nan]


@pytest.fixture(scope="module", autouse=True)
def no_waiting_for_the_disk():
    """Thousands of small files would wait for it, each some milliseconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("skdmi.io.atomic._sync", lambda path: None)
        yield


def assert_same_bits(actual, expected):
    """Assert equality of dtype, shape and every bit, but for the sign and the payload of NaN."""
    assert actual.dtype == expected.dtype
    assert actual.shape == expected.shape
    np.testing.assert_array_equal(np.isnan(actual), np.isnan(expected))
    bits = f"i{actual.dtype.itemsize}"
    np.testing.assert_array_equal(*(np.where(np.isnan(a), 0, a).view(bits) for a in (actual, expected)))


def stacks(dtype, max_matrices=5):
    shapes = st.tuples(st.integers(1, max_matrices), st.integers(1, 4)).map(lambda s: (s[0], s[1], s[1]))
    width = np.dtype(dtype).itemsize * 8
    floats = st.floats(width=width)
    if width == 64:
        floats |= st.sampled_from(SPECIAL)
    return shapes.flatmap(lambda shape: arrays(dtype, shape, elements=floats, fill=st.nothing()))


# Every format


@pytest.mark.parametrize("name", FORMATS)
@in_one_folder
@given(stack=stacks(np.float64, max_matrices=1))
def test_every_format_gives_the_bits_of_a_matrix_back(tmp_path, name, stack):
    for file, format in ((f"a.{name}", None), (f"A.{name.upper()}", None), ("a", name)):
        for source in (stack, stack[0], iter(stack), (stack[:0], stack)):
            write_stack(tmp_path / file, source, format=format)
            assert_same_bits(read_stack(tmp_path / file, format=format), stack)
            (chunk,) = iter_stacks(tmp_path / file, chunk_size=1, format=format)
            assert chunk.flags.c_contiguous
            assert chunk.flags.writeable


def interrupted(stack, error):
    yield stack
    raise error


@pytest.mark.parametrize("error", [ValueError("late"), KeyboardInterrupt()], ids=type)
@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("existed", [True, False])
def test_every_format_is_written_whole_or_not_at_all(tmp_path, suffix, error, existed):
    path = tmp_path / f"a{suffix}"
    if existed:
        write_stack(path, make_stack(n_matrices=1, seed=1))
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(type(error)):
        write_stack(path, interrupted(make_stack(n_matrices=1, m=100), error))
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("content", [b"", b"\x00" * 100, b"\x89PNG\r\n\x1a\n", bytes(range(256))])
def test_every_format_refuses_what_is_of_no_format(tmp_path, suffix, content):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"(?s)^{path}:.*; expected .*\.$"):
        read_stack(path)


def test_files_are_read_without_the_rest_of_the_package():
    program = "import sys, skdmi.io; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert "torch" not in loaded
    assert not [
        name for name in loaded if name.startswith("skdmi.") and not name.startswith(("skdmi.io", "skdmi.chunks"))
    ]


# Round trips


@pytest.mark.parametrize("suffix", OF_MANY)
@in_one_folder
@given(stack=stacks(np.float64))
def test_round_trip_is_the_identity(tmp_path, suffix, stack):
    write_stack(tmp_path / f"a{suffix}", stack)
    assert_same_bits(read_stack(tmp_path / f"a{suffix}"), stack)


@pytest.mark.parametrize("suffix", OF_MANY)
@in_one_folder
@given(stack=stacks(np.float32))
def test_round_trip_keeps_the_value_of_float32(tmp_path, suffix, stack):
    write_stack(tmp_path / f"a{suffix}", stack)
    back = read_stack(tmp_path / f"a{suffix}")
    assert back.dtype == (np.float32 if suffix == ".npy" else np.float64)
    assert_same_bits(back.astype(np.float32), stack)
    np.testing.assert_array_equal(back, stack.astype(np.float64))


@pytest.mark.parametrize("m", [1, 3, 100])
def test_csv_round_trip(tmp_path, m):
    (matrix,) = stack = make_stack("graded", n_matrices=1, m=m, condition=1e300)
    write_stack(tmp_path / "a.csv", matrix)
    assert_same_bits(read_stack(tmp_path / "a.csv"), stack)
    np.testing.assert_array_equal(np.loadtxt(tmp_path / "a.csv", delimiter=",", ndmin=2), matrix)


@pytest.mark.parametrize("name", ["a.csv", "a", "a.txt", "a.npy"])
def test_a_format_may_be_named_whatever_the_file_is_called(tmp_path, name):
    stack = make_stack("graded", n_matrices=3)
    for format in ("mx", "npy"):
        write_stack(tmp_path / name, stack, format=format)
        assert_same_bits(read_stack(tmp_path / name, format=format), stack)
    with pytest.raises(ValueError, match=rf"^format='txt'; expected one of {', '.join(FORMATS)}, .*\.$"):
        iter_stacks(tmp_path / name, format="txt")


def test_a_csv_file_with_several_matrices_is_read(tmp_path):
    stack = make_stack("graded", n_matrices=3)
    write_stack(tmp_path / "a.csv", stack, format="mx")
    assert_same_bits(read_stack(tmp_path / "a.csv"), stack)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_missing_inverse_is_written_as_nan(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    write_stack(path, np.full((3, 3), np.nan))
    assert np.isnan(read_stack(path)).all()
    if suffix != ".npy":
        assert path.read_text().startswith("nan,nan,nan\nnan,nan,nan\nnan,nan,nan\n")


def test_mx_text_is_that_of_deep_matrix_inversion(tmp_path):
    write_stack(tmp_path / "a.mx", np.array([[[0.1, -0.2], [0.3, 0.4]]]))
    assert (tmp_path / "a.mx").read_bytes() == b"0.1,-0.2\n0.3,0.4\nEND\n"


@pytest.mark.parametrize("dtype", [np.float16, np.int32, np.bool_, ">f4", ">f8"])
@pytest.mark.parametrize("suffix", OF_MANY)
def test_other_real_dtypes(tmp_path, suffix, dtype):
    stack = make_stack("permutation").astype(dtype)
    write_stack(tmp_path / f"a{suffix}", stack)
    np.save(tmp_path / "b.npy", stack)
    expected = np.float32 if dtype == ">f4" else np.float64
    assert_same_bits(read_stack(tmp_path / "b.npy"), stack.astype(expected))
    np.testing.assert_array_equal(read_stack(tmp_path / f"a{suffix}"), stack)


@pytest.mark.parametrize("suffix", OF_MANY)
def test_layout_does_not_matter(tmp_path, suffix):
    stack = make_stack(n_matrices=5)
    for view in (stack, np.asfortranarray(stack), np.repeat(stack, 2, axis=0)[::2]):
        write_stack(tmp_path / f"a{suffix}", view)
        assert_same_bits(read_stack(tmp_path / f"a{suffix}"), stack)
    np.save(tmp_path / "a.npy", np.asfortranarray(stack))
    (back,) = iter_stacks(tmp_path / "a.npy")
    assert_same_bits(back, stack)
    assert back.flags.c_contiguous
    assert back.flags.writeable


def test_npy_is_that_of_numpy(tmp_path):
    stack = make_stack(n_matrices=12)
    write_stack(tmp_path / "a.npy", stack)
    np.save(tmp_path / "b.npy", stack)
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()


# Streams


@pytest.mark.parametrize("suffix", OF_MANY)
@pytest.mark.parametrize("m", [1, 2, 5])
@pytest.mark.parametrize("chunk_size", [1, 2, 3, 7, 8])
def test_chunks_do_not_change_the_answer(tmp_path, suffix, m, chunk_size):
    stack = make_stack("uniform", n_matrices=7, m=m)
    path = tmp_path / f"a{suffix}"
    write_stack(path, np.array_split(stack, range(chunk_size, 7, chunk_size)))
    chunks = list(iter_stacks(path, chunk_size=chunk_size))
    assert {len(chunk) for chunk in chunks[:-1]} <= {chunk_size}
    assert 1 <= len(chunks[-1]) <= chunk_size
    assert_same_bits(np.concatenate(chunks), stack)


@pytest.mark.parametrize("suffix", OF_MANY)
def test_write_takes_any_iterable(tmp_path, suffix):
    stack = make_stack(n_matrices=4)
    path = tmp_path / f"a{suffix}"
    for source in (stack, list(stack), stack.tolist(), iter(stack), (stack[:0], stack[:1], stack[1:])):
        write_stack(path, source)
        assert_same_bits(read_stack(path), stack)


@pytest.mark.parametrize("suffix", OF_MANY)
def test_a_file_can_be_rewritten_while_it_is_read(tmp_path, suffix):
    stack = make_stack(n_matrices=50)
    path = tmp_path / f"a{suffix}"
    write_stack(path, stack)
    write_stack(path, map(np.linalg.inv, iter_stacks(path, chunk_size=3)))
    assert_same_bits(read_stack(path), np.linalg.inv(stack))


@pytest.mark.parametrize("suffix", slow_but([".npy"], OF_MANY))
def test_memory_does_not_grow_with_the_number_of_matrices(tmp_path, suffix):
    def peak(n_chunks):
        path = tmp_path / f"a{suffix}"
        chunk = make_stack("uniform", n_matrices=500, m=3)
        tracemalloc.start()
        write_stack(path, repeat(chunk, n_chunks))
        write_stack(path, iter_stacks(path, chunk_size=500))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak

    peak(1)
    assert peak(24) < 1.5 * peak(4)


@pytest.fixture(params=[1, 3, None], ids=["bytes", "threes", "pieces"])
def piece(request, monkeypatch):
    """Cut files into small pieces, so that lines, ends of lines and characters lie in several."""
    if request.param:
        monkeypatch.setattr("skdmi.io.text.PIECE", request.param)


# What is accepted


@pytest.mark.parametrize(
    "text",
    [
        "1,2\n3,4\nEND\n5,6\n7,8\nEND\n",
        "1,2\n3,4\nEND\n5,6\n7,8\nEND",
        "1,2\n3,4\nEND\n5,6\n7,8\n",
        "1,2\n3,4\nEND\n5,6\n7,8",
        "\n1,2\n\n3,4\n \nEND\n\n5,6\n7,8\nEND\n\n\n",
        " 1 ,\t2\n3 , 4 \n END \n5,6\n7,8\nEND ",
        "1,2\r\n3,4\r\nEND\r\n5,6\r\n7,8\r\nEND\r\n",
        "1,2\r3,4\rEND\r5,6\r7,8\rEND\r",
        "\ufeff1,2\n3,4\nEND\n5,6\n7,8\nEND\n",
        "1e0,+2.\n30E-1,.4e1\nEND\n5.000,6\n7,8\nEND\n",
    ],
)
@pytest.mark.parametrize("chunk_size", [1, 2, None])
def test_tolerated_text(tmp_path, text, chunk_size, piece):
    (tmp_path / "a.mx").write_bytes(text.encode())
    stack = np.concatenate(list(iter_stacks(tmp_path / "a.mx", chunk_size=chunk_size)))
    np.testing.assert_array_equal(stack, [[[1, 2], [3, 4]], [[5, 6], [7, 8]]])


def test_names_of_numbers(tmp_path):
    (tmp_path / "A.MX").write_text("nan,NaN\ninf,-Infinity\n")
    np.testing.assert_array_equal(read_stack(tmp_path / "A.MX"), [[[np.nan, np.nan], [np.inf, -np.inf]]])


def test_npy_of_one_matrix(tmp_path):
    (matrix,) = make_stack(n_matrices=1)
    np.save(tmp_path / "a.npy", matrix)
    assert_same_bits(read_stack(tmp_path / "a.npy"), matrix[None])


# What is refused

GOOD = "1,2\n3,4\nEND\n"


@pytest.mark.parametrize("prefix", ["", "\n", "\ufeff", GOOD, GOOD * 3], ids=["none", "blank", "bom", "one", "three"])
@pytest.mark.parametrize("chunk_size", [1, 2, None])
@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("1,2\n3\nEND\n", 2, "a row of 1 numbers; expected 2"),
        ("1,2\n3,4,5\nEND\n", 2, "a row of 3 numbers; expected 2"),
        ("1,2\n3,x\nEND\n", 2, "got 'x'; expected a number"),
        ("1,2\n3,\nEND\n", 2, "got ''; expected a number"),
        ("1 2\n3 4\nEND\n", 1, "got '1 2'; expected a number"),
        ("1,2\n3,1_0\nEND\n", 2, "got '1_0'; expected a number"),
        ("1,2\n3,٤\nEND\n", 2, "got '٤'; expected a number"),
        ("1,2\n3,4\nend\n", 3, "got 'end'; expected a number"),
        ("1,2\n3," + "y" * 1000 + "\nEND\n", 2, r"got 'y{40}\.\.\.'; expected"),
        ("1,2\nEND\n3,4\n", 2, "END after 1 of 2 rows; expected a square matrix, 2 x 2"),
        ("1,2\n3,4\n5,6\nEND\n", 3, "row 3 of a matrix with 2 columns; expected the end of the file"),
        ("1,2\n3,4\n5,6\n7,8\n", 3, "row 3 of a matrix with 2 columns; expected the end of the file"),
        ("1,2\n3,4\nEND\nEND\n", 4, "END without a matrix"),
        ("END\n", 1, "END without a matrix"),
        ("1,2\n3,4\nEND\n5,6\n", 4, "the file ends after 1 of 2 rows"),
        ("1,2\n3,4\nEND\n5\nEND\n", 4, "a matrix with 1 columns; expected 2, as in the matrices before"),
        ("1,2\n3,4\nEND\n1,2,3\n4,5,6\n7,8,9\nEND\n", 4, "a matrix with 3 columns; expected 2"),
    ],
)
def test_malformed_text_is_refused_by_line(tmp_path, prefix, chunk_size, text, line, message, piece):
    path = tmp_path / "a.mx"
    path.write_text(prefix + text, encoding="utf-8")
    with pytest.raises(ValueError, match=rf"^{path}:{prefix.count(chr(10)) + line}: .*{message}.*\.$"):
        list(iter_stacks(path, chunk_size=chunk_size))


@pytest.mark.parametrize("text", ["", "\n\n", "\ufeff"])
@pytest.mark.parametrize("suffix", [".mx", ".csv"])
def test_empty_text_is_refused(tmp_path, suffix, text):
    path = tmp_path / f"a{suffix}"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=rf"^{path}:1: the file is empty; .*\.$"):
        read_stack(path)


@pytest.mark.parametrize(
    "content",
    [bytes(range(256)), b"\x00" * 100, b"\x89PNG\r\n\x1a\n", GOOD.encode("utf-16"), b"\x93NUMPY\x01\x00"],
)
def test_what_is_not_text_is_refused(tmp_path, content):
    path = tmp_path / "a.mx"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"^{path}:\d+: got .*plain text\.$"):
        read_stack(path)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("1,2\n3,4\n5,6\n", 3, "expected the end of the file"),
        ("1,2\n3,4\nEND\nEND\n", 4, "END without a matrix"),
        ("1,2\n\n3\n", 3, "a row of 1 numbers; expected 2"),
        ("1,2,3\n4,5,6\n", 2, "the file ends after 2 of 3 rows"),
        ("a,b\n1,2\n3,4\n", 1, "got 'a'; expected a number"),
        ("1;2\n3;4\n", 1, "got '1;2'; expected a number; rows are comma-separated"),
    ],
)
def test_malformed_csv_is_refused_by_line(tmp_path, text, line, message):
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"^{path}:{line}: .*{message}.*\.$"):
        read_stack(path)


def read_plainly(text):
    """Return what `text` means by the definition of the format, or None if it means nothing."""
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    matrices = [[]]
    for line in lines if lines[-1:] != ["END"] else lines[:-1]:
        if line == "END":
            matrices.append([])
        else:
            matrices[-1].append(line.split(","))
    try:
        stack = np.array(matrices, dtype=np.float64)
    except ValueError:
        return None
    return stack if stack.ndim == 3 and stack.shape[1] == stack.shape[2] and "_" not in text else None


@settings(in_one_folder, max_examples=100)
@given(
    blocks=st.lists(
        st.sampled_from(
            ["1,2\n3,4\nEND", "7\nEND", "1,2", "3,4", " 5 ,6", "7", "8,9,0", "END", "", "x,1", "1,,2", "1_0,2"]
        ),
        max_size=7,
    ),
    chunk_size=st.sampled_from([1, 2, None]),
)
def test_reading_in_chunks_accepts_what_the_definition_accepts(tmp_path, piece, blocks, chunk_size):
    path = tmp_path / "a.mx"
    path.write_text("\n".join(blocks))
    expected = read_plainly("\n".join(blocks))
    if expected is None:
        with pytest.raises(ValueError, match=rf"^{path}:\d+: "):
            list(iter_stacks(path, chunk_size=chunk_size))
    else:
        np.testing.assert_array_equal(np.concatenate(list(iter_stacks(path, chunk_size=chunk_size))), expected)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 3, 4)), r"shape \(2, 3, 4\); expected \(n_matrices, m, m\) or \(m, m\)"),
        (np.zeros(3), r"shape \(3,\)"),
        (np.zeros((0, 3, 3)), "no matrix"),
        (np.zeros((2, 0, 0)), r"shape \(2, 0, 0\)"),
        (np.zeros((2, 3, 3), complex), "dtype complex128; expected real numbers"),
        (np.full((2, 2), "x"), "dtype <U1; expected real numbers"),
        (np.array([[None]]), "not a readable .npy file|dtype object"),
    ],
)
def test_arrays_that_are_not_stacks_are_refused(tmp_path, array, message):
    path = tmp_path / "a.npy"
    np.save(path, array)
    with pytest.raises(ValueError, match=rf"(?s)^{path}: .*({message}).*\.$"):
        read_stack(path)
    for suffix in SUFFIXES:
        with pytest.raises(ValueError, match=rf"{suffix}: .*({message}).*\.$"):
            write_stack(tmp_path / f"b{suffix}", array)
    assert os.listdir(tmp_path) == ["a.npy"]


@in_one_folder
@given(size=st.integers(0, 128 + 8 * 18 - 1))
def test_cut_npy_is_refused(tmp_path, size):
    path = tmp_path / "a.npy"
    np.save(path, make_stack(n_matrices=2))
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ValueError, match=rf"(?s)^{path}: not a readable \.npy file .*; save it again\.$"):
        read_stack(path)


@pytest.mark.parametrize("shape", [b"(2,-3, 3)", b"\x182, 3, 3)", b"(09, 3, 3)", b"(9, 3, 3)", b"2, 3, 3"])
def test_npy_with_a_damaged_header_is_refused(tmp_path, shape):
    path = tmp_path / "a.npy"
    np.save(path, make_stack(n_matrices=2))
    path.write_bytes(path.read_bytes().replace(b"(2, 3, 3)", shape.ljust(9)))
    with pytest.raises(ValueError, match=rf"(?s)^{path}: not a readable \.npy file .*; save it again\.$"):
        read_stack(path)


@pytest.mark.parametrize(
    ("version", "shape"),
    [
        (1, "(True, 3, 3)"),
        (1, "(2.0, 3, 3)"),
        (3, "(2L, 3L, 3L)"),  # of Python 2, which knew no such version
        (2, "(" * 3000 + "2, 3, 3" + ")" * 3000),
        (2, "-" * 3000 + "2"),
        (2, "(" + "9" * 5000 + ", 3, 3)"),
        (2, "(2, 3, 3), 'descr': '|3\x9bc<f8'"),  # which steers terminals
    ],
    ids=lambda value: str(value)[:12],
)
@pytest.mark.filterwarnings("ignore:Reading `.npy` or `.npz` file required:UserWarning")
def test_npy_with_a_hostile_header_is_refused_in_one_short_line(tmp_path, version, shape):
    path = tmp_path / "a.npy"
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    size = len(header).to_bytes(2 if version == 1 else 4, "little")
    path.write_bytes(b"\x93NUMPY" + bytes([version, 0]) + size + header + bytes(144))
    with pytest.raises(ValueError, match=rf"^{path}: not a readable \.npy file .*; save it again\.$") as caught:
        read_stack(path)
    assert len(str(caught.value)) < 1000
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_sizes_may_not_change_while_writing(tmp_path, suffix):
    with pytest.raises(ValueError, match=r"array 1 to write holds 4 x 4 matrices after 3 x 3 ones; .*\.$"):
        write_stack(tmp_path / f"a{suffix}", [make_stack(n_matrices=1, m=m) for m in (3, 4)])
    with pytest.raises(ValueError, match=r"there is no matrix to write; expected at least one\.$"):
        write_stack(tmp_path / f"a{suffix}", [])
    assert not os.listdir(tmp_path)


def test_dtype_may_not_widen_while_writing(tmp_path):
    narrow, wide = make_stack(dtype=np.float32), make_stack()
    with pytest.raises(ValueError, match=r"a float64 stack after float32 ones; .*\.$"):
        write_stack(tmp_path / "a.npy", [narrow, wide])
    write_stack(tmp_path / "a.npy", [wide, narrow])
    assert_same_bits(read_stack(tmp_path / "a.npy"), np.concatenate([wide, narrow]))


def test_csv_holds_one_matrix(tmp_path):
    for source in (make_stack(n_matrices=2), list(make_stack(n_matrices=2))):
        with pytest.raises(ValueError, match=r"a\.csv: more than one matrix .* write \.mx or \.npy\.$"):
            write_stack(tmp_path / "a.csv", source)
    assert not os.listdir(tmp_path)


def test_arguments_are_refused_at_once(tmp_path):
    for function in (iter_stacks, read_stack, lambda path: write_stack(path, make_stack())):
        with pytest.raises(
            ValueError, match=re.escape(f"the suffix is '.txt'; expected one of {', '.join(SUFFIXES)}; ") + r".*\.$"
        ):
            function(tmp_path / "a.txt")
    for suffix in SUFFIXES:
        with pytest.raises(FileNotFoundError):
            iter_stacks(tmp_path / f"a{suffix}")
        write_stack(tmp_path / f"a{suffix}", make_stack(n_matrices=1))
        with pytest.raises(ValueError, match=r"chunk_size=0; expected a positive number .*\.$"):
            iter_stacks(tmp_path / f"a{suffix}", chunk_size=0)
