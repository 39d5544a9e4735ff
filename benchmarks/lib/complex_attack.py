"""Attacks on proofs and bounds of complex inverses, judged in rational arithmetic through the real embedding."""

from collections.abc import Callable

import numpy as np
from flint import fmpq, fmpq_mat

from benchmarks.lib.exact_arithmetic import exactly
from benchmarks.lib.pinv_attack import Verdict
from skdmi.embedding import embed
from skdmi.estimators.direct import invert_directly
from skdmi.figures import CERTIFIED

SIZES = (1, 2, 3, 4)
_SLACK = 1 + 1e-9


def uniform(rng: np.random.Generator, n: int, m: int) -> np.ndarray:
    return rng.uniform(-1, 1, (n, m, m)) + 1j * rng.uniform(-1, 1, (n, m, m))


def integers(rng: np.random.Generator, n: int, m: int) -> np.ndarray:
    return rng.integers(-3, 4, (n, m, m)) + 1j * rng.integers(-3, 4, (n, m, m))


def singular(rng: np.random.Generator, n: int, m: int) -> np.ndarray:
    """Products of Gaussian integers of one rank less: each part alone is regular, as a rule."""
    rank = max(0, m - 1)
    left, right = (
        rng.integers(-9, 10, (n, *shape)) + 1j * rng.integers(-9, 10, (n, *shape)) for shape in ((m, rank), (rank, m))
    )
    return left @ right


def nearly_singular(rng: np.random.Generator, n: int, m: int) -> np.ndarray:
    """Those, with some parts moved to the next number, or a few further."""
    A = singular(rng, n, m)
    moved = [
        part * (1 + rng.integers(-4, 5, A.shape) * (rng.random(A.shape) < 0.3) * 2.0**-52) for part in (A.real, A.imag)
    ]
    return moved[0] + 1j * moved[1]


def slightly_regular(rng: np.random.Generator, n: int, m: int) -> np.ndarray:
    return singular(rng, n, m) + uniform(rng, n, m) * 10.0 ** -rng.integers(1, 17, (n, 1, 1))


def singular_parts(rng: np.random.Generator, n: int, m: int) -> np.ndarray:
    """Regular ones, as a rule, whose real and imaginary parts are singular."""
    ones = np.ones((m, m))
    return rng.integers(-9, 10, (n, 1, m)) * ones + 1j * rng.integers(-9, 10, (n, m, 1)) * ones


def imaginary(rng: np.random.Generator, n: int, m: int) -> np.ndarray:
    return 1j * rng.uniform(-1, 1, (n, m, m))


def scaled(rng: np.random.Generator, n: int, m: int) -> np.ndarray:
    kind = [uniform, singular, slightly_regular][rng.integers(3)]
    return kind(rng, n, m) * 2.0 ** rng.integers(-90, 90, (n, m, 1)) * 2.0 ** rng.integers(-90, 90, (n, 1, m))


def far_away(rng: np.random.Generator, n: int, m: int) -> np.ndarray:
    return slightly_regular(rng, n, m) * 2.0 ** rng.choice([-1040, -1000, -500, 500, 990], (n, 1, 1))


def graded(rng: np.random.Generator, n: int, m: int) -> np.ndarray:
    real, imaginary = (rng.uniform(-1, 1, (n, m, m)) * 2.0 ** rng.integers(-30, 30, (n, m, m)) for _ in range(2))
    return real + 1j * imaginary


MATRICES: tuple[Callable[..., np.ndarray], ...] = (
    *(
        uniform,
        integers,
        singular,
        nearly_singular,
        slightly_regular,
        singular_parts,
        imaginary,
        scaled,
        far_away,
        graded,
    ),
)


def attack(n_claims: int, seed: int = 0) -> Verdict:
    """Return how many claims about inverses of complex stacks are false."""
    rng, verdict = np.random.default_rng(seed), Verdict(0, 0, 0)
    while verdict.n_claims < n_claims:
        m = SIZES[rng.integers(len(SIZES))]
        A = MATRICES[rng.integers(len(MATRICES))](rng, 50, m)
        with np.errstate(all="ignore"):
            A = np.ascontiguousarray(A.astype([np.complex128, np.complex64][int(rng.random() < 0.3)]))
        A = A[np.isfinite(A).all(axis=(1, 2))]
        X, figures = invert_directly(A, details=True)
        verdict += judge(A, X, figures.has(CERTIFIED), figures.error_bound)
    return verdict


def judge(A: np.ndarray, X: np.ndarray, certified: np.ndarray, bound: np.ndarray | None) -> Verdict:
    """Return how many claims hold."""
    assert bound is not None
    false = sum(not _holds(embed(A[k]), embed(X[k]), bound[k]) for k in np.flatnonzero(certified))
    return Verdict(len(A), int(certified.sum()), false)


def _holds(A: np.ndarray, X: np.ndarray, bound: float) -> bool:
    """Return whether a matrix is regular, and X as near to its inverse as said."""
    exact = _rational(A)
    if exact.det() == 0:
        return False
    inverse = exact.inv()
    unit = max(abs(entry) for entry in inverse.entries())
    difference, size = (_norm(M, unit) for M in (_rational(X) - inverse, inverse))
    return difference <= bound * size * _SLACK


def _rational(A: np.ndarray) -> fmpq_mat:
    return fmpq_mat(*A.shape, [exactly(float(a)) for a in A.flat])


def _norm(A: fmpq_mat, unit: fmpq) -> float:
    entries = [entry / unit for entry in A.entries()]
    return float(np.linalg.norm(np.array([int(a.p) / int(a.q) for a in entries]).reshape(A.nrows(), -1), 2))
