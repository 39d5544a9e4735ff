"""How far inverses are from the truth and what bounds say of that; and how ill-conditioned a matrix may be."""

import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch

import skdmi
from benchmarks.lib.records import Record
from benchmarks.lib.tight_judge import Truth, relative_errors
from skdmi import RefinedInverter
from skdmi.distributions import Uniform, Wishart
from skdmi.figures import NONSINGULAR
from skdmi.iteration import refine
from skdmi.lanes import checks
from skdmi.linalg import refine_tightly

HILBERT = "Hilbert"
LAPACK, LAPACK_TIGHT, INV_TIGHT = "certify, LAPACK's X", "certify(tight=True), LAPACK's X", "inv(tight=True)"
KERNEL, PRODUCTS = "the kernel alone, without LAPACK", "products alone, without LAPACK"
CRLIN_MODES = ("classical", "exact", "extended")
CRLIN = "crlin, {}"
SHIFTS = (0.0, 1e-6, 1e-8, 1e-10)


@dataclass(frozen=True)
class Family:
    """Matrices that bounds are compared on."""

    name: str
    m: int
    sample: Callable[[np.random.Generator, int, int], np.ndarray]
    is_one: bool = False
    """Whether there is but one of a size."""

    def draw(self, n: int) -> np.ndarray:
        """Return so many matrices, or the only one."""
        return self.sample(np.random.default_rng(self.m), 1 if self.is_one else n, self.m)


def uniform(rng: np.random.Generator, n: int, m: int) -> np.ndarray:
    return Uniform().sample(n, m, random_state=int(rng.integers(2**31)))


def wishart(rng: np.random.Generator, n: int, m: int) -> np.ndarray:
    return Wishart().sample(n, m, random_state=int(rng.integers(2**31)))


def graded(rng: np.random.Generator, n: int, m: int) -> np.ndarray:
    """Rows and columns in units from 1e-100 to 1e100."""
    rows, columns = 10.0 ** rng.uniform(-100, 100, (2, n, m))
    return rows[..., None] * rng.uniform(-1, 1, (n, m, m)) * columns[:, None]


def unstructured(rng: np.random.Generator, n: int, m: int) -> np.ndarray:
    """Entries from 1e-30 to 1e30, each of a size of its own."""
    return rng.uniform(-1, 1, (n, m, m)) * 10.0 ** rng.uniform(-30, 30, (n, m, m))


def hilbert(rng: np.random.Generator, n: int, m: int) -> np.ndarray:
    """The Hilbert matrix as float64 stores it."""
    i = np.arange(m)
    return (1 / (1.0 + i + i[:, None]))[None]


FAMILIES = (
    Family("U[-1,1]", 16, uniform),
    Family("Wishart", 16, wishart),
    Family("rows and columns 10^+-100", 8, graded),
    Family("unstructured 10^+-30", 4, unstructured),
    Family("unstructured 10^+-30", 8, unstructured),
    *(Family(HILBERT, m, hilbert, is_one=True) for m in range(3, 14)),
)


def bounds(family: Family, n_matrices: int, n_crlin: int) -> Record:
    """Return true errors of LAPACK's inverses and what is proved of them; and the same of those that are refined.

    Relative errors in the Frobenius norm: medians, and the largest ratio of a bound to an error that is not 0.
    """
    A = family.draw(n_matrices)
    truth = Truth(A)
    with np.errstate(all="ignore"):
        X = np.linalg.inv(A)
    plain, tight = skdmi.certify(A, X), skdmi.certify(A, X, tight=True)
    refined = report_tightly(A)
    error, refined_error = (relative_errors(Y, truth.high, truth.low) for Y in (X, refined.inverse))
    found: Record = {"part": "bounds", "family": family.name, "m": family.m, "n_matrices": len(A)}
    found["error"] = middle(error)
    for name, report, true in (("plain", plain, error), ("tight", tight, error), ("refined", refined, refined_error)):
        bound = np.where(report.certified, report.error_bound, np.inf)
        ratios = bound[true > 0] / true[true > 0]
        found |= {
            f"{name}_certified": float(report.certified.mean()),
            f"{name}_bound": middle(bound),
            f"{name}_bound_max": float(bound.max()),
            f"{name}_over_error": middle(ratios),
            f"{name}_over_error_max": float(ratios.max(initial=1.0)),
        }
    found["refined_error"] = middle(refined_error)
    for mode in CRLIN_MODES[:: len(CRLIN_MODES) - 1] if find_spec("crlin") else ():
        found[f"crlin_{mode}"] = middle(np.array([half_width(member, mode) for member in A[:n_crlin]]))
    return found


