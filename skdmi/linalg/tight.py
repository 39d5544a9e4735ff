"""Bounds as tight as the truth: certificates from a residual in twice the precision, and inverses refined by it."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.linalg import matrix_norm

from skdmi.linalg.certificate import Certificate, certify_equilibrated, condition_interval, rounded_up
from skdmi.linalg.doubled import UNDERFLOW, UNIT, accurate_product, bounded_residual, two_sum
from skdmi.linalg.residuals import check_pair, double, missing, wide_frobenius_norm
from skdmi.linalg.scaling import Equilibrated, equilibrate, near_one, scale_both, scale_by_power_of_two

_LARGEST = 2.0**100
"""Of the entries of ``X'``: beyond it nothing is proved."""
_MAX_ROUNDS, _MAX_POWERS, _MAX_INVERSIONS, _N_DOUBLINGS = 6, 4, 3, 4
_NEAR_ONE, _NEAR, _HOPELESS = 2.0**-4, 2.0**-20, 0.95
"""A residual above the first is looked at more closely; one above the second takes more than a plain step, and one
above the third no step at all."""
_POOR = 2.0**-10
"""A bound above this, beside the inverse, is reason to invert once more."""
_SETTLED = 2.0**-60
"""A correction smaller than this, beside what it corrects, cannot change what is rounded."""


class TightCertificate(NamedTuple):
    """What is proved of each matrix A of a stack and its computed inverse X, with a bound for every entry.

    Parameters
    ----------
    inverse : Tensor
        X, the one given or the refined one, float64, shape (..., m, m).
    entry_bound : Tensor
        ``|X - A^-1| <= entry_bound`` entry by entry, float64, shape (..., m, m); infinite where nothing is proved.
    certificate : Certificate
        Its ``rho`` and ``certified`` are those of all that rounds to A, ``nonsingular`` is A as stored; its error bound
        is one in the Frobenius norm.
    residual_norm : Tensor
        ``||I - A X||_F`` in the units of A, right to many digits.

    Examples
    --------
    >>> A = torch.tensor([[3.0]], dtype=torch.float64)
    >>> found = certify_tightly(A, torch.tensor([[0.333]], dtype=torch.float64))
    >>> found.certificate.certified, 1 / 3 - 0.333 <= found.entry_bound.item() < 0.00034
    (tensor(True), True)
    """

    inverse: Tensor
    entry_bound: Tensor
    certificate: Certificate
    residual_norm: Tensor


class _Bounds(NamedTuple):
    """What is known of ``Z = X + low``, low below the last digit of X, beside the inverse of the equilibrated A."""

    rho: Tensor
    """At least ``||V^-1 E V||_inf`` of ``E >= |I - A Z|``, for a diagonal V > 0; (...)."""
    rho_of_all: Tensor
    """The same for all that rounds to A."""
    R: Tensor
    step: Tensor
    """``fl(X R)``."""
    rest: Tensor
    """At least ``|A^-1 - Z - step|``."""


@torch.no_grad()
def certify_tightly(A: Tensor, X: Tensor) -> TightCertificate:
    r"""Prove that A is nonsingular, and bound the error of every entry of X by hardly more than it is.

    In words: the residual is so exact that what it predicts for the error of X, one Newton step, is that error but for
    a small remainder, and the remainder has a bound.

    With the powers of two of :func:`equilibrate`, :math:`A' = D_1 A D_2`, :math:`X' = D_2^{-1} X D_1^{-1}`, and primes
    dropped: :math:`R = I - A X` by :func:`skdmi.linalg.doubled.bounded_residual`, :math:`E \ge |R|` with its rounding,
    :math:`v > 0` and :math:`\rho \ge \max_i (E v)_i / v_i`. If :math:`\rho < 1`, then A is nonsingular, and

    .. math:: |X - A^{-1}| \le W + W E + \frac{(W E v)\, s^T}{1 - \rho}, \qquad
       W \ge |X R|, \quad s_j = \max_i E_{ij} / v_i,

    entry by entry. For :math:`A^{-1} - X = X R\,(I - R)^{-1}`, and :math:`E \le v s^T`, :math:`E v \le \rho v` give
    :math:`E^k \le \rho^{k-1} v s^T`, so that :math:`(I - R)^{-1}` is at most :math:`I + E + E v s^T / (1 - \rho)`
    [1]_ [2]_. The vector v begins with ones and takes some steps of the power method.

    The *error bound* is :math:`q / (1 - q)`, q the Frobenius norm of the entry bounds over that of X, in the units of
    A, or that of :func:`certify` where that is smaller: it holds for the Frobenius norm.

    Parameters
    ----------
    A, X : Tensors of shape (..., m, m)
        Matrices and what are said to be their inverses, float32 or float64. Computed in float64.

    Returns
    -------
    TightCertificate
        On the device of A; on the CPU where that has no float64.

    Raises
    ------
    ValueError
        If A or X is not a float tensor of square matrices, or their shapes differ.

    Notes
    -----
    It speaks of A as it is stored. What was said of every setting in :func:`certify` holds here, too; where an entry
    of X' exceeds :math:`2^{100}`, nothing is proved.

    References
    ----------
    .. [1] Rump, "Verification methods: rigorous results using floating-point arithmetic", Acta Numerica 19, 2010.
    .. [2] Collatz, "Einschliessungssatz fuer die charakteristischen Zahlen von Matrizen", Math. Z. 48, 1942.

    Examples
    --------
    >>> A = torch.tensor([[3.0, 1.0], [1.0, 2.0]], dtype=torch.float64)
    >>> X = torch.tensor([[0.4, -0.2], [-0.2, 0.6]], dtype=torch.float64)
    >>> bool((certify_tightly(A, X).entry_bound < 1e-16).all())
    True
    """
    check_pair(A, X)
    A64 = double(A)
    return certify_tightly_equilibrated(A64, double(X), equilibrate(A64), A.dtype)


