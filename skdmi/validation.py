"""What a stack may be: its layout, its size, its numbers. A size is a number here; inverters are not known."""

import cmath
import math
from typing import Any

import numpy as np

RECTANGULAR_ADVICE = "A rectangular matrix has no inverse: see skdmi.pinv, with its damping for damped least squares."


def check_square(name: str, A: Any, *, nonempty: bool = False) -> None:
    """Refuse an array that does not hold square matrices, ``(..., m, m)``; with ``nonempty`` also m = 0.

    Raises
    ------
    ValueError
        Naming the array and its shape.

    Examples
    --------
    >>> check_square("A", np.zeros((2, 3, 3)))
    >>> check_square("A", np.zeros((2, 3, 4)))
    Traceback (most recent call last):
        ...
    ValueError: Expected A of square matrices, shape (..., m, m), got shape (2, 3, 4). A rectangular matrix has ...
    """
    shape = tuple(A.shape)
    if len(shape) > 1 and shape[-1] == shape[-2] and not (nonempty and shape[-1] == 0):
        return
    advice = "One number is a matrix as A.reshape(1, 1)."
    if len(shape) > 1:
        advice = "An empty matrix has nothing to invert." if shape[-1] == shape[-2] else RECTANGULAR_ADVICE
    raise ValueError(f"Expected {name} of square matrices, shape (..., m, m), got shape {shape}. {advice}")


def check_matrices(name: str, A: Any) -> None:
    """Refuse an array that does not hold matrices, ``(..., p, q)``.

    Raises
    ------
    ValueError
        Naming the array and its shape.

    Examples
    --------
    >>> check_matrices("A", np.zeros(3))
    Traceback (most recent call last):
        ...
    ValueError: Expected A of matrices, shape (..., p, q), got shape (3,). One row is a matrix as A.reshape(1, -1).
    """
    shape = tuple(A.shape)
    if len(shape) < 2:
        advice = f"One row is a matrix as {name}.reshape(1, -1)."
        raise ValueError(f"Expected {name} of matrices, shape (..., p, q), got shape {shape}. {advice}")


def check_layout(shape: tuple[int, ...], size: int | None, name: str, *, table: str | None = None) -> None:
    """Refuse in the words of matrices what scikit-learn would refuse in the words of features, or misread.

    Parameters
    ----------
    shape : tuple of int
        Of X: ``(n_matrices, m, m)``, or ``(n_matrices, m * m)``.
    size : int or None
        The m that is expected; None for any.
    name : str
        Of the estimator, for messages.
    table : str, optional
        The kind of table that the answer is to become, which has two axes.

    Raises
    ------
    ValueError
        Saying what the shape is, what was expected, and what to try.

    Examples
    --------
    >>> check_layout((10, 9), 3, "ExactInverter")
    >>> check_layout((10, 4, 4), 3, "ExactInverter")
    Traceback (most recent call last):
        ...
    ValueError: X holds 4 x 4 matrices, but ExactInverter is fitted for 3 x 3. Fit it for that size; for larger ...
    """
    shape = tuple(shape)
    if len(shape) < 2:
        raise ValueError(
            f"Expected shape (n_matrices, m, m) or (n_matrices, m * m), got {len(shape)} axes: {shape}. Reshape your "
            f"data; one flat matrix is X.reshape(1, -1)."
        )
    if len(shape) > 3:
        raise ValueError(
            f"Expected shape (n_matrices, m, m) or (n_matrices, m * m), got {len(shape)} axes: {shape}. "
            f"Try X.reshape(-1, m, m), or invert(A), which takes any leading axes."
        )
    if len(shape) == 2:
        _check_flat(shape, size, name)
    else:
        _check_stack(shape, size, name, table)
    if shape[0] == 0:
        refuse_empty(shape)


