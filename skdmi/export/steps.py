"""Steps of an iteration inside a graph."""

import math
from collections.abc import Sequence

from skdmi.export.graph import Graph, Value

NEAR = 0.03
"""From here on two of Newton's steps reach the rounding of float32."""


def transpose_start(graph: Graph, B: Value) -> tuple[Value, Value]:
    r"""Return :math:`X_0 = c B^T` with the least :math:`\|I - B X_0\|_F`, and :math:`B X_0`: one product."""
    transposed = B.mT
    P = B @ transposed
    c = B.reduce("SumSquare", keep=True) / P.reduce("SumSquare", keep=True)
    return transposed * c, P * c


def polynomial_steps(graph: Graph, B: Value, X: Value, P: Value | None, alphas: Sequence[float]) -> Value:
    r"""Return X after the steps :math:`X \leftarrow X (\alpha I - B X)`, two products each; ``alpha = 2`` is Newton's.

    ``P`` is :math:`B X` of the first X, where it is known: one product less.
    """
    for alpha in alphas:
        X = X @ (graph.multiple_of_identity(alpha) - (B @ X if P is None else P))
        P = None
    return X


def equalizing_steps(condition: float, largest: float) -> tuple[float, list[float]]:
    r"""Return coefficients that bring all eigenvalues of B X near 1: a scale for X, and an alpha a step.

    .. math:: \lambda \mapsto \lambda (\alpha - \lambda), \qquad \alpha = l + h \quad\text{on } [l, h],

    takes both ends to l h and the middle to :math:`\alpha^2 / 4`: no other alpha makes their ratio smaller, which
    falls by four while the interval is wide. So many steps are taken that no eigenvalue is further than 0.03 from 1,
    then two of Newton's, which leave :math:`10^{-6}`.

    Parameters
    ----------
    condition : float
        The condition number of B up to which that holds.
    largest : float
        The largest eigenvalue of B X at the start; the smallest is ``largest / condition**2``.

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
    >>> scale, alphas = equalizing_steps(10.0, 1.0)
    >>> eigenvalue = 0.01 * scale
    >>> for alpha in alphas:
    ...     eigenvalue *= alpha - eigenvalue
    >>> len(alphas), abs(eigenvalue - 1) < 1e-6
    (7, True)
    """
    ratios = [condition**-2]
    while 1 - ratios[-1] > NEAR * (1 + ratios[-1]):
        ratios.append(4 * ratios[-1] / (1 + ratios[-1]) ** 2)
    height = 2 / (1 + ratios.pop())
    alphas = []
    for ratio in reversed(ratios):
        alphas.append(2 * math.sqrt(height))
        height = alphas[-1] / (1 + ratio)
    return height / largest, [*alphas[::-1], 2.0, 2.0]
