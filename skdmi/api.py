"""The one-liners."""

import os
from numbers import Real
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from skdmi.arrays import as_array, as_float_array, to_numpy
from skdmi.dtypes import float_dtype
from skdmi.embedding import embed, unembed
from skdmi.estimators.direct import ROUTES, invert_directly
from skdmi.estimators.policies import SINGULAR_POLICIES, UNCERTIFIED_POLICIES, settle_status
from skdmi.estimators.tight import invert_tightly
from skdmi.figures import CERTIFIED, is_sound
from skdmi.kinds import is_dask, is_tensor
from skdmi.progress import is_watched
from skdmi.typing import ArrayLike, DaskT, Float64Array, FrozenInverter, InexactT, SingularPolicy, UncertifiedPolicy
from skdmi.validation import check_square, refuse_non_finite

if TYPE_CHECKING:
    from torch import Tensor

    from skdmi.estimators.refined import RefinedInverter

__all__ = ["ROUTES", "certified_inverter", "inv", "load_pretrained"]


@overload
def inv(
    A: "Tensor",
    *,
    tol: float | Literal["auto"] = "auto",
    uncertified: UncertifiedPolicy = "exact",
    singular: SingularPolicy = "warn",
    model: Any = "auto",
    tight: bool = False,
    verbose: int = 0,
) -> "Tensor": ...
@overload
def inv(
    A: NDArray[InexactT],
    *,
    tol: float | Literal["auto"] = "auto",
    uncertified: UncertifiedPolicy = "exact",
    singular: SingularPolicy = "warn",
    model: Any = "auto",
    tight: bool = False,
    verbose: int = 0,
) -> NDArray[InexactT]: ...
@overload
def inv(
    A: DaskT,
    *,
    tol: float | Literal["auto"] = "auto",
    uncertified: UncertifiedPolicy = "exact",
    singular: SingularPolicy = "warn",
    model: Any = "auto",
    tight: bool = False,
    verbose: int = 0,
) -> DaskT: ...
@overload
def inv(
    A: ArrayLike,
    *,
    tol: float | Literal["auto"] = "auto",
    uncertified: UncertifiedPolicy = "exact",
    singular: SingularPolicy = "warn",
    model: Any = "auto",
    tight: bool = False,
    verbose: int = 0,
) -> Float64Array: ...
def inv(
    A: Any,
    *,
    tol: float | Literal["auto"] = "auto",
    uncertified: UncertifiedPolicy = "exact",
    singular: SingularPolicy = "warn",
    model: Any = "auto",
    tight: bool = False,
    verbose: int = 0,
) -> Any:
    """Invert matrices of any size and return only what is proved.

    By the fastest certified route for their size (:data:`skdmi.api.ROUTES`): eight at a time in the lanes of vector
    registers, or by LAPACK. Every inverse is proved and its error bounded (:func:`skdmi.linalg.certify`); what is
    delicate is corrected to about its last bit, and what a route does not cover is refined as by
    :func:`skdmi.iteration.refine`. With a ``model``, its answers are put together to the full size, refined there and
    certified, and what has no certificate then, or an error bound above 1e-2, goes to LAPACK. Everything is done in
    float64 on the matrix equilibrated by powers of two, so that rows and columns of different units cost no digits, and
    rounded once to the dtype of A.

    Parameters
    ----------
    A : array-like of shape (..., m, m)
        One matrix or any stack of them, real or complex, numpy array, torch tensor or dask array; a 2-D A is one
        matrix. Integers and long doubles that float64 cannot hold are rounded first, and the proof is of what they are
        then. A stack without
        matrices, or of 0 x 0 matrices, is its own inverse, as of :func:`numpy.linalg.inv`.
    tol : "auto" or float, default="auto"
        Residual norm that is small enough, see :class:`~skdmi.RefinedInverter`.
    uncertified : {"exact", "nan", "keep", "raise"}, default="exact"
        What becomes of matrices whose inverse has no certificate.
    singular : {"warn", "raise", "pinv"}, default="warn"
        What becomes of matrices that are singular to working precision: NaN and one warning, which names their
        indices along the flattened leading axes; an error; or the pseudo-inverse.
    model : "auto", str, path or fitted inverter, default="auto"
        ``"auto"`` takes the direct routes; else a network: the name of a shipped one, a directory, or any inverter.
    tight : bool, default=False
        Whether X is to be the exact inverse of A as it is stored, rounded, or nearly that, up to condition numbers
        beyond ``1 / u``, see :class:`~skdmi.RefinedInverter`.
    verbose : int, default=0
        1 shows on a terminal the rate and the time that remains (:mod:`skdmi.progress`).

    Returns
    -------
    array of shape (..., m, m)
        The inverses, in the container, dtype and, for a tensor, on the device of A. No gradient flows: for that use the
        ``invert`` of a RefinedInverter.

    Raises
    ------
    ValueError
        If A is not finite, or not made of square matrices.
    UncertifiedError, SingularMatrixError
        If asked for.

    Warns
    -----
    SingularMatrixWarning
        If members are singular to working precision, in the dtype of A: another matrix that rounds to it may be
        singular.
    InaccurateInverseWarning
        If inverses are certified, but the bound on their relative error stays above 1e-2.

    See Also
    --------
    RefinedInverter : The estimator, which also reports error bounds.

    Examples
    --------
    >>> import skdmi
    >>> skdmi.inv([[2.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 4.0]]).round(12) + 0.0
    array([[ 0.5 , -0.5 ,  0.  ],
           [ 0.  ,  1.  ,  0.  ],
           [ 0.  ,  0.  ,  0.25]])
    """
    if not is_dask(A):
        read = as_array if is_tensor(A) else as_float_array
        A = read(A, name="A", shape="(..., m, m)", allows_complex=True)
    check_square("A", A)
    m = A.shape[-1]
    policies = {"tol": tol, "uncertified": uncertified, "singular": singular, "tight": tight}
    is_direct = isinstance(model, str) and model == "auto" and _are_allowed(**policies)
    if 0 in A.shape:
        if not is_direct:
            certified_inverter(max(m, 1), model=model, **policies)._check_ready()
        return _as_float_copy(A)
    if is_direct and not is_watched(verbose):
        if isinstance(A, np.ndarray):
            return _inv_directly(A.reshape(-1, m, m), **policies).reshape(A.shape)
        if is_tensor(A) and A.is_complex() and A.device.type == "cpu":
            return _inv_of_tensor(A, policies)
    return _inv_by_estimator(A, model, policies | {"verbose": verbose})


