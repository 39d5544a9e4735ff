"""The end of every graph: what is returned, and what is proved of it."""

from collections.abc import Mapping
from dataclasses import dataclass

import onnx
from onnx import TensorProto

from skdmi.export.certificate import certify
from skdmi.export.graph import Graph, Value, check_opset
from skdmi.export.scale import Scaled
from skdmi.typing import ExportPolicy

UNCERTIFIED = ("keep", "nan", "mask")


@dataclass(frozen=True)
class Ending:
    """What a file returns beside inverses, and in which operators it is written.

    Parameters
    ----------
    certificate : bool
    uncertified : {"keep", "nan", "mask"}
    opset : int or None

    Raises
    ------
    ValueError
        If a value is not allowed, or ``uncertified`` goes by a certificate and there is to be none.
    """

    certificate: bool = True
    uncertified: ExportPolicy = "keep"
    opset: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.certificate, bool):
            raise ValueError(f"certificate={self.certificate!r}; expected True or False.")
        if self.uncertified not in UNCERTIFIED:
            raise ValueError(f"uncertified={self.uncertified!r}; expected one of {UNCERTIFIED}.")
        if not self.certificate and self.uncertified != "keep":
            raise ValueError(f"uncertified={self.uncertified!r} goes by the certificate: set certificate=True.")
        check_opset(self.opset)

    def finish(self, graph: Graph, scaled: Scaled, X: Value) -> None:
        """Return to the units of A, certify, and name the outputs."""
        inverse = scaled.restored(X)
        if not self.certificate:
            graph.output("inverse", inverse, is_inverse=True)
            return
        found = certify(graph, scaled, X)
        if self.uncertified == "nan":
            certified = graph.op("Unsqueeze", graph.op("Less", found.rho, 1.0), list(graph.layout.axes))
            inverse = graph.op("Where", certified, inverse, float("nan"))
        graph.output("inverse", inverse, is_inverse=True)
        if self.uncertified == "mask":
            graph.output("certified", graph.op("Less", found.rho, 1.0), kind=TensorProto.BOOL)
        graph.output("rho", found.rho)
        graph.output("residual_norm", found.residual_norm)

    def model(self, graph: Graph, what: str, metadata: Mapping[str, str]) -> onnx.ModelProto:
        """Return the model, described in a sentence and by metadata."""
        proof = "; rho < 1 proves that a matrix is nonsingular" if self.certificate else ""
        return graph.model(f"{what}{proof}.", metadata, self.opset)
