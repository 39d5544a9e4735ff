"""Laws of the route through LAPACK: nothing singular certified, bounds above the exact truth, members independent."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from benchmarks.lib.arithmetic_settings import flush_to_zero
from benchmarks.lib.attack_matrices import FAMILIES
from benchmarks.lib.certificate_judge import Tally
from skdmi.figures import CERTIFIED, CONVERGED, NONSINGULAR, OUTSIDE, is_sound
from skdmi.iteration.promise import keeps_promise
from skdmi.lanes.passes import LARGE, passes_for
from skdmi.lapack import invert
from skdmi.lapack.residuals import N_PROBES, SHARE, estimate, share_of
from skdmi.lapack.scaling import ALONE, BY_TERMS
from skdmi.lapack.stack import PART_ENTRIES
from skdmi.linalg import Certificate, certify, equilibrate
from skdmi.linalg.scaling import scale_both
from tests.marks import slow_but
from tests.matrices import make_stack

PASSES = {}
PROVED = CERTIFIED | NONSINGULAR | CONVERGED
REGULAR = ["uniform", "well", "condition", "spd", "orthogonal", "permutation", "graded"]
SIZES = [1, 2, BY_TERMS, BY_TERMS + 1, 8, 16]
DTYPES = [np.float32, np.float64]
both_dtypes = pytest.mark.parametrize("dtype", DTYPES)


@pytest.fixture(params=["numpy", "compiled"], autouse=True)
def _passes(request, monkeypatch):
    """Let matrices above m = 48 take either kind of passes."""
    if request.param == "compiled" and not LARGE.is_ready():
        pytest.skip("no kernel")
    monkeypatch.setitem(PASSES, "passes_for", {"numpy": None, "compiled": passes_for}[request.param])


def inverted(A, **keywords):
    X = np.full_like(A, 7.0)
    return X, invert(A, X, **PASSES, **keywords)


def assert_same(first, second):
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


def tally_of(A):
    """Judge the certificates of a stack by exact rationals; rho speaks of inverses before they are rounded."""
    X, figures = inverted(A, details=True)
    tally = Tally()
    for k in range(len(A)):
        fields = figures.rho[k], figures.error_bound[k], figures.condition_lower[k], figures.condition_upper[k]
        certificate = Certificate(figures.has(CERTIFIED)[k], np.inf, *fields[1:], True)
        tally.judge(torch.from_numpy(A[k]), torch.from_numpy(X[k]), certificate, [0] * A.shape[-1])
    return tally


# What is proved is true


@pytest.mark.parametrize("m", [1, 2, 3, 4, 5, 8, 16, 33, 60, 120])
@both_dtypes
def test_no_singular_matrix_is_certified(m, dtype):
    n = 500 if m <= 8 else 20
    A = np.concatenate([make_stack(kind, n, m, dtype=dtype, seed=m) for kind in ("singular", "zero")])
    X, figures = inverted(A)
    assert (figures.status == OUTSIDE).all()
    assert np.isnan(X[n:]).all()


@pytest.mark.parametrize("family", FAMILIES)
@both_dtypes
def test_no_attack_wins_a_false_certificate_or_beats_a_bound(family, dtype):
    for seed, m in enumerate((1, 2, 3, 4, 5, 6)):
        with np.errstate(over="ignore"):
            A = FAMILIES[family](np.random.default_rng(seed), 6, m).astype(dtype)
        A = np.nan_to_num(A, posinf=np.finfo(dtype).max, neginf=np.finfo(dtype).min)
        tally = tally_of(np.ascontiguousarray(A))
        assert (tally.false, tally.violated) == (0, 0)


@pytest.mark.parametrize("kind", REGULAR)
@pytest.mark.parametrize("m", [2, 4, 5, 7])
@both_dtypes
def test_bounds_hold_exactly(kind, m, dtype):
    tally = tally_of(make_stack(kind, 6, m, dtype=dtype, seed=m))
    assert tally.granted >= tally.cases / 2
    assert (tally.false, tally.violated) == (0, 0)


@pytest.mark.parametrize("kind", REGULAR)
@pytest.mark.parametrize("m", [*SIZES, 64, 100])
@both_dtypes
def test_what_is_certified_is_certified_by_the_reference(kind, m, dtype):
    A = make_stack(kind, 40 if m < 20 else 3, m, dtype=dtype, seed=1)
    X, figures = inverted(A)
    chosen = torch.from_numpy(figures.has(CERTIFIED))
    certificate = certify(torch.from_numpy(A), torch.from_numpy(X).double())
    assert certificate.certified[chosen].all()
    if dtype == np.float64:
        assert (certificate.error_bound[chosen] < 2.0**-26).all()


@pytest.mark.parametrize("kind", REGULAR)
@pytest.mark.parametrize("m", [*SIZES, 64, 130])
def test_converged_keeps_the_promise(kind, m):
    A = make_stack(kind, 40 if m < 20 else 3, m, seed=2)
    X, figures = inverted(A)
    A, X = (torch.from_numpy(T)[figures.has(CONVERGED)] for T in (A, X))
    scaled, rows, columns = equilibrate(A)
    assert keeps_promise(scaled, scale_both(X, -columns, -rows), [rows, columns]).all()


@pytest.mark.parametrize("m", [3, 4, 5, 8, 16, 32, 64, 100, 200])
@both_dtypes
def test_few_uniform_matrices_are_outside(m, dtype):
    A = make_stack("uniform", 4000 if m <= 8 else 200 if m <= 32 else 5, m, dtype=dtype, seed=3)
    _, figures = inverted(A)
    assert set(figures.status) <= {PROVED, OUTSIDE}
    assert figures.has(OUTSIDE).mean() < 0.03


# Members do not know of each other


@pytest.mark.parametrize("m", [3, 5, 16, 60])
@both_dtypes
def test_answers_do_not_depend_on_neighbours(m, dtype):
    n = 3 * PART_ENTRIES // m**2 // 2 if m <= ALONE else 4
    A = make_stack("uniform", n, m, dtype=dtype, seed=4)
    X, figures = inverted(A, details=True)
    shuffled = np.random.default_rng(0).permutation(n)
    X_shuffled, figures_shuffled = inverted(A[shuffled], details=True)
    assert_same([X[shuffled], figures.status[shuffled]], [X_shuffled, figures_shuffled.status])
    for one, other in zip(figures[1:], figures_shuffled[1:], strict=True):
        np.testing.assert_allclose(one[shuffled], other, rtol=1e-13)
    some = slice(n // 2, n // 2 + 3)
    X_some, figures_some = inverted(A[some])
    assert_same([X[some], figures.status[some]], [X_some, figures_some.status])


@pytest.mark.parametrize("m", [1, 3, 5, 16, 60])
@both_dtypes
def test_what_has_no_inverse_spoils_nobody(m, dtype):
    A = make_stack("well", 9, m, dtype=dtype, seed=5)
    expected, figures = inverted(A)
    assert is_sound(figures.status).all()
    A[1], A[3], A[5, 0, 0], A[7] = np.nan, np.inf, -np.inf, 0
    X, figures = inverted(A)
    assert_same(X[::2], expected[::2])
    assert figures.status.tolist() == [PROVED, OUTSIDE] * 4 + [PROVED]
    assert np.isnan(X[7]).all()


def test_many_singular_members_in_every_part():
    A = make_stack("well", 20_000, 3, seed=6)
    singular = np.random.default_rng(0).random(len(A)) < 0.3
    A[singular, 2] = 2 * A[singular, 0]
    X, figures = inverted(A)
    np.testing.assert_array_equal(figures.has(CERTIFIED), ~singular)
    np.testing.assert_allclose(X[~singular], np.linalg.inv(A[~singular]), rtol=1e-10, atol=1e-12)


def test_an_empty_stack():
    X, figures = inverted(np.empty((0, 3, 3)), details=True)
    assert len(X) == len(figures.status) == len(figures.rho) == 0


# Units and rounding


@pytest.mark.parametrize("m", SIZES)
@both_dtypes
def test_powers_of_two_on_rows_and_on_all_change_no_bit(m, dtype):
    A = make_stack("uniform", 50, m, dtype=dtype, seed=7)
    powers = np.ldexp(1.0, np.random.default_rng(0).integers(-4, 5, (50, m))).astype(dtype)
    X, figures = inverted(A)
    X_scaled, figures_scaled = inverted(2.0**-30 * powers[:, :, None] * A)
    proved = figures.has(CERTIFIED) & figures_scaled.has(CERTIFIED)
    assert proved.mean() > 0.9
    assert_same([X[proved]], [(2.0**-30 * X_scaled * powers[:, None])[proved]])


@pytest.mark.parametrize("unit", [2.0**200, 2.0**-200])
def test_units_far_apart_cost_no_digit(unit):
    A = make_stack("well", 30, 6, seed=8)
    p, q = np.ones((6, 1)), np.ones(6)
    p[4], q[2], q[3] = 2.0**-12, 2.0**-60, 2.0**60
    X, figures = inverted(unit * p * A * q)
    assert is_sound(figures.status).mean() > 0.8
    np.testing.assert_allclose(unit * q[:, None] * X * p.T, np.linalg.inv(A), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("exponent", [-1060, -330, 330, 1020])
def test_what_is_near_the_end_of_the_range_is_left_to_others(exponent):
    _, figures = inverted(np.ldexp(make_stack("well", 5, 3), exponent))
    assert (figures.status == OUTSIDE).all()


@pytest.mark.parametrize("m", [3, 5, 64])
def test_float32_is_rounded_once(m):
    A = make_stack("condition", 5, m, condition=1e5, dtype=np.float32, seed=9)
    X, figures = inverted(A)
    assert is_sound(figures.status).all()
    assert_same(X, inverted(A.astype(np.float64))[0].astype(np.float32))


@pytest.mark.parametrize("scale", [2.0**-126, 2.0**126])
def test_float32_inverses_beyond_their_range_are_not_certified(scale):
    X, figures = inverted((make_stack("well", 5, 3) * scale).astype(np.float32), details=True)
    representable = np.isfinite(X).all(axis=(1, 2)) & (np.abs(X) > 2.0**-120).all(axis=(1, 2))
    assert (figures.status[~representable] == OUTSIDE).all()


@pytest.mark.parametrize("m", [3, 8])
def test_nothing_is_certified_where_subnormal_numbers_are_flushed(m):
    A = make_stack("well", 5, m)
    with flush_to_zero():
        _, figures = inverted(A, details=True)
    assert (figures.status == OUTSIDE).all()


# Figures


@pytest.mark.parametrize("m", [1, 3, 6, 20, 70])
@both_dtypes
def test_figures_are_those_of_what_is_returned(m, dtype):
    A = make_stack("condition", 5, m, condition=100.0, dtype=dtype, seed=10)
    X, figures = inverted(A, details=True)
    assert_same([figures.status], [inverted(A)[1].status])
    assert_same([X], [inverted(A)[0]])
    wide = A.astype(np.float64)
    norms = np.linalg.norm(np.eye(m) - wide @ X.astype(np.float64), axis=(1, 2))
    np.testing.assert_allclose(figures.residual_norm, norms, atol=1e-14 * m, rtol=1e-6)
    condition = np.linalg.cond(wide, 1)
    assert (figures.condition_lower <= condition * (1 + 1e-9)).all()
    assert (condition <= figures.condition_upper * (1 + 1e-9)).all()
    assert (figures.condition_upper / figures.condition_lower < 1 + 1e-3).all()
    assert (figures.rho < 1).all()
    assert (figures.n_steps == 0).all()


def test_a_tolerance_stands_for_what_rounding_explains():
    A = make_stack("condition", 20, 40, condition=1e6, seed=11)
    A[:, 0] *= 1 + 1e-9
    assert is_sound(inverted(A, tol=1e-6)[1].status).all()


# The estimate of a left residual


@pytest.mark.parametrize("rank", [1, 200])
def test_probes_do_not_miss_what_is_too_large(rank):
    m, rng = 200, np.random.default_rng(12)
    identity, ones = np.eye(m)[None], np.ones((1, 1, m))
    for _ in range(20):
        L = rng.standard_normal((m, rank)) @ rng.standard_normal((rank, m))
        squares = estimate(identity, identity - L / np.linalg.norm(L), ones, ones)
        assert SHARE < squares[0, 0] < 3


@pytest.mark.parametrize("n_probes", [N_PROBES, 64, 256, 1000])
def test_the_chance_to_miss_is_small(n_probes):
    share = share_of(n_probes)
    chi_squared = np.random.default_rng(13).chisquare(n_probes, 200_000) / n_probes
    assert chi_squared.min() > share
    assert 0.99e-6 < (share * np.exp(1 - share)) ** (n_probes / 2) <= 1e-6
    assert share >= SHARE


@pytest.mark.parametrize("N", slow_but([150], [150, 300, 520]))
def test_large_left_residuals_are_what_rounding_explains(N):
    A = make_stack("uniform", 1, N, seed=14)
    X, figures = inverted(A)
    assert figures.status == PROVED
    sizes = np.linalg.norm(np.abs(X) @ np.abs(A))
    assert np.linalg.norm(np.eye(N) - X @ A) <= 10 * 2.0**-53 * sizes


def test_numpy_is_all_it_imports():
    program = "import sys, skdmi.lapack; print({'torch', 'scipy', 'sklearn', 'numba'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
