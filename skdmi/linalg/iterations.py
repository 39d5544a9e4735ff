"""Inverses by matrix products alone: Newton-Schulz and the minimal-residual iteration, step by step."""

import torch
from torch import Tensor

from skdmi.linalg import steps
from skdmi.linalg.deflation import deflate
from skdmi.linalg.elementary import check_square, frobenius_norm, residual
from skdmi.linalg.scaling import scale_by_power_of_two, split_exponent
from skdmi.linalg.steps import LeastSquares, fit_directions, n_chain_coefficients

__all__ = [
    "LeastSquares",
    "combine",
    "fit_directions",
    "identity_start",
    "keep_better",
    "minimal_residual",
    "minimal_residual_basis",
    "minimal_residual_start",
    "minimal_residual_step",
    "n_chain_coefficients",
    "newton_schulz",
    "power_chain",
    "recomputation_schedule",
]


def newton_schulz(A: Tensor, X: Tensor, n_steps: int) -> Tensor:
    """Take ``n_steps`` steps of Newton-Schulz, ``X <- X (2 I - A X)``: two products each, R becomes ``R^2``.

    Converges from every X with spectral norm of R below 1 [1]_.

    Raises
    ------
    ValueError
        If A or X does not hold square matrices.

    References
    ----------
    .. [1] Schulz, "Iterative Berechnung der reziproken Matrix", 1933; Ben-Israel and Cohen, "On iterative computation
       of generalized inverses and associated projections", 1966.

    Examples
    --------
    >>> A = torch.tensor([[2.0, 1.0], [1.0, 3.0]])
    >>> X, _ = minimal_residual_start(A)
    >>> [round(frobenius_norm(residual(A, newton_schulz(A, X, n))).item(), 4) for n in (0, 4, 8)]
    [0.8452, 0.0573, 0.0]
    """
    check_square("A", A)
    check_square("X", X)
    for _ in range(n_steps):
        X = X + X @ residual(A, X)
    return X


