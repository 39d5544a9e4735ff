"""The warnings and errors that skdmi adds to those of Python, NumPy and scikit-learn."""

from numpy.linalg import LinAlgError

__all__ = ["DeviceFallbackWarning", "SingularMatrixError", "SingularMatrixWarning", "UncertifiedError"]


class SingularMatrixWarning(UserWarning):
    """Some members of a stack are singular to working precision; their inverses are NaN."""


class SingularMatrixError(LinAlgError):
    """Some members of a stack are singular to working precision, and ``singular="raise"`` was asked for."""


class UncertifiedError(LinAlgError):
    """Some computed inverses could not be certified, and ``uncertified="raise"`` was asked for."""


class DeviceFallbackWarning(UserWarning):
    """A loaded model asks for a device that this machine does not have; it runs on the CPU."""
