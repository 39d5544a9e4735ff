"""The one-liners."""

import os

from sklearn.frozen import FrozenEstimator

from skdmi.neural import NeuralMatrixInverter

__all__ = ["load_pretrained"]


def load_pretrained(name_or_directory: str | os.PathLike[str]) -> FrozenEstimator:
    """Return a trained model inside ``FrozenEstimator``, so that no pipeline, clone or search retrains it.

    Parameters
    ----------
    name_or_directory : str or path
        A shipped model, see ``skdmi info``, or a directory that ``save_pretrained`` wrote.

    Returns
    -------
    inverter : FrozenEstimator
        Its ``estimator`` is the fitted :class:`~skdmi.NeuralMatrixInverter`; for fine-tuning take
        ``NeuralMatrixInverter.from_pretrained`` instead.

    Raises
    ------
    FileNotFoundError
        If there is no such model.

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
    return FrozenEstimator(NeuralMatrixInverter.from_pretrained(name_or_directory))
