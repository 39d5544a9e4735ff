"""``PseudoInversionReport``: what is known of every pseudo-inverse of a stack."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skdmi.estimators.report import largest_of
from skdmi.typing import BoolArray, Float64Array


@dataclass(frozen=True, eq=False, repr=False)
class PseudoInversionReport:
    r"""The pseudo-inverses of a stack, and for each what was measured and proved; all fields but one numpy arrays.

    Parameters
    ----------
    pseudo_inverse : array of shape (n_matrices, q, p) or (n_matrices, q * p)
        What ``transform`` returns, in the container of the stack.
    residual_norm : ndarray of shape (n_matrices,)
        :math:`\|I - A X\|_F` where p is at most q, else :math:`\|I - X A\|_F`, in float64. With damping
        :math:`\|A^T - (A^T A + \lambda^2 I) X\|_F / \|A\|_F`.
    error_bound : ndarray of shape (n_matrices,)
        Proved upper bound on the relative error of X in the spectral norm. Of what is not certified that of
        :func:`skdmi.linalg.pseudo_inverse`, from the matrix without the singular values that do not count; infinite
        where it has none.
    certified : ndarray of bool, shape (n_matrices,)
        Whether it is proved that A, with damping :math:`[A, \lambda I]`, has full rank, and X is close.
    rank : ndarray of int, shape (n_matrices,)
        Proved where certified, else the number of singular values that count.

    Examples
    --------
    >>> import warnings
    >>> import numpy as np
    >>> from skdmi import PseudoInverter
    >>> A = np.array([[[3.0, 0.0, 4.0], [0.0, 2.0, 0.0]], [[1.0, 0.0, 1.0], [1.0, 0.0, 1.0]]])
    >>> report = PseudoInverter(matrix_shape=(2, 3)).report(A)
    >>> report.certified, report.rank
    (array([ True, False]), array([2, 1]))
    """

    pseudo_inverse: Any
    residual_norm: Float64Array
    error_bound: Float64Array
    certified: BoolArray
    rank: NDArray[np.integer[Any]]

    def __len__(self) -> int:
        return len(self.rank)

    def __repr__(self) -> str:
        return f"<PseudoInversionReport: {self.summary()}>"

    def summary(self) -> str:
        """Return the report in a sentence.

        Returns
        -------
        str
            How many are certified, the ranks, and the largest norm and bound.

        Examples
        --------
        >>> import numpy as np
        >>> from skdmi import PseudoInverter
        >>> print(PseudoInverter(matrix_shape=(1, 2)).report(np.ones((3, 1, 2))).summary())
        3 of 3 certified; 3 of rank 1; largest residual norm ...; largest error bound ...
        """
        ranks, counts = np.unique(self.rank, return_counts=True)
        of_ranks = [f"{n} of rank {rank}" for rank, n in zip(ranks, counts, strict=True)]
        figures = largest_of({"residual norm": self.residual_norm, "error bound": self.error_bound})
        proved = f"{np.count_nonzero(self.certified)} of {len(self)} certified"
        return "; ".join([proved, ", ".join(of_ranks), *figures])
