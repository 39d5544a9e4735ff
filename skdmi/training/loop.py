"""The training loop: skorch, composed of its own callbacks and of ours."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from skorch import NeuralNet
from skorch.callbacks import EarlyStopping, LRScheduler, PrintLog
from skorch.helper import predefined_split
from skorch.history import History
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from skdmi.modules import IdentityLoss, InverterResNet
from skdmi.processes import end_with_parent
from skdmi.progress import Bar, progress
from skdmi.training.callbacks import BestWeights, BoundedGradients, DivergedError, Shown, print_plain
from skdmi.training.checkpoint import ended_rows, restore, restore_begun, state_of
from skdmi.training.settings import OPTIMIZERS, Settings, n_epochs_of
from skdmi.training.stream import Batches, MatrixBatches, MatrixStream, stream_seed
from skdmi.training.users import OURS, PREFIX, named_callbacks, prepared, recorded
from skdmi.typing import Net

FAMILY_RATE = 0.05
"""Of the learning rate, in units of the root mean square of the entries."""
FITTED_PARAMETERS = tuple(f"core.start.{name}" for name in ("constant", "atoms", "equations"))
WHOLE = ("callbacks", "module", "train_split")
"""Arguments of skorch's that training sets as a whole."""
RESERVED = ("callbacks__keeper", "callbacks__epoch_timer", "callbacks__train_loss", "callbacks__valid_loss")
"""Callbacks without which there is no training."""
FUSED = ("cpu", "cuda")
"""Devices on which torch takes a step of any of these in one operation."""


@dataclass(frozen=True)
class Outcome:
    """What a training leaves: the best weights on the CPU, a row an epoch, and how it ended.

    Parameters
    ----------
    state : dict of str to Tensor
        The weights, on the CPU.
    loss : float
        The validation loss of these weights.
    history : list of dict
        A row for each epoch that ended.
    ended : str
        How: ``"finished"``, ``"interrupted"`` by Ctrl-C, or ``"diverged"`` to a loss that is not finite.
    best_epoch : int
        The epoch that ended with these weights; 0: they are the first.
    first_loss : float
        The validation loss of the first weights.

    Examples
    --------
    >>> from skdmi.distributions import Uniform
    >>> from skdmi.training import constant
    >>> stream = MatrixStream(Uniform(), [2], batch_size=8, batches_per_epoch=1, seed=0)
    >>> validation = MatrixBatches([torch.eye(2).expand(4, 2, 2)])
    >>> outcome = train({"depth": 1}, None, stream, validation, Settings(0, 1e-3, constant(1)))
    >>> outcome.ended, outcome.best_epoch, outcome.loss == outcome.first_loss
    ('finished', 0, True)
    """

    state: dict[str, Tensor]
    loss: float
    history: list[dict[str, Any]]
    ended: str
    best_epoch: int
    first_loss: float


def train(
    architecture: dict[str, Any],
    state: dict[str, Tensor] | None,
    stream: MatrixStream,
    validation: MatrixBatches,
    settings: Settings,
) -> Outcome:
    """Train a network on a stream and return its best weights.

    The loop is skorch's; the schedule, printing and progress are its callbacks. The norm of the gradient is clipped at
    1. The best weights are those with the lowest validation loss at the end of any epoch **or before the first**, which
    only a gain beyond chance replaces: where learning has nothing to add, training returns what it was given. Without
    epochs the loss of the first weights is measured, and callbacks are not called. A process that trains for another,
    such as a worker of joblib's, ends with it from then on.

    Parameters
    ----------
    architecture : dict
        Arguments of :class:`~skdmi.modules.InverterResNet`.
    state : dict of str to Tensor or None
        Weights to start from, all or some; the others are initialised from ``stream.seed``.
    stream : MatrixStream
        What to learn from.
    validation : MatrixBatches
        What decides which weights are the best.
    settings : Settings
        How to train.

    Returns
    -------
    Outcome
        The best weights, and how it went.

    Raises
    ------
    ValueError
        If the loss of the first weights is not finite: the matrices are to blame; or if ``net_params`` sets what
        training depends on.

    Examples
    --------
    >>> from skdmi.distributions import Uniform
    >>> from skdmi.training import constant
    >>> stream = MatrixStream(Uniform(), [2], batch_size=8, batches_per_epoch=2, seed=0)
    >>> validation = MatrixBatches([torch.eye(2).expand(4, 2, 2)])
    >>> outcome = train({"depth": 1, "width": 4}, None, stream, validation, Settings(1, 1e-3, constant(2)))
    >>> [row["epoch"] for row in outcome.history], stream.n_matrices_seen
    ([1], 16)
    """
    end_with_parent()
    keeper = BestWeights(validation)
    users = prepared(
        settings.callbacks,
        n_batches=stream.batches_per_epoch + len(validation),
        sink=print_plain if settings.verbose else None,
        several_sizes=len({A.shape[-1] for A in validation.batches}) > 1 or len(set(stream.matrix_sizes)) > 1,
    )
    callbacks = [
        ("keeper", keeper),
        ("schedule", LRScheduler(LambdaLR, lr_lambda=settings.schedule, step_every="batch")),
        ("clipping", BoundedGradients()),
        *users,
    ]
    options = _options(architecture, stream, validation, settings, callbacks)
    net = NeuralNet(**{"optimizer__param_groups": family_groups(state, settings.learning_rate), **options})
    net.initialize()
    if state is not None:
        module = keeper.module(net)
        module.load_state_dict(module.state_dict() | state)
    ended = _go_on(net, keeper, stream, settings)
    rows = net.history  # which a user's callback may replace at the end by what it kept
    if ended is None:
        ended = _watched(net, keeper, stream, settings)
    history = _history(rows)
    kept, loss, epoch = keeper.best_state, keeper.best_loss, keeper.best_epoch
    if settings.keep_last and ended == "finished" and history:
        kept, loss, epoch = keeper.weights(net), history[-1]["valid_loss"], len(history)
    return Outcome(kept, loss, history, ended, epoch, keeper.first_loss)


