"""Write the audit set, ``skdmi/datasets/audit.npz``: ``python -m scripts.make_audit``.

Matrices are made of integers and fractions and rounded once, so that they are the same on any machine; their inverses
are exact rationals of the bits that are stored, each kept as two floats: the nearest, and that nearest to the rest.
"""

import math
import zlib
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from flint import fmpq, fmpq_mat

from benchmarks.lib.exact_arithmetic import exactly, rounded
from skdmi.datasets.families import FAMILIES

FILE = Path(__file__).parents[1] / "skdmi" / "datasets" / "audit.npz"
Random = np.random.RandomState
Rows = list[list[Fraction]]
TRIPLES = ((5, 12, 13), (3, 4, 5), (8, 15, 17))
pairs = partial(zip, strict=True)
FIBONACCI = {"float32": (10, 20, 28, 33), "float64": (10, 25, 35, 38, 45, 77)}


class Exact(NamedTuple):
    """Matrices, ``(n, m, m)``, and their inverses as pairs; NaN of singular ones, infinite beyond the range."""

    matrices: np.ndarray
    inverse: np.ndarray
    inverse_low: np.ndarray


def uniform_entries(random: Random, *shape: int) -> np.ndarray:
    """Return entries on [-1, 1) of 24 bits."""
    return random.randint(-(2**23), 2**23, shape) / 2.0**23


def uniform(random: Random, m: int) -> np.ndarray:
    return uniform_entries(random, {3: 8, 8: 6, 16: 3}[m], m, m)


def wishart(random: Random, m: int) -> np.ndarray:
    G = random.randint(-8, 9, ({3: 8, 8: 6, 16: 3}[m], m, 2 * m))
    return (G @ G.swapaxes(1, 2)).astype(float)


def permutations(random: Random, m: int) -> np.ndarray:
    chosen = [random.permutation(m) for _ in range(2)] + [np.arange(m)[::-1], np.roll(np.arange(m), 1)]
    plain = [np.eye(m)[order] for order in chosen]
    return np.stack(plain + [P * random.choice([-1.0, 1.0], m) for P in plain])


