"""Half an hour, or longer, of whatever users may do with stacks: no wrong certificate, no crash, no memory that stays.

``python -m benchmarks.soak [--quick] [--json FILE] [--minutes T] [--matrices N] [--seed K] [--round K]`` draws stacks
of random size, dtype, memory layout and container, with singular, graded, subnormal and huge members, and sends them
through ``skdmi.inv``, ``skdmi.certify``, ``skdmi.slogdet``, RefinedInverter, BlockInverter, shipped models and exported
files, tight or not, now and then in several threads at once. Every certificate is held against another proof, by LAPACK
and one residual with room for its rounding; what that leaves open, and a sample of all, against exact arithmetic.
Shape, dtype, container, NaN, warnings and the stack itself must be as promised, and answers in threads those of one.

Anything else is printed with its round, which ``--round`` plays again, and the exit status is 1. What the process holds
is measured from the end of a warm-up on, a tenth of the work. Needs python-flint, and Linux.
"""

import sys
import time
from argparse import Namespace
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

import skdmi
from benchmarks.lib.machine import facts, spell, start_as_it_is
from benchmarks.lib.process_state import Held, held_now, keep_nothing_freed
from benchmarks.lib.records import Record, figures_parser, save_records
from benchmarks.lib.soak_doors import DOORS
from benchmarks.lib.soak_judge import Verdict
from benchmarks.lib.soak_rounds import Round, play

MINUTES = 30.0
QUICK_MINUTES = 0.1
WARM_UP = 0.1
"""Share of the work."""
N_SAMPLES = 60
"""Of what the process holds."""
N_AVERAGED = 5
"""Of these, at either end: memory goes up and down with the sizes of stacks."""
LEAST_MATRICES, MOST_GROWTH = 10_000_000, 20 * 2**20
SIZES = (*range(1, 41), 64, 65, 100)


@dataclass
class Tally:
    """What became of the rounds through one door."""

    rounds: int = 0
    calls: int = 0
    verdict: Verdict = field(default_factory=Verdict)
    faults: list[str] = field(default_factory=list)

    def add(self, number: int, found: Round) -> None:
        self.rounds += 1
        self.calls += found.calls
        self.verdict += found.verdict
        self.faults += [f"round {number}, {found.said}: {fault}" for fault in found.faults]


def load_everything(sizes: tuple[int, ...]) -> None:
    """Have kernels of all sizes and dtypes compiled, or read, before anything is measured."""
    for m in sizes:
        for dtype in (np.float64, np.float32):
            A = np.random.default_rng(m).uniform(-1, 1, (9, m, m)).astype(dtype)
            for tight in (False, True):
                skdmi.certify(A, skdmi.inv(A, tight=tight), tight=tight)
            skdmi.slogdet(A)


def soak(options: Namespace, tallies: dict[str, Tally]) -> Iterator[Held]:
    """Play rounds until time and matrices are enough, and yield now and then what the process holds."""
    started = time.monotonic()
    next_sample, number, done = WARM_UP, 0, 0.0
    while done < 1:
        found = play(options.seed, number)
        tallies[found.door].add(number, found)
        number += 1
        time_over = (time.monotonic() - started) / 60 / options.minutes
        done = min(time_over, count_matrices(tallies) / options.matrices) if options.matrices else time_over
        if done >= next_sample:
            next_sample = done + (1 - WARM_UP) / N_SAMPLES
            yield held_now()
    yield held_now()


def count_matrices(tallies: dict[str, Tally]) -> int:
    return sum(tally.verdict.matrices for tally in tallies.values())


def growth_of(held: list[Held]) -> Record:
    """Return what the process held after the warm-up and at the end."""
    memory = [one.memory for one in held]
    first, last = (float(np.median(part)) for part in (memory[:N_AVERAGED], memory[-N_AVERAGED:]))
    return {
        "part": "process",
        "samples": memory,
        "memory": first,
        "growth": last - first,
        "least": min(memory),
        "most": max(memory),
        "files": [held[0].files, held[-1].files],
        "threads": [held[0].threads, held[-1].threads],
    }


