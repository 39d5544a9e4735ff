"""Layer normalisation that can be differentiated in any order of forward and backward modes."""

from torch import Tensor, nn
from torch.autograd import forward_ad


class LayerNorm(nn.LayerNorm):
    """Torch's layer normalisation over one axis, but in forward mode by elementary operations.

    Torch's own forward derivative takes mean and variance for constants in the derivative after it, which is then
    wrong: ``jacrev(jacfwd(f))`` is not ``jacfwd(jacrev(f))``.
    """

    def forward(self, h: Tensor) -> Tensor:
        """Return h, ``(..., width)``, with mean 0 and variance 1, times the weight, plus the bias."""
        if forward_ad._current_level < 0:
            return super().forward(h)
        centred = h - h.mean(dim=-1, keepdim=True)
        return centred * (centred.square().mean(dim=-1, keepdim=True) + self.eps).rsqrt() * self.weight + self.bias
