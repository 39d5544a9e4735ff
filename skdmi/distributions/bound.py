"""What a distribution that makes its matrices from X has in common with others of its kind, before and after `bind`."""

from abc import abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skdmi.distributions.base import Distribution, Sampler, check_stack


class MadeFromData:
    """A mixin, before `Distribution` among the bases: the distribution holds no data, and draws only once it is bound.

    A subclass writes ``bind(X)``, which returns a `BoundSampler`.
    """

    uses_data = True
    """The matrices are made from the X that `bind` is given."""

    def _draw(self, n_matrices: int, matrix_size: int, **where: Any) -> Tensor:
        raise ValueError(f"{self!r} makes matrices from data and has none. Give X to fit, or call bind(X) first.")


class BoundSampler(Sampler):
    """A distribution with its data; X is kept in float64 on the CPU and moved once to each device and dtype asked for.

    A subclass writes ``_vary(n_matrices, *tensors, **where)``, which draws a stack from what `_tensors` returns.

    Parameters
    ----------
    distribution : Distribution
        What to do with the members of X.
    X : ndarray of shape (n_matrices, m, m)
        The data.
    """

    uses_data = True
    """The matrices are made from the data that is bound."""

    def __init__(self, distribution: Distribution, X: np.ndarray) -> None:
        self.distribution: Any = distribution
        self.members: Tensor = torch.from_numpy(check_stack(X).copy())
        self._moved: dict[tuple[torch.device, torch.dtype], tuple[Tensor, ...]] = {}

    def __repr__(self) -> str:
        n_matrices, m, _ = self.members.shape
        return f"<{self.distribution!r} bound to {n_matrices} {m} x {m} matrices>"

    def __getstate__(self) -> dict[str, Any]:
        # Tensors on a device stay out of pickles.
        return self.__dict__ | {"_moved": {}}

    def _draw(self, n_matrices: int, matrix_size: int, **where: Any) -> Tensor:
        if matrix_size != (m := self.members.shape[-1]):
            raise ValueError(f"Got matrix_size={matrix_size}; expected {m}, the size of the matrices of X.")
        key = torch.device(where["device"]), where["dtype"]
        if key not in self._moved:
            self._moved[key] = tuple(tensor.to(key[0]) for tensor in self._tensors(key[1]))
        return self._vary(n_matrices, *self._moved[key], **where)

    def _tensors(self, dtype: torch.dtype) -> tuple[Tensor, ...]:
        """Return the members, and what else `_vary` needs, in a dtype."""
        return (self._members_as(dtype),)

    def _members_as(self, dtype: torch.dtype) -> Tensor:
        members = self.members.to(dtype)
        if not members.isfinite().all():
            raise ValueError(f"X has entries that {dtype} cannot hold (NaN, infinite or too large). Scale it first.")
        return members

    @abstractmethod
    def _vary(self, n_matrices: int, *tensors: Tensor, **where: Any) -> Tensor: ...
