"""Attacks on the certificate, judged by exact rational arithmetic, and its time beside that of LAPACK.

``python benchmarks/certificates.py [--cases 100000]`` certifies stacks of every family below with inverses from every
source, in both precisions, under every global setting that changes arithmetic. It prints, a family a line, how many
matrices are singular in their very bits, how many were certified, how many of those falsely, how many bounds the truth
violates, and the largest of the certified relative errors over its bound. The exit status is 1 if a certificate is
false or a bound is violated. Needs python-flint.
"""

import argparse
import contextlib
import itertools
import platform
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from statistics import median

import numpy as np
import torch
from flint import fmpq, fmpq_mat
from torch import Tensor

from skdmi import NeuralMatrixInverter
from skdmi.iteration import minimal_residual
from skdmi.linalg import Certificate, certify, equilibrate, scale_by_power_of_two, split_exponent

DTYPES = (torch.float32, torch.float64)
SIZES = (2, 3, 4, 6, 1, 8)
SINGULAR_UNDER_FLUSH = [[1.0, 2.0**-1023], [2.0**13, 2.0**-1010]]


# The matrices: families of float64 stacks; those that are singular are so exactly, and stay so in float32.


def uniform(rng: np.random.Generator, n: int, m: int) -> np.ndarray:
    return rng.uniform(-1, 1, (n, m, m))


def integers(rng: np.random.Generator, n: int, m: int) -> np.ndarray:
    """Rank at most m - 1, exactly: the factors are small integers."""
    return (rng.integers(-4, 5, (n, m, m - 1)) @ rng.integers(-4, 5, (n, m - 1, m))).astype(float)


def dyadic(rng: np.random.Generator, n: int, m: int) -> np.ndarray:
    return _powers(rng, n, m, 30)[..., None] * integers(rng, n, m) * _powers(rng, n, m, 30)[:, None]


def repeated_rows(rng: np.random.Generator, n: int, m: int) -> np.ndarray:
    """One row is a power of two times another one."""
    A = uniform(rng, n, m)
    A[:, -1] = A[:, 0] * rng.choice([-2.0, 0.25, 1.0], (n, 1)) if m > 1 else 0
    return A[:, rng.permutation(m)]


def zero_rows(rng: np.random.Generator, n: int, m: int) -> np.ndarray:
    A = uniform(rng, n, m)
    A[:, rng.integers(m)] = 0
    return A if rng.random() < 0.5 else A.swapaxes(1, 2)


def permuted_rows(rng: np.random.Generator, n: int, m: int) -> np.ndarray:
    """Every row is a permutation of the same integers, of sum zero: the vector of ones is in the kernel."""
    row = rng.integers(-9, 10, (n, 1, m)).astype(float)
    row[..., 0] -= row.sum(axis=-1)
    return rng.permuted(np.repeat(row, m, axis=1), axis=2)


def nearly_singular(rng: np.random.Generator, n: int, m: int) -> np.ndarray:
    """Singular integers, one entry moved by a power of two."""
    A = integers(rng, n, m)
    i, j = rng.integers(m, size=2)
    A[:, i, j] += 2.0 ** -rng.integers(1, 52, n)
    return A


def badly_scaled(rng: np.random.Generator, n: int, m: int) -> np.ndarray:
    power = rng.choice([15, 30, 60, 300])
    return _powers(rng, n, m, power)[..., None] * uniform(rng, n, m) * _powers(rng, n, m, power)[:, None]


def hilbert(rng: np.random.Generator, n: int, m: int) -> np.ndarray:
    i = np.arange(m) + rng.integers(1, 4, (n, 1))
    return 1 / (i[..., None] + np.arange(m))


def pascal(rng: np.random.Generator, n: int, m: int) -> np.ndarray:
    A = np.ones((m, m))
    for i, j in itertools.product(range(1, m), repeat=2):
        A[i, j] = A[i - 1, j] + A[i, j - 1]
    return A - rng.integers(0, 2, (n, 1, 1)) * (np.indices((m, m)).sum(axis=0) == 2 * m - 2)


def vandermonde(rng: np.random.Generator, n: int, m: int) -> np.ndarray:
    """Nodes are small integers, a few of them equal."""
    return rng.integers(-m - 2, m + 3, (n, m, 1)).astype(float) ** np.arange(m)


def graded(rng: np.random.Generator, n: int, m: int) -> np.ndarray:
    return np.geomspace(1, rng.choice([1e-3, 1e-12, 1e-30]), m)[:, None] * uniform(rng, n, m)


