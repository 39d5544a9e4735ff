"""What is right, wrong and said so, or wrong and silent, when matrices that break inverses are inverted.

``python -m benchmarks.audit [--quick] [--json FILE]`` runs ``numpy.linalg.inv``, ``torch.linalg.inv`` and ``skdmi.inv``
on the audit set (:func:`skdmi.datasets.judge`) in float64 and float32. numpy inverts float32 in float64, and rounds.
What becomes of an ill-conditioned or singular member in floating point depends on the processor, too.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import skdmi
from benchmarks.lib.machine import facts, spell, start_as_it_is
from benchmarks.lib.records import Record, figures_parser, save_records
from skdmi.datasets import AuditReport, judge

METHODS: dict[str, Callable[[Any], Any]] = {
    "numpy.linalg.inv": np.linalg.inv,
    "torch.linalg.inv": torch.linalg.inv,
    "skdmi.inv": skdmi.inv,
}
DTYPES = ("float64", "float32")


def records(method: str, report: AuditReport) -> list[Record]:
    """Return counts and the largest error, family by family; None where an answer stands for no inverse."""
    rows = []
    for family in dict.fromkeys(case.family for case in report.cases):
        error = report.largest_error(family)
        row = {"method": method, "dtype": report.dtype, "family": family, **report.counts(family)}
        rows.append(row | {"largest error": error if np.isfinite(error) else None})
    return rows


def main() -> None:
    options = figures_parser(__doc__, "in float64 alone").parse_args()
    machine = facts()
    print(spell(machine))
    found: list[Record] = []
    for dtype in DTYPES[:1] if options.quick else DTYPES:
        for method, call in METHODS.items():
            report = judge(call, dtype=dtype)
            found += records(method, report)
            print(f"\n{method}, {dtype}\n{report}")
            for name, indices in report.silent().items():
                print(f"wrong and silent: {name}, index {', '.join(map(str, indices))}")
    if options.json:
        save_records(options.json, machine, found)


if __name__ == "__main__":
    start_as_it_is()
    main()
