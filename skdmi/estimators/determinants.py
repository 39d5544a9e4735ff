"""Log-determinants of anything that holds matrices: by the compiled kernel, and what that leaves by the reference."""

import math
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from skdmi.arrays import as_array, as_contiguous, as_float_array, to_numpy
from skdmi.chunks import chunk_size
from skdmi.estimators.unrounded import as_unrounded
from skdmi.kinds import is_dask, is_tensor
from skdmi.lanes.determinants import LogDeterminant, is_ready, log_determinants
from skdmi.typing import ArrayLike, DaskT, Float64Array
from skdmi.validation import check_square

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["LogDeterminant", "slogdet", "slogdet_of"]

_SHAPE = "(..., m, m)"
_ENTRIES_ELSEWHERE = 2**22
"""Of the matrices that another device than a CPU works on at a time."""


@overload
def slogdet(A: "Tensor") -> "LogDeterminant[Tensor]": ...
@overload
def slogdet(A: DaskT) -> LogDeterminant[DaskT]: ...
@overload
def slogdet(A: ArrayLike) -> LogDeterminant[Float64Array]: ...
def slogdet(A: Any) -> LogDeterminant[Any]:
    r"""Return sign and logarithm of the determinant of every matrix, with a proved bound on the error.

    The counterpart of :func:`numpy.linalg.slogdet` that says how far its answer can be trusted: where the bound is
    finite, the matrix, as it is stored, is nonsingular, ``sign`` is the sign of its determinant, and the logarithm of
    the absolute value of its determinant lies within ``log_abs_det_bound`` of ``log_abs_det``. This holds whatever the
    condition number and the units of rows and columns are.

    **Theorem, in words.** A triangular factorization is never exact, but what it leaves can be measured to twice the
    precision, and with an approximate inverse also what that does to the determinant, to first order. What remains is
    of second order, and a residual bounds it.

    **Formula.** With powers of two that bring rows and columns of A near 1, :math:`A' = D_1 A D_2`, factors
    :math:`P A' = L U + G`, and :math:`K = (P A')^{-1} G` with the row sums k of :math:`|K|`, :math:`\tau = \max k < 1`,

    .. math:: \Bigl| \log|\det A'| - \sum_i \log|u_{ii}| - \operatorname{tr} K \Bigr| \le \frac{k^T k}{2 (1 - \tau)},
       \qquad \operatorname{sign} \det P A' = \operatorname{sign} \prod_i u_{ii},

    since :math:`\det L U = \det P A' \det(I - K)`, and :math:`\det(I - t K)` is not zero for t from 0 to 1. What is not
    known of G and of the inverse, and every rounding, is added to the bound; :func:`skdmi.linalg.slogdet` has the
    proof. Pivots are multiplied, their exponents and those of :math:`D_1`, :math:`D_2` added, so that a single
    logarithm is taken: the bound is about :math:`u\,|\log|\det A|| + 2 u` with :math:`u = 2^{-53}`. Ill-conditioned
    matrices are looked at more closely, with an inverse that is right to its last bit.

    Parameters
    ----------
    A : array-like of shape (..., m, m)
        One matrix or any stack of them: numpy array, torch tensor, dask array, or nested lists. float32 and float64 as
        they are, all else real as float64.

    Returns
    -------
    LogDeterminant
        A named tuple ``(sign, log_abs_det, log_abs_det_bound)``, each float64 of shape (...), in the container and, for
        a tensor, on the device of A, or the CPU where that has no float64. The logarithm is the natural one. The bound
        is infinite where nothing is proved:

        - With a pivot of zero, sign and logarithm are 0 and -inf, as numpy has them.
        - Of a matrix that is not finite, both are NaN.
        - Of other matrices that are singular or nearly so, both are what was computed.

        A stack without matrices has an empty answer; the determinant of a 0 x 0 matrix is 1. Of a dask array, which is
        answered when it is computed, every chunk is answered alone. No gradient flows.

    Raises
    ------
    TypeError
        If A does not hold real numbers in a container that can be read.
    ValueError
        If A is complex, ragged, not made of square matrices, or holds integers or long doubles that float64 cannot
        hold.

    See Also
    --------
    skdmi.inv : Inverses, with a proof each.
    skdmi.linalg.slogdet : The reference for tensors, and the proof.

    Notes
    -----
    Nothing is said of the matrix that A was before it was rounded to its dtype.

    References
    ----------
    .. [1] Ogita, Rump and Oishi, "Accurate sum and dot product", SIAM J. Sci. Comput. 26, 2005.
    .. [2] Ozaki, Ogita, Oishi and Rump, "Error-free transformations of matrix multiplication by using fast routines of
       matrix multiplication and its applications", Numer. Algorithms 59, 2012.
    .. [3] Higham, "Accuracy and stability of numerical algorithms", 2nd edition, SIAM, 2002, chapters 3, 8, 9 and 14.

    Examples
    --------
    >>> sign, log_abs_det, bound = slogdet([[[0.0, 2.0], [4.0, 0.0]], [[1.0, 2.0], [2.0, 4.0]]])
    >>> sign, log_abs_det.round(4)
    (array([-1.,  0.]), array([2.0794,   -inf]))
    >>> bound < 1e-15
    array([ True, False])

    The determinant of the Hilbert matrix of order 12, whose condition number is 1.7e16:

    >>> i = np.arange(12)
    >>> sign, log_abs_det, bound = slogdet(1 / (1 + i + i[:, None]))
    >>> bool(bound < 1e-10)
    True
    """
    if is_dask(A):
        return _of_dask(A)
    A = as_unrounded(A, name="A", shape=_SHAPE)
    A = (as_array if is_tensor(A) else as_float_array)(A, name="A", shape=_SHAPE)
    check_square("A", A)
    return slogdet_of(A)


