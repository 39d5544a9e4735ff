"""Laws of inverses in lanes: those of the torch certificate, of every matrix alone, of every processor."""

import json
import os
import platform
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.lib.attack_matrices import FAMILIES
from benchmarks.lib.certificate_judge import Tally
from benchmarks.lib.exact_arithmetic import rational, rounded
from skdmi.figures import CERTIFIED, CONVERGED, NONSINGULAR, OUTSIDE, WANTING, Figures
from skdmi.iteration.promise import keeps_promise
from skdmi.lanes import stack
from skdmi.lanes.stack import INVERSE, LARGEST
from skdmi.linalg import Certificate, certify, equilibrate
from skdmi.linalg.certificate import _OFF_SCALE as OFF_SCALE
from skdmi.linalg.scaling import exponents, scale_both
from skdmi.metrics import frobenius_residuals
from tests.marks import slow_but
from tests.matrices import make_stack

pytestmark = pytest.mark.skipif(not INVERSE.is_ready(), reason=f"no kernel: {INVERSE.trouble or 'not compiled'}")
SOUND = CERTIFIED | NONSINGULAR | CONVERGED
SIZES = [1, 2, 3, 4, 5, 7, 8, 11, 16, 33, LARGEST]
both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def invert(A, **options):
    A = np.ascontiguousarray(A)
    X = np.empty_like(A)
    return X, stack.invert(A, X, details=True, proof=True, **options)


def attack(family, dtype, m, n, seed):
    """Return a stack of a family in a dtype, within its range."""
    A = FAMILIES[family](np.random.default_rng(seed), n, m)
    limit = np.finfo(dtype).max
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(np.nan_to_num(A.astype(dtype), posinf=limit, neginf=-limit))


def scales_beside_maxima(A):
    """Return the exponents of rows and columns that the reference takes, less those by which maxima come near 1."""
    size = exponents(A)
    rows = -size.amax(dim=-1)
    columns = -(size + rows.unsqueeze(-1)).amax(dim=-2)
    _, *chosen = equilibrate(A)
    return chosen[0] - rows, chosen[1] - columns


# What is proved


@pytest.mark.parametrize("m", slow_but([3, 8], SIZES))
@pytest.mark.parametrize("family", FAMILIES)
def test_verdicts_and_bounds_are_those_of_the_torch_certificate(family, m):
    A = attack(family, np.float64, m, 64, seed=m)
    X, found = invert(A)
    inside = ~found.has(OUTSIDE)
    A, X, found = A[inside], X[inside], Figures(*(field[inside] for field in found))
    reference = certify(torch.from_numpy(A), torch.from_numpy(X))
    assert found._fields[-3:] == ("rho", "condition_lower", "condition_upper")
    certified = found.has(CERTIFIED)
    np.testing.assert_array_equal(certified, reference.certified)
    np.testing.assert_array_equal(found.has(NONSINGULAR), reference.nonsingular)
    assert np.isfinite(found.error_bound[certified]).all()
    # Where rows or columns are barely balanced, the reference may take other scales, and other bounds follow.
    scaled_alike = [(field == 0).all(dim=-1) for field in scales_beside_maxima(torch.from_numpy(A))]
    alike = certified & (scaled_alike[0] & scaled_alike[1]).numpy()
    for ours, theirs in zip(found[-3:], (reference.rho, *reference[3:5]), strict=True):
        np.testing.assert_allclose(ours[alike], theirs.numpy()[alike], rtol=0.3)
    # On the brink of a closer look one of them may take it, and gain what makes it worth the while.
    np.testing.assert_allclose(
        np.log(found.error_bound[alike]), np.log(reference.error_bound.numpy()[alike]), atol=np.log(2 * OFF_SCALE)
    )


