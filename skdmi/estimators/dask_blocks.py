"""The block recursion as a dask graph: for a matrix that spans several chunks, larger than memory perhaps."""

from collections.abc import Callable
from typing import Any

import numpy as np

from skdmi.containers import first_index
from skdmi.estimators.policies import warn_singular
from skdmi.validation import refuse_non_finite

ADVICE = (
    "Their inverses are NaN: across chunks there is neither pivoting nor LAPACK, so a singular leading block of whole "
    "chunks is enough. Try X.rechunk({1: -1, 2: -1}), chunks of whole matrices, or other chunk sizes."
)
UNIT = 2.0**-53


def invert_chunked(
    A: Any, invert_chunk: Callable[[np.ndarray], np.ndarray], *, dtype: np.dtype | type = np.float64
) -> Any:
    r"""Return the inverses of matrices that span several chunks, lazily, by :func:`schur_inverse` and one polish.

    .. math:: A' = D_1 A D_2, \quad X' \leftarrow X' + X' R, \quad R = I - A' X', \quad X = D_2 X' D_1

    with the powers of two that bring the largest entry of every row, then of every column, near 1. Where
    :math:`\|R\|_F`, before the polish and with an allowance for its rounding, is not below 1/10, which proves A
    nonsingular and leaves an error of 1e-2 at most, or where X is beyond the range of the dtype, X is NaN, with a
    warning. Rows are exchanged within chunks only, since a row order is known only when all is computed: a matrix with
    a singular leading principal block of whole chunks has no inverse here.

    Parameters
    ----------
    A : dask array of shape (n_matrices, N, N)
        Of real dtype.
    invert_chunk : callable
        Maps a float64 array ``(n, k, k)``, a diagonal chunk, to its inverses, NaN where there is none.
    dtype : dtype, default=float64
        Of the answer; all before is float64.

    Returns
    -------
    X : dask array of shape (n_matrices, N, N)
        When it is computed, it raises ValueError where A is not finite, and warns (``SingularMatrixWarning``), once for
        each chunk of the first axis, of matrices without an inverse.

    Examples
    --------
    >>> import dask.array as da
    >>> A = da.from_array(np.array([[[2.0, 1.0], [1.0, 2.0]]]), chunks=1)
    >>> (3 * invert_chunked(A, np.reciprocal)).compute().round(12)
    array([[[ 2., -1.],
            [-1.,  2.]]])
    """
    import dask.array as da

    A64 = A.rechunk({2: A.chunks[1]}).astype(np.float64)
    A64 = A64.map_blocks(_refused_if_not_finite, dtype=A64.dtype, meta=A64._meta)
    rows = -_exponents(abs(A64).max(axis=2, keepdims=True))
    scaled = _scaled(A64, rows)
    columns = -_exponents(abs(scaled).max(axis=1, keepdims=True))
    scaled = _scaled(scaled, columns)
    X = schur_inverse(scaled, invert_chunk)
    R = da.eye(A.shape[1]).rechunk(A64.chunks[1:])[None] - scaled @ X
    norms = _norms(R) + (A.shape[1] + 3) * UNIT * _norms(scaled) * _norms(X)
    X = X + X @ R
    X = _scaled(_scaled(X, columns.transpose(0, 2, 1)), rows.transpose(0, 2, 1))
    found = (norms < 0.1) & (abs(X).max(axis=(1, 2), keepdims=True) <= np.finfo(dtype).max)
    found = found.map_blocks(_named_if_missing, dtype=bool, meta=np.empty((0, 0, 0), bool))
    # As blocks, or dask would fuse the warning into every chunk of the answer and repeat it there.
    found = da.concatenate([found.blocks[i] for i in range(found.numblocks[0])])
    return da.where(found, X, np.nan).astype(dtype)


def _exponents(largest: Any) -> Any:
    """Return the exponents that ``frexp`` finds."""
    return largest.map_blocks(lambda block: np.frexp(block)[1], dtype=np.intc)


def _scaled(A: Any, exponents: Any) -> Any:
    """Return ``2^exponents A``; beyond the range infinite or NaN, which no check passes."""
    return A.map_blocks(_ldexp, exponents, dtype=A.dtype, meta=A._meta)


def _ldexp(block: np.ndarray, exponents: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        return np.ldexp(block, exponents)


def _norms(A: Any) -> Any:
    """Return Frobenius norms, of shape (n_matrices, 1, 1)."""
    import dask.array as da

    return da.sqrt((A**2).sum(axis=(1, 2), keepdims=True))


def _refused_if_not_finite(chunk: np.ndarray, block_info: Any = None) -> np.ndarray:
    refuse_non_finite(chunk, first_index(block_info))
    return chunk


def _named_if_missing(found: np.ndarray, block_info: Any = None) -> np.ndarray:
    """Warn of the matrices that are not found, ``(n_matrices, 1, 1)``."""
    warn_singular(~found.ravel(), first_index(block_info), ADVICE)
    return found


def schur_inverse(A: Any, invert_chunk: Callable[[np.ndarray], np.ndarray]) -> Any:
    """Invert by recursive Schur complements, half and half in whole chunks (see `skdmi.linalg.recursion`)."""
    import dask.array as da

    sizes = A.chunks[1]
    if len(sizes) == 1:
        return A.map_blocks(invert_chunk, dtype=A.dtype, meta=np.empty((0, 0, 0), A.dtype))
    half = sum(sizes[: len(sizes) // 2])
    E = schur_inverse(A[:, :half, :half], invert_chunk)
    F, G = E @ A[:, :half, half:], A[:, half:, :half] @ E
    T = schur_inverse(A[:, half:, half:] - A[:, half:, :half] @ F, invert_chunk)
    TG = T @ G
    upper = da.concatenate([E + F @ TG, -(F @ T)], axis=2)
    lower = da.concatenate([-TG, T], axis=2)
    return da.concatenate([upper, lower], axis=1)
