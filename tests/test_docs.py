"""The pages of the documentation: what they show is what happens."""

import doctest
import importlib
import re
import types
from pathlib import Path

import pytest
import torch

import skdmi
from skdmi.iteration import STARTS

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(page for folder in (DOCS, DOCS / "guide", DOCS / "api") for page in folder.glob("*.rst"))


def name_of(page):
    return page.relative_to(DOCS).as_posix()


@pytest.fixture(autouse=True)
def as_before(monkeypatch, tmp_path):
    """Let no page leave anything to the tests after it, or files to the developer."""
    monkeypatch.chdir(tmp_path)
    rows = dict(STARTS)
    with torch.random.fork_rng(devices=[]):
        yield
    STARTS.clear()
    STARTS.update(rows)


@pytest.mark.parametrize("page", [page for page in PAGES if ">>>" in page.read_text()], ids=name_of)
def test_the_examples_of_a_page(page):
    report = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    test = doctest.DocTestParser().get_doctest(page.read_text(), {"__name__": "__main__"}, page.stem, str(page), 0)
    failed, attempted = runner.run(test, out=report.append)
    assert not failed, "".join(report)
    assert attempted == len(test.examples) > 0


def test_every_page_is_in_a_table_of_contents():
    entries = [
        (page.parent / entry).with_suffix(".rst")
        for page in PAGES
        for contents in re.findall(r"^\.\. toctree::\n(?:   :.*\n)*\n((?:   .*\n)+)", page.read_text(), re.MULTILINE)
        for entry in re.findall(r"[\w/]+(?=>?$)", contents, re.MULTILINE)
    ]
    assert sorted(entries) == sorted({*PAGES, DOCS / "auto_examples" / "index.rst"} - {DOCS / "index.rst"})


def listed():
    """Return what the pages of the API list, by its full name."""
    names = []
    for page in DOCS.glob("api/*.rst"):
        text = page.read_text()
        (module,) = re.findall(r"^\.\. (?:automodule|currentmodule):: (.*)", text, re.MULTILINE)
        names += [f"{module}.{name}" for name in re.findall(r"^   ([a-zA-Z_.]+)$", text, re.MULTILINE)]
        names += [f"{module}.{name}" for name in re.findall(r"^\.\. py:data:: (.*)", text, re.MULTILINE)]
    return names


@pytest.mark.parametrize(
    "name", ["skdmi", *(f"skdmi.{page.stem}" for page in DOCS.glob("api/*.rst") if page.stem != "index")]
)
def test_every_public_name_has_a_page(name):
    module = importlib.import_module(name)
    public = {name for name in module.__all__ if not isinstance(getattr(module, name), types.ModuleType)}
    here = {full.removeprefix(f"{name}.") for full in listed() if full.startswith(f"{name}.")}
    assert public - here <= ({"LogDeterminant"} if name == "skdmi.linalg" else set())  # The page is that of skdmi's.


@pytest.mark.parametrize(
    "name", ["BlockInverter", "EnsembleInverter", "ExactInverter", "NeuralMatrixInverter", "RefinedInverter"]
)
def test_the_question_mark_of_an_inverter_leads_to_its_page(name):
    link = getattr(skdmi, name)()._get_doc_link()
    assert link.endswith(f"/api/generated/skdmi.{name}.html")
    assert f"skdmi.{name}" in listed()
    assert link in getattr(skdmi, name)()._repr_html_()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_what_a_page_includes_is_there(page):
    for file, options in re.findall(r"^\.\. literalinclude:: (\S+)\n((?:   :.*\n)*)", page.read_text(), re.MULTILINE):
        text = (page.parent / file).read_text()
        for mark in re.findall(r":(?:start-at|end-before): (.*)", options):
            assert mark in text, f"{file} has no line with {mark!r}."
            text = text[text.index(mark) :]
    for image in re.findall(r"^\.\. image:: (\S+)", page.read_text(), re.MULTILINE):
        assert (page.parent / image).exists()
