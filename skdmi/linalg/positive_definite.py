"""Proofs that symmetric matrices are positive definite, with lower bounds on their smallest eigenvalues."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.linalg import matrix_norm, vector_norm

from skdmi.linalg.certificate import rounded_up
from skdmi.linalg.residuals import check_float, check_pair, double, identity_like
from skdmi.linalg.scaling import exponents, near_one, power_of_two, scale_both, scale_by_power_of_two

_UNIT = 2.0**-53
_GRID = 2.0**-25
"""Products of two rows of multiples of it, of squares below 4 in all, are exact."""
_UNDERFLOW = 2.0**-900
"""Far above what underflow takes from an entry, and far below rounding."""
_SHIFTS = (2.0, 0.5)
"""Times m and 2^-52: what is subtracted from a diagonal near 1, as much as most factors need, and less for the few."""
_MARGINS = (2.0, 16.0)
"""Times the residual of an approximate eigenvalue: how far above it the largest one may lie."""
_N_POWERS = 24
_SMALLEST = 2.0**-1021
"""A bound below this might have been rounded upwards, and is zero instead."""


class PositiveDefinite(NamedTuple):
    """What is proved of each matrix of a stack; every field has shape (...).

    Parameters
    ----------
    proved : Tensor of bool
        A as it is stored is symmetric and positive definite.
    smallest_eigenvalue : Tensor
        A lower bound on the smallest eigenvalue of A, float64, at least 0; NaN where nothing is proved.

    Examples
    --------
    >>> found = certify_positive_definite(torch.tensor([[[2.0, 1.0], [1.0, 2.0]], [[1.0, 2.0], [2.0, 1.0]]]))
    >>> found.proved
    tensor([ True, False])
    >>> 0 < found.smallest_eigenvalue[0].item() <= 1
    True
    """

    proved: Tensor
    smallest_eigenvalue: Tensor


@torch.no_grad()
def certify_positive_definite(
    A: Tensor, X: Tensor | None = None, error_bound: Tensor | None = None
) -> PositiveDefinite:
    r"""Prove, matrix by matrix, that A is positive definite, and bound its smallest eigenvalue from below.

    A symmetric matrix that is the sum of some :math:`L L^T`, of :math:`c I`, and of something smaller than c is
    positive definite, whatever L is: so a Cholesky factor of A less a small multiple of the identity need not be
    trusted, only measured [1]_. And the smallest eigenvalue of a positive definite matrix is the reciprocal of the
    largest one of its inverse, which is found in the same way, with as many digits as there are, however
    ill-conditioned the matrix is.

    With the powers of two D that bring the diagonal of :math:`A' = D A D` to [1/2, 2), and L the factor computed of
    :math:`A' - c I`, c about :math:`m 2^{-51}`,

    .. math:: A' = L L^T + c I + E, \qquad \|E\|_2 < c \quad \Longrightarrow \quad
       \lambda_{\min}(A') \ge c - \|E\|_2 > 0,

    and A is positive definite because A' is (Sylvester's law of inertia). Units cost nothing: D is the best scaling up
    to a factor m [2]_. E is formed to twice the precision: with :math:`L = L_1 + L_2`, :math:`L_1` rounded to multiples
    of :math:`2^{-25}`, :math:`L_1 L_1^T` is exact, and
    :math:`E = (A' - c I - L_1 L_1^T) - (L_1 L_2^T + L_2 L^T)`.

    With an approximate inverse X and :math:`\|X - A^{-1}\|_2 \le \epsilon \|A^{-1}\|_2` as proved by
    :func:`skdmi.linalg.certify`, with :math:`H = (X + X^T) / 2`, a factor L of :math:`\mu I - H`, where
    :math:`\mu` is an estimate of the largest eigenvalue of H by power iterations, and
    :math:`F = \mu I - H - L L^T`,

    .. math:: \lambda_{\max}(H) \le \mu + \|F\|_2, \qquad
       \lambda_{\min}(A) \ge \frac{1 - \epsilon}{\lambda_{\max}(H)}.

    Without X, and where that is larger, the bound is :math:`(c - \|E\|_2) \min_i D_{ii}^{-2}`, which is positive, but
    as a rule far below the truth.

    Parameters
    ----------
    A : Tensor of shape (..., m, m)
        Matrices, float32 or float64. What is not symmetric to the bit, or not finite, is not proved.
    X : Tensor of shape (..., m, m), optional
        Approximate inverses of A.
    error_bound : Tensor of shape (...), optional
        The bounds :math:`\epsilon` on their relative errors; one that is NaN or not below 1 says nothing.

    Returns
    -------
    PositiveDefinite
        On the device of A; on the CPU where that has no float64.

    Raises
    ------
    ValueError
        If A or X does not hold square matrices.

    Notes
    -----
    Not proved: that a matrix which is not found positive definite is not, for where the smallest eigenvalue of A' is
    below about :math:`m 2^{-52}` no factor may be good enough; anything about the matrix before it was rounded to A;
    and a bound on the smallest eigenvalue is as good as :math:`\epsilon` and the estimate :math:`\mu` are.

    The proof holds under every setting, as that of :func:`skdmi.linalg.certify` does. Scales are found and applied by
    integers, so that subnormal entries count as what they are; what underflow takes from A' and from products, less
    than :math:`2^{-1000} m` an entry, is covered by :math:`2^{-900}`. Where a bound would lie below
    :math:`2^{-1021}` it is zero.

    References
    ----------
    .. [1] Rump, "Verification of positive definiteness", BIT Numer. Math. 46, 2006, which bounds E beforehand by
       :math:`\gamma_{m + 1} / (1 - \gamma_{m + 1})` times the trace.
    .. [2] Van der Sluis, "Condition numbers and equilibration of matrices", Numer. Math. 14, 1969.

    Examples
    --------
    >>> A = torch.tensor([[[2.0, 1.0], [1.0, 2.0]], [[1.0, 2.0], [2.0, 1.0]], [[1.0, 1.0], [1.0, 1.0]]])
    >>> X = torch.linalg.inv_ex(A.double()).inverse
    >>> proved, smallest = certify_positive_definite(A, X, torch.full((3,), 1e-15))
    >>> proved
    tensor([ True, False, False])
    >>> 0 <= 1 - smallest[0] < 1e-9
    tensor(True)
    """
    check_float("A", A)
    if X is not None:
        check_pair(A, X)
    A = double(A)
    scaled, exponent, possible = _scaled_symmetrically(A)
    excess = _excess(scaled, possible)
    proved = excess > 0
    smallest = _times_power_of_two(excess, -2 * exponent.amax(dim=-1))
    if X is not None and error_bound is not None:
        smallest = torch.fmax(smallest, _by_inverse(double(X), torch.as_tensor(error_bound).to(smallest)))
    return PositiveDefinite(proved, torch.where(proved, smallest, torch.nan))


def is_symmetric(A: Tensor) -> Tensor:
    """Return whether each float64 matrix is symmetric to the bit, zeros of either sign alike, under every setting.

    >>> is_symmetric(torch.tensor([[1.0, 2.0**-1074], [0.0, 1.0]], dtype=torch.float64))
    tensor(False)
    """
    bits = A.view(torch.int64)
    bits = torch.where(bits << 1 == 0, 0, bits)
    return (bits == bits.mT).all(dim=-1).all(dim=-1)


def _scaled_symmetrically(A: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return ``D A D``, the exponents of D, and whether it may be positive definite; the identity where it may not."""
    diagonal = A.diagonal(dim1=-2, dim2=-1)
    possible = is_symmetric(A) & (diagonal.view(torch.int64) > 0).all(dim=-1) & A.isfinite().all(dim=-1).all(dim=-1)
    exponent = torch.where(possible.unsqueeze(-1), -(exponents(diagonal.contiguous()) >> 1), 0)
    scaled = scale_both(A, exponent, exponent)
    possible = possible & (scaled.abs() < 2).all(dim=-1).all(dim=-1)
    return torch.where(possible[..., None, None], scaled, identity_like(A)), exponent, possible


