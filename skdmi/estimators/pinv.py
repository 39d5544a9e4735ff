"""``pinv``: pseudo-inverses of stacks, with what is known of each."""

import math
import warnings
from numbers import Real
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from skdmi.arrays import as_array, as_contiguous, as_float_array, described, to_numpy
from skdmi.chunks import CHUNK_ENTRIES
from skdmi.embedding import embed, rounding_of_mean, unembed
from skdmi.estimators.policies import users_stacklevel
from skdmi.exceptions import RankDeficientWarning, name_indices
from skdmi.figures import CERTIFIED, NONSINGULAR
from skdmi.kinds import is_dask, is_tensor
from skdmi.lanes import pseudo_inverses as lanes
from skdmi.typing import ArrayLike, Float64Array, InexactT
from skdmi.validation import check_matrices, refuse_non_finite

if TYPE_CHECKING:
    from torch import Tensor

SHAPE = "(..., p, q)"
_SOUND = CERTIFIED | NONSINGULAR
_UNIT = 2.0**-53


class Pseudo(NamedTuple):
    """Pseudo-inverses of a stack, and what is known of each; arrays of shape (n_matrices,), but for the first."""

    inverse: np.ndarray
    """``(n_matrices, q, p)``, in the dtype of the matrices."""
    certified: np.ndarray
    """Whether full rank is proved, and the error bounded."""
    error_bound: np.ndarray
    """Relative, in the spectral norm; of what is not certified that of :func:`skdmi.linalg.pseudo_inverse`."""
    rank: np.ndarray
    """Proved where certified, else the number of singular values that count."""


@overload
def pinv(A: "Tensor", *, rtol: float | Literal["auto"] = "auto", damping: float | None = None) -> "Tensor": ...
@overload
def pinv(
    A: NDArray[InexactT], *, rtol: float | Literal["auto"] = "auto", damping: float | None = None
) -> NDArray[InexactT]: ...
@overload
def pinv(A: ArrayLike, *, rtol: float | Literal["auto"] = "auto", damping: float | None = None) -> Float64Array: ...
def pinv(A: Any, *, rtol: float | Literal["auto"] = "auto", damping: float | None = None) -> Any:
    r"""Return the pseudo-inverses of a stack of matrices of any shape, proved wherever A has full rank.

    Of a matrix with p rows, at most q columns, by the inverse of its Gram matrix, or by Householder's QR factorisation
    where that is too ill-conditioned, and Newton steps, in float64, with rows scaled by powers of two; of a taller one
    the transposed matrix is taken:

    .. math:: A^+ = A^T (A A^T)^{-1}, \qquad X \leftarrow X (2 I - A X)

    Full rank is proved, and the error bounded (:func:`skdmi.linalg.certify_pinv`). What cannot be proved, and what is
    too near a matrix of lower rank for ``rtol``, goes by singular values
    (:func:`skdmi.linalg.pseudo_inverse`), and is named in one warning. With ``damping``, what is returned is

    .. math:: (A^T A + \lambda^2 I)^{-1} A^T = A^T (A A^T + \lambda^2 I)^{-1},

    a block of the pseudo-inverse of :math:`[A, \lambda I]`, which has full rank.

    Parameters
    ----------
    A : array-like of shape (..., p, q)
        One matrix or any stack of them, real or complex, numpy array or torch tensor. Integers and long doubles are
        rounded to float64 first.
    rtol : "auto" or float, default="auto"
        Singular values that are at most ``rtol`` times the largest count as zero. With "auto" none does where full rank
        is proved; else it is ``max(p, q)`` times the machine epsilon of the dtype of A.
    damping : float, default=None
        :math:`\lambda`, at least 0, in the units of A.

    Returns
    -------
    array of shape (..., q, p)
        The pseudo-inverses, in the container, dtype and, for a tensor, on the device of A; NaN where they are beyond
        the range of the dtype. No gradient flows: for that see :meth:`PseudoInverter.invert`.

    Raises
    ------
    TypeError
        If A holds no numbers, or is a dask array.
    ValueError
        If A is not finite or has less than two axes, or a parameter is not allowed.

    Warns
    -----
    RankDeficientWarning
        If members have no proof of full rank, with their indices along the flattened leading axes.

    See Also
    --------
    PseudoInverter : The estimator, which also reports error bounds and ranks.
    inv : Inverses of square matrices.

    References
    ----------
    Nakamura and Hanafusa, "Inverse kinematic solutions with singularity robustness for robot manipulator control",
    J. Dyn. Sys. Meas. Control 108, 1986, for the damping.

    Examples
    --------
    >>> import numpy as np
    >>> import skdmi
    >>> A = np.array([[3.0, 0.0, 4.0], [0.0, 2.0, 0.0]])
    >>> skdmi.pinv(A)
    array([[0.12, 0.  ],
           [0.  , 0.5 ],
           [0.16, 0.  ]])
    >>> skdmi.pinv(A, damping=5.0).round(3)
    array([[0.06 , 0.   ],
           [0.   , 0.069],
           [0.08 , 0.   ]])
    """
    check_settings(rtol, damping)
    if is_dask(A):
        raise TypeError("pinv takes no dask array. Try A.map_blocks(skdmi.pinv, ...), with a chunk for whole matrices.")
    read = as_array if is_tensor(A) else as_float_array
    A = read(A, name="A", shape=SHAPE, allows_complex=True)
    check_matrices("A", A)
    *leading, p, q = A.shape
    if is_tensor(A):
        X: Any
        X, found = find_of_tensor(A.detach().reshape(math.prod(leading), p, q), rtol, damping)
    else:
        found = find(A.reshape(math.prod(leading), p, q), rtol, damping)
        X = found.inverse
    warn_rank_deficient(found)
    return X.reshape(*leading, q, p)


