"""Laws of the compiled passes over a large matrix: what numpy finds, wherever it lies, in blocks of any size."""

import numpy as np
import pytest

from skdmi.figures import CERTIFIED, CONVERGED, OUTSIDE, is_sound
from skdmi.lanes.passes import KEPT, LARGE, CompiledPasses, passes_for
from skdmi.lapack import invert
from skdmi.lapack.passes import NumpyPasses
from skdmi.lapack.scaling import Rooms, Scaled, find_units
from tests.marks import slow_but
from tests.matrices import make_stack

pytestmark = pytest.mark.skipif(not LARGE.is_ready(), reason=f"no kernel: {LARGE.trouble or 'not compiled'}")
KINDS = ["uniform", "condition", "spd", "permutation", "graded"]
SIZES = [49, 64, 95, 96, 97, 128, 131, 192, 193, 199]
both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def found_by(passes, A, X):
    """Return all that passes find of a matrix and an approximate inverse of it, equilibrated, and what they return."""
    scaled = Scaled(*passes.equilibrate(A))
    units = find_units(scaled)
    X = X / scaled.q[:, :, None] / scaled.p[:, None, :]
    sizes, right = passes.measure(scaled.A, X, units)
    found = [*scaled[:3], *sizes, right, passes.squares(scaled.A, X, units, is_left=True)]
    found += [passes.squares(scaled.A, X, units), passes.is_balanced(A)]
    out = np.empty_like(A)
    passes.finish(X, out)
    return [np.copy(one) for one in found], out


def inverted(A, **keywords):
    X = np.full_like(A, 7.0)
    return X, invert(A, X, passes_for=passes_for, **keywords)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("m", SIZES)
@both_dtypes
def test_passes_find_what_numpy_finds(kind, m, dtype):
    A = make_stack(kind, 1, m, dtype=dtype, seed=m)
    X = np.linalg.inv(A.astype(np.float64)) * (1 + 1e-3 * np.random.default_rng(m).standard_normal((m, m)))
    found, out = found_by(CompiledPasses(m), A, X)
    expected, expected_out = found_by(NumpyPasses(Rooms.of(1, m)), A, X)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9)
    np.testing.assert_array_equal(out, expected_out)


@pytest.mark.parametrize("m", slow_but([49, 72, 73, 150, 513], [49, 72, 73, 150, 513, 700, 1300]))
@pytest.mark.parametrize("kind", ["uniform", "spd", "permutation", "condition"])
def test_eliminations_leave_what_rounding_explains(kind, m):
    options = {"condition": 1e10} if kind == "condition" else {}
    A = make_stack(kind, 1, m, seed=m, **options)
    passes = CompiledPasses(m)
    scaled = Scaled(*passes.equilibrate(A))
    X = passes.eliminate(scaled.A)
    sizes, right = passes.measure(scaled.A, X, find_units(scaled))
    assert (right <= sizes[0]).all()
    assert (passes.squares(scaled.A, X, None, is_left=True) <= sizes[1]).all()


def test_what_an_elimination_leaves_too_inexact_is_inverted_by_lapack(monkeypatch):
    A = make_stack("condition", 2, 60, condition=1e4)
    eliminate = CompiledPasses.eliminate
    monkeypatch.setattr(CompiledPasses, "eliminate", lambda self, A: eliminate(self, A) * (1 + 1e-9))
    X, figures = inverted(A)
    assert is_sound(figures.status).all()
    expected = np.linalg.inv(A)
    np.testing.assert_allclose(X, expected, rtol=0, atol=1e-11 * np.abs(expected).max())