def _excess(scaled: Tensor, possible: Tensor) -> Tensor:
    """Return lower bounds on the smallest eigenvalues of A', not above 0 where none is known."""
    m = scaled.shape[-1]
    excess = torch.full_like(possible, -1.0, dtype=torch.float64)
    for shift in _SHIFTS:
        unknown = possible & ~(excess > 0)
        if unknown.any():
            chosen = scaled[unknown]
            # A multiple of 2^-52, so that it is subtracted exactly from diagonals in [1/2, 2).
            c = max(1, round(shift * m)) * 2.0**-52
            missing = _missing_of_semidefinite(chosen - c * identity_like(chosen))
            excess[unknown] = (c - missing) * (1 - 4 * _UNIT)
    return excess


def _missing_of_semidefinite(S: Tensor) -> Tensor:
    r"""Return t with ``S + t I`` positive semidefinite: a bound on ``||S - L L^T||_2``, infinite where there is no L.

    The entries of S, symmetric, are below 2. Those of :math:`E = (S - L_1 L_1^T) - (L_1 L_2^T + L_2 L^T)` are off by
    at most :math:`2 u |E|` and :math:`(m + 5) u \sqrt m\, 2^{-23}`: where the squares in a row of L have a sum
    below 5/2, those of :math:`L_1` have one below 4, and :math:`|L_2| \le 2^{-26}`.
    """
    m = S.shape[-1]
    L = torch.linalg.cholesky_ex(S).L
    magnet = 1.5 * 2.0**52 * _GRID
    leading = (L + magnet) - magnet
    rest = L - leading
    E = (S - leading @ leading.mT) - (leading @ rest.mT + rest @ L.mT)
    E = E.abs() + ((m + 6) * m**0.5 * _UNIT * 2.0**-23 + _UNDERFLOW)
    size = torch.minimum(matrix_norm(E), E.sum(dim=-1).amax(dim=-1))
    small = (L.square().sum(dim=-1) < 2.25).all(dim=-1)
    return torch.where(small, rounded_up(size, m * m), torch.inf)


