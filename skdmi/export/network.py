"""Networks as graphs: what ``module_`` computes, node by node."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from skdmi.export.deflation import deflate
from skdmi.export.entrywise import dense, feedback
from skdmi.export.graph import Graph, Value
from skdmi.export.learned import rule_of
from skdmi.export.minimal import take_step
from skdmi.export.scale import Scaled, equilibrate, normalize
from skdmi.export.starts import begin
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
    """Return a scale, and the inverse of A in that scale that a network or an ensemble finds.

    Raises
    ------
    ValueError
        If a network, its blocks or the combination are the user's own, which may do anything.
    """
    if isinstance(source, InverterResNet):
        core = _CORES.get(type(source.core))
        if core is None or type(source) is not InverterResNet:
            kind = source.core if core is None else source
            raise ValueError(f"A network of your own, {type(kind).__name__}, cannot be exported.")
        if source.normalize == "none":
            scaled = equilibrate(A)
            return scaled, scaled.scaled_inverse(core(graph, source.core, graph.op("Clip", A, -_LIMIT, _LIMIT)))
        scaled = normalize(A)
        return scaled, core(graph, source.core, scaled.B)
    if source.combine not in ("mean", "best"):
        raise ValueError(f"combine={source.combine!r}, a way of your own, cannot be exported.")
    (scaled, first), *others = (invert(graph, A, source=member) for member in source.members)
    found = [first, *(X if other == scaled else scaled.scaled_inverse(other.restored(X)) for other, X in others)]
    if source.combine == "mean":
        return scaled, graph.op("Sum", *found) * (1 / len(found))
    best, norm = first, (graph.identity - scaled.B @ first).norm(keep=True)
    for X in found[1:]:
        other = (graph.identity - scaled.B @ X).norm(keep=True)
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
            norm, best_norm = R.norm(keep=True), best[1].norm(keep=True)
            better = graph.op("LessOrEqual", norm, best_norm)
            best = graph.where(better, X, best[0]), graph.where(better, R, best[1])
            if step < core.depth:
                reached = graph.op("Min", norm, best_norm)
                sound = graph.op("LessOrEqual", norm, reached * GROWTH)
                X, R = graph.where(sound, X, best[0]), graph.where(sound, R, best[1])
    return best[0]


_CORES: dict[type, Callable[[Graph, Any, Value], Value]] = {
    PolynomialInverse: polynomial,
    FeedbackInverse: feedback,
    DenseInverse: dense,
}
