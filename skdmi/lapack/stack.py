"""Stacks through LAPACK: numpy arrays in and out, in parts that fit the cache."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy import ndarray

from skdmi.chunks import chunk_size
from skdmi.figures import CERTIFIED, CONVERGED, LOOSE, NONSINGULAR, OUTSIDE, Figures
from skdmi.lanes.parts import count_threads, flushes
from skdmi.lapack.cholesky import (
    WRAPPERS,
    are_symmetric,
    invert_symmetric,
    may_be_positive_definite,
    symmetric_scales,
)
from skdmi.lapack.passes import NumpyPasses, Passes
from skdmi.lapack.proof import condition_interval, is_moderate, loosest, prove, rounded_bound
from skdmi.lapack.residuals import UNIT, Sizes, estimate, is_explained, keeps_left, probes_that_decide
from skdmi.lapack.scaling import ALONE, Rooms, Scaled, Units, find_units, scale, unscale

SMALLEST = 24
"""The smallest m that passes of one matrix at a time are for."""
PART_ENTRIES = 2**16
"""Four arrays of so many numbers stay in a cache of 2 MB; smaller parts are no faster."""
_N_FIGURES = 6


def invert(
    A: ndarray,
    X: ndarray,
    *,
    tol: float = 0.0,
    details: bool = False,
    passes_for: Callable[[int], Passes] | None = None,
) -> Figures:
    r"""Invert a stack into X by LAPACK and certify the members whose proof is cheap.

    Each matrix is equilibrated by powers of two, :math:`A' = D_1 A D_2`, inverted in float64, by passes that can do so
    first and by LAPACK where their residuals are not what rounding explains, and judged as below. One that is symmetric
    to the bit, and large enough for that to gain, is scaled alike on both sides, by :math:`D_1 = D_2`, and inverted
    first by its Cholesky factor: that inverse is symmetric to the bit, and its left residual is the transposed right
    one. Where there is no factor, or the residual is not what rounding explains, it goes the way of all others.

    .. math:: R = I - A' X', \quad \rho = \|R\|_F + g\,(\sqrt m + \|A'\|_F \|X'\|_F), \quad
       \epsilon = \|D_1^{-1} R D_1\|_F + h\,(\sqrt m + \|D_1^{-1} A'\|_F \|X' D_1\|_F)

    with :math:`h = (m + 3)\, 2^{-53}` and :math:`g = h + u`, u the unit roundoff of the dtype: as in
    :func:`skdmi.linalg.certify`, :math:`\rho < 1` proves every matrix that rounds to A nonsingular, and
    :math:`\epsilon` bounds the relative error of :math:`X = D_2 X' D_1`. What underflow takes from an entry of
    :math:`A'`, of X or of a product is at most :math:`2^{-500}` in the units of either, far below the :math:`2^{-53}`
    that h has to spare.

    A member is CERTIFIED and NONSINGULAR, and CONVERGED, if :math:`\rho < 1`, if
    :math:`\epsilon \le 2^{-26} \max(1, m / 48)`, if both residuals are at most ``tol`` or
    :math:`10\, u \| |A| |X| \|_F`, u of float64, in either units, if its condition number is moderate, and its rows and
    columns are balanced where that matters. LAPACK's own residuals grow with m: a matrix above m = 48 whose right one
    is up to :math:`\sqrt{m / 48}` times as large is not CONVERGED, but nothing else. All others are OUTSIDE.

    The left residual of a large matrix is estimated by Gaussian probes, :math:`(I - X A)\, \Omega`, on the safe side:
    one that is too large passes with a probability below 1e-6. Where that does not decide it is measured.

    Parameters
    ----------
    A, X : ndarrays of shape (n_matrices, m, m)
        Both float32 or both float64, contiguous; X is overwritten with inverses rounded once. A singular matrix gets
        NaN, one that is not finite spoils no other.
    tol : float, default=0.0
        A residual norm that is small enough; at least 2^-30 of float32 matrices.
    details : bool, default=False
        Whether to return all figures, else the status alone.
    passes_for : callable, optional
        Returns what makes the passes over one m x m matrix, from m = 24 on, in the place of numpy.

    Examples
    --------
    >>> A = np.array([[[2.0, 0.0], [0.0, 4.0]], [[1.0, 2.0], [2.0, 4.0]]])
    >>> X = np.empty_like(A)
    >>> invert(A, X).has(CERTIFIED)
    array([ True, False])
    >>> X[0]
    array([[0.5 , 0.  ],
           [0.  , 0.25]])
    """
    n, m, _ = A.shape
    status = np.full(n, OUTSIDE, np.uint8)
    figures = np.full((_N_FIGURES, n), np.nan) if details else None
    if flushes():
        X.fill(np.nan)
        n = 0
    passes = passes_for(m) if passes_for is not None and m >= SMALLEST else None
    size = min(chunk_size(m, PART_ENTRIES) if m <= ALONE and passes is None else 1, n)
    rooms = Rooms.of(size if passes is None else 0, m)

    def passes_over(n_members: int) -> Passes:
        return passes or NumpyPasses(rooms.up_to(n_members))

    with np.errstate(all="ignore"):
        factored = _to_factor(A[:n], (passes or NumpyPasses).factored)
        for first in range(0, n, max(size, 1)):
            part = slice(first, first + size)
            arrays = _Arrays(A[part], X[part], status[part], None if figures is None else figures[:, part])
            _invert_part(arrays, passes_over, tol, None if factored is None else factored[part])
    return Figures(status) if figures is None else Figures(status, *figures)


def _to_factor(A: ndarray, smallest: int) -> ndarray | None:
    """Return which members may be worth a Cholesky factor, or None.

    Several threads of a second library beside those of numpy's are in each other's way.
    """
    m = A.shape[-1]
    if m < smallest or (m > ALONE and count_threads() > 1):
        return None
    found = may_be_positive_definite(A)
    count = np.count_nonzero(found)
    return found if count and WRAPPERS.are_ready(count * _seconds_without(m)) else None


def _seconds_without(m: int) -> float:
    """Return what an inverse costs without a Cholesky factor, about."""
    return 1e-5 + 1e-10 * m**3


class _Arrays(NamedTuple):
    """Members to invert, and where to write what is found of them."""

    A: ndarray
    X: ndarray
    status: ndarray
    figures: ndarray | None

    def do(self, invert: Callable[["_Arrays"], ndarray], where: ndarray) -> ndarray:
        """Let a function invert some members; return which members it has settled."""
        if where.all():
            return invert(self)
        figures = None if self.figures is None else self.figures[:, where]
        chosen = _Arrays(self.A[where], self.X[where], self.status[where], figures)
        settled = np.zeros_like(where)
        settled[where] = invert(chosen)
        self.X[where], self.status[where] = chosen.X, chosen.status
        if self.figures is not None:
            self.figures[:, where] = chosen.figures
        return settled


class _Problem(NamedTuple):
    """Matrices to invert, and what is asked of their inverses."""

    A: ndarray
    scaled: Scaled
    units: Units
    unit: float
    tol: float
    spare_bits: int


class _Judged(NamedTuple):
    """What is found of inverses."""

    good: ndarray
    """Whether a certificate is good enough."""
    explained: ndarray
    """Whether it is, and both residuals are what rounding explains."""
    as_it_is: ndarray
    """Whether the right residual is no larger than those of LAPACK are."""
    sizes: Sizes
    rho: ndarray
    bound: ndarray


def _invert_part(arrays: _Arrays, passes_over: Callable[[int], Passes], tol: float, factored: ndarray | None) -> None:
    """Invert and judge as many members as the cache holds."""
    if factored is not None and factored.any():
        factored &= are_symmetric(arrays.A)
    if factored is None or not factored.any():
        _eliminate(arrays, passes_over(len(arrays.A)), tol)
        return
    settled = arrays.do(lambda some: _factor(some, passes_over(len(some.A)), tol), factored)
    if not settled.all():
        arrays.do(lambda some: _eliminate(some, passes_over(len(some.A)), tol), ~settled)


def _factor(arrays: _Arrays, passes: Passes, tol: float) -> ndarray:
    """Invert symmetric members by Cholesky factors; return which of them are done with.

    Where a certificate is not good enough although the residual is what it may be, another inverse has no better one.
    """
    A = arrays.A
    problem = _pose(A, Scaled(*passes.scale(A, symmetric_scales(A))), tol)
    inverse = invert_symmetric(problem.scaled.A, passes.place(A))
    if np.isnan(inverse[:, 0, 0]).all():
        return np.zeros(len(A), bool)
    found = _judge(problem, inverse, passes, is_symmetric=True)
    settled = found.explained | (found.as_it_is & ~found.good)
    if settled.any():
        _note(arrays, problem, inverse, passes, found, found.explained)
    return settled


def _eliminate(arrays: _Arrays, passes: Passes, tol: float) -> ndarray:
    """Invert members by elimination; return that they are done with."""
    problem = _pose(arrays.A, Scaled(*passes.equilibrate(arrays.A)), tol)
    inverse = passes.eliminate(problem.scaled.A)
    found = None if inverse is None else _judge(problem, inverse, passes)
    if inverse is None or found is None or not found.explained.all():
        inverse = passes.arrange(_inverse(problem.scaled.A))
        found = _judge(problem, inverse, passes)
    _note(arrays, problem, inverse, passes, found, found.good if arrays.A.shape[-1] > ALONE else found.explained)
    return np.ones(len(arrays.A), bool)


def _pose(A: ndarray, scaled: Scaled, tol: float) -> _Problem:
    """Return matrices with what is asked of their inverses."""
    unit, tol, spare_bits = (2.0**-24, max(tol, 2.0**-30), 20) if A.dtype == np.float32 else (UNIT, tol, 0)
    return _Problem(A, scaled, find_units(scaled), unit, tol, spare_bits)


def _note(
    arrays: _Arrays, problem: _Problem, inverse: ndarray, passes: Passes, found: _Judged, certified: ndarray
) -> None:
    """Write inverses, and what is found of them."""
    _, X, status, figures = arrays
    status[certified] = CERTIFIED | NONSINGULAR
    status[found.explained] |= CONVERGED
    largest = (UNIT / problem.unit) ** 2 / X.shape[-1]
    for squares in (found.sizes.right, found.sizes.left):
        if not squares.max() < largest:
            status[found.good & ~(squares < largest).all(axis=1)] |= LOOSE
    if figures is not None:
        figures[...] = _finish_with_figures(problem, inverse, passes, found, X)
    elif problem.scaled.p is problem.scaled.q:
        unscale(inverse, problem.scaled)
        X[...] = inverse
    else:
        passes.finish(inverse, X)


def _judge(problem: _Problem, X: ndarray, passes: Passes, *, is_symmetric: bool = False) -> _Judged:
    """Measure inverses, and prove what can be proved of them; of symmetric ones both residuals are of one size."""
    (A, scaled, units, unit, tol, spare_bits), m = problem, X.shape[-1]
    fields, right = passes.measure(scaled.A, X, units)
    sizes = Sizes(*fields)
    rho, bound = prove(right, sizes, unit, m)
    explained = is_explained(right, sizes.right, tol)
    as_it_is = is_explained(right, max(1, m / ALONE) * sizes.right, tol)
    good = (rho < 1) & (bound <= loosest(m)) & as_it_is
    good &= is_moderate(A, scaled, X, sizes, spare_bits, passes.is_balanced, good)
    if is_symmetric:
        explained &= good & is_explained(right, sizes.left, tol)
        return _Judged(good, explained, as_it_is, sizes, rho, bound)
    n_probes = probes_that_decide(passes.sides * right, sizes.left, tol, m) if m > passes.estimated else 0
    measured = partial(passes.squares, scaled.A, X, units, is_left=True)
    estimated = partial(estimate, X, scaled.A, units.q, units.rq)
    explained = keeps_left(measured, estimated, n_probes, sizes.left, tol, explained & good)
    return _Judged(good, explained, as_it_is, sizes, rho, bound)


def _finish_with_figures(
    problem: _Problem, inverse: ndarray, passes: Passes, found: _Judged, X: ndarray
) -> tuple[ndarray, ...]:
    """Write what is returned, and say all that is known of it."""
    scaled, m, bound = problem.scaled, X.shape[-1], found.bound
    unscale(inverse, scaled)
    X[...] = inverse
    interval = condition_interval(found.sizes.condition, bound, found.rho, m)
    if X.dtype == np.float32:
        bound = rounded_bound(bound, X, inverse)
    inverse[...] = X
    if scaled.is_graded:
        scale(inverse, 1 / scaled.q, 1 / scaled.p)
    norm = np.sqrt(passes.squares(scaled.A, inverse, problem.units)[:, -1])
    return bound, norm, np.zeros(len(X)), found.rho, *interval


def _inverse(A: ndarray) -> ndarray:
    """Return inverses, NaN for members with a pivot of zero: LAPACK names none, but their determinants are zero."""
    try:
        return np.linalg.inv(A)
    except np.linalg.LinAlgError:
        singular = np.linalg.slogdet(A)[0] == 0
    if singular.all():
        return np.full(A.shape, np.nan)
    X = np.linalg.inv(np.where(singular[:, None, None], np.eye(A.shape[-1]), A))
    X[singular] = np.nan
    return X
