"""Look at every page of a built site in a browser: ``python -m scripts.check_site docs/_build/html``.

At a wide and a narrow window: no error in the console, no request that fails or leaves this machine, nothing wider than
the window, no TeX left as it was written; no broken link or anchor within the site; and a search that finds something.
Where there is no Chromium, or no npm to install what drives it, one line says so.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import click

from scripts.browser import drive, served
from scripts.npm_packages import Unavailable

WIDTHS = (1280, 390)
QUERY = "certificate"
SECONDS_A_PAGE = 20


def pages_of(site: Path) -> list[str]:
    """Return the pages of a site, as in its addresses; what lies beside them to be copied or included is none."""
    pages = (path.relative_to(site) for path in sorted(site.rglob("*.html")))
    return [page.as_posix() for page in pages if not page.parts[0].startswith("_")]


def check(site: Path, pictures: Path | None = None, query: str | None = QUERY) -> list[str]:
    """Return what is wrong, a line each.

    Raises
    ------
    Unavailable
        If there is no browser to look with.
    """
    pages = pages_of(site)
    if not pages:
        raise ValueError(f"There is no page in {site}; expected a built site. Try make docs.")
    with served(site) as url:
        todo = {"url": url, "pages": pages, "widths": WIDTHS, "query": query, "pictures": pictures and str(pictures)}
        found = drive("survey.mjs", todo, seconds=60 + SECONDS_A_PAGE * len(pages))
        seen = sorted(found["pages"], key=lambda page: page["page"])
        wrong = [line for page in seen for line in _wrong_on(page, url)]
        wrong += _broken_links(site, seen, url)
    if query and not found["found"]:
        wrong.append(f"search.html: nothing is found for {query!r}")
    return wrong


def _wrong_on(page: Mapping[str, Any], url: str) -> Iterator[str]:
    name = page["page"]
    for error in dict.fromkeys(page["errors"]):
        yield f"{name}: {error.replace(url, '')}"
    for width, lines in page["overflow"].items():
        for line in lines:
            yield f"{name}, {width} pixels: {line}"
    for text in page["tex"]:
        yield f"{name}: raw TeX: {text}"


def _broken_links(site: Path, seen: Sequence[Mapping[str, Any]], url: str) -> list[str]:
    """Return the links within the site that lead to no file, or to no anchor of a page."""
    anchors = {page["page"]: {*page["anchors"]} for page in seen}
    broken = []
    for page in seen:
        for link in page["links"]:
            target, _, anchor = link.removeprefix(url).partition("#")
            if not link.startswith(url) or target.startswith("search.html?"):
                continue
            file = unquote(target.partition("?")[0])
            if file == "" or file.endswith("/"):
                file += "index.html"
            if not (site / file).is_file():
                broken.append(f"{page['page']}: broken link: {file}")
            elif anchor and file in anchors and unquote(anchor) not in anchors[file]:
                broken.append(f"{page['page']}: broken link: {file} has no anchor #{anchor}")
    return broken


@click.command()
@click.argument("site", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--screenshots", type=click.Path(file_okay=False, path_type=Path), help="Keep a picture of every page.")
def main(site: Path, screenshots: Path | None) -> None:
    if screenshots:
        screenshots.mkdir(parents=True, exist_ok=True)
    click.echo(f"Looking at {len(pages_of(site))} pages at {' and '.join(map(str, WIDTHS))} pixels.")
    try:
        wrong = check(site, screenshots)
    except Unavailable as error:
        click.echo(f"The site is not looked at. {error}")
        return
    click.echo("\n".join([*wrong, f"{len(wrong)} found wrong." if wrong else "Nothing is wrong."]))
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
