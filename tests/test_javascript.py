"""The same files in JavaScript, in node's own build of onnxruntime and in its wasm, prove what they prove in Python."""

import json
import subprocess
import tempfile
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest

from scripts.npm_packages import Unavailable, install
from skdmi import RefinedInverter, load_pretrained
from tests.certificates import agree
from tests.matrices import make_stack

onnx = pytest.importorskip("onnx")
export = pytest.importorskip("skdmi.export")
pytest.importorskip("onnxruntime")

from tests.onnx_files import open_session, run  # noqa: E402

pytestmark = pytest.mark.slow

RUNTIMES = ("onnxruntime-node", "onnxruntime-web")
RUN = Path(__file__).parent / "javascript" / "run.mjs"
ALL = {"condition": 1e4}
"""Steps enough for every matrix below, so that no verdict is near its edge."""
FILES = {
    "closed_1": (partial(export.closed_form, 1), [1]),
    "closed_2": (partial(export.closed_form, 2), [2]),
    "closed_3": (partial(export.closed_form, 3), [3]),
    "closed_4": (partial(export.closed_form, 4), [4]),
    "elimination_8": (partial(export.elimination, 8), [8]),
    "fixed_8": (partial(export.fixed, 8, **ALL), [8]),
    "fixed_16": (partial(export.fixed, 16, **ALL), [16]),
    "any_size": (partial(export.any_size, **ALL), [1, 2, 3, 5, 16, 24]),
    "certificate_3": (partial(export.export_certificate, 3), [3]),
    "certificate_8": (partial(export.export_certificate, 8), [8]),
    "closed_3_nan": (partial(export.closed_form, 3, uncertified="nan"), [3]),
    "closed_3_mask": (partial(export.closed_form, 3, uncertified="mask"), [3]),
    "fixed_8_nan": (partial(export.fixed, 8, uncertified="nan", **ALL), [8]),
    "any_size_mask": (partial(export.any_size, uncertified="mask", **ALL), [4]),
}


@cache
def shipped(name):
    return load_pretrained(name)


def file_of(inverter):
    """Return the file that an inverter exports."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "inverse.onnx"
        inverter.export(path)
        return onnx.load(path)


SHIPPED = ("kernel-grid-4x4", "diffusion-6x6", "eeg-covariance")
"""Models of families, all of whose members are proved after refinement."""
for name in SHIPPED:
    FILES[name] = partial(file_of, RefinedInverter(shipped(name))), [shipped(name).matrix_size_]

BATCHES = (0, 1, 5, 1000)
CASES = [(name, m, n) for name, (_, sizes) in FILES.items() for m in sizes for n in BATCHES]
WITHOUT_INVERSE = {"singular", "zero", "nan", "infinite"}
"""Kinds of matrices that nothing can be proved of."""


def each_case(choose=lambda name: True):
    """Run a test over the cases of the files whose names are chosen."""
    cases = [case for case in CASES if choose(case[0])]
    return pytest.mark.parametrize("case", cases, ids=lambda case: "-".join(map(str, case)))


def matrices(file, m, n):
    """Return a stack of every kind in turn, and the kind of each: no matrix may spoil its neighbours."""
    kinds = members(file, m, n) if file in SHIPPED else of_all_units(m, n)
    stacks = np.stack([*kinds.values()])[np.arange(n) % len(kinds), np.arange(n)]
    return stacks.astype(np.float32), np.resize([*kinds], n)


def members(name, m, n):
    """Return members of the family that a model was made for, and others."""
    A = shipped(name).distribution_.sample(max(n, 1), m, random_state=1)[:n]
    corner = np.arange(m * m).reshape(m, m) == 0
    return {
        "well": A,
        "singular": A * (np.arange(m) > 0),
        "large": 2.0**30 * A,
        "nan": np.where(corner, np.nan, A),
        "zero": 0 * A,
        "small": 2.0**-30 * A,
        "infinite": np.where(corner, np.inf, A),
    }


def of_all_units(m, n):
    rng = np.random.default_rng([m, n])
    uniform = make_stack("uniform", n, m, seed=m)
    corner = np.arange(m * m).reshape(m, m) == 0
    return {
        "uniform": uniform,
        "singular": make_stack("singular", n, m, seed=m),
        "rows": 2.0 ** rng.integers(-30, 31, (n, m, 1)) * uniform,
        "nan": np.where(corner, np.nan, uniform),
        "zero": np.zeros((n, m, m)),
        "infinite": np.where(corner, np.inf, uniform),
        "large": 2.0**50 * uniform,
        "small": 2.0**-50 * uniform,
        "huge": 1e38 * uniform,
        "tiny": 1e-42 * uniform,
        "well": make_stack("well", n, m, seed=m),
    }


@cache
def feeds_of(name, m, n):
    A, _ = matrices(name, m, n)
    return {"A": A, "X": in_python("any_size", m, n)["inverse"]} if name.startswith("certificate") else {"A": A}


@cache
def session_of(name):
    build, _ = FILES[name]
    return open_session(build())


@cache
def in_python(name, m, n):
    """Return the outputs of Python's runtime, by name."""
    return run(session_of(name), **feeds_of(name, m, n))


