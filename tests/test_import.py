"""Importing the package costs nothing, and every public name is there."""

import importlib
import subprocess
import sys

import pytest

import skdmi

HEAVY = ("torch", "matplotlib", "pandas", "dask", "sklearn", "skorch", "scipy", "numpy")


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_import_imports_nothing_heavy():
    loaded = run("import sys, skdmi; dir(skdmi); skdmi.__version__; print(*{m.partition('.')[0] for m in sys.modules})")
    assert not set(HEAVY) & set(loaded.split())


@pytest.mark.slow
def test_everything_is_imported_without_plotting_hub_or_cluster():
    program = "import sys; from skdmi import *; print(ExactInverter.__name__, metrics.__name__); print(*sys.modules)"
    names, loaded = run(program).splitlines()
    assert names.split() == ["ExactInverter", "skdmi.metrics"]
    assert not {"matplotlib", "dask", "huggingface_hub"} & set(loaded.split())


@pytest.mark.parametrize("name", skdmi.__all__)
def test_every_public_name_resolves(name):
    value = getattr(skdmi, name)
    assert name in dir(skdmi)
    if isinstance(value, type(skdmi)):
        assert value is importlib.import_module(f"skdmi.{name}")
    else:
        assert value.__name__ == name
    for inner in getattr(value, "__all__", ()):
        assert hasattr(value, inner)


def test_public_names_are_sorted_and_unique():
    assert sorted(set(skdmi.__all__), key=lambda name: (name.islower(), name)) == list(skdmi.__all__)


@pytest.mark.parametrize("name", ["NoSuchThing", "Exactinverter", "_hidden", "np", ""])
def test_unknown_attributes_raise(name):
    with pytest.raises(AttributeError, match=f"module 'skdmi' has no attribute '{name}'"):
        getattr(skdmi, name)
    assert not hasattr(skdmi, name)
