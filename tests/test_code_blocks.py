"""Every code block of README and the pages runs as it is printed; `tests/test_docs.py` has what doctest runs."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch

import skdmi
from scripts.npm_packages import Unavailable, install
from skdmi.distributions import GaussianProcessKernel
from tests.hub_server import TOKEN, hub, point_client

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.rst"), *(ROOT / "docs" / "guide").glob("*.rst")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DIRECTIVE = re.compile(r"^\.\. code-block:: (\S+)\n\n((?:(?:   .*)?\n)+)", re.MULTILINE)
LANGUAGES = {"python", "console", "c++", "javascript", "cmake"}
BY_HAND = re.compile(
    r"(git clone|cd|rm|python3? -m venv|source|\.venv\\Scripts)\b.*|pip install (-e \.|torch|--index-url|-c).*"
)
"""Commands that would change this machine or need another: ``make dist-check`` installs in earnest."""


def blocks(page):
    """Return language and text of every block of a page; what a shell runs is "console"."""
    text = page.read_text()
    if page.suffix == ".md":
        return [(language or "console", code) for language, code in FENCE.findall(text)]
    return [(language, re.sub(r"^   ", "", code, flags=re.MULTILINE)) for language, code in DIRECTIVE.findall(text)]


def pages_with(language):
    return [page.relative_to(ROOT).as_posix() for page in PAGES if any(kind == language for kind, _ in blocks(page))]


def commands(page):
    """Yield the lines of a page that a shell is given, without comments."""
    for language, code in blocks(ROOT / page):
        if language == "console":
            for line in code.splitlines():
                if command := re.sub(r"^\$ |(^|\s+)#.*$", "", line).strip():
                    yield command


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_block_is_of_a_language_that_is_run():
    assert {language for page in PAGES for language, _ in blocks(page)} <= LANGUAGES


@pytest.fixture
def hub_nearby(tmp_path_factory, monkeypatch):
    """A hub on this machine, which whoever knows of none is sent to."""
    pytest.importorskip("huggingface_hub")
    with hub() as (address, _):
        point_client(monkeypatch, address, tmp_path_factory.mktemp("hub"), HF_TOKEN=TOKEN)
        yield


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # of huggingface_hub's own requests
@pytest.mark.filterwarnings("ignore:Training gained nothing:sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("page", pages_with("python"))
def test_python(page, folder, hub_nearby):
    names = SURROUNDINGS[page]() if page in SURROUNDINGS else {}
    for language, code in blocks(ROOT / page):
        if language == "python":
            exec(compile(code.replace('"cuda"', f'"{DEVICE}"'), page, "exec"), names)


@pytest.mark.slow
@pytest.mark.parametrize("page", pages_with("console"))
def test_commands(page, folder):
    np.save(folder / "members.npy", GaussianProcessKernel("grid").sample(200, 16, random_state=0))
    for command in commands(page):
        if not BY_HAND.fullmatch(command):
            run(command)


def run(command):
    """Run a line in earnest, or, where that takes hours or a network, hold it against what it names."""
    if extra := re.fullmatch(r'pip install "skdmi\[([\w,]+)\]"', command):
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        assert set(extra[1].split(",")) <= set(extras)
    elif target := re.fullmatch(r"make ([a-z-]+)", command):
        assert re.search(rf"^{target[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    elif script := re.match(r"python -m ((?:benchmarks|scripts)\.\w+)", command):
        usage = shell(f"python -m {script[1]} --help", cwd=ROOT)
        assert set(re.findall(r"--[\w-]+", command)) <= set(re.findall(r"--[\w-]+", usage))
    else:
        assert re.match(r"(skdmi|dmx\w+) ", command), f"{command!r} is of no kind that is known here."
        shell(command, finds=command == "skdmi audit numpy")


def shell(command, *, cwd=None, finds=False):
    """Return what a command prints; it succeeds, or, where it looks for faults, ends as one that has found some."""
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
    bash = ["bash", "-ceu", f"set -o pipefail; {command}"]
    done = subprocess.run(bash, cwd=cwd, env={**os.environ, "PATH": path}, capture_output=True, text=True)
    assert done.returncode == finds, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("page", pages_with("javascript"))
def test_javascript(page, folder):
    try:
        packages = install("onnxruntime-node")
    except Unavailable as error:
        pytest.skip(str(error))
    save_fixed(folder)
    (folder / "node_modules").symlink_to(packages / "node_modules")
    for language, code in blocks(ROOT / page):
        if language == "javascript":
            (folder / "block.mjs").write_text(code)
            assert re.fullmatch(r"0 proved, first entry 0\.[45]\d*\n1 not proved\n", shell("node block.mjs"))


@pytest.mark.slow
@pytest.mark.parametrize("page", pages_with("c++"))
def test_cpp(page, folder):
    if not shutil.which("pkg-config") or subprocess.run(["pkg-config", "--exists", "libonnxruntime"]).returncode:
        pytest.skip("The headers of onnxruntime are not installed, or pkg-config does not know them.")
    save_fixed(folder)
    for language, code in blocks(ROOT / page):
        if language == "c++":
            (folder / "block.cpp").write_text(code)
            shell("c++ -std=c++17 -Wall -Werror block.cpp -o block $(pkg-config --cflags --libs libonnxruntime)")
            assert re.fullmatch(r"0: proved, first entry 0\.[45]\d*\n1: not proved\n", shell("./block"))


def save_fixed(folder):
    export = pytest.importorskip("skdmi.export")
    export.save(export.fixed(16), folder / "inverse.onnx")


DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def drift():
    family = GaussianProcessKernel("grid")
    network = skdmi.NeuralMatrixInverter(1, 4, start="family", n_atoms=8, max_epochs=0, random_state=0)
    return {"inverter": network.fit(family.sample(100, 16)), "X_new": family.sample(100, 16)}


def predecessor():
    network = skdmi.NeuralMatrixInverter(1, 4, matrix_size=3, max_epochs=0)
    skdmi.EnsembleInverter(network, 2, random_state=0).fit().save_pretrained("Model_20240920182800")
    return {"A": np.random.default_rng(0).normal(size=(10, 3, 3))}


def small_network():
    inverter = skdmi.NeuralMatrixInverter(1, 4, matrix_size=3, max_epochs=0).fit()
    return {"skdmi": skdmi, "NeuralMatrixInverter": skdmi.NeuralMatrixInverter, "inverter": inverter}


SURROUNDINGS = {
    "docs/learning.rst": drift,
    "docs/migration.rst": predecessor,
    "docs/guide/persistence.rst": small_network,
}
"""What the text around a block has introduced before."""
