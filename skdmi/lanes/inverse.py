"""The kernel: a stack is read once, and its inverses are written once, with what is proved of each."""

from collections import namedtuple

from numba import types

from skdmi.lanes.certificate import Room, prove, rounded_up
from skdmi.lanes.correction import HOPELESS, correct
from skdmi.lanes.elimination import eliminate
from skdmi.lanes.exchange import pack, pack_either, unpack
from skdmi.lanes.layout import equilibrate, relative, scale_back, scale_inverse, transposition
from skdmi.lanes.measures import (
    Units,
    is_explained,
    is_goal_below_one,
    leans_on_small_entries,
    measure,
    squares,
    sums_in,
    widest,
)
from skdmi.lanes.tiles import multiply, residual
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

UNIT = 2.0**-53
MAX_STEPS = 6
INACCURATE = 1e-2
N_DETAILS, N_FIGURES = 4, 7
APART = 9
"""So many vectors lie between two matrices: a power of two of bytes would have loads wait for unrelated stores."""

Arrays = namedtuple("Arrays", ["double", "single", "start", "inverse", "single_inverse", "members", "figures"])
Task = namedtuple(
    "Task", ["m", "n_figures", "is_single", "is_list", "has_start", "corrects", "measures", "n_written", "unit", "tol"]
)
Rooms = namedtuple("Rooms", ["A", "X", "R", "W", "T", "spare", "figures", "p", "q", "vectors", "bases", "order"])

SIGNATURE = (
    types.CPointer(types.float64),
    types.CPointer(types.float32),
    types.CPointer(types.float64),
    types.CPointer(types.float64),
    types.CPointer(types.float32),
    types.CPointer(types.int64),
    types.CPointer(types.float64),
    types.CPointer(types.float64),
    *[types.intp] * 5,
    types.float64,
    types.float64,
)


def inverse(
    double, single, start, out, single_out, members, figures, room, first, last, m, n_figures, flags, unit, tol
):
    """Invert the members from ``first`` to ``last``, and say what is found of each: the fields of ``Figures``.

    ``flags`` are, from the lowest: the stack is float32; ``members`` are indices; there is a start; correct; measure
    the residual of what was rounded to float32, and say more than the status; say all. The room begins with space for
    whole numbers.
    """
    arrays = Arrays(double, single, start, out, single_out, members, figures)
    measures = flags & 16 != 0
    n_written = N_FIGURES if flags & 32 else N_DETAILS if measures else 1
    bits = flags & 1 != 0, flags & 2 != 0, flags & 4 != 0, flags & 8 != 0
    task = Task(m, n_figures, bits[0], bits[1], bits[2], bits[3], measures, n_written, unit, tol)
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
        room,
        part(room, 7 * apart),
        part(room, 7 * apart + m),
        part(room, 7 * apart + 2 * m),
        bases,
        order,
    )
    transposition(order, m)
    while first < last:
        count = min(LANES, last - first)
        for lane in range(LANES):
            place = first + lane if lane < count else first
            bases[lane] = (members[place] if task.is_list else place) * square
        _invert_group(arrays, task, rooms, first, count)
        first += count


@njit(**OPTIONS)
def _vector(rooms, k, m):
    return part(rooms.vectors, k * m)


@njit(**OPTIONS)
def _invert_group(arrays, task, rooms, first, count):
    """Invert as many matrices as there are lanes; a lane without one repeats the first."""
    m, A, X, R, W = task.m, rooms.A, rooms.X, rooms.R, rooms.W
    pack_either(arrays.double, arrays.single, task.is_single, rooms.bases, rooms.vectors, rooms.order, A, m)
    inside, balanced = equilibrate(A, rooms.p, rooms.q, _vector(rooms, 0, m), m)
    units = Units(_vector(rooms, 0, m), _vector(rooms, 1, m), _vector(rooms, 2, m), _vector(rooms, 3, m))
    relative(rooms.p, units.p, units.rp, m)
    relative(rooms.q, units.q, units.rq, m)
    steps = splat(A, 0.0)
    if task.has_start:
        pack(arrays.start, False, rooms.bases, rooms.vectors, rooms.order, X, LANES, m)
        steps = _approach(A, X, R, W, rooms, m)
    else:
        for entry in range(m * m):
            store(W, entry, load(A, entry))
        eliminate(W, X, _vector(rooms, 4, m), _vector(rooms, 5, m), _vector(rooms, 6, m), m)
    if task.corrects:
        correct(A, X, R, W, rooms.T, rooms.spare, m)
        steps = steps + splat(A, 1.0)
    inside = inside & (scale_back(X, rooms.p, rooms.q, W, m) ^ (steps == steps))
    _judge(arrays, task, rooms, units, inside, balanced, steps, first, count)
    if task.is_single:
        unpack(W, rooms.order, arrays.single_inverse, False, rooms.bases, rooms.vectors, LANES, m)
    else:
        unpack(W, rooms.order, arrays.inverse, False, rooms.bases, rooms.vectors, LANES, m)


