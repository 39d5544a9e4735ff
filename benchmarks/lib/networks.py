"""The networks of the accuracy tables: those shipped that are for no family, and default ones trained on the spot."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from skdmi import NeuralMatrixInverter, load_pretrained
from skdmi.persistence import pretrained_names

TRAINED = ((3, 1), (3, 3), (3, 4), (5, 3), (5, 4), (8, 3), (8, 4), (16, 3), (16, 4))
"""Size and depth."""


@dataclass(frozen=True)
class Network:
    """One network, or the same one trained from several seeds."""

    name: str
    members: tuple[NeuralMatrixInverter, ...]
    is_shipped: bool

    @property
    def first(self) -> NeuralMatrixInverter:
        return self.members[0]

    @property
    def start(self) -> str:
        """What it starts from; "" where it reads entries."""
        return self.first.start_ if self.first.block == "polynomial" else ""

    @property
    def sizes(self) -> tuple[int, int]:
        """The smallest and the largest m that it was trained for."""
        sizes = self.first.matrix_size
        return (min(sizes), max(sizes)) if isinstance(sizes, Sequence) else (sizes, sizes)

    @property
    def is_special(self) -> bool:
        """Whether it was trained for one m."""
        return self.sizes[0] == self.sizes[1]

    @property
    def seconds(self) -> float:
        return sum(row["seconds"] for row in self.first.history_)

    @property
    def n_parameters(self) -> int:
        return sum(p.numel() for p in self.first.module_.parameters())

    def products(self, m: int) -> int | None:
        return self.first.module_.n_products(m) if self.first.block == "polynomial" else None

    def inverses(self, A: Tensor) -> list[Tensor]:
        """Return the inverses of A by each member."""
        with torch.no_grad():
            return [member.invert(A) for member in self.members]


def shipped_networks() -> list[Network]:
    shipped = {name: load_pretrained(name).estimator for name in pretrained_names()}
    return [Network(name, (network,), True) for name, network in shipped.items() if network.start_ != "family"]


def trained_networks(
    n_seeds: int, directory: Path | None = None, settings: Sequence[tuple[int, int]] = TRAINED
) -> list[Network]:
    """Train ``NeuralMatrixInverter(depth, matrix_size=m)``, or load what the directory holds; whole seeds first."""
    trained = {(*setting, seed): _train(*setting, seed, directory) for seed in range(n_seeds) for setting in settings}
    return [
        Network(f"default, depth {depth}", tuple(trained[m, depth, seed] for seed in range(n_seeds)), False)
        for m, depth in settings
        if n_seeds
    ]


def _train(m: int, depth: int, seed: int, directory: Path | None) -> NeuralMatrixInverter:
    saved = directory and directory / f"{m}x{m}-depth-{depth}-seed-{seed}"
    if saved and saved.exists():
        return NeuralMatrixInverter.from_pretrained(saved)
    network = NeuralMatrixInverter(depth, matrix_size=m, random_state=seed).fit()
    if saved:
        directory.mkdir(parents=True, exist_ok=True)
        network.save_pretrained(saved)
    return network
