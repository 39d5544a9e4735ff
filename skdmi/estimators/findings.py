"""``Findings``: what is proved of matrices and their alleged inverses."""

from typing import Any, NamedTuple

import numpy as np


class Findings(NamedTuple):
    """Arrays or tensors of shape (n_matrices,), but for the entry bounds; of a structure nobody named None."""

    certified: Any
    """bool: A as it is stored is proved to be nonsingular, and X to be as near its inverse as a finite bound says."""
    robust: Any
    """bool: so is every matrix that rounds to A."""
    error_bound: Any
    residual_norm: Any
    left_residual_norm: Any
    condition_lower: Any
    condition_upper: Any
    entry_bound: Any = None
    structured: Any = None
    positive_definite: Any = None
    smallest_eigenvalue: Any = None


def of_embedding(found: Findings) -> Findings:
    r"""Return what is proved of complex matrices and inverses, from what is proved of their embeddings.

    Relative errors and eigenvalues are the same, Frobenius norms those of the embedding over the root of two. As
    :math:`|z| \le |\Re z| + |\Im z| \le \sqrt 2\, |z|`, the norms :math:`\|A\|_1` and :math:`\|A^{-1}\|_1` are at most
    those of the embedding, and at least those over the root of two.

    Parameters
    ----------
    found : Findings
        Numpy arrays.

    Examples
    --------
    >>> one = np.ones(1)
    >>> of_embedding(Findings(one, one, one, one, one, 4 * one, 8 * one)).condition_lower
    array([2.])
    """
    entry_bound = found.entry_bound
    if entry_bound is not None:
        m = entry_bound.shape[-1] // 2
        upper, lower = entry_bound[:, :m], entry_bound[:, m:]
        parts = np.fmin(upper[..., :m], lower[..., m:]), np.fmin(lower[..., :m], upper[..., m:])
        with np.errstate(over="ignore"):
            entry_bound = np.hypot(*parts) * (1 + 2.0**-40) + 2.0**-1022
    return found._replace(
        residual_norm=found.residual_norm / 2**0.5,
        left_residual_norm=found.left_residual_norm / 2**0.5,
        condition_lower=np.maximum(found.condition_lower / 2, 1.0),
        entry_bound=entry_bound,
    )
