"""Pure functions on stacks of square matrices: tensors of shape ``(..., m, m)``, on any device.

They know nothing of estimators. A is a matrix, X its approximate inverse, ``R = I - A X`` the residual; matrices of a
stack never mix, so permuting a stack permutes every answer.
"""

from skdmi.linalg.certificate import Certificate, certify, equilibrate, scale_columns, scale_rows
from skdmi.linalg.elementary import (
    complex_to_real,
    exact_inverse,
    frobenius_norm,
    identity_like,
    real_to_complex,
    residual,
    scale_by_power_of_two,
    split_exponent,
)
from skdmi.linalg.iterations import (
    LeastSquares,
    combine,
    fit_directions,
    keep_better,
    minimal_residual,
    minimal_residual_basis,
    minimal_residual_start,
    newton_schulz,
    recomputation_schedule,
)

__all__ = [
    "Certificate",
    "LeastSquares",
    "certify",
    "combine",
    "complex_to_real",
    "equilibrate",
    "exact_inverse",
    "fit_directions",
    "frobenius_norm",
    "identity_like",
    "keep_better",
    "minimal_residual",
    "minimal_residual_basis",
    "minimal_residual_start",
    "newton_schulz",
    "real_to_complex",
    "recomputation_schedule",
    "residual",
    "scale_by_power_of_two",
    "scale_columns",
    "scale_rows",
    "split_exponent",
]
