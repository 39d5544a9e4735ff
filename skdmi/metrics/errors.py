"""How good inverses are, as numbers: residual norms, errors, and shares within a tolerance."""

import math
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor
from torch.linalg import matrix_norm

from skdmi.containers import as_stack
from skdmi.linalg.complex import as_it_came, embedded
from skdmi.linalg.exact import exact_inverse
from skdmi.linalg.residuals import missing, residual, wide_frobenius_norm
from skdmi.typing import ArrayLike, Float64Array


@overload
def frobenius_residuals(A: Tensor, X: Any, *, left: bool = False) -> Tensor: ...
@overload
def frobenius_residuals(A: ArrayLike, X: Any, *, left: bool = False) -> Float64Array: ...
def frobenius_residuals(A: Any, X: Any, *, left: bool = False) -> Any:
    r"""Return the residual norm of every inverse.

    .. math:: r = \|I - A X\|_F, \quad \text{with } \texttt{left=True} \quad r = \|I - X A\|_F

    Parameters
    ----------
    A, X : arrays or tensors of shape (n_matrices, m, m)
        Matrices and their computed inverses, real or complex.
    left : bool, default=False
        Measure the left residual.

    Returns
    -------
    array or tensor of shape (n_matrices,), float64
        In the container of A; NaN where X has a NaN.

    Raises
    ------
    ValueError
        If A and X are not stacks of square matrices of one shape, or have masked entries.
    TypeError
        If they are no arrays of numbers.

    Examples
    --------
    >>> frobenius_residuals([[[2.0, 0.0], [0.0, 4.0]]], [[[0.5, 0.0], [0.0, 0.5]]])
    array([1.])
    """
    A64, X64 = _stacks(A, X)
    if A64.shape[-1] == 0:
        return _like(A, A64.new_zeros(len(A64)))
    return _like(A, wide_frobenius_norm(residual(A64, X64, left=left)))


def mean_frobenius_residual(A: Any, X: Any) -> float:
    r"""Return the mean residual norm, the identity loss: :math:`\frac{1}{n} \sum_A \|I - A X\|_F`.

    A missing inverse (NaN) counts ``sqrt(m)``, as the zero matrix would.

    Parameters
    ----------
    A, X : arrays or tensors of shape (n_matrices, m, m)
        Matrices and their computed inverses.

    Returns
    -------
    float
        At least 0, which exact inverses reach.

    Examples
    --------
    >>> A = np.array([np.eye(4), np.zeros((4, 4))])
    >>> mean_frobenius_residual(A, np.array([np.eye(4), np.full((4, 4), np.nan)]))
    1.0
    """
    A64, X64 = _stacks(A, X)
    norms = matrix_norm(residual(A64, X64)).detach().cpu().numpy()
    return float(with_missing_as_zero(norms, A64.shape[-1]).mean())


def with_missing_as_zero(norms: np.ndarray, m: int) -> Float64Array:
    """Replace the NaN among residual norms by ``sqrt(m)``, the residual norm of the zero matrix.

    Parameters
    ----------
    norms : ndarray
        Residual norms, NaN where an inverse is missing.
    m : int
        Size of the matrices.

    Returns
    -------
    ndarray
        Of the shape of ``norms``, without NaN.

    Examples
    --------
    >>> with_missing_as_zero(np.array([0.5, np.nan]), 4)
    array([0.5, 2. ])
    """
    return np.where(np.isnan(norms), math.sqrt(m), norms)


