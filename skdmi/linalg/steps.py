"""The steps of an iteration, unchecked: what networks train with, on spectra too.

The functions that :mod:`skdmi.linalg.iterations` has under the same names, described there, take square matrices and
refuse all else. These take the diagonals of diagonal matrices as well, ``(..., m, 1)``, of which products, norms and
traces are those of m numbers: of a polynomial in R the spectrum is all that matters in training.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from skdmi.linalg.elementary import identity_like, product, trace, transpose


def residual(A: Tensor, X: Tensor) -> Tensor:
    """Return ``I - A X``.

    >>> residual(torch.tensor([[2.0], [4.0]]), torch.tensor([[0.5], [0.5]]))
    tensor([[ 0.],
            [-1.]])
    """
    return identity_like(A) - product(A, X)


def minimal_residual_start(A: Tensor) -> tuple[Tensor, Tensor]:
    """Return c A^T, the best multiple of the transpose, and its residual: one product."""
    P = product(A, transpose(A))
    c = A.square().sum(dim=(-2, -1)) / P.square().sum(dim=(-2, -1)).clamp_min(torch.finfo(A.dtype).tiny)
    c = c[..., None, None]
    return c * transpose(A), identity_like(A) - c * P


def identity_start(A: Tensor) -> tuple[Tensor, Tensor]:
    """Return c of the best multiple of the identity, ``(..., 1, 1)``, and its residual: no product."""
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
    """Return a polynomial in R of degree ``2^n_squarings`` from ``S = R R``: ``n_squarings - 1`` products."""
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
    """Return the polynomials in R that a step may use, and what each takes from R: one product."""
    if n_coefficients not in (2, 3):
        raise ValueError(f"n_coefficients={n_coefficients!r}; expected 2 or 3.")
    powers = torch.stack([R, T, identity_like(R).expand_as(R)][:n_coefficients], dim=-3)
    following = torch.stack([S, product(R, T), R][:n_coefficients], dim=-3)
    return powers, powers - following


def minimal_residual_step(X: Tensor, R: Tensor, n_coefficients: int = 3, n_squarings: int = 1) -> tuple[Tensor, Tensor]:
    """Return X and R after one step: ``n_squarings + 2`` products."""
    S = product(R, R)
    powers, directions = minimal_residual_basis(R, S, power_chain(S, R, n_squarings), n_coefficients)
    problem = fit_directions(R, directions)
    return combine(X, R, powers, directions, problem.coefficients(problem.coordinates))


def combine(X: Tensor, R: Tensor, powers: Tensor, directions: Tensor, coefficients: Tensor) -> tuple[Tensor, Tensor]:
    """Return X and R after a step with given coefficients: one product, none if X is ``(..., 1, 1)``."""
    c = coefficients[..., None, None]
    P, R = (c * powers).sum(dim=-3), R - (c * directions).sum(dim=-3)
    if X.shape[-2:] == (1, 1):
        return X * (identity_like(R) + P), R
    return X + product(X, P), R


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
    """Factorise the least-squares problem of R, ``(..., m, n)``, on directions, ``(..., k, m, n)``.

    Any shape will do: nothing is multiplied but entry by entry.

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
