"""The doors through which a stack can be inverted, each a function of a numpy array."""

import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from sklearn.frozen import FrozenEstimator

import skdmi
from skdmi import BlockInverter, NeuralMatrixInverter, RefinedInverter


def through_file(A: np.ndarray) -> np.ndarray:
    from click.testing import CliRunner

    from skdmi.cli import main

    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "A.npy"), Path(folder, "X.npy")
        np.save(source, A)
        outcome = CliRunner().invoke(main, ["invert", str(source), str(target)], catch_exceptions=False)
        if "Warning" in outcome.output:
            warnings.warn(outcome.output, stacklevel=1)
        return np.load(target)


NETWORK = FrozenEstimator(NeuralMatrixInverter(matrix_size=(2,), max_epochs=0, random_state=0).fit())
"""Untrained, it takes any size."""

DOORS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "skdmi.inv": skdmi.inv,
    "skdmi.inv, torch": lambda A: skdmi.inv(torch.from_numpy(A)).numpy(),
    "RefinedInverter": RefinedInverter().transform,
    "RefinedInverter, network": RefinedInverter(NETWORK).transform,
    "BlockInverter": BlockInverter(block_size=3).transform,
    "skdmi invert": through_file,
}
