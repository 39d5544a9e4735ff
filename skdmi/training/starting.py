"""Where a network starts: what is fitted to members of a family, and which start they are cheapest from."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from skdmi.iteration import STARTS, FamilyStart
from skdmi.iteration.fitting import ENOUGH_MEMBERS, MOST_MEMBERS, Members, fit_families
from skdmi.modules.cost import MAX_STEPS, Iteration, steps_to
from skdmi.modules.network import FAMILY, PRECISIONS, normalized
from skdmi.training.problem import VALIDATION_FRACTION, Problem

AUTO = "auto"
N_ATOMS = (0, 8, 16, 32)
TOLERANCE = 1e-2
LEAST_GAIN = 0.05
"""A learned start that saves less than this part of the operations is not worth its memory."""
LEAST_MEMBERS = 8
"""To fit a start to; unasked it is not tried with fewer than `ENOUGH_MEMBERS`."""
MOST_JUDGES = 256


def begin(problem: Problem, architecture: Mapping[str, Any], start: str, n_atoms: str | int) -> "Beginning":
    """Return what a network begins with, given the parameters ``start`` and ``n_atoms`` of an estimator.

    ``"auto"`` is the best start for what X is, and ``"transpose"`` without X, for several sizes, and where the scale of
    matrices is not taken out.

    Parameters
    ----------
    problem : Problem
        What is trained on.
    architecture : mapping
        Arguments of :class:`~skdmi.modules.InverterResNet`: ``"matrix_size"``, here a sequence of sizes,
        ``"normalize"``, ``"rank"`` and ``"precision"`` are read.
    start : str
        ``"auto"``, ``"family"``, or a name in :data:`skdmi.iteration.STARTS`.
    n_atoms : int or "auto"
        Of a family start.

    Returns
    -------
    Beginning
        What to add to the architecture, and the first weights.

    Raises
    ------
    ValueError
        If ``start`` is ``"family"`` for several sizes, or the matrices have too few inverses to fit it to.

    Examples
    --------
    >>> from skdmi.training import pose_problem
    >>> problem = pose_problem("auto", [3], None, scale_free=True, seed=0)
    >>> begin(problem, {"matrix_size": (3,), "normalize": "frobenius"}, "auto", "auto").arguments
    {'start': 'transpose'}
    """
    has_data = problem.members is not None or problem.checks is not None
    is_of_one_size = len(set(architecture["matrix_size"])) == 1
    if start == AUTO and not (has_data and is_of_one_size and architecture["normalize"] == "frobenius"):
        return Beginning({"start": "transpose"}, {})
    names = (FAMILY,) if start == FAMILY else tuple(STARTS)
    has_enough = problem.members is None or len(problem.members) >= ENOUGH_MEMBERS * (1 - VALIDATION_FRACTION)
    if start == AUTO and has_enough:
        names = (*names, FAMILY)
    if not is_of_one_size:
        raise ValueError(f"start={start!r} is for matrices of one size, got the sizes {architecture['matrix_size']}.")
    family = problem.family(MOST_MEMBERS)
    chosen = choose_start(
        normalized(family)[0],
        names=names,
        n_atoms=N_ATOMS if isinstance(n_atoms, str) else (int(n_atoms),),
        rank=architecture["rank"],
        dtype=PRECISIONS[architecture["precision"]],
    )
    if start == FAMILY and not chosen.state:
        raise ValueError(
            f"start='family' needs at least {LEAST_MEMBERS} matrices that have an inverse, beside the tenth that is "
            f"held out; got {len(family)} to fit it to. Give fit more of them, or try start='transpose'."
        )
    return chosen


class Beginning(NamedTuple):
    """A start as arguments of :class:`~skdmi.modules.InverterResNet`, and the weights of one that was fitted.

    Parameters
    ----------
    arguments : dict
        ``"start"``, and of a family start ``"plain"``, ``"n_atoms"`` and ``"n_places"``.
    state : dict of str to Tensor
        By the names of the network; empty without a family start.

    Examples
    --------
    >>> family = torch.eye(3) + torch.randn(200, 3, 3, generator=torch.Generator().manual_seed(0)) / 30
    >>> choose_start(family, names=["transpose", "identity"]).arguments["start"] in STARTS
    True
    """

    arguments: dict[str, Any]
    state: dict[str, Tensor]


def choose_start(
    family: Tensor,
    *,
    names: Sequence[str],
    n_atoms: Sequence[int] = N_ATOMS,
    rank: int = 2,
    dtype: torch.dtype = torch.float32,
) -> Beginning:
    """Return the start from which members need fewest operations to a residual norm of 0.01.

    A family start is judged by members that were left out of a fit, fold by fold.

    Parameters
    ----------
    family : Tensor of shape (n_members, m, m)
        What a family start is fitted to, and what judges; scaled as the network sees it.
    names : sequence of str
        The starts to choose among, of :data:`skdmi.iteration.STARTS`, and ``"family"``. A family start falls back on
        the best of the others; alone it is taken in any case.
    n_atoms : sequence of int, default=(0, 8, 16, 32)
        Of family starts.
    rank : int, default=2
        Of the deflations.
    dtype : torch.dtype, default=torch.float32
        In which the network computes.
    """
    judges = family[:MOST_JUDGES].to(dtype)
    plain_names = [name for name in STARTS if name in names] or list(STARTS)
    plain_costs = {name: typical_operations([(judges, Iteration(STARTS[name], rank))]) for name in plain_names}
    plain = min(plain_costs, key=plain_costs.__getitem__)
    beginning = Beginning({"start": plain}, {})
    if FAMILY not in names or len(members := Members.of(family)) < LEAST_MEMBERS:
        return beginning
    least = plain_costs[plain] * (1 - LEAST_GAIN) if len(names) > 1 else torch.inf
    for start, folds in fit_families(members, n_atoms, plain=STARTS[plain]):
        share = MOST_JUDGES // len(folds)
        judged = [(apart[:share].to(dtype), Iteration(one.to(dtype), rank)) for one, apart in folds]
        cost = typical_operations(judged)
        if cost < least:
            least, beginning = cost, _fitted(start.to(dtype), plain)
    return beginning


def _fitted(start: FamilyStart, plain: str) -> Beginning:
    arguments = {"start": FAMILY, "plain": plain, "n_atoms": len(start.atoms), "n_places": len(start.places)}
    return Beginning(arguments, {f"core.start.{name}": value for name, value in start.state_dict().items()})


def typical_operations(judged: Sequence[tuple[Tensor, Iteration]]) -> float:
    """Return the operations to `TOLERANCE`: the mean of their mean and their 99th percentile, which a batch waits for.

    What does not get there counts all `MAX_STEPS` steps.

    Parameters
    ----------
    judged : sequence of (Tensor of shape (n_matrices, m, m), Iteration)
        Matrices, and how they are inverted.
    """
    operations = torch.cat(
        [
            iteration.operations(steps_to(A, [TOLERANCE], iteration)[0].clamp_max(MAX_STEPS), A.shape[-1])
            for A, iteration in judged
        ]
    )
    return (operations.mean() + operations.quantile(0.99)).item() / 2
