"""Attacks on the certificate of files: matrices that are singular in their very float32 bits, and would-be inverses."""

import numpy as np

UNIT = 2.0**-24


def low_rank(rng, n, m):
    rank = m - 1
    return rng.integers(-4, 5, (n, m, rank)) @ rng.integers(-4, 5, (n, rank, m))


def proportional_rows(rng, n, m):
    """Two rows are the same numbers of 24 bits, but for a power of two."""
    A = rng.integers(-(2**24), 2**24, (n, m, m))
    A[:, -1] = A[:, 0] * rng.choice([-4, -1, 1, 2], (n, 1)) if m > 1 else 0
    return A


def proportional_columns(rng, n, m):
    return proportional_rows(rng, n, m).swapaxes(1, 2)


def zero_column(rng, n, m):
    A = rng.integers(-(2**24), 2**24, (n, m, m))
    A[np.arange(n), :, rng.integers(m, size=n)] = 0
    return A


def sum_of_rows(rng, n, m):
    """The last row is a combination of the others with small whole numbers; entries have up to 24 bits."""
    A = rng.integers(-(2**18), 2**18, (n, m, m))
    A[:, -1] = (rng.integers(-3, 4, (n, m - 1, 1)) * A[:, :-1]).sum(axis=1)
    return A


def zero_sums(rng, n, m):
    """Rows and columns of sum zero: both null vectors are ones, in which all roundings have one weight."""
    A = rng.integers(-(2**11), 2**11, (n, m, m))
    A[:, :, -1] -= A.sum(axis=2)
    A[:, -1] -= A.sum(axis=1)
    return A


