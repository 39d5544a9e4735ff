"""A training that is killed at any moment goes on, and ends where it would have ended undisturbed, bit for bit."""

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
from functools import partial

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from skorch.callbacks import Callback, LRScheduler
from torch.optim.lr_scheduler import MultiStepLR, OneCycleLR, ReduceLROnPlateau

import skdmi
from skdmi import EnsembleInverter, NeuralMatrixInverter
from skdmi.cli import main
from skdmi.cli.dmx.train import dmxtrain
from skdmi.cli.signals import Signals
from skdmi.cli.unfinished import held
from skdmi.distributions import Normal, Uniform
from skdmi.modules import IdentityLoss
from skdmi.persistence import WEIGHTS, read_file
from skdmi.training import Checkpoint, MatrixBatches, MatrixStream, Settings, cosine, train
from skdmi.training import checkpoint as checkpoint_module
from tests.matrices import make_stack
from tests.processes import heeding_ctrl_c

TINY = {"depth": 2, "width": 4, "max_epochs": 4, "batches_per_epoch": 3, "batch_size": 32, "learning_rate": 1e-2}
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # nothing need be gained


class Killed(BaseException):
    """What nobody catches."""


class KillAfter(Callback):
    """End a training in the middle of an epoch."""

    def __init__(self, n_batches):
        self.n_batches = n_batches

    def on_train_begin(self, net, **kwargs):
        self.remaining = self.n_batches

    def on_batch_end(self, net, training, **kwargs):
        self.remaining -= training
        if not self.remaining:
            raise Killed


class Untouched(Callback):
    def on_train_begin(self, net, **kwargs):
        pytest.fail("was trained anew")


def without_seconds(rows):
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def assert_same_bits(first, second):
    assert first.keys() == second.keys()
    for name in first:
        assert np.asarray(first[name]).tobytes() == np.asarray(second[name]).tobytes(), name


# The loop

PLATEAU = LRScheduler(ReduceLROnPlateau, monitor="valid_loss", patience=0)
ONE_CYCLE = LRScheduler(OneCycleLR, max_lr=0.05, total_steps=24, step_every="batch")
SETTINGS = {
    "adamw": {},
    "adam, not fused": {"optimizer": "adam", "net_params": {"optimizer__fused": False}},
    "amsgrad": {"net_params": {"optimizer__amsgrad": True}},
    "sgd with momentum": {"optimizer": "sgd", "net_params": {"optimizer__momentum": 0.9}},
    "adagrad": {"net_params": {"optimizer": torch.optim.Adagrad}},
    "patience": {"optimizer": "sgd", "learning_rate": 50.0, "patience": 4, "max_epochs": 9},
    "last weights": {"keep_last": True},
    "several sizes": {"sizes": (2, 3, 4)},
    "float64": {"precision": "float64"},
    "dense": {"block": "dense", "width": 16},
    "a schedule of measured epochs": {"net_params": {"callbacks__schedule": PLATEAU}},
    "a schedule that cycles momentum": {"net_params": {"callbacks__schedule": ONE_CYCLE}},
    "a schedule of milestones among the callbacks": {"callbacks": [LRScheduler(MultiStepLR, milestones=[2, 4])]},
}


def run(sizes=(3,), block="polynomial", width=4, precision="float32", callbacks=(), checkpoint=None, **options):
    size = 3 if block == "dense" else [2, 4]
    architecture = {"depth": 2, "width": width, "block": block, "matrix_size": size, "precision": precision}
    where = {"dtype": getattr(torch, precision)}
    stream = MatrixStream(Uniform(), sizes, batch_size=16, batches_per_epoch=4, seed=0, **where)
    validation = MatrixBatches([torch.from_numpy(make_stack("well", 32, m, seed=1)).to(**where) for m in sizes])
    defaults = {"max_epochs": 6, "learning_rate": 1e-2, "schedule": cosine(24), "callbacks": callbacks}
    settings = Settings(**defaults | options, checkpoint=checkpoint)
    return train(architecture, None, stream, validation, settings), stream.n_matrices_seen


