"""Attacks on certificates of anybody's inverses, and on inverses refined tightly, judged by exact arithmetic.

Every batch is a stack of one family, size and dtype, would-be inverses from a few sources, and every door to a
certificate: ``skdmi.certify`` and what it is made of, in lanes and in torch, and the inverses that are refined by it.
"""

import itertools
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch

import skdmi
from benchmarks.lib.arithmetic_settings import SETTINGS
from benchmarks.lib.attack_matrices import FAMILIES as KNOWN
from benchmarks.lib.attack_matrices import integers, uniform
from benchmarks.lib.tight_judge import Claims, Counts, Truth
from skdmi import RefinedInverter
from skdmi.estimators.reference import check_tensors
from skdmi.figures import CERTIFIED, NONSINGULAR
from skdmi.lanes import checks
from skdmi.linalg import certify_tightly, refine_tightly

DTYPES: tuple[type[Any], ...] = (np.float64, np.float32)
SIZES = (2, 3, 4, 1, 5, 3, 2, 6, 4, 8, 3, 2, 5, 12)
N_SOURCES = 4
RANGES: dict[type[Any], tuple[int, int]] = {np.float64: (-1074, 1023), np.float32: (-149, 127)}

Rng = np.random.Generator


def scaled_integers(rng: Rng, n: int, m: int) -> np.ndarray:
    """Singular integers, rows and columns in units of powers of two over much of the range."""
    largest = rng.choice([10, 50, 250])
    rows, columns = rng.integers(-largest, largest + 1, (2, n, m))
    return np.ldexp(integers(rng, n, m), rows[..., None] + columns[:, None])


def off_by_a_digit(rng: Rng, n: int, m: int) -> np.ndarray:
    """Singular integers, one entry of them moved by its last digit in one of the dtypes."""
    A = scaled_integers(rng, n, m) if rng.random() < 0.5 else integers(rng, n, m)
    k = np.arange(n), rng.integers(m, size=n), rng.integers(m, size=n)
    dtype = DTYPES[rng.integers(2)]
    with np.errstate(over="ignore", under="ignore"):
        A[k] = np.nextafter(A[k].astype(dtype), rng.choice([-np.inf, np.inf], n).astype(dtype))
    return A


def unimodular(rng: Rng, n: int, m: int) -> np.ndarray:
    """Integers of determinant 1 and large condition numbers, whose inverses are integers, too."""
    size = int(rng.choice([1, 3, 20, 1000]))
    lower = np.tril(rng.integers(-size, size + 1, (n, m, m)), -1) + np.eye(m, dtype=int)
    upper = np.triu(rng.integers(-size, size + 1, (n, m, m)), 1) + np.eye(m, dtype=int)
    return (lower @ upper).astype(float)


def powers_of_two(rng: Rng, n: int, m: int) -> np.ndarray:
    """Permutations, triangular or of mixed signs, of powers of two from one end of the range to the other."""
    A = np.zeros((n, m, m))
    A[np.arange(n)[:, None], np.arange(m), rng.permuted(np.tile(np.arange(m), (n, 1)), axis=1)] = 1
    if rng.random() < 0.5:
        A = np.tril(rng.integers(-1, 2, (n, m, m)), -1) + np.eye(m)
    low, high = RANGES[DTYPES[rng.integers(2)]]
    power = rng.integers(low, high, (n, m)) // int(rng.choice([1, 2, 10]))
    return np.ldexp(A, power[..., None] if rng.random() < 0.5 else power[:, None])


def balanced(rng: Rng, n: int, m: int) -> np.ndarray:
    """Signs, as of Hadamard matrices, whose residuals cancel exactly."""
    return rng.choice([-1.0, 1.0], (n, m, m)) * 2.0 ** rng.integers(-3, 4, (n, 1, m))


def dependent_sums(rng: Rng, n: int, m: int) -> np.ndarray:
    """One row is the sum of the others, rounded in float32 or in float64."""
    A = uniform(rng, n, m)
    A[:, -1] = A[:, :-1].sum(axis=1)
    return A if rng.random() < 0.5 else A.astype(np.float32).astype(float)


def unstructured(rng: Rng, n: int, m: int) -> np.ndarray:
    """Exponents of entries without any structure."""
    largest = int(rng.choice([30, 100, 250, 1000]))
    return np.ldexp(uniform(rng, n, m), rng.integers(-largest, largest + 1, (n, m, m)))


