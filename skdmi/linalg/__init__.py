"""Pure functions on stacks of square matrices, on any device: tensors ``(..., m, m)``, where a function says no other.

They know nothing of estimators. A is a matrix, X its approximate inverse, ``R = I - A X`` the residual; matrices of a
stack never mix, so permuting a stack permutes every answer.
"""

import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

from skdmi.linalg.certificate import Certificate, certify
from skdmi.linalg.characteristic import characteristic_inverse
from skdmi.linalg.complex import complex_to_real, real_to_complex
from skdmi.linalg.determinant import LogDeterminant, slogdet
from skdmi.linalg.exact import PseudoInverse, exact_inverse, pseudo_inverse
from skdmi.linalg.fixed import FixedInverse, fixed_inverse
from skdmi.linalg.full_rank import PinvCertificate, certify_pinv, full_rank_pinv
from skdmi.linalg.gradient import with_exact_gradient
from skdmi.linalg.inverse_root import InverseRootCertificate, certify_inv_sqrt
from skdmi.linalg.orthogonal import haar_orthogonal
from skdmi.linalg.positive_definite import PositiveDefinite, certify_positive_definite
from skdmi.linalg.recursion import block_inverse
from skdmi.linalg.residuals import missing, residual
from skdmi.linalg.scaling import equilibrate, scale_by_power_of_two, split_exponent
from skdmi.linalg.tight import TightCertificate, certify_tightly, refine_tightly
from skdmi.linalg.unit_lower import unit_lower_inverse
from skdmi.linalg.unit_lower_certificate import UnitLowerCertificate, certify_unit_lower

__all__ = [
    "Certificate",
    "FixedInverse",
    "InverseRootCertificate",
    "LogDeterminant",
    "PinvCertificate",
    "PositiveDefinite",
    "PseudoInverse",
    "TightCertificate",
    "UnitLowerCertificate",
    "block_inverse",
    "certify",
    "certify_inv_sqrt",
    "certify_pinv",
    "certify_positive_definite",
    "certify_tightly",
    "certify_unit_lower",
    "characteristic_inverse",
    "complex_to_real",
    "equilibrate",
    "exact_inverse",
    "fixed_inverse",
    "full_rank_pinv",
    "haar_orthogonal",
    "missing",
    "pseudo_inverse",
    "real_to_complex",
    "refine_tightly",
    "residual",
    "scale_by_power_of_two",
    "slogdet",
    "split_exponent",
    "unit_lower_inverse",
    "with_exact_gradient",
]

_MOVED = {
    "Refinement": "skdmi.iteration.Refinement",
    "deflate": "skdmi.iteration.deflate",
    "minimal_residual": "skdmi.iteration.minimal_residual",
    "newton_schulz": "skdmi.iteration.newton_schulz",
    "refine": "skdmi.iteration.refine",
    "frobenius_norm": "torch.linalg.matrix_norm",
}
"""Where it is now what 0.1.0 had here."""

if not TYPE_CHECKING:  # A type checker would take any name for one that is there.

    def __getattr__(name: str) -> Any:
        if name not in _MOVED:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        warnings.warn(f"skdmi.linalg.{name} is {_MOVED[name]} now.", DeprecationWarning, stacklevel=2)
        module, _, now = _MOVED[name].rpartition(".")
        return getattr(import_module(module), now)
