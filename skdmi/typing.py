"""What the public functions take and return, for a type checker: the words of parameters, and containers.

Nothing here is needed to run them. A stack comes back in the container that it came in: a torch tensor as a tensor, a
dask array as a dask array, a numpy array of float32 or float64 as one of that dtype, and what else numpy can read as a
numpy array.
"""

from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypeVar, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "ArrayLike",
    "BlockName",
    "BoolArray",
    "ComplexArray",
    "DaskArray",
    "DaskT",
    "ExportPolicy",
    "Float64Array",
    "FloatArray",
    "FloatT",
    "FrozenInverter",
    "IndefinitePolicy",
    "InexactT",
    "Net",
    "Normalization",
    "Precision",
    "SingularPolicy",
    "StartName",
    "Structure",
    "UncertifiedPolicy",
]

BlockName: TypeAlias = Literal["polynomial", "feedback", "dense"]
"""A kind of network: the names of ``skdmi.modules.BLOCKS``."""
Normalization: TypeAlias = Literal["frobenius", "none"]
"""Whether the scale of a matrix is taken out: ``skdmi.modules.NORMALIZATIONS``."""
Precision: TypeAlias = Literal["float32", "float64"]
"""Of the parameters of a network: the names of ``skdmi.modules.PRECISIONS``."""
StartName: TypeAlias = Literal["transpose", "identity"]
"""Where an iteration begins: the names of ``skdmi.iteration.STARTS``."""
SingularPolicy: TypeAlias = Literal["warn", "raise", "pinv"]
"""What becomes of matrices that are singular to working precision."""
IndefinitePolicy: TypeAlias = Literal["warn", "raise"]
"""What becomes of matrices that are not proved to be positive definite."""
UncertifiedPolicy: TypeAlias = Literal["exact", "nan", "keep", "raise"]
"""What becomes of inverses that have no certificate."""
ExportPolicy: TypeAlias = Literal["keep", "nan", "mask"]
"""What a file returns of inverses that it cannot prove."""
Structure: TypeAlias = Literal["unit_lower", "spd"]
"""What a matrix is said to be: unit lower triangular, or symmetric positive definite."""

ComplexArray: TypeAlias = NDArray[np.complex64] | NDArray[np.complex128]
"""A numpy array of complex numbers of either precision."""
FloatArray: TypeAlias = NDArray[np.float32] | NDArray[np.float64]
"""A numpy array of either precision."""
Float64Array: TypeAlias = NDArray[np.float64]
"""A numpy array of float64."""
BoolArray: TypeAlias = NDArray[np.bool_]
"""A numpy array of truth values."""
FloatT = TypeVar("FloatT", np.float32, np.float64)
"""Of a numpy array that keeps its dtype."""
InexactT = TypeVar("InexactT", np.float32, np.float64, np.complex64, np.complex128)
"""The dtype of a numpy array that is kept."""


Net: TypeAlias = Any
"""A net of skorch, which declares no types."""


class DaskArray(Protocol):
    """A dask array, known by what it has, since dask need not be installed."""

    @property
    def chunks(self) -> Any:
        """Sizes of the chunks along each axis."""

    @property
    def dask(self) -> Any:
        """The graph of what is to be computed."""

    def compute(self, **kwargs: Any) -> Any:
        """Return the array in memory."""


DaskT = TypeVar("DaskT", bound=DaskArray)
"""A dask array that comes back as one."""


class FrozenInverter(Protocol):
    """A fitted inverter in scikit-learn's ``FrozenEstimator``, which declares no types; it has all that is inside."""

    estimator: Any

    @overload
    def transform(self, X: "Tensor") -> "Tensor": ...
    @overload
    def transform(self, X: NDArray[FloatT]) -> NDArray[FloatT]: ...
    @overload
    def transform(self, X: DaskT) -> DaskT: ...
    @overload
    def transform(self, X: ArrayLike) -> Float64Array: ...
    def transform(self, X: Any) -> Any:
        """Return the inverse of every matrix."""

    def invert(self, A: "Tensor") -> "Tensor":
        """Invert tensors, differentiably."""

    def score(self, X: Any, y: Any = None) -> float:
        """Return minus the mean residual norm."""

    def __getattr__(self, name: str) -> Any: ...
