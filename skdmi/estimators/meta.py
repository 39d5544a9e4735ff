"""``MetaInverter``, the base of what wraps an inverter, and how one inverter calls another."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Self

import numpy as np
import torch
from sklearn import config_context
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils import get_tags
from sklearn.utils._param_validation import HasMethods
from torch import Tensor

from skdmi.arrays import to_numpy
from skdmi.estimators.base import BaseInverter
from skdmi.estimators.policies import left_to_another, pinv_advice, warn_singular
from skdmi.estimators.undo import unchanged_on_error
from skdmi.linalg.residuals import missing

INSIDE = "It is inside an inverter"


class MetaInverter(BaseInverter):
    """Base of what wraps an inverter: it fits a clone, keeps to its size, and is ready when it is.

    A subclass has a parameter ``inverter``, and implements ``__init__`` and ``_invert``, in which :meth:`_wrapped` are
    what to call, with :func:`invert_with`. Missing inverses are NaN, with a warning.

    Attributes
    ----------
    inverter_ : estimator or None
        The fitted clone of ``inverter``.

    Examples
    --------
    >>> from skdmi.estimators.base import Answer
    >>> class Negative(MetaInverter):
    ...     def __init__(self, inverter=None):
    ...         self.inverter = inverter
    ...
    ...     def _invert(self, A):
    ...         return Answer(-invert_with(self._wrapped()[0], -A))
    >>> from skdmi import ExactInverter
    >>> Negative(ExactInverter()).transform(np.array([[[4.0]]]))
    array([[[0.25]]])
    """

    _parameter_constraints: dict[str, Any] = {"inverter": [HasMethods(["fit", "transform"]), None]}
    inverter: Any
    inverter_: Any

    def fit(self, X: Any = None, y: Any = None) -> Self:
        """Fit a clone of ``inverter``, and with X fix the size of the matrices.

        Parameters
        ----------
        X : array-like of shape (n_matrices, m, m) or (n_matrices, m * m), optional
            Handed on as a numpy stack.
        y : array-like, optional
            Handed on.

        Returns
        -------
        MetaInverter
            This estimator, fitted.

        Raises
        ------
        ValueError
            If a parameter is not allowed, or sizes disagree; the estimator is then as it was.

        Examples
        --------
        >>> from skdmi import ExactInverter, RefinedInverter
        >>> RefinedInverter(ExactInverter()).fit(np.eye(3)[None]).matrix_size_
        3
        """
        with unchanged_on_error(self):
            self._validate_params()
            self._set_size(None)
            stack = None if X is None else to_numpy(self._open_stack(X))
            self._fit_wrapped(stack, y)
            if self._embeds(torch.empty(0)) and not self._takes_complex():
                raise ValueError("Inverters for real matrices stand beside those for complex ones; expected one kind.")
            size = self._inner_size()
            if stack is None:
                self._set_size(size)
        return self

    def _fit_wrapped(self, stack: np.ndarray | None, y: Any) -> None:
        """Fit what is inside."""
        self.inverter_ = None if self.inverter is None else clone_and_fit(self.inverter, stack, y)

    def _settle(self, A: Tensor, answer: Any, start: int) -> Tensor:
        warn_singular(missing(answer.inverse), start, pinv_advice(self))
        return super()._settle(A, answer, start)

    def _takes_complex(self, *, anew: bool = False) -> bool:
        inside = map(unfrozen, self._given() if anew else self._wrapped())
        return all(isinstance(one, BaseInverter) and one._takes_complex(anew=anew) for one in inside)

    def _embeds(self, A: Any) -> bool:
        inside = map(unfrozen, self._wrapped())
        return super()._embeds(A) or any(isinstance(one, BaseInverter) and one._embeds(A) for one in inside)

    def _given(self) -> list[Any]:
        """Return the inverters that are parameters."""
        return [] if self.inverter is None else [self.inverter]

    def _wrapped(self) -> list[Any]:
        """Return the inverters inside: those that ``fit`` made, before a fit those given."""
        made = self._made()
        return self._given() if made is None else made

    def _made(self) -> list[Any] | None:
        """Return the inverters that ``fit`` made, None before a fit."""
        if not hasattr(self, "inverter_"):
            return None
        return [] if self.inverter_ is None else [self.inverter_]

    def _size(self) -> int | None:
        own = getattr(self, "matrix_size_", None)
        return self._inner_size() if own is None else own

    def _inner_size(self) -> int | None:
        """Return the size that what is inside keeps to, which is that of the X of a fit; None where it takes any."""
        return agreed_size(self._wrapped(), getattr(self, "matrix_size_", None))

    def _named_size(self) -> int | None:
        return next(map(named_size, self._given()), None)

    def _check_ready(self) -> None:
        self._validate_params()
        super()._check_ready()
        for one in map(unfrozen, self._wrapped()):
            if isinstance(one, BaseInverter):
                one._check_ready()

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = any(map(requires_fit, self._given()))
        return tags


def clone_and_fit(inverter: Any, X: Any, y: Any = None) -> Any:
    """Return a fitted clone; a frozen inverter returns as it is, and says so if it is not fitted.

    >>> from skdmi import ExactInverter
    >>> clone_and_fit(ExactInverter(), None)
    ExactInverter()
    """
    inner = clone(inverter)
    with _of_stacks(inner, X), config_context(transform_output="default"):  # A pipeline transforms while it is fitted.
        inner.fit(X, y)  # FrozenEstimator.fit has no default for y.
    return inner


@contextmanager
def _of_stacks(inverter: Any, X: Any) -> Iterator[None]:
    """Say what to try where an estimator that takes two dimensions, or has one inside, is given a stack."""
    try:
        yield
    except ValueError as error:
        if X is None or INSIDE in str(error) or not re.search(r"dim 3\b|\b3 dimension", str(error)):
            raise
        raise ValueError(
            f"{error} {INSIDE}, so it is given stacks, here of shape {tuple(X.shape)}; expected one that inverts them. "
            f"What scales or selects columns stands before the inverter, in a pipeline, and takes a flat stack, "
            f"X.reshape(len(X), -1)."
        ) from error


def unfrozen(inverter: Any) -> Any:
    """Return what a frozen inverter holds, and any other itself.

    >>> from skdmi import ExactInverter
    >>> unfrozen(FrozenEstimator(ExactInverter()))
    ExactInverter()
    """
    while isinstance(inverter, FrozenEstimator):
        inverter = inverter.estimator
    return inverter


def requires_fit(inverter: Any) -> bool:
    """Return whether the inverter must be fitted before use.

    The tags of a frozen estimator are those of what it holds, so it is asked whether that is ready.

    >>> from skdmi import ExactInverter, NeuralMatrixInverter
    >>> requires_fit(ExactInverter()), requires_fit(NeuralMatrixInverter())
    (False, True)
    """
    if isinstance(inverter, FrozenEstimator):
        return not inverter.__sklearn_is_fitted__()
    return bool(get_tags(inverter).requires_fit)


def size_of(inverter: Any) -> int | None:
    """Return the size that an inverter, a frozen one perhaps, keeps to; None where it takes any, or is not fitted.

    >>> from skdmi import RefinedInverter, load_pretrained
    >>> size_of(RefinedInverter(load_pretrained("uniform-3x3-short"))), size_of(RefinedInverter())
    (3, None)
    """
    inverter = unfrozen(inverter)
    if isinstance(inverter, BaseInverter):
        return inverter._size()
    return getattr(inverter, "matrix_size_", None)


def named_size(inverter: Any) -> int | None:
    """Return the size that a frozen inverter is fitted for, or that parameters of the innermost one name.

    >>> from skdmi import NeuralMatrixInverter, RefinedInverter
    >>> named_size(RefinedInverter(NeuralMatrixInverter(matrix_size=5)))
    5
    """
    if isinstance(inverter, FrozenEstimator):
        return size_of(inverter) or named_size(inverter.estimator)
    if isinstance(inverter, BaseInverter):
        return inverter._named_size()
    return getattr(inverter, "matrix_size", None)


def agreed_size(inverters: Iterable[Any], m: int | None = None) -> int | None:
    """Return the size that inverters keep to; m, or None, where they take any.

    Raises
    ------
    ValueError
        If they keep to different sizes, or to another than m, that of the X of a fit.

    Examples
    --------
    >>> from skdmi import ExactInverter
    >>> agreed_size([ExactInverter()]), agreed_size([ExactInverter().fit(np.eye(2)[None])])
    (None, 2)
    """
    sizes = {size for one in inverters if (size := size_of(one)) is not None}
    if len(sizes) > 1:
        raise ValueError(f"The members are fitted for different sizes, m = {sorted(sizes)}; expected one.")
    size = next(iter(sizes), m)
    if m not in (None, size):
        raise ValueError(
            f"X holds {m} x {m} matrices, but the inner inverter is fitted for {size} x {size}. Leave it unfrozen, or "
            f"see BlockInverter."
        )
    return size


def invert_with(inverter: Any, A: Tensor, *, to_refine: bool = False) -> Tensor:
    """Return the inverses that any inverter, ours or foreign, finds for A, ``(n_matrices, m, m)``.

    A is finite, the inverter ready. A foreign one is called by ``invert`` where it has that, else by ``transform`` on
    a numpy stack of its own. Members without an inverse are NaN; it is for the outermost inverter to warn of them. With
    ``to_refine`` one of ours that refines its own answers may leave that to the caller.
    """
    ours = unfrozen(inverter)
    if isinstance(ours, BaseInverter):
        return ours._guess(A) if to_refine else ours._inverse(A)
    if hasattr(inverter, "invert"):
        return inverter.invert(A)
    given = A.detach().cpu().numpy().copy()
    with _of_stacks(inverter, given), config_context(transform_output="default"), left_to_another():
        X = inverter.transform(given)
    return torch.as_tensor(np.asarray(X), dtype=A.dtype, device=A.device).reshape(A.shape)
