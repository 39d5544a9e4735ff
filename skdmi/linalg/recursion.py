"""Large inverses from small ones: recursive Schur complements, with the row order that makes them safe."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.linalg import matrix_norm

from skdmi.linalg.blocks import invert_by_blocks, is_served
from skdmi.linalg.exact import exact_inverse
from skdmi.linalg.residuals import double, missing, rounding_floor
from skdmi.linalg.scaling import equilibrate, scale_both
from skdmi.validation import check_square


@torch.no_grad()
def block_inverse(A: Tensor, block_size: int, invert_leaf: Callable[[Tensor], Tensor]) -> Tensor:
    r"""Invert matrices of any size N with an inverter of m x m matrices.

    .. math:: A' = D_1 A D_2, \quad A'^{-1} = (P A')^{-1} P, \quad A^{-1} = D_2 A'^{-1} D_1

    with the powers of two :math:`D_1, D_2` of :func:`equilibrate`, and the row order P of :func:`pivot_order`.
    :math:`P A'` is filled up to whole blocks (:func:`pad_to_blocks`) and inverted by :func:`schur_inverse_`. Everything
    but the order is float64. The result is as good as its leaves and as its leading principal blocks are conditioned:
    it wants to be refined. On a CPU large matrices are inverted in numpy, with an order of columns in the place of
    rows (:func:`skdmi.linalg.blocks.invert_by_blocks`).

    Beside A and the inverse it needs room for at most 4 N^2 numbers a matrix.

    Parameters
    ----------
    A : Tensor of shape (..., N, N)
        Finite, of real floating dtype.
    block_size : int
        The size m of the matrices that ``invert_leaf`` inverts, at least 1; any N will do.
    invert_leaf : callable
        Maps float64 ``(n_matrices, m, m)`` to the inverses; NaN where there is none.

    Returns
    -------
    Tensor of shape (..., N, N)
        The inverses, float64; NaN where a leaf is.

    References
    ----------
    Strassen, "Gaussian elimination is not optimal", Numer. Math. 13, 1969; Higham, "Accuracy and Stability of Numerical
    Algorithms", 2nd ed., SIAM 2002, chapters 13 and 14, for its stability.

    Examples
    --------
    >>> A = torch.eye(5, dtype=torch.float64).flip(-1)
    >>> torch.equal(block_inverse(A, 2, exact_inverse), A)
    True
    """
    check_square("A", A)
    N = A.shape[-1]
    stack = double(A).reshape(-1, N, N)
    if is_served(N) and stack.device.type == "cpu":
        found = invert_by_blocks(stack.numpy(), block_size, lambda leaf: invert_leaf(torch.from_numpy(leaf)).numpy())
        if found is not None:
            return torch.from_numpy(found).reshape(A.shape)
    scaled, row_exponent, column_exponent = equilibrate(stack)
    order = pivot_order(scaled)[:, :, None].expand_as(scaled)
    X = pad_to_blocks(scaled.gather(1, order), block_size)
    X = schur_inverse_(X, block_size, invert_leaf)[:, :N, :N]
    X = torch.empty_like(scaled).scatter_(2, order.mT, X)
    return scale_both(X, column_exponent, row_exponent).reshape(A.shape)


def pivot_order(A: Tensor) -> Tensor:
    r"""Return the row order p that an LU factorisation with partial pivoting chooses, in float32.

    Unpivoted elimination of ``A[p]`` then meets the same pivots, nearly: with partial pivoting all leading principal
    blocks are as well conditioned as they come, zero ones included, and a block recursion may take leaves of any size.
    float32 is enough to choose, and half the work.

    Parameters
    ----------
    A : Tensor of shape (n_matrices, N, N)
        Equilibrated: entries up to 1.

    Returns
    -------
    order : int64 Tensor of shape (n_matrices, N)

    Examples
    --------
    >>> pivot_order(torch.tensor([[[0.0, 1.0], [0.5, 1.0]]]))
    tensor([[1, 0]])
    """
    factors, pivots, _ = torch.linalg.lu_factor_ex(A.float())
    permutation, _, _ = torch.lu_unpack(factors, pivots, unpack_data=False)
    return permutation.argmax(dim=-2)


def collect_leaves(A: Tensor, block_size: int, *, n_max: int = 10_000) -> Tensor:
    """Return the pivots that :func:`block_inverse` meets on A where its leaves are exact, at most ``n_max``.

    Every k-th matrix of A is inverted, k large enough to give about ``n_max``.

    Returns
    -------
    leaves : Tensor of shape (n_leaves, m, m)
        float64, finite, in the order in which they are met.

    Examples
    --------
    >>> collect_leaves(torch.tensor([[[2.0, 1.0], [2.0, 4.0]]]), 1).flatten()  # of [[1/2, 1/4], [1/4, 1/2]] times 2
    tensor([0.5000, 0.3750], dtype=torch.float64)
    """
    met: list[Tensor] = []

    def invert_leaf(leaf: Tensor) -> Tensor:
        met.append(leaf.clone())
        return exact_inverse(leaf)

    n_leaves = len(A) * -(-A.shape[-1] // block_size)
    block_inverse(A[:: -(-n_leaves // n_max)], block_size, invert_leaf)
    leaves = torch.cat(met)
    return leaves[~missing(leaves)][:n_max]


def schur_inverse_(A: Tensor, block_size: int, invert_leaf: Callable[[Tensor], Tensor]) -> Tensor:
    r"""Invert in place by recursive Schur complements, half and half in whole blocks.

    .. math:: \begin{pmatrix} A & B \\ C & D \end{pmatrix}^{-1} =
       \begin{pmatrix} E + F T G & -F T \\ -T G & T \end{pmatrix}, \quad
       E = A^{-1}, \; F = E B, \; G = C E, \; T = (D - C F)^{-1}

    Six products a level, :math:`2 N^3` multiply-adds in all, most of them in a few large products, and room for
    :math:`N^2 / 3` numbers more. No pivoting: a leading block without an inverse makes the whole matrix NaN.

    Parameters
    ----------
    A : Tensor of shape (n_matrices, N, N)
        N a multiple of ``block_size``. Overwritten by its inverse.
    block_size : int
        m.
    invert_leaf : callable
        Inverts the pivots, ``(n_matrices, m, m)``, one after the other from the upper left.

    Returns
    -------
    A : Tensor of shape (n_matrices, N, N)
        The same tensor.

    Examples
    --------
    >>> A = torch.tensor([[[2.0, 1.0], [0.0, 4.0]]])
    >>> schur_inverse_(A, 1, torch.reciprocal)
    tensor([[[ 0.5000, -0.1250],
             [-0.0000,  0.2500]]])
    """
    N = A.shape[-1]
    half = N // block_size // 2 * block_size
    if half == 0:
        return A.copy_(invert_leaf(A))
    (leading, B), (C, trailing) = (rows.split([half, N - half], dim=2) for rows in A.split([half, N - half], dim=1))
    E = schur_inverse_(leading, block_size, invert_leaf)
    F = torch.bmm(E, B)
    trailing.baddbmm_(C, F, alpha=-1)
    B.copy_(F)
    del F  # before the recursion, which needs room of its own
    C.copy_(torch.bmm(C, E))
    T = schur_inverse_(trailing, block_size, invert_leaf)
    TG = torch.bmm(T, C)
    E.baddbmm_(B, TG)
    torch.neg(TG, out=C)
    del TG
    torch.neg(torch.bmm(B, T), out=B)
    return A


def pad_to_blocks(A: Tensor, block_size: int) -> Tensor:
    r"""Fill matrices up to whole blocks with a scaled identity; always a copy.

    .. math:: \begin{pmatrix} A & 0 \\ 0 & s I \end{pmatrix}, \quad s = \|A\|_F / \sqrt{N},

    whose inverse has that of A in its upper left. s lies between the singular values of A, so that the condition number
    is that of A.

    Parameters
    ----------
    A : Tensor of shape (n_matrices, N, N)
    block_size : int

    Examples
    --------
    >>> pad_to_blocks(torch.tensor([[[3.0]]]), 2)
    tensor([[[3., 0.],
             [0., 3.]]])
    """
    n_matrices, N, _ = A.shape
    size = -(-N // block_size) * block_size
    padded = A.new_zeros(n_matrices, size, size)
    padded[:, :N, :N] = A
    padded.diagonal(dim1=-2, dim2=-1)[:, N:] = matrix_norm(A)[:, None] / N**0.5
    return padded


def polish_(A: Tensor, X: Tensor, max_steps: int = 3) -> Tensor:
    r"""Take Newton-Schulz steps ``X <- X + X R`` in place, while they halve the residual and are worth it.

    Matrices with :math:`r = \|R\|_F \ge 1/2` are left alone, and those on the floor of rounding,

    .. math:: r \le f = 2^{-54} \, \| \, |A| (|X| e) \, \|_2 \, / \sqrt{N} \le 2^{-54} \, \| \, |A| |X| \, \|_F ,

    e the vector of ones, an eighth of :func:`rounding_floor`. An iterate that is worse than the one before is not
    taken. A step squares r and adds rounding of about f: where :math:`r^2 \le f`, it lands on the floor, and no product
    is spent to see that; nor where only :math:`r^3 \le f`, and the step is the third-order one,
    :math:`X + X (R + R^2)`.

    Parameters
    ----------
    A, X : Tensors of shape (n_matrices, N, N)
        Equilibrated matrices, and approximate inverses, overwritten by better ones.
    max_steps : int, default=3

    Returns
    -------
    norms : Tensor of shape (n_matrices,)
        Residual norms; f after a step onto the floor.

    Examples
    --------
    >>> A, X = torch.full((1, 1, 1), 2.0), torch.full((1, 1, 1), 0.4)
    >>> norms = polish_(A, X)
    >>> round(X.item(), 5)
    0.5
    """
    R = _residual(A, X)
    norms = matrix_norm(R)
    floor = rounding_floor(A, X, torch.finfo(A.dtype).eps / 16)
    going = norms < 0.5
    for _ in range(max_steps):
        going &= norms > floor
        if not going.any():
            break
        lands = (norms**3 <= floor)[going].all()
        if lands and not (norms**2 <= floor)[going].all():
            R = torch.bmm(R, R).add_(R)
        finer = torch.baddbmm(X, X, R)
        if lands:
            torch.where(going[:, None, None], finer, X, out=X)
            return torch.where(going, floor, norms)
        finer_norms = matrix_norm(_residual(A, finer, out=R))
        better = going & (finer_norms < norms)
        torch.where(better[:, None, None], finer, X, out=X)
        going &= finer_norms <= norms / 2
        norms = torch.where(better, finer_norms, norms)
        del finer  # before the next one takes as much room
    return norms


def _residual(A: Tensor, X: Tensor, out: Tensor | None = None) -> Tensor:
    """Return ``I - A X`` without forming the identity, nor anything else."""
    R = torch.bmm(A, X, out=out).neg_()
    R.diagonal(dim1=-2, dim2=-1).add_(1)
    return R