def nearly_equal_rows(rng, n, m):
    """All rows are nearly one; the last is the mean of two others."""
    A = rng.integers(2**20, 2**21, (n, 1, m)) * 2 + 2 * rng.integers(-1, 2, (n, m, m))
    A[:, -1] = (A[:, 0] + A[:, (m - 1) // 2]) // 2 if m > 1 else 0
    return A


FAMILIES = (
    low_rank,
    proportional_rows,
    proportional_columns,
    zero_column,
    sum_of_rows,
    zero_sums,
    nearly_equal_rows,
)


def singular_stack(family, rng, n, m):
    """Return exactly singular float32 matrices, permuted, their rows, columns and all scaled by powers of two."""
    A = family(rng, n, m).astype(np.float64)
    A = A[:, rng.permutation(m)][:, :, rng.permutation(m)]
    largest = rng.choice([0, 3, 20, 40], (2, n))
    rows, columns = (rng.integers(-size[:, None], size[:, None] + 1, (n, m)) for size in largest)
    everything = rng.choice([-150, -140, -120, -80, -40, 0, 0, 0, 0, 40, 80, 103], n)
    scaled = np.ldexp(np.ldexp(A, rows[:, :, None]), columns[:, None] + everything[:, None, None])
    # A scale that costs a bit is none: the matrix would be another one.
    with np.errstate(over="ignore"):
        exact = (scaled.astype(np.float32) == scaled).all(axis=(1, 2))
    return np.where(exact[:, None, None], scaled, A).astype(np.float32)


def equilibrated(A):
    """Return A in the units of a file, and these units; of rows and columns of zeros they are one."""
    A = A.astype(np.float64)
    rows = _power_of_two(np.abs(A).sum(2, keepdims=True))
    columns = _power_of_two(np.abs(A / rows).sum(1, keepdims=True))
    return A / rows / columns, rows * columns


def _power_of_two(x):
    return 2.0 ** np.floor(np.log2(np.where(x > 0, x, 1)))


def candidates(B, rng):
    """Yield would-be inverses of a stack of singular matrices with entries near one, float64."""
    n, m, _ = B.shape
    U, _, Vt = np.linalg.svd(B)
    pinv = np.linalg.pinv(B)
    v, y = Vt[:, -1:].swapaxes(1, 2), U[:, :, -1:]
    yield pinv
    for power in (5, 6, 7, 8):
        noise = 10.0**-power * rng.standard_normal((n, m, m))
        yield inverse_or_pseudo_inverse(B + noise)
    ridge = 10.0 ** rng.uniform(-14, -2, (n, 1, 1)) * np.eye(m)
    yield inverse_or_pseudo_inverse(B.swapaxes(1, 2) @ B + ridge) @ B.swapaxes(1, 2)
    for largest in (4, 7, 9):
        size = 10.0 ** rng.uniform(largest - 3, largest, (n, 1, 1))
        yield pinv + size * (v @ y.swapaxes(1, 2))
    size = 2.0 ** rng.integers(10, 27, (n, 1, 1))
    yield pinv + size * (v @ rng.standard_normal((n, 1, m)))
    X = pinv + size * (v @ y.swapaxes(1, 2))
    yield X * (1 + UNIT * rng.integers(-2, 3, X.shape))
    yield np.round(X)


def inverse_or_pseudo_inverse(B):
    """Return inverses; pseudo-inverses of what is singular in float64 too."""
    values = np.linalg.svd(B, compute_uv=False)
    singular = (values[:, -1] <= 1e-14 * values[:, 0])[:, None, None]
    return np.where(singular, np.linalg.pinv(B), np.linalg.inv(np.where(singular, np.eye(B.shape[-1]), B)))


def residuals_in_float32(B, X):
    """Return ``I - B X`` as float32 computes it, products and sums one after the other."""
    m = B.shape[-1]
    total = B[:, :, :1] * X[:, :1]
    for k in range(1, m):
        total = total + B[:, :, k : k + 1] * X[:, k : k + 1]
    return np.eye(m, dtype=np.float32) - total


def broken_weights(B, X):
    """Return up to which weight of the rounding, in units of u ``||B|| ||X||``, each singular B would be certified.

    Positive where the residual as computed has a norm below 1: a certificate that trusted it would be false.
    """
    R = residuals_in_float32(B, X)
    norms = [np.linalg.norm(matrix.astype(np.float64), axis=(1, 2)) for matrix in (R, B, X)]
    return (1 - norms[0]) / (UNIT * norms[1] * norms[2])


def conspiracy(rng, m, n_steps=1000, growth=2.0**12):
    r"""Return a singular matrix, and an X of which float32 makes errors that all go one way, each a stack of one.

    With null vectors v and y, :math:`B (B^+ + t v y^T) = I - y y^T`, a residual norm of 1, which the errors of the
    product are to lower: of each column the bits are searched that make the residual as computed smallest.
    """
    B = _with_large_partial_sums(rng, m)
    U, _, Vt = np.linalg.svd(B)
    null = np.outer(Vt[-1], U[:, -1]) * growth / np.linalg.norm(B)
    sizes = rng.uniform(0.5, 1, (5000, 1, m))
    X = (np.linalg.pinv(B, rcond=1e-9) + sizes * null).astype(np.float32)
    B = B.astype(np.float32)
    X = _best_columns(B, X)
    for _ in range(n_steps):
        ulps = np.where(rng.random((32, m, m)) < 1.5 / m, rng.integers(-16, 17, (32, m, m)), 0)
        X = _best_columns(B, np.concatenate([X[None], X + ulps * np.spacing(np.abs(X))]).astype(np.float32))
    return B[None], X[None]


def _with_large_partial_sums(rng, m):
    """Return whole numbers of up to 13 bits whose rows begin with one sign and end with the other; of rank m - 1."""
    if m == 2:
        return np.outer(rng.integers(2**11, 2**12, 2), rng.integers(2**11, 2**12, 2)).astype(np.float64)
    signs = np.where(np.arange(m) < m // 2, 1, -1) * np.where(np.arange(m) % 2, 1, -1)[:, None]
    A = signs * rng.integers(2**10, 2**12, (m, m))
    A[:, -1] -= A.sum(axis=1)
    A[-1] -= A.sum(axis=0)
    return A.astype(np.float64)


def _best_columns(B, trials):
    """Return of each column the trial whose computed residual is smallest."""
    lengths = np.linalg.norm(residuals_in_float32(B[None], trials).astype(np.float64), axis=1)
    return np.take_along_axis(trials, lengths.argmin(axis=0)[None, None], axis=0)[0]
