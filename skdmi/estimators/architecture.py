"""The arguments of a network and its first weights: what parameters make of them, and what training goes on from."""

import copy
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from skdmi.estimators.network import NETWORK_DEFAULTS
from skdmi.iteration import STARTS, FamilyStart
from skdmi.iteration.fitting import adapt
from skdmi.modules import BLOCKS, InverterResNet
from skdmi.modules.network import FAMILY, normalized
from skdmi.training import Problem, begin

FITTED = ("auto", "family")
"""Starts that the matrices decide."""
ARGUMENTS_OF_START = ("start", "plain", "n_atoms", "n_places")


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
    named = {name: parameters[name] for name in ("depth", "width", "block")}
    architecture = NETWORK_DEFAULTS | named | {"matrix_size": sizes[0]}
    if parameters["start"] in STARTS:
        architecture["start"] = parameters["start"]
    elif parameters["start"] not in FITTED:
        raise ValueError(f"start={parameters['start']!r}; expected one of {(*FITTED, *STARTS)}.")
    elif before is not None:
        if parameters["start"] == FAMILY != before["start"]:
            raise ValueError(
                f"start='family' is fitted before the first training, which began from {before['start']!r}: fit with "
                f"warm_start=False."
            )
        architecture |= {name: before[name] for name in ARGUMENTS_OF_START if name in before}
    takes_any = BLOCKS[named["block"]].takes_any_size
    if takes_any:
        earlier = sizes if before is None else before["matrix_size"]
        architecture["matrix_size"] = [min(*sizes, *earlier), max(*sizes, *earlier)]
    for name, value in (parameters["net_params"] or {}).items():
        if name.removeprefix("module__") in ARGUMENTS_OF_START:
            raise ValueError(f"net_params sets {name!r}; the start is set by the parameters start and n_atoms.")
        if name.startswith("module__"):
            architecture[name.removeprefix("module__")] = value
    if before is not None:
        known = NETWORK_DEFAULTS | before
        free = {"matrix_size"} if takes_any and known["start"] != FAMILY else set()
        changed = sorted(name for name in architecture.keys() - free if architecture[name] != known.get(name))
        if changed:
            raise ValueError(
                f"The architecture has changed ({', '.join(changed)}), so training cannot go on from the present "
                f"weights; fit with warm_start=False."
            )
    return architecture


def first_weights(
    problem: Problem,
    architecture: dict[str, Any],
    parameters: Mapping[str, Any],
    before: InverterResNet | None,
) -> dict[str, Tensor] | None:
    """Return the weights that training begins with, or those of them that are not random.

    A start that the matrices decide is chosen and fitted, which completes the arguments in ``architecture``. The start
    of a network ``before`` follows the family that is to be trained on.
    """
    if before is not None:
        network = copy.deepcopy(before).cpu()
        start = getattr(network.core, "start", None)
        if isinstance(start, FamilyStart) and problem.members is not None:
            adapt(start, normalized(problem.members)[0])
        return network.state_dict()
    if parameters["start"] not in FITTED or not BLOCKS[parameters["block"]].takes_any_size:
        return None
    arguments, state = begin(problem, architecture, parameters["start"], parameters["n_atoms"])
    architecture |= arguments
    return state
