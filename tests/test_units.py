"""Rows and columns of different units: every door keeps its promise, and no digit is lost."""

import warnings
from fractions import Fraction

import numpy as np
import pytest
import torch
from sklearn.frozen import FrozenEstimator

import skdmi
from benchmarks.lib.doors import DOORS
from benchmarks.lib.mixed_units import KINDS, draw
from benchmarks.lib.promise_judge import judge
from skdmi import BlockInverter, EnsembleInverter, ExactInverter, RefinedInverter
from skdmi.exceptions import InaccurateInverseWarning, SingularMatrixWarning
from skdmi.linalg import certify
from tests.marks import slow_but
from tests.matrices import make_stack
from tests.models import untrained

flint = pytest.importorskip("flint")

# Inverses found by exact rationals decide; each was certified and wrong once.
FAULTS = {
    "units of the last row": [[-2.0, -1.0], [1e-9, -2e-9]],
    "units and a zero": np.array([[3.0, 2.0], [3e-8, 0.0]], np.float32),
    "half units": [[1.0, 2.0, -1.0], [0.5, -1.0, 3.0], [2e-10, 1e-10, -3e-10]],
    "positive definite": np.array([[2.0, 1, 0], [1, 2, 1], [0, 1, 2]]) * np.outer([1, 1e-4, 1e-9], [1, 1e-4, 1e-9]),
}


def exact_inverse(A):
    m = len(A)
    exact = flint.fmpq_mat(m, m, [flint.fmpq(*float(a).as_integer_ratio()) for a in A.flatten()]).inv()
    return np.array([[Fraction(int(x.p), int(x.q)) for x in row] for row in exact.tolist()])


def quietly(function, A, *categories):
    with warnings.catch_warnings():
        for category in categories or (SingularMatrixWarning, InaccurateInverseWarning):
            warnings.simplefilter("ignore", category)
        return function(A)


def column_errors(X, true):
    """Return the relative error of every column, by exact rationals."""
    errors = []
    for computed, exact in zip(X.T.tolist(), true.T, strict=True):
        of_column = sum((Fraction(x) - t) ** 2 for x, t in zip(computed, exact, strict=True))
        errors.append(float(of_column / sum(t**2 for t in exact)) ** 0.5)
    return max(errors)


def normal_equations_of_wampler():
    """Return those of the polynomials of degree 5 through x = 0 ... 20 (NIST StRD, Wampler): condition 4e13."""
    return np.vander(np.arange(21.0), 6, increasing=True).T @ np.vander(np.arange(21.0), 6, increasing=True)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("door", DOORS)
def test_what_was_certified_and_wrong_is_right(fault, door):
    A = np.asarray(FAULTS[fault])
    X = DOORS[door](A[None])[0]
    assert X.dtype == A.dtype
    assert column_errors(X, exact_inverse(A)) <= (1e-7 if A.dtype == np.float32 else 1e-15)


@pytest.mark.parametrize("door", DOORS)
def test_normal_equations_are_inverted_to_the_last_digit(door):
    A = normal_equations_of_wampler()
    assert column_errors(DOORS[door](A[None])[0], exact_inverse(A)) < 1.2e-16


