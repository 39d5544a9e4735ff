"""Laws of log-determinants: bounds above the exact truth, signs proved, whatever route, container and units are."""

import itertools

import numpy as np
import pytest
import torch
from flint import arb, ctx
from hypothesis import given, settings
from hypothesis import strategies as st

import skdmi.lanes.determinants as lanes
import skdmi.linalg.determinant as reference
from benchmarks.lib.arithmetic_settings import SETTINGS
from benchmarks.lib.attack_matrices import FAMILIES
from benchmarks.lib.determinant_attack import attack, distance, is_right, stack_of
from benchmarks.lib.exact_arithmetic import exactly, rational
from skdmi.estimators.determinants import slogdet
from skdmi.lanes.determinants import DETERMINANT, LARGEST, Parts, log_determinants
from tests.marks import slow_but
from tests.matrices import make_stack

REGULAR = ("uniform", "well", "condition", "spd", "orthogonal", "permutation", "graded")
with_kernel = pytest.mark.skipif(not DETERMINANT.is_ready(), reason="no kernel")
both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def by_reference(A):
    return lanes.LogDeterminant(*(field.numpy() for field in reference.slogdet(torch.from_numpy(np.array(A)))))


ROUTES = {"any": slogdet, "reference": by_reference}
each_route = pytest.mark.parametrize("route", ROUTES.values(), ids=ROUTES)


def hilbert(n):
    i = np.arange(n)
    return 1 / (1.0 + i + i[:, None])


def verdicts(A, found):
    """Return, for each matrix, True or False where something is claimed, else None."""
    return [is_right(torch.from_numpy(a), *map(float, fields)) for a, *fields in zip(A, *found, strict=True)]


def assert_agree(one, other):
    """Assert that two answers, with their bounds, may be of the same determinants; both are proved."""
    np.testing.assert_array_equal(one.sign, other.sign)
    rounding = 4e-16 * (1 + abs(one.log_abs_det))
    assert (abs(one.log_abs_det - other.log_abs_det) <= one[2] + other[2] + rounding).all()


# The exact truth


@each_route
@both_dtypes
@pytest.mark.parametrize("m", slow_but([3, 8], [1, 2, 3, 4, 5, 8, 12, 17]))
@pytest.mark.parametrize("kind", REGULAR)
def test_ordinary_matrices_have_tight_bounds_that_hold(kind, m, dtype, route):
    A = make_stack(kind, 12, m, dtype=dtype, seed=m)
    found = route(A)
    assert verdicts(A, found) == [True] * 12
    u = 2.0**-53
    assert (found.log_abs_det_bound <= u * abs(found.log_abs_det) + 5 * u).mean() > 0.8
    assert found.log_abs_det_bound.max() < 1e-12


@each_route
@pytest.mark.parametrize("family", FAMILIES)
def test_no_attack_beats_a_bound_or_a_sign(family, route):
    def find(A):
        return route(A)

    granted, violated = attack(14 * 64, families=(family,), find=find)
    assert violated == 0
    if family in {"integers", "dyadic", "repeated_rows", "zero_rows", "permuted_rows"}:
        assert granted == 0
    if family in {"uniform", "hilbert", "graded", "graded_entries", "wide_columns"}:
        assert granted > 500 if family in {"uniform", "hilbert", "graded"} else granted > 200


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("family", ["subnormal", "overflow_prone", "wide_columns", "uniform"])
def test_no_setting_weakens_a_bound(family, setting):
    for (m, dtype), route in itertools.product([(2, np.float64), (4, np.float32), (6, np.float64)], ROUTES.values()):
        A = stack_of(family, dtype, m, 24, seed=m)
        with SETTINGS[setting]():
            found = route(A)
        assert False not in verdicts(A, found)


