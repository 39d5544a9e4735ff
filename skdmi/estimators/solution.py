"""``Solution``: the inverses of a stack on their way out, refined and certified, and what is known of each."""

from typing import NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from skdmi.chunks import CHUNK_ENTRIES
from skdmi.containers import computable, in_parts, is_for_routes
from skdmi.estimators.policies import float64_hint, warn_inaccurate
from skdmi.estimators.reference import checked_tightly, refined_tightly
from skdmi.estimators.report import INACCURATE as INACCURATE_BOUND
from skdmi.estimators.report import SOURCES
from skdmi.figures import CERTIFIED, CONVERGED, INACCURATE, LOOSE, NONSINGULAR, OUTSIDE, Figures, is_sound
from skdmi.iteration.refinement import Refinement, refine_equilibrated
from skdmi.lanes import stack as lanes
from skdmi.linalg.blocks import is_served
from skdmi.linalg.certificate import Certificate, certify_equilibrated, rounded_error_bound
from skdmi.linalg.exact import exact_inverse
from skdmi.linalg.fixed import fixed_inverse
from skdmi.linalg.landing import land
from skdmi.linalg.residuals import double, missing, wide_frobenius_norm
from skdmi.linalg.scaling import equilibrate
from skdmi.metrics import frobenius_residuals

NETWORK, REFINED, EXACT, PINV, NONE = range(len(SOURCES))


class Outcome(NamedTuple):
    """Inverses, and the little of each that policies ask for."""

    inverse: Tensor
    """``(n_matrices, m, m)``, in the dtype and on the device of the matrices."""
    status: Tensor
    """uint8, bits of :mod:`skdmi.figures`."""

    def has(self, bit: int) -> Tensor:
        """Return whether a bit of the status is set; in parts, since a stack may have many millions of them."""
        found = torch.empty_like(self.status, dtype=torch.bool)
        for status, part in zip(self.status.split(CHUNK_ENTRIES), found.split(CHUNK_ENTRIES), strict=True):
            torch.ne(status & bit, 0, out=part)
        return found

    def without(self, chosen: Tensor) -> "Outcome":
        """Return the outcome with some of the inverses missing; in place, since another copy may be large."""
        _parts(self.inverse)[chosen] = torch.nan
        return self

    def warn_if_inaccurate(self, start: int) -> None:
        """Warn once of certified inverses whose error may be large; indices count from ``start``."""
        chosen = self.has(CERTIFIED) & self.has(INACCURATE)
        warn_inaccurate(chosen, self.inverse.dtype, start, "are certified, but")

    def hint(self, absent: Tensor) -> str:
        """Say how many of the absent inverses would be certified if the same numbers came in float64."""
        return float64_hint(self.inverse.dtype, int(torch.count_nonzero(absent & self.has(NONSINGULAR))))


