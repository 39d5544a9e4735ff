"""A proof that the computed inverse of a unit lower triangular matrix is one, at the price of a product."""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.linalg import vector_norm

from skdmi.linalg.residuals import double
from skdmi.linalg.unit_lower import at_a_time, float32_products_are_plain
from skdmi.validation import check_square

_BITS = {torch.float32: (torch.int32, 2**31 - 1), torch.float64: (torch.int64, 2**63 - 1)}
"""Integers of the same width, and all bits but that of the sign."""
_UNDERFLOW = 2.0**-900
"""Beside the ones on the diagonals: with the weight of rounding far above what underflow takes away."""
_LARGEST_FLOAT32 = 256
"""Beyond this m the rounding of sums of m^2 terms in float32 would cost too much of a bound."""
_UNIT = 2.0**-53
"""The unit roundoff of float64."""
_LOOSE = 2.0**-7
"""Error bounds above this in float32 are sought anew in float64."""
_LOOSE_FLOAT32, _LOOSE_FLOAT64 = 2.0**-14, 2.0**-26
"""Those above this in float64, of float32 and of float64 matrices, are sought anew in the units of the matrix."""
_CHUNK_BYTES = 2**20
"""On a processor so many bytes of matrices are looked at together (measured)."""
_SMALLEST_SPLIT = 64
"""From this m on, blocks that are zero are left out of products (measured)."""
_SLACK = 2.0**-26
"""By so much E is enlarged before a system with it is solved, far more than the rounding of the solution."""


class UnitLowerCertificate(NamedTuple):
    """What is proved of unit lower triangular matrices A and their computed inverses X; fields have shape (...).

    Parameters
    ----------
    certified : Tensor of bool
        A and X are unit lower triangular to the bit, and ``error_bound`` is below 1.
    rho : Tensor of float64
        An upper bound on ``||I - A X||_2``; NaN where A or X is not unit lower triangular, or not finite.
    error_bound : Tensor of float64
        An upper bound on ``||X - A^-1|| / ||A^-1||``, spectral and Frobenius; NaN where uncertified.
    residual_norm : Tensor of float64
        The norm ``||I - A X||_F`` as it was computed, its own rounding included: no bound. NaN where rho is.
    left_residual_norm : Tensor of float64
        The norm ``||I - X A||_F``, likewise; NaN too where it was not asked for.
    condition_lower : Tensor of float64
        A lower bound on the condition number ``||A||_1 ||A^-1||_1``; NaN where uncertified.
    condition_upper : Tensor of float64
        An upper bound on it; infinite where nothing is known.

    Examples
    --------
    >>> A = torch.tensor([[1.0, 0.0], [0.5, 1.0]])
    >>> found = certify_unit_lower(A, torch.tensor([[1.0, 0.0], [-0.5, 1.0]]))
    >>> found.certified, found.residual_norm.item()
    (tensor(True), 0.0)
    """

    certified: Tensor
    rho: Tensor
    error_bound: Tensor
    residual_norm: Tensor
    left_residual_norm: Tensor
    condition_lower: Tensor
    condition_upper: Tensor


