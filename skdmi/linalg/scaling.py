"""Scaling by powers of two, exactly: one matrix, its rows, its columns, and both so that units cost no digits."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from skdmi.linalg.residuals import double
from skdmi.validation import check_square

_FIELDS = {torch.float32: (torch.int32, 23, 127), torch.float64: (torch.int64, 52, 1023)}
"""Integers of the same width, the number of bits of the fraction, and the bias of the exponent."""
_ALL_ONES = 0x7FF
"""The exponent field of what is not finite."""
_NOTHING = -(2**20)
"""In place of the exponent of a zero: below all others, and a sum of a few of them is still an int32."""
_UNBALANCED = 4
"""A row or column whose entries lie, in the geometric mean, so many powers of two below its largest looks unbalanced.
Uniform entries lie 2 below."""


def split_exponent(A: Tensor) -> tuple[Tensor, Tensor]:
    """Split each matrix into ``A = 2^e B`` with the largest entry of B in [1/2, 1).

    Exact, save that entries of B more than the dtype's range below the largest flush to zero. The zero matrix gets
    ``e = 0``.

    Parameters
    ----------
    A : Tensor of shape (..., m, m)
        Finite, float32 or float64.

    Returns
    -------
    B : Tensor of shape (..., m, m)
        The matrices near 1, in the dtype of A.
    exponent : Tensor of shape (...)
        The integers e, int32.

    Examples
    --------
    >>> B, exponent = split_exponent(torch.tensor([[6.0, 0.0], [0.0, 3.0]]))
    >>> B, exponent
    (tensor([[0.7500, 0.0000],
            [0.0000, 0.3750]]), tensor(3, dtype=torch.int32))
    """
    largest = A.detach().abs().amax(dim=(-2, -1))
    exponent = torch.frexp(largest).exponent
    return scale_by_power_of_two(A, -exponent), exponent


def scale_by_power_of_two(A: Tensor, exponent: Tensor) -> Tensor:
    """Return ``2^exponent A``, exact wherever the result is a normal number; beyond the range it becomes infinite.

    Two multiplications by ``2^(exponent / 2)``, each power built from its bits: ``torch.ldexp`` forms the power in
    float32, which overflows for float64 matrices.

    Parameters
    ----------
    A : Tensor of shape (..., m, m)
        Matrices, float32 or float64.
    exponent : Tensor of shape (...)
        Integers of absolute value at most 252 for float32 and 2044 for float64, twice that of the smallest normal
        number.

    Returns
    -------
    Tensor of shape (..., m, m)
        In the dtype of A.

    Examples
    --------
    >>> scale_by_power_of_two(torch.eye(2, dtype=torch.float64), torch.tensor(-1000)).amax().item() == 2.0**-1000
    True
    """
    half = torch.div(exponent, 2, rounding_mode="floor")
    first, second = power_of_two(torch.stack([half, exponent - half])[..., None, None], A.dtype)
    return A * first * second


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


def power_of_two(exponent: Tensor, dtype: torch.dtype) -> Tensor:
    """Return ``2^exponent`` in float32 or float64, from its bits; the exponent is that of a normal number.

    >>> power_of_two(torch.tensor([0, 3, -1]), torch.float32)
    tensor([1.0000, 8.0000, 0.5000])
    """
    integers, n_bits, bias = _FIELDS[dtype]
    if torch._C._are_functorch_transforms_active():  # Before torch 2.13 vmap views nothing in another dtype: look up.
        powers = (torch.arange(2 * bias + 1, dtype=integers, device=exponent.device) << n_bits).view(dtype)
        at = exponent.long() + bias
        return powers.index_select(0, at.reshape(-1)).reshape(at.shape)
    return ((exponent.to(integers) + bias) << n_bits).view(dtype)


def scale_both(A: Tensor, row_exponent: Tensor, column_exponent: Tensor) -> Tensor:
    """Return ``D1 A D2``, ``D1 = diag(2^row_exponent)``, ``D2 = diag(2^column_exponent)``, as if in one step.

    Exact wherever the result is a normal number, whatever lies between, subnormal entries of A included, and even
    where the processor takes those for zeros.

    Parameters
    ----------
    A : Tensor of shape (..., m, m)
        float64.
    row_exponent, column_exponent : int32 Tensors of shape (..., m)

    Examples
    --------
    >>> A = torch.tensor([[2.0**-1060]], dtype=torch.float64)
    >>> scale_both(A, torch.tensor([2000]), torch.tensor([-940]))
    tensor([[1.]], dtype=torch.float64)
    """
    exponent = row_exponent.unsqueeze(-1).long() + column_exponent.unsqueeze(-2)
    bits = A.view(torch.int64)
    field = (bits >> 52) & _ALL_ONES
    new_field = field + exponent
    moved = (bits + (exponent << 52)).view(torch.float64)
    if _are_of_normal_numbers(field, new_field):
        return moved
    usual = (field > 0) & (field < _ALL_ONES) & (new_field > 0) & (new_field < _ALL_ONES)
    B, shift = _without_subnormals(A)
    exponent = (exponent + shift).clamp(-3000, 3000)  # beyond this it is zero or infinite all the same
    part = torch.div(exponent, 3, rounding_mode="floor")
    for power in (part, part, exponent - 2 * part):
        B = B * power_of_two(power, torch.float64)
    return torch.where(usual, moved, B)


def _are_of_normal_numbers(*fields: Tensor) -> bool:
    """Return whether exponent fields are all those of normal numbers."""
    for field in fields:
        if field.numel() > 0:
            smallest, largest = field.aminmax()
            if not (smallest > 0) & (largest < _ALL_ONES):
                return False
    return True


def _without_subnormals(A: Tensor) -> tuple[Tensor, Tensor]:
    """Return B and e with ``A = 2^e B`` entry by entry, float64, where B has no subnormal entry; by integers alone."""
    bits = A.view(torch.int64)
    fraction = (bits & (2**52 - 1)).double()
    is_subnormal = ((bits >> 52) & _ALL_ONES) == 0
    B = torch.where(is_subnormal, torch.where(bits < 0, -fraction, fraction), A)
    return B, torch.where(is_subnormal, -1074, 0)


def exponents(A: Tensor) -> Tensor:
    """Return e with ``2^(e-1) <= |a| < 2^e``, int32, entry by entry; of zeros a number below all others; A is float64.

    >>> exponents(torch.tensor([1.0, -0.75, 2.0**-1074], dtype=torch.float64))
    tensor([    1,     0, -1073], dtype=torch.int32)
    """
    field = (A.view(torch.int64) >> 52) & _ALL_ONES
    if _are_of_normal_numbers(field):
        return (field - 1022).int()
    B, shift = _without_subnormals(A)
    field = (B.view(torch.int64) >> 52) & _ALL_ONES
    return torch.where(field == 0, _NOTHING, field - 1022 + shift).int()


def near_one(A: Tensor) -> tuple[Tensor, Tensor]:
    """Split each float64 matrix as :func:`split_exponent` does, subnormal entries included under every setting.

    >>> near_one(torch.tensor([[2.0**-1074]], dtype=torch.float64))
    (tensor([[0.5000]], dtype=torch.float64), tensor(-1073, dtype=torch.int32))
    """
    row_exponent = exponents(A).amax(dim=-1)
    exponent = -_negated_where_any(row_exponent.amax(dim=-1))
    columns = torch.zeros_like(A[..., 0, :], dtype=torch.int32)
    return scale_both(A, -exponent.unsqueeze(-1).expand_as(row_exponent), columns), exponent


def equilibrate_rows(A: Tensor) -> tuple[Tensor, Tensor]:
    """Bring the largest entry of every row of float64 matrices to [1/2, 1); return the powers of two, too.

    >>> equilibrate_rows(torch.tensor([[6.0, 1.0, 0.0]], dtype=torch.float64))
    (tensor([[0.7500, 0.1250, 0.0000]], dtype=torch.float64), tensor([-3], dtype=torch.int32))
    """
    exponent = _negated_where_any(exponents(A).amax(dim=-1))
    return scale_both(A, exponent, torch.zeros_like(A[..., 0, :], dtype=torch.int32)), exponent


class Equilibrated(NamedTuple):
    """What :func:`equilibrate` returns, for each matrix."""

    scaled: Tensor
    """``A' = D1 A D2``, shape (..., m, m), in the dtype of A. Exact, save what lies below the normal numbers there."""
    row_exponent: Tensor
    """Of ``D1``: r, int32, shape (..., m); 0 for rows of zeros."""
    column_exponent: Tensor
    """Of ``D2``: c, int32, shape (..., m); 0 for columns of zeros."""


