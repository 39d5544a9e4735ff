"""What training on complex families buys: residual norms at equal products, beside what learns less or nothing.

``python -m benchmarks.complex_families [--quick] [--json FILE] [--attacks N]`` trains networks for the regularised Gram
matrices H^H H / n + sigma^2 I of correlated complex channels, and tests them on 2,000 fresh ones, in complex64; norms
are measured in complex128, products are of real 2 m x 2 m matrices, the last residual included. Newton-Schulz takes no
fewer products than the network. Then N claims of reports and certificates of complex matrices are judged in rational
arithmetic; the exit status is 1 if one is false.
"""

import sys
import time
import warnings
from collections.abc import Iterator

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator

from benchmarks.lib import complex_claims
from benchmarks.lib.machine import facts, spell, start_as_it_is
from benchmarks.lib.records import Record, figures_parser, save_records
from skdmi import NeuralMatrixInverter, RefinedInverter
from skdmi.distributions import KroneckerChannel
from skdmi.iteration import STARTS, newton_schulz
from skdmi.iteration.starts import full
from skdmi.linalg import complex_to_real
from skdmi.linalg.complex import nearest_complex
from skdmi.linalg.scaling import scale_by_power_of_two
from skdmi.metrics import frobenius_residuals
from skdmi.modules.network import normalized

FAMILIES = {
    "4 x 4, 8 receive antennas": (KroneckerChannel(is_complex=True), 4, 2),
    "8 x 8, 16 receive antennas": (KroneckerChannel(is_complex=True), 8, 3),
    "8 x 8, 64 receive antennas": (KroneckerChannel(n_receive=64, is_complex=True), 8, 2),
    "16 x 16, 64 receive antennas": (KroneckerChannel(n_receive=64, is_complex=True), 16, 3),
}
"""Distribution, size, and number of blocks."""
SEED_TEST = 2**20
MOST_STEPS = 40


def trained(distribution: KroneckerChannel, m: int, depth: int, start: str, *, epochs: int) -> NeuralMatrixInverter:
    network = NeuralMatrixInverter(
        depth,
        matrix_size=m,
        distribution=distribution,
        start=start,
        max_epochs=epochs,
        batches_per_epoch=50,
        batch_size=256,
        learning_rate=5e-3,
        random_state=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # whether there was a gain is in the table
        return network.fit()


def by_newton_schulz(A: np.ndarray, start: str, steps: int) -> np.ndarray:
    """Return what steps of two products make of a start, of the embedding, scaled as for a network."""
    scaled, scale, exponent = normalized(torch.from_numpy(complex_to_real(A)))
    X = newton_schulz(scaled, full(STARTS[start].function(scaled)[0]), steps)
    return np.asarray(nearest_complex(scale_by_power_of_two(scale * X, -exponent)))


def rows_of(name: str, n: int, epochs: int) -> Iterator[Record]:
    """Yield what every method reaches."""
    distribution, m, depth = FAMILIES[name]
    A = distribution.sample(n, m, random_state=SEED_TEST).astype(np.complex64)
    for start in STARTS:
        for words, n_epochs in (("untrained", 0), ("trained", epochs)):
            began = time.process_time()
            network = trained(distribution, m, depth, start, epochs=n_epochs)
            spent = time.process_time() - began
            products = network.module_.n_products(2 * m)
            refined = RefinedInverter(FrozenEstimator(network)).report(A).n_steps.mean()
            row = {"products": products, "training_s": spent if n_epochs else 0.0, "refinement_steps": float(refined)}
            yield {"case": name, "method": f"network, {words}, from {start}"} | row | norms(A, network.transform(A))
        steps = -(-(products - 2) // 2)
        X = by_newton_schulz(A, start, steps)
        yield {"case": name, "method": f"Newton-Schulz from {start}", "products": 2 * steps + 2} | norms(A, X)


def norms(A: np.ndarray, X: np.ndarray) -> Record:
    found = frobenius_residuals(A, X)
    quantiles = dict(zip(("median", "p99"), np.quantile(found, [0.5, 0.99]).tolist(), strict=True))
    return {"mean": float(found.mean())} | quantiles


def products_to(name: str, start: str, goal: float, n: int) -> int | None:
    """Return the products that Newton-Schulz needs to a mean residual norm."""
    distribution, m, _ = FAMILIES[name]
    A = distribution.sample(n, m, random_state=SEED_TEST).astype(np.complex64)
    for steps in range(MOST_STEPS):
        if frobenius_residuals(A, by_newton_schulz(A, start, steps)).mean() <= goal:
            return 2 * steps + 2
    return None


def main() -> None:
    parser = figures_parser(__doc__, "few matrices, short training, few claims")
    parser.add_argument("--attacks", metavar="N", type=int, help="judge so many claims")
    options = parser.parse_args()
    n, epochs, n_claims = (100, 1, 500) if options.quick else (2_000, 12, 200_000)
    machine = facts()
    print(spell(machine))
    print("\nResidual norms ||I - A X||_F of complex matrices; steps to proof are those that RefinedInverter adds")
    rows: list[Record] = []
    for name in FAMILIES:
        print(f"\n{name:36} products      mean    median       p99  steps to proof  training, s")
        for row in rows_of(name, n, epochs):
            more = f"{row['refinement_steps']:15.2f} {row['training_s']:12.1f}" if "refinement_steps" in row else ""
            found = " ".join(f"{row[name]:9.2g}" for name in ("mean", "median", "p99"))
            print(f"{row['method']:36} {row['products']:8} {found} {more}".rstrip())
            rows.append(row)
        of_family = [row for row in rows if row["case"] == name]
        best = min((row for row in of_family if ", trained" in row["method"]), key=lambda row: row["mean"])
        reached = [products_to(name, start, best["mean"], n) for start in STARTS]
        needed = min((products for products in reached if products is not None), default=None)
        words = f"needs {needed} products to it" if needed else f"does not get there in {2 * MOST_STEPS} products"
        untrained = min(row["mean"] for row in of_family if "untrained" in row["method"])
        print(
            f"trained, mean residual norm over the better of the untrained networks: {best['mean'] / untrained:.2f}; "
            f"Newton-Schulz {words}, the network takes {best['products']}"
        )
        rows.append({"case": name, "method": "Newton-Schulz, to the same mean", "products": needed})
    verdict = complex_claims.attack(options.attacks or n_claims)
    print(
        f"\nClaims of reports and certificates: of {verdict.n_claims} matrices {verdict.n_proved} proved, "
        f"{verdict.n_false} false"
    )
    if options.json:
        save_records(options.json, machine, [*rows, {"case": "attacks", **verdict._asdict()}])
    sys.exit(bool(verdict.n_false))


if __name__ == "__main__":
    start_as_it_is()
    main()
