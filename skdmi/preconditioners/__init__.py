"""Preconditioners of large sparse systems, made of small inverses or learned from a family, for scipy's solvers.

An estimator is fitted on example matrices, and its ``transform`` makes the preconditioner of a matrix.
"""

from skdmi.preconditioners.block_jacobi import BlockJacobi
from skdmi.preconditioners.family import FamilyPreconditioner

__all__ = ["BlockJacobi", "FamilyPreconditioner"]
