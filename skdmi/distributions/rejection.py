"""Keep drawing until enough matrices pass the filters on determinant and condition number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from skdmi.distributions.base import is_real, require

MAX_ENTRIES_PER_CHUNK = 2**22
GIVE_UP_AFTER = 100_000  # matrices drawn
GIVE_UP_BELOW = 1e-4  # share of them accepted


def check_filters(distribution: Any) -> None:
    """Check ``min_abs_det`` and ``max_cond``, the two parameters of every filtered distribution."""
    min_abs_det, max_cond = distribution.min_abs_det, distribution.max_cond
    require(distribution, "min_abs_det", is_real(min_abs_det) and min_abs_det >= 0, "a finite number of at least 0")
    holds = max_cond is None or (is_real(max_cond) and max_cond >= 1)
    require(distribution, "max_cond", holds, "None or a finite number of at least 1")


def draw_filtered(
    propose: Callable[[int], torch.Tensor],
    n_matrices: int,
    matrix_size: int,
    *,
    min_abs_det: float,
    max_cond: float | None,
) -> torch.Tensor:
    """Return ``n_matrices`` of the proposed matrices, all with ``|det| > min_abs_det`` and ``cond <= max_cond``.

    ``propose(n)`` draws n matrices. It is called for large chunks, each as large as the acceptance so far asks for.
    Raises ValueError when 100,000 matrices have been drawn of which fewer than one in 10,000 passed.
    """
    filters: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {}
    if min_abs_det > 0:
        filters[f"min_abs_det={min_abs_det:g}"] = lambda stack: abs_determinants(stack) > min_abs_det
    if max_cond is not None:
        filters[f"max_cond={max_cond:g}"] = lambda stack: condition_numbers(stack) <= max_cond
    if not filters:
        return propose(n_matrices)

    kept: list[torch.Tensor] = []
    n_drawn, n_kept = 0, 0
    n_passed = dict.fromkeys(filters, 0)
    largest_chunk = max(MAX_ENTRIES_PER_CHUNK // matrix_size**2, 1)
    while n_kept < n_matrices:
        if n_drawn >= GIVE_UP_AFTER and n_kept < GIVE_UP_BELOW * n_drawn:
            raise ValueError(_too_strict(matrix_size, n_drawn, n_passed))
        acceptance = (n_kept + 1) / (n_drawn + 1)
        n_proposed = min(int(1.02 * (n_matrices - n_kept) / acceptance) + 16, largest_chunk)
        stack = propose(n_proposed)
        for name, passes in filters.items():  # one after the other: singular values only of what is left
            stack = stack[passes(stack)]
            n_passed[name] += len(stack)
        kept.append(stack)
        n_drawn, n_kept = n_drawn + n_proposed, n_kept + len(stack)
    return torch.cat(kept)[:n_matrices]


def abs_determinants(stack: torch.Tensor) -> torch.Tensor:
    """Return ``|det|`` of every matrix; in closed form up to 3 x 3, where a factorisation costs several times more."""
    stack = _exact(stack)
    if stack.shape[-1] == 1:
        det = stack[:, 0, 0]
    elif stack.shape[-1] == 2:
        det = stack[:, 0, 0] * stack[:, 1, 1] - stack[:, 0, 1] * stack[:, 1, 0]
    elif stack.shape[-1] == 3:
        first, second, third = stack.unbind(1)
        det = torch.linalg.vecdot(torch.linalg.cross(first, second), third)
    else:
        det = torch.linalg.det(stack)
    return det.abs()


def condition_numbers(stack: torch.Tensor) -> torch.Tensor:
    """Return the 2-norm condition number of every matrix; infinite or NaN where it is singular."""
    singular_values = torch.linalg.svdvals(_exact(stack))
    return singular_values[:, 0] / singular_values[:, -1]


def _exact(stack: torch.Tensor) -> torch.Tensor:
    """In float64, so that no matrix slips through a bound by rounding; Apple's MPS has no float64."""
    return stack if stack.device.type == "mps" else stack.double()


def _too_strict(matrix_size: int, n_drawn: int, n_passed: dict[str, int]) -> str:
    passed = ", then ".join(f"{n:,} passed {name}" for name, n in n_passed.items())
    share = list(n_passed.values())[-1] / n_drawn
    return (
        f"the filters are too strict: of {n_drawn:,} matrices drawn at matrix_size={matrix_size}, {passed} "
        f"(acceptance {share:.2g}, given up below {GIVE_UP_BELOW:g}). Relax the filter that most fail, widen the range "
        "of the entries, or draw what is wanted directly: Spectrum(max_cond=...)"
    )
