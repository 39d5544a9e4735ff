"""``inv_sqrt``: inverse square roots of positive definite stacks, with what is known of each."""

import math
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from skdmi.arrays import as_array, as_contiguous, as_float_array, to_numpy
from skdmi.chunks import chunk_size
from skdmi.embedding import embed, unembed
from skdmi.estimators.policies import users_stacklevel
from skdmi.estimators.report import INACCURATE
from skdmi.exceptions import InaccurateInverseWarning, IndefiniteMatrixError, IndefiniteMatrixWarning, name_indices
from skdmi.figures import CERTIFIED, NONSINGULAR
from skdmi.kinds import is_dask, is_tensor
from skdmi.lanes import roots
from skdmi.typing import ArrayLike, Float64Array, IndefinitePolicy, InexactT
from skdmi.validation import check_square, refuse_non_finite

if TYPE_CHECKING:
    from torch import Tensor

INDEFINITE_POLICIES = ("warn", "raise")
NO_COEFFICIENTS = np.empty((0, 2))
_SOUND = CERTIFIED | NONSINGULAR
_UNIT = 2.0**-53


class Roots(NamedTuple):
    """Inverse square roots of a stack, and what is known of each; arrays of shape (n_matrices,), but for the first."""

    root: np.ndarray
    """``(n_matrices, m, m)``, in the dtype of the matrices."""
    certified: np.ndarray
    error_bound: np.ndarray
    n_steps: np.ndarray
    """0 of what went by eigenvalues."""


@overload
def inv_sqrt(A: "Tensor", *, indefinite: IndefinitePolicy = "warn") -> "Tensor": ...
@overload
def inv_sqrt(A: NDArray[InexactT], *, indefinite: IndefinitePolicy = "warn") -> NDArray[InexactT]: ...
@overload
def inv_sqrt(A: ArrayLike, *, indefinite: IndefinitePolicy = "warn") -> Float64Array: ...
def inv_sqrt(A: Any, *, indefinite: IndefinitePolicy = "warn") -> Any:
    r"""Return inverse square roots of positive definite matrices, and only those that are proved.

    .. math:: Z = A^{-1/2}, \qquad Z = Z^T, \quad Z A Z = I

    By coupled iterations, matrix products alone (:func:`skdmi.iteration.inverse_root`), eight matrices at a time in the
    lanes of vector registers; what is too ill-conditioned for that by eigenvalues. That A is positive definite is
    proved, and the error of Z bounded (:func:`skdmi.linalg.certify_inv_sqrt`), in float64 whatever the dtype.

    Parameters
    ----------
    A : array-like of shape (..., m, m)
        One matrix or any stack of them, numpy array or torch tensor: real symmetric, or complex Hermitian, positive
        definite. A matrix that is not symmetric by rounding alone is replaced by the mean of itself and its transposed.
    indefinite : {"warn", "raise"}, default="warn"
        What becomes of matrices that are not proved to be positive definite: NaN and one warning, which names their
        indices along the flattened leading axes; or an error.

    Returns
    -------
    array of shape (..., m, m)
        The inverse square roots, symmetric to the bit, in the container, dtype and, for a tensor, on the device of A.
        No gradient flows: for that see the ``invert`` of an InverseSquareRoot.

    Raises
    ------
    TypeError
        If A holds no numbers, or is a dask array.
    ValueError
        If A is not finite, not made of square matrices, or not symmetric.
    IndefiniteMatrixError
        If asked for.

    Warns
    -----
    IndefiniteMatrixWarning
        If matrices are not proved to be positive definite.
    InaccurateInverseWarning
        If bounds on relative errors are above 1e-2.

    See Also
    --------
    InverseSquareRoot : The estimator, which also learns a family and reports error bounds.
    inv : Inverses.

    Examples
    --------
    >>> import numpy as np
    >>> import skdmi
    >>> Z = skdmi.inv_sqrt(np.array([[5.0, 4.0], [4.0, 5.0]]))
    >>> Z.round(12)
    array([[ 0.66666667, -0.33333333],
           [-0.33333333,  0.66666667]])
    """
    check_indefinite(indefinite)
    if is_dask(A):
        raise TypeError("inv_sqrt takes no dask array. Try InverseSquareRoot().transform(A), or A.map_blocks(...).")
    read = as_array if is_tensor(A) else as_float_array
    A = read(A, name="A", shape="(..., m, m)", allows_complex=True)
    check_square("A", A)
    m = A.shape[-1]
    n_matrices = math.prod(A.shape[:-2])
    if not is_tensor(A):
        found = find(A.reshape(n_matrices, m, m))
        settle(found.certified, found.error_bound, indefinite)
        return found.root.reshape(A.shape)
    import torch

    from skdmi.containers import computable

    given = A.detach() if A.is_floating_point() or A.is_complex() else A.detach().double()
    found = find(as_contiguous(to_numpy(computable(given)).reshape(n_matrices, m, m), writeable=True))
    settle(found.certified, found.error_bound, indefinite)
    return torch.from_numpy(found.root).to(given).reshape(A.shape)


def check_indefinite(policy: Any) -> None:
    """Refuse a policy that there is not."""
    if policy not in INDEFINITE_POLICIES:
        raise ValueError(f"indefinite={policy!r}; expected one of {', '.join(map(repr, INDEFINITE_POLICIES))}.")


