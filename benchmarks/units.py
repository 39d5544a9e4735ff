"""Rows and columns of different units: do they cost digits?

``python -m benchmarks.units [--matrices 200000]`` inverts matrices whose rows, or rows and columns, are in units that
differ by up to 10^300, dense and sparse, general and positive definite, through every door, in both precisions. It
measures each inverse in extended precision and prints, a kind a line,

- how many are not certified (``refused``),
- how many break a promise of ``tol="auto"``: ``||I - A X||_F <= 10 u || |A||X| ||_F``, and the mirror (``right``,
  ``left``), in the units given,
- how many have a column whose relative error is above ten times that of LAPACK on the equilibrated matrix, plus
  ``4 cond u`` (``columns``),
- how many of the last two kinds came without a warning (``silent``),

and then what the scaling itself costs. The exit status is 1 if anything is silent. Extended precision is that of
``numpy.longdouble``, which must be wider than float64 here.
"""

import argparse
import sys
import warnings
from collections.abc import Iterator
from dataclasses import fields
from functools import partial

import numpy as np
import torch

from benchmarks.lib.doors import DOORS
from benchmarks.lib.machine import keep_to_one_thread
from benchmarks.lib.mixed_units import KINDS, dense, draw
from benchmarks.lib.promise_judge import Tally, judge
from benchmarks.lib.timing import alternate
from skdmi.linalg import equilibrate

SIZES = (2, 3, 5, 8, 16)


def examine(door: str, kind: str, dtype: type, n: int, seed: int) -> Iterator[Tally]:
    for m in SIZES:
        A = draw(kind, dtype, n, m, seed)
        if len(A) == 0:
            continue
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            X = DOORS[door](A)
        yield judge(A, X, bool(caught))


def print_verdicts(n_matrices: int, seed: int) -> Tally:
    n = -(-n_matrices // (len(KINDS) * 2 * len(DOORS) * len(SIZES)))
    print(f"{'':44}" + "".join(f"{f.name:>10}" for f in fields(Tally)))
    total = Tally()
    for kind in KINDS:
        for dtype in (np.float64, np.float32):
            for i, door in enumerate(DOORS):
                tally = sum(examine(door, kind, dtype, n, seed + i), start=Tally())
                total += tally
                print(tally.row(f"{kind}, {np.dtype(dtype)}: {door}"), flush=True)
    print(total.row("total"))
    return total


def print_cost() -> None:
    """Print the time of the scaling beside that of LAPACK."""
    print(f"\n{'microseconds a matrix':30}{'dense':>10}{'graded':>10}{'sparse, graded':>16}{'numpy.linalg.inv':>18}")
    for m, n in ((3, 20_000), (8, 5_000), (16, 2_000), (32, 500), (512, 1)):
        us = scaling_microseconds(m, n)
        print(f"{f'{m} x {m}':30}{us['dense']:10.2f}{us['graded']:10.2f}{us['sparse']:16.2f}{us['inv']:18.2f}")


def scaling_microseconds(m: int, n: int) -> dict[str, float]:
    stacks = {
        "dense": dense(np.random.default_rng(0), n, m),
        "graded": draw("dense, rows and columns", np.float64, n, m, 0),
        "sparse": draw("sparse, rows and columns", np.float64, n, m, 0),
    }
    methods = {name: partial(equilibrate, torch.from_numpy(A)) for name, A in stacks.items()}
    methods["inv"] = partial(np.linalg.inv, stacks["dense"])
    spent = alternate({name: lambda _, run=run: run() for name, run in methods.items()}, range(8))
    return {name: 1e6 * seconds / len(stacks.get(name, stacks["dense"])) for name, seconds in spent.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--matrices", type=int, default=20_000, help="about how many in all")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(keep_to_one_thread())
    total = print_verdicts(options.matrices, options.seed)
    print_cost()
    sys.exit(bool(total.silent))


if __name__ == "__main__":
    main()
