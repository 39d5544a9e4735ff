"""``Findings``: what is proved of matrices and their alleged inverses."""

from typing import Any, NamedTuple


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
