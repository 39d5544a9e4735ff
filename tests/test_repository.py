"""What strangers are led by: templates, workflows, citation, recipe and links say what is so."""

import re
import tomllib
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml
from packaging.requirements import Requirement

import skdmi

ROOT = Path(__file__).parents[1]
FILE = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = FILE["project"]
EXTRAS = PROJECT["optional-dependencies"]
FORGE = ROOT / ".github"
PAGES = sorted(
    [*ROOT.glob("*.md"), *(page for place in ("", "guide/", "api/") for page in ROOT.glob(f"docs/{place}*.rst"))]
)
LINK = re.compile(r"\]\(([^)\s]+)\)")
CONDA = {"torch": "pytorch", "matplotlib": "matplotlib-base", "dask": "dask-core"}
"""What packages are called there."""
needs_forge = pytest.mark.skipif(not FORGE.is_dir(), reason="A source distribution leaves .github out.")


def load(path):
    return yaml.safe_load((ROOT / path).read_text())


def workflows():
    return [load(path) for path in sorted(FORGE.glob("workflows/*.yml"))]


def steps():
    return [step for flow in workflows() for job in flow["jobs"].values() for step in job["steps"]]


def test_the_version_is_the_same_everywhere():
    recipe = load("conda/recipe.yaml")["context"]["version"]
    assert {PROJECT["version"], skdmi.__version__, load("CITATION.cff")["version"], str(recipe)} == {skdmi.__version__}


def test_the_newest_section_of_the_changes_is_of_this_version():
    newest = re.search(r"^## (\S+) \((.*)\)$", (ROOT / "CHANGES.md").read_text(), re.MULTILINE)
    assert newest[1] == skdmi.__version__.partition(".dev")[0]
    is_released = ".dev" not in skdmi.__version__
    assert bool(re.fullmatch(r"\d{4}-\d\d-\d\d", newest[2])) == is_released
    assert ("date-released" in load("CITATION.cff")) == is_released


def test_the_licence_is_the_same_everywhere():
    names = {PROJECT["license"], load("CITATION.cff")["license"], load("conda/recipe.yaml")["about"]["license"]}
    assert names == {"BSD-3-Clause"}
    assert (ROOT / "LICENSE").read_text().startswith("BSD 3-Clause License")


def test_the_citation_has_what_its_format_asks_for():
    citation = load("CITATION.cff")
    assert citation.keys() >= {"cff-version", "message", "title", "authors", "version", "license", "type", "abstract"}
    assert citation["repository-code"] == PROJECT["urls"]["Source"]
    assert citation["url"] == PROJECT["urls"]["Documentation"]
    for reference in citation["references"]:
        assert reference.keys() >= {"type", "title", "authors"}
    assert "DeepMatrixInversion" in [reference["title"] for reference in citation["references"]]


def spelled(requirements):
    """Return requirements as conda spells them, by name."""
    found = {}
    for text in requirements:
        requirement = Requirement(text)
        found[CONDA.get(requirement.name, requirement.name)] = str(requirement.specifier)
    return found


def test_the_recipe_needs_what_the_package_needs():
    recipe = load("conda/recipe.yaml")
    needed, allowed = (
        dict(line.split(maxsplit=1) for line in recipe["requirements"][section])
        for section in ("run", "run_constraints")
    )
    assert needed.pop("python") == PROJECT["requires-python"]
    assert needed == spelled(PROJECT["dependencies"])
    for_users = ("fast", "plot", "dask", "pandas", "tensorboard", "export", "hub")
    assert allowed == spelled(requirement for name in for_users for requirement in EXTRAS[name])
    (builder,) = FILE["build-system"]["requires"]
    assert builder.replace(">", " >", 1) in recipe["requirements"]["host"]
    commands = dict(line.split(" = ") for line in recipe["build"]["python"]["entry_points"])
    assert commands == PROJECT["scripts"]
    assert recipe["about"]["homepage"] == PROJECT["urls"]["Homepage"]
    assert recipe["about"]["repository"] == PROJECT["urls"]["Source"]


@needs_forge
def test_workflows_name_targets_and_extras_that_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    commands = "\n".join(step.get("run", "") for step in steps())
    made = set(re.findall(r"\bmake ([a-z-]+)", commands))
    assert made <= targets
    assert made >= {"lint", "test", "test-oldest", "docs", "dist-check"}
    assert set(re.findall(r"\.\[(\w+)\]", commands)) <= set(EXTRAS)


@needs_forge
def test_the_site_is_built_from_extras_and_scripts_that_exist():
    commands = "\n".join(load(".readthedocs.yaml")["build"]["commands"])
    assert set(re.findall(r"\.\[(\w+)\]", commands)) == {"docs"}
    for module in re.findall(r"python -m (scripts\.\w+)", commands):
        assert (ROOT / module.replace(".", "/")).with_suffix(".py").is_file()


