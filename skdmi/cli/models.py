"""Models on disk, as commands see them: which there are, what they take, and the one that fits."""

from dataclasses import dataclass
from typing import Any, Self

import click

import skdmi
from skdmi.persistence import pretrained_names, read_card

__all__ = ["ModelCard", "default_model"]


@dataclass(frozen=True)
class ModelCard:
    """What a model says of itself without its weights being read."""

    name: str
    content: dict[str, Any]

    @classmethod
    def read(cls, name: str) -> Self:
        """Read the card of a shipped model or of a model directory."""
        content = read_card(name)
        try:
            _ = content["class"], content["parameters"], content["fitted"]["_architecture"], content["versions"]
        except (KeyError, TypeError):
            raise ValueError(f"{name} is not a model of skdmi: its config.json lacks entries; save it again.") from None
        return cls(name, content)

    @property
    def architecture(self) -> dict[str, Any]:
        """The arguments of its network."""
        architecture: dict[str, Any] = self.content["fitted"]["_architecture"]
        return architecture

    @property
    def matrix_size(self) -> int | None:
        """The side of the matrices that it takes, None for any."""
        size: int | None = self.content["fitted"].get("matrix_size_")
        return size

    @property
    def size_text(self) -> str:
        """Its size in words."""
        m = self.matrix_size
        return f"{m} x {m}" if m else "any size"

    @property
    def architecture_text(self) -> str:
        """Its network in words."""
        return "{block}, depth {depth}, width {width}".format(**self.architecture)

    @property
    def distribution_text(self) -> str:
        """Where its training matrices came from, in words."""
        description = self.content["fitted"]["distribution_"]
        return repr(skdmi.distributions.from_dict(description)) if description else "a function"


def default_model(matrix_size: int) -> str:
    """Return the shipped model for a size: one trained for it before one that takes any."""
    cards = [ModelCard.read(name) for name in pretrained_names()]
    for size in (matrix_size, None):
        for card in cards:
            if card.matrix_size == size:
                return card.name
    shipped = ", ".join(f"{card.name} ({card.size_text})" for card in cards) or "none"
    raise click.ClickException(
        f"No shipped model takes {matrix_size} x {matrix_size} matrices (shipped: {shipped}). Name a model directory "
        f"with --model; skdmi train makes one."
    )
