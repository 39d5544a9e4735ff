"""``InversionReport``: what is known of every inverse of a stack."""

from dataclasses import dataclass
from typing import Any

import numpy as np

SOURCES = ("network", "refined", "exact", "pinv", "none")
INACCURATE = 1e-2
"""An error bound above this is worth a warning."""


@dataclass(frozen=True, eq=False, repr=False)
class InversionReport:
    r"""The inverses of a stack, and for each of them what was measured and proved; all fields but one numpy arrays.

    Attributes
    ----------
    inverse : array of the shape and container of the stack
        What ``transform`` returns.
    residual_norm : ndarray of shape (n_matrices,)
        :math:`\|I - A X\|_F` in float64, or of :math:`I - X A` where the left residual was asked for; NaN where there
        is no inverse.
    error_bound : ndarray of shape (n_matrices,)
        Proved upper bound on :math:`\|X - A^{-1}\| / \|A^{-1}\|`, in the spectral and the Frobenius norm; NaN where
        uncertified. For ``"pinv"`` the bound of :func:`skdmi.linalg.pseudo_inverse`, infinite where it has none.
    certified : ndarray of bool, shape (n_matrices,)
        Whether it is proved that A is nonsingular and X close to its inverse.
    converged : ndarray of bool, shape (n_matrices,)
        Whether the residual norm is at most ``tol``, and below 1.
    n_steps : ndarray of int, shape (n_matrices,)
        Number of refinement steps.
    source : ndarray of str, shape (n_matrices,)
        Where X comes from: ``"network"`` (the inner inverter, as it answered), ``"refined"``, ``"exact"`` (a direct
        route, or LAPACK), ``"pinv"`` or ``"none"``.
    """

    inverse: Any
    residual_norm: np.ndarray
    error_bound: np.ndarray
    certified: np.ndarray
    converged: np.ndarray
    n_steps: np.ndarray
    source: np.ndarray

    def __len__(self) -> int:
        return len(self.source)

    def __repr__(self) -> str:
        return f"<InversionReport: {self.summary()}>"

    @property
    def inaccurate(self) -> np.ndarray:
        """Whether an inverse is certified, but its error bound is above 1e-2; bool, shape (n_matrices,)."""
        return self.certified & (self.error_bound > INACCURATE)

    def summary(self) -> str:
        """Return the report in a sentence.

        Examples
        --------
        >>> import numpy as np
        >>> from skdmi import RefinedInverter
        >>> A = np.array([[[2.0, 1.0], [1.0, 3.0]], [[1.0, 0.0], [0.0, 1.0]]])
        >>> print(RefinedInverter().report(A).summary())
        2 of 2 certified, 2 converged; 2 exact; largest residual norm ...; largest error bound ...
        """
        counts = [f"{n} {name}" for name in SOURCES if (n := np.count_nonzero(self.source == name))]
        proved, converged = np.count_nonzero(self.certified), np.count_nonzero(self.converged)
        parts = [f"{proved} of {len(self)} certified, {converged} converged", ", ".join(counts)]
        for name, values in (("residual norm", self.residual_norm), ("error bound", self.error_bound)):
            if not np.isnan(values).all():
                parts.append(f"largest {name} {np.nanmax(values):.1e}")
        return "; ".join(parts)

    def to_frame(self) -> Any:
        """Return all but the inverses as a pandas DataFrame, a row a matrix.

        Examples
        --------
        >>> import numpy as np
        >>> from skdmi import RefinedInverter
        >>> list(RefinedInverter().report(np.eye(2)[None]).to_frame().columns)
        ['residual_norm', 'error_bound', 'certified', 'converged', 'n_steps', 'source']
        """
        import pandas as pd

        return pd.DataFrame({name: values for name, values in vars(self).items() if name != "inverse"})
