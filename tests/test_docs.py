"""The pages of the documentation: what they show is what happens."""

import doctest
import re
from pathlib import Path

import pytest
import torch

from skdmi.iteration import STARTS

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted([*DOCS.glob("*.rst"), *DOCS.glob("guide/*.rst"), DOCS / "api" / "index.rst"])


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
        for entry in contents.split()
    ]
    assert sorted(entries) == sorted({*PAGES, DOCS / "auto_examples" / "index.rst"} - {DOCS / "index.rst"})


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_what_a_page_includes_is_there(page):
    for file, options in re.findall(r"^\.\. literalinclude:: (\S+)\n((?:   :.*\n)*)", page.read_text(), re.MULTILINE):
        text = (page.parent / file).read_text()
        for mark in re.findall(r":(?:start-at|end-before): (.*)", options):
            assert mark in text, f"{file} has no line with {mark!r}."
            text = text[text.index(mark) :]
    for image in re.findall(r"^\.\. image:: (\S+)", page.read_text(), re.MULTILINE):
        assert (page.parent / image).exists()
