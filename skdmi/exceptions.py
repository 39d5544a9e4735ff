"""The warnings and errors that skdmi adds to those of Python, NumPy and scikit-learn."""

from collections.abc import Iterable
from itertools import islice

from numpy.linalg import LinAlgError

__all__ = [
    "DeviceFallbackWarning",
    "InaccurateInverseWarning",
    "SingularMatrixError",
    "SingularMatrixWarning",
    "UncertifiedError",
    "name_indices",
]


class SingularMatrixWarning(UserWarning):
    """Some members of a stack are singular to working precision; their inverses are NaN."""


class SingularMatrixError(LinAlgError):
    """Some members of a stack are singular to working precision, and ``singular="raise"`` was asked for."""


class InaccurateInverseWarning(UserWarning):
    """Some inverses are certified, but the bound on their relative error is above 1e-2."""


class UncertifiedError(LinAlgError):
    """Some computed inverses could not be certified, and ``uncertified="raise"`` was asked for."""


class DeviceFallbackWarning(UserWarning):
    """A loaded model asks for a device that this machine does not have; it runs on the CPU."""


def name_indices(indices: Iterable[int], start: int = 0) -> str:
    """Name the first ten of some indices, integers or arrays of one, counted from ``start``, for a message.

    >>> name_indices([0, 2], start=5)
    '5, 7'
    """
    first = (index.item() if hasattr(index, "item") else index for index in islice(indices, 11))
    named = [str(int(index) + start) for index in first]
    return ", ".join(named[:10]) + (", ..." if len(named) > 10 else "")