def _check_stack(shape: tuple[int, ...], size: int | None, name: str, table: str | None) -> None:
    if shape[1] != shape[2] or shape[1] == 0:
        advice = RECTANGULAR_ADVICE if shape[1] != shape[2] else "An empty matrix has nothing to invert."
        raise ValueError(f"Expected a stack of square matrices, shape (n_matrices, m, m), got shape {shape}. {advice}")
    if size not in (None, shape[1]):
        raise ValueError(
            f"X holds {shape[1]} x {shape[1]} matrices, but {name} is fitted for {size} x {size}. Fit it for that "
            f"size; for larger matrices see BlockInverter."
        )
    if table is not None:
        raise ValueError(
            f"A stack of shape {shape} cannot become a {table} table. Pass it flat, "
            f"X.reshape({shape[0]}, {shape[1] ** 2}), or set transform_output to 'default'."
        )


def _check_flat(shape: tuple[int, ...], size: int | None, name: str) -> None:
    """Refuse another number of columns, and a square X where it is, or may be meant as, one matrix."""
    n_rows, n_columns = shape
    if n_columns == 0:
        return
    one_matrix = n_rows == n_columns > 1
    if size is not None and n_columns != size**2:
        advice = ""
        if one_matrix and n_columns == size:
            advice = (
                f": in an estimator a 2-D X is a flat stack, one matrix a row. For one {size} x {size} matrix pass "
                f"X[None]"
            )
        raise ValueError(f"X has {n_columns} features, but {name} is expecting {size**2} features as input{advice}.")
    root = math.isqrt(n_columns)
    if one_matrix and size is None and root**2 == n_columns:
        raise ValueError(
            f"A {n_columns} x {n_columns} array is ambiguous: one {n_columns} x {n_columns} matrix, or {n_columns} "
            f"flat matrices of {root} x {root}? Pass X[None] or X.reshape(-1, {root}, {root})."
        )
    side_of(n_columns)


def side_of(n_columns: int) -> int:
    """Return m, where a flat stack has ``m * m`` columns.

    Raises
    ------
    ValueError
        If the number is no square.

    Examples
    --------
    >>> side_of(9)
    3
    """
    m = math.isqrt(n_columns)
    if m * m != n_columns:
        raise ValueError(
            f"A flat stack holds one m x m matrix a row, so its number of columns is a square; got "
            f"{n_columns} columns. One matrix is X[None]; a stack has shape (n_matrices, m, m). What a step before, "
            f"such as a PCA, made of the columns is no matrix any more."
        )
    return m


def refuse_empty(shape: tuple[int, ...]) -> None:
    """Refuse a stack without a matrix."""
    if 0 in shape:
        raise ValueError(
            f"X is empty: shape {tuple(shape)}. Expected at least one matrix, as every estimator of scikit-learn does; "
            f"skdmi.inv takes empty stacks, too."
        )


def refuse_non_finite(stack: Any, start: int = 0) -> None:
    """Refuse NaN and infinity in a stack, or parts of its matrices, from index ``start`` on.

    Parameters
    ----------
    stack : ndarray or Tensor of shape (n_matrices, ...)
    start : int, default=0

    Raises
    ------
    ValueError
        Naming the first index.

    Examples
    --------
    >>> refuse_non_finite(np.array([[1.0], [np.inf]]))
    Traceback (most recent call last):
        ...
    ValueError: X contains infinity (NaN or inf) in 1 of 2 matrices, the first at index 1. Expected finite entries: ...
    """
    with np.errstate(over="ignore", invalid="ignore"):
        total = stack.sum()  # at the speed of memory, and finite where all is, but for overflow
    if cmath.isfinite(total):
        return
    finite = np.isfinite(stack) if isinstance(stack, np.ndarray) else stack.isfinite()
    if finite.all():
        return
    bad: Any = ~finite.reshape(len(stack), math.prod(stack.shape[1:])).all(1)
    kind = "NaN" if (stack != stack).any() else "infinity"
    raise ValueError(
        f"X contains {kind} (NaN or inf) in {int(bad.sum())} of {len(stack)} matrices, the first at index "
        f"{bad.tolist().index(True) + start}. Expected finite entries: leave those matrices out."
    )
