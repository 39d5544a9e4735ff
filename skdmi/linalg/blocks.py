"""The block recursion for matrices in the memory of a CPU: numpy's products, which are the fastest there."""

from collections.abc import Callable

import numpy as np
from numpy import ndarray

from skdmi.lapack.scaling import ALONE, Rooms, equilibrate, scale

_FARTHEST = 2.0**300
"""Scales beyond this or its reciprocal are for others, who look at exponents."""
_LANDS = 2.0**-54
"""Of the square of a residual norm: the square of that is on the floor."""
_ROUNDING = 2.0**-106
"""So much of the squares of ``|A| |X|`` is no reason for a step."""
Leaf = Callable[[ndarray], ndarray]


def invert_by_blocks(A: ndarray, block_size: int, invert_leaf: Leaf) -> ndarray | None:
    r"""Return what :func:`skdmi.linalg.block_inverse` does of large matrices, or None where units are far apart.

    .. math:: A' = D_1 A D_2, \quad A'^{-1} = P \, (A' P)^{-1}, \quad A^{-1} = D_2 A'^{-1} D_1

    with the powers of two that bring sums of rows, then of columns, to one size, and the order P of columns in which
    an LU factorisation of :math:`A'^T` with partial pivoting meets them, in float32.

    Parameters
    ----------
    A : ndarray of shape (n_matrices, N, N)
        float64, finite; N is above 48.
    block_size : int
    invert_leaf : callable
        Maps contiguous float64 ``(n_matrices, m, m)`` to the inverses; NaN where there is none.

    Examples
    --------
    >>> A = np.eye(50)[None, ::-1].copy()
    >>> np.array_equal(invert_by_blocks(A, 16, np.linalg.inv), A)
    True
    """
    n, N, _ = A.shape
    with np.errstate(all="ignore"):
        scaled = equilibrate(A, Rooms.of(n, N))
        if not all(_is_near(powers) for powers in (scaled.p, scaled.q)):
            return None
        orders = [column_order(member) for member in scaled.A]
        size = -(-N // block_size) * block_size
        blocks = (np.empty if size == N else np.zeros)((n, size, size))
        for member, source, order in zip(blocks, scaled.A, orders, strict=True):
            member[:N, :N] = np.take(source, order, axis=1)
            if size > N:
                np.fill_diagonal(member[N:, N:], np.linalg.norm(source) / N**0.5)
        scaled = scaled._replace(A=A)  # No more is needed, and its room not either.
        schur_inverse_(blocks, block_size, invert_leaf)
        X = np.empty_like(A)
        for member, source, order in zip(X, blocks, orders, strict=True):
            member[order] = source[:N, :N]
        if scaled.is_graded:
            scale(X, scaled.q, scaled.p)
    return X


def is_served(N: int) -> bool:
    """Return whether matrices are large enough to be worth it.

    >>> is_served(3), is_served(300)
    (False, True)
    """
    return N > ALONE


def _is_near(powers: ndarray) -> bool:
    return bool(powers.min() >= 1 / _FARTHEST and powers.max() <= _FARTHEST)


def column_order(A: ndarray) -> ndarray:
    """Return the order of the columns of A that an LU factorisation of its transpose chooses, (N,), in float32.

    See :func:`skdmi.linalg.recursion.pivot_order`; rows in memory are columns to LAPACK, so this one needs no copy.

    >>> column_order(np.array([[0.0, 0.5], [1.0, 1.0]]))
    array([1, 0])
    """
    from scipy.linalg.lapack import sgetrf

    _, pivots, _ = sgetrf(A.astype(np.float32).T, overwrite_a=True)
    order = list(range(len(A)))
    for i, pivot in enumerate(pivots.tolist()):
        order[i], order[pivot] = order[pivot], order[i]
    return np.array(order)


def polish_(A: ndarray, X: ndarray, max_steps: int = 5) -> bool:
    """Take Newton-Schulz steps with all members of a small stack, in place; return whether the last one lands.

    The quick half of :func:`skdmi.linalg.recursion.polish_`, without a look at single members.

    >>> A, X = np.full((1, 1, 1), 2.0), np.full((1, 1, 1), 0.4)
    >>> polish_(A, X), X.item()
    (True, 0.5)
    """
    m, before = A.shape[-1], 0.25
    with np.errstate(all="ignore"):
        for step in range(max_steps):
            R = A @ X
            R.reshape(len(A), -1)[:, :: m + 1] -= 1
            square = float(np.vdot(R, R))
            if not square < before:
                return False
            lands = square < _LANDS
            if lands and step == 0:
                P = np.abs(A) @ np.abs(X)
                if square <= _ROUNDING * float(np.vdot(P, P)):
                    return True
            X -= X @ R
            if lands:
                return True
            before = square / 4
    return False


def schur_inverse_(A: ndarray, block_size: int, invert_leaf: Leaf) -> None:
    """Invert a stack in place, see :func:`skdmi.linalg.recursion.schur_inverse_`; with room for N^2 / 2 numbers more.

    >>> A = np.array([[[2.0, 1.0], [0.0, 4.0]]])
    >>> schur_inverse_(A, 1, np.reciprocal)
    >>> A
    array([[[ 0.5  , -0.125],
            [-0.   ,  0.25 ]]])
    """
    N = A.shape[-1]
    half = N // block_size // 2 * block_size
    if half == 0:
        A[...] = invert_leaf(np.ascontiguousarray(A))
        return
    E, B, C, T = A[:, :half, :half], A[:, :half, half:], A[:, half:, :half], A[:, half:, half:]
    schur_inverse_(E, block_size, invert_leaf)
    F = E @ B
    T -= C @ F
    B[...] = F
    del F  # before the recursion, which needs room of its own
    C[...] = C @ E
    schur_inverse_(T, block_size, invert_leaf)
    TG = T @ C
    E += B @ TG
    np.negative(TG, out=C)
    np.negative(B @ T, out=B)
