"""Pseudo-inverses of rectangular matrices of full rank, and proofs of both: the rank, and the pseudo-inverse."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.linalg import matrix_norm

from skdmi.arrays import described
from skdmi.linalg.certificate import rounded_up
from skdmi.linalg.residuals import double, identity_like, missing
from skdmi.linalg.scaling import equilibrate_rows, power_of_two, scale_both
from skdmi.validation import check_matrices

_UNIT = 2.0**-53
_UNDERFLOW = 2.0**-900
_SPAN = 800
"""Scales of rows further apart are not told from the smallest."""


class PinvCertificate(NamedTuple):
    """What is proved of each matrix of a stack; every field has shape (...).

    Parameters
    ----------
    certified : Tensor of bool
        Every matrix that rounds to A has full rank, and there is a bound.
    full_rank : Tensor of bool
        A as it is stored has full rank.
    error_bound : Tensor
        An upper bound on the relative error of X in the spectral norm, float64; NaN where uncertified.
    rcond : Tensor
        A lower bound on the ratio of the smallest to the largest singular value of A, float64; 0 where uncertified.

    Examples
    --------
    >>> A = torch.tensor([[[2.0, 0.0, 0.0], [0.0, 4.0, 0.0]], [[1.0, 2.0, 3.0], [2.0, 4.0, 6.0]]])
    >>> found = certify_pinv(A, torch.linalg.pinv(A))
    >>> found.full_rank, 0.2 < found.rcond[0] <= 0.5
    (tensor([ True, False]), tensor(True))
    """

    certified: Tensor
    full_rank: Tensor
    error_bound: Tensor
    rcond: Tensor


@torch.no_grad()
def certify_pinv(A: Tensor, X: Tensor) -> PinvCertificate:
    r"""Prove, matrix by matrix, that A has full rank, and bound the error of an approximate pseudo-inverse X.

    Let A have p rows and q columns, p at most q; of a taller matrix the transposed is looked at. With
    :math:`R = I - A X` and :math:`\|R\| < 1`, :math:`A X` is nonsingular, so A has full rank, and its pseudo-inverse is
    :math:`A^+ = A^T (A A^T)^{-1}`. In

    .. math:: X - A^+ = -A^+ R + N, \qquad N = (I - A^+ A) X = (I - A^+ A) (X - A^T W)

    the columns of N are orthogonal to the rows of A, and W may be any matrix, since :math:`A^T` has no part there. With
    :math:`W = X^T X`, near :math:`(A A^T)^{-1} = (A^+)^T A^+`, the remainder :math:`S = X - A^T W` is small, so

    .. math:: \|X - A^+\|_2 \le \delta = \frac{\|X\|_2 \|R\|_2}{1 - \|R\|_2} + \|S\|_2, \qquad
       \frac{\|X - A^+\|_2}{\|A^+\|_2} \le \frac{\delta}{\max_j \|X e_j\|_2 - \delta}

    because :math:`\|A^+\| \le \|X\| / (1 - \|R\|)`, the part of X in the rows of A being :math:`A^+ (I - R)`. For rows
    of different units, D of powers of two brings their largest entries near 1: A of full row rank has
    :math:`(D A)^+ = A^+ D^{-1}`. R and :math:`\|X\|` are those of the scaled rows then, and :math:`R`, S and
    :math:`X e_j` beside them are multiplied by D from the right, so that the bound is one in the units of A. Columns
    are not scaled: that would change the pseudo-inverse by more than units.

    R and S are computed in float64, three products in all, and what rounding may have taken is added: with u half a
    unit in the last place of 1, :math:`(q + 3)\,u\,(I + |A| |X|)` and :math:`(p + 3)\,u\,(|X| + |A^T| |W|)`.

    Parameters
    ----------
    A : Tensor of shape (..., p, q)
        Matrices, float32 or float64.
    X : Tensor of shape (..., q, p)
        What are said to be their pseudo-inverses, float32 or float64.

    Returns
    -------
    PinvCertificate
        On the device of A; on the CPU where that has no float64.

    Raises
    ------
    ValueError
        If A or X is no float tensor of matrices, or their shapes do not belong together.

    Notes
    -----
    Not proved: that a matrix is rank deficient, which rounding can always undo. A member with a NaN or an infinite
    entry, and one whose rows lie more than :math:`2^{800}` apart in scale, has no certificate.

    References
    ----------
    Rump, "Verified bounds for least squares problems and underdetermined linear systems", SIAM J. Matrix Anal. Appl.
    33, 2012, proves the rank by the norm of a residual, too.

    Examples
    --------
    >>> A = torch.tensor([[1.0, 2.0, 2.0]])
    >>> found = certify_pinv(A, torch.tensor([[1.0], [2.0], [2.0]], dtype=torch.float64) / 9)
    >>> found.certified, found.error_bound < 1e-14
    (tensor(True), tensor(True))
    """
    A, X = _checked("A", A), _checked("X", X)
    if X.shape != (*A.shape[:-2], A.shape[-1], A.shape[-2]):
        raise ValueError(
            f"Expected X of the shape of A with the last two axes exchanged, got {tuple(A.shape)} and {tuple(X.shape)}."
        )
    unit = torch.finfo(A.dtype).eps / 2
    A, X = double(A), double(X)
    if A.shape[-2] > A.shape[-1]:
        A, X = A.mT.contiguous(), X.mT.contiguous()
    return _certify_wide(A, X, unit)


def _checked(name: str, A: Tensor) -> Tensor:
    check_matrices(name, A)
    if not isinstance(A, Tensor) or not A.is_floating_point() or 0 in A.shape[-2:]:
        raise ValueError(
            f"Expected {name} to be a dense tensor of real floating dtype, of matrices with an entry, got "
            f"{described(A)} of dtype {A.dtype}, shape {tuple(A.shape)}. Try skdmi.PseudoInverter(...).report, which "
            f"takes arrays and complex matrices."
        )
    return A.resolve_neg()


def _certify_wide(A: Tensor, X: Tensor, unit: float) -> PinvCertificate:
    p, q = A.shape[-2:]
    n = p * q
    scaled, rows = equilibrate_rows(A)
    X = _scale_columns(X, -rows)
    below = rows - rows.amax(dim=-1, keepdim=True)
    D = power_of_two(below.clamp_min(-_SPAN), torch.float64).unsqueeze(-2)
    sizes, h = scaled.abs() + _UNDERFLOW, (q + 3) * _UNIT

    R = scaled @ X - identity_like(scaled @ X)
    plain, in_units = _explained(sizes, X.abs(), D)
    rho, rho_of_all = (rounded_up(matrix_norm(R) + g * (1 + plain), n) + _UNDERFLOW for g in (h, h + unit))
    rho_in_units = rounded_up(matrix_norm(R * D) + h * (1 + in_units), n) + _UNDERFLOW

    W, X_in_units = X.mT @ X, X * D
    _, in_units = _explained(sizes.mT, W.abs(), D)
    across = matrix_norm((X - scaled.mT @ W) * D) + (p + 3) * _UNIT * (matrix_norm(X_in_units) + in_units)
    delta = rounded_up(matrix_norm(X) * rho_in_units / (1 - rho) + rounded_up(across, n) + _UNDERFLOW, n)
    less = 1 - (8 * n + 64) * _UNIT
    longest = X_in_units.square().sum(dim=-2).amax(dim=-1).sqrt() * less
    full_rank = (rho < 1) & (below > -_SPAN).all(dim=-1)
    certified = full_rank & (rho_of_all < 1) & (delta < longest)
    error_bound = torch.where(certified, rounded_up(delta / (longest - delta), n), torch.nan)
    size_of_A = matrix_norm(scaled / D.mT)
    rcond = less * less * (1 - error_bound) / (size_of_A * matrix_norm(X_in_units))
    return PinvCertificate(certified, full_rank, error_bound, torch.where(rcond > 0, rcond, 0.0))


def _scale_columns(X: Tensor, exponent: Tensor) -> Tensor:
    return scale_both(X, torch.zeros_like(X[..., 0], dtype=torch.int32), exponent)


def _explained(A: Tensor, X: Tensor, D: Tensor) -> tuple[Tensor, Tensor]:
    """Return bounds on the spectral norms of ``A X`` and ``A X D``, of nonnegative matrices, D of shape (..., 1, p)."""
    columns = A.sum(dim=-2, keepdim=True) @ X
    rows = A @ torch.cat([X.sum(dim=-1, keepdim=True), X @ D.mT], dim=-1)
    plain, in_units = rows.amax(dim=-2).unbind(dim=-1)
    return (plain * columns.amax(dim=(-2, -1))).sqrt(), (in_units * (columns * D).amax(dim=(-2, -1))).sqrt()


@torch.no_grad()
def full_rank_pinv(A: Tensor) -> Tensor:
    r"""Return pseudo-inverses of matrices of full rank, by Householder's QR factorisation and a Newton step.

    For p rows, at most q columns, and :math:`D A` with rows scaled by powers of two,

    .. math:: (D A)^T = Q T, \quad Y = Q T^{-T}, \quad X = Y (2 I - D A Y) D

    and of a taller matrix the transposed is looked at. Computed in float64.

    Parameters
    ----------
    A : Tensor of shape (..., p, q)
        Finite, float32 or float64.

    Returns
    -------
    Tensor of shape (..., q, p)
        In float64. Of a member without full rank it is anything, not finite as a rule: see :func:`certify_pinv`.

    References
    ----------
    Bjoerck, "Numerical methods for least squares problems", SIAM, 1996, sections 2.4 and 2.9.

    Examples
    --------
    >>> (25 * full_rank_pinv(torch.tensor([[3.0, 4.0]]))).round(decimals=9)
    tensor([[3.],
            [4.]], dtype=torch.float64)
    """
    A = double(_checked("A", A))
    if A.shape[-2] > A.shape[-1]:
        return full_rank_pinv(A.mT.contiguous()).mT
    scaled, rows = equilibrate_rows(A)
    Q, T = torch.linalg.qr(scaled.mT)
    Y = torch.linalg.solve_triangular(T.mT, Q, upper=False, left=False)
    R = identity_like(T) - scaled @ Y
    X = torch.where(missing(R)[..., None, None], torch.nan, Y + Y @ R)
    return _scale_columns(X, rows)
