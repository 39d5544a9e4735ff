"""Log-determinants judged by exact arithmetic."""

import itertools
from collections.abc import Callable

import numpy as np
from flint import arb, ctx, fmpq

from benchmarks.lib.attack_matrices import FAMILIES
from benchmarks.lib.exact_arithmetic import exactly, rational
from skdmi.estimators.determinants import LogDeterminant, slogdet_of

SIZES = (2, 3, 4, 6, 1, 5, 8)
_BATCH = 64
_BITS = 300
"""Of the logarithms of determinants: enough for errors of 2^-200."""


def attack(
    n: int, *, seed: int = 0, families: tuple[str, ...] = tuple(FAMILIES), find: Callable = slogdet_of
) -> tuple[int, int]:
    """Ask for the determinants of n matrices of all families, sizes and dtypes, one after the other.

    Returns how many bounds are finite, and how many of those, or of their signs, are wrong; singular matrices have no
    right one.
    """
    import torch

    granted = violated = 0
    kinds = itertools.cycle(itertools.product(SIZES, (np.float64, np.float32), families))
    for number, first in enumerate(range(0, n, _BATCH)):
        m, dtype, family = next(kinds)
        A = stack_of(family, dtype, m, min(_BATCH, n - first), seed + number)
        found = LogDeterminant(*(np.asarray(field) for field in find(A)))
        for member, *fields in zip(torch.from_numpy(A), *found, strict=True):
            verdict = is_right(member, *map(float, fields))
            granted += verdict is not None
            violated += verdict is False
    return granted, violated


def stack_of(family: str, dtype: type, m: int, n: int, seed: int) -> np.ndarray:
    """Return a stack of a family in a dtype, within its range."""
    A = FAMILIES[family](np.random.default_rng(seed), n, m)
    limit = np.finfo(dtype).max
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(np.nan_to_num(A.astype(dtype), posinf=limit, neginf=-limit))


def is_right(A, sign: float, log_abs_det: float, bound: float) -> bool | None:
    """Return whether sign and bound hold, for one matrix, a tensor; None where nothing is claimed."""
    if not bound < np.inf:
        return None
    det = rational(A).det()
    with ctx.workprec(_BITS):
        return det * int(sign) > 0 and bool(distance(det, log_abs_det) <= arb(exactly(bound)))


def distance(det: fmpq, log_abs_det: float) -> arb:
    """Return how far a logarithm is from that of the absolute value of a determinant, to the precision in use."""
    return abs(arb(abs(det)).log() - arb(exactly(log_abs_det)))
