"""Proofs from a residual: that a matrix is nonsingular, how good its computed inverse is, how it is conditioned."""

from typing import NamedTuple

import torch
from torch import Tensor

from skdmi.linalg.elementary import _power_of_two, residual, scale_by_power_of_two

_UNIT = 2.0**-53
"""The unit roundoff of float64, in which everything here is computed."""
_NEGLIGIBLE = 2.0**-960
"""Beside entries near 1, far below rounding and far above all that underflow takes, gradual or flushed to zero."""
_HARMLESS_EXPONENT = -1012
"""A loss below 2 to this power is below ``_UNIT * _NEGLIGIBLE``."""
_LARGEST_SPAN = 800
"""Rows whose scales differ by more powers of two than this are beyond the error bound, not beyond the proof."""


def scale_rows(A: Tensor, exponent: Tensor) -> Tensor:
    """Return ``D A`` with ``D = diag(2^exponent)``, ``(..., m, n)`` by ``(..., m)``: :func:`scale_by_power_of_two`.

    >>> scale_rows(torch.ones(2, 2), torch.tensor([0, 3]))
    tensor([[1., 1.],
            [8., 8.]])
    """
    return scale_by_power_of_two(A.unsqueeze(-2), exponent).squeeze(-2)


def scale_columns(A: Tensor, exponent: Tensor) -> Tensor:
    """Return ``A D`` with ``D = diag(2^exponent)``, ``(..., m, n)`` by ``(..., n)``.

    >>> scale_columns(torch.ones(2, 2), torch.tensor([0, 3]))
    tensor([[1., 8.],
            [1., 8.]])
    """
    return scale_rows(A.mT, exponent).mT


