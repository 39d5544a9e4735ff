"""Pure functions on stacks of square matrices, on any device: tensors ``(..., m, m)``, where a function says no other.

They know nothing of estimators. A is a matrix, X its approximate inverse, ``R = I - A X`` the residual; matrices of a
stack never mix, so permuting a stack permutes every answer.
"""

from skdmi.linalg.blocks import (
    BlockInverse,
    block_inverse,
    collect_leaves,
    haar_orthogonal,
    pad_to_blocks,
    polish_,
    schur_inverse_,
)
from skdmi.linalg.certificate import Certificate, certify, equilibrate, scale_columns, scale_rows
from skdmi.linalg.elementary import (
    complex_to_real,
    double,
    exact_inverse,
    frobenius_norm,
    identity_like,
    missing,
    real_to_complex,
    residual,
    scale_by_power_of_two,
    split_exponent,
)
from skdmi.linalg.gradient import with_exact_gradient
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
from skdmi.linalg.refinement import Refinement, refine, rounding_floor

__all__ = [
    "BlockInverse",
    "Certificate",
    "LeastSquares",
    "Refinement",
    "block_inverse",
    "certify",
    "collect_leaves",
    "combine",
    "complex_to_real",
    "double",
    "equilibrate",
    "exact_inverse",
    "fit_directions",
    "frobenius_norm",
    "haar_orthogonal",
    "identity_like",
    "keep_better",
    "minimal_residual",
    "minimal_residual_basis",
    "minimal_residual_start",
    "missing",
    "newton_schulz",
    "pad_to_blocks",
    "polish_",
    "real_to_complex",
    "recomputation_schedule",
    "refine",
    "residual",
    "rounding_floor",
    "scale_by_power_of_two",
    "scale_columns",
    "scale_rows",
    "schur_inverse_",
    "split_exponent",
    "with_exact_gradient",
]
