"""The block recursion as functions: on tensors, and as a dask graph."""

import dask.array as da
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.linalg import matrix_norm

from skdmi.estimators.dask_blocks import invert_chunked
from skdmi.exceptions import SingularMatrixWarning
from skdmi.linalg import block_inverse, blocks, exact_inverse, haar_orthogonal, residual
from skdmi.linalg.recursion import collect_leaves, pad_to_blocks, pivot_order, polish_, schur_inverse_
from tests.marks import slow_but
from tests.matrices import make_stack


def tensor(kind="well", n_matrices=3, m=7, **options):
    return torch.from_numpy(make_stack(kind, n_matrices=n_matrices, m=m, **options))


def dominant(n_matrices, N, seed=0):
    """Matrices on which the recursion needs no help: every pivot is well-conditioned."""
    return tensor("uniform", n_matrices, N, seed=seed) + 2 * N * torch.eye(N, dtype=torch.float64)


# The recursion


@settings(max_examples=60, deadline=None)
@given(n_blocks=st.integers(1, 12), block_size=st.integers(1, 5), n_matrices=st.integers(1, 3))
def test_the_recursion_inverts_in_place_for_any_number_of_blocks(n_blocks, block_size, n_matrices):
    A = dominant(n_matrices, n_blocks * block_size)
    work = A.clone()
    assert schur_inverse_(work, block_size, torch.linalg.inv) is work
    torch.testing.assert_close(work, torch.linalg.inv(A))


def test_the_leaves_come_one_after_the_other_from_the_upper_left():
    A = dominant(2, 10)
    shapes = []

    def invert_leaf(leaf):
        shapes.append(tuple(leaf.shape))
        if len(shapes) == 1:
            torch.testing.assert_close(leaf, A[:, :2, :2])
        return torch.linalg.inv(leaf)

    schur_inverse_(A.clone(), 2, invert_leaf)
    assert shapes == [(2, 2, 2)] * 5


def test_a_thousand_blocks_need_no_deep_recursion():
    A = dominant(1, 1000)
    work = schur_inverse_(A.clone(), 1, torch.reciprocal)
    assert matrix_norm(residual(A, work)).max() < 1e-10


def test_products_are_those_of_three_inversions_by_elimination():
    multiply_adds = []

    class Counting(torch.Tensor):
        @classmethod
        def __torch_function__(cls, function, types, args=(), kwargs=None):
            if function in (torch.bmm, torch.Tensor.baddbmm_):
                first, second = args[-2:]
                multiply_adds.append(first.shape[-2] * first.shape[-1] * second.shape[-1])
            return super().__torch_function__(function, types, args, kwargs or {})

    N = 64
    schur_inverse_(dominant(1, N).as_subclass(Counting), 1, torch.reciprocal)
    assert sum(multiply_adds) <= N**3


# In numpy


@pytest.mark.parametrize("N", slow_but([50, 100], [49, 50, 64, 100, 150]))
@pytest.mark.parametrize("block_size", [3, 16, 49, 1000])
@pytest.mark.parametrize("kind", ["uniform", "permutation"])
def test_large_matrices_are_inverted_in_numpy(kind, block_size, N):
    A = make_stack(kind, 2, N)
    X = blocks.invert_by_blocks(A, block_size, np.linalg.inv)
    np.testing.assert_allclose(X @ A, np.broadcast_to(np.eye(N), A.shape), atol=1e-10)
    through_torch = block_inverse(
        torch.from_numpy(A), block_size, lambda leaf: torch.from_numpy(np.linalg.inv(leaf.numpy()))
    )
    np.testing.assert_array_equal(X, through_torch.numpy())


def test_leading_blocks_of_zeros_are_no_obstacle_to_large_matrices_either():
    swap = np.roll(np.eye(60), 30, axis=1)[None]
    np.testing.assert_array_equal(blocks.invert_by_blocks(swap, 7, np.linalg.inv), swap.mT)


def test_numbers_that_are_none_pass_large_matrices_in_silence():
    A = make_stack("well", 1, 60)
    for value in (np.inf, np.nan):
        assert np.isnan(blocks.invert_by_blocks(A, 7, lambda leaf, value=value: np.full_like(leaf, value))).any()