@pytest.mark.parametrize("m", [2, 3, 8])
@pytest.mark.parametrize("condition", [1e2, 1e5, 1e6])
def test_float32_is_wrong_in_the_last_digit_only(m, condition):
    A = make_stack("condition", 10, m, condition=condition, dtype=np.float32)
    for invert in (skdmi.inv, RefinedInverter().transform, BlockInverter(block_size=2).transform):
        X = invert(A)
        assert X.dtype == np.float32
        assert max(column_errors(X_i, exact_inverse(A_i)) for X_i, A_i in zip(X, A, strict=True)) < 2.0**-23


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("door", slow_but(["skdmi.inv"], DOORS))
def test_promises_are_kept_in_any_units(kind, dtype, door):
    for m in (2, 3, 5, 8, 16):
        A = draw(kind, dtype, 8, m, seed=m)
        if len(A) == 0:
            continue
        tally = judge(A, DOORS[door](A), warned=False)
        assert tally.matrices == len(A)
        assert (tally.refused, tally.right, tally.left, tally.columns) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    "inner",
    [
        None,
        ExactInverter(),
        BlockInverter(block_size=2),
        RefinedInverter(),
        FrozenEstimator(untrained(5)),
        EnsembleInverter.from_fitted([untrained(5), untrained((2, 8))]),
    ],
    ids=["none", "exact", "block", "refined", "network", "ensemble"],
)
@pytest.mark.parametrize("kind", ["sparse, rows and columns", "positive definite"])
def test_promises_are_kept_whatever_is_refined(inner, kind):
    A = draw(kind, np.float64, 40, 5, seed=3)
    tally = judge(A, RefinedInverter(inner).fit().transform(A), warned=False)
    assert (tally.refused, tally.right, tally.left, tally.columns) == (0, 0, 0, 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("unit", [1e-5, 1e-10, 1e-20, 1e-25])
@pytest.mark.parametrize("door", DOORS)
def test_an_entry_that_is_zero_in_the_inverse_is_zero_in_any_unit(door, unit, dtype):
    A = (np.array([[2, 3, 4], [0, 3, 4], [0, 2, 3]]) * [1, unit, 1]).astype(dtype)
    X = DOORS[door](A[None])[0]
    assert X[1:, 0].tolist() == [0, 0]
    assert column_errors(X, exact_inverse(A)) < 20 * np.finfo(dtype).eps


@pytest.mark.parametrize("a", [1e6, 1e20, 1e50])
@pytest.mark.parametrize("door", DOORS)
def test_large_entries_off_the_transversal_are_no_obstacle(door, a):
    A = np.array([[1, 0, a], [a, 1, a], [0, 0, 1]])
    true = np.array([[1, 0, -a], [-a, 1, a * a - a], [0, 0, 1]])
    X = DOORS[door](A[None])[0]
    assert column_errors(X, exact_inverse(A)) < 1e-15
    np.testing.assert_allclose(X[true != 0], true[true != 0], rtol=1e-15)


def test_one_hopeless_matrix_spoils_no_stack():
    rng = np.random.default_rng(0)
    A = np.eye(5) + rng.uniform(-1, 1, (60, 5, 5)) * 10.0 ** rng.choice([0, 50, 100, -100], (60, 5, 5))
    alone = np.concatenate([quietly(BlockInverter(block_size=1).transform, A_i[None]) for A_i in A])
    together = quietly(BlockInverter(block_size=1).transform, A)
    np.testing.assert_array_equal(np.isnan(together), np.isnan(alone))
    found = np.isfinite(alone).all(axis=(1, 2))
    assert found.sum() > 30
    for X, Y in zip(together[found], alone[found], strict=True):
        assert np.linalg.norm((X - Y) / np.abs(Y).max()) < 1e-10


def test_the_exact_inverter_says_where_it_has_few_digits():
    A = make_stack("condition", 20, 5, condition=1e15)
    with pytest.warns(InaccurateInverseWarning, match="of 20 inverses have a residual"):
        quietly(ExactInverter().transform, A, SingularMatrixWarning)


def test_a_certificate_is_that_of_the_equilibrated_matrix():
    A = torch.from_numpy(draw("sparse, rows and columns", np.float64, 200, 5, seed=0))
    X = torch.from_numpy(ExactInverter().transform(A.numpy()))
    assert certify(A, X).certified.all()


def test_silence_means_accuracy():
    """Matrices that float64 can hardly tell from singular ones, in any units: right, or named."""
    rng = np.random.default_rng(0)
    A = np.concatenate([make_stack("condition", 30, 5, condition=c) for c in 10.0 ** np.arange(8, 17)])
    A = A * 10.0 ** rng.integers(-100, 100, (len(A), 5, 1)) * 10.0 ** rng.integers(-100, 100, (len(A), 1, 5))
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        report = RefinedInverter().report(A)
    silent = report.certified & ~report.inaccurate
    assert 100 < silent.sum() < 270
    for A_i, X_i, bound in zip(A[silent], report.inverse[silent], report.error_bound[silent], strict=True):
        true = exact_inverse(A_i)
        square = sum((Fraction(x) - t) ** 2 for x, t in zip(X_i.flatten().tolist(), true.flatten(), strict=True))
        assert float(square / sum(t**2 for t in true.flatten())) ** 0.5 <= bound <= 1e-2
