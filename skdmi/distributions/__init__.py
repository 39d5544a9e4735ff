"""Where training matrices come from, described without data.

========================================  ============================================================================
:class:`Uniform`, :class:`Normal`         independent entries, with optional filters on determinant and condition
:class:`Spectrum`                         chosen singular values or eigenvalues, random orthogonal factors
:class:`Wishart`, :class:`Toeplitz`,      matrices of a structure
:class:`DiagonallyDominant`,
:class:`Graded`, :class:`Singular`
:class:`Mixture`                          each matrix from one of several distributions
:class:`Members`                          the members of a data set, and convex pairs of them
:class:`Resampled`                        endless variations on a data set
:func:`from_dict`                         a distribution from the dictionary that its ``to_dict`` wrote
:class:`Distribution`                     the base class
========================================  ============================================================================
"""

from skdmi.distributions.base import Distribution, from_dict
from skdmi.distributions.entries import Normal, Uniform
from skdmi.distributions.members import Members
from skdmi.distributions.mixture import Mixture
from skdmi.distributions.resampled import Resampled
from skdmi.distributions.spectrum import Spectrum
from skdmi.distributions.structured import DiagonallyDominant, Graded, Singular, Toeplitz, Wishart

__all__ = [
    "DiagonallyDominant",
    "Distribution",
    "Graded",
    "Members",
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
