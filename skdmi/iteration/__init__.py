"""The iteration: from a start, steps that a rule chooses, untrained or learned; and what finishes its inverses.

Pure functions on stacks of square matrices, tensors ``(..., m, m)``, in products of matrices alone.
"""

from skdmi.iteration.deflation import deflate
from skdmi.iteration.family import FamilyStart
from skdmi.iteration.least_squares import LeastSquares
from skdmi.iteration.loop import (
    count_operations,
    count_products,
    iterate,
    keep_better,
    minimal_residual,
    newton_schulz,
)
from skdmi.iteration.refinement import Refinement, refine
from skdmi.iteration.roots import inverse_root
from skdmi.iteration.starts import IDENTITY, STARTS, TRANSPOSE, Start
from skdmi.iteration.steps import least_residual, take_step

__all__ = [
    "IDENTITY",
    "STARTS",
    "TRANSPOSE",
    "FamilyStart",
    "LeastSquares",
    "Refinement",
    "Start",
    "count_operations",
    "count_products",
    "deflate",
    "inverse_root",
    "iterate",
    "keep_better",
    "least_residual",
    "minimal_residual",
    "newton_schulz",
    "refine",
    "take_step",
]
