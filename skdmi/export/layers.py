"""Layers of a network inside a graph, on rows."""

import math
from typing import Any

import numpy as np

from skdmi.export.graph import Graph, Value


def array(parameter: Any) -> np.ndarray:
    """Return a parameter as float32."""
    return parameter.detach().cpu().numpy().astype(np.float32)


def linear(graph: Graph, x: Value, layer: Any) -> Value:
    """Return the output of a linear layer, of rows."""
    return graph.op("Gemm", x, array(layer.weight), array(layer.bias), transB=1)


def normalized(graph: Graph, h: Value, layer: Any) -> Value:
    """Return the output of a layer normalisation, of rows."""
    return graph.op("LayerNormalization", h, array(layer.weight), array(layer.bias), axis=-1, epsilon=layer.eps)


def gelu(graph: Graph, x: Value) -> Value:
    """Return x times the normal distribution function of x."""
    return x * 0.5 * (graph.op("Erf", x * math.sqrt(0.5)) + 1.0)
