"""Steps with fixed coefficients inside a graph: two products each, and nothing else."""

import math
from collections.abc import Sequence

from skdmi.export.graph import Graph, Value

NEAR = 0.03
"""From here on two of Newton's steps reach the rounding of float32."""
MARGIN = 1e-3
"""The part of an interval that an alpha lies above it, at least."""


def take_steps(graph: Graph, B: Value, X: Value, R: Value, alphas: Sequence[float], scale: float = 1.0) -> Value:
    r"""Return X after the steps :math:`X \leftarrow X (\alpha I - B X)` from s X; ``alpha = 2`` is Newton's.

    The first needs one product, since the residual ``R = I - B X`` is known: :math:`s X ((\alpha - s) I + s R)`, with
    the ``scale`` s.
    """
    first, *others = alphas
    X = X @ (graph.multiple_of_identity(scale * (first - scale)) + R * scale**2)
    for alpha in others:
        X = X @ (graph.multiple_of_identity(alpha) - B @ X)
    return X


def hyperpower_orders(n_products: int) -> list[int]:
    r"""Return the orders, 2 or 3, of steps that reach furthest with so many products: :math:`R \to R^{o_1 o_2 \cdots}`.

    >>> [hyperpower_orders(n) for n in (0, 2, 3, 4, 5, 7)]
    [[], [2], [3], [2, 2], [3, 2], [3, 2, 2]]
    """
    n_squares = -n_products % 3
    return [3] * ((n_products - 2 * n_squares) // 3) + [2] * n_squares


def take_hyperpower_steps(graph: Graph, B: Value, X: Value, orders: Sequence[int]) -> Value:
    r"""Return X after steps of order 2, :math:`X (2 I - P)`, or 3, :math:`X (3 I - P (3 I - P))`, with :math:`P = B X`.

    As many products as the order each; :math:`R = I - P` becomes :math:`R^2` or :math:`R^3`.

    References
    ----------
    Altman, "An optimum cubically convergent iterative method of inverting a linear bounded operator in Hilbert space",
    Pacific J. Math. 10, 1960.
    """
    for order in orders:
        P = B @ X
        if order == 3:
            P = P @ (graph.multiple_of_identity(3.0) - P)
        X = X @ (graph.multiple_of_identity(float(order)) - P)
    return X


def equalizing_steps(ratio: float, largest: float) -> tuple[float, list[float]]:
    r"""Return coefficients that bring all eigenvalues of B X near 1: a scale for X, and an alpha a step.

    .. math:: \lambda \mapsto \lambda (\alpha - \lambda), \qquad \alpha = h + \max(l, h / 1000) \quad\text{on } [l, h],

    takes the middle to :math:`\alpha^2 / 4` and the ends to l h or little more. No alpha makes the ratio of the largest
    to the smallest much smaller, which falls by four while the interval is wide; with less than h / 1000 rounding might
    take the upper end below zero, from where nothing returns. So many steps are taken that no eigenvalue is further
    than 0.03 from 1, then two of Newton's, which leave :math:`10^{-6}`.

    Parameters
    ----------
    ratio : float
        That of the largest eigenvalue of B X at the start to the smallest, up to which that holds.
    largest : float
        The largest eigenvalue at the start.

    Returns
    -------
    scale : float
        What to multiply X by, before the first step.
    alphas : list of float

    References
    ----------
    Chen and Chow, "A stable scaling of Newton-Schulz for improving the sign function computation of a Hermitian
    matrix", 2014, who scale each step to the interval that is left.

    Examples
    --------
    >>> scale, alphas = equalizing_steps(100.0, 1.0)
    >>> eigenvalue = 0.01 * scale
    >>> for alpha in alphas:
    ...     eigenvalue *= alpha - eigenvalue
    >>> len(alphas), abs(eigenvalue - 1) < 1e-6
    (7, True)
    """
    low, sums = 1 / ratio, []  # of an interval brought to [low, 1], and its alpha
    while 1 - low > NEAR * (1 + low):
        sums.append(1 + max(low, MARGIN))
        low = low * (sums[-1] - low) * 4 / sums[-1] ** 2
    # Backwards, from a last interval centred at 1, what the upper ends really are.
    high = 2 / (1 + low)
    alphas = [2.0, 2.0]
    for total in reversed(sums):
        alphas.insert(0, 2 * math.sqrt(high))
        high = alphas[0] / total
    return high / largest, alphas


def largest_eigenvalue(m: int) -> float:
    r"""Return a bound on the eigenvalues of B X at a start that is the best multiple of something.

    With :math:`X = c Y`, :math:`c = \operatorname{tr}(B Y) / \|B Y\|_F^2` and positive eigenvalues of B Y, none of
    B X exceeds :math:`(1 + \sqrt m) / 2`, attained by one large and m - 1 small ones.
    """
    return (1 + math.sqrt(m)) / 2
