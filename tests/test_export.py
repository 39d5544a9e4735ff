"""Laws of the files that nothing was learned for: valid, equal in every runtime, with bounds above the exact truth."""

import contextlib
import itertools
import subprocess
import sys

import numpy as np
import pytest

from benchmarks.lib.arithmetic_settings import flush_to_zero
from tests.certificates import agree
from tests.matrices import make_stack

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


from skdmi import export  # noqa: E402
from tests.onnx_files import (  # noqa: E402
    CERTIFICATES,
    COUNTS,
    FORMS,
    check_file,
    float64_residuals,
    model_of,
    open_session,
    relative_differences,
    run,
    run_by_reference,
    said,
    session_of,
    units_of,
)

ALL = FORMS | CERTIFICATES
OPSETS = range(18, onnx.defs.onnx_opset_version() + 1)
BUILDERS = {
    "closed_form": lambda **options: export.closed_form(3, **options),
    "elimination": lambda **options: export.elimination(5, **options),
    "fixed": lambda **options: export.fixed(5, **options),
    "any_size": export.any_size,
    "export_certificate": lambda **options: export.export_certificate(3, **options),
}
SETTINGS = {"kept": contextlib.nullcontext, "flushed": flush_to_zero}


def each_case(forms):
    """Run a test over files, each at its sizes."""
    cases = [(name, m) for name, (_, sizes) in forms.items() for m in sizes]
    return pytest.mark.parametrize(("name", "m"), cases, ids=[f"{name}-{m}" for name, m in cases])


each_form, each_file = each_case(FORMS), each_case(ALL)
each_builder = pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS)
each_inverse = pytest.mark.parametrize("build", list(BUILDERS.values())[:4], ids=list(BUILDERS)[:4])
both_settings = pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)


def stack_of(kind, n, m, **options):
    return make_stack(kind, n, m, dtype=np.float32, **options)


def inverse_of(A):
    return np.linalg.inv(A.astype(np.float64)).astype(np.float32)


def outputs_of(name, A, session=None):
    session = session or session_of(name)
    return run(session, A, inverse_of(A) if name in CERTIFICATES else None)


# What a file is


@pytest.mark.parametrize("name", ALL)
def test_files_are_valid_and_hold_nothing_needless(name):
    model, (_, sizes) = model_of(name), ALL[name]
    m = sizes[0] if len(sizes) == 1 else None
    if name in CERTIFICATES:
        check_file(model, m, ["rho", "residual_norm"], inputs=["A", "X"])
    else:
        check_file(model, m, ["inverse", "rho", "residual_norm"])
    assert model.doc_string.endswith("rho < 1 proves that a matrix is nonsingular.")
    assert said(model).keys() == ({"condition"} if name.startswith(("fixed", "any")) else set())


@each_inverse
def test_outputs_are_those_asked_for(build):
    m = dict(zip(BUILDERS.values(), (3, 5, 5, None), strict=False))[build]
    check_file(build(certificate=False), m, ["inverse"])
    check_file(build(uncertified="nan"), m, ["inverse", "rho", "residual_norm"])
    check_file(build(uncertified="mask"), m, ["inverse", "certified", "rho", "residual_norm"])


def test_saving_replaces_a_file_and_reads_as_what_it_was(tmp_path):
    path = tmp_path / "inverse.onnx"
    for model in (export.fixed(3), export.closed_form(3)):
        export.save(model, path)
        assert onnx.load(path) == model
    assert [entry.name for entry in tmp_path.iterdir()] == ["inverse.onnx"]


def test_the_same_call_writes_the_same_bytes():
    for build in BUILDERS.values():
        one, other = (build().SerializeToString(deterministic=True) for _ in range(2))
        assert one == other


# Arguments


@pytest.mark.parametrize("m", [0, -1, 2.0, True, "3", None, 4097])
def test_sizes_that_are_none_are_refused(m):
    for build in (export.closed_form, export.elimination, export.fixed, export.export_certificate):
        if m is not None or build is not export.export_certificate:
            with pytest.raises(ValueError, match="expected a whole number from"):
                build(m)


def test_forms_have_the_sizes_that_they_are_for():
    for build, m in ((export.closed_form, 5), (export.elimination, 4), (export.elimination, 13)):
        with pytest.raises(ValueError, match=f"m={m}; expected a whole number from"):
            build(m)
    assert open_session(export.fixed(np.int64(3)))


@pytest.mark.parametrize("condition", [0.5, -1, np.nan, np.inf, True, "1e4", None])
def test_condition_numbers_that_are_none_are_refused(condition):
    for build in (export.any_size, lambda **options: export.fixed(3, **options)):
        with pytest.raises(ValueError, match="expected a number of at least 1"):
            build(condition=condition)


@each_builder
@pytest.mark.parametrize("opset", [17, OPSETS[-1] + 1, True, False, 18.0, "18"])
def test_opsets_that_cannot_be_written_are_refused(build, opset):
    with pytest.raises(ValueError, match="expected a whole number from 18"):
        build(opset=opset)


@each_inverse
def test_what_becomes_of_the_uncertified_is_checked(build):
    with pytest.raises(ValueError, match="uncertified='drop'; expected one of"):
        build(uncertified="drop")
    for uncertified in ("nan", "mask"):
        with pytest.raises(ValueError, match="set certificate=True"):
            build(certificate=False, uncertified=uncertified)


# Runtimes


@each_builder
def test_every_opset_answers_the_same(build):
    m = 5 if build in (BUILDERS["elimination"], BUILDERS["fixed"]) else 3
    A = np.concatenate([stack_of("uniform", 50, m), stack_of("singular", 5, m)])
    X = None if build is not BUILDERS["export_certificate"] else inverse_of(A + 1e-4 * np.eye(m))
    expected = run(open_session(build()), A, X)
    for opset in OPSETS:
        model = build(opset=opset)
        assert [entry.version for entry in model.opset_import] == [opset]
        for key, value in run(open_session(model), A, X).items():
            np.testing.assert_array_equal(value, expected[key])


@each_file
def test_the_reference_of_onnx_agrees_with_onnxruntime(name, m):
    A = np.concatenate([stack_of("well", 10, m), stack_of("condition", 10, m, condition=100)])
    X = inverse_of(A) if name in CERTIFICATES else None
    expected, found = run_by_reference(model_of(name), A, X), run(session_of(name), A, X)
    assert expected.keys() == found.keys()
    for key in expected:
        assert (expected[key].shape, expected[key].dtype) == (found[key].shape, found[key].dtype)
    # rho is the sum of a bound on rounding, the same in both, and of a residual, which is rounding.
    np.testing.assert_allclose(found["rho"], expected["rho"], rtol=0.3)
    if name in FORMS:
        assert agree(A, found, expected).all()


@each_form
def test_inverses_are_those_of_lapack(name, m):
    for A in (stack_of("well", 200, m), stack_of("orthogonal", 50, m), stack_of("permutation", 50, m)):
        found = run(session_of(name), A)
        assert (found["rho"] < 1e-3).all()
        assert (relative_differences(found["inverse"], np.linalg.inv(A.astype(np.float64))) < 1e-5).all()
        assert (found["residual_norm"] < 1e-4).all()


@each_form
def test_condition_numbers_that_files_are_for_are_served(name, m):
    condition = said(model_of(name)).get("condition", 1e4)
    A = np.concatenate([stack_of("condition", 100, m, condition=condition / divisor) for divisor in (1, 3, 30)])
    rows, columns = units_of(A)
    A = A[np.linalg.cond(A / rows / columns) <= condition]
    found = run(session_of(name), A)
    assert len(A) > 100
    assert (found["rho"] < 0.5).all()
    assert (relative_differences(found["inverse"], np.linalg.inv(A.astype(np.float64))) < 0.1).all()


@each_file
def test_any_number_of_matrices(name, m):
    A = stack_of("well", 1000, m)
    whole = outputs_of(name, A)
    for n in COUNTS:
        part = outputs_of(name, A[:n])
        assert {key: value.shape for key, value in part.items()} == {
            key: (n, *value.shape[1:]) for key, value in whole.items()
        }
        np.testing.assert_allclose(part["rho"], whole["rho"][:n], rtol=0.3)
        if name in FORMS:
            assert agree(A[:n], part, {key: value[:n] for key, value in whole.items()}).all()


def test_other_shapes_and_dtypes_are_refused_by_the_runtime():
    session = session_of("fixed_5")
    for A in (np.eye(5, dtype=np.float32), np.zeros((2, 4, 4), np.float32), np.zeros((2, 5, 5))):
        with pytest.raises(Exception, match=r"(?i)invalid|unexpected"):
            run(session, A)


ALONE = """
import sys

class Refusing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"skdmi", "torch", "sklearn", "scipy", "onnx", "skorch"}:
            raise ImportError(name)

sys.meta_path.insert(0, Refusing())
import numpy as np, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1])
inverse, rho, residual_norm = session.run(None, {"A": 2 * np.eye(3, dtype=np.float32)[None]})
assert (abs(inverse - np.eye(3) / 2) < 1e-6).all() and rho < 1e-4 and residual_norm < 1e-5
assert not {"skdmi", "torch", "sklearn", "onnx"} & sys.modules.keys()
"""


@pytest.mark.parametrize("name", ["closed_3", "any_size"])
def test_a_file_needs_neither_skdmi_nor_torch_nor_scikit_learn(name, tmp_path):
    export.save(model_of(name), tmp_path / "inverse.onnx")
    command = [sys.executable, "-c", ALONE, tmp_path / "inverse.onnx"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# Bad matrices


@both_settings
@each_file
def test_bad_matrices_have_no_certificate_and_spoil_no_other(name, m, setting):
    A = stack_of("well", 40, m)
    bad = A.copy()
    bad[1], bad[3], bad[5], bad[7] = np.nan, np.inf, -np.inf, 0
    bad[9, 0, -1], bad[11, -1, 0], bad[13, :, 0], bad[15, -1] = np.nan, np.inf, 0, -0.0
    with np.errstate(over="ignore"):
        bad[17], bad[19], bad[21] = 3e38 * A[17] / abs(A[17]).max(), 1e-40 * A[19], 1e-45
    X = inverse_of(A) if name in CERTIFICATES else None
    with setting():
        expected, found = run(session_of(name), A, X), run(session_of(name), bad, X)
    assert (expected["rho"] < 1).all()
    spoilt = np.isin(np.arange(40), range(1, 22, 2))
    assert not (found["rho"][spoilt] < 1).any()
    # No kernel chooses by the numbers in it, so all bits are the same.
    for key in expected:
        np.testing.assert_array_equal(found[key][~spoilt], expected[key][~spoilt])


@pytest.mark.parametrize("name", CERTIFICATES)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_one_bad_entry_of_an_inverse_is_no_proof(name, value):
    for m in CERTIFICATES[name][1]:
        A = stack_of("well", m * m, m)
        X = inverse_of(A)
        X.reshape(m * m, m * m)[np.diag_indices(m * m)] = value
        assert not (run(session_of(name), A, X)["rho"] < 1).any()


@each_form
def test_large_and_small_matrices_are_certified(name, m):
    A = stack_of("well", 20, m)
    A /= np.linalg.norm(A, axis=(1, 2), keepdims=True)
    for power in (-60, -30, 30, 60):
        found, expected = run(session_of(name), 2.0**power * A), run(session_of(name), A)
        assert (found["rho"] < 1).all()
        np.testing.assert_array_equal(2.0**power * found["inverse"], expected["inverse"])


# Invariance


@each_form
def test_powers_of_two_on_the_rows_change_no_bit_of_the_inverse(name, m):
    # Rows are scaled first, so what is inverted is the same to the bit.
    A = np.concatenate([stack_of("uniform", 50, m), stack_of("singular", 10, m)])
    powers = 2.0 ** np.random.default_rng(m).integers(-30, 31, (60, m, 1)).astype(np.float32)
    expected, found = run(session_of(name), A), run(session_of(name), powers * A)
    np.testing.assert_array_equal(found["inverse"] * powers.swapaxes(1, 2), expected["inverse"])
    np.testing.assert_allclose(found["rho"], expected["rho"], rtol=1e-3, atol=1e-12)


@each_form
def test_powers_of_two_on_rows_and_columns_keep_a_good_matrix_certified(name, m):
    # With other units of columns rows get other scales, so bits differ, and matrices with a small entry where the
    # largest column is lose by it.
    A = stack_of("orthogonal", 50, m) + np.float32(0.5)
    A = A[(np.abs(A).min(axis=(1, 2)) > 1e-3) & (np.linalg.cond(A) < 20)]
    rows, columns = 2.0 ** np.random.default_rng(m).integers(-10, 11, (2, len(A), m)).astype(np.float32)
    scaled = rows[:, :, None] * A * columns[:, None]
    expected, found = run(session_of(name), A), run(session_of(name), scaled)
    assert len(A)
    assert (expected["rho"] < 1).all()
    assert np.mean(found["rho"] < 1) > 0.8
    found["inverse"] = columns[:, :, None] * found["inverse"] * rows[:, None]
    proved = found["rho"] < 1e-2
    differences = relative_differences(found["inverse"], expected["inverse"])
    assert (differences[proved] < 0.1).all()


@each_file
def test_permuting_the_stack_permutes_the_answers(name, m):
    A = np.concatenate([stack_of("well", 30, m), stack_of("singular", 7, m)])
    order = np.random.default_rng(0).permutation(len(A))
    X = inverse_of(A + 1e-3 * np.eye(m)) if name in CERTIFICATES else None
    expected = run(session_of(name), A, X)
    found = run(session_of(name), A[order], None if X is None else X[order])
    proved = expected["rho"][order] < 1
    np.testing.assert_array_equal(found["rho"] < 1, proved)
    np.testing.assert_allclose(found["rho"][proved], expected["rho"][order][proved], rtol=0.3)
    if name in FORMS:
        chosen = ({key: value[proved] for key, value in one.items()} for one in (found, _permuted(expected, order)))
        assert agree(A[order][proved], *chosen).all()


def _permuted(outputs, order):
    return {key: value[order] for key, value in outputs.items()}


@each_inverse
def test_nan_mask_and_no_certificate_leave_the_inverse_as_it_is(build):
    m = 3 if build is BUILDERS["closed_form"] else 5
    A = np.concatenate([stack_of("uniform", 50, m), stack_of("singular", 20, m), stack_of("zero", 1, m)])
    kept, marked, masked, bare = (
        run(open_session(build(**options)), A)
        for options in ({}, {"uncertified": "nan"}, {"uncertified": "mask"}, {"certificate": False})
    )
    proved = kept["rho"] < 1
    assert proved[:50].sum() > 40
    assert not proved[50:].any()
    np.testing.assert_array_equal(masked["certified"], proved)
    assert masked["certified"].dtype == np.bool_
    for other in (masked, bare):
        np.testing.assert_array_equal(other["inverse"], kept["inverse"])
    np.testing.assert_array_equal(marked["inverse"], np.where(proved[:, None, None], kept["inverse"], np.nan))
    for key, other in itertools.product(("rho", "residual_norm"), (marked, masked)):
        np.testing.assert_array_equal(other[key], kept[key])


@each_form
def test_residual_norms_are_those_of_what_is_returned(name, m):
    A = np.concatenate([stack_of("uniform", 100, m), stack_of("graded", 20, m, condition=100)])
    found = run(session_of(name), A)
    true = float64_residuals(A, found["inverse"])
    products = np.linalg.norm(np.abs(A).astype(np.float64) @ np.abs(found["inverse"]), axis=(1, 2))
    allowed = ((m + 8) * products + (m * m + 8) * true) * 2.0**-24
    assert (np.abs(found["residual_norm"] - true) <= allowed).all()
