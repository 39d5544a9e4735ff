"""Refinement: from any start, a good one or none, to the rounding floor, matrix by matrix."""

import math
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.linalg import matrix_norm

from skdmi.chunks import chunk_size
from skdmi.iteration.promise import keeps_promise
from skdmi.iteration.starts import TRANSPOSE
from skdmi.iteration.steps import STEP_PRODUCTS, take_step
from skdmi.linalg.accurate import correct
from skdmi.linalg.residuals import double, identity_like, rounding_floor
from skdmi.linalg.scaling import Equilibrated, equilibrate, exponents, scale_both
from skdmi.validation import check_square

PLAIN = 0.03
"""Below this residual norm plain steps, R to ``R^2`` for two products, beat minimal-residual steps (measured)."""
USELESS = 1e100
"""A start with a larger residual norm is no start: squares would overflow."""
MAX_AGE = 3
"""A residual that is only updated is recomputed after so many steps."""
DELICATE = 2.0**16
"""Matrices with ``||A||_F ||X||_F`` above m times this get a step with an accurate residual: else 16 bits may go."""
MAX_AGAIN = 3
"""Corrections after the first of a matrix that may lean on small entries."""
_FEW_BITS = 10


class Refinement(NamedTuple):
    """What :func:`refine` returns, for each matrix: fields of shape (...), the shape of A but for its last two axes."""

    inverse: Tensor
    """X, shape (..., m, m), float64: the best one met; infinite only beyond the range."""
    residual_norm: Tensor
    """``||I - A X||_F``, recomputed, float64."""
    n_steps: Tensor
    """Number of steps."""
    n_products: Tensor
    """Number of products of m x m matrices, the first and the last residuals included."""
    converged: Tensor
    """bool: whether both residuals, of A and of the equilibrated A, are at most ``tol`` or what rounding explains."""


@torch.no_grad()
def refine(A: Tensor, X: Tensor | None = None, *, tol: float = 0.0, max_steps: int = 50) -> Refinement:
    r"""Improve inverses until both residuals are at most ``tol``, or rounding allows no better; a stack at once.

    All is done in float64, whose products neither TF32, autocast nor reduced matmul precision touches, on the matrix
    equilibrated by powers of two (:func:`~skdmi.linalg.equilibrate`), :math:`A' = D_1 A D_2` and
    :math:`X' = D_2^{-1} X D_1^{-1}`, so that rows and columns of different units cost no digits. Each matrix takes the
    step that its own residual norm :math:`r = \|I - A' X'\|_F` asks for, and is left alone once it has finished:

    - :math:`r \ge 0.03`: the minimal-residual step of :func:`~skdmi.iteration.minimal_residual`, three products; R is
      recomputed after three of them, or when its update falls below 0.03;
    - below: Newton-Schulz, :math:`X + X R`, or, where that would just miss the goal, the third-order step
      :math:`X + X (R + R^2)` [1]_; two or three products, the new residual included.

    Whether to stop is decided on a recomputed R only. A matrix has finished when

    - :math:`r \le \text{tol} / (\kappa + \text{tol})`, :math:`\kappa = \|A'\|_F \|X'\|_F`, which brings the left
      residual below ``tol`` too;
    - r is at most half the :func:`rounding_floor`;
    - it stagnates: from below 1/2, r is not halved; or it does not fall at all. The better iterate is kept.

    Then :math:`I - A X` and :math:`I - X A` are measured, of the equilibrated matrix and of the one given, and compared
    with :math:`10 u \, \| |A| |X| \|_F` and its mirror. Where one of them is larger, or :math:`\kappa > 2^{16} m`, or a
    row or column of X may in its own units be spoilt by an entry that is small after equilibration, a last step follows
    (:func:`~skdmi.linalg.accurate.correct`), which makes X exact to about its last bit as long as :math:`u \kappa` is
    small.

    A start that is still no better than :math:`r = 1` after its first three steps is given up for :math:`c A^T`.

    Parameters
    ----------
    A : Tensor of shape (..., m, m)
        Finite, of real floating dtype.
    X : Tensor of shape (..., m, m), optional
        Where to start; members that are not finite or huge, and by default all, start from
        :func:`~skdmi.iteration.starts.transpose_start`.
    tol : float, default=0.0
        0 refines to the rounding floor.
    max_steps : int, default=50

    Returns
    -------
    Refinement
        On the device of A; on the CPU where that has no float64. A singular A gives ``r >= 1``, up to rounding.

    Raises
    ------
    ValueError
        If A does not hold square matrices.

    References
    ----------
    .. [1] Altman, "An optimum cubically convergent iterative method of inverting a linear bounded operator in Hilbert
       space", Pacific J. Math. 10, 1960; Schulz and Chow and Saad as in :func:`~skdmi.iteration.newton_schulz` and
       :func:`~skdmi.iteration.minimal_residual`.

    Examples
    --------
    >>> A = torch.tensor([[[2.0, 1.0], [1.0, 3.0]], [[1.0, 2.0], [2.0, 4.0]]])
    >>> refined = refine(A)
    >>> refined.inverse[0]
    tensor([[ 0.6000, -0.2000],
            [-0.2000,  0.4000]], dtype=torch.float64)
    >>> refined.residual_norm[0] < 1e-6, refined.residual_norm[1] >= 1 - 1e-15
    (tensor(True), tensor(True))
    """
    check_square("A", A)
    *leading, m, _ = A.shape
    with torch.autocast(A.device.type, enabled=False):
        flat = (math.prod(leading), m, m)
        parts = double(A).reshape(flat).split(chunk_size(m))
        starts = [None] * len(parts) if X is None else double(X).reshape(flat).split(chunk_size(m))
        chunks = [
            refine_equilibrated(equilibrate(part), start, tol=tol, max_steps=max_steps)
            for part, start in zip(parts, starts, strict=True)
        ]
        joined = map(torch.cat, zip(*chunks, strict=True))
        return Refinement(*[field.reshape((*leading, *field.shape[1:])) for field in joined])


