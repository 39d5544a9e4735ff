"""Coefficients of the steps to an inverse square root, learned from the eigenvalues of a family."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.linalg import matrix_norm

_HELD_OUT = 0.2
_TOLERANCE = 2.0**-27
_MAX_STEPS = 20


def learn_coefficients(stack: Tensor) -> np.ndarray:
    r"""Return a and b of the first steps, ``(n_steps, 2)``, fitted to the eigenvalues of members of a family.

    With the eigenvalues :math:`\mu` of all members over their Frobenius norms, a step is the least-squares fit

    .. math:: \min_{a, b} \sum_\mu \left((a - b \mu) \sqrt\mu - 1\right)^2, \qquad
       \mu \leftarrow (a - b \mu)^2 \mu

    where it keeps all :math:`\mu` positive, also half as far again as they reach, and nearer to 1 than the scaled step
    of :func:`skdmi.iteration.inverse_root` does; else that step for the smallest eigenvalue. They are worth it where a
    member needs fewer steps than that iteration would take: of members that were held out.

    Parameters
    ----------
    stack : Tensor of shape (n_matrices, m, m)
        Members, symmetric.

    Returns
    -------
    ndarray of shape (n_steps, 2)
        float64; without rows where nothing is gained.

    Examples
    --------
    >>> t = torch.rand(100, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    >>> family = torch.diag_embed(torch.cat([1 + t, 4 + t, 100 + 10 * t], dim=1))
    >>> len(learn_coefficients(family))
    5
    """
    A = stack.double().cpu()
    values = torch.linalg.eigvalsh((A + A.mT) / 2) / matrix_norm(A)[:, None]
    values = values[(values > 0).all(dim=1)].numpy()
    n_held_out = int(_HELD_OUT * len(values))
    if n_held_out == 0:
        return np.empty((0, 2))
    order = np.random.default_rng(0).permutation(len(values))
    held_out, kept = values[order[:n_held_out]], values[order[n_held_out:]]
    pairs: list[tuple[float, float]] = []
    mu = kept.ravel()
    while np.abs(1 - mu).max() > _TOLERANCE and len(pairs) < _MAX_STEPS:
        pair = _fitted(mu)
        pairs.append(pair)
        mu = _stepped(mu, *pair)
    coefficients = np.array(pairs).reshape(-1, 2)
    learned, scaled = (_count(held_out, pairs) for pairs in (coefficients, None))
    return coefficients if learned < scaled else np.empty((0, 2))


def _stepped(mu: np.ndarray, a: Any, b: Any) -> np.ndarray:
    return (a - b * mu) ** 2 * mu


def _fitted(mu: np.ndarray) -> tuple[float, float]:
    """Return the better of two steps: by least squares, or scaled for the smallest eigenvalue."""
    root = np.sqrt(mu)
    a, b = np.linalg.lstsq(np.stack([root, -mu * root], axis=1), np.ones_like(mu), rcond=None)[0]
    scaled = _scaled(mu.min() / mu.max(), mu.max())
    margins = mu.min() / 1.5, mu.max() * 1.5
    keeps = a - b * margins[1] > 0
    nearer = np.abs(1 - _stepped(mu, a, b)).max() < np.abs(1 - _stepped(mu, *scaled)).max()
    return (float(a), float(b)) if keeps and nearer else scaled


def _scaled(smallest: float, largest: float) -> tuple[float, float]:
    """Return the scaled step for eigenvalues in [smallest, 1] times the largest."""
    least = max(smallest, 3e-3) ** 0.5
    scale = (3 / (1 + least + least * least)) ** 0.5
    return 1.5 * scale / largest**0.5, 0.5 * scale**3 / largest**1.5


def _count(values: np.ndarray, coefficients: np.ndarray | None) -> float:
    """Return how many steps take all eigenvalues of members near 1, on average."""
    mu, count, going = values.copy(), np.zeros(len(values)), np.ones(len(values), bool)
    for k in range(40):
        going &= np.abs(1 - mu).max(axis=1) > _TOLERANCE
        if not going.any():
            break
        count += going
        if coefficients is not None and k < len(coefficients):
            mu = _stepped(mu, *coefficients[k])
        else:
            pairs = np.array([_scaled(max(low, 0.0), 1.0) for low in 1 - np.abs(1 - mu).max(axis=1)])
            mu = _stepped(mu, pairs[:, :1], pairs[:, 1:])
    return float(count.mean()) if not going.any() else np.inf
