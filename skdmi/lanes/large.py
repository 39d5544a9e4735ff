"""The kernel for one large matrix: all that LAPACK does not do, in passes along its rows.

What a pass finds stays in the room, where the next one takes it from.
"""

from collections import namedtuple

from numba import types

from skdmi.lanes.blocks import padded, residual_squares, squares
from skdmi.lanes.panels import eliminate
from skdmi.lanes.rows import at, exponents, largest_lane, load_at, store_at, total, without
from skdmi.lanes.vectors import (
    LANES,
    OPTIONS,
    absolute,
    as_integers,
    fma,
    larger,
    njit,
    select,
    splat,
)

UNIT = 2.0**-53
NEAR = 2.0**16
EQUILIBRATE, ELIMINATE, MEASURE, RIGHT, LEFT, BALANCE, FINISH = range(7)
N_FIGURES = 16
EXPLAINED_RIGHT, EXPLAINED_LEFT, NORMS_OF_A, NORMS_OF_X, SQUARES, CONDITION, VERDICT = 0, 2, 4, 6, 8, 10, 11
"""Where figures begin; most come in pairs, for the equilibrated matrix and in the units of the matrix itself."""
ROWS_AT_ONCE = 4
"""In a sum of columns."""

Vectors = namedtuple("Vectors", ["p", "q", "rp", "rq", "ones", "a", "a_units", "x", "x_units", "b", "b_units"])
SIGNATURE = (
    types.CPointer(types.float64),
    types.CPointer(types.float32),
    types.CPointer(types.float64),
    types.CPointer(types.float32),
    types.CPointer(types.float64),
    *[types.intp] * 3,
)


def large(double, single, out, single_out, room, task, is_single, m):
    """Do one of the tasks with one matrix, or two.

    EQUILIBRATE brings A, float64 or float32, to A', save where that is A itself. ELIMINATE brings A' to X'. MEASURE
    finds what rounding explains of the residuals of A' and X', and their norms, and goes on as RIGHT does. RIGHT and
    LEFT find the squares of norms of ``I - A' X'`` and ``I - X' A'``. BALANCE asks whether no row or column of A lies
    far below its largest entry. FINISH brings X' to X.
    """
    step = padded(m, LANES)
    vectors = at(room, N_FIGURES)
    v = Vectors(
        vectors,
        at(vectors, step),
        at(vectors, 2 * step),
        at(vectors, 3 * step),
        at(vectors, 4 * step),
        at(vectors, 5 * step),
        at(vectors, 6 * step),
        at(vectors, 7 * step),
        at(vectors, 8 * step),
        at(vectors, 9 * step),
        at(vectors, 10 * step),
    )
    rest = at(vectors, 11 * step)
    if task == EQUILIBRATE:
        if is_single:
            _find_scales(single, room, v, m)
            _scale(single, v.p, v.q, out, m)
        else:
            _find_scales(double, room, v, m)
            if room[VERDICT] > 0.0:
                _scale(double, v.p, v.q, out, m)
    elif task == ELIMINATE:
        eliminate(double, out, v.b, v.b_units, rest, m)
    elif task in (MEASURE, RIGHT):
        if task == MEASURE:
            _measure(double, out, room, v, m)
        room[SQUARES], room[SQUARES + 1] = residual_squares(double, out, v.rp, v.p, m, rest)
    elif task == LEFT:
        room[SQUARES], room[SQUARES + 1] = residual_squares(out, double, v.q, v.rq, m, rest)
    elif task == BALANCE:
        if is_single:
            room[VERDICT] = _is_balanced(single, v.a, v.x, v.b, m)
        else:
            room[VERDICT] = _is_balanced(double, v.a, v.x, v.b, m)
    elif is_single:
        _scale(double, v.q, v.p, single_out, m)
    else:
        _scale(double, v.q, v.p, out, m)


