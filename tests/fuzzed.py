"""A reader as bad as a reader can be, for the tests of what finds that out."""

import os
import time
from pathlib import Path
from random import Random

import numpy as np

from benchmarks.lib.fuzzing import Reader

FAULTS = (
    "refuses",
    "accepts",
    "names no file",
    "in two lines",
    "at length",
    "crashes",
    "wants memory",
    "hides that it wants memory",
    "dies",
)


def make(random: Random) -> str:
    return random.choice(FAULTS)


def write(folder: Path, content: str) -> Path:
    (folder / "case").write_text(content)
    return folder / "case"


def read(path: Path, random: Random) -> str | None:
    del random
    match path.read_text():
        case "refuses":
            raise ValueError(f"{path} is refused.")
        case "names no file":
            raise ValueError("It is refused.")
        case "in two lines":
            raise ValueError(f"{path}\nis refused.")
        case "at length":
            raise ValueError(f"{path} is refused" + "!" * 2000)
        case "crashes":
            raise RecursionError
        case "wants memory":
            np.empty(2**30, np.uint8)
        case "hides that it wants memory":
            try:
                np.empty(2**30, np.uint8)
            except MemoryError as error:
                raise ValueError(f"{path} is refused.") from error
        case "dies":
            time.sleep(0.01)
            os._exit(7)
    return "answer"


def judge(content: str, answer: str | None) -> str | None:
    return "accepted" if content == "refuses" and answer else None


READERS = {"bad": Reader(make, write, read, judge)}
