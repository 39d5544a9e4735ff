"""What `skdmi.certify` and tight inverters promise to whoever has inverses, in whatever container."""

import contextlib
import dataclasses
import pickle

import numpy as np
import pytest
import torch

import skdmi
from benchmarks.lib.exact_arithmetic import exactly, one_norm, rational
from skdmi import RefinedInverter, certify
from skdmi.estimators.reference import check_tensors
from skdmi.lanes import checks
from tests.exact import are_true, correctly_rounded, exact_inverse, hilbert
from tests.matrices import make_stack

PER_MATRIX = ("certified", "error_bound", "residual_norm", "left_residual_norm", "condition_lower", "condition_upper")
tightly_or_not = pytest.mark.parametrize("tight", [False, True], ids=["plain", "tight"])


def pair(kind="uniform", n_matrices=6, m=5, **options):
    A = make_stack(kind, n_matrices, m, **options)
    return A, np.linalg.inv(A.astype(np.float64)).astype(A.dtype)


def assert_same(one, other, *, rtol=0.0):
    for field in dataclasses.fields(one):
        values = [getattr(report, field.name) for report in (one, other)]
        if values[0] is None:
            assert values[1] is None
        else:
            np.testing.assert_allclose(*(np.asarray(v) for v in values), rtol=rtol, err_msg=field.name)


def without_kernels(monkeypatch):
    monkeypatch.setattr(checks, "is_ready", lambda *args: False)


# Truth


@tightly_or_not
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_what_is_said_of_inverses_is_true(dtype, tight):
    A, X = pair(n_matrices=20, m=3, dtype=dtype)
    X[::3] *= 1 + 1e-4
    report = certify(A, X, tight=tight)
    assert report.certified.all()
    assert are_true(A, X, report.certified, report.error_bound, report.entry_bound)
    for k in range(len(A)):
        condition = one_norm(rational(torch.from_numpy(A[k]))) * one_norm(exact_inverse(A[k]))
        assert exactly(float(report.condition_lower[k])) <= condition <= exactly(float(report.condition_upper[k]))


@tightly_or_not
def test_routes_agree(tight, monkeypatch):
    A, X = pair("condition", 30, 6, condition=1e6)
    A, X = np.concatenate([A, make_stack("singular", 4, 6)]), np.concatenate([X, np.ones((4, 6, 6))])
    compiled = certify(A, X, tight=tight)
    without_kernels(monkeypatch)
    in_numpy = certify(A, X, tight=tight)
    reference = check_tensors(torch.from_numpy(A), torch.from_numpy(X), tight=tight, structure=None)
    bound = reference.error_bound.numpy()[:30]
    for report in (compiled, in_numpy):
        np.testing.assert_array_equal(report.certified, reference.certified)
        np.testing.assert_array_equal(report.robust, reference.robust)
        np.testing.assert_allclose(report.residual_norm, reference.residual_norm, rtol=1e-12, atol=1e-8)
        if tight:
            np.testing.assert_allclose(report.error_bound[:30], bound, rtol=0.1)
        else:
            assert (bound / 10 < report.error_bound[:30]).all()
            assert (report.error_bound[:30] < 10 * bound).all()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("m", [1, 2, 5, 8, 33, 60])
def test_without_kernels_numpy_finds_what_is_true(m, dtype, monkeypatch):
    without_kernels(monkeypatch)
    A = np.concatenate([make_stack(kind, 3, m, dtype=dtype) for kind in ("uniform", "graded", "permutation")])
    A[0] *= np.asarray(2.0**-100, dtype)
    X = np.linalg.inv(A.astype(np.float64)).astype(dtype)
    report = certify(A, X)
    assert report.certified.all()
    assert (report.error_bound < 1e-3).all()
    if m <= 8:
        assert are_true(A, X, report.certified, report.error_bound)


def test_tight_bounds_are_far_below_plain_ones():
    A, X = pair("condition", 5, 16, condition=1e8)
    plain, tight = (certify(A, X, tight=option).error_bound for option in (False, True))
    assert (tight < plain / 10).all()