def assert_same_outcome(first, second):
    (first, n_first), (second, n_second) = first, second
    assert_same_bits(first.state, second.state)
    assert without_seconds(first.history) == without_seconds(second.history)
    for name in ("loss", "first_loss", "best_epoch", "ended"):
        assert getattr(first, name) == getattr(second, name)
    assert n_first == n_second


@pytest.mark.parametrize(("name", "every"), [*((name, 1) for name in SETTINGS), ("adamw", 2)])
def test_a_killed_training_ends_as_the_undisturbed_one(name, every, tmp_path):
    options = dict(SETTINGS[name])
    own = options.pop("callbacks", [])
    for n_batches in (9, 6):
        with pytest.raises(Killed):
            run(**options, callbacks=[*own, KillAfter(n_batches)], checkpoint=Checkpoint(tmp_path, {}, every=every))
    assert Checkpoint(tmp_path, {}).found["ended"] is None
    resumed = run(**options, callbacks=own, checkpoint=Checkpoint(tmp_path, {}, every=every))
    undisturbed = run(**options, callbacks=own)
    assert_same_outcome(resumed, undisturbed)
    returned = run(**options, callbacks=[*own, Untouched()], checkpoint=Checkpoint(tmp_path, {}))
    assert_same_outcome(returned, undisturbed)


def test_callbacks_are_called_for_the_epochs_that_remain(tmp_path):
    seen = []

    class Note(Callback):
        def on_epoch_end(self, net, **kwargs):
            seen.append(len(net.history))

    with pytest.raises(Killed):
        run(callbacks=[KillAfter(9)], checkpoint=Checkpoint(tmp_path, {}))
    run(callbacks=[Note()], checkpoint=Checkpoint(tmp_path, {}))
    assert seen == [3, 4, 5, 6]


def test_a_training_that_diverged_is_returned_as_it_was(tmp_path):
    def explode(n_matrices, matrix_size, *, generator, **where):
        A = Uniform()(n_matrices, matrix_size, generator=generator, **where)
        return A if torch.rand((), generator=generator) < 0.3 else A * torch.nan

    def diverge(callbacks=()):
        stream = MatrixStream(explode, (3,), batch_size=16, batches_per_epoch=2, seed=1)
        validation = MatrixBatches([torch.from_numpy(make_stack("well", 32, 3)).float()])
        options = {"max_epochs": 20, "learning_rate": 1e-2, "schedule": cosine(40), "callbacks": callbacks}
        settings = Settings(**options, checkpoint=Checkpoint(tmp_path, {}))
        return train({"depth": 2, "width": 4, "matrix_size": [3, 3]}, None, stream, validation, settings), 0

    first = diverge()
    assert first[0].ended == "diverged"
    assert_same_outcome(diverge([Untouched()]), first)


def test_a_write_that_is_killed_leaves_the_checkpoint_before(tmp_path, monkeypatch):
    checkpoint = Checkpoint(tmp_path, {})
    checkpoint.write({"epoch": 1})
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(Killed))
    with pytest.raises(Killed):
        checkpoint.write({"epoch": 2})
    assert Checkpoint(tmp_path, {}).found["state"] == {"epoch": 1}


def test_what_a_checkpoint_cannot_hold_is_named(tmp_path):
    with pytest.raises(TypeError, match=r"cannot hold state\.0, a object"):
        Checkpoint(tmp_path, {}).write({0: object()})


# The estimator


def make_tiny(**parameters):
    return NeuralMatrixInverter(**TINY | {"matrix_size": 3, "random_state": 0} | parameters)


def assert_same_fit(first, second):
    assert_same_bits(first.module_.state_dict(), second.module_.state_dict())
    assert without_seconds(first.history_) == without_seconds(second.history_)
    for name in ("n_iter_", "best_epoch_", "first_loss_", "best_loss_", "gain_", "domain_", "n_matrices_seen_"):
        assert getattr(first, name) == getattr(second, name), name
    assert (first._seed, first._architecture) == (second._seed, second._architecture)


