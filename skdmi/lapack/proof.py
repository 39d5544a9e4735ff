"""What is proved by Frobenius norms, and which members need no more than that."""

from collections.abc import Callable

import numpy as np
from numpy import ndarray

from skdmi.lapack.residuals import UNIT, Sizes
from skdmi.lapack.scaling import Scaled

_LOOSE, _SMALL = 2.0**-26, 48
"""An error bound above this is left to those who know better ones; beyond the size it may grow as h does."""
_FARTHEST, _WIDEST = 2.0**300, 2.0**200
"""Rows beyond this or its reciprocal, and scales that lie further apart, too."""


def loosest(m: int) -> float:
    """Return the largest error bound that is good enough."""
    return _LOOSE * max(1.0, m / _SMALL)


def _rounded_up(value: ndarray, n_terms: int) -> ndarray:
    """Return no less than the exact value of what was computed by at most ``8 n_terms + 60`` operations."""
    return value * (1 + (8 * n_terms + 64) * UNIT)


def prove(right: ndarray, sizes: Sizes, unit: float, m: int) -> tuple[ndarray, ndarray]:
    """Return rho and the error bound, see `invert`."""
    h = (m + 3) * UNIT
    norms, products = np.sqrt(right), m**0.5 + np.sqrt(sizes.A * sizes.X)
    rho = norms[:, 0] + (h + unit) * products[:, 0]
    return _rounded_up(rho, m * m), _rounded_up(norms[:, -1] + h * products[:, -1], m * m)


def is_moderate(
    A: ndarray,
    scaled: Scaled,
    X: ndarray,
    sizes: Sizes,
    spare_bits: int,
    is_balanced: Callable[[ndarray], ndarray],
    asked: ndarray,
) -> ndarray:
    """Return whether all is in range and no correction is wanted, by the limits of :mod:`skdmi.lanes.inverse`."""
    m = X.shape[-1]
    condition = np.sqrt(sizes.A[:, 0] * sizes.X[:, 0])
    moderate = asked & (condition <= 2.0 ** (16 + spare_bits / 2) * m)
    if scaled.is_graded and not _are_near(np.concatenate([scaled.p, scaled.q])):
        inside, wide = _look_at_scales(scaled, np.sqrt(sizes.X[:, 0]), spare_bits)
        moderate &= inside
        if (chosen := np.flatnonzero(moderate & wide)).size:
            p, q = (T[chosen] for T in (scaled.p, scaled.q))
            moderate[chosen] = ~_leans_on_small_entries(X[chosen], q, p, 2.0 ** (10 + spare_bits))
    delicate = moderate & (condition > min(2.0 ** (6 + spare_bits) * m, 2.0**30))
    if delicate.any():
        moderate[delicate] = is_balanced(A if delicate.all() else A[delicate])
    return moderate


def are_in_range(scaled: Scaled) -> ndarray:
    """Return whether scaling is exact enough, float64 members."""
    if not scaled.is_graded:
        return np.ones(len(scaled.A), bool)
    inside, _ = _look_at_scales(scaled, np.ones(len(scaled.A)), 0)
    return inside


def _are_near(scales: ndarray) -> bool:
    """Return whether scales are so near to 1 and each other that nobody need look at them one by one."""
    lowest, highest = scales.min(), scales.max()
    return bool(lowest >= 2.0**-20 and highest <= min(2.0**20, 2.0**10 * lowest))


def _look_at_scales(scaled: Scaled, norm: ndarray, spare_bits: int) -> tuple[ndarray, ndarray]:
    """Return whether scaling and rounding are exact enough, and whether scales are wide apart.

    In the range of float32 rounding costs no more than about ``sqrt(m) u``.
    """
    (p_lowest, p_highest), (q_lowest, q_highest) = ((T.min(axis=1), T.max(axis=1)) for T in (scaled.p, scaled.q))
    inside = (p_lowest >= 1 / _FARTHEST) & (p_highest <= _FARTHEST) & (p_highest <= p_lowest * _WIDEST)
    inside &= (q_lowest >= 1 / _WIDEST) & (q_highest <= _WIDEST)
    if spare_bits:
        inside &= (norm * p_highest * q_highest < 2.0**127) & (norm * p_lowest * q_lowest > 2.0**-100)
    wide = np.maximum(p_highest / p_lowest, q_highest / q_lowest) > 2.0 ** (10 + spare_bits)
    return inside, wide


def _leans_on_small_entries(X: ndarray, q: ndarray, p: ndarray, limit: float) -> ndarray:
    """Return where errors of small entries may count in a row or column in the units of the matrix."""
    X = np.abs(X)
    leans = np.zeros(len(X), bool)
    for axis, scale in ((1, q[:, :, None]), (2, p[:, None, :])):
        unit = np.where(X > 0, scale, 0).max(axis=axis)
        leans |= (X.max(axis=axis) * unit > (X * scale).max(axis=axis) * limit).any(axis=1)
    return leans


def rounded_bound(bound: ndarray, rounded: ndarray, X: ndarray) -> ndarray:
    """Return the error bound after rounding, see :func:`skdmi.linalg.certificate.rounded_error_bound`."""
    m, D = X.shape[-1], rounded - X
    longest = np.einsum("nij,nij->nj", X, X).max(axis=1)
    distance = _rounded_up(np.sqrt(np.einsum("nij,nij->n", D, D) / longest), m * m)
    return np.where(distance == 0, bound, _rounded_up(bound + (1 + bound) * distance, m))


def condition_interval(product: ndarray, bound: ndarray, rho: ndarray, m: int) -> tuple[ndarray, ndarray]:
    """Return the bounds on the condition number, see :func:`skdmi.linalg.certify`."""
    slack = _rounded_up(m * bound, m)
    lower = np.maximum(product / _rounded_up(1 + slack, m), 1)
    upper = np.where((slack < 1) & (rho < 1), _rounded_up(product, m) / (1 - slack), np.inf)
    return np.where(rho < 1, lower, np.nan), upper
