"""Accuracy and cost of every shipped network and of default ones, beside methods without training.

``python -m benchmarks.accuracy [--quick] [--seeds 1] [--skip-training] [--networks DIR] [--plot FILE] [--json FILE]``
trains the default networks and prints, for each problem on fresh matrices, what every method reaches at a network's
number of products (of m x m matrices, the last residual included) or the next not fewer, and what it costs; the same by
condition number, on rounded inputs, and the tails; last, the targets. All methods compute in float32, residuals are
measured in float64.
"""

import argparse
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.lib.figures import TOLERANCES, draw, measure_errors, wilson_interval
from benchmarks.lib.machine import keep_to_one_thread
from benchmarks.lib.networks import Network, shipped_networks, trained_networks
from benchmarks.lib.operations import count_operations
from benchmarks.lib.peers import CHOLESKY, LAPACK, Method, unlearned
from benchmarks.lib.problems import PROBLEMS, Problem, Row, measure_all, sample, share_of, timed
from benchmarks.lib.results import Results
from benchmarks.lib.targets import print_targets, targets
from benchmarks.lib.timing import nanoseconds
from skdmi.distributions import Spectrum

CONDITION_EDGES = (1, 3, 10, 30, 100, 300, 1e3, 3e3, 1e4, 3e4, 1e5, 3e5, 1e6)
CONDITION_SIZES = (5, 16)
NAME = 38


def print_accuracy(problem: Problem, rows: Sequence[Row], n_matrices: int) -> None:
    print(f"\n{problem.title}: {n_matrices} matrices, residual norms in float64")
    errors = ("mean", "median", "p99", "p99.9", "max", "left mean", "left max")
    shares = "".join(f"{f'{100 * t:g} %':>8}" for t in TOLERANCES)
    print(f"{'method':{NAME}}{'products':>9}" + "".join(f"{e:>10}" for e in errors) + f"{'half %':>8}{shares}")
    for row in rows:
        f = row.figures
        values = "".join(f"{_number(v):>10}" for v in (f.mean, f.median, f.p99, f.p999, f.max, f.left_mean, f.left_max))
        percentages = "".join(f"{_percent(v):>8}" for v in (f.half_norm, *f.within))
        print(f"{_label(row):{NAME}}{_count(row.products):>9}{values}{percentages}")


def print_cost(problem: Problem, rows: Sequence[Row], networks: Sequence[Network], A: Tensor, repeats: int) -> None:
    """Print what each method costs, and how many float64 products are left to do after it."""
    methods = timed(problem, networks)
    ns = nanoseconds(methods, A, repeats)
    lapack = ns[f"{LAPACK}|None"]
    print(f"\n{problem.title}: cost a matrix")
    print(
        f"{'method':{NAME}}{'products':>9}{'parameters':>11}{'operations':>11}{'products %':>11}{'of all %':>9}"
        f"{'ns':>9}{'/ LAPACK':>9}{'to 1e-12':>9}{'seen, 1e6':>10}{'train s':>8}"
    )
    for row in rows:
        if row.kind == "published":
            continue
        key = row.key
        operations, timing = f"{'-':>11}{'-':>11}{'-':>9}", f"{'-':>9}{'-':>9}"
        if key in methods:
            timing = f"{ns[key]:9.0f}{ns[key] / lapack:9.1f}"
            if row.name not in (LAPACK, CHOLESKY):  # whose operations no counter sees
                found = count_operations(methods[key], A[:256], row.products or 0)
                operations = f"{found.total:11.0f}{100 * found.share:11.0f}{100 * found.strict_share:9.0f}"
        parameters, training = 0, ""
        if row.network:
            parameters = row.network.n_parameters
            training = f"{row.network.first.n_matrices_seen_ / 1e6:10.1f}{row.network.seconds:8.0f}"
        further = f"{row.figures.further_products:9.0f}"
        print(f"{_label(row):{NAME}}{_count(row.products):>9}{parameters:>11}{operations}{timing}{further}{training}")


def _label(row: Row) -> str:
    if row.network is None:
        return row.name
    seeds = f", {len(row.network.members)} seeds" if len(row.network.members) > 1 else ""
    return f"* {row.name} ({row.start or 'entries'}{seeds})"


