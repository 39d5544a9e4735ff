"""Attacks on proofs of positive definiteness and on bounds of inverse square roots.

Truths are known by construction: of a positive definite integer matrix B, :math:`A = B^2` has the inverse square root
:math:`B^{-1}`. Whether a matrix is positive definite is decided by its leading minors, in rational arithmetic; so is
whether another one is that rounds to it. A complex matrix is judged as the real one of twice the size.
"""

from collections.abc import Callable

import numpy as np
import torch
from flint import fmpq, fmpq_mat

from benchmarks.lib.exact_arithmetic import exactly
from benchmarks.lib.pinv_attack import Verdict
from skdmi.embedding import embed
from skdmi.estimators.inv_sqrt import Roots, find
from skdmi.linalg import certify_inv_sqrt

SIZES = (1, 2, 3, 4, 6, 10)
_SHARE_OF_SINGLE = 0.3
_SLACK = 1 + 1e-9


def squares(rng: np.random.Generator, n: int, m: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Return squares of symmetric integer matrices B; nothing is known of roots where B is not positive definite."""
    B = rng.integers(-9, 10, (n, m, m)).astype(float)
    B = B + B.swapaxes(1, 2) + np.eye(m) * rng.integers(0, 80, (n, 1, 1))
    return B @ B, B


def integers(rng: np.random.Generator, n: int, m: int) -> tuple[np.ndarray, None]:
    A = rng.integers(-4, 5, (n, m, m)).astype(float)
    return A + A.swapaxes(1, 2) + np.eye(m) * rng.integers(0, 12, (n, 1, 1)), None


def semidefinite(rng: np.random.Generator, n: int, m: int) -> tuple[np.ndarray, None]:
    """Gram matrices of one rank less."""
    C = rng.integers(-5, 6, (n, m, max(m - 1, 0))).astype(float)
    return C @ C.swapaxes(1, 2), None


def nearly_semidefinite(rng: np.random.Generator, n: int, m: int) -> tuple[np.ndarray, None]:
    """Those, moved up or down on the diagonal by a few units in the last place, or by more."""
    A, _ = semidefinite(rng, n, m)
    unit = np.abs(A).max(axis=(1, 2), keepdims=True) * 2.0 ** -rng.integers(20, 54, (n, 1, 1))
    return A + np.eye(m) * unit * rng.integers(-8, 9, (n, 1, m)), None


def graded(rng: np.random.Generator, n: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    """Squares in units that are wide apart, as diagonal matrices are."""
    B = np.eye(m) * 2.0 ** rng.integers(-20, 20, (n, 1, m))
    return B @ B, B


def far_away(rng: np.random.Generator, n: int, m: int) -> tuple[np.ndarray, np.ndarray | None]:
    """At the ends of the range, subnormal numbers included."""
    A, B = squares(rng, n, m)
    power = 2 * int(rng.choice([-530, -520, -300, 300, 490]))
    return np.ldexp(A, power), np.ldexp(B, power // 2) if power > -1000 else None


def hermitian(rng: np.random.Generator, n: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    """Squares of Hermitian matrices of Gaussian integers."""
    B = rng.integers(-5, 6, (n, m, m)) + 1j * rng.integers(-5, 6, (n, m, m))
    B = B + B.conj().swapaxes(1, 2) + np.eye(m) * rng.integers(0, 60, (n, 1, 1))
    return B @ B, B


MATRICES: tuple[Callable[..., tuple[np.ndarray, np.ndarray | None]], ...] = (
    *(squares, integers, semidefinite, nearly_semidefinite, graded, far_away, hermitian),
)


def attack(n_claims: int, seed: int = 0) -> Verdict:
    """Return how many claims of `inv_sqrt` and of `certify_inv_sqrt` are false."""
    rng, verdict = np.random.default_rng(seed), Verdict(0, 0, 0)
    while verdict.n_claims < n_claims:
        m = SIZES[rng.integers(len(SIZES))]
        A, B = MATRICES[rng.integers(len(MATRICES))](rng, 50, m)
        if rng.random() < _SHARE_OF_SINGLE:
            A, B = _single(A, B)
        found = find(A)
        if A.dtype.kind == "c":
            A, B, found = embed(A), embed(B), found._replace(root=embed(found.root))
        verdict += judge(A, B, found, rng)
        Z = _tampered(rng, A, found.root)
        proof = certify_inv_sqrt(torch.from_numpy(A), torch.from_numpy(Z))
        fields = proof.certified.numpy(), proof.error_bound.numpy(), found.n_steps
        verdict += judge(A, B, Roots(Z, *fields), rng)
    return verdict


def _single(A: np.ndarray, B: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
    """Return a stack in single precision; nothing is known of roots where that rounds or overflows."""
    with np.errstate(all="ignore"):
        rounded = A.astype(np.complex64 if A.dtype.kind == "c" else np.float32)
    rounded[~np.isfinite(rounded)] = 0
    return rounded, B if (rounded == A).all() else None


def _tampered(rng: np.random.Generator, A: np.ndarray, Z: np.ndarray) -> np.ndarray:
    """Return what are not quite the roots: off in all entries, of a wrong sign, asymmetric by a unit, or another."""
    Z = np.where(np.isfinite(Z), Z, 1.0)
    size = 10.0 ** -rng.integers(0, 17)
    with np.errstate(all="ignore"):
        noise = rng.standard_normal(Z.shape)
        noise = noise + noise.swapaxes(1, 2)
        values, V = np.linalg.eigh(Z)
        signs = rng.choice([-1.0, 1.0], values.shape)
        flipped = (V * (values * signs)[:, None]) @ V.swapaxes(1, 2)
        one_sided = Z.copy()
        one_sided[:, 0, -1] *= 1 + 2.0**-52
        return [
            Z * (1 + size * noise),
            Z + size * np.abs(Z).max(axis=(1, 2), keepdims=True) * noise,
            (flipped + flipped.swapaxes(1, 2)) / 2,
            one_sided,
            -Z,
        ][rng.integers(5)]


def judge(A: np.ndarray, B: np.ndarray | None, found: Roots, rng: np.random.Generator) -> Verdict:
    """Return how many claims hold."""
    false = 0
    for k in np.flatnonzero(found.certified):
        exact = _rational(A[k])
        holds = _is_definite(exact) and _is_definite(_as_rounds(exact, rng, A.dtype))
        if holds and B is not None and _is_definite(_rational(B[k])):
            holds = _is_near(found.root[k], B[k], found.error_bound[k])
        false += not holds
    return Verdict(len(A), int(found.certified.sum()), false)


def _as_rounds(A: fmpq_mat, rng: np.random.Generator, dtype: np.dtype) -> fmpq_mat:
    """Return a symmetric matrix that rounds to A, apart in every entry by up to half a unit in the last place."""
    half = fmpq(1, 2 ** (np.finfo(dtype).nmant + 2))
    signs = rng.choice([-1, 1], (A.nrows(), A.nrows()))
    signs = np.tril(signs) + np.tril(signs, -1).T
    moved = [a * (1 + int(sign) * half) for a, sign in zip(A.entries(), signs.flat, strict=True)]
    return fmpq_mat(A.nrows(), A.ncols(), moved)


def _is_definite(A: fmpq_mat) -> bool:
    entries = A.tolist()
    m = len(entries)
    return all(fmpq_mat([row[:k] for row in entries[:k]]).det() > 0 for k in range(1, m + 1))


def _is_near(Z: np.ndarray, B: np.ndarray, bound: float) -> bool:
    """Return whether Z is as near to the inverse of B as said; exact but for the last norms."""
    truth = _rational(B).inv()
    unit = max(abs(entry) for entry in truth.entries())
    difference, size = (_norm(M, unit) for M in (_rational(Z) - truth, truth))
    return difference <= bound * size * _SLACK


def _rational(A: np.ndarray) -> fmpq_mat:
    return fmpq_mat(*A.shape, [exactly(float(a)) for a in A.flat])


def _norm(A: fmpq_mat, unit: fmpq) -> float:
    entries = [entry / unit for entry in A.entries()]
    return float(np.linalg.norm(np.array([int(a.p) / int(a.q) for a in entries]).reshape(A.nrows(), -1), 2))