def family_groups(state: dict[str, Tensor] | None, learning_rate: float) -> list[tuple[str, dict[str, float]]]:
    """Return groups of parameters of a family start, whose rate is relative to their size: they are fitted already.

    >>> family_groups({"core.start.constant": torch.full((2, 2), 3.0)}, 0.1)
    [('*core.start.constant', {'lr': 0.015, 'weight_decay': 0.0})]
    """
    fitted = {name: value for name, value in (state or {}).items() if name in FITTED_PARAMETERS and value.numel() > 0}
    sizes = {name: value.square().mean().sqrt().item() for name, value in fitted.items()}
    return [
        (f"*{name}", {"lr": round(learning_rate * FAMILY_RATE * size, 9), "weight_decay": 0.0})
        for name, size in sizes.items()
    ]


def _options(
    architecture: dict[str, Any],
    stream: MatrixStream,
    validation: MatrixBatches,
    settings: Settings,
    callbacks: list[Any],
) -> dict[str, Any]:
    """Return the arguments of the net; ``net_params`` have the last word."""
    reserved = sorted(name for name in settings.net_params if name in WHOLE or name.startswith(RESERVED))
    if reserved:
        raise ValueError(
            f"net_params sets {', '.join(reserved)}, on which training depends; expected other arguments of "
            f"skorch.NeuralNet. Callbacks of your own go into callbacks=[...], validation matrices into fit(X)."
        )
    _refuse_unknown_callbacks(settings)
    if settings.net_params.get("iterator_train__num_workers"):
        raise ValueError(
            "net_params sets iterator_train__num_workers, but matrices are made on the device as they are needed, and "
            "every worker would make all of them. Leave it out."
        )
    return {
        "module": InverterResNet,
        **{f"module__{name}": value for name, value in architecture.items()},
        "module__generator": torch.Generator("cpu").manual_seed(stream_seed("weights", stream.seed)),
        "criterion": IdentityLoss,
        "criterion__log_weight": settings.log_weight,
        "optimizer": OPTIMIZERS[settings.optimizer],
        "optimizer__weight_decay": 1e-4,
        "optimizer__fused": stream.device.type in FUSED,
        "lr": settings.learning_rate,
        "max_epochs": settings.max_epochs,
        "iterator_train": Batches,
        "iterator_train__batch_size": None,
        "iterator_valid": Batches,
        "iterator_valid__batch_size": None,
        "train_split": predefined_split(validation),
        "callbacks": callbacks,
        "callbacks__print_log": PrintLog(sink=print_plain, floatfmt=".3e") if settings.verbose else None,
        "device": stream.device,
        "verbose": settings.verbose,
        **settings.net_params,
    }


def _refuse_unknown_callbacks(settings: Settings) -> None:
    """Refuse ``net_params`` for callbacks that there are not, which skorch passes over."""
    known = [*(name for name, _ in named_callbacks(settings.callbacks)), *OURS]
    for name in settings.net_params:
        callback = name.removeprefix(PREFIX).partition("__")[0]
        if name.startswith(PREFIX) and callback not in known:
            raise ValueError(
                f"net_params sets {name!r}, but no callback is called {callback!r}; expected one of "
                f"{', '.join(name for name in known if f'{PREFIX}{name}' not in RESERVED)}."
            )


