"""Laws of tight certificates and of inverses refined to their last bit: true everywhere, and hardly above the truth."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.lib.exact_arithmetic import rational, rounded
from skdmi.lanes import checks
from skdmi.linalg import certify_tightly, refine_tightly
from skdmi.linalg.doubled import accurate_product, bounded_residual
from tests.exact import are_true, correctly_rounded, exact_inverse, hilbert, holds, relative_error
from tests.matrices import make_stack

SPOILED = (0.0, 1e-16, 1e-12, 1e-8, 1e-3, 0.3)
ROUTES = ("reference", "lanes")
each_route = pytest.mark.parametrize("route", ROUTES)


def lu_inverse(A):
    return torch.linalg.inv_ex(A).inverse


def ill_scaled(kind, n_matrices, m, seed, dtype=np.float64):
    """Return stacks that break bounds."""
    rng = np.random.default_rng(seed)
    A = make_stack("uniform", n_matrices, m, seed=seed)
    span = 90 if dtype == np.float64 else 12
    if kind == "rows and columns":
        A = (
            A
            * 2.0 ** rng.integers(-span, span, (n_matrices, m, 1))
            * 2.0 ** rng.integers(-span, span, (n_matrices, 1, m))
        )
    elif kind == "entries":
        A = A * 2.0 ** rng.integers(-span, span, A.shape)
    elif kind == "nearly singular":
        A[:, -1] = A[:, 0] + 2.0 ** -rng.integers(5, 52, (n_matrices, 1)) * A[:, -1]
    elif kind == "integers":
        A = rng.integers(-3, 4, A.shape).astype(np.float64)
    elif kind == "permutations":
        A = make_stack("permutation", n_matrices, m, seed=seed) * 2.0 ** rng.integers(-span, span, (n_matrices, m, 1))
    elif kind == "huge and tiny":
        A = A * 2.0 ** (rng.choice([-1040, -1000, 0, 900], (n_matrices, 1, 1)) * (dtype == np.float64))
    return A.astype(dtype)


KINDS = ("uniform", "rows and columns", "entries", "nearly singular", "integers", "permutations", "huge and tiny")


def check(A, X, route):
    """Return certified, error and entry bounds, as a route finds them."""
    if route == "reference":
        found = certify_tightly(torch.from_numpy(A), torch.from_numpy(X))
        proof = found.certificate
        return [T.numpy() for T in (proof.nonsingular, proof.error_bound, found.entry_bound)]
    bound = np.empty(A.shape)
    found = checks.check(A, X, bound)
    return (found.status & 2) != 0, found.error_bound, bound


def refine(A, route):
    """Return inverses, and what a route finds of them."""
    if route == "reference":
        stack = torch.from_numpy(A)
        found = refine_tightly(stack, lu_inverse(stack.double()), lu_inverse)
        proof = found.certificate
        return [T.numpy() for T in (found.inverse, proof.nonsingular, proof.error_bound, found.entry_bound)]
    X, bound = np.empty((2, *A.shape))
    found = checks.invert_tightly(A, X, bound)
    return X, (found.status & 2) != 0, found.error_bound, bound


def skip_without(route, m=3):
    if route == "lanes" and not checks.is_ready(m):
        pytest.skip(f"There is no kernel here: {checks.CHECK.trouble}")


# Residuals and products


@pytest.mark.parametrize("scale", [1.0, 2.0**-800, 2.0**90])
@pytest.mark.parametrize("m", [1, 2, 3, 7, 16])
def test_residuals_and_products_are_within_their_bounds(m, scale):
    A = torch.from_numpy(make_stack("condition", 1, m, condition=1e8))
    X = lu_inverse(A) * (1 + 1e-6)
    low = X * 2.0**-54 * torch.from_numpy(make_stack("uniform", 1, m, seed=1))
    R, error = bounded_residual(A, X * scale, low * scale)
    product = rational(A[0]) * (rational(X[0] * scale) + rational(low[0] * scale))
    for i in range(m):
        for j in range(m):
            exact = int(i == j) - product[i, j]
            assert holds(error[0, i, j], rational(R)[i, j] - exact if m == 1 else rational(R[0])[i, j] - exact)
    assert (error[0] <= 2.0**-52 * R.abs()[0] + 1e-24 * scale * (A.abs() @ X.abs())[0] + 1e-24).all()
    high, rest = accurate_product(A, X, low)
    difference = rational(high[0]) + rational(rest[0]) - rational(A[0]) * (rational(X[0]) + rational(low[0]))
    allowed = (A.abs() @ X.abs())[0] * (m + 9) * 2.0**-97
    assert all(map(holds, allowed.flatten(), difference.entries()))


# Truth


@each_route
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("kind", KINDS)
def test_bounds_of_given_inverses_are_true(kind, dtype, route):
    for m in (1, 2, 3, 5):
        skip_without(route, m)
        A = ill_scaled(kind, len(SPOILED), m, 10 + m, dtype)
        rng = np.random.default_rng(m)
        X = lu_inverse(torch.from_numpy(A).double()).nan_to_num(0, 0, 0).numpy()
        X = X * (1 + np.array(SPOILED)[:, None, None] * rng.uniform(-1, 1, X.shape))
        assert are_true(A, X, *check(A, X, route))


@each_route
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("kind", KINDS)
def test_bounds_of_refined_inverses_are_true(kind, dtype, route):
    for m in (1, 2, 4):
        skip_without(route, m)
        A = ill_scaled(kind, 6, m, 20 + m, dtype)
        X, *found = refine(A, route)
        assert are_true(A, X, *found)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(-3, 3), min_size=9, max_size=9),
    st.lists(st.integers(-400, 400), min_size=6, max_size=6),
    st.lists(st.floats(-2, 2), min_size=9, max_size=9),
    st.sampled_from(ROUTES),
)
def test_nobody_gets_a_false_bound(integers, powers, spoiled, route):
    skip_without(route)
    A = np.array(integers, float).reshape(1, 3, 3)
    A = A * 2.0 ** np.array(powers[:3])[:, None] * 2.0 ** np.array(powers[3:])
    inverse = exact_inverse(A[0])
    X = np.zeros_like(A) if inverse is None else correctly_rounded(inverse)[None]
    X = X + X * np.array(spoiled).reshape(3, 3) * 2.0 ** -(abs(powers[0]) % 60)
    assert are_true(A, X, *check(A, X, route))
    Z, *found = refine(A, route)
    assert are_true(A, Z, *found)


def test_subnormal_numbers_that_are_flushed_make_no_bound_false():
    A = np.concatenate([ill_scaled(kind, 4, 3, 5) for kind in KINDS])
    X = lu_inverse(torch.from_numpy(A)).nan_to_num(0, 0, 0).numpy() * (1 + 2.0**-40)
    if not torch.set_flush_denormal(True):
        pytest.skip("This processor does not flush.")
    try:
        found = check(A, X, "reference")
        Z, *refined = refine(A, "reference")
    finally:
        torch.set_flush_denormal(False)
    assert are_true(A, X, *found)
    assert are_true(A, Z, *refined)


# Tightness

HILBERT = {f"hilbert{m}": hilbert(m)[None] for m in range(3, 12)}
ORDINARY = {
    "uniform": make_stack("uniform", 4, 16),
    "wishart": (lambda G: G @ G.transpose(0, 2, 1))(make_stack("uniform", 4, 16, seed=1)),
    "graded": ill_scaled("rows and columns", 4, 8, 0),
}


def by_name(stacks):
    return pytest.mark.parametrize("A", stacks.values(), ids=stacks)


@by_name(ORDINARY | HILBERT)
def test_bounds_are_hardly_above_the_truth(A):
    X = np.linalg.inv(A)
    certified, error_bound, _ = check(A, X, "reference")
    assert certified.all()
    for k in range(len(A)):
        assert error_bound[k] <= 1.1 * relative_error(X[k], exact_inverse(A[k]))


@by_name(ORDINARY | HILBERT)
def test_lanes_say_where_they_are_not_as_close(A):
    skip_without("lanes", A.shape[-1])
    X = np.linalg.inv(A)
    found = checks.check(A, X, np.empty(A.shape))
    if A.shape[-1] == 16:
        assert not found.outside.any()
    for k in np.flatnonzero(~found.outside):
        assert found.error_bound[k] <= 1.1 * relative_error(X[k], exact_inverse(A[k]))


@by_name(ORDINARY)
@each_route
def test_refined_inverses_are_bounded_by_rounding(A, route):
    skip_without(route, A.shape[-1])
    X, certified, error_bound, entry_bound = refine(A, route)
    assert certified.all()
    assert (error_bound <= 1e-16).all()
    for k in range(len(A)):
        np.testing.assert_array_equal(X[k], correctly_rounded(exact_inverse(A[k])))
    assert (entry_bound <= 2.0**-53 * (1 + 2.0**-4) * np.abs(X)).all()


@pytest.mark.parametrize(("m", "largest"), [(5, 1e-16), (9, 1e-15), (11, 1e-13), (12, 1e-12), (13, 1e-10), (16, 1e-10)])
def test_hilbert_matrices_are_inverted_and_bounded(m, largest):
    A = hilbert(m)[None]
    X, certified, error_bound, entry_bound = refine(A, "reference")
    assert certified[0]
    assert error_bound[0] <= largest
    assert are_true(A, X, certified, error_bound, entry_bound)


def test_entries_of_any_size_are_bounded():
    A = make_stack("uniform", 40, 6) * 10 ** np.random.default_rng(0).uniform(-30, 30, (40, 6, 6))
    _, certified, error_bound, _ = refine(A, "reference")
    assert certified.all()
    assert error_bound.max() <= 1e-13
    assert np.median(error_bound) <= 1e-16


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_inverses_are_rounded_once_and_bounded_as_they_are_then(dtype):
    A = torch.from_numpy(make_stack("well", 5, 4)).to(dtype).float()
    found = refine_tightly(A, lu_inverse(A.double()), dtype=dtype)
    X = found.inverse.numpy()
    if dtype == torch.float32:
        for k in range(len(A)):
            expected = correctly_rounded(exact_inverse(A[k].numpy()), np.float32)
            np.testing.assert_array_equal(X[k], expected)
    proof = found.certificate
    assert are_true(A.numpy(), X, proof.nonsingular, proof.error_bound.numpy(), found.entry_bound.numpy())
    assert (found.entry_bound.numpy() <= torch.finfo(dtype).eps * np.abs(X)).all()


@each_route
def test_small_entries_are_known_too(route):
    skip_without(route, 2)
    A = np.array([[[3 * 2.0**14, 3 * 2.0**-12], [3 * 2.0**62, 3 * 2.0**-75]]])
    X, certified, _, _ = refine(A, route)
    if route == "reference" or not checks.invert_tightly(A, *np.empty((2, *A.shape))).outside.any():
        assert certified.all()
        np.testing.assert_array_equal(X[0], correctly_rounded(exact_inverse(A[0])))


# Laws


def test_powers_of_two_scale_bounds():
    A = make_stack("uniform", 5, 4)
    X = np.linalg.inv(A)
    rows, columns = 2.0 ** np.array([3, -20, 11, 0]), 2.0 ** np.array([0, 7, -30, 2])
    _, _, bound = check(A, X, "reference")
    _, _, scaled = check(A * rows[:, None] * columns, X / columns[:, None] / rows, "reference")
    np.testing.assert_allclose(scaled, bound / columns[:, None] / rows, rtol=1e-12)


@each_route
def test_members_do_not_mix(route):
    skip_without(route, 4)
    A = np.concatenate([make_stack("uniform", 20, 4), make_stack("singular", 3, 4), hilbert(4)[None]])
    order = np.random.default_rng(0).permutation(len(A))
    for one, other in zip(refine(A, route), refine(A[order], route), strict=True):
        same = np.isfinite(one[order]) if one.dtype == float else np.ones(len(A), bool)
        np.testing.assert_allclose(one[order][same], other[same], rtol=1e-13)


def test_a_bad_neighbour_takes_nothing():
    L = np.tril(make_stack("singular", 30, 6, rank=6), -1) + np.eye(6)
    A = torch.from_numpy(L.astype(np.float32))
    X = lu_inverse(A.double())
    alone = [certify_tightly(A[k], X[k]).certificate.certified.item() for k in range(len(A))]
    beside = certify_tightly(torch.cat([A, torch.zeros_like(A[:1])]), torch.cat([X, X[:1]])).certificate.certified
    assert beside[:-1].tolist() == alone


def test_what_has_no_inverse_is_missing():
    A = torch.ones(1, 2, 2, dtype=torch.float64)
    assert refine_tightly(A, lu_inverse(A), lu_inverse).inverse.isnan().all()


def test_without_another_inverse_the_hopeless_are_left():
    A = torch.from_numpy(hilbert(16)[None])
    found = refine_tightly(A, lu_inverse(A))
    assert not found.certificate.nonsingular.any()
    assert found.entry_bound.isinf().all()


def test_a_missing_start_is_nothing_to_begin_with_unless_there_is_another_inverse():
    A = torch.from_numpy(make_stack("well", 2, 3))
    nothing = torch.full_like(A, torch.nan)
    assert not refine_tightly(A, nothing).certificate.nonsingular.any()
    assert refine_tightly(A, nothing, lu_inverse).certificate.nonsingular.all()


@each_route
def test_singular_matrices_stay_uncertified(route):
    skip_without(route, 4)
    A = np.concatenate(
        [make_stack(kind, 10, 4, rank=rank) for kind, rank in (("singular", 3), ("singular", 1), ("zero", 0))]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, certified, _, bound = refine(A, route)
    assert not certified.any()
    assert np.isinf(bound).all()


def test_the_residual_norm_is_that_in_the_units_of_the_matrix():
    A = make_stack("well", 3, 4) * np.array([1e-6, 1.0, 1e6, 1.0])[:, None]
    X = np.linalg.inv(A) * (1 + 1e-9)
    found = certify_tightly(torch.from_numpy(A), torch.from_numpy(X))
    for k in range(len(A)):
        product = (rational(torch.from_numpy(A[k])) * rational(torch.from_numpy(X[k]))).tolist()
        square = sum((int(i == j) - x) ** 2 for i, row in enumerate(product) for j, x in enumerate(row))
        np.testing.assert_allclose(found.residual_norm[k], rounded(square) ** 0.5, rtol=1e-12)
