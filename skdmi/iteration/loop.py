"""The loop: from a start, steps that a rule chooses; and the iterations that need no rule but the least residual."""

import torch
from torch import Tensor
from torch.linalg import matrix_norm

from skdmi.iteration.adjoint import Gradients, Tensors, with_adjoint
from skdmi.iteration.deflation import deflate_entries
from skdmi.iteration.family import Begun, FamilyStart
from skdmi.iteration.starts import TRANSPOSE, Start
from skdmi.iteration.steps import STEP_PRODUCTS, Rule, least_residual, take_step_entries
from skdmi.linalg.products import add_product, entries, identity_entries, matrices
from skdmi.linalg.residuals import residual
from skdmi.linalg.scaling import scale_by_power_of_two, split_exponent
from skdmi.validation import check_square

GROWTH = 100.0
"""A residual that rounding has made larger, but not so many times, is best left to the next step, which is a
minimal-residual step too: going back would repeat what failed."""


def iterate(
    A: Tensor,
    n_steps: int,
    *,
    start: Start | FamilyStart | Begun = TRANSPOSE,
    rank: int = 2,
    choose: Rule = least_residual,
    n_coefficients: int = 3,
) -> Tensor:
    r"""Take steps from a start, each after a deflation, with the coefficients that a rule chooses; return the best.

    .. math:: X_k = X_{k-1} (I + c_{k1} R_{k-1} + c_{k2} R_{k-1}^2 + c_{k3} I), \quad R_k = I - A X_k

    Between recomputations of R (:func:`recomputation_schedule`), which say what the best iterate is and where to go on
    from, R is only updated. ``choose`` is the one thing that a network learns; without it this is the minimal-residual
    iteration. Products: :func:`count_products`.

    Parameters
    ----------
    A : Tensor of shape (n_matrices, m, m)
        Scaled near 1, as by :math:`\|A\|_F = \sqrt m`.
    n_steps : int
        How many steps; with 0 the start is returned.
    start : Start or FamilyStart, default=TRANSPOSE
        See :mod:`skdmi.iteration.starts`, and :class:`~skdmi.iteration.FamilyStart`.
    rank : int, default=2
        Of the deflation before each step (:func:`deflate`), 0 for none; there is none before the first step from a
        diagonal matrix.
    choose : callable, default=least_residual
        ``choose(step, R, problem)`` returns the coordinates of the :class:`LeastSquares` problem of a step.
    n_coefficients : {2, 3}, default=3
        With 2, :math:`c_{k3} = 0`.

    Returns
    -------
    Tensor of shape (n_matrices, m, m)
        The inverses: of all iterates whose residual was recomputed the one with the smallest.

    Raises
    ------
    ValueError
        If A does not hold square matrices, or ``n_coefficients`` is neither 2 nor 3.

    Examples
    --------
    >>> A = torch.tensor([[[2.0, 1.0], [1.0, 3.0]]]) / 3
    >>> matrix_norm(torch.eye(2) - A @ iterate(A, 2)).item() < 1e-5
    True
    """
    check_square("A", A)
    if n_coefficients not in (2, 3):
        raise ValueError(f"n_coefficients={n_coefficients!r}; expected 2 or 3.")
    X0, R0 = start.function(A)
    deflates = start.deflates(X0)
    A, X, R = map(entries, (A, X0, R0))
    identity = identity_entries(A)
    rank = min(rank, len(A) // 2)
    best = X if X.shape == A.shape else X * identity, R
    recomputed = recomputation_schedule(n_steps)
    for step in range(1, n_steps + 1):
        partly = isinstance(deflates, Tensor)
        if rank and (partly or deflates):  # of a symbol, where m is one, the truth is asked for
            before = X, R
            X, R = deflate_entries(A, X, R, rank)
            if partly:
                X, R = _where(deflates, X, before[0])[0], _where(deflates, R, before[1])[0]
        deflates = True
        X, R = take_step_entries(X, R, choose, step, n_coefficients)
        if step in recomputed:
            R = add_product(identity, A, X, -1)
            norm, best_norm = _norm(R), _norm(best[1])
            better = norm.isfinite() & ~(norm > best_norm)
            best = _where(better, X, best[0])[0], best[1] if step == n_steps else _where(better, R, best[1])[0]
            if step < n_steps:
                sound = norm <= GROWTH * torch.where(better, norm, best_norm)
                X, R = _where(sound, X, best[0])[0], _where(sound, R, best[1])[0]
    return _stack_of(best[0])[0]


def keep_better(best: tuple[Tensor, Tensor], X: Tensor, R: Tensor) -> tuple[Tensor, Tensor]:
    """Return, matrix by matrix, the pair (inverse, residual) with the smaller Frobenius norm; a non-finite one loses.

    Parameters
    ----------
    best : (Tensor, Tensor)
        Inverses and their residuals, each ``(n_matrices, m, m)``.
    X, R : Tensors of shape (n_matrices, m, m)
        Other inverses of the same matrices, and their residuals.

    Returns
    -------
    X : Tensor of shape (n_matrices, m, m)
        The better inverses.
    R : Tensor of shape (n_matrices, m, m)
        Their residuals.

    Examples
    --------
    >>> best = torch.ones(1, 1, 1), torch.full((1, 1, 1), 0.5)
    >>> keep_better(best, torch.zeros(1, 1, 1), torch.full((1, 1, 1), torch.nan))[0].item()
    1.0
    """
    norms = matrix_norm(R)
    better = (norms.isfinite() & ~(norms > matrix_norm(best[1])))[..., None, None]
    return torch.where(better, torch.nan_to_num(X), best[0]), torch.where(better, torch.nan_to_num(R), best[1])


def _norm(R: Tensor) -> Tensor:
    """Return Frobenius norms to compare by, entries first."""
    R = R.detach().flatten(0, 1)
    return torch.linalg.vecdot(R, R, dim=0).sqrt()


def _where_adjoint(
    needed: tuple[bool, ...], inputs: Tensors, outputs: Tensors, kept: Tensors, gradients: Tensors
) -> Gradients:
    del outputs, kept
    chosen, (gradient,) = inputs[0], gradients
    return (
        None,
        torch.where(chosen, gradient, 0.0) if needed[1] else None,
        torch.where(chosen, 0.0, gradient) if needed[2] else None,
    )


@with_adjoint(_where_adjoint)
def _where(chosen: Tensor, new: Tensor, old: Tensor) -> tuple[Tensors, Tensors]:
    return (torch.where(chosen, new, old),), ()


def _stack_of_adjoint(
    needed: tuple[bool, ...], inputs: Tensors, outputs: Tensors, kept: Tensors, gradients: Tensors
) -> Gradients:
    del needed, inputs, outputs, kept
    return (entries(gradients[0]),)


@with_adjoint(_stack_of_adjoint)
def _stack_of(X: Tensor) -> tuple[Tensors, Tensors]:
    """Leave: return the matrices as others expect them in memory."""
    return (matrices(X).contiguous(),), ()


def count_products(n_steps: int, start: Start | FamilyStart = TRANSPOSE) -> int:
    """Return how many products of m x m matrices :func:`iterate` spends, the last residual included.

    Parameters
    ----------
    n_steps : int
        How many steps.
    start : Start or FamilyStart, default=TRANSPOSE
        From where.

    Returns
    -------
    int
        For one matrix.

    Examples
    --------
    >>> [count_products(n) for n in (1, 2, 3, 4)]
    [5, 8, 11, 15]
    """
    return max(0, start.n_products + STEP_PRODUCTS * n_steps + len(recomputation_schedule(n_steps)))


def count_operations(m: int, n_steps: int, start: Start | FamilyStart = TRANSPOSE, rank: int = 2) -> int:
    """Return how many multiplications and additions :func:`iterate` spends on an m x m matrix, about.

    ``2 m^3`` for each product; ``45 m^2`` for the least-squares problem of a step, ``14 k m^2`` for a deflation of rank
    k; and what the start needs. A learned rule adds a few thousand a step.

    Parameters
    ----------
    m : int
        Size of the matrix.
    n_steps : int
        How many steps.
    start : Start or FamilyStart, default=TRANSPOSE
        From where.
    rank : int, default=2
        Of the deflations.

    Returns
    -------
    int
        For one matrix.

    Examples
    --------
    >>> count_operations(16, 3) / (2 * 16**3) - count_products(3) < 9
    True
    """
    beside = n_steps * (45 + 14 * min(rank, m // 2)) * m**2 + start.n_operations(m)
    return 2 * m**3 * count_products(n_steps, start) + beside


def recomputation_schedule(n_steps: int) -> set[int]:
    """Return after which steps (counted from 1) ``R = I - A X`` is recomputed.

    Between recomputations R is only updated, which saves a product a step and lets rounding drift: steps bear two or
    three updates.

    >>> [sorted(recomputation_schedule(n)) for n in range(1, 8)]
    [[1], [2], [3], [2, 4], [3, 5], [3, 6], [3, 5, 7]]
    """
    groups = -(-n_steps // 3)
    return {-(-n_steps * (i + 1) // groups) for i in range(groups)}


def minimal_residual(A: Tensor, n_steps: int, *, rank: int = 0, n_coefficients: int = 3) -> Tensor:
    r"""Invert by the minimal-residual iteration: no parameters, no training, no estimate of the spectrum.

    From :math:`X_0 = c A^T`, each step adds to X the product of X with the polynomial in R that minimises the next
    :math:`\|R\|_F`: with ``n_coefficients=2``, ``X <- X + X (c_1 R + c_2 R^2)`` (MR-2), with 3 (MR-3) also the multiple
    ``c_3 X``, at no further product. Never worse, step by step, than Newton-Schulz and the third-order hyperpower
    iteration, which fix the coefficients. The iterate with the smallest recomputed residual is returned.

    With a ``rank`` k, every step is preceded by a deflation (:func:`deflate`), :math:`O(k m^2)` operations without a
    product of matrices; with k = 2 this is what an untrained ``"polynomial"`` network computes.

    This is the global minimal residual descent of Chow and Saad [1]_, self-preconditioned, with several directions; it
    is a baseline for every learned inverse.

    Parameters
    ----------
    A : Tensor of shape (..., m, m)
        Of any scale, which is taken out by powers of two.
    n_steps : int
        For :func:`count_products` products.
    rank : int, default=0
        Of the deflation before each step, 0 for none.
    n_coefficients : {2, 3}, default=3
        Of a step: MR-2 or MR-3.

    Returns
    -------
    Tensor of shape (..., m, m)
        The inverses, in the dtype of A.

    Raises
    ------
    ValueError
        If A does not hold square matrices, or ``n_coefficients`` is neither 2 nor 3.

    References
    ----------
    .. [1] Chow and Saad, "Approximate inverse preconditioners via sparse-sparse iterations", SIAM J. Sci. Comput.
       19(3), 1998.

    Examples
    --------
    >>> A = torch.tensor([[2.0, 1.0], [1.0, 3.0]])
    >>> matrix_norm(torch.eye(2) - A @ minimal_residual(A, n_steps=2)).item() < 1e-5
    True
    """
    check_square("A", A)
    exact, exponent = split_exponent(A)
    X = iterate(exact, n_steps, rank=rank, n_coefficients=n_coefficients)
    return scale_by_power_of_two(X, -exponent)


def newton_schulz(A: Tensor, X: Tensor, n_steps: int) -> Tensor:
    """Take ``n_steps`` steps of Newton-Schulz, ``X <- X (2 I - A X)``: two products each, R becomes ``R^2``.

    Converges from every X with spectral norm of R below 1 [1]_.

    Parameters
    ----------
    A, X : Tensors of shape (..., m, m)
        Matrices and approximate inverses.
    n_steps : int
        How many steps; with 0, X is returned.

    Returns
    -------
    Tensor of shape (..., m, m)
        The inverses after the last step; whether they are better is for the caller to see.

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
    >>> X, _ = TRANSPOSE.function(A)
    >>> [round(matrix_norm(torch.eye(2) - A @ newton_schulz(A, X, n)).item(), 4) for n in (0, 4, 8)]
    [0.8452, 0.0573, 0.0]
    """
    check_square("A", A)
    for _ in range(n_steps):
        X = X + X @ residual(A, X)
    return X
