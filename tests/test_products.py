"""Products with entries first are products, for large matrices and small ones."""

import pytest
import torch

from skdmi.linalg.products import accumulate, add_product, entries, inner_products, join, matrices, multiply

SHAPES = [(1, 1, 1), (3, 3, 3), (5, 5, 5), (7, 7, 7), (8, 8, 8), (2, 7, 7), (2, 9, 9), (5, 1, 5), (9, 1, 9), (4, 4, 49)]


def pair(p, q, r, n=6):
    generator = torch.Generator().manual_seed(0)
    return (torch.randn(n, *shape, dtype=torch.float64, generator=generator) for shape in ((p, q), (q, r)))


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_product_added_or_not(shape, transposed):
    A, B = pair(*shape)
    a, b = entries(A), entries(B)
    if transposed:
        a, b = entries(A.mT.contiguous()).transpose(0, 1), entries(B.mT.contiguous()).transpose(0, 1)
    C = torch.ones(6, shape[0], shape[2], dtype=torch.float64)
    torch.testing.assert_close(matrices(multiply(a, b)), A @ B)
    for sign in (1, -1):
        torch.testing.assert_close(matrices(add_product(entries(C), a, b, sign)), C + sign * (A @ B))
        torch.testing.assert_close(matrices(accumulate(entries(C.clone()), a, b, sign)), C + sign * (A @ B))
    torch.testing.assert_close(multiply(a[..., 0], b[..., 0]), A[0] @ B[0])


@pytest.mark.parametrize("n", [9, 49, 64])
@pytest.mark.parametrize("p", [1, 4])
def test_inner_products(p, n):
    A, B = pair(p, n, 3)
    B = B.mT
    torch.testing.assert_close(matrices(inner_products(entries(A), entries(B))), A @ B.mT)
    torch.testing.assert_close(matrices(inner_products(entries(A), entries(A))), A @ A.mT)


@pytest.mark.parametrize("m", [3, 9])
@pytest.mark.parametrize("dim", [0, 1])
def test_joined_entries_stay_where_they_are_in_memory(m, dim):
    A, B = pair(m, m, m)
    joined = join([entries(A), entries(B)], dim)
    torch.testing.assert_close(matrices(joined), torch.cat([A, B], dim=dim + 1))
    assert (joined.stride(-1) == 1) == (m == 3)


def test_entries_and_matrices_undo_each_other():
    for shape in ((2, 3), (5, 2, 3), (4, 5, 2, 3)):
        A = torch.randn(shape)
        assert entries(A).shape == (2, 3, *shape[:-2])
        assert torch.equal(matrices(entries(A)), A)