def equilibrate(A: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    r"""Bring the largest entry of every row, then of every column, to [1/2, 1) by powers of two.

    .. math:: A = D_1^{-1} A' D_2^{-1}, \quad A^{-1} = D_2 A'^{-1} D_1, \quad
       D_1 = \operatorname{diag}(2^{r_i}), \quad D_2 = \operatorname{diag}(2^{c_j})

    Exact, save that an entry more than the dtype's range below the largest of its row loses bits or becomes zero. Rows
    and columns of zeros have the exponent 0. The inverse of A is thus
    ``scale_columns(scale_rows(inverse_of_scaled, column_exponent), row_exponent)``.

    Parameters
    ----------
    A : Tensor of shape (..., m, m)
        Finite, float32 or float64.

    Returns
    -------
    scaled : Tensor of shape (..., m, m)
    row_exponent, column_exponent : int32 Tensors of shape (..., m)

    Examples
    --------
    >>> scaled, row_exponent, column_exponent = equilibrate(torch.tensor([[6.0, 0.0], [1.0, 0.25]]))
    >>> scaled
    tensor([[0.7500, 0.0000],
            [0.5000, 0.5000]])
    >>> row_exponent, column_exponent
    (tensor([-3, -1], dtype=torch.int32), tensor([0, 2], dtype=torch.int32))
    """
    row_exponent = -_exponent_of_largest(A, dim=-1)
    scaled = scale_rows(A, row_exponent)
    column_exponent = -_exponent_of_largest(scaled, dim=-2)
    return scale_columns(scaled, column_exponent), row_exponent, column_exponent


def _exponent_of_largest(A: Tensor, dim: int) -> Tensor:
    return torch.frexp(A.detach().abs().amax(dim=dim)).exponent


class Certificate(NamedTuple):
    """What is proved of each matrix A of a stack and its computed inverse X; every field has shape (...)."""

    certified: Tensor
    """bool: A, and every matrix that rounds to it, is nonsingular."""
    rho: Tensor
    """An upper bound on ``||D (I - A X) D^-1||`` in the maximum row sum norm, where the powers of two D bring the rows
    of A near 1; in that norm also on the relative error of X. Below 1 where certified."""
    error_bound: Tensor
    """An upper bound on ``||X - A^-1|| / ||A^-1||``, spectral and Frobenius; NaN where uncertified, infinite where
    nothing is known."""
    condition_lower: Tensor
    """A lower bound on the condition number ``||A||_1 ||A^-1||_1``; NaN where uncertified."""
    condition_upper: Tensor
    """An upper bound on it; infinite where nothing is known."""


@torch.no_grad()
def certify(A: Tensor, X: Tensor) -> Certificate:
    r"""Prove, matrix by matrix, that A is nonsingular and that X is close to its inverse: one product.

    With the powers of two :math:`D` that bring the largest entry of every row of A to [1/2, 1), :math:`A' = D A`,
    :math:`X' = X D^{-1}`, and u the unit roundoff of the dtype of A, form in float64

    .. math:: R = I - A' X', \quad E = |R| + g\,(I + |A'| |X'|), \quad g = (m + 3)\, 2^{-53} + u, \quad
       \rho = \|E\|_\infty .

    In exact arithmetic :math:`|I - D \tilde A X'| \le E` for every :math:`\tilde A` that rounds to A: the terms of g
    are the rounding of the product [2]_, of the difference, and of :math:`\tilde A` to A. So :math:`\rho < 1` proves
    :math:`\tilde A` nonsingular [1]_; a matrix whose stored bits are singular cannot pass, whatever X is. Powers of two
    on the columns would cancel from R and are left out. :math:`E` is never formed: its products with vectors suffice.

    The proof survives

    - every setting of the matrix product: float64 knows neither TF32 nor autocast (the product must be an ordinary one,
      neither Strassen's nor an emulation);
    - underflow, gradual or flushed to zero: added to :math:`|R|` and :math:`|A'|` is more than it can take away; a
      subnormal entry that was flushed where it counts is found by its bits, and not certified;
    - overflow and entries that are not finite: they make :math:`\rho` infinite or NaN.

    **Error.** :math:`X' - (DA)^{-1} = -(DA)^{-1} R = -X' (R + R^2 + \dots)`, hence two bounds, of which the smaller is
    taken. With :math:`F = D^{-1} E D` and e the vector of ones,

    .. math:: \frac{\|X - A^{-1}\|}{\|A^{-1}\|} \le \|F\|_2 \le \max_j (F^T F e)_j^{1/2} ,

    the better one if the rows of A are of one scale. Whatever their scales, the row sums of :math:`|X - A^{-1}|` are at
    most :math:`|X'| (z + \frac{\rho}{1 - \rho} \max_i z_i\, e)` with :math:`z = E D e`, so that with q the Euclidean
    norm of these over the largest of a column of X, the relative error is at most :math:`q / (1 - q)`.

    **Condition.** With :math:`\epsilon` the error bound, :math:`\kappa_1(A)` lies between
    :math:`\|A\|_1 \|X\|_1 / (1 + m \epsilon)` and :math:`\|A\|_1 \|X\|_1 / (1 - m \epsilon)`.

    Parameters
    ----------
    A, X : Tensors of shape (..., m, m)
        float32 or float64: matrices and what are said to be their inverses.

    Returns
    -------
    Certificate
        On the device of A; on the CPU where that has no float64.

    References
    ----------
    .. [1] Ogita, Rump and Oishi, "Verified solutions of linear systems without directed rounding", Tech. Rep. 2005-04,
       Waseda University, 2005.
    .. [2] Higham, "Accuracy and stability of numerical algorithms", 2nd edition, SIAM, 2002, sections 2.2 and 3.5.

    Examples
    --------
    >>> A = torch.tensor([[[2.0, 0.0], [0.0, 4.0]], [[1.0, 2.0], [2.0, 4.0]]])
    >>> X = torch.tensor([[0.5, 0.0], [0.0, 0.25]]).expand(2, 2, 2)
    >>> certificate = certify(A, X)
    >>> certificate.certified
    tensor([ True, False])
    >>> certificate.error_bound < 2e-7
    tensor([ True, False])
    """
    m = A.shape[-1]
    A64, X64 = _double(A), _double(X)
    exponent = _exponent_of_largest(A64, dim=-1)
    A_scaled, X_scaled = scale_rows(A64, -exponent), scale_columns(X64, exponent)
    flushed = _flushed(A, A_scaled, -exponent.unsqueeze(-1)) | _flushed(X, X_scaled, exponent.unsqueeze(-2))

    # A matrix that rounds to A differs from it by at most u max(|A|, tiny).
    tiny = scale_rows(torch.full_like(A64[..., :1], torch.finfo(A.dtype).tiny), -exponent)
    bound = _ResidualBound(
        R=residual(A_scaled, X_scaled).abs() + _NEGLIGIBLE,
        A=A_scaled.abs() + (tiny + _NEGLIGIBLE),
        X=X_scaled.abs(),
        g=(m + 3) * _UNIT + torch.finfo(A.dtype).eps / 2,
    )
    rho = _rounded_up(bound.times(torch.ones_like(A64[..., :1])).amax(dim=(-2, -1)), m)
    certified = (rho < 1) & ~flushed
    error_bound = torch.where(certified, _error_bound(bound, rho, exponent), torch.nan)
    return Certificate(certified, rho, error_bound, *_condition_interval(A64, X64, error_bound))


class _ResidualBound(NamedTuple):
    """``E = |R| + g (I + |A| |X|)``, known by its products with vectors; the entries are absolute values."""

    R: Tensor
    A: Tensor
    X: Tensor
    g: float

    def times(self, z: Tensor) -> Tensor:
        """Return ``E z``, z of shape (..., m, 1)."""
        return self.R @ z + self.g * (z + self.A @ (self.X @ z))

    def transposed(self) -> "_ResidualBound":
        return _ResidualBound(self.R.mT, self.X.mT, self.A.mT, self.g)


def _error_bound(bound: _ResidualBound, rho: Tensor, exponent: Tensor) -> Tensor:
    """Return the bound on the relative error of X, infinite where there is none; ``D = diag(2^-exponent)``."""
    m = exponent.shape[-1]
    span = exponent.amax(dim=-1, keepdim=True) - exponent
    too_wide = span.amax(dim=-1) > _LARGEST_SPAN
    D = _power_of_two(span.clamp_max(_LARGEST_SPAN), rho.dtype).unsqueeze(-1)
    z = bound.times(D)
    of_one_scale = (bound.transposed().times(z / D / D) * D).amax(dim=(-2, -1)).sqrt()

    rho = rho[..., None, None]
    row_sums = bound.X @ (z + rho / (1 - rho) * z.amax(dim=-2, keepdim=True))
    columns = torch.linalg.vector_norm(bound.X * D.mT, dim=-2)
    q = _rounded_up(torch.linalg.vector_norm(row_sums, dim=(-2, -1)) / columns.amax(dim=-1), m)
    of_any_scale = torch.where(q < 1, q / (1 - q), torch.inf)

    smaller = torch.fmin(_rounded_up(of_one_scale, m), of_any_scale)
    return smaller.masked_fill(too_wide | smaller.isnan(), torch.inf)


def _condition_interval(A: Tensor, X: Tensor, error_bound: Tensor) -> tuple[Tensor, Tensor]:
    m = A.shape[-1]
    product = A.abs().sum(dim=-2).amax(dim=-1) * X.abs().sum(dim=-2).amax(dim=-1)
    slack = _rounded_up(m * error_bound, m)
    lower = torch.where(product.isfinite(), product / _rounded_up(1 + slack, m), 1).clamp_min(1)
    upper = torch.where(slack < 1, _rounded_up(product, m) / (1 - slack), torch.inf)
    return lower.masked_fill(error_bound.isnan(), torch.nan), upper


def _rounded_up(value: Tensor, m: int) -> Tensor:
    """Return no less than the exact value of what was computed by at most 4 m + 30 additions and products."""
    return value * (1 + (4 * m + 32) * _UNIT)


def _double(A: Tensor) -> Tensor:
    return (A.cpu() if A.device.type == "mps" else A).double()


def _flushed(A: Tensor, scaled: Tensor, exponent: Tensor) -> Tensor:
    """Return which matrices lost a subnormal entry to a flush to zero; scaled is ``2^exponent A``, entry by entry.

    Asked of the entries themselves, since every thread has its own mode. What is lost is below the least normal number
    of the dtype; an entry that vanished by being scaled down, or nearly so, is harmless.
    """
    bits = {torch.float32: torch.int32, torch.float64: torch.int64}[A.dtype]
    vanished = (A.abs().view(bits) != 0).to(scaled.device) & (scaled == 0)
    lowest = torch.frexp(torch.tensor(torch.finfo(A.dtype).tiny)).exponent.item()
    return (vanished & (exponent + lowest > _HARMLESS_EXPONENT)).any(dim=-1).any(dim=-1)
