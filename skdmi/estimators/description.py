"""What a card says, in words: for ``skdmi info``, and for the README beside a model."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from skdmi.distributions import from_dict
from skdmi.estimators.card import architecture_from_config
from skdmi.estimators.stored import networks, read_checked, skeleton
from skdmi.persistence import Model, network_in_words, trained_sizes
from skdmi.persistence.directories import MARK
from skdmi.training import describe_gain

README = """\
---
{mark}
library_name: skdmi
{license}tags:
- matrix-inversion
- linear-algebra
- scikit-learn
- skdmi
- safetensors
---

# {name}

{what}, trained and saved by skdmi.

{rows}

## Use

```python
from skdmi import RefinedInverter, load_pretrained

network = load_pretrained({quoted})  # {where}
inverter = RefinedInverter(network)  # refines and certifies what the network finds
inverses = inverter.transform(matrices)  # (n_matrices, m, m)
```

## Limits

The answers of the network alone are approximations, and nothing is proved of them: far from the matrices that it was
trained on they may be of no use. `scale`, the Frobenius norm over the root of m, and `condition`, the condition number,
say which these were. `RefinedInverter` proves what it returns, whatever the network found.
"""


@dataclass(frozen=True)
class Described:
    """A network and what its checked card says of it."""

    name: str
    content: dict[str, Any]
    weights: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Needed where `needs_weights` says so."""

    @property
    def needs_weights(self) -> bool:
        """Whether the card alone does not tell what is untrained, as those of 0.1.0."""
        fitted = self.content["fitted"]
        return fitted.get("best_epoch_") is None and fitted["_architecture"]["block"] == "polynomial"

    @property
    def state(self) -> str:
        """Whether it is untrained, trained, or fitted: of the first weights, but from a start of its family."""
        fitted = self.content["fitted"]
        if self.needs_weights:
            is_untrained = not any(values.any() for name, values in self.weights.items() if ".write." in name)
        else:
            is_untrained = fitted.get("best_epoch_") == 0
        if not is_untrained:
            return "trained"
        return "fitted" if fitted["_architecture"].get("start") == "family" else "untrained"

    @property
    def texts(self) -> dict[str, str]:
        """Its size, its network, where its training matrices came from, and whether it is trained."""
        fitted = self.content["fitted"]
        m = fitted.get("matrix_size_")
        source = fitted["distribution_"]
        source = repr(from_dict(source)) if source else "a function"
        return {
            "matrices": "complex, " * fitted.get("is_complex_", False) + (f"{m} x {m}" if m else "any size"),
            "network": network_in_words(fitted["_architecture"]),
            "source": source,
            "training": {
                "untrained": "untrained",
                "fitted": f"fitted to members of {source}",
                "trained": f"trained on {source}",
            }[self.state],
        }

    @property
    def figures(self) -> dict[str, int]:
        """What only the network itself tells; products at the largest size that it was trained for."""
        architecture = architecture_from_config(self.content)
        module = skeleton(architecture)
        return {
            "n_parameters": sum(parameter.numel() for parameter in module.parameters()),
            "n_bytes": sum(value.numel() * value.element_size() for value in module.state_dict().values()),
            "n_products": module.n_products(max(trained_sizes(architecture))),
        }

    @property
    def rows(self) -> dict[str, str]:
        """All that is to be known of it."""
        fitted, domain = self.content["fitted"], self.content["fitted"]["domain_"]
        texts, figures, n_seen = self.texts, self.figures, f"{fitted['n_matrices_seen_']:,}"
        real = "real 2 m x 2 m" if fitted.get("is_complex_") else "m x m"
        rows = {
            "model": self.name,
            "matrices": texts["matrices"],
            "network": texts["network"],
            "parameters": f"{figures['n_parameters']:,}",
            "products": f"{figures['n_products']} of {real} matrices for each inverse",
            "training": {
                "untrained": f"untrained, after {n_seen} matrices from {texts['source']}",
                "fitted": f"{texts['training']}, after {n_seen} matrices",
                "trained": f"trained on {n_seen} matrices from {texts['source']}",
            }[self.state],
            "validation": f"loss {fitted['best_loss_']:.4g}, {fitted['n_iter_']} epochs",
        }
        if gain := self._gain():
            rows["gain"] = gain
        for m, measured in self.content.get("figures", {}).items():
            rows[f"at {m} x {m}"] = (
                f"{measured['products']} products, mean residual norm {measured['mean']:.1e}, "
                f"{measured['within_tolerance_shares']['0.05']:.2%} within 5 %"
            )
        for name in ("scale", "condition"):
            quantiles = zip(domain["quantiles"], domain[name], strict=True)
            rows[name] = ", ".join(f"{value:.3g} ({share:.0%})" for share, value in quantiles)
        rows["saved by"] = ", ".join(f"{name} {version}" for name, version in self.content["versions"].items())
        return rows

    def _gain(self) -> str | None:
        """Say what training bought: of a shipped model in residual norms, of any other in products to one."""
        fitted = self.content["fitted"].get("gain_")
        if "gain" not in self.content:
            return describe_gain(fitted) if fitted else None
        gain = self.content["gain"]
        before, after = (
            "{mean:.2g} {word} ({products} products, {operations:,} operations)".format(**gain[name] | {"word": word})
            for name, word in (("untrained", "untrained"), ("trained", self.state))
        )
        low, high = gain["interval"]
        return (
            f"mean residual norm {before}, {after}: {gain['gain']:.2g} less (95 %: {low:.2g} to {high:.2g}), for "
            f"{gain['weights_bytes'] / 1e3:.0f} kB of weights"
        )


def described(name: str, model: Model) -> list[Described]:
    """Return the networks of a checked model: itself, or those of an ensemble, ensembles in it included."""
    return [
        Described(
            "/".join([name, *start.split(".")]).removesuffix("/"),
            card,
            {key.removeprefix(start): array for key, array in model.weights.items() if key.startswith(start)},
        )
        for start, card in networks(model.card)
    ]


def describe_model(name: str, path: str | os.PathLike[str] | None = None) -> list[Described]:
    """Return what a model says of itself, under its name or another: one network, or those of an ensemble."""
    path = name if path is None else path
    found = described(name, read_checked(path, weights=False))
    return described(name, read_checked(path)) if any(one.needs_weights for one in found) else found


def readme(name: str, model: Model, *, repository: str | None = None, license: str | None = None) -> str:
    """Return the README of a checked model: of a directory, or the card of a repository of a hub."""
    parts = described(name, model)
    what = (
        "A network that inverts matrices" if len(parts) == 1 else f"{len(parts)} networks that invert matrices together"
    )
    return README.format(
        mark=MARK,
        license="" if license is None else f"license: {license}\n",
        name=name,
        quoted=json.dumps(repository or name),
        where="fetched from the hub" if repository else "the path of this directory",
        what=what,
        rows="\n".join(map(_listed, parts)),
    )


def _listed(one: Described) -> str:
    return "\n".join(f"- **{name}**: {text.replace('<', '&lt;')}" for name, text in one.rows.items())
