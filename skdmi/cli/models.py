"""The model where none is named, as commands see it."""

from typing import Any

import click

import skdmi

DEFAULT_DEPTH = 4


def default_network() -> Any:
    """Return the network that inverts where none is named, an untrained one, and say so on stderr."""
    click.echo(f"Network: untrained, of depth {DEFAULT_DEPTH}; --model names another.", err=True)
    # Untrained it is the same for all sizes: one that takes any is fitted soonest for the smallest.
    return skdmi.NeuralMatrixInverter(DEFAULT_DEPTH, matrix_size=(2,), max_epochs=0, random_state=0).fit()
