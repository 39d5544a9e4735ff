"""Methods beside each other: times in turn, errors against a truth, and a table of both."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.lib.pinv_attack import Verdict
from benchmarks.lib.records import Record
from benchmarks.lib.timing import in_turn


@dataclass(frozen=True)
class Case:
    """Matrices, what is right, and who is asked."""

    title: str
    matrices: Any
    truth: np.ndarray | None
    methods: Mapping[str, Callable[[Any], Any]]
    yardstick: str
    claims: Mapping[str, Callable[[Any], tuple[np.ndarray, np.ndarray]]]
    """By method what returns which answers are certified, and bounds on their errors."""


def measure(case: Case, repeats: int) -> list[Record]:
    """Return a record a method: time, errors, and what is proved."""
    A, n = case.matrices, len(case.matrices)
    spent = in_turn(case.methods, [A] * (repeats + 1))
    each = {name: runs.per(n) for name, runs in spent.items()}
    rows = []
    for name, method in case.methods.items():
        row = {"case": case.title, "method": name, "n_matrices": n}
        row |= each[name].record(yardstick=each[case.yardstick])
        row["wall_over"] = float(np.median(each[name].wall / each[case.yardstick].wall))
        if case.truth is not None:
            errors = relative_errors(np.asarray(method(A)), case.truth)
            finite = errors[np.isfinite(errors)]
            row |= {"error": float(np.median(errors)) if len(finite) * 2 > n else np.nan}
            row |= {"largest_error": float(finite.max()) if len(finite) else np.nan, "missing": n - len(finite)}
        if name in case.claims:
            certified, bound = case.claims[name](A)
            row |= {"certified": float(np.mean(certified)), "bound": float(np.median(bound))}
        rows.append(row)
    return rows


def relative_errors(X: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the errors of answers over the norms of what is right, in the Frobenius norm; NaN where there is none."""
    with np.errstate(all="ignore"):
        return np.asarray(np.linalg.norm(X - truth, axis=(1, 2)) / np.linalg.norm(truth, axis=(1, 2)))


def print_case(rows: Sequence[Record], yardstick: str) -> None:
    """Print one case as a table."""
    print(f"\n{rows[0]['case']}: {rows[0]['n_matrices']:,} matrices; times over {yardstick}")
    print(
        f"{'':44}{'ns each':>12}{'over':>8}{'wall':>8}{'error':>11}{'largest':>11}{'none':>7}{'proved':>9}{'bound':>11}"
    )
    for row in rows:
        line = f"{row['method']:44}{row['ns']:>12,.0f}{row['over_yardstick']:>8.2f}{row['wall_over']:>8.2f}"
        line += _power(row, "error") + _power(row, "largest_error") + f"{row.get('missing', ''):>7}"
        proved = f"{100 * row['certified']:.1f} %" if "certified" in row else ""
        print(f"{line}{proved:>9}{_power(row, 'bound')}")


def print_verdict(what: str, verdict: Verdict) -> None:
    """Print what came of attacks."""
    print(f"\n{what}: {verdict.n_claims:,} attacks, {verdict.n_proved:,} proved, {verdict.n_false} of them false")


def without_nan(rows: Sequence[Record]) -> list[Record]:
    """Return records as JSON can hold them."""
    return [
        {name: None if isinstance(value, float) and not np.isfinite(value) else value for name, value in row.items()}
        for row in rows
    ]


def _power(row: Record, name: str) -> str:
    return f"{row[name]:>11.1e}" if name in row else " " * 11
