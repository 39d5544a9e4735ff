"""Stacks as users have them: any size, dtype, memory layout and container, with good, bad and singular matrices."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmarks.lib.tight_attack import FAMILIES, within

Rng = np.random.Generator

GOOD = ("uniform", "graded", "badly_scaled")
"""Families that most stacks are of, whose members are inverted at once; others take up to a hundred times as long."""
SMALL = (1, 2, 2, 2, 3, 3, 3, 3, 3, 4, 4, 4, 5, 6, 7, 8)


class Kind(NamedTuple):
    """What a stack is kept in."""

    container: str
    dtype: Any
    layout: str


class Families(NamedTuple):
    """What matrices of a stack are."""

    most: str
    others: str
    share: float
    """Of the others."""

    @property
    def are_good(self) -> bool:
        return self.most in GOOD


class Given(NamedTuple):
    """A stack as it is handed over, and what is in it."""

    kind: Kind
    stack: Any
    shape: tuple[int, ...]

    def holder(self, *, computes: bool) -> type:
        """Return the type that answers come in; of reports, which compute what is lazy, arrays."""
        in_arrays = self.kind.container == "list" or (computes and self.kind.container == "dask")
        return np.ndarray if in_arrays else type(self.stack)

    def numbers(self) -> np.ndarray:
        """Return the matrices in float64, ``(n_matrices, m, m)``."""
        return as_float64(self.stack).reshape(-1, *self.shape[-2:])

    @property
    def answer_dtype(self) -> Any:
        """The dtype of inverses: that of the stack if it is one of floats that skdmi answers in, else float64."""
        if self.kind.container == "torch":
            return self.kind.dtype if self.kind.dtype.is_floating_point else torch.float64
        return np.dtype(np.float32 if self.kind.dtype == np.float32 else np.float64)

    @property
    def working_dtype(self) -> type[Any]:
        """The dtype whose unit roundoff certificates speak of."""
        half = (torch.float16, torch.bfloat16)
        return np.float32 if self.answer_dtype in (np.float32, torch.float32, *half) else np.float64


def as_float64(stack: Any) -> np.ndarray:
    """Return a stack in any container as float64."""
    if isinstance(stack, torch.Tensor):
        return stack.detach().double().numpy()
    with np.errstate(over="ignore"):
        return np.asarray(stack).astype(np.float64)


def plain(A: np.ndarray) -> np.ndarray:
    return A


def fortran(A: np.ndarray) -> np.ndarray:
    return np.asfortranarray(A)


def transposed(A: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(A.swapaxes(1, 2)).swapaxes(1, 2)


def backwards(A: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(A[::-1, ::-1, ::-1])[::-1, ::-1, ::-1]


def every_other(A: np.ndarray) -> np.ndarray:
    wide = np.full((2 * len(A), A.shape[1], 2 * A.shape[2]), 7, A.dtype)
    wide[::2, :, ::2] = A
    return wide[::2, :, ::2]


def one_many_times(A: np.ndarray) -> np.ndarray:
    return np.broadcast_to(A[:1], A.shape)


def read_only(A: np.ndarray) -> np.ndarray:
    A = A.copy()
    A.flags.writeable = False
    return A


def misaligned(A: np.ndarray) -> np.ndarray:
    buffer = bytearray(A.nbytes + 1)
    view: np.ndarray = np.frombuffer(buffer, A.dtype, A.size, offset=1).reshape(A.shape)
    view[...] = A
    return view


def swapped(A: np.ndarray) -> np.ndarray:
    return A.astype(A.dtype.newbyteorder("S"))


def two_axes(A: np.ndarray) -> np.ndarray:
    return A[: len(A) // 2 * 2].reshape(2, -1, *A.shape[1:]) if len(A) > 1 else A


LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    layout.__name__: layout
    for layout in (
        *(plain, plain, fortran, transposed, backwards, every_other, one_many_times, read_only, misaligned, swapped),
        two_axes,
    )
}
TENSOR_LAYOUTS = ("plain", "fortran", "transposed", "every_other", "one_many_times", "two_axes")
"""Torch has neither negative strides nor foreign byte orders, and warns of what is read-only."""
ARRAY_DTYPES = (np.float64, np.float64, np.float32, np.float32, np.float16, np.longdouble, np.int64, np.int8, np.uint16)
TENSOR_DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64)
CONTAINERS = ("numpy", "numpy", "numpy", "numpy", "torch", "torch", "list", "dask")


def draw_kind(rng: Rng) -> Kind:
    container = str(rng.choice(CONTAINERS))
    if container == "torch":
        return Kind(container, pick(TENSOR_DTYPES, rng), str(rng.choice(TENSOR_LAYOUTS)))
    if container == "list":
        return Kind(container, np.float64, "plain")
    return Kind(container, pick(ARRAY_DTYPES, rng), str(rng.choice(list(LAYOUTS))))


def draw_size(rng: Rng) -> int:
    """Return a size from 1 to 100, mostly a small one."""
    share = rng.random()
    if share < 0.85:
        return pick(SMALL, rng)
    return int(rng.integers(9, 33)) if share < 0.97 else int(rng.integers(33, 101))


def draw_families(rng: Rng) -> Families:
    """Return of which family a stack is, and of which its other members are, and how many."""
    names = list(FAMILIES)
    return Families(
        str(rng.choice(GOOD if rng.random() < 0.6 else names)),
        str(rng.choice(names)),
        float(rng.choice([0, 0, 0.001, 0.02])),
    )


def draw_matrices(rng: Rng, n: int, m: int, families: Families) -> np.ndarray:
    """Return float64 matrices of one family, some of them of another, singular or at the ends of the range."""
    with np.errstate(all="ignore"):
        A = FAMILIES[families.most](rng, n, m)
        where = rng.random(n) < families.share
        A[where] = FAMILIES[families.others](rng, n, m)[where]
    return A


def give(A: np.ndarray, kind: Kind) -> Given:
    """Hand over matrices in a container; those of integers are rounded."""
    if kind.container == "torch":
        stack: Any = as_tensor(A, kind)
    else:
        B = in_dtype(A, kind.dtype)
        stack = LAYOUTS[kind.layout](B)
        if kind.container == "list":
            stack = stack.tolist()
        elif kind.container == "dask":
            stack = as_dask(stack)
    return Given(kind, stack, np.shape(stack))


def in_dtype(A: np.ndarray, dtype: Any) -> np.ndarray:
    """Return a stack in a dtype of numpy, within its range."""
    if np.dtype(dtype).kind == "f":
        return within(A, dtype).copy()
    info = np.iinfo(dtype)
    most = min(info.max, 2**53)  # What float64 cannot hold is refused.
    return np.clip(np.nan_to_num(np.rint(A)), max(info.min, -most), most).astype(dtype)


def as_tensor(A: np.ndarray, kind: Kind) -> torch.Tensor:
    if kind.dtype.is_floating_point:
        limit = torch.finfo(kind.dtype).max
        A = np.clip(np.nan_to_num(A), -limit, limit)
    else:
        A = in_dtype(A, np.int64)
    tensor = torch.from_numpy(A).to(kind.dtype)
    view = LAYOUTS[kind.layout](A)
    if kind.layout == "one_many_times":
        return tensor[:1].expand(view.shape)
    laid = torch.empty_strided(view.shape, [step // A.itemsize for step in view.strides], dtype=kind.dtype)
    return laid.copy_(tensor[: view.size // tensor[0].numel()].reshape(view.shape))


def as_dask(stack: np.ndarray) -> Any:
    import dask.array

    return dask.array.from_array(stack, chunks=(-(-len(stack) // 3), *stack.shape[1:]))


def pick(choices: Any, rng: Rng) -> Any:
    return choices[rng.integers(len(choices))]