def fit_killed(X=None, n_batches=7, **parameters):
    with pytest.raises(Killed):
        make_tiny(**parameters, callbacks=[KillAfter(n_batches)]).fit(X)


FAMILY = make_stack("spd", 40, 3)
DOUBLE = {"module__precision": "float64"}


@pytest.mark.parametrize(
    ("parameters", "X"),
    [
        ({}, None),
        ({"matrix_size": (2, 3), "distribution": Normal()}, None),
        ({"block": "dense", "optimizer": "sgd"}, None),
        (
            {"matrix_size": None, "start": "family", "n_atoms": 2, "net_params": {"module__precision": "float64"}},
            FAMILY,
        ),
    ],
    ids=["one size", "several sizes", "dense", "family"],
)
def test_a_fit_goes_on_from_its_checkpoint(parameters, X, tmp_path):
    fit_killed(X, **parameters, checkpoint_dir=tmp_path)
    resumed = make_tiny(**parameters, checkpoint_dir=tmp_path).fit(X)
    assert_same_fit(resumed, make_tiny(**parameters).fit(X))
    again = make_tiny(**parameters, checkpoint_dir=str(tmp_path), device="cpu", callbacks=[Untouched()])
    assert_same_fit(again.fit(X), resumed)
    assert len(list(tmp_path.iterdir())) == 1


def test_without_a_seed_that_of_the_checkpoint_is_taken(tmp_path):
    fit_killed(random_state=None, checkpoint_dir=tmp_path)
    resumed = make_tiny(random_state=None, checkpoint_dir=tmp_path).fit()
    assert_same_fit(resumed, make_tiny(random_state=resumed._seed).fit())


def test_a_warm_start_goes_on_too_and_is_another_training(tmp_path):
    before = pickle.dumps(make_tiny(warm_start=True, checkpoint_dir=tmp_path).fit())
    killed, resumed, undisturbed = (pickle.loads(before) for _ in range(3))
    with pytest.raises(Killed):
        killed.set_params(callbacks=[KillAfter(7)]).fit()
    undisturbed.set_params(checkpoint_dir=None).fit()
    assert_same_fit(resumed.fit(), undisturbed)
    assert resumed.n_iter_ == 2 * TINY["max_epochs"]
    assert len(list(tmp_path.iterdir())) == 2


def test_every_training_has_a_file_of_its_own(tmp_path):
    trainings = [
        ({}, None),
        ({"width": 5}, None),
        ({"random_state": 1}, None),
        ({"distribution": Normal()}, None),
        ({"distribution": Uniform(high=2.0)}, None),
        ({"distribution": partial(draw, scale=2.0)}, None),
        ({"distribution": partial(draw, scale=3.0)}, None),
        ({"net_params": {"criterion": IdentityLoss}}, None),
        ({"distribution": Normal()}, FAMILY),
        ({"distribution": Normal()}, FAMILY[:30]),
    ]
    for n, (parameters, X) in enumerate(trainings):
        fit_killed(X, n_batches=4, **parameters, checkpoint_dir=tmp_path)
        assert len(list(tmp_path.iterdir())) == n + 1


def draw(n_matrices, matrix_size, *, scale, **where):
    return Uniform()(n_matrices, matrix_size, **where) * scale


def test_members_of_an_ensemble_share_the_folder(tmp_path):
    def ensemble(**parameters):
        return EnsembleInverter(make_tiny(**parameters), n_estimators=2, random_state=0)

    kill_first_two = [KillAfter(7)]
    with pytest.raises(Killed):
        ensemble(checkpoint_dir=tmp_path, callbacks=kill_first_two).fit()
    resumed = ensemble(checkpoint_dir=tmp_path).fit()
    for one, other in zip(resumed.estimators_, ensemble().fit().estimators_, strict=True):
        assert_same_fit(one, other)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_function_that_another_process_would_not_know_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"checkpoint_dir needs parameters .*<lambda>.* at the top of a module"):
        make_tiny(distribution=lambda *args, **where: Uniform()(*args, **where), checkpoint_dir=tmp_path).fit()