def equilibrate(A: Tensor) -> Equilibrated:
    r"""Bring the largest entry of every row and of every column to [1/2, 1) by powers of two: units cost no digits.

    .. math:: A' = D_1 A D_2, \quad A^{-1} = D_2 A'^{-1} D_1, \quad
       D_1 = \operatorname{diag}(2^{r_i}), \quad D_2 = \operatorname{diag}(2^{c_j})

    Two choices of the exponents are compared, and the one with the larger :math:`\sum_i r_i + \sum_j c_j` taken: since
    no entry of A' exceeds 1, that is the one with the larger determinant of A', the better conditioned of the two as
    far as Hadamard's inequality tells.

    - The largest entry of every row, then of every column, is brought to [1/2, 1). This undoes any units of a dense
      matrix, but not those of a sparse one, where a row may have its largest entry in a column of a large unit.
    - The exponents of the entries that are not zero are brought as near to 0 as rows and columns can bring them, in the
      sense of least squares [1]_; from there, as little more as makes the entries of a transversal with the largest
      product, of one entry in every row and column, the largest of their rows and columns [2]_: no choice has a larger
      sum. It is tried only where some row or column looks unbalanced after the first.

    Parameters
    ----------
    A : Tensor of shape (..., m, m)
        Finite, float32 or float64.

    Returns
    -------
    Equilibrated
        A', and the exponents of the rows and of the columns.

    Raises
    ------
    ValueError
        If A does not hold square matrices.

    References
    ----------
    .. [1] Curtis and Reid, "On the automatic scaling of matrices for Gaussian elimination", J. Inst. Maths Applics 10,
       1972.
    .. [2] Olschowka and Neumaier, "A new pivoting strategy for Gaussian elimination", Linear Algebra Appl. 240, 1996.

    Examples
    --------
    >>> scaled, row_exponent, column_exponent = equilibrate(torch.tensor([[6.0, 0.0], [1.0, 0.25]]))
    >>> scaled
    tensor([[0.7500, 0.0000],
            [0.5000, 0.5000]])
    >>> row_exponent, column_exponent
    (tensor([-3, -1], dtype=torch.int32), tensor([0, 2], dtype=torch.int32))
    """
    check_square("A", A)
    A64 = double(A.detach())
    E = exponents(A64)
    rows, columns = _by_maxima(E)
    unbalanced = _unbalanced(E, rows, columns)
    if unbalanced.any():
        chosen = E[unbalanced]
        other = _by_transversals(chosen, *_by_logarithms(chosen))
        better = sum(e.sum(dim=-1) for e in other) > rows[unbalanced].sum(dim=-1) + columns[unbalanced].sum(dim=-1)
        where = unbalanced.clone()
        where[unbalanced] = better
        rows[where], columns[where] = (e[better] for e in other)
    scaled = scale_both(A64, rows, columns)
    return Equilibrated(scaled.to(A), rows, columns)