def _by_inverse(X: Tensor, error_bound: Tensor) -> Tensor:
    """Return ``(1 - epsilon) / lambda_max(H)``, rounded down, or 0 where that is not known."""
    m = X.shape[-1]
    known = (error_bound >= 0) & (error_bound < 1) & X.isfinite().all(dim=-1).all(dim=-1)
    X, exponent = near_one(torch.where(known[..., None, None], X, identity_like(X)))
    H = X / 2 + X.mT / 2
    largest = rounded_up(_largest_eigenvalue(H) + _UNDERFLOW + 2 * _UNIT * matrix_norm(H), m * m)
    smallest = _times_power_of_two((1 - error_bound) / largest * (1 - 8 * _UNIT), -exponent)
    return torch.where(known, smallest, 0.0)


def _largest_eigenvalue(H: Tensor) -> Tensor:
    r"""Return upper bounds on the largest eigenvalues of symmetric matrices with entries near 1.

    The Frobenius norm, or :math:`\mu + t` where t is what :math:`\mu I - H` lacks, divided by a power of two above.
    """
    m = H.shape[-1]
    bound = rounded_up(matrix_norm(H) + _UNDERFLOW, m * m)
    value, residual = _approximate_eigenvalue(H)
    settled = torch.zeros_like(value, dtype=torch.bool)
    for margin in _MARGINS:
        unsettled = ~settled
        if unsettled.any():
            G, most = H[unsettled], bound[unsettled]
            mu = torch.fmin(value[unsettled] + margin * residual[unsettled] + 8 * m * _UNIT * most, most)
            shrink = power_of_two(-torch.frexp(most).exponent - 1, torch.float64)[..., None, None]
            S = (mu[..., None, None] * identity_like(G) - G) * shrink
            missing = _missing_of_semidefinite(S) + 2 * _UNIT  # and the rounding of a diagonal below 1
            found = rounded_up(mu + missing / shrink.squeeze((-2, -1)), m)
            bound[unsettled] = torch.fmin(most, found)
            settled[unsettled] = found < torch.inf
    return bound


def _approximate_eigenvalue(H: Tensor) -> tuple[Tensor, Tensor]:
    """Return the Rayleigh quotient after power iterations from the longest column, and the norm of its residual."""
    longest = vector_norm(H, dim=-2).argmax(dim=-1)[..., None, None]
    v = H.gather(-1, longest.expand(*H.shape[:-1], 1))
    for _ in range(_N_POWERS):  # by m^24 at most, and 2^-24 at least, where X is near a positive definite matrix
        v = H @ v
    v = v / vector_norm(v, dim=-2, keepdim=True)
    image = H @ v
    value = (v * image).sum(dim=(-2, -1))
    return value, vector_norm(image - value[..., None, None] * v, dim=(-2, -1))


def _times_power_of_two(bound: Tensor, exponent: Tensor) -> Tensor:
    """Return ``2^exponent bound``, or 0 where that is not sure to be no more."""
    scaled = scale_by_power_of_two(bound[..., None, None], exponent).squeeze((-2, -1))
    return torch.where(scaled >= _SMALLEST, scaled, 0.0)
