"""The tables of ``benchmarks.certify``, from its records, and the targets that were set before the work began."""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby

from benchmarks.lib import chunks
from benchmarks.lib import tight_bounds as bounds
from benchmarks.lib.records import Record
from benchmarks.lib.targets import Target, Values, spell

NUMPY, CERTIFY, CERTIFY_TIGHT = "numpy.linalg.inv", "skdmi.certify", "skdmi.certify, tight"
CRLIN = "crlin.solve(A, I, inverse=X)"
MEASURED_SIZE = 16
ABSENT = "not installed"
_RIGHT_TO_ONE = (3, 11)
"""The Hilbert matrices whose tight bounds were to be as small as their errors."""


def print_bounds(rows: Sequence[Record]) -> None:
    """Print true errors of LAPACK's inverses and of refined ones, and bounds on them."""
    print("\nBounds beside true errors, relative, in the Frobenius norm: medians, and largest ratios")
    print(
        "X is that of numpy.linalg.inv, then that of skdmi.inv(tight=True); crlin's is the half width of an enclosure"
    )
    print(f"{'':46}{'plain':>20}{'tight':>30}{'refined X':>32}{'crlin':>18}")
    print(f"{'':38}{'error':>8}{'bound':>10}{'over it':>10}{'bound':>10}{'over it':>10}{'at most':>10}", end="")
    print(f"{'error':>12}{'bound':>10}{'at most':>10}{'classical':>12}{'extended':>10}{'certified':>22}")
    for row in rows:
        name = f"{row['m']} x {row['m']}"
        print(f"{name:9}{row['family']:29}{_power(row['error']):>8}", end="")
        print(f"{_power(row['plain_bound']):>10}{_number(row['plain_over_error']):>10}", end="")
        print(f"{_power(row['tight_bound']):>10}{_ratio(row['tight_over_error']):>10}", end="")
        print(f"{_ratio(row['tight_over_error_max']):>10}{_power(row['refined_error']):>12}", end="")
        print(f"{_power(row['refined_bound']):>10}{_power(row['refined_bound_max']):>10}", end="")
        print(
            "".join(f"{_crlin(row.get(f'crlin_{m}')):>{w}}" for m, w in (("classical", 12), ("extended", 10))), end=""
        )
        shares = (row[f"{name}_certified"] for name in ("plain", "tight", "refined"))
        print(f"{' / '.join(f'{100 * share:.0f}' for share in shares) + ' %':>22}")


def print_reach(rows: Sequence[Record], largest: int) -> None:
    """Print how far each method gets."""
    print(f"\nHilbert matrices, as float64 stores them, from 3 on: certified to n = (tried to {largest})")
    for row in rows:
        print(f"{row['method']:60}{row['n']:>4}")
    if not any("crlin" in row["method"] for row in rows):
        print(f"{'crlin':60}{ABSENT:>4}")


def print_costs(title: str, rows: Sequence[Record], over: str) -> None:
    """Print what a matrix takes, by methods and sizes, and that over a method of the same turn."""
    print(f"\n{title}: ns a matrix, and times over {over}")
    sizes = list(dict.fromkeys(row["m"] for row in rows))
    print(f"{'':40}" + "".join(f"{m:>20}" for m in sizes))
    for method in dict.fromkeys(row["method"] for row in rows):
        cells = {row["m"]: row for row in rows if row["method"] == method}
        print(f"{method:40}" + "".join(_cell(cells.get(m)) for m in sizes))


def print_crlin(rows: Sequence[Record]) -> None:
    """Print crlin's time over that of a tight certificate of the same X."""
    print(f"\n{CRLIN}, one matrix after the other, over {CERTIFY_TIGHT}, of the stack: float64, U[-1,1]")
    if not rows:
        print(f"crlin: {ABSENT}")
        return
    sizes = list(dict.fromkeys(row["m"] for row in rows))
    print(f"{'n_matrices':>12}" + "".join(f"{m:>10}" for m in sizes))
    for n, group in groupby(rows, key=lambda row: row["n_matrices"]):
        ratios = {row["m"]: row["over_certify"] for row in group if row["method"] == CRLIN}
        print(f"{n:>12}" + "".join(f"{ratios[m]:>10.1f}" for m in sizes))


