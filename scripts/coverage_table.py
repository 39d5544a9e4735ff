"""Print what share of the branches the tests take, room by room, from the report of coverage.

python -m scripts.coverage_table build/coverage/coverage.json --json benchmarks/results/coverage.json
"""

import argparse
import json
from collections import Counter
from pathlib import Path

from benchmarks.lib.machine import facts, spell
from benchmarks.lib.records import save_records

COUNTS = ("num_statements", "missing_lines", "num_branches", "missing_branches")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("report", type=Path, help="what coverage json writes")
    parser.add_argument("--json", metavar="FILE", type=Path, required=True, help="save the figures")
    args = parser.parse_args()
    rooms: dict[str, Counter[str]] = {}
    for file, found in json.loads(args.report.read_text())["files"].items():
        room = Path(file).parts[1].removesuffix(".py")
        rooms.setdefault(room, Counter()).update({name: found["summary"][name] for name in COUNTS})
    rooms = dict(sorted(rooms.items())) | {"in all": sum(rooms.values(), Counter())}
    machine = facts()
    figures = [{"room": room, **{name: counts[name] for name in COUNTS}} for room, counts in rooms.items()]
    save_records(args.json, machine, figures)
    print(f"{spell(machine)}\n")
    print(
        f"{'room':16}{'statements':>11}{'missed':>8}{'branches':>10}{'missed':>8}"
        f"{'lines, %':>10}{'branches, %':>13}{'both, %':>9}"
    )
    for room, counts in rooms.items():
        n, missed, m, branches_missed = (counts[name] for name in COUNTS)
        shares = [_share(missed, n), _share(branches_missed, m), _share(missed + branches_missed, n + m)]
        print(f"{room:16}{n:11}{missed:8}{m:10}{branches_missed:8}{shares[0]:>10}{shares[1]:>13}{shares[2]:>9}")


def _share(missed: int, n: int) -> str:
    return f"{100 * (n - missed) / n:.1f}" if n else ""


if __name__ == "__main__":
    main()
