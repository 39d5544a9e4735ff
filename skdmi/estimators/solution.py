"""``Solution``: the inverses of a stack on their way out, refined and certified, and what is known of each."""

from typing import NamedTuple, Self

import torch
from torch import Tensor

from skdmi.chunks import chunk_size
from skdmi.containers import computable
from skdmi.estimators.policies import float64_hint, warn_inaccurate
from skdmi.estimators.report import INACCURATE, SOURCES
from skdmi.iteration.refinement import refine_equilibrated
from skdmi.linalg.certificate import certify_equilibrated, rounded_error_bound
from skdmi.linalg.exact import exact_inverse
from skdmi.linalg.residuals import double, missing
from skdmi.linalg.scaling import equilibrate

NETWORK, REFINED, EXACT, PINV, NONE = range(len(SOURCES))


class Solution(NamedTuple):
    """Inverses in the dtype of the matrices, and what is known of each; all on the device of the matrices.

    Fields are tensors of shape (n_matrices,), but for the inverses.
    """

    inverse: Tensor
    certified: Tensor
    nonsingular: Tensor
    error_bound: Tensor
    converged: Tensor
    source: Tensor
    n_steps: Tensor

    @classmethod
    def refined(
        cls,
        A: Tensor,
        start: Tensor | None,
        as_it_was: int,
        *,
        stepped: int = REFINED,
        tol: float = 0.0,
        max_steps: int = 50,
    ) -> Self:
        """Refine from a start, certify, and bound the error of what the inverses are in the dtype of A.

        ``as_it_was`` and ``stepped`` are the sources of inverses that take no step, and of those that take some.
        """
        given = computable(A)
        A64 = double(given)
        equilibrated = equilibrate(A64)
        with torch.autocast(A.device.type, enabled=False):
            begun = None if start is None else double(start)
            refined = refine_equilibrated(equilibrated, begun, tol=tol, max_steps=max_steps)
            inverse = refined.inverse
            if begun is not None and max_steps == 0:  # what is certified is the answer, not what refinement begins with
                inverse = torch.where(missing(begun)[:, None, None], torch.nan, inverse)
            certificate = certify_equilibrated(A64, inverse, equilibrated, given.dtype)
        X = inverse.to(A)
        error_bound = certificate.error_bound
        if A.dtype != torch.float64:
            error_bound = rounded_error_bound(error_bound, inverse, X)
        certified = certificate.certified.to(A.device) & ~missing(X)
        sources = torch.where(refined.n_steps > 0, stepped, as_it_was)
        known = (certificate.nonsingular, error_bound, refined.converged, sources, refined.n_steps)
        return cls(X, certified, *[t.to(A.device) for t in known])

    @classmethod
    def joined(cls, parts: list[Self]) -> Self:
        """Return the solutions of parts of a stack as one."""
        return parts[0] if len(parts) == 1 else cls(*map(torch.cat, zip(*parts, strict=True)))

    def wanting(self, *, as_it_is: bool = False) -> Tensor:
        """Return which inverses another method might do better; ``as_it_is``, an unfinished one is no reason."""
        unfinished = ~self.converged & (not as_it_is)
        return ~self.certified | unfinished | ~(self.error_bound <= INACCURATE)

    def without(self, chosen: Tensor) -> Self:
        """Return the solution with some of the inverses missing."""
        return self._replace(
            inverse=torch.where(chosen[:, None, None], torch.nan, self.inverse),
            error_bound=torch.where(chosen, torch.nan, self.error_bound),
            source=torch.where(chosen, NONE, self.source),
        )

    def with_exact(self, A: Tensor, chosen: Tensor, tol: float = 0.0) -> Self:
        """Return the solution with those of LAPACK in the place of some of the inverses, where they are better."""
        start = exact_inverse(double(A[chosen]))
        found = ~missing(start)
        index = chosen.nonzero().flatten()[found]
        theirs = type(self).refined(A[index], start[found], EXACT, stepped=EXACT, tol=tol, max_steps=1)
        mine = type(self)(*(field[index] for field in self))
        better = theirs.certified & (~mine.certified | (theirs.converged & ~mine.converged))
        better |= theirs.certified & (theirs.converged == mine.converged) & (theirs.error_bound < mine.error_bound)
        index_of_better = index[better]
        replaced = (kept.index_copy(0, index_of_better, new[better]) for kept, new in zip(self, theirs, strict=True))
        nonsingular = self.nonsingular.index_copy(0, index, mine.nonsingular | theirs.nonsingular)
        return type(self)(*replaced)._replace(nonsingular=nonsingular, n_steps=self.n_steps)

    def warn_if_inaccurate(self, start: int) -> None:
        """Warn once of certified inverses whose error may be large; indices count from ``start``."""
        chosen = self.certified & (self.error_bound > INACCURATE)
        warn_inaccurate(chosen, self.inverse.dtype, start, "are certified, but")

    def hint(self) -> str:
        """Say how many of the missing inverses would be certified if the same numbers came in float64."""
        return float64_hint(self.inverse.dtype, int((missing(self.inverse) & self.nonsingular).sum()))


def in_parts(A: Tensor) -> tuple[Tensor, ...]:
    """Return a stack in parts, so that what refinement and certificates need beside it does not grow with it."""
    return A.split(chunk_size(A.shape[-1]))
