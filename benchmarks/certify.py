"""Certificates for everyone: bounds beside true errors, how far they reach, what they cost, and attacks on them.

``python -m benchmarks.certify [--quick] [--json FILE] [--attacks N]`` compares bounds with errors that are known from
exact arithmetic, certifies ever larger Hilbert matrices, and times whole calls in turns with ``numpy.linalg.inv`` on
one thread of a CPU, medians of processor time; chunks of delta-rule attention in turns with ``torch.linalg.inv``. crlin
is timed and compared if it is installed. Then N claims are judged by exact arithmetic; the exit status is 1 if one is
false. The last lines are the targets that were set before the work began. Needs python-flint.
"""

import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch

import skdmi
from benchmarks.lib import certify_tables as tables
from benchmarks.lib import chunks, determinant_attack, positive_definite_attack, tight_attack, unit_lower_attack
from benchmarks.lib.machine import facts, spell, start_as_it_is
from benchmarks.lib.records import Record, figures_parser, save_records
from benchmarks.lib.tight_bounds import FAMILIES, bounds, reach
from benchmarks.lib.timing import in_turn
from skdmi.datasets import judge
from skdmi.distributions import Uniform
from skdmi.estimators.reference import check_tensors, refined_tightly

DTYPES = ("float64", "float32")
SIZES = (3, 4, 8, 16, 32)
FEW = (1, 2, 10, 100)
LEAST_SECONDS = 2e-3
"""Of a run of few matrices: shorter ones are repeated."""
SHARE_OF_TIGHT = 0.6
"""Of all attacks; the others share the rest."""


@dataclass(frozen=True)
class Setting:
    """How much is run."""

    n_matrices: int = 200
    n_crlin: int = 50
    largest: int = 16
    share: float = 1.0
    """Of the matrices of a stack that is timed."""
    repeats: int = 9
    few: tuple[int, ...] = FEW
    sizes_of_chunks: tuple[int, ...] = chunks.SIZES
    n_chunks: int = 100
    n_attacks: int = 1_000_000

    def stack_size(self, m: int) -> int:
        """Return of how many matrices a stack is."""
        return max(2, round(self.share * (100_000 if m <= 8 else 20_000 if m <= 16 else 4_000)))


FULL = Setting()
QUICK = Setting(4, 2, 13, 0.01, 1, (1, 2), (16,), 8, 4_000)

Call = Callable[[np.ndarray], Any]


def uniform(n_matrices: int, m: int, dtype: str) -> np.ndarray:
    return Uniform().sample(n_matrices, m, random_state=0).astype(dtype)


def costs(dtype: str, setting: Setting) -> list[Record]:
    """Return what calls take on stacks, over ``numpy.linalg.inv``."""
    rows = []
    for m in SIZES:
        A = uniform(setting.stack_size(m), m, dtype)
        X = np.linalg.inv(A)
        calls: dict[str, Call] = {
            tables.NUMPY: np.linalg.inv,
            tables.CERTIFY: lambda A, X=X: skdmi.certify(A, X),
            tables.CERTIFY_TIGHT: lambda A, X=X: skdmi.certify(A, X, tight=True),
            "skdmi.inv": skdmi.inv,
            "skdmi.inv, tight": lambda A: skdmi.inv(A, tight=True),
            "skdmi.slogdet": skdmi.slogdet,
        }
        if m == tables.MEASURED_SIZE:
            calls |= on_tensors(A, X)
        spent = in_turn(calls, [A] * (setting.repeats + 1))
        each = {name: runs.per(len(A)) for name, runs in spent.items()}
        said = {"part": "costs", "dtype": dtype, "m": m, "n_matrices": len(A)}
        rows += [said | {"method": name} | each[name].record(numpy=each[tables.NUMPY]) for name in calls]
    return rows


def on_tensors(A: np.ndarray, X: np.ndarray) -> dict[str, Call]:
    """Return calls on torch tensors: the last three are what serves other devices."""
    T, Y = torch.from_numpy(A), torch.from_numpy(X)
    return {
        "torch.linalg.inv": lambda _: torch.linalg.inv(T),
        "skdmi.certify, tensors": lambda _: skdmi.certify(T, Y),
        "skdmi.certify, tight, tensors": lambda _: skdmi.certify(T, Y, tight=True),
        "certify in torch": lambda _: check_tensors(T, Y, tight=False, structure=None),
        "certify, tight, in torch": lambda _: check_tensors(T, Y, tight=True, structure=None),
        "inv, tight, in torch": lambda _: refined_tightly(T),
    }


def beside_crlin(setting: Setting) -> list[Record]:
    """Return what few matrices take, of crlin and of tight certificates of the same inverses."""
    if not find_spec("crlin"):
        return []
    rows = []
    for n in setting.few:
        for m in SIZES:
            A = uniform(n, m, "float64")
            X = np.linalg.inv(A)
            spent = in_turn(calls_on_few(A, X), [repeats_of(A, X)] * (setting.repeats + 1))
            said = {"part": "crlin", "m": m, "n_matrices": n}
            certify = spent[tables.CERTIFY_TIGHT]
            rows += [said | {"method": name} | runs.record(certify=certify) for name, runs in spent.items()]
    return rows


