"""Learning: what parameters and matrices ask for is posed, trained and measured, with checkpoints if there are any."""

import hashlib
import json
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from skdmi.estimators.architecture import architecture_for, first_weights
from skdmi.estimators.convergence import warn_of_checkpoint
from skdmi.estimators.devices import resolve_device
from skdmi.estimators.network import build_network, to_arrays
from skdmi.modules import InverterResNet
from skdmi.modules.network import normalized
from skdmi.progress import above_bars
from skdmi.training import (
    Checkpoint,
    MatrixBatches,
    MatrixStream,
    Outcome,
    Problem,
    Settings,
    describe_gain,
    measure_gain,
    pose_problem,
    resolve_seed,
    train,
)

DETERMINE_NOTHING = ("device", "verbose", "callbacks", "warm_start", "checkpoint_dir", "checkpoint_every")
"""Parameters that a checkpoint is found without."""
PARAMETERS_IN_NET = {
    "lr": "learning_rate",
    "optimizer__lr": "learning_rate",
    "optimizer": "optimizer",
    "max_epochs": "max_epochs",
    "batch_size": "batch_size",
    "iterator_train__batch_size": "batch_size",
    "iterator_valid__batch_size": "batch_size",
    "device": "device",
    "warm_start": "warm_start",
    "verbose": "verbose",
    "callbacks": "callbacks",
    "criterion__log_weight": "log_weight",
    "module__depth": "depth",
    "module__width": "width",
    "module__block": "block",
    "module__matrix_size": "matrix_size",
    "module__generator": "random_state",
}
"""What skorch calls the parameters of an inverter."""


@dataclass(frozen=True)
class Before:
    """What training goes on from."""

    network: InverterResNet
    architecture: dict[str, Any]
    distribution: Any
    seed: int
    n_matrices_seen: int


@dataclass(frozen=True)
class Learned:
    """What came of it."""

    outcome: Outcome
    architecture: dict[str, Any]
    distribution: Any
    domain: dict[str, Any]
    seed: int
    n_matrices_seen: int
    gain: dict[str, Any] | None


