"""Readers of files under a million changed files each: nothing but matrices, models or documented errors.

``python -m benchmarks.fuzz [--quick] [--json FILE] [--cases N] [--readers NAME ...] [--jobs N] [--progress FOLDER]``
gives files that were valid, until tokens, headers or bytes of them were changed, to the readers of ``.mx``, ``.csv``,
``.npy`` and of models. What is read must be what another reader finds in the same bytes; what is refused must be a
ValueError or OSError, one line that names the file; all within a second of processor time and 100 MB. Anything else is
printed with its index, and the exit status is 1.

A case is determined by its reader, ``--seed`` and its index: ``--replay READER INDEX`` judges it alone. With
``--progress`` an interrupted run goes on where it was; remove that folder to begin anew. Needs Linux.
"""

import json
import sys
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

from benchmarks.lib.fuzz_workers import MODULES, find_reader, judged, limit_memory, scratch
from benchmarks.lib.fuzzing import MOST_MEMORY, MOST_SECONDS, Outcome, run
from benchmarks.lib.machine import facts, spell, start_as_it_is
from benchmarks.lib.records import Record, figures_parser, save_records

CASES = 1_000_000
QUICK_CASES = 400
BLOCK = 10_000
"""Cases after which progress is kept."""
SHOWN_KINDS = 25
OTHERS = "others"
SHOWN_VIOLATIONS = 20


class Progress:
    """What is done of the blocks of a reader, in a file if there is a folder for it."""

    def __init__(self, folder: Path | None, name: str, seed: int) -> None:
        self.done: dict[range, Outcome] = {}
        self.file = None if folder is None else folder / f"{name}-{seed}.jsonl"
        if self.file is not None and self.file.exists():
            lines = [line for line in self.file.read_text().splitlines(keepends=True) if line.endswith("\n")]
            self.done = {range(*row["cases"]): Outcome.of_record(row["found"]) for row in map(json.loads, lines)}

    def add(self, block: range, found: Outcome) -> None:
        self.done[block] = found
        if self.file is not None:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with open(self.file, "a") as file:
                file.write(json.dumps({"cases": [block.start, block.stop], "found": found.record()}) + "\n")

    def total(self, blocks: list[range]) -> Outcome:
        return sum((self.done[block] for block in blocks), start=Outcome())


def fuzz(name: str, options: Namespace) -> Record:
    """Judge all cases of a reader that were not judged before, and return what became of all."""
    blocks = [range(first, min(first + BLOCK, options.cases)) for first in range(0, options.cases, BLOCK)]
    progress = Progress(options.progress, name, options.seed)
    started = time.perf_counter()
    missing = [block for block in blocks if block not in progress.done]
    for block, found in judged(name, options.seed, missing, options.jobs):
        progress.add(block, found)
    spent = time.perf_counter() - started
    n_now = sum(map(len, missing))
    print(f"{name}: {n_now} cases judged in {spent:.0f} s, {options.cases - n_now} before", file=sys.stderr)
    row = progress.total(blocks).record()
    return {"reader": name, "seed": options.seed, **row, "refused": most_frequent(row["refused"])}


def most_frequent(kinds: dict[str, int]) -> dict[str, int]:
    """Return how often messages of the most frequent kinds came, and of all others together."""
    ordered = sorted(kinds.items(), key=lambda item: -item[1])
    rest = ordered[SHOWN_KINDS:]
    return dict(ordered[:SHOWN_KINDS]) | ({f"{len(rest)} {OTHERS}": sum(count for _, count in rest)} if rest else {})


def print_rows(rows: list[Record]) -> None:
    print(f"\n{'reader':8}{'cases':>10}{'accepted':>10}{'refused':>10}{'slowest':>11}{'memory':>10}{'violations':>12}")
    for row in rows:
        counts = f"{row['cases']:10d}{row['accepted']:10d}{sum(row['refused'].values()):10d}"
        limits = f"{1e3 * row['seconds']:8.1f} ms{row['memory'] / 2**20:7.1f} MB"
        print(f"{row['reader']:8}{counts}{limits}{len(row['violations']):12d}")
    for row in rows:
        print(f"\nWhy {row['reader']} refused")
        for kind, count in row["refused"].items():
            print(f"{count:10d}  {kind}")
        for violation in row["violations"][:SHOWN_VIOLATIONS]:
            print(f"VIOLATION at index {violation['index']}: {violation['what']}")
        if (rest := len(row["violations"]) - SHOWN_VIOLATIONS) > 0:
            print(f"{rest} VIOLATIONS more")


def print_targets(rows: list[Record]) -> None:
    """Print the target that was set before the work began, and what was found."""
    n = min(row["cases"] for row in rows)
    violations = sum(len(row["violations"]) for row in rows)
    limits = f"over {MOST_SECONDS:g} s or {MOST_MEMORY / 2**20:g} MB"
    print(f"\nTarget: other than a documented error, {limits}: 0 of 1,000,000 of each reader")
    print(f"Found: {violations} of {n:,} of each of {', '.join(row['reader'] for row in rows)}")


def replay(name: str, index: int, seed: int) -> None:
    """Judge one case, and print it."""
    reader = find_reader(name)
    with scratch() as folder:
        limit_memory()
        found = run(name, reader, seed, range(index, index + 1), Path(folder), lambda _: None)
        for path in sorted(path for path in Path(folder).rglob("*") if path.is_file()):
            content = path.read_bytes()
            print(f"{path.relative_to(folder)}, {len(content)} bytes: {content[:4000]!r}")
    print(json.dumps(found.record(), indent=1))


def parsed_options() -> Any:
    parser = figures_parser(__doc__, "few files")
    parser.add_argument("--cases", metavar="N", type=int, help=f"of each reader; by default {CASES:,}")
    parser.add_argument("--readers", nargs="+", choices=MODULES, default=list(MODULES), help="by default all")
    parser.add_argument("--jobs", metavar="N", type=int, default=1, help="processes at a time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--progress", metavar="FOLDER", type=Path, help="where to keep what is done")
    parser.add_argument("--replay", nargs=2, metavar=("READER", "INDEX"), help="judge one case again")
    options = parser.parse_args()
    options.cases = options.cases or (QUICK_CASES if options.quick else CASES)
    return options


def main() -> None:
    options = parsed_options()
    if options.replay:
        replay(options.replay[0], int(options.replay[1]), options.seed)
        return
    machine = facts()
    print(spell(machine))
    rows = [fuzz(name, options) for name in options.readers]
    print_rows(rows)
    print_targets(rows)
    if options.json:
        save_records(options.json, machine, rows)
    sys.exit(any(row["violations"] for row in rows))


if __name__ == "__main__":
    start_as_it_is()
    main()