@njit(**OPTIONS)
def _approach(A, X, R, W, rooms, m):
    """Take plain steps, R to its square or its cube, from a start that is near, to the floor; return how many."""
    zero, one = splat(A, 0.0), splat(A, 1.0)
    scale_inverse(X, X, rooms.p, rooms.q, m)
    steps, before = zero, splat(A, 0.25)
    for _ in range(MAX_STEPS):
        residual(A, X, R, m)
        square, floor = zero, _square_of_floor(A, X, _vector(rooms, 4, m), m)
        for entry in range(m * m):
            r = load(R, entry)
            square = fma(r, r, square)
        going = (square < before) & (square > floor)
        if not some(going):
            break
        cubic = going & (square * square > floor) & (square * square * square <= floor)
        if some(cubic):
            multiply(R, R, rooms.T, m, m)
            for entry in range(m * m):
                r = load(R, entry)
                store(R, entry, select(cubic, r + load(rooms.T, entry), r))
        multiply(X, R, W, m, m)
        for entry in range(m * m):
            x = load(X, entry)
            store(X, entry, select(going, x + load(W, entry), x))
        steps = select(going, steps + one, steps)
        before = select(going, square * splat(A, 0.25), zero)
    return steps


@njit(**OPTIONS)
def _square_of_floor(A, X, sums, m):
    """Return the square of half the residual norm that rounding explains, ``2 u || |A||X| e ||_2 / sqrt m``."""
    total = splat(A, 0.0)
    for i in range(m):
        row = splat(A, 0.0)
        for j in range(m):
            row = row + absolute(load(X, j * m + i))
        store(sums, i, row)
    for i in range(m):
        row = splat(A, 0.0)
        for j in range(m):
            row = fma(absolute(load(A, j * m + i)), load(sums, j), row)
        total = fma(row, row, total)
    return total * splat(A, 4.0 * UNIT * UNIT / m)


@njit(**OPTIONS)
def _judge(arrays, task, rooms, units, inside, balanced, steps, first, count):
    """Measure, prove, and write the figures; what is in W is rounded to float32 if need be."""
    m, A, X, R, W = task.m, rooms.A, rooms.X, rooms.R, rooms.W
    zero, one = splat(A, 0.0), splat(A, 1.0)
    sums = sums_in(_vector(rooms, 4, m), m)
    residual(A, X, R, m)
    norms = measure(A, X, units, sums, m)
    right = squares(R, units.rp, units.p, m)
    tol = max(task.tol, 2.0**-30) if task.is_single else task.tol
    kept = is_explained(right[0], units.rp, sums.ax, False, UNIT, tol, m)
    kept = kept & is_explained(right[1], units.rp, sums.pax, True, UNIT, tol, m)
    kept = kept & _left_is_explained(A, X, rooms.T, right[0], norms, units, sums, tol, m)

    room = Room(
        _vector(rooms, 17, m),
        _vector(rooms, 18, m),
        _vector(rooms, 19, m),
        _vector(rooms, 20, m),
    )
    below_one = is_goal_below_one(units.rp, sums.pax, task.unit, m) & is_goal_below_one(units.q, sums.pxa, task.unit, m)
    proof = prove(A, X, R, right, norms, sums, units, room, task.unit, m)
    certified, bound, norm = proof.rho < one, proof.error_bound, square_root(right[1])
    interval = condition_interval(norms, bound, certified, m)
    if task.is_single:
        rounded = round_to_single(W, m)
        certified = certified & (rounded < splat(A, float("inf")))
        bound = select(rounded == zero, bound, rounded_up(bound + (one + bound) * rounded, m))
        if task.measures:
            scale_inverse(W, X, rooms.p, rooms.q, m)
            residual(A, X, R, m)
            norm = square_root(squares(R, units.rp, units.p, m)[1])

    status = _status(task, X, units, norms, right[0], proof, certified, bound, kept, below_one, inside, balanced)
    figures = rooms.figures
    store(figures, 0, status)
    store(figures, 1, bound)
    store(figures, 2, norm)
    store(figures, 3, steps)
    store(figures, 4, proof.rho)
    store(figures, 5, interval[0])
    store(figures, 6, interval[1])
    for lane in range(count):
        place = arrays.members[first + lane] if task.is_list else first + lane
        for k in range(task.n_written):
            arrays.figures[k * task.n_figures + place] = figures[k * LANES + lane]


