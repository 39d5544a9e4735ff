"""What the drivers of all kernels share: parts that fit the cache, threads as many as allowed, room."""

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from skdmi.chunks import chunk_size

_SUBNORMAL = np.array([2.0**-1074])
_ROOM = threading.local()


def do_in_parts(task: Callable[[slice], None], n_matrices: int, m: int) -> None:
    """Do a task for all parts of a stack of m x m matrices."""
    size = chunk_size(m)
    if n_matrices <= size:
        task(slice(0, n_matrices))
        return
    parts = [slice(first, min(first + size, n_matrices)) for first in range(0, n_matrices, size)]
    n_threads = min(count_threads(), len(parts))
    if n_threads > 1:
        with ThreadPoolExecutor(n_threads) as pool:
            list(pool.map(task, parts))
    else:
        for part in parts:
            task(part)


def count_threads() -> int:
    """Return how many threads may work: as torch was told, or the environment says, or the processor has cores."""
    if "torch" in sys.modules:
        return int(sys.modules["torch"].get_num_threads())
    named = os.environ.get("OMP_NUM_THREADS", "")
    if named.isdigit() and int(named) > 0:
        return int(named)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def address(array: np.ndarray | None) -> int | None:
    """Return where the numbers of an array begin."""
    return None if array is None else array.__array_interface__["data"][0]


def addresses(array: np.ndarray) -> tuple[int | None, int | None]:
    """Return where the numbers begin if they are float64, and if they are float32: the other is None."""
    found = address(array)
    return (None, found) if array.dtype == np.float32 else (found, None)


def room(size: int) -> np.ndarray:
    """Return room for so many numbers, aligned to 64 bytes, which the thread keeps."""
    kept: np.ndarray | None = getattr(_ROOM, "kept", None)
    if kept is None or kept.size < size:
        unaligned = np.empty(size + 8)
        begin = -unaligned.__array_interface__["data"][0] % 64 // 8
        kept = _ROOM.kept = unaligned[begin : begin + size]
    return kept


def flushes() -> bool:
    """Return whether subnormal numbers count as zeros in this thread, so that a kernel would misread them."""
    return bool((_SUBNORMAL * 1.0)[0] == 0.0)
