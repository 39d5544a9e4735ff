"""Inverses and pseudo-inverses by LAPACK, member by member: what is singular spoils no other."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.linalg import matrix_norm

from skdmi.linalg.gradient import with_exact_gradient
from skdmi.linalg.residuals import double, identity_like, missing, residual
from skdmi.linalg.scaling import equilibrate, near_one, scale_both, scale_by_power_of_two
from skdmi.validation import check_matrices


def exact_inverse(A: Tensor) -> Tensor:
    r"""Invert by LU factorisation with partial pivoting in float64 (LAPACK or cuSOLVER), member by member.

    .. math:: A' = D_1 A D_2, \quad P A' = L U, \quad A^{-1} = D_2 \, (U^{-1} L^{-1} P) \, D_1

    with the powers of two of :func:`equilibrate`, so that rows and columns of different units cost no digits. A member
    without an inverse is NaN and spoils no other, nor its gradient: one whose factorisation meets a zero pivot; one
    whose inverse exceeds the range of its dtype; or one for which ``||I - A' X'||_F < 1`` fails in float64. If A is
    singular then ``A X`` is, so ``I - A' X'`` has the eigenvalue 1 and no norm of it is below 1. An allowance is added
    for the rounding of the product, and for that of A to its dtype where that is not float64: what passes is
    nonsingular, what fails is singular to working precision (``[[1, 2, 3], [4, 5, 6], [7, 8, 9]]``, whose factorisation
    ends without complaint).

    Parameters
    ----------
    A : Tensor of shape (..., m, m)
        Finite, of real floating dtype.

    Returns
    -------
    Tensor of shape (..., m, m)
        The inverses, in the dtype of A, rounded once; NaN where there is none. Differentiable.

    Examples
    --------
    >>> exact_inverse(torch.tensor([[[2.0, 0.0], [0.0, 4.0]], [[1.0, 2.0], [2.0, 4.0]]]))
    tensor([[[0.5000, 0.0000],
             [0.0000, 0.2500]],
    <BLANKLINE>
            [[   nan,    nan],
             [   nan,    nan]]])
    """
    return with_exact_gradient(A, lambda A: lu_inverse(A).inverse.to(A))


class LUInverse(NamedTuple):
    """What :func:`lu_inverse` returns, for each matrix."""

    inverse: Tensor
    """X, shape (..., m, m), float64."""
    residual_norm: Tensor
    """After equilibration, with an allowance for its rounding: a bound on the relative error of X there."""


def lu_inverse(A: Tensor) -> LUInverse:
    """Return what :func:`exact_inverse` does, in float64, with the residual norm.

    >>> lu_inverse(torch.tensor([[4.0]])).inverse
    tensor([[0.2500]], dtype=torch.float64)
    """
    scaled, row_exponent, column_exponent = equilibrate(double(A))
    scaled_inverse, info = torch.linalg.inv_ex(scaled)
    X = scale_both(scaled_inverse, column_exponent, row_exponent)
    size = matrix_norm(scaled.abs() @ scaled_inverse.abs())
    # The worst case is m units of roundoff, but errors average out: in 400,000 singular matrices of size 2 to 64 none
    # needed more than 0.3 units to be told from a nonsingular one. Four leave room, and condition numbers up to 1e15.
    norm = matrix_norm(residual(scaled, scaled_inverse)) + 4 * 2.0**-53 * size
    rounding_of_A = 0.0 if A.dtype == torch.float64 else 2.0**-24
    found = (info == 0) & (norm + rounding_of_A * size < 1) & ~missing(X.to(A.dtype))
    return LUInverse(torch.where(found[..., None, None], X, torch.nan), norm)


class PseudoInverse(NamedTuple):
    """What :func:`pseudo_inverse` returns, for each matrix.

    Parameters
    ----------
    inverse : Tensor
        X, shape (..., q, p), float64.
    rank : Tensor of int64
        The number of singular values that count.
    error_bound : Tensor
        A bound on ``||X - A_r^+|| / ||A_r^+||``, spectral norm; infinite where rounding leaves the rank open.

    Examples
    --------
    >>> found = pseudo_inverse(torch.tensor([[[2.0, 0.0], [0.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]]))
    >>> found.rank
    tensor([1, 2])
    """

    inverse: Tensor
    rank: Tensor
    error_bound: Tensor


@torch.no_grad()
def pseudo_inverse(A: Tensor, *, rtol: float | None = None) -> PseudoInverse:
    r"""Return Moore-Penrose pseudo-inverses, where small singular values, at the level of rounding, count as zero.

    .. math:: A = U \Sigma V^T, \quad X = V_r \Sigma_r^{-1} U_r^T, \quad
       \sigma_r > \tau \ge \sigma_{r+1}, \quad \tau = \max(p, q)\, \epsilon\, \sigma_1

    with the machine epsilon of *A's own dtype*: about the level at which a certificate finds A singular, too.

    **Error.** Let :math:`A_r` be A without the singular values that do not count. The factors were computed, so they
    are measured: with :math:`\eta` at least :math:`\|A - U \Sigma V^T\|_F`, corrected by how far U and V are from
    orthogonal, and :math:`\delta = 2 \eta + 2 \sigma_{r+1}`, which bounds the distance between :math:`A_r` and what X
    inverts,

    .. math:: \frac{\|X - A_r^+\|_2}{\|A_r^+\|_2} \le \frac{1 + \sqrt 5}{2} \, \frac{\delta}{\sigma_r}
       \quad (\delta < \sigma_r),

    by Wedin's theorem for matrices of one rank [1]_.

    Parameters
    ----------
    A : Tensor of shape (..., p, q)
        Finite, of real floating dtype. Computed in float64.
    rtol : float, optional
        :math:`\tau / \sigma_1`, if it is to be another.

    Returns
    -------
    PseudoInverse
        The pseudo-inverses, their ranks, and bounds on their errors.

    Raises
    ------
    ValueError
        If A does not hold matrices.

    References
    ----------
    .. [1] Wedin, "Perturbation theory for pseudo-inverses", BIT 13, 1973.

    Examples
    --------
    >>> found = pseudo_inverse(torch.tensor([[1.0, 2.0], [2.0, 4.0]]))
    >>> found.inverse
    tensor([[0.0400, 0.0800],
            [0.0800, 0.1600]], dtype=torch.float64)
    >>> found.rank.item(), found.error_bound.item() < 1e-13
    (1, True)
    """
    check_matrices("A", A)
    B, exponent = near_one(double(A))
    m = max(B.shape[-2:])
    U, sigma, Vh = torch.linalg.svd(B, full_matrices=False)
    counts = sigma > (m * torch.finfo(A.dtype).eps if rtol is None else rtol) * sigma[..., :1]
    rank = counts.sum(dim=-1)
    reciprocals = torch.where(counts, 1 / sigma, 0.0)
    X = (Vh.mT * reciprocals.unsqueeze(-2)) @ U.mT

    n_values = sigma.shape[-1]
    last, first_beyond = (sigma.gather(-1, index.unsqueeze(-1)).squeeze(-1) for index in _beside(rank, n_values))
    first_beyond = torch.where(rank < n_values, first_beyond, 0.0)
    orthogonality = sum(matrix_norm(identity_like(gram) - gram) for gram in (U.mT @ U, Vh @ Vh.mT))
    rounding = 4 * (m + 4) * m * 2.0**-53 * sigma[..., 0]
    eta = matrix_norm(B - (U * sigma.unsqueeze(-2)) @ Vh) + 2 * orthogonality * sigma[..., 0] + rounding
    delta = 2 * (eta + first_beyond)
    error_bound = torch.where((delta < last / 2) & (rank > 0), 2 * delta / last, torch.inf)
    return PseudoInverse(scale_by_power_of_two(X, -exponent), rank, error_bound)


def _beside(rank: Tensor, n_values: int) -> tuple[Tensor, Tensor]:
    """Return the indices of the last singular value that counts, and of the first that does not, within the range."""
    return (rank - 1).clamp_min(0), rank.clamp_max(n_values - 1)
