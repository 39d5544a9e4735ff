"""Stacks as tensors, and what is asked of them again and again."""

import math

import torch
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor
from torch.linalg import matrix_norm

from skdmi.linalg import residual
from tests.matrices import make_stack

DTYPES = [torch.float32, torch.float64]
REGULAR = ["uniform", "well", "condition", "spd", "orthogonal", "permutation", "graded"]
property_test = settings(max_examples=30, deadline=None, database=None)
seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(1, 8)


def stack_of(kind="well", n_matrices=8, m=3, *, dtype=torch.float64, **keywords) -> Tensor:
    return torch.from_numpy(make_stack(kind, n_matrices, m, **keywords)).to(dtype)


def scaled(A: Tensor) -> Tensor:
    """Return A with Frobenius norms of the square root of m, as a network sees it; zero matrices as they are."""
    return A * math.sqrt(A.shape[-1]) / matrix_norm(A).clamp_min(torch.finfo(A.dtype).tiny)[..., None, None]


def norms_of(A: Tensor, X: Tensor) -> Tensor:
    """Return the norms of the residuals, computed in float64."""
    return matrix_norm(residual(A.double(), X.double()))


def fixed(*coefficients):
    """Return the rule that takes the same coefficients in every step."""

    def choose(step, R, problem):
        return problem.coordinates_of(torch.tensor(coefficients, dtype=R.dtype))

    return choose


def assert_equal(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=0, atol=0, equal_nan=True)
