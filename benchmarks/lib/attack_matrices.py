"""Matrices that tempt a certificate to be false: families of float64 stacks.

Those that are singular are so exactly, and stay so in float32.
"""

import itertools
from collections.abc import Callable

import numpy as np

SINGULAR_UNDER_FLUSH = [[1.0, 2.0**-1023], [2.0**13, 2.0**-1010]]


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
