"""What is measured of inverses: pure functions and two records."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.linalg import matrix_norm

from skdmi.distributions import Distribution
from skdmi.iteration import refine
from skdmi.linalg import residual
from skdmi.metrics import with_missing_as_zero

TOLERANCES = (0.05, 0.02, 0.01, 0.005)
GOAL = 1e-12
N_REFINED = 1000
_CHUNK_ENTRIES = 2**22


@dataclass(frozen=True)
class Figures:
    """What a method reaches on a stack: residual norms in float64, shares between 0 and 1."""

    mean: float
    median: float
    p99: float
    p999: float
    max: float
    left_mean: float
    left_max: float
    half_norm: float
    within: tuple[float, ...]
    further_products: float

    @classmethod
    def average(cls, figures: Sequence["Figures"]) -> "Figures":
        """Average over training seeds; a maximum is that of all."""
        averaged = {}
        for name in (field.name for field in fields(cls)):
            values = np.array([getattr(f, name) for f in figures])
            averaged[name] = values.max(axis=0).item() if name in ("max", "left_max") else values.mean(axis=0)
        return cls(**{name: tuple(v.tolist()) if np.ndim(v) else float(v) for name, v in averaged.items()})


@dataclass(frozen=True)
class Errors:
    """Errors of every inverse of a stack, arrays of shape (n_matrices,): a missing inverse counts as zero."""

    right: np.ndarray
    left: np.ndarray
    half_norm: np.ndarray
    """Whether the spectral norm of the right residual is below 1/2."""
    deviation: np.ndarray
    """``sum |A X - I| / m``."""


@torch.no_grad()
def measure_errors(A: Tensor, X: Tensor) -> Errors:
    """Measure inverses in float64, part by part."""
    n = max(1, _CHUNK_ENTRIES // A.shape[-1] ** 2)
    parts = [_errors(*pair) for pair in zip(A.split(n), X.split(n), strict=True)]
    return Errors(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Errors)))


def _errors(A: Tensor, X: Tensor) -> Errors:
    A, X, m = A.double(), torch.nan_to_num(X.double()), A.shape[-1]
    R = residual(A, X)
    right = matrix_norm(R)
    half_norm = right < 0.5
    undecided = ~half_norm & (right < 0.5 * math.sqrt(m))
    half_norm[undecided] = torch.linalg.matrix_norm(R[undecided], ord=2) < 0.5
    left = with_missing_as_zero(matrix_norm(residual(A, X, left=True)).numpy(), m)
    deviation = R.abs().sum(dim=(-2, -1)) / m
    return Errors(with_missing_as_zero(right.numpy(), m), left, half_norm.numpy(), deviation.numpy())


def measure(A: Tensor, X: Tensor) -> Figures:
    """Measure the inverses X of a stack A."""
    errors = measure_errors(A, X)
    p99, p999 = np.quantile(errors.right, (0.99, 0.999))
    return Figures(
        mean=errors.right.mean().item(),
        median=np.median(errors.right).item(),
        p99=p99.item(),
        p999=p999.item(),
        max=errors.right.max().item(),
        left_mean=errors.left.mean().item(),
        left_max=errors.left.max().item(),
        half_norm=errors.half_norm.mean().item(),
        within=tuple((errors.deviation < tolerance).mean().item() for tolerance in TOLERANCES),
        further_products=further_products(A[:N_REFINED], X[:N_REFINED]),
    )


def further_products(A: Tensor, X: Tensor) -> float:
    """Return the median number of products in float64 until both residuals are below 1e-12, their own included."""
    return refine(A.double(), X.double(), tol=GOAL).n_products.double().median().item()


def model_figures(
    inverter: Any, sizes: Sequence[int], distribution: Distribution, n_matrices: int = 10_000, random_state: int = 1
) -> dict[str, dict[str, Any]]:
    """Return what a fitted inverter reaches on fresh float32 matrices of each size, as JSON can hold it."""
    found = {}
    for m in sizes:
        A = draw(distribution, n_matrices, m, random_state)
        with torch.no_grad():
            figures = measure(A, inverter.invert(A))
        found[str(m)] = {
            "n_matrices": n_matrices,
            "products": inverter.module_.n_products(m),
            "mean": figures.mean,
            "median": figures.median,
            "p99": figures.p99,
            "half_norm_share": figures.half_norm,
            "within_tolerance_shares": dict(zip(map(str, TOLERANCES), figures.within, strict=True)),
        }
    return found


def draw(distribution: Distribution, n_matrices: int, m: int, random_state: int) -> Tensor:
    return torch.from_numpy(distribution.sample(n_matrices, m, random_state=random_state).astype(np.float32))


def wilson_interval(share: float, n: int, z: float = 1.96) -> tuple[float, float]:
    """Return the 95 % interval of a binomial share (Wilson 1927).

    >>> [round(end, 4) for end in wilson_interval(0.0, 1000)]
    [0.0, 0.0038]
    """
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return max(0.0, centre - half), min(1.0, centre + half)
