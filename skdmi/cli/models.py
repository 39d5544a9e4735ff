"""Models on disk, as commands see them: which there are, what they take, and the one that fits."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import click

import skdmi
from skdmi.persistence import pretrained_names, read_card, shipped_directory


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
            raise ValueError(f"{name} is not a model of skdmi: its config.json lacks entries. Save it again.") from None
        return cls(name, content)

    @property
    def texts(self) -> dict[str, str]:
        """Its size, its network, and where its training matrices came from, in words."""
        fitted = self.content["fitted"]
        m = fitted.get("matrix_size_")
        network = "{block}, depth {depth}, width {width}".format(**fitted["_architecture"])
        usual = skdmi.NeuralMatrixInverter().start
        start = fitted["_architecture"].get("start", usual)
        source = fitted["distribution_"]
        return {
            "matrices": f"{m} x {m}" if m else "any size",
            "network": network if start == usual else f"{network}, start {start}",
            "trained on": repr(skdmi.distributions.from_dict(source)) if source else "a function",
        }


def shipped_cards() -> list[ModelCard]:
    """Return the cards of the models that come with skdmi."""
    return [ModelCard.read(name, shipped_directory(name)) for name in pretrained_names()]


def default_model(matrix_size: int) -> Path:
    """Return the directory of the shipped model for a size, if it takes matrices of that size itself."""
    from skdmi.api import choose_model  # imports torch

    name, _ = choose_model(matrix_size)
    if name is not None and read_card(shipped_directory(name))["fitted"].get("matrix_size_") in (matrix_size, None):
        return shipped_directory(name)
    raise click.ClickException(
        f"No shipped model takes {matrix_size} x {matrix_size} matrices; skdmi info lists what there is. Name a model "
        f"directory with --model; skdmi train makes one."
    )
