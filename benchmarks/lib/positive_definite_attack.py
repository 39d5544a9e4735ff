"""Attacks on proofs of positive definiteness, judged by exact rational arithmetic."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from flint import fmpq, fmpq_mat
from torch import Tensor

from benchmarks.lib.arithmetic_settings import SETTINGS
from benchmarks.lib.exact_arithmetic import exactly, rational
from skdmi.estimators.reference import check_tensors
from skdmi.linalg import PositiveDefinite

SIZES = (2, 3, 4, 1, 3, 5, 2, 6)
DTYPES = (torch.float64, torch.float32)
BATCH = 100

Rng = np.random.Generator


class Counts(NamedTuple):
    """How many matrices were proved positive definite, and how many of the proofs or bounds are false."""

    proved: int
    false: int


def attack(n: int, seed: int = 0) -> Counts:
    """Try to win false proofs or bounds with n symmetric matrices of all families, in turn, under every setting."""
    rng = np.random.default_rng(seed)
    proved = false = 0
    families, settings = list(FAMILIES.values()), list(SETTINGS.values())
    for batch in range(-(-n // BATCH)):
        m, dtype = SIZES[batch % len(SIZES)], DTYPES[rng.integers(2)]
        A = torch.from_numpy(families[batch % len(families)](rng, min(BATCH, n - batch * BATCH), m)).to(dtype)
        with settings[rng.integers(len(settings))]():
            X = _inverses(A, rng)
            checked = check_tensors(A, X, tight=bool(rng.integers(2)), structure="spd")
        found = PositiveDefinite(checked.positive_definite, checked.smallest_eigenvalue)
        proved += int(found.proved.sum())
        false += count_false(A, found)
    return Counts(proved, false)


def count_false(A: Tensor, found: PositiveDefinite) -> int:
    """Return how many matrices are said to be positive definite, or to have eigenvalues so large, and are not."""
    chosen = found.proved.nonzero().flatten().tolist()
    return sum(not _holds(rational(A[k]), found.smallest_eigenvalue[k].item()) for k in chosen)


def _holds(A: fmpq_mat, bound: float) -> bool:
    if not (bound >= 0 and is_definite(A)):
        return False
    shift = fmpq_mat(A.nrows(), A.nrows(), [exactly(bound) * (i % (A.nrows() + 1) == 0) for i in range(A.nrows() ** 2)])
    return is_definite(A - shift, strictly=False)


def is_definite(A: fmpq_mat, *, strictly: bool = True) -> bool:
    """Return whether a matrix is symmetric and positive definite, or else semidefinite, by exact elimination."""
    rows, zero = A.tolist(), fmpq(0)
    if any(rows[i][j] != rows[j][i] for i in range(len(rows)) for j in range(i)):
        return False
    while rows:
        (pivot, *first), rest = rows[0], rows[1:]
        if pivot < 0 or (pivot == 0 and (strictly or any(entry != 0 for entry in first))):
            return False
        factors = [entry / pivot if pivot != 0 else zero for entry in first]
        rows = [
            [entry - factor * other for entry, other in zip(row[1:], first, strict=True)]
            for row, factor in zip(rest, factors, strict=True)
        ]
    return True


def _inverses(A: Tensor, rng: Rng) -> Tensor:
    """Return inverses, most of them by LAPACK, some off by a little, some in one direction alone, some nonsense."""
    X = torch.linalg.inv_ex(A.double()).inverse
    off = rng.choice([0.0, 1e-15, 1e-9, 0.1], (len(X), 1, 1), p=[0.7, 0.1, 0.1, 0.1])
    X = X * torch.from_numpy(1 + off * rng.standard_normal(X.shape))
    direction = torch.from_numpy(rng.choice([-0.3, 0.0, 0.3], (len(X), X.shape[-1], 1))) * (rng.random() < 0.3)
    X = X - direction @ (direction.mT @ X)
    return torch.where(torch.from_numpy(rng.random((len(X), 1, 1)) < 0.05), A.double(), X)


def _gram(G: np.ndarray) -> np.ndarray:
    product: np.ndarray = G @ G.transpose(0, 2, 1)
    return product


def _symmetric(A: np.ndarray) -> np.ndarray:
    return np.tril(A) + np.tril(A, -1).transpose(0, 2, 1)


def _in_units(A: np.ndarray, rng: Rng, largest: int) -> np.ndarray:
    """Return ``D A D`` with powers of two D."""
    e = rng.integers(-largest, largest + 1, A.shape[:2])
    with np.errstate(over="ignore", under="ignore"):
        return np.ldexp(A, e[:, :, None] + e[:, None, :])


def _at_places(rng: Rng, n: int, m: int) -> tuple[np.ndarray, ...]:
    """Return where one place on each diagonal is."""
    k = rng.integers(m, size=n)
    return np.arange(n), k, k


def integers(rng: Rng, n: int, m: int) -> np.ndarray:
    """Symmetric integers, most of them indefinite, with diagonals that are not negative."""
    return _symmetric(rng.integers(-3, 4, (n, m, m)) + rng.integers(0, 7) * np.eye(m, dtype=int)).astype(float)


def semidefinite(rng: Rng, n: int, m: int) -> np.ndarray:
    """Gram matrices of integers, singular."""
    G = rng.integers(-4, 5, (n, m, m))
    G[:, -1] = G[:, 0] if m > 1 else 0
    return _gram(G[:, rng.permutation(m)]).astype(float)


def scaled_semidefinite(rng: Rng, n: int, m: int) -> np.ndarray:
    """The same in units over much of the range."""
    return _in_units(semidefinite(rng, n, m), rng, int(rng.choice([5, 60, 500])))


def moved_by_a_digit(rng: Rng, n: int, m: int) -> np.ndarray:
    """The same, one entry of the diagonal moved by its last digits in one of the dtypes, up or down."""
    A, k = scaled_semidefinite(rng, n, m), _at_places(rng, n, m)
    u = rng.choice([2.0**-23, 2.0**-52])
    A[k] *= 1 + u * rng.integers(-4, 5, n)
    return A


def gram(rng: Rng, n: int, m: int) -> np.ndarray:
    """Gram matrices of integers in any units: positive definite unless singular."""
    return _in_units(_gram(rng.integers(-4, 5, (n, m, m))).astype(float), rng, int(rng.choice([0, 20, 300])))


def shifted(rng: Rng, n: int, m: int) -> np.ndarray:
    """Floats less their smallest eigenvalue, as it is computed, give or take rounding."""
    A = _symmetric(_gram(rng.standard_normal((n, m, m))))
    smallest = np.linalg.eigvalsh(A)[:, 0] + rng.integers(-20, 21, n) * 2.0**-53 * rng.choice([1, m, 30])
    return A - smallest[:, None, None] * np.eye(m)


def ill_conditioned(rng: Rng, n: int, m: int) -> np.ndarray:
    """Hilbert's and Gram matrices of Kahan's, a last digit changed here and there."""
    i = np.arange(m)
    hilbert = 1 / (i[:, None] + i + 1)
    theta = rng.uniform(0.1, 1.2)
    kahan = np.sin(theta) ** i[:, None] * (np.eye(m) - np.cos(theta) * np.triu(np.ones((m, m)), 1))
    A = np.where(rng.random((n, 1, 1)) < 0.5, hilbert, kahan.T @ kahan)
    return _in_units(_symmetric(A * (1 + 2.0**-52 * rng.integers(-2, 3, (n, m, m)))), rng, 30)


def flat(rng: Rng, n: int, m: int) -> np.ndarray:
    """Nearly the identity, or with one eigenvalue that is smaller than the others."""
    A = np.eye(m) + 2.0**-30 * _symmetric(rng.integers(-3, 4, (n, m, m)))
    A[_at_places(rng, n, m)] *= rng.choice([1.0, 0.75])
    return A


def ends_of_the_range(rng: Rng, n: int, m: int) -> np.ndarray:
    """Gram matrices of floats, subnormal or huge; some of them are diagonal, a few of those negative or zero."""
    A = _symmetric(_gram(rng.uniform(-1, 1, (n, m, m))))
    A = np.where(rng.random((n, 1, 1)) < 0.3, A * np.eye(m), A)
    k = _at_places(rng, n, m)
    A[k] *= rng.choice([1, 1, 1, 0, -1], n)
    e = rng.choice([-1074, -1040, -160, -130, 120, 1000, 1021], n) + rng.integers(-3, 4, n)
    with np.errstate(over="ignore", under="ignore"):
        return np.ldexp(A, e[:, None, None])


def not_symmetric(rng: Rng, n: int, m: int) -> np.ndarray:
    """Positive definite but for the last digit of one entry, if there are two."""
    A = _symmetric(_gram(rng.standard_normal((n, m, m)))) * rng.choice([1.0, 2.0**-1060])
    A[:, m - 1, 0] = np.nextafter(A[:, m - 1, 0], np.inf)
    return A


FAMILIES: dict[str, Callable[[Rng, int, int], np.ndarray]] = {
    family.__name__: family
    for family in (
        integers,
        semidefinite,
        scaled_semidefinite,
        moved_by_a_digit,
        gram,
        shifted,
        ill_conditioned,
        flat,
        ends_of_the_range,
        not_symmetric,
    )
}
