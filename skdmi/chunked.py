"""The block recursion as a dask graph: for a matrix that spans several chunks, larger than memory perhaps."""

from collections.abc import Callable
from typing import Any

import numpy as np


def invert_chunked(A: Any, invert_chunk: Callable[[np.ndarray], np.ndarray]) -> Any:
    r"""Return the inverses of matrices that span several chunks, lazily, by :func:`schur_inverse` and one polish.

    .. math:: X \leftarrow X + X R, \quad R = I - A X

    where :math:`\|R\|_F < 1/2`; elsewhere NaN. There is no mixing but within chunks, since whether to mix is known only
    when all is computed: a matrix with a singular leading principal block of whole chunks has no inverse here.

    Parameters
    ----------
    A : dask array of shape (n_matrices, N, N)
        Of real dtype.
    invert_chunk : callable
        Maps a float64 array ``(n, k, k)``, a diagonal chunk, to its inverses, NaN where there is none.

    Returns
    -------
    X : dask array of shape (n_matrices, N, N), float64

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
    X = schur_inverse(A64, invert_chunk)
    R = da.eye(A.shape[1]).rechunk(A64.chunks[1:])[None] - A64 @ X
    norms = da.sqrt((R**2).sum(axis=(1, 2), keepdims=True))
    return da.where(norms < 0.5, X + X @ R, np.nan)


def schur_inverse(A: Any, invert_chunk: Callable[[np.ndarray], np.ndarray]) -> Any:
    """Invert by recursive Schur complements, half and half in whole chunks: :func:`skdmi.linalg.schur_inverse_`."""
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
