"""Numbers as they are: a proof about rounded ones would be about others."""

from typing import Any

import numpy as np

from skdmi.arrays import STACK, as_array, to_numpy


def as_unrounded(X: Any, *, name: str = "X", shape: str = STACK, allows_complex: bool = False) -> Any:
    """Return X, or what it holds, see :func:`as_array`; refuse integers and long doubles that float64 would round.

    Objects that are numbers, such as fractions, are taken for the float64 nearest to them.

    Raises
    ------
    TypeError, ValueError
        As :func:`as_array`, and if a number is one that float64 cannot hold.

    Examples
    --------
    >>> as_unrounded(np.array([2**53 + 1]), name="A")
    Traceback (most recent call last):
        ...
    ValueError: A holds numbers of int64 that float64 cannot hold, and a proof would be about others. Round them ...
    """
    numbers: Any = X if hasattr(X, "dtype") else as_array(X, name=name, shape=shape, allows_complex=allows_complex)
    dtype = str(getattr(numbers, "dtype", "")).removeprefix("torch.")
    is_rounded = False
    if dtype in ("int64", "uint64"):
        numbers = to_numpy(numbers)
        is_rounded = bool(((numbers > 2**53) | (numbers < -(2**53))).any())
    elif dtype.startswith(("float", "complex")) and numbers.dtype.itemsize > 8 * (1 + dtype.startswith("complex")):
        with np.errstate(over="ignore", invalid="ignore"):
            narrow = numbers.astype(np.complex128 if dtype.startswith("complex") else np.float64)
            is_rounded = bool(((narrow != numbers) & np.isfinite(numbers)).any())
    if is_rounded:
        raise ValueError(
            f"{name} holds numbers of {dtype} that float64 cannot hold, and a proof would be about others. Round them "
            f"if that is meant, {name}.astype({'complex' if dtype.startswith('complex') else 'float'}), or scale them."
        )
    return X if hasattr(X, "dtype") else numbers
