"""Laws of `skdmi.linalg`: what is exact is exact, what is singular is found, what is not square is refused."""

import math
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from skdmi import iteration, linalg
from skdmi.iteration import minimal_residual, newton_schulz, refine
from skdmi.linalg import (
    block_inverse,
    certify,
    characteristic_inverse,
    complex_to_real,
    exact_inverse,
    real_to_complex,
    residual,
    with_exact_gradient,
)
from tests.tensors import DTYPES, REGULAR, assert_equal, property_test, seeds, stack_of


def is_missing(X: Tensor) -> Tensor:
    """Return which members are NaN throughout, and check that no other has a NaN at all."""
    nan = X.isnan().flatten(-2)
    torch.testing.assert_close(nan.all(dim=-1), nan.any(dim=-1))
    return nan.all(dim=-1)


# Exact inverses


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", REGULAR)
def test_exact_inverse_inverts_in_the_dtype_of_its_argument(kind, dtype):
    A = stack_of(kind, m=4, dtype=dtype)
    X = exact_inverse(A)
    assert X.dtype == dtype
    expected = torch.linalg.inv(A.double()).to(dtype)  # not of the equilibrated matrices, so rounding differs
    tolerance = max(1e-9, torch.finfo(dtype).eps)
    torch.testing.assert_close(X, expected, rtol=tolerance, atol=tolerance * expected.abs().max().item())


@property_test
@given(seed=seeds, m=st.integers(2, 8), rank_loss=st.integers(1, 2), singular=st.lists(st.booleans(), min_size=1))
def test_missing_are_the_singular_members_and_no_others(seed, m, rank_loss, singular):
    singular = torch.tensor(singular)
    good = stack_of("condition", len(singular), m, condition=1e10, seed=seed)
    bad = stack_of("singular", len(singular), m, rank=max(m - rank_loss, 0), seed=seed)
    X = exact_inverse(torch.where(singular[:, None, None], bad, good))
    assert_equal(is_missing(X), singular)
    assert_equal(X[~singular], exact_inverse(good)[~singular])


@pytest.mark.parametrize("m", [3, 4])
def test_no_rounding_makes_an_integer_singular_matrix_pass(m):
    # About one in a thousand of these has an inverse from LAPACK whose rounded residual norm is below 1.
    for seed in range(4):
        assert is_missing(exact_inverse(stack_of("singular", 5000, m, seed=seed))).all()


@pytest.mark.parametrize(
    "matrix",
    [
        [[0.0]],
        [[1.0, 2.0], [2.0, 4.0]],
        [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]],
        [[0.1, 0.1], [0.1, 0.1]],
        [[1e200, 1e200], [1e-200, 1e-200]],
    ],
)
def test_textbook_singular_matrices_are_missing(matrix):
    assert is_missing(exact_inverse(torch.tensor(matrix, dtype=torch.float64))).all()


def test_bad_scaling_is_not_singularity():
    diagonal = torch.tensor([[1.0, 0.0], [0.0, 1e-200]], dtype=torch.float64)
    assert_equal(exact_inverse(diagonal), torch.tensor([[1.0, 0.0], [0.0, 1 / 1e-200]], dtype=torch.float64))
    rows_scaled = torch.tensor([[1.0, 0.5], [0.5e-200, 1e-200]], dtype=torch.float64)
    expected = torch.tensor([[4.0, -2e200], [-2.0, 4e200]], dtype=torch.float64) / 3
    torch.testing.assert_close(exact_inverse(rows_scaled), expected)


@property_test
@given(seed=seeds, powers=st.lists(st.integers(-400, 400), min_size=6, max_size=6))
def test_scaling_rows_and_columns_scales_the_inverse(seed, powers):
    A = stack_of("well", 1, seed=seed)
    rows, columns = (2.0 ** torch.tensor(half, dtype=torch.float64) for half in (powers[:3], powers[3:]))
    scaled_back = columns[:, None] * exact_inverse(rows[:, None] * A * columns) * rows
    torch.testing.assert_close(scaled_back, exact_inverse(A), rtol=1e-9, atol=1e-12)


