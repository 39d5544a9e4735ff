"""Inverse square roots of stacks: time, errors and proofs beside eigenvalues and other iterations.

``python -m benchmarks.inv_sqrt [--quick] [--json FILE] [--attacks N]``: covariances of several condition numbers,
Wishart matrices and kernels, in turns with the route through ``torch.linalg.eigh``, Newton-Schulz without scaling, the
product form of Denman and Beavers, and the Taylor and Pade variants of Song, Sebe and Wang ("Fast differentiable matrix
square root", ICLR 2022), on one thread of a CPU; medians of processor time. What is right is found from the eigenvalues
and vectors that the matrices are made of, in float64. Then what a family's own coefficients save, and N claims judged
in rational arithmetic; the exit status is 1 if one is false. Needs python-flint.
"""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.linalg import matrix_norm

import skdmi
from benchmarks.lib import root_attack
from benchmarks.lib.beside import Case, measure, print_case, print_verdict, without_nan
from benchmarks.lib.machine import facts, spell, start_as_it_is
from benchmarks.lib.records import Record, figures_parser, save_records
from skdmi import InverseSquareRoot
from skdmi.distributions import KroneckerChannel
from skdmi.iteration import inverse_root

EIGH = "torch.linalg.eigh"
SIZES = (8, 16, 32)
CONDITIONS = (1e1, 1e3, 1e4)
DEGREE = 10


def by_eigenvalues(A: np.ndarray) -> np.ndarray:
    values, V = torch.linalg.eigh(torch.from_numpy(A))
    return ((V * values.rsqrt().unsqueeze(-2)) @ V.mT).numpy()


def by_newton_schulz(A: np.ndarray) -> np.ndarray:
    """Return roots by steps without scaling, as many as the scaled ones may take at most."""
    return inverse_root(torch.from_numpy(A), [(1.5, 0.5)] * 40).numpy()


def by_denman_beavers(A: np.ndarray) -> np.ndarray:
    """Return roots by the product form, scaled by determinants while that changes much (Higham 2008, section 6.3)."""
    M = torch.from_numpy(A)
    m, eye = M.shape[-1], torch.eye(M.shape[-1], dtype=M.dtype)
    Z = eye.expand_as(M)
    for _ in range(20):
        scale = torch.exp(-torch.linalg.slogdet(M).logabsdet / (2 * m))[:, None, None]
        far = matrix_norm(M - eye)[:, None, None] > 1e-2
        scale = torch.where(far, scale, 1.0)
        M, Z = scale**2 * M, scale * Z
        inverse = torch.linalg.inv(M)
        Z = Z @ (eye + inverse) / 2
        M = (eye + (M + inverse) / 2) / 2
        if not (matrix_norm(M - eye) > 1e-7).any():
            break
    return Z.numpy()


def _coefficients() -> list[float]:
    """Return the Taylor coefficients of ``(1 - z)^(1/2)``."""
    found = [1.0]
    for k in range(DEGREE + 1):
        found.append(found[-1] * (k - 0.5) / (k + 1))
    return found


def by_taylor(A: np.ndarray) -> np.ndarray:
    """Return roots by the Taylor polynomial of the square root of ``I - Z``, and an inverse."""
    M = torch.from_numpy(A)
    norm = matrix_norm(M)[:, None, None]
    eye = torch.eye(M.shape[-1], dtype=M.dtype)
    Z = eye - M / norm
    power, total = eye.expand_as(Z), torch.zeros_like(Z)
    for c in _coefficients()[: DEGREE + 1]:
        total = total + c * power
        power = power @ Z
    return (torch.linalg.inv(total) / norm.sqrt()).numpy()


