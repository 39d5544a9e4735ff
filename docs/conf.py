import os
import shutil
import sys
from importlib.metadata import metadata
from importlib.metadata import version as installed_version
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from scripts.npm_packages import Unavailable, install

ADDRESSES = dict(entry.split(", ") for entry in metadata("skdmi").get_all("Project-URL"))

project = "skdmi"
author = "The skdmi developers"
copyright = "2026, the skdmi developers"
version = release = installed_version("skdmi")

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "_templates", "auto_examples/**/*.ipynb", "auto_examples/**/*.py"]
templates_path = ["_templates"]
suppress_warnings = ["myst.xref_missing"]  # CONTRIBUTING.md links to files of the repository

autodoc_member_order = "bysource"
autodoc_typehints = "none"
autosummary_generate = True
toc_object_entries_show_parents = "hide"
numpydoc_show_class_members = False

html_theme = "pydata_sphinx_theme"
html_title = "skdmi"
html_baseurl = ADDRESSES["Documentation"]
html_static_path = ["_static"]
html_css_files = ["skdmi.css"]
html_context = {"default_mode": "auto"}
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "github_url": ADDRESSES["Source"],
    "header_links_before_dropdown": 6,
    "navbar_align": "left",
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "show_prev_next": False,
    "show_toc_level": 2,
}
html_sidebars = {page: [] for page in ("index", "install", "start", "shipped", "changes", "migration")}

if shown := os.environ.get("SKDMI_DOCS_VERSION"):  # set where a release is published: the other versions are there
    html_theme_options |= {
        "switcher": {"json_url": f"{ADDRESSES['Documentation']}_static/switcher.json", "version_match": shown},
        "check_switcher": False,
        "navbar_end": ["version-switcher", "theme-switcher", "navbar-icon-links"],
    }

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": "plot_" if find_spec("distributed") else r"plot_(?!\d+_dask)",  # shown, and not run
    "subsection_order": [f"../examples/{section}" for section in ("learn", "trust", "deploy", "around")] + ["*"],
    "within_subsection_order": "FileNameSortKey",
    "image_srcset": ["2x"],
    "write_computation_times": False,
    "show_memory": False,
    "show_signature": False,
    "capture_repr": (),
    "doc_module": ("skdmi",),
    "backreferences_dir": "api/examples",
    "inspect_global_variables": False,
}


def skip_sklearn(app, what, name, obj, skip, options):
    """Leave to scikit-learn the members that it documents, whose references do not resolve here."""
    return True if str(getattr(obj, "__module__", "")).startswith("sklearn.") else None


def skip_fields(app, what, name, obj, skip, options):
    """Leave fields of named tuples to their class, which describes them; of their own they say but a number."""
    return True if type(obj).__name__ == "_tuplegetter" else None


def add_mathjax(app):
    """Copy MathJax into the site, so that formulas need no network to be read; without npm they do."""
    if app.builder.format != "html":
        return
    try:
        packages = install("mathjax")
    except Unavailable as error:
        print(f"Formulas will be drawn by a MathJax from elsewhere. {error}", file=sys.stderr)
        return
    source = packages / "node_modules" / "mathjax" / "es5"
    target = Path(app.outdir) / "_static" / "mathjax"
    (target / "output" / "chtml").mkdir(parents=True, exist_ok=True)
    shutil.copy(source / "tex-mml-chtml.js", target)
    shutil.copytree(source / "output" / "chtml" / "fonts", target / "output" / "chtml" / "fonts", dirs_exist_ok=True)
    app.config.mathjax_path = "mathjax/tex-mml-chtml.js"
    app.config.mathjax3_config = {"options": {"enableMenu": False}}


def setup(app):
    app.connect("autodoc-skip-member", skip_sklearn)
    app.connect("autodoc-skip-member", skip_fields)
    app.connect("builder-inited", add_mathjax)