def calls_on_few(A: np.ndarray, X: np.ndarray) -> dict[str, Callable[[int], None]]:
    """Return what certifies a small stack so many times."""
    import crlin

    identity = np.eye(A.shape[-1])

    def by_skdmi(repeats: int) -> None:
        for _ in range(repeats):
            skdmi.certify(A, X, tight=True)

    def by_crlin(repeats: int) -> None:
        for _ in range(repeats):
            for member, inverse in zip(A, X, strict=True):
                crlin.solve(member, identity, inverse=inverse)

    return {tables.CERTIFY_TIGHT: by_skdmi, tables.CRLIN: by_crlin}


def repeats_of(A: np.ndarray, X: np.ndarray) -> int:
    """Return how often a certificate must be asked for to take long enough to be timed."""
    skdmi.certify(A, X, tight=True)
    started = time.perf_counter()
    skdmi.certify(A, X, tight=True)
    return 1 + int(LEAST_SECONDS / (time.perf_counter() - started))


def of_chunks(setting: Setting) -> list[Record]:
    """Return what inverses of chunks take, and what of them is certified."""
    rows: list[Record] = []
    for m in setting.sizes_of_chunks:
        n = max(2, round(setting.share * chunks.N_ENTRIES / m**2))
        timed = chunks.times(m, repeats=setting.repeats, n=n)
        rows += [{"part": "chunks", "m": m, "n_matrices": n, "method": name} | row for name, row in timed.items()]
        for keys in chunks.KEYS:
            said = {"part": "chunks judged", "m": m, "n_matrices": setting.n_chunks, "keys": keys}
            found = chunks.accuracy(m, keys, n=setting.n_chunks)
            rows += [said | {"method": name} | row for name, row in found.items()]
    return rows


def attacks(n: int) -> list[Record]:
    """Return how n claims fared, by kind."""
    rows = []
    others = round((1 - SHARE_OF_TIGHT) / 3 * n)
    for door, counts in tight_attack.attack(n - 3 * others).items():
        row = {field.name: getattr(counts, field.name) for field in fields(counts)}
        rows.append({"part": "attacks", "kind": door} | row)
    lower = unit_lower_attack.attack(others)
    found: dict[str, Record] = {
        "unit lower triangular": {"cases": lower.cases, "certified": lower.granted, "false": lower.false},
    }
    for name, module in (("slogdet", determinant_attack), ("positive definite", positive_definite_attack)):
        granted, false = module.attack(others)
        found[name] = {"cases": others, "certified": granted, "false": false}
    return rows + [{"part": "attacks", "kind": kind} | row for kind, row in found.items()]


def count_silent() -> int:
    """Return how many answers of ``skdmi.inv`` to the audit set are wrong, and nothing said."""
    reports = [judge(skdmi.inv, dtype=dtype) for dtype in DTYPES]
    return sum(len(indices) for report in reports for indices in report.silent().values())


def known(row: Record) -> Record:
    """Return a record as JSON can hold it: without what is infinite or not a number."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in row.items()
    }


def main() -> None:
    parser = figures_parser(__doc__, "few matrices, few runs, few attacks")
    parser.add_argument("--attacks", metavar="N", type=int, help="judge so many claims")
    options = parser.parse_args()
    setting = QUICK if options.quick else FULL
    machine = facts() | {"crlin": version("crlin") if find_spec("crlin") else None}
    print(spell(machine))
    print(f"crlin {machine['crlin'] or tables.ABSENT}")
    found: dict[str, Sequence[Record]] = {}
    found["bounds"] = [bounds(family, setting.n_matrices, setting.n_crlin) for family in FAMILIES]
    tables.print_bounds(found["bounds"])
    found["reach"] = reach(setting.largest)
    tables.print_reach(found["reach"], setting.largest)
    by_dtype = {dtype: costs(dtype, setting) for dtype in DTYPES}
    for dtype, rows in by_dtype.items():
        tables.print_costs(f"Stacks, U[-1,1], {dtype}", rows, tables.NUMPY)
    found["costs"] = [row for rows in by_dtype.values() for row in rows]
    found["crlin"] = beside_crlin(setting)
    tables.print_crlin(found["crlin"])
    found["chunks"] = of_chunks(setting)
    tables.print_chunks(found["chunks"])
    found["attacks"] = attacks(options.attacks or setting.n_attacks)
    tables.print_attacks(found["attacks"])
    tables.print_targets(tables.certify_targets(found, count_silent()))
    if options.json:
        save_records(options.json, machine, [known(row) for rows in found.values() for row in rows])
    print(f"\n{time.process_time():.0f} s of processor time")
    sys.exit(bool(tables.count_false(found["attacks"])))


if __name__ == "__main__":
    start_as_it_is()
    main()
