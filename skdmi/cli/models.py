"""Models on disk, as commands see them: which there are, what they take, and the one where none is named."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import click

import skdmi
from skdmi.persistence import find_model, load_model, network_in_words, pretrained_names, read_card, shipped_directory

DEFAULT_DEPTH = 4


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
    def state(self) -> str:
        """Whether it is untrained, trained, or fitted: of the first weights, but from a start of its family."""
        if not self.untrained:
            return "trained"
        return "fitted" if self.content["fitted"]["_architecture"].get("start") == "family" else "untrained"

    @property
    def texts(self) -> dict[str, str]:
        """Its size, its network, where its training matrices came from, and whether it is trained, in words."""
        fitted = self.content["fitted"]
        m = fitted.get("matrix_size_")
        source = fitted["distribution_"]
        source = repr(skdmi.distributions.from_dict(source)) if source else "a function"
        return {
            "matrices": f"{m} x {m}" if m else "any size",
            "network": network_in_words(fitted["_architecture"]),
            "source": source,
            "training": {
                "untrained": "untrained",
                "fitted": f"fitted to members of {source}",
                "trained": f"trained on {source}",
            }[self.state],
        }


def shipped_cards() -> list[ModelCard]:
    """Return the cards of the models that come with skdmi."""
    return [ModelCard.read(name, shipped_directory(name)) for name in pretrained_names()]


def default_network() -> Any:
    """Return the network that inverts where none is named, an untrained one, and say so on stderr."""
    click.echo(f"Network: untrained, of depth {DEFAULT_DEPTH}; --model names another.", err=True)
    # Untrained it is the same for all sizes: one that takes any is fitted soonest for the smallest.
    return skdmi.NeuralMatrixInverter(DEFAULT_DEPTH, matrix_size=(2,), max_epochs=0, random_state=0).fit()