def check_settings(rtol: Any, damping: Any) -> None:
    """Refuse an ``rtol`` or a ``damping`` that is no number for it.

    >>> check_settings("auto", -1.0)
    Traceback (most recent call last):
        ...
    ValueError: Expected damping to be None or a finite number of at least 0, got -1.0.
    """
    if not (isinstance(rtol, str) and rtol == "auto") and not _is_number(rtol, below=1.0):
        raise ValueError(f"Expected rtol to be 'auto' or a number of at least 0, below 1, got {_shown(rtol)}.")
    if damping is not None and not _is_number(damping, below=np.inf):
        raise ValueError(f"Expected damping to be None or a finite number of at least 0, got {_shown(damping)}.")


def _is_number(value: Any, below: float) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and 0 <= float(value) < below


def _shown(value: Any) -> str:
    return repr(value) if isinstance(value, Real | str | None) else described(value)


def find(A: np.ndarray, rtol: Any = "auto", damping: float | None = None) -> Pseudo:
    """Return the pseudo-inverses of a stack ``(n_matrices, p, q)``, real or complex, float32 or float64.

    >>> find(np.array([[[2.0, 0.0]], [[0.0, 0.0]]])).rank
    array([1, 0])
    """
    n, p, q = A.shape
    if A.size == 0:
        nothing = np.zeros((n, q, p), A.dtype)
        return Pseudo(nothing, np.ones(n, bool), np.zeros(n), np.zeros(n, np.int64))
    refuse_non_finite(A)
    if A.dtype.kind == "c":
        return _unembedded(find(embed(A), rtol, damping))
    if not damping:
        return _find_real(A, _Cut.of(rtol, A))
    identity = np.broadcast_to(float(damping) * np.eye(min(p, q)), (n, min(p, q), min(p, q)))
    axis = 1 if p > q else 2
    found = _find_real(np.concatenate([A, identity], axis=axis), _Cut.of(rtol, A))
    return _rounded(_by_singular_values(A, _first_block(found, A), float(damping), _Cut.of(rtol, A).counted), A.dtype)


def find_of_tensor(A: "Tensor", rtol: Any, damping: float | None) -> tuple["Tensor", Pseudo]:
    """Return pseudo-inverses of a tensor, on its device but computed on the CPU, and what `find` does."""
    import torch

    from skdmi.containers import computable

    given = A if A.is_floating_point() or A.is_complex() else A.double()
    found = find(as_contiguous(to_numpy(computable(given)), writeable=True), rtol, damping)
    return torch.from_numpy(found.inverse).to(given), found


class _Cut(NamedTuple):
    """Ratios of singular values to the largest."""

    proved: float
    """What is proved to be above has full rank."""
    counted: float
    """What is at most so large counts as zero, where nothing is proved."""

    @classmethod
    def of(cls, rtol: Any, A: np.ndarray) -> "_Cut":
        """Return those for an ``rtol`` of matrices."""
        if isinstance(rtol, str):
            return cls(0.0, float(max(A.shape[1:]) * np.finfo(A.dtype).eps))
        return cls(float(rtol), float(rtol))


