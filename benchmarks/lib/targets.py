"""What the networks were to reach, and whether they do: every verdict is computed from measured rows."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from benchmarks.lib.figures import measure
from benchmarks.lib.peers import FAMILIES, Method
from benchmarks.lib.problems import Row

PUBLISHED_MEAN = 0.0226
CERTAIN = 1e-5
LEAST_SHARE = 60.0
Rows = Mapping[str, Sequence[Row]]
Values = tuple[float, ...]


@dataclass(frozen=True)
class Target:
    """A line of the table: what must be reached, what was found, and by which method."""

    quantity: str
    must: Values
    reach: Values
    smaller_is_better: bool
    measured: Values | None
    by: str
    unlearned: str

    def verdict(self, goal: Values) -> str:
        if not goal:
            return "-"
        if self.measured is None:
            return "not measured"
        pairs = zip(self.measured, goal, strict=True)
        met = all(value <= aim if self.smaller_is_better else value >= aim for value, aim in pairs)
        return "met" if met else "MISSED"


def targets(rows: Rows, strict_shares: Mapping[str, float], filtered: Tensor) -> list[Target]:
    """Compute every target whose problem was measured.

    Parameters
    ----------
    rows : by the key of the problem
    strict_shares : percentages of operations spent in products at m = 16, by network
    filtered : matrices of the published distribution, for the smallest numbers of products
    """
    return [
        _best(
            rows, "3 filtered", "3x3, |det| > 0.1, <= 8 products: mean / p99", 8, _errors, (1e-4, 1e-3), (1e-5, 1e-4)
        ),
        _fewest(rows, filtered),
        _shares(rows, "3", "3x3, no filter", 8, (99.6, 99.4, 99.1, 98.5), (99.95, 99.9, 99.8, 99.6)),
        _shares(rows, "5", "5x5 (Charton)", 11, (99.0, 98.5, 98.0, 97.0), (99.8, 99.7, 99.5, 99.2)),
        _shares(rows, "5", "5x5", 15, (99.9, 99.8, 99.7, 99.6), (99.99,) * 4),
        _shares(rows, "8", "8x8", 15, (99.2, 98.8, 98.3, 97.5), (99.9, 99.8, 99.7, 99.5)),
        _best(rows, "16", "16x16, <= 15 products: within 5 % / half norm, %", 15, _basin, (66.0, 87.0), (80.0, 95.0)),
        _failures(rows),
        _points(rows, "32", 18),
        _points(rows, "64", 21),
        _certain(rows),
        _operations(strict_shares),
    ]


def _errors(row: Row) -> Values:
    return row.figures.mean, row.figures.p99


def _percentages(row: Row) -> Values:
    return tuple(100 * share for share in row.figures.within)


def _basin(row: Row) -> Values:
    return 100 * row.figures.within[0], 100 * row.figures.half_norm


def _up_to(rows: Iterable[Row], budget: float, *kinds: str) -> list[Row]:
    return [row for row in rows if row.kind in kinds and row.products is not None and row.products <= budget]


def _best(
    rows: Rows,
    key: str,
    title: str,
    budget: int,
    values: Callable[[Row], Values],
    must: Values,
    reach: Values,
) -> Target:
    """Compare the best network, and beside it the best method without training, of at most so many products."""
    smaller = values is _errors

    def chosen(*kinds: str) -> Row | None:
        found = _up_to(rows.get(key, ()), budget, *kinds)
        rank = (lambda row: values(row)[0]) if smaller else (lambda row: -sum(values(row)))
        return min(found, key=rank, default=None)

    network, other = chosen("network"), chosen("unlearned")
    return Target(
        title, must, reach, smaller, values(network) if network else None, _by(network), _described(other, values)
    )


def _shares(rows: Rows, key: str, title: str, budget: int, must: Values, reach: Values) -> Target:
    return _best(rows, key, f"{title}, <= {budget} products: 5 / 2 / 1 / 0.5 %", budget, _percentages, must, reach)


def _by(row: Row | None) -> str:
    if row is None:
        return "-"
    return f"{row.name}, {row.products} products"


def _described(row: Row | None, values: Callable[[Row], Values]) -> str:
    return f"{row.name}, {row.products} products: {spell(values(row))}" if row else "-"


def spell(values: Values | None) -> str:
    """Write values side by side: small ones in powers of ten."""
    return "-" if not values else " / ".join(f"{v:.1e}" if 0 < abs(v) < 0.01 else f"{v:.4g}" for v in values)


def _fewest(rows: Rows, A: Tensor) -> Target:
    found = [r for r in _up_to(rows.get("3 filtered", ()), 99, "network") if r.figures.mean < PUBLISHED_MEAN]
    network = min(found, key=lambda row: row.products, default=None)
    method, mean = fewest_unlearned(A, PUBLISHED_MEAN)
    return Target(
        f"the same, fewest products with mean below {PUBLISHED_MEAN}",
        (7.0,),
        (6.0,),
        True,
        (float(network.products),) if network else None,
        _by(network),
        f"{method.name}: {method.products} (mean {mean:.1e})",
    )


def fewest_unlearned(A: Tensor, below: float) -> tuple[Method, float]:
    """Return the method without training that reaches a mean residual norm in the fewest products, and that mean."""
    methods = sorted((method for family in FAMILIES for method in family(A.shape[-1], False)), key=lambda m: m.products)
    for method in methods:
        mean = measure(A, method(A)).mean
        if mean < below:
            return method, mean
    raise RuntimeError(f"no method reaches a mean of {below}")


def _failures(rows: Rows) -> Target:
    found = rows.get("16", ())
    networks, peers = _up_to(found, 18, "network"), _up_to(found, 18, "unlearned")
    best = min(networks, key=lambda row: -row.figures.within[0], default=None)
    reference = max((row for row in peers if row.name == "MR-2"), key=lambda row: row.products, default=None)
    other = min(peers, key=lambda row: -row.figures.within[0], default=None)
    ratio = None
    if best and reference:
        ratio = ((1 - best.figures.within[0]) / (1 - reference.figures.within[0]),)
    beside = f"MR-2 {100 * reference.figures.within[0]:.2f} % within; best: " if reference else ""
    return Target(
        "16x16, <= 18 products: failures at 5 % over MR-2's",
        (0.5,),
        (0.1,),
        True,
        ratio,
        _by(best),
        beside + _described(other, lambda row: (100 * row.figures.within[0],)),
    )


def _points(rows: Rows, key: str, budget: int) -> Target:
    found = rows.get(key, ())
    networks, peers = _up_to(found, budget, "network"), _up_to(found, budget, "unlearned")
    best = min(networks, key=lambda row: -row.figures.within[0], default=None)
    reference = max((row for row in peers if row.name == "MR-2"), key=lambda row: row.products, default=None)
    other = min(peers, key=lambda row: -row.figures.within[0], default=None)
    points = (100 * (best.figures.within[0] - reference.figures.within[0]),) if best and reference else None
    beside = f"MR-2 {100 * reference.figures.within[0]:.1f} %; best: " if reference else ""
    by = f"{_by(best)} ({100 * best.figures.within[0]:.1f} %)" if best else "-"
    return Target(
        f"{key}x{key}, <= {budget} products: points at 5 % above MR-2",
        (15.0,),
        (30.0,),
        False,
        points,
        by,
        beside + _described(other, lambda row: (100 * row.figures.within[0],)),
    )


def _certain(rows: Rows) -> Target:
    def fewest(*kinds: str) -> Row | None:
        found = [row for row in _up_to(rows.get("Wishart 16", ()), 99, *kinds) if row.figures.p99 < CERTAIN]
        return min(found, key=lambda row: row.products, default=None)

    network, other = fewest("network"), fewest("unlearned")
    networks = _up_to(rows.get("Wishart 16", ()), 99, "network")
    none = "no network: p99 of " + ", ".join(f"{r.name} ({r.products}) {r.figures.p99:.1e}" for r in networks)
    return Target(
        f"Wishart 16 (64 degrees of freedom): products to p99 < {CERTAIN:g}",
        (9.0,),
        (7.0,),
        True,
        (float(network.products) if network else math.inf,) if networks else None,
        _by(network) if network or not networks else none,
        _described(other, lambda row: (row.figures.p99,)),
    )


def _operations(shares: Mapping[str, float]) -> Target:
    least = min(shares, key=shares.__getitem__, default=None)
    return Target(
        "share of all operations in products at m = 16, %",
        (LEAST_SHARE,),
        (),
        False,
        None if least is None else (shares[least],),
        ", ".join(f"{name} {share:.0f}" for name, share in shares.items()) or "-",
        "-",
    )


def print_targets(found: Iterable[Target]) -> None:
    """Print each line with its verdicts; below it who reaches it, and the best of what learns nothing."""
    print("\nTargets (measured by the best network within the budget; beside it the best without training)")
    print(f"{'target':66}{'must reach':>28}{'reach for':>30}{'measured':>32}  {'must':14}{'reach':14}")
    for t in found:
        print(
            f"{t.quantity:66}{spell(t.must):>28}{spell(t.reach):>30}{spell(t.measured):>32}  "
            f"{t.verdict(t.must):14}{t.verdict(t.reach):14}"
        )
        print(f"    by {t.by}")
        if t.unlearned != "-":
            print(f"    without training: {t.unlearned}")
