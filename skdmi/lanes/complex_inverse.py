r"""The kernel of complex matrices: inverses by elimination, a proof by norms, and what that does not settle left over.

The real matrix :math:`\begin{pmatrix} B & -C \\ C & B \end{pmatrix}` acts on vectors whose two halves are alike as
:math:`|B| + |C|` does, once all entries are nonnegative. So the theorem of :func:`skdmi.linalg.certify` holds for
complex matrices with :math:`|B| + |C|` in the place of absolute values, moduli being no larger, and with
:math:`h = (2 m + 3)\, 2^{-53}`, since an entry of a product is a sum of 2 m products; it covers every complex matrix
whose real and imaginary parts round to those of A.
"""

from collections import namedtuple

from numba import types

from skdmi.lanes.certificate import rounded_up
from skdmi.lanes.complex_elimination import eliminate
from skdmi.lanes.exchange import pack_entries, unpack_entries
from skdmi.lanes.inverse import APART, UNIT
from skdmi.lanes.layout import equilibrate, relative, scale_back
from skdmi.lanes.measures import Units, is_explained, leans_on_small_entries, measure, sums_in, widest
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
    select,
    some,
    splat,
    square_root,
    store,
)

LOOSE = 2.0**-26
N_FIGURES = 3

Arrays = namedtuple("Arrays", ["double", "single", "inverse", "single_inverse", "figures"])
Task = namedtuple("Task", ["m", "n_figures", "is_single", "unit", "tol"])
Rooms = namedtuple("Rooms", ["A", "X", "W", "R", "negated", "T", "Y", "figures", "p", "q", "vectors", "bases", "order"])

SIGNATURE = (
    types.CPointer(types.float64),
    types.CPointer(types.float32),
    types.CPointer(types.float64),
    types.CPointer(types.float32),
    types.CPointer(types.float64),
    types.CPointer(types.float64),
    *[types.intp] * 5,
    types.float64,
    types.float64,
)


