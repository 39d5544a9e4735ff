"""The tables of ``benchmarks.export``, from its records."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from benchmarks.lib.records import Record
from benchmarks.lib.targets import Target, spell

BATCHES = (1, 100, 1000)
CLOSED_3, FIXED, ANY, FAMILY = "closed_form(3)", "fixed({})", "any_size()", "family {0} x {0}"
FROM_FAMILY = "the start of a family, and hyperpower steps of "
"""What most files of families say of their steps."""
TIMES = {1: "1 at once", 100: "100 at once", 1000: "1,000 at once"}
CERTAIN = 99.9


def print_speed(title: str, rows: Sequence[Record]) -> None:
    """Print what a matrix takes, by files and beside them, in calls with so many matrices."""
    print(f"\n{title}: us a matrix / over numpy.linalg.inv / over torch.linalg.inv")
    print(f"{'':44}{'nodes':>7}{'bytes':>9}", end="")
    print("".join(f"{TIMES[batch]:>25}" for batch in reversed(BATCHES)) + f"{'certified':>11}{'median rho':>12}")
    for (m, method), group in groupby(rows, key=lambda row: (row["m"], row["method"])):
        by_batch = {row["batch"]: row for row in group}
        one = by_batch[BATCHES[-1]]
        print(f"{f'{m} x {m}':9}{method:35}{_whole(one.get('nodes')):>7}{_whole(one.get('n_bytes')):>9}", end="")
        print("".join(f"{_times(by_batch.get(batch)):>25}" for batch in reversed(BATCHES)), end="")
        print(f"{_share(one.get('certified')):>11}{_power(one.get('rho')):>12}")


def print_shares(rows: Sequence[Record]) -> None:
    """Print how many matrices are certified, as they are and with their rows in other units."""
    print(f"\nU[-1,1], {rows[0]['n']:,} matrices: certified, and how many no longer are with rows times 2^-30 to 2^30")
    print("False: certified, but the residual norm in float64 is above rho")
    print(f"{'':44}{'certified':>11}{'lost':>8}{'gained':>8}{'false':>8}{'median rho':>12}")
    for row in rows:
        print(f"{_size(row):9}{row['method']:35}{_share(row['certified']):>11}", end="")
        print(f"{row['lost']:>8}{row['gained']:>8}{row['false']:>8}{_power(row['rho']):>12}")


def print_departures(rows: Sequence[Record]) -> None:
    """Print whether learned departures gain at equal time."""
    print("\nDo learned departures gain at equal microseconds? U[-1,1], 1,000 at once, with the certificate")
    print(f"{'':60}{'us':>8}{'/ learned':>11}{'residual: median':>18}{'99 %':>10}{'certified':>11}")
    for row in rows:
        print(f"{_size(row):9}{row['method']:51}{row['ns'] / 1e3:>8.2f}{row['over_first']:>11.2f}", end="")
        print(f"{_power(row['median']):>18}{_power(row['p99']):>10}{_share(row['certified']):>11}")


def print_families(rows: Sequence[Record]) -> None:
    """Print what a fitted family takes and proves, and what becomes of others."""
    one = rows[0]
    print(f"\nFamilies of kernels: fitted to {one['n_fit']:,}, tested on {one['n']:,} fresh members, 1,000 at once")
    print("Others are uniform and Wishart matrices; false: certified, but the residual norm in float64 is above rho")
    print(f"{'':9}{'atoms':>6}{'tol':>7}{'nodes':>7}{'bytes':>9}{'us':>8}{'/ numpy':>9}{'/ torch':>9}", end="")
    print(f"{'certified':>11}{'median rho':>12}{'uniform':>10}{'Wishart':>10}{'false':>7}  after the start")
    for row in rows:
        print(f"{_size(row):9}{row['atoms']:>6}{row['tol']!s:>7}{row['nodes']:>7}", end="")
        print(f"{row['n_bytes']:>9,}{row['ns'] / 1e3:>8.2f}{row['over_numpy']:>9.2f}{row['over_torch']:>9.2f}", end="")
        print(f"{_share(row['certified']):>11}{_power(row['rho']):>12}", end="")
        steps = row["steps"].removeprefix(FROM_FAMILY)
        print(f"{_share(row['uniform']):>10}{_share(row['Wishart']):>10}{row['false']:>7}  {steps}")


def export_targets(speed: Sequence[Record], shares: Sequence[Record]) -> list[Target]:
    """Return what was set before the work began, beside what was measured."""

    def target(quantity: str, must: Any, reach: Any, measured: Any, by: str, *, smaller: bool = True) -> Target:
        return Target(quantity, must, reach, smaller, measured, by, "-")

    found = []
    for what, method, size in (
        ("3 x 3", CLOSED_3, (45.0, 4000.0)),
        ("16 x 16", FIXED.format(16), (110.0, 25000.0)),
        ("any size", ANY, (130.0, 5000.0)),
    ):
        row = _find(speed, method)
        measured = row and (float(row["nodes"]), float(row["n_bytes"]))
        found.append(target(f"{what}: nodes / bytes", size, (), measured, method))
    for what, method, must, reach in (
        ("3 x 3", CLOSED_3, 1.2, 0.7),
        ("16 x 16", FIXED.format(16), 2.5, 1.5),
        ("kernels 16 x 16", FAMILY.format(16), 0.9, 0.6),
        ("kernels 32 x 32", FAMILY.format(32), 0.7, 0.5),
    ):
        row = _find(speed, method)
        by = row["method"] if row else "no file certifies so many members"
        found.append(target(f"{what}: time over numpy's", (must,), (reach,), row and (row["over_numpy"],), by))
    for m in (16, 32):
        row = _find(shares, FIXED.format(m))
        measured = row and (100 * row["certified"],)
        found.append(
            target(f"U[-1,1], {m} x {m}: certified, %", (CERTAIN,), (), measured, FIXED.format(m), smaller=False)
        )
    for m in (16, 32):
        row = _find(speed, FAMILY.format(m))
        measured = row and (100 * row["certified"],)
        by = row["method"] if row else "none"
        found.append(target(f"kernels {m} x {m}, fresh: certified, %", (CERTAIN,), (), measured, by, smaller=False))
    lost = float(sum(row["lost"] for row in shares))
    return [*found, target("lost by rows scaled", (0.0,), (), (lost,), "all files")]


def print_targets(found: Sequence[Target]) -> None:
    """Print each target with its verdicts."""
    print("\nTargets (1,000 at once, the certificate included)")
    print(f"{'':38}{'must':>14}{'hoped':>8}{'measured':>14}  {'must':8}{'hoped':8}by")
    for t in found:
        print(f"{t.quantity:38}{_spell(t.must):>14}{_spell(t.reach):>8}{_spell(t.measured):>14}", end="")
        print(f"  {t.verdict(t.must):8}{t.verdict(t.reach):8}{t.by}")


def _find(rows: Sequence[Record], method: str) -> Record | None:
    """Return the last row of a method, which is that of most matrices at once."""
    found = [row for row in rows if row["method"].startswith(method)]
    return found[-1] if found else None


def _size(row: Record) -> str:
    return f"{row['m']} x {row['m']}"


def _spell(values: Any) -> str:
    return " / ".join(f"{value:.0f}" for value in values) if values and len(values) > 1 else spell(values)


def _times(row: Record | None) -> str:
    return " / ".join(map(_number, (row["ns"] / 1e3, row["over_numpy"], row["over_torch"]))) if row else "-"


def _number(value: float) -> str:
    return f"{value:.2f}" if value < 100 else f"{value:.0f}"


def _whole(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f} %"


def _power(value: float | None) -> str:
    return "-" if value is None else f"{value:.1e}"
