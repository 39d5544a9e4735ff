"""Products, residuals, norms, exact scaling, exact inverses, and a check of shapes."""

from typing import Any

import torch
from torch import Tensor


def identity_like(A: Tensor) -> Tensor:
    """Return the ``(m, m)`` identity with the size, dtype and device of A, ``(..., m, m)``.

    Of diagonals, ``(..., m, 1)``, it is ``(m, 1)``.

    >>> identity_like(torch.zeros(5, 2, 2))
    tensor([[1., 0.],
            [0., 1.]])
    """
    if holds_diagonals(A):
        return torch.ones(A.shape[-2:], dtype=A.dtype, device=A.device)
    return torch.eye(A.shape[-1], dtype=A.dtype, device=A.device)


def holds_diagonals(A: Tensor) -> bool:
    """Return whether A holds the diagonals of diagonal matrices, ``(..., m, 1)``, rather than square matrices.

    Whatever is built of :func:`product`, :func:`trace`, :func:`transpose`, :func:`identity_like`, linear combinations
    and norms takes either. Of a matrix function that commutes with orthogonal transformations the spectrum is all that
    matters, and m numbers stand for m^2.

    >>> holds_diagonals(torch.zeros(5, 3, 1)), holds_diagonals(torch.zeros(5, 3, 3))
    (True, False)
    """
    return A.shape[-1] != A.shape[-2]


def product(A: Tensor, B: Tensor) -> Tensor:
    """Return ``A B`` of square matrices, or of diagonals.

    >>> product(torch.tensor([[2.0], [3.0]]), torch.tensor([[0.5], [1.0]]))
    tensor([[1.],
            [3.]])
    """
    return A * B if holds_diagonals(A) else A @ B


def trace(A: Tensor) -> Tensor:
    """Return the trace of square matrices, ``(..., m, m)`` to ``(...)``, or of diagonals.

    >>> trace(torch.eye(3)), trace(torch.ones(3, 1))
    (tensor(3.), tensor(3.))
    """
    return A.sum(dim=(-2, -1)) if holds_diagonals(A) else A.diagonal(dim1=-2, dim2=-1).sum(dim=-1)


def transpose(A: Tensor) -> Tensor:
    """Return the transpose of square matrices, or diagonals as they are.

    >>> transpose(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor([[1., 3.],
            [2., 4.]])
    """
    return A if holds_diagonals(A) else A.mT


def double(A: Tensor) -> Tensor:
    """Return A in float64, on the CPU where its device has none."""
    return (A.cpu() if A.device.type == "mps" else A).double()


def missing(X: Tensor) -> Tensor:
    """Return whether an inverse is missing: a NaN or infinite entry; ``(..., m, m)`` to ``(...)``.

    >>> missing(torch.tensor([[[1.0]], [[torch.nan]]]))
    tensor([False,  True])
    """
    return ~X.isfinite().all(dim=-1).all(dim=-1)


def frobenius_norm(A: Tensor) -> Tensor:
    r"""Return :math:`\|A\|_F = (\sum_{ij} a_{ij}^2)^{1/2}` of each matrix, ``(..., m, m)`` to ``(...)``.

    >>> frobenius_norm(torch.tensor([[3.0, 0.0], [0.0, 4.0]]))
    tensor(5.)
    """
    return torch.linalg.vector_norm(A, dim=(-2, -1))


