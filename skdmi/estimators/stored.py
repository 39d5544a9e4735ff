"""Models as they are stored: the card held against its table, the weights against the network of the card."""

import os
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from skdmi.estimators.card import architecture_from_config
from skdmi.estimators.schema import MAX_DEPTH, check_card
from skdmi.modules import InverterResNet
from skdmi.persistence import NEWEST, Hub, Model, member_name, read_model, trained_sizes
from skdmi.persistence.files import Entry

MAX_DEPTHS = MAX_DEPTH
"""Of all different networks of an ensemble together, since each is built to hold the weights against."""
PLACES = "core.start.places"
"""The weights that are indices: into the entries of a matrix."""


def read_checked(name_or_path: str | os.PathLike[str], *, weights: bool = True, hub: Hub = NEWEST) -> Model:
    """Read a model of which every field is sound, and its weights, if they are read, those of its networks.

    Raises
    ------
    ConnectionError
        If it is of a hub that is not reached.
    FileNotFoundError
        If there is no such model.
    ValueError
        If it is damaged; nothing was made of it, and no weights were read before the card was found sound.
    """
    model = read_model(name_or_path, check_stored, weights=weights, hub=hub)
    check_weights(model)
    return model


def check_stored(model: Model) -> None:
    """Raise ValueError unless a card is sound and names, dtypes and shapes are those of the weights of its networks."""
    path, entries = model.path, model.entries
    try:
        check_card(model.card)
        expected = expected_entries(model)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    for name, entry in expected.items():
        if name not in entries:
            raise ValueError(f"{path} lacks the weights {name!r}. Save the model again.")
        if entries[name] != entry:
            raise ValueError(f"{path}: the weights {name!r} are {_in_words(entries[name])}, not {_in_words(entry)}.")
    if len(entries) > len(expected):
        surplus = min(entries.keys() - expected.keys())
        raise ValueError(f"{path} holds {surplus[:80]!r}, which is not part of its network. Save the model again.")


def check_weights(model: Model) -> None:
    """Raise ValueError unless weights are finite, and indices within the matrices."""
    for name, array in model.weights.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError(f"{model.path}: the weights {name!r} are not finite. Save the model again.")
    for start, card in networks(model.card):
        places = model.weights.get(start + PLACES)
        if places is not None and places.size:
            smallest, _ = trained_sizes(card["fitted"]["_architecture"])
            if places.min() < 0 or places.max() >= smallest**2:
                raise ValueError(f"{model.path}: the weights {start + PLACES!r} are no places in a matrix.")


def expected_entries(model: Model) -> dict[str, Entry]:
    """Return what weights the networks of a checked card have; no memory is taken for them."""
    expected: dict[str, Entry] = {}
    depths: dict[tuple[Any, ...], int] = {}
    for start, card in networks(model.card):
        architecture = architecture_from_config(card)
        key = tuple((name, _hashable(value)) for name, value in sorted(architecture.items()))
        depths[key] = architecture["depth"]
        n_blocks = sum(depths.values())
        if n_blocks > len(model.entries):  # Every block has several.
            raise ValueError(f"The networks have {n_blocks} blocks, but the file lists {len(model.entries)} weights.")
        if n_blocks > MAX_DEPTHS:
            raise ValueError(f"The networks have more than {MAX_DEPTHS} blocks. Save them one by one.")
        expected |= {start + name: entry for name, entry in _entries_of(key).items()}
    return expected


def networks(card: dict[str, Any], start: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what the weights of every network of a card begin with, and the card of that network."""
    if "members" not in card:
        yield start, card
    for i, member in enumerate(card.get("members", [])):
        yield from networks(member, f"{start}{member_name(i)}.")


def skeleton(architecture: dict[str, Any]) -> InverterResNet:
    """Return a network without memory for its weights.

    Raises
    ------
    ValueError
        If its arguments do not go together.
    """
    with torch.device("meta"):
        return InverterResNet(**architecture)


@lru_cache(maxsize=16)
def _entries_of(arguments: tuple[tuple[str, Any], ...]) -> dict[str, Entry]:
    state = skeleton(dict(arguments)).state_dict()
    dtypes = {torch.float32: "<f4", torch.float64: "<f8", torch.int64: "<i8"}
    return {name: Entry(np.dtype(dtypes[value.dtype]), tuple(value.shape)) for name, value in state.items()}


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _in_words(entry: Entry) -> str:
    return f"{entry.dtype.name} of shape {entry.shape}"
