"""A parameter that is one number for all matrices, or two between which it is drawn for each."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from skdmi.distributions.base import Distribution, is_number, require
from skdmi.distributions.pieces import log_uniform, uniform

Range = float | tuple[float, float]


def ends_of(value: Any) -> tuple[float, float] | None:
    """Return the ends of a range, twice the number if it is one; None if it is no range.

    >>> ends_of(3), ends_of((1, 2)), ends_of((2, 1))
    ((3, 3), (1, 2), None)
    """
    ends = value if isinstance(value, tuple) else (value, value)
    return ends if len(ends) == 2 and all(map(is_number, ends)) and ends[0] <= ends[1] else None


def require_range(
    distribution: Distribution, parameter: str, allowed: Callable[[float, float], bool], expected: str
) -> None:
    """Raise ValueError unless a parameter is a number or a pair ``(low, high)`` whose ends are allowed."""
    ends = ends_of(getattr(distribution, parameter))
    holds = ends is not None and allowed(*ends)
    require(distribution, parameter, holds, f"a number or a pair (low, high), {expected}")


def require_variance(distribution: Distribution, parameter: str) -> None:
    """Raise ValueError unless a parameter is a range of positive numbers, or 0."""
    require_range(distribution, parameter, lambda low, high: low > 0 or low == high == 0, "above 0; or 0")


def require_correlation(distribution: Distribution, parameter: str) -> None:
    """Raise ValueError unless a parameter is a range of correlations."""
    require_range(distribution, parameter, lambda low, high: 0 <= low <= high < 1, "at least 0 and below 1")


def uniform_in(value: Range, *shape: int, **where: Any) -> Tensor:
    """Return independent numbers, uniform in a range."""
    low, high = value if isinstance(value, tuple) else (value, value)
    return uniform(low, high, *shape, **where)


def log_uniform_in(value: Range, *shape: int, **where: Any) -> Tensor:
    """Return independent numbers in a range whose logarithm is uniform."""
    low, high = value if isinstance(value, tuple) else (value, value)
    if low == high:
        return torch.full(shape, low, device=where["device"], dtype=where["dtype"])
    return log_uniform(low, high, *shape, **where)
