"""What is proved of matrices and their alleged inverses: by a kernel or numpy, and else by the reference."""

import numpy as np

from skdmi import lapack
from skdmi.arrays import as_contiguous
from skdmi.estimators.findings import Findings
from skdmi.figures import CERTIFIED, NONSINGULAR
from skdmi.lanes import checks


def check(A: np.ndarray, X: np.ndarray, *, tight: bool, structure: str | None) -> Findings:
    """Certify inverses, see :func:`skdmi.certify`.

    Parameters
    ----------
    A, X : ndarrays of shape (n_matrices, m, m)
        float32 or float64, contiguous.

    Examples
    --------
    >>> check(2 * np.eye(2)[None], np.eye(2)[None] / 2, tight=False, structure=None).certified
    array([ True])
    """
    n, m, _ = A.shape
    is_ready = checks.is_ready(m, n)
    if structure is not None or (tight and not is_ready):
        return _by_reference(A, X, tight, structure)
    bound = np.empty((n, m, m)) if tight else None
    found = checks.check(A, X, bound) if is_ready else lapack.check(A, X)
    certified = ((found.status & NONSINGULAR) != 0) & np.isfinite(found.error_bound)
    robust = (found.status & CERTIFIED) != 0
    if bound is not None:
        bound[~certified] = np.inf
    interval = found.condition_lower, found.condition_upper
    right, left = (
        np.where(np.isfinite(norm), norm, np.nan) for norm in (found.residual_norm, found.left_residual_norm)
    )
    findings = Findings(certified, robust & certified, found.error_bound, right, left, *interval, bound)
    outside = found.outside
    if outside.any():
        theirs = _by_reference(A[outside], X[outside], tight, structure)
        for kept, new in zip(findings, theirs, strict=True):
            if kept is not None:
                kept[outside] = new
    return findings


def _by_reference(A: np.ndarray, X: np.ndarray, tight: bool, structure: str | None) -> Findings:
    import torch

    from skdmi.estimators.reference import check_tensors  # imports torch

    tensors = (torch.from_numpy(as_contiguous(array, writeable=True)) for array in (A, X))
    found = check_tensors(*tensors, tight=tight, structure=structure)
    return Findings._make(None if field is None else field.numpy() for field in found)
