"""Checkpoints: all that a training depends on at the end of an epoch, in one file, so that it can go on bit for bit."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from skorch.callbacks import LRScheduler
from torch import Tensor
from torch.optim import Optimizer

from skdmi.persistence import read_file, write_file
from skdmi.training.callbacks import BestWeights
from skdmi.training.stream import MatrixStream
from skdmi.training.users import COLUMNS, counts, keepable, recorded, restore_counts
from skdmi.typing import Net

SUFFIX = ".safetensors"
OF_THE_DEVICE = ("params", "fused", "foreach")
"""Settings of an optimizer that are those of where it runs."""
MOMENTS = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer")
"""What fused optimizers keep for every parameter, of its shape and dtype."""


class Checkpoint:
    """The file of one training: what an earlier process left in it, and how it is replaced.

    Parameters
    ----------
    directory : path
        Made by the first `write`.
    about : mapping
        What determines the training, as JSON can hold it. Its digest is the name of the file, so that no training
        meets the checkpoint of another.
    every : int, default=1
        Number of epochs between two checkpoints.
    on_failure : callable, default=None
        ``on_failure(path, error)`` is called, once, when the file cannot be written; training goes on. By default the
        error is raised.

    Attributes
    ----------
    path : Path
    found : dict or None
        What was written last, by an earlier training too: ``given``, ``state`` and ``ended``.
    given : dict
        What else belongs into the file.

    Raises
    ------
    ValueError
        If the file is damaged.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Checkpoint(folder, {"seed": 0}).write({"weights": torch.ones(2)})
    ...     Checkpoint(folder, {"seed": 0}).found["state"], Checkpoint(folder, {"seed": 1}).found
    ({'weights': tensor([1., 1.])}, None)
    """

    def __init__(
        self,
        directory: str | Path,
        about: Mapping[str, Any],
        *,
        every: int = 1,
        on_failure: Callable[[Path, Exception], None] | None = None,
    ) -> None:
        text = json.dumps(about, sort_keys=True)
        self.path: Path = Path(directory) / f"{hashlib.blake2b(text.encode(), digest_size=16).hexdigest()}{SUFFIX}"
        self.about: dict[str, Any] = dict(about)
        self.every = every
        self.on_failure = on_failure
        self.given: dict[str, Any] = {}
        self.found: dict[str, Any] | None = self._read()
        self._failed = False

    def _read(self) -> dict[str, Any] | None:
        try:
            card, arrays = read_file(self.path)
        except FileNotFoundError:
            return None
        with self.trusted():
            return {name: unpack(card[name], arrays) for name in ("given", "state", "ended")}

    @contextmanager
    def trusted(self) -> Iterator[None]:
        """Make one ValueError of what goes wrong where the content of the file does not fit the training.

        Yields
        ------
        None
            While the content is put to use.

        Raises
        ------
        ValueError
            With the file's name, and what to do.

        Examples
        --------
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with Checkpoint(folder, {"seed": 0}).trusted():
        ...         raise KeyError("weights")
        Traceback (most recent call last):
            ...
        ValueError: ...safetensors is no checkpoint of this training (KeyError('weights')). Remove it to train anew.
        """
        try:
            yield
        except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise ValueError(
                f"{self.path} is no checkpoint of this training ({error!r}). Remove it to train anew."
            ) from error

    def write(self, state: Mapping[str, Any], ended: str | None = None) -> None:
        """Replace the file, whole or not at all.

        Parameters
        ----------
        state : mapping
            Of tensors, numbers, words, None, and lists and mappings of them.
        ended : str, optional
            How the training ended, if this is its end.

        Examples
        --------
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Checkpoint(folder, {"seed": 0}).write({"n": 1}, "finished")
        ...     Checkpoint(folder, {"seed": 0}).found["ended"]
        'finished'
        """
        arrays: dict[str, np.ndarray] = {}
        parts = {"given": self.given, "state": state, "ended": ended}
        try:
            card = {"about": self.about} | {name: pack(part, name, arrays) for name, part in parts.items()}
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_file(self.path, card, arrays)
        except (OSError, TypeError, ValueError) as error:
            if self.on_failure is None:
                raise
            if not self._failed:
                self.on_failure(self.path, error)
            self._failed = True


def pack(value: Any, name: str, arrays: dict[str, np.ndarray]) -> Any:
    """Return a tree of tensors and plain values as JSON can hold it; tensors go into ``arrays``, under their place.

    Raises
    ------
    TypeError
        If the tree holds anything else.

    Examples
    --------
    >>> arrays = {}
    >>> pack({0: {"momentum": torch.ones(2), "step": 3}}, "state", arrays)
    {'items': [[0, {'items': [['momentum', {'array': 'state.0.momentum'}], ['step', 3]]}]]}
    >>> unpack(_, arrays)
    {0: {'momentum': tensor([1., 1.]), 'step': 3}}
    """
    match value:
        case Tensor():
            arrays[name] = value.detach().cpu().numpy()
            return {"array": name}
        case Mapping():
            return {"items": [[key, pack(part, f"{name}.{key}", arrays)] for key, part in value.items()]}
        case list() | tuple():
            return [pack(part, f"{name}.{i}", arrays) for i, part in enumerate(value)]
        case np.generic():
            return value.item()
        case None | bool() | int() | float() | str():
            return value
    raise TypeError(f"A checkpoint cannot hold {name}, a {type(value).__name__}.")


def unpack(packed: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """Return the tree that `pack` was given, with lists for tuples."""
    match packed:
        case {"array": str(name)}:
            return torch.tensor(arrays[name], device="cpu")
        case {"items": list(pairs)}:
            return {key: unpack(part, arrays) for key, part in pairs}
        case list():
            return [unpack(part, arrays) for part in packed]
    return packed


def ended_rows(history: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of skorch's history, without that of an epoch that was interrupted."""
    return [row for row in history if row.keys() >= COLUMNS.keys()]