def print_tallies(tallies: dict[str, Tally]) -> None:
    columns = ("matrices", "certified", "confirmed", "bounded", "exact", "open", "false")
    print(f"\n{'':30}{'rounds':>8}{'calls':>8}" + "".join(f"{name:>11}" for name in columns) + f"{'faults':>8}")
    total = Tally()
    for name, tally in tallies.items():
        total.rounds, total.calls = total.rounds + tally.rounds, total.calls + tally.calls
        total.verdict += tally.verdict
        total.faults += tally.faults
        print_tally(name, tally, columns)
    print_tally("all", total, columns)
    for name, tally in tallies.items():
        for fault in tally.faults:
            print(f"FAULT in {name}, {fault}")


def print_tally(name: str, tally: Tally, columns: tuple[str, ...]) -> None:
    counts = "".join(f"{getattr(tally.verdict, column):11d}" for column in columns)
    print(f"{name:30}{tally.rounds:8d}{tally.calls:8d}{counts}{len(tally.faults):8d}")


def print_process(process: Record) -> None:
    megabytes = {name: process[name] / 2**20 for name in ("memory", "growth", "least", "most")}
    print(
        "\nMemory after the warm-up {memory:.0f} MB, growth to the end {growth:+.1f} MB, between {least:.0f} and "
        "{most:.0f} MB".format(**megabytes)
    )
    print("Open files {} and {}, threads {} and {}".format(*process["files"], *process["threads"]))


def print_targets(tallies: dict[str, Tally], process: Record, minutes: float) -> None:
    """Print the targets that were set before the work began, and what was found."""
    matrices = count_matrices(tallies)
    false = sum(tally.verdict.false for tally in tallies.values())
    faults = sum(len(tally.faults) for tally in tallies.values())
    growth, limit = process["growth"] / 2**20, MOST_GROWTH / 2**20
    print(f"\nWrong certificates: {false} in {matrices:,} matrices (target: 0 in {LEAST_MATRICES:,})")
    print(f"Crashes, and broken promises of any kind: {faults} in {minutes:.1f} minutes (target: 0)")
    print(f"Growth of memory after the warm-up: {growth:+.1f} MB (target: under {limit:.0f} MB)")


def parsed_options() -> Any:
    parser = figures_parser(__doc__, "a few seconds")
    parser.add_argument("--minutes", metavar="T", type=float, help=f"by default {MINUTES:g}")
    parser.add_argument("--matrices", metavar="N", type=int, help=f"at least; by default {LEAST_MATRICES:,}")
    parser.add_argument("--seed", metavar="K", type=int, default=0)
    parser.add_argument("--round", metavar="K", type=int, help="play one round again")
    options = parser.parse_args()
    options.minutes = options.minutes or (QUICK_MINUTES if options.quick else MINUTES)
    if options.matrices is None:
        options.matrices = 0 if options.quick else LEAST_MATRICES
    return options


def main() -> None:
    options = parsed_options()
    if options.round is not None:
        print(play(options.seed, options.round))
        return
    keep_nothing_freed()
    machine = facts()
    print(spell(machine))
    load_everything(SIZES[:4] if options.quick else SIZES)
    tallies: dict[str, Tally] = defaultdict(Tally, {name: Tally() for name in DOORS})
    started = time.monotonic()
    process = growth_of(list(soak(options, tallies)))
    minutes = (time.monotonic() - started) / 60
    print_tallies(tallies)
    print_process(process)
    print_targets(tallies, process, minutes)
    if options.json:
        rows: list[Record] = [{"part": "doors", "door": name, **asdict(tally)} for name, tally in tallies.items()]
        save_records(options.json, machine, [*rows, process | {"minutes": minutes, "seed": options.seed}])
    sys.exit(any(tally.faults or tally.verdict.false for tally in tallies.values()))


if __name__ == "__main__":
    start_as_it_is()
    main()