def test_a_single_epoch_and_none_leave_no_checkpoint(tmp_path):
    make_tiny(checkpoint_dir=tmp_path).partial_fit()
    make_tiny(checkpoint_dir=tmp_path, max_epochs=0).fit()
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_leaves_the_best_weights_and_the_checkpoint(tmp_path):
    class Press(KillAfter):
        def on_batch_end(self, net, training, **kwargs):
            try:
                super().on_batch_end(net, training)
            except Killed:
                raise KeyboardInterrupt from None

    inverter = make_tiny(checkpoint_dir=tmp_path, callbacks=[Press(7)])
    with pytest.raises(KeyboardInterrupt):
        inverter.fit()
    assert inverter.n_iter_ == 2
    assert_same_fit(make_tiny(checkpoint_dir=tmp_path).fit(), make_tiny().fit())


def test_checkpoints_that_cannot_be_written_are_one_warning_and_change_nothing(tmp_path, monkeypatch):
    def write_file(path, *_):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(checkpoint_module, "write_file", write_file)
    with pytest.warns(RuntimeWarning, match=r"checkpoint .* cannot be written: .* Training goes on") as caught:
        inverter = make_tiny(checkpoint_dir=tmp_path).fit()
    assert [warning.filename for warning in caught if warning.category is RuntimeWarning] == [__file__]
    assert_same_fit(inverter, make_tiny().fit())


@pytest.mark.parametrize("damage", ["bytes", "card"])
def test_a_damaged_checkpoint_is_an_error_that_names_it(damage, tmp_path):
    fit_killed(checkpoint_dir=tmp_path)
    (path,) = tmp_path.iterdir()
    if damage == "bytes":
        path.write_bytes(path.read_bytes()[:-7])
    else:
        skdmi.persistence.write_file(path, {"given": {"items": []}, "state": 3, "ended": None}, {})
    with pytest.raises(ValueError, match=path.name):
        make_tiny(checkpoint_dir=tmp_path).fit()


@pytest.mark.parametrize("part", ["state.weights", "state.keeper.best_state", "state.optimizer"])
def test_an_array_of_another_shape_is_an_error_and_no_write_beside_it(part, tmp_path):
    fit_killed(checkpoint_dir=tmp_path)
    (path,) = tmp_path.iterdir()
    card, arrays = skdmi.persistence.read_file(path)
    for name, array in arrays.items():
        if name.startswith(part):
            other = np.zeros(1 if array.ndim else (2, 2), array.dtype)
            skdmi.persistence.write_file(path, card, arrays | {name: other})
            with pytest.raises(ValueError, match=path.name):
                make_tiny(checkpoint_dir=tmp_path).fit()


# Commands

TRAIN = ("train", "--matrix-size", 3, "--depth", 2, "--width", 4, "--epochs", 4, "--batches-per-epoch", 3)
TRAIN += ("--batch-size", 32, "--learning-rate", 0.01)
DMX = ("--msize", 3, "--nlayers", 1, "--nunits", 4, "--nmx_samples", 96, "--batch_size", 32, "--epochs", 3)
DMX += ("--n_repeats", 2, "--n_jobs", 1)


def command(*arguments, of=main):
    return CliRunner().invoke(of, [str(argument) for argument in arguments])


@pytest.fixture
def killed_at_checkpoint(monkeypatch):
    """Return what makes the process end right after its k-th checkpoint."""

    def kill_at(k):
        def write_file(*args):
            nonlocal k
            skdmi.persistence.write_file(*args)
            k -= 1
            if not k:
                raise Killed

        monkeypatch.setattr(checkpoint_module, "write_file", write_file)

    return kill_at


def model(directory):
    card, arrays = read_file(directory / WEIGHTS)
    parts = [card, *card.get("members", [])]
    return arrays, [without_seconds(part["fitted"]["history_"]) for part in parts if "fitted" in part]


def assert_same_model(first, second):
    (first, rows), (second, others) = model(first), model(second)
    assert_same_bits(first, second)
    assert rows == others


