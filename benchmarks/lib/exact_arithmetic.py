"""Exact rational arithmetic on the stored bits of matrices."""

import numpy as np
from flint import fmpq, fmpq_mat
from torch import Tensor


def exactly(value: float) -> fmpq:
    return fmpq(*value.as_integer_ratio())


def rounded(value: fmpq) -> float:
    """Return the nearest float64; infinite beyond the range."""
    try:
        return int(value.p) / int(value.q)
    except OverflowError:
        return float("inf") if value > 0 else -float("inf")


def rational(A: Tensor) -> fmpq_mat:
    """Return the stored bits of one matrix, exactly."""
    m = A.shape[-1]
    return fmpq_mat(m, m, [exactly(value) for value in A.double().flatten().tolist()])


def is_singular(A: Tensor) -> bool:
    return rational(A).det() == 0


def square_norm(A: fmpq_mat) -> fmpq:
    return sum((a * a for a in A.entries()), fmpq(0))


def one_norm(A: fmpq_mat) -> fmpq:
    return max(sum(map(abs, column), fmpq(0)) for column in zip(*A.tolist(), strict=True))


def smaller_norm_of_residual(A: fmpq_mat, X: fmpq_mat, row_exponents: list[int]) -> fmpq:
    """Return the square of the maximum row sum norm or of the Frobenius norm of ``D (I - A X) D^-1``."""
    product = (A * X).tolist()
    powers = [fmpq(2) ** e for e in row_exponents]
    R = [
        [abs((i == j) - value) * powers[i] / powers[j] for j, value in enumerate(row)] for i, row in enumerate(product)
    ]
    return min(max(sum(row, fmpq(0)) for row in R) ** 2, sum((value**2 for row in R for value in row), fmpq(0)))


def spectral_norm(A: fmpq_mat, scale: fmpq) -> float:
    values = [(a / scale) for a in A.entries()]
    return np.linalg.norm(np.array([int(a.p) / int(a.q) for a in values]).reshape(A.nrows(), -1), 2)
