"""What files prove, against exact rational arithmetic: rho is above the exact residual in the units of the file."""

import contextlib
import itertools

import numpy as np
import pytest
import torch

from benchmarks.lib.arithmetic_settings import flush_to_zero
from benchmarks.lib.exact_arithmetic import exactly, rational, square_norm
from tests.matrices import make_stack

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from skdmi import export
from skdmi.export.scale import equilibrate, equilibrate_symmetric, leave, normalize
from tests.onnx_files import (
    CERTIFICATES,
    FORMS,
    certificate_in_units_of,
    open_session,
    run,
    session_of,
    units_of,
)

UNIT = 2.0**-24
SETTINGS = {"kept": contextlib.nullcontext, "flushed": flush_to_zero}
both_settings = pytest.mark.parametrize("setting", SETTINGS)


def each_case(forms, largest=8):
    cases = [(name, m) for name, (_, sizes) in forms.items() for m in sizes if m <= largest]
    return pytest.mark.parametrize(("name", "m"), cases, ids=[f"{name}-{m}" for name, m in cases])


def certain_rows(A):
    """Return the rows' units, and for which matrices all sums are so far from powers of two that no order matters."""
    sums = np.abs(A.astype(np.float64)).sum(axis=2)
    fractions = np.log2(np.where(sums > 0, sums, 1)) % 1
    certain = ((fractions > 1e-4) & (fractions < 1 - 1e-4)).all(axis=1)
    return 2.0 ** np.floor(np.log2(np.where(sums > 0, sums, 1))), certain


def exact_square(A, X, rows):
    r"""Return :math:`\|D^{-1} (I - A X) D\|_F^2` as a fraction."""
    m = len(A)
    product = rational(torch.from_numpy(A)) * rational(torch.from_numpy(X))
    scales = [exactly(float(row)) for row in rows]
    return square_norm(
        type(product)(m, m, [((i == j) - product[i, j]) * scales[j] / scales[i] for i in range(m) for j in range(m)])
    )


def assert_bounds_hold(A, X, rho, rows, least=20):
    """Assert that no rho below 1 is below the exact residual, and that there are some."""
    chosen = np.nonzero((rho < 1) & np.isfinite(X).all(axis=(1, 2)))[0]
    assert len(chosen) >= least
    for i in chosen:
        assert exact_square(A[i], X[i], rows[i]) <= exactly(float(rho[i])) ** 2


def pairs(rng, m, n=60):
    """Return matrices in many units, and inverses of them that are off by a part from 1e-8 to 1, or in one entry."""
    kinds = ("well", "uniform", "condition", "graded", "spd")
    A = np.concatenate([make_stack(kind, n, m, seed=m) for kind in kinds])
    size = rng.choice([0, 10, 20], (2, len(A)))
    rows, columns = (rng.integers(-part[:, None], part[:, None] + 1, (len(A), m)) for part in size)
    everything = rng.choice([-42, -20, 0, 0, 0, 20, 42], len(A))
    A = np.ldexp(np.ldexp(A, rows[:, :, None]), columns[:, None] + everything[:, None, None]).astype(np.float32)
    X = np.linalg.inv(A.astype(np.float64))
    noise = rng.standard_normal(A.shape) * (rng.random((len(A), 1, 1)) < 0.7)
    noise[:, 0, -1] += rng.standard_normal(len(A))
    return A, (X * (1 + noise * 10.0 ** rng.uniform(-8, -0.3, (len(A), 1, 1)))).astype(np.float32)


@both_settings
@each_case(CERTIFICATES)
def test_rho_is_above_the_exact_residual_of_any_inverse(name, m, setting):
    A, X = pairs(np.random.default_rng(m), m)
    rows, certain = certain_rows(A)
    A, X, rows = A[certain], X[certain], rows[certain]
    with SETTINGS[setting]():
        rho = run(session_of(name), A, X)["rho"]
    assert_bounds_hold(A, X, rho, rows)


@both_settings
@each_case(FORMS)
def test_rho_is_above_the_exact_residual_of_what_a_file_returns(name, m, setting):
    A, _ = pairs(np.random.default_rng(10 + m), m, n=20)
    rows, certain = certain_rows(A)
    A, rows = A[certain], rows[certain]
    with SETTINGS[setting]():
        found = run(session_of(name), A)
    assert_bounds_hold(A, found["inverse"], found["rho"], rows)


@both_settings
def test_rho_is_above_the_exact_residual_in_one_unit_for_all(setting):
    for m, scaling in itertools.product((1, 2, 4, 7), (normalize, left)):
        A, X = pairs(np.random.default_rng(m), m, n=30)
        with SETTINGS[setting]():
            rho = run(certificate_in_units_of(scaling, m), A, X)["rho"]
        assert_bounds_hold(A, X, rho, np.ones((len(A), m)))


