"""Proofs that matrices are positive definite, and that others are their inverse square roots."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.linalg import matrix_norm

from skdmi.linalg.certificate import rounded_up
from skdmi.linalg.positive_definite import certify_positive_definite, is_symmetric
from skdmi.linalg.residuals import check_pair, double, identity_like
from skdmi.linalg.scaling import exponents, scale_both

_UNIT = 2.0**-53
_UNDERFLOW = 2.0**-900
_LARGEST = 0.25
"""Of rho: up to a half the bound holds."""


class InverseRootCertificate(NamedTuple):
    """What is proved of each matrix of a stack; every field has shape (...).

    Parameters
    ----------
    certified : Tensor of bool
        A, and every symmetric matrix that rounds to A, is positive definite, and Z is near its inverse square root.
    error_bound : Tensor
        An upper bound on the relative error of Z in the spectral norm, float64; NaN where uncertified.

    Examples
    --------
    >>> A = torch.tensor([[[4.0, 0.0], [0.0, 1.0]], [[4.0, 0.0], [0.0, -1.0]]])
    >>> certify_inv_sqrt(A, torch.tensor([[0.5, 0.0], [0.0, 1.0]]).expand(2, 2, 2)).certified
    tensor([ True, False])
    """

    certified: Tensor
    error_bound: Tensor


@torch.no_grad()
def certify_inv_sqrt(A: Tensor, Z: Tensor) -> InverseRootCertificate:
    r"""Prove, matrix by matrix, that A is positive definite, and bound the error of an approximation Z of its root.

    Let A and Z be symmetric, Z positive definite, which is proved apart
    (:func:`skdmi.linalg.certify_positive_definite`), and :math:`R = I - Z A Z` with
    :math:`\|R\|_F \le \rho < 1/2`. Then :math:`Z A Z = I - R` is positive definite, and A is. With :math:`H = A^{1/2}`
    and :math:`G = H Z - I`,

    .. math:: (I + G)^T (I + G) = I - R, \qquad G + G^T = -R - G^T G

    and G is similar to the symmetric matrix :math:`H^{1/2} (Z - H^{-1}) H^{1/2}`, so that
    :math:`\operatorname{tr} G^2 \ge 0` and :math:`2 \|G\|_F^2 \le \|G + G^T\|_F^2`. Hence :math:`g = \|G\|_F` satisfies
    :math:`\sqrt 2\, g \le \rho + g^2`: it is at most the smaller root of the quadratic, or at least the larger one.
    Along :math:`A_t = Z^{-1} (I - t R) Z^{-1}`, from :math:`t = 0`, where Z is the inverse root itself, to
    :math:`A_1 = A`, g is continuous and begins at 0, so

    .. math:: g \le \frac{2 \rho}{\sqrt 2 + \sqrt{2 - 4 \rho}}

    The error :math:`D = Z - A^{-1/2}` solves :math:`H D + D H = -R - G^T G`, whose solution is at most
    :math:`\|R + G^T G\|_F / (2 \lambda_{\min}(H))`, and :math:`\lambda_{\min}(H) = 1 / \|A^{-1/2}\|_2`:

    .. math:: \frac{\|Z - A^{-1/2}\|_F}{\|A^{-1/2}\|_2} \le \frac{\rho + g^2}{2}

    R is computed by two products in float64; to it is added what rounding may have taken,
    :math:`(2 m + 5)\, u\, \sqrt m\, (1 + \| |Z| |A| |Z| \|_\infty)`.

    Parameters
    ----------
    A, Z : Tensors of shape (..., m, m)
        Matrices and what are said to be their inverse square roots, float32 or float64. What is not symmetric to the
        bit is not certified.

    Returns
    -------
    InverseRootCertificate
        On the device of A; on the CPU where that has no float64.

    Raises
    ------
    ValueError
        If A or Z is not a float tensor of square matrices, or their shapes differ.

    Notes
    -----
    Not proved: that an uncertified A is not positive definite. The proof ends at condition numbers of about 1e13.

    References
    ----------
    Higham, "Functions of matrices", SIAM, 2008, section 6.1, for the Sylvester equation.

    Examples
    --------
    >>> A = torch.tensor([[2.0, 1.0], [1.0, 2.0]], dtype=torch.float64)
    >>> w, V = torch.linalg.eigh(A)
    >>> Z = (V * w.rsqrt()) @ V.mT
    >>> certify_inv_sqrt(A, (Z + Z.mT) / 2).error_bound < 1e-14
    tensor(True)
    """
    check_pair(A, Z)
    m = A.shape[-1]
    unit = torch.finfo(A.dtype).eps / 2
    A, Z = double(A), double(Z)
    symmetric = is_symmetric(A) & is_symmetric(Z)
    half = (exponents(A).amax(dim=(-2, -1)).clamp(-1100, 1100) + 1) >> 1
    by = half.unsqueeze(-1).expand(A.shape[:-1])
    scaled, root = scale_both(A, -by, -by), scale_both(Z, by, torch.zeros_like(by))
    R = root @ (scaled @ root) - identity_like(scaled)
    sizes, size = root.abs() + _UNDERFLOW, scaled.abs() + _UNDERFLOW
    explained = (sizes @ (size @ sizes.sum(dim=-1, keepdim=True))).amax(dim=(-2, -1))
    explained = rounded_up(m**0.5 * (1 + explained), m) + _UNDERFLOW
    h = (2 * m + 5) * _UNIT
    norm = matrix_norm(R)
    rho, rho_of_all = (rounded_up(norm + g * explained, m * m) + _UNDERFLOW for g in (h, h + 1.01 * unit))
    certified = symmetric & (rho_of_all < _LARGEST)
    if certified.any():
        certified = certified & certify_positive_definite(Z).proved
    g = 2 * rho / (2**0.5 + (2 - 4 * rho.clamp_max(_LARGEST)).sqrt())
    error_bound = rounded_up((rho + g * g) / 2, m)
    return InverseRootCertificate(certified, torch.where(certified, error_bound, torch.nan))


@torch.no_grad()
def spectral_inverse_root(A: Tensor) -> Tensor:
    r"""Return inverse square roots by eigenvalues, in float64: :math:`Z = V \Lambda^{-1/2} V^T`.

    Parameters
    ----------
    A : Tensor of shape (..., m, m)
        Finite and symmetric, float32 or float64.

    Returns
    -------
    Tensor of shape (..., m, m)
        float64, symmetric to the bit; NaN where an eigenvalue is not positive.

    Examples
    --------
    >>> spectral_inverse_root(torch.tensor([[[4.0]], [[-4.0]]])).flatten()
    tensor([0.5000,    nan], dtype=torch.float64)
    """
    A = double(A)
    half = (exponents(A).amax(dim=(-2, -1)).clamp(-1100, 1100) + 1) >> 1
    by = half.unsqueeze(-1).expand(A.shape[:-1])
    values, V = torch.linalg.eigh(scale_both(A, -by, -by))
    Z = (V * torch.where(values > 0, values, torch.nan).rsqrt().unsqueeze(-2)) @ V.mT
    return scale_both((Z + Z.mT) / 2, -by, torch.zeros_like(by))


def find_by_reference(A: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return inverse square roots of a numpy stack in float64, whether they are certified, and bounds on their errors.

    >>> find_by_reference(np.array([[[4.0]], [[-4.0]]]))[1]
    array([ True, False])
    """
    stack = torch.from_numpy(A)
    Z = spectral_inverse_root(stack)
    found = certify_inv_sqrt(stack, Z)
    return Z.numpy(), found.certified.numpy(), found.error_bound.numpy()
