"""Attacks on the certificate, judged by exact rational arithmetic, and its time beside that of LAPACK.

``python -m benchmarks.certificates [--cases 100000]`` certifies stacks of every family of matrices with inverses from
every source, in both precisions, under every global setting that changes arithmetic. It prints, a family a line, how
many matrices are singular in their very bits, how many were certified, how many of those falsely, how many bounds the
truth violates, and the largest of the certified relative errors over its bound; then times. The exit status is 1 if a
certificate is false or a bound is violated. Needs python-flint.
"""

import argparse
import itertools
import sys

import numpy as np
import torch

from benchmarks.lib.arithmetic_settings import SETTINGS
from benchmarks.lib.attack_inverses import SOURCES
from benchmarks.lib.attack_matrices import FAMILIES, uniform
from benchmarks.lib.certificate_judge import DTYPES, SIZES, Tally, attack
from benchmarks.lib.machine import keep_to_one_thread
from benchmarks.lib.timing import nanoseconds
from skdmi.linalg import certify


def print_attacks(n_cases: int) -> Tally:
    kinds = list(itertools.product(SOURCES, SETTINGS, DTYPES, SIZES))
    n = -(-n_cases // (len(kinds) * len(FAMILIES)))
    print(f"{'family':20}{'cases':>9}{'singular':>10}{'granted':>9}{'false':>7}{'violated':>10}{'tightest':>10}")
    total = Tally()
    for family in FAMILIES:
        tally = sum((attack(family, *kind, n, seed) for seed, kind in enumerate(kinds)), start=Tally())
        print(tally.row(family), flush=True)
        total += tally
    print(total.row("total"))
    return total


def print_times() -> None:
    columns = f"{'certify':>12}{'inv':>12}{'over inv':>10}{'one product':>14}{'certified':>12}"
    print(f"\n{'microseconds a matrix':32}{columns}")
    for dtype, (n, m) in itertools.product(DTYPES, [(100_000, 3), (20_000, 8), (2_000, 32), (1, 1024)]):
        A = torch.from_numpy(uniform(np.random.default_rng(0), n, m)).to(dtype)
        X = torch.linalg.inv(A)
        wide = A.double(), X.double()
        ns = nanoseconds(
            {
                "certify": lambda A, X=X: certify(A, X),
                "inv": torch.linalg.inv,
                "product": lambda A, wide=wide: torch.matmul(*wide),
            },
            A,
        )
        share = certify(A, X).certified.double().mean().item()
        name = f"{n} of {m} x {m}, {str(dtype).removeprefix('torch.')}"
        print(
            f"{name:32}{ns['certify'] / 1e3:12.2f}{ns['inv'] / 1e3:12.2f}{ns['certify'] / ns['inv']:10.1f}"
            f"{ns['product'] / 1e3:14.2f}{100 * share:11.3f}%"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=100_000)
    options = parser.parse_args()
    print(keep_to_one_thread())
    total = print_attacks(options.cases)
    print_times()
    sys.exit(bool(total.false or total.violated))


if __name__ == "__main__":
    main()