def _are_allowed(*, tol: Any, uncertified: Any, singular: Any, tight: Any) -> bool:
    """Return whether a RefinedInverter would take these parameters, without importing it."""
    is_tolerance = tol == "auto" if isinstance(tol, str) else isinstance(tol, Real) and float(tol) >= 0
    return (
        is_tolerance
        and uncertified in UNCERTIFIED_POLICIES
        and singular in SINGULAR_POLICIES
        and tight in (False, True)
    )


def _as_float_copy(A: Any) -> Any:
    """Return a stack without entries in the dtype of its inverses."""
    if is_dask(A):
        as_array(A._meta, name="A", shape="(..., m, m)", allows_complex=True)
        return A.astype(float_dtype(A.dtype))
    if is_tensor(A):
        return A.detach().clone() if A.is_floating_point() or A.is_complex() else A.double()
    return A.copy()


def _inv_directly(A: np.ndarray, *, tol: Any, uncertified: Any, singular: Any, tight: Any) -> np.ndarray:
    """Return what a RefinedInverter would, without importing what it needs."""
    if tight:
        refuse_non_finite(A)
        is_complex = A.dtype.kind == "c"
        X, found, _ = invert_tightly(embed(A) if is_complex else A)
        X = unembed(X) if is_complex else X
    else:
        X, found = invert_directly(A, tol=0.0 if isinstance(tol, str) else float(tol), keeps=uncertified == "keep")
    if is_sound(found.status).all():
        return X
    absent = ~np.isfinite(X).all(axis=(1, 2)) if uncertified == "keep" else ~found.has(CERTIFIED)
    X.view(X.real.dtype)[absent] = np.nan  # both parts
    if settle_status(found.status, absent, A.dtype, uncertified=uncertified, singular=singular):
        from skdmi.estimators.singular import put_pseudo_inverses  # imports torch

        put_pseudo_inverses(A, X, absent)
    return X


