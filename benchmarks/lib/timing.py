"""The one way in which anything is timed here."""

import time
from collections.abc import Callable, Iterable, Mapping
from statistics import median
from typing import Any, TypeVar

Argument = TypeVar("Argument")


def alternate(methods: Mapping[str, Callable[[Argument], Any]], arguments: Iterable[Argument]) -> dict[str, float]:
    """Return the median processor time of each method in seconds, in runs that alternate: one an argument.

    The first argument warms up and does not count. Processor time, since others may use the machine.
    """
    spent: dict[str, list[float]] = {name: [] for name in methods}
    for argument in arguments:
        for name, method in methods.items():
            started = time.process_time()
            method(argument)
            spent[name].append(time.process_time() - started)
    return {name: median(times[1:]) for name, times in spent.items()}


def nanoseconds(methods: Mapping[str, Callable[[Any], Any]], A: Any, repeats: int = 5) -> dict[str, float]:
    """Return the median processor time of each method for a matrix of the stack A."""
    return {name: 1e9 * spent / len(A) for name, spent in alternate(methods, [A] * (repeats + 1)).items()}
