"""Clock the training of the default network by whatever ``skdmi`` is on the path; talk by lines of JSON.

``python training_clock.py`` reads a line ``[m, n_batches]``, trains one epoch of that, and writes the seconds of
processor time that it took, and of them what went into each part. Every version of the package will do.
"""

import json
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from skorch.callbacks import Callback

from skdmi import NeuralMatrixInverter
from skdmi.modules import IdentityLoss, InverterResNet
from skdmi.training import stream

BATCH = 1024
SPENT: Counter[str] = Counter()


class Clock(Callback):
    """Take the time from the first matrix of an epoch to its last step; validation comes after that."""

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        SPENT.clear()
        self.begun = time.process_time()

    def on_batch_end(self, net: Any, *, training: bool, **kwargs: Any) -> None:
        if training:
            SPENT["whole"] = time.process_time() - self.begun


def clocked_step(step: Callable[..., Any]) -> Callable[..., Any]:
    """Return an optimizer's step, which adds to its time, but for that of the closure it calls."""

    def call(optimizer: Any, closure: Callable[[], Any]) -> Any:
        inner = 0.0

        def timed_closure() -> Any:
            nonlocal inner
            begun = time.process_time()
            result = closure()
            inner = time.process_time() - begun
            return result

        begun = time.process_time()
        result = step(optimizer, timed_closure)
        SPENT["optimizer"] += time.process_time() - begun - inner
        return result

    return call


def clocked(part: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function, which adds to the time of a part; without gradients it is validation."""

    def call(*args: Any, **kwargs: Any) -> Any:
        begun = time.process_time()
        result = function(*args, **kwargs)
        if part != "forward" or torch.is_grad_enabled():
            SPENT[part] += time.process_time() - begun
        return result

    return call


def main() -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    InverterResNet.forward = clocked("forward", InverterResNet.forward)
    IdentityLoss.forward = clocked("forward", IdentityLoss.forward)
    torch.Tensor.backward = clocked("backward", torch.Tensor.backward)
    stream.draw_stack = clocked("generation", stream.draw_stack)
    torch.optim.AdamW.step = clocked_step(torch.optim.AdamW.step)
    inverters = {}
    for line in sys.stdin:
        m, n_batches = json.loads(line)
        if m not in inverters:
            inverters[m] = NeuralMatrixInverter(
                matrix_size=m, batch_size=BATCH, batches_per_epoch=n_batches, random_state=0, callbacks=[Clock()]
            )
        inverters[m].partial_fit()
        spent = {part: seconds / (n_batches * BATCH) for part, seconds in SPENT.items()}
        print(json.dumps(spent), flush=True)


if __name__ == "__main__":
    main()
