"""Proofs from a residual: that a matrix is nonsingular, how good its computed inverse is, how it is conditioned."""

from typing import NamedTuple

import torch
from torch import Tensor

from skdmi.linalg.elementary import _power_of_two, double, scale_by_power_of_two

_UNIT = 2.0**-53
"""The unit roundoff of float64, in which everything here is computed."""
_UNDERFLOW = 2.0**-900
"""Beside entries near 1, far below rounding, and far above what underflow takes away."""
_LARGEST_EXPONENT = 1020
"""The powers of two up to this one, and their inverses, are normal numbers."""
_LARGEST_COLUMN = 1023
"""The largest power of two that is a number."""
_WIDE = 400
"""Columns whose scales differ by more powers of two than this, beside rows near 1, may need powers of their own."""
_LARGEST_SPAN = 800
"""Rows whose scales differ by more powers of two than this have no error bound: it would underflow."""


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
    on the columns cancel from R and are left out, save below. :math:`E` is never formed; its products with vectors
    suffice.

    **Error.** :math:`X' - (DA)^{-1} = -(DA)^{-1} R = -X' (R + R^2 + \dots)`, hence two bounds, of which the smaller is
    taken. With :math:`F = D^{-1} E D` and e the vector of ones,

    .. math:: \frac{\|X - A^{-1}\|}{\|A^{-1}\|} \le \|F\|_2 \le \max_j (F^T F e)_j^{1/2} ,

    the better one if the rows of A are of one scale. Whatever their scales, the row sums of :math:`|X - A^{-1}|` are at
    most :math:`|X'| (z + \frac{\rho}{1 - \rho} \max_i z_i\, e)` with :math:`z = E D e`, so that with q the Euclidean
    norm of these over that of the longest column of X, the relative error is at most :math:`q / (1 - q)`.

    **Columns of very different scales**, by more than :math:`2^{400}`, would drown in the allowance for underflow (see
    Notes). What has no certificate then gets another chance: with powers of two :math:`D_2 \ge 1` that bring the
    columns of :math:`D A` near 1, the same is proved of :math:`A D_2` and :math:`D_2^{-1} X`, which have the same
    :math:`A X`. :math:`A D_2` has no entry above :math:`D^{-1}`, and loses nothing: its entries only grow.
    :math:`D_2^{-1} X` must be exact. The error bound is infinite there.

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

    Notes
    -----
    The proof holds under every setting: float64 products know neither TF32 nor autocast (they must be ordinary ones,
    neither Strassen's nor emulated), and what is not finite, on entry or by overflow, makes :math:`\rho` infinite or
    NaN. Underflow may be gradual or flush to zero, in each thread as it pleases: :math:`|A'|` is enlarged by more than
    g needs to outweigh it. There are four losses.

    - A subnormal entry of A, read as zero, and the rounding of :math:`\tilde A` to a subnormal number: together at most
      ``(1 + u) tiny``, tiny being the least normal number of the dtype; times :math:`D` and :math:`D_2`.
    - An entry of A more than :math:`2^{1021}` below the largest of its row: :math:`2^{-1022}` of :math:`A'`.
    - A product or a sum within R: at most :math:`2^{-1021} m`. A certified X has
      :math:`\sum_k |X'_{kj}| \ge 1 - |R_{jj}| \ge g`, so :math:`2^{-900}` in all entries of :math:`A'` adds more to E.
    - An entry of X: the proof holds for every X, and the bound adds ``m tiny`` over :math:`\|A^{-1}\| \ge 1 / \|A\|`.

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
    m, limits = A.shape[-1], torch.finfo(A.dtype)
    A64, X64 = double(A), double(X)
    A_abs, X_abs = A64.abs(), X64.abs()
    exponent = _row_exponent(A_abs)
    no_columns = torch.zeros_like(exponent)
    rho, bound = _residual_bound(A64, X64, exponent, no_columns, limits)
    certified = rho < 1
    A_norm, X_norm = (_column_sums(B).amax(dim=(-2, -1)) for B in (A_abs, X_abs))
    lost = m * m * torch.finfo(X.dtype).tiny * A_norm
    error_bound = torch.where(certified, _error_bound(bound, rho, exponent) + lost, torch.nan)
    del bound
    columns = _column_exponent(A_abs, exponent)
    again = ~certified & (columns.amax(dim=-1) > _WIDE)
    if again.any():
        rho[again] = torch.fmin(rho[again], _rho_by_columns(A64[again], X64[again], columns[again], limits))
        certified = rho < 1
        error_bound[again & certified] = torch.inf
    return Certificate(certified, rho, error_bound, *_condition_interval(A_norm * X_norm, error_bound, m))


def _row_exponent(A_abs: Tensor) -> Tensor:
    # Beyond the limit 2^-exponent is no normal number; such rows come as near 1 as they can, which is near enough.
    return torch.frexp(A_abs.amax(dim=-1)).exponent.clamp(-_LARGEST_EXPONENT, _LARGEST_EXPONENT)


def _column_exponent(A_abs: Tensor, row_exponent: Tensor) -> Tensor:
    """Return the exponents, 0 or more, that bring the columns of ``D A`` near 1, by integers: without underflow."""
    beside_row = torch.frexp(A_abs).exponent - row_exponent.unsqueeze(-1)
    is_normal = A_abs >= torch.finfo(A_abs.dtype).tiny
    largest = torch.where(is_normal, beside_row, -(2**15)).amax(dim=-2)
    return torch.where(is_normal.any(dim=-2), -largest, 0).clamp(0, _LARGEST_COLUMN)


def _rho_by_columns(A: Tensor, X: Tensor, exponent: Tensor, limits: torch.finfo) -> Tensor:
    """Return rho of ``A D_2`` and ``D_2^-1 X``, ``D_2 = diag(2^exponent)``; infinite where those are not exact."""
    scaled = scale_rows(X, -exponent)
    exact = (scale_rows(scaled, exponent) == X).all(dim=-1).all(dim=-1)
    rho, _ = _residual_bound(scale_columns(A, exponent), scaled, _row_exponent(A.abs()), exponent, limits)
    return torch.where(exact, rho, torch.inf)


def _residual_bound(
    A64: Tensor, X64: Tensor, exponent: Tensor, column_exponent: Tensor, limits: torch.finfo
) -> tuple[Tensor, "_ResidualBound"]:
    """Return rho and E for ``D = diag(2^-exponent)``; A64 is A with its columns scaled by ``2^column_exponent``."""
    m = A64.shape[-1]
    D, inverse_D = (_power_of_two(e, A64.dtype) for e in (-exponent.unsqueeze(-1), exponent.unsqueeze(-2)))
    DA, XD = D * A64, X64 * inverse_D
    R = (DA @ XD).neg_()
    R.diagonal(dim1=-2, dim2=-1).add_(1)
    # This order: D alone times so little could underflow; beyond the range the guard is infinite, and rho with it.
    guard = D * _power_of_two(column_exponent.unsqueeze(-2), D.dtype) * (4 * limits.tiny / limits.eps)
    bound = _ResidualBound(
        R=R.abs_(),
        A=DA.abs_().add_(guard + _UNDERFLOW),
        X=XD.abs_(),
        g=(m + 3) * _UNIT + limits.eps / 2,
    )
    return _rounded_up(bound.times(torch.ones_like(D)).amax(dim=(-2, -1)), m), bound


class _ResidualBound(NamedTuple):
    """``E = |R| + g (I + |A| |X|)``, known by its products with vectors; R, A and X are absolute values."""

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
    # Only ratios of the scales matter: the largest row gets 1.
    span = (exponent.amax(dim=-1, keepdim=True) - exponent).unsqueeze(-1)
    D = _power_of_two(span.clamp_max(_LARGEST_SPAN), rho.dtype)
    z = bound.times(D)
    of_one_scale = _rounded_up((D * bound.transposed().times(z / D / D)).amax(dim=(-2, -1)).sqrt(), m)

    rho = rho[..., None, None]
    row_sums = bound.X @ (z + rho / (1 - rho) * z.amax(dim=-2, keepdim=True))
    columns = _column_sums(bound.X.square()).sqrt() * D.mT
    q = _rounded_up(torch.linalg.vector_norm(row_sums, dim=(-2, -1)) / columns.amax(dim=(-2, -1)), m)
    of_any_scale = torch.where(q < 1, q / (1 - q), torch.inf)

    smaller = torch.fmin(of_one_scale, of_any_scale)
    return smaller.masked_fill((span > _LARGEST_SPAN).any(dim=-2).squeeze(-1) | smaller.isnan(), torch.inf)


def _condition_interval(product: Tensor, error_bound: Tensor, m: int) -> tuple[Tensor, Tensor]:
    """Return the bounds on the condition number; product is ``||A||_1 ||X||_1``."""
    slack = _rounded_up(m * error_bound, m)
    lower = torch.where(product.isfinite(), product / _rounded_up(1 + slack, m), 1).clamp_min(1)
    upper = torch.where(slack < 1, _rounded_up(product, m) / (1 - slack), torch.inf)
    return lower.masked_fill(error_bound.isnan(), torch.nan), upper


def _column_sums(A: Tensor) -> Tensor:
    """Return ``e^T A``, (..., 1, m): for thousands of tiny matrices a product is faster than a sum."""
    return A.new_ones(1, A.shape[-1]) @ A


def _rounded_up(value: Tensor, m: int) -> Tensor:
    """Return no less than the exact value of what was computed by at most 4 m + 30 additions and products."""
    return value * (1 + (4 * m + 32) * _UNIT)
