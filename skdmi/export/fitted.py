"""Files of fitted inverters."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx

from skdmi.export.finish import Ending
from skdmi.export.graph import Graph
from skdmi.export.network import Source, invert
from skdmi.export.refined import Inversion, Plan, choose

NOTHING: Mapping[str, Any] = {}


def as_it_is(source: Source, m: int | None, ending: Ending, metadata: Mapping[str, Any]) -> onnx.ModelProto:
    """Return the file of what a network or an ensemble answers; m is None where it takes any."""
    return _file(m, lambda graph, A: invert(graph, source, A), "by what was trained", ending, metadata)


def refined(
    source: Source,
    m: int | None,
    ending: Ending,
    metadata: Mapping[str, Any],
    stacks: Sequence[np.ndarray],
    *,
    share: float,
    tol: float,
) -> onnx.ModelProto:
    """Return the file of the plan that :func:`~skdmi.export.refined.choose` takes for the matrices in ``stacks``."""

    def build(plan: Plan, ending: Ending = Ending(), metadata: Mapping[str, Any] = NOTHING) -> onnx.ModelProto:
        return _file(m, plan.inversion, f"by {plan.words}", ending, metadata)

    choice = choose(source, build, stacks, share=share, tol=tol)
    chosen = {"steps": choice.plan.words, "certified": choice.share, "certified_of": sum(map(len, stacks))}
    return build(choice.plan, ending, {**metadata, **chosen})


def _file(
    m: int | None, inversion: Inversion, how: str, ending: Ending, metadata: Mapping[str, Any]
) -> onnx.ModelProto:
    graph = Graph(m)
    scaled, X = inversion(graph, graph.input("A"))
    ending.finish(graph, scaled, X)
    what = "matrices of any size" if m is None else f"{m} x {m} matrices"
    return ending.model(
        graph, f"Inverses of {what}, {how}", {key: json.dumps(value) for key, value in metadata.items()}
    )
