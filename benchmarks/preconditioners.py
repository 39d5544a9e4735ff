"""Preconditioners of conjugate gradients over sequences of systems: iterations, set-up and solution.

``python -m benchmarks.preconditioners [--quick] [--json FILE]``: 100 diffusion problems with log-normal coefficients,
of three contrasts, N = 4,096, the setting of Khodak, Chow, Balcan and Talwalkar ("Learning to relax: setting solver
parameters across a sequence of linear system instances", ICLR 2024); and matrices of pyamg's gallery. Ours, fitted on
20 systems that are not among them, beside none, the diagonal, incomplete LU and Cholesky, smoothed aggregation, and a
sparse direct solution, on one thread of a CPU; processor time. Then what a choice for every system from what it will
cost, which nobody has, would save against the best block size for all. Needs pyamg and numba.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyamg
import scipy.sparse as sp
from pyamg.gallery import diffusion_stencil_2d, linear_elasticity, poisson, stencil_grid
from scipy.sparse.linalg import LinearOperator, aslinearoperator, spilu, splu

from benchmarks.lib.beside import without_nan
from benchmarks.lib.diffusion import sequence
from benchmarks.lib.incomplete_cholesky import incomplete_cholesky
from benchmarks.lib.machine import facts, spell, start_as_it_is
from benchmarks.lib.records import Record, figures_parser, save_records
from skdmi.metrics.iterations import count_iterations
from skdmi.preconditioners import BlockJacobi, FamilyPreconditioner

Setup = Callable[[Any], Any]
JACOBI, ILU, DIRECT = "diagonal (Jacobi)", "incomplete LU", "sparse direct"
FAMILY = "FamilyPreconditioner()"
CONTRASTS = (0.5, 1.0, 2.0)
SYMMETRIC: dict[str, Any] = {
    "permc_spec": "MMD_AT_PLUS_A",
    "diag_pivot_thresh": 0.0,
    "options": {"SymmetricMode": True},
}
BLOCKS = ((16, 0), (64, 0), (64, 64))


def jacobi(A: Any) -> LinearOperator:
    return aslinearoperator(sp.diags_array(1 / A.diagonal()))


def incomplete_lu(A: Any) -> LinearOperator:
    """Return the mean of an incomplete factorisation and its transposed: conjugate gradients want it symmetric."""
    factors = spilu(sp.csc_matrix(A), drop_tol=1e-3, **SYMMETRIC)
    return LinearOperator(A.shape, lambda b: (factors.solve(b) + factors.solve(b, "T")) / 2)


def direct(A: Any) -> LinearOperator:
    return LinearOperator(A.shape, splu(sp.csc_matrix(A), **SYMMETRIC).solve)


def multigrid(A: Any) -> LinearOperator:
    return pyamg.smoothed_aggregation_solver(sp.csr_matrix(A)).aspreconditioner()


def setups(examples: Sequence[Any]) -> dict[str, tuple[Setup, float]]:
    """Return what makes a preconditioner, by name, and the seconds that its fit took."""
    found: dict[str, tuple[Setup, float]] = {
        "none": (lambda A: None, 0.0),
        JACOBI: (jacobi, 0.0),
        ILU: (incomplete_lu, 0.0),
        "incomplete Cholesky, no fill-in": (incomplete_cholesky, 0.0),
        "smoothed aggregation": (multigrid, 0.0),
        DIRECT: (direct, 0.0),
    }
    ours: list[Any] = [BlockJacobi(block_size=size, overlap=overlap) for size, overlap in BLOCKS]
    if len(examples) > 1:  # One example is the system itself, factorised.
        ours += [FamilyPreconditioner(), FamilyPreconditioner(n_atoms=4, random_state=0)]
    for one in ours:
        begun = time.process_time()
        one.fit(list(examples))
        found[repr(one)] = one.transform, time.process_time() - begun
    return found


def solve_all(systems: Sequence[Any], setup: Setup) -> tuple[list[int], float, float]:
    """Return iterations of each system, and seconds of processor time for all set-ups and for all solutions."""
    counts, making, solving = [], 0.0, 0.0
    for A in systems:
        begun = time.process_time()
        M = setup(A)
        made = time.process_time()
        counts.append(count_iterations(A, M))
        making, solving = making + made - begun, solving + time.process_time() - made
    return counts, making, solving


def measure(title: str, examples: Sequence[Any], systems: Sequence[Any]) -> list[Record]:
    """Return a record a preconditioner."""
    rows = []
    for name, (setup, fitting) in setups(examples).items():
        counts, making, solving = solve_all(systems, setup)
        rows.append(
            {
                "case": title,
                "method": name,
                "n_systems": len(systems),
                "unknowns": systems[0].shape[0],
                "iterations": float(np.mean(counts)),
                "counts": counts,
                "fit_s": fitting,
                "setup_s": making,
                "solve_s": solving,
            }
        )
    return rows


def print_rows(rows: Sequence[Record]) -> None:
    first = rows[0]
    total = {row["method"]: row["setup_s"] + row["solve_s"] for row in rows}
    iterations = {row["method"]: row["iterations"] for row in rows}
    print(f"\n{first['case']}: {first['n_systems']} systems of {first['unknowns']:,} unknowns")
    print(f"{'':50}{'iterations':>12}{'over Jacobi':>13}{'fit s':>9}{'set-up s':>10}{'solve s':>9}{'over ILU':>10}")
    for row in rows:
        name = row["method"]
        line = f"{name:50}{row['iterations']:>12.1f}{iterations[name] / iterations[JACOBI]:>13.2f}{row['fit_s']:>9.2f}"
        print(f"{line}{row['setup_s']:>10.2f}{row['solve_s']:>9.2f}{total[name] / total[ILU]:>10.2f}")


def print_hindsight(rows: Sequence[Record]) -> Record:
    """Print what the best choice for each system would save, of iterations, against the best for all."""
    blocks = {row["method"]: np.array(row["counts"]) for row in rows if row["method"].startswith("BlockJacobi")}
    fixed = min(blocks, key=lambda name: blocks[name].sum())
    each = np.min(list(blocks.values()), axis=0).sum() / blocks[fixed].sum()
    print(f"best of the blocks for all: {fixed}; the best for each system needs {100 * each:.1f} % of its iterations")
    return {"case": rows[0]["case"], "method": "hindsight", "best": fixed, "share": float(each)}


def gallery(side: int) -> dict[str, list[Any]]:
    """Return systems of pyamg's gallery; the first half is for fitting."""
    rng = np.random.default_rng(0)
    angles = rng.uniform(0, np.pi / 2, 8)
    cube = round(side ** (2 / 3))
    return {
        "Poisson, 2-D": [poisson((side, side), format="csr")] * 2,
        "Poisson, 3-D": [poisson((cube,) * 3, format="csr")] * 2,
        "anisotropic diffusion, 1e-2, at several angles": [
            stencil_grid(diffusion_stencil_2d(epsilon=1e-2, theta=t, type="FE"), (side, side), format="csr")
            for t in angles
        ],
        "linear elasticity": [sp.csr_matrix(linear_elasticity((side // 2, side // 2), format="bsr")[0])] * 2,
    }


def main() -> None:
    options = figures_parser(__doc__, "few and small systems").parse_args()
    side, n_systems, n_examples = (16, 3, 3) if options.quick else (64, 100, 20)
    machine = facts()
    print(spell(machine))
    incomplete_cholesky(sp.eye_array(2)) @ np.ones(2)  # compiles
    rows: list[Record] = []
    for sigma in CONTRASTS:
        systems = sequence(n_examples + n_systems, side, sigma)
        title = f"diffusion, coefficients exp({sigma:g} times a normal field)"
        found = measure(title, systems[:n_examples], systems[n_examples:])
        print_rows(found)
        rows += [*found, print_hindsight(found)]
    for title, systems in gallery(side).items():
        half = len(systems) // 2
        found = measure(title, systems[:half], systems[half:])
        print_rows(found)
        rows += found
    ours = [row["iterations"] for row in rows if row["method"] == FAMILY][: len(CONTRASTS)]
    theirs = [row["iterations"] for row in rows if row["method"] == JACOBI][: len(CONTRASTS)]
    ratios = ", ".join(f"{a / b:.2f}" for a, b in zip(ours, theirs, strict=True))
    print(f"\nTarget, iterations over Jacobi's on the sequences, must .5: {ratios}")
    if options.json:
        save_records(options.json, machine, without_nan(rows))


if __name__ == "__main__":
    start_as_it_is()
    main()
