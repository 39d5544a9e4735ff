"""Inverses by LAPACK in float64, proved by one product: numpy alone, where nothing is compiled, and for large matrices.

What is cheap to prove is proved, by Frobenius norms. All else is left to the reference, :mod:`skdmi.linalg`.
"""

from skdmi.lapack.check import check
from skdmi.lapack.stack import SMALLEST, invert

__all__ = ["SMALLEST", "check", "invert"]