class _Goal(NamedTuple):
    """When a residual is small enough."""

    tol: float

    def by_tolerance(self, A: Tensor, X: Tensor) -> Tensor:
        r"""Return how small r must be for both residuals to be at most ``tol``.

        :math:`\|I - X A\| = \|A^{-1} R A\| \le \kappa r / (1 - r)` with :math:`\kappa = \|A\|_F \|X\|_F`.
        """
        condition = matrix_norm(A) * matrix_norm(X)
        return self.tol / (condition + self.tol).clamp_min(torch.finfo(A.dtype).tiny)

    def of(self, A: Tensor, X: Tensor) -> Tensor:
        return torch.maximum(rounding_floor(A, X) / 2, self.by_tolerance(A, X))


@torch.no_grad()
def refine_equilibrated(
    equilibrated: Equilibrated, X: Tensor | None, *, tol: float = 0.0, max_steps: int = 50
) -> Refinement:
    """Return what :func:`refine` does of a stack ``(n_matrices, m, m)`` in float64; X, of A itself, is the start.

    >>> refine_equilibrated(equilibrate(torch.eye(2, dtype=torch.float64)[None]), None).n_steps
    tensor([0])
    """
    A, rows, columns = equilibrated
    goal = _Goal(tol)
    members = _start(A, None if X is None else scale_both(X, -columns, -rows), goal)
    near = members.norm < PLAIN
    groups = [_take(members, near)]
    if not near.all():
        groups.append(_approach(_take(members, ~near), goal, max_steps))
    outcome = _join([_converge(group, goal, max_steps) for group in groups])
    outcome = _take(outcome, outcome.position.argsort())
    refined = _finish(A, outcome, (rows, columns), goal, max_steps)
    return refined._replace(inverse=scale_both(refined.inverse, columns, rows))


def _residual(A: Tensor, X: Tensor) -> Tensor:
    return identity_like(A) - A @ X


class _Outcome(NamedTuple):
    """What has become of some matrices, in any order; all fields share the first axis."""

    position: Tensor
    X: Tensor
    norm: Tensor
    goal: Tensor
    n_steps: Tensor
    n_products: Tensor


class _Members(NamedTuple):
    """The matrices that are still iterated, in any order, and where each stands; all fields share the first axis."""

    position: Tensor
    A: Tensor
    X: Tensor
    R: Tensor
    norm: Tensor
    """``||R||_F``."""
    age: Tensor
    """Number of steps since R was recomputed."""
    best: Tensor
    """The best X whose residual was recomputed."""
    best_norm: Tensor
    goal: Tensor
    """``tol`` or the rounding floor of ``best``."""
    finished: Tensor
    is_guess: Tensor
    """Whether X descends from a start other than ``c A^T``."""
    n_steps: Tensor
    n_products: Tensor

    def outcome(self) -> _Outcome:
        return _Outcome(self.position, self.best, self.best_norm, self.goal, self.n_steps, self.n_products)