def print_chunks(rows: Sequence[Record]) -> None:
    """Print what inverses of chunks take, and how many are certified."""
    print(f"\nDelta-rule chunks, float32: us a chunk, and times over {chunks.INVERSE}")
    sizes = list(dict.fromkeys(row["m"] for row in rows))
    timed = [row for row in rows if row["part"] == "chunks"]
    print(f"{'':40}" + "".join(f"{m:>20}" for m in sizes))
    for method in dict.fromkeys(row["method"] for row in timed):
        cells = {row["m"]: row for row in timed if row["method"] == method}
        numbers = (f"{cells[m]['ns'] / 1e3:>13,.1f}{cells[m]['over_inverse']:>7.2f}" for m in sizes)
        print(f"{method:40}" + "".join(numbers))
    print("certified, % / largest relative error")
    judged = [row for row in rows if row["part"] == "chunks judged"]
    for keys, method in dict.fromkeys((row["keys"], row["method"]) for row in judged):
        cells = {row["m"]: row for row in judged if (row["keys"], row["method"]) == (keys, method)}
        shares = (f"{cells[m]['certified']:.0f} / {_power(cells[m]['error'])}" for m in sizes)
        print(f"{keys:18}{method:40}" + "".join(f"{share:>18}" for share in shares))


def print_attacks(rows: Sequence[Record]) -> None:
    """Print how many claims were judged by exact arithmetic, and how many were false."""
    print(
        "\nAttacks, judged by exact arithmetic: false certificates; entries, norms and condition numbers out of bounds;"
    )
    print("matrices within rounding that are singular (of slogdet and structures: whatever was claimed)")
    head = ("cases", "singular", "certified", "false", "entries", "errors", "conditions", "robust")
    print(f"{'':46}" + "".join(f"{name:>11}" for name in head))
    for row in [*rows, {"kind": "all"} | {name: sum(row.get(name) or 0 for row in rows) for name in head}]:
        cells = (f"{row[name]:,}" if row.get(name) is not None else "-" for name in head)
        print(f"{row['kind']:46}" + "".join(f"{cell:>11}" for cell in cells))


def count_false(rows: Sequence[Record]) -> int:
    """Return how many claims were false, of whatever kind."""
    kinds = ("false", "entries", "errors", "conditions", "robust")
    return sum(row.get(kind) or 0 for row in rows for kind in kinds)


