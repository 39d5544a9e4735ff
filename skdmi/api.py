"""The one-liners."""

import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from sklearn import config_context
from sklearn.frozen import FrozenEstimator
from torch import Tensor

from skdmi import persistence
from skdmi.arrays import as_array
from skdmi.containers import is_dask
from skdmi.estimators.block import DEFAULT_BLOCK_SIZE, BlockInverter
from skdmi.estimators.ensemble import load_fitted
from skdmi.estimators.refined import RefinedInverter
from skdmi.persistence import pretrained_names, read_card, shipped_directory, trained_sizes
from skdmi.validation import check_square

__all__ = ["certified_inverter", "choose_model", "inv", "load_pretrained"]


def inv(A: Any, *, tol: Any = "auto", uncertified: str = "exact", singular: str = "warn", model: Any = "auto") -> Any:
    """Invert matrices of any size and return only what is proved: learned, refined, certified.

    The network's answers are put together to the full size, refined there in float64 and certified, matrix by matrix;
    what has no certificate then, or an error bound above 1e-2, goes to LAPACK. Everything is done on the matrix
    equilibrated by powers of two, so that rows and columns of different units cost no digits, and rounded once to the
    dtype of A.

    Parameters
    ----------
    A : array-like of shape (..., m, m)
        One matrix or any stack of them, numpy array or torch tensor; a 2-D A is one matrix.
    tol : "auto" or float, default="auto"
        Residual norm to refine to, see :class:`~skdmi.RefinedInverter`.
    uncertified : {"exact", "nan", "keep", "raise"}, default="exact"
        What becomes of matrices whose refined inverse has no certificate.
    singular : {"warn", "raise", "pinv"}, default="warn"
        What becomes of matrices that are singular to working precision: NaN and one warning, which names their
        indices along the flattened leading axes; an error; or the pseudo-inverse.
    model : "auto", str, path or fitted inverter, default="auto"
        The network: chosen by size among the shipped ones; the name of a shipped one; a directory; or any inverter.

    Returns
    -------
    X : array of shape (..., m, m)
        In the container, dtype and, for a tensor, on the device of A. No gradient flows: for that use the ``invert``
        of a RefinedInverter.

    Raises
    ------
    ValueError
        If A is empty, complex, not finite, or not made of square matrices.
    UncertifiedError, SingularMatrixError
        If asked for.

    Warns
    -----
    SingularMatrixWarning
        If members are singular to working precision, in the dtype of A: another matrix that rounds to it may be
        singular.
    InaccurateInverseWarning
        If inverses are certified, but the bound on their relative error stays above 1e-2.

    See Also
    --------
    RefinedInverter : The estimator, which also reports error bounds.

    Examples
    --------
    >>> import skdmi
    >>> skdmi.inv([[2.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 4.0]]).round(12) + 0.0
    array([[ 0.5 , -0.5 ,  0.  ],
           [ 0.  ,  1.  ,  0.  ],
           [ 0.  ,  0.  ,  0.25]])
    """
    A = A if is_dask(A) else as_array(A, name="A", shape="(..., m, m)")
    A = A if isinstance(A, Tensor) or is_dask(A) else np.asarray(A)
    check_square("A", A, nonempty=True)
    m = A.shape[-1]
    inverter = certified_inverter(m, model=model, tol=tol, uncertified=uncertified, singular=singular)
    with config_context(transform_output="default"):
        return inverter.transform(A.reshape(-1, m, m)).reshape(A.shape)


def certified_inverter(matrix_size: int, *, model: Any = "auto", **policies: Any) -> RefinedInverter:
    """Return the inverter behind `inv`, ready for matrices of one size: refined(block(refined(network))).

    There is no block between where the network takes matrices of that size itself, up to 32 if it takes any.

    Parameters
    ----------
    matrix_size : int
    model : "auto", str, path or fitted inverter, default="auto"
    **policies
        Parameters of the outer :class:`~skdmi.RefinedInverter`.

    Examples
    --------
    >>> certified_inverter(1)
    RefinedInverter()
    """
    if isinstance(model, str) and model == "auto":
        name, block_size = choose_model(matrix_size)
        if name is None:
            return RefinedInverter(**policies)
        model = _load_shipped(shipped_directory(name))
    else:
        if isinstance(model, str | os.PathLike):
            model = load_pretrained(model)
        elif not isinstance(model, FrozenEstimator):
            model = FrozenEstimator(model)
        block_size = getattr(model, "matrix_size_", min(matrix_size, DEFAULT_BLOCK_SIZE))
    if block_size != matrix_size:
        model = BlockInverter(RefinedInverter(model), block_size=block_size)
    return RefinedInverter(model, **policies)


def choose_model(matrix_size: int) -> tuple[str | None, int]:
    """Return the name of the shipped model for a size, and the size of the matrices to give it.

    Of the models whose card says ``"chosen_by_size": true`` the one trained for that size alone, or else for the fewest
    sizes; where there is none, for a BlockInverter, the one for the most sizes at the largest of them; else None, which
    stands for the untrained iteration.

    >>> choose_model(3), choose_model(1)
    (('uniform-3x3', 3), (None, 1))
    """
    models = _models_by_size(persistence.SHIPPED)
    fitting = [(high - low, name) for name, (low, high) in models.items() if low <= matrix_size <= high]
    if fitting:
        return min(fitting)[1], matrix_size
    smaller = [(high - low, high, name) for name, (low, high) in models.items() if high < matrix_size]
    _, size, name = max(smaller, default=(0, matrix_size, None))
    return name, size


@cache
def _models_by_size(shipped: Path) -> dict[str, tuple[int, int]]:
    """Return the least and the largest size of the shipped models among which the size alone may choose."""
    cards = {name: read_card(shipped / name) for name in pretrained_names()}
    return {
        name: trained_sizes(card["fitted"]["_architecture"])
        for name, card in cards.items()
        if card.get("chosen_by_size", False)
    }


@cache
def _load_shipped(directory: os.PathLike[str]) -> FrozenEstimator:
    return load_pretrained(directory)


def load_pretrained(name_or_directory: str | os.PathLike[str]) -> FrozenEstimator:
    """Return a trained model inside ``FrozenEstimator``, so that no pipeline, clone or search retrains it.

    Parameters
    ----------
    name_or_directory : str or path
        A shipped model, see ``skdmi info``, or a directory that ``save_pretrained`` wrote; a path with a separator,
        such as ``"./mine"``, is always a directory.

    Returns
    -------
    inverter : FrozenEstimator
        Its ``estimator`` is the fitted :class:`~skdmi.NeuralMatrixInverter` or :class:`~skdmi.EnsembleInverter`; for
        fine-tuning take ``NeuralMatrixInverter.from_pretrained`` instead.

    Raises
    ------
    FileNotFoundError
        If there is no such model.
    ValueError
        If it is damaged, or there are a shipped model and a local one of that name.

    Examples
    --------
    >>> import numpy as np
    >>> import skdmi
    >>> A = np.array([[[2.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 5.0]]])
    >>> print(skdmi.load_pretrained("uniform-3x3").transform(A).round(4))
    [[[0.5  0.   0.  ]
      [0.   0.25 0.  ]
      [0.   0.   0.2 ]]]
    """
    return FrozenEstimator(load_fitted(name_or_directory))
