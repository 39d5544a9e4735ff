"""Products of small matrices in lanes, four rows by two columns at a time in registers."""

from numba import njit

from skdmi.lanes.vectors import OPTIONS, fma, fnma, load, splat, store


@njit(**OPTIONS)
def multiply(A, X, C, m):
    """Form ``C = -A X``."""
    zero = splat(A, 0.0)
    j = 0
    while j + 1 < m:
        i = 0
        while i + 3 < m:
            a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = zero
            for k in range(m):
                x, y = load(X, j * m + k), load(X, (j + 1) * m + k)
                a = load(A, k * m + i)
                a0, b0 = fnma(a, x, a0), fnma(a, y, b0)
                a = load(A, k * m + i + 1)
                a1, b1 = fnma(a, x, a1), fnma(a, y, b1)
                a = load(A, k * m + i + 2)
                a2, b2 = fnma(a, x, a2), fnma(a, y, b2)
                a = load(A, k * m + i + 3)
                a3, b3 = fnma(a, x, a3), fnma(a, y, b3)
            c = j * m + i
            store(C, c, a0)
            store(C, c + 1, a1)
            store(C, c + 2, a2)
            store(C, c + 3, a3)
            store(C, c + m, b0)
            store(C, c + m + 1, b1)
            store(C, c + m + 2, b2)
            store(C, c + m + 3, b3)
            i += 4
        while i < m:
            a0 = b0 = zero
            for k in range(m):
                a = load(A, k * m + i)
                a0, b0 = fnma(a, load(X, j * m + k), a0), fnma(a, load(X, (j + 1) * m + k), b0)
            store(C, j * m + i, a0)
            store(C, j * m + m + i, b0)
            i += 1
        j += 2
    if j < m:
        for i in range(m):
            a0 = zero
            for k in range(m):
                a0 = fnma(load(A, k * m + i), load(X, j * m + k), a0)
            store(C, j * m + i, a0)


@njit(**OPTIONS)
def residual(A, X, R, m):
    """Form ``R = I - A X``, in float64: m roundings in a sum, and one of the difference."""
    multiply(A, X, R, m)
    one = splat(A, 1.0)
    for i in range(m):
        store(R, i * (m + 1), load(R, i * (m + 1)) + one)


@njit(**OPTIONS)
def accurate_residual(A, X, R, m):
    """Form ``R = I - A X`` as if in twice the precision, and round once.

    Every product is split without error by :func:`fma`, every difference by Knuth's two-sum; Ogita, Rump and Oishi,
    "Accurate sum and dot product", SIAM J. Sci. Comput. 26, 2005.
    """
    zero, one = splat(A, 0.0), splat(A, 1.0)
    for j in range(m):
        for i in range(m):
            total = one if i == j else zero
            rest = zero
            for k in range(m):
                a, x = load(A, k * m + i), load(X, j * m + k)
                product = a * x
                beside = fma(a, x, zero - product)
                difference = total - product
                taken = difference - total
                rest = rest + (((total - (difference - taken)) - (product + taken)) - beside)
                total = difference
            store(R, j * m + i, total + rest)
