"""``InversionReport``: what is known of every inverse of a stack."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skdmi.typing import BoolArray, Float64Array

SOURCES = ("network", "refined", "exact", "pinv", "none")
INACCURATE = 1e-2
"""An error bound above this is worth a warning."""


@dataclass(frozen=True, eq=False, repr=False)
class InversionReport:
    r"""The inverses of a stack, and for each of them what was measured and proved; all fields but one numpy arrays.

    Parameters
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
    entry_bound : array of the shape and container of the stack, or None
        Of a tight inverter: proved upper bounds on :math:`|X - A^{-1}|`, entry by entry, float64; infinite where
        uncertified. The error bound is one in the Frobenius norm then.
    sign, log_abs_det, log_abs_det_bound : ndarray of shape (n_matrices,) or None
        If asked for: sign of the determinant, natural logarithm of its absolute value, and how far that may be off, see
        :func:`skdmi.slogdet`.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmi import RefinedInverter
    >>> report = RefinedInverter(singular="pinv").report(np.array([np.diag([2.0, 4.0]), np.ones((2, 2))]))
    >>> report.certified, report.source
    (array([ True, False]), array(['exact', 'pinv'], ...))
    >>> report.inverse[0]
    array([[0.5 , 0.  ],
           [0.  , 0.25]])
    """

    inverse: Any
    residual_norm: Float64Array
    error_bound: Float64Array
    certified: BoolArray
    converged: BoolArray
    n_steps: NDArray[np.integer[Any]]
    source: NDArray[np.str_]
    entry_bound: Any = None
    sign: Float64Array | None = None
    log_abs_det: Float64Array | None = None
    log_abs_det_bound: Float64Array | None = None

    def __len__(self) -> int:
        return len(self.source)

    def __repr__(self) -> str:
        return f"<InversionReport: {self.summary()}>"

    @property
    def inaccurate(self) -> BoolArray:
        """Whether an inverse is certified, but its error bound is above 1e-2; bool, shape (n_matrices,).

        Examples
        --------
        >>> import numpy as np
        >>> from skdmi import RefinedInverter
        >>> RefinedInverter().report(np.eye(2)[None]).inaccurate
        array([False])
        """
        return self.certified & (self.error_bound > INACCURATE)

    def summary(self) -> str:
        """Return the report in a sentence.

        Returns
        -------
        str
            How many inverses are certified and converged, where they come from, and the largest norm and bound.

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
        parts += largest_of({"residual norm": self.residual_norm, "error bound": self.error_bound})
        return "; ".join(parts)

    def to_frame(self) -> Any:
        """Return all but the inverses and the bounds of their entries as a table.

        Returns
        -------
        pandas.DataFrame
            A row a matrix, a column a field.

        Examples
        --------
        >>> import numpy as np
        >>> from skdmi import RefinedInverter
        >>> list(RefinedInverter().report(np.eye(2)[None]).to_frame().columns)
        ['residual_norm', 'error_bound', 'certified', 'converged', 'n_steps', 'source']
        """
        import pandas as pd

        stacks = ("inverse", "entry_bound")
        known = {name: values for name, values in vars(self).items() if name not in stacks and values is not None}
        return pd.DataFrame(known)


def largest_of(figures: dict[str, np.ndarray]) -> list[str]:
    """Return in words the largest of every figure that is known somewhere.

    >>> largest_of({"error bound": np.array([1e-16, np.nan]), "residual norm": np.array([np.nan])})
    ['largest error bound 1.0e-16']
    """
    known = {name: values for name, values in figures.items() if not np.isnan(values).all()}
    return [f"largest {name} {np.nanmax(values):.1e}" for name, values in known.items()]
