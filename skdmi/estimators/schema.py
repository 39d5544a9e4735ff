"""What a card of a model may say: every field, as a table; names that are not in it belong to later versions."""

from typing import Any

from skdmi.distributions import from_dict
from skdmi.iteration import STARTS
from skdmi.modules import BLOCKS
from skdmi.modules.network import FAMILY, NORMALIZATIONS, PRECISIONS
from skdmi.persistence.format_1 import MAX_MEMBERS
from skdmi.persistence.rules import (
    Rule,
    anything,
    either,
    flag,
    integer,
    mapping,
    measured,
    number,
    optional,
    record,
    sequence,
    text,
    word,
)
from skdmi.training import OPTIMIZERS

ONLY_IN_0_1_0 = {"block": ("gated",), "start": ("characteristic",)}
"""Words of networks that are no more."""

MAX_DEPTH = 256
MAX_WIDTH = 2**16
DEPTH = integer(1, MAX_DEPTH)
WIDTH = integer(1, MAX_WIDTH)
EXPANSION = integer(1, 2**10)
SIZE = integer(1, 2**16)
RANK = integer(0, 2**10)
N_ATOMS = integer(0, 2**12)
N_PLACES = integer(0, 2**20)
SEED = integer(0, 2**64)
BLOCK = word(BLOCKS, ONLY_IN_0_1_0["block"])
NORMALIZE = word(NORMALIZATIONS)
PRECISION = word(tuple(PRECISIONS))
SHARE = number(0, 1)


def described(description: Any, field: str) -> None:
    """Raise ValueError unless a distribution can be made from its description."""
    try:
        from_dict(description)
    except ValueError as error:
        raise ValueError(f"{field}: {error}") from None


DISTRIBUTION = optional(Rule("an object", lambda value: type(value) is dict, described))

PARAMETERS = {
    "depth": DEPTH,
    "width": WIDTH,
    "block": BLOCK,
    "start": text(),
    "n_atoms": either(N_ATOMS, word(("auto",))),
    "matrix_size": optional(either(SIZE, sequence(SIZE, 1, 1000))),
    "distribution": either(word(("auto",)), DISTRIBUTION),
    "max_epochs": integer(),
    "batches_per_epoch": integer(1),
    "batch_size": integer(1),
    "learning_rate": number(above=0),
    "optimizer": word(tuple(OPTIMIZERS)),
    "log_weight": number(0),
    "patience": optional(number(above=0)),
    "warm_start": flag(),
    "net_params": optional(mapping(anything())),
    "random_state": optional(SEED),
    "verbose": either(integer(), flag()),
}
"""What the constructor takes; what is missing has its default."""

PARAMETERS_OF_0_1_0 = {
    "expansion": EXPANSION,
    "normalize": NORMALIZE,
    "precision": PRECISION,
    "compile": flag(),
    "early_stopping": flag(),
    "validation_fraction": number(),
}

ARCHITECTURE = record(
    {
        "depth": DEPTH,
        "width": WIDTH,
        "block": BLOCK,
        "matrix_size": either(SIZE, sequence(SIZE, 2, 2)),
    },
    {
        "expansion": EXPANSION,
        "normalize": NORMALIZE,
        "start": word(STARTS, (FAMILY, *ONLY_IN_0_1_0["start"])),
        "plain": word(STARTS),
        "n_atoms": N_ATOMS,
        "n_places": N_PLACES,
        "rank": RANK,
        "precision": PRECISION,
        "n_squarings": integer(),
    },
    closed=True,  # The answers depend on every one.
)

QUANTILES = sequence(measured(), 1, 1000)
DOMAIN = record({"quantiles": sequence(SHARE, 1, 1000), "scale": QUANTILES, "condition": QUANTILES})

EPOCH = record(
    {
        "epoch": integer(),
        "train_loss": measured(),
        "valid_loss": measured(),
        "learning_rate": measured(),
        "n_matrices": integer(),
        "seconds": measured(),
    }
)

COST = record({name: sequence(optional(number(0)), 2, 2) for name in ("products", "operations")})
COSTS = record({"0.01": COST})
GAIN = record({"n_matrices": integer(), "untrained": COSTS, "trained": COSTS}, {"fitted": COSTS})

