"""Models as tests want them; on disk taken apart and put together, as of today, as of 0.1.0, and as nobody should."""

import json
import struct
from pathlib import Path

import numpy as np
from safetensors.numpy import save, save_file

from skdmi import NeuralMatrixInverter
from skdmi.persistence import WEIGHTS, member_name, read_file

GOLDEN = Path(__file__).parent / "golden"


def untrained(matrix_size, depth=3):
    """A fitted network of use at once, the untrained iteration; of a tuple of sizes one that takes any."""
    return NeuralMatrixInverter(
        depth, matrix_size=matrix_size, max_epochs=0, batches_per_epoch=1, batch_size=64, random_state=0
    ).fit()


def file_of(path):
    """Return the file of a model, given it or its directory."""
    return path / WEIGHTS if path.is_dir() else path


def card_of(path):
    """Return the card of a model of today."""
    return read_file(file_of(path))[0]


def write_unchecked(path, card, weights):
    """Write the file of a model of today, whatever it says."""
    path.write_bytes(save(weights, {"format": "skdmi", "version": "2", "card": json.dumps(card)}))


def change(path, card=None, weights=None):
    """Let functions change card and weights of a model of today, in place or by returning others."""
    old_card, old_weights = read_file(file_of(path))
    new_card = (card and card(old_card)) or old_card
    new_weights = (weights and weights(old_weights)) or old_weights
    write_unchecked(file_of(path), new_card, new_weights)


def take_apart(path):
    """Return header and data of a safetensors file."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def put_together(path, header, data, length=None):
    """Write a safetensors file of a header, an object or bytes, and data, whatever they are."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)


def write_as_0_1_0(directory, card, weights):
    """Write a card and weights of today as 0.1.0 wrote them."""
    directory.mkdir(parents=True, exist_ok=True)
    if "members" in card:
        n_members = len(card["members"])
        for i, member in enumerate(card["members"]):
            start = f"{member_name(i)}."
            own = {name.removeprefix(start): array for name, array in weights.items() if name.startswith(start)}
            write_as_0_1_0(directory / member_name(i), member, own)
        card = {name: value for name, value in card.items() if name != "members"}
        card["n_estimators"] = n_members
    else:
        save_file({name: np.asarray(array) for name, array in weights.items()}, directory / WEIGHTS)
    (directory / "config.json").write_text(json.dumps(card, indent=1) + "\n")
