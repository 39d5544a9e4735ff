"""The least-squares problem of a step: thousands of tiny systems, factorised at once."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from skdmi.iteration.adjoint import Tensors
from skdmi.linalg.products import entries, inner_products, matrices, multiply


class LeastSquares(NamedTuple):
    r"""The problem :math:`\min_c \|R - \sum_k c_k V_k\|_F`, factorised, for each matrix of a stack.

    With the unit directions :math:`v_k = V_k / \|V_k\|_F`, their Gram matrix :math:`G = L L^T` and
    :math:`b_k = \langle v_k, R \rangle / \|R\|_F`, the coordinates are :math:`y = L^{-1} b`, and for any z

    .. math:: \|R - \textstyle\sum_k c_k V_k\|_F^2 = \|R\|_F^2 (1 - \|y\|^2 + \|z - y\|^2)
       \quad\text{where } c = K z, \quad K = \operatorname{diag}(s)\, L^{-T}, \quad s_k = \|R\|_F / \|V_k\|_F.

    So ``z = y`` gives the least residual, and any departure from it costs what its Euclidean length says. Where
    directions depend on each other or vanish, L belongs to a slightly larger G (:func:`gram_ridge`), and the left side
    is below the right.

    Parameters
    ----------
    cosines : Tensor
        Of the directions with R: b, shape (..., k).
    coordinates : Tensor
        The best of them: y, shape (..., k).
    scale : Tensor
        The norm of R over those of the directions: s, shape (..., k).
    norm : Tensor
        :math:`\|R\|_F`, shape (...).
    solution : Tensor
        K, upper triangular, shape (..., k, k).

    Examples
    --------
    >>> R = torch.full((1, 1), 0.5)
    >>> problem = fit_directions(R, R[None] / 4)
    >>> problem.coefficients(problem.coordinates), problem.remainder() < 1e-5
    (tensor([4.0000]), tensor(True))
    """

    cosines: Tensor
    coordinates: Tensor
    scale: Tensor
    norm: Tensor
    solution: Tensor

    def remainder(self) -> Tensor:
        r"""Return the smallest part of the squared residual norm that a step can leave.

        Returns
        -------
        Tensor of shape (...)
            :math:`\|R_\text{new}\|_F^2 / \|R\|_F^2 = 1 - \|y\|^2`, no less than the rounding of an inner product.

        Examples
        --------
        >>> R = torch.full((1, 1), 0.5)
        >>> problem = fit_directions(R, R[None] / 4)
        >>> problem.remainder() < 1e-5
        tensor(True)
        """
        return (1 - self.coordinates.square().sum(dim=-1)).clamp_min(gram_ridge(self.coordinates.dtype))

    def coefficients(self, z: Tensor) -> Tensor:
        """Return the coefficients c of coordinates z.

        Parameters
        ----------
        z : Tensor of shape (..., k)
            Coordinates.

        Returns
        -------
        Tensor of shape (..., k)
            ``c = K z``.

        Examples
        --------
        >>> R = torch.full((1, 1), 0.5)
        >>> problem = fit_directions(R, R[None] / 4)
        >>> problem.coefficients(problem.coordinates)
        tensor([4.0000])
        """
        return (self.solution * z.unsqueeze(-2)).sum(dim=-1)

    def coordinates_of(self, c: Tensor) -> Tensor:
        """Return the coordinates z whose coefficients are c, by back substitution.

        Parameters
        ----------
        c : Tensor of shape (..., k)
            Coefficients.

        Returns
        -------
        Tensor of shape (..., k)
            The z with ``K z = c``.

        Examples
        --------
        >>> R = torch.eye(2) / 2
        >>> problem = fit_directions(R, torch.stack([R / 4, torch.ones(2, 2)]))
        >>> torch.allclose(problem.coefficients(problem.coordinates_of(torch.ones(2))), torch.ones(2))
        True
        """
        z = c[..., :0]
        for k in reversed(range(c.shape[-1])):
            row = self.solution[..., k, k:]
            known = (row[..., 1:] * z).sum(dim=-1, keepdim=True)
            z = torch.cat([(c[..., k : k + 1] - known) / row[..., :1], z], dim=-1)
        return z


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
    vectors = entries(torch.cat([directions, R.unsqueeze(-3)], dim=-3).flatten(-2))
    fields, _ = factorise(inner_products(vectors, vectors))
    return problem_of(fields)


def problem_of(fields: Sequence[Tensor]) -> LeastSquares:
    """Return the problem from its fields with entries first, as :func:`factorise` returns them."""
    cosines, coordinates, scale, norm, solution = fields
    if norm.ndim > 1:
        cosines, coordinates, scale = (T.movedim(0, -1) for T in (cosines, coordinates, scale))
    else:
        cosines, coordinates, scale = (T.transpose(0, -1) for T in (cosines, coordinates, scale))
    return LeastSquares(cosines, coordinates, scale, norm, matrices(solution))


class Factors(NamedTuple):
    """What :func:`factorise_adjoint` takes over, entries first, matrices last."""

    squares: Tensor
    """Of the norms of directions and R, shape (k + 1, ...)."""
    norms: Tensor
    """At least the norm below which a direction is noise."""
    unit: Tensor
    """The Gram matrix of the unit vectors, shape (k + 1, k + 1, ...)."""
    inverse: Tensor
    """:math:`L^{-T}`, shape (k, k, ...)."""


def factorise(gram: Tensor) -> tuple[Tensors, Factors]:
    """Return the fields of the problem, entries first, given the Gram matrix of directions and R, the last.

    With entries first each entry is one contiguous tensor, ``(k + 1, k + 1, ...)``: that makes tiny systems fast.
    """
    ridge = gram_ridge(gram.dtype)
    squares = gram.diagonal().movedim(-1, 0)
    norms = squares.clamp_min(_floor(squares)).sqrt()
    unit = gram / (norms.unsqueeze(1) * norms)
    L, reciprocals = _eliminate(unit, ridge)
    inverse = _inverse_of_transpose(L, reciprocals)
    scale = norms[-1] / norms[:-1]
    solution = scale.unsqueeze(1) * inverse
    return (unit[:-1, -1], torch.stack(L[-1]), scale, norms[-1], solution), Factors(squares, norms, unit, inverse)


def _eliminate(unit: Tensor, ridge: float) -> tuple[list[list[Tensor]], list[Tensor]]:
    """Return L below its diagonal, with y in the last row, and the reciprocals of the diagonal."""
    k = len(unit)
    entries_of = unit.flatten(0, 1).unbind()
    rest = [list(entries_of[i * k : (i + 1) * k]) for i in range(k)]
    reciprocals: list[Tensor] = []
    for j in range(k - 1):
        reciprocals.append((rest[j][j] + ridge).clamp_min(ridge).rsqrt())
        for i in range(j + 1, len(rest)):
            rest[i][j] = rest[i][j] * reciprocals[j]
            for n in range(j + 1, min(i + 1, len(rest) - 1)):
                rest[i][n] = torch.addcmul(rest[i][n], rest[i][j], rest[n][j], value=-1)
    return [row[: min(i, len(rest) - 1)] for i, row in enumerate(rest)], reciprocals


def _floor(squares: Tensor) -> Tensor:
    """Return the square of the norm below which a direction is noise."""
    ridge = gram_ridge(squares.dtype)
    return squares[-1].clamp_min(torch.finfo(squares.dtype).tiny / ridge**2) * ridge**2


def _inverse_of_transpose(L: list[list[Tensor]], reciprocals: list[Tensor]) -> Tensor:
    """Return :math:`L^{-T}`, row by row from below."""
    k = len(reciprocals)
    zero = torch.zeros_like(reciprocals[0])
    rows = [[zero] * k for _ in range(k)]
    for i in reversed(range(k)):
        rows[i][i] = reciprocals[i]
        minus = -reciprocals[i] if i + 1 < k else zero
        for j in range(i + 1, k):
            known = L[i + 1][i] * rows[i + 1][j]
            for n in range(i + 2, j + 1):
                known = torch.addcmul(known, L[n][i], rows[n][j])
            rows[i][j] = known * minus
    return torch.stack([entry for row in rows for entry in row]).reshape(k, k, *zero.shape)


def factorise_adjoint(factors: Factors, fields: Sequence[Tensor], gradients: Sequence[Tensor]) -> Tensor:
    r"""Return the gradient of the Gram matrix plus its transpose, entries first, from those of the fields.

    With :math:`M = L^{-T}`, and bars for gradients, :math:`\bar L = -M Q`, :math:`Q = \bar M^T M + \bar y y^T`, of
    which only the lower triangle counts, so that the gradient of the directions' part of the Gram matrix is
    :math:`-M \Phi(Q) M^T` (Murray, "Differentiation of the Cholesky decomposition", 2016), :math:`\Phi` halving the
    diagonal; and :math:`\bar b = M \bar y`.
    """
    squares, norms, unit, M = factors
    k, ridge = len(M), gram_ridge(unit.dtype)
    (_, y, scale, _, _), (of_b, of_y, of_scale, of_norm, of_solution) = fields, gradients
    relative = (of_scale + (of_solution * M).sum(dim=1)) * scale

    Q = multiply((of_solution * scale.unsqueeze(1)).transpose(0, 1), M) + of_y.unsqueeze(1) * y
    for i in range(k - 1):
        Q[i, i + 1 :] = Q[i + 1 :, i]
    Q.diagonal().mul_(M.diagonal() < 0.999 * ridge**-0.5)  # a pivot that is the ridge alone has no derivative
    both = Q.new_zeros(unit.shape)
    both[:k, :k] = -multiply(multiply(M, Q), M.transpose(0, 1))
    both[:k, k] = both[k, :k] = of_b + (M * of_y).sum(dim=1)

    of_norms = -(both * unit).sum(dim=1)  # times the norms
    of_norms[:k] -= relative
    of_norms[k] += relative.sum(dim=0) + of_norm * norms[k]
    of_squares = of_norms / norms.square()
    floor = _floor(squares)
    own = torch.where(squares >= floor, of_squares, 0.0)
    of_floor = (floor > torch.finfo(floor.dtype).tiny).to(floor.dtype) * ridge**2
    own[k] += of_floor * (of_squares - own).sum(dim=0)
    both = both / (norms.unsqueeze(1) * norms)
    both.diagonal().add_(own.movedim(0, -1))
    return both
