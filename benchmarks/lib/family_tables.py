"""The tables of ``benchmarks.families``, from its records."""

from collections.abc import Sequence

import numpy as np

from benchmarks.lib.families import STATED, TOLERANCES, Family
from benchmarks.lib.records import Record

FITTED, TRAINED = "fitted", "trained"
UNTRAINED = "MR-3"
REACH = {True: "met", False: "missed"}


def print_family(family: Family, rows: Sequence[Record]) -> None:
    """Print what an inverse of a member costs, by every method."""
    first = [row for row in rows if row["seed"] == 0]
    trained = [row for row in rows if row["method"] == TRAINED]
    one = trained[0]
    print(f"\n{family.name}: {family.title}, {family.m} x {family.m}. Start {one['start']}, {_depths(trained)}")
    print(f"fitted in {one['fit_s']:.1f} s, trained in {_range([row['train_s'] for row in trained], '.0f')} s more")
    print(
        f"{'products: median / 99 %':42}"
        + "".join(f"{f'to {tolerance:g}':>12}" for tolerance in TOLERANCES)
        + f"{'operations':>14}{'of start':>10}{'bytes':>10}{'ns':>11}{'/ LAPACK':>10}{'lanes':>8}"
        + f"{'99 % at ' + str(one['budget']):>13}"
    )
    for row in first:
        print(_line(row, family.m))
    for row in trained[1:]:
        print(_line(row | {"method": f"{TRAINED}, seed {row['seed']}"}, family.m))


def _depths(trained: Sequence[Record]) -> str:
    return f"depth {_range([row['depth'] for row in trained], 'd')}, best epoch " + ", ".join(
        str(row["best_epoch"]) for row in trained
    )


def _line(row: Record, m: int) -> str:
    unit = 2 * m**3
    products = row["products"] or [None] * len(TOLERANCES)
    cells = "".join(f"{_pair(pair, 1):>12}" if pair else f"{'-':>12}" for pair in products)
    start = f"{row['start_operations']:.2f}" if row.get("start_operations") is not None else "-"
    ns = f"{row['ns']:,.0f}" if row.get("ns") else "-"
    over, lanes = (f"{row[key]:.2f}" if row.get(key) else "-" for key in ("over_lapack", "lanes_over_lapack"))
    norm = f"{row['p99_at_budget']:.1e}" if row["p99_at_budget"] is not None else "-"
    return (
        f"{row['method']:42}{cells}{_pair(row['operations'][STATED], unit, '.1f'):>14}{start:>10}{row['n_bytes']:>10,}"
        f"{ns:>11}{over:>10}{lanes:>8}{norm:>13}"
    )


def _pair(pair: Sequence[float | None], unit: float, form: str = "g") -> str:
    return " / ".join(f"{value / unit:{form}}" if value is not None else "-" for value in pair)


def _range(values: Sequence[float], form: str) -> str:
    least, most = f"{min(values):{form}}", f"{max(values):{form}}"
    return least if least == most else f"{least} to {most}"


def print_guard(rows: Sequence[Record]) -> None:
    """Print how often matrices fare worse than untrained."""
    print(
        "\nHarm: matrices whose residual norm is more than 10 % above that of as many untrained steps, and not rounding"
    )
    print(f"{'':28}{'off the family':>15}{'taken':>8}{'fitted':>8}{'trained':>9}", end="")
    print(f"{'members':>12}{'taken':>8}{'fitted':>8}{'trained':>9}")
    for row in rows:
        print(f"{row['family'] + ', seed ' + str(row['seed']):28}{row['n']:>15,}{row['n_accepted']:>8,}", end="")
        print(
            f"{row['n_worse_fitted']:>8}{row['n_worse_trained']:>9}{row['n_in']:>12,}{row['in_accepted']:>8,}", end=""
        )
        worst = ", ".join(f"{name} {n}" for name, n in row["kinds"].items())
        print(f"{row['in_worse_fitted']:>8}{row['in_worse_trained']:>9}" + f"  {worst}" * bool(worst))


