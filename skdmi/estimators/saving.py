"""A fitted inverter into a directory: held to what a reader of it will ask, and with its README."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from skdmi.estimators.description import readme
from skdmi.estimators.stored import check_stored, check_weights
from skdmi.persistence import WEIGHTS, Model, save_model
from skdmi.persistence.files import Entry


def save(directory: str | os.PathLike[str], card: dict[str, Any], weights: dict[str, np.ndarray]) -> None:
    """Write a model; it raises as `skdmi.persistence.save_model`, and ValueError for what could not be read again."""
    entries = {name: Entry(array.dtype, array.shape) for name, array in weights.items()}
    model = Model(Path(directory) / WEIGHTS, card, entries, weights)
    check_stored(model)
    check_weights(model)
    save_model(directory, model, readme(Path(os.path.realpath(directory)).name, model))
