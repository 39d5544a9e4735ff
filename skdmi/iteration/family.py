"""The start that is learned: a first inverse made of what the inverses of a family have in common."""

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from skdmi.iteration.starts import TRANSPOSE, Start, full, scaled_start

N_PROBES = 4


class FamilyStart(nn.Module):
    r"""A constant and a combination of atoms, for members of a family; for all others a plain start.

    .. math:: X_0 = c \, \bigl(B_0 + \textstyle\sum_k w_k B_k\bigr), \quad R_0 = I - A X_0

    One product, like every start. The weights w solve a small least-squares problem that stands for
    :math:`\min_w \|I - A (B_0 + \sum_k w_k B_k)\|_F`: its matrix and right side, ``1.5 n_atoms`` equations, are affine
    functions of a few entries of A, those that tell most of where in its family A stands. It is solved by elimination
    in elementary operations. c is the best scalar (:func:`~skdmi.iteration.starts.scaled_start`).

    The learned start is used for a member only where a *guard* allows it: with four random probes g, the rows of G,
    :math:`\|G - c \, (G A) Y\|_F` estimates the residual norm of the best multiple of Y, and the estimate must be
    within a ``bound`` that members of the family keep, and within a ``margin``, a part of the plain start's. Unfitted,
    the bound is 0, and this is the plain start.

    Parameters
    ----------
    matrix_size : int
        The size m of the family; matrices of other sizes get the plain start.
    n_atoms : int
        Number of atoms :math:`B_k`; with 0 there is the constant alone.
    n_places : int
        Number of entries of A that are read.
    plain : Start, default=TRANSPOSE
        What stands in its place where the guard refuses; one that is the best multiple of something.

    Notes
    -----
    Beside the product, :math:`2 k m^2` operations for k atoms, :math:`24 m^2` for the probes, and about
    :math:`3 (q + k) k^2` for the small problem of q places; see :meth:`n_operations`.

    References
    ----------
    Least squares on a basis made of solutions: reduced-basis methods, Hesthaven, Rozza and Stamm, "Certified reduced
    basis methods for parametrized partial differential equations", Springer 2016; that few entries tell the rest:
    Chaturantabut and Sorensen, "Nonlinear model reduction via discrete empirical interpolation", SIAM J. Sci. Comput.
    32(5), 2010. Estimates by random probes: Hutchinson, Comm. Statist. Simulation Comput. 18, 1989.

    Examples
    --------
    >>> A = torch.eye(4).expand(2, 4, 4)
    >>> start = FamilyStart(4, n_atoms=1, n_places=2)
    >>> torch.equal(start(A)[0], TRANSPOSE.function(A)[0]), start.accepts(A)
    (True, tensor([False, False]))
    """

    n_products = 1
    asks = "members of the family that it was fitted to"

    plain: Start
    constant: Tensor
    atoms: Tensor
    equations: Tensor
    places: Tensor
    probes: Tensor
    bound: Tensor
    margin: Tensor
    moments: Tensor
    n_members: Tensor

    def __init__(self, matrix_size: int, n_atoms: int, n_places: int, *, plain: Start = TRANSPOSE) -> None:
        super().__init__()
        m, zeros = matrix_size, partial(torch.zeros, dtype=torch.float32)
        self.plain = plain
        self.constant = nn.Parameter(zeros(m, m))
        self.atoms = nn.Parameter(zeros(n_atoms, m, m))
        self.equations = nn.Parameter(zeros(1 + n_places, 1 + n_atoms, count_equations(n_atoms)))
        self.register_buffer("places", torch.zeros(n_places, dtype=torch.int64))
        generator = torch.Generator("cpu").manual_seed(0)
        probes = torch.randn(N_PROBES, m, generator=generator, device="cpu", dtype=torch.float32) / N_PROBES**0.5
        self.register_buffer("probes", probes.to(self.constant))
        self.register_buffer("bound", zeros(()))
        self.register_buffer("margin", zeros(()))
        self.register_buffer("moments", zeros(2, m, m))
        self.register_buffer("n_members", zeros(()))

    @property
    def function(self) -> "FamilyStart":
        """The function of a :class:`~skdmi.iteration.Start`: this module itself.

        Examples
        --------
        >>> start = FamilyStart(3, n_atoms=1, n_places=2)
        >>> start.function is start
        True
        """
        return self

    def n_operations(self, m: int) -> int:
        """Return the operations that it spends beside the product, a multiplication or an addition each.

        Parameters
        ----------
        m : int
            Size of the matrix.

        Returns
        -------
        int
            For one matrix.

        Examples
        --------
        >>> FamilyStart(3, n_atoms=1, n_places=2).n_operations(3) < 2 * 3**3 * 8
        True
        """
        places, k1, n_equations = self.equations.shape
        k = k1 - 1
        small = 2 * places * k1 * n_equations + 2 * k * k1 * n_equations + 2 * k**3 // 3 + 2 * k**2
        n_probed = 3 if self.plain is TRANSPOSE else 2
        return small + 2 * k * m**2 + n_probed * 2 * N_PROBES * m**2 + self.plain.n_operations(m)

    def forward(self, A: Tensor) -> tuple[Tensor, Tensor]:
        """Return first inverses and their residuals.

        Parameters
        ----------
        A : Tensor of shape (n_matrices, m, m)
            Scaled as the network sees it.

        Returns
        -------
        X : Tensor of shape (n_matrices, m, m)
            First inverses.
        R : Tensor of shape (n_matrices, m, m)
            ``I - A X``.

        Examples
        --------
        >>> start, A = FamilyStart(3, n_atoms=1, n_places=2), torch.eye(3).expand(2, 3, 3)
        >>> X, R = start(A)
        >>> torch.allclose(R, torch.eye(3) - A @ X)
        True
        """
        begun = self.begin(A)
        return begun.X, begun.R

    def begin(self, A: Tensor) -> "Begun":
        """Return first inverses and their residuals, and what the guard said.

        Parameters
        ----------
        A : Tensor of shape (n_matrices, m, m)
            Scaled as the network sees it.

        Returns
        -------
        Begun
            A start for :func:`~skdmi.iteration.iterate` that asks the guard no second time.

        Examples
        --------
        >>> start, A = FamilyStart(3, n_atoms=1, n_places=2), torch.eye(3).expand(2, 3, 3)
        >>> start.begin(A).accepted
        tensor([False, False])
        """
        if A.shape[-1] != len(self.constant):
            return Begun(self, *self.plain.function(A), self.accepts(A))
        accepted, learned = self._judge(A)
        X, R = scaled_start(A, torch.where(accepted[:, None, None], learned, full(self._plain(A))))
        return Begun(self, X, R, accepted)

    def accepts(self, A: Tensor) -> Tensor:
        """Return for which matrices the guard allows the learned start.

        Parameters
        ----------
        A : Tensor of shape (n_matrices, m, m)
            Scaled as the network sees it.

        Returns
        -------
        Tensor of shape (n_matrices,)
            A bool for each matrix; False for all of another size than the family's.

        Examples
        --------
        >>> start, A = FamilyStart(3, n_atoms=1, n_places=2), torch.eye(3).expand(2, 3, 3)
        >>> start.accepts(A)
        tensor([False, False])
        """
        if A.shape[-1] != len(self.constant):
            return A.new_zeros(A.shape[0], dtype=torch.bool)  # len(A) would be a constant of an exported program
        return self._judge(A)[0]

    def combine(self, A: Tensor) -> Tensor:
        r"""Return the learned proposal :math:`B_0 + \sum_k w_k B_k`, before its best multiple is taken.

        Parameters
        ----------
        A : Tensor of shape (n_matrices, m, m)
            Of the family's size, scaled as the network sees it.

        Returns
        -------
        Tensor of shape (n_matrices, m, m)
            Whether it is any good is for :meth:`accepts` to say.

        Examples
        --------
        >>> start, A = FamilyStart(3, n_atoms=1, n_places=2), torch.eye(3).expand(2, 3, 3)
        >>> start.combine(A).norm()  # not fitted yet
        tensor(0., grad_fn=<LinalgVectorNormBackward0>)
        """
        k = len(self.atoms)
        if k == 0:
            return self.constant.expand(A.shape)
        read = A.flatten(1)[:, self.places]
        known = torch.cat([torch.ones_like(A[:, 0, :1]), read], dim=1)
        E = (known @ self.equations.flatten(1)).unflatten(1, self.equations.shape[1:])
        weights = least_squares(E[:, 1:], E[:, 0])
        return self.constant + (weights @ self.atoms.flatten(1)).unflatten(1, A.shape[1:])

    def deflates(self, X: Tensor) -> bool | Tensor:
        """Return for which matrices a deflation may come before the first step.

        Not where X is the diagonal matrix of the plain start: these go the way that they go without a family.

        Parameters
        ----------
        X : Tensor of shape (n_matrices, m, m) or (n_matrices, m, 1)
            What the start returned.

        Returns
        -------
        bool or Tensor of shape (n_matrices,)
            For all matrices or for each.

        Examples
        --------
        >>> start, A = FamilyStart(3, n_atoms=1, n_places=2), torch.eye(3).expand(2, 3, 3)
        >>> start.deflates(start(A)[0])
        True
        """
        if X.shape[-1] == 1:
            return False
        if self.plain is TRANSPOSE:
            return True
        off_diagonal = X - torch.diag_embed(X.diagonal(dim1=-2, dim2=-1))
        return off_diagonal.abs().amax(dim=(-2, -1)) > 0

    def estimates(self, A: Tensor) -> tuple[Tensor, Tensor]:
        r"""Estimate the residual norms of the learned start and of the plain one, by the probes.

        Parameters
        ----------
        A : Tensor of shape (n_matrices, m, m)
            Of the family's size, scaled as the network sees it.

        Returns
        -------
        learned : Tensor of shape (n_matrices,)
            About :math:`\|I - c A Y\|_F` of the learned proposal.
        plain : Tensor of shape (n_matrices,)
            The same of the plain start.

        Examples
        --------
        >>> start, A = FamilyStart(3, n_atoms=1, n_places=2), torch.eye(3).expand(2, 3, 3)
        >>> learned, plain = start.estimates(A)
        >>> (plain < learned).tolist()
        [True, True]
        """
        seen = self.probes @ A
        return self._estimate(seen, self.combine(A)), self._estimate(seen, self._plain(A))

    def _estimate(self, seen: Tensor, Y: Tensor) -> Tensor:
        S = seen * Y.mT if Y.shape[-1] == 1 else seen @ Y
        smallest = torch.finfo(S.dtype).tiny
        c = (self.probes * S).sum(dim=(-2, -1)) / S.square().sum(dim=(-2, -1)).clamp_min(smallest)
        return (self.probes - c[:, None, None] * S).square().sum(dim=(-2, -1)).sqrt()

    def _judge(self, A: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the guard says, and the learned proposals."""
        learned = self.combine(A)
        with torch.no_grad():
            seen = self.probes @ A
            mine, theirs = self._estimate(seen, learned), self._estimate(seen, self._plain(A))
            return (mine <= self.bound) & (mine < self.margin * theirs), learned

    def _plain(self, A: Tensor) -> Tensor:
        assert self.plain.direction is not None
        return self.plain.direction(A)


class Begun(NamedTuple):
    """The start of one pass over a stack: the guard is asked once, for the first inverse and for the steps after it."""

    family: FamilyStart
    X: Tensor
    R: Tensor
    accepted: Tensor
    """For which matrices the guard allowed the learned start."""

    def function(self, A: Tensor) -> tuple[Tensor, Tensor]:
        """Return X and R of the stack A."""
        del A
        return self.X, self.R

    def deflates(self, X: Tensor) -> bool | Tensor:
        """Return what the family start does."""
        return self.family.deflates(X)


def count_equations(n_atoms: int) -> int:
    """Return how many equations stand for ``||I - A (B_0 + sum_k w_k B_k)||`` with so many unknown weights.

    >>> count_equations(16)
    24
    """
    return 3 * n_atoms // 2


def least_squares(directions: Tensor, target: Tensor) -> Tensor:
    r"""Return w that makes :math:`\|t - \sum_k w_k d_k\|` least: k directions, ``(n, k, s)``, targets ``(n, s)``.

    By elimination on the normal equations, regularised at the rounding of their trace: elementary operations on the
    whole stack, which every runtime has.

    >>> directions = torch.tensor([[[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]]])
    >>> least_squares(directions, torch.tensor([[3.0, 2.0, 5.0]])).round(decimals=4)
    tensor([[1., 2.]])
    """
    k = directions.shape[1]
    gram = directions @ directions.mT
    ridge = torch.finfo(gram.dtype).eps * gram.diagonal(dim1=1, dim2=2).mean(dim=-1)
    ridge = ridge.clamp_min(torch.finfo(gram.dtype).tiny)
    gram = gram + ridge[:, None, None] * torch.eye(k, dtype=gram.dtype, device=gram.device)
    rest = torch.cat([gram, directions @ target.unsqueeze(-1)], dim=-1).permute(1, 2, 0).contiguous()
    rows = []
    for _ in range(k):
        row = rest[0, 1:] / rest[0, 0].clamp_min(ridge)
        rest = rest[1:, 1:] - rest[1:, :1] * row
        rows.append(row)
    w = rows[-1]
    for row in reversed(rows[:-1]):
        w = torch.cat([(row[-1] - (row[:-1] * w).sum(dim=0)).unsqueeze(0), w])
    return w.mT
