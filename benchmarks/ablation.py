"""The comparisons that decided the design of the networks and of their training, one change at a time.

``python benchmarks/ablation.py [NAME ...] [--seeds 3] [--steps 1500] [--batch-size 512]`` trains every variant anew,
all seeds side by side, and prints a table an experiment; names are those of the functions below. Rows are kept in
``build/ablation/``, and the figures of the documentation are drawn from all that are there.

Unless a row says otherwise: 16x16 matrices with entries U[-1,1], depth 3 with two learned steps of degree 9, width 16,
no deflation, AdamW, learning rate 3e-3, cosine, 1e-4 weight decay, trained on singular values; measured on fresh full
matrices, the network in float32, residuals in float64. Means over seeds, and their standard deviation. ``prod.`` are
products of m x m matrices, the last residual included; ``kflop`` counts every operation of a forward pass for one
matrix, those outside products too; ``ns`` is the time for one matrix in a stack, ``s`` the seconds of training of one
seed, both of one thread's own time. An untrained network has the cost of what it has not learned yet.
"""

import argparse
import json
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from pathlib import Path
from statistics import mean, median, pstdev

import torch
from ablation_variants import (
    Deflation,
    EveryIterate,
    Mixed,
    MomentsOnly,
    PoolDraw,
    Reset,
    Stepwise,
    Trained,
    Training,
    TwoDirections,
    every_residual,
    from_pool,
    from_pools,
    last_residual,
    matrices,
    silenced,
    spectra,
    train,
    with_blocks,
)
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from skdmi.distributions import Distribution, Spectrum, Uniform, Wishart
from skdmi.metrics import frobenius_residuals, half_norm_share, within_tolerance_share
from skdmi.modules import DenseInverse, FeedbackInverse, GatedInverse
from skdmi.training import constant

ROOT = Path(__file__).parents[1]
ROWS = ROOT / "build" / "ablation"
IMAGES = ROOT / "docs" / "images"
UNIFORM = Uniform()
TOLERANCES = (0.05, 0.02, 0.01, 0.005)
HEADER = f"{'':42}{'prod.':>5}{'param.':>7}{'kflop':>7}{'ns':>8}{'s':>4}{'mean':>15}{'max':>9}"
HEADER += "".join(f"{f'{100 * t:g} %':>12}" for t in TOLERANCES) + f"{'norm < 1/2':>12}"


@dataclass(frozen=True)
class Row:
    """What a variant costs and reaches; of each figure one value a seed."""

    name: str
    products: int
    parameters: int
    operations: float
    ns: float
    seconds: float
    means: list[float]
    worst: float
    shares: list[list[float]]
    half: list[float]

    def __str__(self) -> str:
        cost = f"{self.products:5}{self.parameters:7}{self.operations / 1e3:7.0f}{self.ns:8.0f}{self.seconds:4.0f}"
        errors = f"{spread(self.means, '.1e', '.0e'):>15}{self.worst:9.1e}"
        return f"{self.name:42}{cost}{errors}{''.join(f'{spread(s):>12}' for s in (*self.shares, self.half))}"


def spread(values: list[float], form: str = ".2f", deviation_form: str = ".2f") -> str:
    if len(values) == 1:
        return format(values[0], form)
    return f"{mean(values):{form}}±{pstdev(values):{deviation_form}}"


class CountOperations(TorchDispatchMode):
    """Count operations: ``2 n m k`` for a matrix product, one for each element of any other result."""

    free = ("cat", "clone", "copy", "detach", "empty", "expand", "eye", "gather", "index", "new", "ones", "to", "zeros")

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__.lstrip("_")
        if func.overloadpacket in flop_registry:
            self.total += flop_registry[func.overloadpacket](*args, **(kwargs or {}), out_val=out)
        elif not func.is_view and not name.startswith(self.free):
            results = [value for value in (*args, out) if isinstance(value, Tensor)]
            self.total += max((value.numel() for value in results), default=0)
        return out


