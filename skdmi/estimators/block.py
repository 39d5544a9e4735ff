"""``BlockInverter``: large matrices through an inverter of small ones."""

from collections.abc import Callable
from functools import partial
from numbers import Integral
from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from sklearn.utils._param_validation import HasMethods, Interval
from torch import Tensor

from skdmi.arrays import to_numpy
from skdmi.dtypes import float_dtype, is_complex
from skdmi.embedding import embed
from skdmi.estimators.base import BaseInverter
from skdmi.estimators.dask_blocks import invert_chunked
from skdmi.estimators.exact import ExactInverter
from skdmi.estimators.meta import MetaInverter, clone_and_fit, invert_with, named_size, requires_fit
from skdmi.estimators.policies import pinv_advice, warn_singular
from skdmi.estimators.solution import REFINED, Outcome, Solution, in_parts
from skdmi.figures import CERTIFIED
from skdmi.iteration.refinement import refine
from skdmi.kinds import is_dask
from skdmi.linalg.blocks import polish_ as polish_quickly_
from skdmi.linalg.recursion import block_inverse, collect_leaves, polish_
from skdmi.linalg.residuals import missing

DEFAULT_BLOCK_SIZE = 32
MAX_STEPS = 3
"""Of refinement; what the recursion leaves further off is better begun anew by LAPACK."""