class Solution(NamedTuple):
    """Inverses and all that a report says of each; tensors of shape (n_matrices,), but for the inverses."""

    inverse: Tensor
    status: Tensor
    error_bound: Tensor
    residual_norm: Tensor
    """``||I - A X||_F``; NaN where it was not measured."""
    source: Tensor
    n_steps: Tensor

    def has(self, bit: int) -> Tensor:
        """Return whether a bit of the status is set."""
        return self.outcome.has(bit)

    @property
    def outcome(self) -> Outcome:
        """What policies ask for."""
        return Outcome(self.inverse, self.status)

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

        ``as_it_was`` and ``stepped`` are the sources of inverses that take no step, and of those that take some. Large
        matrices on a CPU go the quick way first (:func:`skdmi.linalg.landing.land`).
        """
        settings = as_it_was, stepped, tol, max_steps
        if start is None or not (is_for_routes(A) and is_served(A.shape[-1])):
            return cls._refined_thoroughly(A, start, *settings)
        solution = cls._refined_quickly(A, start, *settings)
        left = ~solution.has(CERTIFIED)
        if not left.any():
            return solution
        theirs = cls._refined_thoroughly(A[left], start[left], *settings)
        return theirs if left.all() else solution.replaced(left, theirs)

    @classmethod
    def _refined_quickly(
        cls, A: Tensor, start: Tensor, as_it_was: int, stepped: int, tol: float, max_steps: int
    ) -> Self:
        """Do with each matrix what is quickly done; the others are not certified."""
        zeros = torch.zeros(len(A), dtype=torch.int64, device=A.device)
        unknown = torch.full((len(A),), torch.nan, dtype=torch.float64, device=A.device)
        solution = cls(torch.empty_like(A), zeros.byte(), unknown.clone(), unknown, zeros + as_it_was, zeros)
        for k, (member, begun) in enumerate(zip(A.contiguous().numpy(), double(start).numpy(), strict=True)):
            landed = land(member, begun, tol=tol, max_steps=max_steps)
            if landed is not None:
                X = torch.from_numpy(landed.inverse)
                if len(A) == 1:  # no copy of what may be large
                    solution = solution._replace(inverse=X[None])
                else:
                    solution.inverse[k] = X
                solution.status[k] = CERTIFIED | NONSINGULAR | CONVERGED
                solution.error_bound[k], solution.n_steps[k] = landed.error_bound, landed.n_steps
                solution.source[k] = stepped if landed.n_steps else as_it_was
        return solution

    @classmethod
    def _refined_thoroughly(
        cls, A: Tensor, start: Tensor | None, as_it_was: int, stepped: int, tol: float, max_steps: int
    ) -> Self:
        refined, certificate, X, error_bound = _refine(A, start, tol, max_steps)
        certified = certificate.certified.to(A.device) & ~missing(X)
        bits = (
            (certified, CERTIFIED),
            (certificate.nonsingular, NONSINGULAR),
            (refined.converged, CONVERGED),
            (~(error_bound <= INACCURATE_BOUND), INACCURATE),
        )
        status = sum(mask.to(A.device, torch.uint8) * bit for mask, bit in bits)
        sources = torch.where(refined.n_steps > 0, stepped, as_it_was)
        known = (error_bound, torch.full_like(error_bound, torch.nan), sources, refined.n_steps)
        return cls(X, torch.as_tensor(status, device=A.device), *[t.to(A.device) for t in known])

    @classmethod
    def directly(cls, X: np.ndarray, figures: Figures) -> Self:
        """Return what a direct route has found."""
        status, bound, norm, n_steps = (torch.from_numpy(field) for field in figures[:4] if field is not None)
        bound = torch.where((status & CERTIFIED) != 0, bound, torch.nan)
        source = torch.full_like(n_steps, EXACT, dtype=torch.int64)
        return cls(torch.from_numpy(X), status, bound, norm, source, n_steps.long())

    @classmethod
    def joined(cls, parts: list[Self]) -> Self:
        """Return the solutions of parts of a stack as one."""
        return parts[0] if len(parts) == 1 else cls(*map(torch.cat, zip(*parts, strict=True)))

    def tightened(self, A: Tensor, *, steps: bool, inverts_again: bool) -> tuple[Self, Tensor]:
        """Return the solution with inverses refined by residuals in twice the precision, and bounds of their entries.

        Without steps the inverses stay, and are bounded; what is certified is A as it is stored.
        """
        if steps:
            found = refined_tightly(A, self.inverse, inverts_again=inverts_again)
        else:
            found = checked_tightly(A, self.inverse)
        proof, X = found.certificate, found.inverse.to(A)
        certified = proof.nonsingular & proof.error_bound.isfinite() & ~missing(X)
        status = certified.byte() * (CERTIFIED | NONSINGULAR | CONVERGED | LOOSE)
        status = status | (~(proof.error_bound <= INACCURATE_BOUND)).byte() * INACCURATE
        known = status, proof.error_bound, torch.full_like(self.residual_norm, torch.nan)
        status, error_bound, norm = (field.to(A.device) for field in known)
        return self._replace(inverse=X, status=status, error_bound=error_bound, residual_norm=norm), found.entry_bound

    def wanting(self, *, as_it_is: bool = False) -> Tensor:
        """Return which inverses another method might do better; ``as_it_is``, an unfinished one is no reason."""
        unfinished = ~self.has(CONVERGED) & (not as_it_is)
        return ~self.has(CERTIFIED) | unfinished | self.has(INACCURATE)

    def without(self, chosen: Tensor) -> Self:
        """Return the solution with some of the inverses missing, in place."""
        index = chosen.nonzero().flatten()
        for field in (_parts(self.inverse), self.error_bound, self.residual_norm):
            field[index] = torch.nan
        self.source[index] = NONE
        return self

    def replaced(self, chosen: Tensor, theirs: Self) -> Self:
        """Return the solution with another one for some of the matrices."""
        return type(self)(*(kept.index_put((chosen,), new.to(kept)) for kept, new in zip(self, theirs, strict=True)))

    def with_exact(self, A: Tensor, chosen: Tensor, tol: float = 0.0) -> Self:
        """Return the solution with those of LAPACK in the place of some of the inverses, where they are better."""
        start = exact_inverse(double(A[chosen]))
        found = ~missing(start)
        index = chosen.nonzero().flatten()[found]
        theirs = type(self).refined(A[index], start[found], EXACT, stepped=EXACT, tol=tol, max_steps=1)
        mine = type(self)(*(field[index] for field in self))
        certified, converged = theirs.has(CERTIFIED), theirs.has(CONVERGED)
        better = certified & (~mine.has(CERTIFIED) | (converged & ~mine.has(CONVERGED)))
        better |= certified & (converged == mine.has(CONVERGED)) & (theirs.error_bound < mine.error_bound)
        index_of_better = index[better]
        replaced = type(self)(
            *(kept.index_copy(0, index_of_better, new[better]) for kept, new in zip(self, theirs, strict=True))
        )
        nonsingular = (mine.status | theirs.status) & NONSINGULAR
        status = replaced.status.index_copy(0, index, replaced.status[index] | nonsingular)
        return replaced._replace(status=status, n_steps=self.n_steps)


def _parts(X: Tensor) -> Tensor:
    return torch.view_as_real(X) if X.is_complex() else X


def _refine(
    A: Tensor, start: Tensor | None, tol: float, max_steps: int
) -> tuple[Refinement, Certificate, Tensor, Tensor]:
    """Refine and certify; return the inverses in the dtype of A, and bounds on their errors, too."""
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
    return refined, certificate, X, error_bound


def from_lapack(A: Tensor, *, tol: float = 0.0, max_steps: int = 50) -> Solution:
    """Refine and certify the inverses of LAPACK, or where it finds none of the iteration: the reference of the routes.

    >>> from_lapack(torch.tensor([[[2.0]], [[0.0]]])).has(CERTIFIED)
    tensor([ True, False])
    """
    starts = ((part, exact_inverse(double(computable(part)))) for part in in_parts(A))
    return Solution.joined(
        [Solution.refined(*start, EXACT, stepped=EXACT, tol=tol, max_steps=max_steps) for start in starts]
    )


def on_device(A: Tensor, *, tol: float = 0.0, max_steps: int = 50) -> Solution:
    """Return what :func:`~skdmi.linalg.fixed.fixed_inverse` finds, and of what it leaves what LAPACK and steps find.

    The host waits for the device once, to know what is left.

    >>> on_device(torch.tensor([[[2.0]], [[0.0]]])).has(CERTIFIED)
    tensor([ True, False])
    """
    found = fixed_inverse(A)
    n_steps = torch.zeros(len(A), dtype=torch.int64, device=A.device)
    norm = torch.full_like(found.residual_norm, torch.nan)
    solution = Solution(found.inverse, found.status, found.error_bound, norm, n_steps + EXACT, n_steps)
    left = solution.has(OUTSIDE)
    return solution.replaced(left, from_lapack(A[left], tol=tol, max_steps=max_steps)) if left.any() else solution


def from_network(A: Tensor, start: Tensor, *, tol: float = 0.0, max_steps: int = 50) -> Solution:
    """Refine and certify the answers of a network: in lanes, where those are near and may be refined to the floor.

    >>> A = torch.tensor([[[2.0]]], dtype=torch.float64)
    >>> from_network(A, 0.49 * torch.ones_like(A)).inverse
    tensor([[[0.5000]]], dtype=torch.float64)
    """
    if tol > 0 or max_steps < lanes.MAX_STEPS or not (is_for_routes(A) and lanes.is_ready(A.shape[-1], len(A))):
        return Solution.refined(A, start, NETWORK, tol=tol, max_steps=max_steps)
    stack, begun = A.contiguous().numpy(), start.double().contiguous().numpy()
    X = np.empty_like(stack)
    figures = lanes.invert(stack, X, start=begun, details=True)
    solution = Solution.directly(X, figures)
    solution = solution._replace(source=torch.where(solution.n_steps > 0, REFINED, NETWORK))
    left = torch.from_numpy(~is_sound(figures.status))
    if not left.any():
        return solution
    return solution.replaced(left, Solution.refined(A[left], start[left], NETWORK, max_steps=max_steps))


def invert_by_reference(A: np.ndarray, *, tol: float = 0.0, corrects: bool = True) -> tuple[np.ndarray, Figures]:
    """Return what :func:`from_lapack` finds of a finite stack, as the routes say it.

    >>> invert_by_reference(np.array([[[4.0]]]))[0]
    array([[[0.25]]])
    """
    stack = torch.from_numpy(A)
    with torch.no_grad():
        found = from_lapack(stack, tol=tol, max_steps=50 if corrects else 0)
        norm = frobenius_residuals(stack, found.inverse)
    figures = [field.numpy() for field in (found.status | LOOSE, found.error_bound, norm, found.n_steps)]
    return found.inverse.numpy(), Figures(*figures)


def rounding_goal(A: Tensor, X: Tensor, *, left: bool = False) -> Tensor:
    r"""Return :math:`10 u \| |A|\,|X| \|_F`, or with ``left`` :math:`10 u \| |X|\,|A| \|_F`, u that of A's dtype.

    The very norm that ``tol="auto"`` promises. Refinement stops at half of
    :func:`skdmi.linalg.residuals.rounding_floor`, which needs no product and is at most a fifth of it.
    """
    first, second = (X, A) if left else (A, X)
    return 5 * torch.finfo(A.dtype).eps * wide_frobenius_norm(double(first.abs()) @ double(second.abs()))
