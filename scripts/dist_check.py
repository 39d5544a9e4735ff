"""Build what would be released, and try it as whoever gets it would; make dist-check.

The wheel goes into an empty environment, with what it depends on and nothing else; the source distribution into one
that borrows the packages of this environment, and there its own tests run.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import time
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
WORK = ROOT / "build" / "dist-check"
FOLDER = WORK / "folder"
"""Empty, so that nothing is imported from the repository."""
LEFT_OUT = re.compile(r"\.(ci|github)/.*|\.gitignore|\.pre-commit-config\.yaml|\.readthedocs\.yaml")
"""Of the repository: what is of no use in a source distribution."""
MADE = re.compile(r"PKG-INFO|skdmi\.egg-info/.*")
FINE = re.compile(r"warning: (build_py|install_lib): byte-compiling is disabled|warning: no previously-included files")
QUICK = [
    *("tests/test_contributing.py", "tests/test_datasets.py", "tests/test_docs.py", "tests/test_house.py"),
    *("tests/test_persistence.py", "tests/test_repository.py"),
]
"""Between them these need every folder of the source distribution."""
OF_OURS = {"PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV"}
"""Settings of this environment that the new ones are not to have."""
WITHOUT_EXTRAS = """
import importlib.util, sys
import numpy as np
import skdmi

extras = ["dask", "huggingface_hub", "matplotlib", "numba", "onnx", "onnxruntime", "pandas", "pytest", "tensorboard"]
assert not [name for name in extras if importlib.util.find_spec(name)], "the environment is not empty"
for name in skdmi.__all__:
    getattr(skdmi, name)
A = np.random.default_rng(0).normal(size=(100, 5, 5))
assert skdmi.certify(A, skdmi.inv(A)).certified.all()
assert skdmi.RefinedInverter(skdmi.load_pretrained("uniform-3x3-short")).report(A[:, :3, :3]).certified.all()
try:
    skdmi.export
except ImportError as error:
    assert "skdmi[export]" in str(error)
else:
    sys.exit("skdmi.export needs an extra that is not there")
assert skdmi.__file__.startswith(sys.prefix), "this is not what was installed"
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--all-tests", action="store_true", help="run all tests of the source distribution")
    args = parser.parse_args()
    shutil.rmtree(WORK, ignore_errors=True)
    with step("build"):
        wheel, sdist = build()
    with step("check"):
        run(sys.executable, "-m", "twine", "check", "--strict", wheel, sdist)
        compare(wheel, sdist)
    with step("wheel into an empty environment"):
        python = environment("wheel")
        pip(python, "-c", ROOT / "constraints.txt", "--no-compile", wheel)
        run(python, "-m", "pip", "check")
        print(f"  {size_of(WORK / 'wheel') / 1e9:.1f} GB")
    with step("its commands"):
        try_commands(python)
        run(python, "-c", WITHOUT_EXTRAS, cwd=FOLDER)
    with step("source distribution into another environment"):
        python = environment("sdist", borrowing=True)
        pip(python, "--no-deps", "--no-index", "--no-build-isolation", sdist)
        try_commands(python)
    with step("its tests"):
        run_tests(python, sdist, all_of_them=args.all_tests)


@contextmanager
def step(name: str) -> Iterator[None]:
    """Say what is done, and how long it took."""
    print(f"{name} ...", flush=True)
    start = time.perf_counter()
    yield
    print(f"  {time.perf_counter() - start:.0f} s", flush=True)


