"""Large matrices through small leaves, beside ``numpy.linalg.inv`` in the same run.

``python -m benchmarks.blocks [accuracy] [growth] [worked] [speed] [families]`` prints tables: accuracy and certificates
on general matrices with 3 x 3 network leaves; what the recursion leaves of both residuals; a worked problem; time and
memory; matrices on which elimination without pivoting fails. Residuals are ``||I - A X||_F`` in float64.
"""

import argparse
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import scipy.linalg
import torch
from torch import Tensor
from torch.linalg import matrix_norm

from benchmarks.lib.box_draper import TERMS, normal_equations
from benchmarks.lib.machine import keep_to_one_thread, start_as_it_is
from benchmarks.lib.timing import alternate, in_turn, quartiles
from skdmi import BlockInverter, ExactInverter, RefinedInverter, load_pretrained
from skdmi.estimators.block import invert_leaf
from skdmi.linalg import block_inverse, certify, equilibrate, exact_inverse, residual
from skdmi.linalg.recursion import pad_to_blocks, schur_inverse_
from skdmi.metrics import frobenius_residuals

NETWORK = load_pretrained("uniform-3x3-short")
LEAF = RefinedInverter(NETWORK)


def uniform(n_matrices: int, N: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (n_matrices, N, N))


def up_to(largest: int, *sizes: int) -> list[int]:
    return [size for size in sizes if size <= largest]


# Accuracy


def accuracy(largest: int) -> None:
    print("\nGeneral matrices, U[-1,1], 50 a size, leaf 3x3: uniform-3x3-short refined. Ratio: residual / numpy's.")
    print(
        f"{'N':>5}{'certified %':>13}{'ratio max':>11}{'median':>9}{'in full: certified %':>22}{'ratio max':>11}"
        f"{'LAPACK':>8}"
    )
    for N in up_to(largest, 10, 30, 60, 100, 257, 512):
        A = uniform(50, N)
        direct = frobenius_residuals(A, np.linalg.inv(A))
        block = BlockInverter(LEAF)
        X = block.transform(A)
        ratio = frobenius_residuals(A, X) / direct
        certified = certify(*map(torch.from_numpy, (A, X))).certified.double().mean().item()
        report = RefinedInverter(block, uncertified="nan").report(A)
        print(
            f"{N:>5}{100 * certified:>13.1f}{ratio.max():>11.2f}{np.median(ratio):>9.2f}"
            f"{100 * report.certified.mean():>22.1f}{(report.residual_norm / direct).max():>11.2f}"
            f"{np.count_nonzero(RefinedInverter(block).report(A).source == 'exact'):>8}"
        )


def rounding_units(A: Tensor, X: Tensor) -> str:
    """Return both residual norms in units of ``u || |A||X| ||_F`` and its mirror."""
    units = (
        matrix_norm(residual(first, second)) / matrix_norm(first.abs() @ second.abs()) * 2.0**53
        for first, second in ((A, X), (X, A))
    )
    return "".join(f"{value.item():>11{'.1f' if value < 1e6 else '.1e'}}" for value in units)


def growth(largest: int) -> None:
    """Print what the recursion leaves of both residuals, without its row order and with it, and after refinement."""
    print("\nResiduals in units of u || |A||X| ||_F, right and left, one matrix U[-1,1], exact leaves 32x32")
    names = ("in given order", "ordered", "BlockInverter", "numpy")
    print(f"{'N':>5}" + "".join(f"{name:>22}" for name in names))
    for N in up_to(largest, 128, 512, 1024, 2048):
        A = equilibrate(torch.from_numpy(uniform(1, N)))[0]
        answers = (
            schur_inverse_(pad_to_blocks(A, 32), 32, exact_inverse)[:, :N, :N],
            block_inverse(A, 32, exact_inverse),
            torch.from_numpy(BlockInverter().transform(A.numpy())),
            torch.from_numpy(np.linalg.inv(A.numpy())),
        )
        print(f"{N:>5}" + "".join(rounding_units(A, X) for X in answers))


# A worked problem


