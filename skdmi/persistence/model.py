"""A model as it is stored, whatever the format."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from skdmi.persistence.files import Entry

WEIGHTS = "model.safetensors"


def member_name(number: int) -> str:
    """Return what the weights of a member of an ensemble begin with."""
    return f"member-{number}"


@dataclass(frozen=True)
class Model:
    """A model as it is stored; an ensemble in one piece: its members' cards in its own, weights named by member."""

    path: Path
    """The file that is named where something is wrong with the card."""
    card: dict[str, Any]
    entries: dict[str, Entry]
    """What the header says of the weights."""
    weights: dict[str, np.ndarray] = field(default_factory=dict)
    """Empty where only the card was asked for."""

    @property
    def is_ensemble(self) -> bool:
        """Whether it has members."""
        return "members" in self.card

    def members(self) -> list["Model"]:
        """Return the members of an ensemble."""
        return [
            Model(
                self.path,
                card,
                _within(f"{member_name(i)}.", self.entries),
                _within(f"{member_name(i)}.", self.weights),
            )
            for i, card in enumerate(self.card["members"])
        ]


Check = Callable[[Model], None]
"""Raises ValueError unless card and entries are sound; called before weights are read."""


def _within(start: str, named: dict[str, Any]) -> dict[str, Any]:
    return {name.removeprefix(start): value for name, value in named.items() if name.startswith(start)}
