"""On what the figures are made."""

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from benchmarks.lib.routes import working_routes

TUNING = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
"""What the environment may ask of OpenBLAS that makes numpy slower, or faster, than it is."""
PACKAGES = ("numpy", "torch", "scipy", "numba", "skdmi")


def keep_to_one_thread() -> str:
    """Keep torch and numpy to one thread from here on, and return what the machine and its libraries are."""
    torch.set_num_threads(1)
    threadpool_limits(1)
    cpu = f"{os.cpu_count()}-core {platform.machine()} CPU"
    return f"{cpu}, one thread, torch {torch.__version__}, numpy {np.__version__}"


def start_as_it_is() -> None:
    """Start this script anew, with one thread and numpy as it is: OpenBLAS reads the environment only once."""
    tuned = [name for name in TUNING if name in os.environ]
    if not tuned and os.environ.get("OMP_NUM_THREADS") == "1":
        return
    if tuned:
        print(f"Started anew without {' and '.join(tuned)}, which change how fast numpy is.", file=sys.stderr)
    environment = {name: value for name, value in os.environ.items() if name not in TUNING}
    os.execve(sys.executable, sys.orig_argv, environment | {"OMP_NUM_THREADS": "1"})


def facts() -> dict[str, Any]:
    """Keep to one thread from here on, and return what speed depends on: processor, libraries, versions, routes.

    The kernel is compiled if it is not cached, so that no time contains that.
    """
    keep_to_one_thread()
    blas = {info["filepath"]: info for info in threadpool_info() if info["user_api"] == "blas" and _is_numpys(info)}
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "threads": 1,
        "blas": " and ".join(f"{info['internal_api']} {info['architecture']}" for info in blas.values()) or "unknown",
        "tuned": [name for name in TUNING if name in os.environ],
        "python": platform.python_version(),
        "routes": working_routes(),
        **{name: _version(name) for name in PACKAGES},
    }


def spell(machine: dict[str, Any]) -> str:
    """Return the facts in one line."""
    versions = ", ".join(f"{name} {machine[name] or 'absent'}" for name in PACKAGES)
    tuned = "".join(f", TUNED BY {name}" for name in machine["tuned"])
    processor = f"{machine['cpu']}, {machine['cores']} cores, one thread, {machine['blas']}{tuned}"
    return f"{processor}, {versions}, routes {' and '.join(machine['routes'])}"


def _is_numpys(info: dict[str, Any]) -> bool:
    """Return whether a library is numpy's own; scipy may bring another, of another version."""
    return info.get("architecture") is not None and "scipy.libs" not in info["filepath"]


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{named[0] if named else platform.processor()} ({platform.machine()})"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