def run(*command: object, cwd: Path = ROOT) -> str:
    """Return what a command prints; end with all of it where it fails."""
    environment = {name: value for name, value in os.environ.items() if name not in OF_OURS}
    done = subprocess.run([str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def build() -> tuple[Path, Path]:
    """Return wheel and source distribution; the wheel is built from the latter, and nobody may have warned."""
    said = run(sys.executable, "-m", "build", "--no-isolation", "--outdir", WORK / "dist", ROOT)
    warned = [line for line in said.splitlines() if re.search(r"warning|deprecat|!!", line, re.IGNORECASE)]
    if unexpected := [line for line in warned if not FINE.match(line)]:
        sys.exit("\n".join(["The build warns:", *unexpected]))
    (wheel,), (sdist,) = (WORK / "dist").glob("*.whl"), (WORK / "dist").glob("*.tar.gz")
    return wheel, sdist


def compare(wheel: Path, sdist: Path) -> None:
    """Hold what is in the files against what the repository holds, where there is one."""
    with tarfile.open(sdist) as file:
        names = {name.partition("/")[2] for name in file.getnames() if file.getmember(name).isfile()}
    sources = {name for name in names if not MADE.fullmatch(name)}
    with zipfile.ZipFile(wheel) as file:
        package = {name for name in file.namelist() if not re.match(r"skdmi-[^/]*\.dist-info/", name)}
    differ("the wheel", package, "the package", {name for name in sources if name.startswith("skdmi/")})
    if (ROOT / ".git").exists():
        tracked = set(run("git", "ls-files").splitlines())
        kept = {name for name in tracked if not LEFT_OUT.fullmatch(name)}
        differ("the source distribution", sources, "the repository", kept)
    sizes = [path.stat().st_size / 1e6 for path in (wheel, sdist)]
    print(f"  wheel: {len(package)} files, {sizes[0]:.1f} MB; source: {len(sources)} files, {sizes[1]:.1f} MB")


def differ(one: str, found: set[str], other: str, expected: set[str]) -> None:
    if found != expected:
        extra, missing = sorted(found - expected), sorted(expected - found)
        sys.exit(f"Only in {one}: {extra or 'nothing'}. Only in {other}: {missing or 'nothing'}. See MANIFEST.in.")


def environment(name: str, *, borrowing: bool = False) -> Path:
    """Return the interpreter of a new environment, which has pip alone, or the packages of this one behind its own."""
    venv.create(WORK / name, with_pip=True)
    python = WORK / name / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if borrowing:
        run(python, "-m", "pip", "uninstall", "--quiet", "--yes", "setuptools")  # older than what builds skdmi
        own = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
        Path(own, "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def pip(python: Path, *arguments: object) -> None:
    run(python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", *arguments)


def try_commands(python: Path) -> None:
    """Run the commands of an environment in an empty directory."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    skdmi = python.with_name("skdmi")
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert version in run(skdmi, "--version", cwd=FOLDER)
    assert "uniform-3x3-short" in run(skdmi, "info", cwd=FOLDER)
    run(
        skdmi,
        "generate",
        "--matrix-size",
        3,
        "--n-matrices",
        1000,
        "--output",
        "A.mx",
        "--inverses",
        "I.mx",
        cwd=FOLDER,
    )
    run(skdmi, "invert", "A.mx", "X.mx", "--report", "certificates.csv", cwd=FOLDER)
    run(skdmi, "invert", "A.mx", "Y.npy", "--model", "uniform-3x3-short", cwd=FOLDER)
    for inverses in ("I.mx", "X.mx", "Y.npy"):
        run(skdmi, "verify", "A.mx", inverses, cwd=FOLDER)


def run_tests(python: Path, sdist: Path, *, all_of_them: bool) -> None:
    """Collect all tests of the unpacked source distribution, and run some of them, or all."""
    with tarfile.open(sdist) as file:
        file.extractall(WORK / "source", filter="data")
    (source,) = (WORK / "source").iterdir()
    pytest = (python, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    print(f"  {run(*pytest, '--collect-only', cwd=source).splitlines()[-1]}")
    chosen = [] if all_of_them else ["-m", "not slow", *QUICK]
    print(f"  {run(*pytest, '-n', 2, *chosen, cwd=source).splitlines()[-1]}")


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


if __name__ == "__main__":
    main()
