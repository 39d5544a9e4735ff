"""``Figures``: what a direct route finds of every inverse of a stack, in numpy arrays."""

from typing import NamedTuple

import numpy as np

CERTIFIED, NONSINGULAR, CONVERGED, OUTSIDE, WANTING, INACCURATE, LOOSE = 1, 2, 4, 8, 16, 32, 64
"""The bits of a status: what is proved of every matrix that rounds to A, and of A alone; both residuals are what
rounding explains, or at most ``tol``; the route does not cover the matrix; a correction may help, or has been made; the
error bound is above 1e-2; in the units of A rounding may explain a residual of 1, which a report must look at."""

_ASIDE = WANTING | LOOSE
"""What takes nothing from an inverse."""


class Figures(NamedTuple):
    """Arrays of shape (n_matrices,); but for the status float64, or None where nobody asked."""

    status: np.ndarray
    """uint8, a sum of bits."""
    error_bound: np.ndarray | None = None
    """On ``||X - A^-1|| / ||A^-1||``, where certified."""
    residual_norm: np.ndarray | None = None
    """``||I - A X||_F`` of what is returned."""
    n_steps: np.ndarray | None = None
    """Of corrections."""
    rho: np.ndarray | None = None
    """See :class:`skdmi.linalg.Certificate`, here and below."""
    condition_lower: np.ndarray | None = None
    condition_upper: np.ndarray | None = None

    def has(self, bit: int) -> np.ndarray:
        """Return whether a bit is set, bool.

        >>> Figures(np.array([5, 8], np.uint8)).has(CERTIFIED)
        array([ True, False])
        """
        return (self.status & bit) != 0


def is_sound(status: np.ndarray) -> np.ndarray:
    """Return where an inverse is certified, converged and accurate, and nothing is left to do.

    >>> is_sound(np.array([7, 23, 3, 39], np.uint8))
    array([ True,  True, False, False])
    """
    return (status | _ASIDE) == (CERTIFIED | NONSINGULAR | CONVERGED | _ASIDE)