class BlockInverter(MetaInverter):
    r"""Invert N x N matrices, any N, with an inverter of m x m ones, by recursive Schur complements.

    .. math:: \begin{pmatrix} A & B \\ C & D \end{pmatrix}^{-1} =
       \begin{pmatrix} E + F T G & -F T \\ -T G & T \end{pmatrix}, \quad
       E = A^{-1}, \; F = E B, \; G = C E, \; T = (D - C F)^{-1}

    halves the problem until m x m pivots are left, the leaves, which the inner inverter inverts, and which are then
    refined to the rounding floor. Each matrix is

    1. equilibrated by powers of two, which are undone exactly, its rows (those of the transpose, if it is large and on
       a CPU) ordered as an LU factorisation in float32 would, and filled up to whole blocks with a scaled identity;
    2. inverted by blocks;
    3. refined (:func:`skdmi.iteration.refine`) and certified (:func:`skdmi.linalg.certify`); a large one on a CPU,
       where that is enough, by a step for each of its two residuals (:func:`skdmi.linalg.landing.land`).

    What is not certified, or not accurate, or has a residual that rounding does not explain, goes to LAPACK as a whole,
    and is NaN where that finds no certified inverse either: a singular matrix never has a finite inverse. All this is
    float64 whatever the dtype of the matrices, and rounded once at the end; a matrix that has no inverse spoils no
    other.

    Parameters
    ----------
    inverter : estimator, default=None
        The inner inverter, cloned and fitted; in ``FrozenEstimator`` it stays as it is. None is
        :class:`~skdmi.ExactInverter`.
    block_size : int, default=None
        The size m of the leaves. None takes the ``matrix_size_`` of a frozen inverter, else the ``matrix_size`` of the
        innermost one (the largest of several), else 32 where that takes any size.
    verbose : int, default=0
        1 shows on a terminal, of ``transform``, the rate and the time that remains (:mod:`skdmi.progress`).

    Attributes
    ----------
    inverter_ : estimator
        The fitted inner inverter.
    block_size_ : int
        m.
    matrix_size_, n_features_in_ : int
        N and ``N * N``, when fitted with X: ``transform`` then keeps to it.
    feature_names_in_ : ndarray of shape (m * m,)
        Column names, when ``fit`` saw a DataFrame.

    See Also
    --------
    skdmi.linalg.block_inverse : The function behind it.
    RefinedInverter : Around a BlockInverter, reports error bounds, and lets tolerance and policies be chosen.

    Notes
    -----
    Where the matrices of a dask array span several chunks, as one larger than memory does, ``X[None]``, ``transform``
    makes the recursion a graph over the chunks (:func:`skdmi.estimators.dask_blocks.invert_chunked`), with
    a row order within chunks only, and without the last resort to LAPACK.

    It needs no ``fit`` where the inner inverter needs none.

    References
    ----------
    Higham, "Accuracy and Stability of Numerical Algorithms", 2nd ed., SIAM 2002, chapters 13 and 14.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmi import BlockInverter, ExactInverter
    >>> A = np.random.default_rng(0).uniform(-1, 1, (4, 50, 50))
    >>> X = BlockInverter(ExactInverter(), block_size=3).transform(A)
    >>> bool(abs(A @ X - np.eye(50)).max() < 1e-11)
    True
    """

    _parameter_constraints: dict[str, Any] = {
        "inverter": [HasMethods(["fit", "transform"]), None],
        "block_size": [Interval(Integral, 1, None, closed="left"), None],
        "verbose": ["verbose"],
    }

    inverter_: Any
    block_size_: int

    def __init__(self, inverter: Any = None, *, block_size: int | None = None, verbose: int = 0) -> None:
        self.inverter = inverter
        self.block_size = block_size
        self.verbose = verbose

    def _fit_wrapped(self, stack: np.ndarray | None, y: Any) -> None:
        """Fit the inner inverter on the leaves of X, the m x m pivots that the recursion meets; at most 10,000."""
        del y  # The leaves have none.
        inner = self._given()[0]
        m = self._resolve_block_size()
        leaves = None
        if stack is not None and requires_fit(inner):
            leaves = to_numpy(collect_leaves(torch.from_numpy(embed(stack) if is_complex(stack) else stack), m))
        identity = torch.eye(m, device="cpu", dtype=torch.float64)
        self.inverter_ = clone_and_fit(inner, leaves)
        if MetaInverter._embeds(self, identity):
            raise ValueError(
                "The inner inverter is trained on complex matrices, and the leaves of a BlockInverter are real, those "
                "of embeddings of complex ones too. Expected one for real matrices; or RefinedInverter around it."
            )
        invert_with(self.inverter_, identity[None])  # refuses m here, or takes it
        self.block_size_ = m

    def _invert(self, A: Tensor) -> Outcome:
        solution = Solution.joined(
            [Solution.refined(part, self._guess(part), REFINED, max_steps=MAX_STEPS) for part in in_parts(A)]
        )
        wanting = solution.wanting()
        if wanting.any():
            solution = solution.with_exact(A, wanting)
        return solution.outcome.without(~solution.has(CERTIFIED))

    def _guess(self, A: Tensor) -> Tensor:
        """Return unrefined inverses, float64; a caller that refines need no more."""
        ready = self._ready()
        return block_inverse(A, ready.block_size_, partial(invert_leaf, ready.inverter_))

    def _settle(self, A: Tensor, outcome: Outcome, start: int) -> Tensor:
        outcome.warn_if_inaccurate(start)
        absent = missing(outcome.inverse)
        warn_singular(absent, start, pinv_advice(self) + outcome.hint(absent))
        return outcome.inverse

    def _apply(
        self, X: Any, function: Callable[[Tensor, int], Tensor], *, keeps_shape: bool, embeds: bool = True
    ) -> Any:
        if not (keeps_shape and is_dask(X) and X.ndim == 3 and X.numblocks[1:] != (1, 1)):
            return super()._apply(X, function, keeps_shape=keeps_shape, embeds=embeds)
        if is_complex(X):
            raise ValueError(
                "Complex matrices that span several chunks of a dask array are not supported. Try X.rechunk({1: -1, "
                "2: -1}), chunks of whole matrices."
            )
        _, X = self._admit(X, keeps_shape=True)
        ready = self._ready()
        return invert_chunked(
            X, lambda block: ready.invert(torch.tensor(block, device="cpu")).numpy(), dtype=float_dtype(X.dtype)
        )

    def _takes_complex(self, *, anew: bool = False) -> bool:
        return True

    def _embeds(self, A: Any) -> bool:
        return is_complex(A)

    def _given(self) -> list[Any]:
        return super()._given() or [ExactInverter()]

    def _inner_size(self) -> int | None:
        return BaseInverter._size(self)

    def _named_size(self) -> int | None:
        return None

    def _ready(self) -> "BlockInverter":
        """Return self, or where no fit was needed and none was made, a fitted copy; always the same one."""
        return self if hasattr(self, "inverter_") else clone(self).fit()

    def _resolve_block_size(self) -> int:
        (inner,) = self._given()
        m = named_size(inner) if self.block_size is None else self.block_size
        if m is None and not requires_fit(inner):
            m = DEFAULT_BLOCK_SIZE
        if m is None:
            raise ValueError(
                f"The size of the blocks is not known: block_size=None, and matrix_size of the inner inverter "
                f"{inner!r} names none. Try block_size=3, or matrix_size=3 for the inner inverter."
            )
        return int(m)


def invert_leaf(inverter: Any, A: Tensor) -> Tensor:
    """Invert pivots, and refine to the floor what comes: quickly where it is good, thoroughly where it is not.

    Pivots after one that has no inverse are not finite, and have none either.
    """
    absent = missing(A)
    if absent.any():
        X = torch.full_like(A, torch.nan)
        if not absent.all():
            X[~absent] = invert_leaf(inverter, A[~absent])
        return X
    X = invert_with(inverter, A)
    if A.device.type == "cpu" and polish_quickly_(A.numpy(), X.numpy()):
        return X
    poor = polish_(A, X) >= 0.5
    if poor.any():
        X[poor] = refine(A[poor], X[poor]).inverse
    return X
