"""Bars: on a terminal the rate and the time that remains, elsewhere nothing, and never on a line with other text."""

import io
import os
import re
import subprocess
import sys
import threading
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.model_selection import GridSearchCV, ShuffleSplit
from tqdm import tqdm

import skdmi
from skdmi import BlockInverter, EnsembleInverter, ExactInverter, NeuralMatrixInverter, RefinedInverter
from skdmi import progress as module
from skdmi.cli import main
from skdmi.cli.streams import expected_count
from skdmi.datasets import judge
from skdmi.exceptions import SingularMatrixWarning
from skdmi.progress import Bar, above_bars, close_bars, is_watched, progress, trainings
from tests.matrices import make_stack

TINY = {"depth": 1, "width": 2, "max_epochs": 2, "batches_per_epoch": 3, "batch_size": 16, "random_state": 0}
A_BAR = re.compile(r"\d+%\|.*\| [\d.]+[kM]?/[\d.]+[kM]? \[\d+:\d+<(\d+:\d+|\?), .*\]")
"""How many of how many, how long, how long yet, and the rate."""
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # nothing need be gained


class Terminal(io.StringIO):
    def isatty(self):
        return True

    def screen(self):
        """Return the lines that a terminal would show."""
        lines, row, column, text = [""], 0, 0, self.getvalue()
        for part in re.findall(r"\x1b\[\d*A|\r|\n|[^\r\n\x1b]+", text):
            if part == "\r":
                column = 0
            elif part == "\n":
                row, lines = row + 1, [*lines, *[""] * (row + 2 - len(lines))]
            elif part[0] == "\x1b":
                row -= int(part[2:-1] or 1)
            else:
                line = lines[row].ljust(column)
                lines[row] = line[:column] + part + line[column + len(part) :]
                column += len(part)
        return [line.rstrip() for line in lines if line.strip()]


class Immediate(tqdm):
    """A bar that is drawn at every advance, however soon it comes after another."""

    def __init__(self, *args, **options):
        super().__init__(*args, mininterval=0, miniters=1, **options)


@pytest.fixture
def terminal(monkeypatch):
    """Make stderr a terminal for bars, which are drawn at once; pytest puts its own back between fixture and test."""
    monkeypatch.setattr(module, "SECONDS_OF_SILENCE", 0)
    monkeypatch.setattr("skdmi.estimators.base.PARTS", 1)  # so that 1,100 matrices have two or more
    monkeypatch.setattr("tqdm.tqdm", Immediate)
    found = Terminal()
    monkeypatch.setattr(module, "sys", SimpleNamespace(stderr=found, modules=sys.modules))
    return found


def inverters(verbose=0, m=16):
    network = NeuralMatrixInverter(**TINY | {"max_epochs": 0}, matrix_size=m, verbose=verbose)
    return {
        "exact": ExactInverter(verbose=verbose),
        "direct": RefinedInverter(verbose=verbose),
        "network": network,
        "refined network": RefinedInverter(network, verbose=verbose),
        "blocks": BlockInverter(ExactInverter(), block_size=8, verbose=verbose),
        "ensemble": EnsembleInverter(network, n_estimators=2, random_state=0, verbose=verbose),
    }


LONG = make_stack("well", 1100, 16)
DOORS = {
    "inv": lambda verbose: skdmi.inv(LONG, verbose=verbose),
    "a fit": lambda verbose: NeuralMatrixInverter(matrix_size=3, verbose=verbose, **TINY).fit().best_loss_,
    "an ensemble": lambda verbose: len(
        EnsembleInverter(NeuralMatrixInverter(matrix_size=3, **TINY), verbose=verbose).fit().estimators_
    ),
    "an audit": lambda verbose: judge(np.linalg.inv, families=["permutation"], verbose=verbose).counts(),
    **{
        f"transform, {name}": lambda verbose, name=name: inverters(verbose)[name].fit(LONG[:30]).transform(LONG)
        for name in inverters()
    },
    "residual norms": lambda verbose: RefinedInverter(verbose=verbose).residual_norms(LONG),
}


@pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)
class TestWhatIsShown:
    def test_on_a_terminal_the_rate_and_what_remains(self, door, terminal):
        door(1)
        assert A_BAR.search(terminal.getvalue())
        assert terminal.screen() == []  # nothing is left of it

    def test_nothing_without_verbose(self, door, terminal):
        door(0)
        assert terminal.getvalue() == ""

    def test_nothing_off_a_terminal(self, door, capsys):
        door(1)
        assert capsys.readouterr().err == ""

    def test_no_bit_is_changed(self, door, terminal):
        np.testing.assert_array_equal(door(1), door(0))


