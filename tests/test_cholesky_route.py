"""Laws of the route by Cholesky factors: symmetric to the bit, right, proved as others are, and spoilt by nobody."""

import numpy as np
import pytest
import torch

from benchmarks.lib.exact_arithmetic import rational, rounded
from skdmi.figures import CERTIFIED, CONVERGED, OUTSIDE, is_sound
from skdmi.iteration.promise import keeps_promise
from skdmi.lanes import passes as compiled
from skdmi.lapack import cholesky, invert, stack
from skdmi.lapack.passes import NumpyPasses
from skdmi.lapack.scaling import ALONE, Scaled, unscale
from skdmi.linalg import certify, equilibrate
from skdmi.linalg.scaling import scale_both
from tests.marks import slow_but
from tests.matrices import make_stack

SIZES = slow_but([24, 33, 70, 300], [24, 33, 48, 49, 70, 129, 300, 520])
both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])
every_size = pytest.mark.parametrize("m", SIZES)


@pytest.fixture(params=["numpy", "compiled"], autouse=True)
def passes_for(request, monkeypatch):
    """Let either kind of passes meet factors of Cholesky at every size, in one thread."""
    if request.param == "compiled" and not compiled.LARGE.is_ready():
        pytest.skip("no kernel")
    monkeypatch.setattr(stack, "count_threads", lambda: 1)
    monkeypatch.setattr(cholesky, "SECONDS", -1.0)
    for kind in (NumpyPasses, compiled.CompiledPasses):
        monkeypatch.setattr(kind, "factored", 3)
    return {"numpy": None, "compiled": compiled.passes_for}[request.param]


@pytest.fixture
def factors(monkeypatch):
    """Return the list of sizes of stacks that were given to LAPACK for factors."""
    asked = []
    invert_symmetric = cholesky.invert_symmetric

    def counted(A, X):
        asked.append(len(A))
        return invert_symmetric(A, X)

    monkeypatch.setattr(stack, "invert_symmetric", counted)
    return asked


def symmetric(n, m, *, negative=0, condition=100.0, graded=0, dtype=np.float64, seed=0):
    """Return symmetric matrices with some negative eigenvalues and units ``10^-graded`` to 1."""
    rng = np.random.default_rng(seed)
    Q = np.linalg.qr(rng.standard_normal((n, m, m)))[0]
    values = np.geomspace(1 / condition, 1, m)
    values[:negative] *= -1
    A = (Q * values) @ Q.transpose(0, 2, 1)
    units = 10.0 ** -rng.uniform(0, graded, (n, m))
    A = A * units[:, :, None] * units[:, None, :]
    return (np.tril(A) + np.tril(A, -1).transpose(0, 2, 1)).astype(dtype)


def inverted(A, passes_for, **keywords):
    X = np.full_like(A, 7.0)
    return X, invert(A, X, passes_for=passes_for, **keywords)


def is_symmetric(X):
    return (X.transpose(0, 2, 1) == X).all(axis=(1, 2))


