"""The training loop: skorch, composed of its own callbacks and one that keeps the best weights."""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import click
import torch
from sklearn.base import clone
from skorch import NeuralNet
from skorch.callbacks import Callback, EarlyStopping, GradientNormClipping, LRScheduler, PrintLog, ProgressBar
from skorch.helper import predefined_split
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from skdmi.modules import IdentityLoss, InverterResNet
from skdmi.training.stream import MatrixBatches, MatrixStream, stream_seed

__all__ = ["OPTIMIZERS", "Outcome", "constant", "cosine", "prediction_net", "train"]

OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}


def cosine(n_steps: int) -> Callable[[int], float]:
    """Return a schedule: the learning rate's factor rises over the first 2.5 percent and falls to 0 as a cosine.

    >>> schedule = cosine(1000)
    >>> [round(schedule(step), 3) for step in (0, 24, 999)]
    [0.04, 1.0, 0.0]
    """
    warm_up = max(1, n_steps // 40)

    def factor(step: int) -> float:
        if step < warm_up:
            return (step + 1) / warm_up
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm_up) / max(1, n_steps - warm_up))))

    return factor


def constant(n_steps: int) -> Callable[[int], float]:
    """Return a schedule: the learning rate's factor rises over the first tenth and stays.

    >>> [constant(100)(step) for step in (0, 9, 99)]
    [0.1, 1.0, 1.0]
    """
    warm_up = max(1, n_steps // 10)
    return lambda step: min(1.0, (step + 1) / warm_up)


@dataclass(frozen=True)
class Outcome:
    """What a training leaves: the best weights on the CPU, a row an epoch, and how it ended."""

    state: dict[str, Tensor]
    loss: float
    """The validation loss of these weights."""
    history: list[dict[str, Any]]
    ended: str
    """``"finished"``, ``"interrupted"`` by Ctrl-C, or ``"diverged"`` to a loss that is not finite."""


def train(
    architecture: dict[str, Any],
    state: dict[str, Tensor] | None,
    stream: MatrixStream,
    validation: MatrixBatches,
    *,
    max_epochs: int,
    learning_rate: float,
    schedule: Callable[[int], float],
    log_weight: float = 0.0,
    optimizer: str = "adamw",
    patience: int | None = None,
    callbacks: Sequence[Any] = (),
    net_params: dict[str, Any] | None = None,
    compile: bool = False,
    keep_last: bool = False,
    verbose: int = 0,
) -> Outcome:
    """Train a network on a stream and return its best weights.

    The loop is skorch's; the schedule, gradient clipping at norm 1, early stopping, printing and progress are its
    callbacks. The best weights are those with the lowest validation loss at the end of any epoch **or before the
    first**, which only a gain beyond chance replaces: where learning has nothing to add, training returns what it was
    given.

    Parameters
    ----------
    architecture : dict
        Arguments of :class:`~skdmi.modules.InverterResNet`.
    state : dict of str to Tensor or None
        Weights to start from; by default a network is initialised from ``stream.seed``.
    schedule : callable
        Factor of the learning rate at every batch, counted from 0.
    patience : int or None
        Stop after so many epochs without a better validation loss.
    callbacks : sequence of skorch callbacks
        Cloned; one that holds what cannot be copied, such as an open ``SummaryWriter``, shares it with its copy.
    net_params : dict or None
        The last word to :class:`skorch.NeuralNet`.
    keep_last : bool
        Return the weights after the last epoch instead of the best, if training ran to its end.

    Raises
    ------
    ValueError
        If the loss of the first weights is not finite: the matrices are to blame; or if ``net_params`` sets what
        training depends on.
    """
    keeper = _BestWeights(validation)
    steps: list[Any] = [
        ("keeper", keeper),
        ("schedule", LRScheduler(LambdaLR, lr_lambda=schedule, step_every="batch")),
        ("finite_gradients", _FiniteGradients()),
        ("clipping", GradientNormClipping(1.0)),
    ]
    if verbose > 1:
        steps.append(("progress", ProgressBar(batches_per_epoch=stream.batches_per_epoch + len(validation))))
    steps += [_copied(callback) for callback in callbacks]
    if patience is not None:
        steps.append(("early_stopping", EarlyStopping("valid_loss", patience=patience, load_best=False)))
    options = {
        "module": InverterResNet,
        **{f"module__{name}": value for name, value in architecture.items()},
        "criterion": IdentityLoss,
        "criterion__log_weight": log_weight,
        "optimizer": OPTIMIZERS[optimizer],
        "optimizer__weight_decay": 1e-4,
        "lr": learning_rate,
        "max_epochs": max_epochs,
        "iterator_train__batch_size": None,
        "iterator_valid__batch_size": None,
        "train_split": predefined_split(validation),
        "callbacks": steps,
        "callbacks__print_log": PrintLog(sink=_print_plain, floatfmt=".3e") if verbose else None,
        "device": stream.device,
        "compile": compile,
        "verbose": verbose,
    }
    reserved = {"callbacks", "train_split"} & set(net_params or {})
    if reserved:
        raise ValueError(
            f"net_params sets {', '.join(sorted(reserved))}, on which training depends; expected other arguments of "
            f"skorch.NeuralNet. Callbacks of your own go into callbacks=[...], validation matrices into fit(X)."
        )
    net = NeuralNet(**{**options, **(net_params or {})})
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(stream_seed("weights", stream.seed))
        net.initialize()
        if state is not None:
            keeper.module(net).load_state_dict(state)
        ended = _run(net, stream)
    history = [
        {
            "epoch": row["epoch"],
            "train_loss": float(row["train_loss"]),
            "valid_loss": float(row["valid_loss"]),
            "learning_rate": float(row["learning_rate"]),
            "n_matrices": row["n_matrices"],
            "seconds": row["dur"],
        }
        for row in net.history
        if "dur" in row
    ]
    if keep_last and ended == "finished":
        return Outcome(keeper.weights(net), history[-1]["valid_loss"], history, ended)
    return Outcome(keeper.best_state, keeper.best_loss, history, ended)


def _copied(callback: Any) -> Any:
    try:
        return clone(callback, safe=False)
    except TypeError:
        return copy.copy(callback)


def _run(net: NeuralNet, stream: MatrixStream) -> str:
    """Run the loop that ``NeuralNet.fit`` runs, without its silence about Ctrl-C."""
    try:
        net.notify("on_train_begin", X=stream, y=None)
        net.fit_loop(stream)
        ended = "finished"
    except _DivergedError:
        ended = "diverged"
    except KeyboardInterrupt:
        ended = "finished" if _stopped_early(net) else "interrupted"
    net.notify("on_train_end", X=stream, y=None)
    return ended


def _stopped_early(net: NeuralNet) -> bool:
    """Tell skorch's way of stopping early, a KeyboardInterrupt, from a person's."""
    stoppers = [callback for _, callback in net.callbacks_ if isinstance(callback, EarlyStopping)]
    return any(getattr(stopper, "misses_", 0) >= stopper.patience for stopper in stoppers)


def _print_plain(text: str) -> None:
    print(click.unstyle(text), flush=True)


class _DivergedError(Exception):
    """The loss is not finite."""


class _FiniteGradients(Callback):
    """Drop what is not finite of a gradient: a deep network on nearly singular matrices can overflow in it."""

    def on_grad_computed(self, net: NeuralNet, *, named_parameters: Any, **kwargs: Any) -> None:
        for _, parameter in named_parameters:
            if parameter.grad is not None:
                parameter.grad.nan_to_num_(0.0, 0.0, 0.0)


class _BestWeights(Callback):
    """Keep the weights with the lowest validation loss, those before the first epoch included; stop at a NaN loss."""

    def __init__(self, validation: MatrixBatches) -> None:
        self.validation = validation

    @staticmethod
    def module(net: NeuralNet) -> InverterResNet:
        return getattr(net.module_, "_orig_mod", net.module_)

    def weights(self, net: NeuralNet) -> dict[str, Tensor]:
        return {name: value.detach().cpu().clone() for name, value in self.module(net).state_dict().items()}

    def on_train_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        self.best_loss = math.inf
        self._keep(net)
        losses = [net.validation_step(batch)["loss"].item() for batch in net.get_iterator(self.validation)]
        self.first_losses = torch.tensor(losses)
        self.best_loss = self.first_losses.mean().item()
        if not math.isfinite(self.best_loss):
            raise ValueError(
                "The loss of the untrained network is not finite. The distribution or X yields matrices that are not "
                "finite, or so large that float32 overflows: look at a sample."
            )

    def on_epoch_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        self.learning_rate = 0.0

    def on_batch_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        self.learning_rate = max(self.learning_rate, net.optimizer_.param_groups[0]["lr"])

    def on_batch_end(self, net: NeuralNet, *, training: bool, loss: Tensor, **kwargs: Any) -> None:
        if training and not math.isfinite(net.history[-1, "batches", -1, "train_loss"]):
            raise _DivergedError

    def on_epoch_end(self, net: NeuralNet, *, dataset_train: MatrixStream, **kwargs: Any) -> None:
        net.history.record("learning_rate", self.learning_rate)
        net.history.record("n_matrices", dataset_train.n_matrices_seen)
        loss = float(net.history[-1, "valid_loss"])
        if not math.isfinite(loss):
            raise _DivergedError
        if loss < self.best_loss and self._beats_first(net):
            self.best_loss = loss
            self._keep(net)

    def _beats_first(self, net: NeuralNet) -> bool:
        """Return whether the gain over the first weights is beyond two standard errors, batch by batch.

        Heavy tails make validation losses noisy: without this, weights that are merely lucky would win.
        """
        losses = [row["valid_loss"] for row in net.history[-1]["batches"] if "valid_loss" in row]
        gain = self.first_losses - torch.tensor(losses)
        error = gain.std() / len(gain) ** 0.5 if len(gain) > 1 else 0.0
        return bool(gain.mean() > 2 * error)

    def _keep(self, net: NeuralNet) -> None:
        self.best_state = self.weights(net)


def prediction_net(network: InverterResNet, device: torch.device) -> NeuralNet:
    """Return a skorch net around a trained network, with neither data, optimizer nor callbacks."""
    net = NeuralNet(
        network, IdentityLoss, train_split=None, callbacks="disable", device=device, iterator_valid__batch_size=1024
    )
    net.initialize()
    net.optimizer_ = None
    return net
