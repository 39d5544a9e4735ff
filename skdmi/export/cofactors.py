"""The inverse in closed form, by cofactors: for m up to 4, along the stack."""

import numpy as np

from skdmi.export.graph import Graph, Value

CLOSED_UP_TO = 4
_PAIRS = ([0, 0, 0, 1, 1, 2], [1, 2, 3, 2, 3, 3])
"""Of columns, for the minors of two rows of a 4 x 4 matrix."""
_EXPANSION = (([1, 0, 0, 0], [5, 5, 4, 3]), ([2, 2, 1, 1], [4, 2, 2, 1]), ([3, 3, 3, 2], [3, 1, 0, 0]))
"""Three terms a cofactor: for each column, another column, and the minor that leaves out both."""


def cofactor_inverse(graph: Graph, B: Value) -> Value:
    r"""Return :math:`\operatorname{adj}(B) / \det B`, of stacks whose last axis runs along the stack.

    The determinant is expanded anew along each row, for the column of the inverse that belongs to the row: so the
    diagonal of B X is 1, but for rounding, however much cancels.
    """
    m = graph.m
    assert m is not None
    if m == 1:
        return graph.op("Reciprocal", B)
    cofactors = (_of_two, _of_three, _of_four)[m - 2](B)
    return cofactors / (B * cofactors).reduce("Sum", graph.layout.row_sums, keep=True)


def _of_two(B: Value) -> Value:
    return B.take([1, 0], 0).take([1, 0], 1) * _signs(2)


def _of_three(B: Value) -> Value:
    """Return cofactors; with indices that run round, minors have their signs already."""
    below, beyond = ([(i + step) % 3 for i in range(3)] for step in (1, 2))
    next_row, last_row = B.take(below, 0), B.take(beyond, 0)
    return next_row.take(below, 1) * last_row.take(beyond, 1) - next_row.take(beyond, 1) * last_row.take(below, 1)


def _of_four(B: Value) -> Value:
    """Return cofactors by Laplace's expansion: twelve minors of two rows serve all sixteen."""
    first, second = B.take([0, 2], 0), B.take([1, 3], 0)
    left, right = _PAIRS
    minors = first.take(left, 1) * second.take(right, 1) - first.take(right, 1) * second.take(left, 1)
    partner, others = B.take([1, 0, 3, 2], 0), minors.take([1, 1, 0, 0], 0)
    terms = [partner.take(column, 1) * others.take(minor, 1) for column, minor in _EXPANSION]
    return (terms[0] - terms[1] + terms[2]) * _signs(4)


def _signs(m: int) -> np.ndarray:
    i = np.arange(m)
    return (-1.0) ** (i[:, None] + i)[:, :, None]
