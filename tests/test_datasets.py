"""The audit set: its inverses are exact, and its judge tells right from wrong, and said from silent."""

import warnings
from collections import namedtuple
from importlib.resources import files

import numpy as np
import pytest
import torch
from flint import fmpq_mat
from hypothesis import given
from hypothesis import strategies as st

import skdmi
from benchmarks import audit as benchmark
from benchmarks.lib.exact_arithmetic import exactly, rounded
from scripts import make_audit
from skdmi.datasets import audit, audit_names, judge
from skdmi.datasets.allowance import LIMIT, measure, scaled
from skdmi.datasets.families import FAMILIES
from skdmi.datasets.verdicts import RAISES, REFUSES, RIGHT, SAID_SO, SILENT
from tests.marks import slow_but
from tests.matrices import make_stack

DTYPES = ("float64", "float32")
CASES = [(name, dtype) for dtype in DTYPES for name in audit_names(dtype)]
QUICK = [("hilbert-9", "float64"), ("huge-4", "float64"), ("subnormal-2", "float32"), ("singular-3", "float32")]
each_dtype = pytest.mark.parametrize("dtype", DTYPES)

# The set


@pytest.mark.parametrize("name_and_dtype", slow_but(QUICK, CASES), ids="-".join)
def test_inverses_are_those_of_the_very_bits_as_pairs(name_and_dtype):
    case = audit(*name_and_dtype)
    assert case.matrices.dtype == name_and_dtype[1]
    for A, high, low, singular in zip(case.matrices, case.inverse, case.inverse_low, case.singular, strict=True):
        m = len(A)
        exact = fmpq_mat(m, m, [exactly(value) for value in A.astype(np.float64).ravel().tolist()])
        assert singular == (exact.det() == 0)
        if singular:
            assert np.isnan(high).all()
            assert np.isnan(low).all()
            continue
        pairs = zip(high.ravel().tolist(), low.ravel().tolist(), strict=True)
        for value, (nearest, rest) in zip(exact.inv().entries(), pairs, strict=True):
            assert nearest == rounded(value)
            if np.isfinite(nearest):
                assert abs(value - exactly(nearest) - exactly(rest)) <= abs(value) / 2**106 + exactly(2.0**-1074) / 2


def test_the_file_is_what_the_script_makes():
    """Bit by bit, on any machine; that the inverses are right is tested above."""
    with np.load(make_audit.FILE) as stored:
        made = dict(make_audit.make())
        assert {key.rpartition("/")[0] for key in stored.files} == set(made)
        for key, stack in made.items():
            np.testing.assert_array_equal(stored[f"{key}/matrices"], stack)


def test_every_family_is_there_and_explained():
    found = {name.rpartition("-")[0] for name in audit_names()}
    assert found == set(FAMILIES)
    assert set(FAMILIES) - {name.rpartition("-")[0] for name in audit_names("float32")} == {"spread"}
    assert all(audit(name).description == FAMILIES[audit(name).family] for name in audit_names()[::7])


def test_the_file_is_small():
    assert len((files("skdmi.datasets") / "audit.npz").read_bytes()) < 400_000


def test_nobody_can_damage_the_set():
    case = audit("pascal-4")
    for array in (case.matrices, case.inverse, case.inverse_low):
        array[:] = 7
    assert audit("pascal-4").matrices[0, 0, 0] == 1
    assert audit("pascal-4").inverse[0, 0, 0] == 4
    with pytest.raises(AttributeError):
        case.name = "mine"


def test_families_at_the_ends_of_the_range_are_there():
    for dtype in DTYPES:
        subnormal, huge = audit("subnormal-4", dtype), audit("huge-4", dtype)
        limits = np.finfo(dtype)
        assert np.abs(subnormal.matrices[0]).max() < 2**10 * limits.smallest_normal
        assert np.abs(huge.matrices[1]).max() > limits.max / 2
        assert subnormal.out_of_range.any()
        assert not subnormal.out_of_range.all()
        held = huge.inverse[~huge.out_of_range].astype(dtype)
        assert ((held != 0) & (np.abs(held) < limits.smallest_normal)).any()


