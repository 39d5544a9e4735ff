"""Graphs of ONNX operators, written in the notation of the mathematics."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral
from typing import Any, TypeAlias

import numpy as np
import onnx
from onnx import TensorProto, defs, helper, numpy_helper

from skdmi import __version__

OPSET = 18
"""The oldest version of the operators that is written, and the default: the first in which all reductions take their
axes as an input."""
OPERATORS = frozenset(
    [
        "Abs",
        "Add",
        "And",
        "ArgMax",
        "Cast",
        "Clip",
        "Concat",
        "ConstantOfShape",
        "Div",
        "Einsum",
        "Equal",
        "Erf",
        "EyeLike",
        "Gather",
        "Gemm",
        "Greater",
        "GreaterOrEqual",
        "LayerNormalization",
        "Less",
        "LessOrEqual",
        "Log",
        "MatMul",
        "Max",
        "Min",
        "Mul",
        "Not",
        "Range",
        "Reciprocal",
        "ReduceL1",
        "ReduceL2",
        "ReduceMax",
        "ReduceMin",
        "ReduceSum",
        "ReduceSumSquare",
        "Relu",
        "Reshape",
        "Shape",
        "Slice",
        "Split",
        "Sqrt",
        "Squeeze",
        "Sub",
        "Sum",
        "Transpose",
        "Unsqueeze",
        "Where",
    ]
)
"""All operators that a file may hold, each of the standard set ``ai.onnx``."""

EPS, TINY = (float(getattr(np.finfo(np.float32), name)) for name in ("eps", "tiny"))

Operand: TypeAlias = "Value | np.ndarray | np.int64 | float | int | Sequence[int]"


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor of a graph, known by its name; arithmetic adds nodes."""

    graph: "Graph"
    name: str
    __array_ufunc__ = None  # lets an array on the left leave arithmetic to this class

    def __add__(self, other: Operand) -> "Value":
        return self.graph.op("Add", self, other)

    def __radd__(self, other: Operand) -> "Value":
        return self.graph.op("Add", other, self)

    def __sub__(self, other: Operand) -> "Value":
        return self.graph.op("Sub", self, other)

    def __rsub__(self, other: Operand) -> "Value":
        return self.graph.op("Sub", other, self)

    def __mul__(self, other: Operand) -> "Value":
        return self.graph.op("Mul", self, other)

    def __rmul__(self, other: Operand) -> "Value":
        return self.graph.op("Mul", self, other)

    def __truediv__(self, other: Operand) -> "Value":
        return self.graph.op("Div", self, other)

    def __rtruediv__(self, other: Operand) -> "Value":
        return self.graph.op("Div", other, self)

    def __matmul__(self, other: "Value | np.ndarray") -> "Value":
        return self.graph.product(self, other)

    @property
    def mT(self) -> "Value":
        """The transposed matrices of a stack."""
        return self.graph.op("Transpose", self, perm=list(self.graph.layout.swapped))

    def reduce(self, name: str, axes: Sequence[int] | None = None, *, keep: bool = False) -> "Value":
        """Return a reduction, by default of whole matrices: ``"Sum"``, ``"SumSquare"``, ``"L1"``, ``"L2"`` ..."""
        axes = self.graph.layout.axes if axes is None else axes
        return self.graph.op(f"Reduce{name}", self, list(axes), keepdims=int(keep))

    def square_norm(self, *, keep: bool = False) -> "Value":
        """Return the sum of the squares of all entries of a matrix."""
        if self.graph.prefers_few_nodes:
            return self.reduce("SumSquare", keep=keep)
        return (self * self).reduce("Sum", keep=keep)

    def norm(self, *, keep: bool = False) -> "Value":
        """Return the Frobenius norm of a matrix."""
        if self.graph.prefers_few_nodes:
            return self.reduce("L2", keep=keep)
        return self.graph.op("Sqrt", self.square_norm(keep=keep))

    def take(self, index: int | Sequence[int], axis: int) -> "Value":
        """Return a slice without its axis, or several with it."""
        return self.graph.op("Gather", self, np.array(index, np.int64), axis=axis)

    def block(self, rows: tuple[int, int], columns: tuple[int, int]) -> "Value":
        """Return what lies between two indices along the first axis and two along the second."""
        (top, bottom), (left, right) = rows, columns
        return self.graph.op("Slice", self, [top, left], [bottom, right], [0, 1])

    def part(self, start: int, end: int, *axes: int) -> "Value":
        """Return what lies between two indices along axes."""
        n_axes = len(axes)
        return self.graph.op("Slice", self, [start] * n_axes, [end] * n_axes, list(axes))


