"""The built site in a browser; and the check itself, which must find what is wrong with a page."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from scripts import check_site
from scripts.check_site import check, main, pages_of
from scripts.npm_packages import Unavailable

BUILT = Path(__file__).parents[1] / "docs" / "_build" / "html"

PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>A page</title>
<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,"></head>
<body><main id="top">{}</main></body></html>"""
GOOD = """<p>Fine. <code>\\frac</code></p><a href="other.html#there">A link</a>
<div style="overflow-x: auto"><pre>{}</pre></div>"""
WIDE = '<div style="overflow: hidden"><img width="800" alt="" src="data:image/svg+xml,<svg xmlns=%22http://www.w3.org/2000/svg%22/>"></div>'
WRONG = {
    "console": ("<script>console.error('oh')</script>", ["oh"]),
    "exception": ("<script>throw new Error('uncaught')</script>", ["Error: uncaught"]),
    "missing picture": ('<img src="no.png" alt="">', ["no.png: 404"]),
    "another host": ('<img src="https://example.com/a.png" alt="">', ["a.png is asked for, of another host"]),
    "too wide": ('<p style="width: 600px">Wide.</p>', ["390 pixels: the page is ", " pixels too wide"]),
    "cut off": (f'<h1 style="overflow: hidden">{"Name" * 10}</h1>', ["390 pixels: beyond the edge: NameName"]),
    "scrolled title": (f'<div style="overflow: auto"><h1>{"Name" * 10}</h1></div>', ["beyond the edge: NameName"]),
    "picture": (WIDE, ["390 pixels: beyond the edge: img"]),
    "TeX": (r"<p>Here \(x\) is.</p>", [r"raw TeX: Here \(x\) is."]),
    "command": (r"<p>Here \kappa is.</p>", [r"raw TeX: Here \kappa is."]),
    "formula": ('<span class="math">x + y</span>', ["raw TeX: x + y"]),
    "link": ('<a href="gone.html">Gone</a>', ["broken link: gone.html"]),
    "anchor": ('<a href="other.html#here">Not here</a>', ["broken link: other.html has no anchor #here"]),
    "own anchor": ('<a href="#nowhere">Nowhere</a>', ["has no anchor #nowhere"]),
}  # fmt: skip


@pytest.fixture(scope="module")
def looked_at(tmp_path_factory):
    """A site of small pages, one good, the others wrong in one way each; what is found, and its pictures."""
    site, pictures = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("pictures")
    (site / "index.html").write_text(PAGE.format(GOOD.format("x" * 500)))
    (site / "other.html").write_text(PAGE.format('<h2 id="there">There</h2><a href="index.html">Back</a>'))
    (site / "_static").mkdir()
    (site / "_static" / "piece.html").write_text("<p>Not a page.</p>")
    for name, (body, _) in WRONG.items():
        (site / f"{name}.html").write_text(PAGE.format(body))
    return or_skip(check, site, pictures, None), pictures


def or_skip(call, *arguments):
    try:
        return call(*arguments)
    except Unavailable as error:
        pytest.skip(str(error))


@pytest.mark.slow
@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_found(name, looked_at):
    lines = [line for line in looked_at[0] if line.startswith((f"{name}.html:", f"{name}.html,"))]
    for expected in WRONG[name][1]:
        assert any(expected in line for line in lines), lines


@pytest.mark.slow
def test_what_is_right_is_not(looked_at):
    assert [line for line in looked_at[0] if line.startswith(("index", "other", "_static"))] == []
    assert not any("1280 pixels" in line for line in looked_at[0])


@pytest.mark.slow
def test_every_page_has_its_picture_at_every_width(looked_at):
    expected = {f"{name}-{width}.png" for name in ("index", "other", *WRONG) for width in (1280, 390)}
    assert {path.name for path in looked_at[1].iterdir()} == expected


@pytest.mark.slow
def test_a_search_that_finds_nothing_is_wrong(tmp_path):
    (tmp_path / "search.html").write_text(PAGE.format('<div id="search-results"><ul><li>None</li></ul></div>'))
    assert or_skip(check, tmp_path, None, "word") == ["search.html: nothing is found for 'word'"]


@pytest.mark.slow
def test_nothing_is_wrong_with_the_site():
    if not (BUILT / "index.html").exists():
        pytest.skip("The site is not built; make docs builds it, make site-check looks at it.")
    assert or_skip(check, BUILT) == []


def test_without_a_browser_a_line_says_so(tmp_path, monkeypatch):
    (tmp_path / "index.html").write_text(PAGE.format(""))
    monkeypatch.setenv("PATH", str(tmp_path))
    result = CliRunner().invoke(main, [str(tmp_path)])
    assert result.exit_code == 0
    assert result.output.splitlines()[-1] == "The site is not looked at. There is no Chromium."


def test_what_is_wrong_is_printed_and_fails(tmp_path, monkeypatch):
    monkeypatch.setattr(check_site, "check", lambda site, pictures: ["index.html: oh"])
    result = CliRunner().invoke(main, [str(tmp_path)])
    assert result.exit_code == 1
    assert result.output.splitlines()[-2:] == ["index.html: oh", "1 found wrong."]


def test_an_empty_folder_is_no_site(tmp_path):
    with pytest.raises(ValueError, match="There is no page in"):
        check(tmp_path)


def test_pieces_of_the_theme_are_no_pages(tmp_path):
    for name in ("index.html", "guide/a.html", "_static/piece.html"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert pages_of(tmp_path) == ["guide/a.html", "index.html"]