def print_race(rows: Sequence[Record]) -> None:
    """Print the time of a fitted start with Newton-Schulz steps to the accuracy of LAPACK."""
    print("\nTo LAPACK's median residual norm: the fitted start, then Newton-Schulz steps, beside torch.linalg.inv")
    print(f"{'':16}{'steps':>7}{'residual':>11}{'LAPACK':>10}{'ns':>10}{'LAPACK ns':>11}{'ratio':>7}  quartiles")
    for row in rows:
        lower, upper = row["over_lapack_quartiles"]
        print(
            f"{row['family']:16}{row['n_steps']:>7}{row['reached']:>11.2e}{row['goal']:>10.2e}{row['ns']:>10,.0f}",
            end="",
        )
        print(f"{row['lapack_ns']:>11,.0f}{row['over_lapack']:>7.2f}  {lower:.2f} to {upper:.2f}", end="")
        print("" if row["is_reached"] else "  not reached")


def print_targets(
    families: Sequence[Family], rows: Sequence[Record], guards: Sequence[Record], races: Sequence[Record]
) -> None:
    """Print the targets beside what was measured; means and ranges are over trainings."""
    print("\nTargets (99th percentile of products to a residual norm of 1e-2; means and ranges over trainings)")
    print(f"{'':44}{'untrained':>10}{'must':>7}{'hoped':>7}{'fitted':>8}{'trained':>9}{'range':>10}{'mean':>7}  ")
    for family in families:
        own = [row for row in rows if row["family"] == family.name]
        if family.must:
            print(_target(family, own))
    for title, key in (("off the family", "n_worse"), ("members", "in_worse")):
        n = sum(row["n" if key == "n_worse" else "n_in"] for row in guards)
        for of in (FITTED, TRAINED):
            worse = sum(row[f"{key}_{of}"] for row in guards)
            print(f"{f'worse than untrained, {title}, {of}':52}{0:>9}{worse:>15} in {n:,}  {REACH[worse == 0]}")
    for row in rows:
        if row["m"] == 64 and row["method"] == FITTED and row["seed"] == 0:
            share = row["start_operations"]
            title = f"{row['family']}: operations of the start beside its product"
            print(f"{title:54}{'1':>7}{'0.5':>7}{share:>8.2f}  {_reached(share, 1, 0.5)}")
    for row in races:
        ratio = row["over_lapack"] if row["is_reached"] else np.inf
        title = f"{row['family']}: time to LAPACK's residual over its own"
        print(f"{title:54}{'0.8':>7}{'0.6':>7}{ratio:>8.2f}  {_reached(ratio, 0.8, 0.6)}")


def _target(family: Family, rows: Sequence[Record]) -> str:
    untrained = min(_products(row) for row in rows if row["method"].startswith(UNTRAINED))
    must, hoped = (
        goal if goal >= 1 else np.floor(goal * untrained) if untrained < np.inf else np.inf
        for goal in (family.must, family.hoped)
    )
    fitted = np.mean([_products(row) for row in rows if row["method"] == FITTED])
    trained = [_products(row) for row in rows if row["method"] == TRAINED]
    means = [row["mean_products"] for row in rows if row["method"] == TRAINED]
    mean = np.mean(trained)
    return (
        f"{f'{family.name}, {family.m} x {family.m}':44}{untrained:>10g}{must:>7g}{hoped:>7g}{fitted:>8.3g}{mean:>9.3g}"
        f"{_range(trained, 'g'):>10}{np.mean(means):>7.1f}  {_reached(mean, must, hoped)}"
    )


def _products(row: Record) -> float:
    p99 = row["products"][STATED][1]
    return np.inf if p99 is None else p99


def _reached(value: float, must: float, hoped: float) -> str:
    return "met, and what was hoped for" if value <= hoped else REACH[value <= must]