def by_pade(A: np.ndarray) -> np.ndarray:
    """Return roots by the diagonal Pade approximant of the square root of ``I - Z``, of degree 5 over 5."""
    M = torch.from_numpy(A)
    norm = matrix_norm(M)[:, None, None]
    eye = torch.eye(M.shape[-1], dtype=M.dtype)
    Z = eye - M / norm
    p, q = pade(_coefficients(), DEGREE // 2)
    numerator, denominator, power = torch.zeros_like(Z), torch.zeros_like(Z), eye.expand_as(Z)
    for a, b in zip(p, q, strict=True):
        numerator, denominator = numerator + a * power, denominator + b * power
        power = power @ Z
    return (torch.linalg.solve(numerator, denominator) / norm.sqrt()).numpy()


def pade(taylor: list[float], n: int) -> tuple[list[float], list[float]]:
    """Return the coefficients of a diagonal Pade approximant, numerator and denominator."""
    system = np.array([[taylor[n + 1 + i - j] for j in range(1, n + 1)] for i in range(n)])
    q = np.concatenate([[1.0], np.linalg.solve(system, [-taylor[n + 1 + i] for i in range(n)])])
    p = [sum(q[j] * taylor[k - j] for j in range(k + 1)) for k in range(n + 1)]
    return p, q.tolist()


METHODS: dict[str, Callable[[Any], Any]] = {
    EIGH: by_eigenvalues,
    "Newton-Schulz": by_newton_schulz,
    "Denman-Beavers, product form": by_denman_beavers,
    "Taylor, degree 10": by_taylor,
    "Pade, 5 over 5": by_pade,
    "skdmi.iteration.inverse_root": lambda A: inverse_root(torch.from_numpy(A)).numpy(),
    "skdmi.inv_sqrt": skdmi.inv_sqrt,
}


def claims(A: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    report = InverseSquareRoot().report(A)
    return report.certified, report.error_bound


def covariances(n: int, m: int, condition: float, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Return matrices with log-uniform eigenvalues, and their inverse square roots."""
    rng = np.random.default_rng(m)
    values = condition ** -rng.uniform(0, 1, (n, m))
    values[:, 0], values[:, -1] = 1, 1 / condition
    Q = np.linalg.qr(rng.standard_normal((n, m, m)))[0]
    A, Z = ((Q * f[:, None, :]) @ Q.swapaxes(1, 2) for f in (values, values**-0.5))
    A = ((A + A.swapaxes(1, 2)) / 2).astype(dtype)
    return A, by_eigenvalues(A.astype(float)) if dtype == "float32" else Z


def cases(n: int) -> list[Case]:
    found = []
    for dtype in ("float64", "float32"):
        for m in SIZES:
            for condition in CONDITIONS:
                A, truth = covariances(n if m < 32 else max(2, n // 5), m, condition, dtype)
                title = f"{m} x {m} covariances of condition {condition:.0e}, {dtype}"
                found.append(Case(title, A, truth, METHODS, EIGH, {"skdmi.inv_sqrt": claims}))
    return found


def spiked(n: int, m: int, rng: np.random.Generator) -> np.ndarray:
    """Return covariances of a few strong sources above a floor."""
    Q = np.linalg.qr(rng.standard_normal((n, m, m)))[0]
    values = np.concatenate([rng.uniform(50, 100, (n, 3)), np.ones((n, m - 3))], axis=1)
    A = (Q * values[:, None]) @ Q.swapaxes(1, 2)
    return np.asarray((A + A.swapaxes(1, 2)) / 2)


def kernels(n: int, m: int, rng: np.random.Generator) -> np.ndarray:
    """Return kernels of several length scales over a grid, with a ridge."""
    distance = np.abs(np.subtract.outer(np.arange(m), np.arange(m)))
    return np.asarray(np.exp(-distance / rng.uniform(2, 6, (n, 1, 1))) + 0.1 * np.eye(m))


def families(n: int) -> list[Record]:
    """Return how many steps members of families take, without what was learned and with it."""
    rng, rows = np.random.default_rng(0), []
    stacks = {
        "3 sources above a floor, m = 16": spiked(2 * n, 16, rng),
        "kernels over a grid, m = 16": kernels(2 * n, 16, rng),
        "Gram matrices of channels, m = 16": KroneckerChannel().sample(2 * n, 16, random_state=0),
    }
    for name, stack in stacks.items():
        learned = InverseSquareRoot().fit(stack[:n])
        plain, ours = InverseSquareRoot().report(stack[n:]), learned.report(stack[n:])
        rows.append(
            {
                "case": f"family: {name}",
                "coefficients": len(learned.coefficients_),
                "steps": float(plain.n_steps.mean()),
                "learned_steps": float(ours.n_steps.mean()),
                "certified": float(ours.certified.mean()),
            }
        )
    return rows


def print_families(rows: list[Record]) -> None:
    print("\nSteps to a proof, on average, of members that were not seen: scaled steps, and steps learned by fit")
    for row in rows:
        steps = f"{row['steps']:>8.2f}{row['learned_steps']:>8.2f}"
        print(f"{row['case'].removeprefix('family: '):44}{steps}{100 * row['certified']:>9.1f} % proved")


def main() -> None:
    parser = figures_parser(__doc__, "few matrices, few runs, few attacks")
    parser.add_argument("--attacks", metavar="N", type=int, help="judge so many claims")
    options = parser.parse_args()
    n, repeats, n_attacks = (20, 1, 1_000) if options.quick else (10_000, 5, 200_000)
    machine = facts()
    print(spell(machine))
    rows: list[Record] = []
    for case in cases(n):
        found = measure(case, repeats)
        print_case(found, case.yardstick)
        rows += found
    of_families = families(200)
    print_families(of_families)
    verdict = root_attack.attack(options.attacks or n_attacks)
    print_verdict("Proofs of definiteness and bounds of roots", verdict)
    ratios = [row["over_yardstick"] for row in rows if row["method"] == "skdmi.inv_sqrt"]
    print(f"\nTarget, certified, time over torch.linalg.eigh, must 1.0: {min(ratios):.2f} to {max(ratios):.2f}")
    if options.json:
        save_records(
            options.json, machine, without_nan([*rows, *of_families, {"case": "attacks", **verdict._asdict()}])
        )
    sys.exit(bool(verdict.n_false))


if __name__ == "__main__":
    start_as_it_is()
    main()