def learn(
    parameters: Mapping[str, Any],
    sizes: tuple[int, ...],
    stack: Tensor | None,
    before: Before | None,
    schedule: Callable[[int], float],
    *,
    keep_last: bool = False,
) -> Learned:
    """Train a network as the parameters of an inverter say, from weights ``before`` or from new ones.

    Parameters
    ----------
    parameters : mapping
        Of the inverter.
    sizes : tuple of int
        Of the matrices to train on.
    stack : Tensor of shape (n_matrices, m, m) or None
        X, checked.
    before : Before or None
    schedule : callable
        Factor of the learning rate at every batch, counted from 0.
    keep_last : bool, default=False
        Whether to return the last weights instead of the best.

    Raises
    ------
    TypeError
        If a callback is none, or a key of ``net_params`` is no name.
    ValueError
        If a parameter is not allowed, or does not go together with ``before`` or with what a checkpoint holds.
    """
    refuse_overruled(parameters)
    architecture = architecture_for(parameters, sizes, None if before is None else before.architecture)
    seed = before.seed if before else _seed(parameters["random_state"])
    checkpoint = open_checkpoint(parameters, sizes, stack, before, seed)
    given = _given(checkpoint)
    seed = given["seed"] if given else resolve_seed(seed)
    problem = _pose(parameters["distribution"], sizes, stack, before, architecture, seed)
    domain = problem.domain()
    where: dict[str, Any] = {"device": resolve_device(parameters["device"], loaded=False)}
    where["dtype"] = build_network(architecture).dtype
    n_batches, batch_size = parameters["batches_per_epoch"], parameters["batch_size"]
    stream = MatrixStream(
        problem.draw,
        problem.sizes,
        batch_size=batch_size,
        batches_per_epoch=n_batches,
        seed=seed,
        n_matrices_seen=before.n_matrices_seen if before else 0,
        **where,
    )
    validation = problem.validation(max(1, n_batches // 10), batch_size, **where)
    if given:
        architecture, first = given["architecture"], given["first"]
    else:
        first = first_weights(problem, architecture, parameters, before.network if before else None)
    if checkpoint:
        checkpoint.given = {"seed": seed, "architecture": architecture, "first": first}
    settings = _settings(parameters, schedule=schedule, keep_last=keep_last, checkpoint=checkpoint)
    outcome = train(architecture, first, stream, validation, settings)
    gain = _measure_gain(architecture, first, outcome.state, validation)
    if gain and parameters["verbose"]:
        with above_bars():
            print(describe_gain(gain))
    return Learned(outcome, architecture, problem.distribution, domain, seed, stream.n_matrices_seen, gain)


def refuse_overruled(parameters: Mapping[str, Any]) -> None:
    """Refuse ``net_params`` that say again, perhaps differently, what a parameter of the inverter says.

    >>> refuse_overruled({"max_epochs": 20, "net_params": {"max_epochs": 3}})
    Traceback (most recent call last):
        ...
    ValueError: net_params sets 'max_epochs', which is the parameter max_epochs of the inverter, 20. Expected it in ...
    """
    for name in parameters["net_params"] or {}:
        if not isinstance(name, str):
            raise TypeError(f"net_params has the key {name!r}; expected names of arguments of skorch.NeuralNet.")
        known = PARAMETERS_IN_NET.get(name)
        if known is not None:
            raise ValueError(
                f"net_params sets {name!r}, which is the parameter {known} of the inverter, {parameters[known]!r}. "
                f"Expected it in one place: set {known}, and leave {name!r} out of net_params."
            )


def _given(checkpoint: Checkpoint | None) -> dict[str, Any] | None:
    """Return what an earlier process began with, if it left a checkpoint."""
    if checkpoint is None or checkpoint.found is None:
        return None
    with checkpoint.trusted():
        return {name: checkpoint.found["given"][name] for name in ("seed", "architecture", "first")}


def _seed(random_state: Any) -> int | None:
    return None if random_state is None else resolve_seed(random_state)


def _pose(
    distribution: Any,
    sizes: tuple[int, ...],
    stack: Tensor | None,
    before: Before | None,
    architecture: dict[str, Any],
    seed: int,
) -> Problem:
    """Decide what to train on; without X, ``"auto"`` means what it came to mean before."""
    if before and stack is None and isinstance(distribution, str):
        distribution = before.distribution
    return pose_problem(distribution, sizes, stack, scale_free=architecture["normalize"] != "none", seed=seed)


def _settings(parameters: Mapping[str, Any], **settings: Any) -> Settings:
    taken = ("max_epochs", "learning_rate", "log_weight", "optimizer", "patience")
    return Settings(
        **{name: parameters[name] for name in taken},
        callbacks=parameters["callbacks"] or (),
        net_params=parameters["net_params"] or {},
        verbose=int(parameters["verbose"]),
        **settings,
    )


def _measure_gain(
    architecture: dict[str, Any],
    first: dict[str, Tensor] | None,
    trained: dict[str, Tensor],
    validation: MatrixBatches,
) -> dict[str, Any] | None:
    """Measure what training bought, of matrices of the largest size that validate."""
    networks = [build_network(architecture).eval() for _ in range(2)]
    for network, state in zip(networks, (first or {}, trained), strict=True):
        network.load_state_dict(network.state_dict() | state)
    return measure_gain(networks[1], normalized(validation.batches[-1].cpu())[0], networks[0])


def open_checkpoint(
    parameters: Mapping[str, Any],
    sizes: tuple[int, ...],
    stack: Tensor | None,
    before: Before | None,
    seed: int | None,
) -> Checkpoint | None:
    """Return the checkpoint of a training, known by all that its weights depend on; None if there is to be none.

    Raises
    ------
    ValueError
        If a parameter has no name that another process would know it by, or the file is damaged.
    """
    directory = parameters["checkpoint_dir"]
    if directory is None:
        return None
    about = {name: value for name, value in parameters.items() if name not in DETERMINE_NOTHING}
    about |= {"random_state": seed, "sizes": sizes}
    if stack is not None:
        about["X"] = _digest(str(tuple(stack.shape)).encode(), np.ascontiguousarray(stack.double().cpu().numpy()))
    if before is not None:
        weights = to_arrays(before.network.state_dict())
        about["before"] = [before.n_matrices_seen, _digest(*map(np.ascontiguousarray, weights.values()))]
    about = json.loads(json.dumps(about, default=_in_json))
    return Checkpoint(Path(directory), about, every=parameters["checkpoint_every"], on_failure=warn_of_checkpoint)


def _digest(*parts: Any) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def _in_json(value: Any) -> Any:
    """Return a number of numpy, a distribution, or the digest of what can be pickled: functions and classes by name."""
    if isinstance(value, np.generic):
        return value.item()
    try:
        return value.to_dict()
    except (AttributeError, TypeError, ValueError):
        pass
    try:
        return f"{type(value).__qualname__} {_digest(pickle.dumps(value))}"
    except (AttributeError, TypeError, pickle.PicklingError) as error:
        raise ValueError(
            f"checkpoint_dir needs parameters that another process would know again, and {value!r} is none: {error}. "
            f"Define functions at the top of a module."
        ) from error