def box_and_draper(largest: int) -> None:
    del largest
    print("\nBox and Draper 11.3, 10 x 10 normal equations, leaf 3x3: uniform-3x3-short refined")
    normal, right_side = normal_equations()
    coefficients = BlockInverter(LEAF).transform(normal[None])[0] @ right_side
    direct = np.linalg.solve(normal, right_side)
    print(f"{'term':>6}{'blocks':>14}{'numpy':>14}{'difference':>12}")
    for term, mine, theirs in zip(TERMS, coefficients, direct, strict=True):
        print(f"{term:>6}{mine:>14.8f}{theirs:>14.8f}{abs(mine - theirs):>12.1e}")
    print(f"largest absolute error {abs(coefficients - direct).max():.1e}; target 1e-8, published mean error 3.84")


# Speed


def seconds(methods: dict[str, Callable[[np.ndarray], Any]], N: int, repeats: int) -> dict[str, float]:
    """Return medians of alternating runs, each on another matrix."""
    return alternate(methods, (uniform(1, N, seed) for seed in range(repeats + 1)))


def block_and_certify(A: np.ndarray) -> Any:
    return certify(torch.from_numpy(A), torch.from_numpy(BlockInverter().transform(A)))


def exact_leaves(largest: int) -> None:
    print("\nExact leaves, one matrix U[-1,1]: time over numpy.linalg.inv's of the same matrix, median [quartiles]")
    methods = {
        "recursion alone": lambda A: block_inverse(torch.from_numpy(A), 32, partial(invert_leaf, ExactInverter())),
        "BlockInverter()": BlockInverter().transform,
        "... and certify": block_and_certify,
        "RefinedInverter(BlockInverter())": RefinedInverter(BlockInverter()).transform,
    }
    print(f"{'N':>5}{'numpy ms':>10}" + "".join(f"{name:>{max(len(name), 20) + 2}}" for name in methods))
    for N in up_to(largest, 64, 150, 512, 1024, 2048):
        matrices = (uniform(1, N, seed) for seed in range(31 if N < 500 else 8))
        spent = in_turn({"numpy": np.linalg.inv, **methods}, matrices)
        numpy = spent.pop("numpy")
        print(f"{N:>5}{1e3 * np.median(numpy.processor):>10.2f}", end="")
        for name, one in spent.items():
            lower, middle, upper = quartiles(one.processor / numpy.processor)
            print(f"{f'{middle:.2f} [{lower:.2f}, {upper:.2f}]':>{max(len(name), 20) + 2}}", end="")
        print()

    sizes = np.array(up_to(largest, 256, 512, 1024, 2048))
    times = {N: seconds({"block": BlockInverter().transform}, N, repeats=3)["block"] for N in sizes}
    for chosen in (sizes, sizes[1:]) if len(sizes) > 2 else ():
        exponent = np.polyfit(np.log(chosen), np.log([times[N] for N in chosen]), 1)[0]
        print(f"time grows as N^{exponent:.2f} from {chosen[0]} to {chosen[-1]}")


class Stopwatch:
    """A leaf inverter that adds up the processor time spent in it."""

    def __init__(self, inverter: Any) -> None:
        self.inverter, self.spent = inverter, 0.0

    def __call__(self, A: Tensor) -> Tensor:
        started = time.process_time()
        X = invert_leaf(self.inverter, A)
        self.spent += time.process_time() - started
        return X


def network_leaves(largest: int) -> None:
    print("\n3x3 network leaves, one matrix U[-1,1]")
    print(f"{'N':>5}{'leaf':>12}{'ms':>9}{'over numpy':>12}{'leaves ms':>11}{'ms a leaf':>11}{'residual / numpy':>18}")
    for N in up_to(largest, 150, 1024):
        A = uniform(1, N)
        leaves = {"network": NETWORK, "refined": LEAF}
        methods = {name: BlockInverter(leaf).fit().transform for name, leaf in leaves.items()}
        spent = seconds({"numpy": np.linalg.inv, **methods}, N, repeats=9 if N < 1000 else 3)
        direct = frobenius_residuals(A, np.linalg.inv(A))
        for name, leaf in leaves.items():
            watch = Stopwatch(leaf)
            block_inverse(torch.from_numpy(A), 3, watch)
            ratio = (frobenius_residuals(A, methods[name](A)) / direct).item()
            print(
                f"{N:>5}{name:>12}{1e3 * spent[name]:>9.1f}{spent[name] / spent['numpy']:>12.1f}"
                f"{1e3 * watch.spent:>11.1f}{1e3 * watch.spent / -(-N // 3):>11.2f}{ratio:>18.2f}"
            )


