"""What training bought: what held-out matrices cost, untrained beside trained."""

from typing import Any

import torch
from torch import Tensor

from skdmi.iteration import FamilyStart, Start
from skdmi.iteration.learned import PolynomialInverse
from skdmi.modules import InverterResNet
from skdmi.modules.cost import Iteration, steps_to

TOLERANCES = (1e-1, 1e-2, 1e-5)
MOST_MATRICES = 256
QUANTILES = (0.5, 0.99)
_STATED = "0.01"


@torch.no_grad()
def measure_gain(network: InverterResNet, A: Tensor, first: InverterResNet | None = None) -> dict[str, Any] | None:
    """Return products and operations to residual norms of 1e-1, 1e-2 and 1e-5, untrained beside trained.

    Parameters
    ----------
    network : InverterResNet
        Trained; None is returned for one that is no iteration.
    A : Tensor of shape (n_matrices, m, m)
        Held out, of one size, scaled as the network sees them.
    first : InverterResNet, optional
        What training began with, if a start was fitted.

    Returns
    -------
    dict or None
        ``n_matrices``, ``matrix_size``, and for ``"untrained"``, ``"fitted"`` (with ``first``) and ``"trained"`` a
        dictionary ``{"0.1": {"products": [median, 99th percentile], "operations": [...]}, ...}``; None where so many
        matrices do not get there in 12 steps.

    Examples
    --------
    >>> A = torch.eye(3).expand(10, 3, 3)
    >>> gain = measure_gain(InverterResNet(depth=2, width=4), A)
    >>> gain["trained"]["0.01"]["products"] == gain["untrained"]["0.01"]["products"]
    True
    """
    core = network.core
    if not isinstance(core, PolynomialInverse):
        return None
    A = A[:MOST_MATRICES].to(network.dtype)
    start: Start | FamilyStart = core.start
    plain = start.plain if isinstance(start, FamilyStart) else start
    gain: dict[str, Any] = {"n_matrices": len(A), "matrix_size": A.shape[-1]}
    gain["untrained"] = _cost(A, Iteration(plain, core.rank))
    if first is not None and isinstance(first.core, PolynomialInverse) and start is not plain:
        gain["fitted"] = _cost(A, Iteration(first.core.start, core.rank))
    gain["trained"] = _cost(A, Iteration(start, core.rank), core)
    return gain


def _cost(A: Tensor, iteration: Iteration, core: PolynomialInverse | None = None) -> dict[str, Any]:
    rule = {} if core is None else {"choose": core.rule(A)}
    n_steps, m = steps_to(A, TOLERANCES, iteration, **rule), A.shape[-1]
    return {
        f"{tolerance:g}": {
            "products": _quantiles(iteration.products(steps)),
            "operations": _quantiles(iteration.operations(steps, m)),
        }
        for tolerance, steps in zip(TOLERANCES, n_steps, strict=True)
    }


def _quantiles(values: Tensor) -> list[float | None]:
    found = [values.double().quantile(share, interpolation="higher").item() for share in QUANTILES]
    return [value if value < torch.inf else None for value in found]


def describe_gain(gain: dict[str, Any]) -> str:
    """Return what was gained in a sentence.

    Parameters
    ----------
    gain : dict
        What :func:`measure_gain` returned.

    Returns
    -------
    str
        Of the products to a residual norm of 0.01.

    Examples
    --------
    >>> cost = {"0.01": {"products": [8.0, 11.0]}}
    >>> describe_gain({"n_matrices": 30, "untrained": cost, "trained": cost})
    'On 30 held-out matrices a residual norm of 0.01 takes 8 products (99 %: 11), as untrained: nothing was gained.'
    """
    before, after = (gain[name][_STATED]["products"] for name in ("untrained", "trained"))
    now = f"On {gain['n_matrices']} held-out matrices a residual norm of {_STATED} takes {_in_words(after)}"
    if before == after:
        return f"{now}, as untrained: nothing was gained."
    return f"{now}, untrained {_in_words(before)}."


def _in_words(products: list[float | None]) -> str:
    median, most = (f"{value:g}" if value is not None else "out of reach" for value in products)
    return f"{median} products (99 %: {most})"