def slogdet_of(A: Any) -> LogDeterminant[Any]:
    """Return what :func:`slogdet` does of an array or tensor of square matrices that is checked.

    >>> slogdet_of(np.array([[[-2.0]]])).sign
    array([-1.])
    """
    if not is_tensor(A):
        return _of_array(A)
    import torch

    from skdmi.containers import computable, is_for_routes

    stack = computable(A.detach() if A.is_floating_point() else A.detach().double())
    if is_for_routes(stack):
        return LogDeterminant(
            *(torch.as_tensor(field, device="cpu") for field in _of_array(to_numpy(stack.contiguous())))
        )
    return _by_reference(stack, _ENTRIES_ELSEWHERE)


def _of_array(A: np.ndarray) -> LogDeterminant[Any]:
    """Return those of a numpy array (..., m, m), contiguous, of float32 or float64."""
    m, shape = A.shape[-1], A.shape[:-2]
    stack = A.reshape(math.prod(shape), m, m)
    if stack.size == 0:
        return LogDeterminant(*(np.full(shape, value)[()] for value in (1.0, 0.0, 0.0)))
    if is_ready(m, len(stack)):
        found, left = log_determinants(stack)
    else:
        left = np.ones(len(stack), bool)
        found = LogDeterminant(*np.empty((3, len(stack))))
    if left.any():
        import torch

        rest = stack if left.all() else stack[left]
        for known, closer in zip(found, _by_reference(torch.from_numpy(_writeable(rest))), strict=True):
            known[left] = closer.numpy()
    return LogDeterminant(*(field.reshape(shape)[()] for field in found))


def _writeable(A: np.ndarray) -> np.ndarray:
    """Return A as torch takes it without a warning."""
    return as_contiguous(A, writeable=True)


def _by_reference(A: Any, n_entries: int | None = None) -> LogDeterminant[Any]:
    """Return those of a tensor by the reference, so many matrices at a time."""
    import torch

    from skdmi.linalg.determinant import slogdet as reference

    m, shape = A.shape[-1], A.shape[:-2]
    chunks = A.reshape(math.prod(shape), m, m).split(chunk_size(max(m, 1), n_entries))
    fields = zip(*(reference(chunk) for chunk in chunks), strict=True)
    return LogDeterminant(*(torch.cat(field).reshape(shape) for field in fields))


def _of_dask(A: Any) -> LogDeterminant[Any]:
    """Return dask arrays; where matrices span several chunks, those are put together."""
    from skdmi.containers import CONTAINERS

    check_square("A", A)
    A = A if A.shape[0] == 0 else CONTAINERS["dask"].check(A)
    last = A.ndim - 1
    whole = A.rechunk({last - 1: -1, last: -1})
    found = whole.map_blocks(
        _of_block,
        dtype=np.float64,
        drop_axis=[last - 1, last],
        new_axis=[last - 1],
        chunks=(*whole.chunks[:-2], (len(LogDeterminant._fields),)),
        meta=np.empty((0,) * last),
    )
    return LogDeterminant(*(found[..., k] for k in range(len(LogDeterminant._fields))))


def _of_block(block: Any) -> np.ndarray:
    """Return the fields along a last axis."""
    return np.stack(_of_array(as_float_array(block, name="A", shape=_SHAPE)), axis=-1)
