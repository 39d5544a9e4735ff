"""Matrices for training: an endless stream of fresh batches, and fixed batches for validation."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from skdmi.chunks import chunk_size

Draw = Callable[..., Tensor]
PREDICTED_AT_A_TIME = 1024


def stream_seed(*key: str | int) -> int:
    """Return a seed for a key of words and integers; different keys give independent streams.

    Parameters
    ----------
    *key : str or int
        What is drawn, and for which seed.

    Returns
    -------
    int
        In ``[0, 2^63)``.

    Examples
    --------
    >>> stream_seed("stream", 0, 1) == stream_seed("stream", 0, 1), stream_seed("stream", 0) == stream_seed("stream", 1)
    (True, False)
    """
    return int.from_bytes(hashlib.blake2b(repr(key).encode(), digest_size=8).digest()) >> 1


def draw_stack(draw: Draw, n_matrices: int, matrix_size: int, **where: Any) -> Tensor:
    """Return ``draw(n_matrices, matrix_size, **where)``, checked: a user's function may return anything.

    Raises
    ------
    ValueError
        If it is not a tensor of shape ``(n_matrices, m, m)``.
    """
    stack = draw(n_matrices, matrix_size, **where)
    expected = (n_matrices, matrix_size, matrix_size)
    if not isinstance(stack, Tensor) or stack.shape != expected:
        got = f"shape {tuple(stack.shape)}" if isinstance(stack, Tensor) else type(stack).__name__
        raise ValueError(f"The distribution {draw!r} returned {got}; expected a tensor of shape {expected}.")
    return stack


class MatrixStream(IterableDataset[tuple[Tensor, Tensor]]):
    """Fresh training matrices without end: each iteration is an epoch of whole batches ``(A, A)``.

    The target is A itself, which is all that the identity loss needs. Matrices are drawn on the device in chunks of
    many batches; the generator is seeded by ``(seed, n_matrices_seen)`` at the start of every epoch, so no matrix comes
    twice and a stream made anew with the same two numbers continues exactly.

    Parameters
    ----------
    draw : callable
        ``draw(n_matrices, matrix_size, *, generator, device, dtype)`` returns a stack; a distribution is one.
    matrix_sizes : sequence of int
        One is chosen at random for each chunk.
    batch_size : int
        Matrices in a batch.
    batches_per_epoch : int
        Batches in an iteration.
    seed : int
        Of all matrices.
    n_matrices_seen : int, default=0
        Counts on as batches are yielded.
    device : torch.device or str, default="cpu"
        Where matrices are drawn.
    dtype : torch.dtype, default=torch.float32
        Of the matrices.

    Examples
    --------
    >>> from skdmi.distributions import Uniform
    >>> stream = MatrixStream(Uniform(), [3], batch_size=16, batches_per_epoch=4, seed=0)
    >>> [A.shape for A, _ in stream] == [(16, 3, 3)] * 4, stream.n_matrices_seen
    (True, 64)
    """

    chunk_entries = 2**20

    def __init__(
        self,
        draw: Draw,
        matrix_sizes: Sequence[int],
        *,
        batch_size: int,
        batches_per_epoch: int,
        seed: int,
        n_matrices_seen: int = 0,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.draw = draw
        self.matrix_sizes: tuple[int, ...] = tuple(matrix_sizes)
        self.batch_size = batch_size
        self.batches_per_epoch = batches_per_epoch
        self.seed = seed
        self.n_matrices_seen: int = n_matrices_seen
        self.device: torch.device = torch.device(device)
        self.dtype = dtype

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield one epoch of batches."""
        seed = stream_seed("stream", self.seed, self.n_matrices_seen)
        generator = torch.Generator(self.device).manual_seed(seed)
        sizes = np.random.default_rng(seed)
        remaining = self.batches_per_epoch
        while remaining:
            m = int(sizes.choice(self.matrix_sizes))
            n_batches = self._batches_in_chunk(m, remaining)
            n_matrices = n_batches * self.batch_size
            chunk = draw_stack(self.draw, n_matrices, m, generator=generator, device=self.device, dtype=self.dtype)
            for A in chunk.split(self.batch_size):
                self.n_matrices_seen += len(A)
                yield A, A
            remaining -= n_batches

    def _batches_in_chunk(self, m: int, remaining: int) -> int:
        fitting = max(1, chunk_size(m, self.chunk_entries) // self.batch_size)
        several_sizes = len(self.matrix_sizes) > 1
        return min(remaining, 1 if several_sizes else fitting)


class MatrixBatches(Dataset[tuple[Tensor, Tensor]]):
    """A fixed list of batches ``(A, A)``, for validation.

    Parameters
    ----------
    batches : sequence of Tensor of shape (batch_size, m, m)
        Of one size in a batch; batches may differ.

    Examples
    --------
    >>> batches = MatrixBatches(torch.eye(3).expand(10, 3, 3).split(4))
    >>> [len(A) for A, _ in batches]
    [4, 4, 2]
    """

    def __init__(self, batches: Sequence[Tensor]) -> None:
        self.batches: list[Tensor] = list(batches)

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.batches[index], self.batches[index]


class Batches(DataLoader[Any]):
    """Torch's loader, but for the number that it draws for workers: not from the global generator, and on the CPU."""

    def __init__(self, dataset: Any, **options: Any) -> None:
        if not isinstance(dataset, MatrixStream | MatrixBatches):  # of a user's callback that predicts
            options["batch_size"] = PREDICTED_AT_A_TIME
        super().__init__(dataset, **{"generator": torch.Generator("cpu"), **options})

    def __iter__(self) -> Any:
        """Begin an epoch."""
        with torch.device("cpu"):
            return super().__iter__()
