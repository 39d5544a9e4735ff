"""The check of docstrings finds what is wrong with one."""

import pytest

pytest.importorskip("numpydoc", reason="it comes with the extra lint")

from scripts.check_docstrings import chosen, findings, members


def undescribed(A, tol=0.0):
    """Return something.

    Parameters
    ----------
    A : Tensor
    """
    return A, tol


class Parent:
    def fit(self):
        """Fit."""

    def hidden(self):
        return self


def test_a_bad_docstring_is_found():
    found = "\n".join(findings("here.undescribed", undescribed, chosen()))
    assert all(code in found for code in ("PR01", "PR07", "RT01", "EX01"))
    assert "tests/test_check_docstrings.py:" in found


def test_checks_that_are_left_out_are_those_that_are_named():
    assert {"PR01", "RT01", "EX01", "GL03"} <= chosen()
    assert not {"ES01", "SA01"} & chosen()


def test_members_are_those_of_the_package_that_are_documented(monkeypatch):
    monkeypatch.setattr(Parent, "__module__", "skdmi.somewhere")
    assert [name for name, _ in members(Parent)] == ["fit"]
    monkeypatch.setattr(Parent, "__module__", "elsewhere")
    assert list(members(Parent)) == []
