"""Commands between pipes, on full disks, and after they were killed: what they say where, and what is left."""

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import numpy as np
import pytest
from click.testing import CliRunner

from skdmi.cli import main
from skdmi.cli.dmx.generate import dmxdatasetgenerator
from skdmi.cli.dmx.invert import dmxinvert
from skdmi.cli.dmx.verify import dmxdatasetverify
from skdmi.cli.streams import Standard, open_stacks, open_text, say
from skdmi.io import read_stack, write_stack
from skdmi.io.stacks import StackWriter
from tests.matrices import make_stack
from tests.processes import killed
from tests.test_atomic import left_by_a_dead_writer, names, posix

GENERATE = "generate --matrix-size 3 --n-matrices 50 --random-state 0"
MODEL = "uniform-3x3-short"


def run(command, arguments, stdin=None, exit_code=0):
    result = CliRunner().invoke(command, arguments.split(), input=stdin)
    assert result.exit_code == exit_code, result.output
    return result


def bytes_of(name):
    with open(name, "rb") as file:
        return file.read()


@pytest.fixture
def work(tmp_path, monkeypatch):
    """Give a working directory with matrices and their inverses."""
    monkeypatch.chdir(tmp_path)
    A = make_stack("well", 20)
    write_stack("M.mx", A)
    write_stack("I.mx", np.linalg.inv(A))
    return tmp_path


# Standard input and output


def test_commands_make_a_pipe_that_gives_what_files_give(work):
    run(main, f"{GENERATE} --output A.mx")
    said = run(main, "invert A.mx X.mx").stdout
    generated = run(main, f"{GENERATE} --output -")
    assert generated.stdout_bytes == bytes_of("A.mx")
    assert generated.stderr == "50 matrices of 3 x 3 from Uniform(): standard output\n"
    inverted = run(main, "invert - -", generated.stdout_bytes)
    assert inverted.stdout_bytes == bytes_of("X.mx")
    assert inverted.stderr == said.replace("X.mx", "standard output")
    assert names(work) == ["A.mx", "I.mx", "M.mx", "X.mx"]


def test_one_of_two_files_may_be_standard_output(work):
    run(main, f"{GENERATE} --output A.mx --inverses B.mx")
    assert run(main, f"{GENERATE} --output - --inverses X.mx").stdout_bytes == bytes_of("A.mx")
    assert run(main, f"{GENERATE} --output Y.mx --inverses -").stdout_bytes == bytes_of("B.mx")
    assert (bytes_of("Y.mx"), bytes_of("X.mx")) == (bytes_of("A.mx"), bytes_of("B.mx"))


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        (main, "verify {} {}"),
        (main, f"score {{}} --model {MODEL} --inverses {{}}"),
        (dmxdatasetverify, "{} {} invertible"),
        (dmxinvert, "--inputmx {} --invtarget {} --inverseout X.mx --invert_mode numpy"),
    ],
    ids=["verify", "score", "dmxdatasetverify", "dmxinvert"],
)
def test_either_input_may_be_standard_input_but_not_both(command, arguments, work):
    def said(*files, stdin=None):
        # A file has its name in tables and sentences.
        return run(command, arguments.format(*files), stdin).stdout.replace("standard input", "I.mx").split()

    plain = said("M.mx", "I.mx")
    assert said("-", "I.mx", stdin=bytes_of("M.mx")) == plain
    assert said("M.mx", "-", stdin=bytes_of("I.mx")) == plain
    refused = run(command, arguments.format("-", "-"), bytes_of("M.mx"), exit_code=2)
    assert refused.stderr.startswith("Error: standard input can be read once,")


def test_dmxinvert_stands_in_a_pipe(work):
    options = f"--inputmx - --inverseout - --model {MODEL} --invtarget I.mx --plotout plot.png"
    result = run(dmxinvert, options, bytes_of("M.mx"))
    assert "20 certified" in result.stderr
    assert "against I.mx: R2" in result.stderr
    (work / "X.mx").write_bytes(result.stdout_bytes)
    np.testing.assert_allclose(read_stack("X.mx"), read_stack("I.mx"), atol=1e-12)
    assert bytes_of("plot.png").startswith(b"\x89PNG")


