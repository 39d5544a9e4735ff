"""``InverseSquareRoot``: whitening by inverse square roots, in the shape of a scikit-learn estimator."""

from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils._param_validation import StrOptions
from torch import Tensor
from torch.linalg import matrix_norm

from skdmi.arrays import as_contiguous, to_numpy
from skdmi.containers import computable
from skdmi.estimators.base import BaseInverter
from skdmi.estimators.inv_sqrt import INDEFINITE_POLICIES, NO_COEFFICIENTS, Roots, find, settle
from skdmi.estimators.report import largest_of
from skdmi.estimators.undo import unchanged_on_error
from skdmi.iteration.root_family import learn_coefficients
from skdmi.linalg.complex import embedded, of_embedding
from skdmi.linalg.residuals import double, identity_like
from skdmi.linalg.root_gradient import with_root_gradient
from skdmi.typing import BoolArray, Float64Array, IndefinitePolicy


class _Found(NamedTuple):
    """Inverse square roots, which of them are proved, and bounds on their errors."""

    inverse: Tensor
    certified: Tensor
    error_bound: Tensor


@dataclass(frozen=True, eq=False, repr=False)
class InverseRootReport:
    r"""The inverse square roots of a stack, and for each what was measured and proved; all but one numpy arrays.

    Parameters
    ----------
    inverse_root : array of the shape and container of the stack
        What ``transform`` returns.
    residual_norm : ndarray of shape (n_matrices,)
        :math:`\|I - Z A Z\|_F` in float64; NaN where there is no root.
    error_bound : ndarray of shape (n_matrices,)
        Proved upper bound on :math:`\|Z - A^{-1/2}\|_2 / \|A^{-1/2}\|_2`; NaN where uncertified.
    certified : ndarray of bool, shape (n_matrices,)
        Whether it is proved that A is positive definite, and Z close.
    n_steps : ndarray of int, shape (n_matrices,)
        Number of steps; 0 of what went by eigenvalues.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmi import InverseSquareRoot
    >>> report = InverseSquareRoot().report(np.array([[[4.0]], [[-4.0]]]))
    >>> report.certified, report.error_bound < 1e-14
    (array([ True, False]), array([ True, False]))
    """

    inverse_root: Any
    residual_norm: Float64Array
    error_bound: Float64Array
    certified: BoolArray
    n_steps: NDArray[np.integer[Any]]

    def __len__(self) -> int:
        return len(self.certified)

    def __repr__(self) -> str:
        return f"<InverseRootReport: {self.summary()}>"

    def summary(self) -> str:
        """Return the report in a sentence.

        Returns
        -------
        str
            How many are certified, and the largest norm and bound.

        Examples
        --------
        >>> import numpy as np
        >>> from skdmi import InverseSquareRoot
        >>> print(InverseSquareRoot().report(np.eye(2)[None]).summary())
        1 of 1 certified; largest residual norm ...; largest error bound ...
        """
        figures = largest_of({"residual norm": self.residual_norm, "error bound": self.error_bound})
        return "; ".join([f"{np.count_nonzero(self.certified)} of {len(self)} certified", *figures])


