"""Training throughput, and the share of an epoch outside forward, backward and optimizer.

``python -m benchmarks.training [--epochs 5]`` prints matrices a second at 3x3 and 5x5, beside a bare loop of the same
forward, backward and optimizer steps, alternating with it; medians over epochs, validation taken off.
"""

import argparse

import torch
from torch import Tensor

from benchmarks.lib.machine import keep_to_one_thread
from benchmarks.lib.timing import alternate
from skdmi import NeuralMatrixInverter
from skdmi.modules import IdentityLoss, InverterResNet

BATCH, BATCHES = 1024, 100
LOG_WEIGHT = 0.05


def bare_epoch(network: InverterResNet, batches: list[Tensor]) -> None:
    loss_function, optimizer = IdentityLoss(LOG_WEIGHT), torch.optim.AdamW(network.parameters(), lr=1e-3)
    for A in batches:
        optimizer.zero_grad()
        loss_function(network(A), A).backward()
        optimizer.step()


@torch.no_grad()
def validate(network: InverterResNet, batches: list[Tensor]) -> None:
    """Make the forward passes over a tenth of an epoch, which are no part of training."""
    for A in batches[: BATCHES // 10]:
        IdentityLoss(LOG_WEIGHT)(network(A), A).item()


def epoch_seconds(m: int, depth: int, n_epochs: int) -> dict[str, float]:
    inverter = NeuralMatrixInverter(
        depth=depth, matrix_size=m, batch_size=BATCH, batches_per_epoch=BATCHES, random_state=0
    )
    network = InverterResNet(depth)
    batches = list((2 * torch.rand(BATCHES, BATCH, m, m) - 1).unbind())
    methods = {
        "whole": lambda _: inverter.partial_fit(),
        "bare": lambda _: bare_epoch(network, batches),
        "validation": lambda _: validate(network, batches),
    }
    return alternate(methods, range(n_epochs + 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=5)
    n_epochs = parser.parse_args().epochs
    print(keep_to_one_thread())
    print(f"batches of {BATCH}")
    print(f"{'m':>3}{'depth':>7}{'matrices/s':>12}{'bare loop':>12}{'outside':>9}")
    for m, depth in ((3, 2), (5, 3)):
        spent = epoch_seconds(m, depth, n_epochs)
        whole, n = spent["whole"] - spent["validation"], BATCH * BATCHES
        outside = 1 - spent["bare"] / whole
        print(f"{m:>3}{depth:>7}{n / whole:>12,.0f}{n / spent['bare']:>12,.0f}{100 * outside:>8.1f}%")


if __name__ == "__main__":
    main()
