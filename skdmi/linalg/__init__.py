"""Pure functions on stacks of square matrices, on any device: tensors ``(..., m, m)``, where a function says no other.

They know nothing of estimators. A is a matrix, X its approximate inverse, ``R = I - A X`` the residual; matrices of a
stack never mix, so permuting a stack permutes every answer.
"""

from skdmi.linalg.blocks import (
    block_inverse,
    collect_leaves,
    haar_orthogonal,
    pad_to_blocks,
    pivot_order,
    polish_,
    schur_inverse_,
)
from skdmi.linalg.certificate import Certificate, certify, rounded_error_bound
from skdmi.linalg.characteristic import characteristic_inverse, characteristic_products, characteristic_start
from skdmi.linalg.complex import complex_to_real, real_to_complex
from skdmi.linalg.deflation import deflate, orthonormalize
from skdmi.linalg.elementary import (
    double,
    frobenius_norm,
    holds_diagonals,
    identity_like,
    missing,
    product,
    residual,
    trace,
    transpose,
)
from skdmi.linalg.exact import PseudoInverse, exact_inverse, pseudo_inverse
from skdmi.linalg.gradient import with_exact_gradient
from skdmi.linalg.iterations import (
    LeastSquares,
    combine,
    fit_directions,
    identity_start,
    keep_better,
    minimal_residual,
    minimal_residual_basis,
    minimal_residual_start,
    minimal_residual_step,
    n_chain_coefficients,
    newton_schulz,
    power_chain,
    recomputation_schedule,
)
from skdmi.linalg.refinement import Refinement, refine, rounding_floor
from skdmi.linalg.scaling import (
    equilibrate,
    scale_both,
    scale_by_power_of_two,
    scale_columns,
    scale_rows,
    split_exponent,
)

__all__ = [
    "Certificate",
    "LeastSquares",
    "PseudoInverse",
    "Refinement",
    "block_inverse",
    "certify",
    "characteristic_inverse",
    "characteristic_products",
    "characteristic_start",
    "collect_leaves",
    "combine",
    "complex_to_real",
    "deflate",
    "double",
    "equilibrate",
    "exact_inverse",
    "fit_directions",
    "frobenius_norm",
    "haar_orthogonal",
    "holds_diagonals",
    "identity_like",
    "identity_start",
    "keep_better",
    "minimal_residual",
    "minimal_residual_basis",
    "minimal_residual_start",
    "minimal_residual_step",
    "missing",
    "n_chain_coefficients",
    "newton_schulz",
    "orthonormalize",
    "pad_to_blocks",
    "pivot_order",
    "polish_",
    "power_chain",
    "product",
    "pseudo_inverse",
    "real_to_complex",
    "recomputation_schedule",
    "refine",
    "residual",
    "rounded_error_bound",
    "rounding_floor",
    "scale_both",
    "scale_by_power_of_two",
    "scale_columns",
    "scale_rows",
    "schur_inverse_",
    "split_exponent",
    "trace",
    "transpose",
    "with_exact_gradient",
]