@torch.no_grad()
def certify_unit_lower(A: Tensor, X: Tensor, *, left: bool = False) -> UnitLowerCertificate:
    r"""Prove, matrix by matrix, that X is close to the inverse of A, both unit lower triangular: one product.

    A unit lower triangular matrix is nonsingular; what can be wrong is X. A and X are read bit by bit, and only members
    that are unit lower triangular go on. Their residual is multiplied out, and enlarged by all that rounding can have
    done to it; if what results is small, X cannot be far from the inverse, since it misses it by the inverse times the
    residual.

    **Formula.** With u the unit roundoff of the dtype of A and :math:`g = (m + 3)\, u`, form in that dtype

    .. math:: R = I - A X, \quad |I - A X|_{\text{exact}} \le E = |R| + g P, \quad P = |A| |X|, \quad
       \|E\|_2 \le \rho = \|R\|_F + g \sqrt{\|P\|_1 \|P\|_\infty}.

    :math:`\rho` is the error bound: :math:`A^{-1} - X = A^{-1} (I - A X)`, so that in the spectral and in the Frobenius
    norm :math:`\|A^{-1} - X\| \le \|A^{-1}\|\, \rho`, for every :math:`\rho`. P is never formed, but its products with
    vectors: one product of matrices is all. For the rounding, an entry of the product is a sum of at most m terms, in
    any order, with or without fused multiplications, which is off by at most :math:`m u / (1 - m u)` times that of P
    [1]_; on and above the diagonal, where all terms but one are zero, it is exact.

    **float32 first.** Members of float32 whose bound is above :math:`2^{-7}` are looked at again in float64, where the
    product is off by less than :math:`(m + 3)\, 2^{-53} P`; so are all of them where the settings of torch let products
    of float32 matrices round their factors, and where m is above 256.

    **Units.** If rows or columns lie in different units, :math:`\rho` may be large though every digit of X is right.
    Since :math:`A^{-1} = X (I - A X)^{-1}`, and E is strictly lower triangular, so that :math:`(I - E)^{-1}` exists and
    has no negative entry [2]_,

    .. math:: |A^{-1} - X| \le |X| E\, (I - E)^{-1}, \qquad |A^{-1} - X|\, e \le y = |X| w, \qquad w \ge E e + E w,

    e the vector of ones. Where :math:`\rho` in float64 exceeds :math:`2^{-26}`, or :math:`2^{-14}` for float32, w is
    found by substitution with E enlarged a little, and the inequality verified; with q the Euclidean norm of y over
    that of the longest column of X, the relative error is at most :math:`q / (1 - q)`. The smaller of both bounds is
    taken.

    **Condition.** With :math:`\delta = \min(\sqrt m\, \rho,\, m \epsilon)`, :math:`\epsilon` the error bound,
    :math:`\kappa_1(A)` lies between :math:`\|A\|_1 \|X\|_1 / (1 + \delta)` and :math:`\|A\|_1 \|X\|_1 / (1 - \delta)`.

    **What it does not prove.** Nothing about the matrix before it was rounded to the bits of A, nothing about single
    entries of X, and nothing where A was meant to be another matrix than a unit lower triangular one.

    Parameters
    ----------
    A, X : Tensors of shape (..., m, m)
        Of real floating dtype: matrices and what are said to be their inverses. Half precision is read as float32.
    left : bool, default=False
        Compute the norm of :math:`I - X A` too, which takes another product.

    Returns
    -------
    UnitLowerCertificate
        On the device of A; on the CPU where that has no float64.

    Raises
    ------
    ValueError
        If A or X does not hold square matrices, their shapes differ, or a dtype is not real and floating.

    Notes
    -----
    Products must be ordinary ones, neither Strassen's nor emulated; what overflows makes a bound infinite or NaN, and
    certifies nothing: in q, X and y are divided by the largest entry of X. Underflow may be gradual or flush to zero:

    - An operand that is taken for zero, a product or a sum that underflows is off by at most :math:`\lambda` = 2^-126
      in float32 and 2^-1022 in float64. In an entry of :math:`A X` that is at most
      :math:`\sum_k \lambda (|a_{ik}| + |x_{kj}| + 2)`, a matrix of spectral norm at most
      :math:`4 \lambda m^2 \sqrt{\|P\|_1 \|P\|_\infty}`, since no row or column of P has a sum below 1. Rounding up
      adds far more, also for entries above the diagonal that such a processor does not see. Squares that underflow in
      :math:`\|R\|_F` are made up for by :math:`8 m \lambda^{1/2}`.
    - In E and w, :math:`|A| + \eta` and :math:`|X| + \eta` stand for :math:`|A|` and :math:`|X|`, with
      :math:`\eta = 2^{-900}`: :math:`g \eta \sum_k (|a_{ik}| + |x_{kj}|)`, which holds the ones of the diagonals, is
      above what underflow takes away. A y that underflows beside the largest entry of X is made up for by
      :math:`\eta^{1/2}`.

    References
    ----------
    .. [1] Higham, "Accuracy and stability of numerical algorithms", 2nd edition, SIAM, 2002, sections 3.1 and 3.5.
    .. [2] Ogita, Rump and Oishi, "Verified solutions of linear systems without directed rounding", Tech. Rep. 2005-04,
       Waseda University, 2005; for triangular matrices Higham, as above, section 8.2.

    Examples
    --------
    >>> A = torch.tensor([[1.0, 0.0], [3.0, 1.0]])
    >>> X = torch.tensor([[[1.0, 0.0], [-3.0, 1.0]], [[1.0, 0.0], [3.0, 1.0]]])
    >>> certificate = certify_unit_lower(A.expand(2, 2, 2), X)
    >>> certificate.certified
    tensor([ True, False])
    >>> certificate.error_bound < 2e-5
    tensor([ True, False])
    """
    A, X = _checked(A, X)
    shape, m = A.shape[:-2], A.shape[-1]
    A, X = A.reshape(-1, m, m), X.reshape(-1, m, m)
    with torch.autocast(A.device.type, enabled=False):
        if A.dtype == torch.float32 and m <= _LARGEST_FLOAT32 and float32_products_are_plain():
            look = _look(A, X, left=left)
            again = look.proper & ~(look.rho <= _LOOSE)
            if again.any():
                closer = _look_closer(double(A[again]), double(X[again]), _LOOSE_FLOAT32, left=left)
                for known, found in zip(look, closer, strict=True):
                    known[again] = found
        else:
            loose = _LOOSE_FLOAT64 if A.dtype == torch.float64 else _LOOSE_FLOAT32
            look = _look_closer(double(A), double(X), loose, left=left)
    return UnitLowerCertificate(*(field.reshape(shape) for field in _verdict(look, m)))


