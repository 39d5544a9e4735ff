"""A fitted NeuralMatrixInverter as a configuration that JSON can hold, and back."""

import json
import platform
from numbers import Integral
from typing import Any

import numpy as np
import torch

from skdmi import __version__
from skdmi.distributions import from_dict
from skdmi.estimators.schema import FITTED, FITTED_PERHAPS, ONLY_IN_0_1_0, PARAMETERS
from skdmi.training.users import keepable

NOT_STORED = ("device", "callbacks", "checkpoint_dir", "checkpoint_every")
_KEPT = (FITTED.keys() | FITTED_PERHAPS.keys()) - {"distribution_", "feature_names_in_"}
NOT_IN_0_1_0 = ("best_epoch_", "first_loss_", "gain_")
"""Fitted attributes that are None where a card does not have them."""
IN_NET_PARAMS = {
    "expansion": ("module__expansion", 2),
    "normalize": ("module__normalize", "frobenius"),
    "precision": ("module__precision", "float32"),
    "compile": ("compile", False),
}
"""Where parameters of 0.1.0 are today, and what they are by default."""


def to_config(inverter: Any) -> dict[str, Any]:
    """Return class, versions, parameters and fitted attributes; what JSON cannot hold is None or left out."""
    given = inverter.get_params(deep=False)
    parameters = {name: _plain(value) for name, value in given.items() if name not in NOT_STORED}
    if not isinstance(inverter.random_state, Integral):
        parameters["random_state"] = None
    parameters["distribution"] = _describe(inverter.distribution)
    parameters["net_params"] = _json_or_none(parameters["net_params"])
    fitted = {name: _plain(value) for name, value in vars(inverter).items() if name in _KEPT}
    fitted["history_"] = [keepable(row) for row in fitted["history_"]]
    fitted["distribution_"] = _describe(inverter.distribution_)
    if hasattr(inverter, "feature_names_in_"):
        fitted["feature_names_in_"] = inverter.feature_names_in_.tolist()
    versions = {"skdmi": __version__, "torch": str(torch.__version__), "python": platform.python_version()}
    return {"class": type(inverter).__name__, "versions": versions, "parameters": parameters, "fitted": fitted}


def parameters_from_config(config: dict[str, Any]) -> dict[str, Any]:
    """Return the constructor's arguments of a checked card.

    A distribution that was a function is None, which ``fit`` refuses; parameters of later versions are left out.
    """
    known = _of_this_version(config["parameters"])
    parameters = {name: value for name, value in known.items() if name in PARAMETERS}
    if "distribution" in parameters:
        parameters["distribution"] = _undescribe(parameters["distribution"])
    if isinstance(parameters.get("matrix_size"), list):
        parameters["matrix_size"] = tuple(parameters["matrix_size"])
    return parameters


def fitted_from_config(config: dict[str, Any]) -> dict[str, Any]:
    """Return the fitted attributes of a checked card, all but the network; those of later versions are left out."""
    known = FITTED.keys() | FITTED_PERHAPS.keys()
    fitted = dict.fromkeys(NOT_IN_0_1_0) | {name: value for name, value in config["fitted"].items() if name in known}
    fitted["_architecture"] = architecture_from_config(config)
    fitted["distribution_"] = _undescribe(fitted["distribution_"])
    if "feature_names_in_" in fitted:
        fitted["feature_names_in_"] = np.array(fitted["feature_names_in_"], dtype=object)
    return fitted


def architecture_from_config(config: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of the network of a checked card.

    Raises
    ------
    ValueError
        If the network is of a kind that only skdmi 0.1.0 has.
    """
    architecture = dict(config["fitted"]["_architecture"])
    if architecture["block"] != "polynomial":
        architecture["start"] = "transpose"  # Which networks on entries never used.
    gone = [name for name, values in ONLY_IN_0_1_0.items() if architecture.get(name) in values]
    if architecture.pop("n_squarings", 1) != 1:
        gone.append("n_squarings")
    if gone:
        raise ValueError(
            f"The network is of a kind ({', '.join(gone)}) that only skdmi 0.1.0 has. Use that version, or "
            f"train the model anew."
        )
    return architecture


def _of_this_version(given: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters of a card, of 0.1.0 perhaps, as those of today."""
    parameters = dict(given)
    if not parameters.pop("early_stopping", True):
        parameters["patience"] = None
    parameters.pop("validation_fraction", None)
    moved = {}
    for name, (target, default) in IN_NET_PARAMS.items():
        value = parameters.pop(name, default)
        if value != default:
            moved[target] = value
    net_params = moved | (parameters.get("net_params") or {})
    if net_params.get("module__n_squarings") == 1:
        del net_params["module__n_squarings"]
    parameters["net_params"] = net_params or None
    return parameters


def _describe(distribution: Any) -> Any:
    if isinstance(distribution, str):
        return distribution
    try:
        return distribution.to_dict()
    except (AttributeError, ValueError):
        return None


def _undescribe(description: Any) -> Any:
    return from_dict(description) if isinstance(description, dict) else description


def _plain(value: Any) -> Any:
    """Return numpy scalars, which searches put into parameters, as Python numbers, in containers too."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _json_or_none(value: Any) -> Any:
    try:
        json.dumps(value)
    except TypeError:
        return None
    return value
