"""The certificate of :func:`skdmi.linalg.certify` in lanes: the same theorems, the same allowances for rounding.

Where norms alone prove A nonsingular and X accurate, which is nearly always, no more is looked at.
"""

from collections import namedtuple

from skdmi.lanes.vectors import (
    OPTIONS,
    absolute,
    fma,
    larger,
    load,
    njit,
    select,
    smaller,
    some,
    splat,
    square_root,
    store,
)

UNIT = 2.0**-53
UNDERFLOW = 2.0**-900
LOOSE = 2.0**-26
OFF_SCALE = 16.0

Proof = namedtuple("Proof", ["rho", "rho_of_A", "error_bound"])
"""Of every matrix that rounds to A, of A alone, and the bound on the relative error of X."""
Room = namedtuple("Room", ["z", "w", "before", "t"])
"""Pointers to m vectors each."""


@njit(**OPTIONS)
def rounded_up(x, m):
    """Return no less than the exact value of what was computed by at most ``8 m + 60`` additions and products."""
    return x * splat(x, 1.0 + (8.0 * m + 64.0) * UNIT)


@njit(**OPTIONS)
def prove(A, X, R, squares_of_R, norms, sums, units, room, unit, m):
    """Return the `Proof` for A, equilibrated, and X, from the residual R."""
    one, infinite = splat(A, 1.0), splat(A, float("inf"))
    h, g = (m + 3) * UNIT, (m + 3) * UNIT + unit
    norm, norm_unit = square_root(squares_of_R[0]), square_root(squares_of_R[1])
    size = one + norms.AX
    rho = rounded_up(fma(splat(A, g), size, norm), m * m)
    rho_of_A = rounded_up(fma(splat(A, h), size, norm), m * m)
    bound = rounded_up(fma(splat(A, h), one + norms.AX_unit, norm_unit), m * m)
    is_loose = (rho < one) & (bound <= splat(A, LOOSE)) & (bound <= splat(A, OFF_SCALE) * rho_of_A)
    is_loose = is_loose ^ (one == one)
    if some(is_loose):
        looked = _look_closer(A, X, R, rho_of_A, sums, units, room, g, m)
        rho = select(is_loose, smaller(looked.rho, rho), rho)
        rho_of_A = select(is_loose, smaller(looked.rho_of_A, rho_of_A), rho_of_A)
        bound = select(is_loose, smaller(looked.error_bound, bound), bound)
        bound = select(bound == bound, bound, infinite)
    return Proof(rho, rho_of_A, bound)


@njit(**OPTIONS)
def _look_closer(A, X, R, spectral, sums, units, room, g, m):
    """Return the proof by row sums, and an error bound that holds in any units."""
    zero, one, infinite = splat(A, 0.0), splat(A, 1.0), splat(A, float("inf"))
    h = (m + 3) * UNIT
    for i in range(m):
        store(room.w, i, zero)
        store(room.z, i, zero)
    row_sum_of_x = row_sum_of_px = zero
    for j in range(m):
        p = load(units.p, j)
        row_sum_of_x = row_sum_of_x + load(sums.x, j)
        row_sum_of_px = row_sum_of_px + load(sums.px, j)
        for i in range(m):
            r = absolute(load(R, j * m + i))
            store(room.w, i, load(room.w, i) + r)
            store(room.z, i, fma(r, p, load(room.z, i)))
    guard, p_guard = row_sum_of_x * splat(A, UNDERFLOW), row_sum_of_px * splat(A, UNDERFLOW)
    rho = rho_of_A = largest = square = check = zero
    for i in range(m):
        explained, r = one + (load(sums.ax, i) + guard), load(room.w, i)
        of_row = fma(splat(A, g), explained, r)
        check = check + of_row
        rho = larger(of_row, rho)
        rho_of_A = larger(fma(splat(A, h), explained, r), rho_of_A)
        z = fma(splat(A, h), load(units.p, i) + (load(sums.pax, i) + p_guard), load(room.z, i))
        store(room.z, i, z)
        largest, square = larger(z, largest), fma(z, z, square)
    known = check == check
    rho, rho_of_A = select(known, rounded_up(rho, m), infinite), select(known, rounded_up(rho_of_A, m), infinite)
    v = smaller(_geometric(rho_of_A) * largest, _geometric(spectral) * square_root(square))
    for i in range(m):
        store(room.w, i, load(room.z, i) + v)
    bound = _of_any_scale(X, units, room, m)
    is_loose = (bound <= splat(A, LOOSE)) ^ known
    if some(is_loose):
        holds = _fixed_point(A, X, R, room, h, m)
        closer = select(holds, _of_any_scale(X, units, room, m), infinite)
        bound = select(is_loose, smaller(closer, bound), bound)
    bound = smaller(_of_one_scale(A, X, R, units, room, h, m), bound)
    return Proof(rho, rho_of_A, select(known, bound, infinite))


