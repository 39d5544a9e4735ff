"""A step in lanes: the least-squares problem on three directions, and what is done with its coefficients.

As :func:`skdmi.iteration.take_step`, on the directions ``(R - S, S - T, I - R)`` with ``S = R R`` and ``T = R S``.
"""

from collections import namedtuple

from skdmi.lanes.elementary import epsilon_of
from skdmi.lanes.vectors import OPTIONS, fma, fnma, larger, load, njit, select, splat, square_root, store

Gram = namedtuple("Gram", ["aa", "ab", "ac", "ar", "bb", "bc", "br", "cc", "cr", "rr"])
"""Inner products of the directions a, b, c, and of R."""
Triple = namedtuple("Triple", ["a", "b", "c"])
LeastSquares = namedtuple("LeastSquares", ["cosines", "coordinates", "reciprocals", "below", "scale", "square"])
"""See :class:`skdmi.iteration.LeastSquares`, in triples: of L the reciprocals of the diagonal, and the entries below it
in columns; last the square of ``||R||``."""


@njit(**OPTIONS)
def fit_directions(R, S, T, tiny, m):
    """Factorise the problem; ``tiny`` is the smallest normal number."""
    gram = _inner_products(R, S, T, m)
    one, epsilon = splat(R, 1.0), epsilon_of(gram.rr)
    ridge = splat(R, 8.0) * epsilon
    floor = larger(gram.rr, splat(R, tiny) / (ridge * ridge)) * (ridge * ridge)
    norm = square_root(larger(gram.rr, floor))
    a, b = square_root(larger(gram.aa, floor)), square_root(larger(gram.bb, floor))
    c = square_root(larger(gram.cc, floor))
    ra, rb, rc, rr = one / a, one / b, one / c, one / norm
    cosines = Triple(gram.ar * ra * rr, gram.br * rb * rr, gram.cr * rc * rr)

    first = one / square_root(larger(gram.aa * ra * ra + ridge, ridge))
    ba, ca, x = gram.ab * ra * rb * first, gram.ac * ra * rc * first, cosines.a * first
    second = one / square_root(larger(fnma(ba, ba, gram.bb * rb * rb) + ridge, ridge))
    cb, y = fnma(ca, ba, gram.bc * rb * rc) * second, fnma(x, ba, cosines.b) * second
    third = one / square_root(larger(fnma(cb, cb, fnma(ca, ca, gram.cc * rc * rc)) + ridge, ridge))
    z = fnma(y, cb, fnma(x, ca, cosines.c)) * third
    return LeastSquares(
        cosines,
        Triple(x, y, z),
        Triple(first, second, third),
        Triple(ba, ca, cb),
        Triple(norm * ra, norm * rb, norm * rc),
        norm * norm,
    )


@njit(**OPTIONS)
def _inner_products(R, S, T, m):
    zero, one = splat(R, 0.0), splat(R, 1.0)
    aa = ab = ac = ar = bb = bc = br = cc = cr = rr = zero
    for j in range(m):
        for i in range(m):
            r, s, t = load(R, j * m + i), load(S, j * m + i), load(T, j * m + i)
            a, b, c = r - s, s - t, (one if i == j else zero) - r
            aa, ab, ac, ar = fma(a, a, aa), fma(a, b, ab), fma(a, c, ac), fma(a, r, ar)
            bb, bc, br = fma(b, b, bb), fma(b, c, bc), fma(b, r, br)
            cc, cr, rr = fma(c, c, cc), fma(c, r, cr), fma(r, r, rr)
    return Gram(aa, ab, ac, ar, bb, bc, br, cc, cr, rr)


@njit(**OPTIONS)
def coefficients(problem, z):
    """Return the coefficients of the coordinates z, by back substitution."""
    reciprocals, below, scale = problem.reciprocals, problem.below, problem.scale
    c = z.c * reciprocals.c
    b = fnma(below.c, c, z.b) * reciprocals.b
    a = fnma(below.a, b, fnma(below.b, c, z.a)) * reciprocals.a
    return Triple(a * scale.a, b * scale.b, c * scale.c)


@njit(**OPTIONS)
def remainder(problem):
    """Return the smallest reachable square of the next residual, relative to that of R."""
    x, y, z = problem.coordinates
    ridge = splat(x, 8.0) * epsilon_of(x)
    return larger(fnma(x, x, fnma(y, y, fnma(z, z, splat(x, 1.0)))), ridge)


@njit(**OPTIONS)
def combine(R, S, T, c, updates, m):
    """Turn S into ``P = c_1 R + c_2 S + c_3 I`` and, if ``updates``, R into the residual after ``X (I + P)``."""
    zero, one = splat(R, 0.0), splat(R, 1.0)
    for j in range(m):
        for i in range(m):
            entry = j * m + i
            r, s = load(R, entry), load(S, entry)
            unit = one if i == j else zero
            store(S, entry, fma(c.a, r, fma(c.b, s, c.c * unit)))
            if updates:
                difference = fnma(c.b, s - load(T, entry), fnma(c.c, unit - r, r))
                store(R, entry, fnma(c.a, r - s, difference))


@njit(**OPTIONS)
def copy_where(mask, A, B, m):
    """Copy the matrices A to B where the mask is true."""
    for entry in range(m * m):
        store(B, entry, select(mask, load(A, entry), load(B, entry)))
