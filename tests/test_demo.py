"""The demonstration page, visited in a browser, shows what Python's runtime finds."""

import json
import re
from fractions import Fraction
from functools import cache

import numpy as np
import pytest
from click.testing import CliRunner

from scripts.browser import drive, served
from scripts.npm_packages import MANIFEST, Unavailable
from tests.certificates import agree
from tests.matrices import make_stack

export = pytest.importorskip("skdmi.export")
onnxruntime = pytest.importorskip("onnxruntime")
build_demo = pytest.importorskip("scripts.build_demo")

TIMES, MINUS = "\N{MULTIPLICATION SIGN}", "\N{MINUS SIGN}"
WIDTHS = (390, 1280)
EXAMPLES = {"A good one": 3, "Rows in different units": 3, "Singular": 3, "Hilbert 4": 4, "Hilbert 8": 8}
NOT_PROVED = {"Singular", "Hilbert 8", "zero row"}
TYPED = {
    "brackets": "[[1, 2],\n [3, 4.5]]",
    "on one line": "[[1, 2], [3, 4.5]]",
    "semicolons": "1 2; 3 4.5",
    "zero row": "0 0\n0 1",
    "nearly singular": "1 1\n1 1.00016",
    "64 x 64": "\n".join("\t".join(map(repr, row)) for row in make_stack("well", 1, 64)[0].tolist()),
}
ROUNDED = f"0.1  16777217\n0.5000000000000000000000001  {MINUS}3"
BAD = {
    "": "Type or paste a square matrix, or choose an example.",
    " \n ;": "Type or paste a square matrix, or choose an example.",
    "1 2\n3 x": "Row 2, column 2: “x” is not a number.",
    "nan": "Row 1, column 1: “nan” is not a number.",
    "Infinity": "Row 1, column 1: “Infinity” is not a number.",
    "0x10": "Row 1, column 1: “0x10” is not a number.",
    "1/0": "Row 1, column 1: “1/0” is not a number.",
    "1/2/3": "Row 1, column 1: “1/2/3” is not a number.",
    "1 2 3": "Not square: 1 row of 3 numbers.",
    "1\n2": "Not square: 2 rows of 1 number.",
    "1 2\n3": "Not a matrix: row 1 has 2 numbers, row 2 has 1.",
    "1e39": f"Row 1, column 1: 1e39 is too large for float32, which ends at 3.4 {TIMES} 10³⁸.",
    "1 " * 65: "This page takes up to 64 rows and columns, not 65. The file takes any size.",
}
STEPS = {
    "at first": {},
    **{name: {"button": name} for name in EXAMPLES},
    **{name: {"text": text} for name, text in TYPED.items()},
    "rounded": {"text": ROUNDED},
    **{text: {"text": text} for text in BAD},
    "after bad ones": {"button": "A good one"},
    "copied": {"copy": "Copy all digits"},
}


def or_skip(get, *arguments):
    try:
        return get(*arguments)
    except Unavailable as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The page with its runtime."""
    folder = tmp_path_factory.mktemp("site")
    build_demo.build(folder)
    or_skip(build_demo.add_runtime, folder)
    return folder


def visit(url, steps):
    """Take steps on the page at an address."""
    found = or_skip(drive, "visit.mjs", {"url": url, "steps": [*steps.values()], "widths": WIDTHS})
    return dict(zip(steps, found["steps"], strict=True)), found["errors"]


@pytest.fixture(scope="module")
def visited(site):
    with served(site) as url:
        return visit(url, STEPS)


@pytest.fixture(scope="module")
def seen(visited):
    return visited[0]


@cache
def session():
    return onnxruntime.InferenceSession(export.any_size().SerializeToString())


def in_python(A):
    """Return the outputs of Python's runtime, by name."""
    return dict(zip(("inverse", "rho", "residual_norm"), session().run(None, {"A": A}), strict=True))


def matrix_typed(text):
    """Return what was typed, one matrix in float32."""
    rows = (re.findall(r"[^\s,\[]+", row) for row in re.split(r"[\n;\]]", text))
    return np.array([[[float(Fraction(number)) for number in row] for row in rows if row]], np.float32)


def floats(texts):
    return np.array(texts, np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*EXAMPLES, *TYPED, "at first", "after bad ones"])
