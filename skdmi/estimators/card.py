"""A fitted NeuralMatrixInverter as a configuration that JSON can hold, and back."""

import json
import platform
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from skdmi import __version__
from skdmi.distributions import from_dict

if TYPE_CHECKING:
    from skdmi.estimators.neural import NeuralMatrixInverter

__all__ = ["fitted_from_config", "parameters_from_config", "to_config"]

NOT_STORED = ("device", "callbacks")
FITTED = (
    "matrix_size_",
    "n_features_in_",
    "_size_is_named",
    "n_iter_",
    "n_matrices_seen_",
    "best_loss_",
    "domain_",
    "history_",
    "_seed",
    "_architecture",
)


def to_config(inverter: "NeuralMatrixInverter") -> dict[str, Any]:
    """Return class, versions, parameters and fitted attributes; what JSON cannot hold is None or left out."""
    given = inverter.get_params(deep=False)
    parameters = {name: _plain(value) for name, value in given.items() if name not in NOT_STORED}
    if not isinstance(inverter.random_state, Integral):
        parameters["random_state"] = None
    parameters["distribution"] = _describe(inverter.distribution)
    parameters["net_params"] = _json_or_none(parameters["net_params"])
    fitted = {name: _plain(value) for name, value in vars(inverter).items() if name in FITTED}
    fitted["distribution_"] = _describe(inverter.distribution_)
    if hasattr(inverter, "feature_names_in_"):
        fitted["feature_names_in_"] = inverter.feature_names_in_.tolist()
    versions = {"skdmi": __version__, "torch": str(torch.__version__), "python": platform.python_version()}
    return {"class": type(inverter).__name__, "versions": versions, "parameters": parameters, "fitted": fitted}


def parameters_from_config(config: dict[str, Any]) -> dict[str, Any]:
    """Return the constructor's arguments; a distribution that was a function is None, which ``fit`` refuses."""
    parameters = dict(config["parameters"])
    parameters["distribution"] = _undescribe(parameters["distribution"])
    if isinstance(parameters["matrix_size"], list):
        parameters["matrix_size"] = tuple(parameters["matrix_size"])
    return parameters


def fitted_from_config(config: dict[str, Any]) -> dict[str, Any]:
    """Return the fitted attributes, all but the network."""
    fitted = dict(config["fitted"])
    fitted["distribution_"] = _undescribe(fitted["distribution_"])
    if "feature_names_in_" in fitted:
        fitted["feature_names_in_"] = np.array(fitted["feature_names_in_"], dtype=object)
    return fitted


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
