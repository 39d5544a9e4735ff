"""Which route ``skdmi.inv`` takes, and which is the fastest, size by size.

``python -m benchmarks.routes [--quick] [--json FILE]`` prints the table of routes in words, then for each size and
dtype nanoseconds of processor time for a matrix U[-1,1] by every route, whether or not the table gives it that size,
in runs that alternate with numpy and torch: medians. A route's inverses are certified, by itself or by the reference
where it leaves that.
"""

import time
from collections.abc import Sequence

import numpy as np

import skdmi
from benchmarks.lib.inverses import NUMPY, TORCH, torch_inverse
from benchmarks.lib.machine import facts, spell, start_as_it_is
from benchmarks.lib.records import Record, figures_parser, save_records
from benchmarks.lib.routes import by_route, working_routes
from benchmarks.lib.timing import in_turn
from skdmi.distributions import Uniform
from skdmi.estimators.direct import ROUTES, route_for

SIZES = (*range(1, 17), *range(18, 33, 2), *range(36, 65, 4), 80, 96)
QUICK_SIZES = (1, 3, 16, 48, 64)
DTYPES = ("float32", "float64")
ENTRIES, QUICK_ENTRIES = 2_000_000, 50_000
"""Of a stack."""


def print_table() -> None:
    """Print the routes in the order in which they are asked."""
    for route in ROUTES:
        print(f"{route.name:8}{route.where}")


def time_sizes(sizes: Sequence[int], dtype: str, entries: int, repeats: int) -> list[Record]:
    routes = working_routes()
    print(f"\n{dtype}: ns a matrix")
    columns = (NUMPY, TORCH, *routes)
    names = "".join(f"{name:>19}" for name in columns)
    print(f"{'m':>4}{names}{'taken':>10}{'fastest':>10}{'taken / numpy':>15}")
    methods = {NUMPY: np.linalg.inv, TORCH: torch_inverse, **{name: by_route(name, skdmi.inv) for name in routes}}
    found = []
    for m in sizes:
        A = Uniform().sample(max(1, entries // m**2), m, random_state=0).astype(dtype)
        spent = {name: runs.per(len(A)) for name, runs in in_turn(methods, [A] * (repeats + 1)).items()}
        rows = {name: runs.record(numpy=spent[NUMPY]) for name, runs in spent.items()}
        taken, fastest = route_for(m, len(A)).name, min(routes, key=lambda name: rows[name]["ns"])
        times = "".join(f"{rows[name]['ns']:>19,.0f}" for name in columns)
        print(f"{m:>4}{times}{taken:>10}{fastest:>10}{rows[taken]['over_numpy']:>15.2f}")
        said = {"dtype": dtype, "m": m, "n_matrices": len(A)}
        found += [{**said, "method": name, "taken": name == taken, **row} for name, row in rows.items()]
    return found


def main() -> None:
    parser = figures_parser(__doc__, "few sizes, small stacks, few runs")
    options = parser.parse_args()
    machine = facts()
    print(spell(machine))
    print_table()
    setting = (QUICK_SIZES, QUICK_ENTRIES, 2) if options.quick else (SIZES, ENTRIES, 7)
    sizes, entries, repeats = setting
    found = [row for dtype in DTYPES for row in time_sizes(sizes, dtype, entries, repeats)]
    if options.json:
        save_records(options.json, machine, found)
    print(f"\n{time.process_time():.0f} s of processor time")


if __name__ == "__main__":
    start_as_it_is()
    main()
