"""What happens during training beside the steps: callbacks of skorch."""

import math
import re
from typing import Any

import torch
from skorch.callbacks import Callback
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from skdmi.modules import InverterResNet
from skdmi.progress import Bar, above_bars
from skdmi.training.stream import MatrixBatches, MatrixStream
from skdmi.typing import Net


class DivergedError(Exception):
    """The loss is not finite."""


class BoundedGradients(Callback):
    """Clip the norm of the gradient at 1, and drop what is not finite of it.

    A deep network on nearly singular matrices can overflow in it.
    """

    def on_grad_computed(self, net: Net, *, named_parameters: Any, **kwargs: Any) -> None:
        """Run after each backward pass."""
        parameters = [parameter for _, parameter in named_parameters if parameter.grad is not None]
        try:
            clip_grad_norm_(parameters, 1.0, error_if_nonfinite=True, foreach=True)
        except RuntimeError:  # before anything is scaled
            for parameter in parameters:
                parameter.grad.nan_to_num_(0.0, 0.0, 0.0)
            clip_grad_norm_(parameters, 1.0, foreach=True)


class BestWeights(Callback):
    """Keep the weights with the lowest validation loss, those before the first epoch included; stop at a NaN loss.

    ``best_epoch`` says after which epoch, 0 before the first; ``n_stalled`` counts the epochs since the validation loss
    was last the lowest so far, that of the first weights included.
    """

    first_loss: float
    best_loss: float
    lowest: float
    n_stalled: int
    first_losses: Tensor
    learning_rate: float
    best_state: dict[str, Tensor]
    best_epoch: int
    _kept = ("first_loss", "first_losses", "best_loss", "best_epoch", "best_state", "lowest", "n_stalled")

    def __init__(self, validation: MatrixBatches) -> None:
        self.validation = validation

    @staticmethod
    def module(net: Net) -> InverterResNet:
        """Return the network, not what compiled it."""
        return getattr(net.module_, "_orig_mod", net.module_)

    def weights(self, net: Net) -> dict[str, Tensor]:
        """Return a copy of the weights on the CPU."""
        return {name: value.detach().cpu().clone() for name, value in self.module(net).state_dict().items()}

    def state(self) -> dict[str, Any]:
        """Return what is known after an epoch."""
        return {name: getattr(self, name) for name in self._kept}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a `state`."""
        self.__dict__.update({name: state[name] for name in self._kept})

    def on_train_begin(self, net: Net, **kwargs: Any) -> None:
        """Measure the first weights, unless training goes on."""
        if net.history:
            return
        self.first_loss = self.best_loss = math.inf
        self.n_stalled = 0
        self._keep(net)
        losses = [net.validation_step(batch)["loss"].item() for batch in net.get_iterator(self.validation)]
        self.first_losses = torch.tensor(losses, device="cpu", dtype=torch.float64)
        self.first_loss = self.best_loss = self.lowest = self.first_losses.mean().item()
        if net.verbose:
            print_plain(f"epoch 0, before training: valid_loss {self.first_loss:.3e}")
        if not math.isfinite(self.best_loss):
            raise ValueError(
                "The loss of the untrained network is not finite. The distribution or X yields matrices that are not "
                "finite, or so large that float32 overflows: look at a sample."
            )

    def on_epoch_begin(self, net: Net, **kwargs: Any) -> None:
        """Forget the learning rate of the epoch before."""
        self.learning_rate = 0.0

    def on_batch_begin(self, net: Net, **kwargs: Any) -> None:
        """Note the largest learning rate."""
        *_, steps = net.optimizer_.param_groups  # those before are of a family start
        self.learning_rate = max(self.learning_rate, steps["lr"])

    def on_batch_end(self, net: Net, *, training: bool, loss: Tensor, **kwargs: Any) -> None:
        """Stop at a loss that is not finite."""
        if training and not math.isfinite(net.history[-1, "batches", -1, "train_loss"]):
            raise DivergedError

    def on_epoch_end(self, net: Net, *, dataset_train: MatrixStream, **kwargs: Any) -> None:
        """Keep the weights if they are better."""
        net.history.record("learning_rate", self.learning_rate)
        net.history.record("n_matrices", dataset_train.n_matrices_seen)
        loss = float(net.history[-1, "valid_loss"])
        if not math.isfinite(loss):
            raise DivergedError
        self.n_stalled = 0 if loss < self.lowest else self.n_stalled + 1
        self.lowest = min(self.lowest, loss)
        if loss < self.best_loss and self._beats_first(net):
            self.best_loss = loss
            self._keep(net)

    def _beats_first(self, net: Net) -> bool:
        """Return whether the gain over the first weights is beyond two standard errors, batch by batch.

        Heavy tails make validation losses noisy: without this, weights that are merely lucky would win.
        """
        losses = [row["valid_loss"] for row in net.history[-1]["batches"] if "valid_loss" in row]
        gain = self.first_losses - torch.tensor(losses, device="cpu", dtype=torch.float64)
        error = gain.std() / len(gain) ** 0.5 if len(gain) > 1 else 0.0
        return bool(gain.mean() > 2 * error)

    def _keep(self, net: Net) -> None:
        self.best_state, self.best_epoch = self.weights(net), len(net.history)


class Shown(Callback):
    """Move a bar by the matrices of each batch, and show the losses beside it."""

    def __init__(self, bar: Bar) -> None:
        self.bar = bar
        self.losses: dict[str, str] = {}

    def on_batch_end(self, net: Net, *, training: bool, **kwargs: Any) -> None:
        """Count the matrices that were trained on."""
        if training:
            self.losses["train_loss"] = f"{net.history[-1, 'batches', -1, 'train_loss']:.2e}"
            self.bar.advance(net.history[-1, "batches", -1, "train_batch_size"], **self.losses)

    def on_epoch_end(self, net: Net, **kwargs: Any) -> None:
        """Note how good the epoch was, and which."""
        epoch, loss = net.history[-1, ("epoch", "valid_loss")]
        self.losses = {"epoch": f"{epoch}/{net.max_epochs}", "valid_loss": f"{loss:.2e}"}
        self.bar.advance(0, **self.losses)


def print_plain(text: str) -> None:
    """Print a line of skorch's log without its colours, above what is drawn below."""
    with above_bars():
        print(re.sub("\x1b\\[[0-9;]*m", "", text), flush=True)
