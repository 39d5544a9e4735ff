"""Networks that read the entries themselves: one fixed m, and ``m^4`` weights where a product needs none."""

import torch
from torch import Generator, Tensor, nn
from torch.linalg import matrix_norm

from skdmi.iteration.layers import LayerNorm, Linear
from skdmi.iteration.loop import keep_better
from skdmi.iteration.starts import TRANSPOSE
from skdmi.linalg.residuals import residual


class _GatedUnit(nn.Module):
    r"""Add products of learned features: :math:`h + V ((U \tilde h) \odot (G \tilde h))`, :math:`\tilde h` normed."""

    def __init__(self, width: int, expansion: int, generator: Generator | None) -> None:
        super().__init__()
        self.norm = LayerNorm(width)
        self.up_and_gate = Linear(width, 2 * expansion * width, generator)
        self.down = Linear(expansion * width, width, generator)

    def forward(self, h: Tensor) -> Tensor:
        up, gate = self.up_and_gate(self.norm(h)).chunk(2, dim=-1)
        return h + self.down(up * gate)


class FeedbackInverse(nn.Module):
    r"""Every block sees the residual that it has to mend, entry by entry.

    From :math:`X = c A^T`, each block forms :math:`C = X R` and

    .. math:: h \leftarrow h + W [R, C, X] / (1 + \|R\|_F / \sqrt m), \quad
       h \leftarrow h + V ((U \tilde h) \odot (G \tilde h)), \quad X \leftarrow X + g C + O h

    with O zero and g one at the start: the untrained network is Newton-Schulz. A block whose new residual norm exceeds
    1.5 times the old keeps the old iterate; the iterate with the smallest residual is returned.

    Parameters
    ----------
    matrix_size : int
        The size m of the matrices, the only one that it takes.
    depth : int
        Number of blocks.
    width : int
        Size of h.
    expansion : int, default=2
        Hidden layers have ``expansion * width`` units.
    generator : torch.Generator, optional
        Of the first weights; by default torch's global one.

    Examples
    --------
    >>> network = FeedbackInverse(2, depth=1, width=4, generator=torch.Generator().manual_seed(0))
    >>> A = torch.tensor([[[1.0, 0.0], [0.0, 0.5]]])
    >>> X, R = TRANSPOSE.function(A)
    >>> torch.allclose(network(A), X + X @ R), network.n_products(2)
    (True, 3)
    """

    def __init__(
        self, matrix_size: int, depth: int, width: int, expansion: int = 2, *, generator: Generator | None = None
    ) -> None:
        super().__init__()
        entries = matrix_size**2
        self.width = width
        self.read: nn.ModuleList = nn.ModuleList(Linear(3 * entries, width, generator) for _ in range(depth))
        self.mix: nn.ModuleList = nn.ModuleList(_GatedUnit(width, expansion, generator) for _ in range(depth))
        write = [Linear(width, entries, generator) for _ in range(depth)]
        for layer in write:
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.write: nn.ModuleList = nn.ModuleList(write)
        self.gain: nn.Parameter = nn.Parameter(torch.ones(depth, dtype=torch.float32))

    def n_products(self, m: int) -> int:
        """Return the number of products of m x m matrices, the last residual included.

        Parameters
        ----------
        m : int
            Size of the matrices, on which it does not depend.

        Returns
        -------
        int
            Two for each block, and one for the start.

        Examples
        --------
        >>> FeedbackInverse(2, depth=3, width=4).n_products(2)
        7
        """
        del m
        return 1 + 2 * len(self.read)

    def forward(self, A: Tensor) -> Tensor:
        r"""Return the inverses.

        Parameters
        ----------
        A : Tensor of shape (n_matrices, m, m)
            Scaled near 1, as by :math:`\|A\|_F = \sqrt m`.

        Returns
        -------
        Tensor of shape (n_matrices, m, m)
            In the dtype of A; differentiable in A and in the weights.

        Examples
        --------
        >>> A = torch.eye(2)[None]
        >>> torch.allclose(FeedbackInverse(2, depth=1, width=4)(A), A)
        True
        """
        X, R = best = TRANSPOSE.function(A)
        m = A.shape[-1]
        h = A.new_zeros(A.shape[0], self.width)
        for read, mix, write, gain in zip(self.read, self.mix, self.write, self.gain, strict=True):
            C = X @ R
            norms = matrix_norm(R)
            seen = torch.stack([R, C, X], dim=1) / (1 + norms / m**0.5)[:, None, None, None]
            h = mix(h + read(seen.flatten(1)))
            X_new = X + gain * C + write(h).reshape(A.shape)
            R_new = residual(A, X_new)
            sound = (matrix_norm(R_new) <= 1.5 * norms)[:, None, None]
            X, R = torch.where(sound, torch.nan_to_num(X_new), X), torch.where(sound, torch.nan_to_num(R_new), R)
            best = keep_better(best, X, R)
        return best[0]


