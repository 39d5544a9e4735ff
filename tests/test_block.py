"""BlockInverter: any size through small leaves, the block size it takes, and worked problems."""

import pickle

import dask.array as da
import numpy as np
import pytest
import scipy.linalg
import torch
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.utils._param_validation import InvalidParameterError

from benchmarks.lib.box_draper import normal_equations
from skdmi import BlockInverter, ExactInverter, NeuralMatrixInverter, RefinedInverter, load_pretrained
from skdmi.estimators.base import Answer
from skdmi.exceptions import InaccurateInverseWarning, SingularMatrixWarning
from skdmi.linalg import complex_to_real, real_to_complex
from tests.marks import slow_but
from tests.matrices import make_stack
from tests.models import untrained

TINY = {"depth": 1, "width": 4, "max_epochs": 0, "batches_per_epoch": 2, "batch_size": 16, "random_state": 0}


@pytest.fixture(scope="module")
def shipped():
    """The composition that is recommended for leaves of 3 x 3."""
    return BlockInverter(RefinedInverter(load_pretrained("uniform-3x3-short")))


class Foreign(TransformerMixin, BaseEstimator):
    """An inverter that is not ours: fit and transform, and nothing else."""

    def fit(self, X, y=None):
        self.shape_ = None if X is None else X.shape
        return self

    def transform(self, X):
        return np.linalg.inv(X)


def residual_norms(A, X):
    return np.linalg.norm(np.eye(A.shape[-1]) - A @ X, axis=(1, 2))


def rounding(A, X):
    """Return what is promised; LAPACK leaves a fifth of it at these sizes."""
    return 10 * 2.0**-53 * np.linalg.norm(np.abs(A) @ np.abs(X), axis=(1, 2))


# Every size, every kind


@pytest.mark.parametrize("m", slow_but([1, 4, 20], [1, 2, 3, 4, 7, 20, 33]))
@pytest.mark.parametrize("kind", ["uniform", "spd", "orthogonal", "permutation"])
def test_as_good_as_lapack(kind, m, shipped):
    A = make_stack(kind, n_matrices=5, m=m)
    for inverter in (shipped, BlockInverter(block_size=3), BlockInverter()):
        X = inverter.transform(A)
        assert (residual_norms(A, X) <= rounding(A, X)).all()


def skew(N):
    A = np.random.default_rng(0).uniform(-1, 1, (N, N))
    return A - A.T


