"""Train the shipped models anew: ``python -m scripts.train_pretrained [NAME ...]``, by default all of them.

A model is trained in rounds, each a cosine schedule of its own from a third of the learning rate before. After every
round it is saved in ``build/pretrained/``, and a run that was interrupted goes on from the last round saved; the last
round goes to ``skdmi/pretrained/``: weights, and a card with settings, seed, domain, history, what the model reaches on
fresh matrices, and what it gained over the untrained network. A model whose rounds are all there is only measured anew.
Models of a family start from what is fitted to its members; training keeps that where it gains nothing.
"""

import argparse
import platform
import shutil
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.lib.figures import model_figures
from benchmarks.lib.gain import measured_gain
from scripts.montage import spatial_covariance
from skdmi import NeuralMatrixInverter
from skdmi.distributions import Affine, Covariance, GaussianProcessKernel, Uniform
from skdmi.estimators.saving import save
from skdmi.estimators.stored import read_checked
from skdmi.persistence import SHIPPED

BUILD = Path(__file__).parents[1] / "build" / "pretrained"
N_ROUNDS = 3
ROUND_OFF = 1 / 3

DEFAULTS: dict[str, Any] = {
    "distribution": Uniform(),
    "learning_rate": 3e-3,
    "batch_size": 512,
    "batches_per_epoch": 100,
    "random_state": 0,
    "verbose": 1,
}
KERNELS = ("rbf", "matern12", "matern32", "matern52", "rational-quadratic")
GRID = GaussianProcessKernel("grid", KERNELS, length_scales=(0.1, 1.0), noise=(1e-3, 1e-1))
EPOCH = 256
"""Observations of an electroencephalogram: a second at 256 Hz."""
FAMILY: dict[str, Any] = {"start": "family", "max_epochs": 2, "batches_per_epoch": 20, "learning_rate": 3e-5}
MODELS: dict[str, dict[str, Any]] = {
    "uniform-3x3-short": {"depth": 1, "width": 4, "matrix_size": 3, "max_epochs": 20},
    "uniform-16x16-short": {"depth": 3, "matrix_size": 16, "max_epochs": 6, "batch_size": 256},
    "kernel-grid-4x4": FAMILY | {"depth": 1, "matrix_size": 16, "distribution": GRID, "n_atoms": 12},
    "kernel-grid-8x8": FAMILY | {"depth": 2, "matrix_size": 64, "distribution": GRID, "n_atoms": 16, "batch_size": 128},
    "eeg-covariance": FAMILY
    | {
        "depth": 3,
        "matrix_size": 19,
        "distribution": Covariance(spatial_covariance(), degrees_of_freedom=EPOCH),
        "n_atoms": 0,
    },
    "diffusion-6x6": FAMILY
    | {"depth": 1, "matrix_size": 36, "distribution": Affine.diffusion(side=6), "n_atoms": 16, "batch_size": 256},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"among {', '.join(MODELS)}")
    names = parser.parse_args().names or list(MODELS)
    unknown = sorted(set(names) - set(MODELS))
    if unknown:
        parser.error(f"no model {', '.join(unknown)}; there are {', '.join(MODELS)}")
    for name in names:
        print(f"{name} on {platform.machine()}, {torch.get_num_threads()} thread(s), torch {torch.__version__}")
        train(name)


def train(name: str) -> None:
    """Train the rounds of a model that are not there yet, and ship the last."""
    settings = DEFAULTS | MODELS[name]
    inverter = NeuralMatrixInverter(**settings)
    for number in range(N_ROUNDS):
        saved = BUILD / f"{name}-{number + 1}"
        if saved.exists():
            inverter = NeuralMatrixInverter.from_pretrained(saved)
            continue
        started = time.perf_counter()
        inverter.set_params(
            learning_rate=settings["learning_rate"] * ROUND_OFF**number, warm_start=number > 0, verbose=1
        ).fit()
        seconds = time.perf_counter() - started
        print(f"{name}, round {number + 1} of {N_ROUNDS}: {inverter.n_matrices_seen_} matrices, {seconds:.0f} s")
        inverter.set_params(learning_rate=settings["learning_rate"], warm_start=False, verbose=0).save_pretrained(saved)
    shutil.rmtree(SHIPPED / name, ignore_errors=True)
    shutil.copytree(saved, SHIPPED / name)
    measure(name, inverter)


def measure(name: str, inverter: NeuralMatrixInverter) -> None:
    """Complete the card of a shipped model, with what it reaches on fresh matrices of its own distribution."""
    model = read_checked(SHIPPED / name)
    sizes = inverter.matrix_size if isinstance(inverter.matrix_size, tuple) else (inverter.matrix_size,)
    content = model.card | {
        "trained_on": f"CPU ({platform.machine()}), {torch.get_num_threads()} thread(s)",
        "figures": model_figures(inverter, sizes, inverter.distribution_),
        "gain": measured_gain(inverter),
    }
    save(SHIPPED / name, content, model.weights)
    size = sum(file.stat().st_size for file in (SHIPPED / name).iterdir())
    seconds = sum(row["seconds"] for row in content["fitted"]["history_"])
    print(f"{name}: {size / 1e3:.0f} kB, {seconds:.0f} s, loss {inverter.best_loss_:.3e}")
    print("  gain {gain:.2e} ({interval[0]:.2e} to {interval[1]:.2e}), {share:.0%}".format(**content["gain"]))
    for m, figures in content["figures"].items():
        shares = ", ".join(f"{share:.2%}" for share in figures["within_tolerance_shares"].values())
        print(
            f"  {m} x {m}, {figures['products']} products: mean {figures['mean']:.1e}, within 5, 2, 1, 0.5 %: {shares}"
        )


if __name__ == "__main__":
    main()
