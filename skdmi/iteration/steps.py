"""A step of an iteration: a polynomial in the residual whose coefficients a rule chooses."""

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from skdmi.iteration.adjoint import Gradients, Tensors, with_adjoint, zeros_for_none
from skdmi.iteration.least_squares import Factors, LeastSquares, factorise, factorise_adjoint, problem_of
from skdmi.linalg.products import (
    accumulate,
    add_product,
    entries,
    identity_entries,
    inner_products,
    join,
    matrices,
    multiply,
)

STEP_PRODUCTS = 3
"""Products of m x m matrices in a step."""

Rule: TypeAlias = Callable[[int, Tensor, LeastSquares], Tensor]
"""Chooses the coordinates of a step, ``(..., k)``, from its number, counted from 1, R and the least-squares problem."""


def least_residual(step: int, R: Tensor, problem: LeastSquares) -> Tensor:
    """Choose the coordinates that make the next residual smallest: the rule that nothing need be learned for.

    Parameters
    ----------
    step : int
        The number of the step; not looked at.
    R : Tensor of shape (..., m, m)
        The residual; not looked at.
    problem : LeastSquares
        That of the step.

    Returns
    -------
    Tensor of shape (..., k)
        The coordinates y of the problem.

    Examples
    --------
    >>> from skdmi.iteration.least_squares import fit_directions
    >>> R = torch.full((1, 1), 0.5)
    >>> problem = fit_directions(R, R[None] / 4)
    >>> torch.equal(least_residual(1, R, problem), problem.coordinates)
    True
    """
    del step, R
    return problem.coordinates


def take_step(
    X: Tensor, R: Tensor, choose: Rule = least_residual, *, step: int = 1, n_coefficients: int = 3
) -> tuple[Tensor, Tensor]:
    r"""Return X and R after a step with the coefficients that the rule chooses: three products.

    The step ``X <- X (I + sum_k c_k B_k)`` with ``B = (R, S, I)``, ``S = R R``, turns the residual into
    ``R - sum_k c_k V_k`` with ``V_k = B_k - R B_k``, that is ``(R - S, S - R S, I - R)``. With two coefficients the
    identity is left out; Newton-Schulz is then (1, 0), the third-order hyperpower step (1, 1).

    Parameters
    ----------
    X, R : Tensors of shape (..., m, m)
        An inverse and its residual; X may be diagonal matrices, ``(..., m, 1)``, for one product less.
    choose : callable, default=least_residual
        ``choose(step, R, problem)`` returns the coordinates z of the :class:`LeastSquares` problem of R on V.
    step : int, default=1
        The number of the step.
    n_coefficients : {2, 3}, default=3
        How many of R, S and the identity are used.

    Returns
    -------
    X : Tensor of shape (..., m, m)
        The next inverses.
    R : Tensor of shape (..., m, m)
        Their residuals, updated, not recomputed.

    Examples
    --------
    >>> R = torch.full((1, 1), 0.5)
    >>> take_step(torch.ones(1, 1), R, n_coefficients=2)[1] < 1e-6
    tensor([[True]])
    """
    X, R = take_step_entries(entries(X), entries(R), choose, step, n_coefficients)
    return matrices(X), matrices(R)


def take_step_entries(X: Tensor, R: Tensor, choose: Rule, step: int, n_coefficients: int) -> Tensors:
    """Do what :func:`take_step` does with entries first, ``(m, m, ...)``."""
    S, vectors, *fields = _pose(R, n_coefficients=n_coefficients)
    z = choose(step, matrices(R), problem_of(fields))
    return _combine(X, R, S, vectors, fields[-1], z.movedim(-1, 0))


