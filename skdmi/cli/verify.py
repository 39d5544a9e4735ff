"""``skdmi verify``: check inverses that are in a file, whoever computed them."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import click
import numpy as np

import skdmi
from skdmi.cli.options import INPUT, example
from skdmi.cli.streams import File, paired_stacks, say

# Far above the rounding of an inverse computed in the dtype of the file, far below a mistake.
TOLERANCES = {"float32": 1e-5, "float64": 1e-10}
MAX_SHOWN = 5
RESIDUAL = "||I - A X||"


@click.command(epilog=example("skdmi verify M.mx I.mx --tolerance 1e-8"))
@click.argument("matrices", type=INPUT)
@click.argument("inverses", type=INPUT)
@click.option(
    "--kind", type=click.Choice(["inverse", "pseudo-inverse"]), default="inverse", help="What INVERSES holds."
)
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    help=f"By default {TOLERANCES['float64']:g}, and {TOLERANCES['float32']:g} for .npy files of float32.",
)
@click.option("--tight", is_flag=True, help="Bound errors by hardly more than they are, in a multiple of the time.")
def verify(matrices: File, inverses: File, kind: str, tolerance: float | None, tight: bool) -> None:
    """Check inverses that are in a file. One of the two may be a dash, -, for .mx text from standard input.

    With A from MATRICES, X from INVERSES and Frobenius norms, the bound between rounding and mistake is
    t = min(TOLERANCE * ||A|| * ||X||, 1), which grows with the condition number.

    An inverse is valid if ||I - A X|| <= t, or the largest row sum of |I - A X| is; both are taken after A has been
    equilibrated by powers of two on its rows and columns, and X in return, so that units do not matter.

    A pseudo-inverse is valid if it meets the four conditions of Penrose, with t at most 1/2: ||A X A - A|| <= t ||A||,
    ||X A X - X|| <= t ||X||, ||A X - (A X)^T|| <= t and ||X A - (X A)^T|| <= t.

    Exits with 0 if all are valid and with 1 otherwise, naming the first matrices that fail.

    Of valid inverses it says how many are certified, which proves that the matrix is nonsingular, with the largest
    bound on ||X - A^-1|| / ||A^-1||.
    """
    if tight and kind != "inverse":
        raise click.UsageError("--tight bounds the errors of inverses; leave out one of --tight and --kind.")
    pairs, proofs = paired_stacks(matrices, inverses), Proofs()
    if kind == "inverse":
        pairs = proofs.gathered(pairs, tight)
    n_matrices = run(partial(relative_check, kind, tolerance), kind, pairs, inverses)
    say(f"{n_matrices} valid {kind}s")
    if kind == "inverse":
        say(f"{proofs}")


@dataclass
class Proofs:
    """What is proved of a stream of inverses."""

    n_certified: int = 0
    largest: float = 0.0

    def gathered(self, pairs: Iterable[tuple[np.ndarray, Any]], tight: bool) -> Iterator[tuple[np.ndarray, Any]]:
        """Yield pairs of stacks, and certify them."""
        for A, X in pairs:
            report = skdmi.certify(A, X, tight=tight)
            self.n_certified += int(np.count_nonzero(report.certified))
            self.largest = max(self.largest, float(np.max(report.error_bound[report.certified], initial=0.0)))
            yield A, X

    def __str__(self) -> str:
        return f"{self.n_certified} certified" + f", largest error bound {self.largest:.1e}" * (self.n_certified > 0)


Conditions: TypeAlias = list[tuple[str, np.ndarray, np.ndarray]]
"""What is measured, how large it is for each matrix, and how large it may be."""


def relative_check(kind: str, tolerance: float | None, A: np.ndarray, X: np.ndarray) -> Conditions:
    """Return what `verify` measures."""
    allowed = max(TOLERANCES[T.dtype.name] for T in (A, X)) if tolerance is None else tolerance
    if kind == "inverse":
        A, X, underflow = _equilibrated(A, X)
        R = np.maximum(np.abs(np.eye(A.shape[-1]) - A @ X) - np.abs(A) @ underflow, 0)
        size = np.minimum(_norm(R), R.sum(axis=2).max(axis=1))
        return [(RESIDUAL, size, np.minimum(allowed * _norm(A) * _norm(X), 1.0))]
    A, X = A.astype(np.float64), X.astype(np.float64)
    return _penrose(A, X, np.minimum(allowed * _norm(A) * _norm(X), 0.5))


def absolute_check(kind: str, tolerance: float, A: np.ndarray, X: np.ndarray) -> Conditions:
    """Return what is measured with one bound for all matrices, in the units in which they come."""
    limit = np.full(len(A), tolerance)
    if kind == "inverse":
        return [(RESIDUAL, skdmi.metrics.frobenius_residuals(A, X), limit)]
    return _penrose(A.astype(np.float64), X.astype(np.float64), limit)


def run(check: Callable[..., Conditions], kind: str, pairs: Iterable[tuple[np.ndarray, Any]], source: File) -> int:
    """Return the number of matrices, or print which inverses are wrong, and why, and raise a ClickException."""
    n_matrices = n_wrong = 0
    for A, X in pairs:
        with np.errstate(over="ignore", invalid="ignore"):  # What overflows compares as not valid.
            conditions = check(A, X)
        fails = ~np.array([found <= limit for _, found, limit in conditions])
        for index in np.flatnonzero(fails.any(axis=0)).tolist():
            n_wrong += 1
            if n_wrong > MAX_SHOWN:
                continue
            name, found, limit = conditions[fails[:, index].argmax()]
            text = f"{name} is {found[index]:.3g}, expected at most {limit[index]:.3g}"
            missing = np.isnan(X[index]).any()
            say(f"matrix {n_matrices + index}: " + (f"the {kind} is missing (NaN)" if missing else text))
        n_matrices += len(A)
    if n_wrong > MAX_SHOWN:
        say("...")
    if n_wrong:
        raise click.ClickException(f"{source}: {n_wrong} of {n_matrices} are not the {kind} of their matrix.")
    return n_matrices


def _penrose(A: np.ndarray, X: np.ndarray, limit: np.ndarray) -> Conditions:
    """Return the four conditions of a pseudo-inverse."""
    AX, XA = A @ X, X @ A
    return [
        ("||A X A - A||", _norm(AX @ A - A), limit * _norm(A)),
        ("||X A X - X||", _norm(XA @ X - X), limit * _norm(X)),
        ("||A X - (A X)^T||", _norm(AX - AX.transpose(0, 2, 1)), limit),
        ("||X A - (X A)^T||", _norm(XA - XA.transpose(0, 2, 1)), limit),
    ]


def _equilibrated(A: np.ndarray, X: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return ``D1 A D2``, ``D2^-1 X D1^-1``, and what its rounding to subnormal numbers may have done to the latter."""
    import torch

    from skdmi.linalg.scaling import equilibrate, scale_both

    scaled, rows, columns = equilibrate(torch.from_numpy(A.astype(np.float64)))
    X64 = torch.from_numpy(X.astype(np.float64))
    underflow = torch.full_like(X64, np.finfo(X.dtype).smallest_subnormal)
    return scaled.numpy(), *(scale_both(T, -columns, -rows).numpy() for T in (X64, underflow))


def _norm(stack: np.ndarray) -> np.ndarray:
    return np.linalg.norm(stack, axis=(1, 2))
