"""Several distributions as one."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from skdmi.distributions.base import Distribution, is_number, require


@dataclass(frozen=True, repr=False)
class Mixture(Distribution):
    r"""Each matrix comes from one of several distributions, chosen independently with the given weights.

    .. math:: A \sim \sum_k \frac{w_k}{\sum_l w_l} P_k

    Parameters
    ----------
    components : sequence of Distribution or callable
        The :math:`P_k`. A callable has the signature of ``Distribution.__call__``; a mixture of callables draws, but
        cannot be written as JSON.
    weights : sequence of float or None, default=None
        The :math:`w_k`, at least 0 and not all 0; None is equal weights.

    Raises
    ------
    ValueError
        If a parameter is not allowed.

    Examples
    --------
    >>> from skdmi.distributions import Graded, Mixture, Uniform
    >>> mixture = Mixture([Uniform(), Graded(max_grade=1e4)], weights=[3, 1])
    >>> mixture
    Mixture(components=(Uniform(), Graded(max_grade=10000.0)), weights=(3, 1))
    >>> mixture.sample(100, 3, random_state=0).shape
    (100, 3, 3)
    """

    components: tuple[Callable[..., Tensor], ...]
    weights: tuple[float, ...] | None = None

    def _check(self) -> None:
        components, weights = self.components, self.weights
        # A class is callable too, but makes a distribution, not a stack.
        draws = isinstance(components, tuple) and [callable(c) and not isinstance(c, type) for c in components]
        holds = bool(draws) and all(draws)
        require(self, "components", holds, "a sequence of at least one distribution or callable (not a class)")
        holds = weights is None or (
            isinstance(weights, tuple)
            and len(weights) == len(components)
            and all(is_number(weight) and weight >= 0 for weight in weights)
            and sum(weights) > 0
        )
        require(self, "weights", holds, f"None or {len(components)} finite numbers of at least 0, not all 0")

    @property
    def uses_data(self) -> bool:
        """Whether a component makes its matrices from the X that `bind` is given.

        Examples
        --------
        >>> from skdmi.distributions import Members, Mixture, Uniform
        >>> Mixture((Uniform(), Members())).uses_data, Mixture((Uniform(),)).uses_data
        (True, False)
        """
        return any(getattr(component, "uses_data", False) for component in self.components)

    def bind(self, X: np.ndarray) -> Self:
        """Bind every component that is a distribution to X.

        Parameters
        ----------
        X : ndarray of shape (n_matrices, m, m)
            The data.

        Returns
        -------
        Mixture
            Of the bound components, in the same proportions.

        Examples
        --------
        >>> from skdmi.distributions import Members, Mixture, Uniform
        >>> Mixture((Uniform(), Members())).bind(np.eye(2)[None]).sample(5, 2, random_state=0).shape
        (5, 2, 2)
        """
        return replace(self, components=tuple(c.bind(X) if isinstance(c, Distribution) else c for c in self.components))

    def _draw(self, n_matrices: int, matrix_size: int, **where: Any) -> Tensor:
        weights = self.weights or (1,) * len(self.components)
        parts = [weight / sum(weights) for weight in weights]
        shares = torch.tensor(parts, device=where["device"], dtype=torch.float32)
        choice = torch.multinomial(shares, n_matrices, replacement=True, generator=where["generator"])
        stack = torch.empty(n_matrices, matrix_size, matrix_size, device=where["device"], dtype=where["dtype"])
        for k, component in enumerate(self.components):
            chosen = choice == k
            if n_chosen := int(chosen.sum()):
                stack[chosen] = component(n_chosen, matrix_size, **where)
        return stack