def _find_real(A: np.ndarray, cut: _Cut) -> Pseudo:
    n, p, q = A.shape
    X = np.empty((n, q, p), A.dtype)
    certified, bound, rank = np.zeros(n, bool), np.full(n, np.nan), np.full(n, min(p, q))
    if lanes.is_ready(min(p, q), max(p, q), n):
        status, bound, rcond = lanes.pseudo_invert(A, X)
        certified = ((status.astype(np.uint8) & _SOUND) == _SOUND) & (rcond > cut.proved)
    left = np.flatnonzero(~certified)
    found = Pseudo(X, certified, bound, rank)
    size = max(1, CHUNK_ENTRIES // (p * q))
    for first in range(0, len(left), size):
        from skdmi.linalg.pinv_reference import find_by_reference  # imports torch

        members = left[first : first + size]
        theirs = _rounded(Pseudo(*find_by_reference(A[members], *cut)), A.dtype)
        for kept, new in zip(found, theirs, strict=True):
            kept[members] = new
    return found


def _first_block(found: Pseudo, A: np.ndarray) -> Pseudo:
    """Return what is found of the pseudo-inverse whose first rows, or columns, are the damped one of A."""
    whole, (_, p, q) = found.inverse, A.shape
    X = whole[:, :, :p] if p > q else whole[:, :q]
    with np.errstate(all="ignore"):
        distance = found.error_bound * _norm(whole) / (1 - found.error_bound)
        longest = np.sqrt((X * X).sum(axis=1).max(axis=1))
        bound = np.where(distance < longest, distance / (longest - distance) * (1 + 64 * X[0].size * _UNIT), np.nan)
    bound[~A.any(axis=(1, 2)) & ~X.any(axis=(1, 2))] = 0.0
    return found._replace(inverse=X, certified=found.certified & ~np.isnan(bound), error_bound=bound)


def _by_singular_values(A: np.ndarray, found: Pseudo, damping: float, counted: float) -> Pseudo:
    """Return what is found, with damped pseudo-inverses from the singular values that count where nothing is proved."""
    left = np.flatnonzero(~found.certified)
    if len(left) == 0:
        return found
    U, s, Vh = np.linalg.svd(A[left].astype(np.float64), full_matrices=False)
    counts = s > counted * s[:, :1]
    with np.errstate(all="ignore"):
        size = np.hypot(s, damping)
        weight = np.where(counts, s / size / size, 0.0)
    X = found.inverse.copy()
    X[left] = (Vh.swapaxes(1, 2) * weight[:, None]) @ U.swapaxes(1, 2)
    bound, rank = found.error_bound.copy(), found.rank.copy()
    bound[left], rank[left] = np.inf, counts.sum(axis=1)
    return Pseudo(X, found.certified, bound, rank)


def _rounded(found: Pseudo, dtype: np.dtype) -> Pseudo:
    """Return pseudo-inverses in another dtype, contiguous, and bounds that say so."""
    with np.errstate(all="ignore"):
        X = np.ascontiguousarray(found.inverse, dtype)
        absent = ~np.isfinite(X).all(axis=(1, 2))
        X[absent] = np.nan
        longest = np.sqrt((found.inverse**2).sum(axis=1).max(axis=1))
        distance = np.where(longest > 0, _norm(X - found.inverse) / longest, 0.0)
    bound = found.error_bound if dtype == found.inverse.dtype else _added(found.error_bound, distance, X[0].size)
    return found._replace(inverse=X, certified=found.certified & ~absent, error_bound=bound)


def _unembedded(found: Pseudo) -> Pseudo:
    X = unembed(found.inverse)
    distance = np.where(X.any(axis=(1, 2)), rounding_of_mean(X), 0.0)
    bound = _added(found.error_bound, distance, X[0].size)
    return Pseudo(X, found.certified, bound, found.rank // 2)


def _added(bound: np.ndarray, distance: Any, n: int) -> np.ndarray:
    """Return a bound on the relative error of what is so far from what has another one, relative to its norm."""
    with np.errstate(invalid="ignore"):
        return np.asarray((bound + (1 + bound) * distance) * (1 + 64 * n * _UNIT))


def _norm(X: np.ndarray) -> np.ndarray:
    return np.asarray(np.linalg.norm(X, axis=(1, 2)))


def warn_rank_deficient(found: Pseudo, start: int = 0) -> None:
    """Warn once, at the user's line, of members without a proof of full rank; indices count from ``start``."""
    without = np.flatnonzero(~np.asarray(found.certified))
    if len(without):
        ranks = np.asarray(found.rank)[without]
        which = f"rank {ranks[0]}" if (ranks == ranks[0]).all() else f"ranks from {ranks.min()} to {ranks.max()}"
        warnings.warn(
            f"{len(without)} of {len(found.certified)} matrices have no proof of full rank, at index "
            f"{name_indices(without, start)}. Their pseudo-inverses are by singular values, of {which}; rtol says "
            f"which of those count, and enough damping avoids the question.{_beyond_range(found)}",
            RankDeficientWarning,
            stacklevel=users_stacklevel(),
        )


def _beyond_range(found: Pseudo) -> str:
    """Say how many pseudo-inverses are missing, if any."""
    n_missing = int(np.isnan(found.inverse).any(axis=(1, 2)).sum())
    return (
        f" {n_missing} pseudo-inverses are beyond the range of the dtype, so they are NaN; scale A."
        if n_missing
        else ""
    )
