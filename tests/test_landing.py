"""One large matrix and a near inverse: what lands keeps every promise, and nothing else lands."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skdmi.iteration import refine
from skdmi.linalg import certify
from skdmi.linalg.landing import land
from tests.marks import slow_but
from tests.matrices import make_stack

U = 2.0**-53


def near(A, distance, seed=0):
    """Return an inverse with a residual norm of about ``distance``."""
    R = np.random.default_rng(seed).standard_normal(A.shape)
    X = np.linalg.inv(A)
    return X - distance / np.linalg.norm(R) * X @ R


def promised(A, X):
    """Return both residual norms over what rounding explains."""
    identity = np.eye(len(A))
    return [
        np.linalg.norm(identity - first @ second) / (10 * U * np.linalg.norm(abs(first) @ abs(second)))
        for first, second in ((A, X), (X, A))
    ]


@pytest.mark.parametrize("N", slow_but([60, 200], [49, 60, 97, 200, 520]))
@pytest.mark.parametrize("distance", [0, 1e-12, 1e-9, 1e-5, 1e-2])
def test_what_lands_keeps_both_promises_and_its_bound(N, distance):
    A = make_stack("uniform", 1, N)[0]
    landed = land(A, near(A, distance))
    assert landed is not None
    assert max(promised(A, landed.inverse)) <= 1
    assert landed.n_steps <= 1 if distance == 0 else landed.n_steps > 0
    exact = refine(torch.from_numpy(A), torch.from_numpy(landed.inverse)).inverse.numpy()
    assert np.linalg.norm(landed.inverse - exact) <= landed.error_bound * np.linalg.norm(exact)
    assert certify(*map(torch.from_numpy, (A, landed.inverse))).certified


def test_a_step_mends_the_side_that_it_would_spoil():
    A = make_stack("uniform", 1, 300, seed=3)[0]
    start = near(A, 1e-9)
    plain = start + start @ (np.eye(300) - A @ start)
    right, left = promised(A, land(A, start).inverse)
    assert promised(A, plain)[1] > 0.5
    assert right < 0.3
    assert left < 0.3


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31 - 1), scale=st.sampled_from([1e-12, 1e-6, 1.0, 1e6]), is_integer=st.booleans())
def test_no_singular_matrix_lands(seed, scale, is_integer):
    rng = np.random.default_rng(seed)
    A = rng.integers(-3, 4, (50, 50)).astype(float) if is_integer else rng.uniform(-1, 1, (50, 50))
    A[-1] = A[:-1].sum(axis=0) if is_integer else A[0]
    for start in (np.linalg.pinv(A), scale * rng.standard_normal((50, 50)), np.linalg.inv(A + scale * np.eye(50))):
        assert land(A, start) is None


@pytest.mark.parametrize("start", [0.0, 2.0, 1e200, np.nan, np.inf])
def test_what_is_far_does_not_land(start):
    A = make_stack("well", 1, 60)[0]
    assert land(A, start * np.linalg.inv(A)) is None


@pytest.mark.parametrize("condition", [1e8, 1e12])
def test_what_wants_more_digits_does_not_land(condition):
    A = make_stack("condition", 1, 60, condition=condition)[0]
    assert land(A, np.linalg.inv(A)) is None


def test_no_more_steps_than_allowed():
    A = make_stack("uniform", 1, 60)[0]
    assert land(A, near(A, 1e-9), max_steps=0) is None
    assert land(A, near(A, 1e-2), max_steps=1) is None
    assert land(A, near(A, 1e-2), max_steps=50).n_steps <= 4
    assert land(A, near(A, 1e-9), tol=1e-8, max_steps=0).n_steps == 0


def test_columns_of_different_units_cost_no_digits():
    A = make_stack("uniform", 1, 80)[0] * np.geomspace(1, 1e-12, 80)
    X = land(A, near(A, 1e-9)).inverse
    assert max(promised(A, X)) <= 1


def test_float32_is_rounded_once_and_bounded():
    A = make_stack("uniform", 1, 60, dtype=np.float32)[0]
    start = near(A.astype(float), 1e-9)
    before = start.copy()
    landed, wide = land(A, start), land(A.astype(float), start)
    np.testing.assert_array_equal(start, before)
    assert landed.inverse.dtype == np.float32
    np.testing.assert_array_equal(landed.inverse, wide.inverse.astype(np.float32))
    difference = np.linalg.norm(landed.inverse - wide.inverse, 2) / np.linalg.norm(wide.inverse, 2)
    assert difference <= landed.error_bound < 1e-6
