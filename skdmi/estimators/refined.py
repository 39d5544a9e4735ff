"""``RefinedInverter``: refine to a tolerance, certify each matrix, hand the few others to an exact method, report."""

from collections.abc import Iterator
from numbers import Integral, Real
from typing import Any, Literal

import numpy as np
import torch
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from torch import Tensor

from skdmi.arrays import to_numpy
from skdmi.containers import computable, is_for_routes
from skdmi.estimators.determinants import slogdet_of
from skdmi.estimators.direct import invert_directly
from skdmi.estimators.exporting import as_float32, describe, drawn, size_in_file, source_of
from skdmi.estimators.meta import MetaInverter, invert_with
from skdmi.estimators.policies import SINGULAR_POLICIES, UNCERTIFIED_POLICIES, settle_status
from skdmi.estimators.report import SOURCES, InversionReport
from skdmi.estimators.singular import pseudo_inverse_bound, with_pseudo_inverses
from skdmi.estimators.solution import (
    PINV,
    Outcome,
    Solution,
    from_lapack,
    from_network,
    in_parts,
    on_device,
    rounding_goal,
)
from skdmi.estimators.tight import invert_tightly
from skdmi.figures import CERTIFIED, CONVERGED, LOOSE, Figures
from skdmi.io.format import PathLike
from skdmi.linalg.complex import embedded, of_embedding
from skdmi.linalg.residuals import missing
from skdmi.metrics import frobenius_residuals
from skdmi.typing import ExportPolicy, SingularPolicy, UncertifiedPolicy


