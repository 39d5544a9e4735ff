"""Certificates judged by exact rational arithmetic."""

from dataclasses import dataclass

import numpy as np
import torch
from flint import fmpq_mat
from torch import Tensor

from benchmarks.lib.arithmetic_settings import SETTINGS
from benchmarks.lib.attack_inverses import SOURCES
from benchmarks.lib.attack_matrices import FAMILIES
from benchmarks.lib.exact_arithmetic import (
    exactly,
    is_singular,
    one_norm,
    rational,
    smaller_norm_of_residual,
    spectral_norm,
    square_norm,
)
from skdmi.linalg import Certificate, certify, equilibrate

DTYPES = (torch.float32, torch.float64)
SIZES = (2, 3, 4, 6, 1, 8)


@dataclass
class Tally:
    """What became of the attacks of one kind."""

    cases: int = 0
    singular: int = 0
    granted: int = 0
    false: int = 0
    violated: int = 0
    tightest: float = 0.0

    def judge(self, A: Tensor, X: Tensor, certificate: Certificate, row_exponents: list[int]) -> None:
        """Add one matrix, the fields of its certificate, and the powers of two that its rho speaks of."""
        self.cases += 1
        singular = is_singular(A)
        self.singular += singular
        if not certificate.certified:
            return
        self.granted += 1
        self.false += singular
        if not singular:
            self.judge_bounds(rational(A), rational(X), certificate, row_exponents)

    def judge_bounds(self, A: fmpq_mat, X: fmpq_mat, certificate: Certificate, row_exponents: list[int]) -> None:
        rho, bound, lower, upper = (float(value) for value in certificate[1:5])
        inverse = A.inv()
        error, size = square_norm(X - inverse), square_norm(inverse)
        condition = one_norm(A) * one_norm(inverse)
        scale = max(map(abs, inverse.entries()))
        spectral = spectral_norm(X - inverse, scale) / spectral_norm(inverse, scale) if bound < np.inf else 0
        within = (
            (rho == np.inf or smaller_norm_of_residual(A, X, row_exponents) <= exactly(rho) ** 2)
            and (bound == np.inf or error <= exactly(bound) ** 2 * size)
            and spectral <= bound * (1 + 1e-13)  # the one norm that is computed in floating point
            and (upper == np.inf or condition <= exactly(upper))
            and exactly(lower) <= condition
        )
        self.violated += not within
        self.tightest = max(self.tightest, spectral / bound)

    def row(self, name: str) -> str:
        counts = f"{self.cases:9d}{self.singular:10d}{self.granted:9d}{self.false:7d}{self.violated:10d}"
        return f"{name:20}{counts}{self.tightest:10.3f}"

    def __add__(self, other: "Tally") -> "Tally":
        counts = (getattr(self, name) + getattr(other, name) for name in list(vars(self))[:-1])
        return Tally(*counts, max(self.tightest, other.tightest))


def attack(family: str, source: str, setting: str, dtype: torch.dtype, m: int, n: int, seed: int) -> Tally:
    """Certify n matrices of size m, and judge every answer by exact arithmetic."""
    A = torch.from_numpy(FAMILIES[family](np.random.default_rng(seed), n, m)).to(dtype)
    A = A.nan_to_num(posinf=torch.finfo(dtype).max, neginf=torch.finfo(dtype).min)
    with SETTINGS[setting]():
        X = SOURCES[source](A, torch.Generator().manual_seed(seed)).to(dtype)
        certificate = certify(A, X)
    return judged(A, X, certificate)


def judged(A: Tensor, X: Tensor, certificate: Certificate) -> Tally:
    """Judge the certificates of a stack."""
    tally = Tally()
    for A_i, X_i, rows, *fields in zip(A, X, equilibrate(A)[1].tolist(), *certificate, strict=True):
        tally.judge(A_i, X_i, Certificate(*fields), rows)
    return tally
