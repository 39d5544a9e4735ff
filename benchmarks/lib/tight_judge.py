"""Inverses, and bounds on their errors, judged by exact arithmetic: whole stacks at once where that suffices.

Exact inverses are kept as sums of two numbers, with which floating point decides almost every comparison, with room
for its own rounding; what it cannot decide, rational arithmetic does.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from flint import fmpq, fmpq_mat, fmpz, fmpz_mat

from benchmarks.lib.exact_arithmetic import exactly, one_norm, spectral_norm, square_norm

_NOTHING = 2**20
_ROOM = 2.0**-44


@dataclass
class Counts:
    """What became of attacks of one kind."""

    cases: int = 0
    singular: int = 0
    certified: int = 0
    exact: int = 0
    """Of the certified: the entries and norms that floating point could not decide."""
    false: int = 0
    entries: int = 0
    errors: int = 0
    conditions: int = 0
    robust: int = 0

    @property
    def violated(self) -> int:
        """Return how many claims are wrong, of whatever kind."""
        return self.false + self.entries + self.errors + self.conditions + self.robust

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))


class Claims(NamedTuple):
    """What is said of a stack of inverses; arrays of floats and of bool, None where nothing is said."""

    X: np.ndarray
    certified: np.ndarray
    error_bound: Any = None
    entry_bound: Any = None
    condition_lower: Any = None
    condition_upper: Any = None
    robust: Any = None
    is_spectral: bool = False
    """Whether the error bound is one in the spectral norm, too."""

    def take(self, index: np.ndarray) -> "Claims":
        """Return what is said of some members."""
        return self._replace(**{name: part[index] for name, part in self._asdict().items() if np.ndim(part) > 0})


class Exact(NamedTuple):
    """One matrix and its inverse without error: ``A = 2^rows N 2^columns``, ``A^-1 = 2^-columns P / d 2^-rows``."""

    N: fmpz_mat
    rows: list[int]
    columns: list[int]
    P: fmpz_mat | None
    """None where A is singular."""
    d: int

    @classmethod
    def of(cls, A: np.ndarray) -> "Exact":
        """Return that of one float64 matrix."""
        m = len(A)
        fraction, exponent = np.frexp(A)
        exponent = np.where(A == 0, _NOTHING, exponent - 53)
        rows = exponent.min(axis=1) * (A != 0).any(axis=1)
        columns = (exponent - rows[:, None]).min(axis=0) * (A != 0).any(axis=0)
        shift = np.where(A == 0, 0, exponent - rows[:, None] - columns)
        integers = np.ldexp(fraction, 53).astype(np.int64)
        N = fmpz_mat(m, m, [a << k for a, k in zip(integers.ravel().tolist(), shift.ravel().tolist(), strict=True)])
        if N.det() == 0:
            return cls(N, rows.tolist(), columns.tolist(), None, 1)
        inverse: Any = N.inv()
        P, d = inverse.numer_denom()
        return cls(N, rows.tolist(), columns.tolist(), P, int(d))

    def parts(self) -> tuple[list[float], list[float]]:
        """Return the inverse as the sum of two float64 matrices, flattened, the first correctly rounded."""
        assert self.P is not None
        entries = iter(self.P.entries())
        pairs = [
            _two_parts(int(next(entries)), self.d, -self.columns[i] - self.rows[j])
            for i in range(len(self.columns))
            for j in range(len(self.rows))
        ]
        high, low = zip(*pairs, strict=True)
        return list(high), list(low)

    def inverse(self) -> fmpq_mat:
        """Return the inverse of a nonsingular A."""
        assert self.P is not None
        entries = iter(self.P.entries())
        m = len(self.rows)
        return fmpq_mat(m, m, [_scaled(fmpq(next(entries), self.d), -c - r) for c in self.columns for r in self.rows])

    def matrix(self) -> fmpq_mat:
        """Return A."""
        entries = iter(self.N.entries())
        m = len(self.rows)
        return fmpq_mat(m, m, [_scaled(fmpq(next(entries)), r + c) for r in self.rows for c in self.columns])

    def null_vector(self) -> np.ndarray:
        """Return a vector that a singular A maps to zero: exactly where it has few bits, else nearly."""
        basis, rank = self.N.nullspace()
        m = len(self.rows)
        if rank == 0:
            return np.zeros(m)
        vector = [int(basis[i, 0]) for i in range(m)]
        divisor = int(np.gcd.reduce(np.array(vector, dtype=object)))
        least = min(self.columns)
        scaled = [fmpq(v // divisor) * fmpq(2) ** (least - c) for v, c in zip(vector, self.columns, strict=True)]
        return np.array([_nearest(int(value.p), int(value.q)) for value in scaled])


def _two_parts(p: int, d: int, power: int) -> tuple[float, float]:
    p, d = (p << power, d) if power >= 0 else (p, d << -power)
    high = _nearest(p, d)
    if not np.isfinite(high):
        return high, 0.0
    a, b = high.as_integer_ratio()
    rest = p * b - a * d
    return high, _nearest(rest, d * b) if rest else 0.0


def _nearest(p: int, q: int) -> float:
    """Return p / q, correctly rounded; infinite beyond the range."""
    try:
        return p / q
    except OverflowError:
        return float("inf") if (p > 0) == (q > 0) else -float("inf")


def _scaled(value: fmpq, power: int) -> fmpq:
    return value * (fmpz(1) << power) if power >= 0 else value / (fmpz(1) << -power)


class Truth:
    """A stack of float32 or float64 matrices and all that is to be known of them.

    Attributes
    ----------
    singular : ndarray of bool, shape (n_matrices,)
    high, low : ndarrays of shape (n_matrices, m, m)
        The inverses as sums, ``low`` about ``2^-53 |high|``, the sum off by ``2^-105 |high|``; zeros where singular.
    """

    def __init__(self, A: np.ndarray) -> None:
        self.A = A
        self.A64 = A.astype(np.float64)
        self.exact = [Exact.of(member) for member in self.A64]
        self.singular = np.array([member.P is None for member in self.exact])
        self.high, self.low = np.zeros((2, *A.shape))
        for k in np.flatnonzero(~self.singular):
            high, low = self.exact[k].parts()
            self.high[k].flat, self.low[k].flat = high, low

    @cached_property
    def null_vectors(self) -> np.ndarray:
        """Return a vector in the null space of every singular matrix; zeros for others."""
        vectors = [member.null_vector() if member.P is None else np.zeros(self.A.shape[-1]) for member in self.exact]
        return np.array(vectors)

    def judge(self, index: np.ndarray, claims: Claims) -> tuple[Counts, list[int]]:
        """Judge claims about some members, a member more than once if need be; return the places of what is wrong."""
        claims = claims._replace(X=claims.X.astype(np.float64))
        counts = Counts(len(index), int(self.singular[index].sum()), int(claims.certified.sum()))
        counts.false = int((claims.certified & self.singular[index]).sum())
        wrong = set(np.flatnonzero(claims.certified & self.singular[index]).tolist())
        kept = np.flatnonzero(claims.certified & ~self.singular[index])
        with np.errstate(all="ignore"):
            found = self._suspects(index[kept], claims.take(kept))
        for name, suspects in found.items():
            for k in suspects:
                counts.exact += 1
                if not self._holds(name, index[kept[k]], claims.take(kept[[k]])):
                    setattr(counts, name, getattr(counts, name) + 1)
                    wrong.add(int(kept[k]))
        return counts, sorted(wrong)

    def _suspects(self, index: np.ndarray, claims: Claims) -> dict[str, Sequence[int]]:
        """Return, kind by kind, the claims that floating point cannot confirm."""
        high, low = self.high[index], self.low[index]
        distance = distance_at_most(claims.X, high, low)
        found: dict[str, Sequence[int]] = {}
        if claims.entry_bound is not None:
            found["entries"] = _unconfirmed((distance <= claims.entry_bound).all(axis=(1, 2)))
        if claims.error_bound is not None:
            near, exponent = _near_one(np.abs(high))
            far = np.ldexp(distance, -exponent) + 2.0**-1000
            error, size = _norm(far) * (1 + _ROOM), _norm(near) * (1 - _ROOM)
            size = size / np.sqrt(high.shape[-1]) if claims.is_spectral else size
            found["errors"] = _unconfirmed((error <= claims.error_bound * size) | np.isinf(claims.error_bound))
        if claims.condition_upper is not None and claims.condition_lower is not None:
            condition, room = _condition(self.A64[index], high), (4 * high.shape[-1] + 16) * 2.0**-53
            holds = condition * (1 + room) <= claims.condition_upper
            found["conditions"] = _unconfirmed(holds & (claims.condition_lower <= condition * (1 - room)))
        if claims.robust is not None:
            reach = _unit(self.A) * (np.abs(high.swapaxes(1, 2)) * np.abs(self.A64[index])).sum(axis=(1, 2))
            found["robust"] = np.flatnonzero(claims.robust & ~(reach < 0.9)).tolist()
        return found

    def _holds(self, kind: str, k: int, claims: Claims) -> bool:
        """Return whether one claim holds, by rational arithmetic but for spectral norms."""
        if kind == "robust":
            return self._survives_rounding(k)
        inverse = self.exact[k].inverse()
        if kind == "conditions":
            condition = one_norm(self.exact[k].matrix()) * one_norm(inverse)
            lower, upper = (float(bound[0]) for bound in (claims.condition_lower, claims.condition_upper))
            return lower < np.inf and exactly(lower) <= condition and (upper == np.inf or condition <= exactly(upper))
        bounds = [] if claims.entry_bound is None else claims.entry_bound[0].ravel().tolist()
        known = np.isfinite(claims.X[0])
        if kind == "errors" and not known.all():
            return bool(claims.error_bound[0] == np.inf)
        difference = _rational(np.where(known, claims.X[0], 0)) - inverse
        if kind == "entries":
            unknown_is_infinite = (np.ravel(bounds) == np.inf)[~known.ravel()].all()
            pairs = zip(difference.entries(), bounds, strict=True)
            return bool(unknown_is_infinite) and all(b == np.inf or abs(d) <= exactly(b) for d, b in pairs)
        bound = float(claims.error_bound[0])
        if not bound < np.inf:
            return bound == np.inf
        holds = bool(square_norm(difference) <= exactly(bound) ** 2 * square_norm(inverse))
        if holds and claims.is_spectral and any(difference.entries()):
            scale = max(map(abs, inverse.entries()))
            larger = max(scale, *map(abs, difference.entries()))
            spectral = spectral_norm(difference, larger) / spectral_norm(inverse, scale)
            holds = spectral * _ratio(larger, scale) <= bound * (1 + 1e-13)
        return holds

    def _survives_rounding(self, k: int) -> bool:
        """Return whether A stays nonsingular on the way to the worst of all matrices within a unit roundoff of it."""
        A, inverse = self.exact[k].matrix(), self.exact[k].inverse()
        m, unit = A.nrows(), exactly(_unit(self.A))
        moves = [-unit * abs(a) * _sign(inverse[i % m, i // m]) for i, a in enumerate(A.entries())]
        return bool((A + fmpq_mat(m, m, moves)).det() * A.det() > 0)


def distance_at_most(X: np.ndarray, high: np.ndarray, low: np.ndarray) -> np.ndarray:
    """Return at least ``|X - high - low|`` and hardly more; what low leaves of the truth included."""
    s = X - high
    t = s - X
    error = (X - (s - t)) - (high + t)
    rest = np.abs(s + (error - low))
    return rest * (1 + 2.0**-48) + (low != 0) * (np.abs(high) * 2.0**-104) + 2.0**-1060


def relative_errors(X: np.ndarray, high: np.ndarray, low: np.ndarray) -> np.ndarray:
    """Return ``||X - high - low||_F / ||high||_F``, hardly rounded, whatever the scale; infinite where X is."""
    with np.errstate(all="ignore"):
        near, exponent = _near_one(np.abs(high))
        distance = np.ldexp(np.abs((X - high) - low), -exponent)
        return np.where(np.isfinite(X).all(axis=(1, 2)), _norm(distance) / _norm(near), np.inf)


def _unit(A: np.ndarray) -> float:
    return float(np.finfo(A.dtype).eps) / 2


def _unconfirmed(holds: Any) -> list[int]:
    found: list[int] = np.flatnonzero(~holds).tolist()
    return found


def _near_one(A: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    exponent = np.frexp(A.max(axis=(1, 2), keepdims=True))[1]
    return np.ldexp(A, -exponent), exponent


def _norm(A: np.ndarray) -> np.ndarray:
    return np.sqrt((A * A).sum(axis=(1, 2)))


def _condition(A: np.ndarray, high: np.ndarray) -> np.ndarray:
    (A, e), (Y, f) = _near_one(np.abs(A)), _near_one(np.abs(high))
    return np.ldexp(A.sum(axis=1).max(axis=1) * Y.sum(axis=1).max(axis=1), (e + f).ravel())


def _rational(A: np.ndarray) -> fmpq_mat:
    m = len(A)
    return fmpq_mat(m, m, [exactly(value) for value in A.ravel().tolist()])


def _ratio(a: fmpq, b: fmpq) -> float:
    value = a / b
    return _nearest(int(value.p), int(value.q))


def _sign(value: fmpq) -> int:
    return (value > 0) - (value < 0)


def total(counts: Iterable[Counts]) -> Counts:
    """Return the sum of counts."""
    return sum(counts, start=Counts())