class RefinedInverter(MetaInverter):
    r"""Finish and certify the inverses of another inverter.

    1. *Start* with the inverses of ``inverter``, or without one with direct ones, by the fastest route for the size
       (:data:`skdmi.api.ROUTES`).
    2. *Refine* each matrix, in float64 and equilibrated, until its residual norms :math:`\|I - A X\|_F` and
       :math:`\|I - X A\|_F` are at most ``tol`` (:func:`skdmi.iteration.refine`); matrices that have finished are left
       alone.
    3. *Certify* the result (:func:`skdmi.linalg.certify`): a proof that A is nonsingular, with a bound on the error of
       the very bits that are returned, the rounding to the dtype of A included.
    4. *What is not certified* goes to ``uncertified``, and so does what is certified with an error bound above 1e-2, or
       without having reached ``tol``. What has no certificate even then is singular to working precision and goes to
       ``singular``; what has one with a bound above 1e-2 is returned, and an ``InaccurateInverseWarning`` names it.

    Nothing uncertified is returned, save under ``uncertified="keep"`` and ``singular="pinv"``. Autocast, TF32 and
    reduced matmul precision weaken none of it: they may touch the start, nothing after.

    Parameters
    ----------
    inverter : estimator with ``fit`` and ``transform``, default=None
        Whose inverses to refine: cloned and fitted by ``fit``; a fitted one goes inside through
        :class:`sklearn.frozen.FrozenEstimator`. None inverts directly, in a fraction of LAPACK's time on a CPU where
        numba is installed; what that leaves is corrected once, not stepwise.
    tol : "auto" or float, default="auto"
        Residual norm to refine to, or of direct inverses that is small enough. ``"auto"`` is what rounding allows,
        :math:`10 u\, \| |A|\,|X| \|_F` with u the unit roundoff of the dtype; and the same of :math:`I - X A`. A matrix
        with rows or columns of different units meets it in its own units and after equilibration.
    max_steps : int, default=50
        0 certifies what ``inverter``, or the direct route, returns as it is.
    uncertified : {"exact", "nan", "keep", "raise"}, default="exact"
        What to do with an inverse that has no certificate after refinement: invert that matrix by LAPACK in float64,
        refine and certify the result; take it for missing; return it nonetheless; or raise. ``"exact"`` does the same
        with an inverse that is certified, but not accurate or not at ``tol``, and keeps the better one; the others
        leave it as it is.
    singular : {"warn", "raise", "pinv"}, default="warn"
        What to do with a matrix that has no certified inverse even then: return NaN and warn once, naming the indices;
        raise; or return the Moore-Penrose pseudo-inverse. ``invert`` neither warns, raises nor puts pseudo-inverses:
        there they are NaN.
    tight : bool, default=False
        Whether to refine by residuals in twice the precision, until X is the exact inverse rounded, or nearly, and to
        bound every entry (:func:`skdmi.linalg.refine_tightly`). Then a matrix is certified as it is stored, not with
        all that rounds to it, up to condition numbers beyond ``1 / u``: whether its last digits mean anything is for
        the user to know. ``tol`` has no part in it. With ``max_steps=0`` nothing is refined, but bounded as it is.
    verbose : int, default=0
        1 shows on a terminal, of ``transform``, the rate and the time that remains (:mod:`skdmi.progress`).

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

    All dtypes are computed in float64 and rounded once, so that the error bound of a float32 inverse is near the unit
    roundoff. A matrix is refused where another one that rounds to it may be singular: float32 matrices from condition
    numbers of about 1e6 on, and half precision likewise, as the float32 numbers that it holds. Their float64 copies may
    well be certified, and the warning says so.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmi import RefinedInverter, load_pretrained
    >>> A = np.random.default_rng(0).uniform(-1, 1, (1000, 3, 3))
    >>> report = RefinedInverter(load_pretrained("uniform-3x3-short")).report(A)
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
        "tight": ["boolean"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        inverter: Any = None,
        *,
        tol: float | Literal["auto"] = "auto",
        max_steps: int = 50,
        uncertified: UncertifiedPolicy = "exact",
        singular: SingularPolicy = "warn",
        tight: bool = False,
        verbose: int = 0,
    ) -> None:
        self.inverter = inverter
        self.tol = tol
        self.max_steps = max_steps
        self.uncertified = uncertified
        self.singular = singular
        self.tight = tight
        self.verbose = verbose

    def report(self, X: Any, *, left: bool = False, log_det: bool = False) -> InversionReport:
        """Return the inverses together with what is known of each.

        Parameters
        ----------
        X : array-like of shape (n_matrices, m, m) or (n_matrices, m * m)
            A dask array is computed.
        left : bool, default=False
            Measure ``||I - X A||_F`` in place of ``||I - A X||_F``.
        log_det : bool, default=False
            Whether to report log-determinants, see :func:`skdmi.slogdet`.

        Returns
        -------
        InversionReport
            The inverses, as ``transform`` returns them, and what is measured and proved of each.

        Examples
        --------
        >>> import numpy as np
        >>> from skdmi import RefinedInverter
        >>> report = RefinedInverter().report(np.array([[[2.0, 0.0], [0.0, 4.0]]]), log_det=True)
        >>> report.certified, report.log_abs_det.round(6)
        (array([ True]), array([2.079442]))
        """
        self._check_ready()
        given, container, shape = self._open(X, reset=False)
        is_embedded = self._embeds(given)
        if log_det and given.is_complex():
            raise ValueError("log_det=True is for real matrices; see numpy.linalg.slogdet for complex ones.")
        A = embedded(given) if is_embedded else given
        with torch.no_grad():
            is_direct = self._is_direct(A)
            bound = None
            if self.tight:
                solution, bound = self._solve_tightly(A)
            else:
                solution = self._report_directly(A) if is_direct else Solution.joined(list(self._solutions(A)))
            absent = self._absent(solution.outcome)
            solution = solution.without(absent)
            inverse = self._settle(A, solution.outcome, 0)
            is_pinv = absent.clone()
            is_pinv[absent] = ~missing(inverse[absent])
            error_bound, norm = solution.error_bound, solution.residual_norm
            if is_embedded:
                A, norm = given, torch.full_like(norm, torch.nan)
                inverse, error_bound, bound = of_embedding(A, inverse, error_bound, bound)
            if is_pinv.any():
                bounds = pseudo_inverse_bound(A[is_pinv], inverse[is_pinv])
                error_bound = error_bound.index_put((is_pinv,), bounds.to(error_bound))
            unknown = torch.ones_like(absent) if left else is_pinv | (norm.isnan() & ~absent)
            if unknown.any():
                norm = norm.index_put((unknown,), frobenius_residuals(A[unknown], inverse[unknown], left=left))
            tol = self._tolerance()
            converged = (norm <= tol) & (tol < 1)
            if self.tol == "auto":
                unknown = ~solution.has(CONVERGED) | solution.has(LOOSE) | (not is_direct)
                converged = ~unknown & ~absent
                goal = rounding_goal(A[unknown], inverse[unknown], left=left)
                converged[unknown] = (norm[unknown] <= goal) & (goal < 1)
            return InversionReport(
                inverse=container.give(inverse.reshape(shape)),
                residual_norm=to_numpy(norm),
                error_bound=to_numpy(error_bound),
                certified=to_numpy(solution.has(CERTIFIED)),
                converged=to_numpy(converged & (norm < 1) & ~is_pinv),
                n_steps=to_numpy(solution.n_steps),
                source=_names(to_numpy(torch.where(is_pinv, PINV, solution.source))),
                entry_bound=None if bound is None else container.give(_where_known(bound, absent).reshape(shape)),
                **(_log_determinants(A) if log_det else {}),
            )

    def export(
        self,
        path: PathLike,
        X: Any = None,
        *,
        share: float = 0.999,
        certificate: bool = True,
        uncertified: ExportPolicy | None = None,
        opset: int | None = None,
    ) -> None:
        """Write the inverter as one ONNX file, with a fixed number of steps, in float32.

        Without branches every matrix takes the same steps, after the inner network, or after the start of one that
        iterates. They are as few as serve a share of matrices: certified in float32, with a bound ``rho`` that is at
        most ``tol`` or that one step more would not halve. Nothing goes to an exact method, and ``max_steps`` and
        ``singular`` have no part in it. The start of a family goes without its guard: so few steps from another start
        would not certify the matrices that a guard refuses.

        Parameters
        ----------
        path : path
            Replaced if it is there, whole or not at all.
        X : array-like of shape (n_matrices, m, m) or (n_matrices, m * m), optional
            Matrices to choose the number of steps by; a thousand or more for the default share. By default 4,096 of the
            distribution that the inner inverter was trained on, which must be one that needs no data.
        share : float, default=0.999
            Of these matrices, to be served. Of fresh ones a little less may be, as of any sample.
        certificate : bool, default=True
            As for :meth:`NeuralMatrixInverter.export`.
        uncertified : {"keep", "nan", "mask"}, optional
            As for :meth:`NeuralMatrixInverter.export`. By default NaN, as in ``transform``, or where the inverter
            itself keeps what is uncertified, that.
        opset : int, default=18
            Version of the standard operators.

        Raises
        ------
        ImportError
            Without onnx: ``pip install "skdmi[export]"``.
        NotFittedError
            If the inner inverter is not fitted.
        TypeError
            If there is no inner inverter, or one that cannot be exported.
        ValueError
            If an argument is not allowed, X is needed, or no number of steps serves that share.

        Examples
        --------
        >>> import tempfile, pathlib, onnxruntime
        >>> import numpy as np
        >>> from skdmi import NeuralMatrixInverter, RefinedInverter
        >>> A = np.random.default_rng(0).normal(size=(100, 8, 8)) + 20 * np.eye(8)
        >>> inverter = RefinedInverter(NeuralMatrixInverter(max_epochs=0)).fit(A)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder) / "inverse.onnx"
        ...     inverter.export(path, A, share=1)
        ...     session = onnxruntime.InferenceSession(path)
        >>> bool((session.run(["rho"], {"A": A.astype(np.float32)})[0] < 1e-4).all())
        True
        """
        from skdmi.export.files import save  # imports onnx
        from skdmi.export.finish import Ending
        from skdmi.export.fitted import refined

        if uncertified is None:
            uncertified = "nan" if certificate and self.uncertified != "keep" else "keep"
        ending = Ending(certificate, uncertified, opset)
        if isinstance(share, bool) or not (isinstance(share, Real) and 0 < share <= 1):
            raise ValueError(f"share={share!r}; expected a number above 0 and at most 1.")
        self._check_ready()
        source = source_of(*self._wrapped() or [None])
        stacks = drawn(self) if X is None else [self._open(X, reset=False)[0]]
        stacks = [embedded(A) if X is not None and self._embeds(A) else A for A in stacks]
        choice = {"share": float(share), "tol": self._tolerance()}
        model = refined(source, size_in_file(self), ending, describe(self), [as_float32(A) for A in stacks], **choice)
        save(model, path)

    def _invert(self, A: Tensor) -> Outcome:
        """Start, refine, certify, fall back, in parts: what is needed beside the stack does not grow with it."""
        if self.tight:
            outcome = self._solve_tightly(A)[0].outcome
        elif self._is_direct(A):
            X, figures = self._directly(A)
            outcome = Outcome(torch.from_numpy(X), torch.from_numpy(figures.status))
        else:
            parts = (solution.outcome for solution in self._solutions(A))
            outcome = Outcome(*map(torch.cat, zip(*parts, strict=True)))
        return outcome.without(self._absent(outcome))

    def _embeds(self, A: Any) -> bool:
        return super()._embeds(A) and (self.tight or not self._is_direct(A))

    def _is_direct(self, A: Tensor) -> bool:
        return is_for_routes(A) and not self._wrapped()

    def _directly(self, A: Tensor, *, details: bool = False) -> tuple[np.ndarray, Figures]:
        return invert_directly(
            A.resolve_conj().resolve_neg().contiguous().numpy(),
            corrects=self.max_steps > 0,
            tol=self._tolerance(),
            keeps=self.uncertified == "keep",
            details=details,
        )

    def _report_directly(self, A: Tensor) -> Solution:
        return Solution.directly(*self._directly(A, details=True))

    def _solve_tightly(self, A: Tensor) -> tuple[Solution, Tensor]:
        """Return the solution and the bounds of its entries; ``max_steps=0`` leaves the inverses as they are."""
        if self.max_steps > 0 and self._is_direct(A):
            X, figures, bound = invert_tightly(A.contiguous().numpy())
            return Solution.directly(X, figures), torch.from_numpy(bound)
        solution = self._report_directly(A) if self._is_direct(A) else Solution.joined(list(self._solutions(A)))
        return solution.tightened(A, steps=self.max_steps > 0, inverts_again=self.uncertified == "exact")

    def _solutions(self, A: Tensor) -> Iterator[Solution]:
        """Yield the solutions of parts of a stack."""
        for part in in_parts(A):
            yield self._solve(part)

    def _solve(self, A: Tensor) -> Solution:
        tol = self._tolerance()
        wrapped = self._wrapped()
        if not wrapped:
            solve = on_device if A.is_cuda and A.dtype.itemsize >= 4 else from_lapack
            return solve(A, tol=tol, max_steps=self.max_steps)
        start = invert_with(wrapped[0], computable(A), to_refine=self.max_steps > 0)
        solution = from_network(A, start, tol=tol, max_steps=self.max_steps)
        if self.uncertified == "exact":
            wanting = solution.wanting(as_it_is=self.max_steps == 0)
            if wanting.any():
                solution = solution.with_exact(A, wanting, tol)
        return solution

    def _tolerance(self) -> float:
        return 0.0 if self.tol == "auto" else float(self.tol)

    def _absent(self, outcome: Outcome) -> Tensor:
        """Return which inverses are not to be returned."""
        return missing(outcome.inverse) if self.uncertified == "keep" else ~outcome.has(CERTIFIED)

    def _settle(self, A: Tensor, outcome: Outcome, start: int) -> Tensor:
        """Warn of what is not accurate, and say or mend what is missing."""
        X, absent = outcome.inverse, self._absent(outcome)
        policies = {"uncertified": self.uncertified, "singular": self.singular}
        if settle_status(outcome.status, absent, X.dtype, start, **policies):
            return with_pseudo_inverses(A, X, absent, start)
        return X


def _names(source: np.ndarray) -> np.ndarray:
    """Return the names of sources; quickly where there is but one, as there mostly is."""
    names = np.array(SOURCES)
    one: bool = (source == source[0]).all()
    return np.full(len(source), names[source[0]]) if one else names[source]


def _where_known(bound: Tensor, absent: Tensor) -> Tensor:
    """Return the bounds of entries, infinite where there is no inverse."""
    return bound.masked_fill(absent.to(bound.device)[:, None, None], torch.inf)


def _log_determinants(A: Tensor) -> dict[str, np.ndarray]:
    """Return the fields of a report that say what is known of determinants."""
    return {name: to_numpy(field) for name, field in slogdet_of(A)._asdict().items()}
