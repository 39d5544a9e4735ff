"""Whole calls that invert a numpy stack, as a user would write them: those of skdmi, and its peers."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
import scipy.linalg
import torch

import skdmi
from benchmarks.lib.peers import cholesky_inverse
from benchmarks.lib.routes import by_route
from skdmi import ExactInverter, NeuralMatrixInverter, RefinedInverter, load_pretrained

NUMPY, TORCH, SCIPY, CHOLESKY = "numpy.linalg.inv", "torch.linalg.inv", "scipy.linalg.inv", "Cholesky, torch"
INV, NETWORK = "skdmi.inv", "network, raw"
WITHOUT_NUMBA = f"{INV} without numba"
NETWORKS = {3: "uniform-3x3-short", 16: "uniform-16x16-short"}
DEPTH = 4
"""Of the untrained networks of other sizes."""
SINGULAR_SHARE = 0.001
SPOILT = f"{INV}, {100 * SINGULAR_SHARE:g} % singular"
CRLIN_MATRICES = 100

Inverse = Callable[[np.ndarray], Any]


@dataclass(frozen=True)
class Timed:
    """A call to be timed, and of how many matrices of a stack."""

    call: Inverse
    at_most: int | None = None

    def count(self, n_matrices: int) -> int:
        return n_matrices if self.at_most is None else min(n_matrices, self.at_most)

    def __call__(self, A: np.ndarray) -> Any:
        return self.call(A[: self.count(len(A))])


def direct_calls(A: np.ndarray) -> dict[str, Timed]:
    """Return the calls of skdmi that know no network; ``A`` is the stack that gets singular members."""
    spoilt = with_singular_members(A)
    return {
        INV: Timed(skdmi.inv),
        SPOILT: Timed(lambda _: _quietly(skdmi.inv, spoilt)),
        WITHOUT_NUMBA: Timed(by_route("lapack", skdmi.inv)),
        "RefinedInverter().report": Timed(RefinedInverter().report),
        "ExactInverter().transform": Timed(ExactInverter().transform),
    }


def network_call(m: int, *, symmetric: bool) -> dict[str, Timed]:
    """Return what a network answers, as it is, with nothing proved of it: a shipped one, or an untrained one."""
    return {NETWORK: Timed(_network(m, symmetric).transform)}


def network_name(m: int, *, symmetric: bool) -> str:
    start = "identity" if symmetric else "transpose"
    shipped = None if symmetric else NETWORKS.get(m)
    return shipped or f"untrained ({DEPTH} steps from the start {start!r})"


@cache
def _network(m: int, symmetric: bool) -> Any:
    if m in NETWORKS and not symmetric:
        return load_pretrained(NETWORKS[m])
    start = "identity" if symmetric else "transpose"
    return NeuralMatrixInverter(DEPTH, start=start, matrix_size=m, max_epochs=0, random_state=0).fit()


def peers(*, symmetric: bool, with_crlin: bool = True) -> dict[str, Timed]:
    """Return what others do, without a proof but for crlin, which is timed if it is installed."""
    found = {
        TORCH: Timed(torch_inverse),
        SCIPY: Timed(scipy_inverse()),
    }
    if symmetric:
        found[CHOLESKY] = Timed(lambda A: cholesky_inverse(torch.from_numpy(A)))
    if with_crlin and find_spec("crlin"):
        found["crlin.solve(A, I)"] = Timed(_enclose, CRLIN_MATRICES)
    return found


def torch_inverse(A: np.ndarray) -> np.ndarray:
    return torch.linalg.inv(torch.from_numpy(A)).numpy()


def scipy_inverse() -> Inverse:
    """Return its own way with stacks, or a loop where it has none."""
    try:
        scipy.linalg.inv(np.array([np.eye(2), np.eye(2)]))
    except ValueError:
        return lambda A: np.stack([scipy.linalg.inv(matrix) for matrix in A])
    return scipy.linalg.inv


def _enclose(A: np.ndarray) -> list[Any]:
    import crlin

    identity = np.eye(A.shape[-1])
    return [crlin.solve(matrix, identity) for matrix in A.astype(np.float64)]


def with_singular_members(A: np.ndarray) -> np.ndarray:
    """Return a copy with singular members, at least one: two rows, and columns, are the same."""
    spoilt = A.copy()
    n_singular = max(1, round(SINGULAR_SHARE * len(A)))
    members = np.random.default_rng(0).choice(len(A), n_singular, replace=False)
    spoilt[members, -1] = spoilt[members, 0]
    spoilt[members, :, -1] = spoilt[members, :, 0]
    return spoilt


def _quietly(function: Inverse, A: np.ndarray) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", skdmi.exceptions.SingularMatrixWarning)
        return function(A)
