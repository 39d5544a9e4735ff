r"""The kernel: determinants of a stack, as mantissas and exponents, with a bound on what is wrong with each.

The theorem of :func:`skdmi.linalg.slogdet`, for factors whose inverses are bounded beforehand: with
``P A = L U + G`` and ``M = (L U)^-1 G``,

    log|det A| = log|det L U| + tr M - ...,    |log det(I + M) - tr M| <= k^T k / (2 (1 - tau)),

where ``k >= |M| e``, ``tau = max k < 1``. Rows of ``V U = I - E_1`` and columns of ``L Z = I - E_2`` are found by
substitution, so that ``|E_1| <= h |V||U|``, ``|E_2| <= h |L||Z|`` (Higham, 2nd edition, theorem 8.5), and

    (L U)^-1 = (I - E_1)^-1 V Z (I - E_2)^-1,    sum_k E_i^k <= F_i,    ||F_i||_inf <= phi_i = rho_i / (1 - rho_i).

Hence, with g = (|G| + dG) e, w = g + phi_2 max(g) e, z = |V||Z| w, y = |V||Z| e, the row sums of |M| are at most
``z + phi_1 max(z) e``, and ``|tr M - tr(V Z G)| <= phi_1 e^T z + phi_2 e^T |G| y``.

G is what rounding takes in the elimination: each product is split by :func:`fma`, each difference by Knuth's two-sum,
so that G is the sum of what they leave, but for the rounding of that sum, ``dG <= 3 u |G| + 4 (m^2 + 2) u^2 (1 + c)``,
c the column sums of ``|U|``: no multiplier exceeds ``1 + 3 u``.
"""

from collections import namedtuple

from numba import types

from skdmi.lanes.certificate import rounded_up
from skdmi.lanes.elementary import exponent_of, fraction_of
from skdmi.lanes.exchange import pack_either
from skdmi.lanes.layout import equilibrate, transposition
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
    select,
    splat,
    store,
)

UNIT = 2.0**-53
UNDERFLOW = 2.0**-500
LARGEST = 2.0**200
"""Of column sums of U and of products with the inverse: beyond, what underflow takes away might be seen."""
LEAST = 2.0**-900
"""Of a pivot."""
APART = 9
"""So many vectors lie between two matrices: a power of two of bytes would have loads wait for unrelated stores."""

Rooms = namedtuple("Rooms", ["W", "C", "V", "figures", "p", "q", "above", "below", "t", "a", "b", "g"])
Product = namedtuple("Product", ["sign", "high", "low", "exponent"])

SIGNATURE = (
    types.CPointer(types.float64),
    types.CPointer(types.float32),
    types.CPointer(types.float64),
    types.CPointer(types.float64),
    *[types.intp] * 5,
)


