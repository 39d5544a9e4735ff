"""The arguments of a network: what parameters make of them, and what may change where training goes on."""

from collections.abc import Mapping
from typing import Any

from skdmi.estimators.network import NETWORK_DEFAULTS
from skdmi.modules import BLOCKS


def architecture_for(
    parameters: Mapping[str, Any], sizes: tuple[int, ...], before: dict[str, Any] | None
) -> dict[str, Any]:
    """Return the arguments of the network; where training goes on, only sizes may change, of one that takes any.

    Parameters
    ----------
    parameters : mapping
        Of the inverter: depth, width, block, start, and net_params, which have the last word.
    sizes : tuple of int
        Of the matrices to train on.
    before : dict or None
        The arguments of the network that training goes on from.

    Raises
    ------
    ValueError
        If weights of the network before do not fit this one.

    Examples
    --------
    >>> given = {"depth": 3, "width": 8, "block": "polynomial", "start": "transpose", "net_params": None}
    >>> architecture_for(given, (3, 5), architecture_for(given, (4,), None))["matrix_size"]
    [3, 5]
    """
    named = {name: parameters[name] for name in ("depth", "width", "block", "start")}
    architecture = NETWORK_DEFAULTS | named | {"matrix_size": sizes[0]}
    takes_any = BLOCKS[named["block"]].takes_any_size
    if takes_any:
        earlier = sizes if before is None else before["matrix_size"]
        architecture["matrix_size"] = [min(*sizes, *earlier), max(*sizes, *earlier)]
    for name, value in (parameters["net_params"] or {}).items():
        if name.startswith("module__"):
            architecture[name.removeprefix("module__")] = value
    if before is not None:
        known = NETWORK_DEFAULTS | before
        free = {"matrix_size"} if takes_any else set()
        changed = sorted(name for name in architecture.keys() - free if architecture[name] != known.get(name))
        if changed:
            raise ValueError(
                f"The architecture has changed ({', '.join(changed)}), so training cannot go on from the present "
                f"weights; fit with warm_start=False."
            )
    return architecture