def _checked(A: Tensor, X: Tensor) -> tuple[Tensor, Tensor]:
    """Return both in float32 or both in float64, where that exists."""
    check_square("A", A, nonempty=True)
    check_square("X", X, nonempty=True)
    if A.shape != X.shape:
        raise ValueError(f"Expected X of the shape of A, {tuple(A.shape)}, got {tuple(X.shape)}: an inverse a matrix.")
    for name, T in (("A", A), ("X", X)):
        if not T.dtype.is_floating_point:
            raise ValueError(f"Expected {name} of a real floating dtype, got {T.dtype}. Convert it: {name}.double().")
    A, X = (T.cpu() if T.device.type == "mps" else T for T in (A, X))
    if torch.float64 in (A.dtype, X.dtype):
        return double(A), double(X)
    return A.float(), X.float()


class _Look(NamedTuple):
    """What one product tells of a stack; all fields have shape ``(n_matrices,)``."""

    proper: Tensor
    """bool: A and X are unit lower triangular."""
    rho: Tensor
    error_bound: Tensor
    residual_norm: Tensor
    left_residual_norm: Tensor
    condition_lower: Tensor
    condition_upper: Tensor
    """Bounds on ``||A||_1 ||X||_1``."""


def _look(A: Tensor, X: Tensor, *, left: bool) -> _Look:
    """Return what the product tells in the dtype of A and X; the error bound is rho."""
    m, unit = A.shape[-1], torch.finfo(A.dtype).eps / 2
    n = min(at_a_time(A, m, _CHUNK_BYTES), max(1, len(A)))
    sums, above = _Sums.of(A, n), A.new_ones(m, m).triu_(1).flatten()
    for k in range(0, len(A), n):
        sums.add(A[k : k + n], X[k : k + n], slice(k, k + n), above, left=left)
    norm, left_norm = vector_norm(sums.norms.double(), dim=1)
    if not left:
        left_norm.fill_(torch.nan)
    of_A, of_X, columns, rows = sums.vectors.amax(dim=2).double()
    proper = (sums.above == 0).all(dim=0) & (sums.diagonals == 1).all(dim=2).all(dim=0)
    if not A.is_cpu or takes_subnormals_for_zeros(A.dtype):
        proper &= _is_lower(A) & _is_lower(X)
    lost = 8 * m * torch.finfo(A.dtype).tiny ** 0.5
    size = _rounded_up(rows.sqrt() * columns.sqrt(), m, unit)
    rho = _rounded_up(_rounded_up(norm + lost, m * m, unit) + (m + 3) * unit * size)
    condition = of_A * of_X
    off = 1 + (8 * m + 64) * unit
    return _Look(proper, rho, rho.clone(), norm, left_norm, condition / off, condition * off)


