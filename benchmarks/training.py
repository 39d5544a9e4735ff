"""Training throughput of the default network, and what a step spends its time on.

``python -m benchmarks.training [--rounds 5] [--sizes 3 5 16] [--against PATH]`` prints matrices a second, in processor
time, from the drawing of the matrices to the optimizer's step, and the shares of its parts; the rest is skorch's loop,
clipping and schedule. Validation does not count. Medians over rounds, with the smallest and the largest.

With ``--against``, another checkout of the package is measured in turn, and the ratio of each pair of rounds printed.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks.lib.machine import keep_to_one_thread

ROOT = Path(__file__).parents[1]
CLOCK = Path(__file__).parent / "lib" / "training_clock.py"
PARTS = ("forward", "backward", "optimizer", "generation")
N_BATCHES = {3: 60, 5: 40, 16: 15}


class Checkout:
    """A process that trains with the package of one checkout."""

    def __init__(self, path: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(CLOCK)],
            env=os.environ | {"PYTHONPATH": str(path), "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def seconds(self, m: int) -> dict[str, float]:
        """Train an epoch; return seconds a matrix, whole and by parts."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([m, N_BATCHES.get(m, 15)]) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self) -> None:
        self.process.communicate()


def spread(values: Sequence[float], form: str) -> str:
    """Return the median, and from where to where the values go."""
    return f"{median(values):{form}} ({min(values):{form}}-{max(values):{form}})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sizes", type=int, nargs="+", default=[3, 5, 16])
    parser.add_argument("--against", type=Path, help="another checkout")
    options = parser.parse_args()
    print(keep_to_one_thread())
    checkouts = {"this": Checkout(ROOT)}
    if options.against is not None:
        checkouts["other"] = Checkout(options.against.resolve())
    print(f"{'m':>3} {'checkout':9}{'matrices/s':>26}" + "".join(f"{part:>12}" for part in PARTS))
    for m in options.sizes:
        rounds: dict[str, list[dict[str, float]]] = {name: [] for name in checkouts}
        for _ in range(options.rounds + 1):
            for name, checkout in checkouts.items():
                rounds[name].append(checkout.seconds(m))
        rates = {name: [1 / spent["whole"] for spent in found[1:]] for name, found in rounds.items()}
        for name, found in rounds.items():
            shares = [median(spent[part] / spent["whole"] for spent in found[1:]) for part in PARTS]
            print(f"{m:>3} {name:9}{spread(rates[name], ',.0f'):>26}" + "".join(f"{share:>12.1%}" for share in shares))
        if len(rates) == 2:
            ratios = [this / other for this, other in zip(*rates.values(), strict=True)]
            print(f"{m:>3} {'ratio':9}{spread(ratios, '.2f'):>26}")
    for checkout in checkouts.values():
        checkout.close()


if __name__ == "__main__":
    main()
