"""Proofs from a residual: that a matrix is nonsingular, how good its computed inverse is, how it is conditioned."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.linalg import matrix_norm

from skdmi.linalg.residuals import check_pair, double
from skdmi.linalg.scaling import (
    Equilibrated,
    equilibrate,
    near_one,
    power_of_two,
    scale_both,
    scale_by_power_of_two,
    split_exponent,
)

_UNIT = 2.0**-53
"""The unit roundoff of float64, in which everything here is computed."""
_UNDERFLOW = 2.0**-900
"""Beside entries near 1, far below rounding, and far above what underflow takes away."""
_LOOSE = 2.0**-26
_OFF_SCALE = 16.0
"""An error bound above the first, or above rho by the second, may be due to units, and is sought in another way."""
_SPAN = 800
"""Scales that differ by more powers of two than this are brought to it, on the safe side."""


class Certificate(NamedTuple):
    """What is proved of each matrix A of a stack and its computed inverse X; every field has shape (...).

    Parameters
    ----------
    certified : Tensor of bool
        A is nonsingular, and so is every matrix within a unit roundoff u of it, entry by entry, ``|b - a| <= u
        |a|``, as those are that round to it in the dtype of A where nothing underflows.
    rho : Tensor
        An upper bound on ``||D (I - A X) D^-1||`` in the spectral or the maximum row sum norm, where D are the powers
        of two on the rows of the equilibrated A. Below 1 where certified.
    error_bound : Tensor
        An upper bound on ``||X - A^-1|| / ||A^-1||``, spectral and Frobenius; NaN where uncertified, infinite where
        nothing is known.
    condition_lower : Tensor
        A lower bound on the condition number ``||A||_1 ||A^-1||_1``; NaN where uncertified.
    condition_upper : Tensor
        An upper bound on it; infinite where nothing is known.
    nonsingular : Tensor of bool
        A as it is stored is nonsingular; of float32 matrices a weaker statement than ``certified``.

    Examples
    --------
    >>> A = torch.tensor([[2.0, 0.0], [0.0, 4.0]])
    >>> certificate = certify(A, torch.tensor([[0.5, 0.0], [0.0, 0.25]]))
    >>> certificate.certified, certificate.error_bound < 2e-15
    (tensor(True), tensor(True))
    >>> certificate.condition_lower <= 2 <= certificate.condition_upper
    tensor(True)
    """

    certified: Tensor
    rho: Tensor
    error_bound: Tensor
    condition_lower: Tensor
    condition_upper: Tensor
    nonsingular: Tensor


@torch.no_grad()
def certify(A: Tensor, X: Tensor) -> Certificate:
    r"""Prove, matrix by matrix, that A is nonsingular and that X is close to its inverse: one product.

    With the powers of two of :func:`equilibrate`, :math:`A' = D_1 A D_2` and :math:`X' = D_2^{-1} X D_1^{-1}`, and u
    the unit roundoff of the dtype of A, form in float64

    .. math:: R = I - A' X', \quad E_g = |R| + g\,(I + P), \quad P = |A'| |X'|, \quad
       \|E_g\|_2 \le \rho_g = \|R\|_F + g\,(1 + \sqrt{\|P\|_1 \|P\|_\infty}),

    or the row sum norm :math:`\|E_g\|_\infty`, where that is needed and smaller.

    With :math:`g = h = (m + 3)\, 2^{-53}`, in exact arithmetic :math:`|D_1 (I - A X) D_1^{-1}| \le E_h`: h covers the
    rounding of the product and of the difference [2]_. So :math:`\rho_h < 1` proves A nonsingular [1]_; a matrix whose
    stored bits are singular cannot pass, whatever X is. With :math:`g = h + u` the same holds of every matrix B
    with :math:`|B - A| \le u |A|`, so of all that round to A unless entries underflow: that is what *certified* means.
    E is never formed; its products with vectors suffice.

    **Error.** Since :math:`A^{-1} - X = A^{-1} (I - A X)`, the relative error is at most
    :math:`\|I - A X\|_2 \le \|D_1^{-1} E_h D_1\|_2`, bounded likewise. Where that is of no use, because rows lie in
    different units, A is looked at more closely: :math:`A'^{-1} - X' = X' R\,(I - R)^{-1}`. With :math:`E = E_h`, e the
    vector of ones and :math:`z = E D_1 e`, the row sums of :math:`|X - A^{-1}|` are therefore at most

    .. math:: y = D_2 |X'| (z + v), \qquad v = E (I - E)^{-1} z, \qquad
       \|v\|_\infty \le \frac{\|E\|_\infty}{1 - \|E\|_\infty} \|z\|_\infty, \quad
       \|v\|_2 \le \frac{\|E\|_2}{1 - \|E\|_2} \|z\|_2,

    and with q the Euclidean norm of y over that of the longest column of X, the relative error is at most
    :math:`q / (1 - q)`, whatever the units of rows and columns. Where that is of no use, because a small v in one unit
    is a large one in another, v is found entry by entry: any :math:`w \ge z + E w` is at least :math:`z + v`, and one
    more than the sum of up to m terms :math:`E^k z` is tried. Yet another bound, for rows of one scale, is
    :math:`\|I - A X\|_2 \le \max_j (F^T F e)_j^{1/2}` with :math:`F = D_1^{-1} E D_1`. The smallest is taken.

    **Condition.** With :math:`\epsilon` the error bound, :math:`\kappa_1(A)` lies between
    :math:`\|A\|_1 \|X\|_1 / (1 + m \epsilon)` and :math:`\|A\|_1 \|X\|_1 / (1 - m \epsilon)`.

    Parameters
    ----------
    A, X : Tensors of shape (..., m, m)
        Matrices and what are said to be their inverses, float32 or float64.

    Returns
    -------
    Certificate
        On the device of A; on the CPU where that has no float64.

    Raises
    ------
    ValueError
        If A or X is not a float tensor of square matrices, or their shapes differ.

    Notes
    -----
    The proof holds under every setting: float64 products know neither TF32 nor autocast (they must be ordinary ones,
    neither Strassen's nor emulated), and what is not finite, on entry or by overflow, makes :math:`\rho` infinite or
    NaN. Underflow may be gradual or flush to zero, in each thread as it pleases:

    - The entries of A and X, subnormal ones too, are read and scaled by integers, so none is lost, save those of
      :math:`A'` and :math:`X'` below :math:`2^{-1022}`, which lose digits or become zero.
    - That, and what products and sums within R lose, is at most :math:`2^{-1020} m` in an entry of R. A certified X has
      :math:`\sum_k |X'_{kj}| \ge 1 - |R_{jj}| \ge g / 2`, and no entry of :math:`A'` exceeds 1, so that
      :math:`2^{-900}` in all entries of :math:`|A'|` adds more to E; as much in :math:`|X'|`, after its largest entry
      has been brought near 1, adds more to y.
    - Scales :math:`D_1, D_2` that lie more than :math:`2^{800}` apart are moved nearer: upwards in y, and to zero in
      the columns of X. An entry of y is at least g times one of :math:`D_2 |X'| D_1`; where all of those are below
      :math:`2^{-900}`, there is no bound.

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
    >>> certificate.error_bound < 2e-15
    tensor([ True, False])
    """
    check_pair(A, X)
    A64 = double(A)
    return certify_equilibrated(A64, double(X), equilibrate(A64), A.dtype)


@torch.no_grad()
def certify_equilibrated(
    A: Tensor, X: Tensor, equilibrated: Equilibrated, dtype: torch.dtype, bound: "ResidualBound | None" = None
) -> Certificate:
    """Return what :func:`certify` does of A and X in float64, for every matrix that rounds to A in a dtype.

    The bound of the equilibrated A and X is formed unless it is given.

    >>> I = torch.eye(2, dtype=torch.float64)
    >>> certify_equilibrated(I, I, equilibrate(I), torch.float32).certified
    tensor(True)
    """
    scaled, rows, columns = equilibrated
    if bound is None:
        bound = ResidualBound.of(scaled, scale_both(X, -columns, -rows))
    h = bound.rounding()
    g = h + torch.finfo(dtype).eps / 2
    rho, rho_of_all = bound.spectral(h), bound.spectral(g)
    error_bound = bound.of_one_scale(rows, h)
    loose = ~((rho_of_all < 1) & (error_bound <= _LOOSE) & (error_bound <= _OFF_SCALE * rho))
    if loose.any():
        part = ResidualBound(*(T[loose] for T in bound))
        closer = _look_closer(part, rho[loose], rows[loose], columns[loose], g)
        for known, found in zip((rho, rho_of_all, error_bound), closer, strict=True):
            known[loose] = torch.fmin(known[loose], found)
        error_bound.masked_fill_(error_bound.isnan(), torch.inf)
    certified = rho_of_all < 1
    error_bound = torch.where(certified, error_bound, torch.nan)
    interval = condition_interval(A, X, error_bound)
    return Certificate(certified, rho_of_all, error_bound, *interval, rho < 1)


def rounded_error_bound(error_bound: Tensor, X: Tensor, rounded: Tensor) -> Tensor:
    r"""Return a bound on the relative error of ``rounded``, from one on that of X: :math:`\epsilon` and measured.

    .. math:: \epsilon + (1 + \epsilon) \, \frac{\|X_r - X\|_F}{\max_j \|X e_j\|_2}
       \ge \frac{\|X_r - A^{-1}\|}{\|A^{-1}\|},

    since :math:`\max_j \|X e_j\|_2 \le \|X\|_2 \le (1 + \epsilon) \|A^{-1}\|`.

    Parameters
    ----------
    error_bound : Tensor of shape (...)
        :math:`\epsilon`.
    X : Tensor of shape (..., m, m)
        float64.
    rounded : Tensor of shape (..., m, m)
        X in another dtype.

    Examples
    --------
    >>> third = torch.full((1, 1), 1 / 3, dtype=torch.float64)
    >>> rounded_error_bound(torch.tensor(0.0), third, third.float()) < 2.0**-24
    tensor(True)
    """
    m = X.shape[-1]
    X_near_one, exponent = near_one(X)
    difference = matrix_norm(scale_by_power_of_two(double(rounded) - X, -exponent))
    longest = X_near_one.square().sum(dim=-2).amax(dim=-1).sqrt()
    distance = rounded_up(difference / longest, m)
    return torch.where(difference == 0, error_bound, rounded_up(error_bound + (1 + error_bound) * distance, m))


class ResidualBound(NamedTuple):
    """``E = |R| + g (I + |A| |X|)``, known by its products with vectors; R, A and X are absolute values."""

    R: Tensor
    A: Tensor
    X: Tensor

    @classmethod
    def of(cls, A: Tensor, X: Tensor) -> "ResidualBound":
        """Return that of A and X, which the residual is computed from."""
        R = (A @ X).neg_()
        R.diagonal(dim1=-2, dim2=-1).add_(1)
        return cls(R.abs_(), A.abs() + _UNDERFLOW, X.abs())

    def rounding(self) -> float:
        """Return h: the g that covers the rounding of R."""
        return (self.A.shape[-1] + 3) * _UNIT

    def times(self, z: Tensor, g: float) -> Tensor:
        """Return ``E z``, z of shape (..., m, 1)."""
        return self.R @ z + g * (z + self.A @ (self.X @ z))

    def spectral(self, g: float) -> Tensor:
        """Return a bound on ``||E||_2``."""
        m = self.A.shape[-1]
        row_sums = self.A @ self.X.sum(dim=-1, keepdim=True)
        column_sums = _column_sums(self.A) @ self.X
        size = (row_sums.amax(dim=(-2, -1)) * column_sums.amax(dim=(-2, -1))).sqrt()
        return rounded_up(matrix_norm(self.R) + g * (1 + size), m * m)

    def row_sum(self, g: float) -> Tensor:
        """Return a bound on ``||E||_inf``."""
        m = self.A.shape[-1]
        return rounded_up(self.times(self.A.new_ones(m, 1), g).amax(dim=(-2, -1)), m)

    def of_one_scale(self, row_exponent: Tensor, g: float) -> Tensor:
        """Return a bound on ``||D1^-1 E D1||_2``, infinite where scales are too far apart."""
        D, too_far = _beside_smallest(row_exponent)
        return self.in_units(D).spectral(g).masked_fill(too_far, torch.inf)

    def in_units(self, D: Tensor) -> "ResidualBound":
        """Return that of ``D^-1 A`` and ``X D``, D diagonal, ``(..., m, 1)``."""
        return ResidualBound(self.R * D.mT / D, self.A / D, self.X * D.mT)

    def transposed(self) -> "ResidualBound":
        """Return that of the transposed matrices."""
        return ResidualBound(self.R.mT, self.X.mT, self.A.mT)


def _look_closer(
    bound: ResidualBound, spectral: Tensor, row_exponent: Tensor, column_exponent: Tensor, g: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return rho of A and of all that rounds to it, by row sums, and an error bound that holds in any units."""
    D1, D2 = _beside_largest(torch.stack([row_exponent, column_exponent])).unsqueeze(-1)
    h = bound.rounding()
    rho = bound.row_sum(h)
    z = bound.times(D1, h)
    v = torch.fmin(_geometric(rho) * z.amax(dim=(-2, -1)), _geometric(spectral) * matrix_norm(z))
    error_bound = _of_any_scale(bound.X, z + v[..., None, None], D1, D2)
    loose = ~(error_bound <= _LOOSE)
    if loose.any():
        part = ResidualBound(*(T[loose] for T in bound))
        w = _fixed_point(part, z[loose], h)
        error_bound[loose] = torch.fmin(error_bound[loose], _of_any_scale(part.X, w, D1[loose], D2[loose]))
    return rho, bound.row_sum(g), torch.fmin(error_bound, _of_one_scale(bound, row_exponent, h))


def _of_any_scale(X: Tensor, w: Tensor, D1: Tensor, D2: Tensor) -> Tensor:
    """Return ``q / (1 - q)``, where ``|X' - A'^-1| D_1 e <= |X'| w``."""
    m = X.shape[-1]
    X, _ = split_exponent(X)
    y = D2 * ((X + _UNDERFLOW) @ w)
    kept = [torch.where(D > 2.0**-_SPAN, D, 0.0) for D in (D1, D2)]
    columns, exponent = split_exponent(X * kept[1] * kept[0].mT)
    longest = scale_by_power_of_two(_column_sums(columns.square()).amax(dim=(-2, -1)).sqrt()[..., None, None], exponent)
    q = rounded_up(matrix_norm(y / longest), m)
    return torch.where((exponent > -900) & (q < 1), q / (1 - q), torch.inf)


def _fixed_point(bound: ResidualBound, z: Tensor, h: float) -> Tensor:
    """Return w with ``w >= z + E w``, infinite where none is found."""
    m = z.shape[-2]
    w = z
    for _ in range(m):
        before, w = w, z + bound.times(w, h)
        if (w <= 1.01 * before).all():
            break
    w = 1.25 * w
    holds = (rounded_up(z + bound.times(w, h), m) <= w).all(dim=-2, keepdim=True)
    return torch.where(holds, w, torch.inf)


def _of_one_scale(bound: ResidualBound, row_exponent: Tensor, h: float) -> Tensor:
    """Return the bound on ``||I - A X||_2`` by row sums of ``F^T F``, infinite where scales are too far apart."""
    m = row_exponent.shape[-1]
    D, too_far = _beside_smallest(row_exponent)
    z = bound.times(D, h)
    norm = rounded_up((D * bound.transposed().times(z / D / D, h)).amax(dim=(-2, -1)).sqrt(), m)
    return norm.masked_fill(too_far, torch.inf)


def _beside_smallest(exponent: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``2^exponent`` over the smallest of them, ``(..., m, 1)``, and where one is above ``2^_SPAN``."""
    span = (exponent - exponent.amin(dim=-1, keepdim=True)).unsqueeze(-1)
    return power_of_two(span.clamp_max(_SPAN), torch.float64), (span > _SPAN).any(dim=-2).squeeze(-1)


def _beside_largest(exponent: Tensor) -> Tensor:
    """Return ``2^exponent`` over the largest of them, not below ``2^-_SPAN``, ``(..., m)``."""
    return power_of_two((exponent - exponent.amax(dim=-1, keepdim=True)).clamp_min(-_SPAN), torch.float64)


def _geometric(rho: Tensor) -> Tensor:
    """Return ``rho + rho^2 + ...``, infinite where that diverges."""
    return torch.where(rho < 1, rho / (1 - rho), torch.inf)


def condition_interval(A: Tensor, X: Tensor, error_bound: Tensor) -> tuple[Tensor, Tensor]:
    """Return the bounds on the condition number."""
    m = A.shape[-1]
    # Each near 1: the product may be in range where one of the norms is not.
    (A, A_exponent), (X, X_exponent) = near_one(A), near_one(X)
    norms = _column_sums(A.abs()).amax(dim=(-2, -1)) * _column_sums(X.abs()).amax(dim=(-2, -1))
    product = scale_by_power_of_two(norms[..., None, None], A_exponent + X_exponent).squeeze((-2, -1))
    slack = rounded_up(m * error_bound, m)
    lower = (product.clamp_max(torch.finfo(product.dtype).max) / rounded_up(1 + slack, m)).clamp_min(1)
    upper = torch.where(slack < 1, rounded_up(product, m) / (1 - slack), torch.inf)
    return lower.masked_fill(error_bound.isnan(), torch.nan), upper


def _column_sums(A: Tensor) -> Tensor:
    """Return ``e^T A``, (..., 1, m): for thousands of tiny matrices a product is faster than a sum."""
    return A.new_ones(1, A.shape[-1]) @ A


def rounded_up(value: Tensor, m: int) -> Tensor:
    """Return no less than the exact value of what was computed by at most 8 m + 60 additions and products."""
    return value * (1 + (8 * m + 64) * _UNIT)
