"""The kernel of pseudo-inverses: by normal equations and Newton steps, and a proof of full rank with a bound."""

from collections import namedtuple

from numba import types

from skdmi.lanes.certificate import UNDERFLOW, UNIT, rounded_up
from skdmi.lanes.elimination import eliminate
from skdmi.lanes.exchange import pack_entries, unpack_entries
from skdmi.lanes.layout import FARTHEST, WIDEST
from skdmi.lanes.tiles import add_rectangles, multiply_rectangles
from skdmi.lanes.vectors import (
    LANES,
    OPTIONS,
    absolute,
    as_integers,
    as_single,
    fma,
    larger,
    load,
    njit,
    part,
    power_above,
    power_reciprocal,
    select,
    some,
    splat,
    square_root,
    store,
)

LOOSE = 2.0**-20
"""A bound above this is left to the reference."""
MAX_STEPS = 4
N_FIGURES = 3
APART = 9
_LEAST, _MOST = 2.0**-1000, 2.0**1000

Arrays = namedtuple("Arrays", ["double", "single", "inverse", "single_inverse", "figures"])
Task = namedtuple("Task", ["p", "q", "n_figures", "is_single", "unit"])
Rooms = namedtuple(
    "Rooms", ["A", "At", "X", "Y", "S", "Xt", "G", "W", "R", "scales", "vectors", "figures", "bases", "order", "back"]
)
Norms = namedtuple("Norms", ["X", "X_in_units", "longest", "A_in_units", "R"])
"""Frobenius norms of X; of X D, and its longest column; of ``D^-1 A``; of ``R D``."""
Proof = namedtuple("Proof", ["rho", "rho_of_all", "error_bound", "reciprocal"])
"""Of A and of every matrix that rounds to it; the bound; no more than one over the condition number."""

SIGNATURE = (
    types.CPointer(types.float64),
    types.CPointer(types.float32),
    types.CPointer(types.float64),
    types.CPointer(types.float32),
    types.CPointer(types.float64),
    types.CPointer(types.float64),
    *[types.intp] * 6,
    types.float64,
)


def pseudo(double, single, out, single_out, figures, room, first, last, p, q, n_figures, flags, unit):
    """Pseudo-invert the members from ``first`` to ``last``, and say what is found of each.

    They are p x q with p at most q, or, by the second bit of ``flags``, the transposed of such; the first says that the
    stack is float32. Figures are the status, the error bound, and no more than one over the condition
    number.
    """
    arrays = Arrays(double, single, out, single_out, figures)
    task = Task(p, q, n_figures, flags & 1 != 0, unit)
    n_entries, is_tall = p * q, flags & 2 != 0
    bases, order = as_integers(room), as_integers(part(room, 2))
    whole = n_entries // LANES + 1
    back, room = as_integers(part(room, 2 + whole)), part(room, 2 + 2 * whole)
    wide, square = n_entries + APART, p * p + APART
    vectors = part(room, 6 * wide + 3 * square)
    rooms = Rooms(
        room,
        part(room, wide),
        part(room, 2 * wide),
        part(room, 3 * wide),
        part(room, 4 * wide),
        part(room, 5 * wide),
        part(room, 6 * wide),
        part(room, 6 * wide + square),
        part(room, 6 * wide + 2 * square),
        vectors,
        part(vectors, 2 * p),
        part(vectors, 2 * p + 3 * q),
        bases,
        order,
        back,
    )
    for i in range(p):
        for j in range(q):
            order[j * p + i if is_tall else i * q + j] = j * p + i
            back[i * q + j if is_tall else j * p + i] = i * q + j
    while first < last:
        count = min(LANES, last - first)
        for lane in range(LANES):
            bases[lane] = (first + lane if lane < count else first) * n_entries
        _invert_group(arrays, task, rooms, first, count)
        first += count


@njit(**OPTIONS)
def _invert_group(arrays, task, rooms, first, count):
    """Pseudo-invert as many matrices as there are lanes; a lane without one repeats the first."""
    p, q, n_entries = task.p, task.q, task.p * task.q
    A, At, X = rooms.A, rooms.At, rooms.X
    if task.is_single:
        pack_entries(arrays.single, False, rooms.bases, rooms.vectors, rooms.order, A, LANES, n_entries)
    else:
        pack_entries(arrays.double, False, rooms.bases, rooms.vectors, rooms.order, A, LANES, n_entries)
    inside = _scale_rows(A, At, rooms.scales, p, q)
    multiply_rectangles(A, At, rooms.R, p, p, q)
    eliminate(rooms.R, rooms.W, part(rooms.vectors, 0), part(rooms.vectors, p), part(rooms.vectors, 2 * p), p)
    multiply_rectangles(At, rooms.W, X, q, p, p)
    _approach(rooms, p, q)
    proof = _prove(rooms, task)
    inexact, one = _scale_back(X, rooms.Y, rooms.scales, p, q), splat(A, 1.0)
    inside = inside & (inexact ^ (one == one))
    _write(arrays, task, rooms, proof, inside, first, count)