def residual(A: Tensor, X: Tensor, *, left: bool = False) -> Tensor:
    """Return ``R = I - A X``, or with ``left=True`` ``I - X A``, ``(..., m, m)``, in the dtype of the arguments.

    If any norm of R is below 1, A is nonsingular. A residual of float32 matrices that is to mean something below 1e-6
    must be formed in float64: convert first, or use :func:`skdmi.metrics.frobenius_residuals`.

    >>> A = torch.tensor([[2.0, 0.0], [0.0, 4.0]])
    >>> residual(A, torch.eye(2) / 2)
    tensor([[ 0.,  0.],
            [ 0., -1.]])
    """
    return identity_like(A) - (product(X, A) if left else product(A, X))


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
    exponent : int32 Tensor of shape (...)

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
        float32 or float64.
    exponent : integer Tensor of shape (...)
        Of absolute value at most 252 for float32 and 2044 for float64, twice that of the smallest normal number.

    Examples
    --------
    >>> scale_by_power_of_two(torch.eye(2, dtype=torch.float64), torch.tensor(-1000)).amax().item() == 2.0**-1000
    True
    """
    half = torch.div(exponent, 2, rounding_mode="floor")
    first, second = (_power_of_two(part, A.dtype)[..., None, None] for part in (half, exponent - half))
    return (A * first).mul_(second)


def _power_of_two(exponent: Tensor, dtype: torch.dtype) -> Tensor:
    bits, bias, mantissa = {
        torch.float32: (torch.int32, 127, 23),
        torch.float64: (torch.int64, 1023, 52),
    }[dtype]
    return ((exponent.to(bits) + bias) << mantissa).view(dtype)


def exact_inverse(A: Tensor) -> Tensor:
    """Invert by LU factorisation with partial pivoting in float64 (LAPACK or cuSOLVER), member by member.

    A member without an inverse is NaN and spoils no other, nor its gradient: one whose factorisation meets a zero
    pivot; one whose inverse exceeds the dtype's range; or one for which ``||I - A X||_F < 1`` fails in float64. If A
    is singular then ``A X`` is, so R has the eigenvalue 1 and no norm of R is below 1. The norm is taken with the rows
    of A brought near 1 by powers of two, and an allowance for the rounding of the product is added: what passes is
    nonsingular, what fails is singular to working precision (``[[1, 2, 3], [4, 5, 6], [7, 8, 9]]``, whose
    factorisation ends without complaint).

    Parameters
    ----------
    A : Tensor of shape (..., m, m)
        Finite, of real floating dtype.

    Returns
    -------
    X : Tensor of shape (..., m, m)
        In the dtype of A. Differentiable.

    Examples
    --------
    >>> exact_inverse(torch.tensor([[[2.0, 0.0], [0.0, 4.0]], [[1.0, 2.0], [2.0, 4.0]]]))
    tensor([[[0.5000, 0.0000],
             [0.0000, 0.2500]],
    <BLANKLINE>
            [[   nan,    nan],
             [   nan,    nan]]])
    """
    A64 = A.double()
    with torch.no_grad():
        X, info = torch.linalg.inv_ex(A64)
        representable = ~missing(X.to(A.dtype))
        found = ((info == 0) & representable & (_cautious_residual_norm(A64, X) < 1))[..., None, None]
    if A.requires_grad:
        # A factorisation that failed would send NaN back even through a zero gradient.
        X, _ = torch.linalg.inv_ex(torch.where(found, A64, identity_like(A64)))
    return torch.where(found, X, torch.nan).to(A.dtype)


def _cautious_residual_norm(A: Tensor, X: Tensor) -> Tensor:
    """Return ``||I - A X||_F`` plus an allowance for its rounding, the rows of A brought to [1/2, 1); float64."""
    exponent = torch.frexp(A.abs().amax(dim=-1)).exponent
    A = scale_by_power_of_two(A.unsqueeze(-2), -exponent).squeeze(-2)
    X = scale_by_power_of_two(X.mT.unsqueeze(-2), exponent).squeeze(-2).mT
    # The worst case is m units of roundoff, but errors average out: in 400,000 singular matrices of size 2 to 64 none
    # needed more than 0.3 units to be told from a nonsingular one. Four leave room, and condition numbers up to 1e15.
    return frobenius_norm(residual(A, X)) + 4 * 2.0**-53 * frobenius_norm(A.abs() @ X.abs())


RECTANGULAR_ADVICE = (
    "A rectangular matrix has no inverse: see numpy.linalg.pinv, or damped least squares, (A^T A + l^2 I)^-1 A^T."
)


def check_square(name: str, A: Any) -> None:
    """Refuse an array that does not hold square matrices, ``(..., m, m)``.

    Raises
    ------
    ValueError
        Naming the array and its shape.

    Examples
    --------
    >>> check_square("A", torch.zeros(2, 3, 3))
    >>> check_square("A", torch.zeros(2, 3, 4))
    Traceback (most recent call last):
        ...
    ValueError: Expected A of square matrices, shape (..., m, m), got shape (2, 3, 4). A rectangular matrix has ...
    """
    shape = tuple(A.shape)
    if len(shape) < 2 or shape[-1] != shape[-2]:
        advice = RECTANGULAR_ADVICE if len(shape) > 1 else "One number is a matrix as A.reshape(1, 1)."
        raise ValueError(f"Expected {name} of square matrices, shape (..., m, m), got shape {shape}. {advice}")
