"""How long one matrix takes, and the first one of a fresh process.

``python -m benchmarks.latency [--quick] [--json FILE]`` prints medians and quartiles of runs that alternate: calls with
one matrix, in a process that has made such calls before, over ``numpy.linalg.inv``; whole processes, from start to end,
over one that calls ``numpy.linalg.inv``; and what compiling the kernels takes, once for a machine. The clock is that on
the wall and, for ratios, processor time, that of processes included.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch

import skdmi
from benchmarks.lib.inverses import INV, NUMPY, WITHOUT_NUMBA
from benchmarks.lib.machine import facts, spell, start_as_it_is
from benchmarks.lib.records import Record, figures_parser, save_records
from benchmarks.lib.routes import by_route
from benchmarks.lib.timing import Spent, in_turn
from skdmi import ExactInverter, RefinedInverter
from skdmi.distributions import Uniform

SIZES = (3, 16)
PROCESS = "python, numpy.linalg.inv"
MATRIX = "A = [[2.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 4.0]]"
PROGRAMS = {
    PROCESS: "import numpy; numpy.linalg.inv(numpy.array(A))",
    "python, import skdmi": "import skdmi",
    "python, skdmi.inv of an array": "import numpy, skdmi; skdmi.inv(numpy.array(A))",
    "python, torch.linalg.inv": "import torch; torch.linalg.inv(torch.tensor(A))",
    "python, skdmi.inv of a tensor": "import torch, skdmi; skdmi.inv(torch.tensor(A))",
}
FIRST_INVERSE = "python, skdmi.inv of an array"
COMPILATION = "the kernel of inverses compiled"
HELP = [sys.executable, "-m", "skdmi.cli", "--help"]
COMPILE = "from skdmi.lanes.stack import INVERSE; INVERSE.compile()"


def warm_calls(m: int, n_calls: int, repeats: int) -> list[Record]:
    """Time calls with one matrix."""
    A = Uniform().sample(1, m, random_state=0)[0]
    tensor, stack = torch.from_numpy(A), A[None]
    calls: dict[str, Callable[[], Any]] = {
        NUMPY: lambda: np.linalg.inv(A),
        INV: lambda: skdmi.inv(A),
        WITHOUT_NUMBA: lambda: skdmi.inv(A),
        "torch.linalg.inv of a tensor": lambda: torch.linalg.inv(tensor),
        "skdmi.inv of a tensor": lambda: skdmi.inv(tensor),
        "RefinedInverter().transform": partial(RefinedInverter().transform, stack),
        "ExactInverter().transform": partial(ExactInverter().transform, stack),
    }

    def repeat(call: Callable[[], Any], n: int) -> None:
        for _ in range(n):
            call()

    runs = {name: partial(repeat, call) for name, call in calls.items()}
    runs[WITHOUT_NUMBA] = by_route("lapack", runs[WITHOUT_NUMBA])
    spent = in_turn(runs, [n_calls] * (repeats + 1))
    each = {name: runs.per(n_calls) for name, runs in spent.items()}
    return _table(f"one {m} x {m} matrix, us a call", each, NUMPY, 1e3, part="warm", m=m)


def fresh_processes(repeats: int) -> list[Record]:
    """Time processes that begin and end, with the kernel cached and with an empty cache."""
    runs = {name: partial(_run, f"{MATRIX}; {program}") for name, program in PROGRAMS.items()}
    runs[f"{FIRST_INVERSE}, empty cache"] = partial(_run_with_empty_cache, f"{MATRIX}; {PROGRAMS[FIRST_INVERSE]}")
    runs["skdmi --help"] = lambda _: subprocess.run(HELP, check=True, stdout=subprocess.DEVNULL)
    return _table("a fresh process, ms", in_turn(runs, range(repeats + 1)), PROCESS, 1e6, part="process", m=3)


def compilation(repeats: int) -> list[Record]:
    """Time processes that compile the kernel and keep it."""
    runs = {COMPILATION: partial(_run_with_empty_cache, COMPILE)}
    return _table("once for a machine, ms", in_turn(runs, range(repeats + 1)), COMPILATION, 1e6, part="compilation")


def _run(program: str, _: Any = None, **environment: str) -> None:
    subprocess.run([sys.executable, "-c", program], check=True, env=os.environ | environment)


def _run_with_empty_cache(program: str, _: Any = None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        _run(program, SKDMI_CACHE_DIR=folder)


def _table(title: str, spent: Mapping[str, Spent], first: str, unit: float, **said: Any) -> list[Record]:
    """Print wall clock in a unit of so many nanoseconds, with its quartiles, and processor time over the first's."""
    print(f"\n{title:38}{'median':>10}{'quartiles':>20}{'processor':>11}{'/ first':>9}")
    rows = []
    for name, runs in spent.items():
        row = runs.record(numpy=spent[first])
        lower, upper = (quartile / unit for quartile in row["wall_ns_quartiles"])
        print(
            f"{name:38}{row['wall_ns'] / unit:>10.1f}{f'{lower:.1f} to {upper:.1f}':>20}"
            f"{row['ns'] / unit:>11.1f}{row['over_numpy']:>9.2f}"
        )
        rows.append({**said, "method": name, **row})
    return rows


def main() -> None:
    parser = figures_parser(__doc__, "few runs, nothing compiled")
    options = parser.parse_args()
    machine = facts()
    print(spell(machine))
    n_calls, repeats = (100, 2) if options.quick else (2000, 9)
    found = [row for m in SIZES for row in warm_calls(m, n_calls, repeats)]
    found += fresh_processes(repeats)
    if not options.quick:
        found += compilation(2)
    if options.json:
        save_records(options.json, machine, found)
    print(f"\n{time.process_time():.0f} s of processor time")


if __name__ == "__main__":
    start_as_it_is()
    main()
