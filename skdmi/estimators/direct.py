"""Direct inverses of numpy stacks, with a certificate each: by the fastest route for their size, see :data:`ROUTES`."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from skdmi import lapack
from skdmi.chunks import chunk_size
from skdmi.embedding import embed, rounding_of_mean, unembed
from skdmi.figures import OUTSIDE, Figures
from skdmi.lanes import complex_stack, passes
from skdmi.lanes import stack as lanes
from skdmi.validation import refuse_non_finite


class Route(NamedTuple):
    """A way to inverses on a CPU."""

    name: str
    serves: Callable[[int, int], bool]
    """Whether it may take so many m x m matrices, ``serves(m, n_matrices)``."""
    invert: Callable[..., Figures]
    """``invert(A, X, *, corrects, tol, details)`` overwrites X; what it leaves ``OUTSIDE`` is for the reference."""
    where: str
    """In words, where it serves and why."""


def _serves_one_at_a_time(m: int, n_matrices: int) -> bool:
    return m >= lapack.SMALLEST and passes.is_ready(m, n_matrices)


def _by_lapack(A: np.ndarray, X: np.ndarray, *, corrects: bool = True, **options: Any) -> Figures:
    del corrects  # What wants a correction is left to the reference.
    return lapack.invert(A, X, **options)


ROUTES = (
    Route(
        "lanes",
        lanes.is_ready,
        lanes.invert,
        f"up to m = {lanes.LARGEST}, of fewer than m / 8 matrices {lanes.LARGEST_OF_FEW}, with a compiled kernel: "
        "a matrix in every lane, eliminated and proved in one pass",
    ),
    Route(
        "large",
        _serves_one_at_a_time,
        partial(_by_lapack, passes_for=passes.passes_for),
        f"from m = {lapack.SMALLEST} on, with a compiled kernel and, above {passes.ALONE}, one thread: one matrix at a "
        "time, eliminated by blocks, by LAPACK what that leaves too inexact and, from m = 256 on, what is symmetric to "
        "the bit and has a Cholesky factor, and proved by one product",
    ),
    Route(
        "lapack",
        lambda m, n_matrices: True,
        _by_lapack,
        "all else: LAPACK in float64, from m = 24 on by Cholesky factors of what is symmetric to the bit and has one, "
        "and a proof by one product",
    ),
)
"""The first that serves is taken; ``benchmarks/routes.py`` prints the figures behind it."""


def route_for(m: int, n_matrices: int = 0) -> Route:
    """Return the route for so many m x m matrices.

    >>> route_for(1000).name in ("large", "lapack")
    True
    """
    return next(route for route in ROUTES if route.serves(m, n_matrices))


def invert_directly(
    A: np.ndarray, *, corrects: bool = True, tol: float = 0.0, keeps: bool = False, details: bool = False
) -> tuple[np.ndarray, Figures]:
    """Invert a stack by its route, and by the reference what that does not cover; return X and what is found of each.

    Parameters
    ----------
    A : ndarray of shape (n_matrices, m, m)
        Real or complex, in single or double precision, contiguous.
    corrects : bool, default=True
        Whether delicate inverses are made exact to about their last bit.
    tol : float, default=0.0
        A residual norm that is small enough.
    keeps : bool, default=False
        Whether an inverse is wanted where there is no certificate, too: then that of the iteration.
    details : bool, default=False
        Whether to return all figures, else the status alone.

    Raises
    ------
    ValueError
        If A is not finite.

    Examples
    --------
    >>> from skdmi.figures import is_sound
    >>> X, found = invert_directly(np.array([[[2.0, 0.0], [0.0, 4.0]], [[1.0, 2.0], [2.0, 4.0]]]))
    >>> X[0], is_sound(found.status)
    (array([[0.5 , 0.  ],
           [0.  , 0.25]]), array([ True, False]))
    """
    if A.dtype.kind == "c":
        return _invert_complex(A, {"corrects": corrects, "tol": tol, "keeps": keeps, "details": details})
    X = np.empty_like(A)
    figures = route_for(A.shape[-1], len(A)).invert(A, X, corrects=corrects, tol=tol, details=details)
    outside = figures.has(OUTSIDE)
    if keeps:
        outside |= ~np.isfinite(X).all(axis=(1, 2))
    if outside.any():
        refuse_non_finite(A)
        from skdmi.estimators.solution import invert_by_reference  # imports torch

        X[outside], found = invert_by_reference(A[outside], corrects=corrects, tol=tol)
        for kept, theirs in zip(figures, found, strict=True):
            if kept is not None:
                kept[outside] = np.nan if theirs is None else theirs
    return X, figures


def _invert_complex(A: np.ndarray, options: dict[str, Any]) -> tuple[np.ndarray, Figures]:
    """Invert complex matrices by a kernel of their own, and what that does not settle in the embedding."""
    n, m, _ = A.shape
    X, left = np.empty_like(A), np.arange(n)
    figures = Figures(np.zeros(n, np.uint8), *np.empty((3, n)))
    if complex_stack.is_ready(m, n):
        figures = complex_stack.invert(A, X, tol=options["tol"])
        left = np.flatnonzero(figures.has(OUTSIDE))
    if len(left):
        refuse_non_finite(A)
    size = chunk_size(2 * m)
    for first in range(0, len(left), size):
        members = left[first : first + size]
        inverse, found = invert_directly(embed(A[members]), **options)
        X[members] = unembed(inverse)
        for kept, theirs in zip(figures, _of_complex(found, A[members], X[members]), strict=True):
            if kept is not None and theirs is not None:
                kept[members] = theirs
    return X, figures if options["details"] else Figures(figures.status)


def _of_complex(found: Figures, A: np.ndarray, X: np.ndarray) -> Figures:
    """Return what is found of complex inverses, the means of what an embedding holds twice."""
    bound, norm = found.error_bound, found.residual_norm
    if bound is not None:
        with np.errstate(invalid="ignore"):
            bound = (bound + (1 + bound) * rounding_of_mean(X)) * (1 + 2.0**-40)
    if norm is not None:
        with np.errstate(all="ignore"):
            R = np.eye(A.shape[-1]) - A.astype(np.complex128) @ X.astype(np.complex128)
            norm = np.linalg.norm(R, axis=(1, 2))
        norm[~np.isfinite(norm)] = np.nan
    return found._replace(error_bound=bound, residual_norm=norm)
