"""Which device a network runs on, and in which of torch's modes."""

import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

from skdmi.exceptions import DeviceFallbackWarning

_AVAILABLE: dict[str, Callable[[], bool]] = {
    "cuda": lambda: torch.cuda.is_available(),
    "mps": lambda: torch.backends.mps.is_available(),
}


def resolve_device(name: str, *, loaded: bool) -> torch.device:
    """Return the device that a parameter means; where this machine lacks it, a loaded model warns and takes the CPU.

    Raises
    ------
    ValueError
        If there is no such device, in general or, unless ``loaded``, on this machine.

    Examples
    --------
    >>> resolve_device("cpu", loaded=False)
    device(type='cpu')
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device={name!r}; expected 'auto', 'cpu', 'cuda', 'cuda:1', 'mps'.") from error
    if device.type == "cpu" or (device.type in _AVAILABLE and _AVAILABLE[device.type]()):
        return device
    if not loaded:
        raise ValueError(f"device={name!r}, but this machine has none; try device='auto'.")
    warnings.warn(
        f"The model asks for device={name!r}, which this machine does not have; it runs on the CPU.",
        DeviceFallbackWarning,
        stacklevel=2,
    )
    return torch.device("cpu")


_Result = TypeVar("_Result")


def apart(move: Callable[[], _Result]) -> _Result:
    """Move a network in a thread of its own: transforms of ``torch.func``, which forbid it, belong to one thread.

    >>> apart(lambda: torch.eye(1).to("cpu"))
    tensor([[1.]])
    """
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(move).result()


@contextmanager
def plain_modes(device: torch.device) -> Iterator[None]:
    """Let torch train here as where nobody has asked for a mode: with gradients, and without autocast.

    >>> with torch.inference_mode(), plain_modes(torch.device("cpu")):
    ...     torch.is_inference_mode_enabled(), torch.is_grad_enabled()
    (False, True)
    """
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autocast("cpu", enabled=False),
        torch.autocast(device.type, enabled=False),
    ):
        yield