def test_plot_and_report_are_written_beside_standard_output(work):
    run(main, "invert M.mx X.mx --report R.csv")
    result = run(main, "invert - - --report S.csv --plot plot.png", bytes_of("M.mx"))
    assert result.stdout_bytes == bytes_of("X.mx")
    assert bytes_of("S.csv") == bytes_of("R.csv")
    assert bytes_of("plot.png").startswith(b"\x89PNG")
    result = run(main, "invert M.mx X.mx --report -")
    assert result.stdout.splitlines() == bytes_of("R.csv").decode().splitlines()
    assert result.stderr.startswith("20 matrices, ")


@pytest.mark.parametrize("arguments", [f"{GENERATE} --output - --inverses -", "invert M.mx - --report -"])
def test_standard_output_takes_one_thing(arguments, work):
    assert "is standard output, another file" in run(main, arguments, exit_code=2).stderr


@pytest.mark.parametrize(
    ("command", "arguments"),
    [(main, "invert - X.mx --report R.csv"), (main, "verify M.mx -"), (dmxinvert, "--inputmx - --invert_mode numpy")],
)
@pytest.mark.parametrize(("text", "said"), [(b"1,2\n3,x\n", ":2: got 'x'"), (b"", ":1: the file is empty")])
def test_what_is_broken_on_standard_input_is_named_by_line(command, arguments, text, said, work):
    (line,) = run(command, arguments, text, exit_code=1).stderr.splitlines()
    assert line.startswith(f"Error: standard input{said}; ")
    assert names(work) == ["I.mx", "M.mx"]


def test_a_matrix_on_standard_input_that_is_not_finite_is_named(work):
    stderr = run(main, "invert - -", b"1\nEND\nnan\n", exit_code=1).stderr
    assert stderr.startswith("Error: standard input: the matrix at index 1 has a NaN")


