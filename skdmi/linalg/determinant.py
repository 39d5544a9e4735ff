"""Logarithms of determinants, with a proof of the sign and a bound on the error: the defect of the factors is known."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from skdmi.lanes.determinants import LogDeterminant, Parts, log_determinant
from skdmi.linalg.certificate import rounded_up
from skdmi.linalg.doubled import bounded_difference, count_bits
from skdmi.linalg.residuals import check_float, double, identity_like, missing, residual
from skdmi.linalg.scaling import equilibrate, power_of_two
from skdmi.linalg.tight import refine_tightly

__all__ = ["LogDeterminant", "slogdet"]

_UNIT = 2.0**-53
"""The unit roundoff of float64, in which everything here is computed."""
_UNDERFLOW = 2.0**-500
"""Added to every entry of a bound: far above what underflow takes away, far below rounding."""
_LARGEST_INVERSE, _LARGEST_FACTOR = 2.0**300, 2.0**200
"""Entries beyond these would multiply what underflow takes away, and nothing is proved."""
_LOOSE = 2.0**-47
"""An error beside that of the logarithm, and twice its rounding, that is worth a closer look."""


class Factors(NamedTuple):
    """``P A = L U + G`` of each matrix."""

    permuted: Tensor
    """``P A``."""
    L: Tensor
    U: Tensor
    sign: Tensor
    """Of P, as a number; shape (n,)."""


class Correction(NamedTuple):
    """``log|det P A| - log|det L U|``, of each matrix, and what is proved of it; every field has shape (n,)."""

    value: Tensor
    error: Tensor
    """Infinite where nothing is proved."""
    sign: Tensor
    """Of ``det P A / det L U``."""


@torch.no_grad()
def slogdet(A: Tensor) -> LogDeterminant[Tensor]:
    r"""Return sign and logarithm of the determinant of every matrix, and a bound on the error of the logarithm.

    The factors of an elimination are never exact, but what they leave can be measured: to twice the precision, and so
    is what it does to the determinant, to first order. What remains is of second order, and is bounded, by a residual
    of the inverse. Where the bound is finite, the matrix is proved nonsingular and the sign right.

    With the powers of two of :func:`equilibrate`, :math:`A' = D_1 A D_2`, let

    .. math:: P A' = L U + G, \quad K = (P A')^{-1} G, \quad
       \log|\det A'| = \sum_i \log|u_{ii}| + \operatorname{tr} K + \sum_{k \ge 2} \operatorname{tr} K^k / k

    since :math:`L U = P A' (I - K)` and :math:`-\log \det(I - K) = \sum_k \operatorname{tr} K^k / k`, if some norm
    :math:`\tau` of K is below 1. With G known up to dG, :math:`(P A')^{-1}` up to B, entry by entry, and row sums
    :math:`|K| e \le k`, by Schur's inequality

    .. math:: \left| \log|\det A'| - \sum_i \log|u_{ii}| - \operatorname{tr}(X G) \right| \le
       \frac{k^T k}{2 (1 - \tau)} + \sum_{ij} B_{ij} (|G| + dG)_{ji} + \sum_{ij} |X|_{ij}\, dG_{ji}, \quad
       k = (|X| + B)(|G| + dG)\, e, \quad \tau = \max_i k_i.

    **Sign.** Every eigenvalue of K is smaller than 1, so :math:`\det(I - t K)` is not zero for t from 0 to 1, and
    positive, as it is for t = 0: the sign of :math:`\det P A'` is that of the pivots.

    **Inverse.** :math:`(P A')^{-1} - X = X R (I - R)^{-1}` with :math:`R = I - P A' X`. If :math:`|R| \le E` and
    :math:`\rho = \|E\|_\infty < 1`, no entry of :math:`E + E^2 + \dots` exceeds :math:`\phi = \rho / (1 - \rho)`, so
    that :math:`B = \phi\, |X| e e^T`. E is the residual and :math:`(m + 3) u (I + |P A'| |X|)`, which bounds its
    rounding.

    **Defect.** L and U are split, so that the product of the leading parts is exact [1]_; all else is about
    :math:`2^{24}` times smaller, and so is its rounding.

    **Logarithm.** Mantissas of pivots are multiplied in twice the precision, exponents, those of :math:`D_1` and
    :math:`D_2` included, are added as integers n: one logarithm of a number between :math:`2^{-1/2}` and
    :math:`2^{1/2}` is taken, and n times log 2 in two parts is added. The bound is about
    :math:`u\,|\log|\det A|| + 2 u`, if A is not ill-conditioned.

    **A closer look.** Where that bound is loose, X is made exact to about its last bit, and its residual is formed in
    thrice the precision: with :math:`s_j = \max_i E_{ij}`, :math:`E^k \le \rho^{k-1} e s^T`, therefore
    :math:`B = W + W e s^T / (1 - \rho)` with :math:`W \ge |X R|`. So is G. Then K is known entry by entry, and the
    logarithm of :math:`\det(I - K)` is found as above, as that of a well-conditioned matrix, whatever the norm of K is.
    So bounds near :math:`10^{-13}` are reached at condition numbers of :math:`10^{16}`.

    Parameters
    ----------
    A : Tensor of shape (..., m, m)
        Matrices, float32 or float64.

    Returns
    -------
    LogDeterminant
        ``sign``, ``log_abs_det`` (a natural logarithm) and ``log_abs_det_bound``, float64, of shape (...), on the
        device of A; on the CPU where that has no float64. They speak of A as it is stored. The bound is infinite where
        nothing is proved; with a pivot of zero sign and logarithm are 0 and -inf, as numpy has them, and of a matrix
        that is not finite both are NaN.

    Raises
    ------
    ValueError
        If A does not hold square matrices.

    Notes
    -----
    The proof holds under every setting of torch, as that of :func:`certify` does. The logarithm of the library may be
    off by four units in the last place. What underflow, gradual or not, takes away of :math:`A'` and of any product is
    at most :math:`2^{-1000}`; bounds on the sizes of X and U, beyond which nothing is proved, and :math:`2^{-500}` in
    every entry of E and dG make up for it.

    References
    ----------
    .. [1] Ozaki, Ogita, Oishi and Rump, "Error-free transformations of matrix multiplication by using fast routines of
       matrix multiplication and its applications", Numer. Algorithms 59, 2012.
    .. [2] Ogita, Rump and Oishi, "Accurate sum and dot product", SIAM J. Sci. Comput. 26, 2005.
    .. [3] Rump, "Verification methods: Rigorous results using floating-point arithmetic", Acta Numerica 19, 2010.
    .. [4] Higham, "Accuracy and stability of numerical algorithms", 2nd edition, SIAM, 2002, chapters 3, 9 and 14.

    Examples
    --------
    >>> A = torch.tensor([[[0.0, 2.0], [4.0, 0.0]], [[1.0, 2.0], [2.0, 4.0]]])
    >>> sign, log_abs_det, bound = slogdet(A)
    >>> sign, log_abs_det
    (tensor([-1.,  0.], dtype=torch.float64), tensor([2.0794,   -inf], dtype=torch.float64))
    >>> bound < 1e-15
    tensor([ True, False])
    """
    check_float("A", A)
    m, shape = A.shape[-1], A.shape[:-2]
    A64 = double(A.detach()).reshape(math.prod(shape), m, m)
    if A64.numel() == 0:
        one = A64.new_ones(shape)
        return LogDeterminant(one, one - 1, one - 1)
    is_lacking = missing(A64)
    scaled, rows, columns = equilibrate(torch.where(is_lacking[:, None, None], identity_like(A64), A64))
    factors = _factor(scaled)
    correction = _correct(factors)
    exponent = rows.sum(dim=-1, dtype=torch.int64) + columns.sum(dim=-1, dtype=torch.int64)
    sign, log_abs_det, bound = _finish(factors, correction, exponent)
    loose = ~(correction.error <= _LOOSE + 2 * _UNIT * log_abs_det.abs())
    if loose.any():
        factors = Factors(*(field[loose] for field in factors))
        closer = _finish(factors, _look_closer(factors), exponent[loose])
        better = ~(bound[loose] <= closer.log_abs_det_bound)
        for known, found in zip((sign, log_abs_det, bound), closer, strict=True):
            known[loose] = torch.where(better & closer.log_abs_det_bound.isfinite(), found, known[loose])
    sign[is_lacking] = log_abs_det[is_lacking] = torch.nan
    bound[is_lacking] = torch.inf
    return LogDeterminant(sign.reshape(shape), log_abs_det.reshape(shape), bound.reshape(shape))


def _factor(A: Tensor) -> Factors:
    """Eliminate with partial pivoting, a stack (n, m, m)."""
    LU, pivots, _ = torch.linalg.lu_factor_ex(A)
    P, L, U = torch.lu_unpack(LU, pivots)
    n_exchanges = (pivots != torch.arange(1, A.shape[-1] + 1, device=A.device)).sum(dim=-1)
    return Factors(P.mT @ A, L.contiguous(), U.contiguous(), 1.0 - 2.0 * (n_exchanges % 2))


def _correct(factors: Factors, uncertain: Tensor | None = None) -> Correction:
    """Return the correction to first order; the matrix itself may be uncertain by so much, entry by entry."""
    m = factors.U.shape[-1]
    X, rows, phi = _inverse(factors)
    G, beside = _defect(factors)
    X_size = X.abs()
    g = rounded_up(G.abs().sum(dim=-1, keepdim=True) + m * beside, m)
    k = X_size @ g + rows * (phi * _total(g))
    error = _second(k) + rows.amax(dim=-2, keepdim=True) * (phi * _total(g))
    error = error + (m * m + 6) * _UNIT * _total(k) + beside * _total(rows)
    if uncertain is not None:
        g = uncertain.sum(dim=-1, keepdim=True)
        error = error + _second(X_size @ g + rows * (phi * _total(g)))
        error = error + phi * _total(uncertain @ rows) + (X_size * uncertain.mT).sum(dim=(-2, -1), keepdim=True)
    largest = (X_size.amax(dim=(-2, -1)) < _LARGEST_INVERSE) & (factors.U.abs().amax(dim=(-2, -1)) < _LARGEST_FACTOR)
    error = rounded_up(error, m * m).squeeze((-2, -1)) + _UNDERFLOW
    error = torch.where(largest & error.isfinite(), error, torch.inf)
    value = (X * G.mT).sum(dim=(-2, -1))
    return Correction(torch.where(value.isfinite(), value, 0.0), error, torch.ones_like(value))


def _total(v: Tensor) -> Tensor:
    """Return the sum of every vector, (n, m, 1) to (n, 1, 1)."""
    return v.sum(dim=-2, keepdim=True)


def _second(k: Tensor) -> Tensor:
    """Return a bound on all but the first term of ``log det(I - K)``, (n, 1, 1), infinite where there is none."""
    k = rounded_up(k, 2 * k.shape[-2])
    tau = k.amax(dim=-2, keepdim=True)
    return torch.where(tau < 1, _total(k * k) / (2 * (1 - tau)), torch.inf)


def _solve(L: Tensor, U: Tensor) -> Tensor:
    """Return ``U^-1 L^-1``; where a pivot is zero, it is not finite."""
    X = torch.linalg.solve_triangular(L, identity_like(L).expand_as(L), upper=False, unitriangular=True)
    return torch.linalg.solve_triangular(U, X, upper=True).contiguous()


def _inverse(factors: Factors) -> tuple[Tensor, Tensor, Tensor]:
    """Return X, its absolute row sums x, and phi: ``|A^-1 - X| <= phi x e^T``; infinite or NaN where there is none."""
    A, L, U, _ = factors
    m = A.shape[-1]
    X = _solve(L, U)
    rows = X.abs().sum(dim=-1, keepdim=True)
    largest = A.abs().amax(dim=(-2, -1), keepdim=True)
    rho = residual(A, X).abs_().sum(dim=-1, keepdim=True).amax(dim=-2, keepdim=True)
    rho = rounded_up(rho + (m + 3) * _UNIT * (1 + largest * _total(rows)) + m * _UNDERFLOW, m)
    return X, rounded_up(rows, m), rounded_up(_geometric(rho, rho), m)


def _defect(factors: Factors) -> tuple[Tensor, Tensor]:
    """Return G and b, (n, 1, 1), with ``|A - L U - G| <= 3 u |G| + b``; infinite or NaN where there is none.

    L is split, and so is U, at one place for all entries of a matrix, which suffices where that is equilibrated.
    """
    A, L, U, _ = factors
    m, n_bits = A.shape[-1], count_bits(A.shape[-1])
    L_size, U_size = L.abs(), U.abs()
    power = _power_above(U_size.amax(dim=(-2, -1), keepdim=True))
    L_lead, U_lead = _leading(L, _magnet(torch.full_like(power, 2.0), n_bits)), _leading(U, _magnet(power, n_bits))
    G = (A - L_lead @ U_lead) - (L_lead @ (U - U_lead) + (L - L_lead) @ U)
    row = L_size.sum(dim=-1, keepdim=True).amax(dim=-2, keepdim=True) + m * 2.0**-n_bits
    column = U_size.sum(dim=-2, keepdim=True).amax(dim=-1, keepdim=True)
    beside = rounded_up((m + 6) * _UNIT * 2.0**-n_bits * (row * power / 2 + column) + _UNDERFLOW, m)
    return G, torch.where(L_size.amax(dim=(-2, -1), keepdim=True) <= 1 + 2.0**-40, beside, torch.inf)


def _look_closer(factors: Factors) -> Correction:
    """Return the correction by the factors of ``I - K``, K entry by entry."""
    A, L, U, _ = factors
    m = A.shape[-1]
    inverse = refine_tightly(A, _solve(L, U), lambda P: torch.linalg.inv_ex(P).inverse)
    X, B = inverse.inverse, inverse.entry_bound
    G, dG = bounded_difference(A, L, U)
    size = X.abs().amax(dim=(-2, -1)) + B.amax(dim=(-2, -1)) + U.abs().amax(dim=(-2, -1))
    lost = ~(size < _LARGEST_FACTOR)
    X, B, G, dG = (T.masked_fill(lost[:, None, None], 0.0) for T in (X, B, G, dG))
    N = identity_like(A) - X @ G
    uncertain = B @ (G.abs() + dG) + X.abs() @ (dG + (m + 2) * _UNIT * G.abs()) + _UNDERFLOW
    uncertain.diagonal(dim1=-2, dim2=-1).add_(_UNIT * N.diagonal(dim1=-2, dim2=-1).abs())
    inner = _factor(N)
    correction = _correct(inner, rounded_up(uncertain, m))
    sign, value, error = _finish(inner, correction, torch.zeros_like(lost, dtype=torch.int64))
    nothing = lost | ~error.isfinite()
    return Correction(
        torch.where(nothing, 0.0, -value), error.masked_fill(nothing, torch.inf), torch.where(nothing, 1.0, sign)
    )


def _geometric(rho: Tensor, s: Tensor) -> Tensor:
    """Return ``s / (1 - rho)``, infinite where that diverges."""
    return torch.where(rho < 1, s / (1 - rho), torch.inf)


def _power_above(largest: Tensor) -> Tensor:
    """Return a power of two above numbers, from ``2^-600`` to ``2^300``; what is beyond is found elsewhere."""
    exponent = torch.frexp(torch.where(largest < _LARGEST_INVERSE, largest, 1.0)).exponent
    return power_of_two(exponent.clamp_min(-600), torch.float64)


def _magnet(power: Tensor, n_bits: int) -> Tensor:
    """Return what draws so many bits, below a power of two, out of a number that is added."""
    return power * (1.5 * 2.0 ** (52 - n_bits))


def _leading(A: Tensor, magnet: Tensor) -> Tensor:
    return (A + magnet) - magnet


def _finish(factors: Factors, correction: Correction, scale: Tensor) -> LogDeterminant[Tensor]:
    """Return sign, logarithm and bound of ``2^-scale`` times the determinant of the matrix before its permutation."""
    pivots = factors.U.diagonal(dim1=-2, dim2=-1)
    signs = torch.where(pivots < 0, -1.0, torch.where(pivots > 0, 1.0, pivots)).prod(dim=-1)
    mantissa, exponent = torch.frexp(pivots.abs())
    high, low, carried = _product(mantissa)
    parts = Parts(high, low, (exponent.sum(dim=-1) - carried - scale).double(), correction.value, correction.error)
    log_abs_det, bound = log_determinant(parts, pivots.shape[-1], torch.log)
    return LogDeterminant(factors.sign * signs * correction.sign, log_abs_det, bound)


def _product(mantissas: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return high, low and an integer: ``2^-integer (high + low)`` is the product over the last axis, (..., m).

    Numbers lie in [1/2, 1); in twice the precision, by pairs, so that each multiplication costs ``8 u^2``, relatively.
    """
    high, low = mantissas, torch.zeros_like(mantissas)
    carried = torch.zeros_like(mantissas[..., 0], dtype=torch.int64)
    while high.shape[-1] > 1:
        if high.shape[-1] % 2:
            high, low = (torch.cat([T, torch.full_like(T[..., :1], one)], dim=-1) for T, one in ((high, 0.5), (low, 0)))
            carried = carried - 1
        (a, b), (a_low, b_low) = high.unflatten(-1, (-1, 2)).unbind(-1), low.unflatten(-1, (-1, 2)).unbind(-1)
        product, error = _two_product(a, b)
        error = error + (a * b_low + a_low * b)
        high = product + error
        low = error - (high - product)
        is_small = high < 0.5
        high, low = torch.where(is_small, 2 * high, high), torch.where(is_small, 2 * low, low)
        carried = carried + is_small.sum(dim=-1)
    return high[..., 0], low[..., 0], carried


def _two_product(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rounded product and what rounding took from it, exactly: Dekker's and Veltkamp's."""
    product = a * b
    (a_high, a_low), (b_high, b_low) = _halves(a), _halves(b)
    return product, a_low * b_low - (((product - a_high * b_high) - a_low * b_high) - a_high * b_low)


def _halves(a: Tensor) -> tuple[Tensor, Tensor]:
    spread = (2.0**27 + 1) * a
    high = spread - (spread - a)
    return high, a - high
