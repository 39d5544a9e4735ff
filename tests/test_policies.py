"""Policies take masks of numpy and of torch, and say the same of both."""

import warnings

import numpy as np
import pytest
import torch

from skdmi.estimators.policies import (
    SINGULAR,
    UNCERTIFIED,
    float64_hint,
    refuse_uncertified,
    settle_missing,
    warn_inaccurate,
    warn_singular,
)
from skdmi.exceptions import (
    InaccurateInverseWarning,
    SingularMatrixError,
    SingularMatrixWarning,
    UncertifiedError,
    name_indices,
)

masks = pytest.mark.parametrize("mask", [np.array, torch.tensor, list], ids=["numpy", "torch", "list"])
CHOSEN = [False, True, False, True]
NONE = [False, False]


@masks
def test_missing_inverses_are_settled_as_the_policy_asks(mask):
    with pytest.raises(SingularMatrixError, match=f"^2 of 4 matrices {SINGULAR}, at index 6, 8. .* Hint$"):
        settle_missing(mask(CHOSEN), "raise", 5, hint=" Hint")
    with pytest.warns(
        SingularMatrixWarning, match=f"^2 of 4 matrices {UNCERTIFIED}, at index 1, 3. .* Hint$"
    ) as caught:
        assert not settle_missing(mask(CHOSEN), "warn", reason=UNCERTIFIED, hint=" Hint")
    assert [warning.filename for warning in caught] == [__file__]
    assert settle_missing(mask(CHOSEN), "pinv") is True


@masks
@pytest.mark.parametrize("policy", ["warn", "raise", "pinv"])
def test_nothing_is_said_where_nothing_is_missing(mask, policy):
    assert settle_missing(mask(NONE), policy) is False
    warn_singular(mask(NONE), 0, "Advice.")
    warn_inaccurate(mask(NONE), np.dtype("float32"), 0, "are")
    refuse_uncertified(mask(NONE))


@masks
def test_what_has_no_certificate_is_refused(mask):
    with pytest.raises(UncertifiedError, match=f"^2 of 4 inverses {UNCERTIFIED}, at index 2, 4. uncertified='exact' "):
        refuse_uncertified(mask(CHOSEN), 1)


@masks
@pytest.mark.parametrize("library", [np, torch])
def test_float64_is_advised_where_it_helps(mask, library):
    single, double = np.zeros(1, np.float32).dtype, np.zeros(1).dtype
    if library is torch:
        single, double = torch.float32, torch.float64
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_inaccurate(mask(CHOSEN), single, 0, "are certified, but")
        warn_inaccurate(mask(CHOSEN), double, 0, "are certified, but")
    with_advice, without = (str(warning.message) for warning in caught)
    assert [warning.category for warning in caught] == [InaccurateInverseWarning] * 2
    assert "2 of 4 inverses are certified, but their relative error may exceed 0.01, at index 1, 3." in without
    assert with_advice.replace(" Try double precision, which holds the same numbers.", "") == without != with_advice
    assert float64_hint(single, 2) == " In double precision, 2 of them would have an inverse: try that."
    assert float64_hint(single, 0) == float64_hint(double, 2) == ""


@masks
def test_the_first_ten_indices_are_named(mask):
    first = "3, 4, 5, 6, 7, 8, 9, 10, 11, 12"
    assert name_indices(mask(list(range(10))), 3) == first
    assert name_indices(mask(list(range(11))), 3) == f"{first}, ..."


def test_indices_may_be_arrays_of_one_number():
    assert name_indices(torch.tensor(CHOSEN).nonzero()) == name_indices(np.argwhere(CHOSEN)) == "1, 3"
