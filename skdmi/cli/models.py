"""Models on disk, as commands see them: which there are, what they take, and the one that fits."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import click

import skdmi
from skdmi.persistence import pretrained_names, read_card, shipped_directory

__all__ = ["ModelCard", "default_model", "shipped_cards"]


@dataclass(frozen=True)
class ModelCard:
    """What a model says of itself without its weights being read."""

    name: str
    content: dict[str, Any]

    @classmethod
    def read(cls, name: str, directory: Path | None = None) -> Self:
        """Read the card of a shipped model or of a model directory, under its name or another."""
        content = read_card(directory or name)
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
        start = self.architecture.get("start", "transpose")
        text = "{block}, depth {depth}, width {width}".format(**self.architecture)
        return text if start == "transpose" else f"{text}, start {start}"

    @property
    def distribution_text(self) -> str:
        """Where its training matrices came from, in words."""
        description = self.content["fitted"]["distribution_"]
        return repr(skdmi.distributions.from_dict(description)) if description else "a function"


def shipped_cards() -> list[ModelCard]:
    """Return the cards of the models that come with skdmi."""
    return [ModelCard.read(name, shipped_directory(name)) for name in pretrained_names()]


def default_model(matrix_size: int) -> Path:
    """Return the directory of the shipped model for a size, if it takes matrices of that size itself."""
    from skdmi.api import choose_model  # imports torch

    cards = {card.name: card for card in shipped_cards()}
    name, _ = choose_model(matrix_size)
    if name is not None and cards[name].matrix_size in (matrix_size, None):
        return shipped_directory(name)
    shipped = ", ".join(f"{card.name} ({card.size_text})" for card in cards.values()) or "none"
    raise click.ClickException(
        f"No shipped model takes {matrix_size} x {matrix_size} matrices (shipped: {shipped}). Name a model directory "
        f"with --model; skdmi train makes one."
    )
