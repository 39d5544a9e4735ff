"""Complex matrices as real ones of twice the size, in numpy, and back."""

import numpy as np


def embed(A: np.ndarray) -> np.ndarray:
    r"""Return ``[[B, -C], [C, B]]`` of matrices ``B + i C``, (..., p, q) to (..., 2 p, 2 q).

    >>> embed(np.array([[1 + 2j]]))
    array([[ 1., -2.],
           [ 2.,  1.]])
    """
    *leading, p, q = A.shape
    real = np.empty((*leading, 2 * p, 2 * q), A.real.dtype)
    real[..., :p, :q] = real[..., p:, q:] = A.real
    real[..., p:, :q] = A.imag
    np.negative(A.imag, out=real[..., :p, q:])
    return real


def unembed(X: np.ndarray) -> np.ndarray:
    r"""Return the complex matrices whose embedding is nearest to X: the mean of what is written twice.

    That is a projection, the mean of X and of ``J^T X J`` with an orthogonal J, so that no unitarily invariant norm of
    a distance to an embedding grows.

    >>> unembed(np.array([[1.0, -2.0], [2.0, 1.0]]))
    array([[1.+2.j]])
    """
    *leading, p, q = X.shape
    p, q = p // 2, q // 2
    Z = np.empty((*leading, p, q), np.result_type(X.dtype, np.complex64))
    half = X / 2  # before sums, which might leave the range
    with np.errstate(invalid="ignore"):
        np.add(half[..., :p, :q], half[..., p:, q:], out=Z.real)
        np.subtract(half[..., p:, :q], half[..., :p, q:], out=Z.imag)
    return Z


def rounding_of_mean(Z: np.ndarray) -> np.ndarray:
    r"""Return a bound on how far rounding has taken the answers of :func:`unembed` from the means.

    .. math:: u \sqrt{\min(p, q)} + \frac{2 \sqrt{p q}\, \eta}{\max_{ij} |z_{ij}|}

    relative to the spectral norm of the mean, and so to the Frobenius norm, with :math:`\eta` the smallest normal
    number, which is more than underflow takes away; infinite where Z is zero or not finite.

    >>> rounding_of_mean(np.array([[[1 + 2j]], [[0j]]]))
    array([1.11022302e-16,            inf])
    """
    *_, p, q = Z.shape
    range_ = np.finfo(Z.dtype)
    with np.errstate(all="ignore"):
        largest = np.maximum(abs(Z.real), abs(Z.imag)).max(axis=(-2, -1), initial=0.0).astype(np.float64)
        bound = float(range_.eps) / 2 * min(p, q) ** 0.5 + 2 * (p * q) ** 0.5 * float(range_.smallest_normal) / largest
    return np.where(np.isfinite(largest) & (largest > 0), bound * (1 + 2.0**-40), np.inf)