def state_of(net: Net, keeper: BestWeights, stream: MatrixStream) -> dict[str, Any]:
    """Return what the rest of a training depends on, at the end of an epoch."""
    ended = ended_rows(net.history)
    rows = [[float(row[name]) for name in COLUMNS] for row in ended]
    return {
        "weights": keeper.weights(net),
        "keeper": keeper.state(),
        "history": torch.tensor(rows, device="cpu", dtype=torch.float64).reshape(-1, len(COLUMNS)),
        "recorded": [keepable(recorded(row)) for row in ended],
        "counts": counts(net),
        "n_matrices_seen": stream.n_matrices_seen,
        "optimizer": _state_of_optimizer(net.optimizer_),
        "schedules": [schedule.state_dict() for schedule in _schedules(net)],
    }


def restore(state: Mapping[str, Any], net: Net, keeper: BestWeights, stream: MatrixStream) -> None:
    """Put a net that has just been initialised where `state_of` found it, all but its schedules and what is counted."""
    for weights in (state["keeper"]["best_state"], state["weights"]):  # The first only to see that they fit.
        keeper.module(net).load_state_dict(weights)
    keeper.restore(state["keeper"])
    for row, of_users in zip(state["history"].tolist(), state["recorded"], strict=True):
        columns = zip(COLUMNS.items(), row, strict=True)
        net.history.append({name: kind(value) for (name, kind), value in columns} | of_users | {"batches": []})
    stream.n_matrices_seen = state["n_matrices_seen"]
    _restore_optimizer(state, net.optimizer_)


def restore_begun(state: Mapping[str, Any], net: Net) -> None:
    """Put where they were the schedules, the rates that they set, and what is counted, which begin with training.

    Other callbacks of users begin anew, as they do where skorch goes on from loaded weights.
    """
    restore_counts(net, state["counts"])
    for schedule, of_schedule in zip(_schedules(net), state["schedules"], strict=True):
        schedule.load_state_dict(of_schedule)
    _restore_optimizer(state, net.optimizer_)


def _schedules(net: Net) -> list[Any]:
    return [callback.lr_scheduler_ for _, callback in net.callbacks_ if isinstance(callback, LRScheduler)]


def _state_of_optimizer(optimizer: Optimizer) -> dict[str, Any]:
    state = optimizer.state_dict()
    groups = [{name: group[name] for name in group if name not in OF_THE_DEVICE} for group in state["param_groups"]]
    return {"state": state["state"], "groups": groups}


def _restore_optimizer(state: Mapping[str, Any], optimizer: Optimizer) -> None:
    groups = optimizer.state_dict()["param_groups"]
    of_groups = state["optimizer"]["groups"]
    whole = [group | of_group for group, of_group in zip(groups, of_groups, strict=True)]
    of_parameters = state["optimizer"]["state"]
    _check_moments(of_parameters, [parameter for group in optimizer.param_groups for parameter in group["params"]])
    optimizer.load_state_dict({"state": of_parameters, "param_groups": whole})


def _check_moments(of_parameters: Mapping[int, Mapping[str, Any]], parameters: list[Tensor]) -> None:
    """Raise ValueError unless all is as large as fused optimizers take it for: they write without looking."""
    for number, kept in of_parameters.items():
        parameter = parameters[number]
        for name, value in kept.items():
            shape = parameter.shape if name in MOMENTS else torch.Size()
            if isinstance(value, Tensor) and (name in MOMENTS or name == "step") and value.shape != shape:
                raise ValueError(f"{name} of parameter {number} is not of shape {tuple(shape)}")
            if isinstance(value, Tensor) and name in MOMENTS and value.dtype != parameter.dtype:
                raise ValueError(f"{name} of parameter {number} is not of {parameter.dtype}")
