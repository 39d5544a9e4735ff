"""Refinement: from any start, a good one or none, to the rounding floor, matrix by matrix."""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.linalg import matrix_norm

from skdmi.chunks import chunk_size
from skdmi.iteration.deflation import deflate
from skdmi.iteration.members import Goal, Members, Outcome, join, take
from skdmi.iteration.promise import keeps_promise
from skdmi.iteration.starts import TRANSPOSE
from skdmi.iteration.steps import STEP_PRODUCTS, take_step
from skdmi.linalg.accurate import correct
from skdmi.linalg.residuals import double, identity_like
from skdmi.linalg.scaling import Equilibrated, equilibrate, exponents, scale_both
from skdmi.validation import check_square

PLAIN = 0.03
"""Below this residual norm plain steps, R to ``R^2`` for two products, beat minimal-residual steps (measured)."""
USELESS = 1e100
"""A start with a larger residual norm is no start: squares would overflow."""
MAX_AGE = 3
"""A residual that is only updated is recomputed after so many steps."""
RANK = 2
"""Of the deflation before a minimal-residual step."""
FALL = 1 - 1e-3
"""A residual of 1/2 or more that does not fall below this part of it stagnates: of singular matrices it never does."""
SOLVED = 3
"""Up to this m one minimal-residual step would be exact but for rounding, and a deflation does not pay (measured)."""
DELICATE = 2.0**16
"""Matrices with ``||A||_F ||X||_F`` above m times this get a step with an accurate residual: else 16 bits may go."""
MAX_AGAIN = 3
"""Corrections after the first of a matrix that may lean on small entries."""
_FEW_BITS = 10


class Refinement(NamedTuple):
    """What :func:`refine` returns, for each matrix: fields of shape (...), the shape of A but for its last two axes.

    Parameters
    ----------
    inverse : Tensor
        X, shape (..., m, m), float64: the best one met; infinite only beyond the range.
    residual_norm : Tensor
        ``||I - A X||_F``, recomputed, float64.
    n_steps : Tensor
        Number of steps.
    n_products : Tensor
        Number of products of m x m matrices, the first and the last residuals included.
    converged : Tensor of bool
        Whether both residuals, of A and of the equilibrated A, are at most ``tol`` or what rounding explains.

    Examples
    --------
    >>> refined = refine(torch.tensor([[2.0, 1.0], [1.0, 3.0]]))
    >>> refined.converged, refined.residual_norm < 1e-14, refined.n_products > 0
    (tensor(True), tensor(True), tensor(True))
    """

    inverse: Tensor
    residual_norm: Tensor
    n_steps: Tensor
    n_products: Tensor
    converged: Tensor