@njit(**OPTIONS)
def _scale_rows(A, At, scales, p, q):
    """Scale rows by powers of two that bring their largest entries to [1/2, 1); return where A is inside the range.

    The transposed matrix is formed, too, and beside the scales those divided by the largest.
    """
    zero, one, far = splat(A, 0.0), splat(A, 1.0), splat(A, FARTHEST)
    highest, lowest, total = zero, far, zero
    for i in range(p):
        size = zero
        for j in range(q):
            a = absolute(load(A, j * p + i))
            total, size = total + a, larger(a, size)
        power = select(size > zero, power_reciprocal(power_above(size)), one)
        highest, lowest = larger(power, highest), select(power < lowest, power, lowest)
        store(scales, i, power)
        for j in range(q):
            a = load(A, j * p + i) * power
            store(A, j * p + i, a)
            store(At, i * q + j, a)
    for i in range(p):
        store(scales, p + i, load(scales, i) * power_reciprocal(highest))
    return (total <= far) & (highest <= far) & (highest <= lowest * splat(A, WIDEST))


@njit(**OPTIONS)
def _approach(rooms, p, q):
    """Take Newton steps ``X (2 I - A X)``, one at least, until the square of a residual is nothing beside rounding."""
    X, Y, R = rooms.X, rooms.Y, rooms.R
    before = splat(X, 1.0)
    for _ in range(MAX_STEPS):
        square = _residual(rooms.A, X, R, p, q)
        nears = square < before
        add_rectangles(X, X, R, Y, q, p, p)
        for entry in range(p * q):
            store(X, entry, select(nears, load(Y, entry), load(X, entry)))
        if not some(nears & (square > splat(X, 2.0**-72))):
            break
        before = square * splat(X, 0.25)


@njit(**OPTIONS)
def _residual(A, X, R, p, q):
    """Form ``R = I - A X``; return the square of its norm."""
    zero, one = splat(A, 0.0), splat(A, 1.0)
    multiply_rectangles(A, X, R, p, p, q)
    square = zero
    for j in range(p):
        for i in range(p):
            r = (one if i == j else zero) - load(R, j * p + i)
            store(R, j * p + i, r)
            square = fma(r, r, square)
    return square


@njit(**OPTIONS)
def _measure(rooms, p, q):
    """Form X transposed; return the `Norms`."""
    X, zero = rooms.X, splat(rooms.X, 0.0)
    square, longest, of_X, of_A, of_R = zero, zero, zero, zero, zero
    for j in range(p):
        scale, column, row = load(rooms.scales, p + j), zero, zero
        for i in range(p):
            r = load(rooms.R, j * p + i) * scale
            of_R = fma(r, r, of_R)
        for i in range(q):
            x, a = load(X, j * q + i), load(rooms.At, j * q + i)
            column, row = fma(x, x, column), fma(a, a, row)
            store(rooms.Xt, i * p + j, x)
        of_X = of_X + column
        column = column * scale * scale
        square, longest = square + column, larger(column, longest)
        row = square_root(row) / scale
        of_A = fma(row, row, of_A)
    return Norms(
        square_root(of_X),
        square_root(square),
        square_root(longest),
        square_root(of_A),
        square_root(of_R),
    )


@njit(**OPTIONS)
def _prove(rooms, task):
    """Return the `Proof` of :func:`skdmi.linalg.certify_pinv`, for A with scaled rows and X."""
    p, q, n = task.p, task.q, task.p * task.q
    A, X = rooms.A, rooms.X
    one, tiny, less = splat(A, 1.0), splat(A, UNDERFLOW), splat(A, 1.0 - (8.0 * n + 64.0) * UNIT)
    norm, norms = square_root(_residual(A, X, rooms.R, p, q)), _measure(rooms, p, q)
    plain, in_units = _explained(A, X, rooms.scales, rooms.vectors, p, q)
    h = splat(A, (q + 3) * UNIT)
    rho = rounded_up(fma(h, one + plain, norm), n) + tiny
    rho_of_all = rounded_up(fma(h + splat(A, task.unit), one + plain, norm), n) + tiny
    rho_in_units = rounded_up(fma(h, one + in_units, norms.R), n) + tiny

    multiply_rectangles(rooms.Xt, X, rooms.G, p, p, q)
    multiply_rectangles(rooms.At, rooms.G, rooms.S, q, p, p)
    square = one - one
    for j in range(p):
        scale = load(rooms.scales, p + j)
        for i in range(q):
            s = (load(X, j * q + i) - load(rooms.S, j * q + i)) * scale
            square = fma(s, s, square)
    _, in_units = _explained(rooms.At, rooms.G, rooms.scales, rooms.vectors, q, p)
    across = fma(splat(A, (p + 3) * UNIT), norms.X_in_units + in_units, square_root(square))
    distance = rounded_up(norms.X * rho_in_units / (one - rho) + rounded_up(across, n) + tiny, n)
    longest = norms.longest * less
    bound = rounded_up(distance / (longest - distance), n)
    bound = select((rho < one) & (distance < longest), bound, splat(A, float("nan")))
    condition = rounded_up(norms.A_in_units * norms.X_in_units / (one - bound), n)
    return Proof(rho, rho_of_all, bound, less / condition)