@njit(**OPTIONS)
def _find_scales(A, figures, v, m):
    """Find the powers of two for rows, then columns, or ones, by the rules of :mod:`skdmi.lapack.scaling`."""
    _fill(v.ones, 1.0, m)
    _fill(v.p, 1.0, m)
    _fill(v.q, 1.0, m)
    _fill(v.rp, 1.0, m)
    _fill(v.rq, 1.0, m)
    _sum_rows(A, v.a, m)
    scales_rows = not _are_alike(v.a, m)
    if scales_rows:
        _find_powers(v.a, v.p, v.rp, m)
    _sum_columns(A, v.p, v.p, v.a, v.a_units, m)
    is_graded = scales_rows or not _are_alike(v.a, m)
    if is_graded:
        _find_powers(v.a, v.q, v.rq, m)
    figures[VERDICT] = is_graded


@njit(**OPTIONS)
def _fill(x, value, m):
    """Put a number into all places of a vector, and zeros into those beyond."""
    for i in range(padded(m, LANES)):
        x[i] = value if i < m else 0.0


@njit(**OPTIONS)
def _are_alike(sums, m):
    lowest = highest = sums[0]
    for i in range(m):
        if not sums[i] <= NEAR:
            return False
        lowest, highest = min(lowest, sums[i]), max(highest, sums[i])
    return highest <= 2.0 * lowest and highest >= 1.0 / NEAR


@njit(**OPTIONS)
def _find_powers(sums, powers, reciprocals, m):
    """Find the powers of two that bring sums to [1/2, 1); far from 1 where these are not finite and positive."""
    of_sums, of_powers = as_integers(sums), as_integers(powers)
    for i in range(m):
        of_powers[i] = (2045 - (of_sums[i] >> 52)) << 52
        reciprocals[i] = 1.0 / powers[i]


@njit(**OPTIONS)
def _scale(A, before, after, out, m):
    """Write ``diag(before) A diag(after)``, rounded if it is float32."""
    for i in range(m):
        row, target, scale = at(A, i * m), at(out, i * m), splat(before, before[i])
        for j in range(0, m, LANES):
            first = min(j, m - LANES)
            store_at(target, first, load_at(row, first) * scale * load_at(after, first))


@njit(**OPTIONS)
def _sum_rows(A, sums, m):
    for i in range(m):
        row, kept = at(A, i * m), splat(sums, 0.0)
        for j in range(0, m, LANES):
            first = min(j, m - LANES)
            kept = kept + absolute(without(load_at(row, first), j - first))
        sums[i] = total(kept)


@njit(**OPTIONS)
def _sum_columns(A, weights, others, sums, other_sums, m):
    r"""Form :math:`w^T |A|` with two vectors of weights."""
    _fill(sums, 0.0, m)
    _fill(other_sums, 0.0, m)
    i = 0
    while i + ROWS_AT_ONCE <= m:
        _add_rows(at(A, i * m), at(weights, i), at(others, i), sums, other_sums, m)
        i += ROWS_AT_ONCE
    while i < m:
        weight, other = splat(sums, weights[i]), splat(sums, others[i])
        for j in range(0, m, LANES):
            first = min(j, m - LANES)
            x = absolute(without(load_at(A, i * m + first), j - first))
            store_at(sums, first, fma(weight, x, load_at(sums, first)))
            store_at(other_sums, first, fma(other, x, load_at(other_sums, first)))
        i += 1


@njit(**OPTIONS)
def _add_rows(A, weights, others, sums, other_sums, m):
    """Add to sums of columns what the next rows contribute."""
    v0, v1, v2, v3 = splat(sums, weights[0]), splat(sums, weights[1]), splat(sums, weights[2]), splat(sums, weights[3])
    w0, w1, w2, w3 = splat(sums, others[0]), splat(sums, others[1]), splat(sums, others[2]), splat(sums, others[3])
    for j in range(0, m, LANES):
        first = min(j, m - LANES)
        x0 = absolute(without(load_at(A, first), j - first))
        x1 = absolute(without(load_at(A, first + m), j - first))
        x2 = absolute(without(load_at(A, first + 2 * m), j - first))
        x3 = absolute(without(load_at(A, first + 3 * m), j - first))
        added = fma(v0, x0, fma(v1, x1, fma(v2, x2, fma(v3, x3, load_at(sums, first)))))
        store_at(sums, first, added)
        added = fma(w0, x0, fma(w1, x1, fma(w2, x2, fma(w3, x3, load_at(other_sums, first)))))
        store_at(other_sums, first, added)


