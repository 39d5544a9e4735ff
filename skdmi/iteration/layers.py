"""Torch's layers, but for what they draw from, and how they are differentiated."""

import math

import torch
from torch import Generator, Tensor, nn
from torch.autograd import forward_ad


class Linear(nn.Linear):
    """Torch's linear layer, in float32 whatever the default dtype, with first weights drawn from any generator.

    Torch's own draws them from the global generator, which all threads share: two trainings at a time would disturb
    each other. Equal seeds give equal weights, the same as torch's own.

    Parameters
    ----------
    in_features, out_features : int
    generator : torch.Generator, optional
        On whose device the layer is made; by default torch's global one, and the default device.

    Examples
    --------
    >>> first, second = (Linear(3, 2, torch.Generator().manual_seed(0)) for _ in range(2))
    >>> torch.equal(first.weight, second.weight)
    True
    """

    def __init__(self, in_features: int, out_features: int, generator: Generator | None = None) -> None:
        super(nn.Linear, self).__init__()  # nn.Linear's own draws
        self.in_features = in_features
        self.out_features = out_features
        device = None if generator is None else generator.device
        self.weight: nn.Parameter = nn.Parameter(
            torch.empty(out_features, in_features, device=device, dtype=torch.float32)
        )
        self.bias: nn.Parameter = nn.Parameter(torch.empty(out_features, device=device, dtype=torch.float32))
        self.reset_parameters(generator)

    def reset_parameters(self, generator: Generator | None = None) -> None:
        """Draw weight and bias anew, as torch does."""
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5), generator=generator)
        bound = 1 / math.sqrt(self.in_features)
        nn.init.uniform_(self.bias, -bound, bound, generator=generator)


class LayerNorm(nn.LayerNorm):
    """Torch's layer normalisation over one axis, in float32, but in forward mode by elementary operations.

    Torch's own forward derivative takes mean and variance for constants in the derivative after it, which is then
    wrong: ``jacrev(jacfwd(f))`` is not ``jacfwd(jacrev(f))``.
    """

    def __init__(self, width: int) -> None:
        super().__init__(width, dtype=torch.float32)

    def forward(self, h: Tensor) -> Tensor:
        """Return h, ``(..., width)``, with mean 0 and variance 1, times the weight, plus the bias."""
        if forward_ad._current_level < 0:
            return super().forward(h)
        centred = h - h.mean(dim=-1, keepdim=True)
        return centred * (centred.square().mean(dim=-1, keepdim=True) + self.eps).rsqrt() * self.weight + self.bias