@torch.no_grad()
def refine(A: Tensor, X: Tensor | None = None, *, tol: float = 0.0, max_steps: int = 50) -> Refinement:
    r"""Improve inverses until both residuals are at most ``tol``, or rounding allows no better; a stack at once.

    All is done in float64, whose products neither TF32, autocast nor reduced matmul precision touches, on the matrix
    equilibrated by powers of two (:func:`~skdmi.linalg.equilibrate`), :math:`A' = D_1 A D_2` and
    :math:`X' = D_2^{-1} X D_1^{-1}`, so that rows and columns of different units cost no digits. Each matrix takes the
    step that its own residual norm :math:`r = \|I - A' X'\|_F` asks for, and is left alone once it has finished:

    - :math:`r \ge 0.03`: the minimal-residual step of :func:`~skdmi.iteration.minimal_residual`, three products, from
      m = 4 on after a deflation of rank 2, which costs none; R is recomputed after three steps, or when its update
      falls below 0.03;
    - below: Newton-Schulz, :math:`X + X R`, or, where that would just miss the goal, the third-order step
      :math:`X + X (R + R^2)` [1]_; two or three products, the new residual included.

    Whether to stop is decided on a recomputed R only. A matrix has finished when

    - :math:`r \le \text{tol} / (\kappa + \text{tol})`, :math:`\kappa = \|A'\|_F \|X'\|_F`, which brings the left
      residual below ``tol`` too;
    - r is at most half the :func:`rounding_floor`;
    - it stagnates: from below 1/2, r is not halved; from above, it does not fall by a thousandth. The better iterate is
      kept, and from 0.03 on goes on once without deflation, of which a matrix close to singular makes rounding.

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
        After so many steps a matrix is left as it is, ``converged`` or not.

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


@torch.no_grad()
def refine_equilibrated(
    equilibrated: Equilibrated, X: Tensor | None, *, tol: float = 0.0, max_steps: int = 50
) -> Refinement:
    """Return what :func:`refine` does of a stack ``(n_matrices, m, m)`` in float64; X, of A itself, is the start.

    >>> refine_equilibrated(equilibrate(torch.eye(2, dtype=torch.float64)[None]), None).n_steps
    tensor([0])
    """
    A, rows, columns = equilibrated
    goal = Goal(tol)
    members = _start(A, None if X is None else scale_both(X, -columns, -rows), goal)
    near = members.norm < PLAIN
    groups = [take(members, near)]
    if not near.all():
        groups.append(_approach(take(members, ~near), goal, max_steps))
    outcome = join([_converge(group, goal, max_steps) for group in groups])
    outcome = take(outcome, outcome.position.argsort())
    refined = _finish(A, outcome, (rows, columns), goal, max_steps)
    return refined._replace(inverse=scale_both(refined.inverse, columns, rows))


def _residual(A: Tensor, X: Tensor) -> Tensor:
    return identity_like(A) - A @ X


def _start(A: Tensor, X: Tensor | None, goal: Goal) -> Members:
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
    deflates = torch.full_like(is_guess, A.shape[-1] > SOLVED)
    return Members(position, A, X, R, norm, zero, X, norm, floor, norm <= floor, deflates, is_guess, zero, n_products)


def _approach(members: Members, goal: Goal, max_steps: int) -> Members:
    """Take minimal-residual steps with each member until it is near, or finished."""
    arrived = [take(members, members.finished)]
    members = take(members, ~members.finished)
    for step in range(1, max_steps + 1):
        if len(members.norm) == 0:
            break
        members = _minimal_residual_step(members)
        stale = (members.norm < PLAIN) | (members.age >= MAX_AGE) | (step == max_steps)
        members = join([_judge(take(members, stale), goal), take(members, ~stale)])
        left = members.finished | (members.norm < PLAIN)
        arrived.append(take(members, left))
        members = take(members, ~left)
    return join([*arrived, members])


def _converge(members: Members, goal: Goal, max_steps: int) -> Outcome:
    """Take plain steps with each near member until it is finished."""
    done: list[Outcome] = []
    while True:
        stopped = members.finished | (members.n_steps >= max_steps)
        if stopped.all():
            return join([*done, members.outcome()])
        if stopped.any():
            done.append(take(members.outcome(), stopped))
            members = take(members, ~stopped)
        members = _judge(_plain_step(members), goal)


def _minimal_residual_step(members: Members) -> Members:
    X, R = members.X, members.R
    if members.deflates.all():
        X, R = deflate(members.A, X, R, RANK)
    elif members.deflates.any():
        chosen = members.deflates.nonzero().flatten()
        X, R = X.clone(), R.clone()
        X[chosen], R[chosen] = deflate(members.A[chosen], X[chosen], R[chosen], RANK)
    X, R = take_step(X, R)
    return members._replace(
        X=X,
        R=R,
        norm=matrix_norm(R),
        age=members.age + 1,
        n_steps=members.n_steps + 1,
        n_products=members.n_products + STEP_PRODUCTS,
    )


def _plain_step(members: Members) -> Members:
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


def _judge(members: Members, goal: Goal) -> Members:
    """Recompute R, keep the better iterate, and find who has finished; a hopeless guess begins anew."""
    R = _residual(members.A, members.X)
    norm, before = matrix_norm(R), members.best_norm
    better = norm < before
    best = torch.where(better[:, None, None], members.X, members.best)
    best_norm = torch.where(better, norm, before)
    floor = goal.of(members.A, best)
    stagnates = ~(norm < torch.where(before < 0.5, before / 2, before * FALL))
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
    members = _without_deflation(members)
    hopeless = members.is_guess & ~(best_norm < 1)
    if not hopeless.any():
        return members
    given_up = take(members, hopeless)
    anew = _start(given_up.A, None, goal)._replace(
        position=given_up.position, n_steps=given_up.n_steps, n_products=given_up.n_products + 1
    )
    return join([take(members, ~hopeless), anew])


def _without_deflation(members: Members) -> Members:
    """Let those that stagnate where deflations are made go on from their best iterate without.

    Where a matrix is so close to singular that ``A U`` is rounding, a deflation spoils more than it mends.
    """
    stuck = members.finished & members.deflates & (members.best_norm >= PLAIN) & (members.best_norm > members.goal)
    if not stuck.any():
        return members
    chosen = stuck.nonzero().flatten()
    A, X = members.A[chosen], members.best[chosen]
    return members._replace(
        X=members.X.index_copy(0, chosen, X),
        R=members.R.index_copy(0, chosen, _residual(A, X)),
        norm=torch.where(stuck, members.best_norm, members.norm),
        finished=members.finished & ~stuck,
        deflates=members.deflates & ~stuck,
        n_products=members.n_products + stuck,
    )


def _finish(A: Tensor, outcome: Outcome, units: tuple[Tensor, Tensor], goal: Goal, max_steps: int) -> Refinement:
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
