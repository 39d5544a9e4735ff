"""Laws of atomic writes: whole or not at all, in the user's name, and nothing is left that nobody writes."""

import errno
import os
import re
import signal
import stat
import subprocess
import sys
import threading

import pytest

from skdmi.io import atomic, atomic_path, read_stack, write_stack
from tests.matrices import make_stack

posix = pytest.mark.skipif(os.name != "posix", reason="permissions, links, pipes and locks of POSIX")


def names(folder):
    return sorted(os.listdir(folder))


@posix
def test_atomic_path_behaves_as_open(tmp_path):
    with open(tmp_path / "plain.txt", "w"), atomic_path(tmp_path / "new.txt"):
        pass
    mode = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain.txt", "new.txt")]
    assert mode[0] == mode[1]

    (tmp_path / "new.txt").chmod(0o640)
    (tmp_path / "link.txt").symlink_to("new.txt")
    with atomic_path(tmp_path / "link.txt") as temporary:
        temporary.write_text("through the link")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "new.txt").read_text() == "through the link"
    assert stat.S_IMODE((tmp_path / "new.txt").stat().st_mode) == 0o640


@pytest.mark.parametrize(
    "name",
    ["m" * 252 + ".mx", "m." + "x" * 253, "ü" * 126 + ".mx", ".mx"],
    ids=["long", "long suffix", "bytes", "suffix"],
)
def test_every_name_that_a_file_may_have_can_be_written(tmp_path, name):
    for text in ("old", "new"):
        with atomic_path(tmp_path / name) as temporary:
            temporary.write_text(text)
    assert (tmp_path / name).read_text() == "new"
    assert names(tmp_path) == [name]


@posix
def test_a_file_that_is_replaced_keeps_its_owner(tmp_path, monkeypatch):
    owners = []
    monkeypatch.setattr(os, "chown", lambda path, user, group: owners.append((user, group)))
    for _ in range(2):
        with atomic_path(tmp_path / "a.txt") as temporary:
            temporary.write_text("text")
    known = (tmp_path / "a.txt").stat()
    assert owners == [(known.st_uid, known.st_gid)]


@posix
def test_the_owner_can_read_and_write_what_replaces_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: True)  # as root, whom permissions do not stop
    (tmp_path / "a.txt").write_text("old")
    (tmp_path / "a.txt").chmod(0o040)
    with atomic_path(tmp_path / "a.txt") as temporary:
        assert stat.S_IMODE(temporary.stat().st_mode) == 0o640


def test_the_temporary_file_has_the_suffix(tmp_path):
    with atomic_path(tmp_path / "plot.PNG") as temporary:
        assert temporary.suffix == ".PNG"


