"""What an inverse to a tolerance costs: steps, products and operations, matrix by matrix."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.linalg import matrix_norm

from skdmi.iteration.deflation import deflate
from skdmi.iteration.family import FamilyStart
from skdmi.iteration.learned import PolynomialInverse
from skdmi.iteration.loop import count_operations, count_products
from skdmi.iteration.starts import Start, full
from skdmi.iteration.steps import Rule, least_residual, take_step
from skdmi.linalg.residuals import residual

MAX_STEPS = 12


class Iteration(NamedTuple):
    """What costs: where it starts, and by what steps it goes."""

    start: Start | FamilyStart
    rank: int = 2

    def products(self, n_steps: Tensor) -> Tensor:
        """Return the products for numbers of steps, infinite where the steps are; the last residual included."""
        return _look_up(n_steps, lambda n: max(0, count_products(n, self.start)))

    def operations(self, n_steps: Tensor, m: int) -> Tensor:
        """Return the operations for numbers of steps on m x m matrices, infinite where the steps are."""
        return _look_up(n_steps, lambda n: count_operations(m, n, self.start, self.rank))


def _look_up(n_steps: Tensor, cost: Callable[[int], int]) -> Tensor:
    reached = n_steps.isfinite()
    index = torch.where(reached, n_steps, 0).long()
    costs = torch.tensor([cost(n) for n in range(int(index.max()) + 1)], dtype=torch.float64, device=n_steps.device)
    return torch.where(reached, costs[index], torch.inf)


@torch.no_grad()
def steps_to(
    A: Tensor,
    tolerances: Sequence[float],
    iteration: Iteration,
    choose: Rule = least_residual,
) -> Tensor:
    """Return after how many steps the residual norm is at most each tolerance, ``(n_tolerances, n_matrices)``.

    Infinite where it never is within `MAX_STEPS`. A rule that foresees is followed on the way, and left for the least
    residual at the last step, which has nothing to foresee.

    Parameters
    ----------
    A : Tensor of shape (n_matrices, m, m)
        Scaled as the network sees it, and in the dtype in which it computes; the residual is measured in float64.
    tolerances : sequence of float
    iteration : Iteration
    choose : callable, default=least_residual

    Examples
    --------
    >>> from skdmi.iteration import TRANSPOSE
    >>> steps_to(torch.eye(2)[None], [0.5, 1e-9], Iteration(TRANSPOSE))
    tensor([[0.],
            [0.]])
    """
    goals = torch.tensor(tolerances, dtype=torch.float64, device=A.device)[:, None]
    needed = torch.full((len(goals), len(A)), torch.inf, device=A.device, dtype=torch.float32)
    X, R = iteration.start.function(A)
    deflates = iteration.start.deflates(X)
    last = full(X.expand(*A.shape[:-1], X.shape[-1]))
    for n_steps in range(MAX_STEPS + 1):
        norm = matrix_norm(residual(A.double(), last.double()))
        needed = torch.where(needed.isinf() & (norm <= goals), float(n_steps), needed)
        if n_steps == MAX_STEPS or not needed.isinf().any():
            break
        if iteration.rank > 0 and deflates is not False:
            deflated = deflate(A, X, R, iteration.rank)
            keep = torch.as_tensor(deflates, device=A.device).expand(len(A))[:, None, None]
            X, R = torch.where(keep, deflated[0], full(X)), torch.where(keep, deflated[1], R)
        deflates = True
        last = take_step(X, R, step=n_steps + 1)[0]
        X = last if choose is least_residual else take_step(X, R, choose, step=n_steps + 1)[0]
        R = residual(A, X)
    return needed


def network_steps_to(core: PolynomialInverse, A: Tensor, tolerances: Sequence[float]) -> Tensor:
    """Return :func:`steps_to` of a network's core, with its start and its rule."""
    with torch.no_grad(), torch.autocast(A.device.type, enabled=False):
        return steps_to(A, tolerances, Iteration(core.start, core.rank), core.rule(A))
