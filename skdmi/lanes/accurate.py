"""Residuals as if in twice the precision."""

from skdmi.lanes.vectors import OPTIONS, fma, load, njit, splat, store


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