@pytest.fixture(scope="module")
def packages():
    try:
        return install(*RUNTIMES)
    except Unavailable as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def described(tmp_path_factory):
    """A folder with all files, all inputs, and which goes with which."""
    folder = tmp_path_factory.mktemp("jobs")
    for name, (build, _) in FILES.items():
        export.save(build(), folder / f"{name}.onnx")
    jobs = []
    for job, case in enumerate(CASES):
        feeds = {}
        for name, array in feeds_of(*case).items():
            (folder / f"{job}.{name}").write_bytes(array.tobytes())
            feeds[name] = {"dims": array.shape, "file": f"{job}.{name}"}
        jobs.append({"model": f"{case[0]}.onnx", "feeds": feeds})
    (folder / "jobs.json").write_text(json.dumps(jobs))
    return folder


@pytest.fixture(scope="module", params=RUNTIMES)
def in_javascript(request, packages, described):
    """The outputs of a runtime of JavaScript for every case, by name."""
    command = ["node", RUN, packages, request.param, described]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    return {case: read_outputs(described, answer) for case, answer in zip(CASES, answers, strict=True)}


def read_outputs(folder, answer):
    assert "error" not in answer, answer["error"]
    dtypes = {"float32": np.float32, "bool": np.bool_}
    return {
        name: np.fromfile(folder / output["file"], dtypes[output["type"]]).reshape(output["dims"])
        for name, output in answer.items()
    }


@each_case()
def test_matrices_leave_no_verdict_to_rounding(case):
    rho = in_python(*case)["rho"]
    assert (np.isin(matrices(*case)[1], [*WITHOUT_INVERSE]) | (rho < 0.5) | ~(rho < 2)).all()


@each_case()
def test_outputs_are_those_of_python(case, in_javascript):
    expected, found = in_python(*case), in_javascript[case]
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].shape == array.shape
        assert found[name].dtype == array.dtype


@each_case()
def test_verdicts_are_those_of_python(case, in_javascript):
    proved = in_javascript[case]["rho"] < 1
    np.testing.assert_array_equal(proved, in_python(*case)["rho"] < 1)
    kinds = matrices(*case)[1]
    assert not proved[np.isin(kinds, [*WITHOUT_INVERSE])].any()
    assert proved[np.isin(kinds, ["well", "rows", "large", "small"])].all()


@each_case(lambda name: not name.startswith("certificate"))
def test_inverses_are_those_of_python_but_for_what_the_certificates_allow(case, in_javascript):
    here, there = in_python(*case), in_javascript[case]
    proved = (here["rho"] < 1) & (there["rho"] < 1)
    one, other = ({name: outputs[name][proved] for name in ("inverse", "rho")} for outputs in (here, there))
    A = matrices(*case)[0][proved]
    # Files of families have one unit for all rows and columns, as that of the identity is.
    assert agree(np.broadcast_to(np.eye(A.shape[-1]), A.shape) if case[0] in SHIPPED else A, one, other).all()


@each_case(lambda name: name.endswith("nan"))
def test_what_is_not_proved_is_nan(case, in_javascript):
    outputs = in_javascript[case]
    assert (np.isnan(outputs["inverse"]) == ~(outputs["rho"] < 1)[:, None, None]).all()


@each_case(lambda name: name.endswith("mask"))
def test_what_is_not_proved_is_masked(case, in_javascript):
    outputs = in_javascript[case]
    np.testing.assert_array_equal(outputs["certified"], outputs["rho"] < 1)
