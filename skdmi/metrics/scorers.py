"""Scorers, ``(estimator, X, y=None)``, for scikit-learn's searches and validations: larger is better."""

import math
from typing import Any

from sklearn.pipeline import Pipeline
from torch import Tensor

from skdmi.containers import as_stack
from skdmi.iteration.learned import PolynomialInverse
from skdmi.iteration.refinement import refine
from skdmi.linalg.certificate import certify
from skdmi.linalg.complex import embedded
from skdmi.metrics.errors import mean_frobenius_residual
from skdmi.modules.cost import MAX_STEPS, Iteration, network_steps_to
from skdmi.modules.network import InverterResNet, normalized


def neg_mean_frobenius_residual(estimator: Any, X: Any, y: Any = None) -> float:
    """Score any transformer of stacks by minus its mean residual norm: for ``scoring=`` of a search.

    Equals ``estimator.score(X)`` for an inverter (unless it puts pseudo-inverses in the place of missing inverses);
    serves also a Pipeline or a foreign estimator whose ``transform`` returns inverses.

    Parameters
    ----------
    estimator : fitted transformer
        Its ``transform`` returns inverses.
    X : array of shape (n_matrices, m, m) or (n_matrices, m * m)
        The matrices to invert.
    y : ignored
        Present for scikit-learn.

    Returns
    -------
    float
        At most 0, which exact inverses reach; larger is better.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmi import ExactInverter
    >>> neg_mean_frobenius_residual(ExactInverter(), np.eye(3)[None]) == 0.0
    True
    """
    del y
    A, inverses = (as_stack(stack, allows_complex=True) for stack in (X, estimator.transform(X)))
    return -mean_frobenius_residual(A, inverses)


def neg_mean_refinement_steps(estimator: Any, X: Any, y: Any = None) -> float:
    """Score any transformer of stacks by minus the mean number of refinement steps that its inverses need.

    For an estimator with a ``report``, such as :class:`skdmi.RefinedInverter`, the steps that it takes: so parameters
    of what it refines can be searched through it, where ``score`` would rank rounding noise; likewise for a Pipeline
    that ends in one. For any other the steps that :func:`skdmi.iteration.refine` takes from what ``transform`` returns;
    a missing inverse starts from nothing.

    Parameters
    ----------
    estimator : fitted transformer
        Its ``transform`` returns inverses.
    X : array of shape (n_matrices, m, m) or (n_matrices, m * m)
        The matrices to invert.
    y : ignored
        Present for scikit-learn.

    Returns
    -------
    float
        At most 0; larger is better.

    Raises
    ------
    TypeError
        If the estimator has neither ``report`` nor ``transform``.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmi import ExactInverter, RefinedInverter, load_pretrained
    >>> A = np.array([[[4.0, 1.0, 0.0], [1.0, 3.0, 1.0], [0.0, 1.0, 2.0]]])
    >>> learned = RefinedInverter(load_pretrained("uniform-3x3-short"))
    >>> neg_mean_refinement_steps(learned, A), neg_mean_refinement_steps(ExactInverter(), A)
    (-1.0, 0.0)
    """
    del y
    final, final_X = _final_step(estimator, X)
    if hasattr(final, "report"):
        return 0.0 - float(final.report(final_X).n_steps.mean())
    if not hasattr(estimator, "transform"):
        raise TypeError(f"{estimator!r} has neither report nor transform; expected an inverter, or a Pipeline of one.")
    A, inverses = _stack(X), _stack(estimator.transform(X))
    return 0.0 - refine(A, inverses).n_steps.double().mean().item()


def neg_mean_operations(estimator: Any, X: Any, y: Any = None, *, tolerance: float = 1e-2) -> float:
    """Score a network by minus the mean number of operations that its inverses need to a residual norm.

    A network spends the operations of its ``depth``; where these do not suffice, those of the untrained steps that are
    missing are added, up to 12 steps in all. So depth, width and atoms can be searched for what is cheapest, where
    ``score`` would rank the rounding noise of networks that are deep enough. For another tolerance,
    ``functools.partial(neg_mean_operations, tolerance=1e-5)``.

    Parameters
    ----------
    estimator : fitted NeuralMatrixInverter, or a Pipeline that ends in one
        Of block ``"polynomial"``.
    X : array of shape (n_matrices, m, m) or (n_matrices, m * m)
        The matrices to invert.
    y : ignored
        Present for scikit-learn.
    tolerance : float, default=1e-2
        The residual norm to reach.

    Returns
    -------
    float
        Minus the mean number of multiplications and additions for a matrix; larger is better.

    Raises
    ------
    TypeError
        If the estimator does not end in such a network.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmi import NeuralMatrixInverter
    >>> X = np.random.default_rng(0).uniform(-1, 1, (50, 4, 4))
    >>> shallow, deep = (NeuralMatrixInverter(depth, matrix_size=4, max_epochs=0).fit() for depth in (2, 6))
    >>> bool(neg_mean_operations(shallow, X) > neg_mean_operations(deep, X)), shallow.score(X) > deep.score(X)
    (True, False)
    """
    del y
    final, final_X = _final_step(estimator, X)
    network = getattr(final, "module_", None)
    if not (isinstance(network, InverterResNet) and isinstance(network.core, PolynomialInverse)):
        raise TypeError(f"{estimator!r} does not end in a network of block 'polynomial', whose operations are counted.")
    A = _stack(final_X)
    A = A.reshape(-1, *(math.isqrt(A.shape[-1]),) * 2) if A.ndim == 2 else A
    core, device = network.core, next(network.parameters()).device
    scaled = normalized(A.double())[0].to(device, network.dtype)
    n_steps = network_steps_to(core, scaled, [tolerance])[0].clamp(core.depth, max(core.depth, MAX_STEPS))
    costs = Iteration(core.start, core.rank).operations(n_steps, A.shape[-1])
    return -costs.mean().item()


def certified_share(estimator: Any, X: Any, y: Any = None) -> float:
    """Score any transformer of stacks by the share of its inverses that can be certified as they are.

    See :func:`skdmi.linalg.certify`. Through a :class:`skdmi.RefinedInverter` that falls back on an exact method the
    share is that of the nonsingular matrices; ``uncertified="nan"`` leaves the fallback out.

    Parameters
    ----------
    estimator : fitted transformer
        Its ``transform`` returns inverses.
    X : array of shape (n_matrices, m, m) or (n_matrices, m * m)
        The matrices to invert.
    y : ignored
        Present for scikit-learn.

    Returns
    -------
    float
        From 0 to 1; larger is better.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmi import RefinedInverter
    >>> certified_share(RefinedInverter(), np.eye(3)[None])
    1.0
    """
    del y
    A, inverses = _stack(X), _stack(estimator.transform(X))
    return certify(A, inverses).certified.double().mean().item()


def _stack(X: Any) -> Tensor:
    """Return a stack as a tensor, a complex one as its embedding."""
    stack = as_stack(X, allows_complex=True)
    return embedded(stack) if stack.is_complex() else stack


def _final_step(estimator: Any, X: Any) -> tuple[Any, Any]:
    """Return what a pipeline ends in, and the X that reaches it; anything else and its X as they are."""
    while isinstance(estimator, Pipeline) and hasattr(estimator[-1], "transform"):
        X = estimator[:-1].transform(X) if len(estimator) > 1 else X
        estimator = estimator[-1]
    return estimator, X
