"""What refinement and certificates reach, beside their peers.

``python -m benchmarks.refinement [--n-matrices 100000] [--seed 0]`` prints three tables, all in float64:

(a) products of m x m matrices until every residual norm is below 1e-12, 10,000 matrices of the published distribution.
    "all" counts every product, "peers'" leaves out the last residual, as the published counts do;
(b) the share of unfiltered matrices that is certified without the exact fallback;
(c) a stack with 100 singular members beside a clean one: who is certified, who is named, ratio of median times.
"""

import argparse
import warnings
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.linalg import matrix_norm

from benchmarks.lib.machine import keep_to_one_thread
from benchmarks.lib.timing import alternate
from skdmi import RefinedInverter, load_pretrained
from skdmi.distributions import Uniform
from skdmi.exceptions import SingularMatrixWarning
from skdmi.iteration import Refinement, count_products, minimal_residual, newton_schulz, refine
from skdmi.linalg import residual

TOL = 1e-12


def classical_seed(A: Tensor, n_steps: int) -> Tensor:
    """Newton-Schulz from A^T / (||A||_1 ||A||_inf)."""
    scale = A.abs().sum(dim=-2).amax(dim=-1) * A.abs().sum(dim=-1).amax(dim=-1)
    return newton_schulz(A, A.mT / scale[:, None, None], n_steps)


def mr_2(A: Tensor, n_steps: int) -> Tensor:
    return minimal_residual(A, n_steps, n_coefficients=2)


def steps_until_all_are_below(A: Tensor, method: Callable[[Tensor, int], Tensor]) -> tuple[int, float]:
    for n_steps in range(1, 100):
        worst = matrix_norm(residual(A, method(A, n_steps))).max().item()
        if worst < TOL:
            return n_steps, worst
    raise RuntimeError(f"{method.__name__} has not arrived after {n_steps} steps")


def products_to_tolerance(n_matrices: int, seed: int) -> None:
    A = torch.from_numpy(Uniform(min_abs_det=0.1).sample(n_matrices, 3, random_state=seed))
    print(f"\n(a) {n_matrices} matrices 3x3, U[-1,1], |det| > 0.1: products until every residual norm is below {TOL:g}")
    print(f"{'method':52}{'all: mean':>10}{'max':>5}{'peers: mean':>13}{'max':>5}{'worst norm':>12}{'below':>9}")
    print(f"{'Newton-Schulz from the published network (published)':52}{'':>28}{8:5}")
    n_steps, worst = steps_until_all_are_below(A, classical_seed)
    print(f"{'Newton-Schulz from the classical seed':52}{'':>28}{2 * n_steps:5}{worst:12.1e}")
    n_steps, worst = steps_until_all_are_below(A, mr_2)
    print(f"{'MR-2 from scratch, all in step':52}{'':>28}{count_products(n_steps) - 1:5}{worst:12.1e}")
    network = load_pretrained("uniform-3x3-short").estimator
    with torch.no_grad():
        start = network.invert(A)
    for name, X, tol in (
        ("refine from scratch, tol=1e-12", None, TOL),
        (f"refine from uniform-3x3-short ({network.module_.n_products(3)} products), tol=1e-12", start, TOL),
        (f"refine from uniform-3x3-short ({network.module_.n_products(3)} products), tol='auto'", start, 0.0),
    ):
        print_refinement(name, refine(A, X, tol=tol))


def print_refinement(name: str, refined: Refinement) -> None:
    n, norms = refined.n_products.double(), refined.residual_norm
    below = 100 * (norms <= TOL).double().mean()
    counts = f"{n.mean():10.2f}{int(n.max()):5}{n.mean() - 1:13.2f}{int(n.max()) - 1:5}"
    print(f"{name:52}{counts}{norms.max():12.1e}{below:8.2f}%")


def certified_without_fallback(n_matrices: int, seed: int) -> None:
    print(f"\n(b) {n_matrices} matrices, U[-1,1], no filter, uncertified='nan'")
    for name, m in (("uniform-3x3-short", 3), ("uniform-16x16-short", 16), (None, 5)):
        A = Uniform().sample(n_matrices, m, random_state=seed)
        inverter = RefinedInverter(name and load_pretrained(name), uncertified="nan", singular="pinv")
        for dtype in (np.float64, np.float32):
            report = inverter.report(A.astype(dtype))
            share = 100 * report.certified.mean()
            print(
                f"{m}x{m} {np.dtype(dtype).name} from {name or 'scratch'}: {share:.3f} % certified; {report.summary()}"
            )


def singular_members(n_matrices: int, seed: int, n_singular: int = 100, repeats: int = 9) -> None:
    rng = np.random.default_rng(seed)
    clean = Uniform().sample(n_matrices, 3, random_state=seed)
    bad = np.sort(rng.choice(n_matrices, n_singular, replace=False))
    spoilt = clean.copy()
    spoilt[bad, 2] = spoilt[bad, 0]
    inverter = RefinedInverter(load_pretrained("uniform-3x3-short"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SingularMatrixWarning)
        report = inverter.report(spoilt)
        named = np.flatnonzero(np.isnan(report.inverse).any(axis=(1, 2)))
        stacks = {"clean": clean, "spoilt": spoilt}
        methods = {name: lambda _, stack=stack: inverter.transform(stack) for name, stack in stacks.items()}
        spent = alternate(methods, range(repeats + 1))
    print(f"\n(c) {n_matrices} matrices 3x3, {n_singular} of them singular")
    print(
        f"{np.count_nonzero(report.certified)} certified, {len(named)} named, the right ones: {set(named) == set(bad)}"
    )
    ratio = spent["spoilt"] / spent["clean"]
    print(f"{spent['clean']:.3f} s clean, {spent['spoilt']:.3f} s with singular members, ratio {ratio:.2f} (medians)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n-matrices", type=int, default=100_000, help="in (b) and (c)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(keep_to_one_thread())
    products_to_tolerance(10_000, options.seed)
    certified_without_fallback(options.n_matrices, options.seed)
    singular_members(options.n_matrices, options.seed)


if __name__ == "__main__":
    main()