@tightly_or_not
def test_a_wrong_inverse_is_found_out(tight):
    A, X = pair(n_matrices=4, m=8)
    wrong = X.copy()
    wrong[0] *= 2
    wrong[1] = wrong[1].T
    wrong[2, 0, 0] += 1
    report = certify(A, wrong, tight=tight)
    near = report.certified & (report.error_bound < 1e-6)
    np.testing.assert_array_equal(near, [False, False, False, True])
    assert certify(A, X, tight=tight).certified.all()


def test_robust_certificates_are_of_all_that_rounds_to_a_matrix():
    A = np.concatenate([make_stack("condition", 10, 3, condition=k, dtype=np.float32) for k in (1e6, 1e7, 2e7, 1e8)])
    X = np.linalg.inv(A.astype(np.float64))
    report = certify(A, X)
    assert report.certified.all()
    assert 0 < report.robust.sum() < 40
    rng = np.random.default_rng(0)
    for k in np.flatnonzero(report.robust):
        for signs in rng.choice([-1, 1], (20, 3, 3)):
            corner = rational(torch.from_numpy(A[k].astype(np.float64) * (1 + 2.0**-24 * signs)))
            assert (corner.det() > 0) == (rational(torch.from_numpy(A[k])).det() > 0)


# Containers, shapes, settings


@tightly_or_not
@pytest.mark.parametrize("leading", [(), (6,), (2, 3), (1, 0)])
def test_any_leading_axes(leading, tight):
    n = int(np.prod(leading))
    A, X = (T[:n].reshape(*leading, 5, 5) if n else T[:0].reshape(*leading, 5, 5) for T in pair())
    report = certify(A, X, tight=tight)
    for name in PER_MATRIX:
        assert getattr(report, name).shape == leading
    assert len(report) == n
    assert (report.entry_bound.shape == X.shape) if tight else (report.entry_bound is None)


@tightly_or_not
def test_containers_agree(tight):
    import dask.array as da

    A, X = pair()
    expected = certify(A, X, tight=tight)
    assert_same(certify(torch.from_numpy(A), torch.from_numpy(X), tight=tight), expected)
    assert_same(certify(A.tolist(), X.tolist(), tight=tight), expected)
    assert_same(certify(A, torch.from_numpy(X), tight=tight), expected)
    assert_same(certify(np.asfortranarray(A), X[:, ::-1][:, ::-1], tight=tight), expected)
    lazy = certify(da.from_array(A, chunks=(4, 5, 2)), da.from_array(X, chunks=(3, 5, 5)), tight=tight)
    assert_same(lazy, expected)
    if tight:
        assert isinstance(certify(A, torch.from_numpy(X), tight=True).entry_bound, torch.Tensor)
        assert isinstance(lazy.entry_bound, da.Array)


def test_dtypes_may_differ_and_half_precision_is_what_it_holds():
    A, X = pair("well")
    narrow = certify(A, X.astype(np.float32))
    assert_same(certify(A, X.astype(np.float32).astype(np.float64)), narrow)
    assert narrow.certified.all()
    half = certify(torch.from_numpy(A).half(), torch.from_numpy(X).half())
    assert_same(half, certify(torch.from_numpy(A).half().float(), torch.from_numpy(X).half().float()))
    assert certify(np.eye(2, dtype=int), np.eye(2, dtype=bool)).certified


@tightly_or_not
@pytest.mark.parametrize("setting", ["no_grad", "autocast", "medium"])
def test_no_setting_weakens_a_proof(setting, tight):
    def check(A, X):
        return check_tensors(A, X, tight=tight, structure=None)

    A, X = (torch.from_numpy(T).float() for T in pair())
    expected = check(A, X)
    precision = torch.get_float32_matmul_precision()
    managers = {
        "no_grad": torch.no_grad(),
        "autocast": torch.autocast("cpu", dtype=torch.bfloat16),
        "medium": contextlib.nullcontext(),
    }
    try:
        torch.set_float32_matmul_precision("medium" if setting == "medium" else precision)
        with managers[setting]:
            found = check(A, X)
    finally:
        torch.set_float32_matmul_precision(precision)
    for one, other in zip(found, expected, strict=True):
        assert one is other is None or torch.equal(one, other)
    assert_same(certify(A.requires_grad_(), X.requires_grad_(), tight=tight), certify(A, X, tight=tight))