@pytest.mark.parametrize("m", slow_but([3], [1, 2, 3, 4, 6, 8]))
@both_dtypes
@pytest.mark.parametrize("family", FAMILIES)
def test_no_certificate_is_false_and_no_bound_violated(family, dtype, m):
    A = attack(family, dtype, m, 24, seed=7)
    X, found = invert(A)
    granted = found.has(CERTIFIED) & ~found.has(OUTSIDE)
    rows = -exponents(torch.from_numpy(A).double()).amax(dim=-1)
    # rho speaks of the inverse before it is rounded to float32.
    rho = found.rho if dtype == np.float64 else np.full(len(A), np.inf)
    tally = Tally()
    for k in range(len(A)):
        fields = granted[k], rho[k], *(field[k] for field in (found.error_bound, *found[-2:])), True
        tally.judge(torch.from_numpy(A[k]), torch.from_numpy(X[k]), Certificate(*fields), rows[k].tolist())
    assert (tally.false, tally.violated) == (0, 0)


@both_dtypes
@pytest.mark.parametrize("m", SIZES)
def test_singular_integers_have_no_certificate(dtype, m):
    A = make_stack("singular", 200, m, dtype=dtype) if m > 1 else np.zeros((9, 1, 1), dtype)
    assert not invert(A)[1].has(CERTIFIED).any()


@pytest.mark.parametrize("kind", ["uniform", "well", "spd", "condition", "graded", "orthogonal", "permutation"])
@pytest.mark.parametrize("m", slow_but([3, 8], SIZES))
def test_converged_means_that_both_residuals_are_explained_in_both_units(kind, m):
    A = make_stack(kind, 100, m, seed=m)
    X, found = invert(A)
    assert (found.status | WANTING == SOUND | WANTING).all()
    scaled, *units = equilibrate(torch.from_numpy(A))
    assert keeps_promise(scaled, scale_both(torch.from_numpy(X), -units[1], -units[0]), units).double().mean() > 0.95
    for left in (False, True):
        floor = np.linalg.norm(abs(X) @ abs(A) if left else abs(A) @ abs(X), axis=(1, 2)) * 2.0**-53
        assert (frobenius_residuals(A, X, left=left) <= 12 * floor).all()


# Each matrix alone


@both_dtypes
@given(seed=st.integers(0, 1000), n=st.integers(1, 20), m=st.integers(1, 9))
@settings(max_examples=30)
def test_neither_place_nor_neighbours_matter(dtype, seed, n, m):
    rng = np.random.default_rng(seed)
    A = make_stack(("uniform", "singular", "graded")[seed % 3] if m > 1 else "uniform", n, m, seed=seed, dtype=dtype)
    A[rng.random(n) < 0.2] *= np.nan
    A[rng.random(n) < 0.1] = np.inf
    X, found = invert(A)
    order = rng.permutation(n)
    permuted, found_permuted = invert(A[order])
    np.testing.assert_array_equal(permuted, X[order])
    for field, field_permuted in zip(found, found_permuted, strict=True):
        np.testing.assert_array_equal(field_permuted, field[order])
    alone, found_alone = invert(A[-1:])
    np.testing.assert_array_equal(alone[0], X[-1])
    assert found_alone.status[0] == found.status[-1]


def test_what_is_not_finite_is_left_and_spoils_nothing():
    A = make_stack("uniform", 20, 4)
    expected, _ = invert(A)
    A[3, 1, 2], A[7] = np.nan, np.inf
    X, found = invert(A)
    assert np.flatnonzero(found.has(OUTSIDE)).tolist() == [3, 7]
    assert not found.has(CERTIFIED)[[3, 7]].any()
    rest = np.delete(np.arange(20), [3, 7])
    np.testing.assert_array_equal(X[rest], expected[rest])


@both_dtypes
def test_a_stack_of_many_parts_is_the_stack_of_its_parts(dtype, monkeypatch):
    A = make_stack("uniform", 50, 3, dtype=dtype)
    expected, found = invert(A)
    monkeypatch.setattr("skdmi.chunks.CHUNK_ENTRIES", 100)
    for n_threads in (1, 2):
        monkeypatch.setattr("skdmi.lanes.parts.count_threads", lambda n=n_threads: n)
        X, in_parts = invert(A)
        np.testing.assert_array_equal(X, expected)
        np.testing.assert_array_equal(in_parts.error_bound, found.error_bound)


# Exactness


