"""Attacks on the certificate of unit lower triangular matrices, whose true inverses are known without an error.

A has whole numbers below the diagonal, or powers of two beside it, in units of powers of two. Its inverse then has
whole numbers, or powers, and substitution in float64 makes no error. So ``X - A^-1`` is rounded once an entry, and a
bound is judged in float64; where that is too close to tell, by rationals.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.linalg import matrix_norm

from benchmarks.lib.arithmetic_settings import SETTINGS
from benchmarks.lib.chunks import neumann_doubling, substitution
from benchmarks.lib.exact_arithmetic import exactly, one_norm, rational, square_norm
from skdmi.linalg import unit_lower_inverse
from skdmi.linalg.unit_lower_certificate import UnitLowerCertificate, certify_unit_lower

SIZES = (2, 3, 4, 6, 8, 1)
DTYPES = (torch.float32, torch.float64)
BATCH = 500
_CLOSE = 2.0**-48
"""More than the relative error of norms, of m <= 8, that are judged in float64."""


@dataclass
class Counts:
    """What became of the attacks."""

    cases: int = 0
    improper: int = 0
    """Of them, those where A or X is not unit lower triangular."""
    granted: int = 0
    false: int = 0
    """Certificates granted to improper members, and bounds below the truth."""
    judged_exactly: int = 0
    tightest: float = 0.0
    """The largest true error over its bound."""

    def __add__(self, other: "Counts") -> "Counts":
        sums = {name: value + getattr(other, name) for name, value in vars(self).items()}
        return Counts(**sums | {"tightest": max(self.tightest, other.tightest)})


def whole_numbers(rng: np.random.Generator, n: int, m: int) -> np.ndarray:
    return rng.integers(-9, 10, (n, m, m)).astype(float)


def long_numbers(rng: np.random.Generator, n: int, m: int) -> np.ndarray:
    """Whole numbers of as many bits as leave those of the inverse, and all sums on the way, below 2^53."""
    largest = 2 ** min(24, 48 // max(1, m - 1))
    return rng.integers(1 - largest, largest, (n, m, m)).astype(float)


def growth(rng: np.random.Generator, n: int, m: int) -> np.ndarray:
    """Entries of one size and sign: the inverse doubles from row to row, or stays as it is."""
    return np.broadcast_to(rng.choice([-3.0, -1.0, 1.0, 2.0], (n, 1, 1)), (n, m, m)).copy()


def sparse(rng: np.random.Generator, n: int, m: int) -> np.ndarray:
    return rng.integers(-99, 100, (n, m, m)) * (rng.random((n, m, m)) < 0.3)


def bidiagonal(rng: np.random.Generator, n: int, m: int) -> np.ndarray:
    """Powers of two beside the diagonal, large and small."""
    powers = np.ldexp(rng.choice([-1.0, 1.0], (n, m, m)), rng.integers(-12, 13, (n, m, m)))
    return powers * np.eye(m, k=-1)


FAMILIES: tuple[Callable[[np.random.Generator, int, int], np.ndarray], ...] = (
    whole_numbers,
    long_numbers,
    growth,
    sparse,
    bidiagonal,
)


def nearest(A: Tensor, inverse: Tensor, generator: torch.Generator) -> Tensor:
    return inverse


def ulps(A: Tensor, inverse: Tensor, generator: torch.Generator) -> Tensor:
    """The inverse, each entry off by a few units in the last place."""
    return inverse * (1 + torch.finfo(A.dtype).eps * torch.randint(-8, 9, A.shape, generator=generator))


def loose(A: Tensor, inverse: Tensor, generator: torch.Generator) -> Tensor:
    """The inverse, off by up to a third."""
    size = 3.0 ** -torch.randint(1, 33, (len(A), 1, 1), generator=generator)
    return inverse * (1 + size * (2 * torch.rand(A.shape, generator=generator, dtype=torch.float64) - 1))


def one_entry(A: Tensor, inverse: Tensor, generator: torch.Generator) -> Tensor:
    """The inverse, with one entry off by something between nothing and its largest entry."""
    m = A.shape[-1]
    where = torch.nn.functional.one_hot(torch.randint(m * m, (len(A),), generator=generator), m * m).reshape(A.shape)
    size = 2.0 ** -torch.randint(0, 60, (len(A), 1, 1), generator=generator).double()
    return inverse + where * size * inverse.abs().amax(dim=(1, 2), keepdim=True)


def computed(A: Tensor, inverse: Tensor, generator: torch.Generator) -> Tensor:
    return unit_lower_inverse(A).double()


def neumann(A: Tensor, inverse: Tensor, generator: torch.Generator) -> Tensor:
    return neumann_doubling(A).double()


def first_order(A: Tensor, inverse: Tensor, generator: torch.Generator) -> Tensor:
    return 2 * torch.eye(A.shape[-1], dtype=torch.float64) - A.double()


def columns_off(A: Tensor, inverse: Tensor, generator: torch.Generator) -> Tensor:
    """The inverse times a matrix near the identity: its residual is large where the columns of A are."""
    noise = torch.randn(A.shape, generator=generator, dtype=torch.float64)
    size = 2.0 ** -torch.randint(1, 50, (len(A), 1, 1), generator=generator).double()
    return inverse @ (torch.eye(A.shape[-1], dtype=torch.float64) + size * noise.tril(-1))


SOURCES: tuple[Callable[[Tensor, Tensor, torch.Generator], Tensor], ...] = (
    nearest,
    ulps,
    loose,
    one_entry,
    computed,
    neumann,
    first_order,
    columns_off,
)


def attack(n_cases: int, *, seed: int = 0) -> Counts:
    """Certify about so many would-be inverses, and judge every answer.

    Dtypes, sizes, families and sources are drawn, and one of the settings of `SETTINGS`; some members are spoilt, so
    that A or X is not unit lower triangular: by one subnormal entry, one unit in the last place, or NaN.
    """
    rng = np.random.default_rng(seed)
    total = Counts()
    while total.cases < n_cases:
        family, source = FAMILIES[rng.integers(len(FAMILIES))], SOURCES[rng.integers(len(SOURCES))]
        dtype, setting = DTYPES[rng.integers(len(DTYPES))], list(SETTINGS)[rng.integers(len(SETTINGS))]
        total += attack_once(family, source, dtype, setting, min(BATCH, n_cases - total.cases), rng)
    return total


def attack_once(
    family: Callable[[np.random.Generator, int, int], np.ndarray],
    source: Callable[[Tensor, Tensor, torch.Generator], Tensor],
    dtype: torch.dtype,
    setting: str,
    n: int,
    rng: np.random.Generator,
) -> Counts:
    """Certify and judge n would-be inverses of one kind and size."""
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    A, inverse = _known(family, rng, n, int(rng.choice(SIZES)))
    A = A.to(dtype)
    with SETTINGS[setting]():
        X = source(A, inverse, generator).to(dtype)
    X = X.tril(-1) + torch.eye(X.shape[-1], dtype=dtype)
    proper = _spoil(A, X, rng)
    with SETTINGS[setting]():
        certificate = certify_unit_lower(A, X)
    return judged(A, X, inverse, proper, certificate)


def judged(A: Tensor, X: Tensor, inverse: Tensor, proper: Tensor, certificate: UnitLowerCertificate) -> Counts:
    """Judge the certificates of a stack whose float64 inverses are exact."""
    granted = certificate.certified
    bound, lower, upper = certificate.error_bound, certificate.condition_lower, certificate.condition_upper
    ratio = matrix_norm(X.double() - inverse) / matrix_norm(inverse) / bound
    condition = matrix_norm(A.double(), 1) * matrix_norm(inverse, 1)
    holds = (ratio <= 1 - _CLOSE) & (lower <= condition * (1 - _CLOSE)) & (upper >= condition * (1 + _CLOSE))
    close = granted & proper & ~holds
    violated = sum(not _holds(A[i], X[i], inverse[i], certificate, i) for i in close.nonzero().flatten().tolist())
    false = int((granted & ~proper).sum()) + violated
    tightest = ratio[granted & proper].amax().item() if (granted & proper).any() else 0.0
    return Counts(len(A), int((~proper).sum()), int(granted.sum()), false, int(close.sum()), tightest)


def _holds(A: Tensor, X: Tensor, inverse: Tensor, certificate: UnitLowerCertificate, i: int) -> bool:
    """Return whether the bounds of member i hold, by rationals."""
    exact, true = rational(A), rational(inverse)
    bound, lower, upper = (
        float(field[i]) for field in (certificate.error_bound, certificate.condition_lower, certificate.condition_upper)
    )
    condition = one_norm(exact) * one_norm(true)
    return bool(
        square_norm(rational(X) - true) <= exactly(bound) ** 2 * square_norm(true)
        and exactly(lower) <= condition
        and (upper == np.inf or condition <= exactly(upper))
    )


def _known(
    family: Callable[[np.random.Generator, int, int], np.ndarray], rng: np.random.Generator, n: int, m: int
) -> tuple[Tensor, Tensor]:
    """Return A and its inverse, both exact in float64 and A in float32, half of them in units."""
    A = torch.from_numpy(np.tril(family(rng, n, m), -1) + np.eye(m))
    inverse = substitution(A)
    span = int(rng.choice([0, 0, 3, 10, 25]))
    units = torch.from_numpy(2.0 ** rng.integers(-span, span + 1, (n, m, 1)))
    return units * A / units.mT, units * inverse / units.mT


def _spoil(A: Tensor, X: Tensor, rng: np.random.Generator) -> Tensor:
    """Spoil a tenth of the members, in place, and return which are proper still."""
    n, m, _ = A.shape
    info = torch.finfo(A.dtype)
    proper = torch.ones(n, dtype=torch.bool)
    for k in rng.choice(n, n // 10, replace=False):
        target, proper[k] = (A, X)[rng.integers(2)][k], False
        i, j = sorted(rng.integers(m, size=2))
        if i < j:
            target[i, j] = float(rng.choice([info.tiny / 4, -info.tiny, info.eps, 1.0, np.nan, np.inf]))
        else:
            target[i, i] = float(rng.choice([1 + info.eps, 1 - info.eps / 2, -1.0, 0.0, np.nan]))
    return proper
