"""``FamilyPreconditioner``: a few factorised members of a family stand for all of it."""

from numbers import Integral
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
from scipy.optimize import nnls
from scipy.sparse.linalg import LinearOperator, SuperLU, splu
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted, check_random_state

from skdmi.estimators.undo import unchanged_on_error
from skdmi.preconditioners.systems import are_many, as_systems


class FamilyPreconditioner(TransformerMixin, BaseEstimator):
    r"""Precondition the systems of one family by what was factorised once, at the fit.

    With :math:`D = \operatorname{diag} |A|` of the system itself, and :math:`\hat A = D^{-1/2} A D^{-1/2}`,

    .. math:: M = D^{-1/2} \Big( \sum_j c_j \hat A_j^{-1} \Big) D^{-1/2}, \qquad c \ge 0

    where the atoms :math:`\hat A_j` are the mean of the scaled members and, beyond it, means of groups of them that
    k-means finds among their entries. The coefficients are the least-squares fit of :math:`\hat A \sum_j c_j \hat
    A_j^{-1} v = v` on a few vectors v, nonnegative ones. So M is symmetric where the members are, and positive definite
    where they are, whatever A is, up to rounding; and no system is factorised after the fit. This is the family start
    of :class:`skdmi.NeuralMatrixInverter` for matrices whose inverses are too large to be formed.

    Parameters
    ----------
    n_atoms : int, default=1
        Number of atoms: each costs a solution by its factors in every application.
    n_probes : int, default=2
        Number of vectors v. With one atom there is nothing to fit but a scale, and none is taken.
    random_state : int, RandomState or None, default=None
        Of k-means, and of the vectors.

    Attributes
    ----------
    atoms_ : list of csc_array
        The scaled matrices that are factorised.
    n_features_in_ : int
        The number of unknowns.

    See Also
    --------
    BlockJacobi : One that needs no examples.

    References
    ----------
    Ghanem and Kruger, "Numerical solution of spectral stochastic finite element systems", Comput. Methods Appl. Mech.
    Eng. 129, 1996, precondition by the mean.

    Examples
    --------
    >>> import scipy.sparse as sp
    >>> from skdmi.preconditioners import FamilyPreconditioner
    >>> K = sp.diags_array([[-1.0] * 99, [2.0] * 100, [-1.0] * 99], offsets=[-1, 0, 1])
    >>> family = [K + c * sp.eye_array(100) for c in (0.1, 0.2, 0.3)]
    >>> M = FamilyPreconditioner().fit(family).transform(family[1])
    >>> bool(np.abs(family[1] @ (M @ np.ones(100)) - 1).max() < 0.1)
    True
    """

    _parameter_constraints = {
        "n_atoms": [Interval(Integral, 1, None, closed="left")],
        "n_probes": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(self, *, n_atoms: int = 1, n_probes: int = 2, random_state: Any = None) -> None:
        self.n_atoms = n_atoms
        self.n_probes = n_probes
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Factorise the mean of example systems, and means of groups of them.

        Parameters
        ----------
        X : list of sparse matrices or arrays of shape (n, n)
            Members of the family; one is a family, too.
        y : ignored
            Present for scikit-learn.

        Returns
        -------
        FamilyPreconditioner
            This estimator.

        Raises
        ------
        TypeError, ValueError
            If a parameter or X is refused, an atom is singular, or a diagonal has a zero; the estimator is then as it
            was.

        Examples
        --------
        >>> import scipy.sparse as sp
        >>> len(FamilyPreconditioner(n_atoms=2, random_state=0).fit([sp.eye_array(5), 4 * sp.eye_array(5)]).atoms_)
        1
        """
        del y
        with unchanged_on_error(self):
            self._validate_params()
            systems = as_systems(X)
            self.n_features_in_ = systems[0].shape[0]
            scaled = [_scaled(A)[0] for A in as_systems(X, self.n_features_in_)]
            random = check_random_state(self.random_state)
            self.atoms_ = _atoms(scaled, self.n_atoms, random)
            self._probes = random.standard_normal((self.n_features_in_, self.n_probes))
            self._factors = [_factorised(atom) for atom in self.atoms_]
        return self

    def transform(self, X: Any) -> LinearOperator | list[LinearOperator]:
        """Return the preconditioner of a system, or a list of those of a list.

        Parameters
        ----------
        X : sparse matrix, array of shape (n, n), or list of them
            Of the family; of what is not, it converges slowly.

        Returns
        -------
        scipy.sparse.linalg.LinearOperator, or list of them
            M, near the inverse, float64.

        Raises
        ------
        TypeError, ValueError
            If X is refused.

        Examples
        --------
        >>> import scipy.sparse as sp
        >>> FamilyPreconditioner().fit([sp.eye_array(5)]).transform(4 * sp.eye_array(5)) @ np.ones(5)
        array([0.25, 0.25, 0.25, 0.25, 0.25])
        """
        check_is_fitted(self)
        operators = [self._operator(A) for A in as_systems(X, self.n_features_in_)]
        return operators if are_many(X) else operators[0]

    def _operator(self, A: sp.csr_array) -> LinearOperator:
        scaled, root = _scaled(A)
        coefficients = self._coefficients(scaled)
        factors = [(c, factor) for c, factor in zip(coefficients, self._factors, strict=True) if c > 0]

        def apply(B: np.ndarray, mode: str) -> np.ndarray:
            if np.iscomplexobj(B):
                return apply(B.real, mode) + 1j * apply(B.imag, mode)
            scale = root if B.ndim == 1 else root[:, None]
            B = np.asarray(B, np.float64) / scale
            return sum(c * factor.solve(B, mode) for c, factor in factors) / scale

        return LinearOperator(
            A.shape,
            matvec=lambda b: apply(b.ravel(), "N"),
            rmatvec=lambda b: apply(b.ravel(), "T"),
            matmat=lambda B: apply(B, "N"),
            rmatmat=lambda B: apply(B, "T"),
            dtype=np.float64,
        )

    def _coefficients(self, scaled: sp.csr_array) -> np.ndarray:
        if len(self._factors) == 1:
            return np.ones(1)
        images = [scaled @ factor.solve(self._probes) for factor in self._factors]
        coefficients, _ = nnls(np.stack([image.ravel() for image in images], axis=1), self._probes.ravel())
        return coefficients if coefficients.any() else np.full(len(images), 1 / len(images))

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        state.pop("_factors", None)  # They cannot be pickled.
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "atoms_" in state:
            self._factors = [_factorised(atom) for atom in self.atoms_]


def _scaled(A: sp.csr_array) -> tuple[sp.csr_array, np.ndarray]:
    """Return a system with 1 or -1 on its diagonal, and the roots of what that was."""
    if A.dtype.kind == "c":
        raise TypeError("FamilyPreconditioner takes real systems, got complex ones. BlockJacobi takes both.")
    root = np.sqrt(np.abs(A.diagonal().astype(np.float64)))
    if not root.all():
        first = int(np.flatnonzero(root == 0)[0])
        raise ValueError(
            f"A system has a zero on its diagonal, in row {first}. Expected none: systems are scaled by them."
        )
    inverse = sp.diags_array(1 / root)
    scaled = (inverse @ A.astype(np.float64) @ inverse).tocsr()
    if not np.isfinite(scaled.data).all():
        raise ValueError("A system overflows where its diagonal is scaled to one. Expected larger diagonal entries.")
    return scaled, root


def _atoms(scaled: list[sp.csr_array], n_atoms: int, random: np.random.RandomState) -> list[sp.csc_array]:
    """Return the means of groups of systems that are alike in their entries."""
    if n_atoms == 1 or len(scaled) == 1:
        return [_mean(scaled)]
    from sklearn.cluster import KMeans

    pattern = sum(abs(A) for A in scaled).tocsr()
    rows, columns = pattern.nonzero()
    entries = np.stack([np.asarray(A[rows, columns]).ravel() for A in scaled])
    n_groups = min(n_atoms, len(np.unique(entries, axis=0)))
    groups = KMeans(n_groups, n_init=4, random_state=random).fit_predict(entries)
    return [_mean([scaled[k] for k in np.flatnonzero(groups == group)]) for group in np.unique(groups)]


def _mean(systems: list[sp.csr_array]) -> sp.csc_array:
    return sp.csc_array(sum(systems) / len(systems))


def _factorised(atom: sp.csc_array) -> SuperLU:
    try:
        factor = splu(atom, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
        if _is_accurate(factor, atom):
            return factor
    except RuntimeError:  # a zero pivot on the diagonal
        pass
    try:
        return splu(atom)
    except RuntimeError as error:
        raise ValueError(f"The mean of the members is singular: {error}. Expected members of one family.") from error


def _is_accurate(factor: SuperLU, atom: sp.csc_array) -> bool:
    """Return whether pivots on the diagonal were large enough, by the backward error of one solution."""
    b = np.cos(np.arange(atom.shape[0]))
    x = factor.solve(b)
    allowed = 1e-12 * (abs(atom) @ np.abs(x) + np.abs(b)).max()
    return bool(np.abs(atom @ x - b).max() <= allowed)
