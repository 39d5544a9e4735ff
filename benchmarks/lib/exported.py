"""Files of inverses as onnxruntime runs them on one thread of a CPU: what they take, and what they prove."""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
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
    by_rows: bool = True
    """Whether rows have units of their own, in which rho bounds the residual; else a matrix has one unit."""

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


def written(name: str, inverter: Any, *args: Any, by_rows: bool = True) -> File:
    """Return the file that an inverter exports."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "inverse.onnx"
        inverter.export(path, *args)
        return File(name, onnx.load(path), by_rows)


def lapack_inverse(A: np.ndarray) -> np.ndarray:
    """Return the inverses that LAPACK finds in float64, rounded to float32."""
    return np.linalg.inv(A.astype(np.float64)).astype(np.float32)


def residual_norms(A: np.ndarray, X: np.ndarray, *, by_rows: bool = False) -> np.ndarray:
    """Return residual norms in float64, in the units of A or in those of a certificate."""
    R = np.eye(A.shape[-1]) - A.astype(np.float64) @ X.astype(np.float64)
    if by_rows:
        _, exponents = np.frexp(np.abs(A).sum(axis=2, keepdims=True))
        units = np.ldexp(1.0, exponents - 1)
        R = R / units * units.mT
    return np.linalg.norm(R, axis=(1, 2))


def count_false(file: File, A: np.ndarray, found: Answers) -> int:
    """Return how many matrices have a rho below 1 that does not bound what is left."""
    A, X, rho = (part[found.certified] for part in (A, *found))
    return int(np.count_nonzero(residual_norms(A, X, by_rows=file.by_rows) > rho))


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
    spent = {name: runs.per(n_calls * batch) for name, runs in in_turn(runs, [n_calls] * (repeats + 1)).items()}
    beside = {"numpy": spent[NUMPY], "torch": spent[TORCH], "first": spent[first]}
    sizes = {name: file.size for name, file in files.items()}
    said = {"m": A.shape[-1], "batch": batch}
    return [{"method": name, **said, **sizes.get(name, {}), **runs.record(**beside)} for name, runs in spent.items()]
