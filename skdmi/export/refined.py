"""What finishes an inverse: as many steps as the matrices at hand need."""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import NamedTuple, TypeAlias

import numpy as np
import onnx

from skdmi.export.cofactors import CLOSED_UP_TO, cofactor_inverse
from skdmi.export.gauss_jordan import ELIMINATED_UP_TO, eliminated_inverse
from skdmi.export.graph import FIRST, LAST, Graph, Layout, Value
from skdmi.export.network import Source, invert
from skdmi.export.scale import Scaled, equilibrate, equilibrate_symmetric, leave
from skdmi.export.starts import begin, combine
from skdmi.export.steps import (
    equalizing_steps,
    hyperpower_orders,
    largest_eigenvalue,
    take_hyperpower_steps,
    take_steps,
)
from skdmi.iteration import IDENTITY, FamilyStart, Start
from skdmi.iteration.learned import PolynomialInverse
from skdmi.modules import InverterResNet

MAX_PRODUCTS = 24
"""Of hyperpower steps from a network's inverse: what needs more is as well begun without it."""
MAX_DOUBLINGS = 22
"""Of the condition number, each for one step more: beyond 4e6 float32 proves nothing."""
LARGEST_OF_ANY = 64
"""The size up to which a file for any size keeps what it promises."""

Inversion: TypeAlias = Callable[[Graph, Value], tuple[Scaled, Value]]
"""From A to a scale, and the inverse of A in that scale."""


class Plan(NamedTuple):
    """A way to invert, and what it is in words."""

    words: str
    inversion: Inversion
    layout: Layout = FIRST


class Choice(NamedTuple):
    """The plan that serves, and the share of the matrices at hand that it certifies."""

    plan: Plan
    share: float


def invert_by_steps(graph: Graph, A: Value, *, start: Start, condition: float) -> tuple[Scaled, Value]:
    """Invert by steps that are made for a condition number, from a start that nothing was learned for."""
    is_symmetric = start == IDENTITY
    scaled = equilibrate_symmetric(A) if is_symmetric else equilibrate(A)
    begun = begin(graph, start, scaled.B)
    largest = largest_eigenvalue(graph.m or LARGEST_OF_ANY)
    ratio = largest * (condition if is_symmetric else condition**2)
    scale, alphas = equalizing_steps(ratio, largest)
    X = begun.X * graph.identity if begun.diagonal else begun.X
    return scaled, take_steps(graph, scaled.B, X, begun.R, alphas, scale)


def invert_along_stack(graph: Graph, A: Value) -> tuple[Scaled, Value]:
    """Invert entry by entry: in closed form, or by elimination, whatever the condition number."""
    scaled = equilibrate(A)
    assert graph.m is not None
    invert = cofactor_inverse if graph.m <= CLOSED_UP_TO else eliminated_inverse
    return scaled, invert(graph, scaled.B)


def plans(source: Source, m: int | None) -> Iterator[Plan]:
    """Yield ways to refine what a network or an ensemble finds, each of a step more than the one before.

    Of a network that iterates only the start is kept: at equal time its own steps do not reach as far, in a graph, as
    steps with fixed coefficients, learned or not; nor do these, for the smallest matrices, as far as elimination
    (``benchmarks/export.py``). Where the start of a family is too far from the inverses of too many members, its plain
    start follows.
    """
    start = _start(source)
    if not isinstance(start, Start):
        for n_products in (0, *range(2, MAX_PRODUCTS + 1)):
            orders = hyperpower_orders(n_products)
            words = f"hyperpower steps of {n_products} products"
            if start is None:
                yield Plan(f"what was trained, and {words}", partial(_after_network, source=source, orders=orders))
            else:
                yield Plan(f"the start of a family, and {words}", partial(_from_family, start=start, orders=orders))
    if start is not None:
        yield from _from_nothing_learned(start.plain if isinstance(start, FamilyStart) else start, m)


def _from_nothing_learned(start: Start, m: int | None) -> Iterator[Plan]:
    if m is not None and m <= ELIMINATED_UP_TO:
        words = "cofactors" if m <= CLOSED_UP_TO else "elimination"
        yield Plan(words, invert_along_stack, LAST)
    for doublings in range(1, MAX_DOUBLINGS + 1):
        condition = 2.0**doublings
        words = f"fixed steps for condition numbers up to {condition:.0f}"
        yield Plan(words, partial(invert_by_steps, start=start, condition=condition))


def choose(
    source: Source,
    m: int | None,
    build: Callable[[Plan], onnx.ModelProto],
    stacks: Sequence[np.ndarray],
    *,
    share: float,
    tol: float = 0.0,
) -> Choice:
    """Return the first plan that serves a share of matrices: certified, and as well as float32 allows.

    That is, with a bound that is at most ``tol``, or that the plan after it would not halve.

    Parameters
    ----------
    source : InverterResNet or Combination
    m : int or None
    build : callable
        Returns the file of a plan, with ``rho`` among its outputs.
    stacks : sequence of arrays of shape (n_matrices, m, m)
        float32.
    share : float
        From 0 to 1.
    tol : float, default=0.0

    Raises
    ------
    ValueError
        If none does.
    """
    most_certified = most_served = 0
    for (plan, rho), (_, further) in pairwise((plan, _bounds(build(plan), stacks)) for plan in plans(source, m)):
        certified = rho < 1
        served = certified & (~(rho > 2 * further) | (rho <= tol))  # a bound may be NaN
        if served.mean() >= share:
            return Choice(plan, float(certified.mean()))
        most_certified = max(most_certified, int(certified.sum()))
        most_served = max(most_served, int(served.sum()))
    n_matrices = sum(map(len, stacks))
    if most_certified >= share * n_matrices:
        raise ValueError(
            f"share={share:g}, and {most_certified:,} of {n_matrices:,} matrices are certified, but the bounds of only "
            f"{most_served:,} are as small as float32 allows. Try a larger tol."
        )
    raise ValueError(
        f"share={share:g}, but no more than {most_certified:,} of {n_matrices:,} matrices are certified. A proof in "
        f"float32 reaches condition numbers of some 1e5, and norms from 1e-16 to 1e16. Try "
        f"share={math.floor(1000 * most_served / n_matrices) / 1000}, or matrices, X, that the inverter is for."
    )


def _start(source: Source) -> Start | FamilyStart | None:
    """Return the start of a network that iterates on scaled matrices, else None."""
    if isinstance(source, InverterResNet) and source.normalize != "none" and type(source.core) is PolynomialInverse:
        return source.core.start
    return None


def _from_family(graph: Graph, A: Value, *, start: FamilyStart, orders: Sequence[int]) -> tuple[Scaled, Value]:
    """Invert from what a family's start proposes, unguarded: from a plain start so few steps would prove nothing."""
    scaled, units = leave(A)
    return scaled, take_hyperpower_steps(graph, A, combine(graph, start, A, units), orders)


def _after_network(graph: Graph, A: Value, *, source: Source, orders: Sequence[int]) -> tuple[Scaled, Value]:
    scaled, X = invert(graph, A, source=source)
    return scaled, take_hyperpower_steps(graph, scaled.B, X, orders)


def _bounds(model: onnx.ModelProto, stacks: Sequence[np.ndarray]) -> np.ndarray:
    """Return rho of all matrices."""
    import onnxruntime  # only what is chosen by running needs it

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(["rho"], {"A": A})[0] for A in stacks])