@every_size
@pytest.mark.parametrize("graded", [0, 3])
@both_dtypes
def test_inverses_are_symmetric_to_the_bit_and_right(m, graded, dtype, passes_for, factors):
    A = symmetric(3, m, graded=graded, dtype=dtype, seed=m)
    X, figures = inverted(A, passes_for)
    assert sum(factors) == 3
    assert is_sound(figures.status).all()
    assert is_symmetric(X).all()
    unit = np.sqrt(np.einsum("nii->ni", A.astype(np.float64)))
    units = unit[:, :, None] * unit[:, None, :]
    expected = np.linalg.inv(A / units)
    tolerance = np.finfo(dtype).eps * (1 if dtype == np.float32 else m * 1e3) * np.abs(expected).max()
    np.testing.assert_allclose(X * units, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("m", [3, 5, 12])
@both_dtypes
def test_inverses_are_exact_ones_to_rounding(m, dtype, passes_for):
    A = symmetric(4, m, condition=100.0, dtype=dtype)
    X, figures = inverted(A, passes_for)
    assert is_sound(figures.status).all()
    for A_k, X_k in zip(A, X, strict=True):
        inverse = rational(torch.from_numpy(A_k)).inv()
        expected = np.array([rounded(entry) for entry in inverse.entries()]).reshape(m, m)
        np.testing.assert_allclose(X_k, expected, rtol=0, atol=200 * np.finfo(dtype).eps * np.abs(expected).max())


@every_size
@both_dtypes
def test_certificates_and_promises_are_those_of_the_reference(m, dtype, passes_for):
    A = symmetric(3, m, graded=3, dtype=dtype, seed=1)
    X, figures = inverted(A, passes_for, details=True)
    certificate = certify(torch.from_numpy(A), torch.from_numpy(X).double())
    assert certificate.certified[torch.from_numpy(figures.has(CERTIFIED))].all()
    assert (figures.error_bound < 1e-6).all()
    if dtype == np.float64:
        kept = figures.has(CONVERGED)
        assert kept.all()
        scaled, rows, columns = equilibrate(torch.from_numpy(A))
        assert keeps_promise(scaled, scale_both(torch.from_numpy(X), -columns, -rows), [rows, columns]).all()


@every_size
def test_figures_are_those_of_what_is_returned(m, passes_for):
    A = symmetric(3, m, graded=2, seed=2)
    X, figures = inverted(A, passes_for, details=True)
    np.testing.assert_array_equal(X, inverted(A, passes_for)[0])
    assert is_symmetric(X).all()
    norms = np.linalg.norm(np.eye(m) - A @ X, axis=(1, 2))
    np.testing.assert_allclose(figures.residual_norm, norms, atol=1e-11 * m)
    condition = np.linalg.cond(A, 1)
    assert (figures.condition_lower <= condition * (1 + 1e-6)).all()
    assert (condition <= figures.condition_upper * (1 + 1e-6)).all()


@every_size
@pytest.mark.parametrize("negative", [1, 10])
@both_dtypes
def test_indefinite_matrices_go_the_way_of_all_others(m, negative, dtype, passes_for):
    A = symmetric(3, m, negative=negative, condition=10.0, dtype=dtype, seed=3)
    A += 3 * np.eye(m, dtype=dtype) * (np.einsum("nii->ni", A).min(axis=1) <= 0)[:, None, None]
    A[:, 0, 0] = 0.01
    A[:, 0, 1:4] = A[:, 1:4, 0] = 1
    X, figures = inverted(A, passes_for)
    assert is_sound(figures.status).all()
    expected = np.linalg.inv(A.astype(np.float64))
    np.testing.assert_allclose(X, expected, rtol=0, atol=1e3 * np.finfo(dtype).eps * np.abs(expected).max())


@pytest.mark.parametrize("m", [24, 48, 60])
@both_dtypes
def test_members_of_all_kinds_do_not_know_of_each_other(m, dtype, passes_for):
    kinds = [
        symmetric(4, m, graded=3, dtype=dtype, seed=4),
        symmetric(3, m, negative=2, dtype=dtype, seed=5),
        make_stack("well", 4, m, dtype=dtype, seed=6),
        np.zeros((2, m, m), dtype),
        np.full((2, m, m), np.nan, dtype),
        np.ones((2, m, m), dtype),
        np.full((1, m, m), np.inf, dtype),
    ]
    A = np.concatenate(kinds)
    nearly = A[0].copy()
    nearly[m - 1, m - 2] *= 1 + 2 * np.finfo(dtype).eps
    A = np.concatenate([A, nearly[None]])
    A = A[np.random.default_rng(0).permutation(len(A))]
    X, figures = inverted(A, passes_for, details=True)
    for k in range(len(A)):
        alone, figures_alone = inverted(A[k : k + 1], passes_for, details=True)
        assert figures.status[k] == figures_alone.status[0]
        if figures.has(CERTIFIED)[k]:
            np.testing.assert_array_equal(X[k], alone[0])
            np.testing.assert_allclose(figures.error_bound[k], figures_alone.error_bound[0], rtol=1e-10)
    assert figures.has(CERTIFIED).sum() == 12


@pytest.mark.parametrize("m", [24, 60])
def test_singular_matrices_are_never_certified(m, passes_for):
    rng = np.random.default_rng(0)
    G = rng.integers(-3, 4, (20, m, m - 1)).astype(np.float64)
    _, figures = inverted(G @ G.transpose(0, 2, 1), passes_for)
    assert (figures.status == OUTSIDE).all()


@pytest.mark.parametrize("m", [24, 60])
def test_what_no_route_makes_moderate_is_tried_once(m, passes_for, monkeypatch):
    A = symmetric(2, m, condition=1e10)
    monkeypatch.setattr(np.linalg, "inv", lambda A: pytest.fail("It is tried again."))
    X, figures = inverted(A, passes_for)
    assert (figures.status == OUTSIDE).all()
    assert is_symmetric(X).all()


@pytest.mark.parametrize("exponent", [-150, 150])
@pytest.mark.parametrize("m", [24, 60])
def test_scales_of_the_whole_change_no_bit(m, exponent, passes_for):
    A = symmetric(2, m, graded=2, seed=7)
    X, figures = inverted(A, passes_for)
    X_scaled, figures_scaled = inverted(np.ldexp(A, exponent), passes_for)
    assert is_sound(figures.status).all()
    assert is_sound(figures_scaled.status).all()
    np.testing.assert_array_equal(np.ldexp(X_scaled, exponent), X)


def test_underflow_leaves_inverses_symmetric():
    rng = np.random.default_rng(8)
    X = np.exp2(-rng.uniform(900, 1050, (1, 9, 9)))
    X += X.transpose(0, 2, 1)
    d = np.exp2(rng.integers(-90, 90, (1, 9)))
    assert not is_symmetric(X * d[:, :, None] * d[:, None, :]).all()
    unscale(X, Scaled(X, d, d, True))
    assert is_symmetric(X).all()


@pytest.mark.parametrize("m", [5, 48, 49, 64, 65, 130])
@both_dtypes
def test_only_what_is_symmetric_to_the_bit_counts(m, dtype):
    A = symmetric(4, m, dtype=dtype)
    assert cholesky.are_symmetric(A).all()
    assert cholesky.may_be_positive_definite(A).all()
    A[1, m - 1, m - 2] = np.nextafter(A[1, m - 1, m - 2], dtype(2))
    A[2, 0, 2] *= 2
    A[3, 2, 1] = np.nan
    assert cholesky.are_symmetric(A).tolist() == [True, False, False, False]
    assert cholesky.may_be_positive_definite(A).tolist() == [True, True, False, True]
    A[0, 2, 2] = -1
    A[1, 0, 1] = A[1, 1, 0] = 100
    with np.errstate(invalid="ignore"):
        assert not cholesky.may_be_positive_definite(A)[:2].any()


@pytest.mark.parametrize("m", [7, ALONE, ALONE + 1, 64, 150])
def test_factors_are_worked_on_in_place(m):
    A = np.ascontiguousarray(symmetric(2, m))
    X = np.empty_like(A)
    assert cholesky.invert_symmetric(A, X) is X
    assert is_symmetric(X).all()
    np.testing.assert_allclose(A @ X, np.broadcast_to(np.eye(m), A.shape), atol=1e-10)
    A[1, 0, 0] = -1
    cholesky.invert_symmetric(A, X)
    assert np.isnan(X[1]).all()
    np.testing.assert_allclose(A[0] @ X[0], np.eye(m), atol=1e-10)


def test_the_import_waits_for_work_enough(monkeypatch):
    monkeypatch.setattr(cholesky, "SECONDS", 1.0)
    monkeypatch.delitem(cholesky.sys.modules, "scipy.linalg.lapack", raising=False)
    wrappers = cholesky.Wrappers()
    assert [wrappers.are_ready(0.4) for _ in range(4)] == [False, False, True, True]