def leading_zeros(random: Random, m: int) -> np.ndarray:
    """Return members with a zero entry, zero blocks up to half the side, a zero diagonal, a leading 2 x 2 of rank 1."""
    sizes = sorted({1, 2, m // 4, m // 2} - {0})
    A = random.randint(1, 1025, (len(sizes) + 2, m, m)) * random.choice([-1, 1], (len(sizes) + 2, m, m)) / 1024.0
    for member, size in zip(A, sizes, strict=False):
        member[:size, :size] = 0
    np.fill_diagonal(A[-2], 0)
    A[-1, :2, :2] = [[1, 2], [2, 4]]
    return A


def graded(random: Random, m: int, *, rows: bool, columns: bool) -> np.ndarray:
    span = 10 if rows and columns else 15
    members = []
    for B in uniform_entries(random, {4: 4, 8: 4, 16: 2}[m], m, m):
        units = [tens(random, span, m) if asked else [Fraction(1)] * m for asked in (rows, columns)]
        members.append([[Fraction(b) * p * q for b, q in pairs(row, units[1])] for row, p in pairs(B, units[0])])
    return in_float32(members)


def tens(random: Random, span: int, m: int) -> list[Fraction]:
    """Return powers of ten, both ends of the span among them."""
    exponents = [-span, span, *random.randint(-span, span + 1, m - 2).tolist()]
    return [Fraction(10) ** exponents[k] for k in random.permutation(m).tolist()]


def spread(random: Random, m: int) -> np.ndarray:
    exponents = random.randint(-30, 31, (4, m, m)).tolist()
    B = uniform_entries(random, 4, m, m)
    return np.array(
        [
            [[float(Fraction(b) * Fraction(10) ** e) for b, e in pairs(*rows)] for rows in pairs(*member)]
            for member in pairs(B, exponents)
        ]
    )


def hilbert(random: Random, m: int) -> np.ndarray:
    del random
    members = []
    for p in range(3):
        multiple = math.lcm(*range(1 + p, 2 * m + p))
        members.append([[multiple // (i + j + 1 + p) for j in range(m)] for i in range(m)])
    return np.array(members, dtype=float)


def pascal(random: Random, m: int) -> np.ndarray:
    del random
    P = np.array([[math.comb(i + j, i) for j in range(m)] for i in range(m)], dtype=float)
    return np.stack([P, P[::-1], P * (-1.0) ** np.arange(m)])


def kahan(random: Random, m: int) -> np.ndarray:
    del random
    members = []
    for c, s, r in TRIPLES:
        row = [[Fraction(0)] * i + [Fraction(1)] + [Fraction(-c, r)] * (m - i - 1) for i in range(m)]
        members.append([[value * Fraction(s, r) ** i for value in row[i]] for i in range(m)])
    return in_float32(members)


def growth(random: Random, m: int) -> np.ndarray:
    """Return Wilkinson's matrices with entries below the diagonal that vary within 1/16, so that rounding shows."""
    members = []
    for _ in range({8: 4, 16: 4, 32: 2}[m]):
        A = np.tril(-1 + random.randint(0, 2**12, (m, m)) / 2.0**16, -1) + np.eye(m)
        A[:, -1] = random.choice([-1, 1], m) * random.randint(2**9, 2**10, m) / 2.0**10
        members.append(A)
    return np.stack(members)


def delta_rule(random: Random, m: int) -> np.ndarray:
    """Return chunks: keys that drift, keys that repeat, keys that flip their sign; rates to 1, flips also to 2."""
    one, any_rate = [Fraction(1)] * m, rates(random, m)
    same = unit_vectors(random, 1, 0) * m
    flipped = [[sign * x for x in same[0]] for sign in random.choice([-1, 1], m).tolist()]
    chunks = [
        chunk(unit_vectors(random, m, 1), any_rate),
        chunk(same, one),
        chunk(flipped, one),
        chunk(same, [Fraction(1, 2)] * m),
        chunk(flipped, [Fraction(2)] * m),
    ]
    if m < 64:
        chunks += [
            chunk(same, rates(random, m)),
            chunk(unit_vectors(random, m, 1), one),
            chunk(unit_vectors(random, m, 8), [Fraction(3, 2)] * m),
        ]
    return in_float32(chunks)


def rates(random: Random, m: int) -> list[Fraction]:
    return [Fraction(k, 64) for k in random.randint(8, 65, m).tolist()]


def unit_vectors(random: Random, n: int, step: int) -> list[list[Fraction]]:
    """Return vectors of rational coordinates and length 1, by stereographic projection of a walk with such steps."""
    t = random.randint(-16, 17, 3)
    vectors = []
    for _ in range(n):
        square = Fraction(int(t @ t), 256)
        vectors.append([*(Fraction(int(x), 8) / (square + 1) for x in t), (square - 1) / (square + 1)])
        t = t + step * random.randint(-1, 2, 3)
    return vectors


def chunk(keys: list[list[Fraction]], beta: list[Fraction]) -> Rows:
    def entry(i: int, j: int) -> Fraction:
        return beta[i] * sum((a * b for a, b in pairs(keys[i], keys[j])), Fraction(0)) if i > j else Fraction(i == j)

    return [[entry(i, j) for j in range(len(keys))] for i in range(len(keys))]


def integers(random: Random, m: int) -> np.ndarray:
    """Return products of unit triangular matrices of small integers, permuted."""
    members = []
    for largest in (1, 1, 2, 3)[: 4 if m < 16 else 3]:
        L = np.tril(random.randint(-largest, largest + 1, (m, m)), -1) + np.eye(m)
        U = np.triu(random.randint(-largest, largest + 1, (m, m)), 1) + np.eye(m)
        members.append((L @ U @ L)[random.permutation(m)])
    return np.stack(members)


def fibonacci(dtype: str) -> np.ndarray:
    """Return ``[[F(n + 1), F(n)], [F(n), F(n - 1)]]``, determinant ``(-1)^n``."""
    F = [0, 1]
    while len(F) < 80:
        F.append(F[-1] + F[-2])
    return np.array([[[F[n + 1], F[n]], [F[n], F[n - 1]]] for n in FIBONACCI[dtype]], dtype=float)


def singular(random: Random, m: int) -> np.ndarray:
    """Return the zero matrix, a rank of 1 and of m - 1, a row twice, a sum of rows, a column of zeros; two regular."""
    A = random.randint(-9, 10, (8, m, m)).astype(float)
    A[0] = 0
    A[1] = np.outer(random.randint(1, 10, m), random.randint(1, 10, m))
    A[2] = random.randint(-4, 5, (m, m - 1)) @ random.randint(-4, 5, (m - 1, m))
    A[3, -1] = A[3, 0]
    A[4] /= 16
    A[4, -1] = A[4, :-1].sum(axis=0)
    A[5, :, m // 2] = 0
    A[6:] += 16 * m * np.eye(m)
    if m == 3:
        A[2] = np.arange(1, 10).reshape(3, 3)
    return A[[6, 0, 1, 2, 3, 4, 5, 7]]


def regular(random: Random, m: int) -> np.ndarray:
    """Return a matrix of a few bits with a dominant diagonal, its rows permuted; entries at most 1."""
    return ((random.randint(-3, 4, (m, m)) / (8 * m) + 0.75 * np.eye(m))[random.permutation(m)]).astype(float)


def subnormal(random: Random, m: int, dtype: str) -> np.ndarray:
    """Return all entries small, below 2^-emax, or subnormal; a row of subnormals; subnormals among ones."""
    emin = int(np.finfo(dtype).minexp)
    A = np.stack([regular(random, m) for _ in range(6)])
    A[0] = np.ldexp(A[0], emin + 8)
    A[1] = np.ldexp(A[1], emin - 1)
    A[2] = np.ldexp(A[2], emin - 8)
    A[3, 0] = np.ldexp(A[3, 0], emin - 8)
    A[4] = np.eye(m) + np.ldexp(np.triu(random.randint(1, 64, (m, m)), 1).astype(float), emin - 14)
    A[5, :, 0] = np.ldexp(A[5, :, 0], emin - 4)
    A[5, 0] = np.ldexp(A[5, 0], 8)
    return A


def huge(random: Random, m: int, dtype: str) -> np.ndarray:
    """Return all entries large, or near the largest; graded rows and columns from end to end; a huge row."""
    emax = int(np.finfo(dtype).maxexp)
    A = np.stack([regular(random, m) for _ in range(6)])
    A[0] = np.ldexp(A[0], emax - 4)
    A[1] = np.ldexp(A[1], emax)
    A[2] = np.ldexp(0.75 + random.randint(0, 64, (m, m)) / 512 - 0.5 * np.eye(m), emax)
    steps = np.linspace(-(emax // 2) + 12, emax // 2 - 12, m).astype(int)
    A[3] = np.ldexp(A[3], steps[:, None] + steps[::-1])
    A[4] = np.ldexp(A[4], steps[:, None] + 0 * steps)
    A[5, 0] = np.ldexp(A[5, 0], emax - 1)
    return A


def in_float32(members: list[Rows]) -> np.ndarray:
    return np.array([[[float(np.float32(float(x))) for x in row] for row in rows] for rows in members])


BOTH = ("both",)
EACH = ("float32", "float64")
Maker = Callable[..., np.ndarray]
TABLE: list[tuple[str, Maker, tuple[int, ...], tuple[str, ...]]] = [
    ("permutation", permutations, (4, 16), BOTH),
    ("leading-zeros", leading_zeros, (4, 8, 16), BOTH),
    ("graded-rows", lambda r, m: graded(r, m, rows=True, columns=False), (4, 8, 16), BOTH),
    ("graded-columns", lambda r, m: graded(r, m, rows=False, columns=True), (4, 8, 16), BOTH),
    ("graded-both", lambda r, m: graded(r, m, rows=True, columns=True), (4, 8, 16), BOTH),
    ("spread", spread, (3, 4, 8), ("float64",)),
    ("hilbert", hilbert, (3, 5, 7, 8), BOTH),
    ("hilbert", hilbert, (9, 10, 11, 12, 13), ("float64",)),
    ("pascal", pascal, (4, 8, 12), BOTH),
    ("pascal", pascal, (16,), ("float64",)),
    ("kahan", kahan, (8, 16), BOTH),
    ("growth", growth, (8, 16, 32), BOTH),
    ("delta-rule", delta_rule, (16, 32, 64), BOTH),
    ("integers", lambda r, m, dtype: fibonacci(dtype), (2,), EACH),
    ("integers", integers, (4, 8, 12, 16), BOTH),
    ("singular", singular, (2, 3, 4, 8, 16), BOTH),
    ("subnormal", subnormal, (2, 4), EACH),
    ("huge", huge, (2, 4), EACH),
    ("uniform", uniform, (3, 8, 16), BOTH),
    ("wishart", wishart, (3, 8, 16), BOTH),
]
"""Family, maker, sizes, and for which dtypes: one matrix for both, its entries in float32, or each its own."""


def make() -> Iterator[tuple[str, np.ndarray]]:
    """Yield the key of every case, and its matrices in the dtype in which they are stored."""
    for family, maker, sizes, dtypes in TABLE:
        for m in sizes:
            for dtype in dtypes:
                random = Random(zlib.crc32(f"{family}-{m}".encode()))
                stack = maker(random, m, dtype) if dtypes == EACH else maker(random, m)
                stored = stack.astype(np.float64 if dtype == "float64" else np.float32)
                if not np.array_equal(stored, stack):
                    raise ValueError(f"{family}-{m} has entries that are not of {stored.dtype}; use float64 for it.")
                yield f"{family}-{m}/{dtype}", stored


def invert(stack: np.ndarray) -> Exact:
    """Return exact inverses of the stored bits as pairs."""
    pairs = np.full((2, *stack.shape), np.nan)
    for number, A in enumerate(stack):
        exact = exact_inverse(A)
        if exact is not None:
            split = [split_in_two(value) for value in exact.entries()]
            pairs[:, number] = np.array(split).T.reshape(2, *A.shape)
    return Exact(stack, *pairs)


def exact_inverse(A: np.ndarray) -> fmpq_mat | None:
    """Return the inverse as rationals, or None."""
    m = len(A)
    exact = fmpq_mat(m, m, [exactly(value) for value in A.astype(np.float64).ravel().tolist()])
    return None if exact.det() == 0 else exact.inv()


def split_in_two(value: fmpq) -> tuple[float, float]:
    """Return the nearest float, and that nearest to the rest."""
    high = rounded(value)
    return high, 0.0 if math.isinf(high) else rounded(value - exactly(high))


def main() -> None:
    arrays = {}
    for key, stack in make():
        exact = invert(stack)
        arrays |= {f"{key}/{name}": array for name, array in exact._asdict().items()}
        print(f"{key:24} {len(stack):2} of {stack.dtype}, {np.isnan(exact.inverse).any(axis=(1, 2)).sum()} singular")
    assert {key.split("/")[0].rpartition("-")[0] for key in arrays} == set(FAMILIES)
    np.savez_compressed(FILE, **arrays)
    print(f"{FILE.name}: {FILE.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
