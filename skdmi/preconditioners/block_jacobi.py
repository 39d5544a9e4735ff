"""``BlockJacobi``: the inverses of diagonal blocks, overlapping ones too, as one sparse matrix."""

import warnings
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import reverse_cuthill_mckee
from scipy.sparse.linalg import LinearOperator, aslinearoperator
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils._param_validation import HasMethods, Interval
from sklearn.utils.validation import check_is_fitted

from skdmi.estimators.exact import ExactInverter
from skdmi.estimators.meta import clone_and_fit
from skdmi.estimators.policies import left_to_another, users_stacklevel
from skdmi.estimators.undo import unchanged_on_error
from skdmi.exceptions import SingularMatrixWarning, name_indices
from skdmi.preconditioners.systems import are_many, as_systems, is_hermitian


class BlockJacobi(TransformerMixin, BaseEstimator):
    r"""Precondition by the inverses of diagonal blocks, all inverted as one stack.

    .. math:: M = \sum_k R_k^T W_k\, (R_k A R_k^T)^{-1} V_k R_k

    where :math:`R_k` picks the unknowns of block k. Without overlap W and V are identities: block Jacobi. With overlap
    unknowns are in several blocks, and of a Hermitian A both weights are one over the root of the number of blocks, so
    that M is Hermitian, and positive definite if A is, up to rounding (additive Schwarz); of any other A the rows of a
    block that belong to another are dropped, :math:`W_k` being 1 where they are its own and 0 elsewhere (restricted
    additive Schwarz [1]_).

    A block without an inverse is replaced by its diagonal, with a warning.

    Parameters
    ----------
    inverter : inverter, default=None
        What inverts the stack of blocks; None is :class:`~skdmi.ExactInverter`, and :class:`~skdmi.RefinedInverter`
        proves every inverse. It is fitted on the blocks of the examples.
    block_size : int, default=16
        Unknowns of a block, neighbours in the order of the unknowns; the last block may be smaller.
    overlap : int, default=0
        How many unknowns more on either side.
    strength : float, default=None
        Neighbours are those in the reverse Cuthill-McKee order of the couplings with
        :math:`|a_{ij}| > s \sqrt{|a_{ii} a_{jj}|}`; None takes the order as it is.

    Attributes
    ----------
    inverter_ : inverter
        The fitted one.
    n_features_in_ : int
        The number of unknowns.

    See Also
    --------
    FamilyPreconditioner : One that learns from whole systems.

    References
    ----------
    .. [1] Cai and Sarkis, "A restricted additive Schwarz preconditioner for general sparse linear systems", SIAM J.
       Sci. Comput. 21, 1999.

    Examples
    --------
    >>> import scipy.sparse as sp
    >>> from scipy.sparse.linalg import cg
    >>> from skdmi.preconditioners import BlockJacobi
    >>> A = sp.diags_array([[-1.0] * 99, [2.0] * 100, [-1.0] * 99], offsets=[-1, 0, 1])
    >>> M = BlockJacobi(block_size=10).fit_transform(A)
    >>> x, info = cg(A, np.ones(100), rtol=1e-10, M=M)
    >>> info, bool(np.abs(A @ x - 1).max() < 1e-6)
    (0, True)
    """

    _parameter_constraints = {
        "inverter": [HasMethods(["fit", "transform"]), None],
        "block_size": [Interval(Integral, 1, None, closed="left")],
        "overlap": [Interval(Integral, 0, None, closed="left")],
        "strength": [Interval(Real, 0, None, closed="left"), None],
    }

    def __init__(
        self, inverter: Any = None, *, block_size: int = 16, overlap: int = 0, strength: float | None = None
    ) -> None:
        self.inverter = inverter
        self.block_size = block_size
        self.overlap = overlap
        self.strength = strength

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fix the number of unknowns, and fit the inverter on the blocks of example systems.

        Parameters
        ----------
        X : sparse matrix, array of shape (n, n), or list of them
        y : ignored
            Present for scikit-learn.

        Returns
        -------
        BlockJacobi
            This estimator.

        Raises
        ------
        TypeError, ValueError
            If a parameter or X is refused; the estimator is then as it was.

        Examples
        --------
        >>> import scipy.sparse as sp
        >>> BlockJacobi().fit(sp.eye_array(50)).n_features_in_
        50
        """
        del y
        with unchanged_on_error(self):
            self._validate_params()
            systems = as_systems(X)
            self.n_features_in_ = systems[0].shape[0]
            as_systems(X, self.n_features_in_)
            inverter = ExactInverter() if self.inverter is None else self.inverter
            self.inverter_ = clone_and_fit(inverter, np.concatenate([self._blocks(A)[1] for A in systems]))
        return self

    def transform(self, X: Any) -> LinearOperator | list[LinearOperator]:
        """Return the preconditioner of a system, or a list of those of a list.

        Parameters
        ----------
        X : sparse matrix, array of shape (n, n), or list of them

        Returns
        -------
        scipy.sparse.linalg.LinearOperator, or list of them
            M, near the inverse, as ``scipy.sparse.linalg`` takes it; it applies to one vector or several, and so does
            its adjoint. In the dtype of the system.

        Raises
        ------
        TypeError, ValueError
            If X is refused.

        Warns
        -----
        SingularMatrixWarning
            If blocks have no inverse.

        Examples
        --------
        >>> import scipy.sparse as sp
        >>> M = BlockJacobi(block_size=2).fit_transform(sp.diags_array([1.0, 2.0, 4.0, 5.0]))
        >>> M @ np.ones(4)
        array([1.  , 0.5 , 0.25, 0.2 ])
        """
        check_is_fitted(self)
        operators = [aslinearoperator(self._matrix(A)) for A in as_systems(X, self.n_features_in_)]
        return operators if are_many(X) else operators[0]

    def _matrix(self, A: sp.csr_array) -> sp.csr_array:
        """Return M."""
        unknowns, blocks = self._blocks(A)
        is_here = unknowns >= 0
        hermitian = is_hermitian(A)
        with left_to_another():
            inverses = np.array(self.inverter_.transform(blocks), blocks.dtype)
        absent = ~np.isfinite(inverses).all(axis=(1, 2))
        if absent.any():
            inverses[absent] = _of_diagonals(blocks[absent])
            warnings.warn(
                f"{absent.sum()} of {len(absent)} blocks have no inverse, at index "
                f"{name_indices(np.flatnonzero(absent))}. Their diagonals take their place; another block_size or "
                f"overlap may do better.",
                SingularMatrixWarning,
                stacklevel=users_stacklevel(),
            )
        if hermitian:
            inverses = inverses / 2 + inverses.conj().swapaxes(1, 2) / 2
        inverses *= self._weights(unknowns, A.shape[0], hermitian=hermitian)
        rows = np.broadcast_to(unknowns[:, :, None], inverses.shape)
        columns = np.broadcast_to(unknowns[:, None, :], inverses.shape)
        kept = is_here[:, :, None] & is_here[:, None, :] & (inverses != 0)
        return sp.csr_array((inverses[kept], (rows[kept], columns[kept])), shape=A.shape)

    def _blocks(self, A: sp.csr_array) -> tuple[np.ndarray, np.ndarray]:
        """Return the unknowns of every block, -1 where it has fewer, and the blocks, filled up by identities."""
        n = A.shape[0]
        size, overlap = self._extent(n)
        width = size + 2 * overlap
        order = self._order(A)
        first = np.arange(0, n, size) - overlap
        places = first[:, None] + np.arange(width)
        inside = (places >= 0) & (places < n)
        unknowns = np.where(inside, order[np.clip(places, 0, n - 1)], -1)
        place = np.empty(n, np.int64)
        place[order] = np.arange(n)
        entries = A.tocoo()
        i, j = place[entries.row], place[entries.col]
        blocks = np.zeros((len(first), width, width), A.dtype)
        own = i // size
        reach = -(-overlap // size)
        for block in (own + step for step in range(-reach, reach + 1)):
            r, c = i - block * size + overlap, j - block * size + overlap
            held = (block >= 0) & (block < len(first)) & (r >= 0) & (r < width) & (c >= 0) & (c < width)
            blocks[block[held], r[held], c[held]] = entries.data[held]
        which, where = np.nonzero(~inside)
        blocks[which, where, where] = 1
        return unknowns, blocks

    def _extent(self, n: int) -> tuple[int, int]:
        """Return the size of blocks and the overlap, no larger than n unknowns can use."""
        size = min(self.block_size, n)
        return size, min(self.overlap, (n - 1) // size * size)

    def _order(self, A: sp.csr_array) -> np.ndarray:
        if self.strength is None:
            return np.arange(A.shape[0])
        scale = np.sqrt(np.abs(A.diagonal()))
        entries = A.tocoo()
        strong = np.abs(entries.data) > self.strength * scale[entries.row] * scale[entries.col]
        graph = sp.csr_array((np.ones(strong.sum()), (entries.row[strong], entries.col[strong])), shape=A.shape)
        return np.asarray(reverse_cuthill_mckee(graph + graph.T, symmetric_mode=True), np.int64)

    def _weights(self, unknowns: np.ndarray, n: int, *, hermitian: bool) -> np.ndarray:
        """Return what the inverses are multiplied by, entry by entry."""
        if self.overlap == 0:
            return np.ones((1, 1, 1))
        if not hermitian:
            size, overlap = self._extent(n)
            own = slice(overlap, overlap + size)
            weights = np.zeros((1, unknowns.shape[1], 1))
            weights[:, own] = 1
            return weights
        counts = np.bincount(unknowns[unknowns >= 0], minlength=n)
        share = 1 / np.sqrt(counts[unknowns])
        return share[:, :, None] * share[:, None, :]


def _of_diagonals(blocks: np.ndarray) -> np.ndarray:
    """Return the inverses of the diagonals of blocks, 1 where an entry has none."""
    diagonal = np.einsum("kii->ki", blocks)
    inverses = np.zeros_like(blocks)
    with np.errstate(all="ignore"):
        reciprocal = 1 / diagonal
    np.einsum("kii->ki", inverses)[...] = np.where(np.isfinite(reciprocal), reciprocal, 1)
    return inverses
