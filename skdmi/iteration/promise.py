"""The promise of every refined inverse, judged in the units of the matrix as well."""

import math

import torch
from torch import Tensor
from torch.linalg import matrix_norm

from skdmi.linalg.residuals import identity_like
from skdmi.linalg.scaling import exponents, power_of_two, scale_both, scale_by_power_of_two

_UNIT = 2.0**-53
_WIDEST = 900
"""Products with powers of two that far apart stay in range."""


def keeps_promise(A: Tensor, X: Tensor, units: list[Tensor], tol: float = 0.0, known: Tensor | None = None) -> Tensor:
    r"""Return whether both residuals are at most ``tol``, or what rounding explains, in any units.

    .. math:: \|I - A X\|_F \le 10 u \, \| |A| |X| \|_F, \quad \|I - X A\|_F \le 10 u \, \| |X| |A| \|_F

    of the equilibrated matrix as of the one in its own units.

    One product for each side on which something is asked; one more where scales lie very far apart.

    Parameters
    ----------
    A, X : Tensors of shape (n_matrices, m, m)
        float64: the equilibrated matrix and its inverse.
    units : list of two int32 Tensors of shape (n_matrices, m)
        The exponents of rows and columns that :func:`~skdmi.linalg.equilibrate` found.
    tol : float, default=0.0
    known : bool Tensor of shape (n_matrices,), optional
        Where that is known already of the right residual of the equilibrated matrix.

    Examples
    --------
    >>> A = torch.eye(2, dtype=torch.float64)[None]
    >>> units = [torch.zeros(1, 2, dtype=torch.int32)] * 2
    >>> keeps_promise(A, A, units), keeps_promise(A, 1.1 * A, units)
    (tensor([True]), tensor([False]))
    """
    rows, columns = units
    unknown = torch.ones(len(A), dtype=torch.bool, device=A.device)
    kept = unknown.clone()
    for first, second, exponent, asked in (
        (A, X, rows, unknown if known is None else ~known),
        (X, A, -columns, unknown),
    ):
        graded = exponent.amax(dim=-1) > exponent.amin(dim=-1)
        chosen = asked | graded
        if not chosen.all():
            first, second, exponent, asked, graded = (T[chosen] for T in (first, second, exponent, asked, graded))
        R = identity_like(A) - first @ second
        sizes = first.abs(), second.abs()
        for judged, e in ((asked, torch.zeros_like(exponent)), (graded, exponent)):
            if judged.any():
                kept[chosen] &= _is_explained(R, *sizes, e, tol) | ~judged
    return kept


def _is_explained(R: Tensor, first: Tensor, second: Tensor, exponent: Tensor, tol: float) -> Tensor:
    r"""Return whether ``||D^-1 R D||_F <= 10 u || D^-1 |A| |X| D ||_F`` or ``tol``, ``D = diag(2^exponent)``.

    :math:`\|D^{-1} |A| |X| D e\|_2 / \sqrt m` stands for the norm on the right, which is no smaller, unless the scales
    are too far apart for products with them.
    """
    m = R.shape[-1]
    largest, smallest = exponent.amax(dim=-1, keepdim=True), exponent.amin(dim=-1, keepdim=True)
    span = (largest - smallest).squeeze(-1)
    wide = span > _WIDEST
    powers = torch.stack([exponent - largest, smallest - exponent]).clamp_min(-_WIDEST)
    after, before = power_of_two(powers, torch.float64).unsqueeze(-1)
    allowed = before * (first @ (second @ after)) / m**0.5
    measured = before * R * after.mT
    if wide.any():
        e = exponent[wide]
        P = first[wide] @ second[wide]
        highest = (exponents(P) - e.unsqueeze(-1) + e.unsqueeze(-2)).amax(dim=(-2, -1))
        measured[wide] = scale_both(R[wide], -e, e - highest.unsqueeze(-1))
        allowed[wide] = matrix_norm(scale_both(P, -e, e - highest.unsqueeze(-1)))[:, None, None] / m**0.5
        span = span.index_put((wide,), highest)
    unit = -torch.frexp(allowed.amax(dim=(-2, -1))).exponent
    measured, explained = map(matrix_norm, scale_by_power_of_two(torch.cat([measured, allowed], -1), unit).split(m, -1))
    by_tolerance = torch.log2(measured) <= math.log2(tol) - span + unit if tol > 0 else measured == 0
    return (measured <= 10 * _UNIT * explained) | by_tolerance
