"""One round of a soak: a stack is drawn, asked about, in several threads too, and whatever came back is judged."""

import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.lib.soak_doors import DOORS, Answer, Ask, Door, as_vector, count_wrong_determinants
from benchmarks.lib.soak_judge import Verdict, enclose, judge, judged_sample
from benchmarks.lib.soak_stacks import (
    Families,
    Given,
    Kind,
    as_float64,
    draw_families,
    draw_kind,
    draw_matrices,
    draw_size,
    give,
    pick,
)
from skdmi.exceptions import InaccurateInverseWarning, SingularMatrixWarning

WEIGHTS = {"inv": 5, "certify": 3, "slogdet": 2, "RefinedInverter": 3}
"""How often doors are taken; others are 1."""
THREADS = (1, 1, 1, 2, 3, 4)
LONGEST_LIST = 50
"""Matrices of a stack as nested lists."""

Rng = np.random.Generator


@dataclass
class Round:
    """What became of one round."""

    door: str
    said: str
    """What was drawn, in words."""
    verdict: Verdict = field(default_factory=Verdict)
    calls: int = 0
    faults: list[str] = field(default_factory=list)


def play(seed: int, number: int) -> Round:
    """Play a round, which is determined by its seed and number."""
    rng = np.random.default_rng((seed, number))
    weights = np.array([WEIGHTS.get(name, 1) for name in DOORS])
    name = str(rng.choice(list(DOORS), p=weights / weights.sum()))
    door = DOORS[name]
    families = draw_families(rng)
    kind, n, m = draw_shape(door, families, rng)
    found = Round(name, f"{n} matrices of size {m}, {families}, {kind}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _play(found, door, draw_matrices(rng, n, m, families), kind, rng)
    except Exception as error:
        found.faults.append(f"{type(error).__name__}: {error}")
    return found


def draw_shape(door: Door, families: Families, rng: Rng) -> tuple[Kind, int, int]:
    m = pick(door.sizes, rng) if door.sizes else draw_size(rng)
    most = max(2, int((1 if families.are_good else 0.05) * door.entries / m**2 / (1 + m / 20)))
    n = int(most ** rng.uniform(0.3, 1)) if rng.random() < 0.3 else most
    while True:
        kind = draw_kind(rng)
        allowed = kind.container in door.containers and (not door.dtypes or kind.dtype in door.dtypes)
        if allowed and not (door.flat and kind.layout == "two_axes"):
            return kind, min(n, LONGEST_LIST) if kind.container == "list" else n, m


def _play(found: Round, door: Door, A: np.ndarray, kind: Kind, rng: Rng) -> None:
    given = give(A, kind)
    before = given.numbers()
    ask = door.draw(given, rng)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        answer = ask(given)
    found.calls = 1
    found.faults += wrong_warnings([warning.category for warning in warned], answer)
    found.faults += wrong_form(given, answer)
    n_threads = int(rng.choice(THREADS))
    if n_threads > 1:
        found.calls += 2 * n_threads - 1
        found.faults += differing(
            ask, [given, *(give(np.roll(A, k, axis=0), kind) for k in range(1, n_threads))], answer
        )
    if not np.array_equal(given.numbers(), before):
        found.faults.append("the stack was changed")
    found.verdict = _judged(found, given, before, answer, rng)


def _judged(found: Round, given: Given, A: np.ndarray, answer: Answer, rng: Rng) -> Verdict:
    dtype = given.working_dtype
    if answer.claims is not None:
        verdict, false = judge(A, dtype, answer.claims, rng)
        found.faults += [f"a false claim about member {k}" for k in false]
        return verdict
    if answer.determinants is None:
        return Verdict(matrices=len(A))
    bounded = as_vector(answer.determinants.log_abs_det_bound) < np.inf
    known = enclose(A)
    chosen = judged_sample(A, first=np.flatnonzero(bounded & ~known.proved), rng=rng)
    wrong = count_wrong_determinants(A, dtype, answer.determinants, chosen)
    found.faults += [f"a false determinant of member {k}" for k in wrong]
    looked_at = np.isin(np.arange(len(A)), chosen)
    return Verdict(
        matrices=len(A),
        certified=int(bounded.sum()),
        confirmed=int((bounded & known.proved).sum()),
        exact=len(chosen),
        open=int((bounded & ~known.proved & ~looked_at).sum()),
        false=len(wrong),
    )


def wrong_warnings(categories: list[type[Warning]], answer: Answer) -> list[str]:
    """Return what is wrong with the warnings of a call: others than those of skdmi, or none of what is missing."""
    others = {kind.__name__ for kind in categories} - {
        SingularMatrixWarning.__name__,
        InaccurateInverseWarning.__name__,
    }
    found = [f"warned of {name}" for name in sorted(others)]
    if answer.absent is not None and answer.absent.any() != (SingularMatrixWarning in categories):
        found.append(f"{answer.absent.sum()} inverses are missing, and warnings were {categories}")
    return found


def wrong_form(given: Given, answer: Answer) -> list[str]:
    """Return what is wrong with the form of inverses, and with which of them are NaN."""
    X, found = answer.inverse, []
    if X is None:
        return []
    if (
        type(X) is not given.holder(computes=answer.computes)
        or tuple(X.shape) != given.shape
        or X.dtype != given.answer_dtype
    ):
        found.append(
            f"a {type(X).__name__} of {X.dtype}, shape {tuple(X.shape)}, for {given.kind} of shape {given.shape}"
        )
    if answer.absent is not None:
        nan = np.isnan(as_float64(X)).reshape(len(answer.absent), -1)
        if not (np.array_equal(nan.any(axis=1), answer.absent) and np.array_equal(nan.all(axis=1), answer.absent)):
            found.append("NaN elsewhere than where nothing is certified")
    return found


def differing(ask: Ask, stacks: list[Given], first: Answer) -> list[str]:
    """Ask about stacks in a thread each, all at once, and return which answers differ from those of one thread."""
    alone = [first, *map(ask, stacks[1:])]
    with ThreadPoolExecutor(len(stacks)) as threads:
        together = list(threads.map(ask, stacks))
    return [
        f"another answer in thread {k} of {len(stacks)} than alone"
        for k, (one, other) in enumerate(zip(alone, together, strict=True))
        if not all(map(same, one.arrays, other.arrays))
    ]


def same(one: Any, other: Any) -> bool:
    """Return whether two arrays are equal, NaN where NaN is."""
    if getattr(one, "dtype", None) is not None and getattr(one.dtype, "kind", "f") in "USb":
        return bool(np.array_equal(one, other))
    a, b = as_float64(one), as_float64(other)
    return bool(np.array_equal(a, b, equal_nan=True) and np.array_equal(np.signbit(a), np.signbit(b)))
