"""The kernel of a polynomial network: a stack is read once, and its approximate inverses are written once.

The reference, with the reasons, are :class:`skdmi.modules.InverterResNet` and :func:`skdmi.iteration.iterate`.
"""

from collections import namedtuple

from numba import types

from skdmi.lanes.deflation import deflate
from skdmi.lanes.elementary import exponent_of, power_of_two
from skdmi.lanes.exchange import measure, pack, unpack
from skdmi.lanes.perceptron import depart
from skdmi.lanes.steps import coefficients, combine, copy_where, fit_directions
from skdmi.lanes.tiles import add_product, multiply, residual, square_norm
from skdmi.lanes.vectors import (
    LANES,
    OPTIONS,
    absolute,
    as_integers,
    fma,
    larger,
    load,
    njit,
    part,
    select,
    smaller,
    some,
    splat,
    square_root,
    store,
)

APART = 9
"""More than m^2 vectors lie between two matrices, see :mod:`skdmi.lanes.inverse`."""
GROWTH = 100.0
"""See :mod:`skdmi.iteration.loop`."""

Stacks = namedtuple("Stacks", ["double", "single", "double_inverse", "single_inverse", "is_single", "left"])
Network = namedtuple(
    "Network", ["depth", "rank", "transposes", "n_learned", "block", "width", "hidden", "reach", "log_m", "tiny"]
)
Limits = namedtuple("Limits", ["far", "huge"])
"""Of the largest entry of a matrix, or of its reciprocal; of the entries of an inverse."""
Rooms = namedtuple("Rooms", ["powers", "bases", "order", "A", "X", "R", "S", "T", "best", "columns", "layers"])

SIGNATURE = (
    types.CPointer(types.float64),
    types.CPointer(types.float32),
    types.CPointer(types.float64),
    types.CPointer(types.float32),
    types.CPointer(types.uint8),
    types.CPointer(types.uint8),
    types.CPointer(types.float64),
    types.CPointer(types.float32),
    types.CPointer(types.float64),
    types.CPointer(types.float32),
    *[types.intp] * 10,
    types.float64,
    types.float64,
)