@torch.no_grad()
def certify_tightly_equilibrated(
    A: Tensor, X: Tensor, equilibrated: Equilibrated, dtype: torch.dtype
) -> TightCertificate:
    """Return what :func:`certify_tightly` does of A and X in float64, for every matrix that rounds to A in a dtype.

    >>> I = torch.eye(2, dtype=torch.float64)
    >>> certify_tightly_equilibrated(I, I, equilibrate(I), torch.float32).certificate.certified
    tensor(True)
    """
    scaled, rows, columns = equilibrated
    found = _bound(scaled, scale_both(X, -columns, -rows), None, torch.finfo(dtype).eps / 2)
    bound = _rounded_up(found.step.abs() + found.rest)
    return _conclude(A, X, bound, found.rho, found.rho_of_all, found.R, equilibrated)


@torch.no_grad()
def refine_tightly(
    A: Tensor, X: Tensor, invert: Callable[[Tensor], Tensor] | None = None, *, dtype: torch.dtype | None = None
) -> TightCertificate:
    r"""Refine inverses as sums of two numbers until, rounded, they are exact or nearly so, and certify those.

    .. math:: X \leftarrow X + X (R + R^2 + \dots), \qquad R = I - A X

    with X the sum of two matrices and R as in :func:`certify_tightly`. A matrix so ill-conditioned that its X proves
    nothing is looked at from X: with :math:`P = \operatorname{fl}(A X)`, formed exactly and rounded, and :math:`Z
    \approx P^{-1}` by ``invert``, :math:`X \leftarrow X Z` is good although X is not, since P is as much better
    conditioned than A as X has digits in its favour [1]_. An entry below its bound has no correct digit, and becomes
    the zero that it is in the inverse of most sparse matrices.

    Parameters
    ----------
    A, X : Tensors of shape (..., m, m)
        Matrices and approximate inverses, float32 or float64. Computed in float64.
    invert : callable, optional
        Maps float64 matrices to approximate inverses, with which a missing X (NaN) is begun, too. By default there is
        none, and nothing is inverted again.
    dtype : torch.dtype, optional
        That of the inverses: they are rounded to it, and certified as they are then. By default float64.

    Returns
    -------
    TightCertificate
        Its ``inverse`` holds numbers of ``dtype``, as float64.

    Raises
    ------
    ValueError
        If A or X is not a float tensor of square matrices, or their shapes differ.

    References
    ----------
    .. [1] Rump, "Inversion of extremely ill-conditioned matrices in floating-point", Japan J. Indust. Appl. Math. 26,
       2009.

    Examples
    --------
    >>> A = torch.tensor([[3.0]], dtype=torch.float64)
    >>> found = refine_tightly(A, torch.tensor([[0.3]], dtype=torch.float64))
    >>> found.inverse.item() == 1 / 3, 0 < found.entry_bound.item() < 2.0**-54
    (True, True)
    """
    check_pair(A, X)
    m, leading = A.shape[-1], A.shape[:-2]
    A64, X64 = (double(T).reshape(-1, m, m) for T in (A, X))
    inverse, entry_bound, certificate, norm = _refined(A64, X64, invert, dtype, torch.finfo(A.dtype).eps / 2)
    return TightCertificate(
        inverse.reshape(A.shape),
        entry_bound.reshape(A.shape),
        Certificate(*(field.reshape(leading) for field in certificate)),
        norm.reshape(leading),
    )


