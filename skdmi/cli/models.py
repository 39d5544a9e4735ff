"""Models on disk, as commands see them: which there are, what they say, and the one where none is named."""

import os
from typing import TYPE_CHECKING, Any

import click

import skdmi
from skdmi.persistence import pretrained_names, shipped_directory

if TYPE_CHECKING:
    from skdmi.estimators.description import Described

DEFAULT_DEPTH = 4


def describe_model(name: str, path: str | os.PathLike[str] | None = None) -> list["Described"]:
    """Return what a model says of itself, under its name or another: one network, or those of an ensemble."""
    from skdmi.estimators.description import described  # imports torch
    from skdmi.estimators.stored import read_checked

    path = name if path is None else path
    networks = described(name, read_checked(path, weights=False))
    return described(name, read_checked(path)) if any(one.needs_weights for one in networks) else networks


def describe_shipped() -> list["Described"]:
    """Return what the models that come with skdmi say of themselves."""
    return [one for name in pretrained_names() for one in describe_model(name, shipped_directory(name))]


def default_network() -> Any:
    """Return the network that inverts where none is named, an untrained one, and say so on stderr."""
    click.echo(f"Network: untrained, of depth {DEFAULT_DEPTH}; --model names another.", err=True)
    # Untrained it is the same for all sizes: one that takes any is fitted soonest for the smallest.
    return skdmi.NeuralMatrixInverter(DEFAULT_DEPTH, matrix_size=(2,), max_epochs=0, random_state=0).fit()