@overload
def relative_inverse_errors(A: Tensor, X: Any, *, inverse: Any = None) -> Tensor: ...
@overload
def relative_inverse_errors(A: ArrayLike, X: Any, *, inverse: Any = None) -> Float64Array: ...
def relative_inverse_errors(A: Any, X: Any, *, inverse: Any = None) -> Any:
    r"""Return the relative error of every inverse.

    .. math:: e = \|X - A^{-1}\|_F \,/\, \|A^{-1}\|_F

    Parameters
    ----------
    A, X : arrays or tensors of shape (n_matrices, m, m)
        Matrices and their computed inverses.
    inverse : array or tensor of shape (n_matrices, m, m), optional
        The true inverses. By default those of LAPACK in float64, whose own error is about the condition number times
        1e-16.

    Returns
    -------
    array or tensor of shape (n_matrices,), float64
        In the container of A; NaN where A is singular to working precision or X has a NaN.

    Examples
    --------
    >>> relative_inverse_errors([[[2.0]]], [[[0.75]]])
    array([0.5])
    """
    A64, X64 = _stacks(A, X)
    true = _exact(A64) if inverse is None else _stacks(A, inverse)[1]
    return _like(A, matrix_norm(X64 - true) / matrix_norm(true))


def within_tolerance_share(A: Any, X: Any, tolerance: float = 0.05) -> float:
    r"""Return the share of inverses correct in Charton's sense [1]_.

    .. math:: \frac{1}{m} \sum_{ij} |(A X - I)_{ij}| < \text{tolerance}

    A missing inverse is not correct.

    Parameters
    ----------
    A, X : arrays or tensors of shape (n_matrices, m, m)
        Matrices and their computed inverses.
    tolerance : float, default=0.05
        He reports 0.05, 0.02, 0.01 and 0.005.

    Returns
    -------
    float
        From 0 to 1.

    References
    ----------
    .. [1] Charton, "Linear algebra with transformers", TMLR 2022, arXiv 2112.01898.

    Examples
    --------
    >>> A = np.array([np.eye(2), np.eye(2)])
    >>> within_tolerance_share(A, A * [[[1.01]], [[1.1]]])
    0.5
    """
    A64, X64 = _stacks(A, X)
    deviation = residual(A64, X64).abs().sum(dim=(-2, -1)) / A64.shape[-1]
    return (deviation < tolerance).double().mean().item()


def half_norm_share(A: Any, X: Any) -> float:
    r"""Return the share of inverses with spectral norm :math:`\|I - A X\|_2 < 1/2`.

    From there each Newton-Schulz step squares the norm, 1/2 to 1/4 to 1/16; below 1 is no achievement, since the
    transpose scaled has that. A missing inverse is not counted.

    Parameters
    ----------
    A, X : arrays or tensors of shape (n_matrices, m, m)
        Matrices and their computed inverses.

    Returns
    -------
    float
        From 0 to 1.

    Examples
    --------
    >>> A = np.array([np.eye(2), np.eye(2)])
    >>> half_norm_share(A, A * [[[1.4]], [[1.6]]])
    0.5
    """
    A64, X64 = _stacks(A, X)
    R = residual(A64, X64)
    absent = missing(R)
    norms = torch.linalg.matrix_norm(torch.where(absent[:, None, None], 1.0, R), ord=2)
    return (~absent & (norms < 0.5)).double().mean().item()


def _stacks(A: Any, X: Any) -> tuple[Tensor, Tensor]:
    """Return two stacks in float64, or complex128 if one of them is complex."""
    shape = "(n_matrices, m, m)"
    stacks = [as_stack(array, name=name, shape=shape, allows_complex=True) for array, name in ((A, "A"), (X, "X"))]
    is_complex = any(stack.is_complex() for stack in stacks)
    A64, X64 = (stack.to(torch.complex128 if is_complex else torch.float64) for stack in stacks)
    if A64.ndim != 3 or A64.shape[-1] != A64.shape[-2] or A64.shape != X64.shape:
        raise ValueError(
            f"Expected two stacks of one shape {shape}, got {tuple(A64.shape)} and {tuple(X64.shape)}. A flat stack is "
            f"X.reshape(-1, m, m)."
        )
    return A64, X64


def _exact(A: Tensor) -> Tensor:
    return as_it_came(A, exact_inverse(embedded(A))) if A.is_complex() else exact_inverse(A)


def _like(container: Any, values: Tensor) -> Any:
    return values if isinstance(container, Tensor) else values.detach().cpu().numpy()