def memory(largest: int) -> None:
    del largest
    N = 2304  # arrays too large for the heap, which would keep their room
    print(f"\nPeak memory beyond input and output, in N^2 float64 numbers, N = {N}")
    A = uniform(1, N)
    for name, inverter in (("alone", BlockInverter()), ("reported", RefinedInverter(BlockInverter()))):
        inverter.transform(A)  # buffers of the libraries
        print(f"{name:>12}{peak_bytes(partial(inverter.transform, A)) / (8 * N * N) - 1:8.2f}")


def peak_bytes(method: Callable[[], Any]) -> float:
    """Return by how much the resident set of this process grows while the method runs (Linux)."""
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak starts anew
    before = resident("VmRSS")
    method()
    return resident("VmHWM") - before


def resident(field: str) -> float:
    with open("/proc/self/status") as file:
        return next(1024.0 * int(line.split()[1]) for line in file if line.startswith(field))


# Families


def families() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    N = 48
    M = uniform(1, N)[0]
    Q, P = (scipy.linalg.qr(rng.standard_normal((N, N)))[0] for _ in range(2))
    zero_leading = M.copy()
    zero_leading[: N // 2, : N // 2] = 0
    return {
        "permutation": np.eye(N)[rng.permutation(N)],
        "[[0, I], [I, 0]]": np.roll(np.eye(N), N // 2, axis=1),
        "skew-symmetric": M - M.T,
        "zero leading block": zero_leading,
        "rows 1 ... 1e-12": np.geomspace(1, 1e-12, N)[:, None] * M,
        "columns 1 ... 1e-12": np.geomspace(1, 1e-12, N) * M,
        "singular values 1 ... 1e-10": (Q * np.geomspace(1, 1e-10, N)) @ P,
        "hadamard 64": scipy.linalg.hadamard(64).astype(float),
        "helmert 48": scipy.linalg.helmert(N, full=True),
        "fiedler 48": scipy.linalg.fiedler(np.arange(float(N))),
        "companion 48": scipy.linalg.companion(np.arange(1.0, N + 2)),
        "circulant 48": scipy.linalg.circulant(np.arange(float(N))),
        "toeplitz 48": scipy.linalg.toeplitz(np.arange(float(N))),
        **{f"pascal {n}": scipy.linalg.pascal(n).astype(float) for n in (6, 10, 14, 18)},
        **{f"hilbert {n}": scipy.linalg.hilbert(n) for n in range(4, 15, 2)},
        "ones (singular)": np.ones((N, N)),
    }


def nasty(largest: int) -> None:
    """Print what becomes of each: certified as it is, certified through LAPACK (exact), or refused (NaN)."""
    del largest
    print("\nMatrices on which elimination without pivoting fails, leaf 3x3: uniform-3x3-short refined")
    print(f"{'':28}{'condition':>11}{'outcome':>12}{'residual':>11}{'numpy':>11}{'error bound':>13}")
    full = RefinedInverter(BlockInverter(LEAF))
    for name, matrix in families().items():
        A = matrix[None]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            report = full.report(A)
        outcome = ("exact" if report.source[0] == "exact" else "certified") if report.certified[0] else "refused"
        try:
            direct = frobenius_residuals(A, np.linalg.inv(A))[0]
        except np.linalg.LinAlgError:
            direct = np.nan
        print(
            f"{name:28}{np.linalg.cond(matrix):>11.1e}{outcome:>12}"
            f"{report.residual_norm[0]:>11.1e}{direct:>11.1e}{report.error_bound[0]:>13.1e}"
        )


def main() -> None:
    parts = {
        "accuracy": [accuracy],
        "growth": [growth],
        "worked": [box_and_draper],
        "speed": [exact_leaves, network_leaves, memory],
        "families": [nasty],
    }
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=list(parts), help=f"of {', '.join(parts)}; all by default")
    parser.add_argument("--largest", type=int, default=2048, metavar="N", help="of accuracy, growth and speed")
    options = parser.parse_args()
    start_as_it_is()
    print(keep_to_one_thread())
    for part in options.parts:
        for table in parts[part]:
            table(options.largest)
    print(f"\n{time.process_time():.0f} s of processor time")


if __name__ == "__main__":
    main()
