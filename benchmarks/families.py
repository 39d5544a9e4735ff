"""When learning pays: networks on families of matrices, beside what learns less, nothing, or factorises.

``python -m benchmarks.families [NAME ...] [--quick] [--seeds 3] [--json FILE] [--plot DIRECTORY]`` fits
``NeuralMatrixInverter().fit(X)`` to 300 members of each family and tests it on 1,000 fresh ones, in float32; residual
norms are measured in float64, products include the last residual. Three tables: what an inverse costs; how often a
fitted network does harm to matrices that are not of its family; and how long a fitted start with Newton-Schulz steps
takes to the accuracy of LAPACK. The last lines are the targets that were set before the work began.
"""

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

import skdmi
from benchmarks.lib.families import (
    FAMILIES,
    MOST_DRAWN,
    STATED,
    Course,
    Deflated,
    Family,
    Sketched,
    off_family,
    quantiles,
    residual_norms,
    rounding_floor,
)
from benchmarks.lib.family_plots import save_plots
from benchmarks.lib.family_tables import print_family, print_guard, print_race, print_targets
from benchmarks.lib.machine import facts, spell, start_as_it_is
from benchmarks.lib.peers import CHOLESKY, LAPACK, cholesky_inverse, unit_scale
from benchmarks.lib.records import Record, figures_parser, save_records
from benchmarks.lib.timing import in_turn
from skdmi import NeuralMatrixInverter
from skdmi.iteration import STARTS, FamilyStart, iterate, newton_schulz
from skdmi.iteration.starts import full
from skdmi.modules import InverterResNet
from skdmi.modules.cost import MAX_STEPS
from skdmi.modules.lanes import forward_in_lanes
from skdmi.modules.network import normalized

FITTED, TRAINED, CONSTANT, KERNEL = "fitted", "trained", "best constant", "skdmi.inv, proved"
PLAIN = {"transpose": "MR-3, deflated, c A^T", "identity": "MR-3, deflated, Jacobi"}
N_FIT, SEED_FIT, SEED_TEST = 300, 1, 2
LEARNING_RATE = 5e-3
HARM = 1.1
HARM_STEPS = (1, 2, 3, 5)
DIRECT_OPERATIONS = {LAPACK: 2, CHOLESKY: 1, KERNEL: 4}
"""In units of m^3, to leading order."""
PART_ENTRIES = 2**19
"""Of the parts in which an iteration works through a stack: calls of torch cost more than leaving the cache."""
RACED = ("advection", "permuted", "circuit")


@dataclass(frozen=True)
class Setting:
    """How much is run."""

    n_test: int = 1000
    n_off: int = 10_000
    n_timed_entries: int = 2**20
    repeats: int = 5
    seeds: int = 3
    quick: bool = False

    def epochs(self, family: Family) -> tuple[int, int, int]:
        return (1, 2, 32) if self.quick else family.epochs


FULL, QUICK = Setting(), Setting(60, 200, 2**15, 1, 1, quick=True)


@dataclass(frozen=True)
class Fit:
    """A fitted start, the network that was trained from it, and what that took."""

    fitted: NeuralMatrixInverter
    trained: NeuralMatrixInverter
    fit_s: float
    train_s: float


