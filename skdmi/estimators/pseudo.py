"""``PseudoInverter``: pseudo-inverses of rectangular matrices, for pipelines and reports."""

import math
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils._set_output import _get_output_config
from sklearn.utils.validation import validate_data
from torch import Tensor

from skdmi.arrays import as_array, as_contiguous, as_float_array, described, to_numpy
from skdmi.containers import computable
from skdmi.estimators.base import BaseInverter
from skdmi.estimators.pinv import find, find_of_tensor, warn_rank_deficient
from skdmi.estimators.pseudo_report import PseudoInversionReport
from skdmi.estimators.undo import unchanged_on_error
from skdmi.kinds import is_dask, is_tensor
from skdmi.linalg.gradient import with_exact_gradient
from skdmi.linalg.residuals import identity_like, missing
from skdmi.metrics import with_missing_as_zero
from skdmi.validation import refuse_empty


class PseudoInverter(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    r"""Pseudo-invert matrices of one shape, with a proof of full rank and a bound on the error of each.

    :func:`skdmi.pinv` behind the interface of scikit-learn. Stacks come as ``(n_matrices, p, q)`` or flat,
    ``(n_matrices, p * q)``, row-major, and leave as ``(n_matrices, q, p)`` or ``(n_matrices, q * p)``, in float32,
    float64, complex64 or complex128. Nothing is learned, so it needs no ``fit``.

    Parameters
    ----------
    matrix_shape : (int, int)
        The p and q: flat rows do not tell them.
    rtol : "auto" or float, default="auto"
        Singular values that are at most ``rtol`` times the largest count as zero. With "auto" none does where full rank
        is proved; else it is ``max(p, q)`` times the machine epsilon of the dtype.
    damping : float, default=None
        :math:`\lambda` of :math:`(A^T A + \lambda^2 I)^{-1} A^T`.

    Attributes
    ----------
    n_features_in_ : int
        ``p * q``, when fitted.
    feature_names_in_ : ndarray of shape (n_features,)
        Column names, when ``fit`` saw a DataFrame.

    See Also
    --------
    pinv : The function behind it, of stacks of any shape.

    References
    ----------
    Bjoerck, "Numerical methods for least squares problems", SIAM, 1996.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmi import PseudoInverter
    >>> PseudoInverter(matrix_shape=(1, 2)).transform(np.array([[[3.0, 4.0]]]))
    array([[[0.12],
            [0.16]]])
    """

    _parameter_constraints = {
        "matrix_shape": ["array-like"],
        "rtol": [StrOptions({"auto"}), Interval(Real, 0, 1, closed="left")],
        "damping": [Interval(Real, 0, None, closed="left"), None],
    }
    _doc_link_module = "skdmi"
    _doc_link_template = BaseInverter._doc_link_template

    def __init__(
        self, matrix_shape: Sequence[int], *, rtol: float | str = "auto", damping: float | None = None
    ) -> None:
        self.matrix_shape = matrix_shape
        self.rtol = rtol
        self.damping = damping

    def fit(self, X: Any = None, y: Any = None) -> Self:
        """Check the parameters and, with X, that it holds such matrices.

        Parameters
        ----------
        X : array-like of shape (n_matrices, p, q) or (n_matrices, p * q), optional
            Such matrices, or their rows; column names are kept.
        y : ignored
            Present for scikit-learn.

        Returns
        -------
        PseudoInverter
            This estimator.

        Raises
        ------
        ValueError
            If a parameter is not allowed, or X is refused; the estimator is then as it was.

        Examples
        --------
        >>> from skdmi import PseudoInverter
        >>> PseudoInverter(matrix_shape=(6, 7)).fit().n_features_in_
        42
        """
        del y
        with unchanged_on_error(self):
            self.__dict__.pop("feature_names_in_", None)
            self.n_features_in_ = math.prod(self._shape())
            if X is not None:
                self._open(X, reset=True)
        return self

    def transform(self, X: Any) -> Any:
        """Return the pseudo-inverse of every matrix.

        Parameters
        ----------
        X : array-like of shape (n_matrices, p, q) or (n_matrices, p * q)
            Matrices: numpy array, torch tensor, list or DataFrame (flat rows).

        Returns
        -------
        array of shape (n_matrices, q, p) or (n_matrices, q * p)
            In the container and dtype of X; NaN beyond the range of the dtype.

        Raises
        ------
        ValueError
            If X is empty, not finite, or of another shape.

        Warns
        -----
        RankDeficientWarning
            If members have no proof of full rank.

        Examples
        --------
        >>> from skdmi import PseudoInverter
        >>> PseudoInverter(matrix_shape=(1, 2)).transform([[3.0, 4.0]])
        array([[0.12, 0.16]])
        """
        A, give = self._open(X)
        found = find(A, self.rtol, self.damping)
        warn_rank_deficient(found)
        return give(found.inverse)

    def report(self, X: Any) -> PseudoInversionReport:
        """Return pseudo-inverses, and what is known of each; never warns.

        Parameters
        ----------
        X : array-like of shape (n_matrices, p, q) or (n_matrices, p * q)
            The matrices, as for ``transform``.

        Returns
        -------
        PseudoInversionReport
            What is measured and proved of each.

        Examples
        --------
        >>> import numpy as np
        >>> from skdmi import PseudoInverter
        >>> PseudoInverter(matrix_shape=(2, 3)).report(np.eye(2, 3)[None]).error_bound < 1e-14
        array([ True])
        """
        A, give = self._open(X)
        found = find(A, self.rtol, self.damping)
        norms = _residual_norms(A, found.inverse, self.damping)
        return PseudoInversionReport(give(found.inverse), norms, found.error_bound, found.certified, found.rank)

    def score(self, X: Any, y: Any = None) -> float:
        """Return minus the mean residual norm over the stack: larger is better, 0 is perfect.

        Parameters
        ----------
        X : array-like of shape (n_matrices, p, q) or (n_matrices, p * q)
            The matrices, as for ``transform``.
        y : ignored
            Present for scikit-learn.

        Returns
        -------
        float
            At most 0; a pseudo-inverse that is missing counts as the zero matrix would.

        Examples
        --------
        >>> from skdmi import PseudoInverter
        >>> -1e-15 < PseudoInverter(matrix_shape=(1, 2)).score([[3.0, 4.0]]) <= 0
        True
        """
        del y
        norms = self.report(X).residual_norm
        return -float(with_missing_as_zero(norms, 1 if self.damping else min(self._shape())).mean())

    def invert(self, A: Tensor) -> Tensor:
        r"""Pseudo-invert tensors directly: differentiable, without scikit-learn's validation, never warning.

        .. math:: \mathrm{d} X = \mathrm{d} A^T \, W - A^T W \, (\mathrm{d} A \, A^T + A \, \mathrm{d} A^T) \, W,
           \qquad W = (A A^T)^{-1}

        with :math:`\lambda^2 I` beside :math:`A A^T` where there is damping, and of a taller matrix the transposed.

        Parameters
        ----------
        A : Tensor of shape (..., p, q)
            Real or complex.

        Returns
        -------
        Tensor of shape (..., q, p)
            On the device and in the dtype of A. Members with an entry that is not finite are NaN. The derivative of a
            member without a proof of full rank is 0.

        Raises
        ------
        TypeError
            If A is no dense tensor of floating or complex dtype.
        ValueError
            If the last two axes are not those of ``matrix_shape``.

        Examples
        --------
        >>> import torch
        >>> from skdmi import PseudoInverter
        >>> A = torch.tensor([[3.0, 4.0]], dtype=torch.float64, requires_grad=True)
        >>> X = PseudoInverter(matrix_shape=(1, 2)).invert(A)
        >>> X.sum().backward()
        >>> A.grad
        tensor([[-0.0272, -0.0496]], dtype=torch.float64)
        """
        p, q = self._shape()
        if not isinstance(A, Tensor) or not (A.is_floating_point() or A.is_complex()):
            raise TypeError(
                f"invert takes a dense torch tensor of floating or complex dtype, got {described(A)}; transform takes "
                f"arrays."
            )
        if A.shape[-2:] != (p, q):
            raise ValueError(f"Expected A of shape (..., {p}, {q}), got {tuple(A.shape)}.")
        stack = A.reshape(-1, p, q)
        finite = ~missing(stack)[:, None, None]
        stack = torch.where(finite, stack, 0.0)
        with torch.no_grad():
            X, found = find_of_tensor(stack, self.rtol, self.damping)
        proved = torch.from_numpy(found.certified).to(A.device)[:, None, None]
        wide = torch.promote_types(stack.dtype, torch.float32 if A.device.type == "mps" else torch.float64)
        X = _with_derivatives(stack.to(wide), X.to(wide), float(self.damping or 0.0), proved).to(A.dtype)
        return torch.where(finite, X, torch.nan).reshape(*A.shape[:-2], q, p)

    def _shape(self) -> tuple[int, int]:
        """Return p and q, or refuse the parameters."""
        self._validate_params()
        shape = tuple(self.matrix_shape)
        if len(shape) != 2 or not all(isinstance(n, Integral) and n > 0 for n in shape):
            raise ValueError(
                f"Expected matrix_shape to be (p, q), two positive integers, got {self.matrix_shape!r}. Flat rows do "
                f"not tell them."
            )
        return int(shape[0]), int(shape[1])

    def _open(self, X: Any, *, reset: bool = False) -> tuple[np.ndarray, Callable[[np.ndarray], Any]]:
        """Return a stack ``(n_matrices, p, q)``, and a function that gives pseudo-inverses back as X came."""
        p, q = self._shape()
        expected = f"(n_matrices, {p}, {q}) or (n_matrices, {p * q})"
        if is_dask(X):
            raise TypeError("PseudoInverter takes no dask array. Try X.map_blocks(skdmi.pinv, ...).")
        X = as_array(X, shape=expected, allows_complex=True)
        shape = tuple(X.shape)
        if shape[1:] not in ((p, q), (p * q,)):
            advice = f" One matrix is X[None]; of another shape, PseudoInverter(matrix_shape={shape[-2:]})."
            raise ValueError(f"Expected X of shape {expected}, got {shape}.{advice if len(shape) in (2, 3) else ''}")
        refuse_empty(shape)
        table = _get_output_config("transform", self)["dense"]
        if table != "default" and len(shape) == 3:
            raise ValueError(
                f"A stack of shape {shape} cannot become a {table} table. Pass it flat, "
                f"X.reshape({shape[0]}, {p * q}), or set transform_output to 'default'."
            )
        if is_tensor(X):
            tensor = X.detach()
            X = computable(tensor if tensor.is_floating_point() or tensor.is_complex() else tensor.double())
            array, like = to_numpy(X.flatten(1)), tensor if tensor.is_floating_point() else X
        else:
            array, like = self._validated(X, reset), None

        def give(inverse: np.ndarray) -> Any:
            inverse = inverse.reshape(shape[0], q, p) if len(shape) == 3 else inverse.reshape(shape[0], q * p)
            return inverse if like is None else torch.from_numpy(inverse).to(like)

        return as_contiguous(array, writeable=True).reshape(-1, p, q), give

    def _validated(self, X: Any, reset: bool) -> np.ndarray:
        """Return X flat, in float or complex dtype; column names are those of the fit."""
        is_named = hasattr(X, "columns") or hasattr(self, "feature_names_in_")
        if is_named and len(X.shape) == 2 and (reset or hasattr(self, "n_features_in_")):
            validate_data(self, X, reset=reset, skip_check_array=True)
        array = as_float_array(X, allows_complex=True)
        return array.reshape(len(array), -1)

    @property
    def _n_features_out(self) -> int:
        return self.n_features_in_

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.two_d_array = True
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _residual_norms(A: np.ndarray, X: np.ndarray, damping: float | None) -> np.ndarray:
    """Return how far pseudo-inverses are from what they should be, see :class:`PseudoInversionReport`."""
    A, X = (array.astype(np.result_type(array, np.float64)) for array in (A, X))
    adjoint = A.conj().swapaxes(1, 2)
    with np.errstate(all="ignore"):
        if damping is None:
            product = A @ X if A.shape[1] <= A.shape[2] else X @ A
            return np.linalg.norm(np.eye(product.shape[1]) - product, axis=(1, 2))
        missing = adjoint - adjoint @ (A @ X) - damping * (damping * X)
        size = np.linalg.norm(A, axis=(1, 2))
        return np.linalg.norm(missing, axis=(1, 2)) / np.where(size > 0, size, 1.0)


def _with_derivatives(A: Tensor, X: Tensor, damping: float, proved: Tensor) -> Tensor:
    """Return X with the derivatives of the pseudo-inverse of A, damped, where full rank is proved."""
    if A.shape[-2] > A.shape[-1]:
        return _with_derivatives(A.mH, X.mH, damping, proved).mH

    def inverse_of(gram: Tensor) -> Tensor:
        W = torch.linalg.inv_ex(gram).inverse if damping else X.mH @ X
        return torch.where(proved, W, 0.0)

    gram = A @ A.mH + damping**2 * identity_like(A @ A.mH)
    Y = torch.where(proved, A.mH @ with_exact_gradient(gram, inverse_of), 0.0)
    return X + (Y - Y.detach())
