"""What a network has learned, in lanes: from scalars of the residual to departures from the least one.

See :class:`skdmi.iteration.learned.PolynomialInverse`.
"""

from skdmi.lanes.elementary import gelu, logarithm
from skdmi.lanes.steps import Triple, remainder
from skdmi.lanes.vectors import OPTIONS, fma, larger, load, njit, part, splat, square_root, store

N_SCALARS, N_COEFFICIENTS = 14, 3
LAYER_NORM_EPSILON = 1e-5
TILE = 8
"""Units of a layer that are computed at a time: their biases come first, then their weights, input by input."""


@njit(**OPTIONS)
def depart(R, problem, weights, at, room, network, m):
    """Return the coordinates of a step; the weights of its block are from ``at`` on.

    The first ``width`` vectors of the room are what the steps before have remembered.
    """
    width, hidden = network.width, network.hidden
    h, tilde = room, part(room, _padded(width))
    scalars = inner = part(tilde, _padded(width))
    _read(R, problem, scalars, network, m)
    at = _add_layer(scalars, weights, at, N_SCALARS, h, width)
    at = _normalize(h, weights, at, tilde, width)
    _clear(inner, hidden)
    at = _add_layer(tilde, weights, at, width, inner, hidden)
    for k in range(hidden):
        store(inner, k, gelu(load(inner, k)))
    at = _add_layer(inner, weights, at, hidden, h, width)
    at = _normalize(h, weights, at, tilde, width)
    _clear(inner, N_COEFFICIENTS)
    _add_layer(tilde, weights, at, width, inner, N_COEFFICIENTS)
    x, y, z = load(inner, 0), load(inner, 1), load(inner, 2)
    length = square_root(fma(x, x, fma(y, y, fma(z, z, splat(R, 1.0)))))
    reach = splat(R, network.reach) / length
    best = problem.coordinates
    return Triple(fma(reach, x, best.a), fma(reach, y, best.b), fma(reach, z, best.c))


@njit(**OPTIONS)
def _read(R, problem, scalars, network, m):
    """Put what a step reads into ``scalars``."""
    trace = splat(R, 0.0)
    for i in range(m):
        trace = trace + load(R, i * (m + 1))
    trace = trace / splat(R, float(m))
    square = larger(problem.square, splat(R, network.tiny))
    store(scalars, 0, splat(R, 1.0 / m))
    store(scalars, 1, trace)
    store(scalars, 2, trace * square_root(splat(R, float(m)) / square))
    store(scalars, 3, splat(R, 0.3) * (logarithm(square) - splat(R, network.log_m)))
    store(scalars, 4, splat(R, 0.1) * logarithm(remainder(problem)))
    for k, scale in enumerate(problem.scale):
        store(scalars, 5 + k, problem.coordinates[k])
        store(scalars, 8 + k, problem.cosines[k])
        store(scalars, 11 + k, splat(R, 0.3) * logarithm(scale))


@njit(**OPTIONS)
def _padded(n):
    return (n + TILE - 1) // TILE * TILE


@njit(**OPTIONS)
def _clear(y, n):
    for k in range(_padded(n)):
        store(y, k, splat(y, 0.0))


@njit(**OPTIONS)
def _add_layer(x, weights, at, n_in, y, n_out):
    """Add a linear layer of x to y; its biases and weights are from ``at`` on, see `TILE`. Return their end."""
    for k in range(0, n_out, TILE):
        a, b = load(y, k) + splat(y, weights[at]), load(y, k + 1) + splat(y, weights[at + 1])
        c, d = load(y, k + 2) + splat(y, weights[at + 2]), load(y, k + 3) + splat(y, weights[at + 3])
        e, f = load(y, k + 4) + splat(y, weights[at + 4]), load(y, k + 5) + splat(y, weights[at + 5])
        g, h = load(y, k + 6) + splat(y, weights[at + 6]), load(y, k + 7) + splat(y, weights[at + 7])
        for i in range(n_in):
            at += TILE
            value = load(x, i)
            a, b = fma(value, splat(y, weights[at]), a), fma(value, splat(y, weights[at + 1]), b)
            c, d = fma(value, splat(y, weights[at + 2]), c), fma(value, splat(y, weights[at + 3]), d)
            e, f = fma(value, splat(y, weights[at + 4]), e), fma(value, splat(y, weights[at + 5]), f)
            g, h = fma(value, splat(y, weights[at + 6]), g), fma(value, splat(y, weights[at + 7]), h)
        at += TILE
        store(y, k, a)
        store(y, k + 1, b)
        store(y, k + 2, c)
        store(y, k + 3, d)
        store(y, k + 4, e)
        store(y, k + 5, f)
        store(y, k + 6, g)
        store(y, k + 7, h)
    return at


@njit(**OPTIONS)
def _normalize(x, weights, at, y, n):
    """Normalise a layer, with the gains and biases that are from ``at`` on. Return their end."""
    share = splat(x, 1.0 / n)
    even = odd = splat(x, 0.0)
    for k in range(0, n - 1, 2):
        even, odd = even + load(x, k), odd + load(x, k + 1)
    if n % 2:
        even = even + load(x, n - 1)
    mean = (even + odd) * share
    even = odd = splat(x, 0.0)
    for k in range(0, n - 1, 2):
        a, b = load(x, k) - mean, load(x, k + 1) - mean
        even, odd = fma(a, a, even), fma(b, b, odd)
    if n % 2:
        last = load(x, n - 1) - mean
        even = fma(last, last, even)
    variance = even + odd
    scale = splat(x, 1.0) / square_root(fma(variance, share, splat(x, LAYER_NORM_EPSILON)))
    for k in range(n):
        centred = (load(x, k) - mean) * scale
        store(y, k, fma(centred, splat(x, weights[at + k]), splat(x, weights[at + n + k])))
    return at + 2 * n
