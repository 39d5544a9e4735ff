"""Inverses of complex stacks: time, errors and proofs beside numpy, torch, scipy and the plain embedding.

``python -m benchmarks.complex_inverses [--quick] [--json FILE] [--attacks N]``: Rayleigh channels, Hermitian Gram
matrices of correlated channels, and normal matrices of other sizes; on one thread of a CPU, in turns, medians of
processor time. What is right is found in float64 from numbers of 40 digits. Then N claims are judged in rational
arithmetic; the exit status is 1 if one is false. Needs mpmath and python-flint.
"""

import sys
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import scipy.linalg
import torch

import skdmi
from benchmarks.lib import complex_attack
from benchmarks.lib.beside import Case, measure, print_case, print_verdict, without_nan
from benchmarks.lib.machine import facts, spell, start_as_it_is
from benchmarks.lib.records import Record, figures_parser, save_records
from skdmi.distributions import KroneckerChannel
from skdmi.estimators.direct import invert_directly
from skdmi.figures import CERTIFIED
from skdmi.linalg import complex_to_real, real_to_complex

NUMPY = "numpy.linalg.inv"
SIZES = (2, 4, 8, 16, 32, 64, 128)
N_EXACT = 20
"""Matrices whose errors are measured."""
METHODS: dict[str, Callable[[Any], Any]] = {
    NUMPY: np.linalg.inv,
    "torch.linalg.inv": lambda A: torch.linalg.inv(torch.from_numpy(A)).numpy(),
    "scipy.linalg.inv, one by one": lambda A: np.stack([scipy.linalg.inv(member) for member in A]),
    "numpy.linalg.inv of the embedding": lambda A: real_to_complex(np.linalg.inv(complex_to_real(A))),
    "skdmi.inv of the embedding": lambda A: real_to_complex(skdmi.inv(complex_to_real(A))),
    "skdmi.inv": skdmi.inv,
}


def exact(A: np.ndarray) -> np.ndarray:
    with mpmath.workdps(40):
        return np.array(
            [np.array((mpmath.matrix(a.tolist()) ** -1).tolist(), dtype=complex) for a in A.astype(complex)]
        )


def claims(A: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    _, figures = invert_directly(A, details=True)
    assert figures.error_bound is not None
    return figures.has(CERTIFIED), figures.error_bound


def normal(n: int, m: int, dtype: str) -> np.ndarray:
    rng = np.random.default_rng(m)
    return (rng.standard_normal((n, m, m)) + 1j * rng.standard_normal((n, m, m))).astype(dtype)


def cases(n: int) -> list[Case]:
    """Return what is measured, but for its truths."""
    channel = KroneckerChannel(is_complex=True)
    stacks = {
        f"{m} x {m} Rayleigh channels, {dtype}": normal(n if m <= 8 else max(2, n * 100 // m**3), m, dtype)
        for dtype in ("complex128", "complex64")
        for m in SIZES
    }
    stacks["8 x 8 Gram matrices of correlated channels"] = channel.sample(n, 8, random_state=0)
    return [Case(title, A, None, METHODS, NUMPY, {"skdmi.inv": claims}) for title, A in stacks.items()]


def measured(case: Case, repeats: int) -> list[Record]:
    """Return times on the whole stack, and errors on its first matrices."""
    few = case.matrices[:N_EXACT]
    rows = measure(case, repeats)
    if few.shape[1] > 16:
        return rows
    names = ("error", "largest_error", "missing")
    of_few = measure(Case(case.title, few, exact(few), case.methods, case.yardstick, {}), 1)
    return [row | {k: other[k] for k in names if k in other} for row, other in zip(rows, of_few, strict=True)]


def main() -> None:
    parser = figures_parser(__doc__, "few matrices, few runs, few attacks")
    parser.add_argument("--attacks", metavar="N", type=int, help="judge so many claims")
    options = parser.parse_args()
    n, repeats, n_attacks = (50, 1, 1_000) if options.quick else (10_000, 7, 200_000)
    machine = facts()
    print(spell(machine))
    rows: list[Record] = []
    for case in cases(n):
        found = measured(case, repeats)
        print_case(found, case.yardstick)
        rows += found
    verdict = complex_attack.attack(options.attacks or n_attacks)
    print_verdict("Proofs and bounds of complex inverses", verdict)
    over = {row["case"]: row["over_yardstick"] for row in rows if row["method"] == "skdmi.inv"}
    print("\nTargets, certified, time over numpy.linalg.inv, must 1.0:", end=" ")
    print(
        ", ".join(
            f"{case[:5]} {case[-10:]} {ratio:.2f}" for case, ratio in over.items() if case[:5] in ("4 x 4", "8 x 8")
        )
    )
    if options.json:
        save_records(options.json, machine, without_nan([*rows, {"case": "attacks", **verdict._asdict()}]))
    sys.exit(bool(verdict.n_false))


if __name__ == "__main__":
    start_as_it_is()
    main()
