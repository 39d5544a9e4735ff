"""Scaling by powers of two: exact, and such that units do not matter."""

import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from benchmarks.lib.arithmetic_settings import SETTINGS
from skdmi.linalg import equilibrate, scale_by_power_of_two, split_exponent
from skdmi.linalg.residuals import double
from skdmi.linalg.scaling import (
    _NOTHING,
    _by_logarithms,
    _by_maxima,
    _by_transversals,
    _unbalanced,
    power_of_two,
    scale_both,
    scale_columns,
    scale_rows,
)
from tests.matrices import make_stack
from tests.tensors import DTYPES, assert_equal, property_test, seeds, sizes, stack_of

exponents = st.integers(-1100, 1100)
doubles = st.floats(allow_nan=False, allow_infinity=False, width=64)


# One matrix


@pytest.mark.parametrize("dtype", DTYPES)
@property_test
@given(seed=seeds, power=st.integers(-1074, 1023), m=sizes)
def test_splitting_the_exponent_is_undone_by_scaling(dtype, seed, power, m):
    info = torch.finfo(dtype)
    power = max(power, -149) if dtype == torch.float32 else power
    power = min(power, int(math.log2(info.max)))
    A = torch.ldexp(stack_of("uniform", 2, m, seed=seed), torch.tensor(power / 2).floor())
    A = torch.ldexp(A, torch.tensor(power) - torch.tensor(power / 2).floor()).to(dtype)
    B, exponent = split_exponent(A)
    largest = B.abs().amax(dim=(-2, -1))
    assert ((largest >= 0.5) & (largest < 1) | (largest == 0)).all()
    assert_equal(scale_by_power_of_two(B, exponent), A)


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        (torch.float64, 1e300),
        (torch.float64, 1e-300),
        (torch.float64, 5e-324),
        (torch.float64, 2.0**-1022),
        (torch.float64, torch.finfo(torch.float64).max),
        (torch.float32, 1e38),
        (torch.float32, 1e-38),
        (torch.float32, 2.0**-149),
        (torch.float32, torch.finfo(torch.float32).max),
    ],
)
def test_splitting_agrees_with_frexp_at_the_edges_of_the_range(dtype, value):
    A = torch.tensor([[value, 0.0], [0.0, -value]], dtype=dtype)
    B, exponent = split_exponent(A)
    mantissa, expected = math.frexp(A[0, 0].item())
    assert exponent.item() == expected
    assert_equal(B, torch.tensor([[mantissa, 0.0], [0.0, -mantissa]], dtype=dtype))
    assert_equal(scale_by_power_of_two(B, exponent), A)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_zero_matrix_has_exponent_zero(dtype):
    zero = torch.zeros(2, 3, 3, dtype=dtype)
    B, exponent = split_exponent(zero)
    assert_equal(B, zero)
    assert exponent.tolist() == [0, 0]


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 252), (torch.float64, 2044)])
@property_test
@given(data=st.data())
def test_scaling_agrees_with_ldexp_on_the_whole_range(dtype, limit, data):
    exponent = data.draw(st.integers(-limit, limit))
    value = data.draw(st.floats(allow_nan=False, allow_infinity=False, width=torch.finfo(dtype).bits))
    try:
        expected = math.ldexp(value, exponent)
    except OverflowError:
        expected = math.copysign(math.inf, value)
    scaled = scale_by_power_of_two(torch.tensor([[value]], dtype=dtype), torch.tensor(exponent)).item()
    if expected == 0 or abs(expected) >= torch.finfo(dtype).tiny:
        assert scaled == torch.tensor(expected, dtype=torch.float64).to(dtype).item()
    else:
        assert abs(scaled - expected) <= torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps


def test_each_member_has_its_own_exponent():
    A = stack_of("uniform", n_matrices=3)
    powers = torch.tensor([-1000, 0, 1000])
    scaled = scale_by_power_of_two(A, powers)
    assert_equal(split_exponent(scaled)[0], split_exponent(A)[0])
    assert_equal(split_exponent(scaled)[1] - split_exponent(A)[1], powers.int())


@pytest.mark.parametrize(("dtype", "largest"), [(torch.float32, 127), (torch.float64, 1023)])
def test_powers_of_two_are_those_of_all_normal_numbers_under_vmap_too(dtype, largest):
    exponent = torch.arange(1 - largest, largest + 1)
    expected = torch.exp2(exponent.to(dtype))
    assert_equal(power_of_two(exponent, dtype), expected)
    assert_equal(torch.vmap(lambda power: power_of_two(power, dtype))(exponent), expected)


# Rows and columns


