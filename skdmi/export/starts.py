"""Starts inside a graph, of matrices in the scale of a network: see :mod:`skdmi.iteration.starts`."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from skdmi.export.graph import EPS, TINY, Graph, Value
from skdmi.export.layers import array
from skdmi.iteration import IDENTITY, TRANSPOSE, FamilyStart, Start


class Begun(NamedTuple):
    """A start of the matrices of a stack."""

    X: Value
    R: Value
    deflates: bool | Value = True
    """Whether a deflation may come before the first step, for all matrices or for each, ``(n, 1, 1)``."""
    diagonal: bool = False
    """Whether X is the diagonals of diagonal matrices, ``(n, m, 1)``."""
    accepted: Value | None = None
    """For which matrices the guard of a family allowed its start, ``(n, 1, 1)``."""


def begin(graph: Graph, start: Start | FamilyStart, A: Value) -> Begun:
    """Return the start of A, whose Frobenius norm is about the square root of m.

    Raises
    ------
    ValueError
        If it is one of the user's own, which has no graph.
    """
    if isinstance(start, FamilyStart):
        return _family(graph, start, A)
    if start not in _STARTS:
        raise ValueError(f"A start of your own, {start}, cannot be exported; those of skdmi.iteration.STARTS can.")
    return _STARTS[start](graph, A)


def _transpose(graph: Graph, A: Value) -> Begun:
    return Begun(*_scaled(graph, A.mT, A @ A.mT, A.square_norm(keep=True)))


def _identity(graph: Graph, A: Value) -> Begun:
    d = _inverse_diagonal(graph, A)
    P = A * d.mT
    X, R = _scaled(graph, d, P, _trace(P))
    return Begun(X, R, deflates=False, diagonal=True)


_STARTS: dict[Start, Callable[[Graph, Value], Begun]] = {TRANSPOSE: _transpose, IDENTITY: _identity}


def _scaled(graph: Graph, Y: Value, P: Value, trace: Value) -> tuple[Value, Value]:
    """Return c Y and I - c P with the best c, where ``P = A Y``."""
    c = trace / graph.op("Max", P.square_norm(keep=True), TINY)
    return Y * c, graph.identity - P * c


def _trace(P: Value) -> Value:
    return (P * P.graph.identity).reduce("Sum", keep=True)


def _inverse_diagonal(graph: Graph, A: Value) -> Value:
    """Return ``1 / a_ii``, ``(n, m, 1)``; ones where one of the entries is not positive."""
    diagonal = (A * graph.identity).reduce("Sum", [2], keep=True)
    is_usable = graph.op("Greater", diagonal.reduce("Min", [1], keep=True), TINY**0.5)
    return graph.op("Reciprocal", graph.where(is_usable, diagonal, 1.0))


def _family(graph: Graph, start: FamilyStart, A: Value) -> Begun:
    """Return the learned start where the guard allows it, the plain one elsewhere."""
    learned = combine(graph, start, A)
    seen = graph.constant(array(start.probes)) @ A
    is_plain_diagonal = start.plain == IDENTITY
    plain = _inverse_diagonal(graph, A) if is_plain_diagonal else A.mT
    mine = _estimate(graph, start, seen @ learned)
    theirs = _estimate(graph, start, seen * plain.mT if is_plain_diagonal else seen @ plain)
    accepted = graph.op(
        "And",
        graph.op("LessOrEqual", mine, float(start.bound)),
        graph.op("Less", mine, theirs * float(start.margin)),
    )
    Y = graph.where(accepted, learned, plain * graph.identity if is_plain_diagonal else plain)
    P = A @ Y
    X, R = _scaled(graph, Y, P, _trace(P))
    deflates: bool | Value = True
    if is_plain_diagonal:
        beside = graph.op("Abs", X) * (1 - np.eye(len(start.constant)))
        deflates = graph.op("Greater", beside.reduce("Max", keep=True), 0.0)
    return Begun(X, R, deflates, accepted=accepted)


def _estimate(graph: Graph, start: FamilyStart, S: Value) -> Value:
    """Estimate ``||I - c A Y||_F`` from what the probes see of ``A Y``."""
    probes = array(start.probes)
    c = (S * probes).reduce("Sum", keep=True) / graph.op("Max", S.square_norm(keep=True), TINY)
    return (probes - S * c).norm(keep=True)


def combine(graph: Graph, start: FamilyStart, A: Value, units: Value | None = None) -> Value:
    """Return the constant plus the atoms in their weights; of A in other units, ``(n, 1, 1)``, for A as it is."""
    constant, m = array(start.constant), len(start.constant)
    k = len(start.atoms)
    if k == 0:
        return graph.constant(constant[None]) if units is None else constant / units
    read = graph.op("Gather", graph.op("Reshape", A, [0, m * m]), start.places.numpy(), axis=1)
    if units is not None:
        read = read / graph.op("Squeeze", units, [2])
    # The right side goes last, so that one product makes the normal equations and their right side.
    equations = np.roll(array(start.equations), -1, axis=1)
    n_equations = equations.shape[2]
    known = equations.reshape(len(equations), -1)
    system = graph.op("Reshape", graph.op("Gemm", read, known[1:], known[0]), [0, k + 1, n_equations])
    weights, atoms = _least_squares(graph, system, k), array(start.atoms).reshape(k, m * m)
    if units is None:
        flat = graph.op("Gemm", graph.op("Squeeze", weights, [0]), atoms, constant.reshape(-1), transA=1)
    else:
        factor = graph.along_stack(graph.op("Reciprocal", units), "ij")
        weights = graph.op("Squeeze", graph.op("Concat", weights * factor, factor, axis=1), [0])
        flat = graph.op("Gemm", weights, np.vstack([atoms, constant.reshape(1, -1)]), transA=1)
    return graph.op("Reshape", flat, [0, m, m])


def _least_squares(graph: Graph, system: Value, k: int) -> Value:
    """Return the weights, ``(1, k, n)``: :func:`skdmi.iteration.family.least_squares`, by elimination along the stack.

    The last row of the system is the right side, and so is that of its Gram matrix, which is eliminated for nothing.
    """
    gram = system @ system.mT
    trace = (gram * np.diag([*np.ones(k), 0])).reduce("Sum", keep=True)
    ridge = graph.along_stack(graph.op("Max", trace * (EPS / k), TINY), "ij")
    rest = graph.along_stack(gram, "ij")
    rows = []
    for size in range(k, 0, -1):
        first, others = (0, 1), (1, size + 1)
        pivot = graph.op("Max", rest.block(first, first) + ridge, ridge)
        rows.append(rest.block(first, others) / pivot)
        rest = rest.block(others, others) - rest.block(others, first) * rows[-1]
    w = rows[-1]
    for size in range(2, k + 1):
        row = rows[k - size]
        known = (row.part(0, size - 1, 1) * w).reduce("Sum", [1], keep=True)
        w = graph.op("Concat", row.part(size - 1, size, 1) - known, w, axis=1)
    return w