@needs_forge
def test_actions_are_pinned_to_commits():
    used = [step["uses"] for step in steps() if "uses" in step]
    assert used
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", name) for name in used)


@needs_forge
def test_workflows_run_on_three_systems_and_the_oldest_and_newest_python():
    jobs = load(".github/workflows/ci.yml")["jobs"]
    rows = jobs["test"]["strategy"]["matrix"]["include"]
    systems = {row["os"].partition("-")[0] for row in rows} | {jobs["windows"]["runs-on"].partition("-")[0]}
    assert systems == {"ubuntu", "macos", "windows"}
    classified = [one.rpartition(" ")[2] for one in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", one)]
    assert {row["python"] for row in rows} >= {classified[0], classified[-1]}
    assert f">={classified[0]}" == PROJECT["requires-python"]
    assert all("timeout-minutes" in job for flow in workflows() for job in flow["jobs"].values())
    assert all(flow["permissions"] == {"contents": "read"} for flow in workflows())


@needs_forge
@pytest.mark.parametrize("name", ["bug", "idea", "question"])
def test_issue_templates_are_forms(name):
    form = load(f".github/ISSUE_TEMPLATE/{name}.yml")
    assert {"name", "description", "body"} <= form.keys()
    ids = [part["id"] for part in form["body"]]
    assert len(ids) == len(set(ids))
    for part in form["body"]:
        assert part["type"] in {"textarea", "input", "dropdown", "checkboxes"}
        assert part["attributes"]["label"]


def on_this_machine(address):
    """Return the file that an address of the project stands for; None of any other address."""
    urls, address = PROJECT["urls"], address.partition("#")[0]
    if address.startswith(f"{urls['Source']}/blob/main/"):
        return ROOT / unquote(address.removeprefix(f"{urls['Source']}/blob/main/"))
    if address.startswith(urls["Documentation"]):
        page = address.removeprefix(urls["Documentation"]) or "index.html"
        return ROOT / "docs" / re.sub(r"\.html$", ".rst", page)
    return None


def test_links_of_the_readme_are_absolute_and_lead_somewhere():
    links = LINK.findall((ROOT / "README.md").read_text())
    assert links
    for link in links:
        assert link.startswith("https://"), "a package index shows the README without the repository beside it"
        path = on_this_machine(link)
        assert path is None or path.is_file(), f"{link} stands for {path}"
    ours = [link for link in links if on_this_machine(link)]
    assert len(ours) >= 5


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_addresses_of_the_project_lead_to_files_that_exist(page):
    for address in re.findall(r"https://[\w./#%-]+", page.read_text()):
        path = on_this_machine(address.rstrip("."))
        assert path is None or path.is_file(), f"{address} stands for {path}"


@pytest.mark.parametrize("page", sorted(ROOT.glob("*.md")), ids=lambda page: page.name)
def test_other_links_of_pages_lead_to_files_that_exist(page):
    for link in LINK.findall(page.read_text()):
        assert link.startswith(("https://", "#")) or (ROOT / link.partition("#")[0]).is_file(), link


def test_every_extra_is_described_where_installing_is():
    page = (ROOT / "docs" / "install.rst").read_text()
    for_users = set(EXTRAS) - {"test", "lint", "quality", "docs", "dist"}
    assert set(re.findall(r"^``skdmi\[(\w+)\]``", page, re.MULTILINE)) == for_users


def test_what_is_released_is_said_to_be_made_of_files_that_exist():
    text = (ROOT / "RELEASING.md").read_text()
    paths = re.findall(r"`((?:\.github|conda|docs|tests|skdmi)/[\w./]+|[A-Za-z-]+\.(?:md|toml|txt|cff))`", text)
    assert paths
    for path in paths:
        assert (ROOT / path).is_file() or (path.startswith(".github/") and not FORGE.is_dir()), path


def test_every_address_of_the_project_is_one_of_its_urls():
    patterns = (
        "*.md",
        "*.cff",
        "conda/*",
        ".github/**/*.*ml",
        "docs/_static/*.json",
        "skdmi/**/*.py",
        "examples/**/*.py",
    )
    pages = {*PAGES, *(page for pattern in patterns for page in ROOT.glob(pattern) if page.is_file())}
    site, _, _ = PROJECT["urls"]["Documentation"].rpartition("/en/")
    found = {
        (page.relative_to(ROOT).as_posix(), address)
        for page in pages
        for address in re.findall(r"https://[\w./#%-]*skdmi[\w./#%-]*", page.read_text())
    }
    assert len(found) > 10
    assert not [one for one in found if not one[1].startswith((site, PROJECT["urls"]["Source"]))]
