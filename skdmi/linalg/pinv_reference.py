"""Pseudo-inverses of numpy stacks through torch, for what no kernel settles."""

import numpy as np
import torch

from skdmi.linalg.exact import pseudo_inverse
from skdmi.linalg.full_rank import certify_pinv, full_rank_pinv


def find_by_reference(A: np.ndarray, least: float, rtol: float) -> tuple[np.ndarray, ...]:
    """Return pseudo-inverses of real matrices, in float64, by QR factorisations, else by singular values.

    With them whether they are certified, to have singular values above ``least`` times the largest; bounds on their
    errors; and ranks.

    >>> find_by_reference(np.array([[[2.0, 0.0]], [[0.0, 0.0]]]), 0.0, 1e-15)[1]
    array([ True, False])
    """
    stack = torch.from_numpy(A)
    X = full_rank_pinv(stack)
    proof = certify_pinv(stack, X)
    certified, bound = proof.certified & (proof.rcond > least), proof.error_bound
    rank = torch.full(bound.shape, min(A.shape[1:]))
    if not certified.all():
        theirs = pseudo_inverse(stack[~certified], rtol=rtol)
        for kept, found in zip((X, bound, rank), (theirs.inverse, theirs.error_bound, theirs.rank), strict=True):
            kept[~certified] = found
    return X.numpy(), certified.numpy(), bound.numpy(), rank.numpy()
