"""What a model gained: fresh matrices through it, and through the untrained network of as many products."""

import math
from itertools import count
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.linalg import matrix_norm

from benchmarks.lib.figures import draw
from skdmi import NeuralMatrixInverter
from skdmi.iteration import count_operations
from skdmi.linalg import residual

N_MATRICES = 20_000
Z = 1.96
_CHUNK_ENTRIES = 2**22


def measured_gain(
    inverter: NeuralMatrixInverter, n_matrices: int = N_MATRICES, random_state: int = 2
) -> dict[str, Any]:
    """Return what a model of one size gained on fresh matrices of its distribution, as JSON can hold it.

    ``"untrained"`` and ``"trained"`` have depth, products, operations (a multiplication or an addition each, for an
    inverse), mean and quantiles of the residual norm; ``"gain"`` is the mean of the paired differences, with its 95 %
    ``"interval"``, ``"share"`` that of the untrained mean, and ``"weights_bytes"`` what the gain takes of memory.
    """
    m = inverter.matrix_size_
    beside = untrained_beside(inverter)
    A = draw(inverter.distribution_, n_matrices, m, random_state)
    before, after = residual_norms(beside, A), residual_norms(inverter, A)
    difference = before - after
    gain, half = difference.mean().item(), Z * difference.std().item() / math.sqrt(n_matrices)
    return {
        "n_matrices": n_matrices,
        "matrix_size": m,
        "untrained": _described(beside, before),
        "trained": _described(inverter, after),
        "gain": gain,
        "interval": [gain - half, gain + half],
        "share": gain / before.mean().item(),
        "weights_bytes": sum(value.nbytes for value in inverter.module_.state_dict().values()),
    }


def untrained_beside(inverter: NeuralMatrixInverter) -> NeuralMatrixInverter:
    """Return the untrained network from the plain start of a model, of the least depth with no fewer products."""
    module, m = inverter.module_, inverter.matrix_size_
    start = inverter._architecture["plain"] if inverter.start_ == "family" else inverter.start_
    for depth in count(inverter.depth):
        beside = NeuralMatrixInverter(
            depth,
            start=start,
            matrix_size=m,
            max_epochs=0,
            batches_per_epoch=1,
            batch_size=64,
            net_params=inverter.net_params,
            random_state=0,
        ).fit()
        if beside.module_.n_products(m) >= module.n_products(m):
            break
    return beside


def operations(inverter: NeuralMatrixInverter) -> int:
    """Return the operations of a polynomial network for one inverse; of an untrained one those of the iteration."""
    core = inverter.module_.core
    iteration = count_operations(inverter.matrix_size_, inverter.depth, core.start, core.rank)
    weights = [value for name, value in core.named_parameters() if not name.startswith("start.")]
    return iteration + 2 * sum(value.numel() for value in weights) * bool(inverter.best_epoch_ != 0)


@torch.no_grad()
def residual_norms(inverter: NeuralMatrixInverter, A: Tensor) -> np.ndarray:
    """Return ``||I - A X||_F`` in float64, part by part."""
    parts = A.split(max(1, _CHUNK_ENTRIES // A.shape[-1] ** 2))
    norms = [matrix_norm(residual(part.double(), inverter.invert(part).double())) for part in parts]
    return torch.cat(norms).numpy()


def _described(inverter: NeuralMatrixInverter, norms: np.ndarray) -> dict[str, Any]:
    return {
        "depth": inverter.depth,
        "start": inverter.start_,
        "products": inverter.module_.n_products(inverter.matrix_size_),
        "operations": operations(inverter),
        "mean": norms.mean().item(),
        "median": np.median(norms).item(),
        "p99": np.quantile(norms, 0.99).item(),
    }
