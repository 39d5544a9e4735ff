"""What an object is, without an import: it is of a class of torch, scipy or dask only where somebody has imported that.

Even :mod:`numpy.ma` takes longer to import than all that reads an array.
"""

import sys
from typing import TYPE_CHECKING, Any, TypeGuard

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


def is_tensor(X: Any) -> "TypeGuard[Tensor]":
    """Return whether X is a torch tensor.

    >>> is_tensor([1.0])
    False
    """
    return _is_of(X, "torch", "Tensor")


def is_torch_data(X: Any) -> bool:
    """Return whether X is a data set or a loader of torch."""
    return _is_of(X, "torch.utils.data", "Dataset", "DataLoader")


def is_dask(X: Any) -> bool:
    """Return whether X is a dask array."""
    return type(X).__module__.partition(".")[0] == "dask" and hasattr(X, "map_blocks") and hasattr(X, "chunks")


def is_masked(X: Any) -> "TypeGuard[np.ma.MaskedArray]":
    """Return whether X is a masked array of numpy, whether or not an entry is masked."""
    return _is_of(X, "numpy.ma", "MaskedArray")


def is_sparse(X: Any) -> bool:
    """Return whether X is a sparse array or matrix of scipy, or of the package sparse."""
    return _is_of(X, "scipy.sparse", "sparray", "spmatrix") or type(X).__module__.partition(".")[0] == "sparse"


def _is_of(X: Any, module: str, *names: str) -> bool:
    """Return whether X is an instance of one of the named classes of a module."""
    return isinstance(X, tuple(getattr(sys.modules.get(module), name, ()) for name in names))
