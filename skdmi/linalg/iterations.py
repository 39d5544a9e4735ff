"""Inverses by matrix products alone: Newton-Schulz and the minimal-residual iteration, step by step."""

from typing import NamedTuple

import torch
from torch import Tensor

from skdmi.linalg.deflation import deflate
from skdmi.linalg.elementary import (
    frobenius_norm,
    identity_like,
    product,
    residual,
    trace,
    transpose,
)
from skdmi.linalg.scaling import scale_by_power_of_two, split_exponent


def newton_schulz(A: Tensor, X: Tensor, n_steps: int) -> Tensor:
    """Take ``n_steps`` steps of Newton-Schulz, ``X <- X (2 I - A X)``: two products each, R becomes ``R^2``.

    Converges from every X with spectral norm of R below 1 [1]_.

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

    Examples
    --------
    >>> X, R = minimal_residual_start(torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
    >>> X
    tensor([[0.2941, 0.0000],
            [0.0000, 0.5882]])
    """
    P = product(A, transpose(A))
    c = A.square().sum(dim=(-2, -1)) / P.square().sum(dim=(-2, -1)).clamp_min(torch.finfo(A.dtype).tiny)
    c = c[..., None, None]
    return c * transpose(A), identity_like(A) - c * P


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

    Examples
    --------
    >>> c, R = identity_start(torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
    >>> c, R.diagonal()
    (tensor([[0.6000]]), tensor([ 0.4000, -0.2000]))
    """
    c = trace(A) / A.square().sum(dim=(-2, -1)).clamp_min(torch.finfo(A.dtype).tiny)
    c = c[..., None, None]
    return c, identity_like(A) - c * A


def n_chain_coefficients(n_squarings: int) -> int:
    """Return how many coefficients a :func:`power_chain` of ``n_squarings`` products takes.

    >>> [n_chain_coefficients(n) for n in (1, 2, 3, 4)]
    [0, 2, 7, 14]
    """
    return sum(2 * i + 1 for i in range(2, n_squarings)) + 2 * (n_squarings > 1)


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

    Examples
    --------
    >>> R = torch.full((1, 1), 0.5)
    >>> power_chain(R @ R, R, 2).item()  # S (S + R)
    0.1875
    """
    if n_squarings == 1:
        return S
    if coefficients is None:
        coefficients = R.new_zeros(*R.shape[:-2], n_chain_coefficients(n_squarings))
    given = iter(coefficients.unbind(dim=-1))
    chain = [R, S]
    for step in range(1, n_squarings):
        left = right = chain[-1]
        if step > 1:
            left = left + sum(next(given)[..., None, None] * Y for Y in chain[:-1])
        right = right + sum((1 + next(given))[..., None, None] * Y for Y in chain[:-1])
        chain.append(product(left, right + next(given)[..., None, None] * identity_like(R)))
    return chain[-1]


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
        If ``n_coefficients`` is neither 2 nor 3.

    Examples
    --------
    >>> R = torch.full((1, 1), 0.5)
    >>> powers, directions = minimal_residual_basis(R, R @ R, R @ R, n_coefficients=2)
    >>> powers.flatten(), directions.flatten()
    (tensor([0.5000, 0.2500]), tensor([0.2500, 0.1250]))
    """
    if n_coefficients not in (2, 3):
        raise ValueError(f"n_coefficients={n_coefficients!r}; expected 2 or 3.")
    powers = torch.stack([R, T, identity_like(R).expand_as(R)][:n_coefficients], dim=-3)
    following = torch.stack([S, product(R, T), R][:n_coefficients], dim=-3)
    return powers, powers - following


class LeastSquares(NamedTuple):
    r"""The problem :math:`\min_c \|R - \sum_k c_k V_k\|_F`, factorised, for each matrix of a stack.

    With the unit directions :math:`v_k = V_k / \|V_k\|_F`, their Gram matrix :math:`G = L L^T` and
    :math:`b_k = \langle v_k, R \rangle / \|R\|_F`, the coordinates are :math:`y = L^{-1} b`, and for any z

    .. math:: \|R - \textstyle\sum_k c_k V_k\|_F^2 = \|R\|_F^2 (1 - \|y\|^2 + \|z - y\|^2)
       \quad\text{where } c = \operatorname{diag}(s)\, L^{-T} z, \quad s_k = \|R\|_F / \|V_k\|_F.

    So ``z = y`` gives the least residual, and any departure from it costs what its Euclidean length says. Where
    directions depend on each other or vanish, L belongs to a slightly larger G (:func:`gram_ridge`), and the left side
    is below the right.
    """

    cosines: Tensor
    """b, shape (..., k)."""
    coordinates: Tensor
    """y, shape (..., k)."""
    factor: list[Tensor]
    """The columns of L, each from the diagonal down and with y's entry last, shapes (..., k + 1), ..., (..., 2): for
    thousands of tiny systems faster than LAPACK."""
    scale: Tensor
    """s, shape (..., k)."""

    def remainder(self) -> Tensor:
        r"""Return the smallest reachable :math:`\|R_\text{new}\|_F^2 / \|R\|_F^2`, shape (...)."""
        return (1 - self.coordinates.square().sum(dim=-1)).clamp_min(gram_ridge(self.coordinates.dtype))

    def coefficients(self, z: Tensor) -> Tensor:
        """Return c for the coordinates z, both of shape (..., k), by back substitution."""
        solved = z[..., :0]
        for row, column in reversed(list(enumerate(self.factor))):
            known = (column[..., 1:-1] * solved).sum(dim=-1, keepdim=True)
            solved = torch.cat([(z[..., row : row + 1] - known) / column[..., :1], solved], dim=-1)
        return solved * self.scale


def gram_ridge(dtype: torch.dtype) -> float:
    """Return the rounding of an inner product, below which a direction is noise: 1e-6 in float32, 2e-15 in float64.

    It is added to the unit diagonal of a Gram matrix, so no step reduces R by more than this factor beyond what its
    directions remove; and it is the least norm of a direction that counts, relative to R.
    """
    return 8 * torch.finfo(dtype).eps


def fit_directions(R: Tensor, directions: Tensor) -> LeastSquares:
    """Factorise the least-squares problem of R, ``(..., m, m)``, on directions, ``(..., k, m, m)``.

    >>> R = torch.full((1, 1), 0.5)
    >>> problem = fit_directions(R, R[None] / 4)
    >>> problem.coefficients(problem.coordinates)
    tensor([4.0000])
    """
    vectors = torch.cat([directions, R.unsqueeze(-3)], dim=-3).flatten(-2)
    gram = vectors @ vectors.mT
    squares = gram.diagonal(dim1=-2, dim2=-1)
    ridge = gram_ridge(R.dtype)
    floor = squares[..., -1:].clamp_min(torch.finfo(R.dtype).tiny / ridge**2) * ridge**2
    norms = squares.clamp_min(floor).sqrt()
    gram = gram / (norms.unsqueeze(-1) * norms.unsqueeze(-2))
    cosines = gram[..., :-1, -1]
    factor = []
    for _ in range(directions.shape[-3]):
        pivot = (gram[..., :1, 0] + ridge).clamp_min(ridge).sqrt()
        below = gram[..., 1:, 0] / pivot
        gram = gram[..., 1:, 1:] - below.unsqueeze(-1) * below.unsqueeze(-2)
        factor.append(torch.cat([pivot, below], dim=-1))
    coordinates = torch.stack([column[..., -1] for column in factor], dim=-1)
    return LeastSquares(cosines, coordinates, factor, norms[..., -1:] / norms[..., :-1])


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

    >>> X, R = minimal_residual_start(torch.diag(torch.tensor([1.0, 2.0, 3.0])))
    >>> X, R = minimal_residual_step(X, R)
    >>> R.norm() < 1e-4
    tensor(True)
    """
    S = product(R, R)
    powers, directions = minimal_residual_basis(R, S, power_chain(S, R, n_squarings), n_coefficients)
    problem = fit_directions(R, directions)
    return combine(X, R, powers, directions, problem.coefficients(problem.coordinates))


def combine(X: Tensor, R: Tensor, powers: Tensor, directions: Tensor, coefficients: Tensor) -> tuple[Tensor, Tensor]:
    """Take the step ``X + X sum_k c_k B_k``, ``R - sum_k c_k V_k`` of :func:`minimal_residual_basis`: one product.

    X may be multiples of the identity, ``(..., 1, 1)``; there is no product then.
    """
    c = coefficients[..., None, None]
    P, R = (c * powers).sum(dim=-3), R - (c * directions).sum(dim=-3)
    if X.shape[-2:] == (1, 1):
        return X * (identity_like(R) + P), R
    return X + product(X, P), R