@pytest.mark.parametrize("k", [2, 5], ids=["in the middle", "at the end"])
def test_a_killed_command_goes_on(k, tmp_path, killed_at_checkpoint):
    killed_at_checkpoint(k)
    output = tmp_path / "model"
    with pytest.raises(Killed):
        command(*TRAIN, "--output", output)
    refused = command(*TRAIN, "--output", output)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert (
        refused.stderr
        == f"Error: {output}/checkpoints holds an unfinished training. Go on with --resume, or remove it.\n"
    )
    resumed = command(*TRAIN, "--output", output, "--resume")
    assert resumed.exit_code == 0, resumed.stderr
    assert sorted(path.name for path in output.iterdir()) == ["README.md", WEIGHTS]
    seed = skdmi.load_pretrained(output).random_state
    undisturbed = command(*TRAIN, "--output", tmp_path / "undisturbed", "--random-state", seed)
    assert undisturbed.stdout.replace("undisturbed", "model") == resumed.stdout
    assert_same_model(output, tmp_path / "undisturbed")


def test_checkpoints_of_unknown_options_are_not_lost(tmp_path, killed_at_checkpoint):
    killed_at_checkpoint(2)
    output = tmp_path / "model"
    with pytest.raises(Killed):
        command(*TRAIN, "--output", output)
    kept = [path for path in (output / "checkpoints").iterdir() if path.suffix == ".safetensors"]
    for damage in (lambda path: path.write_text("{"), os.unlink):
        damage(output / "checkpoints" / "options.json")
        refused = command(*TRAIN, "--output", output, "--resume")
        assert refused.exit_code == 1
        assert "options.json cannot be read" in refused.stderr
        assert all(path.exists() for path in kept)


def test_no_other_training_disturbs_one_that_goes_on(tmp_path):
    pytest.importorskip("fcntl")
    (output := tmp_path / "model").mkdir()
    (output / "checkpoints").mkdir()
    with held(output / "checkpoints"):
        for resume in ([], ["--resume"]):
            other = command(*TRAIN, "--output", output, *resume)
            assert other.exit_code == 1
            assert (
                other.stderr
                == f"Error: Another process trains in {output}. Wait for its end, or give another directory.\n"
            )
        assert os.listdir(output) == ["checkpoints"]
    assert command(*TRAIN, "--output", output).exit_code == 0
    assert sorted(os.listdir(output)) == ["README.md", WEIGHTS]


@pytest.mark.parametrize("k", [2, 6], ids=["the first network", "the second network"])
def test_a_killed_ensemble_goes_on(k, tmp_path, killed_at_checkpoint):
    killed_at_checkpoint(k)
    with pytest.raises(Killed):
        command(*DMX, "--resume", tmp_path / "M", of=dmxtrain)
    seed = json.loads((tmp_path / "M" / "checkpoints" / "options.json").read_text())["--random-state"]
    resumed = command(*DMX, "--resume", tmp_path / "M", of=dmxtrain)
    assert resumed.exit_code == 0, resumed.stderr
    command(*DMX, "--resume", tmp_path / "N", "--random-state", seed, of=dmxtrain)
    assert sorted(path.name for path in (tmp_path / "M").iterdir()) == ["README.md", WEIGHTS]
    assert_same_model(tmp_path / "M", tmp_path / "N")


def test_other_options_do_not_go_on(tmp_path, killed_at_checkpoint):
    killed_at_checkpoint(2)
    with pytest.raises(Killed):
        command(*TRAIN, "--output", tmp_path, "--random-state", 0)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    result = command(*TRAIN, "--output", tmp_path, "--resume", "--random-state", 1, "--depth", 3)
    assert result.exit_code == 1
    assert "was begun with --depth 2, not 3, --random-state 0, not 1. Give the same options" in result.stderr
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    assert command(*TRAIN, "--output", tmp_path, "--resume", "--checkpoint-every", 0).exit_code == 2


