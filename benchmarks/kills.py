"""Processes that are killed while they train, save, invert or generate, and many at once on one model: nothing is lost.

``python -m benchmarks.kills [--quick] [--json FILE] [--seed N] [PART ...]`` starts real processes and ends them by
SIGKILL at moments drawn uniformly from the time that an undisturbed run takes, half of the trainings after their first
checkpoint. What is there then must be the earlier or the later content, whole; a training that is resumed must end in
the same bits; and what the killed process left unfinished must be gone after the next run. Then two processes save one
model while four load it, 5,000 times each. The exit status is 1 if anything fails. Needs Linux.
"""

import random
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.lib.kill_commands import kill_generators, kill_inverters, kill_trainings
from benchmarks.lib.kill_saves import Survival, at_once, kill_saves
from benchmarks.lib.machine import facts, spell, start_as_it_is
from benchmarks.lib.records import Record, figures_parser, save_records


@dataclass(frozen=True)
class Setting:
    """How often."""

    trainings: int = 20
    saves: int = 200
    commands: int = 25
    """Of ``invert``, and of ``generate``."""
    at_once: int = 5000


FULL = Setting()
QUICK = Setting(1, 3, 1, 5)


def of_survival(part: str, found: Survival) -> Record:
    return {"part": part, **asdict(found), "failures": found.failures}


def trainings(setting: Setting, folder: Path, draw: random.Random) -> Record:
    found, equal, n_from_checkpoints = kill_trainings(setting.trainings, folder, draw)
    counts = {"trainings": setting.trainings, "equal": equal, "from_checkpoints": n_from_checkpoints}
    return of_survival("training", found) | counts


def saves(setting: Setting, folder: Path, draw: random.Random) -> Record:
    return of_survival("saving", kill_saves(setting.saves, folder, draw))


def inverters(setting: Setting, folder: Path, draw: random.Random) -> Record:
    return of_survival("invert", kill_inverters(setting.commands, folder / "invert", draw))


def generators(setting: Setting, folder: Path, draw: random.Random) -> Record:
    return of_survival("generate", kill_generators(setting.commands, folder, draw))


def concurrently(setting: Setting, folder: Path, draw: random.Random) -> Record:
    del draw
    n, said = at_once(setting.at_once, folder)
    return {"part": "at once", "operations": n, "failures": len(said), "said": said[:20]}


PARTS: dict[str, Callable[[Setting, Path, random.Random], Record]] = {
    "training": trainings,
    "saving": saves,
    "invert": inverters,
    "generate": generators,
    "at-once": concurrently,
}


def print_row(row: Record, seconds: float) -> None:
    if "kills" in row:
        counts = "{kills:7d}{lost:7d}{damaged:9d}{scratch:11d}{uncollected:13d}".format(**row)
        words = "   {equal} of {trainings} trainings bitwise equal, {from_checkpoints} resumed from a checkpoint"
        equal = words.format(**row) if "equal" in row else ""
        print(f"{row['part']:10}{counts}{equal}", flush=True)
    else:
        print(
            f"\n{row['operations']} saves and loads of one model, 2 and 4 processes at once: {row['failures']} failures"
        )
    for text in row["said"]:
        print(f"  FAILURE {text}")
    print(f"{row['part']}: {seconds:.0f} s", file=sys.stderr)


def print_targets(rows: list[Record]) -> None:
    """Print the targets that were set before the work began, and what was found."""
    print()
    by_part = {row["part"]: row for row in rows}
    for part in ("training", "saving", "invert", "generate"):
        if row := by_part.get(part):
            print(
                f"{part}: {row['lost'] + row['damaged']} of {row['kills']} kills lost or damaged something (target: 0)"
            )
    if row := by_part.get("training"):
        print(f"training: {row['equal']} of {row['trainings']} resumed ones bitwise equal (target: all)")
    if row := by_part.get("at once"):
        print(f"at once: {row['failures']} failures (target: 0)")


def main() -> None:
    parser = figures_parser(__doc__, "few kills")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="of the moments")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; by default all")
    options = parser.parse_args()
    if unknown := set(options.parts) - PARTS.keys():
        parser.error(f"There is no part {', '.join(sorted(unknown))}.")
    setting = QUICK if options.quick else FULL
    machine = facts()
    print(spell(machine))
    print(f"\n{'':10}{'kills':>7}{'lost':>7}{'damaged':>9}{'unfinished':>11}{'uncollected':>13}")
    rows = []
    for name in options.parts or PARTS:
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            rows.append(PARTS[name](setting, Path(folder), random.Random(f"{name} {options.seed}")))
        print_row(rows[-1], time.perf_counter() - started)
    print_targets(rows)
    if options.json:
        save_records(options.json, machine, rows)
    sys.exit(any(row["failures"] for row in rows))


if __name__ == "__main__":
    start_as_it_is()
    main()
