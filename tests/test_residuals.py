"""Laws of residuals and norms."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.linalg import matrix_norm

from skdmi.linalg import missing, residual
from skdmi.linalg.residuals import check_pair, identity_like, rounding_floor, trace, wide_frobenius_norm
from tests.tensors import DTYPES, assert_equal, property_test, seeds, sizes, stack_of


@pytest.mark.parametrize("dtype", DTYPES)
def test_right_and_left_residual_are_what_they_say(dtype):
    A, X = stack_of("uniform", dtype=dtype), stack_of("uniform", seed=1, dtype=dtype)
    eye = np.eye(3)
    np.testing.assert_allclose(residual(A, X), eye - A.numpy() @ X.numpy(), atol=1e-6)
    np.testing.assert_allclose(residual(A, X, left=True), eye - X.numpy() @ A.numpy(), atol=1e-6)
    np.testing.assert_allclose(matrix_norm(A), np.linalg.norm(A.numpy(), axis=(1, 2)), rtol=1e-6)
    np.testing.assert_allclose(trace(A), np.trace(A.numpy(), axis1=1, axis2=2), atol=1e-6)
    assert residual(A, X).dtype == dtype
    assert_equal(identity_like(A), torch.eye(3, dtype=dtype))


@property_test
@given(seed=seeds, m=sizes)
def test_right_and_left_residual_are_similar(seed, m):
    A, X = stack_of("well", m=m, seed=seed), stack_of("uniform", m=m, seed=seed)
    expected = torch.linalg.inv(A) @ residual(A, X) @ A
    torch.testing.assert_close(residual(A, X, left=True), expected, rtol=1e-9, atol=1e-9)


@property_test
@given(seed=seeds, m=sizes, power=st.integers(-1020, 1000))
def test_the_wide_norm_is_the_norm_at_every_scale(seed, m, power):
    A = stack_of("uniform", m=m, seed=seed)
    norms = wide_frobenius_norm(math.ldexp(1.0, power) * A)
    torch.testing.assert_close(norms / math.ldexp(1.0, power), matrix_norm(A))


def test_the_wide_norm_is_that_of_each_member_by_itself():
    A = stack_of("uniform", 3)
    units = torch.tensor([2.0**-900, 1.0, 2.0**900], dtype=torch.float64)
    assert_equal(wide_frobenius_norm(units[:, None, None] * A), units * wide_frobenius_norm(A))


def test_what_is_no_pair_of_square_matrices_is_refused_by_name():
    eye, wide = torch.eye(2), torch.zeros(2, 3)
    for A, X, name in [(eye.int(), eye, "A"), (eye, eye.int(), "X"), (wide, eye, "A"), (eye, wide, "X")]:
        with pytest.raises(ValueError, match=f"^Expected {name} of"):
            check_pair(A, X)
    for A, X, name in [(wide, eye, "A"), (eye, wide, "X")]:
        with pytest.raises(ValueError, match=f"^Expected {name} of"):
            residual(A, X)


@pytest.mark.parametrize(("value", "norm"), [(0.0, 0.0), (math.inf, math.inf), (math.nan, math.nan)])
def test_the_wide_norm_of_what_has_no_scale(value, norm):
    A = torch.full((1, 2, 2), value, dtype=torch.float64)
    assert_equal(wide_frobenius_norm(A), torch.tensor([norm], dtype=torch.float64))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_missing_are_the_members_with_an_entry_that_is_no_number(bad):
    X = stack_of("well", 4)
    X[1, 2, 0] = bad
    X[3] = bad
    assert missing(X).tolist() == [False, True, False, True]
    assert missing(X[1]).item()


@property_test
@given(seed=seeds, m=sizes, unit=st.sampled_from([2.0**-53, 2.0**-24]))
def test_rounding_floor_is_at_most_four_roundings(seed, m, unit):
    A = stack_of("condition", m=m, seed=seed)
    X = torch.linalg.inv(A)
    exact = 4 * unit * matrix_norm(A.abs() @ X.abs())
    floor = rounding_floor(A, X, unit)
    assert (floor <= exact * (1 + 1e-12)).all()
    assert (floor >= exact / m**0.5 * (1 - 1e-12)).all()
    assert (matrix_norm(residual(A, X)) <= 10 * m * rounding_floor(A, X)).all()