def _history(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each epoch that ended: what training recorded, and what users' callbacks did."""
    return [
        {
            "epoch": row["epoch"],
            "train_loss": float(row["train_loss"]),
            "valid_loss": float(row["valid_loss"]),
            "learning_rate": float(row["learning_rate"]),
            "n_matrices": row["n_matrices"],
            **recorded(row),
            "seconds": row["dur"],
        }
        for row in ended_rows(rows)
    ]


def skorch_history(rows: Iterable[Mapping[str, Any]]) -> list[Any]:
    """Return rows of an inverter's ``history_`` as skorch has them, without batches.

    >>> history = skorch_history([{"epoch": 1, "train_loss": 2.0, "valid_loss": 1.0, "seconds": 0.1}])
    >>> history[:, "valid_loss"], history[-1, "dur"], history[-1, "valid_loss_best"]
    ([1.0], 0.1, True)
    """
    history, lowest = History(), {"train_loss": math.inf, "valid_loss": math.inf}
    for row in rows:
        of_skorch = {"dur" if name == "seconds" else name: value for name, value in row.items()}
        for name, loss in lowest.items():
            of_skorch[f"{name}_best"] = row[name] < loss
            lowest[name] = min(loss, row[name])
        history.append({"batches": [], **of_skorch})
    return history


def _go_on(net: Net, keeper: BestWeights, stream: MatrixStream, settings: Settings) -> str | None:
    """Restore what an earlier process left, if anything; return how that training ended, None if it did not."""
    checkpoint = settings.checkpoint
    if checkpoint is None or checkpoint.found is None:
        return None
    with checkpoint.trusted():
        restore(checkpoint.found["state"], net, keeper, stream)
    ended: str | None = checkpoint.found["ended"]
    if settings.verbose:
        n_epochs = f"{len(net.history)} of {net.max_epochs} epochs"
        print_plain(f"{checkpoint.path}: {'goes on after' if ended is None else f'{ended} after'} {n_epochs}")
    return ended


def _watched(net: Net, keeper: BestWeights, stream: MatrixStream, settings: Settings) -> str:
    """Run the loop under a bar that counts matrices, those of an earlier process included."""
    n_matrices = stream.batches_per_epoch * stream.batch_size
    total, done = net.max_epochs * n_matrices, len(net.history) * n_matrices
    with progress(total, "matrices", verbose=settings.verbose, label="training", done=done) as bar:
        return _run(net, keeper, stream, settings, bar)


def _run(net: Net, keeper: BestWeights, stream: MatrixStream, settings: Settings, bar: Bar) -> str:
    """Run the loop that ``NeuralNet.fit`` runs, without its silence about Ctrl-C, as long as there is progress."""
    patience, checkpoint = n_epochs_of(settings.patience, net.max_epochs), settings.checkpoint
    ended = "finished"
    try:
        if net.max_epochs == 0:
            keeper.on_train_begin(net)
            return ended
        net.notify("on_train_begin", X=stream, y=None)
        net.callbacks_.append(("shown", Shown(bar)))
        if checkpoint and checkpoint.found:
            with checkpoint.trusted():
                restore_begun(checkpoint.found["state"], net)
        while len(net.history) < net.max_epochs and keeper.n_stalled != patience:
            net.fit_loop(stream, epochs=1)
            if checkpoint and len(net.history) % checkpoint.every == 0:
                checkpoint.write(state_of(net, keeper, stream))
    except DivergedError:
        ended = "diverged"
    except KeyboardInterrupt:
        ended = "finished" if _stopped_early(net) else "interrupted"
    if checkpoint and ended != "interrupted":
        checkpoint.write(state_of(net, keeper, stream), ended)
    net.notify("on_train_end", X=stream, y=None)
    return ended


def _stopped_early(net: Net) -> bool:
    """Tell the way of stopping of a user's ``EarlyStopping``, a KeyboardInterrupt, from a person's."""
    stoppers = [callback for _, callback in net.callbacks_ if isinstance(callback, EarlyStopping)]
    return any(getattr(stopper, "misses_", 0) >= stopper.patience for stopper in stoppers)


def prediction_net(network: InverterResNet, device: torch.device, rows: Iterable[Mapping[str, Any]] = ()) -> Net:
    """Return a skorch net around a trained network, with its history, and neither data, optimizer nor callbacks.

    Parameters
    ----------
    network : InverterResNet
        The network, which is moved to the device.
    device : torch.device
        Where it runs.
    rows : iterable of mapping, default=()
        The ``history_`` of an inverter.

    Returns
    -------
    skorch.NeuralNet
        Initialized: ``forward`` and ``infer`` work, ``fit`` has nothing to go on with.

    Examples
    --------
    >>> net = prediction_net(InverterResNet(depth=1), torch.device("cpu"))
    >>> net.forward(torch.eye(2)[None]).shape, len(net.history)
    (torch.Size([1, 2, 2]), 0)
    """
    net = NeuralNet(
        network, IdentityLoss, train_split=None, callbacks="disable", device=device, iterator_valid__batch_size=1024
    )
    net.initialize()
    net.optimizer_ = None
    net.history = skorch_history(rows)
    return net
