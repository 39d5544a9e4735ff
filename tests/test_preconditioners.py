"""Preconditioners: symmetric and positive definite where systems are, exact where they can be, fewer iterations."""

import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.linalg import cg, gmres
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from skdmi import ExactInverter
from skdmi.exceptions import SingularMatrixWarning
from skdmi.metrics import neg_mean_iterations
from skdmi.metrics.iterations import count_iterations
from skdmi.preconditioners import BlockJacobi, FamilyPreconditioner

N = 60


def definite(n=N, seed=0, contrast=10.0):
    """Return the matrix of a diffusion along a line with random coefficients."""
    a = contrast ** np.random.default_rng(seed).uniform(-1, 1, n + 1)
    return sp.csr_array(sp.diags_array([-a[1:-1], a[:-1] + a[1:], -a[1:-1]], offsets=[-1, 0, 1]))


def convective(n=N):
    return sp.csr_array(sp.diags_array([[-1.5] * (n - 1), [2.2] * n, [-0.5] * (n - 1)], offsets=[-1, 0, 1]))


each_kind = pytest.mark.parametrize(
    "preconditioner",
    [
        *(BlockJacobi(block_size=7, overlap=k) for k in (0, 1, 7, 20)),
        BlockJacobi(block_size=16, strength=0.1),
        BlockJacobi(ExactInverter(), block_size=1),
        FamilyPreconditioner(),
        FamilyPreconditioner(n_atoms=3, random_state=0),
    ],
    ids=lambda one: repr(one).replace("\n", ""),
)


def dense(M):
    return M @ np.eye(M.shape[0])


@each_kind
def test_it_is_symmetric_and_positive_definite_where_the_system_is(preconditioner):
    family = [definite(seed=k) for k in range(6)]
    M = dense(preconditioner.fit(family).transform(definite(seed=9)))
    np.testing.assert_allclose(M, M.T, rtol=1e-9, atol=1e-12 * np.abs(M).max())
    assert (np.linalg.eigvalsh((M + M.T) / 2) > 0).all()