@njit(**OPTIONS)
def _status(task, X, units, norms, square, proof, certified, bound, kept, below_one, inside, balanced):
    """Return what is known of each matrix, as a sum of the powers of two in :mod:`skdmi.figures`."""
    m = task.m
    zero, one = splat(X, 0.0), splat(X, 1.0)
    true = one == one
    condition, spare_bits = norms.A * norms.X, 2.0**20 if task.is_single else 1.0
    delicate = condition > splat(X, 2.0**16 * spare_bits**0.5 * m)
    wide = widest(units, m) > splat(X, 2.0**10)
    if some(wide):
        few = 2.0**10 * (1.0 if task.has_start else spare_bits)  # what begins elsewhere has noise for zeros
        delicate = delicate | (wide & leans_on_small_entries(X, units, few, m))
    inside = inside & balanced
    inaccurate = (bound <= splat(X, INACCURATE)) ^ true
    wanting = (square < splat(X, HOPELESS * HOPELESS)) & (delicate | (kept ^ true) | inaccurate)
    return (
        select(certified, one, zero)
        + select(proof.rho_of_A < one, splat(X, 2.0), zero)
        + select(kept, splat(X, 4.0), zero)
        + select(inside, zero, splat(X, 8.0))
        + select(wanting, splat(X, 16.0), zero)
        + select(inaccurate, splat(X, 32.0), zero)
        + select(below_one, zero, splat(X, 64.0))
    )


@njit(**OPTIONS)
def _left_is_explained(A, X, L, right, norms, units, sums, tol, m):
    """Return where the left residual is what rounding explains: by the right one, or measured."""
    bound = square_root(right) * norms.A * norms.X * widest(units, m)
    kept = bound + bound <= splat(A, tol)
    unknown = kept ^ (bound == bound)
    if some(unknown):
        residual(X, A, L, m)
        left = squares(L, units.q, units.rq, m)
        explained = is_explained(left[0], units.q, sums.xa, False, UNIT, tol, m)
        explained = explained & is_explained(left[1], units.q, sums.pxa, True, UNIT, tol, m)
        kept = kept | explained
    return kept


@njit(**OPTIONS)
def round_to_single(W, m):
    """Round W to float32; return the distance over the longest column, both Euclidean."""
    square = longest = splat(W, 0.0)
    for j in range(m):
        column = splat(W, 0.0)
        for i in range(m):
            x = load(W, j * m + i)
            rounded = as_single(x)
            store(W, j * m + i, rounded)
            difference = rounded - x
            square, column = fma(difference, difference, square), fma(x, x, column)
        longest = larger(column, longest)
    distance = rounded_up(square_root(square) / square_root(longest), m)
    return select(distance == distance, distance, splat(W, float("inf")))


@njit(**OPTIONS)
def condition_interval(norms, bound, certified, m):
    """Return the bounds on the condition number, NaN and infinite where uncertified."""
    one, infinite = splat(bound, 1.0), splat(bound, float("inf"))
    product = norms.A_one * norms.X_one
    slack = rounded_up(splat(bound, float(m)) * bound, m)
    lower = product / rounded_up(one + slack, m)
    lower = select(lower > one, lower, one)
    upper = select(slack < one, rounded_up(product, m) / (one - slack), infinite)
    nothing = splat(bound, float("nan"))
    return select(certified, lower, nothing), select(certified, upper, infinite)
