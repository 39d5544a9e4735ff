"""Deflation: the few directions that lag behind, taken out of a residual without a product of matrices."""

from typing import NamedTuple

import torch
from torch import Tensor

from skdmi.iteration.adjoint import Gradients, Tensors, with_adjoint, zeros_for_none
from skdmi.linalg.products import accumulate, add_product, entries, join, matrices, multiply
from skdmi.validation import check_square


def deflate(A: Tensor, X: Tensor, R: Tensor, rank: int, n_powers: int = 2) -> tuple[Tensor, Tensor]:
    r"""Take the dominant directions out of the residual: :math:`O(k m^2)` operations, no product of matrices.

    From the k = ``rank`` largest columns of R, a block power iteration of ``n_powers`` steps finds V, near the dominant
    directions of R, which belong to the smallest singular values of A. With :math:`W = A X V` made orthonormal, and
    :math:`U = X V` transformed with it,

    .. math:: X \leftarrow X + U W^T R, \qquad R \leftarrow (I - W W^T) R.

    Every column of R loses its projection on W, so whatever V is, no column grows. Polynomials in R have to bring down
    all directions together; the few that lag behind are here brought down by themselves, as in deflated Krylov methods
    (Saad, "Numerical Methods for Large Eigenvalue Problems", 2nd ed. 2011, ch. 4 and 5). It pays between the steps of
    an iteration, each of which separates the directions further.

    Parameters
    ----------
    A, X, R : Tensors of shape (..., m, m)
        R is the residual ``I - A X``.
    rank : int
        The number k of directions; no more than half of m are taken, and 0 changes nothing.
    n_powers : int, default=2
        Steps of the power iteration that finds them.

    Returns
    -------
    X : Tensor of shape (..., m, m)
        The inverses without these directions in their residuals.
    R : Tensor of shape (..., m, m)
        Their residuals.

    Raises
    ------
    ValueError
        If A does not hold square matrices.

    Examples
    --------
    >>> A = torch.diag(torch.tensor([1.0, 1.0, 0.125]))
    >>> X, R = deflate(A, A, torch.eye(3) - A @ A, rank=1)
    >>> X.diagonal()
    tensor([1., 1., 8.])
    """
    check_square("A", A)
    rank = min(rank, A.shape[-1] // 2)
    if rank == 0:
        return X, R
    X, R = deflate_entries(entries(A), entries(X), entries(R), rank, n_powers)
    return matrices(X), matrices(R)


def deflate_entries(A: Tensor, X: Tensor, R: Tensor, rank: int, n_powers: int = 2) -> Tensors:
    """Do what :func:`deflate` does with entries first, ``(m, m, ...)``, for a rank from 1 to half of m."""
    squares = R.detach().square().sum(dim=0, keepdim=True)
    columns = []
    for _ in range(rank):
        columns.append(squares.max(dim=1, keepdim=True).indices)
        squares = squares.scatter(1, columns[-1], -1.0)
    return _deflate(A, X, R, torch.cat(columns, dim=1), n_powers=n_powers)


def _deflate_adjoint(
    needed: tuple[bool, ...], inputs: Tensors, outputs: Tensors, kept: Tensors, gradients: Tensors
) -> Gradients:
    del outputs
    A, X, R, columns = inputs
    of_X, of_R = zeros_for_none(gradients, (X, R))
    m, rank = len(A), columns.shape[1]
    (V, rows), orthonormal = kept[:2], _grouped(kept[2:], rank)
    U, W = orthonormal[-1].rows[:, :m], orthonormal[-1].rows[:, m:]
    of_rows = accumulate(multiply(U, of_X), W, of_R, -1)
    of_U = multiply(rows, of_X.transpose(0, 1))
    of_W = accumulate(multiply(of_rows, R.transpose(0, 1)), rows, of_R.transpose(0, 1), -1)
    of_R = add_product(of_R, W.transpose(0, 1), of_rows)
    of_images = orthonormal[-1].adjoint(join([of_U, of_W], 1))
    of_V, of_W = of_images[:, :m], of_images[:, m:]
    of_A = multiply(of_W.transpose(0, 1), V) if needed[0] else None
    of_V = add_product(of_V, of_W, A)
    of_X = add_product(of_X, of_V.transpose(0, 1), orthonormal[-2].rows)
    of_V = orthonormal[-2].adjoint(multiply(of_V, X))
    for vectors in reversed(orthonormal[:-2]):
        accumulate(of_R, of_V.transpose(0, 1), vectors.rows)
        of_V = vectors.adjoint(multiply(of_V, R))
    return of_A, of_X, of_R.scatter_add_(1, columns.expand(m, *columns.shape[1:]), of_V.transpose(0, 1)), None


@with_adjoint(_deflate_adjoint)
def _deflate(A: Tensor, X: Tensor, R: Tensor, columns: Tensor, *, n_powers: int) -> tuple[Tensors, Tensors]:
    """Deflate; V, U and W are their rows here, the faster side to multiply from."""
    m = len(A)
    V = R.gather(1, columns.expand(m, *columns.shape[1:])).transpose(0, 1)
    kept: list[Tensor] = []
    for factor in (R,) * (n_powers - 1) + (X,):
        orthonormal = orthonormalize(V)
        V = multiply(orthonormal.rows, factor.transpose(0, 1))
        kept += orthonormal.tensors()
    orthonormal = orthonormalize(join([V, multiply(V, A.transpose(0, 1))], 1), m)
    U, W = orthonormal.rows[:, :m], orthonormal.rows[:, m:]
    rows = multiply(W, R)
    outputs = add_product(X, U.transpose(0, 1), rows), add_product(R, W.transpose(0, 1), rows, -1)
    return outputs, (V, rows, *kept, *orthonormal.tensors())


class Orthonormal(NamedTuple):
    """Orthonormal rows, and how they came about; entries first."""

    rows: Tensor
    """Shape (k, n, ...), of which the last m entries are orthonormal."""
    orthogonal: Tensors
    """Their last m entries before they were divided by their norms, k tensors of shape (1, m, ...)."""
    scales: Tensors
    """The reciprocals of these norms, k tensors of shape (1, 1, ...); 0 for a row that depends on those before."""
    projections: Tensors
    """What each row had along each of those before, k (k - 1) / 2 tensors of shape (1, 1, ...)."""

    def tensors(self) -> Tensors:
        """Return all of them, in this order."""
        return self.rows, *self.orthogonal, *self.scales, *self.projections

    def adjoint(self, gradient: Tensor) -> Tensor:
        """Return the gradient of the rows that :func:`orthonormalize` was given."""
        m = self.orthogonal[0].shape[1]
        rows, of_rows = _each(self.rows), list(_each(gradient))
        last = [row[:, -m:] for row in rows]
        projections = list(self.projections)
        for j in reversed(range(len(rows))):
            along = (of_rows[j] * rows[j]).sum(dim=1, keepdim=True)
            row, of_row = self.orthogonal[j], _subtract_from_last(of_rows[j], along, last[j]) * self.scales[j]
            for i in reversed(range(j)):
                projection = projections.pop()
                of_projection = (of_row * rows[i]).sum(dim=1, keepdim=True)
                row = torch.addcmul(row, projection, last[i])
                of_before = torch.addcmul(of_rows[i], projection, of_row, value=-1)
                of_rows[i] = _subtract_from_last(of_before, of_projection, row)
                of_row = _subtract_from_last(of_row, of_projection, last[i])
            of_rows[j] = of_row
        return join(of_rows, 0)


def orthonormalize(rows: Tensor, m: int | None = None) -> Orthonormal:
    """Make the last m entries of rows orthonormal, and do to those before them the same (modified Gram and Schmidt).

    Rows, entries first, ``(k, n, ...)``; one that depends on those before it becomes zero, and so does one far below
    the rounding of 1, whose inverse norm would overflow in gradients.

    >>> orthonormalize(torch.tensor([[1.0, 0.0, 2.0, 0.0], [0.0, 1.0, 1.0, 1.0]]), 2).rows
    tensor([[ 0.5000,  0.0000,  1.0000,  0.0000],
            [-0.5000,  1.0000,  0.0000,  1.0000]])
    """
    m = m or rows.shape[1]
    eps = torch.finfo(rows.dtype).eps
    done: list[Tensor] = []
    orthogonal, scales, projections = [], [], []
    for row in _each(rows):
        w = row if m == row.shape[1] else row[:, -m:]
        square, least = w.square().sum(dim=1, keepdim=True), eps**3.5
        if done:
            least = eps**1.5 * square.clamp_min(eps**2)
            for other in done:
                projections.append((other[:, -m:] * w).sum(dim=1, keepdim=True))
                row = torch.addcmul(row, projections[-1], other, value=-1)
                w = row[:, -m:]
            square = w.square().sum(dim=1, keepdim=True)
        scales.append(square.clamp_min(least).rsqrt() * (square > least))
        orthogonal.append(w)
        done.append(row * scales[-1])
    return Orthonormal(join(done, 0), tuple(orthogonal), tuple(scales), tuple(projections))


def _each(rows: Tensor) -> Tensors:
    """Return the rows one by one, each of shape (1, n, ...)."""
    return rows.unsqueeze(1).unbind()


def _subtract_from_last(row: Tensor, factor: Tensor, last: Tensor) -> Tensor:
    """Subtract a multiple from the last entries of a row."""
    m = last.shape[1]
    if row.shape[1] == m:
        return torch.addcmul(row, factor, last, value=-1)
    return join([row[:, :-m], torch.addcmul(row[:, -m:], factor, last, value=-1)], 1)


def _grouped(kept: Tensors, rank: int) -> list[Orthonormal]:
    """Return what :meth:`Orthonormal.tensors` gave, again and again."""
    n_tensors = 1 + 2 * rank + rank * (rank - 1) // 2
    groups = [kept[i : i + n_tensors] for i in range(0, len(kept), n_tensors)]
    return [Orthonormal(g[0], g[1 : 1 + rank], g[1 + rank : 1 + 2 * rank], g[1 + 2 * rank :]) for g in groups]
