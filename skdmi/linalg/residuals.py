"""Products, residuals and norms."""

import torch
from torch import Tensor
from torch.linalg import matrix_norm

from skdmi.arrays import described
from skdmi.validation import check_square


def identity_like(A: Tensor) -> Tensor:
    """Return the ``(m, m)`` identity with the size, dtype and device of A, ``(..., m, m)``.

    >>> identity_like(torch.zeros(5, 2, 2))
    tensor([[1., 0.],
            [0., 1.]])
    """
    return torch.eye(A.shape[-1], dtype=A.dtype, device=A.device)


def trace(A: Tensor) -> Tensor:
    """Return the trace of square matrices, ``(..., m, m)`` to ``(...)``.

    >>> trace(torch.eye(3))
    tensor(3.)
    """
    return A.diagonal(dim1=-2, dim2=-1).sum(dim=-1)


def double(A: Tensor) -> Tensor:
    """Return A in float64, on the CPU where its device has none; subnormal float32 entries never count as zeros.

    >>> double(torch.tensor([2.0**-149])).item() == 2.0**-149
    True
    """
    A = A.cpu() if A.device.type == "mps" else A
    if A.dtype == torch.float32:
        bits = A.view(torch.int32)
        is_subnormal = ((bits & 0x7F800000) == 0) & ((bits & 0x7FFFFF) != 0)
        if is_subnormal.any():  # which a processor that flushes them would take for zeros
            fraction = (bits & 0x7FFFFF).double() * 2.0**-149
            return torch.where(is_subnormal, torch.where(bits < 0, -fraction, fraction), A.double())
    return A.double()


def check_float(name: str, A: Tensor) -> None:
    """Refuse what is not a float tensor of square matrices.

    >>> check_float("A", torch.zeros(2, 2, dtype=torch.int64))
    Traceback (most recent call last):
        ...
    ValueError: Expected A of real floating dtype, got torch.int64. Try A.double().
    """
    if not isinstance(A, Tensor):
        raise TypeError(f"Expected {name} to be a torch tensor, got {described(A)}. Try torch.as_tensor({name}).")
    if not A.is_floating_point():
        advice = "Complex matrices: see complex_to_real." if A.is_complex() else f"Try {name}.double()."
        raise ValueError(f"Expected {name} of real floating dtype, got {A.dtype}. {advice}")
    check_square(name, A)


def check_pair(A: Tensor, X: Tensor) -> None:
    """Refuse what are not float tensors of square matrices and their alleged inverses, of one shape.

    >>> check_pair(torch.eye(2), torch.eye(3))
    Traceback (most recent call last):
        ...
    ValueError: Expected A and X of one shape, got (2, 2) and (3, 3).
    """
    check_float("A", A)
    check_float("X", X)
    if A.shape != X.shape:
        raise ValueError(f"Expected A and X of one shape, got {tuple(A.shape)} and {tuple(X.shape)}.")


def missing(X: Tensor) -> Tensor:
    """Return whether an inverse is missing: it has a NaN or an infinite entry.

    Parameters
    ----------
    X : Tensor of shape (..., m, m)
        Inverses.

    Returns
    -------
    Tensor of shape (...)
        A bool for each matrix.

    Examples
    --------
    >>> missing(torch.tensor([[[1.0]], [[torch.nan]]]))
    tensor([False,  True])
    """
    return ~X.isfinite().all(dim=-1).all(dim=-1)


def in_dtype_of(A: Tensor, X: Tensor) -> Tensor:
    """Return inverses in the dtype and on the device of A; one beyond its range is missing, like one that has a NaN.

    >>> in_dtype_of(torch.ones(1, 1, 1), torch.full((1, 1, 1), 1e300, dtype=torch.float64))
    tensor([[[nan]]])
    """
    X = X.to(A)
    nothing = complex(torch.nan, torch.nan) if X.is_complex() else torch.nan
    return torch.where(missing(X)[:, None, None], nothing, X)


def wide_frobenius_norm(A: Tensor) -> Tensor:
    """Return the Frobenius norm of each matrix, ``(..., m, m)`` to ``(...)``, where squares may leave the range, too.

    >>> wide_frobenius_norm(torch.tensor([[3e200, 0.0], [0.0, 4e200]], dtype=torch.float64))
    tensor(5.0000e+200, dtype=torch.float64)
    """
    largest = A.detach().abs().amax(dim=(-2, -1), keepdim=True)
    unit = torch.where((largest > 0) & largest.isfinite(), largest, 1.0)
    return matrix_norm(A / unit) * unit.squeeze((-2, -1))


def residual(A: Tensor, X: Tensor, *, left: bool = False) -> Tensor:
    """Return ``R = I - A X``, or with ``left=True`` ``I - X A``, ``(..., m, m)``, in the dtype of the arguments.

    If any norm of R is below 1, A is nonsingular. A residual of float32 matrices that is to mean something below 1e-6
    must be formed in float64: convert first, or use :func:`skdmi.metrics.frobenius_residuals`.

    Parameters
    ----------
    A, X : Tensors of shape (..., m, m)
        Matrices and approximate inverses, of one dtype.
    left : bool, default=False
        Whether X stands to the left.

    Returns
    -------
    Tensor of shape (..., m, m)
        R, in the dtype of the arguments.

    Raises
    ------
    ValueError
        If A or X does not hold square matrices.

    Examples
    --------
    >>> A = torch.tensor([[2.0, 0.0], [0.0, 4.0]])
    >>> residual(A, torch.eye(2) / 2)
    tensor([[ 0.,  0.],
            [ 0., -1.]])
    """
    check_square("A", A)
    check_square("X", X)
    return identity_like(A) - (X @ A if left else A @ X)


def rounding_floor(A: Tensor, X: Tensor, unit: float = 2.0**-53) -> Tensor:
    r"""Return a residual norm that rounding explains, ``(..., m, m)`` to ``(...)``: no product.

    .. math:: 4 u\, \| |A|\,|X|\, e \|_2 / \sqrt m

    At most :math:`4 u\, \| |A|\,|X| \|_F`, e the vector of ones, u the unit roundoff.

    >>> I = torch.eye(4, dtype=torch.float64)
    >>> rounding_floor(I, I).item() == 4 * 2.0**-53
    True
    """
    row_sums = X.abs().sum(dim=-1, keepdim=True)  # before |A| is formed: both are large
    return 4 * unit * (A.abs() @ row_sums).square().mean(dim=(-2, -1)).sqrt()