@pytest.mark.parametrize("m", [29, 48, 49, 64, 131])
@both_dtypes
def test_units_far_apart_are_measured_alike(m, dtype):
    rng = np.random.default_rng(m)
    A = make_stack("uniform", 1, m, seed=m) * np.exp2(rng.integers(-30, 30, (m, 1))) * np.exp2(rng.integers(-9, 9, m))
    A = A.astype(dtype)
    X = np.linalg.inv(A.astype(np.float64)) * (1 + 1e-3 * rng.standard_normal((m, m)))
    found, out = found_by(CompiledPasses(m), A, X)
    expected, expected_out = found_by(NumpyPasses(Rooms.of(1, m)), A, X)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9)
    np.testing.assert_array_equal(out, expected_out)


@pytest.mark.parametrize("m", [9, 49, 63, 64])
@both_dtypes
def test_balance_is_that_of_numpy(m, dtype):
    rng, numpy_passes, verdicts = np.random.default_rng(m), NumpyPasses(Rooms.of(1, m)), set()
    for spread in np.arange(1, 16).repeat(10):
        A = rng.standard_normal((1, m, m)) * np.exp2(rng.integers(0, spread, (m, m)))
        A = np.where(rng.random(A.shape) < rng.random(), A, 0).astype(dtype)
        balanced = numpy_passes.is_balanced(A)
        assert CompiledPasses(m).is_balanced(A) == balanced
        verdicts.add(bool(balanced[0]))
    assert verdicts == {False, True}


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf, -np.inf])
@both_dtypes
def test_what_is_not_finite_or_zero_is_outside(value, dtype):
    A = make_stack("well", 3, 61, dtype=dtype)
    A[1, 5] = value
    X, figures = inverted(A, details=True)
    assert figures.has(CERTIFIED).tolist() == [True, False, True]
    assert figures.status[1] == OUTSIDE
    alone, _ = inverted(A[2:])
    np.testing.assert_array_equal(X[2:], alone)


@pytest.mark.parametrize("m", [49, 96, 130])
@both_dtypes
def test_answers_do_not_depend_on_the_place_in_memory(m, dtype):
    A = make_stack("uniform", 1, m, dtype=dtype, seed=1)
    X, figures = inverted(A, details=True)
    for offset in range(1, 8):
        moved = np.empty(A.size + 8, dtype)[offset : offset + A.size].reshape(A.shape)
        moved[...] = A
        X_moved, figures_moved = inverted(moved, details=True)
        np.testing.assert_array_equal(X_moved, X)
        np.testing.assert_array_equal(figures_moved, figures)


@pytest.mark.parametrize("m", slow_but([60], [60, 100, 200, 300, KEPT + 1]))
@both_dtypes
def test_verdicts_and_bounds_are_those_of_numpy(m, dtype):
    A = np.concatenate([make_stack(kind, 1, m, dtype=dtype, seed=2) for kind in [*KINDS, "singular", "zero"]])
    X, figures = inverted(A, details=True)
    expected_X = np.empty_like(A)
    expected = invert(A, expected_X, details=True)
    assert (figures.status & expected.status == expected.status).all()
    np.testing.assert_array_equal(figures.status | CONVERGED, expected.status | CONVERGED)
    proved = figures.has(CERTIFIED)
    np.testing.assert_allclose(X[proved], expected_X[proved], rtol=1e-6, atol=1e-9 * abs(expected_X[proved]).max())
    for name in ("error_bound", "rho", "condition_lower", "condition_upper"):
        one, other = (getattr(found, name)[proved] for found in (figures, expected))
        np.testing.assert_allclose(one, other, rtol=0.5 if name in ("error_bound", "rho") else 1e-4)
    assert is_sound(figures.status)[0]
    assert (figures.status[-2:] == OUTSIDE).all()


def test_threads_have_rooms_of_their_own():
    from concurrent.futures import ThreadPoolExecutor

    stacks = [make_stack("uniform", 20, 64, seed=seed) for seed in range(4)]
    expected = [inverted(A)[0] for A in stacks]
    with ThreadPoolExecutor(4) as pool:
        for X, (found, _) in zip(expected, pool.map(inverted, stacks), strict=True):
            np.testing.assert_array_equal(found, X)