def _refined(
    A: Tensor, X: Tensor, invert: Callable[[Tensor], Tensor] | None, dtype: torch.dtype | None, unit: float
) -> TightCertificate:
    """Return what :func:`refine_tightly` does, of stacks in float64."""
    equilibrated = equilibrate(A)
    scaled, rows, columns = equilibrated
    start = scale_both(X, -columns, -rows)
    if invert is not None and (absent := missing(start)).any():
        start = start.index_put((absent,), invert(scaled[absent]))
    nothing = missing(start)
    start = torch.where(nothing[:, None, None], 0.0, start)
    pair = _refine(scaled, start, torch.zeros_like(start), unit)
    for _ in range(_MAX_INVERSIONS):
        left = ~(matrix_norm(pair.bound) <= _POOR * matrix_norm(pair.high))
        if invert is None or not left.any():
            break
        again = _invert_again(scaled[left], pair.high[left], pair.low[left], invert)
        found = _refine(scaled[left], *again, unit)
        pair = _Pair(*(kept.index_put((left,), new) for kept, new in zip(pair, found, strict=True)))
    has_digits = pair.high.abs() > pair.low.abs() + pair.bound
    high = torch.where(has_digits | (pair.bound == torch.inf), pair.high, 0.0)
    inverse = scale_both(high.masked_fill((nothing & ~(pair.rho < 1))[:, None, None], torch.nan), columns, rows)
    if dtype is not None:
        inverse = double(inverse.to(dtype))
    Z = scale_both(inverse, -columns, -rows)
    distance = (pair.high - Z).abs() + pair.low.abs()
    R, _ = bounded_residual(scaled, Z)
    return _conclude(A, inverse, _rounded_up(distance + pair.bound), pair.rho, pair.rho_of_all, R, equilibrated)


class _Pair(NamedTuple):
    """An inverse as the sum of two matrices, and how far it is from the inverse."""

    high: Tensor
    low: Tensor
    bound: Tensor
    rho: Tensor
    rho_of_all: Tensor


def _bound(A: Tensor, X: Tensor, low: Tensor | None, unit: float) -> _Bounds:
    """Return the bounds of an equilibrated A and an X, ``|low| <= u |X|``, in its scale."""
    m = A.shape[-1]
    R, error = bounded_residual(A, X, low)
    E, size = R.abs() + error, X.abs()
    of_A = A.abs() @ size + UNDERFLOW
    v, rho = _weighted(E)
    rho_of_all = ((E + unit * (1 + 2**-20) * of_A) @ v / v).amax(dim=(-2, -1))
    step = X @ R
    rounding = (m + 4) * UNIT * (size @ R.abs()) + (1 + 2 * UNIT) * (size @ error) + UNDERFLOW
    W = step.abs() + rounding
    WE = W @ E
    s = (E / v).amax(dim=-2, keepdim=True)
    rest = _rounded_up(rounding + WE + (WE @ v) * (s / (1 - rho[..., None, None])))
    unknown = ~((rho < 1) & (size.amax(dim=(-2, -1)) < _LARGEST))
    rest = rest.masked_fill(unknown[..., None, None] | rest.isnan(), torch.inf)
    rho, rho_of_all = (T.masked_fill(unknown | T.isnan(), torch.inf) for T in (rho, _rounded_up(rho_of_all, m)))
    return _Bounds(rho, rho_of_all, R, step, rest)


def _weighted(E: Tensor) -> tuple[Tensor, Tensor]:
    """Return v > 0, (..., m, 1), and ``rho >= max_i (E v)_i / v_i``, by the power method where ones do not do."""
    m = E.shape[-1]
    v = torch.ones_like(E[..., :1])
    z = E @ v
    rho = _rounded_up(z.amax(dim=(-2, -1)), m)
    is_far = rho > _NEAR_ONE
    if is_far.any():
        for _ in range(_MAX_POWERS):
            w = z / z.amax(dim=-2, keepdim=True) + 2.0**-10 * v / v.amax(dim=-2, keepdim=True)
            z = E @ w
            of_w = _rounded_up((z / w).amax(dim=(-2, -1)), m)
            better = is_far & (of_w < rho)
            rho, v = torch.where(better, of_w, rho), torch.where(better[..., None, None], w, v)
    return v, rho


