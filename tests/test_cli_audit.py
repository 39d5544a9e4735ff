"""``skdmi audit``: the table, the exit status, and how a function is found."""

import sys

import pytest

from tests.test_cli import fail, run, succeed

WRONG = """
import numpy as np

def zeros(A):
    return np.where(np.abs(A - np.eye(A.shape[-1])).max() == 0, A, 0)

class Inverter:
    @staticmethod
    def apply(A):
        return np.linalg.inv(A)

inverter = Inverter()
number = 3
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Make an empty directory the current one, whose modules are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    path, known = list(sys.path), set(sys.modules)
    yield tmp_path
    assert sys.path == path
    for name in set(sys.modules) - known:
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in sys.modules[name].__file__:
            del sys.modules[name]


def rows(table):
    """Return the counts of families: n, right, said so, silent."""
    _, *lines = [line.split() for line in table.splitlines()]
    return {cells[0]: [int(cell) for cell in cells[1:5]] for cells in lines}


@pytest.mark.parametrize(
    "function", ["numpy", "torch", "skdmi", "python:numpy.linalg.inv", "python:torch.linalg.inv_ex"]
)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_what_is_right_exits_with_0(function, dtype):
    table = succeed("audit", function, "--family", "permutation", "--family", "wishart", "--dtype", dtype)
    assert table.splitlines()[0].split("  ")[0] == "family"
    assert rows(table) == {"permutation": [16, 16, 0, 0], "wishart": [17, 17, 0, 0], "all": [33, 33, 0, 0]}


def test_skdmi_is_never_wrong_and_silent():
    found = rows(succeed("audit", "skdmi"))
    assert len(found) == 18
    assert found["all"][3] == 0


def test_what_is_wrong_and_silent_exits_with_1_and_is_named(here):
    (here / "mine.py").write_text(WRONG)
    arguments = ("audit", "python:mine.zeros", "--family", "kahan")
    assert fail(*arguments) == ("Error: python:mine.zeros: 6 of 6 are wrong and silent: kahan-8 (0-2), kahan-16 (0-2).")
    table = run(*arguments).stdout
    assert rows(table) == {"kahan": [6, 0, 0, 6]}
    assert "1.0e+00" in table


def test_what_is_said_is_no_failure():
    """numpy raises for all on account of one; its neighbours are asked again."""
    table = run("audit", "numpy", "--family", "singular").stdout
    assert "raises for the stack" in table
    assert rows(table)["singular"][0] == 40


def test_functions_are_found_in_modules_packages_and_classes_here(here):
    (here / "kernels").mkdir()
    (here / "kernels" / "__init__.py").write_text("")
    (here / "kernels" / "fast.py").write_text(WRONG)
    for path in ("Inverter.apply", "inverter.apply"):
        assert rows(succeed("audit", f"python:kernels.fast.{path}", "--family", "uniform")) == {
            "uniform": [17, 17, 0, 0]
        }


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("numpy.linalg.inv", "Got 'numpy.linalg.inv'; expected python:module.function, or one of numpy, torch, skdmi."),
        ("mine:zeros", "Got 'mine:zeros'; expected python:module.function, or one of numpy, torch, skdmi."),
        ("python:", "Got 'python:'; expected a module and a function, as in python:numpy.linalg.inv."),
        ("python:mine", "Got 'python:mine'; expected a module and a function, as in python:numpy.linalg.inv."),
        (
            "python:mine..zeros",
            "Got 'python:mine..zeros'; expected a module and a function, as in python:numpy.linalg.inv.",
        ),
        ("python:nowhere.zeros", "python:nowhere.zeros: there is no module 'nowhere', here or installed."),
        ("python:nowhere.at.all", "python:nowhere.at.all: there is no module 'nowhere', here or installed."),
        ("python:mine.ones", "python:mine.ones: there is no 'ones' in mine."),
        ("python:mine.Inverter.ones", "python:mine.Inverter.ones: there is no 'ones' in Inverter."),
        ("python:mine.number", "python:mine.number is of type int; expected a function."),
        ("python:broken.f", "python:broken.f: importing broken failed: ZeroDivisionError: division by zero"),
        ("python:needy.f", "python:needy.f: importing needy failed: No module named 'nowhere'."),
        ("python:untidy.f", "python:untidy.f: importing untidy failed: SyntaxError: "),
    ],
)
def test_what_is_no_function_is_told_in_one_line(here, function, message):
    (here / "mine.py").write_text(WRONG)
    (here / "broken.py").write_text("1 / 0\n")
    (here / "needy.py").write_text("import nowhere\n")
    (here / "untidy.py").write_text("def f(:\n")
    assert fail("audit", function, exit_code=2).startswith(f"Error: {message}")


def test_what_inverts_nothing_is_told_in_one_line():
    assert fail("audit", "python:numpy.shape").startswith("Error: Cannot call shape. It inverts no identity matrix. ")


def test_families_must_be_there():
    line = fail("audit", "numpy", "--family", "hilbert-3", exit_code=2)
    assert "Got 'hilbert-3'; expected one of permutation, " in line
    assert "Got family 'spread'; expected in this dtype one of " in fail(
        "audit", "numpy", "--family", "spread", "--dtype", "float32"
    )


def test_what_is_tied_to_a_size_is_asked_for_that(here):
    (here / "tied.py").write_text("import numpy as np\n\ndef four(A):\n    return np.linalg.inv(A.reshape(-1, 4, 4))\n")
    table = succeed("audit", "python:tied.four", "--size", 4, "--family", "permutation", "--family", "subnormal")
    assert rows(table)["permutation"] == [8, 8, 0, 0]
    assert fail("audit", "numpy", "--size", 5, "--size", 7, "--family", "kahan") == (
        "Error: Got sizes 5, 7; expected some of 8, 16."
    )
