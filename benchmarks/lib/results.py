"""The figures of the accuracy tables as JSON, for tables that quote them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.lib.problems import Problem, Row


class Results:
    """What one run has measured, by the key of the problem."""

    def __init__(self, machine: str) -> None:
        self.machine = machine
        self.problems: dict[str, dict[str, Any]] = {}

    def add(self, problem: Problem, rows: Sequence[Row], n_matrices: int) -> None:
        """Add a problem's rows."""
        described = [
            {
                "name": row.name,
                "kind": row.kind,
                "products": row.products,
                "for_one_size": row.network is not None and row.network.is_special,
                "mean": row.figures.mean,
                "within": row.figures.within,
            }
            for row in rows
        ]
        self.problems[problem.key] = {"n_matrices": n_matrices, "rows": described}

    def save(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"machine": self.machine, "problems": self.problems}, indent=1) + "\n")
