"""Laws of the certificate: never false, never spoilt by settings or neighbours, its bounds above the exact truth."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from benchmarks.lib.arithmetic_settings import SETTINGS
from benchmarks.lib.attack_inverses import SOURCES
from benchmarks.lib.attack_matrices import FAMILIES, SINGULAR_UNDER_FLUSH
from benchmarks.lib.certificate_judge import DTYPES, SIZES, Tally, attack, judged
from benchmarks.lib.exact_arithmetic import exactly, is_singular, rational
from skdmi.iteration import minimal_residual
from skdmi.linalg import certify, equilibrate
from skdmi.linalg.scaling import scale_columns, scale_rows
from tests.marks import slow_but
from tests.tensors import REGULAR, stack_of

EXACTLY_SINGULAR = {"integers", "dyadic", "repeated_rows", "zero_rows", "permuted_rows"}
both_dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=["float32", "float64"])
every_setting = pytest.mark.parametrize("setting", SETTINGS)


def inverse_of(A):
    return torch.linalg.inv_ex(A.double())[0].to(A.dtype)


def assert_same(actual, expected, **tolerances):
    torch.testing.assert_close(actual, expected, equal_nan=True, **(tolerances or {"rtol": 0, "atol": 0}))


# No false certificate, ever


@pytest.mark.parametrize("setting", slow_but(["default"], SETTINGS))
@pytest.mark.parametrize("family", FAMILIES)
def test_no_attack_wins_a_false_certificate_or_beats_a_bound(family, setting):
    kinds = itertools.product(SOURCES, DTYPES)
    seed = 1000 * list(SETTINGS).index(setting)
    tallies = [
        attack(family, source, setting, dtype, m, n=2, seed=seed + i)
        for i, ((source, dtype), m) in enumerate(zip(kinds, itertools.cycle(SIZES[:-1]), strict=False))
    ]
    total = sum(tallies, start=Tally())
    assert total.cases == 2 * len(SOURCES) * len(DTYPES)
    assert (total.false, total.violated) == (0, 0)
    if family in EXACTLY_SINGULAR:
        assert total.singular == total.cases
        assert total.granted == 0


@settings(max_examples=150, deadline=None, database=None)
@given(
    entries=st.lists(st.integers(-2, 2), min_size=9, max_size=9),
    powers=st.lists(st.integers(-50, 50), min_size=6, max_size=6),
    dtype=st.sampled_from(DTYPES),
    X=st.sampled_from(["lapack", "pseudo_inverse", "untrained"]),
)
@example(entries=[1, 2, -1, 2, 1, -2, -1, 1, 1], powers=[0] * 6, dtype=torch.float64, X="lapack")
def test_small_integers_between_powers_of_two(entries, powers, dtype, X):
    A = torch.tensor(entries, dtype=dtype).view(1, 3, 3)
    A = scale_columns(scale_rows(A, torch.tensor([powers[:3]])), torch.tensor([powers[3:]]))
    X = SOURCES[X](A, torch.Generator()).to(dtype)
    certificate = certify(A, X)
    tally = judged(A, X, certificate)
    assert (tally.false, tally.violated) == (0, 0)


@settings(max_examples=100)
@given(
    m=st.integers(1, 4),
    where=st.sampled_from(["rows", "columns", "both", "entries", "one entry"]),
    dtype=st.sampled_from(DTYPES),
    setting=st.sampled_from(sorted(SETTINGS)),
    source=st.sampled_from(["loose", "lapack"]),
    seed=st.integers(0, 2**31 - 1),
)
def test_every_bound_holds_over_the_whole_range_of_exponents(m, where, dtype, setting, source, seed):
    rng = np.random.default_rng(seed)
    lowest, highest = (-1070, 1020) if dtype == torch.float64 else (-145, 126)
    shape = {"rows": (4, m, 1), "columns": (4, 1, m)}.get(where, (4, m, m))
    power = rng.integers(lowest, highest, shape)
    if where == "both":
        power = rng.integers(lowest // 2, highest // 2, (4, m, 1)) + rng.integers(lowest // 2, highest // 2, (4, 1, m))
    if where == "one entry":
        power = np.where(rng.permuted(np.arange(m * m) == 0).reshape(m, m), power, 0)
    with np.errstate(all="ignore"):
        A = torch.from_numpy(np.ldexp(rng.uniform(-1, 1, (4, m, m)), power)).to(dtype)
    X = SOURCES[source](A, torch.Generator().manual_seed(seed)).to(dtype)
    with SETTINGS[setting]():
        certificate = certify(A, X)
    tally = judged(A, X, certificate)
    assert (tally.false, tally.violated) == (0, 0)


@every_setting
def test_the_matrix_that_is_singular_by_a_subnormal_entry(setting):
    A = torch.tensor(SINGULAR_UNDER_FLUSH, dtype=torch.float64)
    assert is_singular(A)
    flushed = A.clone()
    flushed[0, 1] = 0
    with SETTINGS[setting]():
        for X in (inverse_of(A), inverse_of(flushed)):
            assert not certify(A, X).certified
            assert not certify(A.mT, X.mT).certified
            assert not certify(A.expand(10_000, 2, 2), X.expand(10_000, 2, 2)).certified.any()


@every_setting
@both_dtypes
def test_the_inverse_of_what_a_flush_leaves_is_no_inverse(dtype, setting):
    least = torch.finfo(dtype).smallest_normal
    A = torch.tensor([[2.0**6, 1 / 2], [2.0**13, 2.0**6]], dtype=dtype) * least
    X = torch.tensor([[2.0**-6, 0.0], [-2.0, 2.0**-6]], dtype=dtype) / least
    assert is_singular(A)
    with SETTINGS[setting]():
        assert not certify(A, X).certified


@pytest.mark.parametrize("m", [2, 3, 5, 8])
def test_float64_products_of_low_rank_are_refused_in_float32(m):
    for i, source in enumerate(["lapack", "searched", "pseudo_inverse", "untrained", "network"]):
        tally = attack("floating_products", source, "default", torch.float32, m, n=25, seed=i)
        assert tally.granted == 0


@both_dtypes
@pytest.mark.parametrize("kind", ["uniform", "graded", "permutation"])
def test_every_matrix_that_rounds_to_a_certified_one_is_nonsingular(kind, dtype):
    unit = exactly(torch.finfo(dtype).eps / 2)
    rng = np.random.default_rng(0)
    A = stack_of(kind, 20, 3, dtype=dtype)
    X = inverse_of(A)
    certificate = certify(A, X)
    for i in torch.nonzero(certificate.certified).flatten().tolist():
        exact = rational(A[i])
        for _ in range(5):
            signs = rng.integers(-1, 2, 9)
            neighbour = type(exact)(3, 3, [a + unit * int(s) * a for a, s in zip(exact.entries(), signs, strict=True)])
            assert neighbour.det() != 0


# Of use


@every_setting
@both_dtypes
@pytest.mark.parametrize("kind", REGULAR)
def test_good_inverses_are_certified_under_every_setting(kind, dtype, setting):
    A = stack_of(kind, 20, 4, dtype=dtype, condition=1e2, seed=1)
    X = inverse_of(A)
    with SETTINGS[setting]():
        certificate = certify(A, X)
    assert certificate.certified.all()
    assert (certificate.error_bound < 1e4 * torch.finfo(dtype).eps).all()
    assert (certificate.condition_upper <= certificate.condition_lower * 1.01).all()
    assert_same(certificate, certify(A, X))


@both_dtypes
def test_the_bound_follows_the_residual_not_its_worst_case(dtype):
    A = stack_of("well", 20, 3, dtype=dtype)
    for n_steps in (2, 3):
        X = minimal_residual(A, n_steps=n_steps)
        certificate = certify(A, X)
        tally = judged(A, X, certificate)
        assert tally.violated == 0
        assert 0.3 < tally.tightest <= 1


def test_the_bound_does_not_suffer_from_badly_scaled_rows():
    A = stack_of("graded", 20, 4, condition=1e100)
    assert (certify(A, inverse_of(A)).error_bound < 1e-13).all()


@both_dtypes
def test_the_bits_of_the_inverse_are_what_is_judged(dtype):
    A, X = torch.eye(3, dtype=dtype), torch.eye(3, dtype=dtype)
    X[0, 1] = 1 / 8
    certificate = certify(A, X)
    assert certificate.certified
    assert 0.125 / math.sqrt(3) <= certificate.error_bound < 0.13


def test_subnormal_entries_do_no_harm_beside_large_ones():
    A = torch.eye(3) + 1e-42
    for setting in SETTINGS.values():
        with setting():
            certificate = certify(A, torch.eye(3))
        assert certificate.certified
        assert certificate.error_bound < 1e-6


def test_the_whole_range_is_certified():
    A = torch.diag(torch.tensor([1e-280, 1.0, 1e300], dtype=torch.float64))
    certificate = certify(A, inverse_of(A))
    assert certificate.certified
    assert certificate.error_bound < 1e-14
    assert certificate.condition_upper == torch.inf
    assert certificate.condition_lower > 1e307
    A = torch.tensor([[1.0, 1e250], [0.0, 1e-30]], dtype=torch.float64)
    assert certify(A, inverse_of(A)).certified
    for power in (-1000, 1023):
        A = 2.0**power * torch.eye(3, dtype=torch.float64)
        assert certify(A, inverse_of(A)).certified


# Bounds above the truth


def test_a_loss_by_underflow_is_in_the_bound():
    # Brought near 1, row 0 of A times column 1 of X is below the range; X[0, 1] is nonetheless wrong.
    A = torch.diag(torch.tensor([2.0**-50, 2.0**-50, 2.0**1023], dtype=torch.float64))
    A[0, 2] = 2.0**1023
    X = torch.diag(torch.tensor([2.0**50, 2.0**50, 2.0**-1023], dtype=torch.float64))
    X[0, 2] = -(2.0**50)
    X[0, 1] = 2.0**48
    for setting in SETTINGS.values():
        with setting():
            certificate = certify(A[None], X[None])
        tally = judged(A[None], X[None], certificate)
        assert (tally.false, tally.violated) == (0, 0)


@every_setting
def test_an_entry_of_the_inverse_that_is_flushed_is_in_the_bound(setting):
    A, X = 2.0**120 * torch.eye(3), 2.0**-120 * torch.eye(3)
    X[0, 1] = 2.0**-130
    with SETTINGS[setting]():
        certificate = certify(A[None], X[None])
    tally = judged(A[None], X[None], certificate)
    assert (tally.granted, tally.violated) == (1, 0)


@pytest.mark.parametrize("size", [2.0**25, 2.0**41], ids=["small", "larger than the inverse"])
def test_an_error_of_the_longest_column_that_a_small_residual_makes(size):
    # The last row is so small that the error of the last column of X is the error of X; a small residual makes a large
    # one through the first two rows, which are nearly dependent.
    A = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0 + 2.0**-20, 0.0], [0.0, 0.0, 2.0**-60]], dtype=torch.float64)
    X = inverse_of(A)
    X[:2, 2] += size * X[:2, 0]
    certificate = certify(A[None], X[None])
    tally = judged(A[None], X[None], certificate)
    assert (tally.granted, tally.violated) == (1, 0)
    assert tally.tightest > 0.1


@both_dtypes
@pytest.mark.parametrize("kind", REGULAR)
def test_rho_bounds_the_exact_residual_between_the_scales_of_the_rows(kind, dtype):
    A = stack_of(kind, 8, 3, dtype=dtype)
    X = minimal_residual(A, n_steps=6)
    rho = certify(A, X).rho
    for A_i, X_i, rho_i in zip(A, X, rho.tolist(), strict=True):
        D = [2.0 ** -math.frexp(value)[1] for value in A_i.abs().amax(dim=1).tolist()]
        product = (rational(A_i) * rational(X_i)).tolist()
        rows = [sum(abs((i == j) - product[i][j]) * exactly(D[i]) / exactly(D[j]) for j in range(3)) for i in range(3)]
        assert max(rows) <= exactly(rho_i)


# Invariance


@both_dtypes
def test_powers_of_two_on_the_rows_change_nothing_but_the_error_bound(dtype):
    A = stack_of("uniform", 30, 4, dtype=dtype)
    X = minimal_residual(A, n_steps=1)
    powers = torch.from_numpy(np.random.default_rng(0).integers(-30, 31, (30, 4)))
    expected, actual = certify(A, X), certify(scale_rows(A, powers), scale_columns(X, -powers))
    assert expected.certified.any()
    assert not expected.certified.all()
    assert_same(actual.certified, expected.certified)
    assert_same(actual.rho, expected.rho, rtol=1e-14, atol=0)


@both_dtypes
def test_powers_of_two_on_rows_and_columns_keep_a_good_inverse_certified(dtype):
    A = stack_of("well", 30, 4, dtype=dtype)
    X = inverse_of(A)
    powers = torch.from_numpy(np.random.default_rng(0).integers(-10, 11, (2, 30, 4)))
    A = scale_columns(scale_rows(A, powers[0]), powers[1])
    X = scale_columns(scale_rows(X, -powers[1]), -powers[0])
    assert certify(A, X).certified.all()


@both_dtypes
def test_one_power_of_two_for_all_leaves_the_bound_too(dtype):
    A = stack_of("well", dtype=dtype)
    X = inverse_of(A)
    assert_same(certify(A * 2**30, X / 2**30), certify(A, X), rtol=1e-14, atol=0)


def test_permuting_the_stack_permutes_the_answers():
    A = stack_of("uniform", 40, 3)
    X = minimal_residual(A, n_steps=5)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    for permuted, field in zip(certify(A[order], X[order]), certify(A, X), strict=True):
        assert_same(permuted, field[order], rtol=1e-12, atol=1e-14)


@both_dtypes
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", ["A", "X", "both"])
def test_what_is_not_finite_is_refused_and_spoils_no_other(dtype, value, where):
    A = stack_of(dtype=dtype)
    X = inverse_of(A)
    expected = certify(A, X)
    A_bad, X_bad = A.clone(), X.clone()
    for name, matrix in (("A", A_bad), ("X", X_bad)):
        if where in (name, "both"):
            matrix[2, 1, 0] = value
            matrix[5] = value
    certificate = certify(A_bad, X_bad)
    bad = torch.tensor([2, 5])
    assert not certificate.certified[bad].any()
    assert certificate.error_bound[bad].isnan().all()
    assert certificate.condition_lower[bad].isnan().all()
    assert (certificate.condition_upper[bad] == torch.inf).all()
    good = torch.tensor([0, 1, 3, 4, 6, 7])
    for field, unspoilt in zip(certificate, expected, strict=True):
        assert_same(field[good], unspoilt[good])


@pytest.mark.parametrize("shape", [(), (0,), (5,), (2, 3)])
def test_any_leading_shape(shape):
    A = 2 * torch.eye(3).expand(*shape, 3, 3)
    certificate = certify(A, A / 4)
    assert certificate.certified.dtype == torch.bool
    assert certificate.certified.all()
    assert all(field.shape == shape for field in certificate)
    assert all(field.dtype == torch.float64 for field in certificate[1:5])
    assert certificate.nonsingular.all()


def test_no_gradient_is_asked_for():
    A = torch.eye(2, requires_grad=True)
    assert not certify(A, A).rho.requires_grad


# Equilibration


@both_dtypes
@pytest.mark.parametrize("kind", [*REGULAR, "singular", "zero"])
def test_equilibrated_rows_and_columns_have_entries_near_one(kind, dtype):
    A = stack_of(kind, 8, 4, dtype=dtype, seed=2)
    A = A * 2.0 ** torch.arange(-40, 40, 20, dtype=dtype)
    scaled, rows, columns = equilibrate(A)
    for dim in (-1, -2):
        largest = scaled.abs().amax(dim=dim)
        assert ((largest >= 0.5) & (largest < 1) | (largest == 0)).all()
    assert_same(scale_columns(scale_rows(scaled, -rows), -columns), A)
    assert scaled.dtype == A.dtype
    assert scaled.is_contiguous()


def test_the_inverse_of_an_equilibrated_matrix_is_scaled_back():
    A = stack_of("graded", 8, 4, condition=1e200)
    scaled, rows, columns = equilibrate(A)
    X = scale_columns(scale_rows(inverse_of(scaled), columns), rows)
    assert certify(A, X).certified.all()


@both_dtypes
def test_equilibration_at_the_ends_of_the_range(dtype):
    limits = torch.finfo(dtype)
    least = limits.smallest_normal * limits.eps
    A = torch.diag(torch.tensor([least, limits.smallest_normal, 1, limits.max], dtype=dtype))
    scaled, rows, columns = equilibrate(A)
    assert ((scaled.diagonal() >= 0.5) & (scaled.diagonal() < 1)).all()
    assert columns.tolist() == [0, 0, 0, 0]
    assert_same(scale_rows(scaled, -rows), A)


def test_zero_rows_and_columns_have_the_exponent_zero():
    A = torch.zeros(3, 3)
    A[0, 1] = 6
    scaled, rows, columns = equilibrate(A)
    assert rows.tolist() == [-3, 0, 0]
    assert columns.tolist() == [0, 0, 0]
    assert scaled[0, 1] == 0.75


@every_setting
@pytest.mark.parametrize("exponents", [(500, 0, -500), (-1000, 0, 900), (0, -1040, 0)])
def test_columns_of_very_different_scales_get_no_false_certificate(exponents, setting):
    rng = np.random.default_rng(0)
    A = torch.from_numpy((rng.integers(-4, 5, (200, 3, 2)) @ rng.integers(-4, 5, (200, 2, 3))).astype(float))
    A[::2, 0, 0] += 1
    X = torch.linalg.inv_ex(A + 1e-9 * torch.from_numpy(rng.normal(size=A.shape)))[0]
    X[::2] = torch.linalg.inv_ex(A[::2])[0]
    exponent = torch.tensor(exponents).expand(len(A), 3)
    A, X = scale_columns(A, exponent), scale_rows(X, -exponent)
    with SETTINGS[setting]():
        certificate = certify(A, X)
    tally = judged(A, X, certificate)
    assert (tally.false, tally.violated) == (0, 0)
    assert not certificate.certified[1::2].any()
    if min(exponents) > -1022:
        assert certificate.certified[::2].any()
