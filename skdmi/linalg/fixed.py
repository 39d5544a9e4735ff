"""A certified inverse in a fixed sequence of operations: for devices whose answers are costly to wait for."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.linalg import matrix_norm, vector_norm

from skdmi.figures import CERTIFIED, CONVERGED, NONSINGULAR, OUTSIDE
from skdmi.linalg.certificate import ResidualBound, rounded_up
from skdmi.linalg.residuals import identity_like, missing
from skdmi.linalg.scaling import power_of_two
from skdmi.validation import check_square

_UNIT = 2.0**-53
_FARTHEST, _WIDEST = 500, 200
"""Powers of two: rows beyond the first, or columns further apart than the second, are left to others."""
_DELICATE = 2.0**16
_UNBALANCED = 12
"""Powers of two: where a row or column lies so far below its largest entry in the geometric mean, too."""
_LOOSE = 2.0**-26


class FixedInverse(NamedTuple):
    """What :func:`fixed_inverse` returns, for each matrix.

    Parameters
    ----------
    inverse : Tensor
        X, shape (..., m, m), in the dtype of A; whatever was found where the status proves nothing.
    status : Tensor of uint8
        Bits of :mod:`skdmi.figures`.
    error_bound : Tensor
        An upper bound on ``||X - A^-1|| / ||A^-1||``, where certified.
    residual_norm : Tensor
        ``||I - A X||_F`` before X is rounded to the dtype of A.

    Examples
    --------
    >>> found = fixed_inverse(torch.tensor([[2.0, 0.0], [0.0, 4.0]]))
    >>> found.inverse.diagonal(), bool(found.status & CERTIFIED), found.error_bound.item() < 1e-12
    (tensor([0.5000, 0.2500]), True, True)
    """

    inverse: Tensor
    status: Tensor
    error_bound: Tensor
    residual_norm: Tensor


@torch.no_grad()
def fixed_inverse(A: Tensor, *, n_steps: int = 0) -> FixedInverse:
    r"""Invert by LU, take steps, and certify, without ever looking at a value: no host waits for the device.

    .. math:: A' = D_1 A D_2, \quad X' = A'^{-1} \text{ by LU}, \quad X' \leftarrow X' + X' (I - A' X'), \quad
       X = D_2 X' D_1

    in float64, with powers of two that bring the largest entries of rows, then of columns, to [1/2, 1), and the
    certificate of :func:`certify` as far as norms reach. ``torch.compile`` takes it without a graph break, and CUDA
    graphs record it. A matrix that asks for more, one that is not finite, delicate, or of units too far apart, is
    ``OUTSIDE``, for a caller to hand to :func:`~skdmi.iteration.refine`.

    Parameters
    ----------
    A : Tensor of shape (..., m, m)
        Matrices, float32 or float64, on a device with float64.
    n_steps : int, default=0
        Of Newton-Schulz; two products each.

    Returns
    -------
    FixedInverse
        The inverses, and what is proved of each; on the device of A.

    Raises
    ------
    ValueError
        If A does not hold square matrices.

    Examples
    --------
    >>> found = fixed_inverse(torch.tensor([[[2.0, 0.0], [0.0, 4.0]], [[1.0, 2.0], [2.0, 4.0]]]))
    >>> found.inverse[0]
    tensor([[0.5000, 0.0000],
            [0.0000, 0.2500]])
    >>> found.status & CERTIFIED
    tensor([1, 0], dtype=torch.uint8)
    """
    check_square("A", A)
    m = A.shape[-1]
    with torch.autocast(A.device.type, enabled=False):
        A64 = A.double()
        rows = _exponents_to_one(A64.abs().amax(dim=-1))
        p = power_of_two(rows, torch.float64).unsqueeze(-1)
        columns = _exponents_to_one((A64 * p).abs().amax(dim=-2))
        q = power_of_two(columns, torch.float64).unsqueeze(-1)
        finite = ~missing(A64)
        scaled = torch.where(finite[..., None, None], A64 * (p * q.mT), identity_like(A64))
        X = torch.linalg.inv_ex(scaled).inverse
        for _ in range(n_steps):
            X = X + X @ (identity_like(X) - scaled @ X)

        bound = ResidualBound.of(scaled, X)
        h = (m + 3) * _UNIT
        rho, rho_of_all = bound.spectral(h), bound.spectral(h + torch.finfo(A.dtype).eps / 2)
        p_beside = p / p.amax(dim=-2, keepdim=True)
        error_bound = bound.in_units(p_beside).spectral(h)
        accurate = error_bound <= _LOOSE * m
        tol = 0.0 if A.dtype == torch.float64 else 2.0**-30
        kept, norm = _is_explained(bound, 1 / p_beside, tol)
        q_beside = q / q.amax(dim=-2, keepdim=True)
        kept &= _is_explained(ResidualBound.of(X, scaled), q_beside, tol)[0]
        inverse = X * (q * p.mT)
        rounded = inverse.to(A.dtype)
        if A.dtype != torch.float64:
            error_bound = _rounded_error_bound(error_bound, inverse, rounded)

    exponent = torch.where(scaled != 0, torch.frexp(scaled).exponent + _UNBALANCED, 0)
    balanced = (exponent.sum(dim=-1) >= 0).all(dim=-1) & (exponent.sum(dim=-2) >= 0).all(dim=-1)
    spans = rows.amax(dim=-1) - rows.amin(dim=-1) + columns.amax(dim=-1) - columns.amin(dim=-1)
    farthest = rows.abs().amax(dim=-1)
    delicate = matrix_norm(scaled) * matrix_norm(X) > _DELICATE * m
    easy = (
        finite & balanced & (farthest < _FARTHEST) & (spans < _WIDEST) & ~delicate & (rho_of_all < 1) & accurate & kept
    )
    easy &= ~missing(rounded)
    bits = (rho_of_all < 1, CERTIFIED), (rho < 1, NONSINGULAR), (kept, CONVERGED)
    status = sum((mask & easy).to(torch.uint8) * bit for mask, bit in bits) + (~easy).to(torch.uint8) * OUTSIDE
    return FixedInverse(rounded, status, error_bound, norm)


def _exponents_to_one(largest: Tensor) -> Tensor:
    """Return the exponents that bring positive numbers to [1/2, 1), 0 for others, int32."""
    exponent = -torch.frexp(largest).exponent
    return torch.where((largest > 0) & largest.isfinite(), exponent, 0).clamp(-2 * _FARTHEST, 2 * _FARTHEST)


def _is_explained(bound: ResidualBound, before: Tensor, tol: float) -> tuple[Tensor, Tensor]:
    """Return whether rounding explains the residual, or ``tol`` does, with and without units; and the norm with."""
    m = before.shape[-2]
    kept = torch.ones(before.shape[:-2], dtype=torch.bool, device=before.device)
    norm = matrix_norm(bound.R)
    for D in (torch.ones_like(before), before):
        norm = matrix_norm(D * bound.R / D.mT)
        explained = 10 * _UNIT * vector_norm(D * (bound.A @ (bound.X @ (1 / D))), dim=(-2, -1)) / m**0.5
        kept = kept & (norm <= explained.clamp_min(tol))
    return kept, norm


def _rounded_error_bound(error_bound: Tensor, X: Tensor, rounded: Tensor) -> Tensor:
    """Return the bound of :func:`~skdmi.linalg.certificate.rounded_error_bound`, for entries within the range."""
    m = X.shape[-1]
    longest = X.square().sum(dim=-2).amax(dim=-1).sqrt()
    distance = rounded_up(matrix_norm(rounded.double() - X) / longest, m * m)
    return torch.where(distance == 0, error_bound, rounded_up(error_bound + (1 + error_bound) * distance, m))
