"""One route of ``skdmi.inv`` at a time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from skdmi.estimators import direct
from skdmi.lanes.kernels import KERNELS

KERNEL_OF = {"lanes": "inverses", "large": "large matrices"}


@contextmanager
def only(name: str) -> Iterator[None]:
    """Let ``skdmi.inv`` take one route, whatever the size."""
    before = direct.ROUTES
    route = next(route for route in before if route.name == name)
    direct.ROUTES = (route._replace(serves=lambda m, n_matrices: True),)
    try:
        yield
    finally:
        direct.ROUTES = before


def by_route(name: str, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a function that takes one route, whatever the size."""

    def restricted(A: Any) -> Any:
        with only(name):
            return function(A)

    return restricted


def working_routes() -> list[str]:
    """Return the routes that there are on this machine; kernels are compiled first if they are not cached."""
    compiled = {name: kernel.compile() for name, kernel in KERNELS.items()}
    return [route.name for route in direct.ROUTES if compiled.get(KERNEL_OF.get(route.name, ""), True)]
