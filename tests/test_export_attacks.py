"""Certificates of files are never false: attacks with matrices that are singular in their very float32 bits."""

import contextlib
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.lib.arithmetic_settings import flush_to_zero
from benchmarks.lib.exact_arithmetic import is_singular
from tests.attacks import (
    FAMILIES,
    UNIT,
    broken_weights,
    candidates,
    conspiracy,
    equilibrated,
    inverse_or_pseudo_inverse,
    singular_stack,
)

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from skdmi import export  # noqa: E402
from skdmi.export.scale import equilibrate_symmetric, leave, normalize  # noqa: E402
from tests.onnx_files import FORMS, certificate_in_units_of, open_session, run, session_of  # noqa: E402

pytestmark = pytest.mark.slow

SETTINGS = {"kept": contextlib.nullcontext, "flushed": flush_to_zero}
N_MATRICES = 200
N_CANDIDATES = 12
SIZES = range(1, 17)
both_settings = pytest.mark.parametrize("setting", SETTINGS)
each_size = pytest.mark.parametrize("m", SIZES)
each_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)


@cache
def attacks_of(m):
    """Return singular matrices and as many would-be inverses, float32, in the units of the matrices."""
    rng = np.random.default_rng(m)
    matrices, inverses = [], []
    for family in FAMILIES:
        A = singular_stack(family, rng, N_MATRICES, m)
        B, units = equilibrated(A)
        for X in candidates(B, rng):
            matrices.append(A)
            with np.errstate(over="ignore", under="ignore"):
                inverses.append((X / units.swapaxes(1, 2)).astype(np.float32))
    return np.concatenate(matrices), np.concatenate(inverses)


def left(A):
    return leave(A)[0]


@cache
def certificates_for(m):
    return [open_session(export.export_certificate(size)) for size in (m, None)]


def test_there_are_more_than_a_hundred_thousand_attacks():
    assert len(SIZES) * len(FAMILIES) * N_CANDIDATES * N_MATRICES > 100_000
    assert len(attacks_of(3)[0]) == len(FAMILIES) * N_CANDIDATES * N_MATRICES


@each_family
def test_attacks_are_singular_to_the_last_bit(family):
    rng = np.random.default_rng(0)
    for m in SIZES:
        for A in singular_stack(family, rng, 12, m):
            assert is_singular(torch.from_numpy(A))


def test_flushing_reaches_the_runtime():
    numbers = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in ("A", "B")]
    node = onnx.helper.make_node("Add", ["A", "A"], ["B"])
    graph = onnx.helper.make_graph([node], "double", numbers[:1], numbers[1:])
    versions = [onnx.helper.make_opsetid("", 18)]
    model = onnx.helper.make_model(
        graph, opset_imports=versions, ir_version=onnx.helper.find_min_ir_version_for(versions)
    )
    least = np.array([2.0**-140], np.float32)
    session = open_session(model)
    assert run(session, least)["B"] == 2.0**-139
    with flush_to_zero():
        flushed = run(session, least)["B"]
    assert flushed == 0


@both_settings
@each_size
def test_no_would_be_inverse_of_a_singular_matrix_is_certified(m, setting):
    A, X = attacks_of(m)
    for session in certificates_for(m):
        with SETTINGS[setting]():
            rho = run(session, A, X)["rho"]
        assert not (rho < 1).any()
        assert m == 1 or np.isfinite(rho).mean() > 0.3


@both_settings
@each_size
def test_no_would_be_inverse_is_certified_in_other_units(m, setting):
    A, X = attacks_of(m)
    for scaling in (normalize, left, equilibrate_symmetric):
        with SETTINGS[setting]():
            rho = run(certificate_in_units_of(scaling, m), A, X)["rho"]
        assert not (rho < 1).any()


@both_settings
@pytest.mark.parametrize(("name", "m"), [(name, m) for name, (_, sizes) in FORMS.items() for m in sizes])
def test_no_file_certifies_its_own_inverse_of_a_singular_matrix(name, m, setting):
    rng = np.random.default_rng(100 + m)
    for family in FAMILIES:
        A = singular_stack(family, rng, 1000, m)
        with SETTINGS[setting]():
            found = run(session_of(name), A)
        assert not (found["rho"] < 1).any()


@each_size
def test_what_the_rounding_of_a_scale_makes_nonsingular_is_not_certified(m):
    # In units that are no powers of two, B is nonsingular, and has an inverse of which no product sees an error.
    rng = np.random.default_rng(m)
    for family in FAMILIES:
        A = singular_stack(family, rng, 500, m)
        norms = np.linalg.norm(A.astype(np.float64), axis=(1, 2))
        A = A[(norms > 1e-15) & (norms < 1e15)]
        units = (np.linalg.norm(A, axis=(1, 2)) / np.float32(np.sqrt(m)))[:, None, None]
        B = A / units
        with np.errstate(over="ignore"):
            X = (inverse_or_pseudo_inverse(B.astype(np.float64)) / units).astype(np.float32)
        rho = run(certificate_in_units_of(normalize, m), A, X)["rho"]
        assert not (rho < 1).any()


@pytest.mark.parametrize("m", [2, 3, 5, 8])
def test_no_search_for_the_smallest_bound_finds_a_false_proof(m):
    rng = np.random.default_rng(m)
    A = np.concatenate([singular_stack(family, rng, 60, m) for family in FAMILIES])
    B = equilibrated(A)[0].astype(np.float32)
    X = np.linalg.pinv(B.astype(np.float64)).astype(np.float32)
    session = certificates_for(m)[0]
    best = run(session, B, X)["rho"]
    for _ in range(300):
        where = rng.integers(2, size=X.shape) if rng.random() < 0.3 else rng.random(X.shape) < 1.5 / m**2
        size = rng.standard_normal((len(X), 1, 1)) ** 9 * np.abs(X).max(axis=(1, 2), keepdims=True)
        trial = (X + where * size * rng.choice([1e-7, 1e-3, 1.0])).astype(np.float32)
        rho = run(session, B, trial)["rho"]
        assert not (rho < 1).any()
        better = rho < best
        X[better], best[better] = trial[better], rho[better]


FLUSHING = """
import sys
import numpy as np, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
options.add_session_config_entry("session.set_denormal_as_zero", "1")
session = onnxruntime.InferenceSession(sys.argv[1], options)
given = np.load(sys.argv[2])
assert not (session.run(["rho"], {"A": given["A"], "X": given["X"]})[0] < 1).any()
"""


@pytest.mark.parametrize("m", [2, 3, 8])
def test_no_certificate_is_false_where_the_runtime_flushes_by_an_option(m, tmp_path):
    A, X = attacks_of(m)
    export.save(export.export_certificate(), tmp_path / "certificate.onnx")
    np.savez(tmp_path / "given.npz", A=A, X=X)
    command = [sys.executable, "-c", FLUSHING, tmp_path / "certificate.onnx", tmp_path / "given.npz"]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# The attacks have teeth


@pytest.mark.parametrize("m", [2, 3, 4, 5, 6, 8, 12, 16])
def test_with_half_a_unit_for_all_rounding_there_are_false_proofs(m):
    found = [conspiracy(np.random.default_rng([m, i]), m) for i in range(6)]
    B, X = max(found, key=lambda pair: broken_weights(*pair)[0])
    assert is_singular(torch.from_numpy(B[0]))
    broken = broken_weights(B, X).max()
    assert 0.5 < broken < m + 6
    norms = [np.linalg.norm(matrix.astype(np.float64)) for matrix in (B, X)]
    assert UNIT / 2 * norms[0] * norms[1] < 1
    for session in certificates_for(m):
        for order in (1, -1):
            assert not (run(session, B[:, :, ::order].copy(), X[:, ::order].copy())["rho"] < 1).any()


def test_without_a_weight_common_attacks_are_false_proofs():
    for m in (2, 3, 4):
        A, X = attacks_of(m)
        B, units = equilibrated(A)
        with np.errstate(all="ignore"):
            found = broken_weights(B.astype(np.float32), (X * units.swapaxes(1, 2)).astype(np.float32))
        assert np.nanmax(found) > 0.2
