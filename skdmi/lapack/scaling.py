"""Rows and columns brought to one size by powers of two, and the memory to work in."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy import ndarray

BY_TERMS = 6
"""Up to this size a stack is worked on entry by entry, the members last in memory."""
ALONE = 48
"""Matrices beyond this size are worked on one by one."""
_NEAR = 2.0**16


class Scaled(NamedTuple):
    """``A' = D1 A D2``, the powers of two on the diagonals, ``(n_matrices, m)``, and whether any of them differ."""

    A: ndarray
    p: ndarray
    q: ndarray
    is_graded: bool


class Units(NamedTuple):
    """The diagonals of D1 and D2 and their reciprocals, ``(n_matrices, k, m)``.

    Row 0 is ones, for the equilibrated matrix; with k = 2 row 1 has the units of A itself.
    """

    p: ndarray
    rp: ndarray
    q: ndarray
    rq: ndarray


class Rooms(NamedTuple):
    """Arrays to work in, ``(n_matrices, m, m)``, shared by all parts: memory taken anew costs more than a product."""

    A: ndarray
    X: ndarray
    first: ndarray
    second: ndarray

    @classmethod
    def of(cls, n: int, m: int) -> "Rooms":
        """Return rooms for n members; nothing is touched before it is needed."""
        return cls(*(np.empty((4, m, m, n)).transpose(0, 3, 1, 2) if m <= BY_TERMS else np.empty((4, n, m, m))))

    def up_to(self, n: int) -> "Rooms":
        """Return rooms for fewer members."""
        return self if n == len(self.A) else Rooms(*(room[:n] for room in self))


def equilibrate(A: ndarray, rooms: Rooms) -> Scaled:
    """Scale rows, then columns, to sums in [1/2, 1), save a large matrix whose sums are alike.

    ``|A'|`` is left in the first room.
    """
    m, sizes, B = A.shape[-1], rooms.first, rooms.A
    if m > BY_TERMS and A.dtype == np.float64:
        B = A
    else:
        B[...] = A
    np.abs(B, out=sizes)
    sums = _row_sums(sizes)
    if not _are_alike(sums):
        p = _powers(sums)
        sizes *= p[:, :, None]
        B = np.multiply(B, p[:, :, None], out=rooms.A)
    elif _are_alike(_column_sums(sizes)):
        return Scaled(B, _ones(m)[None], _ones(m)[None], False)
    else:
        p = _ones(m)[None]
    q = _powers(_column_sums(sizes))
    sizes *= q[:, None, :]
    return Scaled(np.multiply(B, q[:, None, :], out=rooms.A), p, q, True)


def _row_sums(A: ndarray) -> ndarray:
    sums: ndarray = A.sum(axis=2) if A.shape[-1] <= BY_TERMS else np.matmul(A, _ones(A.shape[-1]))
    return sums


def _column_sums(A: ndarray) -> ndarray:
    sums: ndarray = A.sum(axis=1) if A.shape[-1] <= BY_TERMS else np.matmul(_ones(A.shape[-1]), A)
    return sums


@lru_cache(maxsize=8)
def _ones(m: int) -> ndarray:
    return np.ones(m)


def _are_alike(sums: ndarray) -> bool:
    """Return whether a matrix that is alone gains nothing by powers of two: its sums lie within a factor 2."""
    if sums.shape[1] <= ALONE:
        return False
    lowest, highest = float(sums.min()), float(sums.max())
    return highest <= 2 * lowest and 1 / _NEAR <= highest <= _NEAR


def _powers(sizes: ndarray) -> ndarray:
    """Return the powers of two that bring sizes to [1/2, 1); far from 1 where these are not finite and positive."""
    bits = sizes.view(np.int64) >> 52
    np.subtract(2045, bits, out=bits)
    bits <<= 52
    return bits.view(np.float64)


def scale(A: ndarray, before: ndarray, after: ndarray) -> None:
    """Multiply rows by ``before``, then columns by ``after``, in place."""
    A *= before[:, :, None]
    A *= after[:, None, :]


def unscale(X: ndarray, scaled: Scaled) -> None:
    """Bring X' to ``D2 X' D1`` in place; where D1 is D2 it stays symmetric to the bit, also where numbers underflow."""
    if not scaled.is_graded:
        return
    if scaled.p is scaled.q:
        X *= scaled.p[:, :, None] * scaled.p[:, None, :]
    else:
        scale(X, scaled.q, scaled.p)


def find_units(scaled: Scaled) -> Units:
    """Return the `Units` of matrices, one row each where nothing was scaled."""
    _, p, q, is_graded = scaled
    n, m = p.shape
    if not is_graded:
        return Units(*[p[:, None, :]] * 4)
    both = np.empty((4, 2, m, n)).transpose(0, 3, 1, 2) if m <= BY_TERMS else np.empty((4, n, 2, m))
    both[:, :, 0] = 1
    both[0, :, 1], both[2, :, 1] = p, q
    np.divide(1, both[::2, :, 1], out=both[1::2, :, 1])
    return Units(*both)