def test_resume_begins_where_there_is_nothing_and_a_failure_leaves_nothing(tmp_path, monkeypatch):
    assert command(*TRAIN, "--output", tmp_path / "model", "--resume").exit_code == 0
    monkeypatch.setattr(NeuralMatrixInverter, "fit", lambda *_: (_ for _ in ()).throw(ValueError("No.")))
    assert command(*TRAIN, "--output", tmp_path / "other").exit_code == 1
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.fixture
def full(monkeypatch, tmp_path):
    """Return the list of folders that are on a full disk."""
    folders = []
    save = NeuralMatrixInverter.save_pretrained

    def save_pretrained(self, directory):
        if any(str(directory).startswith(str(folder)) for folder in folders):
            raise OSError(28, "No space left on device", str(directory))
        save(self, directory)

    monkeypatch.setattr(NeuralMatrixInverter, "save_pretrained", save_pretrained)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    return folders


def test_a_model_that_cannot_be_saved_is_kept_in_a_place_that_is_named(full, tmp_path):
    full.append(tmp_path / "model")
    result = command(*TRAIN, "--output", tmp_path / "model", "--random-state", 0)
    assert (result.exit_code, result.stdout) == (1, "")
    (kept,) = (tmp_path / "tmp").iterdir()
    error = f"Error: {tmp_path / 'model'}: No space left on device. The model is kept in {kept}"
    assert result.stderr.splitlines()[-1].startswith(error)
    full.clear()
    assert command(*TRAIN, "--output", tmp_path / "model", "--random-state", 0, "--resume").exit_code == 0
    assert_same_model(kept, tmp_path / "model")


def test_where_nothing_can_be_kept_the_checkpoint_is(full, tmp_path):
    full.append(tmp_path)
    result = command(*TRAIN, "--output", tmp_path / "model")
    assert result.exit_code == 1
    assert f"--resume goes on from {tmp_path / 'model' / 'checkpoints'}." in result.stderr.splitlines()[-1]
    full.clear()
    assert command(*TRAIN, "--output", tmp_path / "model", "--resume").exit_code == 0


# Signals


def send(number):
    os.kill(os.getpid(), number)


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
class TestSignals:
    def test_both_raise_and_handlers_are_restored(self):
        before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        for number in (signal.SIGINT, signal.SIGTERM):
            signals = Signals()
            with pytest.raises(KeyboardInterrupt), signals.heard():
                send(number)
            assert signals.first == number
        assert before == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    def test_a_second_one_does_not_break_off_the_saving_after_the_first(self):
        signals = Signals()
        signals.saves = True
        with signals.heard():
            with pytest.raises(KeyboardInterrupt):
                send(signal.SIGINT)
            send(signal.SIGINT)
            send(signal.SIGTERM)
        assert signals.first == signal.SIGINT

    def test_they_wait_and_are_heard_again_by_who_asks_something(self):
        signals = Signals()
        with signals.heard(), signals.waiting():
            send(signal.SIGTERM)
            with pytest.raises(KeyboardInterrupt), signals.not_waiting():
                send(signal.SIGINT)
            send(signal.SIGINT)
        assert signals.first == signal.SIGTERM

    def test_what_is_ignored_stays_ignored_and_other_threads_change_nothing(self):
        before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
        try:
            with Signals().heard():
                assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
        finally:
            signal.signal(signal.SIGTERM, before)
        in_thread = []

        def hear():
            with Signals().heard():
                in_thread.append(signal.getsignal(signal.SIGTERM))

        thread = threading.Thread(target=hear)
        thread.start()
        thread.join()
        assert in_thread == [before]

    @pytest.mark.parametrize(
        ("number", "status", "word"), [(signal.SIGINT, 130, "Interrupted."), (signal.SIGTERM, 143, "Terminated.")]
    )
    def test_a_signal_while_the_model_is_saved_waits_for_its_end(self, number, status, word, tmp_path, monkeypatch):
        save = NeuralMatrixInverter.save_pretrained
        monkeypatch.setattr(
            NeuralMatrixInverter, "save_pretrained", lambda self, directory: (send(number), save(self, directory))
        )
        result = command(*TRAIN, "--output", tmp_path / "model")
        assert (result.exit_code, result.stderr.splitlines()[-1]) == (status, word)
        assert f"saved in {tmp_path / 'model'}" in result.stdout
        assert skdmi.load_pretrained(tmp_path / "model").n_iter_ == 4


