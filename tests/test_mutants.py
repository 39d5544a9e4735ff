"""Mutants: every change is one change, and whoever holds a function calls it in its new wording."""

import importlib
import sys

import pytest

from scripts.mutants.rewording import Rewording

SOURCE = '''"""A module."""

from functools import wraps

SIZE = 2


def again(function):
    @wraps(function)
    def twice(x):
        return function(function(x))

    return twice


@again
def half(x, by=2):
    """Return a quarter."""
    return x / by


class Scale:
    unit = 8

    def of(self, x):
        return [self.unit * value for value in (x, SIZE)]
'''


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "reworded.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("reworded")
    del sys.modules["reworded"]


def test_whoever_holds_a_function_calls_its_new_wording(module):
    half, scale = module.half, module.Scale()
    rewording = Rewording(module.__file__)
    rewording.prepare()
    for was, becomes, quarter, scaled in [
        ("x / by", "x * by", 16.0, [32, 16]),
        ("self.unit * value", "self.unit + value", 1.0, [12, 10]),
        ("function(function(x))", "function(x)", 2.0, [32, 16]),
    ]:
        codes = rewording.codes(SOURCE.replace(was, becomes))
        before = [function.__code__ for function, _ in codes]
        for function, code in codes:
            function.__code__ = code
        assert (half(4.0), scale.of(4)) == (quarter, scaled)
        for (function, _), code in zip(codes, before, strict=True):
            function.__code__ = code


@pytest.mark.parametrize(
    ("was", "becomes"), [("SIZE = 2", "SIZE = 3"), ("by=2", "by=3"), ("unit = 8", "unit = 9"), ("@again\n", "")]
)
def test_what_runs_on_import_is_left_to_an_import(module, was, becomes):
    rewording = Rewording(module.__file__)
    rewording.prepare()
    assert rewording.codes(SOURCE.replace(was, becomes)) == []


def test_a_mutant_differs_in_one_place_and_has_a_name_of_its_own():
    pytest.importorskip("mutmut", reason="the operators are those of mutmut")
    from scripts.mutants.places import mutants_of

    mutants = mutants_of("reworded.py", SOURCE)
    assert {(mutant.was, mutant.becomes) for mutant in mutants} >= {("2", "3"), ("x / by", "x * by"), ("8", "9")}
    assert len({mutant.key for mutant in mutants}) == len(mutants)
    for mutant in mutants:
        compile(mutant.source, "", "exec")
        before, after = SOURCE.splitlines(), mutant.source.splitlines()
        assert [i for i, lines in enumerate(zip(before, after, strict=True), 1) if len(set(lines)) > 1] == [mutant.line]
        assert mutant.first <= mutant.line <= mutant.last
