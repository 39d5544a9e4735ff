"""``RefinedInverter``: refine to a tolerance, certify each matrix, hand the few others to an exact method, report."""

from numbers import Integral, Real
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from torch import Tensor

from skdmi.base import SINGULAR_POLICIES, BaseInverter, name_indices, settle_singular, unchanged_on_error
from skdmi.door import Door, computable, is_dask, to_numpy
from skdmi.exceptions import UncertifiedError
from skdmi.linalg import certify, double, exact_inverse, frobenius_norm, missing, refine, with_exact_gradient
from skdmi.meta import check_size, clone_and_fit, fitted_inner, invert_with, known_size, requires_fit
from skdmi.metrics import frobenius_residuals
from skdmi.report import SOURCES, InversionReport

__all__ = ["UNCERTIFIED_POLICIES", "InversionReport", "RefinedInverter"]

UNCERTIFIED_POLICIES = ("exact", "nan", "keep", "raise")
NETWORK, REFINED, EXACT, PINV, NONE = range(len(SOURCES))


class RefinedInverter(BaseInverter):
    r"""Finish and certify the inverses of another inverter: results to be trusted without looking.

    1. *Start* with the inverses of ``inverter``, or without one with :math:`c A^T`.
    2. *Refine* each matrix until its residual norm :math:`\|I - A X\|_F` is at most ``tol``
       (:func:`skdmi.linalg.refine`); matrices that have finished are left alone.
    3. *Certify* the very bits that will be returned (:func:`skdmi.linalg.certify`): a proof that A is nonsingular, with
       a bound on the error of X.
    4. *What is not certified* goes to ``uncertified``; what has no certificate even then is singular to working
       precision and goes to ``singular``.

    Nothing uncertified is returned, save under ``uncertified="keep"`` and ``singular="pinv"``. Autocast, TF32 and
    reduced matmul precision weaken none of it: they may touch the start, nothing after.

    Parameters
    ----------
    inverter : estimator with ``fit`` and ``transform``, default=None
        Whose inverses to refine: cloned and fitted by ``fit``; a fitted one goes inside through
        :class:`sklearn.frozen.FrozenEstimator`. None is the untrained minimal-residual iteration, the baseline of what
        a network buys.
    tol : "auto" or float, default="auto"
        Residual norm to refine to. ``"auto"`` is what rounding allows, :math:`10 u\, \| |A|\,|X| \|_F` with u the unit
        roundoff of the dtype; and the same of :math:`I - X A`.
    max_steps : int, default=50
        0 certifies what ``inverter`` returns as it is.
    uncertified : {"exact", "nan", "keep", "raise"}, default="exact"
        What to do with an inverse that has no certificate after refinement: invert that matrix by LAPACK in float64 and
        certify the result; take it for missing; return it nonetheless; or raise.
    singular : {"warn", "raise", "pinv"}, default="warn"
        What to do with a matrix that has no certified inverse even then: return NaN and warn once, naming the indices;
        raise; or return the Moore-Penrose pseudo-inverse. ``invert`` neither warns, raises nor puts pseudo-inverses:
        there they are NaN.

    Attributes
    ----------
    inverter_ : estimator or None
        The fitted clone of ``inverter``.
    matrix_size_, n_features_in_ : int
        m and ``m * m``: of X if ``fit`` was given one, else those of ``inverter_`` if it has them.
    feature_names_in_ : ndarray of shape (m * m,)
        Column names, when ``fit`` saw a DataFrame.

    See Also
    --------
    NeuralMatrixInverter : A learned start.
    ExactInverter : LAPACK alone.

    Notes
    -----
    Needs no ``fit`` where ``inverter`` needs none. The gradient of ``invert`` is the exact one,
    :math:`-X^T G X^T`, without a pass through the steps.

    Half precision is computed in float32, and the certificate is that of the half-precision bits returned: few matrices
    of condition number above 500 have one.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmi import RefinedInverter, load_pretrained
    >>> A = np.random.default_rng(0).uniform(-1, 1, (1000, 3, 3))
    >>> report = RefinedInverter(load_pretrained("uniform-3x3")).report(A)
    >>> bool(report.certified.all()), set(report.source.tolist())
    (True, {'refined'})
    >>> bool(report.residual_norm.max() < 1e-12)
    True
    """

    _parameter_constraints = {
        "inverter": [HasMethods(["fit", "transform"]), None],
        "tol": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "max_steps": [Interval(Integral, 0, None, closed="left")],
        "uncertified": [StrOptions(set(UNCERTIFIED_POLICIES))],
        "singular": [StrOptions(set(SINGULAR_POLICIES))],
    }

    def __init__(
        self,
        inverter: Any = None,
        *,
        tol: float | str = "auto",
        max_steps: int = 50,
        uncertified: str = "exact",
        singular: str = "warn",
    ) -> None:
        self.inverter = inverter
        self.tol = tol
        self.max_steps = max_steps
        self.uncertified = uncertified
        self.singular = singular

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
        self : RefinedInverter

        Raises
        ------
        ValueError
            If X holds matrices of another size than a frozen ``inverter`` takes.
        """
        self._validate_params()
        with unchanged_on_error(self):
            stack = None if X is None else to_numpy(self._open_stack(X))
            inner = None if self.inverter is None else clone_and_fit(self.inverter, stack, y)
            if stack is None:
                self._set_size(getattr(inner, "matrix_size_", None))
            else:
                check_size(inner, stack.shape[-1])
            self.inverter_ = inner
        return self

    def report(self, X: Any, *, left: bool = False) -> InversionReport:
        """Return the inverses together with what is known of each.

        Parameters
        ----------
        X : array-like of shape (n_matrices, m, m) or (n_matrices, m * m)
            A dask array is computed.
        left : bool, default=False
            Measure ``||I - X A||_F`` in place of ``||I - A X||_F``.

        Returns
        -------
        report : InversionReport
        """
        self._check_ready()
        X = X.compute() if is_dask(X) else X
        door = Door.open(self, X)
        A = door.stack
        with torch.no_grad():
            solution = self._solve(A)
            inverse = self._settle(A, solution.inverse, 0)
            norm = frobenius_residuals(A, inverse, left=left)
            goal = _rounding(A, inverse, left=left) if self.tol == "auto" else self.tol
            source = torch.where(missing(solution.inverse) & ~missing(inverse), PINV, solution.source)
            return InversionReport(
                inverse=door.pass_through(lambda A, start: inverse, keeps_shape=True),
                residual_norm=to_numpy(norm),
                error_bound=to_numpy(solution.error_bound),
                certified=to_numpy(solution.certified),
                converged=to_numpy((norm <= goal) & norm.isfinite()),
                n_steps=to_numpy(solution.n_steps),
                source=np.array(SOURCES)[to_numpy(source)],
            )

    def _invert_in_dtype(self, A: Tensor) -> Tensor:
        return with_exact_gradient(A, lambda A: self._solve(A).inverse)

    def _settle(self, A: Tensor, X: Tensor, start: int) -> Tensor:
        chosen = missing(X)
        if self.uncertified == "raise" and chosen.any():
            raise UncertifiedError(
                f"{int(chosen.sum())} of {len(A)} inverses have no certificate after refinement, "
                f"at index {name_indices(chosen, start)}. "
                f"uncertified='exact' inverts those matrices by LAPACK, 'nan' and 'keep' do not raise."
            )
        return settle_singular(A, X, self.singular, start)

    def _check_ready(self) -> None:
        self._validate_params()
        fitted_inner(self)

    def _inner_size(self) -> int | None:
        return known_size(getattr(self, "inverter_", self.inverter))

    def _solve(self, A: Tensor) -> "_Solution":
        """Start, refine, certify, fall back; A of any real floating dtype, finite, shape ``(n_matrices, m, m)``."""
        inner = fitted_inner(self)
        given = computable(A)
        start = None if inner is None else invert_with(inner, given)
        tol = 0.0 if self.tol == "auto" else float(self.tol)
        refined = refine(given, start, tol=tol, max_steps=self.max_steps)
        source = torch.where(refined.n_steps > 0, REFINED, NETWORK if inner is not None else REFINED)
        solution = _certified(A, refined.inverse, source, refined.n_steps)
        if self.uncertified == "keep":
            return solution.without(missing(solution.inverse))
        bad = ~solution.certified
        if self.uncertified == "exact" and bad.any():
            solution = solution.with_exact(A, bad)
        return solution.without(~solution.certified)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = requires_fit(self.inverter)
        return tags


class _Solution(NamedTuple):
    """Inverses in the dtype of the matrices, and what is known of each; all on the device of the matrices."""

    inverse: Tensor
    certified: Tensor
    error_bound: Tensor
    source: Tensor
    n_steps: Tensor

    def without(self, chosen: Tensor) -> "_Solution":
        """Return the solution with some of the inverses missing."""
        return self._replace(
            inverse=torch.where(chosen[:, None, None], torch.nan, self.inverse),
            source=torch.where(chosen, NONE, self.source),
        )

    def with_exact(self, A: Tensor, chosen: Tensor) -> "_Solution":
        """Return the solution with some of the inverses replaced by those of LAPACK."""
        part = A[chosen]
        source = torch.full_like(self.source[chosen], EXACT)
        exact = _certified(part, exact_inverse(double(part)), source, self.n_steps[chosen])
        index = chosen.nonzero().flatten()
        return self._replace(
            inverse=self.inverse.index_copy(0, index, exact.inverse),
            certified=self.certified.index_copy(0, index, exact.certified),
            error_bound=self.error_bound.index_copy(0, index, exact.error_bound),
            source=self.source.index_copy(0, index, exact.source),
        )


def _certified(A: Tensor, X: Tensor, source: Tensor, n_steps: Tensor) -> _Solution:
    """Bring X, float64, to the device and dtype of A, and certify what has become of it."""
    X = X.to(A)
    certificate = certify(computable(A), computable(X))
    return _Solution(X, *(t.to(A.device) for t in (certificate.certified, certificate.error_bound, source, n_steps)))


def _rounding(A: Tensor, X: Tensor, *, left: bool) -> Tensor:
    r"""Return :math:`10 u \| |A|\,|X| \|_F`, or with ``left`` :math:`10 u \| |X|\,|A| \|_F`, u that of A's dtype.

    The very norm that ``tol="auto"`` promises; :func:`skdmi.linalg.rounding_floor`, where refinement stops, is a lower
    bound of two fifths of it that needs no product.
    """
    first, second = (X, A) if left else (A, X)
    return 5 * torch.finfo(A.dtype).eps * frobenius_norm(double(first).abs() @ double(second).abs())
