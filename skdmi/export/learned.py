"""The learned rule inside a graph: what :class:`skdmi.iteration.learned.PolynomialInverse` departs by."""

from typing import Any

from skdmi.export.graph import TINY, Graph, Value
from skdmi.export.layers import array, gelu, linear, normalized
from skdmi.export.minimal import RIDGE, LeastSquares, Rule, least_residual
from skdmi.iteration.learned import PolynomialInverse


def rule_of(graph: Graph, core: PolynomialInverse, accepted: Value | None) -> Rule:
    """Return the rule for one pass; the least residual where nothing is learned, or not for this size.

    ``accepted``, ``(n, 1, 1)``, says where a family's start was allowed: elsewhere nothing departs.
    """
    smallest, largest = core.smallest, core.largest
    is_outside = graph.m is not None and not (smallest <= graph.m and (largest is None or graph.m <= largest))
    if is_outside or not departs(core):
        return least_residual
    h: Value | None = None

    def choose(step: int, problem: LeastSquares) -> Value:
        nonlocal h
        if step > len(core.blocks):
            return problem.coordinates
        block: Any = core.blocks[step - 1]
        h, written = _read(graph, h, _scalars(graph, problem), block.departure)
        shortened = written / graph.op("Sqrt", (written * written).reduce("Sum", [1], keep=True) + 1.0)
        departure = graph.op("Unsqueeze", shortened * float(block.reach), [2])
        if accepted is not None:
            departure = graph.where(accepted, departure, 0.0)
        if graph.m is None:
            departure = departure * _is_learned(graph, smallest, largest)
        return problem.coordinates + departure

    return choose


def departs(core: PolynomialInverse) -> bool:
    """Return whether the rule has learned anything: its last layers are zero before."""
    blocks: Any = core.blocks
    return any(bool(block.departure.write.weight.any() or block.departure.write.bias.any()) for block in blocks)


def _is_learned(graph: Graph, smallest: int, largest: int | None) -> Value:
    """Return 1 for the sizes that were learned, else 0."""
    is_in = graph.is_at_least(smallest)
    if largest is not None:
        is_in = graph.op("And", is_in, graph.op("Not", graph.is_at_least(largest + 1)))
    return graph.where(is_in, 1.0, 0.0)


def _scalars(graph: Graph, problem: LeastSquares) -> Value:
    """Return what a step reads beside ``1 / m``, ``(n, 13)``: :func:`skdmi.iteration.learned.residual_scalars`."""
    norm = graph.op("Max", problem.norm, TINY**0.5)
    mean_square = norm * norm / graph.side
    root = graph.op("Sqrt", mean_square)
    ratio = problem.cosines.part(2, 3, 1) / problem.scale.part(2, 3, 1) + 1.0
    squares = (problem.coordinates * problem.coordinates).reduce("Sum", [1], keep=True)
    remainder = graph.op("Max", 1.0 - squares, RIDGE)
    read = graph.op(
        "Concat",
        mean_square * ratio,
        root * ratio,
        graph.op("Log", mean_square) * 0.3,
        graph.op("Log", remainder) * 0.1,
        problem.coordinates,
        problem.cosines,
        graph.op("Log", problem.scale) * 0.3,
        axis=1,
    )
    return graph.op("Squeeze", read, [2])


def _read(graph: Graph, h: Value | None, scalars: Value, reader: Any) -> tuple[Value, Value]:
    weight, bias = array(reader.read.weight), array(reader.read.bias)
    # The first scalar is 1 / m for all matrices, so it is part of the bias.
    read = graph.op("Gemm", scalars, weight[:, 1:], 1.0 / graph.side * weight[:, 0] + bias, transB=1)
    h = read if h is None else h + read
    up = linear(graph, normalized(graph, h, reader.norm), reader.up)
    h = h + linear(graph, gelu(graph, up), reader.down)
    return h, linear(graph, normalized(graph, h, reader.norm_out), reader.write)
