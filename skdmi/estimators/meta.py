"""What every inverter around an inverter needs: fit the inner one, know whether it must be, call it."""

import warnings
from typing import Any

import numpy as np
import torch
from sklearn import config_context
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from skdmi.exceptions import InaccurateInverseWarning, SingularMatrixWarning

__all__ = ["check_size", "clone_and_fit", "fitted_inner", "invert_with", "known_size", "pinv_advice", "requires_fit"]


def clone_and_fit(inverter: Any, X: Any, y: Any = None) -> Any:
    """Return a fitted clone; a frozen inverter returns as it is, and says so if it is not fitted.

    >>> from skdmi import ExactInverter
    >>> clone_and_fit(ExactInverter(), None)
    ExactInverter()
    """
    inner = clone(inverter)
    with config_context(transform_output="default"):  # A pipeline transforms while it is fitted.
        inner.fit(X, y)  # FrozenEstimator.fit has no default for y.
    return inner


def requires_fit(inverter: Any) -> bool:
    """Return whether the inverter must be fitted before use; ``None``, an untrained default, need not.

    The tags of a frozen estimator are those of what it holds, so it is asked whether that is fitted.

    >>> from skdmi import ExactInverter, NeuralMatrixInverter
    >>> requires_fit(ExactInverter()), requires_fit(NeuralMatrixInverter())
    (False, True)
    """
    if inverter is None:
        return False
    if isinstance(inverter, FrozenEstimator):
        return requires_fit(inverter.estimator) and not inverter.__sklearn_is_fitted__()
    return bool(get_tags(inverter).requires_fit)


def fitted_inner(meta: Any) -> Any:
    """Return what ``meta.fit`` made, ``inverter_``; before a fit ``inverter`` itself, where that is ready for use.

    Raises
    ------
    NotFittedError
        If it is not.
    """
    if requires_fit(meta):
        check_is_fitted(meta, "inverter_")
    return getattr(meta, "inverter_", meta.inverter)


def known_size(inverter: Any) -> int | None:
    """Return the size that an inverter, a frozen one perhaps, keeps to; None where it takes any, or is not fitted.

    One that was not fitted, as it need not be, may be kept to a size by what it wraps; it says so by ``_inner_size``.

    >>> from skdmi import RefinedInverter, load_pretrained
    >>> known_size(RefinedInverter(load_pretrained("uniform-3x3"))), known_size(RefinedInverter())
    (3, None)
    """
    if isinstance(inverter, FrozenEstimator):
        return known_size(inverter.estimator)
    size = getattr(inverter, "matrix_size_", None)
    if size is None and hasattr(inverter, "_inner_size"):
        size = inverter._inner_size()
    return size


def check_size(inverter: Any, m: int) -> None:
    """Refuse m x m matrices for a fitted inner inverter, a frozen one perhaps, that keeps to another size.

    Raises
    ------
    ValueError
        Naming both sizes.
    """
    fitted = known_size(inverter)
    if fitted not in (None, m):
        raise ValueError(f"X holds {m} x {m} matrices, but the inner inverter is fitted for {fitted} x {fitted}.")


def invert_with(inverter: Any, A: Tensor, *, to_refine: bool = False) -> Tensor:
    """Return the inverses that any inverter, ours or foreign, finds for A, ``(n_matrices, m, m)``.

    Through ``inverter.invert`` where there is one, else through ``transform`` on a numpy stack of its own. Members
    without an inverse are NaN; it is for the outermost inverter to warn of them. With ``to_refine`` an inverter that
    refines its own answers may leave that to the caller.
    """
    if to_refine and hasattr(inverter, "_guess"):
        return inverter._guess(A)
    if hasattr(inverter, "invert"):
        return inverter.invert(A)
    with config_context(transform_output="default"), warnings.catch_warnings():
        for category in (SingularMatrixWarning, InaccurateInverseWarning):
            warnings.simplefilter("ignore", category)
        X = inverter.transform(A.detach().cpu().numpy().copy())
    return torch.as_tensor(np.asarray(X), dtype=A.dtype, device=A.device).reshape(A.shape)


def pinv_advice(meta: Any) -> str:
    """Say, after the names of singular matrices, what became of them, and who puts pseudo-inverses there."""
    return (
        f"Their inverses are NaN; RefinedInverter({type(meta).__name__}(...), singular='pinv') returns pseudo-inverses."
    )
