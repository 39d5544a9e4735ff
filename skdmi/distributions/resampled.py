"""Endless variations on a data set, by maps under which the inverse is known exactly."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skdmi.distributions.base import Distribution, require, require_number
from skdmi.distributions.bound import BoundSampler, MadeFromData
from skdmi.distributions.pieces import log_uniform, random_permutations, random_signs

AUGMENTATIONS = ("permute", "sign", "scale", "transpose")

# A stack counts as symmetric if it is so up to the rounding of float32, in which it may have been computed.
SYMMETRY_TOLERANCE = 2.0**-20


@dataclass(frozen=True, repr=False)
class Resampled(MadeFromData, Distribution):
    r"""Members of a data set, picked with replacement, under random maps, plus a small jitter.

    .. math:: A = s \, \left( D_1 P_1 \, X_k \, P_2 D_2 + \mathrm{jitter} \cdot \mathrm{rms}(X_k) \, E \right)
              \quad\text{or its transpose}

    with the member k uniform and E of independent standard normal entries. The maps, each used if named in ``augment``:

    =============  ==================================================================================
    ``permute``    :math:`P_1, P_2` are uniform random permutations
    ``sign``       :math:`D_1, D_2` are diagonal with independent random signs
    ``scale``      :math:`s` is log-uniform on [1/2, 2]
    ``transpose``  every second matrix, at random, is transposed
    =============  ==================================================================================

    If every member is symmetric (exactly, or up to float32 rounding), then :math:`P_2 = P_1^T`, :math:`D_2 = D_1` and
    E is symmetric, so that symmetry is kept, and so are the eigenvalues before jitter and scale.

    Parameters
    ----------
    augment : sequence of str, default=("permute", "sign", "scale", "transpose")
        The maps to use.
    jitter : float, default=0.01
        Standard deviation of the jitter, relative to the root mean square entry of each matrix.

    Raises
    ------
    ValueError
        If a parameter is not allowed; on drawing, if no data is bound.

    Notes
    -----
    The distribution itself holds no data: ``bind(X)``, which ``fit(X)`` calls, returns the sampler that does. Permuted,
    signed and transposed entries keep their exact sizes. ``Resampled(augment=(), jitter=0)`` replays the data set.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmi.distributions import Resampled
    >>> X = np.array([[[1.0, 2.0], [3.0, 5.0]]])
    >>> signed = Resampled(augment=("sign",), jitter=0).bind(X)
    >>> print(np.abs(signed.sample(2, 2, random_state=0)))
    [[[1. 2.]
      [3. 5.]]
    <BLANKLINE>
     [[1. 2.]
      [3. 5.]]]
    """

    augment: tuple[str, ...] = AUGMENTATIONS
    jitter: float = 0.01

    def _check(self) -> None:
        holds = isinstance(self.augment, tuple) and all(name in AUGMENTATIONS for name in self.augment)
        require(self, "augment", holds, f"a sequence of names among {AUGMENTATIONS}")
        require_number(self, "jitter", at_least=0)

    def bind(self, X: np.ndarray) -> "BoundResampled":
        """Return the sampler that draws variations on X.

        Parameters
        ----------
        X : ndarray of shape (n_matrices, m, m)
            The data; a copy is kept by the sampler.

        Returns
        -------
        BoundResampled
            Draws matrices of the size of X.

        Raises
        ------
        ValueError
            If X is not a stack.

        Examples
        --------
        >>> from skdmi.distributions import Resampled
        >>> Resampled().bind(np.array([np.eye(2), 2 * np.eye(2)])).sample(5, 2, random_state=0).shape
        (5, 2, 2)
        """
        return BoundResampled(self, X)


class BoundResampled(BoundSampler):
    """A `Resampled` with its data, see `BoundSampler`."""

    def __init__(self, distribution: Resampled, X: np.ndarray) -> None:
        super().__init__(distribution, X)
        sizes = self.members.abs().amax(dim=(1, 2), keepdim=True)
        self.symmetric: bool = bool(((self.members - self.members.mT).abs() <= SYMMETRY_TOLERANCE * sizes).all())

    def _tensors(self, dtype: torch.dtype) -> tuple[Tensor, ...]:
        rms = self.members.square().mean(dim=(1, 2), keepdim=True).sqrt_().to(dtype)
        return self._members_as(dtype), rms

    def _vary(self, n_matrices: int, *tensors: Tensor, **where: Any) -> Tensor:
        members, rms = tensors
        n_members, m, _ = members.shape
        augment, jitter = self.distribution.augment, self.distribution.jitter
        pick = torch.randint(n_members, (n_matrices,), generator=where["generator"], device=where["device"])

        if "permute" in augment:
            rows = random_permutations(n_matrices, m, **where)
            columns = rows if self.symmetric else random_permutations(n_matrices, m, **where)
            stack = members[pick[:, None, None], rows[:, :, None], columns[:, None, :]]
        else:
            stack = members[pick]
        if "sign" in augment:
            left = random_signs(n_matrices, m, 1, **where)
            stack *= left
            stack *= left.mT if self.symmetric else random_signs(n_matrices, 1, m, **where)
        if jitter > 0:
            noise = torch.randn(n_matrices, m, m, **where)
            noise = noise.triu() + noise.triu(1).mT if self.symmetric else noise
            stack += noise.mul_(jitter * rms[pick])
        if "scale" in augment:
            stack *= log_uniform(0.5, 2, n_matrices, 1, 1, **where)
        if "transpose" in augment and not self.symmetric:
            stack = torch.where(random_signs(n_matrices, 1, 1, **where) > 0, stack, stack.mT)
        return stack