def determinant(double, single, figures, room, first, last, m, n_figures, flags):
    """Write, for the members from ``first`` to ``last``, sign, mantissa in two parts, exponent, correction, error.

    ``flags``: 1 if the stack is float32. The room begins with space for whole numbers.
    """
    square = m * m
    bases, order, room = as_integers(room), as_integers(part(room, 2)), part(room, 2 + square // LANES + 1)
    matrices, apart = part(room, 6), square + APART
    vectors = part(matrices, 3 * apart)
    rooms = Rooms(
        matrices,
        part(matrices, apart),
        part(matrices, 2 * apart),
        room,
        vectors,
        part(vectors, m),
        part(vectors, 2 * m),
        part(vectors, 3 * m),
        part(vectors, 4 * m),
        part(vectors, 5 * m),
        part(vectors, 6 * m),
        part(vectors, 7 * m),
    )
    transposition(order, m)
    while first < last:
        count = min(LANES, last - first)
        for lane in range(LANES):
            bases[lane] = (first + lane if lane < count else first) * square
        pack_either(double, single, flags & 1 != 0, bases, vectors, order, rooms.W, m)
        _find_group(rooms, m)
        for lane in range(count):
            for k in range(6):
                figures[k * n_figures + first + lane] = rooms.figures[k * LANES + lane]
        first += count


@njit(**OPTIONS)
def _find_group(rooms, m):
    """Find as many determinants as there are lanes."""
    W, C, V = rooms.W, rooms.C, rooms.V
    inside, _ = equilibrate(W, rooms.p, rooms.q, rooms.t, m)
    product = _factor(W, C, rooms, m)
    exponent = product.exponent
    for i in range(m):  # the exponent of a power of two is one more, for its fraction is 1/2
        exponent = exponent - (exponent_of(load(rooms.p, i)) - splat(W, 1.0))
        exponent = exponent - (exponent_of(load(rooms.q, i)) - splat(W, 1.0))
    _invert_upper(W, V, m)
    value = _trace(W, C, V, rooms.t, m)
    error = _error(W, C, V, rooms, m)
    store(rooms.figures, 0, product.sign)
    store(rooms.figures, 1, product.high)
    store(rooms.figures, 2, product.low)
    store(rooms.figures, 3, exponent)
    store(rooms.figures, 4, value)
    store(rooms.figures, 5, select(inside, error, splat(W, float("inf"))))


@njit(**OPTIONS)
def _factor(W, C, rooms, m):
    """Eliminate, and gather what rounding takes; return the product of the pivots.

    On and above the diagonal, U is left in W and G in C; below, G in W and Z in C. In step k, row k changes places with
    another one in each lane, whose entries are gathered while the step before passes.
    """
    zero, one, half = splat(W, 0.0), splat(W, 1.0), splat(W, 0.5)
    above, below, t = rooms.above, rooms.below, rooms.t
    for entry in range(m * m):
        store(C, entry, zero)
    row = _largest(W, 0, m)
    for j in range(m):
        _gather(W, C, above, below, row, j, 0, m)
    sign, high, low, exponent = one, one, zero, zero
    for k in range(m):
        pivot = load(above, k)
        size = absolute(pivot)
        sign = select(row == splat(W, float(k)), sign, zero - sign)
        sign = select(pivot < zero, zero - sign, select(size > zero, sign, zero))
        fraction = fraction_of(size)
        product = high * fraction
        rest = fma(low, fraction, fma(high, fraction, zero - product))
        high = product + rest
        low = rest - (high - product)
        is_small = high < half
        exponent = exponent + select(is_small, exponent_of(size) - one, exponent_of(size))
        high, low = select(is_small, high + high, high), select(is_small, low + low, low)
        _divide(W, C, above, below, t, row, k, m)
        if k + 1 < m:
            _eliminate(W, C, above, below, t, row, row, k + 1, k, m)
            next_row = _largest(W, k + 1, m)
            _gather(W, C, above, below, next_row, k, k + 1, m)
            _gather(W, C, above, below, next_row, k + 1, k + 1, m)
            for j in range(k):
                _exchange(W, C, above, below, t, row, next_row, j, k, m)
            for j in range(k + 2, m):
                _eliminate(W, C, above, below, t, row, next_row, j, k, m)
            row = next_row
        else:
            for j in range(k):
                _exchange(W, C, above, below, t, row, row, j, k, m)
    return Product(sign, high, low, exponent)


@njit(**OPTIONS)
def _largest(W, k, m):
    """Return in which row, from k on, column k has its largest entry."""
    largest, row = absolute(load(W, k * m + k)), splat(W, float(k))
    for i in range(k + 1, m):
        size = absolute(load(W, k * m + i))
        row, largest = select(size > largest, splat(W, float(i)), row), larger(size, largest)
    return row


@njit(**OPTIONS)
def _gather(W, C, above, below, row, j, k, m):
    """Gather the entries of column j in a row that is k or below."""
    w, c = load(W, j * m + k), load(C, j * m + k)
    for i in range(k + 1, m):
        is_it = row == splat(W, float(i))
        w, c = select(is_it, load(W, j * m + i), w), select(is_it, load(C, j * m + i), c)
    store(above, j, w)
    store(below, j, c)


@njit(**OPTIONS)
def _divide(W, C, above, below, t, row, k, m):
    """Exchange in column k, and form the multipliers, the defects of the divisions, and the column of Z."""
    zero = splat(W, 0.0)
    pivot, w_replaced, c_replaced = load(above, k), load(W, k * m + k), load(C, k * m + k)
    store(W, k * m + k, pivot)
    store(C, k * m + k, load(below, k))
    reciprocal = splat(W, 1.0) / pivot
    for i in range(k + 1, m):
        is_it = row == splat(W, float(i))
        w = select(is_it, w_replaced, load(W, k * m + i))
        c = select(is_it, c_replaced, load(C, k * m + i))
        multiplier = w * reciprocal
        store(t, i, multiplier)
        store(W, k * m + i, c + fnma(multiplier, pivot, w))
        store(C, k * m + i, zero - multiplier)


@njit(**OPTIONS)
def _eliminate(W, C, above, below, t, row, next_row, j, k, m):
    """Exchange and eliminate in column j, right of k; gather its entries in the row of the next pivot."""
    zero = splat(W, 0.0)
    u, w_replaced, c_replaced = load(above, j), load(W, j * m + k), load(C, j * m + k)
    store(W, j * m + k, u)
    store(C, j * m + k, load(below, j))
    w_found, c_found = u, u
    for i in range(k + 1, m):
        number, factor = splat(W, float(i)), load(t, i)
        is_it = row == number
        w = select(is_it, w_replaced, load(W, j * m + i))
        c = select(is_it, c_replaced, load(C, j * m + i))
        product = factor * u
        beside = fma(factor, u, zero - product)
        difference = w - product
        taken = difference - w
        c = c + (((w - (difference - taken)) - (product + taken)) - beside)
        store(W, j * m + i, difference)
        store(C, j * m + i, c)
        is_next = next_row == number
        w_found, c_found = select(is_next, difference, w_found), select(is_next, c, c_found)
    store(above, j, w_found)
    store(below, j, c_found)


@njit(**OPTIONS)
def _exchange(W, C, above, below, t, row, next_row, j, k, m):
    """Exchange in column j, left of k, and eliminate in Z; gather its entries in the row of the next pivot."""
    g, z = load(above, j), load(below, j)
    g_replaced, z_replaced = load(W, j * m + k), load(C, j * m + k)
    store(W, j * m + k, g)
    store(C, j * m + k, z)
    g_found, z_found = g, z
    for i in range(k + 1, m):
        number = splat(W, float(i))
        is_it = row == number
        g_new = select(is_it, g_replaced, load(W, j * m + i))
        z_new = fnma(load(t, i), z, select(is_it, z_replaced, load(C, j * m + i)))
        store(W, j * m + i, g_new)
        store(C, j * m + i, z_new)
        is_next = next_row == number
        g_found, z_found = select(is_next, g_new, g_found), select(is_next, z_new, z_found)
    store(above, j, g_found)
    store(below, j, z_found)


@njit(**OPTIONS)
def _invert_upper(W, V, m):
    """Solve ``V U = I``, row by row, all rows at once."""
    zero, one = splat(W, 0.0), splat(W, 1.0)
    for j in range(m):
        reciprocal = one / load(W, j * m + j)
        for i in range(j):
            store(V, j * m + i, zero)
        for k in range(j):
            u = load(W, j * m + k)
            for i in range(k + 1):
                store(V, j * m + i, fnma(load(V, k * m + i), u, load(V, j * m + i)))
        for i in range(j):
            store(V, j * m + i, load(V, j * m + i) * reciprocal)
        store(V, j * m + j, reciprocal)


@njit(**OPTIONS)
def _trace(W, C, V, y, m):
    """Return ``tr(V Z G)``, by columns of ``V Z``."""
    total = splat(W, 0.0)
    for j in range(m):
        for i in range(m):
            store(y, i, load(V, j * m + i) if i <= j else splat(W, 0.0))
        for k in range(j + 1, m):
            z = load(C, j * m + k)
            for i in range(k + 1):
                store(y, i, fma(load(V, k * m + i), z, load(y, i)))
        for i in range(m):
            g = load(W, i * m + j) if i < j else load(C, i * m + j)
            total = fma(load(y, i), g, total)
    return total


@njit(**OPTIONS)
def _error(W, C, V, rooms, m):
    """Return a bound on the error of ``tr(V Z G)`` as the correction of the logarithm; NaN or infinite without one."""
    zero, one, guard = splat(W, 0.0), splat(W, 1.0), splat(W, m * UNDERFLOW)
    a, b, g, t, z = rooms.a, rooms.b, rooms.g, rooms.t, rooms.above
    h, of_U, of_Z, of_G = splat(W, (m + 8) * UNIT), zero, zero, zero
    least = absolute(load(W, 0))
    for i in range(m):
        pivot = absolute(load(W, i * m + i))
        least = select(pivot < least, pivot, least)
        row_of_U, row_of_Z, row_of_G = zero, one, zero
        for j in range(i):
            row_of_G = row_of_G + absolute(load(W, j * m + i))
            row_of_Z = row_of_Z + absolute(load(C, j * m + i))
        for j in range(i, m):
            row_of_G = row_of_G + absolute(load(C, j * m + i))
            row_of_U = row_of_U + absolute(load(W, j * m + i))
        store(a, i, row_of_U)
        store(b, i, row_of_Z)
        store(g, i, row_of_G)
        of_U, of_Z = of_U + row_of_U, of_Z + row_of_Z
    below_G = splat(W, 4.0 * (m * m + 2) * UNIT * UNIT) * (splat(W, float(m)) + of_U) + guard
    for i in range(m):
        row = rounded_up(load(g, i), m) + below_G
        store(g, i, row)
        of_G = of_G + row
    rho = h * _times_upper(V, a, z, m) + guard
    phi = rounded_up(rho, 2 * m) / (one - rounded_up(rho, 2 * m))
    rho = rounded_up(rho, 2 * m)
    other = rounded_up(h * of_Z + guard, 2 * m)
    is_small = (rho < one) & (other < one) & (of_U < splat(W, LARGEST)) & (least > splat(W, LEAST))
    phi_of_Z = other / (one - other)
    sum_of_y = _times_upper(V, b, z, m)
    sum_of_Gy = zero
    for j in range(m):
        column = below_G
        for i in range(m):
            column = column + absolute(load(W, j * m + i) if j < i else load(C, j * m + i))
        sum_of_Gy = fma(column + splat(W, float(m)) * below_G, load(z, j), sum_of_Gy)
    sum_of_z = _of_lower_then_upper(C, V, g, t, z, phi_of_Z * of_G, m)
    k_squared, tau = zero, zero
    for i in range(m):
        k = load(z, i) + phi * sum_of_z
        k_squared, tau = fma(k, k, k_squared), tau + k
    tau = rounded_up(tau, 8 * m)
    is_small = is_small & (sum_of_y < splat(W, LARGEST)) & (tau < one)
    error = k_squared / (splat(W, 2.0) * (one - tau)) + sum_of_z * (phi + splat(W, (m * m + 8 * m + 16) * UNIT))
    error = error + phi_of_Z * sum_of_Gy + below_G * sum_of_y + guard
    return select(is_small, rounded_up(error, m * m), splat(W, float("inf")))


@njit(**OPTIONS)
def _times_upper(V, x, y, m):
    """Form ``y = |V| x``, and return its sum."""
    total = splat(V, 0.0)
    for i in range(m):
        row = splat(V, 0.0)
        for j in range(i, m):
            row = fma(absolute(load(V, j * m + i)), load(x, j), row)
        store(y, i, row)
        total = total + row
    return total


@njit(**OPTIONS)
def _of_lower_then_upper(C, V, g, t, z, more, m):
    """Form ``z = |V||Z| (g + more e)``, and return its sum."""
    for i in range(m):
        row = load(g, i) + more
        for j in range(i):
            row = fma(absolute(load(C, j * m + i)), load(g, j) + more, row)
        store(t, i, row)
    return _times_upper(V, t, z, m)
