"""What is proved of tensors and their alleged inverses, on their device, in parts."""

from collections.abc import Callable

import torch
from torch import Tensor

from skdmi.containers import computable, in_parts
from skdmi.estimators.findings import Findings
from skdmi.iteration.refinement import refine
from skdmi.linalg.certificate import Certificate, ResidualBound, certify_equilibrated
from skdmi.linalg.exact import exact_inverse
from skdmi.linalg.positive_definite import certify_positive_definite, is_symmetric
from skdmi.linalg.residuals import double, missing, residual, wide_frobenius_norm
from skdmi.linalg.scaling import equilibrate, scale_both
from skdmi.linalg.tight import TightCertificate, certify_tightly, certify_tightly_equilibrated, refine_tightly
from skdmi.linalg.unit_lower_certificate import certify_unit_lower, is_unit_lower

_STACKS = "inverse", "entry_bound", "residual_norm"
_POOR = 2.0**-40
"""An error bound, beside that of rounding, which another way may better."""


@torch.no_grad()
def check_tensors(A: Tensor, X: Tensor, *, tight: bool, structure: str | None) -> Findings:
    """Certify inverses, see :func:`skdmi.certify`; what is not finite is replaced by what is not certified.

    Parameters
    ----------
    A, X : Tensors of shape (n_matrices, m, m)
        float32 or float64, on one device.

    Examples
    --------
    >>> I = torch.eye(2)[None]
    >>> check_tensors(I, I, tight=False, structure=None).error_bound
    tensor([...e-15], dtype=torch.float64)
    """
    check = _check_tightly if tight else _CHECKS[structure]
    with torch.autocast(A.device.type, enabled=False):
        parts = [_check_part(*part, check, structure) for part in _pairs(A, X)]
    fields = zip(*parts, strict=True)
    return Findings._make(None if field[0] is None else torch.cat(field) for field in fields)


def _check_part(A: Tensor, X: Tensor, check: Callable[[Tensor, Tensor], Findings], structure: str | None) -> Findings:
    is_lacking = missing(A)
    is_absent = is_lacking | missing(X)
    if is_absent.any():
        A, X = (T.masked_fill(missing(T)[:, None, None], 0.0) for T in (A, X))
    found = _with_structure(check(A, X), A, X, structure)
    if found.structured is not None:
        found = found._replace(structured=found.structured & ~is_lacking.to(found.structured.device))
    is_absent = is_absent.to(found.residual_norm.device)
    right, left = (norm.masked_fill(is_absent, torch.nan) for norm in (found.residual_norm, found.left_residual_norm))
    return found._replace(residual_norm=right, left_residual_norm=left)


def _check_plainly(A: Tensor, X: Tensor) -> Findings:
    """Certify by two products."""
    A64, X64 = double(A), double(X)
    equilibrated = equilibrate(A64)
    scaled, rows, columns = equilibrated
    scaled_X = scale_both(X64, -columns, -rows)
    bound = ResidualBound.of(scaled, scaled_X)
    proof = certify_equilibrated(A64, X64, equilibrated, torch.float64, bound)
    g = bound.rounding() + torch.finfo(A.dtype).eps / 2
    robust = proof.certified & (torch.fmin(bound.spectral(g), bound.row_sum(g)) < 1)
    norm = wide_frobenius_norm(scale_both(bound.R, -rows, rows))
    left = wide_frobenius_norm(scale_both(residual(scaled, scaled_X, left=True), columns, -columns))
    interval = proof.condition_lower, proof.condition_upper
    return Findings(proof.certified, robust, proof.error_bound, norm, left, *interval)


def _check_tightly(A: Tensor, X: Tensor) -> Findings:
    """Certify entry by entry."""
    A64, X64 = double(A), double(X)
    equilibrated = equilibrate(A64)
    scaled, rows, columns = equilibrated
    found = certify_tightly_equilibrated(A64, X64, equilibrated, A.dtype)
    left = residual(scaled, scale_both(X64, -columns, -rows), left=True)
    proof, left_norm = found.certificate, wide_frobenius_norm(scale_both(left, columns, -columns))
    interval = proof.condition_lower, proof.condition_upper
    norms = found.residual_norm, left_norm
    return Findings(proof.nonsingular, proof.certified, proof.error_bound, *norms, *interval, found.entry_bound)


def _check_unit_lower(A: Tensor, X: Tensor) -> Findings:
    """Certify unit lower triangular matrices."""
    found = certify_unit_lower(A, X, left=True)
    interval = found.condition_lower, found.condition_upper
    norms = found.residual_norm, found.left_residual_norm
    return Findings(found.certified, found.certified, found.error_bound, *norms, *interval)


_CHECKS = {None: _check_plainly, "spd": _check_plainly, "unit_lower": _check_unit_lower}
"""What certifies matrices of a structure."""


