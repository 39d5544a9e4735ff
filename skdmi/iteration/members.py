"""The members of a stack under refinement: where each stands, and when it is done."""

from typing import NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.linalg import matrix_norm

from skdmi.linalg.residuals import rounding_floor


class Goal(NamedTuple):
    """When a residual is small enough."""

    tol: float

    def by_tolerance(self, A: Tensor, X: Tensor) -> Tensor:
        r"""Return how small r must be for both residuals to be at most ``tol``.

        :math:`\|I - X A\| = \|A^{-1} R A\| \le \kappa r / (1 - r)` with :math:`\kappa = \|A\|_F \|X\|_F`.
        """
        condition = matrix_norm(A) * matrix_norm(X)
        return self.tol / (condition + self.tol).clamp_min(torch.finfo(A.dtype).tiny)

    def of(self, A: Tensor, X: Tensor) -> Tensor:
        """Return how small r must be: what ``tol`` asks for, or half of what rounding explains."""
        return torch.maximum(rounding_floor(A, X) / 2, self.by_tolerance(A, X))


class Outcome(NamedTuple):
    """What has become of some matrices, in any order; all fields share the first axis."""

    position: Tensor
    X: Tensor
    norm: Tensor
    goal: Tensor
    n_steps: Tensor
    n_products: Tensor


class Members(NamedTuple):
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
    deflates: Tensor
    """Whether minimal-residual steps are preceded by a deflation."""
    is_guess: Tensor
    """Whether X descends from a start other than ``c A^T``."""
    n_steps: Tensor
    n_products: Tensor

    def outcome(self) -> Outcome:
        """Return what has become of them: their best iterates."""
        return Outcome(self.position, self.best, self.best_norm, self.goal, self.n_steps, self.n_products)


Fields = TypeVar("Fields", Members, Outcome)


def take(fields: Fields, chosen: Tensor) -> Fields:
    """Return some of the matrices, by a mask or by their positions."""
    if chosen.dtype == torch.bool:
        if chosen.all():
            return fields
        chosen = chosen.nonzero().flatten()
    return type(fields)(*[field.index_select(0, chosen) for field in fields])


def join(parts: list[Fields]) -> Fields:
    """Return the matrices of all parts as one."""
    if len(parts) > 1:
        parts = [part for part in parts if len(part.norm)] or parts[:1]
    return parts[0] if len(parts) == 1 else type(parts[0])(*map(torch.cat, zip(*parts, strict=True)))
