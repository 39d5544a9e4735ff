"""The global settings that change arithmetic."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch


@contextmanager
def flush_to_zero() -> Iterator[None]:
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


@contextmanager
def medium_precision() -> Iterator[None]:
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(precision)


SETTINGS: dict[str, Callable[[], contextlib.AbstractContextManager[None]]] = {
    "default": contextlib.nullcontext,
    "flush to zero": flush_to_zero,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "medium precision": medium_precision,
}
