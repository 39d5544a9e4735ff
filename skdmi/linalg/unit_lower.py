"""The inverse of unit lower triangular matrices by products: a ladder of blocks, twice as large from rung to rung."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn.functional import pad

from skdmi.linalg.gradient import _ExactGradient
from skdmi.validation import check_square

LARGEST_BLOCK = 32
"""Up to this size the first diagonal blocks are inverted by substitution (measured: 16 and 64 are slower)."""
SUBSTITUTED = 512
"""Up to this m a processor substitutes in whole matrices as fast as it climbs, or faster (measured)."""
CHUNK_BYTES = 2**19
"""On a processor so many bytes of matrices are worked on at a time, which stay in its cache (measured)."""


def unit_lower_inverse(A: Tensor) -> Tensor:
    r"""Return the inverse of unit lower triangular matrices, by two products of blocks a rung.

    Of blocks of size s whose inverses are known, two neighbours on the diagonal make one of size 2s:

    .. math:: \begin{pmatrix} A_{11} & \\ A_{21} & A_{22} \end{pmatrix}^{-1} =
       \begin{pmatrix} X_{11} & \\ -X_{22} A_{21} X_{11} & X_{22} \end{pmatrix},

    which is :math:`X \leftarrow X - X S X`, with S the blocks below the diagonal of that rung, but for products with
    zeros [1]_. Blocks of up to 32 are inverted by substitution; above, every rung is two products of all pairs of all
    matrices: :math:`2 \lceil \log_2 (m / 32) \rceil` in all. On a CPU matrices of up to m = 512
    are one block: there substitution alone is faster. Unlike the doubling of the Neumann series,
    :math:`(I + N)(I + N^2)(I + N^4) \cdots` with :math:`N = I - A`, it forms no power of N, whose entries may exceed
    those of the inverse by many orders; the error of X is that of substitution by blocks [2]_.

    The diagonal of A and what is above it are not read: the answer is that of the strictly lower part and the identity.
    It is exactly unit lower triangular where A is finite; a member that is not finite spoils no other one.

    Parameters
    ----------
    A : Tensor of shape (..., m, m)
        Of real floating dtype, on any device. Half precision is computed in float32 and rounded once; float32 in
        float64 where the settings of torch let products round their factors (TF32, bfloat16); autocast changes nothing.

    Returns
    -------
    Tensor of shape (..., m, m)
        In the dtype of A. Differentiable in every order, backward and forward, by the derivative of the inverse: the
        gradient is the strictly lower part of :math:`-X^T G X^T`, and 0 for members that are not finite. Works under
        :mod:`torch.func`. No number of A decides what is done, so a GPU does not wait for its host.

    Raises
    ------
    ValueError
        If A does not hold square matrices, or is not of a real floating dtype.

    References
    ----------
    .. [1] Borodin and Munro, "The computational complexity of algebraic and numeric problems", Elsevier, 1975,
       section 2.3.
    .. [2] Du Croz and Higham, "Stability of methods for matrix inversion", IMA J. Numer. Anal. 12, 1992, method 2C.

    Examples
    --------
    >>> A = torch.tensor([[1.0, 0.0, 0.0], [2.0, 1.0, 0.0], [3.0, 4.0, 1.0]])
    >>> unit_lower_inverse(A)
    tensor([[ 1.,  0.,  0.],
            [-2.,  1.,  0.],
            [ 5., -4.,  1.]])
    """
    check_square("A", A)
    if not A.dtype.is_floating_point:
        raise ValueError(f"Expected A of a real floating dtype, got {A.dtype}. Convert it: A.double().")
    if A.numel() == 0:
        return A.clone()
    stack = A.flatten(0, -3) if A.ndim > 2 else A.unsqueeze(0)
    in_range = stack if A.dtype in (torch.float32, torch.float64) else stack.float()
    X = _UnitLowerInverse.apply(in_range, climb) if _is_differentiated(A) else climb(in_range)
    return X.reshape(A.shape).to(A.dtype)


def float32_products_are_plain() -> bool:
    """Return whether the settings of torch keep products of float32 matrices in float32 arithmetic, on every device.

    >>> float32_products_are_plain()
    True
    """
    try:
        return torch.get_float32_matmul_precision() == "highest" and not torch.backends.cuda.matmul.allow_tf32
    except RuntimeError:  # torch has two sets of settings, which disagree where one backend alone was changed
        return False


def at_a_time(A: Tensor, m: int, n_bytes: int = CHUNK_BYTES) -> int:
    """Return how many m x m matrices in the dtype of A to work on together: so many bytes, on a GPU all of them.

    >>> at_a_time(torch.zeros(10000, 1, 1), 64)
    32
    """
    return max(1, n_bytes // (m * m * A.element_size())) if A.is_cpu else max(1, len(A))


def _is_differentiated(A: Tensor) -> bool:
    """Return whether a derivative may be asked for; else nothing is kept, and memory is free at once."""
    in_forward_mode = forward_ad._current_level >= 0
    return A.requires_grad or in_forward_mode or torch._C._are_functorch_transforms_active()


class _UnitLowerInverse(_ExactGradient):
    """The derivatives of the inverse, of A and towards A with their strictly lower parts alone."""

    @staticmethod
    def backward(ctx: Any, G: Tensor) -> tuple[Tensor, None]:
        gradient, _ = _ExactGradient.backward(ctx, G.tril(-1))
        return gradient.tril(-1), None

    @staticmethod
    def jvp(ctx: Any, dA: Tensor, _: None) -> Tensor:
        with forward_ad._set_fwd_grad_enabled(True):
            return _ExactGradient.jvp(ctx, dA.tril(-1), None)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int, None], A: Tensor, solve: Callable[[Tensor], Tensor]) -> tuple[Tensor, int]:
        A = A.movedim(in_dims[0], 0)
        return _UnitLowerInverse.apply(A.flatten(0, 1), solve).unflatten(0, A.shape[:2]), 0


def climb(A: Tensor, largest_block: int | None = None) -> Tensor:
    """Return the inverses of ``(n_matrices, m, m)``, in float32 or float64, from blocks up to the size that is fastest.

    Parameters
    ----------
    A : Tensor of shape (n_matrices, m, m)
    largest_block : int, optional
        Of those that are inverted by substitution, instead.

    Examples
    --------
    >>> A = torch.tensor([[[1.0, 0.0], [2.0, 1.0]]])
    >>> climb(A, largest_block=1)
    tensor([[[ 1.,  0.],
             [-2.,  1.]]])
    """
    if A.dtype == torch.float32 and A.device.type != "mps" and not float32_products_are_plain():
        return climb(A.double(), largest_block).float()
    n_matrices, m, _ = A.shape
    if largest_block is None:
        largest_block = SUBSTITUTED if A.is_cpu and m <= SUBSTITUTED else LARGEST_BLOCK
    n_rungs = max(0, (-(-m // largest_block) - 1).bit_length())
    block = -(-m // 2**n_rungs)
    size = block << n_rungs
    n_at_a_time = min(n_matrices, at_a_time(A, size))
    X = torch.empty_like(A, memory_format=torch.contiguous_format)
    if n_rungs == 0:
        return _substitute(A, torch.eye(m, dtype=A.dtype, device=A.device), X)
    work = _Work.of(A, n_at_a_time, block, size)
    with torch.autocast(A.device.type, enabled=False):
        for part, answer in zip(A.split(n_at_a_time), X.split(n_at_a_time), strict=True):
            work.invert(part if m == size else pad(part, (0, size - m, 0, size - m)))
            answer.copy_(work.inverse[: len(part), :m, :m])
    return X


def _substitute(A: Tensor, identity: Tensor, X: Tensor) -> Tensor:
    """Write the inverses of small matrices to X."""
    return torch.linalg.solve_triangular(A, identity, upper=False, unitriangular=True, out=X)


class _Work:
    """Memory in which some matrices of one size are inverted.

    Between two inverses lies a row that nobody uses. So diagonal blocks are equally far from each other, the last of a
    matrix and the first of the next one too, and those of all matrices are one batch of a product.
    """

    def __init__(self, inverse: Tensor, spare: Tensor, identity: Tensor):
        self.inverse = inverse
        self.spare = spare
        self.identity = identity

    @classmethod
    def of(cls, A: Tensor, n_matrices: int, block: int, size: int) -> "_Work":
        """Return memory for inverses whose diagonal blocks of one size are found by substitution."""
        n_entries = n_matrices * size * max(block, size // 4)
        identity = torch.eye(block, dtype=A.dtype, device=A.device)
        return cls(A.new_zeros(n_matrices, size + 1, size), A.new_empty(2, n_entries), identity)

    def invert(self, A: Tensor) -> None:
        """Leave the inverses of A, padded, in the first rows of ``inverse``."""
        size, block = A.shape[-1], len(self.identity)
        blocks, inverses = self.contiguous(len(A) * (size // block), block)
        blocks.view(len(A), -1, block, block).copy_(diagonal_blocks(A, block))
        _substitute(blocks, self.identity, inverses)
        self.blocks(len(inverses), block, block).copy_(inverses)
        s = block
        while s < size:
            n_pairs = len(A) * (size // (2 * s))
            below, product = self.contiguous(n_pairs, s)
            torch.neg(diagonal_blocks(A, 2 * s)[..., s:, :s], out=below.view(len(A), -1, s, s))
            torch.bmm(below, self.blocks(n_pairs, s, 2 * s), out=product)
            torch.bmm(self.blocks(n_pairs, s, 2 * s, s, s), product, out=below)
            self.blocks(n_pairs, s, 2 * s, s, 0).copy_(below)
            s *= 2

    def blocks(self, n_blocks: int, s: int, apart: int, row: int = 0, column: int = 0) -> Tensor:
        """Return a view of every s x s block of ``inverse``, so far apart, from a row and column on."""
        size = self.inverse.shape[-1]
        start = row * size + column
        return self.inverse.as_strided((n_blocks, s, s), (apart * (size + 1), size, 1), start)

    def contiguous(self, n_blocks: int, s: int) -> tuple[Tensor, Tensor]:
        """Return two spare stacks: products are several times slower where their results have gaps."""
        first, second = (part[: n_blocks * s * s].view(n_blocks, s, s) for part in self.spare)
        return first, second


def diagonal_blocks(A: Tensor, s: int) -> Tensor:
    """Return a view of the s x s blocks on the diagonal, ``(n, m, m)`` to ``(n, m / s, s, s)``.

    >>> diagonal_blocks(torch.arange(16).reshape(1, 4, 4), 2).flatten().tolist()
    [0, 1, 4, 5, 10, 11, 14, 15]
    """
    return A.unflatten(2, (-1, s)).unflatten(1, (-1, s)).diagonal(dim1=1, dim2=3).movedim(-1, 1)
