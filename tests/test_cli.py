"""The command line: what it prints, writes, refuses, and how it exits."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

import skdmi
from skdmi import persistence
from skdmi.cli import main
from skdmi.cli.group import COMMANDS
from skdmi.io import read_stack, write_stack
from skdmi.iteration import STARTS
from tests.matrices import make_stack
from tests.models import change, untrained
from tests.processes import heeding_ctrl_c

TINY = ("--depth", 1, "--width", 4, "--epochs", 0, "--batches-per-epoch", 2, "--batch-size", 32, "--random-state", 0)
# A few steps that lower the loss of 3 x 3 matrices.
GAINING = ("--depth", 2, "--width", 4, "--epochs", 2, "--batches-per-epoch", 3, "--batch-size", 32, "--random-state", 0)
GAINING += ("--learning-rate", 0.01)


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def succeed(*arguments):
    result = run(*arguments)
    assert result.exit_code == 0, result.stderr
    return result.stdout


def fail(*arguments, exit_code=1):
    """Run a command that must fail, with one line on stderr (after the usage, if it is a usage error)."""
    result = run(*arguments)
    assert result.exit_code == exit_code, result.output
    assert isinstance(result.exception, SystemExit)
    *before, line = result.stderr.splitlines()
    assert line.startswith("Error: ")
    assert exit_code == 2 or not before
    return line


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Two model directories, as a folder of shipped models would hold them."""
    folder = tmp_path_factory.mktemp("models")
    succeed("train", "--matrix-size", 3, "--output", folder / "tiny-3x3", *TINY)
    succeed("train", "--matrix-size", 2, "--matrix-size", 4, "--output", folder / "tiny-any", *TINY)
    return folder


@pytest.fixture(scope="module")
def model(models):
    return models / "tiny-3x3"


@pytest.fixture
def shipped(models, monkeypatch):
    monkeypatch.setattr("skdmi.persistence.shipped.SHIPPED", models)


@pytest.fixture
def files(tmp_path):
    """Write 20 matrices and their inverses; return both paths."""
    A = make_stack("well", 20)
    write_stack(tmp_path / "M.mx", A)
    write_stack(tmp_path / "I.mx", np.linalg.inv(A))
    return tmp_path / "M.mx", tmp_path / "I.mx"


# Help


