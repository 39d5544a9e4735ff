"""Where training matrices come from, described without data.

========================================  ============================================================================
:class:`Uniform`, :class:`Normal`         independent entries, with optional filters on determinant and condition
:class:`Spectrum`                         chosen singular values or eigenvalues, random orthogonal factors
:class:`Wishart`, :class:`Toeplitz`,      matrices of a structure
:class:`DiagonallyDominant`,
:class:`Graded`, :class:`Singular`
:class:`Mixture`                          each matrix from one of several distributions
:class:`Resampled`                        endless variations on a data set
:func:`from_dict`                         a distribution from the dictionary that its ``to_dict`` wrote
:class:`Distribution`                     the base class
========================================  ============================================================================
"""

from .base import Distribution, from_dict
from .entries import Normal, Uniform
from .mixture import Mixture
from .resampled import Resampled
from .spectrum import Spectrum
from .structured import DiagonallyDominant, Graded, Singular, Toeplitz, Wishart

__all__ = [
    "DiagonallyDominant",
    "Distribution",
    "Graded",
    "Mixture",
    "Normal",
    "Resampled",
    "Singular",
    "Spectrum",
    "Toeplitz",
    "Uniform",
    "Wishart",
    "from_dict",
]