@tightly_or_not
@pytest.mark.parametrize("structure", [None, "spd", "unit_lower"])
def test_one_bad_member_spoils_nothing_and_no_argument_changes(structure, tight):
    A, X = pair()
    expected = certify(A, X, tight=tight, structure=structure)
    A, X = (np.concatenate([T[:3], np.full((1, 5, 5), bad), T[3:]]) for T, bad in ((A, np.inf), (X, 1.0)))
    X[0, 2, 2] = np.nan
    before = A.copy(), X.copy()
    for T in (A, X):
        T.setflags(write=False)
    report = certify(A, X, tight=tight, structure=structure)
    assert not report.certified[[0, 3]].any()
    assert np.isnan(report.error_bound[[0, 3]]).all()
    kept = [1, 2, 4, 5, 6]
    np.testing.assert_array_equal(report.error_bound[kept], expected.error_bound[1:])
    np.testing.assert_array_equal(np.stack([A, X]), np.stack(before))


# Structures


def test_structures_are_checked():
    L = np.tril(make_stack("uniform", 4, 6), -1) + np.eye(6)
    X = np.tril(np.linalg.inv(L), -1) + np.eye(6)
    report = certify(L, X, structure="unit_lower")
    assert report.certified.all()
    assert are_true(L, X, report.certified, report.error_bound)
    assert not certify(2 * L, X / 2, structure="unit_lower").certified.any()

    S = make_stack("spd", 4, 6)
    report = certify(S, np.linalg.inv(S), structure="spd")
    assert report.positive_definite.all()
    lowest = np.linalg.eigvalsh(S)[:, 0]
    assert (report.smallest_eigenvalue <= lowest * (1 + 1e-12)).all()
    assert (report.smallest_eigenvalue >= lowest / 2).all()
    negative = certify(-S, -np.linalg.inv(S), structure="spd")
    assert negative.certified.all()
    assert not negative.positive_definite.any()
    assert np.isnan(negative.smallest_eigenvalue).all()


@tightly_or_not
def test_eigenvalue_bounds_hold_for_inverses_that_are_visibly_off(tight):
    """A flat spectrum, and an X whose error is all in one direction: norms must not be confused."""
    for m in (2, 5, 16):
        A = np.diag(np.r_[1.0, np.full(m - 1, 1.25)])
        report = certify(A, np.diag(np.r_[0.875, np.full(m - 1, 0.8)]), tight=tight, structure="spd")
        assert report.positive_definite
        assert 0.5 < report.smallest_eigenvalue <= 1


@tightly_or_not
@pytest.mark.parametrize("structure", ["unit_lower", "spd"])
def test_what_lacks_a_structure_is_named(structure, tight):
    A, X = pair(n_matrices=3)
    report = certify(A, X, structure=structure, tight=tight)
    assert not report.structured.any()
    assert "3 without the structure" in report.summary()
    assert report.certified.all() == (structure == "spd")


def test_what_is_not_certified_has_no_figures():
    A, X = np.array([[2.0, 0.0], [3.0, 1.0]]), np.linalg.inv([[2.0, 0.0], [3.0, 1.0]])
    report = certify(A, X, structure="unit_lower", tight=True)
    assert not report.certified
    assert np.isinf(report.entry_bound).all()
    assert np.isnan(report.condition_lower)
    assert not certify([[1.0, 0], [3, 1]], [[1.0, 1e-9], [-3, 1]], structure="unit_lower", tight=True).certified
    assert not certify([[1.0, np.nan], [5.0, 1.0]], np.eye(2), structure="spd").structured


