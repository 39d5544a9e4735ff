"""The kernel that checks: inverses are read, or found by elimination, and what is proved of them is written."""

from collections import namedtuple

from numba import types

from skdmi.lanes.certificate import LOOSE, Room, prove
from skdmi.lanes.elimination import eliminate
from skdmi.lanes.exchange import pack_either, unpack
from skdmi.lanes.inverse import APART, condition_interval
from skdmi.lanes.layout import equilibrate, relative, scale_back, scale_inverse, transposition
from skdmi.lanes.measures import Units, measure, squares, sums_in
from skdmi.lanes.tight import Rows, bound_step, error_bound, is_close, refine
from skdmi.lanes.tiles import residual
from skdmi.lanes.vectors import (
    LANES,
    OPTIONS,
    absolute,
    as_integers,
    load,
    njit,
    part,
    select,
    splat,
    square_root,
    store,
)

N_FIGURES = 7
TINY = 2.0**-1022

Arrays = namedtuple("Arrays", ["double", "single", "inverse", "single_inverse", "bound", "figures"])
Task = namedtuple("Task", ["m", "n_figures", "is_single", "has_single_inverse", "is_tight", "refines", "unit"])
Rooms = namedtuple(
    "Rooms", ["A", "X", "R", "step", "rest", "low", "W", "figures", "p", "q", "vectors", "bases", "order"]
)

SIGNATURE = (
    types.CPointer(types.float64),
    types.CPointer(types.float32),
    types.CPointer(types.float64),
    types.CPointer(types.float32),
    types.CPointer(types.float64),
    types.CPointer(types.float64),
    types.CPointer(types.float64),
    *[types.intp] * 5,
    types.float64,
)