class _Sums(NamedTuple):
    """What is summed over the rows and columns of a stack, written part by part."""

    spare: Tensor
    """Two stacks as large as a part."""
    vectors: Tensor
    """``e^T |A|``, ``e^T |X|``, ``e^T P``, ``P e``, shape ``(4, n_matrices, m)``."""
    diagonals: Tensor
    """Of A and of X, shape ``(2, n_matrices, m)``."""
    norms: Tensor
    """Of the pieces of both residuals, shape ``(2, 3, n_matrices)``."""
    above: Tensor
    """Sums of the absolute values above the diagonal, of A and X, shape ``(2, n_matrices)``."""

    @classmethod
    def of(cls, A: Tensor, n_at_a_time: int) -> "_Sums":
        n_matrices, m, _ = A.shape
        vectors, diagonals = A.new_empty(4, n_matrices, m), A.new_empty(2, n_matrices, m)
        norms = A.new_zeros(2, 3, n_matrices)
        return cls(A.new_empty(2, n_at_a_time, m, m), vectors, diagonals, norms, A.new_empty(2, n_matrices))

    def add(self, A: Tensor, X: Tensor, where: slice, above: Tensor, *, left: bool) -> None:
        """Write those of a part."""
        spare = self.spare[:, : len(A)]
        _write_residual_norms(A, X, self.norms[0, :, where], spare[0])
        if left:
            _write_residual_norms(X, A, self.norms[1, :, where], spare[0])
        sums_of_A, sums_of_X, columns, rows = self.vectors[:, where]
        for T, size, sums, diagonal, total in zip(
            (A, X), spare, (sums_of_A, sums_of_X), self.diagonals[:, where], self.above[:, where], strict=True
        ):
            diagonal.copy_(T.diagonal(dim1=1, dim2=2))
            torch.abs(T, out=size)
            torch.sum(size, dim=1, out=sums)
            torch.mv(size.flatten(1), above, out=total)
        torch.bmm(sums_of_A.unsqueeze(1), spare[1], out=columns.unsqueeze(1))
        torch.bmm(spare[0], spare[1].sum(dim=2, keepdim=True), out=rows.unsqueeze(2))


def _write_residual_norms(A: Tensor, X: Tensor, norms: Tensor, spare: Tensor) -> None:
    """Write the Frobenius norms of the pieces of ``I - A X`` that are not zero, if A and X are lower triangular."""
    half = A.shape[-1] // 2 if A.shape[-1] >= _SMALLEST_SPLIT else 0
    pieces = [(A[:, half:, half:], X[:, half:, half:])]
    if half:
        pieces += [(A[:, :half, :half], X[:, :half, :half]), (A[:, half:], X[:, :, :half])]
    for (factor, other), norm in zip(pieces, norms, strict=False):
        shape = len(A), factor.shape[1], other.shape[2]
        R = torch.bmm(factor, other, out=spare.flatten()[: math.prod(shape)].view(shape))
        if factor.shape[1] == factor.shape[2]:
            R.diagonal(dim1=1, dim2=2).sub_(1)
        vector_norm(R.flatten(1), dim=1, out=norm)