def _count(products: int | None) -> str:
    return "-" if products is None else str(products)


def _number(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.1e}"


def _percent(share: float) -> str:
    return "-" if np.isnan(share) else f"{100 * share:.2f}"


def print_rounded(problem: Problem, networks: Sequence[Network], A: Tensor) -> None:
    """Print the shares on Charton's inputs, which his networks read with three significant digits."""
    rounded = round_digits(A)
    exact = torch.linalg.inv(rounded.double())
    concerned = [network for network in networks if problem.concerns(network)]
    inverses = {
        f"* {network.name} ({network.start or 'entries'})": network.inverses(rounded)[0] for network in concerned
    }
    inverses |= {"LAPACK, float64": exact, "LAPACK, its answers rounded alike": round_digits(exact)}
    print("\nThe same, inputs rounded to 3 significant digits, first seed: correct within, %")
    print(f"{'method':{NAME}}" + "".join(f"{f'{100 * t:g} %':>8}" for t in TOLERANCES))
    for name, X in inverses.items():
        deviation = measure_errors(rounded, X).deviation
        print(f"{name:{NAME}}" + "".join(f"{_percent((deviation < t).mean()):>8}" for t in TOLERANCES))


def round_digits(A: Tensor, n_digits: int = 3) -> Tensor:
    """Round to significant digits.

    >>> round_digits(torch.tensor([12345.0, -0.0012345])).tolist()
    [12300.0, -0.001230000052601099]
    """
    exponent = A.double().abs().clamp_min(1e-300).log10().floor() - (n_digits - 1)
    return ((A.double() / 10**exponent).round() * 10**exponent).to(A.dtype)


def print_tails(problem: Problem, networks: Sequence[Network], n_matrices: int) -> None:
    """Print rare events: shipped networks for this size alone, and the best without training at no more products."""
    n = share_of(n_matrices, problem.m, free=5)
    special = [net for net in networks if net.is_shipped and net.products(problem.m) and problem.concerns(net)]
    if not special or n < 1000:
        return
    print(f"\n{problem.title}: tails of {n} matrices; shares that fail, in parts per million, with 95 % intervals")
    print(
        f"{'method':{NAME}}{'products':>9}{'p99.9':>10}{'max':>10}"
        f"{'r >= 1':>24}{'norm >= 1/2':>24}{'not within 5 %':>24}"
    )
    for network in special:
        budget = network.products(problem.m)
        _print_tail(Method(f"* {network.name}", budget, lambda A, net=network: net.inverses(A)[0]), problem, n)
        _print_tail(_best_unlearned(problem, budget), problem, n)


def _best_unlearned(problem: Problem, budget: int) -> Method:
    A = sample(problem, 2000, random_state=999)
    methods = unlearned(problem.m, budget, symmetric=problem.is_symmetric, within=True)
    return min(methods, key=lambda method: np.mean(measure_errors(A, method(A)).deviation >= TOLERANCES[0]))


def _print_tail(method: Method, problem: Problem, n_matrices: int, n_part: int = 50_000) -> None:
    norms, failures = [], []
    for part, start in enumerate(range(0, n_matrices, n_part)):
        A = draw(problem.distribution, min(n_part, n_matrices - start), problem.m, 2000 + part)
        errors = measure_errors(A, method(A))
        norms.append(errors.right)
        failures.append(np.stack([errors.right >= 1, ~errors.half_norm, errors.deviation >= TOLERANCES[0]]))
    norms = np.concatenate(norms)
    shares = "".join(_share_and_interval(s, n_matrices) for s in np.concatenate(failures, axis=1).mean(axis=1))
    print(f"{method.name:{NAME}}{method.products:>9}{np.quantile(norms, 0.999):10.1e}{norms.max():10.1e}{shares}")


def _share_and_interval(share: float, n: int) -> str:
    low, high = wilson_interval(share, n)
    return f"{f'{1e6 * share:.0f} ({1e6 * low:.0f} to {1e6 * high:.0f})':>24}"


