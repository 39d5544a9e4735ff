"""Bounds for every entry, in lanes: the theorem of :func:`skdmi.linalg.tight.certify_tightly` by outer products.

Where those are too coarse, which a residual in twice the precision mostly leaves no room for, it is said, and the
reference bounds more closely.
"""

from collections import namedtuple

from skdmi.lanes.certificate import UNDERFLOW, UNIT, rounded_up
from skdmi.lanes.measures import widest
from skdmi.lanes.tiles import multiply
from skdmi.lanes.vectors import OPTIONS, absolute, fma, larger, load, njit, select, some, splat, square_root, store

MAX_ROUNDS = 3
SETTLED = 2.0**-58
"""What is left of a bound, beside the inverse, when rounding is all that counts."""
COARSE = 2.0**-7
"""A remainder larger than this, beside the error that it is added to, is left to the reference."""
LARGEST, WIDE = 2.0**100, 2.0**20

Rows = namedtuple("Rows", ["sums", "largest", "error", "W"])
"""Pointers to m vectors each: row sums of ``|X|``; the largest of columns of R, and of its error; row sums of W."""
Outcome = namedtuple("Outcome", ["rho", "rho_of_all", "is_close"])


@njit(**OPTIONS)
def bounded_residual(A, X, low, R, m):
    """Form ``R = I - A (X + low)`` as if in twice the precision, two rows and two columns at a time.

    Every product is split without error by :func:`fma`, every difference by Knuth's two-sum; Ogita, Rump and Oishi,
    "Accurate sum and dot product", SIAM J. Sci. Comput. 26, 2005. With ``|low| <= u |X|`` the result is off by at most
    ``u |R| + (3 m + 3)(m + 4) u^2 (I + |A||X|)``. An odd last row or column is its own neighbour.
    """
    zero, one = splat(A, 0.0), splat(A, 1.0)
    for j in range(0, m, 2):
        j_next = min(j + 1, m - 1)
        for i in range(0, m, 2):
            i_next = min(i + 1, m - 1)
            s = one if i == j else zero
            s_right = one if i == j_next else zero
            s_below = one if i_next == j else zero
            s_beside = one if i_next == j_next else zero
            rest = rest_right = rest_below = rest_beside = zero
            for k in range(m):
                a, a_below = load(A, k * m + i), load(A, k * m + i_next)
                x, x_right = load(X, j * m + k), load(X, j_next * m + k)
                y, y_right = load(low, j * m + k), load(low, j_next * m + k)
                s, rest = _subtract(s, rest, a, x, y)
                s_right, rest_right = _subtract(s_right, rest_right, a, x_right, y_right)
                s_below, rest_below = _subtract(s_below, rest_below, a_below, x, y)
                s_beside, rest_beside = _subtract(s_beside, rest_beside, a_below, x_right, y_right)
            store(R, j * m + i, s + rest)
            store(R, j_next * m + i, s_right + rest_right)
            store(R, j * m + i_next, s_below + rest_below)
            store(R, j_next * m + i_next, s_beside + rest_beside)


@njit(**OPTIONS)
def _subtract(total, rest, a, x, y):
    """Return ``total - a x``, rounded, and the rest less what that leaves and ``a y``."""
    product = a * x
    beside = fma(a, x, splat(a, 0.0) - product)
    difference = total - product
    taken = difference - total
    error = (total - (difference - taken)) - (product + taken)
    return difference, fma(splat(a, 0.0) - a, y, rest + (error - beside))


@njit(**OPTIONS)
def bound_step(A, X, low, R, step, rest, rows, of_A, row_sums_of_AX, unit, m):
    """Form R, ``step = fl(X R)`` and ``rest >= |A^-1 - (X + low) - step|``; return the `Outcome` but for closeness.

    ``of_A`` are the row sums of ``|A|``, ``row_sums_of_AX`` those of ``|A||X|``.
    """
    zero, one, infinite = splat(A, 0.0), splat(A, 1.0), splat(A, float("inf"))
    bounded_residual(A, X, low, R, m)
    multiply(X, R, step, m, m)
    guard, tiny = splat(A, 1.01 * (3 * m + 3) * (m + 4) * UNIT * UNIT), splat(A, UNDERFLOW)
    largest_of_A = largest_of_X = check = zero
    for i in range(m):
        largest_of_A = larger(load(of_A, i), largest_of_A)
        store(rows.sums, i, zero)
        store(rows.W, i, zero)
    for j in range(m):
        r = x = zero
        for i in range(m):
            size, of_R = absolute(load(X, j * m + i)), absolute(load(R, j * m + i))
            store(rows.sums, i, load(rows.sums, i) + size)
            x, r, check = larger(size, x), larger(of_R, r), check + (of_R + size)
        largest_of_X = larger(x, largest_of_X)
        error = fma(splat(A, 1.01 * UNIT), r, guard * fma(largest_of_A, x, one)) + tiny
        store(rows.largest, j, r)
        store(rows.error, j, error)
        for i in range(m):
            store(rows.W, i, load(rows.W, i) + absolute(load(R, j * m + i)) + error)
    rho = rho_of_all = zero
    for i in range(m):
        row = load(rows.W, i)
        rho = larger(row, rho)
        of_all = fma(splat(A, 1.001 * unit), load(row_sums_of_AX, i) + tiny, row)
        rho_of_all = larger(of_all, rho_of_all)
    known = (check < infinite) & (largest_of_X < splat(A, LARGEST))
    rho = select(known, rounded_up(rho, m), infinite)
    rho_of_all = select(known, rounded_up(rho_of_all, m), infinite)
    _form_rest(X, step, rest, rows, one - rho, m)
    return Outcome(rho, rho_of_all, known)