def is_unit_lower(A: Tensor) -> Tensor:
    """Return whether float32 or float64 matrices are unit lower triangular to the bit, ``(..., m, m)`` to ``(...)``.

    >>> is_unit_lower(torch.tensor([[[1.0, 0.0], [5.0, 1.0]], [[1.0, 0.0], [5.0, 2.0]]]))
    tensor([ True, False])
    """
    diagonals = A.diagonal(dim1=-2, dim2=-1)
    return _is_lower(A.reshape(-1, *A.shape[-2:])).reshape(A.shape[:-2]) & (diagonals == 1).all(dim=-1)


def _is_lower(A: Tensor) -> Tensor:
    """Return whether nothing is above the diagonals, under every setting: by their bits."""
    integers, all_but_sign = _BITS[A.dtype]
    mask = torch.full(A.shape[-2:], all_but_sign, dtype=integers, device=A.device).triu_(1)
    return ((A.view(integers) & mask) == 0).all(dim=2).all(dim=1)


def takes_subnormals_for_zeros(dtype: torch.dtype) -> bool:
    """Return whether this thread does so in arithmetic.

    >>> takes_subnormals_for_zeros(torch.float32)
    False
    """
    return bool(torch.tensor([torch.finfo(dtype).tiny / 2], device="cpu", dtype=dtype) + 0 == 0)


def _look_closer(A: Tensor, X: Tensor, loose: float, *, left: bool) -> _Look:
    """Return what the product tells in float64, and where that is little, what holds in any units."""
    look = _look(A, X, left=left)
    again = look.proper & ~(look.rho <= loose)
    if again.any():
        look.error_bound[again] = torch.fmin(look.rho[again], _of_any_units(A[again], X[again]))
    return look


def _of_any_units(A: Tensor, X: Tensor) -> Tensor:
    """Return ``q / (1 - q)``, infinite where q is no bound below 1; of float64 matrices."""
    m, unit, eta = A.shape[-1], _UNIT, _UNDERFLOW
    larger = X.abs() + eta
    E = ((A @ X).abs() + (m + 3) * unit * ((A.abs() + eta) @ larger)).tril(-1) * (1 + _SLACK)
    z = E.sum(dim=2, keepdim=True)
    w = torch.linalg.solve_triangular(-E, z, upper=False, unitriangular=True)
    holds = ((z + E @ w) * (1 - _SLACK / 2) <= w).all(dim=1).squeeze(1)
    largest = X.abs().amax(dim=(1, 2), keepdim=True)
    longest = (X / largest).square().sum(dim=1).amax(dim=1).sqrt()
    y = larger @ w / largest + eta
    q = _rounded_up((vector_norm(y.flatten(1), dim=1) + m * eta**0.5) / longest, m)
    return torch.where(holds & (q < 1), _rounded_up(q / (1 - q)), torch.inf)


def _verdict(look: _Look, m: int) -> UnitLowerCertificate:
    """Return what is proved, and nothing of what is not."""
    certified = look.proper & (look.error_bound < 1)
    rho, error_bound = look.rho.where(look.proper, torch.nan), look.error_bound.where(certified, torch.nan)
    off = _rounded_up(torch.fmin(m**0.5 * rho, m * error_bound))
    largest = torch.finfo(torch.float64).max
    lower = (look.condition_lower.clamp_max(largest) / _rounded_up(1 + off)).clamp_min(1).where(certified, torch.nan)
    upper = torch.where(certified & (off < 1), _rounded_up(look.condition_upper / (1 - off)), torch.inf)
    norm, left_norm = (T.where(look.proper, torch.nan) for T in (look.residual_norm, look.left_residual_norm))
    return UnitLowerCertificate(certified, rho, error_bound, norm, left_norm, lower, upper)


def _rounded_up(value: Tensor, n: int = 1, unit: float = _UNIT) -> Tensor:
    """Return no less than the exact value of what was computed by at most 8 n + 60 additions and products."""
    return value * (1 + (8 * n + 64) * unit)