_Fields = TypeVar("_Fields", _Members, _Outcome)


def _take(fields: _Fields, chosen: Tensor) -> _Fields:
    """Return some of the matrices, by a mask or by their positions."""
    if chosen.dtype == torch.bool:
        if chosen.all():
            return fields
        chosen = chosen.nonzero().flatten()
    return type(fields)(*[field.index_select(0, chosen) for field in fields])


def _join(parts: list[_Fields]) -> _Fields:
    if len(parts) > 1:
        parts = [part for part in parts if len(part.norm)] or parts[:1]
    return parts[0] if len(parts) == 1 else type(parts[0])(*map(torch.cat, zip(*parts, strict=True)))


def _start(A: Tensor, X: Tensor | None, goal: _Goal) -> _Members:
    """Start from X; members that are not finite or huge, and by default all, from ``c A^T``."""
    zero = torch.zeros(len(A), dtype=torch.int64, device=A.device)
    if X is None:
        X, R = TRANSPOSE.function(A)
        is_guess = zero.bool()
    else:
        R = _residual(A, X)
        is_guess = matrix_norm(R) < USELESS
        if not is_guess.all():
            X = X.clone()
            X[~is_guess], R[~is_guess] = TRANSPOSE.function(A[~is_guess])
    norm, floor = matrix_norm(R), goal.of(A, X)
    position = torch.arange(len(A), device=A.device)
    n_products = zero + TRANSPOSE.n_products
    return _Members(position, A, X, R, norm, zero, X, norm, floor, norm <= floor, is_guess, zero, n_products)


def _approach(members: _Members, goal: _Goal, max_steps: int) -> _Members:
    """Take minimal-residual steps with each member until it is near, or finished."""
    arrived = [_take(members, members.finished)]
    members = _take(members, ~members.finished)
    for step in range(1, max_steps + 1):
        if len(members.norm) == 0:
            break
        members = _minimal_residual_step(members)
        stale = (members.norm < PLAIN) | (members.age >= MAX_AGE) | (step == max_steps)
        members = _join([_judge(_take(members, stale), goal), _take(members, ~stale)])
        left = members.finished | (members.norm < PLAIN)
        arrived.append(_take(members, left))
        members = _take(members, ~left)
    return _join([*arrived, members])


def _converge(members: _Members, goal: _Goal, max_steps: int) -> _Outcome:
    """Take plain steps with each near member until it is finished."""
    done: list[_Outcome] = []
    while True:
        stopped = members.finished | (members.n_steps >= max_steps)
        if stopped.all():
            return _join([*done, members.outcome()])
        if stopped.any():
            done.append(_take(members.outcome(), stopped))
            members = _take(members, ~stopped)
        members = _judge(_plain_step(members), goal)


def _minimal_residual_step(members: _Members) -> _Members:
    X, R = take_step(members.X, members.R)
    return members._replace(
        X=X,
        R=R,
        norm=matrix_norm(R),
        age=members.age + 1,
        n_steps=members.n_steps + 1,
        n_products=members.n_products + STEP_PRODUCTS,
    )


def _plain_step(members: _Members) -> _Members:
    """Take R to ``R^2``, or to ``R^3`` where that reaches the goal and ``R^2`` does not."""
    r, R = members.norm, members.R
    cubic = (r**2 > members.goal) & (r**3 <= members.goal)
    if cubic.any():
        R = R.clone()
        R[cubic] += R[cubic] @ R[cubic]
    return members._replace(
        X=members.X + members.X @ R,
        n_steps=members.n_steps + 1,
        n_products=members.n_products + 1 + cubic.long(),
    )


