"""Stacks through the kernel of polynomial networks: numpy arrays in and out."""

import math
from functools import partial
from typing import NamedTuple

import numpy as np

from skdmi.lanes.compiler import Kernel, count_lanes
from skdmi.lanes.parts import address, addresses, do_in_parts, flushes, room

LARGEST = 128
"""The largest m: as many matrices as there are lanes, larger ones, are out of reach of the caches."""
LARGEST_RANK = 2
_SINGLE_STACK, _SINGLE_NETWORK, _TRANSPOSES = 1, 2, 4
_TILE = 8
"""As in :mod:`skdmi.lanes.perceptron`."""

ITERATION = Kernel("iteration", "pointer " * 10 + "integer " * 10 + "number number")


class Polynomials(NamedTuple):
    """A polynomial network in numbers, see :class:`skdmi.modules.InverterResNet`."""

    depth: int
    """Of steps."""
    rank: int
    """Of the deflations, at most `LARGEST_RANK`."""
    transposes: bool
    """Whether the start is a multiple of the transpose, or else of the inverted diagonal."""
    recomputed: set[int]
    """After which steps, counted from 1, the residual is recomputed."""
    weights: np.ndarray
    """Of shape (n_steps, n_weights), of every step for which something was learned: the weights of its six layers, as
    :func:`linear` and :func:`normalization` return them; float32 or float64, in which all is computed."""
    width: int
    """Size of the hidden vector."""
    hidden: int
    """Size of the layer inside a block."""
    reach: float
    """Bound of a departure."""


def linear(weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Return the weights, ``(n_out, n_in)``, and biases of a layer in the order in which the kernel reads them."""
    missing = -len(bias) % _TILE
    weight, bias = np.pad(weight, ((0, missing), (0, 0))), np.pad(bias, (0, missing))
    columns = np.concatenate([bias[:, None], weight], axis=1)
    return columns.reshape(-1, _TILE, columns.shape[1]).transpose(0, 2, 1).ravel()


def normalization(weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Return the gains and biases of a layer norm in the order in which the kernel reads them."""
    return np.concatenate([weight, bias])


def is_ready(m: int, n_matrices: int = 0) -> bool:
    """Return whether the kernel can be called for that many m x m matrices, see :meth:`Kernel.is_ready`."""
    return m <= LARGEST and ITERATION.is_ready(n_matrices * _seconds_without(m)) and not flushes()


def invert(A: np.ndarray, X: np.ndarray, network: Polynomials) -> np.ndarray:
    """Put what a network answers to a stack into X; the answer to a matrix does not depend on the others.

    Parameters
    ----------
    A, X : ndarrays of shape (n_matrices, m, m)
        Both float32 or both float64, contiguous; A is finite, X is overwritten.
    network : Polynomials

    Returns
    -------
    left : ndarray of shape (n_matrices,), bool
        The matrices that have no answer: their entries are too large or too small.
    """
    left = np.zeros(len(A), bool)
    do_in_parts(partial(_invert_part, A, X, network, left), len(A), A.shape[1])
    return left


def _invert_part(A: np.ndarray, X: np.ndarray, network: Polynomials, left: np.ndarray, part: slice) -> None:
    A, X, left, weights = A[part], X[part], left[part], network.weights
    n, m, _ = A.shape
    recomputes = np.isin(np.arange(1, network.depth + 1), list(network.recomputed)).astype(np.uint8)
    flags = _SINGLE_STACK * (A.dtype == np.float32) | _SINGLE_NETWORK * (weights.dtype == np.float32)
    vectors = 80 + 10 * m + 7 * m * m + 2 * network.width + max(network.hidden, 14) + 3 * _TILE
    numbers = room(vectors * count_lanes())
    ITERATION(
        *(*addresses(A), *addresses(X), address(left), address(recomputes), address(numbers), address(numbers)),
        *(*addresses(weights), 0, n, m, network.depth, network.rank, flags | _TRANSPOSES * network.transposes),
        *(*weights.shape, network.width, network.hidden, network.reach, math.log(m)),
    )


def _seconds_without(m: int) -> float:
    """Return what a matrix takes by the route without the kernel, about."""
    return 1e-5 + 5e-9 * m**3