def _pose_adjoint(
    needed: tuple[bool, ...], inputs: Tensors, outputs: Tensors, kept: Tensors, gradients: Tensors
) -> Gradients:
    del needed
    (R,), (S, vectors, *fields), (of_S, of_vectors, *of_fields) = inputs, outputs, gradients
    both = factorise_adjoint(Factors(*kept), fields, zeros_for_none(of_fields, fields))
    of_vectors = multiply(both, vectors) if of_vectors is None else add_product(of_vectors, both, vectors)
    of_first, of_second, *of_third, of_own = of_vectors.unflatten(1, R.shape[:2]).unbind()
    of_R = of_own + of_first
    if of_third:
        of_R -= of_third[0]
    of_S = of_second - of_first if of_S is None else (of_S - of_first).add_(of_second)
    accumulate(of_S, R.transpose(0, 1), of_second, -1)
    accumulate(of_R, of_second, S.transpose(0, 1), -1)
    accumulate(of_R, of_S, R.transpose(0, 1))
    return (accumulate(of_R, R.transpose(0, 1), of_S),)


@with_adjoint(_pose_adjoint)
def _pose(R: Tensor, *, n_coefficients: int) -> tuple[Tensors, Tensors]:
    """Return S, the directions and R in rows, and the fields of their least-squares problem: two products."""
    S = multiply(R, R)
    directions = [R - S, add_product(S, R, S, -1), identity_entries(R) - R][:n_coefficients]
    vectors = join([V.flatten(0, 1).unsqueeze(0) for V in (*directions, R)], 0)
    fields, factors = factorise(inner_products(vectors, vectors))
    return (S, vectors, *fields), factors


def _combine_adjoint(
    needed: tuple[bool, ...], inputs: Tensors, outputs: Tensors, kept: Tensors, gradients: Tensors
) -> Gradients:
    del outputs
    (X, R, S, vectors, solution, z), (c, P), (of_X_new, of_R_new) = inputs, kept, gradients
    of_X = of_R = of_S = of_vectors = None
    of_c = torch.zeros_like(c)
    if of_R_new is not None:
        of_row = of_R_new.flatten(0, 1).unsqueeze(0)
        of_c = -inner_products(of_row, vectors[: len(c)]).squeeze(0)
        if needed[3]:
            of_vectors = multiply(torch.cat([-c, torch.ones_like(c[:1])]).unsqueeze(1), of_row)
    if of_X_new is not None:
        if X.shape[1] == 1:
            of_P = X * of_X_new
            of_X = (of_X_new * (identity_entries(R) + P)).sum_to_size(X.shape) if needed[0] else None
        else:
            of_P = multiply(X.transpose(0, 1), of_X_new)
            of_X = add_product(of_X_new, of_X_new, P.transpose(0, 1)) if needed[0] else None
        if needed[1]:
            of_R, of_S = c[0] * of_P, c[1] * of_P
        of_c = of_c + torch.stack([_dot(of_P, R), _dot(of_P, S), of_P.diagonal().sum(dim=-1)][: len(c)])
    return of_X, of_R, of_S, of_vectors, of_c.unsqueeze(1) * z, (of_c.unsqueeze(1) * solution).sum(dim=0)


@with_adjoint(_combine_adjoint)
def _combine(X: Tensor, R: Tensor, S: Tensor, vectors: Tensor, solution: Tensor, z: Tensor) -> tuple[Tensors, Tensors]:
    """Return X and R after the step with coordinates z: one product."""
    c = (solution * z).sum(dim=1)
    P = torch.addcmul(c[0] * R, c[1], S)
    if len(c) == 3:
        P.diagonal().add_(c[2].unsqueeze(-1))
    k = len(c)
    R_new = add_product(vectors[k:], c.unsqueeze(0), vectors[:k], -1).reshape(R.shape)
    X_new = X * (identity_entries(R) + P) if X.shape[1] == 1 else add_product(X, X, P)
    return (X_new, R_new), (c, P)


def _dot(A: Tensor, B: Tensor) -> Tensor:
    """Return inner products of matrices."""
    return torch.linalg.vecdot(A.flatten(0, 1), B.flatten(0, 1), dim=0)