def test_units_too_far_apart_are_left_to_others():
    A = make_stack("uniform", 1, 60)
    A[:, 0] *= 2.0**-1000
    assert blocks.invert_by_blocks(A, 7, np.linalg.inv) is None
    A[:, 0] = 0
    assert blocks.invert_by_blocks(A, 7, np.linalg.inv) is None
    far = 2.0**-400 * make_stack("uniform", 1, 60)
    X = block_inverse(torch.from_numpy(far), 7, exact_inverse).numpy()
    np.testing.assert_allclose(far @ X, np.eye(60)[None], atol=1e-11)


def test_the_column_order_is_the_row_order_of_the_transpose():
    A = make_stack("uniform", 1, 60)
    order = pivot_order(torch.from_numpy(A).mT.contiguous())[0]
    np.testing.assert_array_equal(blocks.column_order(A[0]), order)


@settings(max_examples=30, deadline=None)
@given(n_blocks=st.integers(1, 9), block_size=st.integers(1, 5), n_matrices=st.integers(1, 3))
def test_both_recursions_are_the_same(n_blocks, block_size, n_matrices):
    A = dominant(n_matrices, n_blocks * block_size)
    work = A.numpy().copy()
    blocks.schur_inverse_(work, block_size, np.linalg.inv)
    np.testing.assert_allclose(work, schur_inverse_(A, block_size, torch.linalg.inv), rtol=1e-12, atol=1e-18)


