"""``skdmi verify``: check inverses that are in a file, whoever computed them."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

from skdmi.cli.options import INPUT_FILE, example
from skdmi.cli.streams import paired_stacks

__all__ = ["Check", "absolute_check", "relative_check", "run", "verify"]

# Far above the rounding of an inverse computed in the dtype of the file, far below a mistake.
TOLERANCES = {"float32": 1e-5, "float64": 1e-10}
MAX_SHOWN = 5


@click.command(epilog=example("skdmi verify M.mx I.mx --tolerance 1e-8"))
@click.argument("matrices", type=INPUT_FILE)
@click.argument("inverses", type=INPUT_FILE)
@click.option(
    "--kind", type=click.Choice(["inverse", "pseudo-inverse"]), default="inverse", help="What INVERSES holds."
)
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    help=f"By default {TOLERANCES['float64']:g}, and {TOLERANCES['float32']:g} for .npy files of float32.",
)
def verify(matrices: Path, inverses: Path, kind: str, tolerance: float | None) -> None:
    """Check inverses that are in a file.

    With A from MATRICES, X from INVERSES and Frobenius norms, the bound between rounding and mistake is
    t = min(TOLERANCE * ||A|| * ||X||, 1), which grows with the condition number.

    An inverse is valid if ||I - A X|| <= t, or the largest row sum of |I - A X| is; both are taken after A has been
    equilibrated by powers of two on its rows and columns, and X in return, so that units do not matter.

    A pseudo-inverse is valid if it meets the four conditions of Penrose, with t at most 1/2: ||A X A - A|| <= t ||A||,
    ||X A X - X|| <= t ||X||, ||A X - (A X)^T|| <= t and ||X A - (X A)^T|| <= t.

    Exits with 0 if all are valid and with 1 otherwise, naming the first matrices that fail.
    """
    n_matrices = run(relative_check(kind, tolerance), paired_stacks(matrices, inverses), inverses)
    click.echo(f"{n_matrices} valid {kind}s")


Pair = tuple[np.ndarray, np.ndarray]
Measure = Callable[..., np.ndarray]
Conditions = list[tuple[str, Measure, Measure]]
"""Name, what is measured, and in what unit."""


@dataclass(frozen=True)
class Check:
    """One way to check computed inverses X of A: what is measured of both, and how large it may be."""

    kind: str
    conditions: Conditions
    limit: Callable[[Pair, tuple[np.ndarray, ...]], np.ndarray]
    """The bound, from A and X as they are and as they are measured."""
    prepare: Callable[[Pair], tuple[np.ndarray, ...]] = lambda pair: (
        pair[0].astype(np.float64),
        pair[1].astype(np.float64),
    )
    """What is measured, from A and X as they are."""

    def complaints(self, A: np.ndarray, X: np.ndarray) -> Iterator[tuple[int, str]]:
        """Yield the index of each X that is not what it should be, and why: the first condition that fails."""
        with np.errstate(over="ignore", invalid="ignore"):  # What overflows compares as not valid.
            measured = self.prepare((A, X))
            allowed = self.limit((A, X), measured)
            conditions = [(name, of(*measured), allowed * unit(*measured)) for name, of, unit in self.conditions]
        missing = np.isnan(X).any(axis=(1, 2))
        valid = np.all([found <= limit for _, found, limit in conditions], axis=0)
        for index in np.flatnonzero(~valid).tolist():
            if missing[index]:
                yield index, f"the {self.kind} is missing (NaN)"
                continue
            name, found, limit = next(c for c in conditions if not c[1][index] <= c[2][index])
            yield index, f"{name} is {found[index]:.3g}, expected at most {limit[index]:.3g}"


def relative_check(kind: str, tolerance: float | None) -> Check:
    """Return the check that `verify` describes."""

    def limit(given: Pair, measured: tuple[np.ndarray, ...]) -> np.ndarray:
        allowed = max(TOLERANCES[T.dtype.name] for T in given) if tolerance is None else tolerance
        A, X = measured[:2]
        return np.minimum(allowed * _norm(A) * _norm(X), 1.0 if kind == "inverse" else 0.5)

    if kind == "inverse":
        return Check(kind, [("||I - A X||", _smaller_norm_of_residual, _one)], limit, _equilibrated)
    return Check(kind, PENROSE, limit)


def absolute_check(kind: str, tolerance: float) -> Check:
    """Return a check with one bound for all matrices, in the units in which they come."""

    def limit(given: Pair, measured: tuple[np.ndarray, ...]) -> np.ndarray:
        del measured
        return np.full(len(given[0]), tolerance)

    inverse: Conditions = [("||I - A X||", lambda A, X: _norm(_residual(A, X)), _one)]
    return Check(kind, inverse if kind == "inverse" else PENROSE, limit)


def run(check: Check, pairs: Iterable[Pair], source: Path) -> int:
    """Return the number of matrices, or print which inverses are wrong, and why, and raise a ClickException."""
    n_matrices = n_wrong = 0
    for A, X in pairs:
        for index, complaint in check.complaints(A, X):
            n_wrong += 1
            if n_wrong <= MAX_SHOWN:
                click.echo(f"matrix {n_matrices + index}: {complaint}")
        n_matrices += len(A)
    if n_wrong > MAX_SHOWN:
        click.echo("...")
    if n_wrong:
        raise click.ClickException(f"{source}: {n_wrong} of {n_matrices} are not the {check.kind} of their matrix.")
    return n_matrices


def _equilibrated(pair: Pair) -> tuple[np.ndarray, ...]:
    """Return ``D1 A D2``, ``D2^-1 X D1^-1``, and what its rounding to subnormal numbers may have done to the latter."""
    import torch

    from skdmi.linalg.scaling import equilibrate, scale_both

    A, X = (torch.from_numpy(T.astype(np.float64)) for T in pair)
    scaled, rows, columns = equilibrate(A)
    underflow = torch.full_like(X, np.finfo(pair[1].dtype).smallest_subnormal)
    return scaled.numpy(), *(scale_both(T, -columns, -rows).numpy() for T in (X, underflow))


def _residual(A: np.ndarray, X: np.ndarray) -> np.ndarray:
    return np.eye(A.shape[-1]) - A @ X


def _norm(stack: np.ndarray) -> np.ndarray:
    norms: np.ndarray = np.linalg.norm(stack, axis=(1, 2))
    return norms


def _smaller_norm_of_residual(A: np.ndarray, X: np.ndarray, underflow: np.ndarray) -> np.ndarray:
    R = np.maximum(np.abs(_residual(A, X)) - np.abs(A) @ underflow, 0)
    return np.minimum(_norm(R), R.sum(axis=2).max(axis=1))


def _asymmetry(stack: np.ndarray) -> np.ndarray:
    return _norm(stack - stack.transpose(0, 2, 1))


def _one(A: np.ndarray, *others: np.ndarray) -> np.ndarray:
    del others
    return np.ones(len(A))


PENROSE: Conditions = [
    ("||A X A - A||", lambda A, X: _norm(A @ X @ A - A), lambda A, X: _norm(A)),
    ("||X A X - X||", lambda A, X: _norm(X @ A @ X - X), lambda A, X: _norm(X)),
    ("||A X - (A X)^T||", lambda A, X: _asymmetry(A @ X), _one),
    ("||X A - (X A)^T||", lambda A, X: _asymmetry(X @ A), _one),
]
