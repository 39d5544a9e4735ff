"""The inverse as a polynomial in A itself, by Cayley and Hamilton: the fewest products for very small matrices."""

import math

import torch
from torch import Tensor

from skdmi.linalg.residuals import identity_like
from skdmi.validation import check_square


def characteristic_inverse(A: Tensor) -> Tensor:
    r"""Invert by the characteristic polynomial, from the traces of the powers of A: about :math:`3 \sqrt m` products.

    With the power sums :math:`p_k = \operatorname{tr} A^k`, Newton's identities give the elementary symmetric functions
    :math:`e_k` of the eigenvalues, and by Cayley and Hamilton

    .. math:: A^{-1} = \frac{1}{e_m} \sum_{k=0}^{m-1} (-1)^k e_{m-1-k} A^k, \qquad
       k e_k = \sum_{i=1}^{k} (-1)^{i-1} e_{k-i} \, p_i.

    Traces of high powers are inner products of lower ones, and the polynomial is evaluated in powers of :math:`A^s`
    (Preparata and Sarwate [1]_, after Leverrier [2]_ and Csanky [3]_). Exact in exact arithmetic; rounding is magnified
    by about :math:`\|A\|^m / |\det A|` with the spectrum scaled to the unit disc: harmless for matrices with
    independent entries up to about m = 12 in float32, useless for graded ones and for ill-conditioned ones of size 8.
    Unlike :math:`c A^T`, it does not square the condition number.

    Parameters
    ----------
    A : Tensor of shape (..., m, m)
        Scaled near 1, as by :math:`\|A\|_F = \sqrt m`.

    Returns
    -------
    Tensor of shape (..., m, m)
        The inverses, in the dtype of A. Not finite where :math:`e_m` is zero.

    Raises
    ------
    ValueError
        If A does not hold square matrices.

    References
    ----------
    .. [1] Preparata and Sarwate, "An improved parallel processor bound in fast matrix inversion", Information
       Processing Letters 7(3), 1978.
    .. [2] Leverrier, 1840; Faddeev and Sominsky, 1949.
    .. [3] Csanky, "Fast parallel matrix inversion algorithms", SIAM J. Comput. 5(4), 1976.

    Examples
    --------
    >>> characteristic_inverse(torch.tensor([[2.0, 1.0], [1.0, 3.0]]))
    tensor([[ 0.6000, -0.2000],
            [-0.2000,  0.4000]])
    """
    check_square("A", A)
    m = A.shape[-1]
    n_small, n_large = _strides(m)
    small = [identity_like(A).expand_as(A), A]
    for _ in range(2, n_small + 1):
        small.append(A @ small[-1])
    stride = small[n_small]
    large = [small[0], stride]
    for _ in range(2, n_large + 1):
        large.append(stride @ large[-1])
    sums = []
    for k in range(1, m + 1):
        j = min(n_large, (k - 1) // n_small)
        sums.append((small[k - n_small * j].mT * large[j]).sum(dim=(-2, -1)).double())
    e = _elementary_symmetric(torch.stack(sums, dim=-1))
    signs = (-1) ** torch.arange(m, device=A.device)
    coefficients = (signs * e[..., 1:] / e[..., :1]).to(A.dtype)[..., None, None].unbind(dim=-3)
    chunks = [coefficients[k : k + n_small] for k in range(0, m, n_small)]
    last = chunks.pop()
    X = sum((c * P for c, P in zip(last[1:], small[1:], strict=False)), last[0] * small[0])
    for chunk in reversed(chunks):
        raised = last[0] * stride if len(last) == 1 else stride @ X
        X, last = sum((c * P for c, P in zip(chunk, small, strict=False)), raised), chunk
    return X


def characteristic_products(m: int) -> int:
    """Return how many products :func:`characteristic_inverse` spends at size m, a last residual not included.

    >>> [characteristic_products(m) for m in (2, 3, 4, 5, 8, 12, 16)]
    [0, 1, 2, 3, 4, 6, 8]
    """
    return _n_products(m, *_strides(m))


def _elementary_symmetric(sums: Tensor) -> Tensor:
    """Return ``e_m, ..., e_0``, ``(..., m + 1)``, of the power sums ``p_1, ..., p_m``, by Newton's identities."""
    alternating = sums * (-1) ** torch.arange(sums.shape[-1], device=sums.device)
    e = torch.ones_like(sums[..., :1])
    for k in range(1, sums.shape[-1] + 1):
        following = (e * alternating[..., :k]).sum(dim=-1, keepdim=True) / k
        e = torch.cat([following, e], dim=-1)
    return e


def _strides(m: int) -> tuple[int, int]:
    """Return (s, n): powers ``A^2 ... A^s`` and ``A^2s ... A^ns`` give all traces with the fewest products."""
    return min(((s, max(1, math.ceil(m / s) - 1)) for s in range(1, m + 1)), key=lambda choice: _n_products(m, *choice))


def _n_products(m: int, n_small: int, n_large: int) -> int:
    chunks = math.ceil(m / n_small)
    free = m % n_small == 1 or n_small == 1
    return (n_small - 1) + (n_large - 1) + max(0, chunks - 1 - free)