def print_by_condition(networks: Sequence[Network], m: int, n_matrices: int) -> None:
    """Print shipped networks by condition number, log-uniform to 1e6."""
    A = draw(Spectrum(max_cond=1e6), n_matrices, m, 3000)
    cond = torch.linalg.cond(A.double()).numpy()
    methods = []
    fit = [net for net in networks if net.sizes[0] <= m <= net.sizes[1]]
    for network in (net for net in fit if net.is_shipped and net.start == "transpose"):
        budget = network.products(m)
        methods.append(Method(f"* {network.name}", budget, lambda A, net=network: net.inverses(A)[0]))
        methods += [method for method in unlearned(m, budget) if method.name in ("MR-2", "MR-3")]
    if not methods:
        return
    distinct = list({(method.name, method.products): method for method in methods}.values())
    found = [measure_errors(A, method(A)) for method in distinct]
    for title, of in (
        ("median residual norm", lambda e, chosen: f"{np.median(e.right[chosen]):.1e}"),
        ("within 5 %, %", lambda e, chosen: f"{100 * np.mean(e.deviation[chosen] < TOLERANCES[0]):.2f}"),
    ):
        print(f"\n{m}x{m}, condition number log-uniform on [1, 1e6], {n_matrices} matrices: {title}")
        names = "".join(f"{f'{method.name} ({method.products})':>22}" for method in distinct)
        print(f"{'condition number':22}{'matrices':>9}{names}")
        for low, high in pairwise(CONDITION_EDGES):
            chosen = (cond >= low) & (cond < high)
            cells = "".join(f"{of(errors, chosen):>22}" for errors in found)
            print(f"{f'{low:g} to {high:g}':22}{chosen.sum():>9}{cells}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n-matrices", type=int, default=10_000, help="for means; fewer above 32x32")
    parser.add_argument("--tails", type=int, default=1_000_000, help="for tails; fewer above 5x5, in proportion to m^2")
    parser.add_argument("--seeds", type=int, default=1, help="default networks to train for each size and depth")
    parser.add_argument("--skip-training", action="store_true")
    parser.add_argument("--networks", type=Path, help="directory that keeps the networks trained on the spot")
    parser.add_argument("--quick", action="store_true", help="200 matrices, tails of 2,000, no training")
    parser.add_argument("--plot", metavar="FILE", help="save residual norm against products")
    parser.add_argument("--json", metavar="FILE", type=Path, help="save the figures")
    options = parser.parse_args()
    if options.quick:
        options.n_matrices, options.tails, options.skip_training = 200, 2000, True
    machine = keep_to_one_thread()
    print(machine)
    n_seeds = 0 if options.skip_training else options.seeds
    networks = shipped_networks() + trained_networks(n_seeds, options.networks)
    results = Results(machine)
    print_all_tables(networks, options, results)
    if options.json:
        results.save(options.json)
    if options.plot:
        from benchmarks.lib.residual_plot import save_plot

        save_plot(networks, options.plot, options.n_matrices)
    print(f"\n{time.process_time():.0f} s of processor time")


def print_all_tables(networks: Sequence[Network], options: argparse.Namespace, results: Results) -> None:
    found = {}
    for problem in PROBLEMS:
        if not problem.budgets and not any(problem.concerns(network) for network in networks):
            continue
        A = sample(problem, options.n_matrices)
        found[problem.key] = rows = measure_all(problem, networks, A)
        print_accuracy(problem, rows, len(A))
        part = A[: max(256, 2**20 // problem.m**2)]
        print_cost(problem, rows, networks, part, repeats=1 if options.quick else 5)
        results.add(problem, rows, len(A))
        if problem.key == "5":
            print_rounded(problem, networks, A)
        print_tails(problem, networks, options.tails)
    for m in CONDITION_SIZES:
        print_by_condition(networks, m, options.n_matrices)
    A = sample(next(problem for problem in PROBLEMS if problem.key == "Wishart 16"), 256)
    shares = {
        network.name: 100 * count_operations(network.first.invert, A, network.products(16)).strict_share
        for network in networks
        if network.is_shipped and network.start and network.sizes[0] <= 16 <= network.sizes[1]
    }
    print_targets(targets(found, shares, sample(PROBLEMS[0], options.n_matrices)))


if __name__ == "__main__":
    main()
