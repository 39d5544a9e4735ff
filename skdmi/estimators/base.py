"""``BaseInverter``, the one shape of every inverter."""

import math
from collections.abc import Callable
from importlib.metadata import metadata
from numbers import Integral
from typing import Any, NamedTuple, overload

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.exceptions import NotFittedError
from sklearn.utils import check_array
from sklearn.utils._set_output import _get_output_config
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from skdmi.arrays import described, tensor_fault, to_numpy
from skdmi.chunks import chunk_size
from skdmi.containers import Container, computable, container_of
from skdmi.dtypes import is_complex
from skdmi.linalg.complex import as_it_came, embedded
from skdmi.linalg.gradient import with_exact_gradient
from skdmi.linalg.residuals import missing
from skdmi.metrics import frobenius_residuals, with_missing_as_zero
from skdmi.progress import is_watched, progress
from skdmi.typing import ArrayLike, DaskT, Float64Array, InexactT
from skdmi.validation import check_layout, check_square, refuse_non_finite, side_of

PARTS = 8
"""Chunks between two steps of a bar."""
_TAKES = "invert takes a dense torch tensor of real floating dtype"


class Answer(NamedTuple):
    """What :meth:`BaseInverter._invert` finds; another class with an ``inverse`` may know more."""

    inverse: Tensor
    """``(n_matrices, m, m)``, in the dtype of the matrices; NaN where there is none."""


