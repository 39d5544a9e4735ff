"""How to train: the optimizer, the learning rate batch by batch, and when to stop."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from skdmi.training.checkpoint import Checkpoint

OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
"""By the name that ``optimizer`` takes."""
LEAST_PATIENCE = 5
"""Epochs that a share of few epochs is rounded up to."""


def cosine(n_steps: int) -> Callable[[int], float]:
    """Return a schedule: the learning rate's factor rises over the first 2.5 percent and falls to 0 as a cosine.

    Parameters
    ----------
    n_steps : int
        How many batches there are.

    Returns
    -------
    callable
        The factor of a batch, counted from 0.

    Examples
    --------
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

    Parameters
    ----------
    n_steps : int
        Ten times as many batches as it rises over.

    Returns
    -------
    callable
        The factor of a batch, counted from 0.

    Examples
    --------
    >>> [constant(100)(step) for step in (0, 9, 99)]
    [0.1, 1.0, 1.0]
    """
    warm_up = max(1, n_steps // 10)
    return lambda step: min(1.0, (step + 1) / warm_up)


@dataclass(frozen=True)
class Settings:
    """How to train.

    Parameters
    ----------
    max_epochs : int
        After so many the training ends, if nothing ends it before.
    learning_rate : float
        Its peak.
    schedule : callable
        Factor of the learning rate at every batch, counted from 0.
    log_weight : float, default=0.0
        Of the second term of :class:`~skdmi.modules.IdentityLoss`.
    optimizer : {"adam", "adamw", "sgd"}, default="adamw"
        One of :data:`OPTIMIZERS`.
    patience : int or float, optional
        Stop when the validation loss was not the lowest so far, that of the first weights included, for so many epochs;
        below 1 a share of ``max_epochs``, at least `LEAST_PATIENCE` epochs.
    callbacks : sequence, default=()
        Of skorch; cloned, but one that holds what cannot be copied, such as an open ``SummaryWriter``, shares it.
    net_params : mapping, default={}
        The last word to :class:`skorch.NeuralNet`.
    keep_last : bool, default=False
        Return the weights after the last epoch instead of the best, if training runs to its end.
    checkpoint : Checkpoint, optional
        Where to go on from, and what to write after so many epochs, and at the end unless it is an interruption.
    verbose : int, default=0
        Whether to print a line an epoch, and to show a bar.

    Examples
    --------
    >>> Settings(max_epochs=2, learning_rate=1e-3, schedule=constant(200)).optimizer
    'adamw'
    """

    max_epochs: int
    learning_rate: float
    schedule: Callable[[int], float]
    log_weight: float = 0.0
    optimizer: str = "adamw"
    patience: int | float | None = None
    callbacks: Sequence[Any] = ()
    net_params: Mapping[str, Any] = field(default_factory=dict)
    keep_last: bool = False
    checkpoint: Checkpoint | None = None
    verbose: int = 0


def n_epochs_of(patience: int | float | None, max_epochs: int) -> int | None:
    """Return a patience as a number of epochs.

    With a schedule over the whole of training, weights often are worse than the first until the learning rate falls:
    for how many epochs depends on how many there are.

    >>> [n_epochs_of(patience, 100) for patience in (None, 3, 0.25)], n_epochs_of(0.25, 4)
    ([None, 3, 25], 5)
    """
    if patience is None or patience >= 1:
        return None if patience is None else int(patience)
    return max(LEAST_PATIENCE, math.ceil(patience * max_epochs))