def fit(X: np.ndarray, family: Family, seed: int, setting: Setting) -> Fit:
    """Fit a start, then train with one step less than members need from there, at least one."""
    started = time.process_time()
    fitted = NeuralMatrixInverter(max_epochs=0, random_state=seed).fit(X)
    fit_s = time.process_time() - started
    core = fitted.module_.core
    needed = Deflated(FITTED, fitted.module_).steps(scaled(X)[: N_FIT // 3])[STATED]
    p99 = needed.quantile(0.99, interpolation="higher").item()
    depth = max(1, int(min(p99, MAX_STEPS)) - 1)
    max_epochs, n_batches, batch_size = setting.epochs(family)
    trained = NeuralMatrixInverter(
        depth,
        start=fitted.start_,
        n_atoms=fitted.n_atoms_ if isinstance(core.start, FamilyStart) else "auto",
        max_epochs=max_epochs,
        batches_per_epoch=n_batches,
        batch_size=batch_size,
        learning_rate=LEARNING_RATE,
        random_state=seed,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # whether there was a gain is in the table
        trained.fit(X)
    return Fit(fitted, trained, fit_s, time.process_time() - started - fit_s)


def scaled(A: np.ndarray) -> Tensor:
    """Return matrices as a network sees them."""
    return normalized(torch.from_numpy(A))[0].float()


def learn(family: Family, setting: Setting) -> tuple[list[Record], dict[int, Fit]]:
    """Fit, test and time everything on a family."""
    X, A = family.sample(N_FIT, SEED_FIT), family.sample(setting.n_test, SEED_TEST)
    fits = {seed: fit(X, family, seed, setting) for seed in range(setting.seeds)}
    S = scaled(A)
    rows: list[Record] = []
    courses: dict[str, Course] = {}
    for seed, found in fits.items():
        own = [Deflated(FITTED, found.fitted.module_), Deflated(TRAINED, found.trained.module_, is_trained=True)]
        if seed == 0:
            own = [*untrained(X), *own]
        measured = [measure(course, S, found) for course in own]
        if seed == 0:
            best = min(measured[:-1], key=_cost)
            sketched = [Sketched(own[measured.index(best)].start, best["method"], degree) for degree in (1, 2)]
            sketches = [measure(course, S, found) for course in sketched]
            chosen = min(range(2), key=lambda k: _cost(sketches[k]))
            own, measured = [*own, sketched[chosen]], [*measured, sketches[chosen]]
            courses = {course.name: course for course in own}
            budget = measured[[course.name for course in own].index(TRAINED)]["budget"]
            measured += direct(S, is_definite=family.is_definite)
        for row in measured:
            at_budget = [p99 for n, _, p99 in row["curve"] if n <= budget] if row["curve"] else [row["direct_p99"]]
            said = {"part": "families", "family": family.name, "m": family.m, "seed": seed, "budget": budget}
            rows.append({**row, **said, "p99_at_budget": at_budget[-1] if at_budget else None})
    clock(rows, courses, A.astype(np.float32), setting, is_definite=family.is_definite)
    return rows, fits


def _cost(row: Record) -> tuple[float, float]:
    """Return by what the best of several methods is chosen: operations to 1e-2, 99th percentile, then mean."""
    p99 = row["operations"][STATED][1]
    return (np.inf if p99 is None else p99), row["mean_operations"]


def untrained(X: np.ndarray) -> list[Deflated]:
    """Return the iterations that learn nothing, and that from the constant which is best for X."""
    constant = NeuralMatrixInverter(start="family", n_atoms=0, max_epochs=0, random_state=0).fit(X)
    plain = [Deflated(PLAIN[name], InverterResNet(1, start=name)) for name in STARTS]
    return [*plain, Deflated(CONSTANT, constant.module_)]


def measure(course: Course, A: Tensor, found: Fit) -> Record:
    """Return what an inverse of a member costs, and how the residual falls."""
    m, start = A.shape[-1], course.start
    steps = course.steps(A)

    def costs(of: Callable[[int], float]) -> Tensor:
        """Return the cost of each matrix to each tolerance, infinite where that is not reached."""
        values = torch.tensor([of(n) for n in range(2 * MAX_STEPS + 1)], dtype=torch.float64)
        return torch.where(steps.isfinite(), values[steps.nan_to_num(posinf=0).long()], torch.inf)

    products, operations = costs(course.products), costs(lambda n: course.operations(n, m))
    norms = course.norms(A, MOST_DRAWN)
    needed = quantiles(steps[STATED])[1]
    network = course.network if isinstance(course, Deflated) else None
    return {
        "method": course.name,
        "start": _spell_start(start),
        "depth": network.core.depth if network is not None and course.name == TRAINED else None,
        "steps_needed": needed,
        "products": [quantiles(values) for values in products],
        "operations": [quantiles(values) for values in operations],
        "mean_operations": operations[STATED].clamp_max(course.operations(2 * MAX_STEPS, m)).mean().item(),
        "mean_products": products[STATED].clamp_max(course.products(2 * MAX_STEPS)).mean().item(),
        "start_operations": start.n_operations(m) / (2 * m**3),
        "n_bytes": course.n_bytes,
        "budget": course.products(int(needed) if needed is not None else found.trained.depth),
        "curve": [[course.products(n), *quantiles(norm)] for n, norm in enumerate(norms)],
        "train_s": found.train_s,
        "fit_s": found.fit_s,
        "best_epoch": found.trained.best_epoch_,
    }


def _spell_start(start: Any) -> str:
    if isinstance(start, FamilyStart):
        return f"family, {len(start.atoms)} atoms, else {_spell_start(start.plain)}"
    return next(name for name, row in STARTS.items() if row is start)


def direct(A: Tensor, *, is_definite: bool) -> list[Record]:
    """Return what factorisations cost and leave."""
    inverses = {LAPACK: torch.linalg.inv, CHOLESKY: cholesky_inverse, KERNEL: skdmi.inv}
    m = A.shape[-1]
    rows = []
    for name, inverse in inverses.items():
        if name != CHOLESKY or is_definite:
            operations = DIRECT_OPERATIONS[name] * m**3
            p99 = quantiles(residual_norms(A, inverse(A)))[1]
            costs = {"operations": [[operations] * 2] * 3, "mean_operations": operations, "n_bytes": 0}
            rows.append({"method": name, "start": "", "curve": None, "direct_p99": p99, "products": None, **costs})
    return rows


def clock(
    rows: Sequence[Record], courses: dict[str, Course], A: np.ndarray, setting: Setting, *, is_definite: bool
) -> None:
    """Time each method at the depth that brings 99 % of members to 1e-2, in turns, and put that into the rows."""
    A = torch.from_numpy(A[: max(8, setting.n_timed_entries // A.shape[-1] ** 2)])
    calls: dict[str, Callable[[Tensor], Any]] = {LAPACK: torch.linalg.inv, KERNEL: lambda A: skdmi.inv(A.numpy())}
    if is_definite:
        calls[CHOLESKY] = cholesky_inverse
    first = [row for row in rows if row["seed"] == 0]
    for row in first:
        course, needed = courses.get(row["method"]), row.get("steps_needed")
        if course is None or needed is None:
            continue
        calls[course.name] = in_parts(lambda A, course=course, n=int(needed): course.run(A, n))
        if isinstance(course, Deflated) and needed > 0:
            network = course.of_depth(int(needed)).requires_grad_(False)
            if forward_in_lanes(network, A) is not None:
                calls[f"{course.name}, lanes"] = lambda A, network=network: forward_in_lanes(network, A)
    spent = in_turn(calls, [A] * (setting.repeats + 1))
    over = spent[LAPACK]
    for row in first:
        for key, name in (("ns", row["method"]), ("lanes_ns", f"{row['method']}, lanes")):
            if name in spent:
                figures = spent[name].per(len(A)).record(lapack=over.per(len(A)))
                row[key] = figures["ns"]
                row["over_lapack" if key == "ns" else "lanes_over_lapack"] = figures["over_lapack"]


def in_parts(inverse: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Return an inverse that works through a stack in parts of `PART_ENTRIES`."""

    @torch.no_grad()
    def run(A: Tensor) -> Tensor:
        return torch.cat([inverse(part) for part in A.split(max(1, PART_ENTRIES // A.shape[-1] ** 2))])

    return run


def guard(family: Family, found: Fit, setting: Setting) -> Record:
    """Return the share of matrices that are not of the family, or are, and fare worse than untrained at equal steps."""
    counts = {"n": 0, "n_accepted": 0, "n_worse_fitted": 0, "n_worse_trained": 0}
    kinds: dict[str, int] = {}
    for name, A in off_family(family, setting.n_off):
        fitted, trained, n_accepted = harm(found, scaled(A))
        counts["n"] += len(A)
        counts["n_accepted"] += n_accepted
        counts["n_worse_fitted"] += fitted
        counts["n_worse_trained"] += trained
        if fitted or trained:
            kinds[name] = fitted + trained
    fitted, trained, n_accepted = harm(found, scaled(family.sample(setting.n_test, SEED_TEST)))
    inside = {"n_in": setting.n_test, "in_accepted": n_accepted, "in_worse_fitted": fitted, "in_worse_trained": trained}
    return {"part": "guard", "family": family.name, "m": family.m, "method": FITTED, **counts, **inside, "kinds": kinds}


@torch.no_grad()
def harm(found: Fit, A: Tensor) -> tuple[int, int, int]:
    """Return how many matrices fare worse from the fitted start, how many with the trained network, how many are taken.

    Worse is a residual norm more than a tenth above that of the same number of untrained steps from the plain start,
    and above what rounding may be to blame for.
    """
    fitted, trained = found.fitted.module_.core, found.trained.module_.core
    plain = getattr(fitted.start, "plain", fitted.start)
    accepted = torch.zeros(len(A), dtype=torch.bool)
    if isinstance(fitted.start, FamilyStart):
        accepted = fitted.start.accepts(A)
    taken = A[accepted]
    worse = torch.zeros(len(taken), dtype=torch.bool)
    if len(taken):
        for n in HARM_STEPS:
            worse |= _is_worse(taken, iterate(taken, n, start=fitted.start), iterate(taken, n, start=plain))
    of_trained = _is_worse(A, trained(A), iterate(A, trained.depth, start=plain))
    return int(worse.sum()), int(of_trained.sum()), len(taken)


def _is_worse(A: Tensor, X: Tensor, plain: Tensor) -> Tensor:
    norm, other = residual_norms(A, X), residual_norms(A, plain)
    return (norm > HARM * other) & (norm > rounding_floor(A, plain))


def race(family: Family, found: Fit, setting: Setting) -> Record:
    """Time a fitted start and Newton-Schulz steps to LAPACK's median residual norm, beside LAPACK, in turns."""
    A = torch.from_numpy(family.sample(setting.n_test, SEED_TEST)).float()
    start = found.fitted.module_.core.start
    goal = residual_norms(A, torch.linalg.inv(A)).median().item()
    n_steps, reached = 0, np.inf
    for n in range(8):
        median = residual_norms(A, polish(A, start, n)).median().item()
        if median < reached:
            n_steps, reached = n, median
        if median <= goal:
            break
    timed = A[: max(8, setting.n_timed_entries // A.shape[-1] ** 2)]
    calls = {LAPACK: torch.linalg.inv, FITTED: in_parts(lambda A: polish(A, start, n_steps))}
    spent = in_turn(calls, [timed] * (3 * setting.repeats + 1))
    figures = spent[FITTED].per(len(timed)).record(lapack=spent[LAPACK].per(len(timed)))
    said = {"part": "race", "family": family.name, "m": family.m, "method": FITTED, "n_steps": n_steps}
    lapack_ns = spent[LAPACK].per(len(timed)).record()["ns"]
    return {**said, "goal": goal, "reached": reached, "is_reached": reached <= goal, "lapack_ns": lapack_ns, **figures}


@torch.no_grad()
def polish(A: Tensor, start: Any, n_steps: int) -> Tensor:
    """Take Newton-Schulz steps from a start, the first with the residual that the start has found: A of any scale."""
    scale = unit_scale(A)
    S = scale * A
    X, R = start.function(S)
    X = full(X)
    if n_steps:
        X = newton_schulz(S, torch.baddbmm(X, X, R), n_steps - 1)
    return scale * X


def main() -> None:
    parser = figures_parser(__doc__, "few matrices, hardly trained: tries the script")
    names = [family.name for family in FAMILIES]
    parser.add_argument("families", nargs="*", default=names, metavar="NAME", help=f"of {', '.join(names)}; all")
    parser.add_argument("--seeds", type=int, help="of trainings; 3 by default, 1 with --quick")
    parser.add_argument("--plot", metavar="DIRECTORY", type=Path, help="draw a plot a family")
    options = parser.parse_args()
    machine = facts()
    print(spell(machine))
    setting = QUICK if options.quick else FULL
    setting = replace(setting, seeds=options.seeds or setting.seeds)
    chosen = [family for family in FAMILIES if family.name in options.families]
    found: list[Record] = []
    guards: list[Record] = []
    races: list[Record] = []
    for family in chosen:
        rows, fits = learn(family, setting)
        print_family(family, rows)
        found += rows
        guards += [guard(family, fits[0], setting) | {"seed": 0}]
        if family.name in RACED:
            races += [race(family, fits[0], setting)]
    print_guard(guards)
    print_race(races)
    print_targets(chosen, found, guards, races)
    if options.json:
        save_records(options.json, machine, [*found, *guards, *races])
    if options.plot:
        save_plots(found, options.plot)
    print(f"\n{time.process_time():.0f} s of processor time")


if __name__ == "__main__":
    start_as_it_is()
    main()
