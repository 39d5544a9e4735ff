"""The inverse by elimination, along the stack: for sizes between the closed form and products."""

import numpy as np

from skdmi.export.graph import Graph, Value

ELIMINATED_UP_TO = 12
"""From here on steps of products are faster (``benchmarks/export.py``)."""


def eliminated_inverse(graph: Graph, B: Value) -> Value:
    r"""Return the inverse by Gauss-Jordan elimination with partial pivoting, of stacks whose last axis is the stack.

    .. math:: [B \mid I] \to [E \mid E X], \qquad X = E^T (E X)

    Rows are not exchanged, since each matrix of a stack would exchange others: column j of E has its one in the row of
    the largest pivot of column j, among rows that were none yet, and rows are put in order in the end.

    References
    ----------
    Golub and Van Loan, "Matrix computations", 4th edition, 2013, section 3.4, for pivoting; Higham, "Accuracy and
    stability of numerical algorithms", 2nd edition, 2002, section 14.4, for the stability of Gauss-Jordan elimination.
    """
    m = graph.m
    assert m is not None
    rest = graph.op("Concat", B, B * 0.0 + graph.identity, axis=1)
    numbers = np.arange(m)[:, None, None]
    free: Value | None = None
    rows = []
    for width in range(2 * m, m, -1):
        column = rest.part(0, 1, 1)
        size = graph.op("Abs", column)
        largest = graph.op("ArgMax", size if free is None else graph.where(free, size, -1.0), axis=0, keepdims=1)
        is_pivot = graph.op("Equal", largest, numbers)
        rows.append(graph.where(is_pivot, 1.0, 0.0))
        pivot_row = (rest * rows[-1]).reduce("Sum", [0], keep=True)
        pivot_row = pivot_row.part(1, width, 1) / pivot_row.part(0, 1, 1)
        # Ones less in the pivot's own place leave there the pivot's row itself.
        rest = rest.part(1, width, 1) - (column - rows[-1]) * pivot_row
        is_other = graph.op("Not", is_pivot)
        free = is_other if free is None else graph.op("And", free, is_other)
    E = graph.op("Concat", *rows, axis=1)
    return (graph.op("Unsqueeze", rest, [2]) * graph.op("Unsqueeze", E, [1])).reduce("Sum", [0])