@posix
def test_a_link_is_followed_to_a_file_that_is_not_there_yet(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link.mx").symlink_to("folder/new.mx")
    write_stack(tmp_path / "link.mx", make_stack())
    assert (tmp_path / "link.mx").is_symlink()
    assert names(tmp_path / "folder") == ["new.mx"]
    (tmp_path / "lost.mx").symlink_to("nowhere/new.mx")
    with pytest.raises(FileNotFoundError, match=r"lost\.mx"):
        write_stack(tmp_path / "lost.mx", make_stack())


@posix
@pytest.mark.parametrize("access", [read_stack, lambda path: write_stack(path, make_stack())])
def test_a_loop_of_links_is_refused(tmp_path, access):
    (tmp_path / "a.mx").symlink_to("b.mx")
    (tmp_path / "b.mx").symlink_to("a.mx")
    with pytest.raises(OSError, match=r"a\.mx") as caught:
        access(tmp_path / "a.mx")
    assert caught.value.errno == errno.ELOOP
    assert (tmp_path / "a.mx").is_symlink()
    assert names(tmp_path) == ["a.mx", "b.mx"]


def test_what_cannot_be_written_is_refused_by_the_name_it_was_given(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere.a\.mx"):
        write_stack(tmp_path / "nowhere" / "a.mx", make_stack())
    (tmp_path / "folder.mx").mkdir()
    with pytest.raises(OSError, match=r"not a file.*folder\.mx"):
        write_stack(tmp_path / "folder.mx", make_stack())


@posix
@pytest.mark.parametrize("protected", ["a.mx", "."])
def test_what_may_not_be_written_is_as_it_was(tmp_path, protected):
    (tmp_path / "a.mx").write_text("precious")
    (tmp_path / protected).chmod(0o555)
    try:
        if os.access(tmp_path / protected, os.W_OK):
            pytest.skip("this user may write everywhere")
        with pytest.raises(PermissionError, match=r"a\.mx'$"):
            write_stack(tmp_path / "a.mx", make_stack())
    finally:
        (tmp_path / protected).chmod(0o755)
    assert (tmp_path / "a.mx").read_text() == "precious"
    assert names(tmp_path) == ["a.mx"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EIO])
def test_an_error_without_a_file_names_the_one_that_is_written(tmp_path, number):
    (tmp_path / "a.mx").write_text("precious")

    def write_half():
        with atomic_path(tmp_path / "a.mx") as temporary:
            temporary.write_text("half")
            raise OSError(number, os.strerror(number))

    with pytest.raises(OSError, match=r"a\.mx'$") as caught:
        write_half()
    assert caught.value.errno == number
    assert caught.value.filename == str(tmp_path / "a.mx")
    assert (tmp_path / "a.mx").read_text() == "precious"
    assert names(tmp_path) == ["a.mx"]


def test_an_error_of_the_temporary_file_names_the_one_that_is_written(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"a\.mx'$"), atomic_path(tmp_path / "a.mx") as temporary:
        temporary.unlink()
    assert names(tmp_path) == []


@pytest.mark.parametrize("error", [OSError(errno.EIO, "no answer", "other.mx"), OSError("a text")], ids=str)
def test_other_errors_are_left_as_they_are(tmp_path, error):
    text = str(error)
    with pytest.raises(OSError, match=re.escape(text)) as caught, atomic_path(tmp_path / "a.mx"):
        raise error
    assert str(caught.value) == text


# Pipes and devices


@posix
def test_a_pipe_is_written_straight(tmp_path):
    os.mkfifo(tmp_path / "pipe.mx")
    reader = threading.Thread(target=lambda: received.append((tmp_path / "pipe.mx").read_bytes()))
    received = []
    reader.start()
    with atomic_path(tmp_path / "pipe.mx") as path:
        path.write_text("1\n")
    reader.join()
    assert received == [b"1\n"]
    assert names(tmp_path) == ["pipe.mx"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_device_is_written_straight_and_named_when_it_is_full():
    write_stack(os.devnull, make_stack(), format="mx")
    with pytest.raises(OSError, match=r"No space left on device: '/dev/full'$"):
        write_stack("/dev/full", make_stack(), format="mx")


# What killed writers leave


def left_by_a_dead_writer(path):
    """Leave what a process leaves that is killed while it writes: a temporary file that nobody holds."""
    with atomic_path(path) as temporary:
        pass
    path.unlink()
    temporary.write_text("half")
    return temporary.name


@posix
def test_the_next_write_of_a_file_collects_what_earlier_ones_left(tmp_path):
    others = {left_by_a_dead_writer(tmp_path / name) for name in ("b.mx", "a.npy")}
    for _ in range(3):
        left_by_a_dead_writer(tmp_path / "a.mx")
    assert len(names(tmp_path)) == 3, "each write collected the one before"
    write_stack(tmp_path / "a.mx", make_stack())
    assert set(names(tmp_path)) == {"a.mx", *others}


@posix
def test_a_failing_write_collects_too(tmp_path):
    left_by_a_dead_writer(tmp_path / "a.mx")
    with pytest.raises(ValueError, match="no matrix"):
        write_stack(tmp_path / "a.mx", [])
    assert names(tmp_path) == []


@posix
def test_what_cannot_be_collected_is_left(tmp_path):
    left = left_by_a_dead_writer(tmp_path / "a.mx")
    (tmp_path / left).unlink()
    (tmp_path / left).mkdir()
    write_stack(tmp_path / "a.mx", make_stack())
    assert names(tmp_path) == sorted([left, "a.mx"])


@posix
def test_living_writers_of_one_file_leave_each_other_alone(tmp_path):
    path = tmp_path / "a.mx"
    with atomic_path(path) as first:
        first.write_text("first")
        with atomic_path(path) as second:
            second.write_text("second")
            assert first.exists()
        assert path.read_text() == "second"
    assert path.read_text() == "first"
    assert names(tmp_path) == ["a.mx"]


@posix
def test_a_write_within_a_write_keeps_what_it_made_from_being_collected(tmp_path):
    stack = make_stack()
    with atomic_path(tmp_path / "a.mx") as outer:
        write_stack(outer, stack)
        write_stack(tmp_path / "a.mx", stack[:1])
        assert (read_stack(outer) == stack).all()
        with atomic_path(outer) as inner:
            inner_name = inner.name
            write_stack(inner, stack)
    assert (read_stack(tmp_path / "a.mx") == stack).all()
    (tmp_path / inner_name).touch()  # As if both had been killed: the inner one goes by the name of the outermost.
    write_stack(tmp_path / "a.mx", stack)
    assert names(tmp_path) == ["a.mx"]


@posix
def test_a_file_collected_before_it_is_locked_is_made_anew(tmp_path, monkeypatch):
    flock, collected = atomic.fcntl.flock, []

    def collect_first(descriptor, operation):
        if not collected:
            (name,) = names(tmp_path)
            collected.append(name)
            (tmp_path / name).unlink()
        flock(descriptor, operation)

    monkeypatch.setattr(atomic.fcntl, "flock", collect_first)
    with atomic_path(tmp_path / "a.mx") as temporary:
        assert temporary.name != collected[0]
        temporary.write_text("whole")
    assert (tmp_path / "a.mx").read_text() == "whole"


def test_where_there_are_no_locks_nothing_is_collected(tmp_path, monkeypatch):
    left = left_by_a_dead_writer(tmp_path / "a.mx")
    monkeypatch.setattr(atomic, "fcntl", None)
    write_stack(tmp_path / "a.mx", make_stack())
    assert names(tmp_path) == sorted([left, "a.mx"])


@posix
def test_no_descriptor_is_left_open(tmp_path):
    with atomic_path(tmp_path / "a.mx") as outer:
        write_stack(outer, make_stack())
    with pytest.raises(ValueError, match="no matrix"):
        write_stack(tmp_path / "a.mx", [])
    assert not atomic._held


@posix
def test_a_killed_process_leaves_what_the_next_write_collects(tmp_path):
    program = "from skdmi.io import atomic_path\nwith atomic_path('a.mx'):\n print(flush=True)\n input()"
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        write_stack(tmp_path / "a.mx", make_stack())
        assert len(names(tmp_path)) == 2, "the other process lives"
        process.send_signal(signal.SIGKILL)
    write_stack(tmp_path / "a.mx", make_stack())
    assert names(tmp_path) == ["a.mx"]