@njit(**OPTIONS)
def _form_rest(X, step, rest, rows, to_one, m):
    """Form the bound on what a step leaves, from that on its own rounding."""
    zero, tiny = splat(X, 0.0), splat(X, UNDERFLOW)
    of_R, of_error = splat(X, (m + 4) * UNIT), splat(X, 1.01)
    for i in range(m):
        store(rows.W, i, zero)
    for j in range(m):
        column = fma(of_R, load(rows.largest, j), of_error * load(rows.error, j))
        for i in range(m):
            rounding = fma(load(rows.sums, i), column, tiny)
            store(rest, j * m + i, rounding)
            store(rows.W, i, load(rows.W, i) + absolute(load(step, j * m + i)) + rounding)
    for j in range(m):
        s = (load(rows.largest, j) + load(rows.error, j)) / to_one
        for i in range(m):
            store(rest, j * m + i, rounded_up(fma(load(rows.W, i), s, load(rest, j * m + i)), m))


@njit(**OPTIONS)
def refine(A, X, low, R, step, rest, rows, of_A, row_sums_of_AX, units, unit, m):
    """Take steps until what is left cannot change what is rounded: ``|A^-1 - X - low| <= rest``.

    Lanes that have settled stay as they are, and so do those with a residual that is not small. The outcome is that of
    the first residual; close where all is settled.
    """
    zero, small = splat(A, 0.0), splat(A, 0.5)
    for entry in range(m * m):
        store(low, entry, zero)
    first = bound_step(A, X, low, R, step, rest, rows, of_A, row_sums_of_AX, unit, m)
    going = first.rho < small
    for entry in range(m * m):
        r = load(rest, entry)
        store(rest, entry, select(going, r, absolute(load(step, entry)) + r))
    _take(X, low, step, rest, going, m)
    settled = going & _has_settled(X, rest, units, m)
    for _ in range(MAX_ROUNDS - 1):
        going = going & (settled ^ (zero == zero))
        if not some(going):
            break
        found = bound_step(A, X, low, R, step, R, rows, of_A, row_sums_of_AX, unit, m)
        going = going & (found.rho < small)
        for entry in range(m * m):
            store(rest, entry, select(going, load(R, entry), load(rest, entry)))
        _take(X, low, step, rest, going, m)
        settled = settled | (going & _has_settled(X, rest, units, m))
    return Outcome(first.rho, first.rho_of_all, settled)


@njit(**OPTIONS)
def _has_settled(X, rest, units, m):
    """Return where no step is wanted any more."""
    return _is_small(X, rest, units, splat(X, SETTLED), m) & _are_exact(X, rest, units, m)


@njit(**OPTIONS)
def _take(X, low, step, rest, going, m):
    """Add a step to the sum of two matrices where it is going, and what that rounds to the rest."""
    unit = splat(X, 1.01 * UNIT)
    for entry in range(m * m):
        x, y, z = load(X, entry), load(low, entry), load(step, entry)
        total, error = _two_sum(x, z)
        small = y + error
        high, left = _two_sum(total, small)
        store(X, entry, select(going, high, x))
        store(low, entry, select(going, left, y))
        more = fma(unit, absolute(small), load(rest, entry))
        store(rest, entry, select(going, rounded_up(more, m), load(rest, entry)))


@njit(**OPTIONS)
def _two_sum(a, b):
    """Return ``fl(a + b)`` and its error."""
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


@njit(**OPTIONS)
def _are_exact(X, rest, units, m):
    """Return where every entry is known to many digits, or units are alike, so that only large ones count."""
    one, few = splat(X, 1.0), splat(X, 2.0**-45)
    exact = one == one
    if some(widest(units, m) > splat(X, WIDE)):
        for entry in range(m * m):
            size = absolute(load(X, entry))
            exact = exact & ((load(rest, entry) <= few * size) | (size == one - one))
    return exact | (widest(units, m) <= splat(X, WIDE))


@njit(**OPTIONS)
def _is_small(X, rest, units, share, m):
    """Return where the norm of a remainder is at most a share of that of X, equilibrated and in the units of A."""
    square = scaled = square_of_X = scaled_of_X = splat(X, 0.0)
    for j in range(m):
        for i in range(m):
            x, r, unit = load(X, j * m + i), load(rest, j * m + i), load(units.q, i) * load(units.p, j)
            square, square_of_X = fma(r, r, square), fma(x, x, square_of_X)
            x, r = x * unit, r * unit
            scaled, scaled_of_X = fma(r, r, scaled), fma(x, x, scaled_of_X)
    share = share * share
    return (square <= share * square_of_X) & (scaled <= share * scaled_of_X + splat(X, 2.0**-1000))


@njit(**OPTIONS)
def is_close(step, rest, X, units, m):
    """Return where a remainder is small beside a step, or beside the last digit of X."""
    return _is_small(step, rest, units, splat(X, COARSE), m) | _is_small(X, rest, units, splat(X, SETTLED), m)


@njit(**OPTIONS)
def error_bound(X, bound, units, m):
    """Return ``q / (1 - q)``, q the Frobenius norm of entry bounds over that of X, in the units of A."""
    one = splat(X, 1.0)
    square = scaled = splat(X, 0.0)
    for j in range(m):
        for i in range(m):
            unit = load(units.q, i) * load(units.p, j)
            b, x = load(bound, j * m + i) * unit, load(X, j * m + i) * unit
            square, scaled = fma(b, b, square), fma(x, x, scaled)
    q = rounded_up(square_root(square) / square_root(scaled), m * m) + splat(X, 2.0**-400)
    enough = (q < one) & (scaled > splat(X, 2.0**-900))
    return select(enough, rounded_up(q / (one - q), m), splat(X, float("inf")))