@njit(**OPTIONS)
def _geometric(rho):
    """Return ``rho + rho^2 + ...``, infinite where that diverges."""
    one = splat(rho, 1.0)
    return select(rho < one, rho / (one - rho), splat(rho, float("inf")))


@njit(**OPTIONS)
def _of_any_scale(X, units, room, m):
    """Return ``q / (1 - q)`` where ``|X - A^-1| p <= |X| w``, w in the room."""
    zero, one = splat(X, 0.0), splat(X, 1.0)
    longest = total = zero
    for i in range(m):
        store(room.t, i, zero)
        total = total + load(room.w, i)
    for j in range(m):
        w, p, column = load(room.w, j), load(units.p, j), zero
        for i in range(m):
            x = absolute(load(X, j * m + i))
            store(room.t, i, fma(x, w, load(room.t, i)))
            x = x * (load(units.q, i) * p)
            column = fma(x, x, column)
        longest = larger(column, longest)
    longest, total = square_root(longest), total * splat(X, UNDERFLOW)
    square = zero
    for i in range(m):
        y = (load(room.t, i) + total) * load(units.q, i) / longest
        square = fma(y, y, square)
    q = rounded_up(square_root(square), m)
    return select((longest > splat(X, 2.0**-450)) & (q < one), q / (one - q), splat(X, float("inf")))


@njit(**OPTIONS)
def _of_one_scale(A, X, R, units, room, h, m):
    """Return the bound on ``||I - A X||_2`` by row sums of ``F^T F``, ``F = D1^-1 E D1``; z is in the room."""
    zero, factor = splat(A, 0.0), splat(A, h)
    total = largest = zero
    for i in range(m):
        rp = load(units.rp, i)
        store(room.w, i, load(room.z, i) * rp * rp)
    for j in range(m):
        column = zero
        for i in range(m):
            column = fma(absolute(load(A, j * m + i)), load(room.w, i), column)
        total = total + load(room.w, j)
        store(room.t, j, column)
    guard = total * splat(A, UNDERFLOW)
    for j in range(m):
        column = of_R = zero
        for i in range(m):
            column = fma(absolute(load(X, j * m + i)), load(room.t, i) + guard, column)
            of_R = fma(absolute(load(R, j * m + i)), load(room.w, i), of_R)
        largest = larger(load(units.p, j) * (of_R + factor * (load(room.w, j) + column)), largest)
    return rounded_up(square_root(largest), m)


@njit(**OPTIONS)
def _times(A, X, R, w, t, out, h, m):
    """Form ``out = E w``, ``E = |R| + h (I + |A| |X|)``."""
    zero, factor = splat(A, 0.0), splat(A, h)
    total = zero
    for i in range(m):
        store(t, i, zero)
        store(out, i, zero)
    for j in range(m):
        x = load(w, j)
        for i in range(m):
            store(t, i, fma(absolute(load(X, j * m + i)), x, load(t, i)))
    for j in range(m):
        x = load(t, j)
        total = total + x
        for i in range(m):
            store(out, i, fma(absolute(load(A, j * m + i)), x, load(out, i)))
    guard = total * splat(A, UNDERFLOW)
    for i in range(m):
        store(out, i, factor * (load(w, i) + (load(out, i) + guard)))
    for j in range(m):
        x = load(w, j)
        for i in range(m):
            store(out, i, fma(absolute(load(R, j * m + i)), x, load(out, i)))


@njit(**OPTIONS)
def _fixed_point(A, X, R, room, h, m):
    """Put w with ``w >= z + E w`` into the room; return where it is one."""
    zero = splat(A, 0.0)
    for i in range(m):
        store(room.w, i, load(room.z, i))
    moving = zero == zero
    for _ in range(m):
        _times(A, X, R, room.w, room.t, room.before, h, m)
        grows = zero > zero
        for i in range(m):
            before, w = load(room.w, i), load(room.z, i) + load(room.before, i)
            grows = grows | (w > splat(A, 1.01) * before)
            store(room.w, i, select(moving, w, before))
        moving = moving & grows
        if not some(moving):
            break
    for i in range(m):
        store(room.w, i, splat(A, 1.25) * load(room.w, i))
    _times(A, X, R, room.w, room.t, room.before, h, m)
    holds = zero == zero
    for i in range(m):
        holds = holds & (rounded_up(load(room.z, i) + load(room.before, i), m) <= load(room.w, i))
    return holds
