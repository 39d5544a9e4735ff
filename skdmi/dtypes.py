"""Real and complex dtypes, of numpy and of torch."""

from typing import Any

import numpy as np

FLOATS = (np.dtype(np.float64), np.dtype(np.float32))
_COMPLEX = (np.dtype(np.complex128), np.dtype(np.complex64))


def float_dtype(dtype: np.dtype) -> np.dtype:
    """Return the dtype of the inverses of an array: its own, native, if that is one of LAPACK's, else float64.

    >>> float_dtype(np.dtype(">f4")), float_dtype(np.dtype("float16"))
    (dtype('float32'), dtype('float64'))
    """
    native: np.dtype = dtype.newbyteorder("=")
    known = _COMPLEX if native.kind == "c" else FLOATS
    return native if native in known else known[0]


def is_complex(X: Any) -> bool:
    """Return whether an array, a tensor or some column of a table is complex.

    >>> is_complex(np.zeros(1, complex)), is_complex(np.zeros(1))
    (True, False)
    """
    dtypes = getattr(X, "dtypes", None)
    kinds = [getattr(X, "dtype", None)] if dtypes is None else list(dtypes)
    return any(getattr(dtype, "kind", "") == "c" or getattr(dtype, "is_complex", False) for dtype in kinds)
