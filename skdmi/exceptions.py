"""The warnings and errors that skdmi adds to those of Python, NumPy and scikit-learn."""

from numpy.linalg import LinAlgError

__all__ = [
    "DeviceFallbackWarning",
    "InaccurateInverseWarning",
    "SingularMatrixError",
    "SingularMatrixWarning",
    "UncertifiedError",
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