def test_help_is_there_for_every_command_and_imports_neither_torch_nor_sklearn():
    program = f"""
import sys
from click.testing import CliRunner
from skdmi.cli import main
for arguments in [["--help"], ["--version"], *([name, "--help"] for name in {COMMANDS})]:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert len(arguments) == 1 or "Example:\\n    skdmi " + arguments[0] in result.stdout
print(sorted({{"torch", "sklearn", "skorch", "scipy"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_the_package_runs_as_a_module():
    command = [sys.executable, "-m", "skdmi.cli", "nonsense"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "Error: No such command 'nonsense'. See 'skdmi --help'.\n"


# train


def test_train_saves_a_model_that_inverts(tmp_path):
    result = run("train", "--matrix-size", 3, "--output", tmp_path / "new" / "model", *GAINING)
    assert result.exit_code == 0
    assert result.stdout.startswith("validation loss ")
    assert len(result.stdout.splitlines()) == 1
    assert "train_loss" in result.stderr
    inverter = skdmi.NeuralMatrixInverter.from_pretrained(tmp_path / "new" / "model")
    assert inverter.transform(make_stack("well", 4)).shape == (4, 3, 3)
    assert (inverter.depth, inverter.width, inverter.verbose) == (2, 4, 0)
    assert "trained on 192 matrices from Uniform()" in succeed("info", tmp_path / "new" / "model")


@pytest.mark.filterwarnings("default::sklearn.exceptions.ConvergenceWarning")
def test_train_says_that_nothing_was_gained(tmp_path):
    """Of 1 x 1 matrices there is nothing to learn."""
    result = run("train", "--matrix-size", 1, *GAINING, "--output", tmp_path / "model")
    assert result.exit_code == 0
    assert result.stdout.startswith("untrained: validation loss ")
    (warning,) = [line for line in result.stderr.splitlines() if "Warning" in line]
    assert warning.startswith("Warning: Training gained nothing on these matrices")
    assert result.stderr.splitlines()[-1] == warning
    assert "untrained, after 192 matrices from Uniform(" in succeed("info", tmp_path / "model")


def test_train_for_no_epochs_is_the_untrained_iteration(tmp_path):
    arguments = ("train", "--matrix-size", 3, *TINY, "--output", tmp_path / "model")
    result = run(*arguments)
    assert result.stdout.startswith("untrained: validation loss ")
    assert [line.split(" ")[0] for line in result.stderr.splitlines()] == ["epoch", "On"]
    text = succeed("info", tmp_path / "model")
    assert "untrained, after 0 matrices from Uniform()" in text
    assert "trained on" not in text
    assert "--epochs 0 has none" in fail(*arguments, "--plot", tmp_path / "plot.png", exit_code=2)


def test_train_has_the_defaults_of_the_estimator():
    """They are written out, for --help imports no torch."""
    command = main.get_command(None, "train")
    defaults = {option.name: option.default for option in command.params}
    estimator = skdmi.NeuralMatrixInverter().get_params()
    shared = ["depth", "width", "block", "start", "n_atoms"]
    shared += ["max_epochs", "batches_per_epoch", "batch_size", "learning_rate"]
    assert {name: defaults[name] for name in shared} == {name: estimator[name] for name in shared}


@pytest.mark.parametrize("start", STARTS)
def test_train_takes_a_start(start, tmp_path):
    succeed("train", "--matrix-size", 2, "--start", start, "--output", tmp_path / "model", *TINY)
    inverter = skdmi.NeuralMatrixInverter.from_pretrained(tmp_path / "model")
    assert inverter.start == start
    assert inverter.module_.core.start is STARTS[start]
    assert (f"start {start}" in succeed("info", tmp_path / "model")) == (start != "transpose")


def test_train_on_data_takes_its_size_from_the_file(files, tmp_path):
    succeed("train", "--data", files[0], "--output", tmp_path / "model", *TINY)
    inverter = skdmi.NeuralMatrixInverter.from_pretrained(tmp_path / "model")
    assert inverter.matrix_size_ == 3
    assert inverter.distribution_ == skdmi.distributions.Members()


def test_train_takes_a_distribution_by_name_or_in_json(tmp_path):
    for text, expected in (
        ("Wishart", skdmi.distributions.Wishart()),
        ('{"name": "Uniform", "low": 0}', skdmi.distributions.Uniform(low=0)),
    ):
        succeed("train", "--matrix-size", 2, "--distribution", text, "--output", tmp_path / "model", *TINY)
        assert skdmi.NeuralMatrixInverter.from_pretrained(tmp_path / "model").distribution_ == expected


@pytest.mark.parametrize("text", ["Unform", '{"name": Uniform}', '{"name": "Uniform", "low": 2}', '{"low": 2}'])
def test_a_distribution_that_is_none_is_a_usage_error(text, tmp_path):
    fail("train", "--matrix-size", 2, "--distribution", text, "--output", tmp_path / "model", exit_code=2)


def test_train_wants_one_source_of_the_size(files, tmp_path):
    fail("train", "--output", tmp_path / "model", exit_code=2)
    fail("train", "--matrix-size", 3, "--data", files[0], "--output", tmp_path / "model", exit_code=2)


@pytest.mark.parametrize("options", [("--device", "nope"), ("--block", "dense", "--matrix-size", 4)], ids=str)
def test_train_refuses_options_before_anything_is_done(options, tmp_path):
    assert options[0] in fail(
        "train", "--matrix-size", 2, "--output", tmp_path / "new" / "model", *options, exit_code=2
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("output", ["file", "file/model", "folder"])
def test_train_finds_out_first_that_the_model_cannot_be_saved(output, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("precious")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.tex").write_text("precious")
    monkeypatch.setattr(skdmi.NeuralMatrixInverter, "fit", lambda *_: pytest.fail("trained in vain"))
    line = fail("train", "--matrix-size", 2, "--output", tmp_path / output)
    assert str(tmp_path / output.partition("/")[0]) in line
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder", "thesis.tex"]


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is sent as a POSIX signal")
def test_ctrl_c_saves_the_best_weights_and_exits_with_130(tmp_path):
    options = [
        "--matrix-size=2",
        "--depth=1",
        "--width=4",
        "--epochs=5000",
        "--batches-per-epoch=2",
        "--batch-size=8",
    ]
    command = [sys.executable, "-m", "skdmi.cli", "train", *options, f"--output={tmp_path / 'model'}"]
    # However slow this machine is, the training lasts: it waits to write when the pipe is full.
    with heeding_ctrl_c(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        for line in process.stderr:
            if line.split()[:1] == ["2"]:  # The second epoch is done.
                break
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
    assert process.returncode == 130
    *_, said, last = errors.splitlines()
    assert said.startswith(f"The best weights so far are saved in {tmp_path / 'model'}. --resume goes on from ")
    assert last == "Interrupted."
    assert "Traceback" not in errors
    assert skdmi.NeuralMatrixInverter.from_pretrained(tmp_path / "model").n_iter_ >= 2


# invert


def test_invert_certifies(files, tmp_path):
    output = succeed("invert", files[0], tmp_path / "X.npy")
    A, X = read_stack(files[0]), read_stack(tmp_path / "X.npy")
    np.testing.assert_array_equal(X, skdmi.inv(A))
    norms = skdmi.RefinedInverter().report(A).residual_norm
    assert output == (
        f"20 matrices, 20 certified (20 exact), residual norm mean {norms.mean():.3g}, max {norms.max():.3g}, "
        f"0 missing inverses: {tmp_path / 'X.npy'}\n"
    )
    assert np.abs(norms - skdmi.metrics.frobenius_residuals(A, X)).max() < 1e-15


def test_raw_inverses_are_what_the_model_answers(files, model, tmp_path):
    output = succeed("invert", files[0], tmp_path / "X.npy", "--model", model, "--raw")
    inverter = skdmi.NeuralMatrixInverter.from_pretrained(model)
    A = read_stack(files[0])
    np.testing.assert_array_equal(read_stack(tmp_path / "X.npy"), inverter.transform(A))
    norms = inverter.residual_norms(A)
    assert f"20 matrices, residual norm mean {norms.mean():.3g}, max {norms.max():.3g}, 0 missing inverses" in output


@pytest.mark.parametrize("m", [1, 2, 5, 20])
@pytest.mark.parametrize("named", [False, True])
def test_any_size_is_inverted_with_any_model(m, named, model, tmp_path):
    A = make_stack("well", 4, m)
    write_stack(tmp_path / "A.npy", A)
    output = succeed("invert", tmp_path / "A.npy", tmp_path / "X.npy", *(["--model", model] if named else []))
    assert "4 certified (4 " in output
    np.testing.assert_allclose(read_stack(tmp_path / "X.npy"), np.linalg.inv(A), atol=1e-12)


def test_invert_can_replace_its_input(files):
    before = read_stack(files[0])
    succeed("invert", files[0], files[0])
    succeed("invert", files[0], files[0])
    np.testing.assert_allclose(read_stack(files[0]), before, rtol=1e-12, atol=1e-13)


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr("skdmi.chunks.CHUNK_ENTRIES", 1000)


@pytest.fixture
def scalars(tmp_path, small_chunks):
    """Write more matrices than fit into a chunk, two of them singular."""
    A = np.ones((1200, 1, 1))
    A[[7, 1199]] = 0
    write_stack(tmp_path / "M.npy", A)
    return tmp_path / "M.npy"


def test_missing_inverses_are_named_by_their_index_in_the_file_in_one_line(scalars, tmp_path):
    result = run("invert", scalars, tmp_path / "X.npy")
    assert result.exit_code == 0
    (warning,) = result.stderr.splitlines()
    assert warning.startswith("Warning: 2 of 1200 matrices are singular to working precision")
    assert ": index 7, 1199." in warning
    assert "1198 certified" in result.stdout
    assert "2 missing inverses" in result.stdout
    assert np.flatnonzero(np.isnan(read_stack(tmp_path / "X.npy"))).tolist() == [7, 1199]


def test_the_report_is_a_table_of_all_chunks(scalars, tmp_path):
    succeed("invert", scalars, tmp_path / "X.npy", "--report", tmp_path / "report.csv")
    table = pd.read_csv(tmp_path / "report.csv", keep_default_na=False, na_values="nan")
    report = skdmi.RefinedInverter(singular="pinv").report(read_stack(scalars)).to_frame()
    assert list(table.columns) == ["index", *report.columns]
    assert table["index"].tolist() == list(range(1200))
    assert np.flatnonzero(~table.certified).tolist() == [7, 1199]
    assert table.source[[0, 7, 1199]].tolist() == ["exact", "none", "none"]
    np.testing.assert_allclose(table.error_bound[table.certified], report.error_bound[report.certified], atol=1e-14)
    assert table.error_bound[~table.certified].isna().all()
    assert table.residual_norm.isna().sum() == 2


@pytest.mark.parametrize("name", ["X.npy", "M.mx"])
def test_the_report_is_a_file_of_its_own(files, tmp_path, name):
    before = files[0].read_bytes()
    line = fail("invert", files[0], tmp_path / "X.npy", "--report", tmp_path / name, exit_code=2)
    assert "a file of its own" in line
    assert files[0].read_bytes() == before


def test_policies_are_those_of_the_inverter(tmp_path):
    A = make_stack("well", 4)
    A[2] = make_stack("singular", 1)[0]
    write_stack(tmp_path / "A.npy", A)
    arguments = ("invert", tmp_path / "A.npy", tmp_path / "X.npy")
    assert "at index 2" in fail(*arguments, "--singular", "raise")
    assert "at index 2" in fail(*arguments, "--uncertified", "raise")
    assert not (tmp_path / "X.npy").exists()
    assert "3 certified (3 exact, 1 pinv)" in succeed(*arguments, "--singular", "pinv")
    np.testing.assert_allclose(read_stack(tmp_path / "X.npy"), np.linalg.pinv(A, rcond=1e-13), atol=1e-12)
    result = run(*arguments, "--uncertified", "nan", "--tol", 0.1)
    assert "1 of 4 matrices have no certificate, so their inverses are NaN: index 2." in result.stderr
    assert "3 certified (3 " in result.stdout


def test_an_error_in_a_later_chunk_says_where_that_starts(tmp_path, small_chunks):
    A = np.ones((1200, 1, 1))
    A[1199] = 0
    write_stack(tmp_path / "M.npy", A)
    line = fail("invert", tmp_path / "M.npy", tmp_path / "X.npy", "--singular", "raise")
    index, start = (int(re.search(rf"{words} (\d+)\.", line)[1]) for words in ("at index", "Counted from matrix"))
    assert start == 1000
    assert index + start == 1199
    assert [path.name for path in tmp_path.iterdir()] == ["M.npy"]


@pytest.mark.parametrize("option", ["--report=R.csv", "--tol=0.1", "--uncertified=exact", "--singular=warn"])
def test_raw_inverses_are_not_certified(files, tmp_path, option):
    line = fail("invert", files[0], tmp_path / "X.mx", "--raw", option, exit_code=2)
    assert option.partition("=")[0] in line


def test_a_matrix_that_is_not_finite_is_named_by_its_index_in_the_file(tmp_path, small_chunks):
    A = np.ones((1200, 1, 1))
    A[1199] = np.inf
    write_stack(tmp_path / "M.npy", A)
    report = tmp_path / "report.csv"
    assert "index 1199 " in fail("invert", tmp_path / "M.npy", tmp_path / "X.npy", "--report", report)
    assert [path.name for path in tmp_path.iterdir()] == ["M.npy"]


def test_an_ensemble_is_a_model(files, model, tmp_path):
    inverter = skdmi.NeuralMatrixInverter.from_pretrained(model)
    skdmi.EnsembleInverter.from_fitted([inverter, inverter]).save_pretrained(tmp_path / "committee")
    for options in (["--raw"], []):
        for name in (model, tmp_path / "committee"):
            succeed("invert", files[0], tmp_path / f"{name.name}.npy", "--model", name, *options)
        np.testing.assert_array_equal(
            read_stack(tmp_path / "committee.npy"), read_stack(tmp_path / f"{model.name}.npy")
        )
    lines = succeed("info", tmp_path / "committee").splitlines()
    assert [line.partition(":")[0] for line in lines] == [str(tmp_path / "committee" / f"member-{i}") for i in (0, 1)]


@pytest.mark.parametrize("m", [2, 3, 5])
def test_without_a_model_raw_takes_an_untrained_network(m, tmp_path):
    A = make_stack("well", 4, m)
    write_stack(tmp_path / "A.npy", A)
    result = run("invert", tmp_path / "A.npy", tmp_path / "X.npy", "--raw")
    assert (result.exit_code, result.stderr) == (0, "Network: untrained, of depth 4; --model names another.\n")
    np.testing.assert_array_equal(read_stack(tmp_path / "X.npy"), untrained(m, depth=4).transform(A))


@pytest.mark.parametrize("name", ["general", "dense-3x3"])
def test_a_retired_model_says_what_to_use(name, files, tmp_path):
    for arguments in (
        ("invert", files[0], tmp_path / "X.mx", "--model", name),
        ("invert", files[0], tmp_path / "X.mx", "--model", name, "--raw"),
        ("score", files[0], "--model", name),
        ("info", name),
    ):
        assert fail(*arguments) == f"Error: {name!r} was retired in 0.2.0: {persistence.RETIRED[name]}."


def test_an_unknown_model_says_which_there_are(shipped, files, tmp_path):
    for arguments in (
        ("invert", files[0], tmp_path / "X.mx", "--model", "nope"),
        ("score", files[0], "--model", "nope"),
        ("info", "nope"),
    ):
        line = fail(*arguments)
        assert "'nope'" in line
        assert "tiny-3x3, tiny-any" in line


def test_a_size_that_the_model_does_not_take_is_an_error_and_leaves_no_file(model, tmp_path):
    write_stack(tmp_path / "A.npy", make_stack("well", 4, 5))
    assert "5 x 5" in fail("invert", tmp_path / "A.npy", tmp_path / "X.npy", "--model", model, "--raw")
    assert [path.name for path in tmp_path.iterdir()] == ["A.npy"]


def test_a_damaged_file_is_an_error_with_its_line_and_leaves_no_file(tmp_path):
    (tmp_path / "M.mx").write_text("1,2\n3,x\nEND\n")
    assert f"{tmp_path / 'M.mx'}:2:" in fail("invert", tmp_path / "M.mx", tmp_path / "X.mx")
    assert [path.name for path in tmp_path.iterdir()] == ["M.mx"]


def test_several_matrices_do_not_fit_into_a_csv_file(files, tmp_path):
    line = fail("invert", files[0], tmp_path / "Z.csv", "--report", tmp_path / "report.csv")
    assert line.startswith(f"Error: {tmp_path / 'Z.csv'}: more than one matrix")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["I.mx", "M.mx"]


def test_wrong_paths_are_usage_errors(files, tmp_path):
    assert "missing.mx" in fail("invert", tmp_path / "missing.mx", tmp_path / "X.mx", exit_code=2)
    assert ".mx, .npy, .csv" in fail("invert", files[0], tmp_path / "X.txt", exit_code=2)


def test_ctrl_c_leaves_no_file(files, tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(skdmi.RefinedInverter, "report", interrupt)
    result = run("invert", files[0], tmp_path / "X.mx")
    assert (result.exit_code, result.stderr) == (130, "Interrupted.\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["I.mx", "M.mx"]


# generate and verify


def generate(folder, *options, matrices="M.mx", inverses="I.mx"):
    succeed("generate", "--output", folder / matrices, "--inverses", folder / inverses, "--random-state", 0, *options)
    return folder / matrices, folder / inverses


def test_generated_inverses_are_those_of_the_matrices_in_the_file(tmp_path):
    options = ("--matrix-size", 3, "--n-matrices", 50)
    matrices, inverses = generate(tmp_path, *options)
    A = read_stack(matrices)
    assert A.dtype == np.float64
    np.testing.assert_array_equal(A, skdmi.distributions.Uniform().sample(50, 3, random_state=0))
    np.testing.assert_array_equal(read_stack(inverses), skdmi.ExactInverter().transform(A))
    valid, certified = succeed("verify", matrices, inverses).splitlines()
    assert (valid, certified[:13]) == ("50 valid inverses", "50 certified,")
    plain, tight = (succeed("verify", matrices, inverses, *option) for option in ([], ["--tight"]))
    assert float(tight.split()[-1]) < float(plain.split()[-1])


def test_the_seed_alone_decides(tmp_path):
    first, second = (
        tuple(path.read_bytes() for path in generate(tmp_path, "--matrix-size", 2, "--n-matrices", 10))
        for _ in range(2)
    )
    assert first == second


def test_generate_streams_chunks_to_the_asked_number(tmp_path, small_chunks):
    matrices, _ = generate(tmp_path, "--matrix-size", 1, "--n-matrices", 1200, matrices="M.npy", inverses="I.npy")
    A = read_stack(matrices)
    assert len(np.unique(A)) == len(A) == 1200


def test_singular_members_are_drawn_again(tmp_path):
    half_singular = {"name": "Mixture", "components": [{"name": "Singular"}, {"name": "Uniform"}]}
    matrices, _ = generate(
        tmp_path, "--matrix-size", 3, "--n-matrices", 100, "--distribution", json.dumps(half_singular)
    )
    A = read_stack(matrices)
    assert len(A) == 100
    assert np.linalg.matrix_rank(A).min() == 3
    assert "Singular()" in fail(
        "generate", "--matrix-size", 3, "--distribution", "Singular", "--output", tmp_path / "Z.mx"
    )
    assert not (tmp_path / "Z.mx").exists()


@pytest.mark.parametrize(("m", "rank"), [(2, 0), (4, 2), (6, 5)])
def test_singular_matrices_come_with_their_pseudo_inverses(m, rank, tmp_path):
    options = ("--matrix-size", m, "--n-matrices", 200, "--singular", "--rank", rank)
    matrices, inverses = generate(tmp_path, *options)
    assert set(np.linalg.matrix_rank(read_stack(matrices))) == {rank}
    assert succeed("verify", matrices, inverses, "--kind", "pseudo-inverse") == "200 valid pseudo-inverses\n"
    assert run("verify", matrices, inverses).exit_code == 1


def test_two_files_are_written_or_none(tmp_path):
    options = ("--matrix-size", 2, "--n-matrices", 3)
    fail("generate", *options, "--output", tmp_path / "M.mx", "--inverses", tmp_path / "no" / "I.mx")
    fail("generate", *options, "--output", tmp_path / "M.mx", "--inverses", tmp_path / "I.csv", exit_code=2)
    fail("generate", *options, "--output", tmp_path / "M.mx", "--inverses", tmp_path / "M.mx", exit_code=2)
    assert list(tmp_path.iterdir()) == []


def test_generate_refuses_options_that_contradict(tmp_path):
    options = ("--matrix-size", 2, "--output", tmp_path / "M.mx")
    fail("generate", *options, "--rank", 1, exit_code=2)
    fail("generate", *options, "--singular", "--distribution", "Wishart", exit_code=2)
    assert "rank=2" in fail("generate", *options, "--singular", "--rank", 2)


def test_verify_names_the_first_wrong_inverses(files):
    matrices, inverses = files
    X = read_stack(inverses)
    X[[3, 5, 6, 7, 8, 9, 19]] *= 1 + 1e-6
    X[4] = np.nan
    write_stack(inverses, X)
    result = run("verify", matrices, inverses)
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert [line.partition(":")[0] for line in lines] == [*(f"matrix {i}" for i in range(3, 8)), "..."]
    assert "missing" in lines[1]
    assert "8 of 20" in result.stderr


def test_verify_tolerance_is_relative_to_the_condition(tmp_path):
    A = make_stack("condition", 10, condition=1e9)
    write_stack(tmp_path / "A.npy", A)
    write_stack(tmp_path / "X.npy", np.linalg.inv(A))
    succeed("verify", tmp_path / "A.npy", tmp_path / "X.npy")
    write_stack(tmp_path / "X.npy", np.linalg.inv(A) * (1 + 1e-6))
    succeed("verify", tmp_path / "A.npy", tmp_path / "X.npy", "--tolerance", 1e-5)
    write_stack(tmp_path / "X.npy", np.zeros_like(A))
    assert run("verify", tmp_path / "A.npy", tmp_path / "X.npy", "--tolerance", 1).exit_code == 1


def test_verify_expects_less_of_float32(tmp_path):
    A = make_stack("well", 10)
    write_stack(tmp_path / "A.npy", A)
    write_stack(tmp_path / "X.npy", np.linalg.inv(A).astype(np.float32))
    succeed("verify", tmp_path / "A.npy", tmp_path / "X.npy")


def test_verify_tells_files_that_do_not_fit_together(files, tmp_path):
    write_stack(tmp_path / "few.npy", make_stack("well", 19))
    assert "20 matrices" in (line := fail("verify", files[0], tmp_path / "few.npy"))
    assert "19 matrices" in line
    write_stack(tmp_path / "large.npy", make_stack("well", 20, 4))
    assert "4 x 4" in fail("verify", files[0], tmp_path / "large.npy")


# score and info


def test_score_sets_the_model_beside_lapack(files, model):
    matrices, inverses = files
    output = succeed("score", matrices, "--model", model, "--inverses", inverses)
    header, *lines = output.splitlines()
    assert header.split() == [str(model), "refined", "LAPACK", str(inverses)]
    rows = {line[:26].strip(): line[26:].split() for line in lines}
    inverter = skdmi.NeuralMatrixInverter.from_pretrained(model)
    assert rows["matrices"] == ["20"] * 4
    assert rows["residual norm, mean"][0] == f"{-inverter.score(read_stack(matrices)):.2e}"
    assert max(map(float, rows["residual norm, largest"][1:])) < 1e-12
    assert rows["within 0.5%"][1:] == ["100.00%"] * 3
    assert len({len(line) for line in output.splitlines()}) == 1


def test_score_counts_missing_inverses_as_zero_matrices(model, tmp_path):
    write_stack(tmp_path / "M.npy", make_stack("singular", 5))
    lines = succeed("score", tmp_path / "M.npy", "--model", model).splitlines()
    assert any(line.startswith("residual norm, mean") and line.endswith(f"{3**0.5:.2e}") for line in lines)


def test_info_lists_the_shipped_models(shipped):
    lines = succeed("info").splitlines()
    assert [line.partition(":")[0] for line in lines[:-1]] == ["tiny-3x3", "tiny-any"]
    assert lines[-1].startswith("kernels")
    assert "any size" in lines[1]
    assert list(json.loads(succeed("info", "--json"))) == ["tiny-3x3", "tiny-any"]


def test_info_lists_what_is_shipped_beside_a_local_model_of_that_name(model, tmp_path, monkeypatch):
    expected = succeed("info")
    skdmi.NeuralMatrixInverter.from_pretrained(model).save_pretrained(tmp_path / "uniform-3x3-short")
    monkeypatch.chdir(tmp_path)
    assert succeed("info") == expected
    assert "./uniform-3x3-short" in fail("info", "uniform-3x3-short")
    assert "depth 1, width 4" in succeed("info", "./uniform-3x3-short")


@pytest.mark.parametrize("block", ["polynomial", "dense"])
@pytest.mark.parametrize("trained", [True, False])
def test_info_tells_what_is_untrained_of_old_models_too(block, trained, tmp_path, monkeypatch):
    """Cards of 0.1.0 do not say it; the weights do, of polynomial networks."""
    inverter = skdmi.NeuralMatrixInverter(
        2, 4, block=block, matrix_size=3, max_epochs=0, batches_per_epoch=2, batch_size=32, random_state=0
    ).fit()
    if trained:
        inverter.partial_fit()
    monkeypatch.setattr(persistence.shipped, "SHIPPED", tmp_path)
    inverter.save_pretrained(tmp_path / "model")

    def forget(card):
        del card["fitted"]["best_epoch_"], card["fitted"]["first_loss_"]

    for is_old in (False, True):
        if is_old:
            change(tmp_path / "model", forget)
        says_trained = trained or (is_old and block == "dense")
        of_model = [line for line in succeed("info", tmp_path / "model").splitlines() if line.startswith("training")]
        for line in (succeed("info").splitlines()[0], *of_model):
            assert ("trained on" in line, "untrained" in line) == (says_trained, not says_trained)


def test_info_says_what_is_fitted_and_what_was_gained(tmp_path):
    family = skdmi.distributions.Affine.diffusion(side=2)
    inverter = skdmi.NeuralMatrixInverter(
        1, 4, start="family", n_atoms=0, matrix_size=4, distribution=family, max_epochs=0, random_state=0
    ).fit()
    inverter.save_pretrained(tmp_path / "model")
    rows = dict(line.split(maxsplit=1) for line in succeed("info", tmp_path / "model").splitlines())
    assert rows["training"] == f"fitted to members of {family!r}, after 0 matrices"
    assert rows["gain"].startswith("On ")
    rows = dict(line.split(maxsplit=1) for line in succeed("info", "diffusion-6x6").splitlines())
    assert rows["gain"].startswith("mean residual norm ")
    assert "untrained (6 products, " in rows["gain"]


def test_info_describes_a_model(model):
    text = succeed("info", model)
    inverter = skdmi.NeuralMatrixInverter.from_pretrained(model)
    n_parameters = sum(parameter.numel() for parameter in inverter.module_.parameters())
    for expected in ("3 x 3", "polynomial, depth 1, width 4", f"{n_parameters:,}", "Uniform()", "0 matrices"):
        assert expected in text
    card = json.loads(succeed("info", model, "--json"))
    assert (card["n_parameters"], card["n_products"]) == (n_parameters, inverter.module_.n_products(3))


def test_the_file_of_a_model_is_the_model(model, tmp_path):
    file = Path(model) / "model.safetensors"
    assert succeed("info", file).splitlines()[1:] == succeed("info", model).splitlines()[1:]
    write_stack(tmp_path / "stack.npy", make_stack("well", 5, 3))
    for path, name in ((model, "by-directory.npy"), (file, "by-file.npy")):
        succeed("invert", tmp_path / "stack.npy", tmp_path / name, "--raw", "--model", path)
    assert (tmp_path / "by-directory.npy").read_bytes() == (tmp_path / "by-file.npy").read_bytes()


def test_a_directory_that_is_no_model_is_an_error(model, tmp_path):
    (tmp_path / "model.safetensors").write_bytes((Path(model) / "model.safetensors").read_bytes())
    change(tmp_path, lambda card: {"class": "Model"})
    assert "versions is missing" in fail("info", tmp_path)
    (tmp_path / "model.safetensors").unlink()
    assert "model.safetensors" in fail("info", tmp_path)


@pytest.mark.parametrize(
    "arguments",
    [("generate", "--matrix-size", 10**8), ("train", "--matrix-size", 3, "--batch-size", 10**13)],
    ids=["matrices", "a batch"],
)
def test_more_than_any_memory_holds_is_one_line(arguments, tmp_path):
    assert fail(*arguments, "--output", tmp_path / "A.mx").startswith("Error: There is not enough memory: ")
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_training_data_in_a_pipe_are_refused(tmp_path):
    os.mkfifo(tmp_path / "A.mx")
    assert "is a pipe" in fail("train", "--data", tmp_path / "A.mx", "--output", tmp_path / "model", exit_code=2)
