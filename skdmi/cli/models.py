"""Models on disk, as commands see them: which there are, what they take, and the one that fits."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import click

import skdmi
from skdmi.persistence import find_model, load_model, pretrained_names, read_card, shipped_directory, trained_sizes


@dataclass(frozen=True)
class ModelCard:
    """What a model says of itself without its weights being read."""

    name: str
    content: dict[str, Any]
    directory: Path

    @classmethod
    def read(cls, name: str, directory: Path | None = None) -> Self:
        """Read the card of a shipped model or of a model directory, under its name or another."""
        directory = directory or find_model(name)
        content = read_card(directory)
        try:
            _ = content["class"], content["parameters"], content["fitted"]["_architecture"], content["versions"]
        except (KeyError, TypeError):
            raise ValueError(f"{name} is not a model of skdmi: its config.json lacks entries. Save it again.") from None
        return cls(name, content, directory)

    @property
    def untrained(self) -> bool:
        """Whether its weights are the first; cards of 0.1.0 do not say it, but the weights of a polynomial network."""
        fitted = self.content["fitted"]
        if fitted.get("best_epoch_") is not None:
            return bool(fitted["best_epoch_"] == 0)
        if fitted["_architecture"]["block"] != "polynomial":
            return False
        _, weights = load_model(self.directory)
        return not any(values.any() for name, values in weights.items() if ".write." in name)

    @property
    def texts(self) -> dict[str, str]:
        """Its size, its network, where its training matrices came from, and whether it is trained, in words."""
        fitted = self.content["fitted"]
        m = fitted.get("matrix_size_")
        network = "{block}, depth {depth}, width {width}".format(**fitted["_architecture"])
        usual = "transpose"
        start = fitted["_architecture"].get("start", usual)
        source = fitted["distribution_"]
        source = repr(skdmi.distributions.from_dict(source)) if source else "a function"
        return {
            "matrices": f"{m} x {m}" if m else "any size",
            "network": network if start == usual else f"{network}, start {start}",
            "source": source,
            "training": "untrained" if self.untrained else f"trained on {source}",
        }


def shipped_cards() -> list[ModelCard]:
    """Return the cards of the models that come with skdmi."""
    return [ModelCard.read(name, shipped_directory(name)) for name in pretrained_names()]


def default_model(matrix_size: int) -> Path:
    """Return the directory of the shipped model that takes matrices of a size, if there is one.

    Of those whose card says ``"chosen_by_size": true`` it is the one trained for the fewest sizes, that among them, or
    else for the most.
    """
    candidates = []
    for card in shipped_cards():
        fitted = card.content["fitted"]
        if card.content.get("chosen_by_size", False) and fitted.get("matrix_size_") in (matrix_size, None):
            low, high = trained_sizes(fitted["_architecture"])
            fits = low <= matrix_size <= high
            candidates.append((not fits, high - low if fits else low - high, card.name))
    if candidates:
        return shipped_directory(min(candidates)[-1])
    raise click.ClickException(
        f"No shipped model takes {matrix_size} x {matrix_size} matrices; skdmi info lists what there is. Name a model "
        f"directory with --model; skdmi train makes one."
    )
