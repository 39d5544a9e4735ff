"""``InverterResNet``: exact scaling around one of four residual networks."""

import math

import torch
from torch import Tensor, nn

from skdmi.linalg import frobenius_norm, scale_by_power_of_two, split_exponent
from skdmi.modules.entrywise import DenseInverse, FeedbackInverse, GatedInverse
from skdmi.modules.polynomial import PolynomialInverse

__all__ = ["BLOCKS", "NORMALIZATIONS", "InverterResNet"]

BLOCKS = ("polynomial", "feedback", "gated", "dense")
NORMALIZATIONS = ("frobenius", "none")
_ENTRYWISE = {"feedback": FeedbackInverse, "gated": GatedInverse, "dense": DenseInverse}


class InverterResNet(nn.Module):
    r"""A residual network from matrices to approximate inverses, ``(n, m, m)`` to ``(n, m, m)``.

    The scale of A is taken out exactly, so that it is never learned: with :math:`A = 2^e B`, the largest entry of B in
    [1/2, 1), and :math:`s = \sqrt m / \|B\|_F`, the network sees :math:`s B`, in the dtype of its parameters, and its
    answer Y returns as :math:`X = 2^{-e} s Y`, in the dtype of A. Every finite A gives a finite X, the zero matrix
    zeros; where X exceeds the dtype's range it saturates at the largest number.

    Parameters
    ----------
    depth, width : int
        Number of residual blocks; size of the hidden vector.
    expansion : int, default=2
        Width of the hidden layers inside a block, in units of ``width``.
    block : {"polynomial", "feedback", "gated", "dense"}, default="polynomial"
        See :class:`PolynomialInverse`, :class:`FeedbackInverse`, :class:`GatedInverse`, :class:`DenseInverse`. Only
        the first takes matrices of any size.
    normalize : {"frobenius", "none"}, default="frobenius"
        ``"none"`` feeds entries as they are, as DeepMatrixInversion did: for comparison.
    matrix_size : int, optional
        m. Required by all blocks but ``"polynomial"``.

    Raises
    ------
    ValueError
        If ``block`` or ``normalize`` is unknown, or ``matrix_size`` is missing.

    Examples
    --------
    >>> network = InverterResNet(depth=2, width=8)
    >>> X = network(torch.tensor([[[2.0, 0.0], [0.0, 4.0]]]))
    >>> torch.testing.assert_close(X, torch.tensor([[[0.5, 0.0], [0.0, 0.25]]]))
    """

    def __init__(
        self,
        depth: int = 4,
        width: int = 32,
        *,
        expansion: int = 2,
        block: str = "polynomial",
        normalize: str = "frobenius",
        matrix_size: int | None = None,
    ) -> None:
        super().__init__()
        if normalize not in NORMALIZATIONS:
            raise ValueError(f"normalize={normalize!r}; expected one of {NORMALIZATIONS}.")
        if block not in BLOCKS:
            raise ValueError(f"block={block!r}; expected one of {BLOCKS}.")
        self.normalize = normalize
        self.matrix_size = None if block == "polynomial" else matrix_size
        self.core: nn.Module
        if block == "polynomial":
            self.core = PolynomialInverse(depth, width, expansion)
        elif matrix_size is None:
            raise ValueError(f"block={block!r} reads entries, so it needs matrix_size=m; 'polynomial' takes any size.")
        else:
            self.core = _ENTRYWISE[block](matrix_size, depth, width, expansion)

    @property
    def n_products(self) -> int:
        """Number of products of m x m matrices in a forward pass, the last residual included."""
        return self.core.n_products

    def forward(self, A: Tensor) -> Tensor:
        """Return the approximate inverses of A, finite and of real floating dtype, ``(n, m, m)``."""
        dtype = next(self.parameters()).dtype
        if self.normalize == "none":
            return _saturate(self.core(_saturate(A.to(dtype))).to(A.dtype))
        B, exponent = split_exponent(A)
        norms = frobenius_norm(B).clamp_min(torch.finfo(A.dtype).tiny)
        scale = (math.sqrt(A.shape[-1]) / norms)[:, None, None]
        Y = self.core((scale * B).to(dtype)).to(A.dtype)
        return _saturate(scale_by_power_of_two(scale * Y, -exponent))


def _saturate(X: Tensor) -> Tensor:
    limit = torch.finfo(X.dtype).max
    return X.clamp(-limit, limit)