class BaseInverter(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Base of all inverters: a subclass says how a stack of tensors is inverted, this class does the rest.

    A subclass implements ``fit`` and :meth:`_invert`; one whose answers may be missing also :meth:`_settle`; one that
    keeps to a size that ``fit`` has not seen :meth:`_size`. Stacks come as ``(n_matrices, m, m)`` or flat,
    ``(n_matrices, m * m)``, row-major; numpy, torch and dask containers go out as they came in, other array-likes as
    numpy; float32 and float64 are kept, other real dtypes become float64, and torch's half precisions are computed in
    float32 and returned as given. An inverter that :meth:`_takes_complex` stacks, complex64 or complex128, sees them
    as real ones of size 2 m (:func:`skdmi.linalg.complex_to_real`), and knows nothing of it.

    Attributes
    ----------
    matrix_size_ : int
        m. Not set by an inverter that takes any size and was fitted without X.
    n_features_in_ : int
        ``m * m``, for both layouts.
    feature_names_in_ : ndarray of shape (n_features,)
        Column names, when ``fit`` saw a DataFrame.
    """

    matrix_size_: int
    n_features_in_: int
    _derives_itself = False
    """Whether the answer of :meth:`_invert` has derivatives; if not, they are those of the true inverse."""
    _chunk_entries: int | None = None
    """Of the chunks that :meth:`_invert` works on, so that it may be called for some of them alone."""
    _doc_link_module = "skdmi"

    @property
    def _doc_link_template(self) -> str:
        """Return where the "?" in the HTML of an estimator leads."""
        addresses = dict(entry.split(", ") for entry in metadata("skdmi").get_all("Project-URL", []))
        return f"{addresses['Documentation']}api/generated/skdmi.{{estimator_name}}.html"

    @overload
    def transform(self, X: Tensor) -> Tensor: ...
    @overload
    def transform(self, X: NDArray[InexactT]) -> NDArray[InexactT]: ...
    @overload
    def transform(self, X: DaskT) -> DaskT: ...
    @overload
    def transform(self, X: ArrayLike) -> Float64Array: ...
    def transform(self, X: Any) -> Any:
        """Return the (approximate) inverse of every matrix.

        Parameters
        ----------
        X : array-like of shape (n_matrices, m, m) or (n_matrices, m * m)
            Matrices to invert: numpy array, torch tensor, dask array, list or DataFrame (flat rows).

        Returns
        -------
        array of the shape, container and dtype of X
            The inverses. A matrix without an inverse, or with one beyond the range of the dtype, is NaN. Lists and
            DataFrames give numpy arrays, unless ``set_output`` says otherwise; dask arrays are not computed.

        Raises
        ------
        ValueError
            If X is empty, not finite, not made of square matrices, or of a size that was not fitted; or complex, and
            the inverter is for real matrices.

        Examples
        --------
        >>> from skdmi import ExactInverter
        >>> ExactInverter().transform([[[2.0, 0.0], [0.0, 4.0]]])
        array([[[0.5 , 0.  ],
                [0.  , 0.25]]])
        >>> ExactInverter().transform(torch.tensor([[2.0, 0.0, 0.0, 4.0]]))
        tensor([[0.5000, 0.0000, 0.0000, 0.2500]])
        """
        inverses = self._apply(X, lambda A, start: self._settle(A, self._answer(A), start), keeps_shape=True)
        return inverses if self._table() is None else to_numpy(inverses)

    def invert(self, A: Tensor) -> Tensor:
        """Invert tensors directly: differentiable, without scikit-learn's validation, never warning.

        Transforms of :mod:`torch.func` may be put around it, one inside the other: ``vmap``, ``grad``, ``jacrev``,
        ``jacfwd``, ``jvp``, ``vjp``.

        Parameters
        ----------
        A : Tensor of shape (..., m, m)
            Of floating dtype, or, if the inverter takes them, complex64 or complex128.

        Returns
        -------
        Tensor of shape (..., m, m)
            The inverses, on the device and in the dtype of A. Members without an inverse, and members with a NaN or
            infinite entry, are NaN.

        Raises
        ------
        TypeError
            If A is not a dense tensor of such a dtype.
        ValueError
            If the last two axes of A are not square, or of a size that the inverter cannot take.

        Examples
        --------
        >>> from skdmi import ExactInverter
        >>> A = torch.tensor([[2.0, 0.0], [0.0, 4.0]], requires_grad=True)
        >>> ExactInverter().invert(A).sum().backward()
        >>> A.grad.diagonal()
        tensor([-0.2500, -0.0625])
        """
        self._check_ready()
        if not isinstance(A, Tensor):
            raise TypeError(f"{_TAKES}, got {described(A)}; transform takes arrays.")
        fault = tensor_fault(A, "A")
        if fault is None and not (A.is_floating_point() or (A.is_complex() and self._takes_complex())):
            advice = "skdmi.linalg.complex_to_real" if A.is_complex() else "A.double()"
            fault = f"a tensor of {A.dtype}", advice
        if fault is not None:
            raise TypeError(f"{_TAKES}, got {fault[0]}. Try {fault[1]}; transform takes arrays.")
        check_square("A", A, nonempty=True)
        stack = A.reshape(-1, *A.shape[-2:])
        finite = ~missing(stack)[:, None, None]
        stack = torch.where(finite, stack, 0.0)
        X = as_it_came(stack, self._inverse(embedded(stack))) if self._embeds(A) else self._inverse(stack)
        return torch.where(finite, X, torch.nan).reshape(A.shape)

    @overload
    def residual_norms(self, X: Tensor) -> Tensor: ...
    @overload
    def residual_norms(self, X: DaskT) -> DaskT: ...
    @overload
    def residual_norms(self, X: ArrayLike) -> Float64Array: ...
    def residual_norms(self, X: Any) -> Any:
        r"""Return :math:`\|I - A X\|_F` of every matrix and its computed inverse, measured in float64.

        Parameters
        ----------
        X : array-like of shape (n_matrices, m, m) or (n_matrices, m * m)
            The matrices, as for ``transform``.

        Returns
        -------
        array of shape (n_matrices,), float64, in the container of X
            NaN where there is no inverse.

        Examples
        --------
        >>> from skdmi import ExactInverter
        >>> ExactInverter().residual_norms(np.array([np.eye(2), np.diag([2.0, 4.0])]))
        array([0., 0.])
        """
        return self._apply(X, lambda A, start: frobenius_residuals(A, self._found(A)), keeps_shape=False, embeds=False)

    def score(self, X: Any, y: Any = None) -> float:
        """Return minus the mean residual norm over the stack: larger is better, 0 is perfect.

        A missing inverse counts ``sqrt(m)``, as the zero matrix would.

        Parameters
        ----------
        X : array-like of shape (n_matrices, m, m) or (n_matrices, m * m)
            The matrices, as for ``transform``.
        y : ignored
            Present for scikit-learn.

        Returns
        -------
        float
            At most 0.

        Examples
        --------
        >>> from skdmi import load_pretrained
        >>> A = np.random.default_rng(0).uniform(-1, 1, (100, 3, 3))
        >>> -1 < load_pretrained("uniform-3x3-short").score(A) < 0
        True
        """
        del y
        norms = to_numpy(self.residual_norms(X))
        *_, last = shape = np.shape(X)
        return -float(with_missing_as_zero(norms, last if len(shape) == 3 else math.isqrt(last)).mean())

    def _invert(self, A: Tensor) -> Any:
        """Return the :class:`Answer` for a finite stack ``(n_matrices, m, m)`` of real floating dtype."""
        raise NotImplementedError

    def _answer(self, A: Tensor) -> Any:
        """Return the answer for a stack; where somebody watches, part by part, under a bar."""
        verbose = getattr(self, "verbose", 0)
        if not is_watched(verbose):
            return self._invert(A)
        size, answers = PARTS * chunk_size(A.shape[-1], self._chunk_entries), []
        with progress(len(A), "matrices", verbose=verbose) as bar:
            for part in A.split(size):
                answers.append(self._invert(part))
                bar.advance(len(part))
        return type(answers[0])(*map(torch.cat, zip(*answers, strict=True)))

    def _found(self, A: Tensor) -> Tensor:
        """Return the inverses of a stack, a complex one, too."""
        found = self._answer(embedded(A) if self._embeds(A) else A).inverse
        return as_it_came(A, found) if self._embeds(A) else found

    def _settle(self, A: Tensor, answer: Any, start: int) -> Tensor:
        """Return the inverses of an answer, after saying or mending what is missing; A begins at index ``start``."""
        del A, start
        inverse: Tensor = answer.inverse
        return inverse

    def _takes_complex(self, *, anew: bool = False) -> bool:
        """Return whether the inverter, or with ``anew`` one that is fitted anew, takes complex stacks."""
        return False

    def _embeds(self, A: Any) -> bool:
        """Return whether a stack that it takes is to be embedded: a complex one."""
        return is_complex(A)

    def _size(self) -> int | None:
        """Return the size that the inverter keeps to; None where it takes any, or is not fitted."""
        return getattr(self, "matrix_size_", None)

    def _named_size(self) -> int | None:
        """Return the size that a fit will fix, as parameters name it; the largest of several."""
        size = getattr(self, "matrix_size", None)
        sizes = size if isinstance(size, tuple | list) else [size]
        return max((int(m) for m in sizes if isinstance(m, Integral)), default=None)

    def _check_ready(self) -> None:
        check_is_fitted(self)

    def _inverse(self, A: Tensor) -> Tensor:
        """Return the inverses of an answer, with derivatives."""
        if self._derives_itself:
            inverse: Tensor = self._invert(A).inverse
            return inverse
        return with_exact_gradient(A, lambda A: self._invert(A).inverse)

    def _guess(self, A: Tensor) -> Tensor:
        """Return inverses for a caller that refines them."""
        return self._inverse(A)

    def _apply(
        self, X: Any, function: Callable[[Tensor, int], Tensor], *, keeps_shape: bool, embeds: bool = True
    ) -> Any:
        """Return ``function(stack, start)`` in the container of X: of its shape, or one number a matrix.

        What :meth:`_embeds` says is embedded for it, and brought back, unless it sees to that itself.
        """
        container, X = self._admit(X, keeps_shape=keeps_shape)

        def answer(part: Any, start: int) -> Tensor:
            stack = self._read(container, part, start=start)
            with torch.no_grad():
                if not (embeds and self._embeds(stack)):
                    return function(stack, start)
                found = function(embedded(stack), start)
                if keeps_shape:
                    return as_it_came(stack, found)
                return found / 2**0.5 if found.is_floating_point() else found

        return container.apply(answer, X, keeps_shape)

    def _admit(self, X: Any, *, keeps_shape: bool) -> tuple[Container, Any]:
        """Check that the inverter is ready, and all of X that is known before it is read; return its container, too."""
        self._check_ready()
        size, table = self._size(), self._table() if keeps_shape else None
        container = container_of(X)
        X = container.check(X, allows_complex=self._takes_complex())
        check_layout(X.shape, size, type(self).__name__, table=table)
        return container, X

    def _open(self, X: Any, *, reset: bool) -> tuple[Tensor, Container, tuple[int, ...]]:
        """Check a whole X and return it as a tensor ``(n_matrices, m, m)``, with its container and shape."""
        container = container_of(X)
        X = container.compute(X, allows_complex=self._takes_complex(anew=reset))
        size = self._size()
        if reset:  # A fit takes any size; a size that is named tells one square matrix from a flat stack.
            named = self._named_size()
            size = named if named and X.ndim == 2 and X.shape in ((named, named), (named**2, named**2)) else None
        check_layout(X.shape, size, type(self).__name__)
        return self._read(container, X, reset=reset), container, tuple(X.shape)

    def _open_stack(self, X: Any, *, reset: bool = True) -> Tensor:
        """Check the X of a fit and return it as a tensor ``(n_matrices, m, m)``; with ``reset`` it fixes the size."""
        if reset:
            self._set_size(None)
        stack = computable(self._open(X, reset=reset)[0])
        if reset:
            self.matrix_size_ = stack.shape[-1]
        return stack

    def _read(self, container: Container, X: Any, *, reset: bool = False, start: int = 0) -> Tensor:
        """Return X, of a layout that is checked, as a tensor ``(n_matrices, m, m)``; messages count from ``start``."""

        def validate(X: Any, **options: Any) -> Any:
            is_tensor = isinstance(X, Tensor)
            if not (reset or hasattr(self, "n_features_in_")):
                is_checked = options.get("skip_check_array", False)
                return X if is_checked else check_array(X, estimator=self, input_name="X", **options)
            if not is_tensor and not reset and getattr(self, "_size_is_named", False):
                X = np.asarray(X)  # The fit saw no column names, so none can be missed.
            return validate_data(self, X, reset=reset, **options)

        flat = container.read(X, validate)
        m = side_of(flat.shape[1])
        refuse_non_finite(flat, start)
        return flat.reshape(-1, m, m)

    def _set_size(self, m: int | None) -> None:
        """Fix the size without X, or with None forget it."""
        for name in ("matrix_size_", "n_features_in_", "feature_names_in_", "_size_is_named"):
            self.__dict__.pop(name, None)
        if m is not None:
            self.matrix_size_ = int(m)
            self.n_features_in_ = self.matrix_size_**2
            self._size_is_named = True

    def _table(self) -> str | None:
        """Return the kind of table that ``set_output`` or the global configuration asks for, if any."""
        container = _get_output_config("transform", self)["dense"]
        return None if container == "default" else container

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the columns of a flat stack of inverses: those of the stack itself.

        Parameters
        ----------
        input_features : array-like of str, optional
            Must match ``feature_names_in_`` where there is one.

        Returns
        -------
        ndarray of str
            The names of ``feature_names_in_``, or else ``"x0"``, ``"x1"`` and so on.

        Raises
        ------
        NotFittedError
            If no size is fixed, so that the number of columns is not known.

        Examples
        --------
        >>> from skdmi import ExactInverter
        >>> ExactInverter().fit(np.eye(2)[None]).get_feature_names_out().tolist()
        ['x0', 'x1', 'x2', 'x3']
        """
        if not hasattr(self, "n_features_in_"):
            # set_output takes these words of scikit-learn's for leave to number the columns instead.
            raise NotFittedError(
                f"{type(self).__name__} does not provide get_feature_names_out until fit has fixed the matrix size."
            )
        return super().get_feature_names_out(input_features)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
