"""Every way to inverses, certificates and determinants that a soak takes, and what each answer claims."""

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
import torch

import skdmi
from benchmarks.lib.determinant_attack import is_right
from benchmarks.lib.soak_stacks import Given, as_float64, pick
from benchmarks.lib.tight_judge import Claims
from skdmi import BlockInverter, EnsembleInverter, RefinedInverter
from skdmi.persistence import pretrained_names

Rng = np.random.Generator


class Answer(NamedTuple):
    """What came back for a stack."""

    arrays: tuple[Any, ...]
    """All that must be the same when it is asked for again, in the containers that it came in."""
    inverse: Any = None
    """What must have shape, dtype and container of the stack."""
    computes: bool = False
    """Whether a lazy stack has an answer that is not."""
    claims: Claims | None = None
    determinants: Any = None
    absent: np.ndarray | None = None
    """Which inverses must be NaN, all others having none."""


Ask = Callable[[Given], Answer]
MOST_ENTRIES_OF_PINV = 2000
"""Of a stack: pseudo-inverses are found one by one."""


class Door(NamedTuple):
    """A way to an answer: the setting is drawn once, then asked as often as need be, in any thread."""

    draw: Callable[[Given, Rng], Ask]
    entries: int
    """Of a stack of good matrices, at most about so many: that a call takes about a tenth of a second."""
    sizes: tuple[int, ...] = ()
    """Empty for all."""
    flat: bool = True
    """Whether stacks of two leading axes are refused."""
    containers: tuple[str, ...] = ("numpy", "torch", "list", "dask")
    dtypes: tuple[Any, ...] = ()
    """Empty for all."""


def _stacked(X: Any) -> np.ndarray:
    found = as_float64(X)
    return found.reshape(-1, *found.shape[-2:])


def as_vector(values: Any) -> np.ndarray:
    return np.ravel(as_float64(values))


def inv(given: Given, rng: Rng) -> Ask:
    tight = bool(rng.random() < 0.3)
    uncertified = str(rng.choice(["exact", "exact", "exact", "nan", "keep"]))
    is_small = given.numbers().size < MOST_ENTRIES_OF_PINV
    singular = str(rng.choice(["warn", "pinv"])) if is_small else "warn"

    def ask(given: Given) -> Answer:
        X = skdmi.inv(given.stack, tight=tight, uncertified=uncertified, singular=singular)
        found = _stacked(X)
        absent = np.isnan(found).any(axis=(1, 2))
        if uncertified == "keep" or singular == "pinv":
            return Answer((X,), X)
        return Answer((X,), X, claims=Claims(found, ~absent), absent=absent)

    return ask


def certify(given: Given, rng: Rng) -> Ask:
    tight = bool(rng.random() < 0.3)
    dtype = pick((np.float64, np.float32), rng)
    A = given.numbers()
    with np.errstate(all="ignore"):
        X = torch.linalg.inv_ex(torch.from_numpy(A)).inverse.numpy()
        X = X * (1 + 2.0 ** -rng.integers(1, 60, (len(A), 1, 1)) * rng.uniform(-1, 1, X.shape))
        X = np.nan_to_num(X).astype(dtype)

    def ask(given: Given) -> Answer:
        numbers = _stacked(given.stack)
        Y = X if len(numbers) == len(X) else X[: len(numbers)]
        r = skdmi.certify(given.stack, Y.reshape(given.shape), tight=tight)
        names = ("certified", "error_bound", "condition_lower", "condition_upper", "robust")
        fields = {name: np.ravel(getattr(r, name)) for name in names}
        bound = None if r.entry_bound is None else _stacked(r.entry_bound)
        claims = Claims(Y, entry_bound=bound, is_spectral=not tight, **fields)
        return Answer((*fields.values(), r.residual_norm, r.left_residual_norm), claims=claims)

    return ask


def slogdet(given: Given, rng: Rng) -> Ask:
    del given, rng

    def ask(given: Given) -> Answer:
        found = skdmi.slogdet(given.stack)
        return Answer(tuple(found), determinants=found)

    return ask