def _refine(A: Tensor, high: Tensor, low: Tensor, unit: float) -> _Pair:
    """Refine a pair while that helps; those that have settled are left alone."""
    high, low = _approach(A, high, low)
    pair = _stepped(A, high, low, unit)
    for _ in range(_MAX_ROUNDS):
        wanting = (pair.rho < 1) & ~(pair.bound <= _SETTLED * pair.high.abs()).all(dim=-1).all(dim=-1)
        if not wanting.any():
            break
        before = _Pair(*(field[wanting] for field in pair))
        after = _stepped(A[wanting], before.high, before.low, unit)
        shrinks = (after.bound < 0.5 * before.bound) & (before.bound > _SETTLED * before.high.abs())
        better = shrinks.any(dim=-1).any(dim=-1) & ~(after.bound > 2 * before.bound).any(dim=-1).any(dim=-1)
        if not better.any():
            break
        index = wanting.clone()
        index[wanting] = better
        pair = _Pair(*(kept.index_put((index,), new[better]) for kept, new in zip(pair, after, strict=True)))
    return pair


def _approach(A: Tensor, high: Tensor, low: Tensor) -> tuple[Tensor, Tensor]:
    """Take steps ``X (R + R^2 + ...)`` while residuals are far from small, and fall."""
    high, low = high.clone(), low.clone()
    last = torch.full(A.shape[:-2], torch.inf, dtype=A.dtype, device=A.device)
    for _ in range(_MAX_ROUNDS):
        R, _ = bounded_residual(A, high, low)
        norm = matrix_norm(R)
        going = (norm > _NEAR) & (norm < 0.5 * last) & (norm < _HOPELESS)
        if not going.any():
            break
        last = norm
        total = power = R[going]
        for _ in range(_N_DOUBLINGS):
            total = total + power @ total
            power = power @ power
        high[going], low[going], _ = _added(high[going], low[going], high[going] @ total)
    return high, low


def _stepped(A: Tensor, high: Tensor, low: Tensor, unit: float) -> _Pair:
    """Take a step, and bound what is left."""
    bounds = _bound(A, high, low, unit)
    high, low, error = _added(high, low, bounds.step)
    return _Pair(high, low, _rounded_up(bounds.rest + error), bounds.rho, bounds.rho_of_all)


def _added(high: Tensor, low: Tensor, step: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return ``high + low + step`` as two matrices, ``|low| <= u |high|``, and a bound on the error of their sum."""
    s, error = two_sum(high, step)
    rest = low + error
    return *two_sum(s, rest), UNIT * rest.abs()


def _invert_again(A: Tensor, high: Tensor, low: Tensor, invert: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Return ``X Z``, Z about the inverse of ``A X``."""
    P, rest = accurate_product(A, high, low)
    Z = invert(P + rest)
    Z = torch.where(missing(Z)[..., None, None], 0.0, Z)
    high, rest = accurate_product(Z.mT, high.mT, low.mT)
    return high.mT, rest.mT


def _conclude(
    A: Tensor, X: Tensor, bound: Tensor, rho: Tensor, rho_of_all: Tensor, R: Tensor, equilibrated: Equilibrated
) -> TightCertificate:
    """Say in the units of A what is known in those of the equilibrated one; bounds may be infinite or NaN."""
    _, rows, columns = equilibrated
    m = A.shape[-1]
    entry_bound = scale_both(bound, columns, rows) + torch.finfo(torch.float64).tiny
    entry_bound = entry_bound.masked_fill(~(rho < 1)[..., None, None] | entry_bound.isnan(), torch.inf)
    near, exponent = near_one(X)
    q = matrix_norm(scale_by_power_of_two(entry_bound, -exponent)) / matrix_norm(near)
    q = rounded_up(q, m * m) + 2.0**-500
    error_bound = torch.where(q < 1, rounded_up(q / (1 - q), m), torch.inf).masked_fill(~(rho < 1), torch.nan)
    plain = certify_equilibrated(A, X, equilibrated, A.dtype)
    error_bound = torch.fmin(error_bound, plain.error_bound)
    interval = condition_interval(A, X, error_bound)
    nonsingular = (rho < 1) | plain.certified
    certificate = Certificate(rho_of_all < 1, rho_of_all, error_bound, *interval, nonsingular)
    return TightCertificate(X, entry_bound, certificate, wide_frobenius_norm(scale_both(R, -rows, rows)))


def _rounded_up(value: Tensor, m: int | None = None) -> Tensor:
    """Return no less than the exact value, see :func:`skdmi.linalg.certificate.rounded_up`."""
    return rounded_up(value, value.shape[-1] if m is None else m)