@pytest.mark.parametrize(
    ("name", "dtype", "message"),
    [
        ("hilbert", "float64", "Got 'hilbert'; expected the name of a case in float64, one of permutation-4, "),
        ("spread-4", "float32", "Got 'spread-4'; expected the name of a case in float32, "),
        ("hilbert-3", "float16", "Got dtype float16; expected one of float64, float32."),
        ("hilbert-3", "nonsense", "Got dtype 'nonsense'; expected one of float64, float32."),
    ],
)
def test_what_is_not_there_is_refused(name, dtype, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        audit(name, dtype)


# The measure


@given(
    st.integers(2, 5).flatmap(
        lambda m: st.tuples(*[st.lists(st.integers(-200, 200), min_size=m, max_size=m)] * 2, st.integers(0, m - 1))
    )
)
def test_units_neither_hide_an_error_nor_make_one(drawn):
    rows, columns, worst = (np.array(part) for part in drawn)
    A = make_stack("uniform", 1, len(rows), seed=len(rows))
    inverse = np.linalg.inv(A)
    X = inverse.copy()
    X[:, :, worst] *= 1 + 1e-3
    plain = measure(A, X, inverse, 0 * inverse)
    B, Y, exact = scaled(A, rows[None], columns[None]), *(scaled(T, -columns[None], -rows[None]) for T in (X, inverse))
    found = measure(B, Y, exact, 0 * exact)
    assert plain.error / 16 <= found.error <= 16 * plain.error
    assert plain.allowed / 16 <= found.allowed <= 16 * plain.allowed


def test_an_error_that_the_norm_does_not_show_is_measured():
    case = audit("graded-rows-8")
    X = case.inverse.copy()
    for A, member in zip(case.matrices, X, strict=True):
        member[:, np.abs(A).max(axis=1).argmax()] = 0  # The column of the row in the largest unit is the smallest.
    norms = [np.linalg.norm(T, axis=(1, 2)) for T in (X - case.inverse, case.inverse)]
    assert (norms[0] < 1e-20 * norms[1]).all()
    found = measure(case.matrices, X, case.inverse, case.inverse_low)
    assert (found.error > 100 * found.allowed).all()


def test_what_is_ill_conditioned_is_allowed_more_but_never_everything():
    def allowed(name):
        case = audit(name)
        return measure(case.matrices, case.inverse, case.inverse, case.inverse_low).allowed

    assert (allowed("hilbert-3") < 1e-10).all()
    assert (allowed("hilbert-5") > 10 * allowed("hilbert-3")).all()
    assert (allowed("hilbert-13") == LIMIT).all()


def test_what_gradual_underflow_takes_is_no_error_and_what_else_is_lost_is_one():
    A = np.diag([2.0**1000, 2.0**1022 * 3])[None]
    exact = np.diag([2.0**-1000, 2.0**-1022 / 3])[None]
    low = np.zeros((1, 2, 2))
    assert measure(A, exact, exact, low).error == 0
    assert measure(A, exact * [1, 1 + 2.0**-50], exact, low).error == 0
    assert measure(A, exact * [1, 0], exact, low).error > 0.5


def test_numbers_that_are_not_finite_have_no_error_and_enormous_ones_an_infinite_one():
    A = np.stack([np.eye(2)] * 3)
    X = np.stack([np.full((2, 2), value) for value in (np.nan, np.inf, 1.5e308)])
    error = measure(A, X, A, 0 * A).error
    assert np.isnan(error[:2]).all()
    assert error[2] > 1e300


# The judge


INVERSES = {case.matrices.tobytes(): case.inverse for case in (audit(*known) for known in CASES)}


def exact_rounded(A):
    """Return the exact inverse of stacks of the set, rounded to their dtype, and of identity matrices."""
    with np.errstate(over="ignore"):
        return INVERSES.get(A.tobytes(), A).astype(A.dtype)


@each_dtype
def test_the_exact_inverse_rounded_is_right(dtype):
    report = judge(exact_rounded, dtype=dtype)
    assert report.counts() == {
        RIGHT: sum(len(audit(name, dtype)) for name in audit_names(dtype)),
        SAID_SO: 0,
        SILENT: 0,
    }
    assert report.dtype == dtype
    assert report.silent() == {}


@pytest.mark.parametrize("value", [0.0, 1e-300, 1e300])
def test_numbers_are_wrong_and_silent(value):
    def answer(A):
        return A if identity(A).all() else np.full_like(A, value)

    report = judge(answer)
    assert report.counts() | {SILENT: 0} == {RIGHT: 0, SAID_SO: 0, SILENT: 0}
    assert report.largest_error() == np.inf


@each_dtype
def test_skdmi_is_never_wrong_and_silent(dtype):
    report = judge(skdmi.inv, dtype=dtype)
    assert report.silent() == {}
    for family in ("permutation", "leading-zeros", "delta-rule", "growth", "uniform", "wishart", "singular"):
        assert report.counts(family)[SAID_SO] == 0


def test_lapack_is_wrong_and_silent_where_there_is_no_digit_and_where_pivots_grow():
    report = judge(np.linalg.inv, families=["hilbert", "growth", "singular", "permutation", "wishart"])
    assert report.silent()["hilbert-13"] == [0, 1, 2]
    assert report.silent()["growth-32"] == [0, 1]
    assert report.counts("permutation")[RIGHT] == 16
    assert report.counts("wishart")[RIGHT] == 17
    notes = {case.name: case.note for case in report.cases}
    assert notes["singular-8"] == RAISES
    assert notes["wishart-8"] == ""


SOME = ("permutation", "singular", "uniform", "hilbert")
Pair = namedtuple("Pair", "inverse certified")
Info = namedtuple("Info", "inverse info")


def identity(A):
    return np.abs(A - np.eye(A.shape[-1])).max(axis=(-2, -1)) == 0


def refusing(A):
    """Return zeros, and that nothing is certified, save of the identity."""
    return np.where(identity(A)[..., None, None], A, 0), identity(A)


def raise_unless_identity(A):
    if not identity(A).all():
        raise ArithmeticError("no")
    return A


def warn_unless_identity(A):
    X, certified = refusing(A)
    if not certified.all():
        warnings.warn("Something is the matter.", stacklevel=2)
    return X


@pytest.mark.parametrize(
    "call",
    [
        refusing,
        lambda A: Pair(*refusing(A)),
        lambda A: Info(refusing(A)[0], 1 - refusing(A)[1]),
        lambda A: np.where(refusing(A)[1][..., None, None], A, np.nan),
        lambda A: np.where(refusing(A)[1][..., None, None], A, np.diag(np.full(A.shape[-1], -np.inf))),
        lambda A: np.ma.masked_array(A, ~np.broadcast_to(identity(A)[..., None, None], A.shape)),
        raise_unless_identity,
        warn_unless_identity,
    ],
    ids=["pair", "object", "info", "NaN", "infinite", "masked", "error", "warning"],
)
def test_there_are_many_ways_to_say_so(call):
    report = judge(call, families=SOME)
    counts = report.counts()
    assert counts[SILENT] == 0
    assert report.counts("singular") == {RIGHT: 30, SAID_SO: 10, SILENT: 0}
    assert report.counts("hilbert")[SAID_SO] == 27
    assert np.isnan(report.largest_error("hilbert")) or call is warn_unless_identity


@pytest.mark.parametrize("category", [UserWarning, DeprecationWarning])
def test_a_warning_about_everything_says_nothing(category):
    def noisy(A):
        warnings.warn("Call me otherwise.", category, stacklevel=2)
        return refusing(A)[0]

    assert judge(noisy, families=["hilbert"]).counts()[SILENT] == 27


def test_a_deprecation_is_not_about_a_matrix():
    def deprecated(A):
        if not identity(A).all():
            warnings.warn("Call me otherwise.", DeprecationWarning, stacklevel=2)
        return refusing(A)[0]

    assert judge(deprecated, families=["hilbert"]).counts()[SILENT] == 27


def test_a_warning_speaks_of_those_that_it_comes_with_alone():
    def careful(A):
        if (np.abs(A) > 3e3).any():
            warnings.warn("Large entries.", stacklevel=2)
        return refusing(A)[0]

    (verdict,) = [case for case in judge(careful, families=["hilbert"]).cases if case.name == "hilbert-5"]
    large = (audit("hilbert-5").matrices > 3e3).any(axis=(1, 2))
    assert large.tolist() == [False, False, True]
    np.testing.assert_array_equal(verdict.said_so, large)


def in_place(A):
    A[...] = np.linalg.inv(A)
    return A


def of_one(A):
    n, m = A.shape
    assert n == m
    return np.linalg.solve(A, np.eye(m, dtype=A.dtype))


def gauss_jordan(A):
    """Return the inverse of one matrix, without pivoting; of a stack it would return something of the right shape."""
    X = np.eye(len(A), dtype=A.dtype) if A.ndim == 2 else np.zeros_like(A)
    A = A.copy()
    for k in range(len(A) if A.ndim == 2 else 0):
        X[k], A[k] = X[k] / A[k, k], A[k] / A[k, k]
        for i in range(len(A)):
            if i != k:
                X[i], A[i] = X[i] - A[i, k] * X[k], A[i] - A[i, k] * A[k]
    return X


CALLS = {
    "numpy": np.linalg.inv,
    "in place": in_place,
    "one matrix": of_one,
    "one matrix, silent of stacks": gauss_jordan,
    "torch": torch.linalg.inv,
    "torch, info": torch.linalg.inv_ex,
    "a method of tensors": lambda A: A.inverse(),
    "one tensor": lambda A: torch.linalg.inv(A[None]).squeeze(0) if A.ndim == 2 else A.nonsense,
    "complex tensors": lambda A: torch.linalg.inv(A).to(torch.complex(A, A).dtype),
    "lists": lambda A: np.linalg.inv(A).tolist(),
    "complex": lambda A: np.linalg.inv(A).astype(complex),
    "an estimator": skdmi.ExactInverter().transform,
    "a report": skdmi.RefinedInverter().report,
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@each_dtype
def test_anything_that_inverts_can_be_called(call, dtype):
    assert judge(call, families=["uniform", "wishart"], dtype=dtype).counts() == {RIGHT: 34, SAID_SO: 0, SILENT: 0}


def test_what_is_tied_to_a_size_refuses_the_others():
    def four(A):
        return np.linalg.inv(A.reshape(-1, 4, 4))

    report = judge(four, families=["permutation"])
    assert report.counts() == {RIGHT: 8, SAID_SO: 8, SILENT: 0}
    assert [case.note for case in report.cases] == ["", REFUSES]
    assert str(report).endswith(REFUSES)
    assert judge(four, families=["permutation"], sizes=[4]).counts() == {RIGHT: 8, SAID_SO: 0, SILENT: 0}


def test_complex_numbers_are_no_inverse_of_a_real_matrix():
    def turned(A):
        return np.linalg.inv(A) * (1 if identity(A).all() else 1j)

    assert judge(turned, families=["uniform"]).counts()[SILENT] == 17


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_does_not_fit_into_the_dtype_is_not_to_be_made_up(dtype):
    def saturated(A):
        return np.nan_to_num(exact_rounded(A))

    report = judge(saturated, families=["subnormal"], dtype=dtype)
    assert report.counts()[SILENT] == sum(
        audit(name, dtype).out_of_range.sum() for name in ("subnormal-2", "subnormal-4")
    )


def neumann(A):
    """Return ``(I + N)^-1`` of chunks as ``(I - N) (I + N^2) (I + N^4) ...``."""
    identity = torch.eye(A.shape[-1], dtype=A.dtype)
    N = identity - A
    X = identity + N
    for _ in range(1, (A.shape[-1] - 1).bit_length()):
        N = N @ N
        X = X + X @ N
    return X


def test_doubling_is_exact_in_theory_and_wrong_and_silent_in_float32():
    report = judge(neumann, families=["delta-rule"], dtype="float32")
    assert 5 < report.counts()[SILENT] < 21
    assert report.counts()[SAID_SO] == 0
    assert judge(torch.linalg.inv, families=["delta-rule"], dtype="float32").counts()[RIGHT] == 21


def test_what_cannot_be_called_is_said_with_the_errors():
    with pytest.raises(
        ValueError, match=r"^Cannot call shape. It inverts no identity matrix. numpy, a stack: "
    ) as error:
        judge(np.shape)
    assert "torch, a matrix: ValueError" in str(error.value)
    with pytest.raises(TypeError, match=r"^Got int; expected a function that returns inverses\.$"):
        judge(1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"families": ["hilbert-3"]}, "Got family 'hilbert-3'; expected one of permutation, "),
        (
            {"families": ["spread"], "dtype": "float32"},
            "Got family 'spread'; expected in this dtype one of permutation, ",
        ),
        ({"families": "hilbert"}, r"Got families='hilbert'; expected a list, such as \['hilbert'\]\."),
        ({"families": ["kahan"], "sizes": [9]}, r"Got sizes 9; expected some of 8, 16\."),
        ({"dtype": int}, "Got dtype int64; expected one of float64, float32."),
    ],
)
def test_what_is_asked_for_must_be_there(options, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        judge(np.linalg.inv, **options)


def test_ctrl_c_is_heeded():
    def interrupted(A):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        judge(interrupted)


# The report


def test_a_report_counts_what_it_holds():
    report = judge(refusing, families=SOME)
    frame = report.to_frame()
    assert list(frame.columns) == ["case", "family", "index", "verdict", "error", "allowed", "said_so", "note"]
    assert frame["verdict"].value_counts().to_dict() == {name: n for name, n in report.counts().items() if n}
    assert len(frame) == sum(report.counts().values())
    assert repr(report).startswith("<AuditReport, float64: ")
    *_, last = str(report).splitlines()
    assert last.split()[:2] == ["all", str(len(frame))]
    with pytest.raises(
        ValueError, match=r"^Got family 'kahan'; expected one of permutation, hilbert, singular, uniform"
    ):
        report.counts("kahan")


def test_the_benchmark_keeps_what_the_table_says():
    report = judge(np.linalg.inv, families=["permutation", "singular"])
    rows = benchmark.records("numpy", report)
    assert [row["family"] for row in rows] == ["permutation", "singular"]
    assert rows[0] == {"method": "numpy", "dtype": "float64", "family": "permutation", "largest error": 0.0} | {
        RIGHT: 16,
        SAID_SO: 0,
        SILENT: 0,
    }
    assert set(benchmark.METHODS) == {"numpy.linalg.inv", "torch.linalg.inv", "skdmi.inv"}
