"""Matrices whose rows and columns are in units of their own: float64 stacks, cast to what they stay in the range of."""

import numpy as np
import torch

from skdmi.linalg import equilibrate

MAX_CONDITION = 1e12


def dense(rng: np.random.Generator, n: int, m: int) -> np.ndarray:
    return rng.uniform(-1, 1, (n, m, m))


def sparse(rng: np.random.Generator, n: int, m: int) -> np.ndarray:
    """Half of the entries are zero, but not those along a cycle, so that few are singular."""
    A = dense(rng, n, m) * (rng.random((n, m, m)) < 0.5)
    rows = np.arange(m)
    A[:, rows, np.roll(rows, 1)] = rng.uniform(0.5, 1.5, (n, m)) * rng.choice([-1, 1], (n, m))
    return A


def positive_definite(rng: np.random.Generator, n: int, m: int) -> np.ndarray:
    G = rng.standard_normal((n, m, 2 * m))
    return G @ G.swapaxes(1, 2) / m


def last_row(rng: np.random.Generator, n: int, m: int, k: float) -> tuple[np.ndarray, np.ndarray]:
    units = np.ones((n, m))
    units[:, -1] = 10.0 ** -np.ceil(rng.uniform(0, k, n))
    return units, np.ones((n, m))


def rows_and_columns(rng: np.random.Generator, n: int, m: int, k: float) -> tuple[np.ndarray, np.ndarray]:
    first, second = (10.0 ** rng.uniform(-k / 2, k / 2, (n, m)) for _ in range(2))
    return first, second


def both_sides(rng: np.random.Generator, n: int, m: int, k: float) -> tuple[np.ndarray, np.ndarray]:
    units = 10.0 ** -rng.uniform(0, k, (n, m))
    return units, units


KINDS = {
    "dense, last row": (dense, last_row, 300, 30),
    "sparse, last row": (sparse, last_row, 300, 30),
    "dense, rows and columns": (dense, rows_and_columns, 300, 30),
    "sparse, rows and columns": (sparse, rows_and_columns, 300, 30),
    "positive definite": (positive_definite, both_sides, 14, 14),
}


def draw(kind: str, dtype: type, n: int, m: int, seed: int) -> np.ndarray:
    """Return matrices of which no entry left the range, and which are nonsingular beyond doubt once equilibrated."""
    entries, units, k64, k32 = KINDS[kind]
    rng = np.random.default_rng(seed)
    B = entries(rng, n, m)
    rows, columns = units(rng, n, m, k64 if dtype is np.float64 else k32)
    with np.errstate(all="ignore"):
        A = (rows[:, :, None] * B * columns[:, None, :]).astype(dtype)
    tiny = np.finfo(dtype).tiny
    in_range = np.isfinite(A).all(axis=(1, 2)) & (((np.abs(A) >= tiny) | (B == 0)).all(axis=(1, 2)))
    A = A[in_range]
    scaled, *_ = equilibrate(torch.from_numpy(A))
    limit = MAX_CONDITION if dtype is np.float64 else 0.02 / np.finfo(dtype).eps
    condition = np.linalg.cond(scaled.double().numpy())
    return A[(condition < limit) & np.isfinite(condition)]