@pytest.mark.parametrize("m", SIZES)
def test_float32_is_float64_rounded_once(m):
    A = make_stack("well", 30, m, dtype=np.float32)
    X, _ = invert(A)
    wide, _ = invert(A.astype(np.float64), corrects=False)
    np.testing.assert_array_equal(X, wide.astype(np.float32))


@given(seed=st.integers(0, 100), m=st.integers(1, 8))
@settings(max_examples=25)
def test_units_in_powers_of_two_change_no_bit(seed, m):
    rng = np.random.default_rng(seed)
    A = make_stack("uniform", 9, m, seed=seed)
    rows, columns = rng.integers(-90, 90, (2, 9, m))
    plain, found = invert(A)
    scaled, found_scaled = invert(np.ldexp(A, rows[..., None]))
    np.testing.assert_array_equal(found_scaled.has(CERTIFIED), found.has(CERTIFIED))
    same = ~(found.has(WANTING) | found_scaled.has(WANTING) | found.has(OUTSIDE))
    np.testing.assert_array_equal(np.ldexp(scaled, rows[:, None])[same], plain[same])
    # Rows are brought near 1 before columns, so where columns have units, other powers of two may be found.
    scaled, found_scaled = invert(np.ldexp(A, columns[:, None]))
    for k in np.flatnonzero(same & ~found_scaled.has(OUTSIDE)):
        floor = found.error_bound[k] + found_scaled.error_bound[k] + 1e-15
        assert np.linalg.norm(np.ldexp(scaled[k], columns[k][:, None]) - plain[k]) <= 1e3 * floor * np.linalg.norm(
            plain[k]
        )


def test_the_ill_conditioned_are_right_to_their_last_bit():
    i = np.arange(9)
    A = (1 / (1 + i + i[:, None]))[None]
    X, found = invert(A)
    assert found.n_steps.tolist() == [1]
    exact = [rounded(x) for x in rational(torch.from_numpy(A[0])).inv().entries()]
    np.testing.assert_allclose(X[0], np.reshape(exact, (9, 9)), rtol=3e-16)
    rough, found = invert(A, corrects=False)
    assert found.n_steps.tolist() == [0]
    assert np.abs(rough[0] / np.reshape(exact, (9, 9)) - 1).max() > 1e-9


@both_dtypes
def test_a_good_start_is_improved_and_certified(dtype):
    A = make_stack("well", 30, 5, dtype=dtype)
    exact = np.linalg.inv(A.astype(np.float64))
    rng = np.random.default_rng(0)
    X, found = invert(A, start=exact * (1 + 1e-3 * rng.standard_normal(exact.shape)))
    assert (found.status | WANTING == SOUND | WANTING).all()
    assert (found.n_steps >= 1).all()
    np.testing.assert_allclose(X, exact, rtol=1e-13 if dtype == np.float64 else 1e-7, atol=1e-13)
    _, found = invert(A, start=np.zeros_like(exact))
    assert not found.has(CERTIFIED).any()


# Any processor


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="names a processor of x86-64")
def test_narrower_vectors_give_the_same_up_to_rounding(tmp_path):
    A = make_stack("condition", 20, 6, condition=1e4)
    np.save(tmp_path / "A.npy", A)
    script = (
        "import json, sys, numpy as np\n"
        "from skdmi.lanes import stack\n"
        "A = np.load(sys.argv[1]); X = np.empty_like(A)\n"
        "assert stack.INVERSE.compile(), stack.INVERSE.trouble\n"
        "found = stack.invert(A, X, details=True)\n"
        "print(json.dumps([stack.count_lanes(), found.status.tolist(), X.tolist()]))\n"
    )
    environment = os.environ | {"NUMBA_CPU_NAME": "haswell", "SKDMI_CACHE_DIR": str(tmp_path)}
    environment.pop("NUMBA_CPU_FEATURES", None)
    run = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "A.npy"], env=environment, capture_output=True, text=True, check=True
    )
    n_lanes, status, X = json.loads(run.stdout)
    assert n_lanes == 4
    expected, found = invert(A)
    assert status == found.status.tolist()
    np.testing.assert_allclose(X, expected, rtol=1e-11)
