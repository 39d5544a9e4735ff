"""Keep drawing until enough matrices pass the filters on determinant and condition number."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from skdmi.distributions.base import require_number

MAX_ENTRIES_PER_CHUNK = 2**22
GIVE_UP_AFTER = 100_000  # matrices drawn
GIVE_UP_BELOW = 1e-4  # share of them accepted


def check_filters(distribution: Any) -> None:
    """Check ``min_abs_det`` and ``max_cond``, the two parameters of every filtered distribution."""
    require_number(distribution, "min_abs_det", at_least=0)
    require_number(distribution, "max_cond", optional=True, at_least=1)


def draw_filtered(distribution: Any, propose: Callable[[int], Tensor], n_matrices: int, matrix_size: int) -> Tensor:
    """Return ``n_matrices`` of the proposed matrices, all that pass the two filters of a distribution.

    ``propose(n)`` draws n matrices. It is called for large chunks, each as large as the acceptance so far asks for.
    Raises ValueError when 100,000 matrices have been drawn of which fewer than one in 10,000 passed.
    """
    min_abs_det, max_cond = distribution.min_abs_det, distribution.max_cond
    if min_abs_det == 0 and max_cond is None:
        return propose(n_matrices)

    kept: list[Tensor] = []
    n_drawn, n_passed, n_kept = 0, 0, 0
    largest_chunk = max(MAX_ENTRIES_PER_CHUNK // matrix_size**2, 1)
    while n_kept < n_matrices:
        if n_drawn >= GIVE_UP_AFTER and n_kept < GIVE_UP_BELOW * n_drawn:
            raise ValueError(
                f"The filters are too strict: of {n_drawn:,} matrices drawn at matrix_size={matrix_size}, {n_passed:,} "
                f"passed min_abs_det={min_abs_det:g}, and {n_kept:,} of those max_cond={max_cond}; expected a share of "
                f"at least {GIVE_UP_BELOW:g}. Relax the filter that most fail, widen the range of the entries, or draw "
                f"what is wanted directly: Spectrum(max_cond=...)."
            )
        acceptance = (n_kept + 1) / (n_drawn + 1)
        n_proposed = min(int(1.02 * (n_matrices - n_kept) / acceptance) + 16, largest_chunk)
        stack = propose(n_proposed)
        if min_abs_det > 0:
            stack = stack[abs_determinants(_exact(stack)) > min_abs_det]
        n_passed += len(stack)
        if max_cond is not None:  # After the other: singular values only of what is left.
            stack = stack[torch.linalg.cond(_exact(stack)) <= max_cond]
        kept.append(stack)
        n_drawn, n_kept = n_drawn + n_proposed, n_kept + len(stack)
    return torch.cat(kept)[:n_matrices]


def abs_determinants(stack: Tensor) -> Tensor:
    """Return ``|det|`` of every matrix; in closed form up to 3 x 3, where a factorisation costs several times more."""
    if stack.shape[-1] == 2:
        det = stack[:, 0, 0] * stack[:, 1, 1] - stack[:, 0, 1] * stack[:, 1, 0]
    elif stack.shape[-1] == 3:
        first, second, third = stack.unbind(1)
        det = torch.linalg.vecdot(torch.linalg.cross(first, second), third)
    else:
        det = torch.linalg.det(stack)
    return det.abs()


def _exact(stack: Tensor) -> Tensor:
    """In float64, so that no matrix slips through a bound by rounding; Apple's MPS has no float64."""
    return stack if stack.device.type == "mps" else stack.double()