def test_an_inverse_beyond_the_range_is_missing():
    A = torch.tensor([[1.0, 0.0], [0.0, 1e-40]])
    assert is_missing(exact_inverse(A)).all()
    assert not is_missing(exact_inverse(A.double())).any()
    assert is_missing(exact_inverse(torch.tensor([[1e-320]], dtype=torch.float64))).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_gradient_of_the_exact_inverse(dtype):
    A = stack_of("well", dtype=dtype).requires_grad_()
    G = stack_of("uniform", seed=1, dtype=dtype)
    (gradient,) = torch.autograd.grad(exact_inverse(A), A, G)
    (expected,) = torch.autograd.grad(torch.linalg.inv(A), A, G)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-4 if dtype == torch.float32 else 1e-12)
    X = torch.linalg.inv(A.detach())
    torch.testing.assert_close(gradient, -X.mT @ G @ X.mT, rtol=1e-4, atol=1e-4 if dtype == torch.float32 else 1e-12)


def test_a_singular_member_spoils_no_gradient():
    stack = torch.cat([stack_of("well", 2), stack_of("singular", 2), stack_of("zero", 2)])
    stack[2] = torch.tensor([[1.0, 2.0, 0.0], [2.0, 4.0, 0.0], [0.0, 0.0, 1.0]])
    A = stack.clone().requires_grad_()
    X = exact_inverse(A)
    X[~is_missing(X.detach())].sum().backward()
    good = stack[:2].clone().requires_grad_()
    torch.linalg.inv(good).sum().backward()
    torch.testing.assert_close(A.grad, torch.cat([good.grad, torch.zeros(4, 3, 3, dtype=torch.float64)]))


@pytest.mark.parametrize("shape", [(3, 3), (0, 3, 3), (2, 4, 3, 3)])
def test_any_leading_shape(shape):
    A = stack_of("well", max(1, math.prod(shape[:-2])))[: math.prod(shape[:-2])].reshape(shape)
    for X in (exact_inverse(A), minimal_residual(A, 5), newton_schulz(A, A.mT, 1)):
        assert X.shape == shape
    torch.testing.assert_close(exact_inverse(A), torch.linalg.inv(A))


# What is not square is refused

OF_SQUARES = {
    "block_inverse": lambda A: block_inverse(A, 2, exact_inverse),
    "certify": lambda A: certify(A, A),
    "certify X": lambda A: certify(torch.ones(2, 3, 3), A),
    "characteristic_inverse": characteristic_inverse,
    "complex_to_real": lambda A: complex_to_real(A.to(torch.complex64)),
    "exact_inverse": exact_inverse,
    "minimal_residual": lambda A: minimal_residual(A, 6),
    "newton_schulz": lambda A: newton_schulz(A, A, 0),
    "newton_schulz X": lambda A: newton_schulz(torch.ones(2, 3, 3), A, 1),
    "real_to_complex": real_to_complex,
    "refine": refine,
    "residual": lambda A: residual(A, A),
    "residual X": lambda A: residual(torch.ones(2, 3, 3), A),
    "with_exact_gradient": lambda A: with_exact_gradient(A, torch.ones_like),
}


@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 3, 1), (2, 1, 3), (3,)], ids=str)
@pytest.mark.parametrize("function", OF_SQUARES.values(), ids=OF_SQUARES)
def test_what_is_not_square_is_refused(function, shape):
    advice = r"skdmi\.pinv" if len(shape) > 1 else r"reshape\(1, 1\)"
    message = rf"square matrices, shape \(\.\.\., m, m\), got shape {re.escape(str(shape))}\. .*{advice}"
    with pytest.raises(ValueError, match=message):
        function(torch.rand(shape))


# Names


@pytest.mark.parametrize("module", [linalg, iteration], ids=["linalg", "iteration"])
def test_public_names_are_there_and_named_once(module):
    assert len(set(module.__all__)) == len(module.__all__)
    for name in module.__all__:
        value = getattr(module, name)
        assert not callable(value) or value.__name__ == name


@pytest.mark.parametrize("name", ["Refinement", "deflate", "minimal_residual", "newton_schulz", "refine"])
def test_what_has_moved_is_found_with_a_warning_that_says_where(name):
    with pytest.warns(DeprecationWarning, match=rf"skdmi\.linalg\.{name} is skdmi\.iteration\.{name}") as record:
        assert getattr(linalg, name) is getattr(iteration, name)
    assert [warning.filename for warning in record] == [__file__]
    assert name not in linalg.__all__


@pytest.mark.parametrize("name", ["minimal_residual_start", "iterate", "combine", "deflation", "_hidden", ""])
def test_other_names_are_unknown(name):
    with pytest.raises(AttributeError, match=f"module 'skdmi.linalg' has no attribute '{name}'"):
        getattr(linalg, name)
    assert not hasattr(linalg, name)