class DenseInverse(nn.Module):
    """The concatenating ReLU network of DeepMatrixInversion [1]_, for comparison.

    A block runs ``layers_per_block`` ReLU layers of ``expansion * width`` units, each reading all before it, and adds a
    linear map of them all, zero at the start, to its input. Depth 7 and width 128 at m = 3 have the published
    4,712,713 parameters.

    Parameters
    ----------
    matrix_size : int
        The size m of the matrices, the only one that it takes.
    depth : int
        Number of blocks.
    width : int
        Size of h.
    expansion : int, default=2
        Hidden layers have ``expansion * width`` units.
    generator : torch.Generator, optional
        Of the first weights; by default torch's global one.

    References
    ----------
    .. [1] Randazzo, DeepMatrixInversion, 2024, https://github.com/gmrandazzo/DeepMatrixInversion.

    Examples
    --------
    >>> network = DenseInverse(3, depth=7, width=128, generator=torch.Generator().manual_seed(0))
    >>> sum(parameter.numel() for parameter in network.parameters())
    4712713
    >>> network(torch.eye(3).expand(5, 3, 3)).shape
    torch.Size([5, 3, 3])
    """

    layers_per_block = 4

    def __init__(
        self, matrix_size: int, depth: int, width: int, expansion: int = 2, *, generator: Generator | None = None
    ) -> None:
        super().__init__()
        entries = matrix_size**2
        self.layers: nn.Sequential = nn.Sequential(
            Linear(entries, width, generator),
            nn.ReLU(),
            *(_ConcatenatingBlock(width, expansion * width, self.layers_per_block, generator) for _ in range(depth)),
            Linear(width, entries, generator),
        )

    def n_products(self, m: int) -> int:
        """Return the number of products of m x m matrices: nothing is multiplied by A.

        Parameters
        ----------
        m : int
            Size of the matrices.

        Returns
        -------
        int
            0.

        Examples
        --------
        >>> DenseInverse(2, depth=1, width=4).n_products(2)
        0
        """
        del m
        return 0

    def forward(self, A: Tensor) -> Tensor:
        """Return the inverses.

        Parameters
        ----------
        A : Tensor of shape (n_matrices, m, m)
            Read entry by entry, so of a scale like that of the training.

        Returns
        -------
        Tensor of shape (n_matrices, m, m)
            In the dtype of A; differentiable in A and in the weights.

        Examples
        --------
        >>> DenseInverse(2, depth=1, width=4)(torch.eye(2)[None]).shape
        torch.Size([1, 2, 2])
        """
        return self.layers(A.flatten(1)).reshape(A.shape)


class _ConcatenatingBlock(nn.Module):
    def __init__(self, width: int, growth: int, n_layers: int, generator: Generator | None) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Linear(width + i * growth, growth, generator) for i in range(n_layers))
        self.collect = Linear(width + n_layers * growth, width, generator)
        nn.init.zeros_(self.collect.weight)
        nn.init.zeros_(self.collect.bias)

    def forward(self, h: Tensor) -> Tensor:
        seen = h
        for layer in self.layers:
            seen = torch.cat([seen, layer(seen).relu()], dim=-1)
        return h + self.collect(seen)