def certify_targets(found: Mapping[str, Sequence[Record]], silent: int) -> list[Target]:
    """Return what was set, beside what was measured: of parts of the records, and of the audit."""
    by_family = {(row["family"], row["m"]): row for row in found["bounds"]}
    first = [row for row in found["bounds"] if "unstructured" not in row["family"] and _is_right_to_one(row)]
    loose = [row for row in found["bounds"] if "unstructured" in row["family"]]
    refined = [by_family[key]["refined_bound"] for key in (("U[-1,1]", 16), ("Wishart", 16))]
    hilbert = [by_family[bounds.HILBERT, m]["refined_bound"] for m in (9, 11)]
    last = {row["method"]: row["n"] for row in found["reach"]}
    without = max((last[name], name) for name in last if name.startswith((bounds.PRODUCTS, bounds.KERNEL)))
    plain = by_family["U[-1,1]", 16]["plain_over_error"]
    worst = max(first, key=lambda row: row["tight_over_error_max"])
    lines = [
        _line("tight bound over error, at most", 1.1, 1.01, worst["tight_over_error_max"], _name(worst)),
        _line("bound of refined X: U[-1,1], Wishart", 1e-16, 6e-17, max(refined), "the larger median"),
        _line("... Hilbert 9", 1e-15, 1e-16, hilbert[0], "inv, tight"),
        _line("... Hilbert 11", 1e-13, 1e-14, hilbert[1], "inv, tight"),
        _line("... unstructured, the largest", 1e-13, 1e-15, max(r["refined_bound_max"] for r in loose), "inv, tight"),
        _line("Hilbert, LAPACK's X: n", 12, 13, last[bounds.LAPACK_TIGHT], bounds.LAPACK_TIGHT, smaller=False),
        _line("Hilbert, without LAPACK: n", 11, 12, *without, smaller=False),
        _line("plain bound over error, U[-1,1] 16", None, None, plain, "the median"),
    ]
    for dtype in ("float64", "float32"):
        for method, must, reach in ((CERTIFY, 0.5, 0.2), (CERTIFY_TIGHT, 3.0, 1.5)):
            row = _cost(found["costs"], method, dtype)
            lines.append(_line(f"{method}, m = {MEASURED_SIZE}, over numpy", must, reach, row["over_numpy"], dtype))
    ahead = [row["over_certify"] for row in found["crlin"] if row["method"] == CRLIN and row["n_matrices"] > 1]
    by = "the least, n_matrices > 1" if ahead else ABSENT
    lines.append(_line("crlin over certify, tight", 1.0, None, min(ahead, default=None), by, smaller=False))
    chunked = {row["m"]: row["over_inverse"] for row in found["chunks"] if row["method"] == chunks.CERTIFIED}
    lines += [_line(f"chunks of {m}: over torch", 1.5, 1.0, ratio, chunks.CERTIFIED) for m, ratio in chunked.items()]
    cases = sum(row["cases"] for row in found["attacks"])
    lines.append(_line("false, of all attacks", 0, None, count_false(found["attacks"]), f"{cases:,} attacks"))
    return [*lines, _line("audit, skdmi.inv: wrong and silent", 0, None, silent, "float64 and float32")]


def print_targets(found: Sequence[Target]) -> None:
    """Print each target with its verdicts."""
    print("\nTargets")
    print(f"{'':42}{'must':>9}{'hoped':>9}{'measured':>11}  {'must':14}{'hoped':14}by")
    for t in found:
        print(f"{t.quantity:42}{spell(t.must):>9}{spell(t.reach):>9}{spell(t.measured):>11}", end="")
        print(f"  {t.verdict(t.must):14}{t.verdict(t.reach):14}{t.by}")


def _line(
    quantity: str, must: float | None, reach: float | None, measured: float | None, by: str, *, smaller: bool = True
) -> Target:
    return Target(quantity, _values(must) or (), _values(reach) or (), smaller, _values(measured), by, "-")


def _values(value: float | None) -> Values | None:
    return None if value is None else (float(value),)


def _is_right_to_one(row: Record) -> bool:
    smallest, largest = _RIGHT_TO_ONE
    return row["family"] != bounds.HILBERT or smallest <= row["m"] <= largest


def _cost(rows: Sequence[Record], method: str, dtype: str) -> Record:
    wanted = {"method": method, "dtype": dtype, "m": MEASURED_SIZE}
    return next(row for row in rows if wanted.items() <= row.items())


def _name(row: Record) -> str:
    return f"{row['family']}, {row['m']} x {row['m']}"


def _cell(row: Record | None) -> str:
    return " " * 20 if row is None else f"{row['ns']:>13,.0f}{row['over_numpy']:>7.2f}"


def _when_finite(spelled: Callable[[float], str]) -> Callable[[float], str]:
    return lambda value: spelled(value) if math.isfinite(value) else "none"


_power = _when_finite(lambda value: f"{value:.1e}")
_number = _when_finite(lambda value: f"{value:.0f}")
_ratio = _when_finite(lambda value: f"{value:.4g}")


def _crlin(value: float | None) -> str:
    return "absent" if value is None else _power(value)
