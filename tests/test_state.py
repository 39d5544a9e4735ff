"""A process is left as it was found: by the import, by every door, by commands."""

import subprocess
import sys

import pytest

SNAPSHOT = """
import faulthandler, gc, locale, os, random, signal, sys, threading, time, warnings


def snapshot():
    state = {
        "environment": dict(os.environ),
        "warnings": (list(warnings.filters), warnings.showwarning),
        "signals": {number: signal.getsignal(number) for number in signal.valid_signals()},
        "directory": os.getcwd(),
        "path": list(sys.path),
        "hooks": (sys.excepthook, sys.displayhook, threading.excepthook, sys.unraisablehook, sys.breakpointhook),
        "locale": locale.setlocale(locale.LC_ALL),
        "streams": (sys.stdin, sys.stdout, sys.stderr),
        "random": random.getstate(),
        "limits": (sys.getrecursionlimit(), sys.getswitchinterval()),
        "collector": (gc.isenabled(), gc.get_threshold()),
        "threads": {thread for thread in threading.enumerate() if type(thread).__name__ != "TMonitor"},  # tqdm's
        "faults": faulthandler.is_enabled(),
    }
    if os.path.isdir("/proc/self/fd"):
        named = {name: os.path.realpath(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")}
        state["files"] = {name: path for name, path in named.items() if os.path.exists(f"/proc/self/fd/{name}")}
    if "numpy" in sys.modules:
        import numpy as np
        kind, keys, *rest = np.random.get_state()
        state["numpy"] = (kind, hash(keys.tobytes()), *rest, np.geterr(), np.get_printoptions())
    if "torch" in sys.modules:
        import torch
        state["torch"] = (
            hash(torch.get_rng_state().numpy().tobytes()),
            torch.get_default_dtype(),
            torch.get_default_device(),
            torch.get_num_threads(),
            torch.get_num_interop_threads(),
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            torch.is_autocast_enabled("cpu"),
            torch.are_deterministic_algorithms_enabled(),
            torch.get_float32_matmul_precision(),
            torch.is_anomaly_enabled(),
            torch.backends.mkldnn.enabled,
        )
    if "sklearn" in sys.modules:
        import sklearn
        state["sklearn"] = sklearn.get_config()
    return state


def assert_unchanged(what, before):
    after = snapshot()
    changed = {name: (value, after[name]) for name, value in before.items() if after[name] != value}
    assert not changed, (what, changed)
"""

IMPORTS = """
import click, joblib, numpy, onnx, scipy, sklearn, skorch, torch, tqdm  # what they do when imported is theirs
import dask.array, matplotlib.pyplot, safetensors.numpy

before = snapshot()
import skdmi
assert_unchanged("import skdmi", before)
for name in dir(skdmi):
    getattr(skdmi, name)
    assert_unchanged(name, before)
"""
DOORS = """
import contextlib, io, pathlib
import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from skdmi.cli import main
from skdmi.cli.dmx.train import dmxtrain

A = np.random.default_rng(0).normal(size=(40, 3, 3))
S = A @ A.transpose(0, 2, 1)
short = skdmi.load_pretrained("uniform-3x3-short")
training = {"depth": 2, "width": 8, "max_epochs": 2, "batches_per_epoch": 4, "batch_size": 32}
folder = pathlib.Path(sys.argv[1])
warnings.simplefilter("ignore", ConvergenceWarning)  # training so short may gain nothing


def fit(X=None, **parameters):
    skdmi.NeuralMatrixInverter(random_state=0, **training, **parameters).fit(X)


def command(command, *arguments):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        command([str(argument) for argument in arguments], standalone_mode=False)


def fails(door, error):
    try:
        door()
    except error:
        return
    raise AssertionError("It did not fail.")


class Foreign(BaseEstimator):
    def fit(self, X=None, y=None):
        return self

    def transform(self, X):
        return skdmi.ExactInverter().transform(X)


seed = ["--random-state", 0]
few = ["--epochs", 1, "--batches-per-epoch", 4, "--batch-size", 32, *seed]
few_of_dmx = ["--msize", 2, "--epochs", 1, "--nmx_samples", 64, "--n_repeats", 1, "--mout", folder / "dmx", *seed]
doors = {
    "inv": lambda: [skdmi.inv(A), skdmi.inv(torch.from_numpy(A).float()), skdmi.inv(A, tight=True, model=short)],
    "inv, large": lambda: skdmi.inv(np.random.default_rng(0).normal(size=(2, 200, 200))),
    "certify": lambda: [skdmi.certify(A, np.linalg.inv(A)), skdmi.certify(A, np.linalg.inv(A), tight=True)],
    "slogdet": lambda: skdmi.slogdet(A),
    "refined": lambda: skdmi.RefinedInverter(short).fit().report(A),
    "block": lambda: skdmi.BlockInverter(short).fit().transform(np.kron(np.eye(3), A)),
    "around what is foreign": lambda: skdmi.RefinedInverter(Foreign()).fit().transform(A),
    "fit": lambda: fit(matrix_size=3),
    "fit to a family": lambda: fit(S, start="family"),
    "fit with checkpoints": lambda: fit(matrix_size=3, checkpoint_dir=folder / "checkpoints"),
    "fit an ensemble": lambda: skdmi.EnsembleInverter(
        skdmi.NeuralMatrixInverter(matrix_size=3, **training), n_estimators=2, random_state=0
    ).fit(),
    "a fit that fails": lambda: fails(lambda: fit(np.full((9, 3, 3), np.nan)), ValueError),
    "save": lambda: short.estimator.save_pretrained(folder / "model"),
    "load": lambda: skdmi.load_pretrained(folder / "model").transform(A),
    "export": lambda: short.export(folder / "inverse.onnx"),
    "dask": lambda: skdmi.inv(dask.array.from_array(A, chunks=(10, 3, 3))).compute(scheduler="synchronous"),
    "distributions": lambda: skdmi.distributions.Spectrum().sample(9, 3, random_state=0),
    "skdmi --help": lambda: command(main, "--help"),
    "skdmi info": lambda: command(main, "info"),
    "skdmi generate": lambda: command(main, "generate", "--matrix-size", 3, "--output", folder / "A.npy", *seed),
    "skdmi invert": lambda: command(main, "invert", folder / "A.npy", folder / "X.npy"),
    "skdmi train": lambda: command(main, "train", "--matrix-size", 3, "--output", folder / "trained", *few),
    "dmxtrain": lambda: command(dmxtrain, *few_of_dmx),
    "a command that fails": lambda: fails(
        lambda: command(main, "invert", folder / "missing.npy", folder / "X.npy"), click.ClickException
    ),
}
for name, door in doors.items():
    if name == "dmxtrain":
        torch.set_num_threads(2)  # of which it wants one
    before = snapshot()
    door()
    assert_unchanged(name, before)
"""


@pytest.mark.slow
def test_a_process_is_left_as_it_was(tmp_path):
    here, folder = tmp_path / "here", tmp_path / "folder"
    here.mkdir()
    folder.mkdir()
    subprocess.run([sys.executable, "-c", SNAPSHOT + IMPORTS + DOORS, folder], check=True, cwd=here, timeout=300)
    assert not list(here.iterdir())
