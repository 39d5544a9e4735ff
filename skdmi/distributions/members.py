"""A data set and the pairs between its members: more matrices of the same family, and no others."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.linalg import cholesky_ex, matrix_norm

from skdmi.chunks import chunk_size
from skdmi.distributions.base import Distribution, is_number, require
from skdmi.distributions.bound import BoundSampler, MadeFromData

POOL_SIZE = 4096
"""Pairs that are checked once and drawn from ever after."""
CHECK_WORK = 2**31
"""Bound of pairs times m^3, a few seconds of singular values: it makes the pool smaller above m = 80."""
TINY = torch.finfo(torch.float64).tiny


@dataclass(frozen=True, repr=False)
class Members(MadeFromData, Distribution):
    r"""Members of a data set, and convex pairs of them: what is made from X stays in the family of X.

    .. math:: A = s X_i + (1 - s) X_j, \qquad
              \frac{s}{1 - s} = \frac{t}{1 - t} \cdot \frac{\|X_j\|_F}{\|X_i\|_F}

    with i and j uniform and t uniform between 0 and 1, the share that :math:`X_i` has in A when both are brought to
    the same Frobenius norm; of members of equal norm :math:`s = t`. Every A lies in the convex hull of X. Whatever
    convex combinations keep is kept: a pattern of zeros, equal entries, symmetry (in bits), a unit diagonal, positive
    definiteness, sums of rows. Nothing is permuted, signed, transposed or jittered.

    Between well-conditioned matrices there may be singular ones, so **no pair is worse conditioned than the worst
    conditioned member**, in the 2-norm: a pair for which that cannot be vouched gives way to its plain member. For
    positive definite members the bound always holds, since the largest eigenvalue is a convex function of A and the
    smallest a concave one. For others a pool of up to 4,096 pairs is checked when X is bound: from the singular values
    at one random :math:`t_0`, with B the members of norm 1,

    .. math:: |t - t_0| \le \frac{\sigma_\min - \sigma_\max / \kappa}{\|B_i - B_j\|_F \, (1 + 1 / \kappa)}

    keeps the condition number within :math:`\kappa`, that of the worst member, as no singular value moves farther than
    the matrix does (Weyl 1912). In this interval t is then drawn.

    Parameters
    ----------
    pairs : float, default=0.75
        The share of matrices, from 0 to 1, that are pairs; the others are members as they are. Of data whose pairs are
        mostly worse conditioned than its members, as orthogonal matrices, fewer are.

    Raises
    ------
    ValueError
        If ``pairs`` is not allowed; on drawing, if no data is bound.

    See Also
    --------
    Resampled : Goes beyond the family, by permutations, signs, scales and noise.

    Notes
    -----
    The distribution itself holds no data: ``bind(X)``, which ``fit(X)`` calls, returns the sampler that does. The
    pool depends on X alone. Of more than 4,096 members, 4,096 stand for all when the worst is looked for, which makes
    the bound stricter. Positive definiteness of the members is decided by Cholesky factors.

    References
    ----------
    H. Weyl, "Das asymptotische Verteilungsgesetz der Eigenwerte linearer partieller Differentialgleichungen",
    Math. Ann. 71, 1912 (perturbation of eigenvalues).

    H. Zhang, M. Cisse, Y. N. Dauphin and D. Lopez-Paz, "mixup: Beyond empirical risk minimization", ICLR 2018 (convex
    pairs as training data).

    Examples
    --------
    >>> import numpy as np
    >>> from skdmi.distributions import Members
    >>> X = np.array([np.diag([1.0, 2.0]), np.diag([2.0, 1.0])])
    >>> stack = Members(pairs=1).bind(X).sample(100, 2, random_state=0)
    >>> print(np.unique(stack.trace(axis1=1, axis2=2).round(12)), (stack[:, 0, 1] == 0).all())
    [3.] True
    """

    pairs: float = 0.75

    def _check(self) -> None:
        holds = is_number(self.pairs) and 0 <= self.pairs <= 1
        require(self, "pairs", holds, "a number from 0 to 1")

    def bind(self, X: np.ndarray) -> "BoundMembers":
        """Return the sampler that draws members of X and pairs of them.

        Parameters
        ----------
        X : ndarray of shape (n_matrices, m, m)
            The data; a copy is kept by the sampler.

        Returns
        -------
        BoundMembers
            Draws matrices of the size of X.

        Raises
        ------
        ValueError
            If X is not a stack, or not finite.

        Examples
        --------
        >>> from skdmi.distributions import Members
        >>> Members().bind(np.array([np.eye(2), 2 * np.eye(2)])).sample(5, 2, random_state=0).shape
        (5, 2, 2)
        """
        return BoundMembers(self, X)


class Pool(NamedTuple):
    """Pairs that may be drawn, ``(n_pairs,)`` each; where a pair was dropped, a plain member stands for it."""

    first: Tensor
    second: Tensor
    low: Tensor
    high: Tensor
    """Ends of the interval of t, the share of the first; both 1 for a plain member."""


class BoundMembers(BoundSampler):
    """A `Members` with its data and its pool of pairs, see `BoundSampler`."""

    def __init__(self, distribution: Members, X: np.ndarray) -> None:
        super().__init__(distribution, X)
        self._norms = _frobenius_norms(self._members_as(torch.float64))
        self._pool = _make_pool(self.members / self._norms[:, None, None])

    def _tensors(self, dtype: torch.dtype) -> tuple[Tensor, ...]:
        pool, range_ = self._pool, torch.finfo(dtype)
        ratio = (self._norms[pool.first] / self._norms[pool.second]).clamp(range_.tiny, range_.max)
        return (
            self._members_as(dtype),
            pool.first,
            pool.second,
            pool.low.to(dtype),
            pool.high.to(dtype),
            ratio.to(dtype),
        )

    def _vary(self, n_matrices: int, *tensors: Tensor, **where: Any) -> Tensor:
        members, first, second, low, high, ratio = tensors
        anywhere = {"generator": where["generator"], "device": where["device"]}
        plain = torch.rand(n_matrices, **where) >= self.distribution.pairs
        member = torch.randint(len(members), (n_matrices,), **anywhere)
        pair = torch.randint(len(first), (n_matrices,), **anywhere)
        t = torch.lerp(low[pair], high[pair], torch.rand(n_matrices, **where)).masked_fill_(plain, 1)
        rest = (1 - t) * ratio[pair]
        own, share = ((part / (t + rest))[:, None, None] for part in (t, rest))

        # Products and sum are rounded apart, and so alike in every entry: equal entries stay equal.
        stack = members[torch.where(plain, member, first[pair])].mul_(own)
        return stack.add_(members[torch.where(plain, member, second[pair])].mul_(share))


def _make_pool(units: Tensor) -> Pool:
    """Choose pairs of members, given with norm 1, and the t for which none is worse than the worst member."""
    n_members, m, _ = units.shape
    anywhere: dict[str, Any] = {"generator": torch.Generator("cpu").manual_seed(0), "device": "cpu"}  # X alone decides
    size = max(1, min(POOL_SIZE, CHECK_WORK // m**3))
    first = torch.randint(n_members, (size,), **anywhere)
    second = (first + torch.randint(1, max(n_members, 2), (size,), **anywhere)) % n_members
    centre = torch.rand(size, **anywhere, dtype=torch.float64)
    if _are_definite(units):
        radius = torch.ones_like(centre)
    else:
        some = torch.randperm(n_members, **anywhere)[:size]
        largest, smallest = torch.cat([_extreme_singular_values(units[k]) for k in some.split(chunk_size(m))], -1)
        worst = (smallest / largest.clamp_min(TINY)).min()
        chunks = zip(*(part.split(chunk_size(m)) for part in (first, second, centre)), strict=True)
        radius = torch.cat([_radius(units[i], units[j], t[:, None, None], worst) for i, j, t in chunks])
    dropped = (radius <= 0) | (first == second)
    return Pool(
        first,
        torch.where(dropped, first, second),
        (centre - radius).clamp_min(0).masked_fill(dropped, 1),
        (centre + radius).clamp_max(1).masked_fill(dropped, 1),
    )


def _radius(A: Tensor, B: Tensor, t: Tensor, worst: Tensor) -> Tensor:
    """Return how far t may move until ``t A + (1 - t) B`` may have a reciprocal condition number below ``worst``."""
    largest, smallest = _extreme_singular_values(t * A + (1 - t) * B)
    return (smallest - worst * largest) / (matrix_norm(A - B) * (1 + worst)).clamp_min(TINY)


def _extreme_singular_values(A: Tensor) -> Tensor:
    """Return the largest and the smallest of every matrix, ``(2, n_matrices)``."""
    values = torch.linalg.svdvals(A)
    return torch.stack([values[:, 0], values[:, -1]])


def _are_definite(A: Tensor) -> bool:
    """Whether all matrices are symmetric, in bits, and positive definite."""
    chunks = A.split(chunk_size(A.shape[-1]))
    return all(torch.equal(C, C.mT) for C in chunks) and not any(cholesky_ex(C).info.any() for C in chunks)


def _frobenius_norms(A: Tensor) -> Tensor:
    """Return the norms ``(n_matrices,)``, no square of which overflows; 1 in place of 0."""
    largest = A.abs().amax(dim=(1, 2)).clamp_min(TINY)
    norms = matrix_norm(A / largest[:, None, None]) * largest
    return torch.where(norms > 0, norms, 1)
