"""Attacks on proofs of full rank and on bounds of pseudo-inverses, judged in rational arithmetic."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from flint import fmpq, fmpq_mat

from benchmarks.lib.exact_arithmetic import exactly
from skdmi.estimators.pinv import Pseudo, find
from skdmi.linalg import certify_pinv, full_rank_pinv

SHAPES = ((1, 1), (1, 3), (2, 2), (2, 3), (3, 2), (2, 5), (3, 4), (4, 3), (3, 7))
_SLACK = 1 + 1e-9
"""Norms of exact differences are rounded to float64 at the end."""


class Verdict(NamedTuple):
    """How many claims were made, how many of them of a proof, and how many are false."""

    n_claims: int
    n_proved: int
    n_false: int

    def __add__(self, other: "Verdict") -> "Verdict":  # type: ignore[override]
        return Verdict(*(a + b for a, b in zip(self, other, strict=True)))


def uniform(rng: np.random.Generator, n: int, p: int, q: int) -> np.ndarray:
    return rng.uniform(-1, 1, (n, p, q))


def integers(rng: np.random.Generator, n: int, p: int, q: int) -> np.ndarray:
    return rng.integers(-3, 4, (n, p, q)).astype(float)


def deficient(rng: np.random.Generator, n: int, p: int, q: int) -> np.ndarray:
    """Products of integers of one rank less."""
    rank = max(0, min(p, q) - 1)
    return (rng.integers(-9, 10, (n, p, rank)) @ rng.integers(-9, 10, (n, rank, q))).astype(float)


def nearly_deficient(rng: np.random.Generator, n: int, p: int, q: int) -> np.ndarray:
    """Those, with some entries moved to the next number, or a few further."""
    A = deficient(rng, n, p, q)
    return A * (1 + rng.integers(-4, 5, A.shape) * (rng.random(A.shape) < 0.3) * 2.0**-52)


def slightly_full(rng: np.random.Generator, n: int, p: int, q: int) -> np.ndarray:
    return deficient(rng, n, p, q) + rng.uniform(-1, 1, (n, p, q)) * 10.0 ** -rng.integers(1, 17, (n, 1, 1))


def scaled_rows(rng: np.random.Generator, n: int, p: int, q: int) -> np.ndarray:
    kind = [uniform, deficient, slightly_full][rng.integers(3)]
    return kind(rng, n, p, q) * 2.0 ** rng.integers(-450, 450, (n, p, 1))


def scaled_columns(rng: np.random.Generator, n: int, p: int, q: int) -> np.ndarray:
    kind = [uniform, deficient, slightly_full][rng.integers(3)]
    return kind(rng, n, p, q) * 2.0 ** rng.integers(-60, 60, (n, 1, q))


def graded(rng: np.random.Generator, n: int, p: int, q: int) -> np.ndarray:
    return rng.uniform(-1, 1, (n, p, q)) * 2.0 ** rng.integers(-40, 40, (n, p, q))


def far_away(rng: np.random.Generator, n: int, p: int, q: int) -> np.ndarray:
    """At the ends of the range, subnormal numbers included."""
    return slightly_full(rng, n, p, q) * 2.0 ** rng.choice([-1074, -1040, -1000, -500, 500, 1000], (n, 1, 1))


MATRICES: tuple[Callable[..., np.ndarray], ...] = (
    *(uniform, integers, deficient, nearly_deficient, slightly_full, scaled_rows, scaled_columns, graded, far_away),
)


def attack(n_claims: int, seed: int = 0) -> Verdict:
    """Return how many claims of `pinv` and of `certify_pinv` are false."""
    rng, verdict = np.random.default_rng(seed), Verdict(0, 0, 0)
    while verdict.n_claims < n_claims:
        p, q = SHAPES[rng.integers(len(SHAPES))]
        A = MATRICES[rng.integers(len(MATRICES))](rng, 50, p, q)
        with np.errstate(over="ignore"):
            A = A.astype([np.float64, np.float32][int(rng.random() < 0.3)])
        A = A[np.isfinite(A).all(axis=(1, 2))]
        found = find(A)
        verdict += judge(A, found)
        X = _tampered(rng, A, found.inverse)
        proof = certify_pinv(torch.from_numpy(A), torch.from_numpy(X))
        fields = (proof.certified.numpy(), proof.error_bound.numpy(), np.full(len(A), min(p, q)))
        verdict += judge(A, Pseudo(X, *fields))
    return verdict


def _tampered(rng: np.random.Generator, A: np.ndarray, X: np.ndarray) -> np.ndarray:
    """Return what are not quite pseudo-inverses: off in all entries, outside the rows of A, or those of a neighbour."""
    size = 10.0 ** -rng.integers(0, 17)
    with np.errstate(all="ignore"):
        largest = np.abs(X).max(axis=(1, 2), keepdims=True)
        noise = rng.standard_normal(X.shape)
        return [
            lambda: X * (1 + size * noise),
            lambda: X + size * largest * noise,
            lambda: X + size * largest * (noise - X @ (A @ noise)),
            lambda: full_rank_pinv(torch.from_numpy(A * (1 + size * rng.standard_normal(A.shape)))).numpy(),
            lambda: np.swapaxes(A, 1, 2).copy(),
        ][rng.integers(5)]()


def judge(A: np.ndarray, found: Pseudo) -> Verdict:
    """Return how many claims hold in rational arithmetic."""
    false = sum(not _holds(A[k], found.inverse[k], found.error_bound[k]) for k in np.flatnonzero(found.certified))
    return Verdict(len(A), int(found.certified.sum()), false)


def _holds(A: np.ndarray, X: np.ndarray, bound: float) -> bool:
    """Return whether A has full rank, and X is as near to its pseudo-inverse as said."""
    if A.shape[0] > A.shape[1]:
        A, X = A.T, X.T
    exact = _rational(A)
    gram = exact * exact.transpose()
    if gram.det() == 0:
        return False
    inverse = exact.transpose() * gram.inv()
    unit = max((abs(entry) for entry in inverse.entries()), default=fmpq(1))
    difference, size = (_norm(M, unit) for M in (_rational(X) - inverse, inverse))
    return difference <= bound * size * _SLACK


def _rational(A: np.ndarray) -> fmpq_mat:
    return fmpq_mat(*A.shape, [exactly(float(a)) for a in A.flat])


def _norm(A: fmpq_mat, unit: fmpq) -> float:
    entries = [entry / unit for entry in A.entries()]
    return float(np.linalg.norm(np.array([int(a.p) / int(a.q) for a in entries]).reshape(A.nrows(), -1), 2))