def test_a_certificate_says_how_close_an_inverse_is():
    A = hilbert(13)[None]
    report = certify(A, np.linalg.inv(A) * 3, tight=True)
    assert not report.certified.any()
    assert np.isinf(report.entry_bound).all()


SPARSE = (
    {
        (0, 0): -720.9146481242319,
        (0, 1): -1315704428803227.0,
        (1, 2): -671.7391107795625,
        (2, 2): 1.0728861814203902e-10,
    }
    | {(2, 3): 470634841260269.0, (3, 1): -4.346364885927071e-12, (4, 0): -3.467331279440347e27}
    | {(4, 1): -4.0481693908579586e-20, (4, 2): 1.0198572245992196e-10, (4, 4): 1.2835961710707056e27},
    {(0, 0): 2.399529666893965e74, (1, 1): 2.0607538768683622e-287, (1, 2): 1.0454128603175201e-187}
    | {(2, 0): 1.8741227784527024e-160, (2, 1): -5.0572883502342604e-262},
    {(0, 3): 1.0004796665447206e26, (0, 4): -0.21153819472075153, (1, 0): 2.045512585412984e-29}
    | {(1, 3): 1.3821866150379587e-19, (2, 0): 9.260654688579164e27, (2, 2): 1.0682917975087902e-05}
    | {(2, 4): -187774.54337871814, (3, 1): 1.698552794225622e-31, (3, 2): 3.3775293850911293e18}
    | {(4, 2): 900172347162427.0},
)


@pytest.mark.parametrize("entries", SPARSE)
def test_tight_is_never_worse_where_units_are_wild(entries):
    m = 1 + max(max(place) for place in entries)
    A = np.zeros((1, m, m))
    for (i, j), value in entries.items():
        A[0, i, j] = value
    report = RefinedInverter(tight=True).report(A)
    assert report.certified.all()
    assert report.error_bound[0] < 1e-13
    assert are_true(A, report.inverse, report.certified, report.error_bound, report.entry_bound)
    X = correctly_rounded(exact_inverse(A[0]))[None]
    plain, tight = (certify(A, X, tight=option).error_bound[0] for option in (False, True))
    assert tight <= 1.5 * plain  # which sums in another order


# The report


def test_reports_speak():
    A, X = pair(n_matrices=3)
    X[1] = 0
    report = certify(A, X, tight=True)
    assert repr(report).startswith("<CertificateReport: 2 of 3 certified; not certified at index 1; largest residual")
    frame = report.to_frame()
    assert len(frame) == 3
    assert "entry_bound" not in frame
    assert "positive_definite" not in frame
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.certified = True
    assert_same(pickle.loads(pickle.dumps(report)), report)


@pytest.mark.parametrize(
    ("A", "X", "options", "message"),
    [
        (np.eye(2), np.eye(3), {}, r"A has shape \(2, 2\), X has shape \(3, 3\)"),
        (np.ones((2, 3)), np.ones((2, 3)), {}, "square"),
        (np.eye(2), np.eye(2) * 1j, {"structure": "unit_lower"}, "[Cc]omplex"),
        (np.eye(2), np.eye(2), {"structure": "diagonal"}, "structure='diagonal'; expected one of None, 'unit_lower'"),
        (np.eye(2), np.eye(2), {"tight": "very"}, "tight='very'; expected True or False"),
        (np.eye(2), np.full((2, 2), 2**53 + 1), {}, "X holds numbers of int64 that float64 cannot hold"),
        ([[2**60 + 1, 0], [0, 1]], np.eye(2), {}, "A holds numbers of int64"),
        (torch.full((1, 1), -(2**53) - 1), torch.eye(1), {}, "A holds numbers of int64"),
        ([[1, 2], [3]], np.eye(2), {}, "ragged"),
    ],
)
def test_what_cannot_be_checked_is_refused(A, X, options, message):
    with pytest.raises(ValueError, match=message):
        certify(A, X, **options)