def iteration(
    double,
    single,
    double_out,
    single_out,
    left,
    recomputes,
    double_room,
    single_room,
    double_weights,
    single_weights,
    first,
    last,
    m,
    depth,
    rank,
    flags,
    n_learned,
    block,
    width,
    hidden,
    reach,
    log_m,
):
    """Run a network on the members from ``first`` to ``last``; mark in ``left`` those whose scale is too extreme.

    ``flags`` are, from the lowest: the stack is float32; the network is; it starts from the transpose. ``recomputes``
    says after which steps, counted from 0, the residual is recomputed. The weights of ``n_learned`` steps have
    ``block`` numbers each, see :mod:`skdmi.lanes.perceptron`.
    """
    is_single, computes_single = flags & 1 != 0, flags & 2 != 0
    stacks = Stacks(double, single, double_out, single_out, is_single, left)
    tiny = 2.0**-126 if computes_single else 2.0**-1022
    network = Network(depth, min(rank, m // 2), flags & 4 != 0, n_learned, block, width, hidden, reach, log_m, tiny)
    huge = 3.4028234663852886e38 if is_single or computes_single else 1.7976931348623157e308
    limits = Limits(2.0**100 if computes_single else 2.0**500, huge)
    if computes_single:
        rooms, lanes = _rooms(double_room, single_room, m), 2 * LANES
        while first < last:
            count = min(lanes, last - first)
            _invert_group(stacks, network, limits, single_weights, recomputes, rooms, first, count, lanes, m)
            first += count
    else:
        rooms = _rooms(double_room, double_room, m)
        while first < last:
            count = min(LANES, last - first)
            _invert_group(stacks, network, limits, double_weights, recomputes, rooms, first, count, LANES, m)
            first += count


@njit(**OPTIONS)
def _rooms(head, room, m):
    """Divide the room: powers, indices, six matrices, ten columns, and layers of the network."""
    square = m * m
    begin, apart = 4 + square // LANES + 1, square + APART
    order = as_integers(part(head, 4))
    for i in range(m):
        for j in range(m):
            order[i * m + j] = j * m + i
    return Rooms(
        head,
        as_integers(part(head, 2)),
        order,
        part(room, begin),
        part(room, begin + apart),
        part(room, begin + 2 * apart),
        part(room, begin + 3 * apart),
        part(room, begin + 4 * apart),
        part(room, begin + 5 * apart),
        part(room, begin + 6 * apart),
        part(room, begin + 6 * apart + 10 * m),
    )


@njit(**OPTIONS)
def _invert_group(stacks, network, limits, weights, recomputes, rooms, first, count, lanes, m):
    """Invert as many matrices as there are lanes; a lane without one repeats the first."""
    A, bases, powers, order = rooms.A, rooms.bases, rooms.powers, rooms.order
    for lane in range(lanes):
        bases[lane] = (first + lane if lane < count else first) * m * m
    is_wide = lanes > LANES and not stacks.is_single
    if is_wide:
        measure(stacks.double, bases, powers, m)
    if stacks.is_single:
        pack(stacks.single, is_wide, bases, powers, order, A, lanes, m)
    else:
        pack(stacks.double, is_wide, bases, powers, order, A, lanes, m)
    power, scale, inside = _scale(A, limits.far, m)
    _mark(inside, rooms.S, stacks.left, first, count)
    X = _iterate(network, weights, recomputes, rooms, m)
    limit = splat(A, limits.huge)
    for entry in range(m * m):
        x = load(X, entry) * scale * power
        store(X, entry, larger(smaller(x, limit), splat(A, 0.0) - limit))
    if stacks.is_single:
        unpack(X, order, stacks.single_inverse, is_wide, bases, powers, lanes, m)
    else:
        unpack(X, order, stacks.double_inverse, is_wide, bases, powers, lanes, m)


@njit(**OPTIONS)
def _scale(A, far, m):
    """Scale A in place as the network wants it, ``A <- s 2^-e A``; return ``2^-e``, s, and where it was not too far."""
    zero, half = splat(A, 0.0), splat(A, 0.5)
    largest = zero
    for entry in range(m * m):
        largest = larger(absolute(load(A, entry)), largest)
    inside = (largest <= splat(A, far)) & (largest >= splat(A, 1.0 / far))
    power = power_of_two(zero - exponent_of(select(inside, largest, half)))
    for entry in range(m * m):
        store(A, entry, load(A, entry) * power)
    norm = square_root(square_norm(A, m))
    scale = select(norm > zero, square_root(splat(A, float(m))) / larger(norm, half), zero)
    for entry in range(m * m):
        store(A, entry, load(A, entry) * scale)
    return power, scale, inside | (largest == zero)


@njit(**OPTIONS)
def _mark(inside, room, left, first, count):
    zero = splat(room, 0.0)
    store(room, 0, select(inside, zero, zero + splat(room, 1.0)))
    for lane in range(count):
        left[first + lane] = room[lane] != 0.0


@njit(**OPTIONS)
def _start(transposes, A, X, R, S, diagonal, tiny, m):
    """Form the best multiple of the transpose, or of the inverted diagonal, which is kept, and its residual."""
    zero, one = splat(A, 0.0), splat(A, 1.0)
    if transposes:
        for j in range(m):
            for i in range(m):
                store(X, j * m + i, load(A, i * m + j))
        multiply(A, X, S, m, m)
    else:
        _invert_diagonal(A, diagonal, tiny, m)
        for j in range(m):
            d = load(diagonal, j)
            for i in range(m):
                store(X, j * m + i, d if i == j else zero)
                store(S, j * m + i, load(A, j * m + i) * d)
    trace = zero
    for i in range(m):
        trace = trace + load(S, i * (m + 1))
    c = trace / larger(square_norm(S, m), splat(A, tiny))
    for j in range(m):
        for i in range(m):
            entry, unit = j * m + i, one if i == j else zero
            store(X, entry, c * load(X, entry))
            store(R, entry, unit - c * load(S, entry))
        if not transposes:
            store(diagonal, j, c * load(diagonal, j))


@njit(**OPTIONS)
def _invert_diagonal(A, diagonal, tiny, m):
    """See :func:`skdmi.iteration.starts.inverse_diagonal`."""
    one = splat(A, 1.0)
    smallest = load(A, 0)
    for i in range(1, m):
        smallest = smaller(load(A, i * (m + 1)), smallest)
    usable = smallest > square_root(splat(A, tiny))
    for i in range(m):
        store(diagonal, i, one / select(usable, load(A, i * (m + 1)), one))


@njit(**OPTIONS)
def _iterate(network, weights, recomputes, rooms, m):
    """Return X after all steps, or what was better before."""
    A, X, R, S, T, best = rooms.A, rooms.X, rooms.R, rooms.S, rooms.T, rooms.best
    zero, growth, infinite = splat(A, 0.0), splat(A, GROWTH * GROWTH), splat(A, float("inf"))
    every = zero == zero
    _start(network.transposes, A, X, R, S, rooms.columns, network.tiny, m)
    copy_where(every, X, best, m)
    least = square_norm(R, m)
    for k in range(network.width):
        store(rooms.layers, k, zero)
    for step in range(network.depth):
        is_diagonal = step == 0 and not network.transposes
        if network.rank > 0 and not is_diagonal:
            deflate(A, X, R, rooms.columns, network.rank, m)
        recomputed = recomputes[step] != 0
        _polynomial(step, R, S, T, network, weights, rooms.layers, not recomputed, m)
        if is_diagonal:
            for j in range(m):
                for i in range(m):
                    entry = j * m + i
                    store(X, entry, fma(load(rooms.columns, i), load(S, entry), load(X, entry)))
        else:
            add_product(X, S, T, m)
            X, T = T, X
        if recomputed:
            residual(A, X, R, m)
            square = square_norm(R, m)
            better = (square < infinite) & (square <= least)
            copy_where(better, X, best, m)
            least = select(better, square, least)
            unsound = every ^ (square <= growth * least)
            if some(unsound):
                copy_where(unsound, best, X, m)
                residual(A, X, R, m)
    return best


@njit(**OPTIONS)
def _polynomial(step, R, S, T, network, weights, layers, updates, m):
    """Turn S into P of the step ``X (I + P)`` and, if ``updates``, R into the residual after it."""
    multiply(R, R, S, m, m)
    multiply(R, S, T, m, m)
    problem = fit_directions(R, S, T, network.tiny, m)
    z = problem.coordinates
    if step < network.n_learned:
        z = depart(R, problem, weights, step * network.block, layers, network, m)
    combine(R, S, T, coefficients(problem, z), updates, m)
