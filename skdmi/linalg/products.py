"""Products of stacks of matrices with entries first, ``(p, q, ...)``: one scalar of all matrices is one vector.

In memory the batch is last as well where matrices are small, and first where they are large: see :func:`entries`.
"""

from itertools import product

import torch
from torch import Tensor

SMALL = 7
"""Up to this m a processor multiplies faster with the batch last in memory (measured)."""
FEW = 64
"""Up to so many terms a matrix, a product is formed as one tensor and summed."""


def entries(A: Tensor) -> Tensor:
    """Return A, ``(..., p, q)``, with entries first, ``(p, q, ...)``; in memory, too, if it is a stack of small ones.

    >>> entries(torch.zeros(5, 2, 3)).shape
    torch.Size([2, 3, 5])
    """
    if A.ndim != 3:
        return A.movedim((-2, -1), (0, 1))
    A = A.permute(1, 2, 0)
    return A.contiguous() if A.device.type == "cpu" and max(A.shape[:2]) <= SMALL else A


def matrices(A: Tensor) -> Tensor:
    """Return A, ``(p, q, ...)``, with the matrices last, ``(..., p, q)``: a view.

    >>> matrices(torch.zeros(2, 3, 5)).shape
    torch.Size([5, 2, 3])
    """
    return A.permute(2, 0, 1) if A.ndim == 3 else A.movedim((0, 1), (-2, -1))


def multiply(A: Tensor, B: Tensor) -> Tensor:
    """Return ``A B``, ``(p, q, ...)`` by ``(q, r, ...)``.

    >>> A = torch.tensor([[0.0, 1.0], [2.0, 0.0]]).unsqueeze(-1)
    >>> multiply(A, A).squeeze(-1)
    tensor([[2., 0.],
            [0., 2.]])
    """
    if not _are_small(A, B):
        A, B = _batch_first(A), _batch_first(B)
        return _entries_of(A * B if A.shape[-1] == 1 else A @ B)
    return multiply_small(A, B)


def multiply_small(A: Tensor, B: Tensor) -> Tensor:
    """Return ``A B`` as a sum of outer products, entry by entry along the batch."""
    if A.shape[1] == 1:
        return A * B
    if A.shape[0] * A.shape[1] * B.shape[1] <= FEW:
        return (A.unsqueeze(2) * B.unsqueeze(0)).sum(dim=1)
    (column, *columns), (row, *rows) = A.unsqueeze(2).unbind(1), B.unsqueeze(1).unbind(0)
    C = column * row
    in_place = not torch._C._are_functorch_transforms_active()  # vmap has no rule for addcmul_: it would loop, and warn
    for column, row in zip(columns, rows, strict=True):
        C = C.addcmul_(column, row) if in_place else torch.addcmul(C, column, row)
    return C


def add_product(C: Tensor, A: Tensor, B: Tensor, sign: int = 1) -> Tensor:
    """Return ``C + A B``, or ``C - A B`` with ``sign=-1``; the product is rounded before, as suits a small one.

    >>> add_product(torch.eye(2), torch.ones(2, 1), torch.ones(1, 2), -1)
    tensor([[ 0., -1.],
            [-1.,  0.]])
    """
    return torch.add(C, multiply(A, B), alpha=sign)


def accumulate(C: Tensor, A: Tensor, B: Tensor, sign: int = 1) -> Tensor:
    """Add ``A B`` to C, or subtract it with ``sign=-1``, and return C.

    >>> accumulate(torch.eye(2), torch.ones(2, 1), torch.ones(1, 2), -1)
    tensor([[ 0., -1.],
            [-1.,  0.]])
    """
    if A.ndim == 3 and not _are_small(A, B):
        matrices(C).baddbmm_(_batch_first(A), _batch_first(B), alpha=sign)
        return C
    return C.add_(multiply(A, B), alpha=sign)


def inner_products(A: Tensor, B: Tensor) -> Tensor:
    """Return the inner products of rows, ``A B^T``: few long rows, ``(p, n, ...)`` and ``(q, n, ...)``.

    >>> inner_products(torch.eye(2), torch.ones(1, 2))
    tensor([[1.],
            [1.]])
    """
    if not _are_small(A, B.transpose(0, 1)):
        return _entries_of(_batch_first(A) @ _batch_first(B.transpose(0, 1))).contiguous()
    found: dict[tuple[int, int], Tensor] = {}
    a, b = A.unbind(), B.unbind()
    for i, j in product(range(len(a)), range(len(b))):
        found[i, j] = found[j, i] if A is B and j < i else torch.linalg.vecdot(a[i], b[j], dim=0)
    return torch.stack(list(found.values())).reshape(len(a), len(b), *a[0].shape[1:])


def join(parts: list[Tensor], dim: int) -> Tensor:
    """Concatenate along an axis of entries, with the batch left where it is in memory.

    >>> join([torch.zeros(1, 3, 5), torch.ones(2, 3, 5)], 0).shape
    torch.Size([3, 3, 5])
    """
    if len(parts) == 1:
        return parts[0]
    if parts[0].ndim != 3 or parts[0].stride(-1) == 1:
        return torch.cat(parts, dim=dim)
    return torch.cat([matrices(A) for A in parts], dim=dim + 1).permute(1, 2, 0)


def identity_entries(A: Tensor) -> Tensor:
    """Return the identity with entries first, to be combined with A, ``(m, m, ...)``.

    >>> identity_entries(torch.zeros(2, 2, 5)).shape
    torch.Size([2, 2, 1])
    """
    return torch.eye(len(A), dtype=A.dtype, device=A.device).reshape(*A.shape[:2], *(1,) * (A.ndim - 2))


def _are_small(A: Tensor, B: Tensor) -> bool:
    """Return whether the batch should be last in a product: of small matrices, or with rows of all their entries."""
    if A.ndim != 3:
        return False
    large = [size for size in (*A.shape[:2], B.shape[1]) if size > SMALL]
    return A.is_cpu and (not large or (len(large) == 1 and large[0] <= SMALL**2))


def _batch_first(A: Tensor) -> Tensor:
    """Return ``(p, q, n_matrices)`` as ``(n_matrices, p, q)``, the batch first in memory, too."""
    if A.ndim != 3:
        return matrices(A)
    return A.permute(2, 0, 1).contiguous() if A.stride(-1) == 1 else A.permute(2, 0, 1)


def _entries_of(A: Tensor) -> Tensor:
    return A.permute(1, 2, 0) if A.ndim == 3 else A.movedim((-2, -1), (0, 1))
