"""Inverse square roots by products: coupled iterations with scaled steps."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.linalg import matrix_norm, vector_norm

from skdmi.linalg.residuals import identity_like
from skdmi.validation import check_square

MAX_STEPS = 40
_LEAST = 3e-3
"""Of the smallest eigenvalue that a step is chosen for: below, a step for it would do harm to the largest."""


@torch.no_grad()
def inverse_root(A: Tensor, coefficients: Sequence[Sequence[float]] = (), *, max_steps: int = MAX_STEPS) -> Tensor:
    r"""Approximate inverse square roots of positive definite matrices by three products a step.

    .. math:: Y_0 = c A, \quad Z_0 = c I, \quad c = \|A\|_F^{-1/2}, \qquad
       P_k = a_k I - b_k Z_k Y_k, \quad Y_{k+1} = Y_k P_k, \quad Z_{k+1} = P_k Z_k

    All iterates are polynomials of A, so :math:`Z_k^2` tends to :math:`A^{-1}` as :math:`M_k = Z_k Y_k` tends to I.
    Newton and Schulz take :math:`a = 3/2, b = 1/2`, which lets a small eigenvalue of M grow 2.25 times a step. With the
    scale of Chen and Chow [1]_,

    .. math:: a = \tfrac32 s, \quad b = \tfrac12 s^3, \quad s^2 = \frac{3}{1 + l + l^2},

    it is 6.75 times while l, the root of the smallest eigenvalue, is small, and the residual left after the step is the
    smallest that such a step can leave on :math:`[l^2, 1]`. Here :math:`l^2 = 1 - \|(I - M) v\| / \|v\|` is found by
    one power step a step, on a vector v that goes along: its eigenvectors are those of A in every step.

    Parameters
    ----------
    A : Tensor of shape (..., m, m)
        Symmetric positive definite, float32 or float64.
    coefficients : sequence of pairs, optional
        The a and b of the first steps, where they are known beforehand: those of a family.
    max_steps : int, default=40
        Steps at most; fewer where all residuals are small.

    Returns
    -------
    Tensor of shape (..., m, m)
        Z, symmetric to the bit, in the dtype of A. Of a matrix that is not positive definite it is anything.

    Raises
    ------
    ValueError
        If A does not hold square matrices.

    References
    ----------
    .. [1] Chen and Chow, "A stable scaling of Newton-Schulz for improving the sign function computation of a Hermitian
       matrix", preprint ANL/MCS-P5059-0114, Argonne, 2014.

    Examples
    --------
    >>> inverse_root(torch.tensor([[4.0, 0.0], [0.0, 0.25]])).round(decimals=5)
    tensor([[0.5000, 0.0000],
            [0.0000, 2.0000]])
    """
    check_square("A", A)
    m, eye = A.shape[-1], identity_like(A)
    c = matrix_norm(A)[..., None, None].rsqrt()
    Y, Z = c * A, c * eye
    v = torch.linspace(1.0, 2.0, m, dtype=A.dtype, device=A.device).expand(A.shape[:-1]).unsqueeze(-1)
    nearly = torch.finfo(A.dtype).eps ** 0.5
    for k in range(max_steps):
        M = Z @ Y
        a, b, v = (*_given(coefficients[k], M), v) if k < len(coefficients) else scaled_step(M, v)
        P = a * eye - b * M
        Y, Z = Y @ P, P @ Z
        if not (matrix_norm(eye - M) > nearly).any():
            break
    return (Z + Z.mT) / 2


def _given(pair: Sequence[float], M: Tensor) -> tuple[Tensor, Tensor]:
    return M.new_tensor(pair[0]), M.new_tensor(pair[1])


def scaled_step(M: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return a and b of a step, ``(..., 1, 1)``, and the vector of the next one.

    >>> a, b, _ = scaled_step(torch.eye(2), torch.ones(2, 1))
    >>> round(a.item(), 6), round(b.item(), 6)
    (1.5, 0.5)
    """
    w = v - M @ v
    before, after = (vector_norm(x, dim=-2, keepdim=True) for x in (v, w))
    least = (1 - after / before).clamp_min(_LEAST).sqrt()
    scale = (3 / (1 + least + least * least)).sqrt()
    return 1.5 * scale, 0.5 * scale**3, torch.where(after > 0, w / after, v)