def _with_structure(found: Findings, A: Tensor, X: Tensor, structure: str | None) -> Findings:
    """Return what was found, certified where bounds are finite, and what a structure lets be said beside."""
    if structure == "unit_lower":
        structured = is_unit_lower(A).to(found.certified.device)
        both = structured & is_unit_lower(X).to(structured.device)
        return _certified_where(found, both)._replace(structured=structured)
    found = _certified_where(found, torch.ones_like(found.certified))
    if structure == "spd":
        factor = A.shape[-1] ** 0.5 * (1 + 2.0**-50) if found.entry_bound is not None else 1.0
        proof = certify_positive_definite(A, X, factor * found.error_bound)  # tight bounds are of the Frobenius norm
        return found._replace(
            structured=is_symmetric(double(A)),
            positive_definite=proof.proved,
            smallest_eigenvalue=proof.smallest_eigenvalue,
        )
    return found


def _certified_where(found: Findings, allowed: Tensor) -> Findings:
    """Return what was found, certified at most where allowed and where bounds are finite; elsewhere nothing is said."""
    certified, bound = found.certified & found.error_bound.isfinite() & allowed, found.entry_bound
    return found._replace(
        certified=certified,
        robust=found.robust & certified,
        error_bound=found.error_bound.masked_fill(~allowed, torch.nan),
        condition_lower=found.condition_lower.masked_fill(~certified, torch.nan),
        condition_upper=found.condition_upper.masked_fill(~certified, torch.inf),
        entry_bound=None if bound is None else bound.masked_fill(~certified[:, None, None], torch.inf),
    )


@torch.no_grad()
def refined_tightly(A: Tensor, start: Tensor | None = None, *, inverts_again: bool = True) -> TightCertificate:
    """Return what :func:`skdmi.linalg.refine_tightly` finds, in parts.

    Parameters
    ----------
    A : Tensor of shape (n_matrices, m, m)
        Of float dtype, finite; its dtype is that of the inverses.
    start : Tensor of shape (n_matrices, m, m), optional
        By default the inverses of LAPACK.
    inverts_again : bool, default=True
        Whether LAPACK inverts what the start does not lead to.

    Examples
    --------
    >>> refined_tightly(torch.tensor([[[3.0]]])).inverse.item() == torch.tensor(1 / 3).item()
    True
    """
    start = torch.full_like(A, torch.nan) if start is None else start
    return _joined([_refine_part(part, begun, inverts_again) for part, begun in _pairs(A, start)])


def _refine_part(A: Tensor, start: Tensor, inverts_again: bool) -> TightCertificate:
    """Refine, and where that does not end in a small bound see what refinement without tight residuals has."""
    given, invert = computable(A), _inverse if inverts_again else None
    found = refine_tightly(given, computable(start), invert, dtype=A.dtype)
    poor = ~(found.certificate.error_bound <= _POOR)
    if poor.any():
        begun = start[poor].double()
        if inverts_again:
            begun = exact_inverse(given[poor].double())
        other = refine(given[poor].double(), torch.where(missing(begun)[:, None, None], 0.0, begun)).inverse
        found = _better(found, poor, refine_tightly(given[poor], other, invert, dtype=A.dtype))
        as_it_is = double(other.to(A.dtype))
        found = _better(found, poor, certify_tightly(given[poor], as_it_is))
    return found


def _better(found: TightCertificate, chosen: Tensor, other: TightCertificate) -> TightCertificate:
    """Return what was found, with another answer for chosen members where its error bound is smaller."""
    mine = found.certificate.error_bound[chosen]
    is_better = (other.certificate.error_bound < mine) | (mine.isnan() & other.certificate.nonsingular)
    index = chosen.nonzero().flatten()[is_better]
    parts = zip(found.certificate, other.certificate, strict=True)
    certificate = Certificate(*(kept.index_copy(0, index, new[is_better]) for kept, new in parts))
    stacks = {name: getattr(found, name).index_copy(0, index, getattr(other, name)[is_better]) for name in _STACKS}
    return TightCertificate(certificate=certificate, **stacks)


@torch.no_grad()
def checked_tightly(A: Tensor, X: Tensor) -> TightCertificate:
    """Return what :func:`skdmi.linalg.certify_tightly` finds, in parts.

    >>> checked_tightly(torch.ones(1, 1, 1), torch.ones(1, 1, 1)).inverse
    tensor([[[1.]]], dtype=torch.float64)
    """
    return _joined([certify_tightly(*part) for part in _pairs(computable(A), computable(X))])


def _pairs(A: Tensor, X: Tensor) -> "zip[tuple[Tensor, Tensor]]":
    return zip(in_parts(A), in_parts(X), strict=True)


def _inverse(A: Tensor) -> Tensor:
    return torch.linalg.inv_ex(A).inverse


def _joined(parts: list[TightCertificate]) -> TightCertificate:
    """Return the certificates of parts of a stack as one."""
    if len(parts) == 1:
        return parts[0]
    certificate = Certificate(*map(torch.cat, zip(*(part.certificate for part in parts), strict=True)))
    inverse, bound, norm = (torch.cat([getattr(part, name) for part in parts]) for name in _STACKS)
    return TightCertificate(inverse, bound, certificate, norm)