def zero_leading_block(N):
    A = np.random.default_rng(0).uniform(-1, 1, (N, N))
    A[: N // 2, : N // 2] = 0
    return A


@pytest.mark.parametrize(
    "matrix",
    [
        np.eye(24)[::-1],
        np.roll(np.eye(24), 12, axis=1),
        skew(24),
        zero_leading_block(25),
        scipy.linalg.hadamard(16),
        scipy.linalg.helmert(20, full=True),
        scipy.linalg.fiedler(np.arange(20.0)),
        scipy.linalg.companion(np.arange(1.0, 21)),
        scipy.linalg.circulant(np.arange(20.0)),
        scipy.linalg.toeplitz(np.arange(20.0)),
        scipy.linalg.pascal(10),
        scipy.linalg.hilbert(8),
    ],
    ids=[
        "flip", "swap", "skew", "zero-leading", "hadamard", "helmert", "fiedler", "companion", "circulant", "toeplitz",
        "pascal", "hilbert",
    ],
)  # fmt: skip
def test_matrices_on_which_elimination_without_pivoting_fails(matrix, shipped):
    A = np.asarray(matrix, dtype=float)[None]
    report = RefinedInverter(shipped, uncertified="nan").report(A)
    assert report.certified.all()
    X = shipped.transform(A)
    assert residual_norms(A, X) <= rounding(A, X)


@pytest.mark.parametrize("side", ["rows", "columns", "both"])
def test_graded_matrices_are_equilibrated(side, shipped):
    grade = np.geomspace(1, 1e-12, 30)
    M = make_stack("well", n_matrices=2, m=30)
    A = M * (grade[:, None] if side != "columns" else 1) * (grade if side != "rows" else 1)
    X = shipped.transform(A)
    undone = X * (grade[:, None] if side != "rows" else 1) * (grade if side != "columns" else 1)
    np.testing.assert_allclose(undone, np.linalg.inv(M), rtol=1e-9, atol=1e-11)


def test_singular_values_over_ten_decades(shipped):
    A = make_stack("condition", n_matrices=4, m=30, condition=1e10)
    X = shipped.transform(A)
    assert (residual_norms(A, X) <= rounding(A, X)).all()


def test_lapack_is_the_last_resort():
    class Useless(ExactInverter):
        def _invert(self, A):
            return Answer(torch.zeros_like(A))

    A = make_stack("uniform", m=6)
    np.testing.assert_allclose(
        BlockInverter(Useless(), block_size=3).transform(A), np.linalg.inv(A), rtol=1e-10, atol=1e-11
    )


@pytest.mark.parametrize("N", [128, pytest.param(512, marks=pytest.mark.slow)])
@pytest.mark.parametrize("condition", [None, 1e6, 1e9])
def test_both_residuals_of_large_matrices_are_what_rounding_explains(N, condition):
    kind = "uniform" if condition is None else "condition"
    A = make_stack(kind, 1, N, condition=condition)
    for inverter in (BlockInverter(), RefinedInverter(BlockInverter(block_size=16))):
        X = inverter.transform(A)
        for first, second in ((A, X), (X, A)):
            assert residual_norms(first, second) <= rounding(first, second)


@pytest.mark.parametrize("block_size", [1, 2, 3])
@pytest.mark.parametrize("unit", [-1000, -500, 0, 500])
def test_a_matrix_that_is_singular_in_its_bits_has_no_inverse(block_size, unit):
    rng = np.random.default_rng(0)
    A = make_stack("singular", 200, 4, seed=1) * 2.0 ** rng.choice([0, unit], (200, 1, 4))
    with pytest.warns(SingularMatrixWarning, match="200 of 200"):
        X = BlockInverter(block_size=block_size).transform(A)
    assert np.isnan(X).all()


@pytest.mark.parametrize("inner", [RefinedInverter(), ExactInverter(), BlockInverter(RefinedInverter(), block_size=1)])
@pytest.mark.parametrize("block_size", [1, 2, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_pivot_without_an_inverse_asks_no_inner_inverter_for_more(inner, block_size, dtype):
    A = make_stack("singular", 50, 7, seed=1).astype(dtype)
    A[::10] = np.eye(7)
    A[1] = 0
    with pytest.warns(SingularMatrixWarning, match="45 of 50"):
        X = BlockInverter(inner, block_size=block_size).transform(A)
    assert np.isnan(X[[i for i in range(50) if i % 10]]).all()
    assert (X[::10] == np.eye(7)).all()


def test_an_inverse_that_may_have_no_digits_comes_with_a_warning():
    A = np.stack([np.eye(11), scipy.linalg.hilbert(11)])
    with pytest.warns(InaccurateInverseWarning, match=r"1 of 2 inverses .* at index 1\.") as caught:
        X = BlockInverter(block_size=4).transform(A)
    assert len(caught) == 1
    assert np.isfinite(X).all()


# Stacks, dtypes, containers


def test_a_singular_member_is_named_and_spoils_no_other(shipped):
    A = make_stack(n_matrices=6, m=10)
    A[[1, 4]] = make_stack("singular", n_matrices=2, m=10)
    regular = [0, 2, 3, 5]
    with pytest.warns(SingularMatrixWarning, match=r"2 of 6 matrices .* at index 1, 4\. .*singular='pinv'") as record:
        X = shipped.transform(A)
    assert len(record) == 1
    assert np.isnan(X[[1, 4]]).all()
    np.testing.assert_allclose(X[regular], np.linalg.inv(A[regular]), rtol=1e-10)
    assert np.isnan(shipped.invert(torch.from_numpy(A))[[1, 4]].numpy()).all()  # and does not warn


def test_a_stack_is_inverted_as_its_members_one_by_one(shipped):
    A = make_stack("uniform", n_matrices=6, m=20)
    A[2] = np.eye(20)[::-1]
    one_by_one = np.concatenate([shipped.transform(member[None]) for member in A])
    np.testing.assert_allclose(shipped.transform(A), one_by_one, rtol=1e-9, atol=1e-11)


def test_large_members_with_and_without_an_inverse(shipped):
    A = make_stack("uniform", n_matrices=4, m=60)
    A[2] = make_stack("condition", n_matrices=1, m=60, condition=1e9)[0]  # refined thoroughly
    A[1, 0] = A[1, 1]
    regular = [0, 2, 3]
    for inverter in (shipped, BlockInverter()):
        with pytest.warns(SingularMatrixWarning, match="1 of 4 matrices .* at index 1"):
            X = inverter.transform(A)
        assert np.isnan(X[1]).all()
        for first, second in ((A[regular], X[regular]), (X[regular], A[regular])):
            assert (residual_norms(first, second) <= rounding(first, second)).all()
    report = RefinedInverter(BlockInverter(), singular="pinv").report(A)
    np.testing.assert_array_equal(report.certified, [True, False, True, True])
    np.testing.assert_array_equal(report.source, ["network", "pinv", "refined", "network"])
    np.testing.assert_allclose(report.inverse[1], np.linalg.pinv(A[1], rcond=1e-13), rtol=1e-8, atol=1e-10)


def test_large_tensors_through_transforms_of_functions():
    A = torch.from_numpy(make_stack("uniform", n_matrices=2, m=50))
    gradient = torch.func.vmap(torch.func.grad(lambda A: BlockInverter().invert(A).sum()))(A)
    X = torch.linalg.inv(A)
    torch.testing.assert_close(gradient, -(X.mT @ torch.ones_like(A) @ X.mT), rtol=1e-9, atol=1e-9)


def test_float32_is_computed_in_float64_and_rounded_once(shipped):
    A = make_stack("uniform", n_matrices=20, m=40, dtype=np.float32)
    X = shipped.transform(A)
    assert X.dtype == np.float32
    np.testing.assert_array_equal(X, shipped.transform(A.astype(np.float64)).astype(np.float32))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_torch_dtypes_are_kept(dtype, shipped):
    A = torch.from_numpy(make_stack("orthogonal", m=6)).to(dtype)
    X = shipped.transform(A)
    assert X.dtype == dtype
    torch.testing.assert_close(X.double() @ A.double(), torch.eye(6).double().expand(8, 6, 6), atol=0.1, rtol=0)


def test_flat_rows_and_any_leading_axes(shipped):
    A = make_stack(n_matrices=6, m=5)
    X = shipped.transform(A)
    np.testing.assert_array_equal(shipped.transform(A.reshape(6, 25)), X.reshape(6, 25))
    np.testing.assert_array_equal(shipped.invert(torch.from_numpy(A).reshape(2, 3, 5, 5)).numpy().reshape(X.shape), X)


@pytest.mark.parametrize("chunks", [(2, 20, 20), (6, 7, 20), (1, 8, 8)], ids=["whole", "rows", "blocks"])
@pytest.mark.parametrize("dtype", slow_but([np.float64], [np.float32, np.float64]))
def test_dask_by_members_and_by_chunks_of_one_matrix(chunks, dtype, shipped):
    A = (make_stack("uniform", n_matrices=4, m=20) + 8 * np.eye(20)).astype(dtype)
    X = shipped.transform(da.from_array(A, chunks=chunks))
    assert isinstance(X, da.Array)
    assert (X.shape, X.dtype) == (A.shape, dtype)
    np.testing.assert_allclose(X.compute(), np.linalg.inv(A), atol=1e-6 if dtype == np.float32 else 1e-13)


@pytest.mark.parametrize("X", [da.zeros((2, 4, 6), chunks=2), da.zeros((2, 4, 4), chunks=2, dtype=complex)])
def test_chunked_dask_is_checked_before_it_is_computed(X):
    with pytest.raises(ValueError, match=r"square matrices|Complex"):
        BlockInverter().transform(X)
    with pytest.raises(ValueError, match="fitted for 3 x 3"):
        BlockInverter().fit(make_stack()).transform(da.zeros((2, 4, 4), chunks=2))


def test_chunked_dask_never_fails_silently():
    swap = np.kron(np.eye(2)[::-1], np.eye(4))
    with pytest.warns(
        SingularMatrixWarning, match=r"1 of 1 matrices .* at index 0\. .*neither pivoting.*rechunk"
    ) as record:
        X = BlockInverter().transform(da.from_array(swap[None], chunks=(1, 4, 4))).compute()
    assert len(record) == 1
    assert np.isnan(X).all()
    whole = da.from_array(swap[None], chunks=(1, 4, 4)).rechunk({1: -1, 2: -1})
    np.testing.assert_allclose(BlockInverter().transform(whole).compute()[0], swap, atol=1e-14)
    swap[0, 5] = np.nan
    X = BlockInverter().transform(da.from_array(swap[None], chunks=(1, 4, 4)))
    with pytest.raises(ValueError, match="X contains NaN"):
        X.compute()


def test_the_gradient_is_that_of_the_inverse(shipped):
    A = torch.from_numpy(make_stack(n_matrices=2, m=7)).requires_grad_()
    G = torch.from_numpy(make_stack(n_matrices=2, m=7, seed=1))
    (gradient,) = torch.autograd.grad(shipped.invert(A), A, G)
    (expected,) = torch.autograd.grad(torch.linalg.inv(A), A, G)
    torch.testing.assert_close(gradient, expected)
    torch.testing.assert_close(shipped.invert(A).detach(), shipped.invert(A.detach()), rtol=0, atol=0)


# Which m, and what is fitted


@pytest.mark.parametrize(
    ("inverter", "m"),
    [
        (None, 32),
        (ExactInverter(), 32),
        (RefinedInverter(), 32),
        (BlockInverter(), 32),
        (FrozenEstimator(ExactInverter().fit(make_stack(m=5))), 5),
        (load_pretrained("uniform-3x3-short"), 3),
        (RefinedInverter(FrozenEstimator(untrained(5))), 5),
        (NeuralMatrixInverter(**TINY, matrix_size=4), 4),
        (NeuralMatrixInverter(**TINY, matrix_size=(3, 6)), 6),
        (RefinedInverter(NeuralMatrixInverter(**TINY, matrix_size=2)), 2),
    ],
)
@pytest.mark.parametrize("block_size", [None, 7])
def test_block_size(inverter, m, block_size):
    fitted = BlockInverter(inverter, block_size=block_size).fit()
    assert fitted.block_size_ == (block_size or m)
    assert not hasattr(fitted, "matrix_size_")
    assert fitted.transform(make_stack(m=9)).shape == (8, 9, 9)


@pytest.mark.parametrize(
    "inverter", [NeuralMatrixInverter(), RefinedInverter(NeuralMatrixInverter())], ids=["bare", "refined"]
)
def test_an_unknown_block_size_names_both_parameters(inverter):
    block = BlockInverter(inverter)
    with pytest.raises(ValueError, match=r"block_size=None, and matrix_size of .* Try block_size=3, or matrix_size=3"):
        block.fit(make_stack())
    assert vars(block).keys() == block.get_params(deep=False).keys()


def test_a_network_that_cannot_take_the_blocks_is_refused_in_fit():
    entrywise = NeuralMatrixInverter(**TINY, block="dense", matrix_size=3).fit()
    for arguments in ((), (make_stack(m=8),)):
        with pytest.raises(ValueError, match="takes 3 x 3 matrices, got 4 x 4"):
            BlockInverter(FrozenEstimator(entrywise), block_size=4).fit(*arguments)
    with pytest.raises(ValueError, match="4 x 4 matrices, but matrix_size=3"):
        BlockInverter(clone(entrywise), block_size=4).fit(make_stack(m=8))


def test_an_unfrozen_inner_inverter_is_fitted_on_the_leaves():
    block = BlockInverter(Foreign(), block_size=3).fit(make_stack("spd", n_matrices=5, m=8))
    assert block.inverter_.shape_ == (15, 3, 3)
    assert not hasattr(block.inverter, "shape_")
    assert BlockInverter(Foreign(), block_size=3).fit().inverter_.shape_ is None
    many = BlockInverter(Foreign(), block_size=1).fit(make_stack("spd", n_matrices=200, m=100))
    assert many.inverter_.shape_ == (10_000, 1, 1)
    network = BlockInverter(NeuralMatrixInverter(**TINY), block_size=3).fit(make_stack(m=8))
    assert network.inverter_.matrix_size_ == 3
    assert (network.matrix_size_, network.n_features_in_) == (8, 64)


def test_a_frozen_inner_inverter_stays_as_it_is(shipped):
    network = load_pretrained("uniform-3x3-short")
    fitted = BlockInverter(network).fit(make_stack(m=8))
    assert fitted.inverter_.estimator is network.estimator


def test_no_fit_is_needed_where_the_inner_inverter_needs_none(shipped):
    A = make_stack("permutation", m=10)
    for inverter in (BlockInverter(), shipped, BlockInverter(RefinedInverter())):
        assert not inverter.__sklearn_tags__().requires_fit
        assert not inverter.__sklearn_tags__()._skip_test
        np.testing.assert_array_equal(inverter.transform(A), inverter.transform(A))
        assert vars(inverter).keys() == inverter.get_params(deep=False).keys()
    np.testing.assert_array_equal(shipped.transform(A), clone(shipped).fit(A).transform(A))
    untrained = BlockInverter(NeuralMatrixInverter(matrix_size=3))
    assert untrained.__sklearn_tags__().requires_fit
    with pytest.raises(ValueError, match="not fitted"):
        untrained.transform(A)


# Determinism, copies, searches


def test_equal_stacks_have_equal_inverses():
    A = make_stack("uniform", m=12)
    block = BlockInverter(block_size=3).fit()
    np.testing.assert_array_equal(block.transform(A), block.transform(A))
    np.testing.assert_array_equal(block.transform(A), pickle.loads(pickle.dumps(block)).transform(A))


def test_the_full_composition_through_clone_pickle_and_pandas(shipped):
    full = RefinedInverter(clone(shipped))
    A = make_stack("uniform", m=8)
    expected = full.transform(A)
    np.testing.assert_allclose(expected, np.linalg.inv(A), rtol=1e-8, atol=1e-10)
    for copied in (clone(full), pickle.loads(pickle.dumps(full)), clone(full).fit(A)):
        np.testing.assert_array_equal(copied.transform(A), expected)
    table = clone(shipped).set_output(transform="pandas").fit(A).transform(A.reshape(8, 64))
    np.testing.assert_array_equal(table.to_numpy().reshape(A.shape), shipped.transform(A))


def test_a_search_reaches_through():
    A = make_stack("spd", n_matrices=6, m=6)
    block = BlockInverter(NeuralMatrixInverter(**TINY), block_size=3)
    search = GridSearchCV(block, {"inverter__depth": [1, 3]}, cv=KFold(2), error_score="raise").fit(A)
    assert search.best_estimator_.inverter_.depth in (1, 3)
    assert search.transform(A).shape == A.shape


@pytest.mark.parametrize("parameters", [{"block_size": 0}, {"block_size": 2.5}, {"inverter": "exact"}])
def test_parameters_are_checked_in_fit_and_before_any_use(parameters):
    for method in (BlockInverter(**parameters).fit, BlockInverter(**parameters).transform):
        with pytest.raises(InvalidParameterError, match=f"The '{next(iter(parameters))}' parameter of BlockInverter"):
            method(make_stack())


# Worked problems


def test_box_and_draper_11_3(shipped):
    """A second-order response surface for a consecutive chemical system, 10 x 10 normal equations by 3 x 3 leaves."""
    normal, right_side = normal_equations()
    assert np.linalg.cond(normal) == pytest.approx(142.9, abs=0.05)
    coefficients = shipped.transform(normal[None])[0] @ right_side
    assert abs(coefficients - np.linalg.solve(normal, right_side)).max() < 1e-8
    published = [58.5587, 2.6229, 3.4881, 4.8791, -6.9231, -8.6988, -15.1579, -3.8133, -5.3824, -7.5047]
    np.testing.assert_allclose(coefficients, published, atol=5e-5)


def test_least_squares_with_three_unknowns(shipped):
    rng = np.random.default_rng(0)
    Z, b = rng.uniform(-1, 1, (20, 3)), rng.uniform(-1, 1, 20)
    coefficients = shipped.transform((Z.T @ Z)[None])[0] @ Z.T @ b
    np.testing.assert_allclose(coefficients, np.linalg.lstsq(Z, b)[0], atol=1e-13)


def test_zero_forcing_over_complex_channels(shipped):
    """Four antennas send to four: the receiver undoes the channel H; real leaves, complex matrices."""
    generator = torch.Generator().manual_seed(0)
    H = torch.randn(200, 4, 4, dtype=torch.complex128, generator=generator)
    sent = torch.sgn(torch.randn(200, 4, 1, dtype=torch.complex128, generator=generator))
    W = real_to_complex(shipped.transform(complex_to_real(H)))
    torch.testing.assert_close(W @ (H @ sent), sent, atol=1e-10, rtol=0)
    torch.testing.assert_close(W, torch.linalg.inv(H), atol=1e-9, rtol=1e-9)
