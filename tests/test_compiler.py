"""Laws of compilation: once, kept where that can be, without harm where not, and nobody waits for nothing."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from skdmi.lanes import compiler, stack
from skdmi.lanes.compiler import COMPILATION_SECONDS, Kernel, _unoptimized, cache_directory, intermediate_code
from skdmi.lanes.kernels import KERNELS, describe
from tests.matrices import make_stack

needs_kernel = pytest.mark.skipif(not stack.INVERSE.is_ready(), reason="no kernel")
ARGUMENTS = "pointer " * 8 + "integer " * 5 + "number number"


@pytest.fixture
def compilations(monkeypatch):
    """Count compilations, which take what the cache of the machine holds."""
    code = stack.INVERSE.file().read_bytes()[32:]
    counted = []
    monkeypatch.setattr(compiler, "machine_code", lambda name: counted.append(name) or code)
    return counted


def works(kernel, monkeypatch):
    """Return whether a kernel inverts."""
    monkeypatch.setattr(stack, "INVERSE", kernel)
    A = make_stack("well")
    X = np.empty_like(A)
    stack.invert(A, X)
    return np.allclose(X, np.linalg.inv(A))


@pytest.mark.skipif(find_spec("numba") is None, reason="numba is not installed")
@pytest.mark.parametrize("what", KERNELS)
def test_numba_compiles_every_kernel(what):
    assert KERNELS[what].is_ready(), KERNELS[what].trouble


def test_numba_optimizes_again_when_a_kernel_is_compiled():
    config = pytest.importorskip("numba.core.config")
    level = config.OPT
    with compiler._unoptimized():
        assert config.OPT == 0
    assert config.OPT is level


@needs_kernel
def test_every_kernel_is_described_by_what_it_computes():
    for what in ("inverses", "large matrices", "networks", "certificates", "determinants"):
        assert f"{what} ready" in describe()


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="the folder of other systems")
def test_machine_code_is_kept_in_the_cache_of_the_user(tmp_path, monkeypatch):
    monkeypatch.delenv("SKDMI_CACHE_DIR", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_directory() == tmp_path / ".cache" / "skdmi"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    assert cache_directory() == tmp_path / "elsewhere" / "skdmi"


@needs_kernel
def test_it_is_compiled_once_and_kept(compilations, tmp_path, monkeypatch):
    monkeypatch.setenv("SKDMI_CACHE_DIR", str(tmp_path / "new" / "folder"))
    first, second = Kernel("inverse", ARGUMENTS), Kernel("inverse", ARGUMENTS)
    assert not first.is_ready()
    assert first.compile()
    assert second.is_ready()
    assert compilations == ["inverse"]
    assert works(second, monkeypatch)


@needs_kernel
def test_nobody_waits_before_the_work_is_worth_it(compilations, tmp_path, monkeypatch):
    monkeypatch.setenv("SKDMI_CACHE_DIR", str(tmp_path))
    kernel = Kernel("inverse", ARGUMENTS)
    assert not any(kernel.is_ready(COMPILATION_SECONDS / 10) for _ in range(9))
    assert not compilations
    assert kernel.is_ready(COMPILATION_SECONDS / 5)
    assert compilations == ["inverse"]


@needs_kernel
def test_a_cache_that_cannot_be_written_does_no_harm(compilations, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("SKDMI_CACHE_DIR", str(tmp_path / "file" / "folder"))
    kernel = Kernel("inverse", ARGUMENTS)
    assert kernel.compile()
    assert works(kernel, monkeypatch)
    assert (tmp_path / "file").read_text() == "in the way"


@needs_kernel
@pytest.mark.parametrize(
    "damage",
    [lambda code: code[:1000], lambda code: code[:-1] + b"?", lambda code: b""],
    ids=["cut", "changed", "empty"],
)
def test_a_damaged_file_is_not_loaded(damage, compilations, tmp_path, monkeypatch):
    monkeypatch.setenv("SKDMI_CACHE_DIR", str(tmp_path))
    assert Kernel("inverse", ARGUMENTS).compile()
    (path,) = tmp_path.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    kernel = Kernel("inverse", ARGUMENTS)
    assert not kernel.is_ready()
    assert not kernel.trouble
    assert kernel.compile()
    assert len(compilations) == 2


@needs_kernel
@pytest.mark.skipif(not hasattr(os, "getuid"), reason="files have no owners")
def test_nobody_elses_code_is_loaded(compilations, tmp_path, monkeypatch):
    monkeypatch.setenv("SKDMI_CACHE_DIR", str(tmp_path))
    assert Kernel("inverse", ARGUMENTS).compile()
    monkeypatch.setattr(os, "getuid", lambda: -1)
    assert not Kernel("inverse", ARGUMENTS).is_ready()


@needs_kernel
def test_a_changed_source_is_another_file(monkeypatch, tmp_path):
    before = stack.INVERSE.file()
    monkeypatch.setattr(compiler, "sources", lambda name: ["changed"])
    assert stack.INVERSE.file() != before


def test_a_compiler_that_fails_means_another_route(tmp_path, monkeypatch):
    def fails(name):
        raise RuntimeError("of another version\nand so on")

    monkeypatch.setenv("SKDMI_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(compiler, "machine_code", fails)
    kernel = Kernel("inverse", ARGUMENTS)
    assert not kernel.compile()
    assert kernel.trouble == "RuntimeError: of another version"
    monkeypatch.setitem(KERNELS, "inverses", kernel)
    assert "inverses none (RuntimeError: of another version)" in describe()


def test_without_numba_lapack_serves_in_silence(tmp_path):
    script = (
        "import sys\n"
        "sys.modules['numba'] = sys.modules['llvmlite'] = None\n"
        "import numpy as np, skdmi\n"
        "A = np.array([[[2.0, 1.0], [1.0, 3.0]]])\n"
        "assert np.allclose(A @ skdmi.inv(A), np.eye(2))\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True, env=os.environ)


@needs_kernel
@pytest.mark.slow
@pytest.mark.parametrize("name", [kernel.name for kernel in KERNELS.values()])
def test_no_operation_is_contracted_or_reassociated(name):
    with _unoptimized():  # as what is kept
        code = intermediate_code(name)
    assert not re.search(r"\bf(add|sub|mul|div) .*\b(fast|contract|reassoc|nnan|ninf|arcp|afn)\b", code)
    assert "fmuladd" not in code
    assert "llvm.fma." in code