def minimal_residual_start(A: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return the best multiple of the transpose as a first inverse, and its residual: one product.

    .. math:: X_0 = c A^T, \quad R_0 = I - c P, \quad P = A A^T, \quad
       c = \operatorname{argmin}_c \|I - c P\|_F = \|A\|_F^2 / \|P\|_F^2

    The spectral norm of :math:`R_0` is below 1 for every nonsingular A. The zero matrix gives zeros. A should be scaled
    near 1: its fourth powers are formed.

    Returns
    -------
    X, R : Tensors of shape (..., m, m)

    Raises
    ------
    ValueError
        If A does not hold square matrices.

    Examples
    --------
    >>> X, R = minimal_residual_start(torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
    >>> X
    tensor([[0.2941, 0.0000],
            [0.0000, 0.5882]])
    """
    check_square("A", A)
    return steps.minimal_residual_start(A)


def identity_start(A: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return the best multiple of the identity as a first inverse, and its residual: no product.

    .. math:: X_0 = c I, \quad R_0 = I - c A, \quad
       c = \operatorname{argmin}_c \|I - c A\|_F = \operatorname{tr} A / \|A\|_F^2

    The start for symmetric positive definite matrices: the condition number is not squared, as it is by
    :func:`minimal_residual_start`. The spectral norm of :math:`R_0` is below 1 where c times the largest eigenvalue is
    below 2, that is unless few eigenvalues stand far above all others.

    Returns
    -------
    c : Tensor of shape (..., 1, 1)
        Of which X is the multiple of the identity, as :func:`combine` takes it.
    R : Tensor of shape (..., m, m)

    Raises
    ------
    ValueError
        If A does not hold square matrices.

    Examples
    --------
    >>> c, R = identity_start(torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
    >>> c, R.diagonal()
    (tensor([[0.6000]]), tensor([ 0.4000, -0.2000]))
    """
    check_square("A", A)
    return steps.identity_start(A)


def power_chain(S: Tensor, R: Tensor, n_squarings: int, coefficients: Tensor | None = None) -> Tensor:
    r"""Return a polynomial in R of degree :math:`2^n`, n = ``n_squarings``, from ``S = R R``: n - 1 products.

    With :math:`Y_1 = R`, :math:`Y_2 = S`, each product raises the last matrix to twice its degree, after adding
    multiples of all before it, and of the identity:

    .. math:: Y_{i+1} = \Bigl(Y_i + \sum_{j<i} l_{ij} Y_j\Bigr)
       \Bigl(Y_i + \sum_{j<i} (1 + r_{ij}) Y_j + d_i I\Bigr),
       \qquad l_{2j} = 0.

    So few products reach so high a degree only because the polynomial is not arbitrary (Paterson and Stockmeyer, 1973);
    which one to take is what a network learns.

    Parameters
    ----------
    S, R : Tensors of shape (..., m, m)
    n_squarings : int
        At least 1, which returns S.
    coefficients : Tensor of shape (..., n_chain_coefficients(n_squarings)), optional
        By default zeros: the untrained choice.

    Raises
    ------
    ValueError
        If S or R does not hold square matrices.

    Examples
    --------
    >>> R = torch.full((1, 1), 0.5)
    >>> power_chain(R @ R, R, 2).item()  # S (S + R)
    0.1875
    """
    check_square("S", S)
    check_square("R", R)
    return steps.power_chain(S, R, n_squarings, coefficients)


def minimal_residual_basis(R: Tensor, S: Tensor, T: Tensor, n_coefficients: int = 3) -> tuple[Tensor, Tensor]:
    r"""Return the polynomials in R that a step may use, and what each of them takes from R: one product.

    A step ``X <- X (I + sum_k c_k B_k)`` with ``B = (R, T, I)`` turns the residual into ``R - sum_k c_k V_k`` with
    ``V_k = B_k - R B_k``, that is ``(R - S, T - R T, I - R)``, where ``S = R R``. With two coefficients the identity is
    left out; Newton-Schulz is then (1, 0) and, for ``T = S``, the third-order hyperpower step (1, 1).

    Returns
    -------
    powers, directions : Tensors of shape (..., n_coefficients, m, m)

    Raises
    ------
    ValueError
        If ``n_coefficients`` is neither 2 nor 3, or R, S or T does not hold square matrices.

    Examples
    --------
    >>> R = torch.full((1, 1), 0.5)
    >>> powers, directions = minimal_residual_basis(R, R @ R, R @ R, n_coefficients=2)
    >>> powers.flatten(), directions.flatten()
    (tensor([0.5000, 0.2500]), tensor([0.2500, 0.1250]))
    """
    for name, matrices in (("R", R), ("S", S), ("T", T)):
        check_square(name, matrices)
    return steps.minimal_residual_basis(R, S, T, n_coefficients)


def recomputation_schedule(n_steps: int, n_squarings: int = 1) -> frozenset[int]:
    """Return after which steps (counted from 1) ``R = I - A X`` is recomputed.

    Between recomputations R is only updated, which saves a product a step and lets rounding drift: cubic steps bear two
    or three updates; after steps of high degree the last step, a cubic one, begins and ends with a recomputed R.

    >>> [sorted(recomputation_schedule(n)) for n in range(1, 8)]
    [[1], [2], [3], [2, 4], [3, 5], [3, 6], [3, 5, 7]]
    >>> [sorted(recomputation_schedule(n, n_squarings=3)) for n in range(1, 6)]
    [[1], [1, 2], [2, 3], [3, 4], [3, 4, 5]]
    """
    if n_squarings > 1:
        return frozenset(step for step in range(1, n_steps + 1) if step % 3 == 0 or step >= n_steps - 1)
    groups = -(-n_steps // 3)
    return frozenset(-(-n_steps * (i + 1) // groups) for i in range(groups))


def keep_better(best: tuple[Tensor, Tensor], X: Tensor, R: Tensor) -> tuple[Tensor, Tensor]:
    """Return, matrix by matrix, the pair (inverse, residual) with the smaller Frobenius norm; a non-finite one loses.

    Norms are all that counts, so matrices of any shape will do.

    >>> best = torch.ones(1, 1, 1), torch.full((1, 1, 1), 0.5)
    >>> keep_better(best, torch.zeros(1, 1, 1), torch.full((1, 1, 1), torch.nan))[0].item()
    1.0
    """
    norms = frobenius_norm(R)
    better = (norms.isfinite() & ~(norms > frobenius_norm(best[1])))[..., None, None]
    return torch.where(better, torch.nan_to_num(X), best[0]), torch.where(better, torch.nan_to_num(R), best[1])


def minimal_residual(
    A: Tensor, n_steps: int, *, n_coefficients: int = 3, n_squarings: int = 1, rank: int = 0
) -> Tensor:
    r"""Invert by the minimal-residual iteration: no parameters, no training, no estimate of the spectrum.

    From :func:`minimal_residual_start`, each step adds to X the product of X with the polynomial in R that minimises
    the next :math:`\|R\|_F`: with ``n_coefficients=2``, ``X <- X + X (c_1 R + c_2 R^2)`` (MR-2), with 3 (MR-3) also
    the multiple ``c_3 X``, at no further product. Never worse, step by step, than Newton-Schulz and the third-order
    hyperpower iteration, which fix the coefficients. The iterate with the smallest recomputed residual is returned.

    With a ``rank`` k, every step is preceded by a deflation (:func:`deflate`), :math:`O(k m^2)` operations without a
    product of matrices: what an untrained ``"polynomial"`` network computes, with k = 2, and the best method without
    parameters known to us.

    With ``n_squarings`` above 1 all steps but the last put a :func:`power_chain` in the place of :math:`R^2`: a step of
    degree :math:`2^{n} + 1` for :math:`n + 2` products.

    Products, the last residual included: 1, 3 for a cubic step, ``n_squarings + 2`` for another, and one for each
    recomputation of the residual (:func:`recomputation_schedule`).

    This is the global minimal residual descent of Chow and Saad [1]_, self-preconditioned, with several directions; it
    is a baseline for every learned inverse.

    Raises
    ------
    ValueError
        If A does not hold square matrices.

    References
    ----------
    .. [1] Chow and Saad, "Approximate inverse preconditioners via sparse-sparse iterations", SIAM J. Sci. Comput.
       19(3), 1998.

    Examples
    --------
    >>> A = torch.tensor([[2.0, 1.0], [1.0, 3.0]])
    >>> frobenius_norm(residual(A, minimal_residual(A, n_steps=2))).item() < 1e-5
    True
    """
    check_square("A", A)
    exact, exponent = split_exponent(A)
    X, R = best = minimal_residual_start(exact)
    recomputed = recomputation_schedule(n_steps, n_squarings)
    for step in range(1, n_steps + 1):
        X, R = deflate(exact, X, R, rank)
        X, R = minimal_residual_step(X, R, n_coefficients, n_squarings if step < n_steps else 1)
        if step in recomputed:
            R = residual(exact, X)
            best = keep_better(best, X, R)
    return scale_by_power_of_two(best[0], -exponent)


def minimal_residual_step(X: Tensor, R: Tensor, n_coefficients: int = 3, n_squarings: int = 1) -> tuple[Tensor, Tensor]:
    """Take one step of :func:`minimal_residual`, without deflation: ``n_squarings + 2`` products.

    Raises
    ------
    ValueError
        If X or R does not hold square matrices.

    Examples
    --------
    >>> X, R = minimal_residual_start(torch.diag(torch.tensor([1.0, 2.0, 3.0])))
    >>> X, R = minimal_residual_step(X, R)
    >>> R.norm() < 1e-4
    tensor(True)
    """
    check_square("X", X)
    check_square("R", R)
    return steps.minimal_residual_step(X, R, n_coefficients, n_squarings)


def combine(X: Tensor, R: Tensor, powers: Tensor, directions: Tensor, coefficients: Tensor) -> tuple[Tensor, Tensor]:
    """Take the step ``X + X sum_k c_k B_k``, ``R - sum_k c_k V_k`` of :func:`minimal_residual_basis`: one product.

    X may be multiples of the identity, ``(..., 1, 1)``; there is no product then.

    Raises
    ------
    ValueError
        If X or R does not hold square matrices.

    Examples
    --------
    >>> X, R = torch.ones(1, 1), torch.full((1, 1), 0.5)
    >>> powers, directions = minimal_residual_basis(R, R @ R, R @ R, n_coefficients=2)
    >>> combine(X, R, powers, directions, torch.tensor([1.0, 0.0]))  # Newton-Schulz: X + X R, R R
    (tensor([[1.5000]]), tensor([[0.2500]]))
    """
    check_square("X", X)
    check_square("R", R)
    return steps.combine(X, R, powers, directions, coefficients)
