"""How good inverses are: residuals and errors of stacks, shares within a tolerance, and scorers.

Errors are positive functions of the matrices A and their computed inverses X, numpy arrays or torch tensors of shape
``(n_matrices, m, m)``; scorers are larger-is-better callables ``(estimator, X, y=None)`` named ``neg_*``. Everything is
measured in float64: in float32 the rounding of the residual itself is 1e-7 and more.
"""

import math
from typing import Any

import numpy as np
import torch
from sklearn.pipeline import Pipeline
from torch import Tensor
from torch.linalg import matrix_norm

from skdmi.containers import as_stack
from skdmi.iteration.learned import PolynomialInverse
from skdmi.iteration.refinement import refine
from skdmi.linalg.certificate import certify
from skdmi.linalg.exact import exact_inverse
from skdmi.linalg.residuals import missing, residual, wide_frobenius_norm
from skdmi.modules.cost import MAX_STEPS, Iteration, network_steps_to
from skdmi.modules.network import InverterResNet, normalized

__all__ = [
    "certified_share",
    "frobenius_residuals",
    "half_norm_share",
    "mean_frobenius_residual",
    "neg_mean_frobenius_residual",
    "neg_mean_operations",
    "neg_mean_refinement_steps",
    "relative_inverse_errors",
    "with_missing_as_zero",
    "within_tolerance_share",
]


def frobenius_residuals(A: Any, X: Any, *, left: bool = False) -> Any:
    r"""Return the residual norm of every inverse.

    .. math:: r = \|I - A X\|_F, \quad \text{with } \texttt{left=True} \quad r = \|I - X A\|_F

    Parameters
    ----------
    A, X : arrays or tensors of shape (n_matrices, m, m)
        Matrices and their computed inverses.
    left : bool, default=False
        Measure the left residual.

    Returns
    -------
    array or tensor of shape (n_matrices,), float64
        In the container of A; NaN where X has a NaN.

    Raises
    ------
    ValueError
        If A and X are not stacks of square matrices of one shape, or are complex, or have masked entries.
    TypeError
        If they are no arrays of real numbers.

    Examples
    --------
    >>> frobenius_residuals([[[2.0, 0.0], [0.0, 4.0]]], [[[0.5, 0.0], [0.0, 0.5]]])
    array([1.])
    """
    A64, X64 = _stacks(A, X)
    if A64.shape[-1] == 0:
        return _like(A, A64.new_zeros(len(A64)))
    return _like(A, wide_frobenius_norm(residual(A64, X64, left=left)))


def mean_frobenius_residual(A: Any, X: Any) -> float:
    r"""Return the mean residual norm, the identity loss: :math:`\frac{1}{n} \sum_A \|I - A X\|_F`.

    A missing inverse (NaN) counts ``sqrt(m)``, as the zero matrix would.

    Parameters
    ----------
    A, X : arrays or tensors of shape (n_matrices, m, m)
        Matrices and their computed inverses.

    Returns
    -------
    float
        At least 0, which exact inverses reach.

    Examples
    --------
    >>> A = np.array([np.eye(4), np.zeros((4, 4))])
    >>> mean_frobenius_residual(A, np.array([np.eye(4), np.full((4, 4), np.nan)]))
    1.0
    """
    A64, X64 = _stacks(A, X)
    norms = matrix_norm(residual(A64, X64)).detach().cpu().numpy()
    return float(with_missing_as_zero(norms, A64.shape[-1]).mean())


def with_missing_as_zero(norms: np.ndarray, m: int) -> np.ndarray:
    """Replace the NaN among residual norms by ``sqrt(m)``, the residual norm of the zero matrix.

    Parameters
    ----------
    norms : ndarray
        Residual norms, NaN where an inverse is missing.
    m : int
        Size of the matrices.

    Returns
    -------
    ndarray
        Of the shape of ``norms``, without NaN.

    Examples
    --------
    >>> with_missing_as_zero(np.array([0.5, np.nan]), 4)
    array([0.5, 2. ])
    """
    return np.where(np.isnan(norms), math.sqrt(m), norms)


