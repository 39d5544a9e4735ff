"""Importing the package costs nothing, and every public name is there."""

import importlib
import subprocess
import sys

import pytest

import skdmi
from skdmi.lanes.checks import CHECK

HEAVY = (
    "huggingface_hub",
    "onnx",
    "onnxruntime",
    "torch",
    "matplotlib",
    "pandas",
    "dask",
    "sklearn",
    "skorch",
    "scipy",
    "numpy",
)


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_import_imports_nothing_heavy():
    loaded = run("import sys, skdmi; dir(skdmi); skdmi.__version__; print(*{m.partition('.')[0] for m in sys.modules})")
    assert not set(HEAVY) & set(loaded.split())


LIGHT = [
    *("arrays", "chunks", "exceptions", "figures", "kinds", "validation"),
    *("estimators.certification", "estimators.policies", "estimators.report", "estimators.tight"),
    *("lanes.checks", "lanes.stack", "datasets"),
]
"""All that the inverse of a numpy array needs where nothing goes wrong."""


@pytest.mark.parametrize("name", LIGHT)
def test_what_numpy_arrays_need_imports_numpy_alone(name):
    loaded = run(f"import sys, skdmi.{name}; print(*{{m.partition('.')[0] for m in sys.modules}})")
    assert not {*HEAVY, "numba", "llvmlite", "joblib"} - {"numpy"} & set(loaded.split())


READ_AND_WARN = """
import sys, warnings
import numpy as np
from skdmi.arrays import as_float_array
from skdmi.estimators.policies import settle_missing
from skdmi.kinds import is_dask, is_tensor
from skdmi.validation import check_square, refuse_non_finite

for X in (np.eye(3), [[1, 2], [3, 4]], np.eye(2, dtype=np.float16)[None], np.eye(2, dtype=object)):
    assert not is_tensor(X) and not is_dask(X)
    A = as_float_array(X)
    check_square("A", A)
    refuse_non_finite(A)
with warnings.catch_warnings(record=True) as caught:
    settle_missing(np.array([False, True]), "warn")
assert (caught[0].filename, caught[0].lineno) == ("<string>", 15)
print(*sys.modules)
"""


def test_arrays_are_read_and_singular_ones_named_without_torch():
    assert not {"torch", "sklearn", "scipy.sparse", "pandas", "numpy.ma"} & set(run(READ_AND_WARN).split())


@pytest.mark.parametrize("tight", [False, True])
def test_ordinary_stacks_are_certified_without_torch(tight):
    if not CHECK.is_ready():
        pytest.skip(f"There is no kernel here: {CHECK.trouble}")
    program = f"""
import sys
import numpy as np
import skdmi
A = np.random.default_rng(0).normal(size=(50, 4, 4))
assert skdmi.certify(A, skdmi.inv(A, tight={tight}), tight={tight}).certified.all()
print(*sys.modules)
"""
    assert not {"torch", "sklearn", "scipy", "pandas"} & set(run(program).split())


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


WITHOUT_ONNX = """
import sys
sys.modules["onnx"] = None  # as if it were not installed
import skdmi
for ask in (lambda: skdmi.export, lambda: skdmi.load_pretrained("uniform-3x3-short").export("inverse.onnx")):
    try:
        ask()
    except ImportError as error:
        print(error)
"""


def test_without_onnx_export_says_what_to_install(tmp_path):
    said = subprocess.run(
        [sys.executable, "-c", WITHOUT_ONNX], capture_output=True, text=True, check=True, cwd=tmp_path
    ).stdout
    assert said == 2 * 'Exporting needs onnx. Try pip install "skdmi[export]".\n'
    assert list(tmp_path.iterdir()) == []