def subnormal(rng: np.random.Generator, n: int, m: int) -> np.ndarray:
    """Some entries, rows or whole matrices at the lower end of the range of one of the two dtypes."""
    A = uniform(rng, n, m) if rng.random() < 0.5 else integers(rng, n, m)
    least = rng.choice([-126, -1022]) + rng.integers(-20, 3)
    where = rng.random([(n, m, m), (n, m, 1), (n, 1, m), (n, 1, 1)][rng.integers(4)]) < 0.5
    A = np.where(where, np.ldexp(A, least), A)
    if m == 2:
        A[0] = SINGULAR_UNDER_FLUSH
    return A


def overflow_prone(rng: np.random.Generator, n: int, m: int) -> np.ndarray:
    A = uniform(rng, n, m) if rng.random() < 0.5 else integers(rng, n, m) / 1024
    return np.ldexp(A, rng.choice([127, 1023]) - rng.integers(0, 20, (n, m, 1)))


def floating_products(rng: np.random.Generator, n: int, m: int) -> np.ndarray:
    """Rank-deficient but for rounding: cast to float32, each is one that rounds from a singular matrix, or nearly."""
    return rng.uniform(-1, 1, (n, m, m - 1)) @ rng.uniform(-1, 1, (n, m - 1, m))


def wide_columns(rng: np.random.Generator, n: int, m: int) -> np.ndarray:
    """Columns, rows, or both in units from one end of the range of a dtype to the other; half of them singular."""
    A = uniform(rng, n, m) if rng.random() < 0.5 else integers(rng, n, m)
    low, high = ((-1070, 1010), (-145, 120))[rng.integers(2)]
    rows, columns = rng.integers(low, high, (2, n, m))
    where = rng.integers(4)
    if where == 0:
        return np.ldexp(A, columns[:, None])
    if where == 1:
        return np.ldexp(A, rows[..., None])
    if where == 2:
        return np.ldexp(A, rows[..., None] // 2 + columns[:, None] // 2)
    return np.ldexp(A, np.where(columns % 2, 0, -rng.integers(500, 560, (n, m)))[:, None])


def graded_entries(rng: np.random.Generator, n: int, m: int) -> np.ndarray:
    """Every entry of a size of its own."""
    least, largest = ((-1070, 1010), (-145, 120))[rng.integers(2)]
    power = rng.integers(least, largest, (n, m, m)) // rng.choice([1, 3, 10, 30])
    return np.ldexp(uniform(rng, n, m), power) * (rng.random((n, m, m)) < 0.8)


def _powers(rng: np.random.Generator, n: int, m: int, largest: int) -> np.ndarray:
    return 2.0 ** rng.integers(-largest, largest + 1, (n, m))


FAMILIES: dict[str, Callable[[np.random.Generator, int, int], np.ndarray]] = {
    family.__name__: family
    for family in (
        uniform,
        integers,
        dyadic,
        repeated_rows,
        zero_rows,
        permuted_rows,
        nearly_singular,
        badly_scaled,
        hilbert,
        pascal,
        vandermonde,
        graded,
        subnormal,
        overflow_prone,
        floating_products,
        wide_columns,
        graded_entries,
    )
}


# Their would-be inverses.


def lapack(A: Tensor, generator: torch.Generator) -> Tensor:
    return torch.linalg.inv_ex(A.double())[0]


def loose(A: Tensor, generator: torch.Generator) -> Tensor:
    """The inverse as it is in exact arithmetic, off by up to a third, in all or in each of its entries."""
    size = 3.0 ** -torch.randint(1, 40, (len(A), 1, 1), generator=generator)
    noise = torch.randn(A.shape, generator=generator, dtype=torch.float64)
    whole = torch.rand(len(A), 1, 1, generator=generator) < 0.5
    return _nearest_inverse(A) * (1 + size * torch.where(whole, noise[:, :1, :1].clamp(-1, 1), noise.clamp(-1, 1)))


def _nearest_inverse(A: Tensor) -> Tensor:
    """Round exact inverses; of singular matrices, zeros."""
    X = torch.zeros(A.shape, dtype=torch.float64)
    for A_i, X_i in zip(A, X, strict=True):
        if not is_singular(A_i):
            X_i.copy_(torch.tensor([rounded(x) for x in rational(A_i).inv().entries()]).reshape(X_i.shape))
    return X


def untrained(A: Tensor, generator: torch.Generator) -> Tensor:
    return minimal_residual(A, n_steps=12)


def network(A: Tensor, generator: torch.Generator) -> Tensor:
    """Answer as the shipped networks do, beyond the sizes that they were trained for as well."""
    return _shipped("uniform-3x3" if A.shape[-1] <= 3 else "uniform-5x5").invert(A)


@cache
def _shipped(name: str) -> NeuralMatrixInverter:
    return NeuralMatrixInverter.from_pretrained(name)


def huge(A: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(A.shape, generator=generator, dtype=torch.float64) * torch.finfo(A.dtype).max / 8


def zero(A: Tensor, generator: torch.Generator) -> Tensor:
    return torch.zeros_like(A)


def not_finite(A: Tensor, generator: torch.Generator) -> Tensor:
    """A good inverse, save one entry."""
    X = lapack(A, generator)
    X[..., 0, -1] = torch.tensor([torch.nan, torch.inf])[torch.randint(2, X.shape[:1], generator=generator)]
    return X


def transposed(A: Tensor, generator: torch.Generator) -> Tensor:
    return A.mT.clone()


def pseudo_inverse(A: Tensor, generator: torch.Generator) -> Tensor:
    scaled, exponent = split_exponent(A.double())
    return scale_by_power_of_two(torch.linalg.pinv(scaled), -exponent)


def searched(A: Tensor, generator: torch.Generator, n_steps: int = 40) -> Tensor:
    """Descend on rho from the pseudo-inverse, one entry or the whole a step: what the certificate likes best."""
    X = pseudo_inverse(A, generator).to(A.dtype)
    best = certify(A, X).rho.nan_to_num(nan=torch.inf)
    entries = torch.eye(A.shape[-1] ** 2).unflatten(1, A.shape[-2:])
    for _ in range(n_steps):
        where = entries[torch.randint(len(entries), X.shape[:1], generator=generator)].to(A.dtype)
        size = torch.randn(X.shape[0], 1, 1, generator=generator, dtype=A.dtype).pow(9)
        whole = torch.rand(X.shape[0], 1, 1, generator=generator) < 0.3
        trial = torch.where(whole, X * (1 + size / 10), X + size * X.abs().amax(dim=(-2, -1), keepdim=True) * where)
        rho = certify(A, trial).rho
        X, best = torch.where((rho < best)[:, None, None], trial, X), torch.fmin(rho, best)
    return X


SOURCES: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    source.__name__: source
    for source in (lapack, loose, searched, untrained, network, pseudo_inverse, huge, zero, not_finite, transposed)
}


# The global settings that change arithmetic.


@contextmanager
def flush_to_zero() -> Iterator[None]:
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


@contextmanager
def medium_precision() -> Iterator[None]:
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(precision)


SETTINGS: dict[str, Callable[[], contextlib.AbstractContextManager[None]]] = {
    "default": contextlib.nullcontext,
    "flush to zero": flush_to_zero,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "medium precision": medium_precision,
}


# The judge.


def exactly(value: float) -> fmpq:
    return fmpq(*value.as_integer_ratio())


def rounded(value: fmpq) -> float:
    """Return the nearest float64; infinite beyond the range."""
    try:
        return int(value.p) / int(value.q)
    except OverflowError:
        return float("inf") if value > 0 else -float("inf")


def rational(A: Tensor) -> fmpq_mat:
    """Return the stored bits of one matrix, exactly."""
    m = A.shape[-1]
    return fmpq_mat(m, m, [exactly(value) for value in A.double().flatten().tolist()])


def is_singular(A: Tensor) -> bool:
    return rational(A).det() == 0


def square_norm(A: fmpq_mat) -> fmpq:
    return sum((a * a for a in A.entries()), fmpq(0))


def one_norm(A: fmpq_mat) -> fmpq:
    return max(sum(map(abs, column), fmpq(0)) for column in zip(*A.tolist(), strict=True))


def smaller_norm_of_residual(A: fmpq_mat, X: fmpq_mat, row_exponents: list[int]) -> fmpq:
    """Return the square of the maximum row sum norm or of the Frobenius norm of ``D (I - A X) D^-1``."""
    product = (A * X).tolist()
    powers = [fmpq(2) ** e for e in row_exponents]
    R = [
        [abs((i == j) - value) * powers[i] / powers[j] for j, value in enumerate(row)] for i, row in enumerate(product)
    ]
    return min(max(sum(row, fmpq(0)) for row in R) ** 2, sum((value**2 for row in R for value in row), fmpq(0)))


def spectral_norm(A: fmpq_mat, scale: fmpq) -> float:
    values = [(a / scale) for a in A.entries()]
    return np.linalg.norm(np.array([int(a.p) / int(a.q) for a in values]).reshape(A.nrows(), -1), 2)


@dataclass
class Tally:
    """What became of the attacks of one kind."""

    cases: int = 0
    singular: int = 0
    granted: int = 0
    false: int = 0
    violated: int = 0
    tightest: float = 0.0

    def judge(self, A: Tensor, X: Tensor, certificate: Certificate, row_exponents: list[int]) -> None:
        """Add one matrix, the fields of its certificate, and the powers of two that its rho speaks of."""
        self.cases += 1
        singular = is_singular(A)
        self.singular += singular
        if not certificate.certified:
            return
        self.granted += 1
        self.false += singular
        if not singular:
            self.judge_bounds(rational(A), rational(X), certificate, row_exponents)

    def judge_bounds(self, A: fmpq_mat, X: fmpq_mat, certificate: Certificate, row_exponents: list[int]) -> None:
        rho, bound, lower, upper = (float(value) for value in certificate[1:5])
        inverse = A.inv()
        error, size = square_norm(X - inverse), square_norm(inverse)
        condition = one_norm(A) * one_norm(inverse)
        scale = max(map(abs, inverse.entries()))
        spectral = spectral_norm(X - inverse, scale) / spectral_norm(inverse, scale) if bound < np.inf else 0
        within = (
            (rho == np.inf or smaller_norm_of_residual(A, X, row_exponents) <= exactly(rho) ** 2)
            and (bound == np.inf or error <= exactly(bound) ** 2 * size)
            and spectral <= bound * (1 + 1e-13)  # the one norm that is computed in floating point
            and (upper == np.inf or condition <= exactly(upper))
            and exactly(lower) <= condition
        )
        self.violated += not within
        self.tightest = max(self.tightest, spectral / bound)

    def row(self, name: str) -> str:
        counts = f"{self.cases:9d}{self.singular:10d}{self.granted:9d}{self.false:7d}{self.violated:10d}"
        return f"{name:20}{counts}{self.tightest:10.3f}"

    def __add__(self, other: "Tally") -> "Tally":
        counts = (getattr(self, name) + getattr(other, name) for name in list(vars(self))[:-1])
        return Tally(*counts, max(self.tightest, other.tightest))


def attack(family: str, source: str, setting: str, dtype: torch.dtype, m: int, n: int, seed: int) -> Tally:
    """Certify n matrices of size m, and judge every answer by exact arithmetic."""
    A = torch.from_numpy(FAMILIES[family](np.random.default_rng(seed), n, m)).to(dtype)
    A = A.nan_to_num(posinf=torch.finfo(dtype).max, neginf=torch.finfo(dtype).min)
    with SETTINGS[setting]():
        X = SOURCES[source](A, torch.Generator().manual_seed(seed)).to(dtype)
        certificate = certify(A, X)
    return judged(A, X, certificate)


def judged(A: Tensor, X: Tensor, certificate: Certificate) -> Tally:
    """Judge the certificates of a stack."""
    tally = Tally()
    for A_i, X_i, rows, *fields in zip(A, X, equilibrate(A)[1].tolist(), *certificate, strict=True):
        tally.judge(A_i, X_i, Certificate(*fields), rows)
    return tally


def seconds(function: Callable[[], object], repeats: int = 5) -> float:
    def once() -> float:
        started = time.perf_counter()
        function()
        return time.perf_counter() - started

    return median(once() for _ in range(repeats))


def print_times() -> None:
    print(f"\n{'time, microseconds a matrix':32}{'certify':>12}{'inv':>12}{'one product':>14}{'certified':>12}")
    for dtype, (n, m) in itertools.product(DTYPES, [(100_000, 3), (20_000, 8), (2_000, 32), (1, 1024)]):
        A = torch.from_numpy(uniform(np.random.default_rng(0), n, m)).to(dtype)
        X = torch.linalg.inv(A)
        spent = (
            seconds(partial(certify, A, X)),
            seconds(partial(torch.linalg.inv, A)),
            seconds(partial(torch.matmul, A.double(), X.double())),
        )
        certify_us, inv_us, product_us = (1e6 * value / n for value in spent)
        share = certify(A, X).certified.double().mean().item()
        name = f"{n} of {m} x {m}, {str(dtype).removeprefix('torch.')}"
        print(f"{name:32}{certify_us:12.2f}{inv_us:12.2f}{product_us:14.2f}{100 * share:11.3f}%")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=100_000)
    options = parser.parse_args()
    kinds = list(itertools.product(SOURCES, SETTINGS, DTYPES, SIZES))
    n = -(-options.cases // (len(kinds) * len(FAMILIES)))
    print(f"{platform.machine()}, {torch.get_num_threads()} thread(s), torch {torch.__version__}")
    print(f"{'family':20}{'cases':>9}{'singular':>10}{'granted':>9}{'false':>7}{'violated':>10}{'tightest':>10}")
    total = Tally()
    for family in FAMILIES:
        tally = sum((attack(family, *kind, n, seed) for seed, kind in enumerate(kinds)), start=Tally())
        print(tally.row(family), flush=True)
        total += tally
    print(total.row("total"))
    print_times()
    sys.exit(bool(total.false or total.violated))


if __name__ == "__main__":
    main()
