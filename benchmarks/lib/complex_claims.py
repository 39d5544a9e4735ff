"""Attacks on what estimators and certificates say of complex matrices, judged in rational arithmetic."""

import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from flint import fmpq, fmpq_mat

import skdmi
from benchmarks.lib.complex_attack import MATRICES
from benchmarks.lib.exact_arithmetic import exactly
from benchmarks.lib.pinv_attack import Verdict
from skdmi import ExactInverter, RefinedInverter

_SIZES = (1, 2, 3)
_N_AT_A_TIME = 40
_SLACK = 1 + 1e-9
"""Of the float64 in which rationals are compared at last."""


class Claim(NamedTuple):
    """What is said of one matrix and its inverse."""

    A: np.ndarray
    X: np.ndarray
    error_bound: float
    entry_bound: np.ndarray | None = None
    condition: tuple[float, float] | None = None


def reported(inverter: RefinedInverter) -> Callable[[np.ndarray, Any], Iterator[Claim]]:
    """Return what yields the claims of a report."""

    def claims(A: np.ndarray, rng: np.random.Generator) -> Iterator[Claim]:
        report = inverter.report(A)
        for k in np.flatnonzero(report.certified):
            bound = None if report.entry_bound is None else report.entry_bound[k]
            yield Claim(A[k], report.inverse[k], report.error_bound[k], bound)

    return claims


def certified(tight: bool) -> Callable[[np.ndarray, Any], Iterator[Claim]]:
    """Return what yields the claims of ``skdmi.certify``, of inverses of numpy that were moved a little, or far."""

    def claims(A: np.ndarray, rng: np.random.Generator) -> Iterator[Claim]:
        X = skdmi.inv(A, uncertified="keep").astype(np.complex128)
        X *= 1 + rng.standard_normal(X.shape) * 10.0 ** -rng.integers(0, 18, (len(X), 1, 1))
        report = skdmi.certify(A, X, tight=tight)
        for k in np.flatnonzero(report.certified):
            bound = None if report.entry_bound is None else np.asarray(report.entry_bound)[k]
            interval = report.condition_lower[k], report.condition_upper[k]
            yield Claim(A[k], X[k], report.error_bound[k], bound, interval)

    return claims


DOORS = {
    "report": reported(RefinedInverter()),
    "report, tight": reported(RefinedInverter(tight=True)),
    "report of refined answers of LAPACK": reported(RefinedInverter(ExactInverter())),
    "report, as it is": reported(RefinedInverter(max_steps=0, uncertified="keep")),
    "certify": certified(tight=False),
    "certify, tight": certified(tight=True),
}


def attack(n_claims: int, seed: int = 0) -> Verdict:
    """Return how many claims of how many matrices are false."""
    rng, verdict = np.random.default_rng(seed), Verdict(0, 0, 0)
    doors = list(DOORS.values())
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        while verdict.n_claims < n_claims:
            A = MATRICES[rng.integers(len(MATRICES))](rng, _N_AT_A_TIME, _SIZES[rng.integers(len(_SIZES))])
            A = np.ascontiguousarray(A.astype([np.complex128, np.complex64][int(rng.random() < 0.3)]))
            A = A[np.isfinite(A).all(axis=(1, 2))]
            if not len(A):
                continue
            claims = list(doors[rng.integers(len(doors))](A, rng))
            verdict += Verdict(len(A), len(claims), sum(not holds(claim) for claim in claims))
    return verdict


def holds(claim: Claim) -> bool:
    """Return whether a matrix is regular, and all that is said of it true."""
    A = _Exact.of(claim.A)
    whole = A.embedding
    if whole.det() == 0:
        return False
    inverse = _Exact.of_embedding(whole.inv())
    difference = [x - y for x, y in zip(_Exact.of(claim.X).parts, inverse.parts, strict=True)]
    size, error = _square_norm(inverse.parts), _square_norm(difference)
    if np.isfinite(claim.error_bound) and error > exactly(float(claim.error_bound) * _SLACK) ** 2 * size:
        return False
    if claim.entry_bound is not None and not _are_bounded(difference, claim.entry_bound):
        return False
    if claim.condition is None:
        return True
    lower, upper = claim.condition
    return bool(lower <= A.condition(inverse) * _SLACK and A.condition(inverse) <= upper * _SLACK)


class _Exact(NamedTuple):
    """A complex matrix as two rational ones."""

    parts: tuple[fmpq_mat, fmpq_mat]

    @classmethod
    def of(cls, A: np.ndarray) -> "_Exact":
        wide = A.astype(np.complex128)
        return cls(
            tuple(fmpq_mat(*A.shape, [exactly(float(a)) for a in part.flat]) for part in (wide.real, wide.imag))  # type: ignore[arg-type]
        )

    @classmethod
    def of_embedding(cls, whole: fmpq_mat) -> "_Exact":
        m = whole.nrows() // 2
        real, imaginary = ([whole[first + i, j] for i in range(m) for j in range(m)] for first in (0, m))
        return cls((fmpq_mat(m, m, real), fmpq_mat(m, m, imaginary)))

    @property
    def embedding(self) -> fmpq_mat:
        B, C = self.parts
        m = B.nrows()
        rows = [[*(B[i, j] for j in range(m)), *(-C[i, j] for j in range(m))] for i in range(m)]
        rows += [[*(C[i, j] for j in range(m)), *(B[i, j] for j in range(m))] for i in range(m)]
        return fmpq_mat(2 * m, 2 * m, [entry for row in rows for entry in row])

    def condition(self, inverse: "_Exact") -> float:
        """Return the product of the maximum column sums of moduli, scaled so that floats hold them."""
        return _column_sum(self) * _column_sum(inverse, 1 / _unit(self)) * 1.0 if _unit(self) else np.inf


def _unit(A: _Exact) -> fmpq:
    return max(abs(x) for part in A.parts for x in part.entries())


def _column_sum(A: _Exact, unit: fmpq | None = None) -> float:
    unit = _unit(A) if unit is None else unit
    parts = [np.array([float(int((x / unit).p) / int((x / unit).q)) for x in part.entries()]) for part in A.parts]
    m = A.parts[0].nrows()
    return float(np.hypot(*parts).reshape(m, m).sum(axis=0).max())


def _square_norm(parts: Any) -> fmpq:
    return sum((x * x for part in parts for x in part.entries()), fmpq(0))


def _are_bounded(difference: Any, bound: np.ndarray) -> bool:
    squares = (x * x + y * y for x, y in zip(*(part.entries() for part in difference), strict=True))
    return all(
        not np.isfinite(b) or square <= exactly(float(b)) ** 2 for square, b in zip(squares, bound.flat, strict=True)
    )