@settings(max_examples=200, deadline=None)
@given(value=doubles, row=exponents, column=exponents)
@example(1.0, 2000, 2000)
@example(1.0, -2000, -2000)
@example(1.5, 1000, 24)  # infinite by one
@example(math.inf, -1, 0)
def test_entries_are_scaled_as_if_in_one_step(value, row, column):
    found = scale_both(torch.tensor([[value]], dtype=torch.float64), torch.tensor([row]), torch.tensor([column])).item()
    with np.errstate(over="ignore", under="ignore"):
        expected = np.ldexp(value, row + column)
    if abs(expected) >= np.finfo(np.float64).tiny or expected == 0:
        assert found == expected
    else:
        assert abs(found - expected) <= 2.0**-1074


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("power", [-1074, -1060, -1022, 0, 1000])
def test_subnormal_entries_are_read_under_every_setting(setting, power):
    A = torch.tensor([[1.0, -1.0], [3.0, 5.0]], dtype=torch.float64)
    unit = torch.tensor([power, power])
    tiny = (
        scale_both(A, unit, torch.zeros(2, dtype=torch.int64))
        if power > -1000
        else A * 2.0**-1000 * 2.0 ** (power + 1000)
    )
    with SETTINGS[setting]():
        scaled, rows, columns = equilibrate(tiny)
        back = scale_both(tiny, -unit, torch.zeros(2, dtype=torch.int64))
    torch.testing.assert_close(back, A, rtol=0, atol=0)
    torch.testing.assert_close(scaled, equilibrate(A)[0], rtol=0, atol=0)
    assert (rows + power).tolist() == equilibrate(A)[1].tolist()
    assert columns.tolist() == equilibrate(A)[2].tolist()


@pytest.mark.parametrize("setting", SETTINGS)
def test_float32_is_widened_exactly_under_every_setting(setting):
    values = [2.0**-149, -3 * 2.0**-149, 2.0**-127, 1.0, -1.5, 2.0**-126, 0.0]
    A = torch.tensor(values)
    with SETTINGS[setting]():
        wide = double(A)
    assert wide.tolist() == values


@settings(max_examples=60, deadline=None)
@given(
    m=st.integers(1, 9),
    density=st.sampled_from([0.3, 0.6, 1.0]),
    span=st.sampled_from([0, 3, 100, 450]),
    seed=st.integers(0, 2**31 - 1),
)
def test_the_largest_entry_of_every_row_and_column_is_near_one(m, density, span, seed):
    rng = np.random.default_rng(seed)
    B = rng.uniform(0.5, 1, (3, m, m)) * (rng.random((3, m, m)) < density)
    rows, columns = torch.from_numpy(rng.integers(-span, span + 1, (2, 3, m)))
    A = scale_both(torch.from_numpy(B), rows, columns)
    scaled, r, c = equilibrate(A)
    for dim in (-1, -2):
        largest = scaled.abs().amax(dim=dim)
        assert (((largest >= 0.5) & (largest < 1)) | (largest == 0)).all()
    torch.testing.assert_close(scale_both(scaled, -r, -c), A, rtol=0, atol=0)


def tridiagonal(n_matrices, m, seed=0):
    A = make_stack("uniform", n_matrices, m, seed=seed)
    return A * np.tri(m, m, 1) * np.tri(m, m, 1).T + 2 * np.eye(m)


def sparse(n_matrices, m, seed=0):
    rng = np.random.default_rng(seed)
    A = make_stack("uniform", n_matrices, m, seed=seed) * (rng.random((n_matrices, m, m)) < 0.4)
    A[:, np.arange(m), np.roll(np.arange(m), 1)] = 1
    return A


@pytest.mark.parametrize("make", [lambda n, m: make_stack("uniform", n, m), sparse, tridiagonal])
@pytest.mark.parametrize("m", [2, 5, 16])
def test_units_leave_no_trace_in_the_condition(make, m):
    B = make(30, m)
    B = B[np.linalg.cond(B) < 1e6]
    rng = np.random.default_rng(1)
    units = torch.from_numpy(rng.integers(-400, 400, (2, len(B), m)))
    A = scale_both(torch.from_numpy(B), *units)
    plain, recovered = (torch.linalg.cond(equilibrate(T)[0]) for T in (torch.from_numpy(B), A))
    assert (recovered < 100 * plain).all()


@pytest.mark.parametrize("scale", [0.05, 0.3])
def test_entries_of_no_importance_are_given_none(scale):
    x = np.linspace(0, 1, 24)
    kernel = torch.from_numpy(np.exp(-(((x[:, None] - x) / (scale / 4)) ** 2)) + 0.1 * np.eye(24))
    scaled, _, _ = equilibrate(kernel)
    assert torch.linalg.cond(scaled) <= 4 * torch.linalg.cond(kernel)


