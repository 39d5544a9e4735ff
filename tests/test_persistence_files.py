"""One file for a card and its arrays: what is written comes back, and what is damaged takes neither time nor memory."""

import os
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from skdmi.persistence import files, read_file, read_header, write_file
from tests.models import put_together, take_apart

CARD = {"class": "Thing", "loss": 0.1, "nested": {"list": [1, None, True, "ü \N{GRINNING FACE}"]}}
ARRAYS = {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.zeros(0), "n": np.array(3)}


@pytest.fixture
def path(tmp_path):
    write_file(tmp_path / "file.safetensors", CARD, ARRAYS)
    return tmp_path / "file.safetensors"


def test_what_is_written_comes_back(path):
    card, found = read_file(path)
    assert card == CARD
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array, strict=True)
        assert found[name].flags.writeable
    assert read_header(path) == (CARD, {name: (array.dtype, array.shape) for name, array in ARRAYS.items()})
    assert os.listdir(path.parent) == [path.name]


@settings(max_examples=50)
@given(
    array=st.sampled_from([np.float32, np.float64, np.int64, np.uint8]).flatmap(
        lambda dtype: arrays(dtype, array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
    )
)
def test_every_array_comes_back_bit_for_bit(tmp_path_factory, array):
    path = tmp_path_factory.mktemp("arrays") / "file"
    write_file(path, {}, {"x": array.T})
    found = read_file(path)[1]["x"]
    assert (found.dtype, found.shape) == (array.dtype, array.T.shape)
    assert found.tobytes() == array.T.tobytes()


def test_other_readers_of_safetensors_read_it(path):
    from safetensors.numpy import load_file

    assert all(np.array_equal(array, ARRAYS[name]) for name, array in load_file(path).items())


def test_equal_content_makes_equal_files(path):
    again = path.with_name("again")
    write_file(again, CARD, dict(reversed(ARRAYS.items())))
    assert again.read_bytes() == path.read_bytes()


def test_what_could_not_be_read_is_not_written(path):
    before = path.read_bytes()
    nested = []
    for _ in range(files.MAX_NESTING):
        nested = [nested]
    for card, array, error in [
        ({"function": print}, np.zeros(1), TypeError),
        ({"nested": nested}, np.zeros(1), ValueError),
        ({"many": [0] * files.MAX_VALUES}, np.zeros(1), ValueError),
        ({"long": "x" * files.MAX_HEADER}, np.zeros(1), ValueError),
        ({}, np.zeros(1, dtype=np.float16), ValueError),
    ]:
        with pytest.raises(error):
            write_file(path, card, {"x": array})
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_a_later_format_says_to_update(path):
    header, data = take_apart(path)
    header["__metadata__"]["version"] = "3"
    put_together(path, header, data)
    with pytest.raises(ValueError, match=r"written by a newer skdmi \(format 3, this one reads 2\)"):
        read_file(path)


def test_a_file_of_others_is_not_called_damaged(path):
    header, data = take_apart(path)
    for metadata in (None, {}, {"format": "pt"}, []):
        put_together(path, header | {"__metadata__": metadata}, data)
        with pytest.raises(ValueError, match="is not a file of skdmi"):
            read_header(path)


def change(**entry):
    def of(header):
        header["a.weight"] |= entry

    return of


def metadata(**changes):
    def of(header):
        header["__metadata__"] |= changes

    return of


DAMAGE = {
    "dtype": change(dtype="F16"),
    "dtype-list": change(dtype=["F32"]),
    "shape": change(shape=[2, 4]),
    "shape-negative": change(shape=[-2, -3]),
    "shape-bool": change(shape=[6, True]),
    "shape-float": change(shape=[2.0, 3]),
    "shape-text": change(shape="23"),
    "shape-huge": change(shape=[10**30, 10**30]),
    "shape-huge-and-empty": change(shape=[0, 10**11, 10**11], data_offsets=[0, 0]),
    "shape-long": change(shape=[1] * 4000 + [6]),
    "shape-long-and-huge": change(shape=[2**40] * 200_000),  # whose product would take minutes
    "offsets-apart": change(data_offsets=[4, 28]),
    "offsets-overlap": change(data_offsets=[0, 8], shape=[2, 1]),
    "offsets-beyond": change(data_offsets=[0, 10**12], shape=[25 * 10**10]),
    "offsets-negative": change(data_offsets=[-24, 0]),
    "offsets-null": change(data_offsets=None),
    "offsets-three": change(data_offsets=[0, 24, 24]),
    "offsets-infinite": change(data_offsets=[0, float("inf")]),
    "version-none": lambda header: header["__metadata__"].pop("version"),
    "version-text": metadata(version="two"),
    "version-number": metadata(version=2),
    "version-long": metadata(version="9" * 5000),
    "card-none": lambda header: header["__metadata__"].pop("card"),
    "card-object": metadata(card={}),
    "card-list": metadata(card="[]"),
    "card-wide": metadata(card='{"a": "\N{GRINNING FACE}"}'),
    "card-cut": metadata(card='{"a": '),
    "card-deep": metadata(card='{"a": ' + "[" * 100_000 + "]" * 100_000 + "}"),
    "card-deeper-than-allowed": metadata(card='{"a": ' + "[" * 70 + "]" * 70 + "}"),
    "card-many": metadata(card='{"a": [' + "[]," * files.MAX_VALUES + "0]}"),
    "card-digits": metadata(card='{"a": ' + "1" * 5000 + "}"),
    "entry": lambda header: header.update({"a.weight": 3}),
    "missing": lambda header: header.pop("a.weight"),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damage_is_one_line_that_names_the_file(path, damage):
    header, data = take_apart(path)
    damage(header)
    put_together(path, header, data)
    for door in (read_file, read_header):
        with pytest.raises(ValueError, match=r"file\.safetensors is damaged: .*\. Take it from a copy") as caught:
            door(path)
        assert len(str(caught.value)) < 600 + len(str(path))


def test_a_header_of_too_many_values_is_refused_for_that(path):
    header, data = take_apart(path)
    DAMAGE["card-many"](header)
    put_together(path, header, data)
    with pytest.raises(ValueError, match=rf"its header holds more than {files.MAX_VALUES:,} values\."):
        read_header(path)


@pytest.mark.parametrize("length", [0, 1, 2**20, 2**33, 2**64 - 1])
def test_a_header_that_lies_about_its_length(path, length):
    header, data = take_apart(path)
    put_together(path, header, data, length)
    with pytest.raises(ValueError, match="is damaged"):
        read_file(path)


@pytest.mark.parametrize("header", [b"", b"[]", b"nonsense", b'{"\xff": 1}', b"[" * 100_000, b" " * 100, b"\x00" * 8])
def test_a_header_that_is_none(path, header):
    put_together(path, header, b"")
    with pytest.raises(ValueError, match="is damaged"):
        read_file(path)


def test_every_cut_is_noticed(path):
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match="is damaged"):
            read_file(path)
    path.write_bytes(content + b"\x00")
    with pytest.raises(ValueError, match="is damaged"):
        read_file(path)


def test_a_long_header_is_refused_unread(path):
    with path.open("wb") as file:  # sparse
        file.write(struct.pack("<Q", 2**40))
        file.truncate(2**40 + 8)
    with pytest.raises(ValueError, match="at most 8,388,608 are allowed"):
        read_header(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in the file system")
def test_a_pipe_and_a_device_are_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(ValueError, match="is not a file but"):
            read_file(path)


def test_what_cannot_be_opened_is_an_os_error_with_its_name(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    for path in (tmp_path / "loop", tmp_path / "none", tmp_path / "none" / "file"):
        with pytest.raises(OSError, match=r"loop|none") as caught:
            read_file(path)
        assert caught.value.filename == os.fspath(path)


def test_a_file_that_is_cut_while_it_is_read(path):
    write_file(path, {}, {"a": np.zeros(100_000)})
    with files.open_file(path) as file:
        os.truncate(path, 400_000)
        with pytest.raises(ValueError, match="it ends within 'a'"):
            file.arrays()
