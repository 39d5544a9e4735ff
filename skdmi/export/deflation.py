"""Deflation inside a graph: what :func:`skdmi.iteration.deflate` does."""

from typing import NamedTuple

import numpy as np

from skdmi.export.graph import EPS, Graph, Value


class Column(NamedTuple):
    """A column ``w`` of a stack, ``(n, m, 1)``, and another that goes with it."""

    w: Value
    u: Value | None = None


def deflate(graph: Graph, A: Value, X: Value, R: Value, rank: int) -> tuple[Value, Value]:
    r"""Return :math:`X + U W^T R` and :math:`R - W W^T R`, W orthonormal, :math:`W = A U`, near what dominates R.

    In a graph for any m a matrix has no more columns taken out than half of m.
    """
    columns = orthonormalize(graph, [Column(v) for v in _largest_columns(graph, R, rank)])
    columns = orthonormalize(graph, [Column(R @ column.w) for column in columns])
    images = [X @ column.w for column in columns]
    columns = orthonormalize(graph, [Column(A @ u, u) for u in images])
    U = graph.op("Concat", *[column.u for column in columns if column.u is not None], axis=2)
    W = graph.op("Concat", *[column.w for column in columns], axis=2)
    rows = W.mT @ R
    return X + U @ rows, R - W @ rows


def orthonormalize(graph: Graph, columns: list[Column]) -> list[Column]:
    """Make w orthonormal by modified Gram and Schmidt, and do the same to u; what depends on others becomes zero."""
    done: list[Column] = []
    for column in columns:
        square = column.w.reduce("SumSquare", keep=True)
        least: Value | float = EPS**3.5
        if done:
            least = graph.op("Max", square, EPS**2) * EPS**1.5
            for other in done:
                column = _minus(column, (other.w * column.w).reduce("Sum", keep=True), other)
            square = column.w.reduce("SumSquare", keep=True)
        scale = graph.where(graph.op("Greater", square, least), graph.rsqrt(graph.op("Max", square, least)), 0.0)
        done.append(Column(column.w * scale, None if column.u is None else column.u * scale))
    return done


def _minus(column: Column, factor: Value, other: Column) -> Column:
    u = None if column.u is None or other.u is None else column.u - factor * other.u
    return Column(column.w - factor * other.w, u)


def _largest_columns(graph: Graph, R: Value, rank: int) -> list[Value]:
    """Return the longest columns of R, ``(n, m, 1)`` each."""
    squares = R.reduce("SumSquare", [1], keep=True)
    indices = np.arange(graph.m)[None, None] if graph.m else graph.op("Range", np.int64(0), graph.length, np.int64(1))
    found = []
    for number in range(1, rank + 1):
        is_longest = graph.op("Equal", graph.op("ArgMax", squares, axis=2, keepdims=1), indices)
        is_taken = is_longest if graph.m else graph.op("And", is_longest, graph.is_at_least(2 * number))
        found.append(R @ graph.where(is_taken, 1.0, 0.0).mT)
        squares = graph.where(is_longest, -1.0, squares)
    return found
