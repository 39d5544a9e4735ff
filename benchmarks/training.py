"""Training throughput, and the share of an epoch outside forward, backward and optimizer.

``python benchmarks/training.py [--epochs 5]`` prints matrices a second on one thread at 3x3 and 5x5, beside a bare loop
of the same forward, backward and optimizer steps on the same matrices, alternating with it; medians over epochs.
"""

import argparse
import platform
import time
from statistics import median

import torch

from skdmi import NeuralMatrixInverter
from skdmi.modules import IdentityLoss, InverterResNet

BATCH, BATCHES = 1024, 100


def bare_epoch(network: InverterResNet, batches: list[torch.Tensor]) -> float:
    loss_function, optimizer = IdentityLoss(0.05), torch.optim.AdamW(network.parameters(), lr=1e-3)
    started = time.perf_counter()
    for A in batches:
        optimizer.zero_grad()
        loss_function(network(A), A).backward()
        optimizer.step()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=5)
    n_epochs = parser.parse_args().epochs
    torch.set_num_threads(1)
    print(f"{platform.processor() or platform.machine()}, 1 thread, torch {torch.__version__}, batches of {BATCH}")
    print(f"{'m':>3}{'depth':>7}{'matrices/s':>12}{'bare loop':>12}{'outside':>9}")
    for m, depth in ((3, 2), (5, 3)):
        inverter = NeuralMatrixInverter(
            depth=depth, matrix_size=m, batch_size=BATCH, batches_per_epoch=BATCHES, random_state=0
        )
        network = InverterResNet(depth)
        batches = list((2 * torch.rand(BATCHES, BATCH, m, m) - 1).unbind())
        whole, bare = [], []
        for _ in range(n_epochs + 1):
            inverter.partial_fit()
            whole.append(inverter.history_[-1]["seconds"] - validation_seconds(inverter, m))
            bare.append(bare_epoch(network, batches))
        whole, bare = whole[1:], bare[1:]
        outside = 1 - median(b / w for w, b in zip(whole, bare, strict=True))
        n = BATCH * BATCHES
        print(f"{m:>3}{depth:>7}{n / median(whole):>12,.0f}{n / median(bare):>12,.0f}{100 * outside:>8.1f}%")


def validation_seconds(inverter: NeuralMatrixInverter, m: int) -> float:
    """Time the forward passes over the validation batches, which are no part of training."""
    batches = (2 * torch.rand(BATCHES // 10, BATCH, m, m) - 1).unbind()
    started = time.perf_counter()
    with torch.no_grad():
        for A in batches:
            IdentityLoss(0.05)(inverter.module_(A), A).item()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
