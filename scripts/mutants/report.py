"""What came of the mutants: figures of every file, and the reason why each survivor may live."""

import sys
from collections.abc import Iterator
from math import sqrt
from pathlib import Path
from typing import Any

from benchmarks.lib.machine import facts, spell
from benchmarks.lib.records import save_records
from scripts.mutants.places import mutants_of
from scripts.mutants.reasons import reason_for
from scripts.mutants.targets import TARGETS
from scripts.mutants.trials import SURVIVED, TIMED_OUT, UNREACHED, Kept, kept_in

RESULTS = Path("benchmarks") / "results" / "mutants.json"


def report(root: Path, work: Path) -> int:
    """Write the figures and the survivors with their reasons, and print the table; return how many lack a reason."""
    machine = facts()
    files = [figures for figures in _figures(root, work) if figures["tried"]]
    survivors = [survivor for figures in files for survivor in figures.pop("survivors")]
    for survivor in survivors:
        survivor["why"] = reason_for(survivor)
    save_records(root / RESULTS, machine, [*files, *survivors])
    print(spell(machine), "", *_table(files), sep="\n")
    unexplained = [survivor for survivor in survivors if not survivor["why"]]
    for survivor in unexplained:
        print("unexplained: {file}:{line}: {was} -> {becomes}".format(**survivor), file=sys.stderr)
    return len(unexplained)


def _figures(root: Path, work: Path) -> Iterator[dict[str, Any]]:
    for target, files in TARGETS.items():
        for file in files:
            mutants = mutants_of(file, (root / file).read_text())
            kept = Kept(kept_in(work, file))
            tried = [mutant for mutant in mutants if kept.of(mutant)]
            outcomes = [kept.of(mutant)["outcome"] for mutant in tried]
            lives = [mutant for mutant in tried if kept.survived(mutant)]
            survivors = [
                {"file": file, "line": mutant.line, "scope": mutant.scope, "was": mutant.was, "becomes": mutant.becomes}
                | {"nth": mutant.nth, "at": mutant.at}
                for mutant in lives
            ]
            counts = {"mutants": len(mutants), "tried": len(tried), "timed out": outcomes.count(TIMED_OUT)}
            counts |= {"survived": outcomes.count(SURVIVED), "unreached": outcomes.count(UNREACHED)}
            yield {"target": target, "file": file, **counts, "survivors": survivors}


def _table(files: list[dict[str, Any]]) -> Iterator[str]:
    yield f"{'file':38}{'mutants':>9}{'tried':>8}{'killed':>8}{'live':>6}{'killed, %':>11}   of all, with 95 %"
    total = {"mutants": 0, "tried": 0, "live": 0}
    for figures in files:
        counts = {"mutants": figures["mutants"], "tried": figures["tried"]}
        counts["live"] = figures["survived"] + figures["unreached"]
        total = {name: total[name] + count for name, count in counts.items()}
        yield _row(figures["file"], counts)
    yield _row("in all", total)


def _row(name: str, counts: dict[str, int]) -> str:
    n, tried, live = counts["mutants"], counts["tried"], counts["live"]
    low, high = (100 * bound for bound in _interval(tried - live, tried, n))
    span = f"{low:.1f} to {high:.1f}" if tried < n else ""
    killed = 100 * (tried - live) / tried
    return f"{name:38}{n:9}{tried:8}{tried - live:8}{live:6}{killed:11.1f}   {span}".rstrip()


def _interval(k: int, n: int, n_all: int) -> tuple[float, float]:
    """Return Wilson's interval of a share, of which n of ``n_all`` were drawn.

    >>> [round(bound, 3) for bound in _interval(90, 100, 10**9)]
    [0.826, 0.945]
    """
    z = 1.96 * sqrt((n_all - n) / max(n_all - 1, 1))
    middle, spread = (k + z * z / 2) / (n + z * z), z / (n + z * z) * sqrt(k * (n - k) / n + z * z / 4)
    return middle - spread, middle + spread
