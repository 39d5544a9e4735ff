"""The commands of DeepMatrixInversion: what they write, print and refuse, and that a script made for it runs."""

import os
import subprocess
import sys
import time
from importlib.metadata import entry_points
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import skdmi
from skdmi.cli import main
from skdmi.cli.dmx.generate import dmxdatasetgenerator
from skdmi.cli.dmx.invert import dmxinvert
from skdmi.cli.dmx.train import dmxtrain
from skdmi.cli.dmx.verify import dmxdatasetverify
from skdmi.io import read_stack, write_stack
from skdmi.persistence import read_file
from tests.marks import slow_but
from tests.matrices import make_stack
from tests.models import card_of

COMMANDS = ("dmxdatasetgenerator", "dmxdatasetverify", "dmxinvert", "dmxtrain")
NAMES = (
    "matrices",
    "matrices_inverted",
    "singular_matrices",
    "singular_matrices_pseudoinverted",
)
TINY = ("--nlayers", 1, "--nunits", 4, "--nmx_samples", 64, "--batch_size", 32, "--epochs", 0, "--n_repeats", 2)
TINY += ("--n_jobs", 1)  # the start of other processes takes longer than the work
may_gain_nothing = pytest.mark.filterwarnings("default::sklearn.exceptions.ConvergenceWarning")


def run(command, *arguments):
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def succeed(command, *arguments):
    result = run(command, *arguments)
    assert result.exit_code == 0, result.stderr
    return result.stdout


def fail(command, *arguments, exit_code=1):
    """Run a command that must fail with one line on stderr."""
    result = run(command, *arguments)
    assert result.exit_code == exit_code, result.output
    assert isinstance(result.exception, SystemExit)
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: ")
    return line


def train(prefix, *options):
    """Train a tiny ensemble; return its directory and what was printed."""
    result = run(dmxtrain, "--msize", 3, "--mout", prefix, "--random-state", 0, *TINY, *options)
    assert result.exit_code == 0, result.stderr
    (directory,) = prefix.parent.glob(f"{prefix.name}_{'[0-9]' * 14}")
    return directory, result


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return train(tmp_path_factory.mktemp("models") / "M")[0]


@pytest.fixture
def work(tmp_path, monkeypatch):
    """Give a working directory with matrices, their inverses, and files that do not fit."""
    monkeypatch.chdir(tmp_path)
    A = make_stack("well", 20)
    write_stack("M.mx", A)
    write_stack("I.mx", np.linalg.inv(A))
    write_stack("few.mx", A[:5])
    write_stack("large.mx", make_stack("well", 20, 4))
    Path("broken.mx").write_text("1,2\n3\nEND\n")
    Path("file").write_text("precious")
    Path("old").mkdir()
    Path("old/config.toml").write_text("msize = 3\n")
    return tmp_path


