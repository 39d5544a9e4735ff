"""``NetworkInverter``: a trained network in the shape of an inverter, wherever it runs and however it is stored."""

import copy
import os
import threading
from inspect import signature
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from skdmi.chunks import chunk_size
from skdmi.containers import computable
from skdmi.estimators.base import Answer, BaseInverter, in_dtype_of
from skdmi.estimators.card import fitted_from_config, parameters_from_config, to_config
from skdmi.estimators.devices import apart, resolve_device
from skdmi.modules import InverterResNet
from skdmi.modules.lanes import forward_in_lanes
from skdmi.persistence import load_model, save_model
from skdmi.training import prediction_net

CHUNK_ENTRIES = 2**17
NETWORK_DEFAULTS = {name: parameter.default for name, parameter in signature(InverterResNet).parameters.items()}
_PLACING = threading.Lock()


class NetworkInverter(BaseInverter):
    """Base of what inverts by a network: where it runs, how it is pickled, saved and loaded; not how it is trained.

    Attributes
    ----------
    net_ : skorch.NeuralNet
        The net, trimmed for prediction.
    module_ : skdmi.modules.InverterResNet
        The network.
    device_ : torch.device or None
        Where it runs; None in a loaded model until it is used.
    """

    _derives_itself = True
    device: str
    module_: InverterResNet
    device_: torch.device | None
    _architecture: dict[str, Any]

    def save_pretrained(self, directory: str | os.PathLike[str]) -> None:
        """Write the model as a directory of ``config.json`` and ``model.safetensors``, whole or not at all.

        ``device``, ``callbacks``, RandomState objects, and a distribution or ``net_params`` that JSON cannot hold are
        not stored.

        Parameters
        ----------
        directory : path
            Made if it is not there; replaced if it holds a model.

        Raises
        ------
        FileExistsError
            If the path exists and holds anything but a model.
        NotFittedError
            If the inverter is not fitted.
        """
        self._check_ready()
        save_model(directory, to_config(self), to_arrays(self.module_.state_dict()))

    @classmethod
    def from_pretrained(cls, name_or_directory: str | os.PathLike[str]) -> Self:
        """Load a model, fitted: one that ``save_pretrained`` wrote, or one that comes with skdmi.

        Parameters
        ----------
        name_or_directory : str or path
            A directory, or a name such as ``"uniform-3x3"``.

        Raises
        ------
        FileNotFoundError
            If there is no such model.
        ValueError
            If it is damaged, or not of this class.

        Examples
        --------
        >>> from skdmi import NeuralMatrixInverter
        >>> NeuralMatrixInverter.from_pretrained("uniform-3x3").matrix_size_
        3
        """
        config, weights = load_model(name_or_directory)
        if config.get("class") != cls.__name__:
            raise ValueError(f"{name_or_directory} holds a {config.get('class')!r}, not a {cls.__name__}.")
        try:
            inverter = cls(**parameters_from_config(config))
            inverter.__dict__.update(fitted_from_config(config))
            inverter._rebuild(weights)
        except ValueError as error:
            raise ValueError(f"{name_or_directory}: {error}") from error
        except (KeyError, TypeError, RuntimeError) as error:
            raise ValueError(
                f"The configuration of {name_or_directory} does not fit its weights, or this skdmi: {error!r}."
            ) from error
        return inverter

    def _invert(self, A: Tensor) -> Answer:
        fixed, m = self.module_.matrix_size, A.shape[-1]
        if fixed not in (None, m):
            raise ValueError(
                f"The network takes {fixed} x {fixed} matrices, got {m} x {m}; 'polynomial' takes any size."
            )
        network, home = self.module_, self._place()
        device = home if A.device.type == "cpu" else A.device
        if device != home:
            network = apart(lambda: copy.deepcopy(self.module_).to(device))
        stack = computable(A)
        if device.type == "cpu" and (X := forward_in_lanes(network, stack)) is not None:
            return Answer(X if X.dtype == A.dtype else in_dtype_of(A, X))  # every entry of X is finite
        parts = stack.split(chunk_size(m, CHUNK_ENTRIES) if device.type == "cpu" else len(A))
        return Answer(in_dtype_of(A, torch.cat([network(part.to(device)).to(A.device) for part in parts])))

    def _rebuild(self, weights: dict[str, np.ndarray]) -> None:
        """Make the network on the CPU from its architecture and weights; the device comes at first use."""
        network = build_network(self._architecture)
        network.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in weights.items()})
        self.module_ = network.eval()
        self.net_ = prediction_net(network, torch.device("cpu"))
        self.device_ = None

    def _place(self) -> torch.device:
        """Move a loaded network to the device that its parameters ask for, once."""
        with _PLACING:
            if self.device_ is None:
                device = resolve_device(self.device, loaded=True)
                apart(lambda: self.module_.to(device))
                self.device_ = device
            return self.device_

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "module_")

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        if self.__sklearn_is_fitted__():
            for name in ("net_", "module_", "device_"):
                del state[name]
            state["_weights"] = to_arrays(self.module_.state_dict())
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        weights = state.pop("_weights", None)
        super().__setstate__(state)
        if weights is not None:
            self._rebuild(weights)


def build_network(architecture: dict[str, Any]) -> InverterResNet:
    """Return a network with first weights, without touching the global random state.

    Raises
    ------
    ValueError
        If an argument is unknown or not allowed.
    """
    with torch.random.fork_rng(devices=[]):
        try:
            return InverterResNet(**architecture)
        except TypeError as error:
            raise ValueError(f"The network does not take these arguments: {error}. See InverterResNet.") from error


def to_arrays(state: dict[str, Tensor]) -> dict[str, np.ndarray]:
    """Return weights as numpy arrays, which every machine can read."""
    return {name: value.detach().cpu().numpy() for name, value in state.items()}
