"""``InverterResNet``: exact scaling around one of three residual networks."""

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Literal, NamedTuple

import torch
from torch import Generator, Tensor, nn

from skdmi.containers import computable
from skdmi.iteration.family import FamilyStart
from skdmi.iteration.learned import PolynomialInverse
from skdmi.iteration.starts import STARTS, Start
from skdmi.linalg.scaling import scale_by_power_of_two, split_exponent
from skdmi.modules.entrywise import DenseInverse, FeedbackInverse
from skdmi.typing import BlockName, Normalization, Precision, StartName


class Block(NamedTuple):
    """A kind of residual block, and so of network."""

    make: Callable[..., PolynomialInverse | FeedbackInverse | DenseInverse]
    """Of ``(depth, width, expansion, *, start, rank, sizes)``, or ``(matrix_size, depth, width, expansion)``; and in
    both cases ``generator``, of the first weights."""
    takes_any_size: bool


BLOCKS = {
    "polynomial": Block(PolynomialInverse, takes_any_size=True),
    "feedback": Block(FeedbackInverse, takes_any_size=False),
    "dense": Block(DenseInverse, takes_any_size=False),
}
"""The kinds of networks by the name that ``block`` takes; a new kind is a new row."""
FAMILY = "family"
"""The start that is learned, beside those of :data:`skdmi.iteration.STARTS`."""
NORMALIZATIONS = ("frobenius", "none")
"""What ``normalize`` may be: whether the scale of a matrix is taken out before the network sees it."""
PRECISIONS = {"float32": torch.float32, "float64": torch.float64}
"""The dtypes of parameters by the name that ``precision`` takes."""


