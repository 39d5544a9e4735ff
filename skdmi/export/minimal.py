"""Minimal-residual steps inside a graph: what :func:`skdmi.iteration.take_step` does."""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np

from skdmi.export.graph import EPS, TINY, Graph, Value

RIDGE = 8 * EPS
_K = 3
"""Directions of a step."""


class LeastSquares(NamedTuple):
    """The problem of a step, factorised: :class:`skdmi.iteration.LeastSquares`; columns ``(n, 3, 1)``."""

    cosines: Value
    coordinates: Value
    scale: Value
    norm: Value
    """``(n, 1, 1)``."""
    inverse: Value
    """``L^-1``, ``(n, 3, 3)``."""


Rule: TypeAlias = Callable[[int, LeastSquares], Value]
"""Chooses the coordinates of a step, ``(n, 3, 1)``, by its number, counted from 1."""


def least_residual(step: int, problem: LeastSquares) -> Value:
    """Choose those that make the next residual smallest."""
    del step
    return problem.coordinates


def take_step(
    graph: Graph, X: Value, R: Value, choose: Rule, step: int, *, diagonal: bool = False
) -> tuple[Value, Value]:
    """Return X and R after a step; X may be diagonal matrices, ``(n, m, 1)``."""
    S = R @ R
    directions = [R - S, S - R @ S, graph.identity - R]
    problem = _factorise(graph, graph.flat(graph.op("Concat", *directions, R, axis=1), _K + 1))
    coefficients = (problem.inverse.mT @ choose(step, problem)) * problem.scale
    c = graph.split(coefficients, _K, 1)
    P = R * c[0] + S * c[1] + graph.identity * c[2]
    X = X * (graph.identity + P) if diagonal else X + X @ P
    for coefficient, V in zip(c, directions, strict=True):
        R = R - V * coefficient
    return X, R


def _factorise(graph: Graph, vectors: Value) -> LeastSquares:
    """Return the problem of the last of four vectors, ``(n, 4, m * m)``, on those before it."""
    gram = vectors @ vectors.mT
    squares = (gram * np.eye(_K + 1)).reduce("Sum", [2], keep=True)
    last = squares.part(_K, _K + 1, 1)
    norms = graph.op("Sqrt", graph.op("Max", squares, graph.op("Max", last, TINY / RIDGE**2) * RIDGE**2))
    unit = gram / (norms * norms.mT)
    norm = norms.part(_K, _K + 1, 1)
    rows = unit.part(0, _K, 1)
    # Rows of [G | b | I] become those of [L^T | y | L^-1].
    widened = rows @ np.eye(_K + 1, 2 * _K + 1) + np.hstack([RIDGE * np.eye(_K, _K + 1), np.eye(_K)])
    done = _eliminate(graph, widened)
    return LeastSquares(
        cosines=rows.part(_K, _K + 1, 2),
        coordinates=done.part(0, 1, 2),
        scale=norm / norms.part(0, _K, 1),
        norm=norm,
        inverse=done.part(1, _K + 1, 2),
    )


def _eliminate(graph: Graph, rest: Value) -> Value:
    """Return ``[y | L^-1]``, ``(n, 3, 4)``."""
    done = []
    for left in reversed(range(_K)):
        pivot = graph.op("Max", rest.part(0, 1, 1, 2), RIDGE)
        row = rest.part(0, 1, 1) / graph.op("Sqrt", pivot)
        done.append(row.part(left + 1, left + _K + 2, 2))
        if left:
            rest = rest.part(1, left + 1, 1) - row.part(1, left + 1, 2).mT @ row
            rest = rest.part(1, left + _K + 2, 2)
    return graph.op("Concat", *done, axis=1)
