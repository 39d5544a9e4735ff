"""What the displays share: matplotlib when it is needed, arrays of any container, points that are many."""

from typing import Any

import numpy as np

from skdmi.arrays import STACK, to_numpy

N_CELLS = 300


def pyplot() -> Any:
    """Import matplotlib.pyplot, or say how to install it."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError('Plotting needs matplotlib. Try pip install "skdmi[plot]".') from error
    return plt


def take_axes(axes: Any, size: tuple[float, float], n_rows: int = 1, n_columns: int = 1, **options: Any) -> list[Any]:
    """Return the axes as a list, if they are as many as expected; those of a new figure if they are None."""
    if axes is None:
        axes = pyplot().subplots(n_rows, n_columns, figsize=size, layout="constrained", **options)[1]
    axes = list(np.ravel(axes))
    if len(axes) != n_rows * n_columns:
        raise ValueError(f"Got {len(axes)} axes; expected {n_rows * n_columns}.")
    return axes


def display_name(estimator: Any, name: str | None) -> str:
    """Return the name if there is one, else the class of an estimator, of a frozen one that of what is frozen.

    >>> import skdmi
    >>> display_name(skdmi.load_pretrained("uniform-3x3-short"), None)
    'NeuralMatrixInverter'
    """
    from skdmi.estimators.meta import unfrozen  # imports torch

    return type(unfrozen(estimator)).__name__ if name is None else name


def as_array(array: Any) -> np.ndarray:
    """Return any container as a numpy array; half precision, which LAPACK refuses, as float32.

    >>> as_array([[1, 2]]).dtype.kind
    'i'
    """
    from skdmi.containers import computable  # imports torch

    return to_numpy(computable(array.detach()) if hasattr(array, "detach") else array)


def as_matrices(name: str, array: Any, *, ndim: int = 3) -> np.ndarray:
    """Return a stack, flat or not, as a real numpy array ``(n_matrices, m, m)``; with ``ndim=2`` one matrix.

    >>> as_matrices("A", [[1.0, 2.0, 3.0, 4.0]])
    array([[[1., 2.],
            [3., 4.]]])
    """
    from skdmi.containers import as_stack  # imports torch

    expected = STACK if ndim == 3 else "(m, m)"
    matrices = as_array(as_stack(array, name=name, shape=expected))
    if matrices.ndim != ndim or matrices.shape[-1] != matrices.shape[-2] or matrices.size == 0:
        raise ValueError(
            f"{name} has shape {matrices.shape}; expected {expected}. Of one matrix A, A[None] is a stack."
        )
    return matrices


def check_shapes(**arrays: np.ndarray) -> None:
    """Refuse two arrays of different shapes, by their names."""
    (first, A), (second, X) = arrays.items()
    if A.shape != X.shape:
        raise ValueError(f"{first} has shape {A.shape} and {second} shape {X.shape}; expected one shape.")


def thin(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the index of one point of each cell of a fine grid over the points, and how many share that cell.

    The densest come last, to be drawn on top.

    >>> thin(np.array([0.0, 0.0, 1.0]), np.array([0.0, 0.0, 1.0]))
    (array([2, 0]), array([1, 2]))
    """
    cells = [np.floor((v - v.min()) / (np.ptp(v) or 1.0) * N_CELLS).astype(np.int64) for v in (x, y)]
    _, index, count = np.unique(cells[0] * (N_CELLS + 1) + cells[1], return_index=True, return_counts=True)
    order = np.argsort(count, kind="stable")
    return index[order], count[order]
