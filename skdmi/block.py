"""``BlockInverter``: large matrices through an inverter of small ones."""

from collections.abc import Callable
from functools import partial
from numbers import Integral
from typing import Any, Self

import torch
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from torch import Tensor

from skdmi.base import BaseInverter, unchanged_on_error, warn_singular
from skdmi.chunked import invert_chunked
from skdmi.door import check_dask, is_dask
from skdmi.exact import ExactInverter
from skdmi.linalg.blocks import MIXINGS, block_inverse, collect_leaves, polish_
from skdmi.linalg.exact import exact_inverse
from skdmi.linalg.gradient import with_exact_gradient
from skdmi.linalg.refinement import refine
from skdmi.meta import clone_and_fit, fitted_inner, invert_with, pinv_advice, requires_fit

__all__ = ["BlockInverter"]

DEFAULT_BLOCK_SIZE = 32


class BlockInverter(BaseInverter):
    r"""Invert N x N matrices, any N, with an inverter of m x m ones, by recursive Schur complements.

    .. math:: \begin{pmatrix} A & B \\ C & D \end{pmatrix}^{-1} =
       \begin{pmatrix} E + F T G & -F T \\ -T G & T \end{pmatrix}, \quad
       E = A^{-1}, \; F = E B, \; G = C E, \; T = (D - C F)^{-1}

    halves the problem until m x m pivots are left, the leaves, which the inner inverter inverts, and which are then
    refined to the rounding floor. Each matrix is

    1. equilibrated by powers of two, which are undone exactly, and filled up to whole blocks with a scaled identity;
    2. inverted by blocks as it is; where a leaf has no inverse, or :math:`\|I - A X\|_F < 1/2` fails, again after
       mixing by a random orthogonal matrix from the left, :math:`A^{-1} = (Q A)^{-1} Q`, and again with another;
    3. polished by at most three Newton-Schulz steps, while they halve the residual.

    Where that fails too, about from a condition number of 1e11, the whole matrix goes to LAPACK, and is NaN where that
    finds no inverse. All this is float64 whatever the dtype of the matrices, and rounded once at the end; a matrix that
    has no inverse spoils no other.

    Parameters
    ----------
    inverter : estimator, default=None
        The inner inverter, cloned and fitted; in ``FrozenEstimator`` it stays as it is. With a network, certified
        results come from ``RefinedInverter(BlockInverter(network))``, and, slower, with certified leaves,
        ``RefinedInverter(BlockInverter(RefinedInverter(network)))``. None is :class:`~skdmi.ExactInverter`.
    block_size : int, default=None
        m. None takes the ``matrix_size_`` of a frozen inverter, else the ``matrix_size`` of the innermost one (the
        largest of several), else 32 where that takes any size.
    mixing : {"auto", "always", "never"}, default="auto"
        ``"auto"`` mixes where the recursion fails without, since it costs two to four digits on positive definite and
        diagonally dominant matrices.
    random_state : int, RandomState instance or None, default=None
        Determines the orthogonal matrices.

    Attributes
    ----------
    inverter_ : estimator
        The fitted inner inverter.
    block_size_ : int
        m.
    mixing_seed_ : int
        Drawn in ``fit``, so that ``transform`` is deterministic.
    matrix_size_, n_features_in_ : int
        N and ``N * N``, when fitted with X: ``transform`` then keeps to it.
    feature_names_in_ : ndarray of shape (m * m,)
        Column names, when ``fit`` saw a DataFrame.

    See Also
    --------
    skdmi.linalg.block_inverse : The function behind it.
    RefinedInverter : Certifies the results.

    Notes
    -----
    Where the matrices of a dask array span several chunks, as one larger than memory does, ``X[None]``, ``transform``
    makes the recursion a graph over the chunks (:func:`skdmi.chunked.invert_chunked`), without mixing but within
    chunks, and without the last resort to LAPACK.

    It needs no ``fit`` where the inner inverter needs none; an unfitted one with ``random_state=None`` uses seed 0.

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
        "mixing": [StrOptions(set(MIXINGS))],
        "random_state": ["random_state"],
    }

    def __init__(
        self, inverter: Any = None, *, block_size: int | None = None, mixing: str = "auto", random_state: Any = None
    ) -> None:
        self.inverter = inverter
        self.block_size = block_size
        self.mixing = mixing
        self.random_state = random_state

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
            seed = int(check_random_state(self.random_state).randint(2**31 - 1))
            leaves = None
            if X is None:
                self._set_size(None)
            else:
                stack = self._open_stack(X)
                if requires_fit(inner):
                    leaves = collect_leaves(stack, m, mixing=self.mixing, seed=seed).cpu().numpy()
            self.inverter_ = clone_and_fit(inner, leaves)
            invert_with(self.inverter_, torch.eye(m, dtype=torch.float64)[None])  # refuses m here, or takes it
            self.block_size_ = m
            self.mixing_seed_ = seed
        return self

    def _invert(self, A: Tensor) -> Tensor:
        return with_exact_gradient(A, self._solve)

    def _solve(self, A: Tensor) -> Tensor:
        ready = self._ready()
        found = block_inverse(
            A,
            ready.block_size_,
            partial(invert_leaf, ready.inverter_),
            mixing=ready.mixing,
            seed=ready.mixing_seed_,
        )
        X, failed = found.inverse, ~(found.residual_norm < 0.5)
        if failed.any():
            X[failed] = exact_inverse(A[failed].double())
        return X

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
        copy = clone(self)
        if self.random_state is None:
            copy.set_params(random_state=0)
        return copy.fit()

    def _settle(self, A: Tensor, X: Tensor, start: int) -> Tensor:
        warn_singular(X, start, pinv_advice(self))
        return X

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
