"""Files of inverses as onnxruntime runs them on one thread of a CPU: what they take, and what they prove."""

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
import torch

from benchmarks.lib.inverses import NUMPY, TORCH
from benchmarks.lib.records import Record
from benchmarks.lib.timing import in_turn

PART = 1000
"""Matrices of a call where a stack is only to be inverted, not timed."""


MOST_CALLS = 100
"""Of a run: of single matrices not as many are inverted as of those in stacks."""


def _power_of_two(x: np.ndarray) -> np.ndarray:
    """Return the largest power of two that is at most x."""
    return np.ldexp(1.0, np.frexp(x)[1] - 1)


UNITS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "matrix": lambda A: np.ones((len(A), 1, 1)),
    "rows": lambda A: _power_of_two(np.abs(A).sum(axis=2, keepdims=True)),
    "diagonal": lambda A: _power_of_two(np.sqrt(A.diagonal(axis1=1, axis2=2)))[:, :, None],
}
"""Of the rows of a stack: one for a matrix, or powers of two."""


class Answers(NamedTuple):
    """What a file finds of a stack."""

    inverse: np.ndarray
    rho: np.ndarray

    @property
    def certified(self) -> np.ndarray:
        return self.rho < 1


@dataclass(frozen=True)
class File:
    """A file, and how onnxruntime runs it."""

    name: str
    model: onnx.ModelProto
    units: str = "rows"
    """In which rho bounds the residual, see `UNITS`."""

    @cached_property
    def session(self) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        return onnxruntime.InferenceSession(self.bytes, options, providers=["CPUExecutionProvider"])

    @cached_property
    def bytes(self) -> bytes:
        return self.model.SerializeToString()

    @property
    def size(self) -> Record:
        return {"nodes": len(self.model.graph.node), "n_bytes": len(self.bytes)}

    @property
    def said(self) -> dict[str, str]:
        """What the file says of itself."""
        return {row.key: row.value for row in self.model.metadata_props}

    @property
    def steps(self) -> str:
        """What the file of a refined inverter does after its start, in words."""
        return json.loads(self.said.get("steps", '""'))

    @property
    def is_plain(self) -> bool:
        """Whether nothing that was learned is in the file of a refined inverter."""
        return self.steps.startswith(("cofactors", "elimination", "fixed steps"))

    def feed(self, A: np.ndarray) -> dict[str, np.ndarray]:
        """Return inputs: A and, where a file only certifies, its inverses."""
        feed = {"A": A}
        if len(self.model.graph.input) > 1:
            feed["X"] = lapack_inverse(A)
        return feed

    def invert(self, A: np.ndarray) -> Answers:
        """Invert a stack in parts; a file that only certifies is given inverses, and returns them."""
        found = []
        for start in range(0, len(A), PART):
            feed = self.feed(A[start : start + PART])
            outputs = self.session.run(["rho"] if "X" in feed else ["inverse", "rho"], feed)
            found.append((feed.get("X", outputs[0]), outputs[-1]))
        return Answers(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def written(name: str, inverter: Any, *args: Any, plain_units: str = "rows", **options: Any) -> File:
    """Return the file that an inverter exports, which has its own units where it begins from nothing learned."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "inverse.onnx"
        inverter.export(path, *args, **options)
        file = File(name, onnx.load(path))
    return replace(file, units=plain_units if file.is_plain else "matrix")


def lapack_inverse(A: np.ndarray) -> np.ndarray:
    """Return the inverses that LAPACK finds in float64, rounded to float32."""
    return np.linalg.inv(A.astype(np.float64)).astype(np.float32)


def residual_norms(A: np.ndarray, X: np.ndarray, units: str = "matrix") -> np.ndarray:
    """Return residual norms in float64, in the units of a certificate."""
    R = np.eye(A.shape[-1]) - A.astype(np.float64) @ X.astype(np.float64)
    scale = UNITS[units](A)
    return np.linalg.norm(R / scale * scale.mT, axis=(1, 2))


def count_false(file: File, A: np.ndarray, found: Answers) -> int:
    """Return how many matrices have a rho below 1 that does not bound what is left."""
    A, X, rho = (part[found.certified] for part in (A, *found))
    return int(np.count_nonzero(~(residual_norms(A, X, file.units) <= rho)))


def time_files(
    files: Mapping[str, File],
    A: np.ndarray,
    batch: int,
    *,
    entries: int,
    repeats: int,
    eager: Mapping[str, torch.nn.Module] | None = None,
    first: str = NUMPY,
) -> list[Record]:
    """Time files, and networks in torch, beside numpy and torch on the same matrices.

    A run is of calls with so many matrices at once, which have about so many entries together. Ratios are also to the
    ``first``.
    """
    A = A[:batch]
    tensor = torch.from_numpy(A)
    calls: dict[str, Callable[[], Any]] = {NUMPY: partial(np.linalg.inv, A), TORCH: partial(torch.linalg.inv, tensor)}
    calls |= {name: partial(file.session.run, None, file.feed(A)) for name, file in files.items()}
    calls |= {name: partial(module, tensor) for name, module in (eager or {}).items()}
    n_calls = min(MOST_CALLS, max(1, entries // A.size))

    def repeat(call: Callable[[], Any], n: int) -> None:
        with torch.inference_mode():
            for _ in range(n):
                call()

    runs = {name: partial(repeat, call) for name, call in calls.items()}
    spent = {name: runs.per(n_calls * len(A)) for name, runs in in_turn(runs, [n_calls] * (repeats + 1)).items()}
    beside = {"numpy": spent[NUMPY], "torch": spent[TORCH], "first": spent[first]}
    sizes = {name: file.size for name, file in files.items()}
    said = {"m": A.shape[-1], "batch": batch}
    return [{"method": name, **said, **sizes.get(name, {}), **runs.record(**beside)} for name, runs in spent.items()]