@njit(**OPTIONS)
def _measure(A, X, figures, v, m):
    """Find the figures of :class:`skdmi.lapack.residuals.Sizes`."""
    _sum_columns(A, v.ones, v.rp, v.a, v.a_units, m)
    _sum_columns(X, v.ones, v.q, v.x, v.x_units, m)
    figures[CONDITION] = _largest(v.rq, v.a_units, m) * _largest(v.p, v.x_units, m)
    _sum_columns(X, v.a, v.a_units, v.b, v.b_units, m)
    _explain(v.ones, v.p, v, figures, EXPLAINED_RIGHT, m)
    _sum_columns(A, v.x, v.x_units, v.b, v.b_units, m)
    _explain(v.ones, v.rq, v, figures, EXPLAINED_LEFT, m)
    figures[NORMS_OF_A], figures[NORMS_OF_A + 1] = squares(A, m, m, m, v.rp, v.ones)
    figures[NORMS_OF_X], figures[NORMS_OF_X + 1] = squares(X, m, m, m, v.ones, v.p)


@njit(**OPTIONS)
def _largest(scale, sums, m):
    largest = 0.0
    for i in range(m):
        product = scale[i] * sums[i]
        if not product <= largest:
            largest = product
    return largest


@njit(**OPTIONS)
def _explain(ones, scale, v, figures, place, m):
    factor = 100 * UNIT * UNIT / m
    for k in range(2):
        sums, scales, square = (v.b, ones, 0.0) if k == 0 else (v.b_units, scale, 0.0)
        for i in range(m):
            x = scales[i] * sums[i]
            square += x * x
        figures[place + k] = factor * square


@njit(**OPTIONS)
def _is_balanced(A, of_rows, of_columns, sums, m):
    """Return whether exponents, less the largest of the row, then of the column, are -4 in the mean, or more."""
    least, four = splat(sums, -4096.0), splat(sums, 4.0)
    for j in range(0, padded(m, LANES), LANES):
        store_at(of_columns, j, least)
    _fill(sums, 0.0, m)
    for i in range(m):
        row, largest = at(A, i * m), least
        for j in range(0, m, LANES):
            first = min(j, m - LANES)
            largest = larger(largest, _exponents(row, first, j)[0])
        of_rows[i] = largest_lane(largest)
        for j in range(0, m, LANES):
            first = min(j, m - LANES)
            e, is_entry = _exponents(row, first, j)
            e = select(is_entry, e - splat(sums, of_rows[i]), least)
            store_at(of_columns, first, larger(load_at(of_columns, first), e))
    for i in range(m):
        row, kept = at(A, i * m), splat(sums, 0.0)
        for j in range(0, m, LANES):
            first = min(j, m - LANES)
            e, is_entry = _exponents(row, first, j)
            e = e - splat(sums, of_rows[i]) - load_at(of_columns, first) + four
            e = select(is_entry, e, splat(sums, 0.0))
            kept = kept + e
            store_at(sums, first, load_at(sums, first) + e)
        if total(kept) < 0.0:
            return False
    worst = 0.0
    for j in range(m):
        worst = min(worst, sums[j])
    return worst == 0.0


@njit(**OPTIONS)
def _exponents(row, first, begin):
    """Return exponents of the numbers from ``first`` on, and which of them, from ``begin`` on, are normal."""
    e = exponents(without(load_at(row, first), begin - first))
    return e, e > splat(e, -1022.0)
