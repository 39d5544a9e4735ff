"""Where training matrices come from, described without data.

========================================  ============================================================================
:class:`Uniform`, :class:`Normal`         independent entries, with optional filters on determinant and condition
:class:`Spectrum`                         chosen singular values or eigenvalues, random orthogonal factors
:class:`Wishart`, :class:`Toeplitz`,      matrices of a structure
:class:`DiagonallyDominant`,
:class:`Graded`, :class:`Singular`
:class:`GaussianProcessKernel`            covariances of Gaussian processes, of random hyperparameters
:class:`Covariance`                       sample covariances around a given one
:class:`Affine`                           sums of given matrices, as of discretised differential equations
:class:`KroneckerChannel`                 Gram matrices of wireless channels with many antennas
:class:`DeltaRule`                        chunks of linear attention
:class:`Mixture`                          each matrix from one of several distributions
:class:`Members`                          the members of a data set, and convex pairs of them
:class:`Resampled`                        endless variations on a data set
:func:`from_dict`                         a distribution from the dictionary that its ``to_dict`` wrote
:class:`Distribution`                     the base class
========================================  ============================================================================
"""

from skdmi.distributions.affine import Affine
from skdmi.distributions.base import Distribution, from_dict
from skdmi.distributions.channels import KroneckerChannel
from skdmi.distributions.covariances import Covariance
from skdmi.distributions.entries import Normal, Uniform
from skdmi.distributions.kernels import GaussianProcessKernel
from skdmi.distributions.members import Members
from skdmi.distributions.mixture import Mixture
from skdmi.distributions.recurrent import DeltaRule
from skdmi.distributions.resampled import Resampled
from skdmi.distributions.spectrum import Spectrum
from skdmi.distributions.structured import DiagonallyDominant, Graded, Singular, Toeplitz, Wishart

__all__ = [
    "Affine",
    "Covariance",
    "DeltaRule",
    "DiagonallyDominant",
    "Distribution",
    "GaussianProcessKernel",
    "Graded",
    "KroneckerChannel",
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
