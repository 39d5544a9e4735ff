"""``BlockInverter``: large matrices through an inverter of small ones."""

from collections.abc import Callable
from functools import partial
from numbers import Integral
from typing import Any, Self

import torch
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils._param_validation import HasMethods, Interval
from torch import Tensor

from skdmi.containers import check_dask, is_dask
from skdmi.estimators.base import BaseInverter, unchanged_on_error, warn_singular
from skdmi.estimators.dask_blocks import invert_chunked
from skdmi.estimators.exact import ExactInverter
from skdmi.estimators.meta import clone_and_fit, fitted_inner, invert_with, pinv_advice, requires_fit
from skdmi.estimators.solution import REFINED, Solution
from skdmi.iteration.refinement import refine
from skdmi.linalg.gradient import with_exact_gradient
from skdmi.linalg.recursion import block_inverse, collect_leaves, polish_

__all__ = ["BlockInverter"]

DEFAULT_BLOCK_SIZE = 32
MAX_STEPS = 3
"""Of refinement; what the recursion leaves further off is better begun anew by LAPACK."""


class BlockInverter(BaseInverter):
    r"""Invert N x N matrices, any N, with an inverter of m x m ones, by recursive Schur complements.

    .. math:: \begin{pmatrix} A & B \\ C & D \end{pmatrix}^{-1} =
       \begin{pmatrix} E + F T G & -F T \\ -T G & T \end{pmatrix}, \quad
       E = A^{-1}, \; F = E B, \; G = C E, \; T = (D - C F)^{-1}

    halves the problem until m x m pivots are left, the leaves, which the inner inverter inverts, and which are then
    refined to the rounding floor. Each matrix is

    1. equilibrated by powers of two, which are undone exactly, its rows ordered as an LU factorisation in float32
       would, and filled up to whole blocks with a scaled identity;
    2. inverted by blocks;
    3. refined (:func:`skdmi.iteration.refine`) and certified (:func:`skdmi.linalg.certify`).

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
        m. None takes the ``matrix_size_`` of a frozen inverter, else the ``matrix_size`` of the innermost one (the
        largest of several), else 32 where that takes any size.

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
    }

    def __init__(self, inverter: Any = None, *, block_size: int | None = None) -> None:
        self.inverter = inverter
        self.block_size = block_size

    def fit(self, X: Any = None, y: Any = None) -> Self:
        """Fit the inner inverter on the leaves of X, the m x m pivots that the recursion meets; at most 10,000.

        Parameters
        ----------
        X : array-like of shape (n_matrices, N, N) or (n_matrices, N * N), optional
            Fixes the size. Without it the inner inverter is fitted without X, too.
        y : ignored
            Present for scikit-learn; the leaves have none.

        Returns
        -------
        self : BlockInverter

        Raises
        ------
        ValueError
            If no m can be found, or the inner inverter does not take m x m matrices.
        """
        del y
        with unchanged_on_error(self):
            self._validate_params()
            inner = ExactInverter() if self.inverter is None else self.inverter
            m = _resolve_block_size(self.block_size, inner)
            leaves = None
            if X is None:
                self._set_size(None)
            else:
                stack = self._open_stack(X)
                if requires_fit(inner):
                    leaves = collect_leaves(stack, m).cpu().numpy()
            self.inverter_ = clone_and_fit(inner, leaves)
            invert_with(self.inverter_, torch.eye(m, dtype=torch.float64)[None])  # refuses m here, or takes it
            self.block_size_ = m
        return self

    def _invert_in_dtype(self, A: Tensor) -> Tensor:
        return with_exact_gradient(A, lambda A: self._solve(A).inverse)

    def _invert_and_settle(self, A: Tensor, start: int) -> Tensor:
        solution = self._solve(A)
        solution.warn_if_inaccurate(start)
        warn_singular(solution.inverse, start, pinv_advice(self) + solution.hint())
        return solution.inverse

    def _guess(self, A: Tensor) -> Tensor:
        ready = self._ready()
        return block_inverse(A, ready.block_size_, partial(invert_leaf, ready.inverter_))

    def _solve(self, A: Tensor) -> Solution:
        refined = refine(A, self._guess(A), max_steps=MAX_STEPS)
        solution = Solution.of(A, refined, torch.full_like(refined.n_steps, REFINED))
        wanting = solution.wanting()
        if wanting.any():
            solution = solution.with_exact(A, wanting)
        return solution.without(~solution.certified)

    def _through_door(self, X: Any, function: Callable[[Tensor, int], Tensor], *, keeps_shape: bool) -> Any:
        if not (keeps_shape and is_dask(X) and X.ndim == 3 and X.numblocks[1:] != (1, 1)):
            return super()._through_door(X, function, keeps_shape=keeps_shape)
        dtype = check_dask(self, X, keeps_shape=True)
        ready = self._ready()
        return invert_chunked(X, lambda block: ready.invert(torch.tensor(block)).numpy(), dtype=dtype)

    def _ready(self) -> "BlockInverter":
        """Return self, or where no fit was needed and none was made, a fitted copy; always the same one."""
        if hasattr(self, "inverter_"):
            return self
        return clone(self).fit()

    def _check_ready(self) -> None:
        self._validate_params()
        fitted_inner(self)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = requires_fit(self.inverter)
        return tags


def invert_leaf(inverter: Any, A: Tensor) -> Tensor:
    """Invert pivots, and refine to the floor what comes: quickly where it is good, thoroughly where it is not."""
    X = invert_with(inverter, A)
    poor = polish_(A, X) >= 0.5
    if poor.any():
        X[poor] = refine(A[poor], X[poor]).inverse
    return X


def _resolve_block_size(block_size: int | None, inverter: Any) -> int:
    m = _named_size(inverter) if block_size is None else block_size
    if m is None and not requires_fit(inverter):
        m = DEFAULT_BLOCK_SIZE
    if m is None:
        raise ValueError(
            f"The size of the blocks is not known: block_size=None, and matrix_size of the inner inverter {inverter!r} "
            f"names none. Try block_size=3, or matrix_size=3 for the inner inverter."
        )
    return int(m)


def _named_size(inverter: Any) -> int | None:
    """Return the size that a frozen inverter is fitted for, or the parameter ``matrix_size`` of the innermost one."""
    if isinstance(inverter, FrozenEstimator):
        inverter = inverter.estimator
        if hasattr(inverter, "matrix_size_"):
            return inverter.matrix_size_
    inner = getattr(inverter, "inverter", None)
    if isinstance(inner, list | tuple):  # the members of an ensemble
        inner = inner[0]
    if inner is not None:
        return _named_size(inner)
    size = getattr(inverter, "matrix_size", None)
    return max(size) if isinstance(size, tuple | list) else size
