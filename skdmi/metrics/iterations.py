"""Scorers of preconditioners, by the iterations of Krylov methods."""

from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import LinearOperator, bicgstab, cg

_RTOL = 1e-8
_MOST = 2_000
"""Iterations; a system that has not converged then counts as many."""


def neg_mean_iterations(estimator: Any, X: Any, y: Any = None) -> float:
    r"""Score a preconditioner by minus the mean number of iterations that systems need with it.

    Of conjugate gradients where a system is Hermitian, else of BiCGSTAB, until the residual norm is
    :math:`10^{-8} \|b\|`; at most 2,000, which one that does not converge counts. For ``scoring=`` of a search over
    lists of sparse matrices.

    Parameters
    ----------
    estimator : fitted transformer
        Its ``transform`` of a list of systems returns preconditioners.
    X : list of sparse matrices or arrays of shape (n, n)
        The systems.
    y : sequence of arrays of shape (n,), optional
        The right-hand sides; by default standard normal ones, of one seed.

    Returns
    -------
    float
        At most 0; larger is better.

    Examples
    --------
    >>> import scipy.sparse as sp
    >>> from skdmi.preconditioners import BlockJacobi
    >>> systems = [sp.diags_array([1.0, 2.0, 3.0]), sp.diags_array([3.0, 1.0, 4.0])]
    >>> neg_mean_iterations(BlockJacobi(block_size=1).fit(systems), systems)
    -1.0
    """
    operators = estimator.transform(X)
    systems, operators = (list(X), operators) if isinstance(operators, list) else ([X], [operators])
    sides = [None] * len(systems) if y is None else y
    counts = [count_iterations(A, M, b) for A, M, b in zip(systems, operators, sides, strict=True)]
    return -float(np.mean(counts))


def count_iterations(A: Any, M: LinearOperator | None, b: np.ndarray | None = None) -> int:
    """Return how many iterations a system needs with a preconditioner, or None without.

    >>> count_iterations(sp.eye_array(5), None)
    1
    """
    if b is None:
        b = np.random.default_rng(0).standard_normal(A.shape[0])
    A = sp.csr_array(A)
    is_hermitian = (A != A.conj().T).nnz == 0
    count = 0

    def note(_: Any) -> None:
        nonlocal count
        count += 1

    with np.errstate(all="ignore"):
        _, failed = (cg if is_hermitian else bicgstab)(A, b, rtol=_RTOL, maxiter=_MOST, M=M, callback=note)
    return _MOST if failed else max(count, 1)