@settings(max_examples=60)
@given(
    m=st.integers(1, 5),
    where=st.sampled_from(["rows", "columns", "both", "entries"]),
    dtype=st.sampled_from([np.float32, np.float64]),
    seed=st.integers(0, 2**31 - 1),
)
def test_bounds_hold_over_the_whole_range_of_exponents(m, where, dtype, seed):
    rng = np.random.default_rng(seed)
    lowest, highest = (-1070, 1020) if dtype == np.float64 else (-145, 126)
    shape = {"rows": (4, m, 1), "columns": (4, 1, m)}.get(where, (4, m, m))
    power = rng.integers(lowest, highest, shape)
    if where == "both":
        power = rng.integers(lowest // 2, highest // 2, (4, m, 1)) + rng.integers(lowest // 2, highest // 2, (4, 1, m))
    with np.errstate(all="ignore"):
        A = np.ldexp(rng.uniform(-1, 1, (4, m, m)), power).astype(dtype)
    for route in ROUTES.values():
        assert False not in verdicts(A, route(A))


@settings(max_examples=60)
@given(entries=st.lists(st.integers(-3, 3), min_size=9, max_size=9), power=st.integers(-40, 40))
def test_small_integers(entries, power):
    A = np.ldexp(np.reshape(entries, (1, 3, 3)).astype(float), power)
    det = round(np.linalg.det(np.reshape(entries, (3, 3))))
    for route in ROUTES.values():
        sign, log_abs_det, bound = route(A)
        if det == 0:
            assert bound[0] == np.inf
        else:
            assert sign[0] == np.sign(det)
            assert abs(log_abs_det[0] - np.log(abs(det)) - 3 * power * np.log(2)) <= bound[0] + 1e-15 * (1 + abs(power))
            assert bound[0] < 1e-13


@each_route
@pytest.mark.parametrize("n", range(1, 13))
def test_hilbert_matrices(n, route):
    A = hilbert(n)[None]
    found = route(A)
    assert verdicts(A, found) == [True]
    assert found.log_abs_det_bound[0] < (1e-13 if n < 12 else 1e-9)


@each_route
def test_units_cost_no_digits(route):
    rng = np.random.default_rng(0)
    rows, columns = 10.0 ** rng.uniform(-100, 100, (2, 30, 8))
    A = rows[..., None] * rng.uniform(-1, 1, (30, 8, 8)) * columns[:, None]
    found = route(A)
    assert verdicts(A, found) == [True] * 30
    assert (found.log_abs_det_bound <= 2.0**-53 * abs(found.log_abs_det) + 1e-13).all()


# What is proved before a logarithm is taken, which would hide it


def parts_of(module, monkeypatch, find, A):
    """Return the parts from which a route makes its answers, first and last."""
    seen = []

    def spy(parts, m, log):
        seen.append(Parts(*(np.asarray(field) for field in parts)))
        return original(parts, m, log)

    original = module.log_determinant
    monkeypatch.setattr(module, "log_determinant", spy)
    find(A)
    monkeypatch.undo()
    return seen[0], seen[-1]


def claims_too_much(a, high, low, exponent, value, error):
    """Return whether the correction of one logarithm is further off than its bound."""
    det, pivots = abs(rational(torch.from_numpy(a)).det()), exactly(float(high)) + exactly(float(low))
    with ctx.workprec(400):
        truth = (arb(det) / arb(2) ** int(exponent) / arb(pivots)).log()
        slack = 8 * len(a) * 2.0**-106
        return not abs(truth - arb(exactly(float(value)))) <= arb(exactly(float(error))) + slack


@pytest.mark.parametrize("name", ["lanes", "reference"])
@pytest.mark.parametrize(
    "family", ["uniform", "hilbert", "graded", "graded_entries", "nearly_singular", "badly_scaled"]
)
def test_the_correction_is_as_right_as_it_claims(name, family, monkeypatch):
    module = {"lanes": lanes, "reference": reference}[name]
    if module is lanes and not DETERMINANT.is_ready():
        pytest.skip("no kernel")
    find = log_determinants if module is lanes else by_reference
    for m in (2, 3, 5, 8):
        for a in stack_of(family, np.float64, m, 16, seed=m):
            for parts in parts_of(module, monkeypatch, find, a[None]):
                if parts.error[0] < np.inf:
                    assert not claims_too_much(a, *(field[0] for field in parts))


# Algebra


@each_route
@settings(max_examples=20)
@given(seed=st.integers(0, 10_000), m=st.integers(1, 9))
def test_products_scalars_transposes_and_inverses(route, seed, m):
    A, B = make_stack("well", 3, m, seed=seed), make_stack("uniform", 3, m, seed=seed + 1)
    of_A, of_B = route(A), route(B)
    powers = np.ldexp(A, 7)
    scaled = route(-powers)
    np.testing.assert_array_equal(scaled.sign, of_A.sign * (-1.0) ** m)
    np.testing.assert_allclose(scaled.log_abs_det, of_A.log_abs_det + 7 * m * np.log(2), rtol=1e-13, atol=1e-13)
    assert_agree(route(np.ascontiguousarray(A.swapaxes(1, 2))), of_A)
    product = route(A @ B)
    rounding = 1e-12 * np.linalg.cond(A) * np.linalg.cond(B)
    alike = rounding < 1e-3
    np.testing.assert_array_equal(product.sign[alike], (of_A.sign * of_B.sign)[alike])
    assert (abs(product.log_abs_det - of_A.log_abs_det - of_B.log_abs_det) <= rounding)[alike].all()
    inverse = route(np.linalg.inv(A))
    np.testing.assert_array_equal(inverse.sign, of_A.sign)
    np.testing.assert_allclose(inverse.log_abs_det, -of_A.log_abs_det, atol=1e-12)


@each_route
@settings(max_examples=20)
@given(seed=st.integers(0, 10_000), m=st.integers(2, 9))
def test_exchanged_rows_change_the_sign_alone(route, seed, m):
    A = make_stack("well", 3, m, seed=seed)
    order = np.random.default_rng(seed).permutation(m)
    parity = round(np.linalg.det(np.eye(m)[order]))
    found, permuted = route(A), route(A[:, order])
    np.testing.assert_array_equal(permuted.sign, parity * found.sign)
    assert_agree(permuted._replace(sign=found.sign), found)
    assert (route(np.eye(m)[None, order]).log_abs_det == 0).all()


@each_route
def test_triangular_matrices_have_the_product_of_their_diagonal(route):
    A = np.tril(make_stack("uniform", 20, 7)) + 2 * np.eye(7)
    expected = np.log(np.diagonal(A, axis1=1, axis2=2)).sum(-1)
    for stack in (A, np.ascontiguousarray(A.swapaxes(1, 2))):
        sign, log_abs_det, bound = route(stack)
        assert (sign == 1).all()
        assert (abs(log_abs_det - expected) <= bound + 1e-14).all()


@each_route
@both_dtypes
@pytest.mark.parametrize("m", [1, 2, 3, 7, 16, 40])
def test_numpy_agrees(m, dtype, route):
    A = make_stack("uniform", 20, m, dtype=dtype, seed=m)
    sign, log_abs_det = np.linalg.slogdet(A.astype(np.float64))
    found = route(A)
    np.testing.assert_array_equal(found.sign, sign)
    assert (abs(found.log_abs_det - log_abs_det) <= found.log_abs_det_bound + 1e-12 * np.linalg.cond(A)).all()
    assert {field.dtype for field in found} == {np.dtype(np.float64)}


# Each matrix alone


@each_route
def test_what_is_bad_spoils_nothing(route):
    A = make_stack("uniform", 20, 4)
    expected = route(A)
    A[3, 1, 2], A[7], A[9] = np.nan, np.inf, 0.0
    A[11] = make_stack("singular", 1, 4)[0]
    A[13, :, 2] = 0
    found = route(A)
    bad = [3, 7, 9, 11, 13]
    assert np.isinf(found.log_abs_det_bound[bad]).all()
    assert np.isnan(found.sign[[3, 7]]).all()
    assert np.isnan(found.log_abs_det[[3, 7]]).all()
    assert (found.sign[[9, 13]] == 0).all()
    assert (found.log_abs_det[[9, 13]] == -np.inf).all()
    for field, field_expected in zip(found, expected, strict=True):
        np.testing.assert_allclose(np.delete(field, bad), np.delete(field_expected, bad), rtol=1e-14)


@with_kernel
@both_dtypes
@given(seed=st.integers(0, 1000), n=st.integers(1, 20), m=st.integers(1, 9))
@settings(max_examples=20)
def test_neither_place_nor_neighbours_matter_in_lanes(dtype, seed, n, m):
    rng = np.random.default_rng(seed)
    A = make_stack(("uniform", "singular", "graded")[seed % 3] if m > 1 else "uniform", n, m, seed=seed, dtype=dtype)
    A[rng.random(n) < 0.2] *= np.nan
    found, left = log_determinants(A)
    order = rng.permutation(n)
    permuted, left_permuted = log_determinants(A[order])
    np.testing.assert_array_equal(left_permuted, left[order])
    for field, field_permuted in zip(found, permuted, strict=True):
        np.testing.assert_array_equal(field_permuted[~left_permuted], field[order][~left[order]])


# Lanes and the reference


@with_kernel
@both_dtypes
@pytest.mark.parametrize("m", slow_but([1, 3, 8, 16], [1, 2, 3, 4, 5, 7, 8, 11, 16, 33, LARGEST]))
def test_lanes_and_the_reference_agree(m, dtype):
    A = make_stack("uniform", 30, m, dtype=dtype, seed=m)
    found, left = log_determinants(A)
    assert left.mean() < 0.1
    mine, theirs = (lanes.LogDeterminant(*(field[~left] for field in each)) for each in (found, by_reference(A)))
    assert_agree(mine, theirs)
    assert (mine.log_abs_det_bound <= 2 * theirs.log_abs_det_bound + 2e-15).all()


@with_kernel
def test_a_stack_of_many_parts_is_the_stack_of_its_parts(monkeypatch):
    A = make_stack("uniform", 50, 3)
    expected = slogdet(A)
    monkeypatch.setattr("skdmi.chunks.CHUNK_ENTRIES", 100)
    for n_threads in (1, 2):
        monkeypatch.setattr("skdmi.lanes.parts.count_threads", lambda n=n_threads: n)
        for field, field_expected in zip(slogdet(A), expected, strict=True):
            np.testing.assert_array_equal(field, field_expected)


@pytest.mark.parametrize("n_entries", [2**18, 60])
def test_without_a_kernel_the_reference_answers(n_entries, monkeypatch):
    A = np.concatenate([make_stack("uniform", 9, 5), make_stack("singular", 2, 5)])
    expected = by_reference(A)
    monkeypatch.setattr("skdmi.estimators.determinants.is_ready", lambda m, n: False)
    monkeypatch.setattr("skdmi.chunks.CHUNK_ENTRIES", n_entries)
    found = slogdet(A)
    np.testing.assert_array_equal(found.sign[:9], expected.sign[:9])
    np.testing.assert_allclose(found.log_abs_det[:9], expected.log_abs_det[:9], rtol=1e-12)
    assert np.isinf(found.log_abs_det_bound[9:]).all()


# Containers


@both_dtypes
def test_every_container_keeps_its_kind(dtype):
    A = make_stack("uniform", 6, 4, dtype=dtype).reshape(2, 3, 4, 4)
    expected = slogdet(A)
    assert all(type(field) is np.ndarray and field.shape == (2, 3) for field in expected)
    tensor = slogdet(torch.from_numpy(A).requires_grad_())
    assert all(field.dtype == torch.float64 and not field.requires_grad for field in tensor)
    for field, *others in zip(expected, tensor, slogdet(A[::-1, :, ::-1].copy()[::-1, :, ::-1]), strict=True):
        for other in others:
            np.testing.assert_array_equal(np.asarray(other), field)
    for field, single in zip(expected, slogdet(A[0, 0]), strict=True):
        assert single.shape == ()
        np.testing.assert_allclose(single, field[0, 0], rtol=1e-15)
    A.flags.writeable = False
    assert (slogdet(A).sign == expected.sign).all()


def test_integers_lists_and_half_precision():
    assert slogdet([[2, 1], [1, 3]]).log_abs_det == pytest.approx(np.log(5))
    assert slogdet(torch.tensor([[2, 1], [1, 3]])).sign.item() == 1
    half = torch.tensor([[2.0, 1.0], [1.0, 3.0]], dtype=torch.bfloat16)
    assert slogdet(half).log_abs_det_bound.item() < 1e-15


def test_empty_stacks_have_empty_answers():
    for shape in [(0, 3, 3), (2, 0, 4, 4)]:
        assert all(field.shape == shape[:-2] for field in slogdet(np.empty(shape)))
        assert all(field.shape == shape[:-2] for field in slogdet(torch.empty(shape)))
    assert tuple(slogdet(np.empty((0, 0)))) == (1, 0, 0)
    assert [field.tolist() for field in slogdet(torch.empty(2, 0, 0))] == [[1, 1], [0, 0], [0, 0]]


def test_dask_arrays_are_answered_lazily():
    da = pytest.importorskip("dask.array")
    A = make_stack("uniform", 10, 4)
    A[3, 0, 0] = np.nan
    expected = slogdet(A)
    found = slogdet(da.from_array(A, chunks=(3, 2, 4)))
    for field, field_expected in zip(found, expected, strict=True):
        assert field.chunks == ((3, 3, 3, 1),)
        np.testing.assert_allclose(field.compute(), field_expected, rtol=1e-9)
    assert slogdet(da.from_array(A[0])).sign.compute() == expected.sign[0]
    assert slogdet(da.zeros((0, 2, 2))).sign.compute().shape == (0,)


@pytest.mark.parametrize(
    ("A", "error", "words"),
    [
        (np.eye(2) + 1j, ValueError, "omplex"),
        (torch.eye(2) + 1j, ValueError, "omplex"),
        (np.ones((2, 3)), ValueError, "square"),
        (np.ones(3), ValueError, "square"),
        ([[1.0, 2.0], [3.0]], ValueError, "ragged"),
        ((row for row in np.eye(2)), TypeError, "generator"),
        (np.array([["a"]]), ValueError, "strings"),
    ],
)
def test_what_is_no_stack_is_refused(A, error, words):
    with pytest.raises(error, match=words):
        slogdet(A)


def test_distance_is_exact_enough():
    with ctx.workprec(300):
        assert distance(exactly(2.0), float(np.log(2.0))) < 2.0**-53
