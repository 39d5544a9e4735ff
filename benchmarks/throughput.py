"""How long an inverse takes, of many in a stack, of one that is large, in a filter: beside numpy in the same turn.

``python -m benchmarks.throughput [stacks] [large] [kalman] [--quick] [--json FILE]`` prints nanoseconds of processor
time for a matrix, and times over those of ``numpy.linalg.inv`` in the same turn, of whole calls that alternate: medians
of both. Every inverse of ``skdmi.inv`` is certified; those of networks, and of others but crlin, are not.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

import skdmi
from benchmarks.lib.inverses import (
    INV,
    NUMPY,
    SPOILT,
    TORCH,
    Inverse,
    Timed,
    direct_calls,
    network_call,
    network_name,
    peers,
    torch_inverse,
)
from benchmarks.lib.kalman import Bank
from benchmarks.lib.machine import facts, spell, start_as_it_is
from benchmarks.lib.records import Record, figures_parser, save_records
from benchmarks.lib.timing import in_turn
from skdmi.distributions import Uniform, Wishart

FAMILIES = {"U[-1,1]": Uniform(), "Wishart": Wishart()}
DTYPES = ("float32", "float64")
SIZES = (3, 4, 8, 16, 32)
LARGE_SIZES = (64, 128, 256, 512, 1024, 2048)
COMPARED_WITH_INV = (SPOILT, "RefinedInverter().report")


@dataclass(frozen=True)
class Setting:
    """How much is run."""

    share: float
    """Of the matrices of a stack, and of the filters."""
    repeats: int
    largest: int
    n_steps: int

    def n_matrices(self, m: int) -> int:
        return round(self.share * (100_000 if m <= 8 else 20_000 if m <= 16 else 4_000))


FULL, QUICK = Setting(1.0, 9, 2048, 100), Setting(0.02, 2, 128, 2)


def stacks(setting: Setting) -> list[Record]:
    """Time stacks of small matrices."""

    def calls(family: str, A: np.ndarray) -> dict[str, Timed]:
        symmetric = family == "Wishart"
        own = direct_calls(A) | network_call(A.shape[-1], symmetric=symmetric)
        return {NUMPY: Timed(np.linalg.inv), **own, **peers(symmetric=symmetric)}

    networks = ", ".join(network_name(m, symmetric=False) for m in SIZES)
    print(f"\nThe network is {networks}; of Wishart matrices {network_name(SIZES[0], symmetric=True)}.")
    return _time_all("stacks", calls, SIZES, setting.n_matrices, setting.repeats)


def large(setting: Setting) -> list[Record]:
    """Time one large matrix."""

    def calls(family: str, A: np.ndarray) -> dict[str, Timed]:
        del A
        others = peers(symmetric=family == "Wishart", with_crlin=False)
        return {NUMPY: Timed(np.linalg.inv), INV: Timed(skdmi.inv), **others}

    sizes = [N for N in LARGE_SIZES if setting.largest >= N]
    return _time_all("large", calls, sizes, lambda N: 1, setting.repeats)


def _time_all(
    part: str,
    calls: Callable[[str, np.ndarray], Mapping[str, Timed]],
    sizes: Sequence[int],
    n_matrices: Callable[[int], int],
    repeats: int,
) -> list[Record]:
    """Time every family, dtype and size, and print a table for each family and dtype."""
    found: list[Record] = []
    for family, distribution in FAMILIES.items():
        for dtype in DTYPES:
            rows = []
            for m in sizes:
                A = distribution.sample(n_matrices(m), m, random_state=0).astype(dtype)
                said = {"part": part, "family": family, "dtype": dtype, "m": m}
                rows += _time_calls(calls(family, A), A, repeats, said)
            _print_table(f"{part}: {family}, {dtype}", rows, sizes)
            found += rows
    return found


def _time_calls(calls: Mapping[str, Timed], A: np.ndarray, repeats: int, said: Record) -> list[Record]:
    spent = in_turn(calls, [A] * (repeats + 1))
    counts = {name: call.count(len(A)) for name, call in calls.items()}
    each = {name: spent[name].per(n) for name, n in counts.items()}
    over = {"numpy": each[NUMPY], "inv": each[INV]}
    return [{**said, "n_matrices": counts[name], "method": name, **each[name].record(**over)} for name in calls]


def _print_table(title: str, rows: Sequence[Record], sizes: Sequence[int]) -> None:
    print(f"\n{title}: ns a matrix, and times over {NUMPY}")
    names = list(dict.fromkeys(row["method"] for row in rows))
    width = max(map(len, names)) + 15
    print(" " * width + "".join(f"{m:>21}" for m in sizes))
    cells = {(row["method"], row["m"]): row for row in rows}
    for name in names:
        found = [cells.get((name, m)) for m in sizes]
        print(
            f"{name:{width}}" + "".join(f"{row['ns']:>14,.0f}{row['over_numpy']:>7.2f}" if row else "" for row in found)
        )
    for name in (name for name in COMPARED_WITH_INV if name in names):
        found = [cells[name, m] for m in sizes]
        print(f"{f'{name}, over {INV}':{width}}" + "".join(f"{row['over_inv']:>21.2f}" for row in found))
    print(spell_spread(rows))


def spell_spread(rows: Iterable[Record]) -> str:
    """Say how far the quartiles of the ratios to numpy are from their medians."""
    spreads = [abs(quartile / row["over_numpy"] - 1) for row in rows for quartile in row["over_numpy_quartiles"]]
    return (
        f"quartiles of ratios: within {100 * np.median(spreads):.1f} % of medians, at most {100 * max(spreads):.0f} %"
    )


def kalman(setting: Setting) -> list[Record]:
    """Time a bank of filters, and the inverses of their innovations alone."""
    bank, n_steps = Bank.draw(setting.n_matrices(4) // 10), setting.n_steps
    S = bank.innovations()
    inverses = {NUMPY: np.linalg.inv, INV: skdmi.inv, TORCH: torch_inverse}

    def alone(_: int, inverse: Inverse) -> None:
        for _ in range(n_steps):
            inverse(S)

    print(f"\nkalman: {len(S):,} filters of 4 states, 4 x 4 innovations, {n_steps} steps: seconds in all")
    rows = []
    for title, run in (("the inverses alone", alone), ("the filters", lambda _, inverse: bank.run(n_steps, inverse))):
        methods = {name: partial(run, inverse=inverse) for name, inverse in inverses.items()}
        spent = in_turn(methods, range(setting.repeats // 2 + 1))
        for name in methods:
            said = {"part": "kalman", "what": title, "m": 4, "n_matrices": len(S), "n_steps": n_steps, "method": name}
            rows.append(said | spent[name].record(numpy=spent[NUMPY]))
            print(f"{f'{title}, {name}':38}{rows[-1]['ns'] / 1e9:>10.3g}{rows[-1]['over_numpy']:>7.2f}")
    return rows


PARTS = {"stacks": stacks, "large": large, "kalman": kalman}


def main() -> None:
    parser = figures_parser(__doc__, "small stacks, few runs")
    parser.add_argument("parts", nargs="*", default=list(PARTS), help=f"of {', '.join(PARTS)}; all by default")
    options = parser.parse_args()
    machine = facts()
    print(spell(machine))
    setting = QUICK if options.quick else FULL
    found = [row for part in options.parts for row in PARTS[part](setting)]
    if options.json:
        save_records(options.json, machine, found)
    print(f"\n{time.process_time():.0f} s of processor time")


if __name__ == "__main__":
    start_as_it_is()
    main()
