"""What CONTRIBUTING.md and the page on architecture name is there, and the picture shows the imports of today."""

import importlib
import re
import tomllib
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from scripts.draw_house import PICTURE, imports, without_implied

ROOT = Path(__file__).parents[1]
CODE = re.compile(r"(`+)([^`]+)\1")
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
IS_PATH = re.compile(r"(skdmi|tests|docs|scripts|benchmarks|examples)/[\w./-]*|[\w-]+\.(md|txt|toml|cfg)|Makefile")
IS_DOTTED = re.compile(r"~?(skdmi(\.\w+)+)")
IS_NAME = re.compile(r"[A-Za-z_]\w*")


def words(page):
    """Yield what stands between backticks on a page, word by word."""
    for _, text in CODE.findall(FENCED.sub("", (ROOT / page).read_text())):
        yield from text.split()


def named(kind):
    """Return page and word for every word that is of a kind."""
    pages = ("CONTRIBUTING.md", "docs/architecture.rst")
    return sorted({(page, word) for page in pages for word in words(page) if kind.fullmatch(word)})


@cache
def names_in_code():
    files = [path for folder in ("skdmi", "tests", "scripts") for path in (ROOT / folder).rglob("*.py")]
    return set(re.findall(r"\w+", "\n".join(path.read_text() for path in files if path != Path(__file__))))


@pytest.mark.parametrize(("page", "path"), named(IS_PATH))
def test_every_file_that_is_named_exists(page, path):
    assert (ROOT / path).is_dir() if path.endswith("/") else (ROOT / path).is_file()


@pytest.mark.parametrize(("page", "name"), named(IS_DOTTED))
def test_every_dotted_name_resolves(page, name):
    _, *attributes = name.removeprefix("~").split(".")
    value, path = importlib.import_module("skdmi"), "skdmi"
    for attribute in attributes:
        path = f"{path}.{attribute}"
        value = getattr(value, attribute) if hasattr(value, attribute) else importlib.import_module(path)


def test_every_name_occurs_in_the_code():
    assert not {name for _, name in named(IS_NAME)} - names_in_code() - {"Makefile"}


def test_every_target_is_in_the_makefile():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z-]+)", (ROOT / "CONTRIBUTING.md").read_text())) <= targets


def test_the_oldest_versions_that_are_tested_are_the_oldest_that_are_allowed():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    for_users = [extras[name] for name in ("fast", "plot", "dask", "pandas", "tensorboard", "export", "hub")]
    pins = map(Requirement, re.findall(r"^[^#\n]+", (ROOT / "constraints-oldest.txt").read_text(), re.MULTILINE))
    tested = {pin.name: str(pin.specifier) for pin in pins}
    for requirement in map(Requirement, sum(for_users, project["dependencies"])):
        allowed, pin = str(requirement.specifier), tested[requirement.name]
        assert Version(allowed.removeprefix(">=")) == Version(pin.removeprefix("=="))


def test_the_message_that_is_shown_is_said():
    from skdmi.validation import check_layout

    quoted = re.findall(r"^> (.*)$", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    with pytest.raises(ValueError, match=f"^{re.escape(' '.join(quoted))}$"):
        check_layout((10, 4, 4), 3, "ExactInverter")


def test_the_picture_of_the_house_is_that_of_today():
    drawn = set(re.findall(r"<title>(\w+) imports (\w+)</title>", PICTURE.read_text()))
    there = {(high, low) for high, lows in without_implied(imports()).items() for low in lows}
    assert drawn == there, "python -m scripts.draw_house draws it anew"
