"""What skdmi 0.1.0 wrote: directories of ``config.json`` and weights, or for an ensemble of such directories."""

from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from io import BufferedReader
from pathlib import Path
from typing import Any

from skdmi.persistence.files import (
    MAX_HEADER,
    MAX_VALUES,
    count_values,
    damaged,
    open_file,
    open_regular,
    parse_json,
)
from skdmi.persistence.model import WEIGHTS, Check, Model, member_name
from skdmi.persistence.rules import integer

CONFIG = "config.json"
CLASSES = ("NeuralMatrixInverter", "EnsembleInverter")
MAX_MEMBERS = 1000
"""Of an ensemble, members of members included."""
MAX_BYTES = 4 * MAX_HEADER
"""Of all configurations of an ensemble; links could repeat a long one."""
MAX_LEVELS = 10
"""Of ensembles of ensembles."""


@dataclass
class Budget:
    """What may still be read of a directory."""

    members: int = MAX_MEMBERS
    values: int = MAX_VALUES
    n_bytes: int = MAX_BYTES
    ensembles: set[tuple[int, int]] = field(default_factory=set)
    """Directories of ensembles that were met; links could make them grow without end."""
    level: int = 0


def read_directory(
    directory: Path, config: BufferedReader, check: Check, *, weights: bool, budget: Budget | None = None
) -> Model | None:
    """Read a directory, of which the configuration has been opened already; None if its weights are of a later format.

    Raises
    ------
    FileNotFoundError
        If a member is missing.
    ValueError
        If a file is damaged, or the directory holds too much, or itself.
    """
    path, budget = directory / CONFIG, budget or Budget()
    with ExitStack() as stack:
        try:
            file = stack.enter_context(open_file(directory / WEIGHTS, foreign=True))
        except FileNotFoundError:
            return _read_ensemble(path, config, check, weights, budget)
        if file.card:
            return None
        card = _read_config(path, config, budget)
        model = Model(path, card, file.entries)
        check(model)
        return replace(model, weights=file.arrays()) if weights else model


def _read_ensemble(path: Path, config: BufferedReader, check: Check, weights: bool, budget: Budget) -> Model:
    card, status = _read_config(path, config, budget), path.parent.stat()
    if "n_estimators" not in card:
        raise damaged(path, f"it is of no ensemble, and there is no {WEIGHTS} beside it")
    if (status.st_dev, status.st_ino) in budget.ensembles or budget.level == MAX_LEVELS:
        raise damaged(path, f"the ensemble contains itself, another one twice, or more than {MAX_LEVELS} levels")
    try:
        integer(1, budget.members).check(card["n_estimators"], "n_estimators")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    n_members = card.pop("n_estimators")
    budget.members -= n_members
    budget.ensembles.add((status.st_dev, status.st_ino))
    budget.level += 1
    members = {}
    for directory in (path.parent / member_name(i) for i in range(n_members)):
        with open_regular(directory / CONFIG) as inner:
            member = read_directory(directory, inner, check, weights=weights, budget=budget)
        if member is None:
            raise damaged(directory / WEIGHTS, "as part of an ensemble of 0.1.0 it should be of 0.1.0")
        members[directory.name] = member
    budget.level -= 1
    card["members"] = [member.card for member in members.values()]
    entries = {f"{start}.{name}": entry for start, one in members.items() for name, entry in one.entries.items()}
    arrays = {f"{start}.{name}": array for start, one in members.items() for name, array in one.weights.items()}
    model = Model(path, card, entries, arrays)
    if budget.level == 0:  # The networks were checked one by one.
        check(model)
    return model


def _read_config(path: Path, config: BufferedReader, budget: Budget) -> dict[str, Any]:
    text = config.read(MAX_HEADER + 1)
    budget.values -= count_values(text)
    budget.n_bytes -= len(text)
    if len(text) > MAX_HEADER or budget.values < 0 or budget.n_bytes < 0:
        limits = f"{MAX_HEADER:,} bytes or {MAX_VALUES:,} values, or {MAX_BYTES:,} bytes with its ensemble"
        raise damaged(path, f"it has more than {limits}")
    return parse_json(path, text, "it", encoding="utf-8")