def test_rows_and_columns_one_by_one_are_the_same_as_both():
    A = torch.from_numpy(make_stack("uniform", 5, 4))
    rows, columns = torch.from_numpy(np.random.default_rng(0).integers(-20, 20, (2, 5, 4)))
    torch.testing.assert_close(
        scale_both(A, rows, columns), scale_columns(scale_rows(A, rows), columns), rtol=0, atol=0
    )


# The choice of units


def exponents_of(n_matrices, m, density, seed):
    """Return random exponents with a transversal, where there are no entries a number below all."""
    rng = np.random.default_rng(seed)
    is_entry = rng.random((n_matrices, m, m)) < density
    is_entry[:, np.arange(m), rng.permutation(m)] = True
    E = np.where(is_entry, rng.integers(-300, 300, is_entry.shape), _NOTHING)
    return torch.from_numpy(E).int(), torch.from_numpy(is_entry)


def test_a_row_or_column_is_unbalanced_by_the_mean_of_its_entries():
    far = torch.zeros(8, 8, dtype=torch.int32)
    far[3, 1:] = -6
    at_most = torch.full((8, 8), -4, dtype=torch.int32)
    sparse = torch.full((8, 8), _NOTHING, dtype=torch.int32)
    sparse.diagonal().zero_()
    sparse[3, 4] = -9
    none = torch.zeros(8, dtype=torch.int32)
    assert _unbalanced(far, none, none)
    assert _unbalanced(far.mT, none, none)
    assert _unbalanced(sparse, none, none)
    assert _unbalanced(sparse.mT, none, none)
    assert not _unbalanced(at_most, none, none)
    assert not _unbalanced(sparse.clamp_min(-8).where(sparse > _NOTHING, _NOTHING), none, none)
    stack = torch.stack([far, none.expand(8, 8), sparse.mT]).expand(2, 3, 8, 8)
    assert _unbalanced(stack, none.expand(2, 3, 8), none.expand(2, 3, 8)).tolist() == [[True, False, True]] * 2


@pytest.mark.parametrize("size", [-5, 5])
def test_balance_is_that_of_the_scaled_matrix(size):
    E = torch.zeros(4, 4, dtype=torch.int32)
    unit, none = torch.tensor([size, 0, 0, 0], dtype=torch.int32), torch.zeros(4, dtype=torch.int32)
    assert _unbalanced(E, unit, none) == (size < 0)
    assert _unbalanced(E, none, unit) == (size < 0)
    assert not _unbalanced(E - unit[:, None], unit, none)
    assert not _unbalanced(E - unit, none, unit)


@property_test
@given(seed=seeds, m=st.integers(1, 7), density=st.sampled_from([0.3, 1.0]))
def test_least_squares_leaves_rows_and_columns_about_zero(seed, m, density):
    E, is_entry = exponents_of(3, m, density, seed)
    r, c = _by_logarithms(E)
    left = torch.where(is_entry, E + r.unsqueeze(-1) + c.unsqueeze(-2), 0)
    for dim in (-1, -2):  # each exponent is rounded, by a half at most
        assert (left.sum(dim=dim).abs() <= is_entry.sum(dim=dim) + 1e-3).all()


@property_test
@given(seed=seeds, m=st.integers(2, 7), density=st.sampled_from([0.2, 0.5, 1.0]))
def test_of_maxima_and_transversals_the_larger_sum_is_taken(seed, m, density):
    E, is_entry = exponents_of(8, m, density, seed)
    is_entry[0, 0] = False  # A matrix without a transversal is nothing to the others.
    A, E = torch.where(is_entry, torch.exp2(E.double() - 1), 0), torch.where(is_entry, E, _NOTHING)
    maxima = _by_maxima(E)
    unbalanced = _unbalanced(E, *maxima)
    other = _by_transversals(E, *_by_logarithms(E))
    sums = [sum(e.sum(dim=-1) for e in chosen) for chosen in (maxima, other)]
    _, rows, columns = equilibrate(A)
    assert_equal(rows.sum(dim=-1) + columns.sum(dim=-1), torch.where(unbalanced, torch.maximum(*sums), sums[0]))
    for i in range(8):
        assert_equal(equilibrate(A[i]).row_exponent, rows[i])
        assert_equal(equilibrate(A[i]).column_exponent, columns[i])


@property_test
@given(seed=seeds, m=st.integers(1, 7), density=st.sampled_from([0.2, 0.5, 1.0]))
def test_no_exponents_have_a_larger_sum(seed, m, density):
    E, is_entry = exponents_of(3, m, density, seed)
    r, c = _by_transversals(E, *_by_logarithms(E))
    scaled = torch.where(is_entry, E + r.unsqueeze(-1) + c.unsqueeze(-2), _NOTHING)
    assert (scaled <= 0).all()
    for member in scaled.numpy():  # the sum of the exponents is at most minus that of a transversal of E
        i, j = linear_sum_assignment(member, maximize=True)
        assert member[i, j].tolist() == [0] * m