def test_verdicts_and_numbers_are_those_of_python(name, seen):
    shown = seen[name]
    A = matrix_typed(shown["typed"])
    expected, rho = in_python(A), floats([shown["rho"]])
    assert A.shape[1] == EXAMPLES.get(name, A.shape[1])
    assert (rho < 1) == (expected["rho"] < 1) == (name not in NOT_PROVED)
    assert shown["time"].endswith(" ms")
    assert shown["rounded"] == [] or (floats(shown["rounded"]) == A[0]).all()
    if name in NOT_PROVED:
        assert shown["verdict"].startswith("Not proved ")
        return
    assert shown["verdict"].startswith("Proved: nonsingular Relative error at most ")
    assert bound_in(shown["verdict"]) >= rho
    np.testing.assert_allclose(rho, expected["rho"], rtol=0.5)
    assert agree(A, expected, {"inverse": floats([shown["inverse"]]), "rho": rho}).all()
    assert ("loose" in shown["verdict"]) == (rho > 0.01)


def bound_in(verdict):
    """Return the number after "at most"."""
    number = verdict.split(" at most ")[1].split(",")[0]
    return float(number.replace(f" {TIMES} 10", "e").translate(str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")))


@pytest.mark.slow
def test_residual_norms_are_those_of_python(seen):
    for name in ("A good one", "Hilbert 4", "64 x 64"):  # of rows in one unit, more or less, so that rho bounds it
        A = matrix_typed(seen[name]["typed"])
        expected = in_python(A)
        ratio = np.abs(A).sum(2).max() / np.abs(A).sum(2).min()
        assert abs(float(seen[name]["residual"]) - expected["residual_norm"]) <= 4 * ratio * expected["rho"]


@pytest.mark.slow
def test_what_is_copied_is_the_inverse_to_all_digits(seen):
    assert [row.split("\t") for row in seen["copied"]["copied"].splitlines()] == seen["copied"]["inverse"]


@pytest.mark.slow
def test_what_was_rounded_is_shown(seen):
    assert seen["rounded"]["rounded"] == [["0.100000001", "16777216"], ["0.5", "-3"]]
    assert seen["A good one"]["rounded"] == []
    assert seen["brackets"]["rounded"] == []
    assert seen["Hilbert 8"]["rounded"][0][2] == "0.333333343"


@pytest.mark.slow
@pytest.mark.parametrize("text", BAD)
def test_bad_input_gives_one_message_and_no_numbers(text, seen):
    shown = seen[text]
    assert shown["message"] == BAD[text]
    assert shown["invalid"] == "true"
    assert [shown[part] for part in ("verdict", "notice", "rho", "residual", "inverse")] == ["", "", "", "", []]


@pytest.mark.slow
def test_good_input_gives_no_message(seen):
    for name in STEPS.keys() - BAD.keys():
        assert seen[name]["message"] == ""
        assert seen[name]["invalid"] == "false"


@pytest.mark.slow
def test_the_browser_has_nothing_to_complain_of(visited):
    assert visited[1] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", STEPS)
def test_nothing_sticks_out(name, seen):
    assert seen[name]["overflow"] == [0] * len(WIDTHS)


@pytest.mark.slow
def test_without_its_runtime_the_page_says_how_to_add_it(tmp_path):
    build_demo.build(tmp_path)
    with served(tmp_path) as url:
        shown, _ = visit(url, {"at first": {}})
    assert shown["at first"]["notice"].startswith("The runtime is not beside this page")
    for name in build_demo.RUNTIME:
        assert name in shown["at first"]["notice"]


@pytest.mark.slow
def test_opened_from_a_file_the_page_says_that_it_needs_http(tmp_path):
    build_demo.build(tmp_path)
    shown, _ = visit((tmp_path / "index.html").as_uri(), {"at first": {}})
    assert "needs http" in shown["at first"]["notice"]


def test_without_npm_the_page_is_written_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    result = CliRunner().invoke(build_demo.main, [str(tmp_path / "page")])
    assert result.exit_code == 0
    assert result.output == "The page is without its runtime. node is not installed.\n"
    assert {path.name for path in (tmp_path / "page").iterdir()} >= {"index.html", "demo.js", "any_size.onnx"}


def test_the_page_names_the_pinned_runtime():
    version = json.loads(MANIFEST.read_text())["dependencies"]["onnxruntime-web"]
    for name in ("index.html", "runtime.js"):
        assert f"onnxruntime-web {version}" in (build_demo.PAGE / name).read_text()
