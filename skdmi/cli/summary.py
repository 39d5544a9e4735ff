"""What is said of a stream of inverses, gathered chunk by chunk while they are computed."""

from collections import Counter
from dataclasses import dataclass, field
from itertools import count, groupby
from typing import Any

import click
import numpy as np

import skdmi
from skdmi.cli.streams import quietly

MAX_RANGES = 100
COLUMNS = ("residual_norm", "error_bound", "certified", "converged", "n_steps", "source")


@dataclass
class Summary:
    """Inverses counted, their residual norms, and the indices of those that are not as they should be."""

    n_matrices: int = 0
    total: float = 0.0
    largest: float = 0.0
    missing: list[int] = field(default_factory=list)
    uncertified: list[int] = field(default_factory=list)
    inaccurate: list[int] = field(default_factory=list)
    n_rescued: int = 0
    sources: Counter[str] = field(default_factory=Counter)

    def raw(self, inverter: Any, A: np.ndarray) -> np.ndarray:
        """Return what an inverter answers to a chunk."""
        X = quietly(inverter.transform, A)
        self._add(skdmi.metrics.frobenius_residuals(A, X))
        return X

    def certified(self, inverter: Any, A: np.ndarray, *, table: Any = None) -> np.ndarray:
        """Return the inverses of a chunk that a RefinedInverter reports; a row for each goes to the table, if any."""
        start = self.n_matrices
        try:
            report = quietly(inverter.report, A)
        except np.linalg.LinAlgError as error:  # Its indices are those within the chunk.
            raise ValueError(f"{error}" + f" Counted from matrix {start}." * bool(start)) from error
        refused = report.source == "none"
        if A.dtype == np.float32 and refused.any():
            in_float64 = quietly(inverter.report, A[refused].astype(np.float64))
            self.n_rescued += int(in_float64.certified.sum())
        if table:
            table.writerows(zip(count(start), *(getattr(report, name).tolist() for name in COLUMNS), strict=False))
        self.uncertified += self._indices(~report.certified)
        self.inaccurate += self._indices(report.inaccurate)
        self.sources.update(report.source.tolist())
        self._add(report.residual_norm)
        return report.inverse

    def _indices(self, flags: np.ndarray) -> list[int]:
        return (np.flatnonzero(flags) + self.n_matrices).tolist()

    def _add(self, norms: np.ndarray) -> None:
        self.missing += self._indices(np.isnan(norms))
        self.n_matrices += len(norms)
        self.total += float(np.nansum(norms))
        self.largest = max(self.largest, float(np.nanmax(norms, initial=0.0)))

    def warn(self, indices: list[int], text: str, advice: str = "") -> None:
        """Say on stderr what is the matter with some matrices, and what to try."""
        if indices:
            share = f"{len(indices)} of {self.n_matrices} matrices"
            click.echo(f"Warning: {share} {text}: index {name_ranges(indices)}. {advice}".rstrip(), err=True)

    def __str__(self) -> str:
        parts = [f"{self.n_matrices} matrices"]
        if self.sources:
            sources = ", ".join(f"{n} {name}" for name, n in self.sources.items() if name != "none")
            parts.append(f"{self.n_matrices - len(self.uncertified)} certified" + f" ({sources})" * bool(sources))
        if n_inverses := self.n_matrices - len(self.missing):
            parts.append(f"residual norm mean {self.total / n_inverses:.3g}, max {self.largest:.3g}")
        return ", ".join([*parts, f"{len(self.missing)} missing inverses"])


def name_ranges(indices: list[int]) -> str:
    """Return indices in order as a text, neighbours as a range.

    >>> name_ranges([0, 1, 2, 5, 7, 8])
    '0-2, 5, 7-8'
    """
    runs = [[index for _, index in run] for _, run in groupby(enumerate(indices), lambda pair: pair[1] - pair[0])]
    texts = [f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs[:MAX_RANGES]]
    return ", ".join(texts) + ", ..." * (len(runs) > MAX_RANGES)
