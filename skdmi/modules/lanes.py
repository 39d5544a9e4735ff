"""The forward pass of a polynomial network on a CPU by the compiled kernel; torch stays the reference."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import forward_ad

from skdmi.chunks import chunk_size
from skdmi.iteration.learned import PolynomialInverse
from skdmi.iteration.loop import recomputation_schedule
from skdmi.iteration.starts import IDENTITY, TRANSPOSE
from skdmi.lanes.network import LARGEST_RANK, Polynomials, invert, is_ready, linear, normalization
from skdmi.modules.network import PRECISIONS, InverterResNet


def forward_in_lanes(network: InverterResNet, A: Tensor) -> Tensor | None:
    """Return what a network answers to A, ``(n_matrices, m, m)``, up to rounding, if the kernel can; else None.

    It can for networks of the block ``"polynomial"`` that are normalized, on the CPU, where nobody asks for
    derivatives and the kernel is compiled (:meth:`skdmi.lanes.compiler.Kernel.is_ready`). A is finite, float32 or
    float64. Members of extreme scale are answered by the network itself; every entry of the answer is finite.
    """
    if not (_is_covered(network) and _is_plain(network, A) and is_ready(A.shape[-1], len(A))):
        return None
    A = A.detach().contiguous()
    X = torch.empty_like(A)
    left = torch.from_numpy(invert(A.numpy(), X.numpy(), _in_numbers(network.core, A.shape[-1])))
    if left.any():
        for members in left.nonzero().flatten().split(chunk_size(A.shape[-1])):
            X[members] = network(A[members])
    return X


def _is_covered(network: InverterResNet) -> bool:
    """Return whether the kernel does all that the network does; a subclass may do more."""
    core = network.core
    return (
        type(network) is InverterResNet
        and network.normalize == "frobenius"
        and type(core) is PolynomialInverse
        and core.start in (TRANSPOSE, IDENTITY)
        and 0 <= core.rank <= LARGEST_RANK
        and core.depth > 0
        and network.dtype in PRECISIONS.values()
    )


def _is_plain(network: InverterResNet, A: Tensor) -> bool:
    """Return whether A and the weights are numbers in memory, and only the values of the answer are asked for."""
    if type(A) is not Tensor or torch.compiler.is_compiling() or torch._C._functorch.is_functorch_wrapped_tensor(A):
        return False
    tensors = [A, *network.parameters()]
    derives = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    in_memory = all(tensor.device.type == "cpu" for tensor in tensors)
    return in_memory and not derives and forward_ad._current_level < 0


def _in_numbers(core: Any, m: int) -> Polynomials:
    """Return a `PolynomialInverse` as the kernel wants it; weights are read anew, since they may have changed."""
    blocks = [block.departure for block in core.blocks]
    weights = np.stack([_weights_of(block) for block in blocks])
    learned = core.smallest <= m and (core.largest is None or m <= core.largest)
    return Polynomials(
        depth=core.depth,
        rank=core.rank,
        transposes=core.start == TRANSPOSE,
        recomputed=recomputation_schedule(core.depth),
        weights=weights if learned else weights[:0],
        width=core.width,
        hidden=blocks[0].up.out_features,
        reach=core.blocks[0].reach,
    )


def _weights_of(block: Any) -> np.ndarray:
    read, up, down, write = (linear(*_arrays(layer)) for layer in (block.read, block.up, block.down, block.write))
    norm, norm_out = normalization(*_arrays(block.norm)), normalization(*_arrays(block.norm_out))
    return np.concatenate([read, norm, up, down, norm_out, write])


def _arrays(layer: Any) -> tuple[np.ndarray, np.ndarray]:
    return layer.weight.detach().numpy(), layer.bias.detach().numpy()
