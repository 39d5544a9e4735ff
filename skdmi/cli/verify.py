"""``skdmi verify``: check inverses that are in a file, whoever computed them."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import click
import numpy as np

from skdmi.cli.options import INPUT_FILE, example
from skdmi.cli.streams import paired_stacks

__all__ = ["absolute_limits", "check", "relative_limits", "verify"]

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

    With A from MATRICES, X from INVERSES and Frobenius norms throughout, the bound between rounding and mistake is
    t = min(TOLERANCE * ||A|| * ||X||, 1/2), which grows with the condition number.

    An inverse is valid if ||I - A X|| <= t, a pseudo-inverse if it meets the four conditions of Penrose:
    ||A X A - A|| <= t ||A||, ||X A X - X|| <= t ||X||, ||A X - (A X)^T|| <= t and ||X A - (X A)^T|| <= t.

    Exits with 0 if all are valid and with 1 otherwise, naming the first matrices that fail.
    """
    n_matrices = check(paired_stacks(matrices, inverses), kind, relative_limits(tolerance), inverses)
    click.echo(f"{n_matrices} valid {kind}s")


Limits = Callable[[np.ndarray, np.ndarray], np.ndarray]


def relative_limits(tolerance: float | None) -> Limits:
    """Return the bound that `verify` describes, as a function of A and X."""

    def limits(A: np.ndarray, X: np.ndarray) -> np.ndarray:
        allowed = max(TOLERANCES[A.dtype.name], TOLERANCES[X.dtype.name]) if tolerance is None else tolerance
        return np.minimum(allowed * _norm(A.astype(np.float64)) * _norm(X.astype(np.float64)), 0.5)

    return limits


def absolute_limits(tolerance: float) -> Limits:
    """Return one bound for all matrices, as a function of A and X."""
    return lambda A, X: np.full(len(A), tolerance)


def check(pairs: Iterable[tuple[np.ndarray, np.ndarray]], kind: str, limits: Limits, source: Path) -> int:
    """Return the number of matrices, or print which inverses are wrong, and why, and raise a ClickException."""
    n_matrices = n_wrong = 0
    for A, X in pairs:
        for index, complaint in _complaints(A, X, kind, limits):
            n_wrong += 1
            if n_wrong <= MAX_SHOWN:
                click.echo(f"matrix {n_matrices + index}: {complaint}")
        n_matrices += len(A)
    if n_wrong > MAX_SHOWN:
        click.echo("...")
    if n_wrong:
        raise click.ClickException(f"{source}: {n_wrong} of {n_matrices} are not the {kind} of their matrix.")
    return n_matrices


def _complaints(A: np.ndarray, X: np.ndarray, kind: str, limits: Limits) -> Iterator[tuple[int, str]]:
    """Yield the index of each member of X that is not what it should be, and why: the first condition that fails."""
    with np.errstate(over="ignore", invalid="ignore"):  # What overflows compares as not valid.
        allowed = limits(A, X)
        A, X = A.astype(np.float64), X.astype(np.float64)
        conditions = [(name, measure(A, X), allowed * scale(A, X)) for name, measure, scale in CONDITIONS[kind]]
    missing = np.isnan(X).any(axis=(1, 2))
    valid = np.all([found <= limit for _, found, limit in conditions], axis=0)
    for index in np.flatnonzero(~valid).tolist():
        if missing[index]:
            yield index, f"the {kind} is missing (NaN)"
            continue
        name, found, limit = next(c for c in conditions if not c[1][index] <= c[2][index])
        yield index, f"{name} is {found[index]:.3g}, expected at most {limit[index]:.3g}"


def _norm(stack: np.ndarray) -> np.ndarray:
    norms: np.ndarray = np.linalg.norm(stack, axis=(1, 2))
    return norms


def _asymmetry(stack: np.ndarray) -> np.ndarray:
    return _norm(stack - stack.transpose(0, 2, 1))


Measure = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _one(A: np.ndarray, X: np.ndarray) -> np.ndarray:
    del X
    return np.ones(len(A))


# For each kind, the conditions on (A, X): name, what is measured, and in what unit.
CONDITIONS: dict[str, list[tuple[str, Measure, Measure]]] = {
    "inverse": [("||I - A X||", lambda A, X: _norm(np.eye(A.shape[-1]) - A @ X), _one)],
    "pseudo-inverse": [
        ("||A X A - A||", lambda A, X: _norm(A @ X @ A - A), lambda A, X: _norm(A)),
        ("||X A X - X||", lambda A, X: _norm(X @ A @ X - X), lambda A, X: _norm(X)),
        ("||A X - (A X)^T||", lambda A, X: _asymmetry(A @ X), _one),
        ("||X A - (X A)^T||", lambda A, X: _asymmetry(X @ A), _one),
    ],
}
