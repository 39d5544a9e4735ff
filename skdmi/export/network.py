"""Networks as graphs: what ``module_`` computes, node by node."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from skdmi.export.deflation import deflate
from skdmi.export.graph import Graph, Value
from skdmi.export.learned import linear, normalized, rule_of
from skdmi.export.minimal import take_step
from skdmi.export.scale import Scaled, equilibrate, normalize
from skdmi.export.starts import begin
from skdmi.iteration import TRANSPOSE
from skdmi.iteration.learned import PolynomialInverse
from skdmi.iteration.loop import GROWTH, recomputation_schedule
from skdmi.modules import DenseInverse, FeedbackInverse, InverterResNet

_LIMIT = float(np.finfo(np.float32).max) ** 0.25


class Combination(NamedTuple):
    """What an ensemble is made of."""

    combine: str
    """``"mean"``, or ``"best"``, of the smallest residual norm."""
    members: tuple["Source", ...]


Source: TypeAlias = InverterResNet | Combination
"""What a file is made from."""


def invert(graph: Graph, A: Value, *, source: Source) -> tuple[Scaled, Value]:
    """Return a scale, and the inverse of A in that scale that a network or an ensemble finds."""
    if isinstance(source, InverterResNet):
        core = _CORES[type(source.core)]
        if source.normalize == "none":
            scaled = equilibrate(A)
            return scaled, scaled.scaled_inverse(core(graph, source.core, graph.op("Clip", A, -_LIMIT, _LIMIT)))
        scaled = normalize(A)
        return scaled, core(graph, source.core, scaled.B)
    (scaled, first), *others = (invert(graph, A, source=member) for member in source.members)
    found = [first, *(scaled.scaled_inverse(other.restored(X)) for other, X in others)]
    if source.combine == "mean":
        return scaled, graph.op("Sum", *found) * (1 / len(found))
    best, norm = first, _norm(graph.identity - scaled.B @ first)
    for X in found[1:]:
        other = _norm(graph.identity - scaled.B @ X)
        best, norm = graph.where(graph.op("Less", other, norm), X, best), graph.op("Min", other, norm)
    return scaled, best


def polynomial(graph: Graph, core: PolynomialInverse, A: Value) -> Value:
    """Return the inverses of A by a :class:`~skdmi.iteration.learned.PolynomialInverse`: the best iterate."""
    begun = begin(graph, core.start, A)
    rule = rule_of(graph, core, begun.accepted)
    X, R, deflates = begun.X, begun.R, begun.deflates
    best = (X * graph.identity if begun.diagonal else X), R
    recomputed = recomputation_schedule(core.depth)
    rank = core.rank if graph.m is None else min(core.rank, graph.m // 2)
    for step in range(1, core.depth + 1):
        if rank and deflates is not False:
            before = X, R
            X, R = deflate(graph, A, X, R, rank)
            if deflates is not True:
                X, R = (graph.where(deflates, new, old) for new, old in zip((X, R), before, strict=True))
        deflates = True
        X, R = take_step(graph, X, R, rule, step, diagonal=begun.diagonal and step == 1)
        if step in recomputed:
            R = graph.identity - A @ X
            better = graph.op("LessOrEqual", norm := _norm(R), best_norm := _norm(best[1]))
            best = graph.where(better, X, best[0]), graph.where(better, R, best[1])
            if step < core.depth:
                reached = graph.op("Min", norm, best_norm)
                sound = graph.op("LessOrEqual", norm, reached * GROWTH)
                X, R = graph.where(sound, X, best[0]), graph.where(sound, R, best[1])
    return best[0]


def feedback(graph: Graph, core: Any, A: Value) -> Value:
    """Return the inverses of A by a :class:`~skdmi.modules.entrywise.FeedbackInverse`."""
    m = graph.m
    assert m is not None
    begun = begin(graph, TRANSPOSE, A)
    X, R = best = begun.X, begun.R
    h: Value | None = None
    for read, mix, write, gain in zip(core.read, core.mix, core.write, core.gain, strict=True):
        C, norms = X @ R, _norm(R)
        seen = graph.op("Concat", R, C, X, axis=1) / (norms / graph.root + 1.0)
        seen = linear(graph, graph.op("Reshape", seen, [0, 3 * m * m]), read)
        h = seen if h is None else h + seen
        h = _mixed(graph, h, mix)
        written = graph.op("Reshape", linear(graph, h, write), [0, m, m])
        X_new = X + C * float(gain.detach()) + written
        R_new = graph.identity - A @ X_new
        sound = graph.op("LessOrEqual", _norm(R_new), norms * 1.5)
        X, R = graph.where(sound, X_new, X), graph.where(sound, R_new, R)
        better = graph.op("LessOrEqual", _norm(R), _norm(best[1]))
        best = graph.where(better, X, best[0]), graph.where(better, R, best[1])
    return best[0]


def dense(graph: Graph, core: Any, A: Value) -> Value:
    """Return the inverses of A by a :class:`~skdmi.modules.entrywise.DenseInverse`."""
    m = graph.m
    assert m is not None
    first, _, *blocks, last = core.layers
    h = graph.op("Relu", linear(graph, graph.op("Reshape", A, [0, m * m]), first))
    for block in blocks:
        seen = h
        for layer in block.layers:
            seen = graph.op("Concat", seen, graph.op("Relu", linear(graph, seen, layer)), axis=1)
        h = h + linear(graph, seen, block.collect)
    return graph.op("Reshape", linear(graph, h, last), [0, m, m])


_CORES: dict[type, Callable[[Graph, Any, Value], Value]] = {
    PolynomialInverse: polynomial,
    FeedbackInverse: feedback,
    DenseInverse: dense,
}


def _mixed(graph: Graph, h: Value, unit: Any) -> Value:
    """Return h plus products of learned features."""
    up, gate = graph.split(linear(graph, normalized(graph, h, unit.norm), unit.up_and_gate), 2, 1)
    return h + linear(graph, up * gate, unit.down)


def _norm(R: Value) -> Value:
    return R.norm(keep=True)