def check(double, single, inverse, single_inverse, bound, figures, room, first, last, m, n_figures, flags, unit):
    """Check the inverses of the members from ``first`` to ``last``, and say what is found of each.

    ``flags`` are, from the lowest: the stack is float32; its inverses are; bound every entry; eliminate and refine,
    and write the inverses, which are float64. The figures are a status of `NONSINGULAR`, `CERTIFIED` and `OUTSIDE`; the
    error bound; the norms of both residuals; rho; the condition interval.
    """
    arrays = Arrays(double, single, inverse, single_inverse, bound, figures)
    task = Task(m, n_figures, flags & 1 != 0, flags & 2 != 0, flags & 4 != 0, flags & 8 != 0, unit)
    square = m * m
    bases, order, room = as_integers(room), as_integers(part(room, 2)), part(room, 2 + square // LANES + 1)
    apart = square + APART
    rooms = Rooms(
        part(room, apart),
        part(room, 2 * apart),
        part(room, 3 * apart),
        part(room, 4 * apart),
        part(room, 5 * apart),
        part(room, 6 * apart),
        part(room, 7 * apart),
        room,
        part(room, 8 * apart),
        part(room, 8 * apart + m),
        part(room, 8 * apart + 2 * m),
        bases,
        order,
    )
    transposition(order, m)
    while first < last:
        count = min(LANES, last - first)
        for lane in range(LANES):
            bases[lane] = (first + lane if lane < count else first) * square
        _check_group(arrays, task, rooms, first, count)
        first += count


@njit(**OPTIONS)
def _vector(rooms, k, m):
    return part(rooms.vectors, k * m)


@njit(**OPTIONS)
def _check_group(arrays, task, rooms, first, count):
    """Check as many matrices as there are lanes; a lane without one repeats the first."""
    m, A, X = task.m, rooms.A, rooms.X
    pack_either(arrays.double, arrays.single, task.is_single, rooms.bases, rooms.vectors, rooms.order, A, m)
    inside, balanced = equilibrate(A, rooms.p, rooms.q, _vector(rooms, 0, m), m)
    units = Units(_vector(rooms, 0, m), _vector(rooms, 1, m), _vector(rooms, 2, m), _vector(rooms, 3, m))
    relative(rooms.p, units.p, units.rp, m)
    relative(rooms.q, units.q, units.rq, m)
    if task.refines:
        for entry in range(m * m):
            store(rooms.W, entry, load(A, entry))
        eliminate(rooms.W, X, _vector(rooms, 4, m), _vector(rooms, 5, m), _vector(rooms, 6, m), m)
    else:
        is_single = task.has_single_inverse
        pack_either(arrays.inverse, arrays.single_inverse, is_single, rooms.bases, rooms.vectors, rooms.order, X, m)
        scale_inverse(X, X, rooms.p, rooms.q, m)
    if task.is_tight:
        _judge_tightly(arrays, task, rooms, units, inside & balanced, first, count)
    else:
        _judge(arrays, task, rooms, units, inside, balanced, first, count)


@njit(**OPTIONS)
def _judge(arrays, task, rooms, units, inside, balanced, first, count):
    """Prove by norms, as the kernel that inverts does."""
    m, A, X, R, sums = task.m, rooms.A, rooms.X, rooms.R, sums_in(_vector(rooms, 4, task.m), task.m)
    one = splat(A, 1.0)
    residual(A, X, R, m)
    norms, right = measure(A, X, units, sums, m), squares(R, units.rp, units.p, m)
    room = Room(_vector(rooms, 17, m), _vector(rooms, 18, m), _vector(rooms, 19, m), _vector(rooms, 20, m))
    proof = prove(A, X, R, right, norms, sums, units, room, task.unit, m)
    nonsingular, certified = proof.rho_of_A < one, proof.rho < one
    inside = inside & (balanced | (nonsingular & (proof.error_bound <= splat(A, LOOSE))))
    status = _status(nonsingular, certified, inside, one)
    bound = select(nonsingular, proof.error_bound, splat(A, float("nan")))
    _write(arrays, task, rooms, units, norms, (status, bound, square_root(right[1]), proof.rho_of_A), first, count)


@njit(**OPTIONS)
def _status(nonsingular, certified, inside, one):
    """Return the bits of :mod:`skdmi.figures` as a sum."""
    zero = one - one
    two, eight = one + one, splat(one, 8.0)
    return select(nonsingular, two, zero) + select(certified, one, zero) + select(inside, zero, eight)


@njit(**OPTIONS)
def _judge_tightly(arrays, task, rooms, units, inside, first, count):
    """Bound every entry, of the inverses read or of refined ones, and write those."""
    m, A, X, step, rest, sums = (
        task.m,
        rooms.A,
        rooms.X,
        rooms.step,
        rooms.rest,
        sums_in(_vector(rooms, 4, task.m), task.m),
    )
    zero, one = splat(A, 0.0), splat(A, 1.0)
    norms = measure(A, X, units, sums, m)
    rows = Rows(_vector(rooms, 17, m), _vector(rooms, 18, m), _vector(rooms, 19, m), _vector(rooms, 20, m))
    norm = zero
    if task.refines:
        found = refine(A, X, rooms.low, rooms.R, step, rest, rows, sums.a, sums.ax, units, task.unit, m)
        close = found.is_close
        norms = measure(A, X, units, sums, m)
        for entry in range(m * m):
            store(rest, entry, absolute(load(rooms.low, entry)) + load(rest, entry))
    else:
        for entry in range(m * m):
            store(rooms.low, entry, zero)
        found = bound_step(A, X, rooms.low, rooms.R, step, rest, rows, sums.a, sums.ax, task.unit, m)
        norm = square_root(squares(rooms.R, units.rp, units.p, m)[1])
        close = is_close(step, rest, X, units, m)
        for entry in range(m * m):
            store(rest, entry, absolute(load(step, entry)) + load(rest, entry))
    nonsingular, certified = found.rho < one, found.rho_of_all < one
    bound = error_bound(X, rest, units, m)
    inside = inside & close & nonsingular
    if task.refines:
        inside = inside & (scale_back(X, rooms.p, rooms.q, rooms.W, m) ^ (one == one))
        unpack(rooms.W, rooms.order, arrays.inverse, False, rooms.bases, rooms.vectors, LANES, m)
    _write_bounds(arrays, rooms, rest, nonsingular, m)
    status = _status(nonsingular, certified, inside, one)
    bound = select(nonsingular, bound, splat(A, float("nan")))
    _write(arrays, task, rooms, units, norms, (status, bound, norm, found.rho), first, count)


@njit(**OPTIONS)
def _write_bounds(arrays, rooms, bound, known, m):
    """Write entry bounds in the units of A, infinite where nothing is known."""
    infinite = splat(bound, float("inf"))
    for j in range(m):
        for i in range(m):
            b = load(bound, j * m + i) * (load(rooms.q, i) * load(rooms.p, j)) + splat(bound, TINY)
            store(rooms.W, j * m + i, select(known & (b == b), b, infinite))
    unpack(rooms.W, rooms.order, arrays.bound, False, rooms.bases, rooms.vectors, LANES, m)


@njit(**OPTIONS)
def _write(arrays, task, rooms, units, norms, found, first, count):
    """Write the figures; the left residual, and that of a refined inverse, are measured for them."""
    m, A, X = task.m, rooms.A, rooms.X
    status, bound, norm, rho = found
    if task.refines:
        residual(A, X, rooms.R, m)
        norm = square_root(squares(rooms.R, units.rp, units.p, m)[1])
    residual(X, A, rooms.R, m)
    left = square_root(squares(rooms.R, units.q, units.rq, m)[1])
    interval = condition_interval(norms, bound, rho < splat(A, 1.0), m)
    figures = rooms.figures
    for k, values in enumerate((status, bound, norm, left, rho, interval[0], interval[1])):
        store(figures, k, values)
    for lane in range(count):
        for k in range(N_FIGURES):
            arrays.figures[k * task.n_figures + first + lane] = figures[k * LANES + lane]
