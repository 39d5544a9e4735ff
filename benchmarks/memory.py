"""How much memory an inverse takes beside its input and output.

``python -m benchmarks.memory [--quick] [--json FILE]`` prints by how much the resident set of a fresh process grows at
most while a call runs, its output taken off: in MB, and over the size of the input. Each call is made with a small
stack before, so that libraries and kernels are loaded. Only on Linux.
"""

import json
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import skdmi
from benchmarks.lib.inverses import INV, NUMPY, TORCH, WITHOUT_NUMBA, torch_inverse
from benchmarks.lib.machine import facts, spell, start_as_it_is
from benchmarks.lib.records import Record, figures_parser, save_records
from benchmarks.lib.routes import by_route
from skdmi import RefinedInverter, load_pretrained
from skdmi.exceptions import SingularMatrixWarning

N_MATRICES, QUICK_N_MATRICES = 10_000_000, 100_000
MEGABYTE = 1e6


def _network() -> Callable[[np.ndarray], Any]:
    return load_pretrained("uniform-3x3-short").transform


CALLS: dict[str, Callable[[], Callable[[np.ndarray], Any]]] = {
    NUMPY: lambda: np.linalg.inv,
    TORCH: lambda: torch_inverse,
    INV: lambda: skdmi.inv,
    WITHOUT_NUMBA: lambda: by_route("lapack", skdmi.inv),
    "RefinedInverter().transform": lambda: RefinedInverter().transform,
    "uniform-3x3-short, raw": _network,
}
"""What makes each call, in the process that measures it."""


def measure(name: str, n_matrices: int, m: int, dtype: str) -> Record:
    """Return what a call takes, as a process of its own says."""
    command = [sys.executable, "-m", "benchmarks.memory", "--child", name, str(n_matrices), str(m), dtype]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def measure_here(name: str, n_matrices: int, m: int, dtype: str) -> Record:
    """Return what a call takes in this process, which has called nothing before."""
    facts()
    warnings.simplefilter("ignore", SingularMatrixWarning)  # one in millions, by chance
    call = CALLS[name]()
    call(drawn(100, min(m, 64), dtype))
    A = drawn(n_matrices, m, dtype)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = resident("VmRSS")
    X = call(A)
    extra = resident("VmHWM") - before - X.nbytes
    return {"method": name, "n_matrices": n_matrices, "m": m, "dtype": dtype, "extra": extra, "input": A.nbytes}


def drawn(n_matrices: int, m: int, dtype: str) -> np.ndarray:
    """Return a stack U[-1,1] that was made in its place."""
    A = np.random.default_rng(0).random((n_matrices, m, m), dtype=dtype)
    A *= 2
    A -= 1
    return A


def resident(field: str) -> int:
    """Return a size of this process in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(field))


def print_all(cases: list[tuple[int, int, str]]) -> list[Record]:
    found = []
    for n_matrices, m, dtype in cases:
        named = f"{n_matrices:,} matrices {m} x {m}" if n_matrices > 1 else f"one matrix {m} x {m}"
        print(f"\n{f'{named}, {dtype}':38}{'extra MB':>10}{'/ input':>9}")
        for name in CALLS:
            if name == "uniform-3x3-short, raw" and m != 3:
                continue
            row = measure(name, n_matrices, m, dtype)
            print(f"{name:38}{row['extra'] / MEGABYTE:>10.1f}{row['extra'] / row['input']:>9.3f}")
            found.append(row)
    return found


def main() -> None:
    parser = figures_parser(__doc__, f"{QUICK_N_MATRICES:,} matrices")
    parser.add_argument("--child", nargs=4, metavar=("CALL", "N", "M", "DTYPE"), help="measure in this process")
    options = parser.parse_args()
    if options.child:
        name, n_matrices, m, dtype = options.child
        print(json.dumps(measure_here(name, int(n_matrices), int(m), dtype)))
        return
    machine = facts()
    print(spell(machine))
    few, many = (QUICK_N_MATRICES, 3, "float32"), (N_MATRICES, 3, "float32")
    found = print_all([few] if options.quick else [many, (1, 1024, "float64")])
    if options.json:
        save_records(options.json, machine, found)


if __name__ == "__main__":
    start_as_it_is()
    main()
