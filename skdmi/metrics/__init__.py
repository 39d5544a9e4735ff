"""How good inverses are: residuals and errors of stacks, shares within a tolerance, and scorers.

Errors are positive functions of the matrices A and their computed inverses X, numpy arrays or torch tensors of shape
``(n_matrices, m, m)``; scorers are larger-is-better callables ``(estimator, X, y=None)`` named ``neg_*``. Everything is
measured in float64: in float32 the rounding of the residual itself is 1e-7 and more.
"""

from skdmi.metrics.errors import (
    frobenius_residuals,
    half_norm_share,
    mean_frobenius_residual,
    relative_inverse_errors,
    with_missing_as_zero,
    within_tolerance_share,
)
from skdmi.metrics.iterations import neg_mean_iterations
from skdmi.metrics.scorers import (
    certified_share,
    neg_mean_frobenius_residual,
    neg_mean_operations,
    neg_mean_refinement_steps,
)

__all__ = [
    "certified_share",
    "frobenius_residuals",
    "half_norm_share",
    "mean_frobenius_residual",
    "neg_mean_frobenius_residual",
    "neg_mean_iterations",
    "neg_mean_operations",
    "neg_mean_refinement_steps",
    "relative_inverse_errors",
    "with_missing_as_zero",
    "within_tolerance_share",
]
