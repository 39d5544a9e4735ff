"""What the displays share: matplotlib when it is needed, arrays of any container, points that are many."""

from typing import Any

import numpy as np

__all__ = ["as_array", "as_stack", "check_axes", "check_shapes", "estimator_name", "new_axes", "refuse_complex", "thin"]

N_CELLS = 300


def new_axes(size: tuple[float, float], n_rows: int = 1, n_columns: int = 1, **options: Any) -> Any:
    """Return the axes of a new figure: one, or an array of them."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("Plotting needs matplotlib: pip install skdmi[plot]") from error
    return plt.subplots(n_rows, n_columns, figsize=size, layout="constrained", **options)[1]


def check_axes(axes: Any, n_axes: int) -> list[Any]:
    """Return the axes as a list, if they are as many as expected."""
    axes = list(np.ravel(axes))
    if len(axes) != n_axes:
        raise ValueError(f"Got {len(axes)} axes; expected {n_axes}.")
    return axes


def estimator_name(estimator: Any) -> str:
    """Return the class of an estimator, of a frozen one that of what is frozen.

    >>> import skdmi
    >>> estimator_name(skdmi.load_pretrained("uniform-3x3"))
    'NeuralMatrixInverter'
    """
    from sklearn.frozen import FrozenEstimator

    while isinstance(estimator, FrozenEstimator):
        estimator = estimator.estimator
    return type(estimator).__name__


def as_array(array: Any) -> np.ndarray:
    """Return any container as a numpy array; half precision, which LAPACK refuses, as float32.

    >>> as_array([[1, 2]]).dtype.kind
    'i'
    """
    if hasattr(array, "detach"):
        tensor = array.detach().cpu()
        return np.asarray(tensor.float() if tensor.dtype.itemsize < 4 and tensor.is_floating_point() else tensor)
    return np.asarray(array)


def as_stack(name: str, array: Any) -> np.ndarray:
    """Return a stack, flat or not, as a numpy array of shape ``(n_matrices, m, m)``.

    >>> as_stack("A", [[1.0, 2.0, 3.0, 4.0]])
    array([[[1., 2.],
            [3., 4.]]])
    """
    stack = as_array(array)
    m = round(stack.shape[-1] ** 0.5) if stack.ndim == 2 else stack.shape[-1] if stack.ndim else 0
    if stack.ndim == 2 and m * m == stack.shape[1]:
        stack = stack.reshape(-1, m, m)
    if stack.ndim != 3 or stack.shape[1] != m or stack.size == 0:
        raise ValueError(
            f"{name} has shape {stack.shape}; expected (n_matrices, m, m) or (n_matrices, m * m). "
            f"One matrix A is A[None]."
        )
    return stack


def check_shapes(**arrays: np.ndarray) -> None:
    """Refuse two arrays of different shapes, by their names."""
    (first, A), (second, X) = arrays.items()
    if A.shape != X.shape:
        raise ValueError(f"{first} has shape {A.shape} and {second} shape {X.shape}; expected one shape.")


def refuse_complex(**arrays: np.ndarray) -> None:
    """Refuse complex arrays, by their names."""
    for name, array in arrays.items():
        if np.iscomplexobj(array):
            raise ValueError(f"{name} is complex; expected real matrices. Embed it by skdmi.linalg.complex_to_real.")


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
