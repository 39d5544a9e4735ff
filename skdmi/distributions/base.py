"""What every distribution is: a sampler of stacks, and a plain value that can be compared, printed and stored."""

import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state
from torch import Tensor

from skdmi.typing import Float64Array

DTYPES = (torch.float32, torch.float64)
MAX_NUMBERS_SHOWN = 16
MAX_SHOWN = 400
"""Characters of a value in a message."""
LARGEST = sys.float_info.max

# Every distribution by the name of its class: what `from_dict` can build.
_KINDS: dict[str, type["Distribution"]] = {}


class Sampler(ABC):
    """Something that draws stacks of matrices: the two doors, `__call__` for the training stream, `sample` for people.

    A subclass writes ``_draw(n_matrices, matrix_size, **where)``, where ``where`` holds ``generator``, ``device`` and
    ``dtype`` under the names by which torch's own random functions take them.
    """

    def __call__(
        self,
        n_matrices: int,
        matrix_size: int,
        *,
        generator: torch.Generator,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """Draw a stack as a tensor.

        Parameters
        ----------
        n_matrices : int
            How many matrices; 0 gives an empty stack.
        matrix_size : int
            The side m of each matrix.
        generator : torch.Generator
            The only source of randomness. It lives on ``device``; the same state gives the same matrices.
        device : torch.device or str, default="cpu"
            Where the stack is drawn.
        dtype : {torch.float32, torch.float64}, default=torch.float32
            The type in which the stack is drawn.

        Returns
        -------
        stack : torch.Tensor of shape (n_matrices, m, m)
            Contiguous.

        Raises
        ------
        TypeError
            If ``generator`` is not a ``torch.Generator``.
        ValueError
            If ``n_matrices``, ``matrix_size`` or ``dtype`` is not allowed.
        """
        if not isinstance(generator, torch.Generator):
            raise TypeError(
                f"Got generator={generator!r}; expected a torch.Generator. Try torch.Generator().manual_seed(0)."
            )
        for name, value, least in (("n_matrices", n_matrices, 0), ("matrix_size", matrix_size, 1)):
            if not is_number(value, Integral) or value < least:
                raise ValueError(f"Got {name}={value!r}; expected an integer of at least {least}.")
        if dtype not in DTYPES:
            raise ValueError(f"Got dtype={dtype}; expected one of {DTYPES}.")
        if n_matrices == 0:
            return torch.empty(0, matrix_size, matrix_size, device=device, dtype=dtype)
        with torch.autocast(torch.device(device).type, enabled=False):
            return self._draw(n_matrices, matrix_size, generator=generator, device=device, dtype=dtype).contiguous()

    def sample(self, n_matrices: int, matrix_size: int, *, random_state: Any = None) -> Float64Array:
        """Draw a stack as a numpy array.

        Parameters
        ----------
        n_matrices : int
            How many matrices.
        matrix_size : int
            The side m of each matrix.
        random_state : int, numpy.random.RandomState or None, default=None
            As in scikit-learn. torch's global random state is left alone.

        Returns
        -------
        ndarray of shape (n_matrices, m, m)
            In float64.

        Examples
        --------
        >>> from skdmi.distributions import Uniform
        >>> Uniform().sample(100, 3, random_state=0).shape
        (100, 3, 3)
        """
        seed = int(check_random_state(random_state).randint(2**31 - 1))
        generator = torch.Generator().manual_seed(seed)
        return self(n_matrices, matrix_size, generator=generator, dtype=torch.float64).numpy()

    @property
    def uses_data(self) -> bool:
        """Whether the matrices are made from the X that `Distribution.bind` is given.

        Examples
        --------
        >>> from skdmi.distributions import Members, Normal
        >>> Normal().uses_data, Members().uses_data
        (False, True)
        """
        return False

    @abstractmethod
    def _draw(self, n_matrices: int, matrix_size: int, **where: Any) -> Tensor: ...


@dataclass(frozen=True, repr=False)
class Distribution(Sampler):
    """Describe, without data, where training matrices come from.

    A distribution is a value: two with equal parameters are equal, ``repr`` shows the parameters that differ from their
    defaults (of more than 16 numbers the shape, as ``<4 x 36 x 36 numbers>``), and
    ``from_dict(distribution.to_dict())`` is the distribution again. It is also a function: called with sizes and a
    generator it returns a stack, and any function of that signature may stand in its place.

    A subclass is a frozen dataclass (``@dataclass(frozen=True, repr=False)``) that writes ``_draw``, and ``_check`` if
    not every value of its parameters is allowed. `from_dict` knows it by the name of its class.

    See Also
    --------
    from_dict : The way back from `to_dict`.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> import torch
    >>> from skdmi.distributions import Distribution, from_dict
    >>> @dataclass(frozen=True, repr=False)
    ... class RandomMultiple(Distribution):
    ...     largest: float = 2.0
    ...
    ...     def _draw(self, n_matrices, matrix_size, *, generator, device, dtype):
    ...         c = torch.rand(n_matrices, 1, 1, generator=generator, device=device, dtype=dtype)
    ...         return (1 + (self.largest - 1) * c) * torch.eye(matrix_size, device=device, dtype=dtype)
    >>> RandomMultiple(3.0).sample(5, 2, random_state=0).shape
    (5, 2, 2)
    >>> from_dict({"name": "RandomMultiple", "largest": 3.0})
    RandomMultiple(largest=3.0)
    """

    def __init_subclass__(cls) -> None:
        known = _KINDS.get(cls.__name__, cls)
        if known.__module__ != cls.__module__:
            raise TypeError(
                f"A distribution named {cls.__name__!r} exists already, in {known.__module__}. Rename this one."
            )
        _KINDS[cls.__name__] = cls

    def __post_init__(self) -> None:
        for field in fields(self):
            object.__setattr__(self, field.name, _plain(getattr(self, field.name)))
        self._check()

    def _check(self) -> None:
        """Raise ValueError if a parameter is not allowed."""

    def bind(self, X: np.ndarray) -> Callable[..., Tensor]:
        """Adapt to data: return what draws matrices for X, this distribution itself unless it says otherwise.

        Parameters
        ----------
        X : ndarray of shape (n_matrices, m, m)
            The data, in float64.

        Returns
        -------
        callable
            With the signature of `__call__`.

        Examples
        --------
        >>> from skdmi.distributions import Normal
        >>> normal = Normal()
        >>> normal.bind(np.eye(2)[None]) is normal
        True
        """
        return self

    def to_dict(self) -> dict[str, Any]:
        """Return the parameters as a dictionary that JSON can hold.

        Returns
        -------
        dict
            ``{"name": "Uniform", "low": None, ...}``; distributions within are dictionaries of the same form.

        Raises
        ------
        ValueError
            If a parameter is a function, which JSON cannot hold.

        Examples
        --------
        >>> from skdmi.distributions import Wishart, from_dict
        >>> Wishart(ridge=0.5).to_dict()
        {'name': 'Wishart', 'degrees_of_freedom': None, 'ridge': 0.5}
        >>> from_dict(Wishart(ridge=0.5).to_dict())
        Wishart(ridge=0.5)
        """
        return {"name": type(self).__name__} | {f.name: _encode(getattr(self, f.name)) for f in fields(self)}

    def __repr__(self) -> str:
        shown = (f"{f.name}={_show(getattr(self, f.name))}" for f in fields(self) if getattr(self, f.name) != f.default)
        return f"{type(self).__name__}({', '.join(shown)})"


def from_dict(description: dict[str, Any]) -> Distribution:
    """Build the distribution that a dictionary describes; nothing in it is ever evaluated.

    Parameters
    ----------
    description : dict
        As `Distribution.to_dict` returns it, or ``json`` after a round trip. Parameters that are left out have their
        defaults.

    Returns
    -------
    Distribution
        Equal to the one that was described.

    Raises
    ------
    ValueError
        If the name or a parameter is unknown, or a value is not allowed.

    Examples
    --------
    >>> from skdmi.distributions import from_dict
    >>> from_dict({"name": "Uniform", "low": 0.0, "max_cond": 100.0})
    Uniform(low=0.0, max_cond=100.0)
    """
    match description:
        case {"name": str(name), **given} if name in _KINDS:
            kind = _KINDS[name]
        case _:
            raise ValueError(
                f"Got {_clipped(repr(description))}; expected a dict whose 'name' is one of {sorted(_KINDS)}."
            )
    try:
        return kind(**given)
    except TypeError as error:
        expected = ", ".join(field.name for field in fields(kind))
        got, reason = (_clipped(repr(text)[1:-1]) for text in (", ".join(given), str(error)))
        raise ValueError(f"{name} got ({got}); expected ({expected}): {reason}.") from error


def require(distribution: Distribution, parameter: str, holds: bool, expected: str) -> None:
    """Raise ValueError with the parameter, its value and what was expected, unless the condition holds."""
    if not holds:
        value = getattr(distribution, parameter)
        shown = _clipped(_show(value))
        raise ValueError(f"{type(distribution).__name__} got {parameter}={shown}; expected {expected}.")


def require_number(
    distribution: Distribution,
    parameter: str,
    kind: Any = Real,
    *,
    optional: bool = False,
    at_least: float = -math.inf,
    above: float = -math.inf,
) -> None:
    """Raise ValueError unless a parameter is a number within its bounds, or None where it is optional."""
    value = getattr(distribution, parameter)
    holds = (optional and value is None) or (is_number(value, kind) and value >= at_least and value > above)
    expected = "None or " * optional + ("an integer" if kind is Integral else "a finite number")
    expected += f" of at least {at_least:g}" * (at_least > -math.inf) + f" above {above:g}" * (above > -math.inf)
    require(distribution, parameter, holds, expected)


def is_number(value: Any, kind: Any = Real) -> bool:
    """Whether a value is a finite number of a kind; True and False are not numbers here."""
    # Compared as it is, since an integer may be too large to be converted; NaN is not within.
    return isinstance(value, kind) and not isinstance(value, bool) and -LARGEST <= value <= LARGEST


def number_array(value: Any) -> np.ndarray | None:
    """Return nested sequences as an array, or None if they are ragged or do not hold finite numbers alone."""
    if _holds_text(value):  # An array of texts has room for the longest of them in all its places.
        return None
    try:
        array = np.array(value)
    except (ValueError, OverflowError):  # ragged, or beyond float64
        return None
    return array if array.dtype.kind in "iuf" and np.isfinite(array).all() else None


def _holds_text(value: Any) -> bool:
    return isinstance(value, str | bytes) or (isinstance(value, list | tuple) and any(map(_holds_text, value)))


def check_stack(X: np.ndarray) -> np.ndarray:
    """Return X in float64, or raise ValueError if it is not a stack ``(n_matrices, m, m)`` with something in it."""
    X = np.asarray(X, dtype=np.float64)
    if X.ndim != 3 or X.shape[1] != X.shape[2] or X.size == 0:
        raise ValueError(f"X has shape {X.shape}; expected a stack (n_matrices, m, m) of at least one matrix.")
    return X


def _plain(value: Any) -> Any:
    """Numpy scalars as Python numbers, lists and arrays as tuples, descriptions as what they describe.

    So that values compare.
    """
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return tuple(map(_plain, value))
    return from_dict(value) if isinstance(value, dict) else value


def _show(value: Any) -> str:
    array = number_array(value) if isinstance(value, tuple) else None
    if array is None or array.size <= MAX_NUMBERS_SHOWN:
        return repr(value)
    return f"<{' x '.join(map(str, array.shape))} numbers>"


def _clipped(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]} ..."


def _encode(value: Any) -> Any:
    if isinstance(value, Distribution):
        return value.to_dict()
    if isinstance(value, tuple):
        return [_encode(item) for item in value]
    if isinstance(value, int | float | str | None):
        return value
    raise ValueError(f"{value!r} cannot be written as JSON. Use a Distribution in its place.")