class InverseSquareRoot(BaseInverter):
    r"""Inverse square roots of positive definite matrices: what whitens, with a proof of each.

    .. math:: Z = A^{-1/2}, \qquad \operatorname{cov}(Z x) = I \quad \text{where} \quad \operatorname{cov}(x) = A

    :func:`skdmi.inv_sqrt` behind the interface of scikit-learn, for real symmetric and complex Hermitian stacks.
    Nothing need be learned; fitted on members of a family, it learns the coefficients of its steps from their
    eigenvalues, if that takes fewer steps on members that were held out. A matrix that these do not lead to a proof is
    iterated as without them, so that nothing is lost but time.

    Parameters
    ----------
    indefinite : {"warn", "raise"}, default="warn"
        What ``transform`` does with members that are not proved to be positive definite: return NaN and warn once,
        naming their indices; or raise. ``invert`` always returns NaN.
    verbose : int, default=0
        1 shows on a terminal, of ``transform``, the rate and the time that remains (:mod:`skdmi.progress`).

    Attributes
    ----------
    coefficients_ : ndarray of shape (n_steps, 2)
        Of the first steps, when fitted with X; without rows where none gain.
    matrix_size_ : int
        m, when fitted with X: ``transform`` then keeps to it.
    n_features_in_ : int
        ``m * m``, when fitted with X.
    feature_names_in_ : ndarray of shape (n_features,)
        Column names, when ``fit`` saw a DataFrame.

    See Also
    --------
    inv_sqrt : The function behind it.

    References
    ----------
    Kessy, Lewin and Strimmer, "Optimal whitening and decorrelation", Am. Stat. 72, 2018: of all that whiten, the
    symmetric root changes x least.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmi import InverseSquareRoot
    >>> InverseSquareRoot().transform(np.array([[[4.0, 0.0], [0.0, 16.0]]]))
    array([[[0.5 , 0.  ],
            [0.  , 0.25]]])
    """

    _parameter_constraints = {"indefinite": [StrOptions(set(INDEFINITE_POLICIES))], "verbose": ["verbose"]}

    def __init__(self, *, indefinite: IndefinitePolicy = "warn", verbose: int = 0) -> None:
        self.indefinite = indefinite
        self.verbose = verbose

    def fit(self, X: Any = None, y: Any = None) -> Self:
        """Check the parameters and, with X, fix the size and learn the steps of its family.

        Parameters
        ----------
        X : array-like of shape (n_matrices, m, m) or (n_matrices, m * m), optional
            Members of the family; of members that are not positive definite nothing is learned.
        y : ignored
            Present for scikit-learn.

        Returns
        -------
        InverseSquareRoot
            This estimator.

        Raises
        ------
        ValueError
            If a parameter is not allowed, or X is refused; the estimator is then as it was.

        Examples
        --------
        >>> import numpy as np
        >>> from skdmi import InverseSquareRoot
        >>> InverseSquareRoot().fit(np.eye(3)[None]).matrix_size_
        3
        """
        del y
        self._validate_params()
        with unchanged_on_error(self):
            self.__dict__.pop("coefficients_", None)
            if X is None:
                self._set_size(None)
            else:
                stack = self._open_stack(X)
                self.coefficients_ = learn_coefficients(embedded(stack) if stack.is_complex() else stack)
        return self

    def report(self, X: Any) -> InverseRootReport:
        """Return the inverse square roots together with what is known of each; never warns.

        Parameters
        ----------
        X : array-like of shape (n_matrices, m, m) or (n_matrices, m * m)
            A dask array is computed.

        Returns
        -------
        InverseRootReport
            What is measured and proved of each.

        Examples
        --------
        >>> import numpy as np
        >>> from skdmi import InverseSquareRoot
        >>> InverseSquareRoot().report(np.eye(2)[None]).certified
        array([ True])
        """
        self._check_ready()
        given, container, shape = self._open(X, reset=False)
        A = embedded(given) if self._embeds(given) else given
        found = self._find(A)
        Z, bound = torch.from_numpy(found.root).to(A), torch.from_numpy(found.error_bound)
        norm = _residual_norms(A, Z).cpu()
        if self._embeds(given):
            Z, bound, _ = of_embedding(given, Z, bound)
            norm = norm / 2**0.5
        root = container.give(Z.reshape(shape))
        return InverseRootReport(root, to_numpy(norm), to_numpy(bound), found.certified, found.n_steps)

    def residual_norms(self, X: Any) -> Any:
        r"""Return :math:`\|I - Z A Z\|_F` of every matrix and its computed root, measured in float64.

        Parameters
        ----------
        X : array-like of shape (n_matrices, m, m) or (n_matrices, m * m)
            The matrices, as for ``transform``.

        Returns
        -------
        array of shape (n_matrices,), float64, in the container of X
            NaN where there is no root.

        Examples
        --------
        >>> import numpy as np
        >>> from skdmi import InverseSquareRoot
        >>> InverseSquareRoot().residual_norms(np.eye(2)[None]) < 1e-15
        array([ True])
        """
        return self._apply(X, lambda A, start: _residual_norms(A, self._invert(A).inverse), keeps_shape=False)

    def _invert(self, A: Tensor) -> _Found:
        found = self._find(A)
        root, *known = map(torch.from_numpy, (found.root, found.certified, found.error_bound))
        return _Found(root.to(A), *known)

    def _find(self, A: Tensor) -> Roots:
        stack = as_contiguous(to_numpy(computable(A.detach())))
        return find(stack, getattr(self, "coefficients_", NO_COEFFICIENTS))

    def _settle(self, A: Tensor, answer: _Found, start: int) -> Tensor:
        settle(answer.certified.numpy(), answer.error_bound.numpy(), self.indefinite, start)
        return answer.inverse

    def _inverse(self, A: Tensor) -> Tensor:
        return with_root_gradient(A, lambda A: self._invert(A).inverse)

    def _check_ready(self) -> None:
        self._validate_params()

    def _takes_complex(self, *, anew: bool = False) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        return tags


def _residual_norms(A: Tensor, Z: Tensor) -> Tensor:
    A, Z = double(A), double(Z)
    return matrix_norm(identity_like(A) - Z @ A @ Z)