def _by_maxima(E: Tensor) -> tuple[Tensor, Tensor]:
    """Return the exponents of rows, then of columns, that bring the largest of the exponents E to 0."""
    rows = _negated_where_any(E.amax(dim=-1))
    columns = _negated_where_any((E + rows.unsqueeze(-1)).amax(dim=-2))
    return rows, columns


def _negated_where_any(largest: Tensor) -> Tensor:
    return torch.where(largest > _NOTHING // 2, -largest, 0)


def _unbalanced(E: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return whether a row or column lies far below its largest entry in the geometric mean; (..., m, m) to (...)."""
    is_entry = E > _NOTHING // 2
    E = torch.where(is_entry, E + rows.unsqueeze(-1) + columns.unsqueeze(-2) + _UNBALANCED, 0)
    return (E.sum(dim=-1) < 0).any(dim=-1) | (E.sum(dim=-2) < 0).any(dim=-1)


def _by_logarithms(E: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return the exponents of rows and columns that minimise ``sum (E_ij + r_i + c_j)^2``.

    Over the entries that are not zero, with their pattern P, :math:`n_r = P e` and :math:`n_c = P^T e`:

    .. math:: r = -n_r^{-1} (E e + P c), \quad
       (\operatorname{diag}(n_c) - P^T \operatorname{diag}(n_r)^{-1} P)\, c = P^T n_r^{-1} E e - E^T e

    which determines c but for a constant; a ridge picks one.
    """
    is_entry = E > _NOTHING // 2
    P = is_entry.double()
    known = torch.where(is_entry, E, 0).double()
    n_rows, n_columns = P.sum(dim=-1, keepdim=True).clamp_min(1), P.sum(dim=-2).clamp_min(1)
    row_means = known.sum(dim=-1, keepdim=True) / n_rows
    normal = torch.diag_embed(n_columns + 1e-9) - P.mT @ (P / n_rows)
    columns = torch.linalg.solve(normal, P.mT @ row_means - known.sum(dim=-2).unsqueeze(-1))
    rows = -(row_means + P @ columns / n_rows)
    r, c = (exponent.squeeze(-1).round().int() for exponent in (rows, columns))
    return r, c


def _by_transversals(E: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    r"""Change exponents as little as makes the largest transversal the largest entries, then adjust by maxima.

    With the transversal :math:`\sigma`, least exponents :math:`v \ge 0` with
    :math:`E_{ij} + v_{\sigma(i)} - E_{i \sigma(i)} \le v_j` are the lengths of longest paths; columns take ``-v``,
    rows what brings the entries of the transversal to 0. A matrix without a transversal is only adjusted.
    """
    from scipy.optimize import linear_sum_assignment

    m = E.shape[-1]
    is_entry = E > _NOTHING // 2
    scaled = torch.where(is_entry, E + rows.unsqueeze(-1) + columns.unsqueeze(-2), _NOTHING)
    found = [linear_sum_assignment(member, maximize=True)[1] for member in scaled.cpu().numpy()]
    sigma = torch.as_tensor(np.array(found), device=E.device)
    largest = scaled.gather(-1, sigma.unsqueeze(-1))
    beyond = torch.where((largest > _NOTHING // 2).all(dim=-2, keepdim=True) & is_entry, scaled - largest, _NOTHING)
    v = torch.zeros_like(columns)
    for _ in range(m):
        longer = torch.maximum(v, (beyond + v.gather(-1, sigma).unsqueeze(-1)).amax(dim=-2))
        if torch.equal(longer, v):
            break
        v = longer
    on_transversal = torch.where(largest > _NOTHING // 2, largest, 0).squeeze(-1)
    r, c = rows - on_transversal + v.gather(-1, sigma), columns - v
    more_r, more_c = _by_maxima(torch.where(is_entry, E + r.unsqueeze(-1) + c.unsqueeze(-2), _NOTHING))
    return r + more_r, c + more_c