def _inv_of_tensor(A: "Tensor", policies: dict[str, Any]) -> "Tensor":
    """Invert a complex tensor on the CPU as an array: estimators know only its embedding."""
    import torch

    stack = np.ascontiguousarray(to_numpy(A.detach()))
    return torch.from_numpy(_inv_directly(stack.reshape(-1, *A.shape[-2:]), **policies)).reshape(A.shape)


def _inv_by_estimator(A: Any, model: Any, policies: dict[str, Any]) -> Any:
    from sklearn import config_context

    m = A.shape[-1]
    inverter = certified_inverter(m, model=model, **policies)
    with config_context(transform_output="default"):
        return inverter.transform(A.reshape(-1, m, m)).reshape(A.shape)


def certified_inverter(matrix_size: int, *, model: Any = "auto", **policies: Any) -> "RefinedInverter":
    """Return the inverter behind `inv`, ready for matrices of one size: refined(block(refined(network))).

    There is no block between where the network takes matrices of that size itself, up to 32 if it takes any; and no
    network where none is named.

    Parameters
    ----------
    matrix_size : int
    model : "auto", str, path or fitted inverter, default="auto"
    **policies
        Parameters of the outer :class:`~skdmi.RefinedInverter`.

    Examples
    --------
    >>> certified_inverter(3)
    RefinedInverter()
    """
    from sklearn.frozen import FrozenEstimator

    from skdmi.estimators.block import DEFAULT_BLOCK_SIZE, BlockInverter
    from skdmi.estimators.refined import RefinedInverter

    if isinstance(model, str) and model == "auto":
        return RefinedInverter(**policies)
    if isinstance(model, str | os.PathLike):
        model = load_pretrained(model)
    elif not isinstance(model, FrozenEstimator):
        model = FrozenEstimator(model)
    block_size = getattr(model, "matrix_size_", min(matrix_size, DEFAULT_BLOCK_SIZE))
    if block_size != matrix_size:
        model = BlockInverter(RefinedInverter(model), block_size=block_size)
    return RefinedInverter(model, **policies)


def load_pretrained(
    name_or_directory: str | os.PathLike[str],
    *,
    revision: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    token: str | bool | None = None,
    local_files_only: bool = False,
) -> "FrozenInverter":
    """Return a trained model inside ``FrozenEstimator``, so that no pipeline, clone or search retrains it.

    Parameters
    ----------
    name_or_directory : str or path
        A shipped model, see :func:`shipped_models`, or a directory that ``save_pretrained`` wrote, or its
        ``model.safetensors`` itself; a path with a separator, such as ``"./mine"``, is never a shipped one.
        ``"owner/name"`` is a model of a hub where there is no such directory here; that needs
        ``pip install "skdmi[hub]"``.
    revision : str, default=None
        Of a model of a hub: a branch, a tag, or the hash of a commit. None is the newest.
    cache_dir : path, default=None
        Where what is fetched from a hub is kept; None leaves it to huggingface_hub.
    token : str or bool, default=None
        For private models of a hub; None takes the one of ``hf auth login``, False none.
    local_files_only : bool, default=False
        Whether only what was fetched from a hub before may serve.

    Returns
    -------
    FrozenEstimator
        The model, which transforms and does not fit. Its ``estimator`` is the fitted
        :class:`~skdmi.NeuralMatrixInverter` or :class:`~skdmi.EnsembleInverter`; for fine-tuning take
        ``NeuralMatrixInverter.from_pretrained`` instead.

    Raises
    ------
    ConnectionError
        If a hub is not reached, and the model was not fetched before.
    FileNotFoundError
        If there is no such model.
    ValueError
        If it is damaged, or there are a shipped model and a local one of that name.

    Examples
    --------
    >>> import numpy as np
    >>> import skdmi
    >>> A = np.array([[[2.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 5.0]]])
    >>> print(skdmi.load_pretrained("uniform-3x3-short").transform(A).round(4))
    [[[0.5  0.   0.  ]
      [0.   0.25 0.  ]
      [0.   0.   0.2 ]]]
    """
    from sklearn.frozen import FrozenEstimator

    from skdmi.estimators.ensemble import load_fitted
    from skdmi.persistence import Hub

    return FrozenEstimator(load_fitted(name_or_directory, Hub(revision, cache_dir, token, local_files_only)))
