"""Laws of what a stack may be: what is refused, and that the refusal names shape, size or index, and what to try."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from skdmi.validation import check_layout, check_square, refuse_empty, refuse_non_finite, side_of
from tests.tensors import property_test

arrays_and_tensors = pytest.mark.parametrize("make", [np.asarray, torch.as_tensor], ids=["array", "tensor"])


def refusal(function, *args, **keywords):
    """Return the message with which arguments are refused."""
    with pytest.raises(ValueError, match=r"\.$") as refused:
        function(*args, **keywords)
    return str(refused.value)


# Square matrices


@arrays_and_tensors
@pytest.mark.parametrize("shape", [(1, 1), (4, 4), (7, 3, 3), (2, 0, 5, 5), (5, 0, 0)])
def test_square_matrices_may_have_any_leading_axes(make, shape):
    check_square("A", make(np.zeros(shape)))


@pytest.mark.parametrize(
    ("shape", "advice"),
    [
        ((), "A.reshape(1, 1)"),
        ((3,), "A.reshape(1, 1)"),
        ((2, 3), "pinv"),
        ((3, 2), "pinv"),
        ((4, 4, 5), "pinv"),
        ((3, 1), "pinv"),
    ],
)
def test_what_is_not_square_is_refused_by_its_name_and_shape(shape, advice):
    message = refusal(check_square, "Z", np.zeros(shape))
    assert message.startswith(f"Expected Z of square matrices, shape (..., m, m), got shape {shape}.")
    assert advice in message
    assert "nothing to invert" not in message


def test_an_empty_matrix_is_refused_where_it_is_to_be_inverted():
    empty = np.zeros((3, 0, 0))
    check_square("A", empty)
    message = refusal(check_square, "A", empty, nonempty=True)
    assert "got shape (3, 0, 0). An empty matrix has nothing to invert." in message
    assert "pinv" in refusal(check_square, "A", np.zeros((3, 0, 2)), nonempty=True)
    check_square("A", np.zeros((0, 1, 1)), nonempty=True)


# Layouts


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((10, 3, 3), 3),
        ((10, 3, 3), None),
        ((1, 1, 1), None),
        ((10, 9), 3),
        ((10, 9), None),
        ((9, 9), 3),
        ((1, 1), 1),
        ((1, 1), None),
        ((5, 1), None),
        ((1, 4), None),
        ((5, 0), None),
        ((5, 0), 3),
        ([2, 3, 3], 3),
    ],
)
def test_stacks_and_flat_stacks_are_taken(shape, size):
    check_layout(shape, size, "Inverter")


@pytest.mark.parametrize(
    ("shape", "size", "parts"),
    [
        ((), None, ["0 axes: ()", "X.reshape(1, -1)"]),
        ((9,), 3, ["1 axes: (9,)", "X.reshape(1, -1)"]),
        ((2, 2, 3, 3), 3, ["4 axes: (2, 2, 3, 3)", "X.reshape(-1, m, m)"]),
        ((2, 3, 4), None, ["shape (2, 3, 4)", "pinv"]),
        ((2, 4, 3), None, ["shape (2, 4, 3)", "pinv"]),
        ((2, 0, 3), None, ["shape (2, 0, 3)", "pinv"]),
        ((2, 0, 0), None, ["shape (2, 0, 0)", "An empty matrix has nothing to invert."]),
        ((0, 3, 3), None, ["X is empty: shape (0, 3, 3)", "skdmi.inv"]),
        ((0, 9), 3, ["X is empty: shape (0, 9)"]),
        ((2, 4, 4), 3, ["X holds 4 x 4 matrices, but Inverter is fitted for 3 x 3", "BlockInverter"]),
        ((2, 10), 3, ["X has 10 features, but Inverter is expecting 9 features as input."]),
        ((3, 4), 3, ["X has 4 features, but Inverter is expecting 9 features as input."]),
        ((4, 4), 3, ["X has 4 features, but Inverter is expecting 9 features as input."]),
        ((3, 3), 3, ["X has 3 features, but Inverter is expecting 9 features", "one 3 x 3 matrix pass X[None]"]),
        ((2, 2), 2, ["X has 2 features, but Inverter is expecting 4 features", "one 2 x 2 matrix pass X[None]"]),
        ((4, 3), 3, ["X has 3 features, but Inverter is expecting 9 features as input."]),
        ((9, 9), None, ["A 9 x 9 array is ambiguous", "9 flat matrices of 3 x 3", "X.reshape(-1, 3, 3)"]),
        ((4, 4), None, ["A 4 x 4 array is ambiguous", "4 flat matrices of 2 x 2", "X[None]"]),
        ((3, 3), None, ["got 3 columns", "X[None]"]),
        ((5, 8), None, ["got 8 columns", "X[None]"]),
    ],
)
def test_what_is_no_stack_is_refused_with_what_to_try(shape, size, parts):
    message = refusal(check_layout, shape, size, "Inverter")
    assert all(part in message for part in parts)
    assert ("one matrix a row. For one" in message) == (shape == (size, size))


def test_a_stack_becomes_no_table_but_a_flat_one_may():
    check_layout((10, 9), 3, "Inverter", table="pandas")
    message = refusal(check_layout, (10, 3, 3), 3, "Inverter", table="pandas")
    assert "A stack of shape (10, 3, 3) cannot become a pandas table" in message
    assert "X.reshape(10, 9)" in message


@given(m=st.integers(0, 2**40))
@property_test
def test_sides_are_those_of_squares_alone(m):
    assert side_of(m * m) == m
    if m > 0:
        assert f"got {m * m + 1} columns" in refusal(side_of, m * m + 1)


# Numbers


def test_a_stack_without_a_matrix_is_refused_by_its_shape():
    refuse_empty((1, 3, 3))
    assert "shape (0, 3, 3)" in refusal(refuse_empty, (0, 3, 3))
    assert "shape (2, 0)" in refusal(refuse_empty, [2, 0])


@arrays_and_tensors
@pytest.mark.filterwarnings("error")
def test_finite_numbers_are_taken_though_their_sum_is_not(make):
    largest = np.finfo(np.float64).max
    refuse_non_finite(make(np.full((3, 2, 2), largest)))
    refuse_non_finite(make(np.array([[largest, largest, -largest, -largest]])))
    refuse_non_finite(make(np.zeros((0, 2, 2))))


@arrays_and_tensors
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("start", [0, 7])
@pytest.mark.parametrize(
    ("values", "kind", "n_bad", "first"),
    [
        ({(1, 0, 1): np.nan}, "NaN", 1, 1),
        ({(2, 1, 1): np.inf}, "infinity", 1, 2),
        ({(3, 0, 0): -np.inf, (1, 1, 0): np.inf}, "infinity", 2, 1),
        ({(3, 0, 0): np.nan, (0, 1, 0): np.inf, (0, 0, 0): np.nan}, "NaN", 2, 0),
    ],
)
def test_the_first_matrix_that_is_not_finite_is_named(make, start, values, kind, n_bad, first):
    stack = np.ones((4, 2, 2))
    for where, value in values.items():
        stack[where] = value
    message = refusal(refuse_non_finite, make(stack), start)
    said = f"X contains {kind} (NaN or inf) in {n_bad} of 4 matrices, the first at index {first + start}."
    assert re.match(re.escape(said), message)
