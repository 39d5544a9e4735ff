"""The warnings and errors that skdmi adds to those of Python, NumPy and scikit-learn."""

from collections.abc import Iterable
from itertools import islice

from numpy.linalg import LinAlgError

__all__ = [
    "DeviceFallbackWarning",
    "InaccurateInverseWarning",
    "IndefiniteMatrixError",
    "IndefiniteMatrixWarning",
    "RankDeficientWarning",
    "SingularMatrixError",
    "SingularMatrixWarning",
    "UncertifiedError",
    "name_indices",
]


class SingularMatrixWarning(UserWarning):
    """Some members of a stack are singular to working precision; their inverses are NaN.

    Given with ``singular="warn"``, once for all members, with their indices.

    Examples
    --------
    >>> import warnings
    >>> import numpy as np
    >>> from skdmi import ExactInverter
    >>> with warnings.catch_warnings(record=True, action="always") as caught:
    ...     X = ExactInverter().transform(np.array([np.eye(2), np.ones((2, 2))]))
    >>> caught[0].category.__name__, np.isnan(X).any(axis=(1, 2))
    ('SingularMatrixWarning', array([False,  True]))
    """


class SingularMatrixError(LinAlgError):
    """Some members of a stack are singular to working precision, and ``singular="raise"`` was asked for.

    A :class:`numpy.linalg.LinAlgError`, which :func:`numpy.linalg.inv` raises, too.

    Examples
    --------
    >>> import numpy as np
    >>> import skdmi
    >>> from skdmi.exceptions import SingularMatrixError
    >>> try:
    ...     skdmi.inv(np.ones((2, 2)), singular="raise")
    ... except SingularMatrixError:
    ...     print("singular")
    singular
    """


class InaccurateInverseWarning(UserWarning):
    """Some inverses are certified, but the bound on their relative error is above 1e-2.

    Their matrices are so ill-conditioned that rounding leaves less than two digits.

    Examples
    --------
    >>> import warnings
    >>> import numpy as np
    >>> import skdmi
    >>> from skdmi.exceptions import InaccurateInverseWarning
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore", InaccurateInverseWarning)
    ...     skdmi.inv(np.diag([2.0, 4.0]))
    array([[0.5 , 0.  ],
           [0.  , 0.25]])
    """


class IndefiniteMatrixWarning(UserWarning):
    """Some matrices are not proved to be positive definite; their inverse square roots are NaN.

    Examples
    --------
    >>> import warnings
    >>> import numpy as np
    >>> import skdmi
    >>> with warnings.catch_warnings(record=True, action="always") as caught:
    ...     Z = skdmi.inv_sqrt(np.array([[[4.0]], [[-4.0]]]))
    >>> caught[0].category.__name__, Z.ravel()
    ('IndefiniteMatrixWarning', array([0.5, nan]))
    """


class IndefiniteMatrixError(LinAlgError):
    """Some matrices are not proved to be positive definite, and ``indefinite="raise"`` was asked for.

    A :class:`numpy.linalg.LinAlgError`, which :func:`numpy.linalg.cholesky` raises, too.

    Examples
    --------
    >>> import numpy as np
    >>> import skdmi
    >>> from skdmi.exceptions import IndefiniteMatrixError
    >>> try:
    ...     skdmi.inv_sqrt(-np.eye(2), indefinite="raise")
    ... except IndefiniteMatrixError:
    ...     print("not positive definite")
    not positive definite
    """


class RankDeficientWarning(UserWarning):
    """Some matrices have no proof of full rank; their pseudo-inverses are by singular values.

    Examples
    --------
    >>> import warnings
    >>> import numpy as np
    >>> import skdmi
    >>> with warnings.catch_warnings(record=True, action="always") as caught:
    ...     X = skdmi.pinv(np.array([[1.0, 2.0, 2.0], [2.0, 4.0, 4.0]]))
    >>> caught[0].category.__name__, (45 * X).round(12)
    ('RankDeficientWarning', array([[1., 2.],
           [2., 4.],
           [2., 4.]]))
    """


class UncertifiedError(LinAlgError):
    """Some computed inverses could not be certified, and ``uncertified="raise"`` was asked for.

    Examples
    --------
    >>> import numpy as np
    >>> import skdmi
    >>> from skdmi.exceptions import UncertifiedError
    >>> near_singular = np.array([[1.0, 1.0], [1.0, 1.0 + 2.0**-52]])
    >>> try:
    ...     skdmi.inv(near_singular, uncertified="raise")
    ... except UncertifiedError:
    ...     print("not certified")
    not certified
    """


class DeviceFallbackWarning(UserWarning):
    """A loaded model asks for a device that this machine does not have; it runs on the CPU.

    Examples
    --------
    >>> import warnings
    >>> import skdmi
    >>> from skdmi.exceptions import DeviceFallbackWarning
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("error", DeviceFallbackWarning)
    ...     skdmi.load_pretrained("uniform-3x3-short").matrix_size_
    3
    """


def name_indices(indices: Iterable[int], start: int = 0) -> str:
    """Name the first ten of some indices, for a message.

    Parameters
    ----------
    indices : iterable of int
        Integers, or arrays or tensors of one.
    start : int, default=0
        What is added to each.

    Returns
    -------
    str
        Separated by commas, with dots at the end if there are more than ten.

    Examples
    --------
    >>> name_indices([0, 2], start=5)
    '5, 7'
    """
    first = (index.item() if hasattr(index, "item") else index for index in islice(indices, 11))
    named = [str(int(index) + start) for index in first]
    return ", ".join(named[:10]) + (", ..." if len(named) > 10 else "")
