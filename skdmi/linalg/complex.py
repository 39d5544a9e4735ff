"""Complex matrices as real ones of twice the size, and back: for inverters, which are real."""

from typing import Any, overload

import numpy as np
import torch
from torch import Tensor

from skdmi.arrays import to_numpy
from skdmi.embedding import rounding_of_mean
from skdmi.typing import ArrayLike, ComplexArray, FloatArray
from skdmi.validation import check_square

_COMPLEX = ("complex64", "complex128")
_REAL = ("float32", "float64")


@overload
def complex_to_real(A: Tensor) -> Tensor: ...
@overload
def complex_to_real(A: ArrayLike) -> FloatArray: ...
def complex_to_real(A: Any) -> Any:
    r"""Embed complex matrices into real ones of twice the size, inverses into inverses.

    .. math:: B + i C \mapsto \begin{pmatrix} B & -C \\ C & B \end{pmatrix}

    Products and inverses commute with the map, singular values appear twice.

    Parameters
    ----------
    A : array or tensor of shape (..., m, m)
        Complex matrices, complex64 or complex128.

    Returns
    -------
    array or tensor of shape (..., 2 m, 2 m)
        The real matrices, float32 or float64; a tensor where A is one, else a numpy array.

    Raises
    ------
    TypeError
        If A is not complex64 or complex128; a real A needs no embedding.
    ValueError
        If A does not hold square matrices, or is a masked array with masked entries.

    Examples
    --------
    >>> complex_to_real(np.array([[1 + 2j]]))
    array([[ 1., -2.],
           [ 2.,  1.]])
    >>> complex_to_real(torch.tensor([[1 + 2j]]))
    tensor([[ 1., -2.],
            [ 2.,  1.]])
    """
    A = _checked("complex_to_real", A, _COMPLEX, "A real matrix needs no embedding: invert it as it is.")
    if isinstance(A, Tensor):
        upper, lower = torch.cat([A.real, -A.imag], dim=-1), torch.cat([A.imag, A.real], dim=-1)
        return torch.cat([upper, lower], dim=-2)
    return np.block([[A.real, -A.imag], [A.imag, A.real]])


@overload
def real_to_complex(A: Tensor) -> Tensor: ...
@overload
def real_to_complex(A: ArrayLike) -> ComplexArray: ...
def real_to_complex(A: Any) -> Any:
    """Undo :func:`complex_to_real`, from the left half of A.

    Parameters
    ----------
    A : array or tensor of shape (..., 2 m, 2 m)
        What :func:`complex_to_real` returned, or the inverses of that; float32 or float64.

    Returns
    -------
    array or tensor of shape (..., m, m)
        The complex matrices, complex64 or complex128; a tensor where A is one, else a numpy array.

    Raises
    ------
    TypeError
        If A is not float32 or float64.
    ValueError
        If A does not hold square matrices of even size, or is a masked array with masked entries.

    Examples
    --------
    >>> real_to_complex(complex_to_real(np.array([[1 + 2j]])))
    array([[1.+2.j]])
    """
    A = _checked("real_to_complex", A, _REAL, "It takes what complex_to_real returns, or the inverses of that.")
    m = A.shape[-1] // 2
    if A.shape[-1] != 2 * m:
        raise ValueError(
            f"real_to_complex takes matrices of even size, shape (..., 2 m, 2 m), got shape {tuple(A.shape)}: "
            f"complex_to_real makes no others."
        )
    B, C = A[..., :m, :m], A[..., m:, :m]
    if isinstance(A, Tensor):
        return torch.complex(B.contiguous(), C.contiguous())
    image = np.empty(B.shape, np.result_type(A.dtype, np.complex64))
    image.real, image.imag = B, C
    return image


def nearest_complex(A: Tensor) -> Tensor:
    """Return the complex matrices whose embedding is nearest to A: the mean of what is written twice.

    See :func:`skdmi.embedding.unembed`.

    >>> nearest_complex(torch.tensor([[1.0, -2.0], [2.0, 1.0]]))
    tensor([[1.+2.j]])
    """
    m = A.shape[-1] // 2
    half = A / 2  # before sums, which might leave the range
    upper, lower = half[..., :m, :], half[..., m:, :]
    return torch.complex(upper[..., :m] + lower[..., m:], lower[..., :m] - upper[..., m:])


def embedded(A: Tensor) -> Tensor:
    """Return a stack, complex or real, as its embedding.

    >>> embedded(torch.ones(1, 1, 1))
    tensor([[[1., -0.],
             [0., 1.]]])
    """
    return complex_to_real(A if A.is_complex() else torch.complex(A, torch.zeros_like(A)))


def as_it_came(A: Tensor, X: Tensor) -> Tensor:
    """Return inverses of an embedding as those of the stack, complex or real."""
    inverse = nearest_complex(X)
    return inverse if A.is_complex() else inverse.real


def of_embedding(
    A: Tensor, X: Tensor, error_bound: Tensor, entry_bound: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return inverses of an embedding as those of the stack, and bounds on their errors as they hold there.

    Relative errors are no larger. Bounds allow for the rounding of the mean; those of entries are bounds of moduli.

    >>> A = torch.tensor([[[2j]]])
    >>> of_embedding(A, torch.tensor([[[0.0, 0.5], [-0.5, 0.0]]]), torch.ones(1))[0]
    tensor([[[0.-0.5000j]]])
    """
    inverse = as_it_came(A, X)
    distance = torch.from_numpy(rounding_of_mean(to_numpy(inverse.detach()))).to(error_bound)
    error_bound = (error_bound + (1 + error_bound) * distance) * (1 + 2.0**-40)
    if entry_bound is not None:
        m, range_ = A.shape[-1], torch.finfo(X.dtype)
        upper, lower = entry_bound[..., :m, :], entry_bound[..., m:, :]
        parts = (upper[..., :m] + lower[..., m:]) / 2, (lower[..., :m] + upper[..., m:]) / 2
        rounding = range_.eps / 2 * inverse.abs().to(entry_bound) + 2 * range_.smallest_normal
        entry_bound = (torch.hypot(*parts) + rounding) * (1 + 2.0**-40)
        entry_bound = torch.where(entry_bound.isnan(), torch.inf, entry_bound)
    return inverse, error_bound, entry_bound


def _checked(function: str, A: Any, dtypes: tuple[str, ...], advice: str) -> Any:
    """Return A as a tensor or a numpy array in native byte order, of one of the dtypes, or refuse it."""
    if np.ma.is_masked(A):
        raise ValueError(f"{function} got a masked array with masked entries. Fill them first: A.filled(value).")
    if isinstance(A, Tensor):
        got = str(A.dtype).removeprefix("torch.")
        if A.layout != torch.strided:
            got = f"a {A.layout} tensor of {got}"
    else:
        A = np.asarray(A)
        got = A.dtype.newbyteorder("=").name
    if got not in dtypes:
        raise TypeError(f"{function} takes {dtypes[0]} or {dtypes[1]}, got {got}. {advice}")
    check_square("a stack", A)
    return A