def operations(network: nn.Module, A: Tensor) -> float:
    with torch.no_grad(), CountOperations() as counter:
        network(A)
    return counter.total / len(A)


def nanoseconds(network: nn.Module, A: Tensor, repeats: int = 5) -> float:
    spent = []
    with torch.no_grad():
        for _ in range(repeats):
            started = time.thread_time()
            network(A)
            spent.append(time.thread_time() - started)
    return 1e9 * median(spent) / len(A)


@dataclass
class Bench:
    """The options of a run, and what several experiments share."""

    n_seeds: int
    n_steps: int
    batch_size: int
    n_matrices: int
    n_spectra: int
    experiment: str = ""
    rows: list[Row] = field(default_factory=list)

    def pool(self, m: int = 16, distribution: Distribution = UNIFORM, *, symmetric: bool = False) -> Tensor:
        return spectra(distribution, m, self.n_spectra, symmetric)

    def train(
        self,
        make: Callable[[], nn.Module],
        draw: PoolDraw | None = None,
        *,
        n_seeds: int | None = None,
        effort: float = 1.0,
        **how: object,
    ) -> Trained:
        """Train on the singular values of 16x16 matrices, or on what ``draw`` gives, ``effort`` times all steps."""
        training = Training(max(1, round(effort * self.n_steps)), self.batch_size, **how)  # type: ignore[arg-type]
        return train(make, draw or from_pool(self.pool()), n_seeds or self.n_seeds, training)

    @cached_property
    def base(self) -> Trained:
        return self.train(partial(Mixed, (3, 3)))

    def show(
        self,
        name: str,
        networks: Sequence[nn.Module],
        seconds: float = 0.0,
        *,
        m: int = 16,
        distribution: Distribution = UNIFORM,
    ) -> None:
        """Measure networks, print a row and keep it."""
        A = matrices(distribution, m, min(self.n_matrices, self.n_matrices * 256 // m**2), seed=10_000)
        norms, shares, half = [], [], []
        for network in networks:
            with torch.no_grad():
                X = torch.cat([network(part) for part in A.split(1000)])
            norms.append(frobenius_residuals(A, X))
            shares.append([100 * within_tolerance_share(A, X, t) for t in TOLERANCES])
            half.append(100 * half_norm_share(A, X))
        first = networks[0]
        row = Row(
            name,
            first.n_products(m),
            sum(p.numel() for p in first.parameters()),
            operations(first, A[:64]),
            nanoseconds(first, A[:1000]),
            seconds,
            [r.mean().item() for r in norms],
            max(r.max().item() for r in norms),
            [list(column) for column in zip(*shares, strict=True)],
            half,
        )
        print(row, flush=True)
        self.rows.append(row)
        (ROWS / f"{self.experiment}.json").write_text(json.dumps([asdict(row) for row in self.rows]))


def degree(bench: Bench) -> None:
    """Steps of several degrees: learned, and as they are."""
    choices = [(3, 3), (1,) * 3, (2, 2), (3, 2), (4, 2), (4, 4), (2,) * 3, (1,) * 4, (3,), (4,)]
    for squarings in choices:
        degrees = " + ".join(str(2**n + 1) for n in squarings) + " + 3"
        trained = bench.base if squarings == (3, 3) else bench.train(partial(Mixed, squarings))
        bench.show(f"degrees {degrees}", trained.networks, trained.seconds)
        bench.show(f"degrees {degrees}, untrained", [Mixed(squarings)])


def memory(bench: Bench) -> None:
    """What a step remembers, reads and writes."""
    variants: dict[str, Callable[[], nn.Module]] = {
        "no memory: h reset at every step": lambda: with_blocks(Mixed((3, 3)), Reset),
        "no departures": lambda: with_blocks(Mixed((3, 3)), silenced("departure")),
        "no learned chains": lambda: with_blocks(Mixed((3, 3)), silenced("chain")),
        "departures read four moments only": lambda: with_blocks(Mixed((3, 3)), lambda _: MomentsOnly(16, 3)),
        "two coefficients": lambda: with_blocks(Mixed((3, 3)), lambda _: TwoDirections(16, 3)),
        "reach 0.3": lambda: Mixed((3, 3), reach=0.3),
        "reach 3": lambda: Mixed((3, 3), reach=3.0),
    }
    bench.show("as it is", bench.base.networks, bench.base.seconds)
    for name, make in variants.items():
        trained = bench.train(make)
        bench.show(name, trained.networks, trained.seconds)
    bench.show("untrained", [Mixed((3, 3))])


def guard(bench: Bench) -> None:
    """What keeps rounding and surprises in check: the same trained networks, handled otherwise."""

    def recomputing(network: nn.Module, steps: set[int]) -> nn.Module:
        changed = Mixed((3, 3))
        changed.load_state_dict(network.state_dict())
        changed.recomputed = frozenset(steps)
        return changed

    networks = bench.base.networks
    kinds = {"U[-1,1]": UNIFORM, "cond to 1e6": Spectrum(max_cond=1e6)}
    for kind, distribution in kinds.items():
        show = partial(bench.show, distribution=distribution)
        show(f"{kind}: as it is", networks)
        show(f"{kind}: best iterate, no guard", [Stepwise(n, best=True) for n in networks])
        show(f"{kind}: last iterate, no guard", [Stepwise(n) for n in networks])
        show(f"{kind}: last residual recomputed only", [recomputing(n, {3}) for n in networks])
        show(f"{kind}: every residual recomputed", [recomputing(n, {1, 2, 3}) for n in networks])


def loss(bench: Bench) -> None:
    """The weight of the logarithm in the loss, and a loss on every iterate."""
    bench.show("log weight 0.05", bench.base.networks, bench.base.seconds)
    for weight in (0.0, 0.2):
        trained = bench.train(partial(Mixed, (3, 3)), loss=last_residual(weight))
        bench.show(f"log weight {weight:g}", trained.networks, trained.seconds)
    trained = bench.train(lambda: EveryIterate(Mixed((3, 3))), loss=every_residual(0.2))
    bench.show("every iterate, weight 0.2", [n.core for n in trained.networks], trained.seconds)


def training(bench: Bench) -> None:
    """Schedules, averages, rates, widths, and what the matrices are represented by."""
    make = partial(Mixed, (3, 3))
    bench.show("as it is", bench.base.networks, bench.base.seconds)
    bench.show("averaged weights", bench.base.averaged, bench.base.seconds)
    fixed = bench.train(make, schedule=constant)
    bench.show("constant rate", fixed.networks, fixed.seconds)
    bench.show("constant rate, averaged weights", fixed.averaged, fixed.seconds)
    for rate in (1e-3, 1e-2):
        trained = bench.train(make, learning_rate=rate)
        bench.show(f"learning rate {rate:g}", trained.networks, trained.seconds)
    for width in (8, 32):
        trained = bench.train(partial(Mixed, (3, 3), width))
        bench.show(f"width {width}", trained.networks, trained.seconds)
    for decay in (0.0, 0.1):
        trained = bench.train(make, weight_decay=decay)
        bench.show(f"weight decay {decay:g}", trained.networks, trained.seconds)
    pool = bench.pool()
    condition = pool.amax(dim=(-2, -1)) / pool.amin(dim=(-2, -1))
    trained = bench.train(make, from_pool(pool, condition.log()))
    bench.show("hard examples: weight log condition", trained.networks, trained.seconds)
    short = {"effort": 0.1, "n_seeds": 1}
    for name, source in (("spectra", pool), ("matrices", matrices(UNIFORM, 16, bench.n_spectra // 5, seed=0))):
        trained = bench.train(make, from_pool(source), **short)
        bench.show(f"a tenth of the steps, one seed, {name}", trained.networks, trained.seconds)


def sizes(bench: Bench) -> None:
    """One network for several sizes, one for one size, and both where they were not trained."""
    several = bench.train(partial(Mixed, (3, 3)), from_pools([bench.pool(m) for m in (8, 12, 16, 24)]))
    special = {m: bench.train(partial(Mixed, (3, 3)), from_pool(bench.pool(m))) for m in (8, 24)} | {16: bench.base}
    for m in (8, 12, 16, 20, 24, 32):
        if m in special:
            bench.show(f"at {m}: trained at {m}", special[m].networks, special[m].seconds, m=m)
        if m != 16:
            bench.show(f"at {m}: trained at 16", bench.base.networks, bench.base.seconds, m=m)
        bench.show(f"at {m}: trained at 8, 12, 16, 24", several.networks, several.seconds, m=m)
        bench.show(f"at {m}: untrained", [Mixed((3, 3))], m=m)


class Symmetrised(nn.Module):
    """A network whose answer is made symmetric."""

    def __init__(self, core: nn.Module) -> None:
        super().__init__()
        self.core = core

    def n_products(self, m: int) -> int:
        return self.core.n_products(m)

    def forward(self, A: Tensor) -> Tensor:
        X = self.core(A)
        return (X + X.mT) / 2


def symmetric(bench: Bench) -> None:
    """Symmetric positive definite input, Wishart with 64 degrees of freedom: starts, and symmetry at prediction."""
    wishart = Wishart(64)
    pool = bench.pool(16, wishart, symmetric=True)
    for start, squarings in (("identity", (3,)), ("transpose", (1,)), ("transpose", (2,))):
        make = partial(Mixed, squarings, start=start)
        trained = bench.train(make, from_pool(pool))
        name = f"{start}, degrees {2 ** squarings[0] + 1} + 3"
        bench.show(name, trained.networks, trained.seconds, distribution=wishart)
        if start == "identity":
            bench.show(f"{name}, symmetrised", [Symmetrised(n) for n in trained.networks], distribution=wishart)
        bench.show(f"{name}, untrained", [make()], distribution=wishart)


def starts(bench: Bench) -> None:
    """The transpose against the characteristic polynomial, at about equal products."""
    for m, squarings in ((3, (1,)), (5, (2,)), (8, (2,)), (12, (4,)), (16, (2, 2))):
        trained = bench.train(partial(Mixed, squarings), from_pool(bench.pool(m)))
        name = f"{m}x{m}, transpose, degrees {' + '.join(str(2**n + 1) for n in squarings)} + 3"
        bench.show(name, trained.networks, trained.seconds, m=m)
        bench.show(f"{m}x{m}, transpose, untrained", [Mixed(squarings)], m=m)
        bench.show(f"{m}x{m}, characteristic, one step", [Mixed((), start="characteristic")], m=m)
        make = partial(Mixed, (1,), start="characteristic")
        bench.show(f"{m}x{m}, characteristic, two steps", [make()], m=m)
        if m >= 8:
            trained = bench.train(make, from_pool(matrices(UNIFORM, m, 20_000, seed=0)), effort=0.2)
            bench.show(f"{m}x{m}, characteristic, two steps, trained", trained.networks, trained.seconds, m=m)


def blocks(bench: Bench) -> None:
    """The four kinds of block at 3x3 and 5x5, each brought to equal products, operations or nanoseconds by its size."""
    for m, squarings, depth in ((3, (1,), 3), (5, (3,), 5)):
        A = matrices(UNIFORM, m, 2000, seed=1)
        trained = bench.train(partial(Mixed, squarings), from_pool(bench.pool(m)))
        reference = trained.networks[0]
        bench.show(f"{m}x{m}, polynomial", trained.networks, trained.seconds, m=m)
        choices: dict[str, Callable[[], nn.Module]] = {
            "feedback, equal products, width 32": partial(FeedbackInverse, m, depth, 32)
        }
        for kind, module, n_blocks in (
            ("feedback", FeedbackInverse, depth),
            ("gated", GatedInverse, 4),
            ("dense", DenseInverse, 2),
        ):
            for cost, measure in (("operations", operations), ("ns", nanoseconds)):
                width = nearest_width(partial(module, m, n_blocks), measure, A, measure(reference, A))
                choices[f"{kind}, equal {cost}, width {width}"] = partial(module, m, n_blocks, width)
        pool = matrices(UNIFORM, m, bench.n_spectra, seed=0)
        for name, make in choices.items():
            trained = bench.train(make, from_pool(pool), learning_rate=2e-3)
            bench.show(f"{m}x{m}, {name}", trained.networks, trained.seconds, m=m)


def nearest_width(
    make: Callable[[int], nn.Module], cost: Callable[[nn.Module, Tensor], float], A: Tensor, target: float
) -> int:
    costs = {width: cost(make(width), A) for width in (4, 8, 12, 16, 24, 32, 48, 64, 96, 128)}
    return min(costs, key=lambda width: abs(costs[width] - target))


def between(squarings: Sequence[int], rank: int) -> Stepwise:
    """Return a network with a deflation after every step but the last."""
    return Stepwise(Mixed(squarings), best=True, deflation=Deflation(frozenset(range(1, len(squarings) + 1)), rank))


def deflation(bench: Bench) -> None:
    """Deflation of rank k between the steps, O(k m^2) operations each, of the directions hardest to invert."""
    networks = bench.base.networks
    bench.show("trained 9 + 9 + 3", networks, bench.base.seconds)
    for place, steps in (
        ("after the last step", {3}),
        ("before it", {2}),
        ("between all", {1, 2}),
        ("from the start", {0, 1, 2}),
    ):
        for rank in (1, 2):
            deflating = Deflation(frozenset(steps), rank)
            bench.show(f"  rank {rank} {place}", [Stepwise(n, deflation=deflating) for n in networks])
    for squarings in ((1, 1), (3,)):
        make = partial(between, squarings, 2)
        name = " + ".join(str(2**n + 1) for n in squarings) + " + 3, rank 2"
        bench.show(f"untrained {name}", [make()])
        trained = bench.train(make)
        bench.show(f"trained {name}, on spectra", trained.networks, trained.seconds)
        trained = bench.train(make, from_pool(matrices(UNIFORM, 16, 20_000, seed=0)), n_seeds=1)
        bench.show(f"trained {name}, on matrices, one seed", trained.networks, trained.seconds)
    cases = [
        (f"{m}x{m}", UNIFORM, m, depths) for m, depths in ((8, (3, 4)), (16, (3, 4, 5)), (32, (4, 5)), (64, (5, 6)))
    ]
    for name, distribution, m, depths in (*cases, ("cond to 1e6, 16x16", Spectrum(max_cond=1e6), 16, (5, 8))):
        show = partial(bench.show, m=m, distribution=distribution)
        for depth in depths:
            squarings = (1,) * (depth - 1)
            show(f"{name}, {depth} cubic steps, untrained", [Mixed(squarings)])
            for rank in (1, 2, 4):
                show(f"{name}, {depth} cubic steps, rank {rank}", [between(squarings, rank)])


EXPERIMENTS: dict[str, Callable[[Bench], None]] = {
    function.__name__: function
    for function in (deflation, memory, degree, training, loss, starts, symmetric, sizes, guard, blocks)
}


def kept(name: str) -> list[Row]:
    file = ROWS / f"{name}.json"
    return [Row(**row) for row in json.loads(file.read_text())] if file.exists() else []


def draw_figures() -> None:
    """Draw what the rows in ``build/ablation`` allow."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    IMAGES.mkdir(exist_ok=True)
    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    for name, draw in (("degree", draw_degrees), ("memory", draw_parts), ("deflation", draw_deflation)):
        if rows := kept(name):
            figure, ax = plt.subplots(figsize=(5.5, 3.4), layout="constrained")
            draw(ax, rows)
            figure.savefig(IMAGES / f"ablation_{name}.png", dpi=160)
            plt.close(figure)


def draw_degrees(ax, rows: list[Row]) -> None:  # type: ignore[no-untyped-def]
    """Share failing 5 % against products, a line a degree."""
    for color, n in zip(("C3", "C1", "C0", "C2"), (1, 2, 3, 4), strict=True):
        step = str(2**n + 1)
        for style, untrained in (("o-", False), ("o:", True)):
            chosen = [
                row
                for row in rows
                if row.name.endswith("untrained") == untrained
                and set(row.name.removeprefix("degrees ").split(",")[0].removesuffix(" + 3").split(" + ")) == {step}
            ]
            chosen.sort(key=lambda row: row.products)
            failing = [100 - mean(row.shares[0]) for row in chosen]
            label = None if untrained else f"degree {step}"
            ax.semilogy([row.products for row in chosen], failing, style, color=color, label=label, markersize=4)
    ax.plot([], [], "k:", label="untrained")
    ax.set(xlabel="products", ylabel="matrices failing 5 % (%)", title="16x16, entries U[-1,1]")
    ax.legend(frameon=False)


def draw_parts(ax, rows: list[Row]) -> None:  # type: ignore[no-untyped-def]
    """Share failing 5 %, a bar a variant."""
    failing = [100 - mean(row.shares[0]) for row in rows]
    ax.barh(range(len(rows)), failing, xerr=[pstdev(row.shares[0]) for row in rows], color="C0")
    ax.set_yticks(range(len(rows)), [row.name for row in rows])
    ax.invert_yaxis()
    ticks = [2, 5, 10, 20, 50]
    ax.set_xscale("log")
    ax.set_xticks(ticks, [str(tick) for tick in ticks])
    ax.minorticks_off()
    ax.set(xlabel="matrices failing 5 % (%), 16 products", title="16x16, entries U[-1,1]")


def draw_deflation(ax, rows: list[Row]) -> None:  # type: ignore[no-untyped-def]
    """Mean residual norm against operations, a line a size and depth, a point a rank."""
    styles = {"16x16": "C0", "32x32": "C1", "64x64": "C2"}
    for size, color in styles.items():
        lines: dict[str, list[Row]] = {}
        for row in rows:
            if row.name.startswith(size):
                lines.setdefault(row.name.split(",")[1], []).append(row)
        for number, (steps, line) in enumerate(lines.items()):
            m = int(size.split("x")[0])
            ax.semilogy(
                [row.operations / (2 * m**3) for row in line],
                [mean(row.means) for row in line],
                ("o-", "s--", "^:")[number],
                color=color,
                markersize=4,
                label=f"{size},{steps}",
            )
    ax.set(xlabel="all operations, in products", ylabel="mean residual norm", title="untrained, rank 0, 1, 2, 4")
    ax.legend(frameon=False, fontsize=7)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"among {', '.join(EXPERIMENTS)}; by default all")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--n-matrices", type=int, default=10_000, help="to measure on; fewer above 16x16")
    parser.add_argument("--kept", action="store_true", help="train nothing: print and draw the rows of earlier runs")
    options = parser.parse_args()
    unknown = sorted(set(options.names) - set(EXPERIMENTS))
    if unknown:
        parser.error(f"no experiment {', '.join(unknown)}; there are {', '.join(EXPERIMENTS)}")
    torch.set_num_threads(1)
    if not options.kept:
        print(f"{platform.machine()}, 1 thread, torch {torch.__version__}")
        print(f"{options.seeds} seeds, {options.steps} steps of {options.batch_size} matrices")
    bench = Bench(options.seeds, options.steps, options.batch_size, options.n_matrices, n_spectra=100_000)
    ROWS.mkdir(parents=True, exist_ok=True)
    for name in options.names or EXPERIMENTS:
        print(f"\n{name}: {EXPERIMENTS[name].__doc__}\n{HEADER}")
        if options.kept:
            print(*kept(name), sep="\n")
        else:
            bench.experiment, bench.rows = name, []
            EXPERIMENTS[name](bench)
    draw_figures()


if __name__ == "__main__":
    main()
