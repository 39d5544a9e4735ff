"""Claims about inverses: held against another proof, all of them, and against exact arithmetic, a sample."""

from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmarks.lib.tight_judge import Claims, Truth

_ROOM = 2.0**-44
_UNIT = 2.0**-53
EXACT_COST = 6000.0
"""Of the members of a stack that exact arithmetic is spent on, together: the cubes of their sizes."""


@dataclass
class Verdict:
    """What became of the claims about stacks."""

    matrices: int = 0
    certified: int = 0
    confirmed: int = 0
    """Of the certified: those that another proof finds to be nonsingular."""
    bounded: int = 0
    """Of these: those whose bounds it confirms, too."""
    exact: int = 0
    """Members, certified or not, that were judged by exact arithmetic."""
    open: int = 0
    """Of the certified: those that neither confirmed."""
    false: int = 0
    """Certified, and singular; or a bound below what it bounds."""

    def __add__(self, other: "Verdict") -> "Verdict":
        return Verdict(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))


class Enclosure(NamedTuple):
    """Inverses ``center`` within ``radius``, entry by entry, of those that are proved to have one."""

    proved: np.ndarray
    center: np.ndarray
    radius: np.ndarray


def enclose(A: np.ndarray) -> Enclosure:
    """Prove what can be proved by LAPACK and one residual, in units that bring rows, then columns, near one.

    With B the scaled matrix, Y its inverse as computed, and ``E >= |I - B Y|`` with room for rounding: if the largest
    row sum of E is below a half, B is nonsingular, and ``|B^-1 - Y| <= W + (W e) s^T / (1 - |E|)``, ``W = |Y| E``, s
    the largest entries of the columns of E.
    """
    with np.errstate(all="ignore"):
        rows = _exponents(A, axis=2)
        B = np.ldexp(A, -rows)
        columns = _exponents(B, axis=1)
        B = np.ldexp(B, -columns)
        is_exact = (np.ldexp(np.ldexp(B, columns), rows) == A).all(axis=(1, 2))
        Y = torch.linalg.inv_ex(torch.from_numpy(B)).inverse.numpy()
        m = A.shape[-1]
        E = np.abs(np.eye(m) - B @ Y) * (1 + 4 * _UNIT)
        E += 2 * (m + 3) * _UNIT * (np.abs(B) @ np.abs(Y)) + 2.0**-1000
        size = E.sum(axis=2).max(axis=1) * (1 + _ROOM)
        W = (np.abs(Y) @ E) * (1 + _ROOM)
        spread = W.sum(axis=2, keepdims=True) * E.max(axis=1, keepdims=True) / (1 - size)[:, None, None]
        power = -(rows + columns).swapaxes(1, 2)
        center, radius = np.ldexp(Y, power), np.ldexp((W + spread) * (1 + _ROOM), power) + 2.0**-1073
        proved = is_exact & (size < 0.5) & np.isfinite(center).all(axis=(1, 2)) & np.isfinite(radius).all(axis=(1, 2))
    return Enclosure(proved, center, radius)


def _exponents(A: np.ndarray, axis: int) -> np.ndarray:
    exponents: np.ndarray = np.frexp(np.abs(A).max(axis=axis, keepdims=True))[1]
    return exponents


def bounds_hold(claims: Claims, known: Enclosure) -> tuple[np.ndarray, np.ndarray]:
    """Return of which members the bounds are confirmed, and of which they are refuted."""
    X, (_, center, radius) = claims.X.astype(np.float64), known
    with np.errstate(all="ignore"):
        apart = np.abs(X - center)
        farthest, nearest = apart + radius, np.maximum(apart - radius, 0)
        holds, fails = np.ones(len(X), bool), np.zeros(len(X), bool)
        if claims.entry_bound is not None:
            holds &= (farthest * (1 + _ROOM) <= claims.entry_bound).all(axis=(1, 2))
            fails |= (nearest > claims.entry_bound * (1 + _ROOM)).any(axis=(1, 2))
        if claims.error_bound is not None:
            power = -_exponents(np.abs(center).max(axis=2, keepdims=True), axis=1)
            size = np.abs(center)
            parts = (farthest, nearest, size + radius, np.maximum(size - radius, 0))
            far, near, large, small = (_norm(np.ldexp(part, power)) for part in parts)
            holds &= far * (1 + _ROOM) <= claims.error_bound * small
            fails |= near > claims.error_bound * large * (1 + _ROOM)
    return holds & known.proved, fails & known.proved


def _norm(A: np.ndarray) -> Any:
    return np.sqrt((A * A).sum(axis=(1, 2)))


def judged_sample(A: np.ndarray, *, first: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the indices of members for exact arithmetic, as many as it takes about ten milliseconds for."""
    most = max(2, int(EXACT_COST / A.shape[-1] ** 3))
    others = rng.permutation(np.setdiff1d(np.arange(len(A)), first))
    taken = first[:most]
    return np.unique(np.concatenate([taken, others[: max(1, most - len(taken))]]).astype(int))


def judge(A: np.ndarray, dtype: type[Any], claims: Claims, rng: np.random.Generator) -> tuple[Verdict, list[int]]:
    """Judge claims about matrices, given in float64, of a dtype; return the indices of what is false."""
    known = enclose(A)
    holds, fails = bounds_hold(claims, known)
    certified = claims.certified.astype(bool)
    refuted, unproved = certified & fails, certified & ~known.proved
    chosen = judged_sample(A, first=np.concatenate([np.flatnonzero(refuted), np.flatnonzero(unproved)]), rng=rng)
    _, wrong = Truth(A[chosen].astype(dtype)).judge(np.arange(len(chosen)), claims.take(chosen))
    false = sorted({int(chosen[k]) for k in wrong})
    looked_at = np.zeros(len(A), bool)
    looked_at[chosen] = True
    verdict = Verdict(
        matrices=len(A),
        certified=int(certified.sum()),
        confirmed=int((certified & known.proved).sum()),
        bounded=int((certified & holds).sum()),
        exact=len(chosen),
        open=int((unproved & ~looked_at).sum()),
        false=len(false) + int((refuted & ~looked_at).sum()),
    )
    return verdict, false