def test_the_commands_are_installed_and_their_help_imports_neither_torch_nor_sklearn():
    installed = {point.name: point.value for point in entry_points(group="console_scripts") if point.name in COMMANDS}
    assert sorted(installed) == list(COMMANDS)
    program = f"""
import sys
from importlib import import_module
from click.testing import CliRunner
for name, value in {installed}.items():
    module, _, function = value.partition(":")
    result = CliRunner().invoke(getattr(import_module(module), function), ["--help"])
    assert result.exit_code == 0, result.output
    assert "Example:\\n    " + name in result.stdout
print(sorted({{"torch", "sklearn", "skorch", "scipy", "matplotlib"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")


# dmxdatasetgenerator and dmxdatasetverify


@pytest.mark.parametrize("m", slow_but([1, 3, 12], range(1, 13)))
def test_generated_data_sets_are_valid_to_every_command(m, tmp_path):
    prefix = tmp_path / "set_-1+1"
    output = succeed(dmxdatasetgenerator, m, 30, -1, 1, prefix, "--random-state", 0)
    files = [f"{prefix}_{name}_{m}x{m}.mx" for name in NAMES]
    assert output.splitlines() == files
    assert sorted(tmp_path.iterdir()) == sorted(map(Path, files))
    A, X, S, P = map(read_stack, files)
    assert A.shape == X.shape == S.shape == P.shape == (30, m, m)
    assert abs(A).max() <= 1
    assert abs(np.linalg.det(A)).min() > 0.1
    np.testing.assert_allclose(A @ X, np.broadcast_to(np.eye(m), A.shape), atol=1e-9)
    ranks = np.linalg.matrix_rank(S)
    assert ranks.min() >= min(1, m - 1)
    assert ranks.max() <= m - 1
    assert m < 3 or len(set(ranks)) > 1
    for kind, other, pair in (("invertible", "inverse", files[:2]), ("singular", "pseudo-inverse", files[2:])):
        assert succeed(dmxdatasetverify, *pair, kind) == "Dataset valid.\n"
        succeed(main, "verify", *pair, "--kind", other)


def test_singular_matrices_are_singular_in_their_very_bits(tmp_path):
    flint = pytest.importorskip("flint")
    succeed(dmxdatasetgenerator, 5, 20, -0.3, 7, tmp_path / "set", "--random-state", 1)
    for S in read_stack(tmp_path / "set_singular_matrices_5x5.mx"):
        exact = flint.fmpq_mat(5, 5, [flint.fmpq(*map(int, float(entry).as_integer_ratio())) for entry in S.flat])
        assert exact.det() == 0


def test_the_same_seed_gives_the_same_data_set(tmp_path):
    for prefix in ("a", "b"):
        succeed(dmxdatasetgenerator, 3, 10, -2.5, -0.5, tmp_path / prefix, "--random-state", 7)
    for name in NAMES:
        a, b = (read_stack(tmp_path / f"{prefix}_{name}_3x3.mx") for prefix in ("a", "b"))
        np.testing.assert_array_equal(a, b)


def test_verify_says_what_is_wrong_with_which_matrix(work):
    X = read_stack("I.mx")
    X[3] *= 1.01
    X[5] = np.nan
    write_stack("wrong.csv", X, format="mx")
    result = run(dmxdatasetverify, "M.mx", "wrong.csv", "invertible")
    assert result.exit_code == 1
    first, second = result.stdout.splitlines()
    assert first.startswith("matrix 3: ||I - A X|| is 0.0173, expected at most 0.001")
    assert second == "matrix 5: the inverse is missing (NaN)"
    assert "2 of 20" in result.stderr
    assert run(dmxdatasetverify, "M.mx", "M.mx", "singular").exit_code == 1


# dmxtrain


@may_gain_nothing
def test_train_writes_an_ensemble_with_readable_configuration(tmp_path):
    options = ("--epochs", 1, "--rmin", -2, "--rmax", 3, "--plotout", tmp_path / "plot.png")
    directory, result = train(tmp_path / "new" / "M", *options)
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert str(directory) in result.stdout
    assert len(result.stdout.splitlines()) == 1
    assert "network 2 of 2" in result.stderr
    assert sorted(path.name for path in directory.iterdir()) == ["README.md", "model.safetensors"]
    assert len(card_of(directory)["members"]) == 2
    ensemble = skdmi.EnsembleInverter.from_pretrained(directory)
    for one in ensemble.estimators_:
        member = one.estimator
        assert (member.depth, member.width, member.block, member.verbose) == (1, 4, "polynomial", 0)
        assert member.n_matrices_seen_ == 64
        assert member.distribution_ == skdmi.distributions.Uniform(-2, 3, min_abs_det=0.1)
    seeds = [one.estimator.random_state for one in ensemble.estimators_]
    assert seeds[0] != seeds[1]
    assert card_of(directory)["class"] == "EnsembleInverter"
    assert "2 of 2" not in succeed(main, "info", directory)


@may_gain_nothing
@pytest.mark.parametrize("n_jobs", slow_but([1], [1, 2]))
def test_train_says_once_how_many_networks_gained_nothing(n_jobs, tmp_path):
    """Of 1 x 1 matrices there is nothing to learn."""
    _, result = train(tmp_path / "M", "--msize", 1, "--epochs", 1, "--n_jobs", n_jobs)
    assert "; 2 of 2 networks untrained; saved" in result.stdout
    (warning,) = [line for line in result.stderr.splitlines() if "Warning" in line]
    assert warning.startswith("Warning: 2 of 2 networks: Training gained nothing on these matrices")


def test_train_for_no_epochs_gives_untrained_networks(tmp_path):
    directory, result = train(tmp_path / "M")
    assert "; 2 of 2 networks untrained; saved" in result.stdout
    assert "Warning" not in result.stderr
    assert succeed(main, "info", directory).count(", untrained") == 2


@may_gain_nothing
@pytest.mark.parametrize("block", ["polynomial", "feedback", "dense"])
def test_every_kind_of_network_can_be_trained(block, tmp_path):
    directory, _ = train(tmp_path / "M", "--epochs", 1, "--block", block)
    assert {one.estimator.block for one in skdmi.EnsembleInverter.from_pretrained(directory).estimators_} == {block}


@pytest.mark.parametrize(("block", "depth", "width"), [("polynomial", 3, 16), ("dense", 7, 128)])
def test_depth_and_width_are_by_default_those_of_the_kind_of_network(block, depth, width, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(skdmi.NeuralMatrixInverter, "fit", lambda self: asked.append(self) or 1 / 0)
    result = run(dmxtrain, "--msize", 3, "--block", block, "--mout", tmp_path / "M", "--n_jobs", 1)
    assert isinstance(result.exception, ZeroDivisionError)
    (network,) = asked
    assert (network.depth, network.width, network.max_epochs) == (depth, width, 100)
    assert network.batch_size * network.batches_per_epoch == pytest.approx(1_000_000, rel=1e-3)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@may_gain_nothing
def test_networks_trained_at_a_time_are_those_trained_in_turn(tmp_path):
    # Of large matrices a few steps gain something.
    folders = [train(tmp_path / f"M{n_jobs}", "--epochs", 2, "--msize", 16, "--n_jobs", n_jobs)[0] for n_jobs in (1, 2)]
    (_, first), (_, second) = (read_file(folder / "model.safetensors") for folder in folders)
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


def test_trainings_that_begin_in_the_same_second_get_directories_of_their_own(tmp_path, monkeypatch):
    ticks = count()
    monkeypatch.setattr(time, "strftime", lambda _: f"{20240920182800 + next(ticks) // 2}")
    (tmp_path / "M_20240920182800").mkdir()
    directory, _ = train(tmp_path / "N")
    assert directory.name == "N_20240920182800"
    result = run(dmxtrain, "--msize", 3, "--mout", tmp_path / "M", *TINY)
    assert (tmp_path / "M_20240920182801" / "model.safetensors").is_file(), result.stderr
    assert list((tmp_path / "M_20240920182800").iterdir()) == []


def test_ctrl_c_saves_what_there_is(tmp_path, monkeypatch):
    fit, calls = skdmi.NeuralMatrixInverter.fit, count()

    def fit_until_interrupted(self, X=None, y=None):
        fit(self, X, y)
        if next(calls) == 1:
            raise KeyboardInterrupt
        return self

    monkeypatch.setattr(skdmi.NeuralMatrixInverter, "fit", fit_until_interrupted)
    result = run(dmxtrain, "--msize", 3, "--mout", tmp_path / "M", *TINY, "--n_repeats", 5)
    assert result.exit_code == 130
    assert result.stderr.splitlines()[-1] == "Interrupted."
    (directory,) = tmp_path.iterdir()
    assert len(skdmi.EnsembleInverter.from_pretrained(directory).estimators_) == 2


# dmxinvert


@pytest.mark.parametrize("m", slow_but([1, 3, 12], range(1, 13)))
def test_matrices_of_any_size_are_inverted_and_certified(m, model, tmp_path):
    A = make_stack("well", 4, m)
    write_stack(tmp_path / "A.mx", A)
    options = ("--inputmx", tmp_path / "A.mx", "--inverseout", tmp_path / "X.csv")
    for mode in (("--model", model), ("--invert_mode", "numpy")):
        result = run(dmxinvert, *options, *mode)
        assert "4 certified" in result.stdout
        assert result.stderr == ""
        np.testing.assert_allclose(read_stack(tmp_path / "X.csv"), np.linalg.inv(A), atol=1e-12)
    succeed(main, "verify", tmp_path / "A.mx", tmp_path / "X.csv")


def test_raw_inverses_are_what_the_ensemble_answers(work, model):
    output = succeed(dmxinvert, "--inputmx", "M.mx", "--inverseout", "X.npy", "--model", model, "--raw")
    A = read_stack("M.mx")
    np.testing.assert_array_equal(read_stack("X.npy"), skdmi.load_pretrained(model).transform(A))
    assert "certified" not in output
    succeed(dmxinvert, "--inputmx", "large.mx", "--inverseout", "X.npy", "--model", model, "--raw")
    assert skdmi.metrics.frobenius_residuals(read_stack("large.mx"), read_stack("X.npy")).max() < 1e-6


@pytest.mark.parametrize("mode", ["nn", "numpy"])
def test_singular_matrices_are_named_and_get_pseudo_inverses(mode, work, model):
    A = read_stack("M.mx")
    A[[2, 3, 4, 19]] = make_stack("singular", 4)
    write_stack("M.mx", A)
    result = run(dmxinvert, "--inputmx", "M.mx", "--inverseout", "X.mx", "--model", model, "--invert_mode", mode)
    assert result.exit_code == 0
    (line,) = result.stderr.splitlines()
    assert line.startswith("Warning: 4 of 20 matrices are singular to working precision, so pseudo-inverses")
    assert line.endswith("index 2-4, 19.")
    np.testing.assert_allclose(read_stack("X.mx"), np.linalg.pinv(A, rcond=1e-13), atol=1e-12)
    result = run(dmxinvert, "--inputmx", "M.mx", "--inverseout", "X.mx", "--invert_mode", "numpy", "--raw")
    assert result.exit_code == 0
    assert result.stderr.splitlines()[-1].endswith("have no inverse, so NaN is written: index 2-4, 19.")


def test_a_target_is_compared_and_plotted(work, model):
    options = ("--inputmx", "M.mx", "--inverseout", "out", "--model", model)
    output = succeed(dmxinvert, *options, "--invtarget", "I.mx", "--plotout", "plot.pdf")
    assert Path("plot.pdf").read_bytes().startswith(b"%PDF")
    assert "against I.mx: R2 1 - " in output
    write_stack("I.mx", 2 * read_stack("I.mx"))
    wrong = succeed(dmxinvert, *options, "--invtarget", "I.mx").splitlines()[-1]
    assert float(wrong.rpartition("MAE ")[2]) == pytest.approx(abs(read_stack("I.mx") / 2).mean(), rel=1e-2)


def test_without_a_target_the_plot_is_against_lapack_and_without_a_display_not_shown(work, model, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")
    result = run(dmxinvert, "--inputmx", "M.mx", "--inverseout", "out", "--model", model, "--plotout", "screen")
    assert result.exit_code == 0
    assert "against LAPACK: R2 1 - " in result.stdout
    (line,) = result.stderr.splitlines()
    assert line.startswith("Warning: There is no display")
    assert not Path("screen").exists()


def test_shipped_models_are_known_by_name(work):
    options = ("--inputmx", "M.mx", "--inverseout", "X.mx", "--model", "uniform-3x3-short")
    assert "20 certified" in succeed(dmxinvert, *options)


def test_retired_models_say_what_to_use(work):
    result = run(dmxinvert, "--inputmx", "M.mx", "--inverseout", "X.mx", "--model", "general")
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)
    assert result.stderr.startswith("Error: 'general' was retired in 0.2.0: ")


# Failures


@pytest.mark.parametrize(
    ("command", "arguments", "exit_code", "text"),
    [
        (dmxtrain, "", 2, "Missing option '--msize'"),
        (dmxtrain, "--msize 0", 2, "--msize"),
        (dmxtrain, "--msize 3 --rmin 1 --rmax -1", 2, "from 1 to -1"),
        (dmxtrain, "--msize 3 --rmin 0 --rmax 0.1", 1, "min_abs_det=0.1"),
        (dmxtrain, "--msize 3 --block none", 2, "polynomial"),
        (dmxtrain, "--msize 3 --plotout plot.txt", 2, ".png"),
        (dmxtrain, "--msize 3 --mout file/M", 1, "file"),
        (dmxtrain, "--msize 3 --epoch 5", 2, "--epochs"),
        (dmxinvert, "--model uniform-3x3-short", 2, "Missing option '--inputmx'"),
        (dmxinvert, "--inputmx M.mx", 2, "Missing option '--model'"),
        (dmxinvert, "--inputmx none.mx --model uniform-3x3-short", 2, "none.mx"),
        (dmxinvert, "--inputmx M.mx --model none", 1, "uniform-3x3-short"),
        (dmxinvert, "--inputmx M.mx --model old", 2, "dmxtrain"),
        (dmxinvert, "--inputmx M.mx --model uniform-3x3-short --invert_mode tf", 2, "numpy"),
        (dmxinvert, "--inputmx M.mx --model uniform-3x3-short --inverseout no/X.mx", 1, "no/X.mx"),
        (dmxinvert, "--inputmx M.mx --model uniform-3x3-short --inverseout old", 2, "old"),
        (
            dmxinvert,
            "--inputmx M.mx --model uniform-3x3-short --invtarget few.mx",
            1,
            "20 matrices of 3 x 3 and few.mx holds 5",
        ),
        (dmxinvert, "--inputmx M.mx --model uniform-3x3-short --invtarget large.mx", 1, "4 x 4"),
        (dmxinvert, "--inputmx M.mx --model uniform-3x3-short --plotout no/plot.png", 2, "no"),
        (dmxinvert, "--inputmx M.mx --model uniform-3x3-short --inverseout p.png --plotout p.png", 2, "of its own"),
        (dmxinvert, "--inputmx broken.mx --model uniform-3x3-short", 1, "broken.mx:2"),
        (dmxdatasetgenerator, "3 10 -1 1", 2, "PREFIX"),
        (dmxdatasetgenerator, "3 10 -1 1 set extra", 2, "extra"),
        (dmxdatasetgenerator, "0 10 -1 1 set", 2, "SIZE"),
        (dmxdatasetgenerator, "3 10 -1 x set", 2, "x"),
        (dmxdatasetgenerator, "3 10 1 -1 set", 2, "from 1 to -1"),
        (dmxdatasetgenerator, "3 10 -1 inf set", 2, "inf"),
        (dmxdatasetgenerator, "3 10 1000000001 1000000002 set", 2, "factors"),
        (dmxdatasetgenerator, "3 10 0 0.1 set", 1, "min_abs_det=0.1"),
        (dmxdatasetgenerator, "3 10 -1 1 no/set", 1, "no/set"),
        (dmxdatasetverify, "M.mx I.mx", 2, "invertible, singular"),
        (dmxdatasetverify, "M.mx I.mx regular", 2, "singular"),
        (dmxdatasetverify, "M.mx none.mx invertible", 2, "none.mx"),
        (dmxdatasetverify, "M.mx few.mx invertible", 1, "20 matrices of 3 x 3 and few.mx holds 5"),
        (dmxdatasetverify, "M.mx broken.mx invertible", 1, "broken.mx:2"),
    ],
)
def test_errors_are_one_line_and_touch_no_file(command, arguments, exit_code, text, work, monkeypatch):
    monkeypatch.setattr(skdmi.NeuralMatrixInverter, "fit", lambda *_: pytest.fail("trained in vain"))

    def snapshot():
        return {path: path.read_bytes() if path.is_file() else None for path in work.rglob("*")}

    before = snapshot()
    assert text in fail(command, *arguments.split(), exit_code=exit_code)
    assert snapshot() == before


# A script

TRAINING = "--msize 3 --rmin -1 --rmax 1 --epochs 1 --nmx_samples 64 --batch_size 1024 --n_repeats 2 --mout ./Model_3x3"
SCRIPT = """
set -e
MODEL_PREFIX="./Model_3x3"
MODEL_DIR=$(ls -td ${MODEL_PREFIX}_* | head -n 1)
dmxinvert --inputmx M.mx --inverseout val_prediction.csv --model "$MODEL_DIR"
echo "All is done."
"""


@pytest.mark.slow
@may_gain_nothing
@pytest.mark.skipif(os.name == "nt", reason="a script for bash")
def test_a_script_made_for_the_predecessor_runs_to_its_end(work):
    A = read_stack("M.mx")
    A[:5] = make_stack("singular", 5)
    write_stack("M.mx", A)
    # Every start of Python costs seconds, so only one of the script's commands has a process of its own.
    succeed(dmxtrain, *TRAINING.split())
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", SCRIPT], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("All is done.\n")
    assert "Traceback" not in done.stderr
    np.testing.assert_allclose(read_stack("val_prediction.csv")[5:], read_stack("I.mx")[5:], atol=1e-12)
    assert np.isfinite(read_stack("val_prediction.csv")).all()
    assert "index 0-4" in done.stderr
