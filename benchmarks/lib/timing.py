"""The one way in which anything is timed here."""

import resource
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

Argument = TypeVar("Argument")
Quartiles = tuple[float, float, float]


@dataclass(frozen=True)
class Spent:
    """Seconds that each run of a method took."""

    processor: np.ndarray
    wall: np.ndarray

    def per(self, n: int) -> "Spent":
        """Return what a part takes, if a run is n of them."""
        return Spent(self.processor / n, self.wall / n)

    def record(self, **others: "Spent") -> dict[str, Any]:
        """Return nanoseconds, and processor time over that of others in the same turn, as results keep them.

        Medians, and beside each the lower and the upper quartile.
        """
        values = {"ns": 1e9 * self.processor, "wall_ns": 1e9 * self.wall}
        values |= {f"over_{name}": self.processor / other.processor for name, other in others.items()}
        found: dict[str, Any] = {}
        for name, runs in values.items():
            lower, middle, upper = quartiles(runs)
            found |= {name: middle, f"{name}_quartiles": [lower, upper]}
        return found


def quartiles(values: np.ndarray) -> Quartiles:
    """Return lower quartile, median and upper quartile.

    >>> quartiles(np.array([3.0, 1.0, 2.0]))
    (1.5, 2.0, 2.5)
    """
    lower, middle, upper = np.quantile(values, (0.25, 0.5, 0.75)).tolist()
    return lower, middle, upper


def in_turn(methods: Mapping[str, Callable[[Argument], Any]], arguments: Iterable[Argument]) -> dict[str, Spent]:
    """Return what each method takes in runs that alternate: one an argument.

    The first argument warms up and does not count. Processor time, since others may use the machine; that of processes
    that a run has waited for is its own.
    """
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in methods}
    for argument in arguments:
        for name, method in methods.items():
            started, begun = time.perf_counter(), _processor_time()
            method(argument)
            spent[name].append((_processor_time() - begun, time.perf_counter() - started))
    return {name: Spent(*np.transpose(runs[1:])) for name, runs in spent.items()}


def alternate(methods: Mapping[str, Callable[[Argument], Any]], arguments: Iterable[Argument]) -> dict[str, float]:
    """Return the median processor time of each method in seconds, see `in_turn`."""
    return {name: quartiles(spent.processor)[1] for name, spent in in_turn(methods, arguments).items()}


def nanoseconds(methods: Mapping[str, Callable[[Any], Any]], A: Any, repeats: int = 5) -> dict[str, float]:
    """Return the median processor time of each method for a matrix of the stack A."""
    return {name: 1e9 * spent / len(A) for name, spent in alternate(methods, [A] * (repeats + 1)).items()}


def _processor_time() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime
