"""Anybody's function, asked for inverses: what it takes, what it returns, and what it says of each matrix."""

import warnings
from collections.abc import Callable
from textwrap import shorten
from typing import Any, NamedTuple

import numpy as np

from skdmi.kinds import is_masked, is_tensor

Call = Callable[[Any], Any]
Said = set[tuple[type[Warning], str]]
_UNRELATED = (DeprecationWarning, PendingDeprecationWarning, FutureWarning, ImportWarning, ResourceWarning)
"""Warnings that speak of code, not of a matrix."""


class Convention(NamedTuple):
    """How a function takes matrices, and what it warns of even when it is asked for the inverse of I."""

    container: str
    """``"numpy"`` or ``"torch"``."""
    takes_stacks: bool
    usual: Said


class Answer(NamedTuple):
    """Of a stack."""

    X: np.ndarray
    """``(n_matrices, m, m)``, NaN where nothing came back."""
    said_so: np.ndarray
    """bool, ``(n_matrices,)``: an error, a warning, a flag, or a number that is not finite."""
    raises_for_stack: bool


class Uncallable(ValueError):
    """In no way that is known does a function return matrices of the shape that it is given."""


def find_convention(call: Call, m: int, dtype: np.dtype) -> Convention:
    """Find out how a function takes matrices, by identity matrices: numpy arrays or tensors, stacks or one by one.

    Raises
    ------
    Uncallable
        With the errors of all ways.

    Examples
    --------
    >>> find_convention(np.linalg.inv, 3, np.dtype("float64"))
    Convention(container='numpy', takes_stacks=True, usual=set())
    """
    stack = np.tile(np.eye(m, dtype=dtype), (m + 1, 1, 1))
    fits, errors = [], []
    for container in ("numpy", "torch"):
        for takes_stacks in (True, False):
            A = stack if takes_stacks else stack[0]
            try:
                X, _, said = _ask(call, A, container)
            except Exception as error:
                what = "a stack" if takes_stacks else "a matrix"
                errors.append(f"{container}, {what}: {type(error).__name__}: {shorten(str(error), 100)}")
                continue
            fits.append(Convention(container, takes_stacks, said))
            if np.abs(X - A).max() < 0.5:  # No answer to another question, such as a stack taken for a matrix.
                return fits[-1]
    if fits:
        return fits[0]
    raise Uncallable("It inverts no identity matrix. " + "; ".join(errors))


def ask(call: Call, convention: Convention, stack: np.ndarray) -> Answer:
    """Ask for the inverses of a stack; members one by one, if it raises for the stack or warns.

    >>> convention = find_convention(np.linalg.inv, 2, np.dtype("float64"))
    >>> answer = ask(np.linalg.inv, convention, np.stack([np.eye(2), np.zeros((2, 2))]))
    >>> answer.said_so, answer.raises_for_stack
    (array([False,  True]), True)
    """
    X, said_so, raises = None, np.zeros(len(stack), bool), False
    if convention.takes_stacks:
        try:
            X, said_so, said = _ask(call, stack, convention.container)
        except Exception:
            raises = True
        else:
            if not said - convention.usual:
                return Answer(X, said_so | ~_is_finite(X), False)
    alone = [_ask_alone(call, convention, A) for A in stack]
    if X is None:
        X = np.stack([answer for answer, _ in alone])
    said_so = said_so | [refuses for _, refuses in alone]
    return Answer(X, said_so | ~_is_finite(X), raises)


def _ask_alone(call: Call, convention: Convention, A: np.ndarray) -> tuple[np.ndarray, bool]:
    """Return the inverse of one matrix, and whether the function says that it is none."""
    try:
        X, said_so, said = _ask(call, A[None] if convention.takes_stacks else A, convention.container)
    except Exception:
        return np.full(A.shape, np.nan), True
    return X.reshape(A.shape), bool(said_so.any() or said - convention.usual)


def _ask(call: Call, A: np.ndarray, container: str) -> tuple[np.ndarray, np.ndarray, Said]:
    """Return what a function answers, which matrices it has no inverse of, and the warnings."""
    given: Any = A.copy()  # Some work in place.
    if container == "torch":
        import torch

        given = torch.from_numpy(given)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        X, said_so = _read(call(given), A.shape)
    said = {(w.category, str(w.message)) for w in caught if not issubclass(w.category, _UNRELATED)}
    return X, said_so, said


def _read(found: Any, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return the inverses in what a function returned, and where it says that there are none."""
    said_so: Any = False
    if not (isinstance(found, np.ndarray) or is_tensor(found)):
        if hasattr(found, "inverse") and not callable(found.inverse):
            if hasattr(found, "certified"):
                said_so = ~_flags(found.certified)
            elif hasattr(found, "info"):  # As in LAPACK: 0 is success.
                said_so = _flags(found.info)
            found = found.inverse
        elif isinstance(found, tuple) and len(found) == 2 and _is_of_bool(found[1]):
            found, said_so = found[0], ~_flags(found[1])
    X = _numbers(found)
    if X.shape != shape:
        raise ValueError(f"Got an answer of shape {X.shape}; expected {shape}.")
    return X, np.array(np.broadcast_to(said_so, shape[:-2]), bool)


def _is_of_bool(flags: Any) -> bool:
    return _as_numpy(flags).dtype == bool


def _flags(flags: Any) -> np.ndarray:
    return _as_numpy(flags).astype(bool)


def _numbers(X: Any) -> np.ndarray:
    """Return an array as float64, or complex128; what is masked is NaN."""
    if is_tensor(X):
        X = X.detach().cpu()
        X = (X.cdouble() if X.is_complex() else X.double()).resolve_conj()
    if is_masked(X):
        X = np.ma.filled(X.astype(np.float64), np.nan)
    X = _as_numpy(X)
    return X.astype(np.complex128 if X.dtype.kind == "c" else np.float64)


def _as_numpy(X: Any) -> np.ndarray:
    return X.detach().cpu().resolve_neg().numpy() if is_tensor(X) else np.asarray(X)


def _is_finite(X: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.isfinite(X).all(axis=(-2, -1))
    return found
