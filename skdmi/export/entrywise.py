"""Networks on entries inside a graph: see :mod:`skdmi.modules.entrywise`."""

from typing import Any

from skdmi.export.graph import Graph, Value
from skdmi.export.layers import linear, normalized
from skdmi.export.starts import begin
from skdmi.iteration import TRANSPOSE


def feedback(graph: Graph, core: Any, A: Value) -> Value:
    """Return the inverses of A by a :class:`~skdmi.modules.entrywise.FeedbackInverse`."""
    m = graph.m
    assert m is not None
    begun = begin(graph, TRANSPOSE, A)
    X, R = best = begun.X, begun.R
    h: Value | None = None
    for read, mix, write, gain in zip(core.read, core.mix, core.write, core.gain, strict=True):
        C, norms = X @ R, R.norm(keep=True)
        seen = graph.op("Concat", R, C, X, axis=1) / (norms / graph.root + 1.0)
        seen = linear(graph, graph.op("Reshape", seen, [0, 3 * m * m]), read)
        h = seen if h is None else h + seen
        h = _mixed(graph, h, mix)
        written = graph.op("Reshape", linear(graph, h, write), [0, m, m])
        X_new = X + C * float(gain.detach()) + written
        R_new = graph.identity - A @ X_new
        sound = graph.op("LessOrEqual", R_new.norm(keep=True), norms * 1.5)
        X, R = graph.where(sound, X_new, X), graph.where(sound, R_new, R)
        better = graph.op("LessOrEqual", R.norm(keep=True), best[1].norm(keep=True))
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


def _mixed(graph: Graph, h: Value, unit: Any) -> Value:
    """Return h plus products of learned features."""
    up, gate = graph.split(linear(graph, normalized(graph, h, unit.norm), unit.up_and_gate), 2, 1)
    return h + linear(graph, up * gate, unit.down)