def find(A: np.ndarray, coefficients: np.ndarray = NO_COEFFICIENTS) -> Roots:
    """Return the inverse square roots of a stack, real or complex; what has no proof is NaN.

    ``coefficients`` are those of the first steps; where they do not lead to a proof, others are tried.

    >>> find(np.array([[[4.0]], [[-4.0]]])).certified
    array([ True, False])
    """
    n, m, _ = A.shape
    if A.size == 0:
        return Roots(A.copy(), np.ones(n, bool), np.zeros(n), np.zeros(n, int))
    if A.dtype.kind == "c":
        return _unembedded(find(embed(A), coefficients))
    found = Roots(np.empty_like(A), np.zeros(n, bool), np.full(n, np.nan), np.zeros(n, int))
    if roots.is_ready(m, n):
        for first_steps in [coefficients, NO_COEFFICIENTS] if len(coefficients) else [coefficients]:
            left = np.flatnonzero(~found.certified)
            _put(found, left, _in_lanes(A if len(left) == n else A[left], first_steps))
    left = np.flatnonzero(~found.certified)
    if len(left):
        refuse_non_finite(A)
    for first in range(0, len(left), size := chunk_size(m)):
        members = left[first : first + size]
        _put(found, members, _by_eigenvalues(symmetrized(A[members], members)))
    found.root[~found.certified] = np.nan
    return found


def _put(found: Roots, members: np.ndarray, theirs: Roots) -> None:
    for kept, new in zip(found, theirs, strict=True):
        kept[members] = new


def _in_lanes(A: np.ndarray, coefficients: np.ndarray) -> Roots:
    Z = np.empty_like(A)
    status, bound, _, n_steps = roots.find_roots(A, Z, coefficients)
    return Roots(Z, (status.astype(np.uint8) & _SOUND) == _SOUND, bound, n_steps.astype(int))


def _by_eigenvalues(A: np.ndarray) -> Roots:
    from skdmi.linalg.inverse_root import find_by_reference  # imports torch

    root, certified, bound = find_by_reference(A)
    Z = root.astype(A.dtype, copy=False)
    if Z.dtype != root.dtype:
        with np.errstate(all="ignore"):
            longest = np.sqrt((root * root).sum(axis=1).max(axis=1))
            distance = np.linalg.norm(Z - root, axis=(1, 2)) / longest
            bound = (bound + (1 + bound) * distance) * (1 + 64 * root[0].size * _UNIT)
        certified = certified & np.isfinite(bound)
    return Roots(Z, certified, bound, np.zeros(len(A), int))


def symmetrized(A: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Return the means of matrices and their transposed, which differ by rounding, or refuse them.

    >>> symmetrized(np.array([[[1.0, 2.0], [3.0, 4.0]]]), np.array([7]))
    Traceback (most recent call last):
        ...
    ValueError: A is not symmetric in 1 matrices, the first at index 7: there an entry and its mirror differ by ...
    """
    mirrored = A.swapaxes(1, 2)
    largest = np.abs(A).max(axis=(1, 2))
    with np.errstate(over="ignore"):
        apart = np.abs(A - mirrored).max(axis=(1, 2))
    far = apart > largest * (2.0**-18 if A.dtype == np.float32 else 2.0**-45)
    if far.any():
        first = int(far.argmax())
        raise ValueError(
            f"A is not symmetric in {far.sum()} matrices, the first at index {members[first]}: there an entry and its "
            f"mirror differ by {apart[first] / largest[first]:.1e} of the largest entry. Expected symmetric matrices, "
            f"Hermitian if complex; (A + A.conj().swapaxes(-1, -2)) / 2 is, if the mean is meant."
        )
    return np.where(mirrored == A, A, A / 2 + mirrored / 2)


def _unembedded(found: Roots) -> Roots:
    Z = unembed(found.root)
    Z = (Z + Z.conj().swapaxes(1, 2)) / 2
    distance = 2 * np.finfo(Z.dtype).eps * Z.shape[-1] ** 0.5
    bound = (found.error_bound + (1 + found.error_bound) * distance) * (1 + 2.0**-40)
    return found._replace(root=as_contiguous(Z), error_bound=bound)


def settle(certified: np.ndarray, error_bound: np.ndarray, policy: str, start: int = 0) -> None:
    """Warn once at the user's line of what is missing, and of what may be inaccurate; or raise of what is missing.

    Indices count from ``start``.

    Raises
    ------
    IndefiniteMatrixError
        Under ``"raise"``.

    Examples
    --------
    >>> settle(np.array([True, False]), np.array([1e-15, np.nan]), "raise")
    Traceback (most recent call last):
        ...
    skdmi.exceptions.IndefiniteMatrixError: 1 of 2 matrices are not proved to be positive definite, at index 1. ...
    """
    without = np.flatnonzero(~certified)
    inaccurate = np.flatnonzero(certified & (error_bound > INACCURATE))
    if len(without):
        message = (
            f"{len(without)} of {len(certified)} matrices are not proved to be positive definite, at index "
            f"{name_indices(without, start)}."
        )
        if policy == "raise":
            raise IndefiniteMatrixError(
                f"{message} indefinite='warn' returns NaN for them; a ridge, A + c I, may help."
            )
        message = f"{message} Their inverse square roots are NaN; a ridge, A + c I, may help."
        warnings.warn(message, IndefiniteMatrixWarning, stacklevel=users_stacklevel())
    if len(inaccurate):
        message = (
            f"{len(inaccurate)} of {len(certified)} inverse square roots are certified, but their relative error may "
            f"exceed {INACCURATE:g}, at index {name_indices(inaccurate, start)}; "
            f"InverseSquareRoot().report(A).error_bound has bounds. A ridge, A + c I, may help."
        )
        warnings.warn(message, InaccurateInverseWarning, stacklevel=users_stacklevel())
