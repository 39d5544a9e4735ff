"""Inverses made exact to about their last bit, lane by lane, as by :func:`skdmi.linalg.accurate.correct`."""

from skdmi.lanes.accurate import accurate_residual
from skdmi.lanes.tiles import multiply
from skdmi.lanes.vectors import OPTIONS, absolute, fma, load, njit, select, some, splat, square_root, store

UNIT = 2.0**-53
MAX_ROUNDS = 4
HOPELESS = 0.9
"""A residual norm from which the series converges too slowly."""


@njit(**OPTIONS)
def correct(A, X, R, total, power, spare, m):
    r"""Add ``X (R + R^2 + ...)`` to X, with an accurate residual, until small entries have settled; R is spent.

    An entry below the rounding of the sum has no correct digit, and becomes zero.
    """
    zero = splat(A, 0.0)
    going = zero == zero
    for _ in range(MAX_ROUNDS):
        accurate_residual(A, X, R, m)
        square = zero
        for entry in range(m * m):
            r = load(R, entry)
            square = fma(r, r, square)
        norm = square_root(square)
        going = going & (norm < splat(A, HOPELESS))
        if not some(going):
            return
        _series(R, norm, going, total, power, spare, m)
        going = going & _take(X, total, spare, going, m)


@njit(**OPTIONS)
def _series(R, norm, going, total, power, spare, m):
    """Form ``R + R^2 + ...``, as many terms in each lane as its precision can tell, by doubling."""
    for entry in range(m * m):
        r = load(R, entry)
        store(total, entry, r)
        store(power, entry, r)
    n_powers, reached = 1, norm
    while n_powers < 64:
        going = going & (reached * norm > splat(R, UNIT * UNIT))
        if not some(going):
            return
        multiply(power, total, spare, m, m)
        for entry in range(m * m):
            t = load(total, entry)
            store(total, entry, select(going, t + load(spare, entry), t))
        multiply(power, power, spare, m, m)
        for entry in range(m * m):
            store(power, entry, load(spare, entry))
        reached = reached * reached
        n_powers *= 2


@njit(**OPTIONS)
def _take(X, total, spare, going, m):
    """Add ``X total`` to X where it is going; return where entries have not settled."""
    zero, few = splat(X, 0.0), splat(X, 2.0**-50)
    noise = splat(X, (m + 4) * UNIT)
    multiply(X, total, spare, m, m)
    moved = zero > zero
    for j in range(m):
        for i in range(m):
            size = zero
            for k in range(m):
                size = fma(absolute(load(X, k * m + i)), absolute(load(total, j * m + k)), size)
            before = load(X, j * m + i)
            entry = before + load(spare, j * m + i)
            entry = select(absolute(entry) > noise * size, entry, zero)
            moved = moved | (absolute(entry - before) > few * absolute(before))
            store(spare, j * m + i, entry)
    for entry in range(m * m):
        store(X, entry, select(going, load(spare, entry), load(X, entry)))
    return moved
