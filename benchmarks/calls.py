"""How much of the package one transform runs through.

``python -m benchmarks.calls [-v]`` prints how many functions of skdmi a second transform of five 3x3 matrices through
``RefinedInverter(load_pretrained("uniform-3x3-short"))`` calls, and how often it changes from one file of the
package to another; with ``-v`` also which, stretch by stretch. A call is every "call" event of ``sys.setprofile`` whose
code lies in the package, resumed generators and comprehensions included; a change, two calls in a row in different
files.
"""

import argparse
import sys
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import numpy as np

import skdmi
from skdmi import RefinedInverter, load_pretrained

PACKAGE = Path(skdmi.__file__).parent


class Call(NamedTuple):
    """One call of a function of the package."""

    file: str
    function: str


def calls_of(run: Callable[[], Any], package: Path = PACKAGE) -> list[Call]:
    """Return the calls into the package that a run makes, in their order."""
    found: list[Call] = []
    inside = f"{package}/"

    def note(frame: FrameType, event: str, argument: Any) -> None:
        del argument
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(inside):
            found.append(Call(code.co_filename.removeprefix(inside), code.co_qualname))

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        run()
    finally:
        sys.setprofile(before)
    return found


def count_changes(calls: list[Call]) -> int:
    """Count how often a call is in another file than the one before.

    >>> count_changes([Call("a.py", "f"), Call("a.py", "g"), Call("b.py", "f"), Call("a.py", "f")])
    2
    """
    return sum(1 for _ in groupby(calls, key=lambda call: call.file)) - 1


def transform_calls() -> list[Call]:
    A = np.random.default_rng(0).uniform(-1, 1, (5, 3, 3))
    inverter = RefinedInverter(load_pretrained("uniform-3x3-short"))
    inverter.transform(A)
    return calls_of(lambda: inverter.transform(A))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-v", "--verbose", action="store_true", help="print the calls, a stretch in one file a line")
    options = parser.parse_args()
    calls = transform_calls()
    print(f"{len(calls)} calls, {count_changes(calls)} changes between files")
    if options.verbose:
        for file, stretch in groupby(calls, key=lambda call: call.file):
            print(f"{file:32}{', '.join(call.function for call in stretch)}")


if __name__ == "__main__":
    main()