def clusters(rng: Rng, n: int, m: int) -> np.ndarray:
    """Vandermonde matrices of nodes that nearly coincide."""
    nodes = 1 + rng.uniform(-1, 1, (n, m, 1)) * 10.0 ** -rng.integers(1, 9)
    return nodes ** np.arange(m)


FAMILIES: dict[str, Callable[[Rng, int, int], np.ndarray]] = KNOWN | {
    family.__name__: family
    for family in (
        scaled_integers,
        off_by_a_digit,
        unimodular,
        powers_of_two,
        balanced,
        dependent_sums,
        unstructured,
        clusters,
    )
}


class Material(NamedTuple):
    """What would-be inverses are made from."""

    truth: Truth
    base: np.ndarray
    """Exact inverses, rounded; pseudo-inverses of singular matrices."""

    @classmethod
    def of(cls, A: np.ndarray) -> "Material":
        truth = Truth(A)
        base = truth.high.copy()
        if truth.singular.any():
            base[truth.singular] = pseudo_inverse(truth.A64[truth.singular])
        return cls(truth, base)


def pseudo_inverse(A: np.ndarray) -> np.ndarray:
    """Return those of matrices in units of powers of two that bring rows, then columns, near one."""
    rows = np.frexp(np.abs(A).max(axis=2, keepdims=True))[1]
    B = np.ldexp(A, -rows)
    columns = np.frexp(np.abs(B).max(axis=1, keepdims=True))[1]
    X = np.linalg.pinv(np.ldexp(B, -columns))
    return np.ldexp(X, -columns.swapaxes(1, 2) - rows.swapaxes(1, 2))


def nearest(given: Material, rng: Rng) -> np.ndarray:
    return given.base


def spoiled(given: Material, rng: Rng) -> np.ndarray:
    """Off by anything from the last digit to all of it, in all entries alike or in each."""
    X = given.base
    n, m, _ = X.shape
    noise = rng.uniform(-1, 1, X.shape) if rng.random() < 0.7 else rng.choice([-1.0, 1.0], (n, 1, m))
    return X * (1 + 2.0 ** -rng.integers(0, 54, (n, 1, 1)) * noise)


def off_by_digits(given: Material, rng: Rng) -> np.ndarray:
    return np.nextafter(given.base, rng.choice([-np.inf, np.inf], given.base.shape))


def one_wrong_entry(given: Material, rng: Rng) -> np.ndarray:
    X = given.base.copy()
    n, m, _ = X.shape
    k = np.arange(n), rng.integers(m, size=n), rng.integers(m, size=n)
    X[k] *= rng.choice([0.0, -1.0, 2.0, 1 + 2.0**-20, 1 + 2.0**-45], n)
    return X


def in_few_bits(given: Material, rng: Rng) -> np.ndarray:
    return given.base.astype(np.float32 if rng.random() < 0.5 else np.float16).astype(float)


def in_bits_of_units(given: Material, rng: Rng) -> np.ndarray:
    """Every entry to a few bits, whatever its size."""
    fraction, exponent = np.frexp(given.base)
    n_bits = rng.integers(2, 40)
    return np.ldexp(np.round(np.ldexp(fraction, n_bits)), exponent - n_bits)


def lapack(given: Material, rng: Rng) -> np.ndarray:
    return torch.linalg.inv_ex(torch.from_numpy(given.truth.A64)).inverse.numpy()


def with_null_vectors(given: Material, rng: Rng) -> np.ndarray:
    """Add to columns what singular matrices do not see, of any size: residuals stay as they are."""
    vectors = given.truth.null_vectors
    n, m = vectors.shape
    size = np.ldexp(rng.integers(-3, 4, (n, 1, m)), rng.integers(-60, 110, (n, 1, 1)))
    return given.base + vectors[..., None] * size


def zero(given: Material, rng: Rng) -> np.ndarray:
    return np.zeros_like(given.base)


def of_another(given: Material, rng: Rng) -> np.ndarray:
    return np.roll(given.base, 1, axis=0)


def transposed(given: Material, rng: Rng) -> np.ndarray:
    return (given.base if rng.random() < 0.5 else given.truth.A64).swapaxes(1, 2).copy()


