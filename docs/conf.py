from importlib.metadata import version as installed_version

project = "skdmi"
author = "The skdmi developers"
copyright = "2026, the skdmi developers"
version = release = installed_version("skdmi")

extensions = ["sphinx.ext.autodoc", "sphinx.ext.mathjax", "numpydoc", "sphinx_gallery.gen_gallery"]
exclude_patterns = ["_build"]
html_theme = "furo"

autodoc_default_options = {"members": True}
autodoc_member_order = "bysource"
autodoc_typehints = "none"
numpydoc_show_class_members = False

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": "plot_",
    "within_subsection_order": "FileNameSortKey",
    "image_srcset": ["2x"],
    "write_computation_times": False,
    "capture_repr": (),
}


def skip_sklearn(app, what, name, obj, skip, options):
    """Leave to scikit-learn the members that it documents, whose references do not resolve here."""
    return True if str(getattr(obj, "__module__", "")).startswith("sklearn.") else None


def setup(app):
    app.connect("autodoc-skip-member", skip_sklearn)