@dataclass(frozen=True)
class Layout:
    """Where stacks have their axes inside a graph."""

    axes: tuple[int, int]
    """Of rows and of columns."""
    swapped: tuple[int, int, int]
    """The order of axes that transposes each matrix."""
    inverses: tuple[int, int, int]
    """The order of axes in which inverses are kept, and the way back."""

    @property
    def row_sums(self) -> list[int]:
        """The axis to reduce for one number a row."""
        return [self.axes[1]]

    @property
    def column_sums(self) -> list[int]:
        """The axis to reduce for one number a column."""
        return [self.axes[0]]


FIRST = Layout((1, 2), (0, 2, 1), (0, 1, 2))
"""``(n_matrices, m, m)``: a product is one node."""
LAST = Layout((0, 1), (1, 0, 2), (2, 1, 0))
"""``(m, m, n_matrices)``, inverses transposed: operations entry by entry run along the stack, which pays for the
smallest m."""


class Graph:
    """A graph in the making: nodes, and the constants that they read.

    Parameters
    ----------
    m : int or None
        The size of the matrices; None leaves it to the user of the file.
    layout : Layout, default=FIRST
        Of the stacks inside.
    """

    def __init__(self, m: int | None, layout: Layout = FIRST) -> None:
        self.m = m
        self.layout = layout
        self._nodes: list[onnx.NodeProto] = []
        self._known: dict[tuple[str, ...], list[Value]] = {}
        self._constants: dict[tuple[bytes, tuple[int, ...], str], onnx.TensorProto] = {}
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []

    @property
    def prefers_few_nodes(self) -> bool:
        """Whether one node is better than a few faster ones.

        onnxruntime sums squares of whole matrices at a third of the speed at which it multiplies and then sums; along
        the stack there is no such difference, and a file for any size is to be small.
        """
        return self.layout is LAST or self.m is None

    def input(self, name: str, *, inverse: bool = False) -> Value:
        """Add an input, a stack of matrices or of inverses."""
        self._inputs.append(self._stack(name))
        value = Value(self, name)
        return value if self.layout is FIRST else self.along_stack(value, "ji" if inverse else "ij")

    def along_stack(self, value: Value, order: str) -> Value:
        """Return ``(n, i, j)`` with the first axis last, the others in a new order.

        By an Einsum, since onnxruntime moves a Transpose past the very operations that it is there for.
        """
        return self.op("Einsum", value, equation=f"nij->{order}n")

    def op(self, kind: str, *operands: Operand, **attributes: Any) -> Value:
        """Add a node of one output, unless it is there already, and return that."""
        (value,) = self._add(kind, operands, 1, attributes)
        return value

    def rsqrt(self, value: Value) -> Value:
        """Return ``1 / sqrt(value)``."""
        return self.op("Reciprocal", self.op("Sqrt", value))

    def where(self, condition: Value, value: Operand, other: Operand) -> Value:
        """Return one or the other."""
        return self.op("Where", condition, value, other)

    def split(self, value: Value, n_parts: int, axis: int) -> list[Value]:
        """Add a node that splits a tensor into equal parts."""
        return self._add("Split", (value,), n_parts, {"axis": axis, "num_outputs": n_parts})

    def product(self, A: Value, X: Value | np.ndarray) -> Value:
        """Return the products of matrices with matrices, or with inverses."""
        if self.layout is FIRST:
            return self.op("MatMul", A, X)
        return (self.op("Unsqueeze", A, [1]) * X).reduce("Sum", [2])

    def as_inverse(self, value: Value) -> Value:
        """Return transposed matrices as inverses are kept."""
        return value.mT if self.layout is FIRST else value

    def constant(self, value: Operand) -> Value:
        """Return a constant: arrays of int64 and lists stay whole numbers, all else becomes float32."""
        if isinstance(value, Value):
            return value
        whole = isinstance(value, list) or getattr(value, "dtype", None) == np.int64
        array = np.asarray(value, np.int64 if whole else np.float32)
        key = array.tobytes(), array.shape, str(array.dtype)
        if key not in self._constants:
            self._constants[key] = numpy_helper.from_array(array, f"c{len(self._constants)}")
        return Value(self, self._constants[key].name)

    @cached_property
    def side(self) -> float | Value:
        """The size m as a number."""
        if self.m is not None:
            return float(self.m)
        return self.op("Cast", self.length, to=TensorProto.FLOAT)

    @cached_property
    def length(self) -> Value:
        """The size m of a file for any, as a whole number."""
        return self.op("Squeeze", self._shape(1, 2))

    def is_at_least(self, size: int) -> Value:
        """Return whether m is, for a file for any."""
        return self.op("GreaterOrEqual", self.length, np.int64(size))

    @cached_property
    def root(self) -> float | Value:
        """The square root of m."""
        return math.sqrt(self.side) if isinstance(self.side, float) else self.op("Sqrt", self.side)

    @cached_property
    def identity(self) -> Value:
        """The identity, of a shape that goes with stacks."""
        if self.m is None:
            return self.op("EyeLike", self.op("ConstantOfShape", self._shape(1, 3)))
        eye = np.eye(self.m)
        return self.constant(eye if self.layout is FIRST else eye[:, :, None])

    def flat(self, value: Value, n_matrices: int) -> Value:
        """Return matrices, so many below each other, as rows, ``(n, n_matrices, m * m)``."""
        if self.m is not None:
            return self.op("Reshape", value, [0, n_matrices, self.m**2])
        # Not a Concat, of which onnxruntime would make a shape with -1, which it then refuses for empty stacks.
        area = self.op("Mul", self.length, self.length)
        return self.op("Reshape", value, self.op("Add", self.op("Mul", area, [0, 0, 1]), [0, n_matrices, 0]))

    def multiple_of_identity(self, factor: float) -> Value:
        """Return the identity times a number: a constant where m is known, else a node."""
        return self.identity * factor if self.m is None else self.constant(factor * np.eye(self.m))

    def output(self, name: str, value: Value, *, is_inverse: bool = False, kind: int = TensorProto.FLOAT) -> None:
        """Name a tensor as an output: one number a matrix, or inverses."""
        one_each = helper.make_tensor_value_info(name, kind, ["n_matrices"])
        self._outputs.append(self._stack(name) if is_inverse else one_each)
        if is_inverse and self.layout is LAST:
            value = self.op("Transpose", value, perm=list(self.layout.inverses))
        (node,) = (node for node in self._nodes if value.name in node.output)
        node.output[list(node.output).index(value.name)] = name
        for other in self._nodes:
            other.input[:] = [name if read == value.name else read for read in other.input]

    def model(self, description: str, metadata: Mapping[str, str], opset: int | None = None) -> onnx.ModelProto:
        """Return the model, checked."""
        self._prune()
        versions = [helper.make_opsetid("", OPSET if opset is None else int(opset))]
        model = helper.make_model(
            helper.make_graph(self._nodes, "inverse", self._inputs, self._outputs, list(self._constants.values())),
            producer_name="skdmi",
            producer_version=__version__,
            doc_string=description,
            opset_imports=versions,
            ir_version=helper.find_min_ir_version_for(versions),
        )
        helper.set_model_props(model, dict(metadata))
        onnx.checker.check_model(model, full_check=True)
        return model

    def _prune(self) -> None:
        """Drop what no output needs."""
        needed = {output.name for output in self._outputs}
        kept = []
        for node in reversed(self._nodes):
            if needed.intersection(node.output):
                needed.update(node.input)
                kept.append(node)
        self._nodes = kept[::-1]
        self._constants = {key: value for key, value in self._constants.items() if value.name in needed}

    def _add(self, kind: str, operands: Sequence[Operand], n_outputs: int, attributes: Any) -> list[Value]:
        if kind not in OPERATORS:
            raise ValueError(f"{kind!r} is not an operator that files may hold: {sorted(OPERATORS)}.")
        read = [self.constant(operand).name for operand in operands]
        key = kind, *read, repr(sorted(attributes.items()))
        if key not in self._known:
            names = [f"t{len(self._nodes)}" + (f"_{i}" if n_outputs > 1 else "") for i in range(n_outputs)]
            self._nodes.append(helper.make_node(kind, read, names, **attributes))
            self._known[key] = [Value(self, name) for name in names]
        return self._known[key]

    def _shape(self, start: int, end: int) -> Value:
        return self.op("Shape", Value(self, self._inputs[0].name), start=start, end=end)

    def _stack(self, name: str) -> onnx.ValueInfoProto:
        side = "m" if self.m is None else self.m
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n_matrices", side, side])


def check_opset(opset: Any) -> None:
    """Refuse a version of the operators that cannot be written.

    Raises
    ------
    ValueError
        If it is neither None nor a version from 18 to the newest that onnx knows.
    """
    newest = defs.onnx_opset_version()
    is_number = isinstance(opset, Integral) and not isinstance(opset, bool)
    if opset is not None and not (is_number and OPSET <= opset <= newest):
        raise ValueError(f"opset={opset!r}; expected a whole number from {OPSET} to {newest}.")
