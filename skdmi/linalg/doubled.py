"""Sums and products of float64 matrices in twice the precision and more: without error, or with a bound on it."""

import math

import torch
from torch import Tensor

from skdmi.linalg.residuals import identity_like
from skdmi.linalg.scaling import power_of_two

UNIT = 2.0**-53
UNDERFLOW = 2.0**-900
"""In every entry of a bound: far above what underflow takes away where no entry exceeds 2^100."""


def two_sum(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``s = fl(a + b)`` and the error ``a + b - s``, exactly.

    Knuth, "The Art of Computer Programming", volume 2, section 4.2.2, theorem B.

    >>> s, e = two_sum(torch.tensor(1.0, dtype=torch.float64), torch.tensor(2.0**-60, dtype=torch.float64))
    >>> s.item(), e.item() == 2.0**-60
    (1.0, True)
    """
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


def count_bits(m: int) -> int:
    """Return of how few bits entries must be for a sum of m products of two of them to be exact in float64.

    >>> count_bits(16)
    24
    """
    return (52 - math.ceil(math.log2(m))) // 2


def split(A: Tensor, n_bits: int, dim: int, largest: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return the leading bits, multiples of ``2^-n_bits`` times the power of two above the largest, and the rest.

    The largest are those along an axis, or they are given.

    >>> split(torch.tensor([[1 + 2.0**-30, 2.0**-30]], dtype=torch.float64), 20, dim=-1)[0]
    tensor([[1., 0.]], dtype=torch.float64)
    """
    if largest is None:
        largest = A.abs().amax(dim=dim, keepdim=True)
    exponent = torch.frexp(largest).exponent + (52 - n_bits)
    magnet = 1.5 * power_of_two(exponent.clamp(-1000, 1000), torch.float64)
    leading = (A + magnet) - magnet
    return leading, A - leading


def accurate_product(A: Tensor, X: Tensor, low: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return ``A (X + low)`` as the sum of two matrices, right to about 2^-100 of ``|A||X|``: six products, or seven.

    The products of leading bits are exact, see :func:`bounded_residual`.

    >>> A = torch.tensor([[1 + 2.0**-40]], dtype=torch.float64)
    >>> high, rest = accurate_product(A, A)
    >>> high.item() == 1 + 2.0**-39, rest.item() == 2.0**-80
    (True, True)
    """
    (high, rest), _ = _sum_of_parts(A, X, low)
    return two_sum(high, rest)


def bounded_residual(A: Tensor, X: Tensor, low: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return ``I - A (X + low)``, rounded once or nearly so, and an entrywise bound on its error.

    See :func:`bounded_difference`; low has no more than about the last digit of X.

    >>> A = torch.tensor([[3.0]], dtype=torch.float64)
    >>> R, error = bounded_residual(A, 1 / A)
    >>> R.item() == 2.0**-54, error.item() < 2.0**-95
    (True, True)
    """
    return bounded_difference(identity_like(A), A, X, low)


def bounded_difference(C: Tensor, A: Tensor, X: Tensor, low: Tensor | None = None) -> tuple[Tensor, Tensor]:
    r"""Return ``C - A (X + low)``, rounded once or nearly so, and an entrywise bound on its error: six products.

    .. math:: A = A_1 + A_2 + A_3, \quad X = X_1 + X_2 + X_3, \quad
       D = C - A_1 X_1 - A_1 X_2 - A_2 X_1 - A_2 X_2 - ((A_1 + A_2) X_3 + A_3 X + A\, X_{low})

    where the first two parts of rows of A and of columns of X have so few bits that the first four products are exact
    in any order of summation [1]_. They are added with their errors [2]_. The rounding of the last bracket is at most
    :math:`(m + 6) u` times its terms, :math:`|A_1 + A_2||X_3| + |A_3||X| + |A||X_{low}|`, which are about
    :math:`2^{-48}` of :math:`|A||X|`.

    Parameters
    ----------
    C, A, X, low : Tensors of shape (..., m, m)
        float64, no entry beyond ``2^100``.

    Returns
    -------
    D, error : Tensors of shape (..., m, m)
        ``|C - A (X + low) - D| <= error``, also where subnormal numbers are flushed to zero.

    References
    ----------
    .. [1] Ozaki, Ogita, Oishi and Rump, "Error-free transformations of matrix multiplication by using fast routines of
       matrix multiplication and its applications", Numer. Algorithms 59, 2012.
    .. [2] Ogita, Rump and Oishi, "Accurate sum and dot product", SIAM J. Sci. Comput. 26, 2005.

    Examples
    --------
    >>> A = torch.tensor([[1 + 2.0**-40]], dtype=torch.float64)
    >>> bounded_difference(A, A, A)[0].item() == -(2.0**-40) - 2.0**-80
    True
    """
    m = A.shape[-1]
    (high, rest), size = _sum_of_parts(-A, X, low, C)
    D = high + rest
    error = (size + UNIT * D.abs()) * (1 + (8 * m + 64) * UNIT)
    return D, error + UNDERFLOW


def _sum_of_parts(
    A: Tensor, X: Tensor, low: Tensor | None, beside: Tensor | None = None
) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Return ``beside + A (X + low)`` as a high part and what is left of it, and a bound on the error of the latter."""
    m = A.shape[-1]
    n_bits = count_bits(m)
    row, column = A.abs().amax(dim=-1, keepdim=True), X.abs().amax(dim=-2, keepdim=True)
    A_1, A_rest = split(A, n_bits, -1, row)
    X_1, X_rest = split(X, n_bits, -2, column)
    A_2, A_3 = split(A_rest, n_bits, -1, row * 2.0**-n_bits)
    X_2, X_3 = split(X_rest, n_bits, -2, column * 2.0**-n_bits)
    high, rest = A_1 @ X_1, torch.zeros_like(A)
    size = rest
    products = (A_1 @ X_2, A_2 @ X_1, A_2 @ X_2)
    for exact in products if beside is None else (beside.expand_as(high), *products):
        high, error = two_sum(high, exact)
        rest, size = rest + error, size + error.abs()
    A_12 = A_1 + A_2
    last = A_12 @ X_3 + A_3 @ X
    terms = A_12.abs() @ X_3.abs() + A_3.abs() @ X.abs()
    if low is not None:
        last = last + A @ low
        terms = terms + A.abs() @ low.abs()
    rounding = UNIT * (5 * size + 2 * last.abs() + (m + 6) * terms)
    return (high, rest + last), rounding