@each_case(CERTIFICATES, largest=16)
def test_rho_is_at_least_the_bound_on_rounding_and_little_above_the_residual(name, m):
    A, X = pairs(np.random.default_rng(20 + m), m)
    rho = run(session_of(name), A, X)["rho"].astype(np.float64)
    rows, columns = units_of(A)
    B, Y = A / rows / columns, X * columns.swapaxes(1, 2) * rows.swapaxes(1, 2)
    rounding = (m + 6) * UNIT * np.linalg.norm(B, axis=(1, 2)) * np.linalg.norm(Y, axis=(1, 2))
    residual = np.linalg.norm(np.eye(m) - B @ Y, axis=(1, 2))
    spread = (rows * columns + 1 / (rows * columns)).max(axis=(1, 2))
    certain = certain_rows(A)[1] & (spread < 2.0**50) & (rho < 1e3)
    assert certain.sum() > 100
    assert (rho >= rounding * 0.999)[certain].all()
    assert (rho <= 1.01 * residual + 2.1 * rounding + 2.0**-20)[certain].all()


def left(A):
    return leave(A)[0]


@both_settings
def test_squares_that_underflow_do_not_lower_the_bound(setting):
    # Below 2^-63 squares are flushed, below 2^-75 they vanish: all that is left of a norm may be one entry.
    for m, power in itertools.product((2, 3, 5, 16), (-75, -74, -63, -62, -40, 0, 40, 60, 62, 63)):
        A = make_stack("uniform", 50, m)
        A = np.sign(A) * (0.8 + 0.199 * np.abs(A))
        A[:, 0, 0] = 1.001
        A = np.ldexp(np.concatenate([A, make_stack("orthogonal", 50, m)]), power).astype(np.float32)
        X = np.linalg.inv(A.astype(np.float64)).astype(np.float32)
        norms = [np.linalg.norm(matrix.astype(np.float64), axis=(1, 2)) for matrix in (A, X)]
        for scaling, n_roundings in ((normalize, m + 2), (left, m)):
            with SETTINGS[setting]():
                rho = run(certificate_in_units_of(scaling, m), A, X)["rho"].astype(np.float64)
            assert abs(power) > 40 or (rho < 1).all()
            assert not (rho < 0.999 * (n_roundings + 2) * UNIT * norms[0] * norms[1]).any()


@both_settings
def test_large_matrices_with_small_diagonals_are_bounded_by_what_rounding_may_do(setting):
    for power in (0, 20, 40, 58, 60, 62, 63, 64, 64.3):
        for m in (2, 3, 4):
            A = 2.0**power / m * (1 - 0.01 * make_stack("uniform", 50, m)) * (1 - np.eye(m)) + 1.5 * np.eye(m)
            A = A.astype(np.float32)
            X = np.linalg.inv(A.astype(np.float64)).astype(np.float32)
            with SETTINGS[setting]():
                rho = run(certificate_in_units_of(equilibrate_symmetric, m), A, X)["rho"].astype(np.float64)
            norms = [np.linalg.norm(matrix.astype(np.float64), axis=(1, 2)) for matrix in (A, X)]
            assert not (rho < 0.999 * (m + 6) * UNIT * norms[0] * norms[1]).any()


@both_settings
def test_small_diagonals_and_entries_of_the_inverse_below_the_range(setting):
    # In units of its diagonal such a matrix is huge, and where its inverse is below the range a runtime may see zeros.
    rng = np.random.default_rng(0)
    for power in (0, 20, 40, 46, 50, 55, 60, 62):
        C = 1 - np.eye(3) + rng.uniform(-0.1, 0.1, (20, 3, 3)) * (1 - np.eye(3))
        B = np.ldexp(C, power) + np.eye(3) * 1.5
        units = 2.0 ** rng.integers(0, [[2, 42, 2]], (20, 3), endpoint=True)
        A = units[:, :, None] * B * units[:, None]
        fits = np.abs(A).max(axis=(1, 2)) < 2.0**127
        A, units = A[fits].astype(np.float32), units[fits]
        X = np.linalg.inv(A.astype(np.float64))
        X = np.where(np.abs(X) < 2.0**-126, 2.0**-127, X).astype(np.float32)
        with SETTINGS[setting]():
            rho = run(certificate_in_units_of(equilibrate_symmetric, 3), A, X)["rho"]
        assert_bounds_hold(A, X, rho, units, least=0)


@both_settings
def test_the_ends_of_the_range_are_not_certified_beyond_what_is_proved(setting):
    for power in (*range(-149, -70, 3), *range(70, 128, 3)):
        with np.errstate(over="ignore", under="ignore"):
            given = make_stack("uniform", 20, 3)
            A = np.ldexp(given, power).astype(np.float32)
            X = np.ldexp(np.linalg.inv(given), -power).astype(np.float32)
        rows, certain = certain_rows(A)
        for scaling in (equilibrate, normalize):
            with SETTINGS[setting]():
                rho = run(certificate_in_units_of(scaling, 3), A, X)["rho"]
            assert abs(power) < 90 or not (rho < 1).any()
            units = rows if scaling is equilibrate else np.ones_like(rows)
            assert_bounds_hold(A[certain], X[certain], rho[certain], units[certain], least=0)


def test_no_matrix_beyond_the_largest_size_is_certified(monkeypatch):
    monkeypatch.setattr("skdmi.export.certificate.CERTIFIED_UP_TO", 3)
    any_size = open_session(export.export_certificate())
    for m in range(1, 6):
        A = make_stack("well", 5, m, dtype=np.float32)
        X = np.linalg.inv(A.astype(np.float64)).astype(np.float32)
        for session in (any_size, certificate_in_units_of.__wrapped__(normalize, m)):
            assert (run(session, A, X)["rho"] < 1).all() == (m <= 3)
