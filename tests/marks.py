"""Marks of tests."""

import pytest


def slow_but(quick, values):
    """Return the values of a parameter, all marked slow but the quick ones: these touch the law, all cover it."""
    return [value if value in quick else pytest.param(value, marks=pytest.mark.slow) for value in values]