def _reported(inverter: RefinedInverter) -> Ask:
    """Return what asks an inverter for its report."""

    def ask(given: Given) -> Answer:
        r = inverter.report(given.stack)
        bound = None if r.entry_bound is None else _stacked(r.entry_bound)
        claims = Claims(_stacked(r.inverse), r.certified, r.error_bound, bound, is_spectral=bound is None)
        known = (r.inverse, r.error_bound, r.certified, r.n_steps, r.source)
        return Answer(known, r.inverse, computes=True, claims=claims, absent=~r.certified)

    return ask


def refined(given: Given, rng: Rng) -> Ask:
    return _reported(RefinedInverter(tight=bool(rng.random() < 0.3), max_steps=int(rng.choice([0, 1, 50]))))


def blocks(given: Given, rng: Rng) -> Ask:
    m = given.shape[-1]
    inner = BlockInverter(RefinedInverter(), block_size=int(rng.integers(1, m + 1)))
    return _reported(RefinedInverter(inner) if rng.random() < 0.5 else RefinedInverter(inner, tight=True))


@cache
def names_by_size() -> dict[int, list[str]]:
    """Return the shipped models by the size that they take."""
    by_size: dict[int, list[str]] = {}
    for name in pretrained_names():
        by_size.setdefault(skdmi.load_pretrained(name).estimator.matrix_size_, []).append(name)
    return by_size


@cache
def kept_model(name: str) -> Any:
    return skdmi.load_pretrained(name)


def a_model(given: Given, rng: Rng) -> Any:
    """Return a shipped model that takes the size: mostly one that is shared by all threads, now and then a new one."""
    name = str(rng.choice(names_by_size()[given.shape[-1]]))
    return kept_model(name) if rng.random() < 0.9 else skdmi.load_pretrained(name)


def refined_network(given: Given, rng: Rng) -> Ask:
    return _reported(RefinedInverter(a_model(given, rng)))


def network(given: Given, rng: Rng) -> Ask:
    """An answer without a proof."""
    model = a_model(given, rng)
    if rng.random() < 0.2:
        model = EnsembleInverter.from_fitted([model, a_model(given, rng)], combine=str(rng.choice(["mean", "best"])))

    def ask(given: Given) -> Answer:
        X = model.transform(given.stack)
        return Answer((X,), X)

    return ask


EXPORTED = {"closed_form": (2, 3, 4), "elimination": (5, 6, 8), "fixed": (2, 3, 8, 16)}


def written(form: str, m: int) -> Any:
    from benchmarks.lib.exported import File  # imports onnxruntime

    return File(form, getattr(skdmi.export, form)(m))


kept_file = cache(written)


def exported(given: Given, rng: Rng) -> Ask:
    m = given.shape[-1]
    form = str(rng.choice([form for form, sizes in EXPORTED.items() if m in sizes]))
    file = (kept_file if rng.random() < 0.95 else written)(form, m)

    def ask(given: Given) -> Answer:
        found = file.invert(np.ascontiguousarray(given.stack, np.float32))
        return Answer(tuple(found), claims=Claims(found.inverse, found.certified))

    return ask


SIZES_OF_NETWORKS = (3, 16, 19, 36, 64)

DOORS: dict[str, Door] = {
    "inv": Door(inv, 200_000, flat=False),
    "certify": Door(certify, 100_000, flat=False, containers=("numpy", "torch", "list")),
    "slogdet": Door(slogdet, 200_000, flat=False, containers=("numpy", "torch", "list")),
    "RefinedInverter": Door(refined, 100_000),
    "RefinedInverter of a network": Door(refined_network, 20_000, SIZES_OF_NETWORKS),
    "RefinedInverter of blocks": Door(blocks, 10_000),
    "network": Door(network, 40_000, SIZES_OF_NETWORKS),
}
if find_spec("onnxruntime"):
    DOORS["exported"] = Door(exported, 30_000, (2, 3, 4, 5, 6, 8, 16), containers=("numpy",), dtypes=(np.float32,))


def count_wrong_determinants(A: np.ndarray, dtype: Any, found: Any, chosen: np.ndarray) -> list[int]:
    """Return the indices of members, of those chosen, whose sign, or the bound of whose logarithm, is wrong."""
    sign, log_abs_det, bound = (as_vector(part) for part in found)
    members = torch.from_numpy(A.astype(dtype))
    return [
        int(k) for k in chosen if is_right(members[k], float(sign[k]), float(log_abs_det[k]), float(bound[k])) is False
    ]
