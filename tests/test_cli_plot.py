"""The pictures that commands write, and the logs of training."""

import pickle
import sys

import numpy as np
import pytest
from skorch.callbacks import TensorBoard

import skdmi
from skdmi.cli.plots import SAMPLED_ENTRIES, StackSample
from skdmi.io import read_stack, write_stack
from tests.marks import slow_but
from tests.matrices import make_stack
from tests.test_cli import GAINING, fail, run, succeed

pytest.importorskip("matplotlib")


@pytest.fixture
def matrices(tmp_path):
    write_stack(tmp_path / "M.mx", make_stack("well", 20))
    return tmp_path / "M.mx"


def command(name, matrices):
    folder = matrices.parent
    return {
        "score": ("score", matrices, "--model", "uniform-3x3-short"),
        "invert": ("invert", matrices, folder / "X.mx"),
        "train": ("train", "--matrix-size", 3, "--output", folder / "model", *GAINING),
    }[name]


@pytest.mark.parametrize("name", slow_but(["score"], ["score", "invert", "train"]))
@pytest.mark.parametrize(("suffix", "start"), [(".png", b"\x89PNG"), (".pdf", b"%PDF"), (".SVG", b"<?xml")])
def test_the_suffix_gives_the_format(name, suffix, start, matrices, tmp_path):
    plot = tmp_path / f"plot{suffix}"
    plain = succeed(*command(name, matrices))
    assert succeed(*command(name, matrices), "--plot", plot) == plain
    assert plot.read_bytes().startswith(start)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".skdmi")]


@pytest.mark.parametrize("name", ["score", "invert", "train"])
@pytest.mark.parametrize(
    ("plot", "said"), [("plot.doc", "'.doc'"), ("plot", "suffix"), ("no/plot.png", "not there"), ("dir.png", "dir")]
)
def test_a_picture_that_cannot_be_written_is_a_usage_error_before_the_work(name, plot, said, matrices, tmp_path):
    (tmp_path / "dir.png").mkdir()
    before = sorted(tmp_path.rglob("*"))
    assert said in fail(*command(name, matrices), "--plot", tmp_path / plot, exit_code=2)
    assert sorted(tmp_path.rglob("*")) == before


def test_without_matplotlib_nothing_begins(matrices, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    line = fail(*command("invert", matrices), "--plot", tmp_path / "plot.png", exit_code=2)
    assert 'pip install "skdmi[plot]"' in line
    assert [path.name for path in tmp_path.iterdir()] == ["M.mx"]


def test_a_failed_command_leaves_the_picture_that_was_there(tmp_path):
    plot = tmp_path / "plot.png"
    plot.write_text("precious")
    write_stack(tmp_path / "M.npy", make_stack("singular", 3))
    fail("invert", tmp_path / "M.npy", tmp_path / "X.npy", "--singular", "raise", "--plot", plot)
    assert plot.read_text() == "precious"


def test_without_an_inverse_there_is_no_picture(tmp_path):
    write_stack(tmp_path / "M.npy", make_stack("singular", 3))
    result = run("invert", tmp_path / "M.npy", tmp_path / "X.npy", "--plot", tmp_path / "plot.png")
    assert result.exit_code == 0
    assert "Warning: There is no inverse to draw" in result.stderr
    assert not (tmp_path / "plot.png").exists()


def test_inverses_are_drawn_when_the_file_replaces_its_input(matrices, tmp_path, monkeypatch):
    A = read_stack(matrices)
    drawn = {}

    def remember(X_true, X_pred, **options):
        drawn.update(X_true=X_true, X_pred=X_pred)
        return original(X_true, X_pred, **options)

    original = skdmi.inspection.InversionDisplay.from_predictions
    monkeypatch.setattr(skdmi.inspection.InversionDisplay, "from_predictions", remember)
    succeed("invert", matrices, matrices, "--plot", tmp_path / "plot.png")
    np.testing.assert_allclose(drawn["X_true"], np.linalg.inv(A))
    np.testing.assert_array_equal(drawn["X_pred"], read_stack(matrices))


# The sample


def test_the_sample_is_bounded_uniform_and_keeps_pairs_together():
    sample, m = StackSample(), 32
    for start in range(0, 1000, 100):
        A = np.broadcast_to(np.arange(start, start + 100.0)[:, None, None], (100, m, m))
        sample.add(A, -A)
    values = sample.A[:, 0, 0]
    assert len(values) == SAMPLED_ENTRIES // m**2 == 128
    assert np.all(np.diff(values) > 0)
    assert 400 < values.mean() < 600
    np.testing.assert_array_equal(sample.X, -sample.A)


# TensorBoard


def scalars(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    return {tag: [event.value for event in accumulator.Scalars(tag)] for tag in accumulator.Tags()["scalars"]}


def test_logdir_holds_the_history(tmp_path):
    pytest.importorskip("tensorboard")
    arguments = ("train", "--matrix-size", 3, *GAINING, "--output")
    succeed(*arguments, tmp_path / "plain")
    succeed(*arguments, tmp_path / "logged", "--logdir", tmp_path / "new" / "runs")
    plain, logged = (skdmi.NeuralMatrixInverter.from_pretrained(tmp_path / name) for name in ("plain", "logged"))
    found = scalars(tmp_path / "new" / "runs")
    for tag, key in (("Loss/train_loss", "train_loss"), ("Loss/valid_loss", "valid_loss"), ("learning_rate",) * 2):
        expected = [row[key] for row in logged.history_]
        np.testing.assert_allclose(found[tag], expected, rtol=1e-6)
        assert expected == [row[key] for row in plain.history_]


def test_without_tensorboard_nothing_begins(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    arguments = ("train", "--matrix-size", 2, "--output", tmp_path / "model", "--logdir", tmp_path / "runs")
    assert 'pip install "skdmi[tensorboard]"' in fail(*arguments, exit_code=2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("open_writer", [True, False])
def test_skorchs_callback_logs_and_the_fitted_inverter_pickles(open_writer, tmp_path):
    pytest.importorskip("tensorboard")
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(tmp_path)
    if not open_writer:
        writer.close()
    callback = TensorBoard(writer)
    inverter = skdmi.NeuralMatrixInverter(
        depth=2,
        width=4,
        matrix_size=3,
        max_epochs=2,
        batches_per_epoch=3,
        batch_size=32,
        learning_rate=1e-2,
        callbacks=[callback],
        random_state=0,
    )
    if not open_writer:
        inverter = skdmi.RefinedInverter(inverter)
    inverter.fit()
    A = make_stack("well", 4, 3)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(inverter)).transform(A), inverter.transform(A))
    assert len(scalars(tmp_path)["Loss/valid_loss"]) == 2
    assert not hasattr(callback, "first_batch_")