def _judge(members: _Members, goal: _Goal) -> _Members:
    """Recompute R, keep the better iterate, and find who has finished; a hopeless guess begins anew."""
    R = _residual(members.A, members.X)
    norm, before = matrix_norm(R), members.best_norm
    better = norm < before
    best = torch.where(better[:, None, None], members.X, members.best)
    best_norm = torch.where(better, norm, before)
    floor = goal.of(members.A, best)
    stagnates = ~(norm < torch.where(before < 0.5, before / 2, before * (1 - 1e-12)))
    members = members._replace(
        R=R,
        norm=norm,
        age=torch.zeros_like(members.age),
        best=best,
        best_norm=best_norm,
        goal=floor,
        finished=(best_norm <= floor) | stagnates,
        n_products=members.n_products + 1,
    )
    hopeless = members.is_guess & ~(best_norm < 1)
    if not hopeless.any():
        return members
    given_up = _take(members, hopeless)
    anew = _start(given_up.A, None, goal)._replace(
        position=given_up.position, n_steps=given_up.n_steps, n_products=given_up.n_products + 1
    )
    return _join([_take(members, ~hopeless), anew])


def _finish(A: Tensor, outcome: _Outcome, units: tuple[Tensor, Tensor], goal: _Goal, max_steps: int) -> Refinement:
    """Measure both residuals, correct what does not keep its promise or is delicate, and say what does."""
    X, norm = outcome.X.clone(), outcome.norm.clone()
    n_steps, n_products = outcome.n_steps.clone(), outcome.n_products.clone()
    span = torch.stack([e.amax(dim=-1) - e.amin(dim=-1) for e in units]).amax(dim=0)
    converged = torch.log2(norm) + span < torch.log2(goal.by_tolerance(A, X))
    open_question = ~converged & (norm < 0.5)
    chosen = open_question.nonzero().flatten()
    at_goal = norm[chosen] <= outcome.goal[chosen]
    converged[chosen] = keeps_promise(A[chosen], X[chosen], [e[chosen] for e in units], goal.tol, known=at_goal)
    is_graded = units[0].amax(dim=-1) > units[0].amin(dim=-1)
    n_products[chosen] += 1 + (is_graded[chosen] | ~at_goal)

    delicate = matrix_norm(A) * matrix_norm(X) > DELICATE * A.shape[-1]
    delicate |= (span > _FEW_BITS) & _leans_on_small_entries(X, units)
    wanting = open_question & (~converged | delicate) & (n_steps < max_steps)
    thoroughly = delicate | (span > 0)
    for is_thorough, group in ((True, wanting & thoroughly), (False, wanting & ~thoroughly)):
        chosen = group.nonzero().flatten()
        if len(chosen) == 0:
            continue
        corrected, n_more = _corrected(A[chosen], X[chosen], thoroughly=is_thorough)
        corrected_norm = matrix_norm(_residual(A[chosen], corrected))
        kept = keeps_promise(A[chosen], corrected, [e[chosen] for e in units], goal.tol)
        better = kept | (~converged[chosen] & (corrected_norm < 0.5))
        taken = chosen[better]
        X[taken], norm[taken], converged[taken] = corrected[better], corrected_norm[better], kept[better]
        n_products[chosen] += n_more + 3
        n_steps[chosen] += 1
    return Refinement(X, norm, n_steps, n_products, converged)


def _leans_on_small_entries(X: Tensor, units: tuple[Tensor, Tensor]) -> Tensor:
    """Return whether, in the units of the matrix, errors of small entries count in some row or column.

    An error is as large as the largest entry of the row or column after equilibration lets it be. In its own unit it
    may be large beside all entries: that of an entry that should be zero, above all.
    """
    rows, columns = units
    size = exponents(X)
    leans = torch.zeros(len(X), dtype=torch.bool, device=X.device)
    for weight, dim in ((columns.unsqueeze(-1), -2), (rows.unsqueeze(-2), -1)):
        of_errors = torch.where(X != 0, size.amax(dim=dim, keepdim=True) + weight, size)
        leans |= (of_errors.amax(dim=dim) > (size + weight).amax(dim=dim) + _FEW_BITS).any(dim=1)
    return leans


def _corrected(A: Tensor, X: Tensor, *, thoroughly: bool) -> tuple[Tensor, int]:
    """Correct once, or thoroughly until small entries have settled as well; return the number of products, too."""
    corrected, n_products = correct(A, X, thoroughly=thoroughly)
    for _ in range(MAX_AGAIN if thoroughly else 0):
        before = corrected
        corrected, n_more = correct(A, before)
        n_products += n_more
        if ((corrected - before).abs() <= 2.0**-50 * before.abs()).all():
            break
    return corrected, n_products
