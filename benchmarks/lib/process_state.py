"""What this process has of the machine, on Linux."""

import ctypes
import gc
import os
from pathlib import Path
from typing import NamedTuple

_ONE_ARENA, _MAPPED_ALONE = (-8, 1), (-3, 2**18)
"""Options of ``mallopt`` in glibc: how many arenas threads allocate from, and from how many bytes on an allocation has
pages of its own."""


def keep_nothing_freed() -> None:
    """Have what is freed go back to the system: arenas of threads keep it in pieces, which looks like a leak."""
    option = getattr(ctypes.CDLL(None), "mallopt", None)
    if option is not None:
        option(*_ONE_ARENA)
        option(*_MAPPED_ALONE)


class Held(NamedTuple):
    """What a process holds."""

    memory: int
    """Bytes of its own, after what is free was given back to the system. What is resident counts pages of libraries,
    too, which come and go as they are used and as the machine needs room."""
    files: int
    threads: int


def held_now() -> Held:
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    status = Path("/proc/self/status").read_text().splitlines()
    own = next(int(line.split()[1]) * 1024 for line in status if line.startswith("RssAnon:"))
    return Held(own, len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task")))