@pytest.mark.parametrize(("name", "n"), [("network", 15_000), ("ensemble", 15_000), ("refined network", 30_000)])
def test_no_bit_is_changed_where_chunks_are_of_odd_length(name, n, terminal):
    A = make_stack("well", n, 3)
    quiet, watched = (inverters(verbose, m=3)[name].fit().transform(A) for verbose in (0, 1))
    np.testing.assert_array_equal(quiet, watched)
    assert A_BAR.search(terminal.getvalue())


class TestWho:
    def test_threads_are_silent(self, terminal):
        thread = threading.Thread(target=DOORS["inv"], args=[1])
        thread.start()
        thread.join()
        assert terminal.getvalue() == ""

    def test_workers_are_silent(self, terminal, monkeypatch):
        monkeypatch.setattr(module, "parent_process", lambda: object())
        DOORS["a fit"](1)
        assert terminal.getvalue() == ""

    @pytest.mark.parametrize("stderr", [None, object(), "closed"], ids=["none", "no file", "closed"])
    def test_without_a_stderr_there_is_silence(self, stderr, monkeypatch):
        if stderr == "closed":
            stderr = Terminal()
            stderr.isatty = io.StringIO.isatty.__get__(stderr)
            stderr.close()
        monkeypatch.setattr(module, "sys", SimpleNamespace(stderr=stderr, modules=sys.modules))
        assert not is_watched()
        with progress(3, "things") as bar, above_bars():
            bar.advance()


def show_on_stderr(message):
    """Show a warning as Python does where nobody records it, as pytest does."""
    print(f"{message.category.__name__}: {message.message}", file=sys.stderr)


class TestLines:
    def test_warnings_and_prints_stand_on_lines_of_their_own(self, terminal, monkeypatch):
        monkeypatch.setattr(sys, "stdout", terminal)
        monkeypatch.setattr(sys, "stderr", terminal)
        monkeypatch.setattr(warnings, "showwarning", warnings._showwarning_orig)
        monkeypatch.setattr(warnings, "_showwarnmsg_impl", show_on_stderr)
        with progress(3, "things", label="outer") as outer, progress(5, "parts") as inner:
            for step in range(3):
                outer.advance()
                inner.advance(loss=step)
                warnings.showwarning(UserWarning(f"warned at {step}"), UserWarning, "a_file.py", 1)
                with above_bars():
                    print(f"printed at {step}")
            assert any("outer: 100%" in line for line in terminal.screen())
        expected = [f"{text} at {step}" for step in range(3) for text in ("UserWarning: warned", "printed")]
        assert terminal.screen() == expected

    def test_the_log_of_a_training_stands_above_its_bar(self, terminal, monkeypatch):
        monkeypatch.setattr(sys, "stdout", terminal)
        DOORS["a fit"](1)
        lines = terminal.screen()
        assert lines[0].startswith("epoch 0, before training: valid_loss")
        assert [line.split()[0] for line in lines[3:5]] == ["1", "2"]
        assert "training:  50%" in terminal.getvalue()
        assert not any("|" in line for line in lines)

    def test_recorded_warnings_are_recorded_and_the_hook_is_put_back(self, terminal):
        hook = warnings.showwarning
        with pytest.warns(UserWarning, match="recorded"), progress(1, "things"):
            warnings.warn("recorded", UserWarning, stacklevel=1)
        assert warnings.showwarning is hook
        with pytest.raises(KeyError), progress(1, "things"):
            raise KeyError
        assert warnings.showwarning is hook

    def test_one_warning_with_the_indices_of_the_whole_stack(self, terminal):
        A = LONG.copy()
        A[[3, 1099]] = 0.0
        with pytest.warns(SingularMatrixWarning, match=r"2 of 1100 matrices .* at index 3, 1099") as caught:
            X = skdmi.inv(A, verbose=1)
        assert len(caught) == 1
        assert np.flatnonzero(np.isnan(X).any(axis=(1, 2))).tolist() == [3, 1099]

    def test_what_failed_leaves_no_bar(self, terminal):
        stacks = iter_under_bar()
        next(stacks)
        assert terminal.screen()
        close_bars()
        assert terminal.screen() == []
        stacks.close()


def iter_under_bar():
    with progress(3, "things") as bar:
        bar.advance()
        yield bar


def test_a_resumed_training_begins_where_it_was(tmp_path, terminal):
    once = {"matrix_size": 3, "checkpoint_dir": tmp_path, "verbose": 1, "patience": None}

    class Killed(BaseException):
        pass

    class Kill(skorch_callback()):
        def on_epoch_begin(self, net, **kwargs):
            if len(net.history) == 3:
                raise Killed

    with pytest.raises(Killed):
        NeuralMatrixInverter(**TINY | {"max_epochs": 4}, callbacks=[Kill()], **once).fit()
    terminal.truncate(0)
    NeuralMatrixInverter(**TINY | {"max_epochs": 4}, **once).fit()
    assert re.search(r"training:  50%.* 96/192 ", terminal.getvalue())
    assert "training:   0%" not in terminal.getvalue()


