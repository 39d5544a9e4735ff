"""``ExactInverter``: LAPACK in the shape of an inverter."""

from typing import Any, NamedTuple, Self

import numpy as np
import torch
from sklearn.utils._param_validation import StrOptions
from torch import Tensor

from skdmi.containers import computable, is_for_routes
from skdmi.estimators.base import BaseInverter
from skdmi.estimators.direct import invert_directly, route_for
from skdmi.estimators.policies import SINGULAR_POLICIES, float64_hint, is_double, warn_inaccurate
from skdmi.estimators.report import INACCURATE
from skdmi.estimators.singular import settle_singular
from skdmi.estimators.undo import unchanged_on_error
from skdmi.figures import is_sound
from skdmi.linalg.complex import complex_to_real, nearest_complex
from skdmi.linalg.exact import lu_inverse
from skdmi.linalg.residuals import double, in_dtype_of, missing
from skdmi.typing import SingularPolicy


class _Found(NamedTuple):
    """Inverses in the dtype of the matrices, which of them are missing, and which may be far off."""

    inverse: Tensor
    absent: Tensor
    is_inaccurate: Tensor


class ExactInverter(BaseInverter):
    r"""Invert by elimination with partial pivoting: the yardstick of every other inverter, behind the same interface.

    .. math:: P A = L U, \quad X = U^{-1} L^{-1} P

    computed in float64 whatever the dtype of A, on the matrix equilibrated by powers of two, and rounded once: on a CPU
    by the fastest route for the size (:data:`skdmi.api.ROUTES`), of what that does not certify by LAPACK; on a GPU by
    cuSOLVER. Members that are singular to working precision, in the dtype of A, or whose inverse lies
    beyond the range of that, are dealt with one by one and spoil no other member (:func:`skdmi.linalg.exact_inverse`).
    What is left of :math:`I - A X` bounds the error: above 1e-2, ``transform`` warns (``InaccurateInverseWarning``).
    Takes matrices of any size; nothing is learned, so it needs no ``fit``.

    Parameters
    ----------
    singular : {"warn", "raise", "pinv"}, default="warn"
        What ``transform`` does with members that are singular to working precision: return NaN and warn once, naming
        their indices; raise; or return the Moore-Penrose pseudo-inverse. ``invert`` always returns NaN.
    verbose : int, default=0
        1 shows on a terminal, of ``transform``, the rate and the time that remains (:mod:`skdmi.progress`).

    Attributes
    ----------
    matrix_size_ : int
        m, when fitted with X: ``transform`` then keeps to it.
    n_features_in_ : int
        ``m * m``, when fitted with X.
    feature_names_in_ : ndarray of shape (n_features,)
        Column names, when ``fit`` saw a DataFrame.

    See Also
    --------
    skdmi.linalg.exact_inverse : The function behind it.

    References
    ----------
    Higham, "Accuracy and Stability of Numerical Algorithms", 2nd ed., SIAM 2002, chapter 14.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmi import ExactInverter
    >>> ExactInverter().transform(np.array([[[2.0, 0.0], [0.0, 4.0]]]))
    array([[[0.5 , 0.  ],
            [0.  , 0.25]]])
    """

    _parameter_constraints = {"singular": [StrOptions(set(SINGULAR_POLICIES))], "verbose": ["verbose"]}

    def __init__(self, *, singular: SingularPolicy = "warn", verbose: int = 0) -> None:
        self.singular = singular
        self.verbose = verbose

    def fit(self, X: Any = None, y: Any = None) -> Self:
        """Check the parameters and, with X, fix the size of the matrices.

        Parameters
        ----------
        X : array-like of shape (n_matrices, m, m) or (n_matrices, m * m), optional
            Fixes the size of the matrices; by default all sizes are taken.
        y : ignored
            Present for scikit-learn.

        Returns
        -------
        ExactInverter
            This estimator.

        Raises
        ------
        ValueError
            If a parameter is not allowed, or X is refused; the estimator is then as it was.

        Examples
        --------
        >>> import numpy as np
        >>> from skdmi import ExactInverter
        >>> ExactInverter().fit(np.eye(3)[None]).matrix_size_
        3
        """
        del y
        self._validate_params()
        with unchanged_on_error(self):
            if X is None:
                self._set_size(None)
            else:
                self._open_stack(X)
        return self

    def _invert(self, A: Tensor) -> _Found:
        if not is_for_routes(A):
            return _by_lapack(A)
        X, sound = _directly(A.contiguous().resolve_conj().resolve_neg().numpy())
        nowhere = torch.zeros(len(A), dtype=torch.bool, device=A.device)
        found = _Found(torch.from_numpy(X), nowhere, nowhere.clone())
        if sound.all():
            return found
        other = torch.from_numpy(~sound)
        for kept, theirs in zip(found, _by_lapack(A[other]), strict=True):
            kept[other] = theirs
        return found

    def _settle(self, A: Tensor, answer: _Found, start: int) -> Tensor:
        X, absent = answer.inverse, answer.absent
        warn_inaccurate(answer.is_inaccurate, A.dtype, start, "have a residual that tells that")
        n_rescued = 0
        if not is_double(A.dtype) and absent.any():
            n_rescued = int((~missing(lu_inverse(double(_real(A[absent]))).inverse)).sum())
        return settle_singular(A, X, absent, self.singular, start, hint=float64_hint(A.dtype, n_rescued))

    def _check_ready(self) -> None:
        self._validate_params()

    def _embeds(self, A: Any) -> bool:
        return super()._embeds(A) and not is_for_routes(A)

    def _takes_complex(self, *, anew: bool = False) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        return tags


def _directly(A: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what the route of a stack finds, and which inverses are sound."""
    if A.dtype.kind == "c":
        X, figures = invert_directly(A)
    else:
        X = np.empty_like(A)
        figures = route_for(A.shape[-1], len(A)).invert(A, X)
    return X, is_sound(figures.status)


def _real(A: Tensor) -> Tensor:
    return complex_to_real(A) if A.is_complex() else A


def _by_lapack(A: Tensor) -> _Found:
    found = lu_inverse(computable(_real(A)))
    X = in_dtype_of(A, nearest_complex(found.inverse) if A.is_complex() else found.inverse)
    absent = missing(X)
    return _Found(X, absent, ~absent & (found.residual_norm > INACCURATE))
