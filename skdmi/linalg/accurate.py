"""Beyond the working precision: residuals of products that are exact, and inverses that are right to their last bit."""

import torch
from torch import Tensor
from torch.linalg import matrix_norm

from skdmi.linalg.doubled import count_bits, split, two_sum
from skdmi.linalg.residuals import residual

_UNIT = 2.0**-53


def accurate_residual(A: Tensor, X: Tensor, n_parts: int = 3) -> Tensor:
    r"""Return ``I - A X`` of float64 matrices to about 2^-48 of the rounding of an ordinary product: six products.

    .. math:: R = I - A_1 X_1 - A_1 X_2 - A_2 X_1 - (A_1 X_3 + A_2 (X_2 + X_3) + A_3 X)

    where :math:`A = A_1 + A_2 + A_3` by rows and :math:`X = X_1 + X_2 + X_3` by columns, with so few leading bits in
    all but the last that the first three products are exact [1]_; they are added with their errors [2]_. In two parts,
    :math:`R = I - A_1 X_1 - (A_1 X_2 + A_2 X)`, it is accurate to 2^-24 and takes three products.

    Parameters
    ----------
    A, X : Tensors of shape (..., m, m)
        float64.
    n_parts : {2, 3}, default=3

    References
    ----------
    .. [1] Ozaki, Ogita, Oishi and Rump, "Error-free transformations of matrix multiplication by using fast routines of
       matrix multiplication and its applications", Numer. Algorithms 59, 2012.
    .. [2] Knuth, "The Art of Computer Programming", volume 2, section 4.2.2, theorem B.

    Examples
    --------
    >>> A = torch.tensor([[3.0]], dtype=torch.float64)
    >>> accurate_residual(A, 1 / A).item() == 2.0**-54
    True
    """
    n_bits = count_bits(A.shape[-1])
    A_1, A_rest = split(A, n_bits, dim=-1)
    X_1, X_rest = split(X, n_bits, dim=-2)
    if n_parts == 2:
        return residual(A_1, X_1) - (A_1 @ X_rest + A_rest @ X)
    A_2, A_3 = split(A_rest, n_bits, dim=-1)
    X_2, X_3 = split(X_rest, n_bits, dim=-2)
    R, error = residual(A_1, X_1), A_1 @ X_3 + A_2 @ X_rest + A_3 @ X
    for exact in (A_1 @ X_2, A_2 @ X_1):
        R, rounding = two_sum(R, -exact)
        error = error - rounding
    return R - error


def correct(A: Tensor, X: Tensor, *, thoroughly: bool = True) -> tuple[Tensor, int]:
    r"""Return X made exact to about its last bit, and the number of products that took.

    .. math:: A^{-1} = X + X (R + R^2 + R^3 + \dots), \quad R = I - A X

    with the :func:`accurate_residual` and as many powers as its precision can tell, by doubling. An entry below the
    rounding of that sum has no correct digit, and becomes the zero that it is in the inverse of most sparse matrices:
    beside rows of much larger units, noise would not be small.

    Parameters
    ----------
    A, X : Tensors of shape (..., m, m)
        float64, equilibrated, with ``||I - A X||_F < 1``.
    thoroughly : bool, default=True
        False is enough for condition numbers up to 1e6 and matrices of one unit: a residual of two parts, and no
        search for zeros.

    Examples
    --------
    >>> A = torch.tensor([[3.0]], dtype=torch.float64)
    >>> X, n_products = correct(A, torch.tensor([[0.3]], dtype=torch.float64))
    >>> (X - 1 / A).item(), n_products
    (0.0, 18)
    """
    m = A.shape[-1]
    R = accurate_residual(A, X, n_parts=3 if thoroughly else 2)
    precise = _UNIT**2 if thoroughly else _UNIT / 16
    largest = min(matrix_norm(R).max().item(), 1.0)  # more is beyond help, and must not spoil the others
    total, power, n_powers, n_products = R, R, 1, 8 if thoroughly else 4
    while n_powers < 64 and largest ** (n_powers + 1) > precise:
        total = total + power @ total
        power = power @ power
        n_powers, n_products = 2 * n_powers, n_products + 2
    corrected = X + X @ total
    if thoroughly:
        has_digits = corrected.abs() > (m + 4) * _UNIT * (X.abs() @ total.abs())
        corrected = torch.where(has_digits, corrected, 0.0)
    return corrected, n_products
