"""Every term of the certificate by itself: what it stands for, formed densely, or exactly; no neighbour has a say."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.linalg import matrix_norm

from skdmi.figures import CERTIFIED, NONSINGULAR
from skdmi.iteration import minimal_residual
from skdmi.lanes import checks
from skdmi.lapack import check as lapack_check
from skdmi.linalg import certify
from skdmi.linalg.certificate import (
    ResidualBound,
    _beside_largest,
    _beside_smallest,
    _fixed_point,
    _geometric,
    _look_closer,
    _of_any_scale,
    _of_one_scale,
    condition_interval,
    rounded_error_bound,
    rounded_up,
)
from tests.tensors import property_test, seeds, stack_of

UNIT = Fraction(1, 2**53)
weights = st.sampled_from([2.0**-50, 2.0**-4, 3.0])


def positive(n_matrices, m, seed):
    """Return absolute values, of rows and columns of very different sums."""
    A = stack_of("uniform", n_matrices, m, seed=seed).abs()
    return A * torch.logspace(0, 1, m, dtype=torch.float64) / torch.logspace(0, 2, m, dtype=torch.float64)[:, None]


def bound_of(m, seed, size=1.0):
    R, A, X = (positive(4, m, seed + i) for i in range(3))
    return ResidualBound(size * R / R.sum(dim=-1).amax(), A, X)


def dense(bound, g):
    return bound.R + g * (torch.eye(bound.R.shape[-1], dtype=torch.float64) + bound.A @ bound.X)


def exponents(m, seed, span=20):
    return torch.from_numpy(np.random.default_rng(seed).integers(-span, span, (4, m), dtype=np.int32))


def assert_close(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-11, atol=0)


# The bound of the residual


@property_test
@given(seed=seeds, m=st.integers(1, 6), g=weights)
def test_products_and_norms_are_those_of_the_matrix_never_formed(seed, m, g):
    bound, D = bound_of(m, seed), torch.exp2(exponents(m, seed).double()).unsqueeze(-1)
    E, P = dense(bound, g), bound.A @ bound.X
    z = positive(4, m, seed + 3)[..., :1]
    assert_close(bound.times(z, g), E @ z)
    assert_close(bound.row_sum(g), E.sum(dim=-1).amax(dim=-1))
    size = (P.sum(dim=-1).amax(dim=-1) * P.sum(dim=-2).amax(dim=-1)).sqrt()
    assert_close(bound.spectral(g), matrix_norm(bound.R) + g * (1 + size))
    assert (bound.spectral(g) >= matrix_norm(E, 2)).all()
    assert_close(dense(bound.in_units(D), g), E * D.mT / D)
    assert_close(dense(bound.transposed(), g), E.mT)


@property_test
@given(seed=seeds, m=st.integers(1, 6), g=weights)
def test_bounds_between_the_scales_of_the_rows_are_those_of_the_dense_matrix(seed, m, g):
    bound, exponent = bound_of(m, seed), exponents(m, seed)
    D = torch.exp2(exponent.double()).unsqueeze(-1)
    F = dense(bound, g) * D.mT / D
    assert_close(bound.of_one_scale(exponent, g), bound.in_units(D).spectral(g))
    assert_close(_of_one_scale(bound, exponent, g), (F.mT @ F).sum(dim=-1).amax(dim=-1).sqrt())
    assert (_of_one_scale(bound, exponent, g) >= matrix_norm(F, 2) * (1 - 1e-13)).all()


@property_test
@given(seed=seeds, m=st.integers(1, 6))
def test_the_error_in_any_units_is_that_of_the_row_sums_over_the_longest_column(seed, m):
    X, w = positive(4, m, seed), 1e-6 * positive(4, m, seed + 1)[..., :1]
    D1, D2 = (torch.exp2(exponents(m, seed + i).double()).unsqueeze(-1) for i in (2, 3))
    longest = (D2 * X * D1.mT).square().sum(dim=-2).amax(dim=-1).sqrt()
    q = matrix_norm(D2 * (X @ w)) / longest
    assert_close(_of_any_scale(X, w, D1, D2), torch.where(q < 1, q / (1 - q), torch.inf))


@property_test
@given(seed=seeds, m=st.integers(1, 6), size=st.sampled_from([1e-3, 0.3, 0.9, 3.0]))
def test_a_fixed_point_is_above_what_it_is_to_be_above(seed, m, size):
    h = (m + 3) * 2.0**-53
    bound, z = bound_of(m, seed, size), positive(4, m, seed + 3)[..., :1]
    w = _fixed_point(bound, z, h)
    assert (w >= z + dense(bound, h) @ w).all()
    if size <= 0.3:
        assert (w < 3 * z.amax(dim=-2, keepdim=True)).all()


@pytest.mark.parametrize("n_matrices", [1, 9])
@pytest.mark.parametrize("m", [2, 6])
def test_a_fixed_point_is_sought_for_as_many_steps_as_a_nilpotent_matrix_takes(n_matrices, m):
    R = 3.0 * torch.ones(m - 1, dtype=torch.float64).diag(1).expand(n_matrices, m, m)
    bound, z = ResidualBound(R, 0 * R, 0 * R), torch.ones(n_matrices, m, 1, dtype=torch.float64)
    w = _fixed_point(bound, z, 2.0**-50)
    assert w.isfinite().all()
    assert (w >= z + dense(bound, 2.0**-50) @ w).all()


@property_test
@given(
    seed=seeds,
    m=st.integers(1, 9),
    size=st.sampled_from([2.0**-20, 0.3, 0.9]),
    power=st.sampled_from([0, 60]),
    is_even=st.booleans(),
)
def test_a_closer_look_is_between_the_sum_of_the_series_and_what_norms_say_of_it(seed, m, size, power, is_even):
    # All but the first row count, which is small; the first column of the inverse, which is long, hides them.
    R, A, X = bound_of(m, seed, size)
    R, A = (size / m * torch.ones_like(R), torch.zeros_like(A)) if is_even else (R, 2.0**-30 * A)
    R[:, 0] *= 2.0**-power
    X[..., 0] *= 2.0**power
    bound, none = ResidualBound(R, A, X), torch.zeros(4, m, dtype=torch.int32)
    h, one = bound.rounding(), torch.ones(4, m, 1, dtype=torch.float64)
    E, spectral = dense(bound, h), bound.spectral(h)
    rho, rho_of_all, error_bound = _look_closer(bound, spectral, none, none, 2.0**-24)
    assert_close(rho, bound.row_sum(h))
    assert_close(rho_of_all, bound.row_sum(2.0**-24))
    z, other = E @ one, _of_one_scale(bound, none, h)
    w = torch.linalg.solve(torch.eye(m, dtype=torch.float64) - E, z)
    v = torch.fmin(_geometric(rho) * z.amax(dim=(-2, -1)), _geometric(spectral) * matrix_norm(z))
    assert (error_bound >= torch.fmin(_of_any_scale(X, w, one, one), other) * (1 - 1e-11)).all()
    assert (error_bound <= torch.fmin(_of_any_scale(X, z + v[:, None, None], one, one), other) * (1 + 1e-11)).all()


def test_where_rows_do_not_shrink_there_is_no_fixed_point():
    R = torch.tensor([0.5, 0.25], dtype=torch.float64)[:, None, None].expand(2, 2, 2)
    bound = ResidualBound(R, torch.zeros_like(R), torch.zeros_like(R))
    w = _fixed_point(bound, torch.ones(2, 2, 1, dtype=torch.float64), 2.0**-50)
    assert (w.isfinite() == torch.tensor([False, True])[:, None, None]).all()


def test_what_underflow_takes_from_the_inverse_is_in_the_error():
    # Of the last row as much is lost as is left; in its units that is 2^-9 of the longest column.
    X = torch.tensor([[1.0, 0.0], [2.0**-900, 2.0**-900]], dtype=torch.float64)
    D1, D2 = torch.ones(2, 1, dtype=torch.float64), torch.tensor([[2.0**-790], [1.0]], dtype=torch.float64)
    w = torch.tensor([[0.0], [2.0**100]], dtype=torch.float64)
    assert _of_any_scale(X, w, D1, D2) >= 2 * 2.0**-900 * 2.0**100 / 2.0**-790


@pytest.mark.parametrize("m", [1, 8, 64])
def test_norms_are_rounded_up_by_all_their_additions(m):
    R, none = torch.ones(m, m, dtype=torch.float64), torch.zeros(m, m, dtype=torch.float64)
    assert ResidualBound(R, none, none).spectral(0.0) >= m * (1 + m * m * 2.0**-53)
    assert ResidualBound(R, none, none).row_sum(0.0) >= m * (1 + m * 2.0**-53)


def test_the_rounding_of_a_residual_is_that_of_m_products_and_sums_and_three_more():
    assert ResidualBound.of(*[torch.eye(5, dtype=torch.float64)] * 2).rounding() == 8 * 2.0**-53


def test_the_residual_is_one_minus_the_product_and_loses_nothing_to_underflow():
    A, X = stack_of("uniform", 4, 3), stack_of("uniform", 4, 3, seed=1)
    bound = ResidualBound.of(A, X)
    assert_close(bound.R, (torch.eye(3, dtype=torch.float64) - A @ X).abs())
    assert_close(bound.X, X.abs())
    assert_close(ResidualBound.of(0 * A, X).A, torch.full((4, 3, 3), 2.0**-900, dtype=torch.float64))
    assert_close(bound.A, A.abs())


@pytest.mark.parametrize("m", [1, 2, 9, 100])
@pytest.mark.parametrize("value", [1.0, 1.5, 2 - 2.0**-52, 1e-300])
def test_rounding_up_outdoes_all_the_roundings_it_speaks_of(m, value):
    value = torch.tensor(value, dtype=torch.float64)
    found = Fraction(rounded_up(value, m).item())
    assert found * (1 - UNIT) ** (8 * m + 60) >= Fraction(value.item())
    assert found <= Fraction(value.item()) * (1 + UNIT * (8 * m + 70))


def test_a_geometric_series_has_a_sum_below_one_alone():
    rho = torch.tensor([0.0, 0.5, 0.75, 1.0, 1.5, 2.0, torch.nan], dtype=torch.float64)
    assert _geometric(rho).tolist() == [0.0, 1.0, 3.0, *[torch.inf] * 4]


def test_scales_beside_the_smallest_and_the_largest():
    exponent = torch.tensor([[5, 7, 4], [0, 800, 0], [0, 801, 1]], dtype=torch.int32)
    D, too_far = _beside_smallest(exponent)
    assert D.squeeze(-1).tolist() == [[2.0, 8.0, 1.0], [1.0, 2.0**800, 1.0], [1.0, 2.0**800, 2.0]]
    assert too_far.tolist() == [False, False, True]
    expected = [[0.25, 1.0, 0.125], [2.0**-800, 1.0, 2.0**-800], [2.0**-800, 1.0, 2.0**-800]]
    assert _beside_largest(exponent).tolist() == expected


# What rounds to a matrix, by every route


def found_by(route, A, X):
    """Return whether A is certified, whether it is nonsingular, and the rho of the route."""
    if route == "torch":
        found = certify(torch.from_numpy(A), torch.from_numpy(X))
        return found.certified.item(), found.nonsingular.item(), found.rho.item()
    found = (checks.check if route == "lanes" else lapack_check)(A, X)
    status = found.status.item()
    return bool(status & CERTIFIED), bool(status & NONSINGULAR), found.rho.item()


def barely_regular(m, d, dtype):
    """Return a matrix whose determinant is d, a power of two, and its exact inverse; ``|| |A| |X| || = 4 / d``, nearly.

    With d = 4 u, of [[1 - u, 1 + u], [1 + u, (1 + d)(1 - u)]] the determinant is below 0: a singular one rounds to A.
    """
    A, X = np.eye(m), np.eye(m)
    A[:2, :2] = [[1, 1], [1, 1 + d]]
    X[:2, :2] = np.array([[1 + d, -1], [-1, 1]]) / d
    return A.astype(dtype)[None], X[None]


routes = [
    "torch",
    pytest.param("lanes", marks=pytest.mark.skipif(not checks.CHECK.is_ready(), reason="no kernel")),
    "lapack",
]


@pytest.mark.parametrize("route", routes)
@pytest.mark.parametrize("m", [2, 3])
@pytest.mark.parametrize(("n_units", "is_certified"), [(2, False), (4, False), (8, True), (16, True)])
def test_nothing_is_certified_that_a_singular_matrix_rounds_to(route, m, n_units, is_certified):
    A, X = barely_regular(m, n_units * 2.0**-24, np.float32)
    assert found_by(route, A, X)[:2] == (is_certified, True)
    assert found_by(route, A.astype(np.float64), X)[0] or route == "lapack"
    assert not found_by(route, *barely_regular(m, n_units * 2.0**-53, np.float64))[1]


@pytest.mark.parametrize("route", routes[:2])
@pytest.mark.parametrize("m", [2, 3, 4, 5, 6, 9])
@pytest.mark.parametrize("n_units", [16, 32, 64])
def test_rounding_counts_m_and_three_units_and_what_rounds_to_a_matrix_one_more(route, m, n_units):
    certified, nonsingular, rho = found_by(route, *barely_regular(m, n_units * 2.0**-53, np.float64))
    n_roundings = m + 4 if route == "torch" else m + 3  # of all that round to A, or of A
    assert rho == pytest.approx(4 * n_roundings / n_units, rel=1e-9)
    assert nonsingular == (4 * (m + 3) < n_units)
    assert certified == (4 * (m + 4) < n_units)


# Condition numbers and rounding


@pytest.mark.parametrize("m", [1, 2, 5])
@pytest.mark.parametrize("error", [0.0, 2.0**-40, 2.0**-4])
def test_an_interval_holds_the_condition_number_of_whatever_is_that_near(m, error):
    # The error in one column, the inverse in one row: relative to it, the error is m times larger in the one norm.
    inverse, column = torch.zeros(2, 2 * m, m, m, dtype=torch.float64).unflatten(1, (2, m))[:, :, 0].unbind(0)
    inverse[:, 0] = 1.0
    column[:, :, 0] = 1.0
    signs = torch.tensor([1.0, -1.0], dtype=torch.float64)[:, None, None]
    X = inverse + signs * error * column
    A = torch.eye(m, dtype=torch.float64).expand_as(X)
    lower, upper = condition_interval(A, X, torch.full((2,), error, dtype=torch.float64))
    assert (lower <= 1.0).all()
    assert (upper >= 1.0).all()
    size = X.abs().sum(dim=-2).amax(dim=-1)
    assert_close(lower, (size / (1 + m * error)).clamp_min(1))
    assert_close(upper, size / (1 - m * error) if m * error < 1 else torch.full_like(upper, torch.inf))


def test_an_error_as_large_as_the_inverse_leaves_no_upper_bound():
    one = torch.ones(3, 1, 1, dtype=torch.float64)
    upper = condition_interval(one, one, torch.tensor([0.5, 1.0, torch.nan], dtype=torch.float64))[1]
    assert upper[0] >= 2
    assert (upper[1:] == torch.inf).all()


@pytest.mark.parametrize("power", [-1000, -300, 0, 1000])
@pytest.mark.parametrize("more", [0.0, 2.0**-10, -(2.0**-10), 2.0**-24])
def test_after_rounding_the_bound_is_the_error_itself_where_both_point_the_same_way(power, more):
    # The inverse is 1, X is 1 + e, the rounded one (1 + e) (1 + more).
    e = torch.tensor([0.0, 2.0**-12, 2.0**-1], dtype=torch.float64)
    X = torch.ldexp((1 + e)[:, None, None], torch.tensor(power, dtype=torch.float64))
    bound = rounded_error_bound(e, X, X * (1 + more))
    truth = e + (1 + e) * abs(more)
    assert (bound >= truth).all()
    assert (bound <= truth * (1 + 1e-13)).all()


@property_test
@given(seed=seeds, m=st.integers(1, 5))
def test_after_rounding_the_bound_is_relative_to_the_longest_column(seed, m):
    X = positive(4, m, seed) * torch.tensor([1e-200, 1.0, 1e100, 1e-3], dtype=torch.float64)[:, None, None]
    rounded = X * (1 + 1e-8 * positive(4, m, seed + 1))
    expected = matrix_norm((rounded - X) / X.amax(dim=(-2, -1), keepdim=True))
    expected /= (X / X.amax(dim=(-2, -1), keepdim=True)).square().sum(dim=-2).amax(dim=-1).sqrt()
    torch.testing.assert_close(rounded_error_bound(torch.zeros(4), X, rounded), expected, rtol=1e-6, atol=0)


# Neighbours and leading axes


def test_no_certificate_depends_on_its_neighbours():
    units = torch.exp2(torch.from_numpy(np.random.default_rng(0).integers(-30, 30, (2, 60, 3))).double())
    A = torch.cat([stack_of(kind, 20, 3) for kind in ("well", "uniform", "graded")])
    A = units[0].unsqueeze(-1) * A * units[1].unsqueeze(-2)
    X = torch.cat([minimal_residual(A[:30], n_steps=4), minimal_residual(A[30:], n_steps=12)])
    whole = certify(A, X)
    assert whole.certified.any()
    assert not whole.certified.all()
    for i in range(0, len(A), 2):
        for field, alone in zip(whole, certify(A[i], X[i]), strict=True):
            torch.testing.assert_close(field[i], alone, rtol=1e-12, atol=0, equal_nan=True)


def test_leading_axes_are_no_part_of_a_matrix():
    A = stack_of("uniform", 900, 3)
    X = torch.linalg.inv(A) * (
        1 + torch.linspace(0, 1, 900, dtype=torch.float64)[:, None, None] * stack_of("uniform", 900)
    )
    whole = certify(A, X)
    assert whole.certified.any()
    assert not whole.certified.all()
    for shape in [(1, 900), (2, 450), (3, 5, 60)]:
        for field, other in zip(whole, certify(A.view(*shape, 3, 3), X.view(*shape, 3, 3)), strict=True):
            torch.testing.assert_close(other.flatten(), field, rtol=1e-14, atol=0, equal_nan=True)
