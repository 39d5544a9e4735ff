"""Pseudo-inverses of stacks: time, errors and proofs beside numpy, scipy, torch, QR and the normal equations.

``python -m benchmarks.pinv [--quick] [--json FILE] [--attacks N]``: Jacobians of a robot arm with seven joints, random
and near its singular postures, uniform matrices of other shapes, and damped least squares; on one thread of a CPU, in
turns, medians of processor time. What is right is found in float64 from numbers of 60 digits. Then N claims are judged
in rational arithmetic; the exit status is 1 if one is false. Needs mpmath and python-flint.
"""

import sys
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import scipy.linalg
import torch

import skdmi
from benchmarks.lib import pinv_attack
from benchmarks.lib.beside import Case, measure, print_case, print_verdict, without_nan
from benchmarks.lib.machine import facts, spell, start_as_it_is
from benchmarks.lib.records import Record, figures_parser, save_records
from benchmarks.lib.robot import jacobians
from skdmi import PseudoInverter

NUMPY = "numpy.linalg.pinv"
DAMPING = 0.05
N_EXACT = 200
"""Matrices whose errors are measured."""


def exact(A: np.ndarray, damping: float = 0.0) -> np.ndarray:
    """Return pseudo-inverses, damped or not, of full rank, from 60 digits."""
    found = []
    with mpmath.workdps(60):
        for member in A.astype(float):
            wide = member if member.shape[0] <= member.shape[1] else member.T
            B = mpmath.matrix(wide.tolist())
            gram = B * B.T + mpmath.mpf(damping) ** 2 * mpmath.eye(B.rows)
            X = np.array((B.T * gram**-1).tolist(), dtype=float)
            found.append(X if wide is member else X.T)
    return np.array(found)


def by_qr(A: np.ndarray) -> np.ndarray:
    """Return pseudo-inverses by batched QR factorisations of the transposed matrices."""
    Q, R = torch.linalg.qr(torch.from_numpy(A).mT)
    return torch.linalg.solve_triangular(R.mT, Q, upper=False, left=False).numpy()


def by_normal_equations(A: np.ndarray) -> np.ndarray:
    return A.swapaxes(1, 2) @ np.linalg.inv(A @ A.swapaxes(1, 2))


def damped(A: np.ndarray) -> np.ndarray:
    """Return damped pseudo-inverses as they are written in the literature."""
    return A.swapaxes(1, 2) @ np.linalg.inv(A @ A.swapaxes(1, 2) + DAMPING**2 * np.eye(A.shape[1]))


def report(**options: Any) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    def claims(A: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found = PseudoInverter(A.shape[1:], **options).report(A)
        return found.certified, found.error_bound

    return claims


def cases(n: int) -> list[Case]:
    """Return what is measured, but for its truths."""
    rng = np.random.default_rng(0)
    arm, near = jacobians(n, random_state=0), jacobians(n, random_state=1, bent=1e-4)
    stacks = {
        "6 x 7 Jacobians": arm,
        "6 x 7 Jacobians near singular postures": near,
        "6 x 7 Jacobians, float32": arm.astype(np.float32),
        "16 x 24, U[-1,1]": rng.uniform(-1, 1, (max(2, n // 5), 16, 24)),
        "40 x 50, U[-1,1]": rng.uniform(-1, 1, (max(2, n // 50), 40, 50)),
    }
    methods: dict[str, Callable[[Any], Any]] = {
        NUMPY: np.linalg.pinv,
        "torch.linalg.pinv": lambda A: torch.linalg.pinv(torch.from_numpy(A)).numpy(),
        "scipy.linalg.pinv, one by one": lambda A: np.stack([scipy.linalg.pinv(member) for member in A]),
        "batched QR": by_qr,
        "normal equations": by_normal_equations,
        "skdmi.pinv": skdmi.pinv,
    }
    found = [Case(title, A, None, methods, NUMPY, {"skdmi.pinv": report()}) for title, A in stacks.items()]
    least_squares = {NUMPY: np.linalg.pinv, "damped normal equations": damped}
    ours = f"skdmi.pinv, damping={DAMPING}"
    least_squares[ours] = lambda A: skdmi.pinv(A, damping=DAMPING)
    title = "6 x 7 Jacobians near singular postures, damped"
    return [*found, Case(title, near, None, least_squares, NUMPY, {ours: report(damping=DAMPING)})]


def measured(case: Case, repeats: int) -> list[Record]:
    """Return times on the whole stack, and errors on its first matrices."""
    few = case.matrices[:N_EXACT]
    damping = DAMPING if "damped" in case.title else 0.0
    rows = measure(case, repeats)
    names = ("error", "largest_error", "missing", "certified", "bound")
    truth = exact(few, damping)
    of_few = measure(Case(case.title, few, truth, case.methods, case.yardstick, case.claims), 1)
    return [row | {k: other[k] for k in names if k in other} for row, other in zip(rows, of_few, strict=True)]


def main() -> None:
    parser = figures_parser(__doc__, "few matrices, few runs, few attacks")
    parser.add_argument("--attacks", metavar="N", type=int, help="judge so many claims")
    options = parser.parse_args()
    n, repeats, n_attacks = (100, 1, 1_000) if options.quick else (10_000, 9, 200_000)
    machine = facts()
    print(spell(machine))
    rows: list[Record] = []
    for case in cases(n):
        found = measured(case, repeats)
        print_case(found, case.yardstick)
        rows += found
    verdict = pinv_attack.attack(options.attacks or n_attacks)
    print_verdict("Proofs of full rank and bounds", verdict)
    ours = next(row for row in rows if row["method"] == "skdmi.pinv")
    numpy_error = next(row for row in rows if row["method"] == NUMPY)["largest_error"]
    print(f"\nTargets, 6 x 7 Jacobians, certified: time over numpy {ours['over_yardstick']:.3f}, must .2;", end=" ")
    print(f"largest error over numpy's {ours['largest_error'] / numpy_error:.2f}, must 2")
    if options.json:
        save_records(options.json, machine, without_nan([*rows, {"case": "attacks", **verdict._asdict()}]))
    sys.exit(bool(verdict.n_false))


if __name__ == "__main__":
    start_as_it_is()
    main()