@pytest.mark.parametrize("distance", [0.0, 1e-9, 1e-3, 0.1])
def test_quick_polishing_lands(distance):
    A = make_stack("well", 4, 6)
    X = np.linalg.inv(A) * (1 + distance)
    assert blocks.polish_(A, X)
    np.testing.assert_allclose(X, np.linalg.inv(A), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("far", [2.0, np.nan, np.inf])
def test_quick_polishing_says_where_it_does_not_land(far):
    A = make_stack("orthogonal", 4, 6)
    X = A.mT.copy()
    X[1] *= far
    assert not blocks.polish_(A, X)


# Padding, mixing, polishing


@settings(max_examples=60, deadline=None)
@given(N=st.integers(1, 12), block_size=st.integers(1, 5))
def test_padding_keeps_inverse_and_condition(N, block_size):
    A = tensor("well", 2, N)
    padded = pad_to_blocks(A, block_size)
    assert padded.shape[-1] % block_size == 0
    assert padded.shape[-1] - N < block_size
    assert padded.data_ptr() != A.data_ptr()
    torch.testing.assert_close(torch.linalg.inv(padded)[:, :N, :N], torch.linalg.inv(A))
    torch.testing.assert_close(torch.linalg.cond(padded), torch.linalg.cond(A))


def test_haar_matrices_are_orthogonal_and_seeded():
    Q, again, other = (
        haar_orthogonal(1, 50, generator=torch.Generator().manual_seed(seed), dtype=torch.float64, device="cpu")[0]
        for seed in (0, 0, 1)
    )
    torch.testing.assert_close(Q @ Q.mT, torch.eye(50, dtype=torch.float64))
    assert torch.equal(Q, again)
    assert not torch.equal(Q, other)


def test_polishing_squares_the_residual_down_to_rounding():
    A = tensor("well", 4, 6)
    X = torch.linalg.inv(A)
    R = torch.tensor([0.0, 1e-9, 1e-3, 0.1], dtype=torch.float64)[:, None, None] * torch.eye(6, dtype=torch.float64)
    X = X @ (torch.eye(6, dtype=torch.float64) - R)
    norms = polish_(A, X)
    torch.testing.assert_close(norms[:3], torch.zeros(3, dtype=torch.float64), atol=1e-14, rtol=0)
    assert matrix_norm(residual(A, X))[:3].max() < 1e-14
    assert matrix_norm(residual(A, X))[3] == pytest.approx(6**0.5 * 0.1**8, rel=1e-3)  # three steps


def test_polishing_leaves_alone_what_is_hopeless_and_what_is_done():
    A = tensor("orthogonal", 4, 6)
    X = A.mT.clone()
    X[1] *= 2  # the residual norm is sqrt(6)
    X[2] = torch.nan
    before = X.clone()
    norms = polish_(A, X)
    torch.testing.assert_close(X[[1, 2]], before[[1, 2]], equal_nan=True, rtol=0, atol=0)
    assert norms[1] == pytest.approx(6**0.5)
    assert norms[2].isnan()
    torch.testing.assert_close(X[[0, 3]], before[[0, 3]], rtol=0, atol=1e-14)


class Products(torch.Tensor):
    """Counts the products that are formed of it."""

    formed = 0

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        cls.formed += function in (torch.bmm, torch.baddbmm)
        return super().__torch_function__(function, types, args, kwargs or {})


@pytest.mark.parametrize(
    ("distance", "n_products"),
    [
        (0.99 * 2.0**-27, 2),  # its square is on the floor: the residual, a step
        (1.01 * 2.0**-27, 3),  # its cube is: the residual, its square, a step
        (0.99 * 2.0**-18, 3),
        (1.01 * 2.0**-18, 4),  # neither: the residual, a step, the residual, which lands
        (1e-3, 5),
        (0.0, 1),
        (0.5, 1),
    ],
)
def test_polishing_forms_no_product_that_tells_nothing(distance, n_products):
    X = torch.full((1, 1, 1), 1 - distance, dtype=torch.float64)
    Products.formed = 0
    norms = polish_(torch.ones_like(X).as_subclass(Products), X)
    assert Products.formed == n_products
    if 0 < distance < 0.5:
        assert X.item() == 1
        assert norms.item() == pytest.approx(2.0**-54, rel=1e-5)  # the floor
    else:
        assert X.item() == 1 - distance
        assert norms.item() == distance


def test_polishing_leaves_alone_beside_others_what_it_leaves_alone_by_itself():
    distances = torch.tensor([0.5, 0.6, 0.4, 1e-3, 0.0, 1e-12], dtype=torch.float64)
    X = (1 - distances)[:, None, None].clone()
    norms = polish_(torch.ones_like(X), X)
    assert X[:2].flatten().tolist() == [0.5, 0.4]
    assert X[4].item() == 1
    assert norms[:2].tolist() == distances[:2].tolist()
    expected = torch.tensor([0.4**8, 1e-24, 0.0, 1e-96], dtype=torch.float64)  # three steps
    torch.testing.assert_close(1 - X[2:].flatten(), expected, rtol=1e-9, atol=2.0**-52)
    torch.testing.assert_close(norms[2], expected[0], rtol=1e-9, atol=0)


@pytest.mark.parametrize(("distance", "lands"), [(0.6, False), (0.49, False), (0.4, False), (0.3, True)])
def test_quick_polishing_takes_five_steps_and_begins_with_half(distance, lands):
    A, X = np.ones((1, 1, 1)), np.full((1, 1, 1), 1 - distance)
    assert blocks.polish_(A, X) == lands
    assert X.item() == pytest.approx(1 - (distance if distance > 0.5 else distance**32), abs=1e-15)


@pytest.mark.parametrize(("size", "is_left"), [(2.0**-54, True), (2.0**-52.25, True), (2.0**-51.75, False)])
def test_quick_polishing_leaves_what_rounding_explains(size, is_left):
    A = np.eye(4)[None]
    X = A.copy()
    X[0, 0, 1] = size  # beside |A| |X|, whose square norm is 4
    assert blocks.polish_(A, X)
    assert X[0, 0, 1] == (size if is_left else 0)


@pytest.mark.parametrize(("N", "block_size"), [(50, 16), (64, 24), (60, 60)])
def test_the_last_leaf_is_filled_up_at_the_size_of_the_matrix(N, block_size):
    A = 3.0 * make_stack("permutation", 2, N)
    leaves = []

    def invert_leaf(leaf):
        leaves.append(leaf.copy())
        return np.linalg.inv(leaf)

    X = blocks.invert_by_blocks(A, block_size, invert_leaf)
    np.testing.assert_allclose(X, np.linalg.inv(A), rtol=1e-12, atol=1e-15)
    for leaf in leaves:
        np.testing.assert_allclose(np.linalg.cond(leaf), 1, rtol=1e-12)


@pytest.mark.parametrize(("power", "is_served"), [(0, True), (290, True), (-290, True), (310, False), (-310, False)])
def test_units_that_are_far_apart_are_for_others(power, is_served):
    A = make_stack("well", 1, 50)
    A[0, 3] *= 2.0**power
    X = blocks.invert_by_blocks(A, 16, np.linalg.inv)
    assert (X is not None) == is_served
    if is_served:
        A[0, 3] *= 2.0**-power
        X[0, :, 3] *= 2.0**power
        np.testing.assert_allclose(X, np.linalg.inv(A), rtol=1e-9, atol=1e-9)


def test_what_is_not_square_is_refused_by_name():
    with pytest.raises(ValueError, match=r"^Expected A of square matrices.*\(2, 3, 4\)"):
        block_inverse(torch.zeros(2, 3, 4), 2, exact_inverse)


# Everything together


@settings(max_examples=100, deadline=None)
@given(
    N=st.integers(1, 40),
    block_size=st.integers(1, 5),
    kind=st.sampled_from(["uniform", "well", "spd", "orthogonal", "permutation", "graded"]),
    seed=st.integers(0, 2**31 - 1),
)
def test_blocks_equal_direct(N, block_size, kind, seed):
    A = tensor(kind, 2, N, condition=1e12, seed=seed)
    row_scale = A.abs().amax(dim=-1, keepdim=True)
    X, direct = block_inverse(A, block_size, exact_inverse), torch.linalg.inv(A / row_scale) / row_scale.mT
    condition = torch.linalg.cond(A / row_scale)
    error = matrix_norm((X - direct) * row_scale.mT) / matrix_norm(direct * row_scale.mT)
    assert (error <= 1e-14 * N * condition).all()


@pytest.mark.parametrize(
    "matrix",
    [torch.eye(12).flip(-1), torch.eye(12).roll(6, dims=-1), torch.eye(12)],
    ids=["anti-diagonal", "zero leading block", "identity"],
)
@pytest.mark.parametrize("block_size", [1, 3, 5])
def test_leading_blocks_of_zeros_are_no_obstacle(matrix, block_size):
    A = matrix.double()[None]
    torch.testing.assert_close(block_inverse(A, block_size, exact_inverse), A.mT, rtol=0, atol=0)


def test_a_singular_leaf_makes_its_own_matrix_nan():
    A = torch.stack([torch.ones(12, 12), torch.eye(12)]).double()
    X = block_inverse(A, 3, exact_inverse)
    assert X[0].isnan().any()
    torch.testing.assert_close(X[1], A[1])


def test_members_that_fail_do_not_touch_the_others():
    regular = dominant(3, 8)
    alone = block_inverse(regular, 2, exact_inverse)
    A = torch.stack([regular[0], torch.ones(8, 8).double(), regular[1], torch.eye(8).flip(-1).double(), regular[2]])
    together = block_inverse(A, 2, exact_inverse)
    torch.testing.assert_close(together[[0, 2, 4]], alone, rtol=1e-12, atol=1e-16)


def test_equilibration_is_undone_exactly():
    A = dominant(2, 9)
    rows, columns = (torch.randint(-300, 300, (9,), generator=torch.Generator().manual_seed(s)) for s in (0, 1))
    D1, D2 = 2.0 ** rows.double(), 2.0 ** columns.double()
    expected = block_inverse(A, 2, exact_inverse)
    scaled = block_inverse(D1[:, None] * A * D2, 2, exact_inverse)
    torch.testing.assert_close(scaled * D2[:, None] * D1, expected, rtol=1e-13, atol=1e-15)


@settings(max_examples=50, deadline=None)
@given(N=st.integers(1, 12), seed=st.integers(0, 2**31 - 1))
def test_the_row_order_is_that_of_partial_pivoting(N, seed):
    A = tensor("uniform", 2, N, seed=seed)
    order = pivot_order(A)
    P, _, _ = torch.linalg.lu(A.float())
    torch.testing.assert_close(A.float().gather(1, order[:, :, None].expand_as(A)), P.mT @ A.float())


# Leaves


def test_leaves_are_the_pivots_of_the_recursion():
    A = dominant(4, 6)
    leaves = collect_leaves(A, 2)
    assert leaves.shape == (12, 2, 2)
    assert leaves.dtype == torch.float64
    product = leaves.reshape(3, 4, 2, 2).det().prod(dim=0)  # the determinant is that of all pivots
    scale = 2.0**-4  # of every row: the diagonal lies between 11 and 13
    torch.testing.assert_close(product, A.det() * scale**6)


def test_leaves_are_finite_and_not_too_many():
    leaves = collect_leaves(dominant(100, 8), 1, n_max=50)
    assert 40 <= len(leaves) <= 50
    assert collect_leaves(torch.zeros(2, 4, 4), 2).isfinite().all()
    assert len(collect_leaves(torch.zeros(2, 4, 4), 2)) > 0


# dask


@pytest.mark.parametrize("chunks", [(1, 10, 10), (2, 7, 12), (3, 11, 33)])
@pytest.mark.parametrize("dtype", slow_but([np.float64], [np.float32, np.float64]))
def test_chunks_of_a_matrix_become_a_graph(chunks, dtype):
    A = dominant(3, 33).numpy().astype(dtype)
    X = invert_chunked(da.from_array(A, chunks=chunks), np.linalg.inv)
    assert X.shape == A.shape
    assert X.dtype == np.float64
    np.testing.assert_allclose(
        A @ X.compute(), np.broadcast_to(np.eye(33), A.shape), atol=1e-6 if dtype == np.float32 else 1e-13
    )


def test_a_singular_chunk_gives_nan_and_spoils_no_other():
    A = np.stack([np.eye(4), np.eye(4)[::-1]])
    X = invert_chunked(da.from_array(A, chunks=2), lambda block: exact_inverse(torch.tensor(block)).numpy())
    with pytest.warns(SingularMatrixWarning, match=r"1 of 2 .* at index 1\. .*rechunk"):
        X = X.compute()
    np.testing.assert_array_equal(X[0], np.eye(4))
    assert np.isnan(X[1]).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_chunks_that_are_not_finite_are_refused_when_computed(value):
    A = dominant(3, 4).numpy()
    A[2, 3, 0] = value
    X = invert_chunked(da.from_array(A, chunks=(1, 2, 2)), np.linalg.inv)
    with pytest.raises(ValueError, match=r"X contains .* at index 2"):
        X.compute()


def test_an_inverse_beyond_the_range_of_the_dtype_is_missing_whole():
    A = da.from_array(np.diag([1.0, 1e-50])[None], chunks=1)
    np.testing.assert_array_equal(invert_chunked(A, np.reciprocal).compute()[0], np.diag([1.0, 1e50]))
    with pytest.warns(SingularMatrixWarning, match="index 0"):
        X = invert_chunked(A, np.reciprocal, dtype=np.float32).compute()
    assert X.dtype == np.float32
    assert np.isnan(X).all()


@pytest.mark.parametrize("leading", [(), (2,), (0,), (2, 3)])
def test_any_leading_axes(leading):
    A = dominant(6, 5)[: int(np.prod(leading))].reshape(*leading, 5, 5)
    torch.testing.assert_close(block_inverse(A, 2, exact_inverse), torch.linalg.inv(A))


@pytest.mark.parametrize("power", [200, 900])
def test_chunks_in_different_units_are_equilibrated(power):
    A = dominant(2, 8).numpy()
    D1, D2 = (2.0 ** np.random.default_rng(seed).integers(-power // 2, power // 2, 8) for seed in (0, 1))
    X = invert_chunked(da.from_array(D1[:, None] * A * D2, chunks=3), np.linalg.inv).compute()
    np.testing.assert_allclose(X * D2[:, None] * D1, np.linalg.inv(A), rtol=1e-12)


def test_chunks_never_give_a_singular_matrix_an_inverse():
    A = make_stack("singular", 50, 4, seed=1) * 2.0 ** np.random.default_rng(0).choice([0, -1000], (50, 1, 4))
    X = invert_chunked(da.from_array(A, chunks=(50, 2, 2)), lambda block: exact_inverse(torch.tensor(block)).numpy())
    with pytest.warns(SingularMatrixWarning, match="50 of 50"):
        assert np.isnan(X.compute()).all()