def skorch_callback():
    from skorch.callbacks import Callback

    return Callback


class TestTrainings:
    def test_a_search_is_counted(self, terminal):
        search = GridSearchCV(
            NeuralMatrixInverter(**TINY), {"depth": [1, 2]}, cv=ShuffleSplit(2, random_state=0), error_score="raise"
        )
        with trainings(2 * 2 + 1):
            search.fit(make_stack("well", 40, 3))
        assert A_BAR.search(terminal.getvalue())
        assert "100%" in terminal.getvalue()
        assert "5/5" in terminal.getvalue()

    def test_without_a_terminal_nothing_is_counted_or_said(self, capsys):
        with trainings():
            NeuralMatrixInverter(matrix_size=3, **TINY).fit()
        assert capsys.readouterr().err == ""


class TestCommands:
    @pytest.mark.parametrize(("suffix", "n"), [("mx", 1), ("mx", 1000), ("npy", 1000), ("csv", 1)])
    def test_how_many_there_are_is_told_by_the_beginning(self, suffix, n, tmp_path, monkeypatch):
        path = tmp_path / f"A.{suffix}"
        skdmi.io.write_stack(path, make_stack("well", n, 4))
        expected = None if suffix == "csv" else n
        assert expected_count(path) == expected
        monkeypatch.setattr("skdmi.cli.streams.BEGINNING", 2**14)
        assert expected_count(path) == (pytest.approx(expected, rel=0.01) if expected else None)

    @pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"\x93NUMPY\x01\x00\xff\xff(((((", b"1,2\n"])
    def test_what_cannot_be_told_is_not(self, content, tmp_path):
        path = tmp_path / "A.npy"
        path.write_bytes(content)
        assert expected_count(path) is None
        assert expected_count(tmp_path / "none.mx") is None

    @pytest.mark.parametrize("command", ["invert", "generate", "train", "verify", "score"])
    def test_nothing_is_drawn_off_a_terminal(self, command, tmp_path):
        A = tmp_path / "A.mx"
        skdmi.io.write_stack(A, make_stack("well", 5, 3))
        network = "uniform-3x3-short"
        arguments = {
            "invert": [A, tmp_path / "X.mx"],
            "generate": ["--matrix-size", 3, "--output", tmp_path / "G.mx"],
            "train": ["--matrix-size", 3, "--epochs", 1, "--batches-per-epoch", 2, "--output", tmp_path / "model"],
            "verify": [A, A, "--kind", "inverse"],
            "score": [A, "--model", network],
        }[command]
        result = CliRunner().invoke(main, [command, *map(str, arguments)])
        assert result.exit_code == (command == "verify"), result.output
        assert "%|" not in result.stderr
        assert "\r" not in result.stderr


pty = pytest.importorskip("pty", reason="there are no pseudo-terminals")
termios = pytest.importorskip("termios")


def on_terminal(*arguments):
    """Run a command whose stderr is a terminal; return what it wrote there, and on stdout."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (40, 100))  # Where there is no room nothing is drawn.
    process = subprocess.Popen(
        [sys.executable, "-m", "skdmi.cli", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=theirs,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    os.close(theirs)
    shown = Terminal()
    reader = threading.Thread(target=read_all, args=[ours, shown])
    reader.start()
    output, _ = process.communicate(timeout=120)
    reader.join()
    os.close(ours)
    return process.returncode, shown, output


def read_all(descriptor, into):
    while True:
        try:
            part = os.read(descriptor, 2**16)
        except OSError:  # The last of the others has closed it.
            return
        if not part:
            return
        into.write(part.decode(errors="replace"))


@pytest.mark.slow
def test_a_command_on_a_terminal_draws_there_and_writes_matrices_alone(tmp_path):
    A = make_stack("well", 100_000, 3)
    A[7] = 0.0
    skdmi.io.write_stack(tmp_path / "A.mx", A)
    code, shown, output = on_terminal("invert", tmp_path / "A.mx", "-")
    assert code == 0
    assert A_BAR.search(shown.getvalue())
    assert "NaN" in " ".join(shown.screen())
    assert not any("%|" in line for line in shown.screen())
    skdmi.io.write_stack(tmp_path / "X.mx", (X := skdmi_inv_quietly(A)))
    assert output == (tmp_path / "X.mx").read_bytes()
    assert len(X) == 100_000


def skdmi_inv_quietly(A):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SingularMatrixWarning)
        return skdmi.inv(A)


def test_a_bar_that_nobody_sees_takes_figures():
    bar = Bar()
    bar.advance(3, loss=1.0)
    assert isinstance(bar, Bar)
