"""Words that a type checker lets through are those that the code takes, and no others."""

import inspect
from typing import get_args

import pytest

from skdmi import typing
from skdmi.estimators.certification import STRUCTURES
from skdmi.estimators.neural import NeuralMatrixInverter
from skdmi.estimators.policies import SINGULAR_POLICIES, UNCERTIFIED_POLICIES
from skdmi.export.finish import UNCERTIFIED
from skdmi.iteration import STARTS
from skdmi.modules import BLOCKS, NORMALIZATIONS, PRECISIONS
from skdmi.training import OPTIMIZERS


@pytest.mark.parametrize(
    ("declared", "taken"),
    [
        (typing.BlockName, BLOCKS),
        (typing.ExportPolicy, UNCERTIFIED),
        (typing.Normalization, NORMALIZATIONS),
        (typing.Precision, PRECISIONS),
        (typing.SingularPolicy, SINGULAR_POLICIES),
        (typing.StartName, STARTS),
        (typing.Structure, [structure for structure in STRUCTURES if structure]),
        (typing.UncertifiedPolicy, UNCERTIFIED_POLICIES),
        (inspect.signature(NeuralMatrixInverter).parameters["optimizer"].annotation, OPTIMIZERS),
    ],
)
def test_declared_words_are_those_that_are_taken(declared, taken):
    assert set(get_args(declared)) == set(taken)