FITTED = {
    "n_iter_": integer(),
    "n_matrices_seen_": integer(),
    "best_loss_": measured(),
    "domain_": DOMAIN,
    "history_": sequence(EPOCH),
    "distribution_": DISTRIBUTION,
    "_seed": SEED,
    "_architecture": ARCHITECTURE,
}
"""Fitted attributes that every model has."""

FITTED_PERHAPS = {
    "matrix_size_": SIZE,
    "n_features_in_": integer(1),
    "feature_names_in_": sequence(text(10_000, printable=False), 1),
    "best_epoch_": optional(integer()),
    "first_loss_": optional(measured()),
    "gain_": optional(GAIN),
    "_size_is_named": flag(),
    "is_complex_": flag(),
}

FIGURES = record(
    {
        "products": optional(integer()),
        "mean": measured(),
        "within_tolerance_shares": record({"0.05": SHARE}),
    }
)
REACHED = record({"mean": measured(), "products": integer(), "operations": integer()})
SHIPPED = {
    "trained_on": text(),
    "figures": mapping(FIGURES, name=Rule("a size", lambda name: name.isascii() and name.isdigit() and len(name) < 9)),
    "gain": record(
        {
            "untrained": REACHED,
            "trained": REACHED,
            "gain": measured(),
            "interval": sequence(measured(), 2, 2),
            "weights_bytes": integer(),
        }
    ),
}
"""What the card of a shipped model says beyond its parameters and what was fitted."""

VERSIONS = mapping(text(), name=text())
NETWORK = record(
    {
        "class": text(),
        "versions": VERSIONS,
        "parameters": record({}, PARAMETERS | PARAMETERS_OF_0_1_0),
        "fitted": record(FITTED, FITTED_PERHAPS),
    },
    SHIPPED,
)


def check_card(card: dict[str, Any], field: str = "") -> None:
    """Raise ValueError, naming the field, unless a card of a network or an ensemble says what one may say."""
    start = f"{field}." if field else ""
    if "members" not in card:
        NETWORK.check(card, field)
        _check_sizes(card["fitted"], f"{start}fitted")
        return
    ENSEMBLE.check(card, field)
    sizes = _sizes(card)
    if len(sizes) > 1:
        raise ValueError(
            f"{start}members are for matrices of different sizes, {' and '.join(map(str, sorted(sizes)))}."
        )


MEMBER = Rule("an object", lambda value: type(value) is dict, check_card)
ENSEMBLE = record(
    {
        "class": text(),
        "versions": VERSIONS,
        "combine": word(("mean", "best")),
        "members": sequence(MEMBER, 1, MAX_MEMBERS),
    }
)


def _sizes(card: dict[str, Any]) -> set[int]:
    """Return the sizes that the networks of a card are for, without those that take any."""
    if "members" in card:
        return set().union(*map(_sizes, card["members"]))
    return {card["fitted"]["matrix_size_"]} if "matrix_size_" in card["fitted"] else set()


def _check_sizes(fitted: dict[str, Any], field: str) -> None:
    """Raise ValueError unless what speaks of the size of the matrices says the same."""
    architecture, m = fitted["_architecture"], fitted.get("matrix_size_")
    n_features, names = fitted.get("n_features_in_"), fitted.get("feature_names_in_")
    trained = architecture["matrix_size"]
    takes_any = architecture["block"] not in BLOCKS or BLOCKS[architecture["block"]].takes_any_size
    if n_features != (None if m is None else m**2):
        raise ValueError(f"{field}.n_features_in_ is {n_features}, but matrix_size_ is {m}.")
    if names is not None and len(names) != n_features:
        raise ValueError(f"{field}.feature_names_in_ has {len(names)} names, but n_features_in_ is {n_features}.")
    if not takes_any and trained != (2 * m if fitted.get("is_complex_") and m else m):
        raise ValueError(f"{field}._architecture.matrix_size is {trained}, but matrix_size_ is {m}.")
    if isinstance(trained, list) and trained[0] > trained[1]:
        raise ValueError(f"{field}._architecture.matrix_size is {trained}; expected the smallest first.")
    domain = fitted["domain_"]
    if not len(domain["quantiles"]) == len(domain["scale"]) == len(domain["condition"]):
        raise ValueError(f"{field}.domain_ has not as many values of scale and condition as quantiles.")