def test_where_dashes_mean_nothing_they_are_refused(work):
    for arguments in ("invert M.mx X.mx --plot -", "export any-size -", "train --matrix-size 2 --output m --data -"):
        run(main, arguments, exit_code=2)
    assert names(work) == ["I.mx", "M.mx"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_standard_output_is_named(monkeypatch):
    def fill_with_matrices():
        with open_stacks(Standard.OUTPUT) as writer:
            writer.write(make_stack())

    def fill_with_text():
        with open_text(Standard.OUTPUT) as text:
            text.write("index\n")

    for fill in (fill_with_matrices, fill_with_text, lambda: say("20 matrices")):
        stdout = open("/dev/full", "w")  # noqa: SIM115 - its end fails, too
        monkeypatch.setattr(sys, "stdout", stdout)
        with pytest.raises(OSError, match=r"No space left on device: 'standard output'$"):
            fill()
        with pytest.raises(OSError, match="No space left"):
            stdout.close()


def test_a_closed_standard_stream_is_an_error_of_one_line(work, monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(OSError, match=r"'standard output'$"), open_stacks(Standard.OUTPUT):
        pass


@pytest.mark.skipif(not os.path.isdir("/dev/fd"), reason="needs names of open files")
def test_pipes_of_any_name_are_text(work):
    """A shell names those of ``skdmi verify <(skdmi ...) I.mx``."""
    reader, writer = os.pipe()
    os.write(writer, bytes_of("M.mx"))
    os.close(writer)
    assert run(main, f"verify /dev/fd/{reader} I.mx").stdout.startswith("20 valid inverses")
    os.close(reader)


@pytest.mark.skipif(not os.path.exists("/dev/stdout"), reason="needs names of open files")
def test_names_of_standard_streams_are_those_streams(work):
    generated = run(main, f"{GENERATE} --output /dev/stdout")
    assert generated.stdout_bytes == run(main, f"{GENERATE} --output -").stdout_bytes
    assert generated.stderr.endswith(": standard output\n")
    assert run(main, "invert /dev/stdin /dev/fd/1", generated.stdout_bytes).stdout_bytes.count(b"END") == 50


@pytest.mark.skipif(not os.path.isdir("/dev/fd"), reason="needs names of open files")
def test_an_open_file_is_written_and_not_replaced(work):
    with open("log.mx", "wb") as file:
        write_stack(f"/dev/fd/{file.fileno()}", np.eye(3))
        file.seek(0, os.SEEK_END)
        file.write(b"END\n")
    assert bytes_of("log.mx").endswith(b"END\nEND\n")
    assert names(work) == ["I.mx", "M.mx", "log.mx"]


@posix
@pytest.mark.slow
def test_a_reader_that_has_seen_enough_ends_a_command_quietly(work):
    many = "generate --matrix-size 3 --n-matrices 1000000 --output - --inverses B.mx"
    command = [sys.executable, "-m", "skdmi.cli", *many.split()]
    with killed(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline().count(b",") == 2
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 1
    assert names(work) == ["I.mx", "M.mx"]


# Killed commands

DATA_SET = [
    f"set_{name}_3x3.mx"
    for name in ("matrices", "matrices_inverted", "singular_matrices", "singular_matrices_pseudoinverted")
]
WRITING = [
    pytest.param(main, f"{GENERATE} --output A.mx --inverses B.npy", ["A.mx", "B.npy"], id="generate"),
    pytest.param(main, "invert M.mx X.mx --report R.csv --plot P.png", ["X.mx", "R.csv", "P.png"], id="invert"),
    pytest.param(main, f"score M.mx --model {MODEL} --plot P.pdf", ["P.pdf"], id="score"),
    pytest.param(main, "export any-size E.onnx", ["E.onnx"], id="export"),
    pytest.param(
        dmxinvert, "--inputmx M.mx --inverseout X --invert_mode numpy --plotout P.svg", ["X", "P.svg"], id="dmxinvert"
    ),
    pytest.param(dmxdatasetgenerator, "3 10 -1 1 set", DATA_SET, id="dmxdatasetgenerator"),
]


@posix
@pytest.mark.parametrize(("command", "arguments", "targets"), WRITING)
def test_a_command_collects_what_it_left_when_it_was_killed(command, arguments, targets, work):
    left = {left_by_a_dead_writer(work / target) for target in targets}
    assert left < set(names(work))
    run(command, arguments)
    assert names(work) == sorted(["I.mx", "M.mx", *targets])


# What a process that is killed was asked to do, without end or waiting for more; and its next run.
KILLED = [
    (
        "generate --matrix-size 3 --n-matrices 1000000000 --output A.mx --inverses B.mx",
        f"{GENERATE} --output A.mx --inverses B.mx",
    ),
    ("invert - X.mx --report R.csv", "invert M.mx X.mx --report R.csv"),
]


def scratch(folder):
    return [name for name in names(folder) if name.startswith(".skdmi")]


def wait_until(true, process):
    """Wait as long as it takes on a busy machine."""
    for _ in range(3000):
        if true():
            return
        assert process.poll() is None, "it ended by itself"
        time.sleep(0.02)
    pytest.fail("nothing happened in a minute")


@posix
@pytest.mark.slow
@pytest.mark.parametrize(("endless", "again"), KILLED, ids=["generate", "invert"])
def test_after_a_kill_the_next_run_leaves_nothing(endless, again, work):
    write_stack("large.mx", make_stack("well", 40, 100))  # More than a chunk, so that writing begins.
    before = {name: bytes_of(name) for name in names(work)}
    with killed([sys.executable, "-m", "skdmi.cli", *endless.split()], stdin=subprocess.PIPE) as process:
        if " - " in endless:
            process.stdin.write(bytes_of("large.mx"))
            process.stdin.flush()
        wait_until(lambda: scratch(work), process)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert scratch(work)
    assert {name: bytes_of(name) for name in names(work) if name not in scratch(work)} == before
    run(main, again)
    assert not scratch(work)


# Full disks


@contextmanager
def files_of_at_most(n_bytes):
    """Let no file grow larger: what a disk does that is nearly full."""
    import resource  # where there is one

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@posix
@pytest.mark.parametrize(
    ("arguments", "target"),
    [
        ("generate --matrix-size 3 --n-matrices 1000 --output A.mx --inverses B.mx", "A.mx"),
        ("generate --matrix-size 50 --n-matrices 1 --output A.csv --inverses B.npy", "A.csv"),
        ("generate --matrix-size 50 --n-matrices 1 --output - --inverses B.npy", "B.npy"),
        ("invert large.mx M.mx", "M.mx"),
        ("invert large.mx - --report M.mx", "M.mx"),
        ("invert M.mx X.mx --plot M.png", "M.png"),
    ],
)
def test_a_command_on_a_full_disk_names_the_file_and_leaves_the_earlier_one(arguments, target, work):
    write_stack("large.mx", make_stack("well", 1000))
    for name in ("A.mx", "M.png"):
        (work / name).write_text("precious")
    before = {name: bytes_of(name) for name in names(work)}
    with files_of_at_most(5000):
        result = run(main, arguments, exit_code=1)
    assert result.stderr.splitlines()[-1] == f"Error: {target}: File too large."
    written = {name: bytes_of(name) for name in names(work)}
    assert {name: written.pop(name, None) for name in before} == before
    assert set(written) <= {"X.mx"}, "which was finished before"


@posix
@pytest.mark.parametrize("suffix", [".mx", ".npy", ".csv"])
def test_a_file_that_grows_too_large_is_named_and_the_earlier_one_is_whole(suffix, tmp_path):
    path = tmp_path / f"a{suffix}"
    small, large = (make_stack("well", 1, m) for m in (3, 100))
    with files_of_at_most(5000):
        write_stack(path, small)
        with pytest.raises(OSError, match=rf"File too large: '{path}'$"):
            write_stack(path, large)
    np.testing.assert_array_equal(read_stack(path), small)
    assert names(tmp_path) == [path.name]


@contextmanager
def small_disk(folder):
    """Give a file system of 64 kB, or skip where this user may mount none."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "skdmi-test", str(folder)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this user may mount no file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@posix
@pytest.mark.parametrize("suffix", [".mx", ".npy"])
def test_a_full_disk_is_named_by_the_file(suffix, tmp_path):
    with small_disk(tmp_path / "disk") as disk:
        path = disk / f"a{suffix}"
        write_stack(path, make_stack("well", 10))
        before = path.read_bytes()
        with pytest.raises(OSError, match=rf"No space left on device: '{path}'$"):
            write_stack(path, make_stack("well", 1, 200))
        assert names(disk) == [path.name]
        assert path.read_bytes() == before
        write_stack(path, make_stack("well", 10, seed=1))
        assert path.read_bytes() != before


def test_any_number_of_matrices_may_be_asked_for(work, monkeypatch):
    """They are written until the disk is full, or the reader has seen enough."""

    class Full(Exception):
        pass

    def write(self, stack):
        raise Full

    monkeypatch.setattr(StackWriter, "write", write)
    result = CliRunner().invoke(main, f"generate --matrix-size 3 --n-matrices {10**30} --output A.mx".split())
    assert isinstance(result.exception, Full)
    assert names(work) == ["I.mx", "M.mx"]


def test_a_stream_that_takes_a_few_bytes_at_a_time_gets_all(monkeypatch):
    """As standard output does where PYTHONUNBUFFERED is set, on a full disk for one."""
    taken = bytearray()

    class Slow:
        buffer = property(lambda self: self)

        def write(self, data):
            taken.extend(data[:7])
            return min(len(data), 7)

        def flush(self):
            pass

    monkeypatch.setattr(sys, "stdout", Slow())
    with open_stacks(Standard.OUTPUT) as writer:
        writer.write(make_stack("well", 20))
    assert taken.count(b"END\n") == 20
    with open_text(Standard.OUTPUT) as text:
        text.write("a report of more than seven bytes\n")
    assert taken.endswith(b"END\na report of more than seven bytes\n")