@each_kind
def test_it_is_linear_and_its_columns_are_its_vectors(preconditioner):
    A = definite()
    M = preconditioner.fit([A, definite(seed=1)]).transform(A)
    X = np.random.default_rng(0).standard_normal((N, 4))
    np.testing.assert_allclose(M @ X, np.stack([M @ x for x in X.T], axis=1), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(M.rmatvec(X[:, 0]), dense(M).T @ X[:, 0], rtol=1e-9, atol=1e-11)
    assert M.shape == A.shape


@each_kind
def test_conjugate_gradients_need_fewer_iterations(preconditioner):
    family = [definite(seed=k, contrast=2.0) for k in range(6)]
    A = definite(seed=9, contrast=2.0)
    M = preconditioner.fit(family).transform(A)
    jacobi = BlockJacobi(block_size=1).fit_transform(A)
    assert count_iterations(A, M) <= count_iterations(A, jacobi)
    x, failed = cg(A, np.ones(N), rtol=1e-10, M=M)
    assert not failed
    np.testing.assert_allclose(A @ x, np.ones(N), atol=1e-6)


class TestBlockJacobi:
    @given(st.integers(1, 80), st.integers(0, 30), st.integers(1, 40))
    @settings(max_examples=25, deadline=None)
    def test_its_entries_are_those_of_the_blocks(self, block_size, overlap, n):
        A = definite(n)
        M = dense(BlockJacobi(block_size=block_size, overlap=overlap).fit_transform(A))
        expected, counts = np.zeros((n, n)), np.zeros(n)
        windows = [range(max(0, k - overlap), min(n, k + block_size + overlap)) for k in range(0, n, block_size)]
        for window in windows:
            counts[window] += 1
        for window in windows:
            part = np.ix_(window, window)
            expected[part] += np.linalg.inv(A.toarray()[part])
        expected /= np.sqrt(np.outer(counts, counts))
        np.testing.assert_allclose(M, expected, rtol=1e-9, atol=1e-12)

    def test_a_block_of_all_is_the_inverse(self):
        for A in (definite(), convective(), definite() + 1j * sp.diags_array(np.arange(N) + 1.0)):
            M = BlockJacobi(block_size=N).fit_transform(A)
            np.testing.assert_allclose(dense(M) @ A.toarray(), np.eye(N), atol=1e-9)

    def test_restricted_schwarz_serves_what_is_not_symmetric(self):
        A, b = convective(), np.ones(N)
        counts = {}
        for overlap in (0, 4):
            M = BlockJacobi(block_size=10, overlap=overlap).fit_transform(A)
            counts[overlap] = 0

            def note(_, overlap=overlap):
                counts[overlap] += 1

            x, failed = gmres(A, b, rtol=1e-10, restart=N, M=M, callback=note, callback_type="pr_norm")
            assert not failed
            np.testing.assert_allclose(A @ x, b, atol=1e-7)
        assert counts[4] < counts[0]

    def test_strong_couplings_are_brought_together(self):
        A = definite()
        order = np.random.default_rng(0).permutation(N)
        shuffled = A[order][:, order]
        plain, brought = (BlockJacobi(block_size=15, strength=s).fit_transform(shuffled) for s in (None, 0.0))
        assert count_iterations(shuffled, brought) < count_iterations(shuffled, plain)

    def test_a_block_without_an_inverse_is_named_and_replaced(self):
        A = sp.csr_array(np.diag([1.0, 2.0, 0.0, 4.0]))
        with pytest.warns(SingularMatrixWarning, match=r"1 of 2 blocks have no inverse, at index 1\. Their diagonals"):
            M = BlockJacobi(block_size=2).fit_transform(A)
        np.testing.assert_array_equal(dense(M), np.diag([1.0, 0.5, 1.0, 0.25]))

    def test_sizes_beyond_all_unknowns_cost_no_more(self):
        A = definite()
        for size in (7, N):
            M = BlockJacobi(block_size=size, overlap=10**9).fit_transform(A)
            np.testing.assert_allclose(dense(M) @ A.toarray(), np.eye(N), atol=1e-9)
        np.testing.assert_allclose(dense(BlockJacobi(block_size=10**9).fit_transform(A)), dense(M), rtol=1e-9)

    def test_reciprocals_that_overflow_are_not_used(self):
        near = sp.csr_array(np.eye(3, dtype=np.float32) * np.float32(4e-39))
        np.testing.assert_allclose(dense(BlockJacobi().fit_transform(near)), 2.5e38 * np.eye(3), rtol=1e-5)
        with pytest.warns(SingularMatrixWarning):
            M = BlockJacobi().fit_transform(1e-310 * sp.eye_array(3))
        assert np.isfinite(dense(M)).all()

    def test_dtypes_are_kept(self):
        for dtype in (np.float32, np.float64, np.complex64, np.complex128):
            assert BlockJacobi(block_size=9).fit_transform(definite().astype(dtype)).dtype == dtype
        long = (definite().toarray() * 1j).astype(np.clongdouble)
        M = BlockJacobi(block_size=N).fit_transform(long)
        np.testing.assert_allclose(dense(M) @ long, np.eye(N), atol=1e-9)


class TestFamily:
    def test_what_was_factorised_is_solved_in_one_iteration(self):
        A = definite()
        M = FamilyPreconditioner().fit(A).transform(A)
        np.testing.assert_allclose(dense(M) @ A.toarray(), np.eye(N), atol=1e-9)
        assert count_iterations(A, M) == 1
        assert count_iterations(1e5 * A, FamilyPreconditioner().fit(A).transform(1e5 * A)) == 1

    def test_atoms_of_two_groups_serve_both(self):
        rng = np.random.default_rng(0)
        groups = [definite(seed=3), definite(seed=4, contrast=1e3)]
        family = [sp.csr_array(A * rng.uniform(1, 2)) for A in groups for _ in range(5)]
        one, two = (FamilyPreconditioner(n_atoms=k, random_state=0).fit(family) for k in (1, 2))
        for A in groups:
            assert count_iterations(A, two.transform(A)) <= 2 < count_iterations(A, one.transform(A))

    def test_complex_vectors_keep_their_imaginary_parts(self):
        A, x = definite(), np.arange(N) + 1j
        M = FamilyPreconditioner().fit(A).transform(A)
        np.testing.assert_allclose(M @ (A @ x), x, rtol=1e-9)

    def test_small_pivots_on_the_diagonal_are_not_taken(self):
        rng = np.random.default_rng(0)
        A = np.eye(30) + np.triu(rng.standard_normal((30, 30)), 2) + np.tril(rng.standard_normal((30, 30)), -2)
        for k in range(0, 30, 2):
            A[k, k + 1], A[k + 1, k] = 1, 1 + 1e-14
        M = FamilyPreconditioner().fit(A).transform(A)
        np.testing.assert_allclose(M @ (A @ np.ones(30)), np.ones(30), rtol=1e-8)

    def test_what_cannot_be_scaled_or_factorised_is_refused(self):
        with pytest.raises(ValueError, match="overflows where its diagonal"):
            FamilyPreconditioner().fit(np.array([[1e-300, 1e300], [1e300, 1e-300]]))
        with pytest.raises(ValueError, match=r"zero on its diagonal, in row 1"):
            FamilyPreconditioner().fit(sp.csr_array(np.array([[1.0, 1.0], [1.0, 0.0]])))
        with pytest.raises(ValueError, match="singular"):
            FamilyPreconditioner().fit(sp.csr_array(np.ones((2, 2))))
        with pytest.raises(TypeError, match="BlockJacobi takes both"):
            FamilyPreconditioner().fit(definite() * 1j)


@each_kind
def test_it_lives_among_scikit_learns(preconditioner):
    family = [definite(seed=k) for k in range(4)]
    fitted = clone(preconditioner).fit(family)
    copy = pickle.loads(pickle.dumps(fitted))
    operators = fitted.transform(family)
    assert isinstance(operators, list)
    for M, other in zip(operators, copy.transform(family), strict=True):
        np.testing.assert_array_equal(dense(M), dense(other))
    assert neg_mean_iterations(fitted, family) == -np.mean(
        [count_iterations(A, M) for A, M in zip(family, operators, strict=True)]
    )


def test_a_search_finds_size_and_overlap():
    family = [definite(seed=k) for k in range(6)]
    grid = {"block_size": [4, 20], "overlap": [0, 4]}
    search = GridSearchCV(BlockJacobi(), grid, scoring=neg_mean_iterations, cv=2).fit(family)
    assert search.best_params_["block_size"] == 20
    assert search.best_score_ == search.cv_results_["mean_test_score"].max() < 0


@each_kind
@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        (sp.eye_array(3, 4), ValueError, r"System 0 has shape \(3, 4\)\. Expected a square scipy sparse matrix"),
        ([definite(), definite(5)], ValueError, r"System 1 has 5 unknowns, the fit was for 60"),
        ([], ValueError, "X holds no system"),
        (sp.csr_array(np.diag([1.0, np.nan])), ValueError, "System 0 has entries that are NaN or infinite"),
        ([definite(), None], TypeError, "System 1 is None"),
        (np.array([["a"]]), TypeError, "System 0 is"),
    ],
    ids=["rectangle", "sizes", "empty", "NaN", "None", "strings"],
)
def test_bad_input_is_one_clear_error(preconditioner, X, error, message):
    unfitted = clone(preconditioner)
    with pytest.raises(error, match=message):
        unfitted.fit(X)
    assert not hasattr(unfitted, "n_features_in_")


@each_kind
def test_arrays_of_systems_are_lists_of_them(preconditioner):
    family = [definite(seed=k) for k in range(2)]
    objects = np.empty(2, object)
    objects[:] = family
    fitted = preconditioner.fit(family)
    for several in (objects, np.stack([A.toarray() for A in family])):
        for M, A in zip(fitted.transform(several), family, strict=True):
            np.testing.assert_array_equal(dense(M), dense(fitted.transform(A)))
        assert neg_mean_iterations(fitted, several) == neg_mean_iterations(fitted, family)


def test_the_systems_are_left_alone():
    A = definite()
    before = A.copy()
    BlockJacobi(block_size=8, overlap=2).fit_transform(A)
    FamilyPreconditioner().fit(A).transform(A)
    assert (before != A).nnz == 0