def relative_inverse_errors(A: Any, X: Any, *, inverse: Any = None) -> Any:
    r"""Return the relative error of every inverse.

    .. math:: e = \|X - A^{-1}\|_F \,/\, \|A^{-1}\|_F

    Parameters
    ----------
    A, X : arrays or tensors of shape (n_matrices, m, m)
        Matrices and their computed inverses.
    inverse : array or tensor of shape (n_matrices, m, m), optional
        The true inverses. By default those of LAPACK in float64, whose own error is about the condition number times
        1e-16.

    Returns
    -------
    array or tensor of shape (n_matrices,), float64
        In the container of A; NaN where A is singular to working precision or X has a NaN.

    Examples
    --------
    >>> relative_inverse_errors([[[2.0]]], [[[0.75]]])
    array([0.5])
    """
    A64, X64 = _stacks(A, X)
    true = exact_inverse(A64) if inverse is None else _stacks(A, inverse)[1]
    return _like(A, matrix_norm(X64 - true) / matrix_norm(true))


def within_tolerance_share(A: Any, X: Any, tolerance: float = 0.05) -> float:
    r"""Return the share of inverses correct in Charton's sense [1]_.

    .. math:: \frac{1}{m} \sum_{ij} |(A X - I)_{ij}| < \text{tolerance}

    A missing inverse is not correct.

    Parameters
    ----------
    A, X : arrays or tensors of shape (n_matrices, m, m)
        Matrices and their computed inverses.
    tolerance : float, default=0.05
        He reports 0.05, 0.02, 0.01 and 0.005.

    Returns
    -------
    float
        From 0 to 1.

    References
    ----------
    .. [1] Charton, "Linear algebra with transformers", TMLR 2022, arXiv 2112.01898.

    Examples
    --------
    >>> A = np.array([np.eye(2), np.eye(2)])
    >>> within_tolerance_share(A, A * [[[1.01]], [[1.1]]])
    0.5
    """
    A64, X64 = _stacks(A, X)
    deviation = residual(A64, X64).abs().sum(dim=(-2, -1)) / A64.shape[-1]
    return (deviation < tolerance).double().mean().item()


def half_norm_share(A: Any, X: Any) -> float:
    r"""Return the share of inverses with spectral norm :math:`\|I - A X\|_2 < 1/2`.

    From there each Newton-Schulz step squares the norm, 1/2 to 1/4 to 1/16; below 1 is no achievement, since the
    transpose scaled has that. A missing inverse is not counted.

    Parameters
    ----------
    A, X : arrays or tensors of shape (n_matrices, m, m)
        Matrices and their computed inverses.

    Returns
    -------
    float
        From 0 to 1.

    Examples
    --------
    >>> A = np.array([np.eye(2), np.eye(2)])
    >>> half_norm_share(A, A * [[[1.4]], [[1.6]]])
    0.5
    """
    A64, X64 = _stacks(A, X)
    R = residual(A64, X64)
    absent = missing(R)
    norms = torch.linalg.matrix_norm(torch.where(absent[:, None, None], 1.0, R), ord=2)
    return (~absent & (norms < 0.5)).double().mean().item()


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
    >>> from skdmi import ExactInverter
    >>> neg_mean_frobenius_residual(ExactInverter(), np.eye(3)[None]) == 0.0
    True
    """
    del y
    A, inverses = as_stack(X), as_stack(estimator.transform(X))
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
    A, inverses = as_stack(X), as_stack(estimator.transform(X))
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
    A = as_stack(final_X)
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
    >>> from skdmi import RefinedInverter
    >>> certified_share(RefinedInverter(), np.eye(3)[None])
    1.0
    """
    del y
    A, inverses = as_stack(X), as_stack(estimator.transform(X))
    return certify(A, inverses).certified.double().mean().item()


def _final_step(estimator: Any, X: Any) -> tuple[Any, Any]:
    """Return what a pipeline ends in, and the X that reaches it; anything else and its X as they are."""
    while isinstance(estimator, Pipeline) and hasattr(estimator[-1], "transform"):
        X = estimator[:-1].transform(X) if len(estimator) > 1 else X
        estimator = estimator[-1]
    return estimator, X


def _stacks(A: Any, X: Any) -> tuple[Tensor, Tensor]:
    """Return two stacks in float64."""
    shape = "(n_matrices, m, m)"
    A64, X64 = (as_stack(array, name=name, shape=shape).double() for array, name in ((A, "A"), (X, "X")))
    if A64.ndim != 3 or A64.shape[-1] != A64.shape[-2] or A64.shape != X64.shape:
        raise ValueError(
            f"Expected two stacks of one shape {shape}, got {tuple(A64.shape)} and {tuple(X64.shape)}. A flat stack is "
            f"X.reshape(-1, m, m)."
        )
    return A64, X64


def _like(container: Any, values: Tensor) -> Any:
    return values if isinstance(container, Tensor) else values.detach().cpu().numpy()
