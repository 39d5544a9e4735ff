"""Files of fitted inverters."""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import onnx

from skdmi.export.finish import Ending
from skdmi.export.graph import Graph
from skdmi.export.network import Source, invert
from skdmi.export.refined import Plan, choose


def as_it_is(source: Source, m: int | None, ending: Ending, metadata: Mapping[str, Any]) -> onnx.ModelProto:
    """Return the file of what a network or an ensemble answers; m is None where it takes any."""
    return _file(m, Plan("a network", partial(invert, source=source)), ending, metadata)


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
    choice = choose(source, m, lambda plan: _file(m, plan, Ending(), {}), stacks, share=share, tol=tol)
    chosen = {"steps": choice.plan.words, "certified": choice.share, "certified_of": sum(map(len, stacks))}
    return _file(m, choice.plan, ending, {**metadata, **chosen})


def _file(m: int | None, plan: Plan, ending: Ending, metadata: Mapping[str, Any]) -> onnx.ModelProto:
    graph = Graph(m, plan.layout)
    scaled, X = plan.inversion(graph, graph.input("A"))
    ending.finish(graph, scaled, X)
    what = "matrices of any size" if m is None else f"{m} x {m} matrices"
    texts = {key: json.dumps(value) for key, value in metadata.items()}
    return ending.model(graph, f"Inverses of {what}, by {plan.words}", texts)
