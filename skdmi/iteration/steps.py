"""The steps of an iteration: a deflation, and a polynomial in the residual whose coefficients a rule chooses."""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from skdmi.linalg.residuals import identity_like
from skdmi.validation import check_square

STEP_PRODUCTS = 3
"""Products of m x m matrices in a step."""


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

    def coordinates_of(self, c: Tensor) -> Tensor:
        """Return the coordinates z whose coefficients are c, both of shape (..., k): :math:`z = L^T (c / s)`.

        >>> R = torch.eye(2) / 2
        >>> problem = fit_directions(R, torch.stack([R / 4, torch.ones(2, 2)]))
        >>> torch.allclose(problem.coefficients(problem.coordinates_of(torch.ones(2))), torch.ones(2))
        True
        """
        c = c / self.scale
        z = [(column[..., :-1] * c[..., row:]).sum(dim=-1) for row, column in enumerate(self.factor)]
        return torch.stack(z, dim=-1)


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
    factor, coordinates = [], []
    for _ in range(directions.shape[-3]):
        pivot = (gram[..., :1, 0] + ridge).clamp_min(ridge).sqrt()
        below = gram[..., 1:, 0] / pivot
        gram = gram[..., 1:, 1:] - below.unsqueeze(-1) * below.unsqueeze(-2)
        factor.append(torch.cat([pivot, below], dim=-1))
        coordinates.append(below[..., -1])
    return LeastSquares(cosines, torch.stack(coordinates, dim=-1), factor, norms[..., -1:] / norms[..., :-1])


Rule: TypeAlias = Callable[[int, Tensor, LeastSquares], Tensor]
"""Chooses the coordinates of a step, ``(..., k)``, from its number, counted from 1, R and the least-squares problem."""


def least_residual(step: int, R: Tensor, problem: LeastSquares) -> Tensor:
    """Choose the coordinates that make the next residual smallest: the rule that nothing need be learned for."""
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
        An inverse and its residual; X may be multiples of the identity, ``(..., 1, 1)``, for one product less.
    choose : callable, default=least_residual
        ``choose(step, R, problem)`` returns the coordinates z of the :class:`LeastSquares` problem of R on V.
    step : int, default=1
        The number of the step.
    n_coefficients : {2, 3}, default=3

    Examples
    --------
    >>> R = torch.full((1, 1), 0.5)
    >>> take_step(torch.ones(1, 1), R, n_coefficients=2)[1] < 1e-6
    tensor([[True]])
    """
    S = R @ R
    identity = identity_like(R)
    powers = torch.stack([R, S, identity.expand_as(R)][:n_coefficients], dim=-3)
    directions = powers - torch.stack([S, R @ S, R][:n_coefficients], dim=-3)
    problem = fit_directions(R, directions)
    c = problem.coefficients(choose(step, R, problem))[..., None, None]
    P, R = (c * powers).sum(dim=-3), R - (c * directions).sum(dim=-3)
    return (X * (identity + P) if X.shape[-1] == 1 else X + X @ P), R


def deflate(A: Tensor, X: Tensor, R: Tensor, rank: int, n_powers: int = 2) -> tuple[Tensor, Tensor]:
    r"""Take the dominant directions out of the residual: :math:`O(k m^2)` operations, no product of matrices.

    From the k = ``rank`` largest columns of R, a block power iteration of ``n_powers`` steps finds V, near the dominant
    directions of R, which belong to the smallest singular values of A. With :math:`W = A X V` made orthonormal, and
    :math:`U = X V` transformed with it,

    .. math:: X \leftarrow X + U W^T R, \qquad R \leftarrow (I - W W^T) R.

    Every column of R loses its projection on W, so whatever V is, no column grows. Polynomials in R have to bring down
    all directions together; the few that lag behind are here brought down by themselves, as in deflated Krylov methods
    (Saad, "Numerical Methods for Large Eigenvalue Problems", 2nd ed. 2011, ch. 4 and 5). It pays between the steps of
    an iteration, each of which separates the directions further.

    Parameters
    ----------
    A, X, R : Tensors of shape (..., m, m)
        R is the residual ``I - A X``.
    rank : int
        k; no more than half of m are taken, and 0 changes nothing.

    Returns
    -------
    X, R : Tensors of shape (..., m, m)

    Raises
    ------
    ValueError
        If A does not hold square matrices.

    Examples
    --------
    >>> A = torch.diag(torch.tensor([1.0, 1.0, 0.125]))
    >>> X, R = deflate(A, A, torch.eye(3) - A @ A, rank=1)
    >>> X.diagonal()
    tensor([1., 1., 8.])
    """
    check_square("A", A)
    rank = min(rank, A.shape[-1] // 2)
    if rank == 0:
        return X, R
    columns = R.square().sum(dim=-2).topk(rank, dim=-1).indices
    V = R.gather(-1, columns.unsqueeze(-2).expand(*R.shape[:-1], rank))
    for _ in range(n_powers - 1):
        V = R @ orthonormalize(V, V)[1]
    U = X @ orthonormalize(V, V)[1]
    U, W = orthonormalize(U, A @ U)
    rows = W.mT @ R
    return X + U @ rows, R - W @ rows


def orthonormalize(U: Tensor, W: Tensor) -> tuple[Tensor, Tensor]:
    """Make the columns of W orthonormal and do to those of U the same (modified Gram and Schmidt).

    Columns, ``(..., m, k)``; one of W that depends on those before it becomes zero, and so does one far below the
    rounding of 1, whose inverse norm would overflow in gradients.

    >>> orthonormalize(torch.eye(2), torch.tensor([[2.0, 1.0], [0.0, 1.0]]))
    (tensor([[ 0.5000, -0.5000],
            [ 0.0000,  1.0000]]), tensor([[1., 0.],
            [0., 1.]]))
    """
    us: list[Tensor] = []
    ws: list[Tensor] = []
    eps = torch.finfo(W.dtype).eps
    for u, w in zip(U.split(1, dim=-1), W.split(1, dim=-1), strict=True):
        before = torch.linalg.vector_norm(w, dim=-2, keepdim=True)
        for u_done, w_done in zip(us, ws, strict=True):
            along = (w_done * w).sum(dim=-2, keepdim=True)
            u, w = u - along * u_done, w - along * w_done
        norm = torch.linalg.vector_norm(w, dim=-2, keepdim=True)
        independent = norm > eps**0.75 * before.clamp_min(eps)
        scale = torch.where(independent, 1 / torch.where(independent, norm, 1.0), 0.0)
        us.append(u * scale)
        ws.append(w * scale)
    return torch.cat(us, dim=-1), torch.cat(ws, dim=-1)