def complex_inverse(double, single, out, single_out, figures, room, first, last, m, n_figures, flags, unit, tol):
    """Invert the members from ``first`` to ``last``, and say of each its status, error bound and residual norm.

    Numbers are pairs of real ones; the lowest bit of ``flags`` says that those are float32.
    """
    arrays = Arrays(double, single, out, single_out, figures)
    task = Task(m, n_figures, flags & 1 != 0, unit, tol)
    square = m * m
    bases, order, room = as_integers(room), as_integers(part(room, 2)), part(room, 2 + 2 * square // LANES + 1)
    apart = square + APART
    rooms = Rooms(
        part(room, apart),
        part(room, 3 * apart),
        part(room, 5 * apart),
        part(room, 7 * apart),
        part(room, 9 * apart),
        part(room, 10 * apart),
        part(room, 11 * apart),
        room,
        part(room, 12 * apart),
        part(room, 12 * apart + m),
        part(room, 12 * apart + 2 * m),
        bases,
        order,
    )
    for i in range(m):
        for j in range(m):
            order[2 * (i * m + j)] = j * m + i
            order[2 * (i * m + j) + 1] = square + j * m + i
    while first < last:
        count = min(LANES, last - first)
        for lane in range(LANES):
            bases[lane] = (first + lane if lane < count else first) * 2 * square
        _invert_group(arrays, task, rooms, first, count)
        first += count


@njit(**OPTIONS)
def _vector(rooms, k, m):
    return part(rooms.vectors, k * m)


@njit(**OPTIONS)
def _invert_group(arrays, task, rooms, first, count):
    """Invert as many matrices as there are lanes; a lane without one repeats the first."""
    m, n_entries = task.m, 2 * task.m * task.m
    A, X, W = rooms.A, rooms.X, rooms.W
    if task.is_single:
        pack_entries(arrays.single, False, rooms.bases, rooms.vectors, rooms.order, A, LANES, n_entries)
    else:
        pack_entries(arrays.double, False, rooms.bases, rooms.vectors, rooms.order, A, LANES, n_entries)
    _add_moduli(A, rooms.T, m)
    inside, balanced = equilibrate(rooms.T, rooms.p, rooms.q, _vector(rooms, 0, m), m)
    units = Units(_vector(rooms, 0, m), _vector(rooms, 1, m), _vector(rooms, 2, m), _vector(rooms, 3, m))
    relative(rooms.p, units.p, units.rp, m)
    relative(rooms.q, units.q, units.rq, m)
    for j in range(m):
        for i in range(m):
            scale, entry = load(rooms.p, i) * load(rooms.q, j), j * m + i
            b, c = load(A, entry) * scale, load(A, m * m + entry) * scale
            store(A, entry, b)
            store(A, m * m + entry, c)
            store(W, entry, b)
            store(W, m * m + entry, c)
    eliminate(W, X, _vector(rooms, 4, m), _vector(rooms, 6, m), _vector(rooms, 8, m), m)
    status, bound, norm = _judge(task, rooms, units)
    one = splat(A, 1.0)
    inexact = scale_back(X, rooms.p, rooms.q, W, m)
    inexact = inexact | scale_back(part(X, m * m), rooms.p, rooms.q, part(W, m * m), m)
    settled = status & inside & balanced & (inexact ^ (one == one))
    if task.is_single:
        rounded = _round(W, m)
        settled = settled & (rounded < splat(A, float("inf")))
        bound = select(rounded == one - one, bound, rounded_up(bound + (one + bound) * rounded, m))
        unpack_entries(W, rooms.order, arrays.single_inverse, False, rooms.bases, rooms.vectors, LANES, n_entries)
    else:
        unpack_entries(W, rooms.order, arrays.inverse, False, rooms.bases, rooms.vectors, LANES, n_entries)
    store(rooms.figures, 0, select(settled, splat(A, 7.0), splat(A, 8.0)))
    store(rooms.figures, 1, bound)
    store(rooms.figures, 2, norm)
    for k in range(N_FIGURES):
        for lane in range(count):
            arrays.figures[k * task.n_figures + first + lane] = rooms.figures[k * LANES + lane]


@njit(**OPTIONS)
def _add_moduli(A, T, m):
    """Form ``T = |B| + |C|``."""
    for entry in range(m * m):
        store(T, entry, absolute(load(A, entry)) + absolute(load(A, m * m + entry)))


@njit(**OPTIONS)
def _residual(A, X, R, negated, m):
    """Form ``R = I - A X``."""
    zero, one, square = splat(A, 0.0), splat(A, 1.0), m * m
    A_imaginary, X_imaginary, R_imaginary = part(A, square), part(X, square), part(R, square)
    for entry in range(square):
        store(negated, entry, zero - load(X_imaginary, entry))
    multiply_rectangles(A, X, R, m, m, m)
    add_rectangles(R, A_imaginary, negated, R, m, m, m)
    multiply_rectangles(A, X_imaginary, R_imaginary, m, m, m)
    add_rectangles(R_imaginary, A_imaginary, X, R_imaginary, m, m, m)
    for entry in range(2 * square):
        store(R, entry, zero - load(R, entry))
    for i in range(m):
        store(R, i * (m + 1), one + load(R, i * (m + 1)))


@njit(**OPTIONS)
def _squares(R, before, after, m):
    """Return the squared Frobenius norms of R and of ``diag(before) R diag(after)``."""
    plain = scaled = splat(R, 0.0)
    for j in range(m):
        factor = load(after, j)
        for i in range(m):
            b, c = load(R, j * m + i), load(R, m * m + j * m + i)
            size, scale = fma(b, b, c * c), load(before, i) * factor
            plain, scaled = plain + size, fma(size, scale * scale, scaled)
    return plain, scaled


@njit(**OPTIONS)
def _judge(task, rooms, units):
    """Return whether an inverse is settled, a bound on its error, and its residual norm in the units of the matrix.

    Settled is what is certified by norms, and as exact as rounding lets it be, so that no correction is due.
    """
    m, A, X, R = task.m, rooms.A, rooms.X, rooms.R
    one = splat(A, 1.0)
    sums = sums_in(_vector(rooms, 10, m), m)
    _residual(A, X, R, rooms.negated, m)
    _add_moduli(X, rooms.Y, m)
    norms, right = measure(rooms.T, rooms.Y, units, sums, m), _squares(R, units.rp, units.p, m)
    h = (2 * m + 3) * UNIT
    norm, norm_in_units = square_root(right[0]), square_root(right[1])
    rho = rounded_up(fma(splat(A, h + task.unit), one + norms.AX, norm), m * m)
    rho_of_A = rounded_up(fma(splat(A, h), one + norms.AX, norm), m * m)
    bound = rounded_up(fma(splat(A, h), one + norms.AX_unit, norm_in_units), m * m)
    settled = (rho < one) & (bound <= splat(A, LOOSE)) & (bound <= splat(A, 16.0) * rho_of_A)

    spare_bits = 2.0**20 if task.is_single else 1.0
    settled = settled & (splat(A, 2.0**16 * spare_bits**0.5 * m) >= norms.A * norms.X)
    wide = widest(units, m) > splat(A, 2.0**10)
    if some(wide):
        leans = leans_on_small_entries(rooms.Y, units, 2.0**10 * spare_bits, m)
        settled = settled & ((wide & leans) ^ (one == one))
    tol = max(task.tol, 2.0**-30) if task.is_single else task.tol
    settled = settled & is_explained(right[0], units.rp, sums.ax, False, UNIT / 2, tol, m)
    settled = settled & is_explained(right[1], units.rp, sums.pax, True, UNIT / 2, tol, m)
    if some(settled):
        _residual(X, A, R, rooms.negated, m)
        left = _squares(R, units.q, units.rq, m)
        settled = settled & is_explained(left[0], units.q, sums.xa, False, UNIT / 2, tol, m)
        settled = settled & is_explained(left[1], units.q, sums.pxa, True, UNIT / 2, tol, m)
    return settled, bound, norm_in_units


@njit(**OPTIONS)
def _round(W, m):
    """Round W to float32; return the distance over the longest column, both Euclidean."""
    square = longest = splat(W, 0.0)
    for j in range(m):
        column = splat(W, 0.0)
        for plane in range(2):
            for i in range(m):
                entry = plane * m * m + j * m + i
                x = load(W, entry)
                rounded = as_single(x)
                store(W, entry, rounded)
                difference = rounded - x
                square, column = fma(difference, difference, square), fma(x, x, column)
        longest = larger(column, longest)
    distance = rounded_up(square_root(square) / square_root(longest), m)
    return select(distance == distance, distance, splat(W, float("inf")))
