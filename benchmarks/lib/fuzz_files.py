"""The readers of stacks of matrices, as they are tempted and judged."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random

import numpy as np

from benchmarks.lib import fuzz_npy, fuzz_text
from benchmarks.lib.fuzzing import Reader
from skdmi.io import iter_stacks, read_stack

CHUNKS = (None, None, 1, 2, 3)


def read(path: Path, random: Random) -> np.ndarray:
    """Read a file at once, or in chunks of few matrices."""
    chunk_size = random.choice(CHUNKS)
    if chunk_size is None:
        return read_stack(path)
    stacks = list(iter_stacks(path, chunk_size=chunk_size))
    if any(len(stack) != chunk_size for stack in stacks[:-1]):
        raise AssertionError(f"chunks of {[len(stack) for stack in stacks]} matrices for {chunk_size}")
    return np.concatenate(stacks)


def judge(parse: Callable[[bytes], np.ndarray | None], content: bytes, found: np.ndarray | None) -> str | None:
    """Hold what was read against another reading of the same bytes."""
    expected = parse(content)
    if found is None or expected is None:
        if found is None and expected is None:
            return None
        return "refused, and is valid" if found is None else "accepted, and is not valid"
    if found.dtype != expected.dtype or found.shape != expected.shape:
        return f"read as {found.dtype} of shape {found.shape}, and is {expected.dtype} of shape {expected.shape}"
    same = np.array_equal(found, expected, equal_nan=True) and np.array_equal(np.signbit(found), np.signbit(expected))
    return None if same else "other numbers were read"


def write(name: str, folder: Path, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


READERS = {
    "mx": Reader(fuzz_text.make_mx, partial(write, "case.mx"), read, partial(judge, fuzz_text.parsed)),
    "csv": Reader(fuzz_text.make_csv, partial(write, "case.csv"), read, partial(judge, fuzz_text.parsed)),
    "npy": Reader(fuzz_npy.make, partial(write, "case.npy"), read, partial(judge, fuzz_npy.parsed)),
}
