"""The kernel of inverse square roots: coupled iterations, a Cholesky factor that proves signs, a residual for the rest.

Y and Z are symmetric, so that one triangle of them is computed. Of their product, which is symmetric but for rounding,
both are: with one alone the iteration would not be stable.
"""

from collections import namedtuple

from numba import types

from skdmi.lanes.certificate import rounded_up
from skdmi.lanes.exchange import pack_either, unpack
from skdmi.lanes.inverse import APART, UNIT, round_to_single
from skdmi.lanes.layout import transposition
from skdmi.lanes.tiles import multiply, multiply_symmetric
from skdmi.lanes.vectors import (
    LANES,
    OPTIONS,
    absolute,
    as_integers,
    fma,
    fnma,
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
MAX_STEPS = 40
NEARLY, NEARLY_SINGLE = 2.0**-54, 2.0**-32
"""The square of a residual norm after which one step is the last."""
FARTHEST = 2.0**400
N_FIGURES = 4

Arrays = namedtuple("Arrays", ["double", "single", "root", "single_root", "figures"])
Task = namedtuple("Task", ["m", "n_figures", "n_coefficients", "is_single", "unit"])
Rooms = namedtuple("Rooms", ["A", "Y", "Z", "M", "T", "v", "w", "figures", "bases", "order"])

SIGNATURE = (
    types.CPointer(types.float64),
    types.CPointer(types.float32),
    types.CPointer(types.float64),
    types.CPointer(types.float32),
    types.CPointer(types.float64),
    types.CPointer(types.float64),
    types.CPointer(types.float64),
    *[types.intp] * 6,
    types.float64,
)


def root(
    double, single, out, single_out, coefficients, figures, room, first, last, m, n_figures, n_coefficients, flags, unit
):
    """Find the inverse square roots of the members from ``first`` to ``last``, and say what is found of each.

    ``coefficients`` are those of the first steps, two a step; the others are found step by step. The lowest bit of
    ``flags`` says that the stack is float32. Figures are the status, the error bound, ``||I - Z A Z||_F`` and the
    number of steps.
    """
    arrays = Arrays(double, single, out, single_out, figures)
    task = Task(m, n_figures, n_coefficients, flags & 1 != 0, unit)
    square = m * m
    bases, order, room = as_integers(room), as_integers(part(room, 2)), part(room, 2 + square // LANES + 1)
    apart = square + APART
    vectors = part(room, 5 * apart)
    rooms = Rooms(
        room,
        part(room, apart),
        part(room, 2 * apart),
        part(room, 3 * apart),
        part(room, 4 * apart),
        vectors,
        part(vectors, m),
        part(vectors, 3 * m),
        bases,
        order,
    )
    transposition(order, m)
    while first < last:
        count = min(LANES, last - first)
        for lane in range(LANES):
            bases[lane] = (first + lane if lane < count else first) * square
        _find_group(arrays, task, rooms, coefficients, first, count)
        first += count


@njit(**OPTIONS)
def _find_group(arrays, task, rooms, coefficients, first, count):
    """Find as many roots as there are lanes; a lane without a matrix repeats the first."""
    m, A, Z = task.m, rooms.A, rooms.Z
    zero, one = splat(A, 0.0), splat(A, 1.0)
    pack_either(arrays.double, arrays.single, task.is_single, rooms.bases, rooms.v, rooms.order, A, m)
    scale, inside = _normalize(A, 2.0**-18 if task.is_single else 2.0**-45, m)
    nearly = NEARLY_SINGLE if task.is_single else NEARLY
    steps = _iterate(rooms, coefficients, task.n_coefficients, nearly, m)
    rho, rho_of_all, norm = _residual(rooms, task.unit, m)
    g = (rho + rho) / (splat(A, 2.0**0.5) + square_root(splat(A, 2.0) - splat(A, 4.0) * rho))
    bound = rounded_up(fma(g, g, rho) * splat(A, 0.5), m)
    known = (rho < splat(A, 0.25)) & _is_positive_definite(Z, rooms.M, m)
    bound = select(known, bound, splat(A, float("nan")))
    for entry in range(m * m):
        store(Z, entry, load(Z, entry) * scale)
    certified = known & inside & (rho_of_all < splat(A, 0.25)) & (bound <= splat(A, LOOSE))
    if task.is_single:
        rounded = round_to_single(Z, m)
        certified = certified & (rounded < splat(A, float("inf")))
        bound = select(rounded == zero, bound, rounded_up(bound + (one + bound) * rounded, m))
        unpack(Z, rooms.order, arrays.single_root, False, rooms.bases, rooms.v, LANES, m)
    else:
        unpack(Z, rooms.order, arrays.root, False, rooms.bases, rooms.v, LANES, m)
    store(rooms.figures, 0, select(certified, splat(A, 7.0), splat(A, 8.0)))
    store(rooms.figures, 1, bound)
    store(rooms.figures, 2, norm)
    store(rooms.figures, 3, steps)
    for k in range(N_FIGURES):
        for lane in range(count):
            arrays.figures[k * task.n_figures + first + lane] = rooms.figures[k * LANES + lane]


@njit(**OPTIONS)
def _normalize(A, slack, m):
    """Take the mean of A and its transposed, and bring A near 1 by a power of 4.

    Returns the power of two that the root is to be multiplied with, and where A is symmetric but for rounding, and
    inside the range.
    """
    zero, largest, apart, total = splat(A, 0.0), splat(A, 0.0), splat(A, 0.0), splat(A, 0.0)
    for j in range(m):
        for i in range(j, m):
            a, b = load(A, j * m + i), load(A, i * m + j)
            largest, apart, total = larger(absolute(a), largest), larger(absolute(a - b), apart), total + a + b
            a = (a + b) * splat(A, 0.5) if i > j else a
            store(A, j * m + i, a)
            store(A, i * m + j, a)
    far = splat(A, FARTHEST)
    inside = (largest < far) & (largest > splat(A, 1.0 / FARTHEST)) & (apart <= largest * splat(A, slack))
    inside = inside & (total == total)
    power = power_reciprocal(power_above(select(inside, largest, splat(A, 1.0))))
    halved = square_root(power)
    whole = halved * halved == power
    half = select(whole, halved, square_root(power * splat(A, 0.5)))
    power = half * half
    for entry in range(m * m):
        store(A, entry, load(A, entry) * power)
    return select(inside, half, zero), inside


@njit(**OPTIONS)
def _iterate(rooms, coefficients, n_coefficients, nearly, m):
    """Take coupled steps ``Y <- Y P, Z <- P Z, P = a I - b Z Y``, from ``Y = c A`` and ``Z = c I``; return how many.

    Where no coefficients are given, they are those of :func:`skdmi.iteration.roots.scaled_step`.
    """
    A, Y, Z, M, T = rooms.A, rooms.Y, rooms.Z, rooms.M, rooms.T
    zero, one = splat(A, 0.0), splat(A, 1.0)
    square = zero
    for entry in range(m * m):
        a = load(A, entry)
        square = fma(a, a, square)
    c = one / square_root(square_root(square))
    for j in range(m):
        store(rooms.v, j, splat(A, 1.0 + 0.5 * ((j * 7) % 5 - 2) / (1 + j % 3)))
        for i in range(m):
            a = load(A, j * m + i) * c
            store(Y, j * m + i, a)
            store(M, j * m + i, a * c)
            store(Z, j * m + i, c if i == j else zero)
    steps = zero
    for k in range(MAX_STEPS):
        if k > 0:
            multiply(Z, Y, M, m, m)
        size = _square_of_distance(M, m)
        if k < n_coefficients:
            a, b = splat(A, coefficients[2 * k]), splat(A, coefficients[2 * k + 1])
        else:
            a, b = _choose(M, rooms.v, rooms.w, m)
        for entry in range(m * m):
            store(M, entry, zero - b * load(M, entry))
        for i in range(m):
            store(M, i * (m + 1), a + load(M, i * (m + 1)))
        multiply_symmetric(Y, M, T, m)
        for entry in range(m * m):
            store(Y, entry, load(T, entry))
        if k > 0:
            multiply_symmetric(M, Z, T, m)
            for entry in range(m * m):
                store(Z, entry, load(T, entry))
        else:
            for entry in range(m * m):
                store(Z, entry, c * load(M, entry))
        going = size > splat(A, nearly)
        steps = select(going | (steps == splat(A, float(k))), steps + one, steps)
        if not some(going):
            break
    return steps


@njit(**OPTIONS)
def _square_of_distance(M, m):
    """Return ``||I - M||_F^2``."""
    one, total = splat(M, 1.0), splat(M, 0.0)
    for j in range(m):
        for i in range(m):
            e = load(M, j * m + i)
            e = e - one if i == j else e
            total = fma(e, e, total)
    return total


@njit(**OPTIONS)
def _choose(M, v, w, m):
    """Return the coefficients of a scaled step, from a power step of ``I - M`` on v."""
    zero, one = splat(M, 0.0), splat(M, 1.0)
    before = after = zero
    for i in range(m):
        x = load(v, i)
        before = fma(x, x, before)
        store(w, i, x)
    for j in range(m):
        x = load(v, j)
        for i in range(m):
            store(w, i, fnma(load(M, j * m + i), x, load(w, i)))
    for i in range(m):
        x = load(w, i)
        after = fma(x, x, after)
    ratio = square_root(after / before)
    scale = select(after > zero, one / square_root(after), one)
    for i in range(m):
        store(v, i, load(w, i) * scale)
    rest = one - ratio
    least = square_root(select(rest > splat(M, 3e-3), rest, splat(M, 3e-3)))
    scale = square_root(splat(M, 3.0) / (one + least + least * least))
    return splat(M, 1.5) * scale, splat(M, 0.5) * scale * scale * scale


@njit(**OPTIONS)
def _residual(rooms, unit, m):
    """Return bounds on ``||I - Z A Z||_F``, of A and of all that rounds to it, and the norm as computed."""
    A, Z, M, T = rooms.A, rooms.Z, rooms.M, rooms.T
    zero, one, tiny = splat(A, 0.0), splat(A, 1.0), splat(A, 2.0**-900)
    multiply(A, Z, T, m, m)
    multiply_symmetric(Z, T, M, m)
    norm = square_root(_square_of_distance(M, m))
    _sum_rows(Z, rooms.v, rooms.v, True, m)
    _sum_rows(A, rooms.v, rooms.w, False, m)
    _sum_rows(Z, rooms.w, rooms.v, False, m)
    size = zero
    for i in range(m):
        size = larger(load(rooms.v, i), size)
    explained = rounded_up(square_root(splat(A, float(m))) * (one + size), m) + tiny
    rho = rounded_up(fma(splat(A, (2 * m + 5) * UNIT), explained, norm), m * m) + tiny
    rho_of_all = rounded_up(fma(splat(A, (2 * m + 5) * UNIT + 1.01 * unit), explained, norm), m * m) + tiny
    return rho, rho_of_all, norm


@njit(**OPTIONS)
def _sum_rows(A, x, out, is_first, m):
    """Form ``|A| x``, or with ``is_first`` ``|A| e``; A is symmetric, and x and out may be one only for that."""
    zero, tiny = splat(A, 0.0), splat(A, 2.0**-900)
    for j in range(m):
        total = zero
        for i in range(m):
            a = absolute(load(A, j * m + i)) + tiny
            total = total + a if is_first else fma(a, load(x, i), total)
        store(out, j, total)


@njit(**OPTIONS)
def _is_positive_definite(Z, L, m):
    """Return where Z is proved positive definite: where Z less a shift has a Cholesky factor (Rump 2006)."""
    trace = splat(Z, 0.0)
    for i in range(m):
        trace = trace + absolute(load(Z, i * (m + 1)))
    shift = trace * splat(Z, 4.0 * (m + 2) * UNIT) + splat(Z, 2.0**-500)
    proved = trace < splat(Z, 2.0**500)
    for j in range(m):
        for i in range(j, m):
            total = load(Z, j * m + i)
            total = total - shift if i == j else total
            for k in range(j):
                total = fnma(load(L, k * m + i), load(L, k * m + j), total)
            if i == j:
                proved = proved & (total > splat(Z, 2.0**-500))
                pivot = square_root(total)
                store(L, j * m + j, pivot)
                reciprocal = splat(Z, 1.0) / pivot
            else:
                store(L, j * m + i, total * reciprocal)
    return proved
