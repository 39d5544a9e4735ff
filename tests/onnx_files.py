"""ONNX files as tests run them: on one thread of onnxruntime, and in onnx's own reference."""

import itertools
import json
from functools import cache, partial

import numpy as np
import onnx
import onnxruntime
from onnx.reference import ReferenceEvaluator

import skdmi
from skdmi import export
from skdmi.export.certificate import certify
from skdmi.export.graph import OPERATORS, Graph

FORMS = {
    "closed_1": (partial(export.closed_form, 1), [1]),
    "closed_2": (partial(export.closed_form, 2), [2]),
    "closed_3": (partial(export.closed_form, 3), [3]),
    "closed_4": (partial(export.closed_form, 4), [4]),
    "fixed_1": (partial(export.fixed, 1), [1]),
    "fixed_2": (partial(export.fixed, 2), [2]),
    "fixed_5": (partial(export.fixed, 5), [5]),
    "fixed_16": (partial(export.fixed, 16), [16]),
    "elimination_5": (partial(export.elimination, 5), [5]),
    "elimination_12": (partial(export.elimination, 12), [12]),
    "any_size": (export.any_size, [1, 2, 3, 7, 16]),
}
"""Files that invert and that nothing was learned for, each with sizes to run it at."""
CERTIFICATES = {
    "certificate_1": (partial(export.export_certificate, 1), [1]),
    "certificate_3": (partial(export.export_certificate, 3), [3]),
    "certificate_8": (partial(export.export_certificate, 8), [8]),
    "certificate_any": (export.export_certificate, [1, 2, 5, 16]),
}

# An empty stack kills onnxruntime before 1.25, and some products refuse it up to 1.31.
COUNTS = (0, 1, 5) if tuple(map(int, onnxruntime.__version__.split(".")[:2])) >= (1, 32) else (1, 5)
"""Numbers of matrices to run files at, beside that of the whole stack."""


@cache
def certificate_in_units_of(scaling, m):
    """Return a session that certifies an X as the files do that scale A by a function of skdmi.export.scale."""
    graph = Graph(m)
    scaled = scaling(graph.input("A"))
    found = certify(graph, scaled, scaled.scaled_inverse(graph.input("X", inverse=True)))
    graph.output("rho", found.rho)
    graph.output("residual_norm", found.residual_norm)
    return open_session(graph.model("A certificate.", {}))


@cache
def model_of(name):
    return (FORMS | CERTIFICATES)[name][0]()


@cache
def session_of(name):
    return open_session(model_of(name))


def open_session(model):
    """Return a session for a model, or for a file of one."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    given = model.SerializeToString() if isinstance(model, onnx.ModelProto) else str(model)
    return onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"])


def run(session, A, X=None):
    """Return the outputs by name; NaN and infinite numbers are no cause for a warning."""
    feeds = {"A": A} if X is None else {"A": A, "X": X}
    return dict(zip((output.name for output in session.get_outputs()), session.run(None, feeds), strict=True))


def run_by_reference(model, A, X=None):
    feeds = {"A": A} if X is None else {"A": A, "X": X}
    evaluator = ReferenceEvaluator(model)
    with np.errstate(all="ignore"):
        return dict(zip(evaluator.output_names, evaluator.run(None, feeds), strict=True))


def said(model):
    """Return the metadata of a model, read as JSON."""
    return {entry.key: json.loads(entry.value) for entry in model.metadata_props}


def check_file(model, m, outputs, inputs=("A",)):
    """Assert what holds for every file: valid, of few standard operators, named and shaped as documented, no waste."""
    onnx.checker.check_model(model, full_check=True)
    assert (model.producer_name, model.producer_version) == ("skdmi", skdmi.__version__)
    assert [entry.domain for entry in model.opset_import] == [""]
    assert not model.functions
    assert {node.domain for node in model.graph.node} == {""}
    assert {node.op_type for node in model.graph.node} <= OPERATORS
    assert {entry.name: _described(entry) for entry in model.graph.input} == dict.fromkeys(inputs, _stack(m))
    assert {entry.name: _described(entry) for entry in model.graph.output} == {
        name: _stack(m) if name == "inverse" else ("BOOL" if name == "certified" else "FLOAT", ("n_matrices",))
        for name in outputs
    }
    _check_no_waste(model.graph)


def _stack(m):
    side = "m" if m is None else m
    return "FLOAT", ("n_matrices", side, side)


def _described(entry):
    kind = entry.type.tensor_type
    dims = tuple(dim.dim_param or dim.dim_value for dim in kind.shape.dim)
    return onnx.TensorProto.DataType.Name(kind.elem_type), dims


def _check_no_waste(graph):
    read = {name for node in graph.node for name in node.input} | {output.name for output in graph.output}
    assert all(read.intersection(node.output) for node in graph.node)
    assert all(constant.name in read for constant in graph.initializer)
    assert all(entry.name in read for entry in graph.input)
    written = list(itertools.chain.from_iterable(node.output for node in graph.node))
    assert len(set(written)) == len(written)


def float64_residuals(A, X):
    """Return ``||I - A X||_F``; infinite where X is not finite."""
    with np.errstate(all="ignore"):
        norms = np.linalg.norm(np.eye(A.shape[-1]) - A.astype(np.float64) @ X.astype(np.float64), axis=(1, 2))
    return np.where(np.isnan(norms), np.inf, norms)


def relative_differences(X, Y):
    """Return ``||X - Y||_F / ||Y||_F`` of each pair."""
    X, Y = X.astype(np.float64), Y.astype(np.float64)
    return np.linalg.norm(X - Y, axis=(1, 2)) / np.linalg.norm(Y, axis=(1, 2))


def units_of(A):
    """Return the rows' and the columns' units in which files of no network see A, where float64 tells them."""
    A = A.astype(np.float64)
    rows = 2.0 ** np.floor(np.log2(np.abs(A).sum(2, keepdims=True)))
    return rows, 2.0 ** np.floor(np.log2(np.abs(A / rows).sum(1, keepdims=True)))
