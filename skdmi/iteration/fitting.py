"""The family start in closed form, from members of a family."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import scipy.linalg
import torch
from torch import Tensor

from skdmi.iteration.family import FamilyStart, count_equations
from skdmi.iteration.starts import TRANSPOSE, Start
from skdmi.linalg.exact import exact_inverse
from skdmi.linalg.residuals import identity_like, missing

MOST_MEMBERS = 1000
"""More teach nothing more (measured: 100 do)."""
MEMBERS_PER_ATOM = 4
ENOUGH_MEMBERS = 30
"""That say what their family is like."""
MOST_PLACES = 16
RANK_TOLERANCE = 1e-6
N_SKETCHED = 64
"""Members whose products with the atoms say which equations count."""
N_FOLDS = 4
LEANING = 0.02
SLACK = 1.2
SAFE = 0.5
TIGHT = 1.4
"""A family is tight if its 99.9th percentile of estimates relative to the plain start is below so many medians."""
RIDGE = 1e-7


@dataclass(frozen=True)
class Members:
    """Members of a family and their inverses, float64, ``(n_members, m, m)``."""

    A: Tensor
    inverse: Tensor

    @classmethod
    def of(cls, A: Tensor) -> Self:
        """Return the first members of a stack that have an inverse, scaled as the network sees them."""
        A = A[:MOST_MEMBERS].double()
        inverse = exact_inverse(A)
        found = ~missing(inverse)
        return cls(A[found], inverse[found])

    def __len__(self) -> int:
        return len(self.A)

    def __getitem__(self, chosen: Tensor) -> Self:
        return type(self)(self.A[chosen], self.inverse[chosen])


def fit_family(members: Members, n_atoms: int, *, plain: Start = TRANSPOSE) -> FamilyStart:
    r"""Fit a :class:`FamilyStart` to members of a family, in closed form.

    - :math:`B_0` minimises :math:`\operatorname{E} \|I - A B_0\|_F^2`:
      :math:`B_0 = M^{-1} \operatorname{E} A^T`, :math:`M = \operatorname{E} A^T A`. Alone, without atoms, it leans by
      0.02 towards :math:`\operatorname{E} A^{-1}`: a little worse at first, better after three steps where the members
      vary around a core that is ill-conditioned (measured).
    - :math:`B_k` are the principal directions of :math:`A^{-1} - B_0` in the metric M, in which
      :math:`\operatorname{E} \|A B\|_F^2` is the square of the length of B.
    - The places are the pivots of the principal directions of A itself: from these entries the others follow.
    - The equations are the principal directions of all :math:`A B_k` and I.
    - The guard is set (:func:`set_guard`) by estimates for members that were left out of a fit, fold by fold.

    Parameters
    ----------
    members : Members
        At least two.
    n_atoms : int
        There are no more than a quarter of the members, and than ``m^2``.
    plain : Start, default=TRANSPOSE

    Returns
    -------
    start : FamilyStart
        In float64.

    Examples
    --------
    >>> t = torch.linspace(1, 2, 40, dtype=torch.float64)[:, None, None]
    >>> A = torch.eye(3, dtype=torch.float64) + t * torch.ones(3, 3, dtype=torch.float64)
    >>> start = fit_family(Members.of(A), n_atoms=2)
    >>> bool(start(A)[1].norm(dim=(1, 2)).max() < 1e-3)
    True
    """
    return fit_families(members, [n_atoms], plain=plain)[0].start


class Fitted(NamedTuple):
    """A start, and those of the folds: each was fitted without some of the members, which judge it."""

    start: FamilyStart
    folds: list[tuple[FamilyStart, Tensor]]


def fit_families(members: Members, n_atoms: Sequence[int], *, plain: Start = TRANSPOSE) -> list[Fitted]:
    """Return what :func:`fit_family` does for several numbers of atoms, which share most of the work.

    >>> A = torch.eye(2, dtype=torch.float64).expand(40, 2, 2)
    >>> [len(fitted.start.atoms) for fitted in fit_families(Members.of(A), [0, 1])]
    [0, 1]
    """
    most = max(n_atoms)
    basis = _Basis.of(members, most)
    fold = torch.arange(len(members), device=members.A.device) % N_FOLDS
    parts = [(members[fold != number], members[fold == number].A) for number in range(N_FOLDS)]
    judged = [(_Basis.of(rest, most), apart) for rest, apart in parts if len(rest) > 0 and len(apart) > 0]
    found = []
    for count in n_atoms:
        folds = [(of_rest.start(count, plain), apart) for of_rest, apart in judged]
        start = basis.start(count, plain)
        if folds:
            set_guard(start, *map(torch.cat, zip(*(one.estimates(apart) for one, apart in folds), strict=True)))
        for one, _ in folds:
            one.bound.copy_(start.bound)
            one.margin.copy_(start.margin)
        found.append(Fitted(start, folds))
    return found


@torch.no_grad()
def set_guard(start: FamilyStart, mine: Tensor, theirs: Tensor) -> None:
    """Set bound and margin by estimates for members of the learned and of the plain start, ``(n_members)``.

    The bound is 1.2 times the 99.9th percentile of the learned ones, and at least 0.5, from where every step is a
    contraction. The margin is the 99th percentile of their quotient, within 0.6 and 0.7: a smaller gain in the
    Frobenius norm can be a loss a few steps later (measured off several families). Where the family is tight, the bound
    is that percentile itself, and the margin 0.95; where it is not, a constant without atoms is refused for all.
    """
    ratio = mine / theirs
    is_tight = ratio.quantile(0.999) <= TIGHT * ratio.median()
    if len(start.atoms) == 0 and not is_tight:
        start.bound.zero_()
        return
    start.bound.fill_(((1.0 if is_tight else SLACK) * mine.quantile(0.999)).clamp_min(SAFE))
    start.margin.fill_(0.95 if is_tight else ratio.quantile(0.99).clamp(0.6, 0.7))


class _Basis(NamedTuple):
    """What family starts of any number of atoms share."""

    members: Tensor
    moments: Tensor
    constant: Tensor
    mean_inverse: Tensor
    atoms: Tensor
    places: Tensor
    reading: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, members: Members, n_atoms: int) -> Self:
        A = members.A
        moments = torch.stack([(A.mT @ A).mean(dim=0), A.mean(dim=0)])
        constant, L = best_constant(moments)
        n_atoms = min(n_atoms, len(A) // MEMBERS_PER_ATOM, A.shape[-1] ** 2 // 2)
        atoms = _principal_atoms(members.inverse - constant, L, n_atoms)
        return cls(A, moments, constant, members.inverse.mean(dim=0), atoms, *_tell_tale_places(A))

    @torch.no_grad()
    def start(self, n_atoms: int, plain: Start) -> FamilyStart:
        atoms = self.atoms[:n_atoms]
        with self.members.device:
            start = FamilyStart(self.members.shape[-1], len(atoms), len(self.places), plain=plain).double()
        start.constant.copy_(self.constant if len(atoms) > 0 else self.constant.lerp(self.mean_inverse, LEANING))
        start.atoms.copy_(atoms)
        start.places.copy_(self.places)
        if len(atoms) > 0:
            start.equations.copy_(_equations(self.members[:N_SKETCHED], self.constant, atoms, self.reading))
        start.moments.copy_(self.moments)
        start.n_members.fill_(len(self.members))
        return start


def best_constant(moments: Tensor) -> tuple[Tensor, Tensor]:
    """Return :math:`B_0` and the Cholesky factor of M, given ``E A^T A`` and ``E A``."""
    M, mean = moments
    M = M + RIDGE * torch.linalg.matrix_norm(M, ord=2) * identity_like(M)
    L = torch.linalg.cholesky(M)
    return torch.cholesky_solve(mean.mT, L), L


def _principal_atoms(differences: Tensor, L: Tensor, n_atoms: int) -> Tensor:
    """Return the principal directions of matrices in the metric ``L L^T``, of unit length in it."""
    if n_atoms == 0:
        return differences[:0]
    directions = torch.linalg.svd((L.mT @ differences).flatten(1), full_matrices=False).Vh[:n_atoms]
    return torch.linalg.solve_triangular(L.mT, directions.unflatten(1, differences.shape[1:]), upper=True)


def _tell_tale_places(A: Tensor) -> tuple[Tensor, Tensor]:
    """Return the flat indices of q entries, and matrices ``(1 + q, m, m)``: A is their combination by 1 and entries."""
    flat = A.flatten(1)
    mean = flat.mean(dim=0)
    _, strengths, directions = torch.linalg.svd(flat - mean, full_matrices=False)
    rank = int((strengths > RANK_TOLERANCE * max(strengths[0].item(), torch.finfo(A.dtype).tiny)).sum())
    directions = directions[: min(MOST_PLACES, rank)]
    if len(directions) == 0:  # all members are one matrix
        return torch.zeros(0, dtype=torch.int64, device=A.device), mean.reshape(1, *A.shape[1:])
    pivots = scipy.linalg.qr(directions.numpy(), mode="r", pivoting=True)[1][: len(directions)]
    places = torch.from_numpy(pivots).long()
    reading = torch.linalg.solve(directions[:, places], directions)
    return places, torch.cat([(mean - mean[places] @ reading)[None], reading]).unflatten(1, A.shape[1:])


def _equations(A: Tensor, constant: Tensor, atoms: Tensor, reading: Tensor) -> Tensor:
    """Return the equations ``(1 + q, 1 + k, s)``: of each term of A the target, and the directions, sketched."""
    identity = identity_like(A)
    basis = torch.cat([constant[None], atoms])
    products = (A.unsqueeze(1) @ basis).flatten(0, 1).flatten(1)
    rows = torch.cat([products, len(A) ** 0.5 * identity.flatten()[None]])
    sketch = principal_directions(rows, count_equations(len(atoms)))
    terms = (reading.unsqueeze(1) @ basis).flatten(2) @ sketch
    terms[:, 0] *= -1
    terms[0, 0] += identity.flatten() @ sketch
    return terms


def principal_directions(rows: Tensor, n_directions: int) -> Tensor:
    """Return the principal directions of many long rows as columns, by a randomised range (Halko et al. 2011)."""
    generator = torch.Generator(rows.device).manual_seed(0)
    n_samples = min(2 * n_directions, rows.shape[1])
    Q = torch.randn(rows.shape[1], n_samples, generator=generator, device=rows.device, dtype=rows.dtype)
    for _ in range(3):
        Q = torch.linalg.qr(rows.mT @ (rows @ Q)).Q
    columns = Q @ torch.linalg.svd(rows @ Q, full_matrices=False).Vh[:n_directions].mT
    missing_columns = n_directions - columns.shape[1]
    return torch.nn.functional.pad(columns, (0, missing_columns))


@torch.no_grad()
def adapt(start: FamilyStart, A: Tensor, *, memory: int = MOST_MEMBERS) -> None:
    r"""Let a fitted start follow its family, in place, by running moments: no member is kept.

    :math:`\operatorname{E} A^T A` and :math:`\operatorname{E} A` are averaged with those of the new members, and a
    constant without atoms moves by what that changes in its closed form, whatever training made of it. Atoms stay, and
    with them the constant that their equations belong to; to train them is to adapt them. The guard's bound and margin
    rise to what new members ask for, if there are 30 of them. What has no inverse is no member.

    Parameters
    ----------
    start : FamilyStart
    A : Tensor of shape (n_members, m, m)
        New members, scaled as the network sees them.
    memory : int, default=1000
        Members before count for no more than these.

    Examples
    --------
    >>> A = torch.eye(3, dtype=torch.float64).expand(40, 3, 3)
    >>> start = fit_family(Members.of(A), n_atoms=0)
    >>> adapt(start, 2 * A)
    >>> [round(entry, 4) for entry in start.constant.diagonal().tolist()]
    [0.6, 0.6, 0.6]
    """
    members = Members.of(A).A
    if len(members) == 0:
        return
    before = start.moments.double()
    weight = start.n_members.clamp_max(memory).double()
    new = torch.stack([(members.mT @ members).mean(dim=0), members.mean(dim=0)])
    moments = (weight * before + len(members) * new) / (weight + len(members))
    if len(start.atoms) == 0:
        start.constant += (best_constant(moments)[0] - best_constant(before)[0]).to(start.constant)
    start.moments.copy_(moments)
    start.n_members += len(members)
    if len(members) < ENOUGH_MEMBERS:
        return
    mine, theirs = start.estimates(members.to(start.constant))
    bound, margin = start.bound.clone(), start.margin.clone()
    set_guard(start, mine, theirs)
    start.bound.clamp_min_(bound)
    start.margin.clamp_min_(margin)
