"""``NetworkInverter``: a trained network in the shape of an inverter, wherever it runs and however it is stored."""

import copy
import threading
from inspect import signature
from typing import Any, Self, overload

import numpy as np
import torch
from torch import Tensor

from skdmi.chunks import chunk_size
from skdmi.containers import computable
from skdmi.estimators.base import Answer, BaseInverter
from skdmi.estimators.card import fitted_from_config, parameters_from_config, to_config
from skdmi.estimators.devices import apart, resolve_device
from skdmi.estimators.exporting import Exportable
from skdmi.estimators.saving import Storable
from skdmi.iteration import FamilyStart
from skdmi.linalg.residuals import in_dtype_of
from skdmi.modules import InverterResNet
from skdmi.modules.lanes import forward_in_lanes
from skdmi.modules.network import normalized
from skdmi.persistence import Model
from skdmi.training import prediction_net
from skdmi.training.problem import draws_complex, real_stack
from skdmi.typing import ArrayLike, BoolArray, DaskT, Net

CHUNK_ENTRIES = 2**17
NETWORK_DEFAULTS = {
    name: parameter.default for name, parameter in signature(InverterResNet).parameters.items() if name != "generator"
}
_PLACING = threading.Lock()


class NetworkInverter(Storable, Exportable, BaseInverter):
    """Base of what inverts by a network: where it runs, how it is pickled, saved and loaded; not how it is trained.

    Attributes
    ----------
    net_ : skorch.NeuralNet
        The net, trimmed for prediction, with the history of its training.
    module_ : skdmi.modules.InverterResNet
        The network.
    device_ : torch.device or None
        Where it runs; None in a loaded model until it is used.
    is_complex_ : bool
        Whether it was trained on complex matrices; of models of earlier versions there is none.
    """

    _derives_itself = True
    _chunk_entries = CHUNK_ENTRIES
    device: str
    net_: Net
    module_: InverterResNet
    device_: torch.device | None
    is_complex_: bool
    _architecture: dict[str, Any]

    def _stored(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return card and weights."""
        self._check_ready()
        return to_config(self), to_arrays(self.module_.state_dict())

    @classmethod
    def _restored(cls, model: Model) -> Self:
        """Return the inverter of a checked model."""
        if model.is_ensemble:
            raise ValueError(f"{model.path} holds an ensemble: load it with EnsembleInverter.from_pretrained.")
        if model.card["class"] != cls.__name__:
            raise ValueError(f"{model.path} holds a {model.card['class']!r}, not a {cls.__name__}.")
        inverter = cls(**parameters_from_config(model.card))
        inverter.__dict__.update(fitted_from_config(model.card))
        inverter._rebuild(model.weights)
        return inverter

    def _takes_complex(self, *, anew: bool = False) -> bool:
        return anew or self._is_complex()

    def _embeds(self, A: Any) -> bool:
        return self._is_complex() or super()._embeds(A)

    def _is_complex(self) -> bool:
        """Return whether the network was trained on complex matrices, as their embeddings."""
        return getattr(self, "is_complex_", False)

    def _open_to_learn(self, X: Any, *, reset: bool) -> Tensor | None:
        """Return the X of a fit as real matrices, or embeddings of complex ones; with ``reset`` settle which."""
        stack = None if X is None else self._open_stack(X, reset=reset)
        if reset:
            self.is_complex_ = draws_complex(self.distribution) or (stack is not None and stack.is_complex())
        return real_stack(stack, self.distribution, is_complex=self._is_complex())

    def _source(self) -> InverterResNet:
        return self.module_

    @property
    def start_(self) -> str:
        """The start: a name in :data:`skdmi.iteration.STARTS`, or ``"family"``.

        Examples
        --------
        >>> from skdmi import load_pretrained
        >>> load_pretrained("uniform-3x3-short").start_
        'transpose'
        """
        return str(self._known["start"])

    @property
    def n_atoms_(self) -> int:
        """Number of atoms of a family start; 0 where there is none.

        Examples
        --------
        >>> from skdmi import load_pretrained
        >>> load_pretrained("uniform-3x3-short").n_atoms_
        0
        """
        return int(self._known["n_atoms"])

    @property
    def _known(self) -> dict[str, Any]:
        return NETWORK_DEFAULTS | self._architecture

    @overload
    def out_of_domain(self, X: Tensor) -> Tensor: ...
    @overload
    def out_of_domain(self, X: DaskT) -> DaskT: ...
    @overload
    def out_of_domain(self, X: ArrayLike) -> BoolArray: ...
    def out_of_domain(self, X: Any) -> Any:
        """Return which matrices the start that was fitted to a family is refused for, by its guard.

        These begin as an untrained network does, and need as many products. A stream of matrices with many of them has
        drifted: see ``partial_fit``.

        Parameters
        ----------
        X : array-like of shape (n_matrices, m, m) or (n_matrices, m * m)
            The matrices, as for ``transform``.

        Returns
        -------
        array of shape (n_matrices,), bool, in the container of X
            Whether the guard refuses the matrix.

        Raises
        ------
        ValueError
            If no start was fitted, so that there is no domain.

        Examples
        --------
        >>> from skdmi import NeuralMatrixInverter
        >>> t = np.linspace(-2, 2, 200)[:, None, None]
        >>> family = np.diag([4.0, 3.0, 9.0]) + t * (np.eye(3, k=1) - np.eye(3, k=-1))
        >>> inverter = NeuralMatrixInverter(depth=1, start="family", max_epochs=0, random_state=0).fit(family)
        >>> inverter.out_of_domain(np.array([family[50], np.diag([1.0, -9.0, 5.0])]))
        array([False,  True])
        """
        self._check_ready()
        start = getattr(self.module_.core, "start", None)
        if not isinstance(start, FamilyStart):
            raise ValueError(
                f"start_={self.start_!r} is for all matrices, none is out of its domain. A start that is fitted to a "
                f"family has one: try start='family' and fit(X)."
            )
        return self._apply(X, lambda A, first: ~self._accepts(start, A), keeps_shape=False)

    def _accepts(self, start: FamilyStart, A: Tensor) -> Tensor:
        self._place()
        scaled = normalized(computable(A))[0].to(start.constant)
        parts = scaled.split(chunk_size(A.shape[-1], CHUNK_ENTRIES))
        return torch.cat([start.accepts(part) for part in parts]).to(A.device)

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
        self.net_ = prediction_net(network, torch.device("cpu"), getattr(self, "history_", ()))
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
    """Return a network on the CPU with weights that are to be loaded; the global random state is not touched.

    Raises
    ------
    ValueError
        If an argument is unknown or not allowed.
    """
    try:
        with torch.inference_mode(False):  # or it could not be trained, nor differentiated, after that mode
            return InverterResNet(**architecture, generator=torch.Generator("cpu"))
    except TypeError as error:
        raise ValueError(f"The network does not take these arguments: {error}. See InverterResNet.") from error


def to_arrays(state: dict[str, Tensor]) -> dict[str, np.ndarray]:
    """Return weights as numpy arrays, which every machine can read."""
    return {name: value.detach().cpu().numpy() for name, value in state.items()}