def extreme(given: Material, rng: Rng) -> np.ndarray:
    """Entries from the ends of the range, or not finite, in a good inverse."""
    X = given.base.copy()
    ends = [5e-324, 2.0**-1022, 1e-310, 2.0**100, 2.0**1023, 1.7e308, np.inf, np.nan, 1e-45, 3e38]
    where = rng.random(X.shape) < rng.choice([0.1, 0.5, 1.0])
    return np.where(where, rng.choice(ends, X.shape) * rng.choice([-1, 1], X.shape), X)


def descended(given: Material, rng: Rng, n_steps: int = 10) -> np.ndarray:
    """Descend on the bound that a certificate is granted by, from what is there, an entry or the whole a step."""
    A, X = torch.from_numpy(given.truth.A), given.base.copy()
    n, m, _ = X.shape
    best = np.full(n, np.inf)
    for _ in range(n_steps):
        trial = X.copy()
        k = np.arange(n), rng.integers(m, size=n), rng.integers(m, size=n)
        trial[k] += np.abs(X).max(axis=(1, 2)) * rng.standard_normal(n) ** 9
        trial = np.where(rng.random((n, 1, 1)) < 0.3, X * (1 + rng.standard_normal((n, 1, 1)) ** 9 / 10), trial)
        found = certify_tightly(A, torch.from_numpy(trial)).residual_norm.nan_to_num(nan=np.inf).numpy()
        better = found < best
        X[better], best[better] = trial[better], found[better]
    return X


SOURCES = (
    nearest,
    spoiled,
    off_by_digits,
    one_wrong_entry,
    in_few_bits,
    in_bits_of_units,
    lapack,
    with_null_vectors,
    zero,
    of_another,
    transposed,
    extreme,
    descended,
)
WEIGHTS = np.array([3, 5, 3, 3, 2, 2, 4, 3, 0.5, 0.5, 0.5, 2, 0.3])


def _certify(A: np.ndarray, X: np.ndarray, *, tight: bool) -> Claims:
    r = skdmi.certify(A, X, tight=tight)
    known = r.certified, r.error_bound, r.entry_bound, r.condition_lower, r.condition_upper, r.robust
    return Claims(X, *known, is_spectral=not tight)


def _lanes(A: np.ndarray, X: np.ndarray, *, tight: bool) -> Claims:
    """Ask the kernel alone, of what it does not leave to others."""
    bound = np.empty(A.shape) if tight else None
    return _of_kernel(checks.check(A, X, bound), X, bound)


def _torch(A: np.ndarray, X: np.ndarray, *, tight: bool) -> Claims:
    r = check_tensors(torch.from_numpy(A), torch.from_numpy(X), tight=tight, structure=None)
    bound = None if r.entry_bound is None else r.entry_bound.numpy()
    certified, error_bound, lower, upper, robust = (
        T.numpy() for T in (r.certified, r.error_bound, r.condition_lower, r.condition_upper, r.robust)
    )
    return Claims(X, certified, error_bound, bound, lower, upper, robust, is_spectral=not tight)


def _refine(A: np.ndarray, X: np.ndarray, *, inverts: bool) -> Claims:
    """Refine what is given, in float64 and to the dtype of A."""
    invert = (lambda B: torch.linalg.inv_ex(B).inverse) if inverts else None
    dtype = torch.from_numpy(A).dtype if inverts else None
    r = refine_tightly(torch.from_numpy(A), torch.from_numpy(X), invert, dtype=dtype)
    c = r.certificate
    known = c.nonsingular, c.error_bound, r.entry_bound, c.condition_lower, c.condition_upper, c.certified
    X, certified, error_bound, bound, lower, upper, robust = (T.numpy() for T in (r.inverse, *known))
    return Claims(X, certified, error_bound, bound, lower, upper, robust)


def _lanes_refine(A: np.ndarray) -> Claims:
    X, bound = np.empty((2, *A.shape))
    return _of_kernel(checks.invert_tightly(A, X, bound), X, bound)


def _of_kernel(r: checks.Checked, X: np.ndarray, bound: np.ndarray | None) -> Claims:
    certified, robust = ((r.status & flag) != 0 for flag in (NONSINGULAR, CERTIFIED))
    interval = r.condition_lower, r.condition_upper
    return Claims(X, certified & ~r.outside, r.error_bound, bound, *interval, robust, is_spectral=bound is None)


