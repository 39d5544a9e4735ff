"""Packages of npm, at the versions that ``tests/javascript/package.json`` pins, in a cache of the user's own."""

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from filelock import FileLock, Timeout

MANIFEST = Path(__file__).parents[1] / "tests" / "javascript" / "package.json"
SECONDS = 240
"""How long an installation may take, or be waited for: less than the 600 that a test may."""
# Scripts of packages do not run: that of onnxruntime-node fetches CUDA, and the libraries for CPUs are there without.
OPTIONS = ("--ignore-scripts", "--no-package-lock", "--no-audit", "--no-fund", "--loglevel=error", "--fetch-retries=1")


class Unavailable(RuntimeError):
    """Packages cannot be had here, and why."""


def install(*names: str) -> Path:
    """Return a folder whose ``node_modules`` holds packages, installed unless they are there from an earlier call.

    Raises
    ------
    Unavailable
        If node or npm is absent, or the installation fails.
    """
    for tool in ("node", "npm"):
        if shutil.which(tool) is None:
            raise Unavailable(f"{tool} is not installed.")
    pins = json.loads(MANIFEST.read_text())["dependencies"]
    wanted = [f"{name}@{pins[name]}" for name in sorted(names)]
    cache = cache_folder()
    folder = cache / hashlib.sha256(" ".join([*wanted, *OPTIONS]).encode()).hexdigest()[:16]
    try:
        with FileLock(folder.with_suffix(".lock"), timeout=SECONDS):
            if not folder.exists():
                _install_whole(wanted, folder)
    except Timeout:
        raise Unavailable(f"Another process has not installed {', '.join(wanted)} within {SECONDS} s.") from None
    return folder


def cache_folder() -> Path:
    """Return the folder of all installations, made if it is not there."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    for parent in (Path(home), Path(tempfile.gettempdir())):
        folder = parent / "skdmi" / "npm"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        return folder
    raise Unavailable("There is no folder to install packages of npm in.")


def _install_whole(wanted: list[str], folder: Path) -> None:
    """Install beside the folder and rename: what is interrupted leaves nothing that looks finished."""
    part = folder.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    (part / "package.json").write_text('{"private": true}\n')
    command = ["npm", "install", *OPTIONS, *wanted]
    try:
        done = subprocess.run(
            command, cwd=part, capture_output=True, text=True, timeout=SECONDS, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"npm has not installed {', '.join(wanted)} within {SECONDS} s.") from None
    if done.returncode:
        raise Unavailable(f"npm could not install {', '.join(wanted)}: {done.stderr.strip()[-500:]}")
    part.rename(folder)
