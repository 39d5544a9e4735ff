"""The characteristic inverse: right as far as rounding lets it, in few products, all of them counted."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from skdmi.linalg import characteristic_inverse
from skdmi.linalg.characteristic import characteristic_products
from tests.products import ProductCounter
from tests.tensors import property_test, scaled, seeds, stack_of


@pytest.mark.parametrize("m", range(1, 9))
@property_test
@given(
    seed=seeds,
    kind=st.sampled_from(["uniform", "well", "condition", "spd", "orthogonal", "permutation"]),
    power=st.integers(-2, 2),
)
def test_the_characteristic_inverse_is_the_inverse(m, seed, kind, power):
    A = 2.0**power * scaled(stack_of(kind, 4, m, seed=seed))
    expected = np.linalg.inv(A.numpy())
    errors = np.linalg.norm(characteristic_inverse(A).numpy() - expected, axis=(1, 2))
    magnification = np.linalg.norm(A, ord=2, axis=(1, 2)) ** m / abs(np.linalg.det(A))
    assert (errors <= 2e-14 * m * magnification * np.linalg.norm(expected, axis=(1, 2))).all()


@pytest.mark.parametrize("m", range(1, 25))
def test_the_products_of_the_characteristic_inverse_are_counted_and_few(m):
    A = scaled(stack_of("well", 2, m))
    with ProductCounter(m, 2) as counter:
        characteristic_inverse(A)
    assert counter.n_products == characteristic_products(m) <= 3 * math.sqrt(m)


def test_without_a_determinant_the_characteristic_inverse_is_not_finite():
    A = torch.cat([stack_of("zero", 1), torch.diag(torch.tensor([1.0, 2.0, 0.0])).double()[None], stack_of("well", 1)])
    assert (~characteristic_inverse(A).isfinite()).flatten(1).any(dim=1).tolist() == [True, True, False]
