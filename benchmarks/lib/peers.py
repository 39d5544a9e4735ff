"""Methods that learn nothing, each at the number of products that it is asked for: what a network must beat.

All compute in float32 on matrices scaled to ``||A||_F = sqrt(m)``; products are of m x m matrices, the last residual
included.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.linalg import matrix_norm

from skdmi.iteration import IDENTITY, TRANSPOSE, FamilyStart, Start, count_products, iterate, newton_schulz
from skdmi.iteration.least_squares import fit_directions
from skdmi.iteration.loop import keep_better
from skdmi.iteration.starts import full
from skdmi.linalg import characteristic_inverse, residual
from skdmi.linalg.characteristic import characteristic_products
from skdmi.linalg.residuals import identity_like

LAPACK, CHOLESKY = "LAPACK, float32", "Cholesky, float32"
MAX_PRODUCTS = 45
CHUNK_ENTRIES = 2**17


@dataclass(frozen=True)
class Method:
    """A way to invert a stack of tensors; ``products`` is None where matrices are factorised instead."""

    name: str
    products: int | None
    inverse: Callable[[Tensor], Tensor]
    is_timed: bool = True

    def __call__(self, A: Tensor) -> Tensor:
        """Invert ``(n, m, m)``, in parts that fit into the cache."""
        with torch.no_grad():
            return torch.cat([self.inverse(part) for part in A.split(max(1, CHUNK_ENTRIES // A.shape[-1] ** 2))])


def direct_methods(m: int, *, symmetric: bool = False) -> list[Method]:
    """Return what needs no products: LAPACK, Cholesky if ``symmetric``, and for m up to 4 the closed form."""
    found = [Method(LAPACK, None, lambda A: torch.linalg.inv_ex(A).inverse)]
    if symmetric:
        found.append(Method(CHOLESKY, None, cholesky_inverse))
    if m <= 4:
        found.append(Method("closed form (adjugate)", None, adjugate_inverse))
    return found


def cholesky_inverse(A: Tensor) -> Tensor:
    return torch.cholesky_inverse(torch.linalg.cholesky_ex(A).L)


def unlearned(m: int, budget: int, *, symmetric: bool = False, within: bool = False) -> list[Method]:
    """Return each iteration at ``budget`` products, or the next number not fewer; the most not above it if ``within``.

    With ``symmetric``, matrices are symmetric positive definite, and all but the characteristic polynomial start from
    a multiple of the identity.
    """
    chosen = []
    for family in FAMILIES:
        methods = list(family(m, symmetric))
        inside = [method for method in methods if method.products <= budget]
        above = [method for method in methods if method.products >= budget]
        chosen += inside[-1:] if within else above[:1]
    return chosen


def _newton_schulz(m: int, symmetric: bool) -> Iterator[Method]:
    for n_steps in range(1, MAX_PRODUCTS // 2):
        if symmetric:  # the first residual and the first product are with a multiple of the identity
            yield Method("Newton-Schulz", 2 * n_steps - 1, partial(_from_identity, n_steps=n_steps))
        else:
            yield Method("Newton-Schulz", 2 * n_steps + 1, partial(_from_classical_seed, n_steps=n_steps))


def _from_classical_seed(A: Tensor, n_steps: int) -> Tensor:
    r"""Start from :math:`A^T / (\|A\|_1 \|A\|_\infty)` (Ben-Israel and Cohen 1966)."""
    return newton_schulz(A, A.mT / (_largest_row_sum(A) * _largest_row_sum(A.mT)), n_steps)


def _from_identity(A: Tensor, n_steps: int) -> Tensor:
    return newton_schulz(A, identity_like(A) / _largest_row_sum(A), n_steps)


def _largest_row_sum(A: Tensor) -> Tensor:
    return A.abs().sum(dim=-1).amax(dim=-1)[:, None, None]


def _minimal_residual_2(m: int, symmetric: bool) -> Iterator[Method]:
    return _minimal_residual(m, symmetric, 2)


def _minimal_residual_3(m: int, symmetric: bool) -> Iterator[Method]:
    return _minimal_residual(m, symmetric, 3)


def _deflated(m: int, symmetric: bool) -> Iterator[Method]:
    return _minimal_residual(m, symmetric, 3, rank=2)


def _minimal_residual(m: int, symmetric: bool, n_coefficients: int, rank: int = 0) -> Iterator[Method]:
    start = IDENTITY if symmetric else TRANSPOSE
    name = f"MR-{n_coefficients}" + (", deflated" if rank else "")
    for n_steps in range(1, MAX_PRODUCTS // 3):
        options = {"n_steps": n_steps, "start": start, "rank": rank, "n_coefficients": n_coefficients}
        yield Method(name, count_products(n_steps, start), partial(iterate_scaled, **options))


def iterate_scaled(A: Tensor, **options: Any) -> Tensor:
    """Run :func:`skdmi.iteration.iterate` on matrices of any scale."""
    scale = unit_scale(A)
    return scale * iterate(scale * A, **options)


def _chebyshev(m: int, symmetric: bool) -> Iterator[Method]:
    """From the first residual each step of degree d costs d products; cheaper than the three-term recurrence."""
    best: dict[int, tuple[int, ...]] = {}
    for n_two in range(MAX_PRODUCTS // 2):
        for n_three in range(MAX_PRODUCTS // 3):
            degrees = (3,) * n_three + (2,) * n_two
            # From a multiple of the identity the first residual and the first product with X are spared.
            n_products = sum(degrees) + (-1 if symmetric and degrees else 0 if symmetric else 1)
            if math.prod(degrees) > math.prod(best.get(n_products, (0,))):
                best[n_products] = degrees
    for n_products in sorted(best):
        inverse = partial(chebyshev_inverse, degrees=best[n_products], symmetric=symmetric)
        yield Method("Chebyshev, exact spectrum", n_products, inverse, is_timed=False)


def chebyshev_inverse(A: Tensor, degrees: tuple[int, ...], symmetric: bool = False) -> Tensor:
    r"""Take the residual to the scaled Chebyshev polynomial of :math:`A A^T` (or of A) on its exact spectrum.

    .. math:: R_n = T_n(Z) / c_n, \quad Z = \frac{(a + b) I - 2 A A^T}{b - a}, \quad
              c_n = T_n\Bigl(\frac{b + a}{b - a}\Bigr)

    with :math:`[a, b]` from the smallest to the largest squared singular value: the polynomial of degree n with the
    smallest maximum there. As :math:`T_{dn} = T_d(T_n)`, a step of degree d costs d products:

    .. math:: X_{2n} = \frac{2}{2 - c_n^{-2}} X_n (I + R_n), \quad
              X_{3n} = \frac{4}{4 - 3 c_n^{-2}} X_n \bigl((1 - \tfrac34 c_n^{-2}) I + R_n + R_n^2\bigr).
    """
    scale = unit_scale(A)
    A = scale * A
    values = torch.linalg.eigvalsh(A.double()) if symmetric else torch.linalg.svdvals(A.double()).square()
    a, b = values.amin(dim=-1)[:, None, None], values.amax(dim=-1)[:, None, None]
    c = (b + a) / (b - a).clamp_min(1e-300)
    X = (2 / (a + b)).to(A.dtype) * (identity_like(A) if symmetric else A.mT)
    for degree in degrees:
        R, inverse_square = residual(A, X), 1 / c.square()
        if degree == 2:
            X = (2 / (2 - inverse_square)).to(A.dtype) * (X + X @ R)
            c = 2 * c.square() - 1
        else:
            B = (1 - 0.75 * inverse_square).to(A.dtype) * identity_like(A) + R + R @ R
            X = (4 / (4 - 3 * inverse_square)).to(A.dtype) * (X @ B)
            c = c * (4 * c.square() - 3)
    return scale * X


def _characteristic_newton(m: int, symmetric: bool) -> Iterator[Method]:
    del symmetric
    for n_steps in range(MAX_PRODUCTS // 2):
        n_products = characteristic_products(m) + 1 + 2 * n_steps
        plus = f" + {n_steps} Newton" if n_steps else ""
        yield Method(f"characteristic{plus}", n_products, partial(_polished_characteristic, n_steps=n_steps))


def _polished_characteristic(A: Tensor, n_steps: int) -> Tensor:
    scale = unit_scale(A)
    X = newton_schulz(scale * A, characteristic_inverse(scale * A), n_steps)
    return scale * torch.nan_to_num(X, 0.0, 0.0, 0.0)


def _characteristic_minimal_residual(m: int, symmetric: bool) -> Iterator[Method]:
    del symmetric
    start = Start(characteristic_or_transpose, characteristic_products(m) + 2)
    for n_steps in range(1, MAX_PRODUCTS // 3):
        inverse = partial(iterate_scaled, n_steps=n_steps, start=start, rank=0)
        yield Method(f"characteristic + {n_steps} MR-3", count_products(n_steps, start), inverse)


def characteristic_or_transpose(A: Tensor) -> tuple[Tensor, Tensor]:
    """Start from the characteristic inverse, or where rounding has spoilt it from the multiple of the transpose."""
    X = characteristic_inverse(A)
    return keep_better(TRANSPOSE.function(A), X, residual(A, X))


FAMILIES = (
    _newton_schulz,
    _minimal_residual_2,
    _minimal_residual_3,
    _deflated,
    _chebyshev,
    _characteristic_newton,
    _characteristic_minimal_residual,
)


SKETCH_ROWS = 8


def sketched_steps(A: Tensor, start: Start | FamilyStart, n_steps: int, degree: int = 2) -> Iterator[Tensor]:
    r"""Yield X from the start, and after each step of a polynomial that is fitted to a sketch of the residual.

    .. math:: X \leftarrow X p(R), \qquad p = \operatorname{argmin}_p \|G (I - A X p(R))\|_F

    with p of the ``degree`` 1 or 2 and all its coefficients free, and G eight random rows, new ones each step: the idea
    of PRISM, which fits the polynomials of Newton-Schulz iterations to the matrix at hand, without their exact inner
    products. A step costs ``degree + 1`` products, R recomputed; the best X so far is yielded.
    """
    generator = torch.Generator().manual_seed(0)
    X, R = start.function(A)
    best = full(X), R
    yield best[0]
    for _ in range(n_steps):
        G = torch.randn(SKETCH_ROWS, A.shape[-1], generator=generator, dtype=A.dtype)
        powers = [G.expand(len(A), -1, -1)]
        for _ in range(degree + 1):
            powers.append(powers[-1] @ R)
        # The directions of the next residual: R - R^2, R^2 - R^3, and last I - R, as in a step of MR-3.
        seen = [powers[k] - powers[k + 1] for k in (*range(1, degree + 1), 0)]
        problem = fit_directions(powers[1], torch.stack(seen, dim=1))
        c = problem.coefficients(problem.coordinates)[..., None, None]
        P = c[:, 0] * R + (c[:, 1] * (R @ R) if degree == 2 else 0) + (1 + c[:, -1]) * identity_like(R)
        X = X * P if X.shape[-1] == 1 else X @ P
        R = residual(A, X)
        best = keep_better(best, X, R)
        yield best[0]


def sketched_products(n_steps: int, start: Start | FamilyStart, degree: int = 2) -> int:
    """Return the products of :func:`sketched_steps`, the last residual included."""
    return max(0, start.n_products + (degree + 1) * n_steps)


def sketched_operations(m: int, n_steps: int, start: Start | FamilyStart, degree: int = 2) -> int:
    """Return the operations of :func:`sketched_steps`, about: products, sketches, sums of matrices, the start."""
    beside = n_steps * ((degree + 1) * 2 * SKETCH_ROWS + 2 * degree + 6) * m**2 + start.n_operations(m)
    return 2 * m**3 * sketched_products(n_steps, start, degree) + beside


def unit_scale(A: Tensor) -> Tensor:
    """Return s with ``||s A||_F = sqrt(m)``; the inverse of A is s times that of s A."""
    return math.sqrt(A.shape[-1]) / matrix_norm(A).clamp_min(torch.finfo(A.dtype).tiny)[:, None, None]


def adjugate_inverse(A: Tensor) -> Tensor:
    """Invert by cofactors, for m up to 4."""
    m = A.shape[-1]
    entries = A.permute(1, 2, 0).contiguous()
    indices = range(m)
    cofactors = [
        [
            (-1) ** (i + j) * _minor(entries, [k for k in indices if k != i], [k for k in indices if k != j])
            for i in indices
        ]
        for j in indices
    ]
    determinant = sum(entries[0, j] * cofactors[j][0] for j in indices)
    return (torch.stack([torch.stack(row) for row in cofactors]) / determinant).permute(2, 0, 1)


def _minor(entries: Tensor, rows: list[int], columns: list[int]) -> Tensor:
    """Return the determinants of the chosen rows and columns of ``(m, m, n)``."""
    if not rows:
        return torch.ones_like(entries[0, 0])
    first, *others = rows
    return sum(
        (-1) ** k * entries[first, j] * _minor(entries, others, columns[:k] + columns[k + 1 :])
        for k, j in enumerate(columns)
    )