def middle(values: np.ndarray) -> float:
    """Return the median, infinite where it is not known; of nothing it is 1."""
    known = np.where(np.isnan(values), np.inf, values)
    return float(np.quantile(known, 0.5, method="higher")) if len(known) else 1.0


def report_tightly(A: np.ndarray) -> Any:
    """Return the report on tightly refined inverses, without its warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return RefinedInverter(tight=True).report(A)


def half_width(A: np.ndarray, mode: str, inverse: np.ndarray | None = None) -> float:
    """Return the half width of crlin's enclosure of the inverse, relative, in the Frobenius norm; infinite if none."""
    import crlin

    with suppress(crlin.NotVerified, np.linalg.LinAlgError), np.errstate(all="ignore"):
        low, high = crlin.solve(A, np.eye(len(A)), mode=mode, inverse=inverse)
        scale = np.abs(low).max()
        return float(np.linalg.norm(high / scale / 2 - low / scale / 2) / np.linalg.norm(low / scale))
    return float("inf")


def reach(largest: int) -> list[Record]:
    """Return by method the n up to which Hilbert matrices, from 3 on, are certified without a gap."""
    methods: dict[str, Callable[[np.ndarray], bool]] = {
        LAPACK: lambda A: bool(skdmi.certify(A, np.linalg.inv(A)).certified.all()),
        LAPACK_TIGHT: lambda A: bool(skdmi.certify(A, np.linalg.inv(A), tight=True).certified.all()),
        INV_TIGHT: lambda A: bool(report_tightly(A).certified.all()),
    }
    if checks.is_ready(3, 10**9):
        methods[KERNEL] = by_kernel
    methods |= {_shifted(shift): _by_products(shift) for shift in SHIFTS}
    if find_spec("crlin"):
        methods |= {CRLIN.format(mode): _by_crlin(mode) for mode in CRLIN_MODES}
    rng = np.random.default_rng(0)
    stacks = [hilbert(rng, 1, m) for m in range(3, largest + 1)]
    return [{"part": "reach", "method": name, "n": _last(call, stacks)} for name, call in methods.items()]


def _last(certifies: Callable[[np.ndarray], bool], stacks: Sequence[np.ndarray]) -> int:
    """Return the size of the last matrix before the first that is not certified."""
    last = stacks[0].shape[-1] - 1
    for A in stacks:
        if not certifies(A):
            break
        last = A.shape[-1]
    return last


def by_kernel(A: np.ndarray) -> bool:
    """Return whether the compiled kernel certifies what it eliminated and refined itself."""
    X, bound = np.empty((2, *A.shape))
    return bool(((checks.invert_tightly(A, X, bound).status & NONSINGULAR) != 0).all())


def _shifted(shift: float) -> str:
    return PRODUCTS + (f", from A + {shift:g} I" if shift else ", from A")


def _by_products(shift: float) -> Callable[[np.ndarray], bool]:
    """Return what certifies without factors: starts, and what inverts again, are of products."""

    def certifies(A: np.ndarray) -> bool:
        T = torch.from_numpy(A)
        start = refine(T + shift * torch.eye(A.shape[-1], dtype=T.dtype)).inverse
        return bool(refine_tightly(T, start, lambda P: refine(P).inverse).certificate.nonsingular.all())

    return certifies


def _by_crlin(mode: str) -> Callable[[np.ndarray], bool]:
    return lambda A: half_width(A[0], mode) < np.inf