class InverterResNet(nn.Module):
    r"""A residual network from matrices to approximate inverses, ``(..., m, m)`` to ``(..., m, m)``.

    The scale of A is taken out exactly, so that it is never learned: with :math:`A = 2^e B`, the largest entry of B in
    [1/2, 1), and :math:`s = \sqrt m / \|B\|_F`, the network sees :math:`s B`, in the dtype of its parameters, and its
    answer Y returns as :math:`X = 2^{-e} s Y`, in the dtype of A: float32 or float64, or float16 or bfloat16, which is
    scaled in float32 and rounded once, at the end. Every finite A gives a finite X, the zero matrix zeros; where X
    exceeds the dtype's range it saturates at the largest number.

    What is computed depends on the shape of A, and never branches on a number in it. So ``torch.export.export`` takes
    the network with any number of matrices, ``dynamic_shapes={"A": {0: torch.export.Dim("n")}}`` (given an example of
    two or more, since torch takes one for a constant), ``torch.compile`` with ``fullgraph=True``, and
    :func:`torch.func.vmap` over any further axes, of A or of the parameters of many networks.

    Parameters
    ----------
    depth, width : int
        Number of residual blocks; size of the hidden vector.
    expansion : int, default=2
        Width of the hidden layers inside a block, in units of ``width``.
    block : {"polynomial", "feedback", "dense"}, default="polynomial"
        See :class:`PolynomialInverse`, :class:`FeedbackInverse`, :class:`DenseInverse`. Only the first takes matrices
        of any size.
    normalize : {"frobenius", "none"}, default="frobenius"
        ``"none"`` feeds entries as they are, as DeepMatrixInversion did: for comparison. It only saturates them where
        their fourth powers would overflow, and gives zero matrices no zeros.
    matrix_size : int or (int, int), optional
        The size m, required by all blocks but ``"polynomial"``. With that, the size or the range of sizes for which the
        learned departures are used; outside it the network is the untrained iteration. By default all.
    start : str, default="transpose"
        What a ``"polynomial"`` network starts from, a name in :data:`skdmi.iteration.STARTS`; or ``"family"``, a
        :class:`~skdmi.iteration.FamilyStart` for matrices of one size, which ``matrix_size`` must name.
    plain : str, default="transpose"
        The start that stands in for ``"family"`` where that does not apply.
    n_atoms, n_places : int, default=0
        See :class:`~skdmi.iteration.FamilyStart`.
    rank : int, default=2
        Of the deflations in a ``"polynomial"`` network; 0 for none.
    precision : {"float32", "float64"}, default="float32"
        Of the parameters and of all that the network computes, whatever ``torch.autocast`` is set to outside.
    generator : torch.Generator, optional
        Where the first weights are drawn from, and on whose device they are made; by default torch's global one, on
        the default device. They are drawn in float32, so that neither ``precision`` nor torch's default dtype changes
        them by more than rounding.

    Raises
    ------
    ValueError
        If ``block``, ``normalize``, ``start``, ``plain`` or ``precision`` is unknown, or ``matrix_size`` is missing.

    Examples
    --------
    >>> network = InverterResNet(depth=2, width=8)
    >>> X = network(torch.tensor([[[2.0, 0.0], [0.0, 4.0]]]))
    >>> torch.testing.assert_close(X, torch.tensor([[[0.5, 0.0], [0.0, 0.25]]]))
    >>> network(torch.ones(1, 3, 3, dtype=torch.float16)).dtype
    torch.float16
    """

    def __init__(
        self,
        depth: int = 4,
        width: int = 16,
        *,
        expansion: int = 2,
        block: BlockName = "polynomial",
        normalize: Normalization = "frobenius",
        matrix_size: int | Sequence[int] | None = None,
        start: StartName | Literal["family"] = "transpose",
        plain: StartName = "transpose",
        n_atoms: int = 0,
        n_places: int = 0,
        rank: int = 2,
        precision: Precision = "float32",
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        for name, value, allowed in (
            ("block", block, tuple(BLOCKS)),
            ("normalize", normalize, NORMALIZATIONS),
            ("start", start, (*STARTS, FAMILY)),
            ("plain", plain, tuple(STARTS)),
            ("precision", precision, tuple(PRECISIONS)),
        ):
            if value not in allowed:
                raise ValueError(f"{name}={value!r}; expected one of {allowed}.")
        self.normalize = normalize
        if matrix_size is not None and not isinstance(matrix_size, Sequence):
            matrix_size = int(matrix_size)  # a numpy integer, perhaps
        kind = BLOCKS[block]
        with nullcontext() if generator is None else generator.device:
            if kind.takes_any_size:
                sizes = (matrix_size, matrix_size) if isinstance(matrix_size, int) else matrix_size or (1, None)
                begin = STARTS.get(start) or _family(sizes, n_atoms, n_places, STARTS[plain])
                self.core = kind.make(depth, width, expansion, start=begin, rank=rank, sizes=sizes, generator=generator)
            elif isinstance(matrix_size, int):
                self.core = kind.make(matrix_size, depth, width, expansion, generator=generator)
            else:
                raise ValueError(
                    f"block={block!r} reads entries, so it needs one size, matrix_size=m, got {matrix_size!r}; "
                    f"'polynomial' takes any."
                )
        self.matrix_size: int | Sequence[int] | None = None if kind.takes_any_size else matrix_size
        self.to(PRECISIONS[precision])

    def n_products(self, m: int) -> int:
        """Return the number of products of m x m matrices in a forward pass, the last residual included.

        Parameters
        ----------
        m : int
            Size of the matrices.

        Returns
        -------
        int
            For one matrix.

        Examples
        --------
        >>> InverterResNet(depth=3).n_products(8)
        11
        """
        return self.core.n_products(m)

    def forward(self, A: Tensor) -> Tensor:
        """Return approximate inverses.

        Parameters
        ----------
        A : Tensor of shape (..., m, m)
            Finite, of real floating dtype and any scale.

        Returns
        -------
        Tensor of shape (..., m, m)
            In the dtype of A; differentiable in A and in the weights.

        Raises
        ------
        ValueError
            If A does not hold square matrices.

        Examples
        --------
        >>> InverterResNet(depth=2, width=4)(torch.eye(3, dtype=torch.float64).expand(2, 5, 3, 3)).shape
        torch.Size([2, 5, 3, 3])
        """
        if A.ndim < 2 or A.shape[-1] != A.shape[-2]:
            raise ValueError(f"Expected square matrices, shape (..., m, m), got shape {tuple(A.shape)}.")
        if A.ndim != 3:
            stack: Tensor = self(A.reshape(-1, *A.shape[-2:]))
            return stack.reshape(A.shape)
        with torch.autocast(A.device.type, enabled=False):
            if self.normalize == "none":
                limit = torch.finfo(self.dtype).max ** 0.25
                return _saturate(self.core(A.to(self.dtype).clamp(-limit, limit)).to(A.dtype))
            scaled, scale, exponent = normalized(computable(A))
            Y = self.core(scaled.to(self.dtype)).to(scaled.dtype)
            return _saturate(scale_by_power_of_two(scale * Y, -exponent).to(A.dtype))

    @property
    def dtype(self) -> torch.dtype:
        """That of the parameters, in which all is computed.

        Examples
        --------
        >>> InverterResNet(precision="float64").dtype
        torch.float64
        """
        return next(self.parameters()).dtype


def normalized(A: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return ``s B`` as the network sees it, s, ``(n, 1, 1)``, and e, where ``A = 2^e B`` and ``||s B||_F = sqrt(m)``.

    >>> normalized(torch.tensor([[[3.0]]]))[0]
    tensor([[[1.]]])
    """
    B, exponent = split_exponent(A)
    squares = B.square().sum(dim=(-2, -1), keepdim=True)
    scale = torch.where(squares > 0, math.sqrt(A.shape[-1]) * squares.clamp_min(0.25).rsqrt(), 0.0)
    return scale * B, scale, exponent


def _family(sizes: Sequence[int | None], n_atoms: int, n_places: int, plain: Start) -> FamilyStart:
    smallest, largest = sizes
    if smallest is None or smallest != largest:
        raise ValueError(f"start='family' is for one size, matrix_size=m; got sizes from {smallest} to {largest}.")
    return FamilyStart(smallest, n_atoms, n_places, plain=plain)


def _saturate(X: Tensor) -> Tensor:
    limit = torch.finfo(X.dtype).max
    return X.clamp(-limit, limit)