def _report(A: np.ndarray) -> Claims:
    r = RefinedInverter(tight=True).report(A)
    return Claims(r.inverse, r.certified, r.error_bound, r.entry_bound)


def _inv(A: np.ndarray) -> Claims:
    X = skdmi.inv(A, tight=True)
    return Claims(X, ~np.isnan(X).any(axis=(1, 2)))


OF_PAIRS: dict[str, Callable[[np.ndarray, np.ndarray], Claims]] = {
    "certify": lambda A, X: _certify(A, X, tight=False),
    "certify, tight": lambda A, X: _certify(A, X, tight=True),
    "kernel": lambda A, X: _lanes(A, X, tight=False),
    "kernel, tight": lambda A, X: _lanes(A, X, tight=True),
    "torch": lambda A, X: _torch(A, X, tight=False),
    "torch, tight": lambda A, X: _torch(A, X, tight=True),
    "refine_tightly": lambda A, X: _refine(A, X, inverts=False),
    "refine_tightly, inverts": lambda A, X: _refine(A, X, inverts=True),
}
"""What certifies or refines an X that is given."""

OF_MATRICES: dict[str, Callable[[np.ndarray], Claims]] = {
    "RefinedInverter, tight": _report,
    "inv, tight": _inv,
    "kernel, refines": _lanes_refine,
}
"""What inverts."""

DOORS = (*OF_PAIRS, *OF_MATRICES)


class Wrong(NamedTuple):
    """An input with a false claim about it."""

    door: str
    setting: str
    A: np.ndarray
    X: np.ndarray
    counts: Counts


def attack(n: int, *, seed: int = 0, wrong: list[Wrong] | None = None) -> dict[str, Counts]:
    """Judge n claims of all doors, about matrices of all families, or a few more; return counts by door.

    A list ``wrong`` is given what breaks a claim.
    """
    found = {door: Counts() for door in DOORS}
    for number, batch in enumerate(_batches()):
        for door, counts in attack_batch(*batch, seed=seed + number, wrong=wrong).items():
            found[door] += counts
        if sum(counts.cases for counts in found.values()) >= n:
            return found
    raise AssertionError


def _batches() -> Iterator[tuple[str, int]]:
    sizes = itertools.cycle(SIZES)
    return ((family, next(sizes)) for family in itertools.cycle(FAMILIES))


def attack_batch(family: str, m: int, *, seed: int, wrong: list[Wrong] | None = None) -> dict[str, Counts]:
    """Attack every door by matrices of one family and would-be inverses from a few sources."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(20, 60)) if m <= 6 else int(rng.integers(4, 16))
    dtype, dtype_of_X = (DTYPES[k] for k in rng.integers(2, size=2))
    setting = rng.choice(list(SETTINGS), p=[0.6, 0.2, 0.1, 0.1])
    A = within(FAMILIES[family](rng, n, m), dtype)
    with np.errstate(all="ignore"):
        given = Material.of(A)
        sources = rng.choice(len(SOURCES), N_SOURCES, replace=False, p=WEIGHTS / WEIGHTS.sum())
        stacks = [SOURCES[k](given, rng).astype(dtype_of_X) for k in sources]
    X, index = np.concatenate(stacks), np.tile(np.arange(n), N_SOURCES)
    counts = {}
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for door in _open_doors(m, setting):
            of_pairs = door in OF_PAIRS
            with SETTINGS[setting]():
                claims = OF_PAIRS[door](A[index], X) if of_pairs else OF_MATRICES[door](A)
            about = index if of_pairs else np.arange(n)
            counts[door], places = given.truth.judge(about, claims)
            if wrong is not None:
                wrong += [Wrong(door, setting, A[about[k]], claims.X[k], counts[door]) for k in places]
    return counts


def within(A: np.ndarray, dtype: type[Any]) -> np.ndarray:
    """Return a stack in a dtype, what is beyond its range at its end."""
    limit = np.finfo(dtype).max
    with np.errstate(over="ignore", under="ignore"):
        return np.ascontiguousarray(np.nan_to_num(A.astype(dtype), posinf=limit, neginf=-limit))


def _open_doors(m: int, setting: str) -> list[str]:
    """Return the doors that are open: the kernel alone must not be asked where subnormal numbers are flushed."""
    ready = setting != "flush to zero" and checks.is_ready(m, 10**9)
    return [door for door in DOORS if ready or not door.startswith("kernel")]