@njit(**OPTIONS)
def _explained(A, X, scales, room, n_rows, n_inner):
    """Return bounds on the spectral norms of ``|A||X|`` and ``|A||X| D``, A n_rows x n_inner, X n_inner x p.

    Both with :data:`UNDERFLOW` added to the entries of ``|A|``.
    """
    zero, tiny = splat(A, 0.0), splat(A, UNDERFLOW)
    p = n_rows if n_rows < n_inner else n_inner
    x, xd, above = room, part(room, n_inner), part(room, 2 * n_inner)
    for k in range(n_inner):
        store(x, k, zero)
        store(xd, k, zero)
        column = zero
        for i in range(n_rows):
            column = column + (absolute(load(A, k * n_rows + i)) + tiny)
        store(above, k, column)
    columns = columns_in_units = zero
    for j in range(p):
        scale, column = load(scales, p + j), zero
        for k in range(n_inner):
            size = absolute(load(X, j * n_inner + k))
            store(x, k, load(x, k) + size)
            store(xd, k, fma(size, scale, load(xd, k)))
            column = fma(size, load(above, k), column)
        columns, columns_in_units = larger(column, columns), larger(column * scale, columns_in_units)
    rows = rows_in_units = zero
    for i in range(n_rows):
        row = row_in_units = zero
        for k in range(n_inner):
            a = absolute(load(A, k * n_rows + i)) + tiny
            row, row_in_units = fma(a, load(x, k), row), fma(a, load(xd, k), row_in_units)
        rows, rows_in_units = larger(row, rows), larger(row_in_units, rows_in_units)
    return square_root(rows * columns), square_root(rows_in_units * columns_in_units)


@njit(**OPTIONS)
def _scale_back(X, Y, scales, p, q):
    """Form ``Y = X D``; return where an entry may not be as exact as in X."""
    zero, least, most = splat(X, 0.0), splat(X, _LEAST), splat(X, _MOST)
    inexact = zero > zero
    for j in range(p):
        scale = load(scales, j)
        for i in range(q):
            x = load(X, j * q + i)
            y = x * scale
            size = absolute(y)
            inexact = inexact | ((size < least) & (absolute(x) > zero)) | ((size > most) & (absolute(x) < most))
            store(Y, j * q + i, y)
    return inexact


@njit(**OPTIONS)
def _round(Y, scales, p, q):
    """Round Y to float32; return the distance over the longest column, both Euclidean."""
    square = longest = splat(Y, 0.0)
    for j in range(p):
        column, unit = splat(Y, 0.0), load(scales, p + j) / load(scales, j)
        for i in range(q):
            y = load(Y, j * q + i)
            rounded = as_single(y)
            store(Y, j * q + i, rounded)
            difference, y = (rounded - y) * unit, y * unit
            square, column = fma(difference, difference, square), fma(y, y, column)
        longest = larger(column, longest)
    distance = rounded_up(square_root(square) / square_root(longest), p * q)
    return select(distance == distance, distance, splat(Y, float("inf")))


@njit(**OPTIONS)
def _write(arrays, task, rooms, proof, inside, first, count):
    """Write pseudo-inverses and figures; what is not certified, or loosely bounded, is left to the reference."""
    Y, zero, one = rooms.Y, splat(rooms.Y, 0.0), splat(rooms.Y, 1.0)
    bound, n_entries = proof.error_bound, task.p * task.q
    certified = (proof.rho_of_all < one) & (bound < splat(Y, LOOSE)) & inside
    if task.is_single:
        rounded = _round(Y, rooms.scales, task.p, task.q)
        certified = certified & (rounded < splat(Y, float("inf")))
        bound = select(rounded == zero, bound, rounded_up(bound + (one + bound) * rounded, n_entries))
        unpack_entries(Y, rooms.back, arrays.single_inverse, False, rooms.bases, rooms.vectors, LANES, n_entries)
    else:
        unpack_entries(Y, rooms.back, arrays.inverse, False, rooms.bases, rooms.vectors, LANES, n_entries)
    store(rooms.figures, 0, select(certified, splat(Y, 7.0), splat(Y, 8.0)))
    store(rooms.figures, 1, bound)
    store(rooms.figures, 2, proof.reciprocal)
    for k in range(N_FIGURES):
        for lane in range(count):
            arrays.figures[k * task.n_figures + first + lane] = rooms.figures[k * LANES + lane]
