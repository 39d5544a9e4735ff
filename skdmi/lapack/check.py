"""Inverses that come from elsewhere, proved by two products in numpy: what is cheap to prove, as by :func:`invert`."""

import numpy as np
from numpy import ndarray

from skdmi.chunks import chunk_size
from skdmi.figures import CERTIFIED, NONSINGULAR, OUTSIDE
from skdmi.lanes.checks import Checked
from skdmi.lanes.parts import flushes
from skdmi.lapack.passes import NumpyPasses
from skdmi.lapack.proof import are_in_range, condition_interval, loosest, prove
from skdmi.lapack.residuals import UNIT, Sizes
from skdmi.lapack.scaling import ALONE, Rooms, Scaled, find_units, scale
from skdmi.lapack.stack import PART_ENTRIES

_FAR, _OFF_SCALE = 2.0**-5, 16.0


def check(A: ndarray, X: ndarray) -> Checked:
    r"""Certify inverses, whoever computed them, by the Frobenius norms of :func:`skdmi.lapack.invert`.

    Where :math:`\rho < 1` and the error bound is small, or :math:`\rho` is and units have not made the bound much
    larger, that is all; others are ``OUTSIDE``, and nothing is said of them.

    Parameters
    ----------
    A, X : ndarrays of shape (n_matrices, m, m)
        float32 or float64. A member that is not finite is ``OUTSIDE``.

    Examples
    --------
    >>> A = np.array([[[2.0, 0.0], [0.0, 4.0]], [[1.0, 2.0], [2.0, 4.0]]])
    >>> check(A, np.array([np.diag([0.5, 0.25]), np.eye(2)])).outside
    array([False,  True])
    """
    n, m, _ = A.shape
    found = Checked(np.full(n, OUTSIDE, np.uint8), *np.full((len(Checked._fields) - 1, n), np.nan))
    if flushes():
        return found
    size = chunk_size(m, PART_ENTRIES) if m <= ALONE else 1
    rooms = Rooms.of(min(size, n), m)
    with np.errstate(all="ignore"):
        for first in range(0, n, size):
            part = slice(first, first + size)
            _check_part(A[part], X[part], rooms.up_to(len(A[part])), Checked(*(field[part] for field in found)))
    return found


def _check_part(A: ndarray, X: ndarray, rooms: Rooms, found: Checked) -> None:
    """Check as many members as the cache holds, and write what is found."""
    m = A.shape[-1]
    passes = NumpyPasses(rooms)
    scaled = Scaled(*passes.equilibrate(A))
    units = find_units(scaled)
    inverse = rooms.X
    inverse[...] = X
    if scaled.is_graded:
        scale(inverse, 1 / scaled.q, 1 / scaled.p)
    fields, right = passes.measure(scaled.A, inverse, units)
    sizes = Sizes(*fields)
    rho, bound = prove(right, sizes, 0.0, m)
    of_all, _ = prove(right, sizes, 2.0**-24 if A.dtype == np.float32 else UNIT, m)
    small = (bound <= loosest(m)) | ((rho <= _FAR) & (bound <= _OFF_SCALE * rho))
    proved = (rho < 1) & small & are_in_range(scaled)
    found.status[proved] = NONSINGULAR
    found.status[proved & (of_all < 1)] |= CERTIFIED
    left = passes.squares(scaled.A, inverse, units, is_left=True)
    norms = np.sqrt(right[:, -1]), np.sqrt(left[:, -1])
    known = bound, *norms, rho, *condition_interval(sizes.condition, bound, rho, m)
    for field, values in zip(found[1:], known, strict=True):
        field[...] = values