# Processes

LONG = [sys.executable, "-m", "skdmi.cli", "train", "--matrix-size=2", "--depth=1", "--width=4", "--random-state=0"]
LONG += ["--batches-per-epoch=2", "--batch-size=8"]


def wait_for(process, epoch):
    """Wait for the line of the log that says that an epoch is done."""
    for line in process.stderr:
        if line.split()[:1] == [str(epoch)]:
            return


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_process_that_is_killed_goes_on(tmp_path):
    train_twelve = [*LONG, "--epochs=12", f"--output={tmp_path / 'model'}"]
    for epoch in (3, 7):
        resume = ["--resume"] if epoch > 3 else []
        with subprocess.Popen([*train_twelve, *resume], text=True, stderr=subprocess.PIPE) as process:
            wait_for(process, epoch)
            process.kill()
            process.stderr.read()
    arguments = [str(option) for option in train_twelve[3:]]
    assert command(*arguments, "--resume").exit_code == 0
    shutil.move(tmp_path / "model", tmp_path / "resumed")
    assert command(*arguments).exit_code == 0
    assert_same_model(tmp_path / "resumed", tmp_path / "model")


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_sigterm_saves_the_best_weights_and_exits_with_143(tmp_path):
    # However slow this machine is, the training lasts: it waits to write when the pipe is full.
    train_long = [*LONG, "--epochs=5000", f"--output={tmp_path / 'model'}"]
    with heeding_ctrl_c(train_long, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        wait_for(process, 2)
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
    assert process.returncode in (130, 143)  # Python sees two signals that come at once in the order of their numbers.
    assert "The best weights so far are saved in" in errors.splitlines()[-2]
    assert skdmi.load_pretrained(tmp_path / "model").n_iter_ >= 2


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="limits of POSIX")
def test_a_limit_on_files_loses_no_training(tmp_path):
    """The system refuses to write more than a byte, as a full disk would: to checkpoints, models, anywhere."""
    program = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600)); from skdmi.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *LONG[3:], "--epochs=2", f"--output={tmp_path / 'model'}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    *_, error = lines = done.stderr.splitlines()
    assert len([line for line in lines if "cannot be written" in line and "Training goes on" in line]) == 1
    assert error.startswith(f"Error: {tmp_path / 'model' / WEIGHTS}: File too large. Nor can the model be kept")


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "openpty"), reason="there are no pseudo-terminals")
def test_somebody_at_a_terminal_is_asked_for_another_directory(tmp_path):
    program = f"""
import sys, skdmi
from skdmi.cli import main
save = skdmi.NeuralMatrixInverter.save_pretrained
def save_pretrained(self, directory):
    if "model" in str(directory):
        raise OSError(28, "No space left on device", str(directory))
    save(self, directory)
skdmi.NeuralMatrixInverter.save_pretrained = save_pretrained
main([*{LONG[3:]}, "--epochs=2", "--output={tmp_path / "model"}"])
"""
    ours, theirs = os.openpty()
    terminal = {"stdin": theirs, "stdout": subprocess.PIPE, "stderr": theirs, "text": True}
    with subprocess.Popen([sys.executable, "-W", "ignore", "-c", program], **terminal) as process:
        os.close(theirs)
        shown = b""
        while b"Another directory" not in shown:
            shown += os.read(ours, 4096)
        os.write(ours, f"{tmp_path / 'other'}\n".encode())
        output = process.stdout.read()
    os.close(ours)
    assert process.returncode == 0
    assert b"No space left on device" in shown
    assert f"saved in {tmp_path / 'other'}" in output
    assert [path.name for path in tmp_path.iterdir()] == ["other"]