def test_numbers_beside_a_dask_array_are_not_rounded_either():
    import dask.array as da

    with pytest.raises(ValueError, match="X holds numbers of int64"):
        certify(da.ones((1, 1), chunks=1), np.array([[2**53 + 1]]))
    X = torch.ones(1, 1)
    assert certify(da.ones((1, 1), chunks=1), X).certified


# Tight inverters


def test_tight_inverses_are_exact_ones_rounded():
    for dtype in (np.float64, np.float32):
        A = np.concatenate([make_stack("well", 10, 6, dtype=dtype), hilbert(6).astype(dtype)[None]])
        X = skdmi.inv(A, tight=True)
        assert X.dtype == dtype
        for k in range(len(A)):
            np.testing.assert_array_equal(X[k], correctly_rounded(exact_inverse(A[k]), dtype))


@pytest.mark.parametrize("m", [12, 13, 16])
def test_condition_numbers_near_the_reciprocal_of_the_unit_and_beyond(m):
    A = hilbert(m)[None]
    report = RefinedInverter(tight=True).report(A)
    assert report.certified.all()
    assert report.error_bound[0] < 1e-9
    assert are_true(A, report.inverse, report.certified, report.error_bound, report.entry_bound)
    np.testing.assert_array_equal(skdmi.inv(A, tight=True), report.inverse)
    with pytest.warns(skdmi.exceptions.SingularMatrixWarning):
        assert np.isnan(skdmi.inv(A)).all()


@pytest.mark.parametrize("container", [np.asarray, torch.from_numpy])
def test_tight_reports_bound_every_entry(container, tiny_network):
    A = make_stack("well", 12, 3, dtype=np.float32)
    A[3] = make_stack("singular", 1, 3)[0]
    for inverter in (RefinedInverter(tight=True), RefinedInverter(_frozen(tiny_network), tight=True)):
        with pytest.warns(skdmi.exceptions.SingularMatrixWarning, match="index 3"):
            report = inverter.report(container(A))
        assert type(report.entry_bound) is type(report.inverse)
        assert np.isinf(np.asarray(report.entry_bound)[3]).all()
        arrays = (np.asarray(T) for T in (report.inverse, report.certified, report.error_bound, report.entry_bound))
        assert are_true(A, *arrays)
        assert report.converged.sum() == report.certified.sum() == 11


def test_tight_without_steps_bounds_what_is_there(tiny_network):
    A = make_stack("well", 8, 3)
    inverter = RefinedInverter(_frozen(tiny_network), tight=True, max_steps=0, uncertified="keep")
    report = inverter.report(A)
    np.testing.assert_array_equal(report.inverse, tiny_network.transform(A))
    expected = certify(A, report.inverse, tight=True)
    np.testing.assert_allclose(report.error_bound, expected.error_bound, rtol=1e-4)


def test_tight_inverters_leave_pseudo_inverses_to_their_policy():
    A = np.concatenate([make_stack("well", 2, 3), make_stack("singular", 1, 3)])
    X = skdmi.inv(A, tight=True, singular="pinv")
    np.testing.assert_allclose(X[2], np.linalg.pinv(A[2], rcond=1e-13), atol=1e-12)
    with pytest.raises(skdmi.exceptions.SingularMatrixError, match="index 2"):
        skdmi.inv(A, tight=True, singular="raise")
    with pytest.raises(ValueError, match="tight"):
        skdmi.inv(A, tight="very")


def test_reports_have_log_determinants_where_asked():
    A = make_stack("uniform", 9, 4)
    report = RefinedInverter().report(A, log_det=True)
    sign, value = np.linalg.slogdet(A)
    np.testing.assert_array_equal(report.sign, sign)
    assert (abs(report.log_abs_det - value) <= 1e-13).all()
    assert (report.log_abs_det_bound < 1e-13).all()
    assert "log_abs_det" in report.to_frame()
    assert RefinedInverter().report(A).log_abs_det is None


def _frozen(inverter):
    from sklearn.frozen import FrozenEstimator

    return FrozenEstimator(inverter)
