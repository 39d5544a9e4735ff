"""Models as directories: a configuration in JSON and weights in safetensors, neither of which runs code when read."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

__all__ = [
    "check_writable",
    "find_model",
    "load_model",
    "member_directories",
    "pretrained_names",
    "read_card",
    "save_ensemble",
    "save_model",
]

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
MEMBER = "member-"
SHIPPED = Path(__file__).parent / "pretrained"


def pretrained_names() -> list[str]:
    """Return the names of the models that come with skdmi.

    >>> "uniform-3x3" in pretrained_names()
    True
    """
    return sorted(path.parent.name for path in SHIPPED.glob(f"*/{CONFIG}"))


def find_model(name_or_directory: str | os.PathLike[str]) -> Path:
    """Return the directory of a model: the name of a shipped one, or a directory itself.

    Raises
    ------
    FileNotFoundError
        If it is neither.
    """
    names = pretrained_names()
    if str(name_or_directory) in names:
        return SHIPPED / str(name_or_directory)
    directory = Path(name_or_directory)
    missing = [name for name in (CONFIG, WEIGHTS) if not (directory / name).is_file()]
    if missing and not (missing == [WEIGHTS] and (directory / f"{MEMBER}0").is_dir()):
        raise FileNotFoundError(
            f"No model {str(name_or_directory)!r}: there is no {directory / missing[0]}, and the shipped models are "
            f"{', '.join(names) or 'none'}."
        )
    return directory


def read_card(name_or_directory: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the configuration of a model without its weights.

    Raises
    ------
    FileNotFoundError
        If there is no such model.
    ValueError
        If its configuration is not a JSON object.
    """
    path = find_model(name_or_directory) / CONFIG
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}); save the model again.") from error
    if not isinstance(card, dict):
        raise ValueError(f"{path} holds no JSON object; save the model again.")
    return card


def load_model(name_or_directory: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the configuration and the weights of a model.

    Raises
    ------
    FileNotFoundError
        If there is no such model.
    ValueError
        If a file of it is damaged, or it is an ensemble, which has no weights of its own.
    """
    directory = find_model(name_or_directory)
    config = read_card(directory)
    if not (directory / WEIGHTS).is_file():
        raise ValueError(f"{directory} holds an ensemble: load it with EnsembleInverter.from_pretrained.")
    try:
        return config, load_file(directory / WEIGHTS)
    except Exception as error:
        raise ValueError(f"{directory / WEIGHTS} is damaged ({error}); save the model again.") from error


def save_model(directory: str | os.PathLike[str], config: dict[str, Any], weights: dict[str, np.ndarray]) -> None:
    """Write a model directory, whole or not at all; one that holds a model already is replaced.

    Raises
    ------
    FileExistsError
        If the path exists, and is neither a model nor an empty directory.
    TypeError
        If the configuration is not JSON.
    """
    text = json.dumps(config, indent=1) + "\n"
    with _replacing(directory) as fresh:
        (fresh / CONFIG).write_text(text, encoding="utf-8")
        save_file(weights, fresh / WEIGHTS)
        shutil.copymode(fresh / CONFIG, fresh / WEIGHTS)


def save_ensemble(
    directory: str | os.PathLike[str], config: dict[str, Any], savers: Iterable[Callable[[Path], None]]
) -> None:
    """Write a directory of a configuration and one sub-directory a member, as `save_model` does.

    Parameters
    ----------
    directory : path
    config : dict
    savers : iterable of callables
        Each writes one member as a model directory: its argument.
    """
    text = json.dumps(config, indent=1) + "\n"
    with _replacing(directory) as fresh:
        (fresh / CONFIG).write_text(text, encoding="utf-8")
        for i, save in enumerate(savers):
            save(fresh / f"{MEMBER}{i}")


def member_directories(name_or_directory: str | os.PathLike[str]) -> list[Path]:
    """Return where an ensemble keeps its members; for a single model there are none.

    >>> member_directories("uniform-3x3")
    []
    """
    n_members = read_card(name_or_directory).get("n_estimators", 0)
    return [find_model(name_or_directory) / f"{MEMBER}{i}" for i in range(n_members)]


@contextmanager
def _replacing(directory: str | os.PathLike[str]) -> Iterator[Path]:
    """Give an empty directory to fill, which takes the place of ``directory`` unless the block raises."""
    target = Path(directory).absolute()
    check_writable(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as scratch:
        fresh = Path(scratch) / "fresh"
        fresh.mkdir()
        yield fresh
        replaced = Path(scratch) / "replaced"
        if target.exists():
            target.rename(replaced)
        try:
            fresh.rename(target)
        except BaseException:
            if replaced.exists():
                replaced.rename(target)
            raise


def check_writable(directory: str | os.PathLike[str]) -> None:
    """Refuse to write a model where something else is.

    Raises
    ------
    FileExistsError
        If the path exists, and is neither a model nor an empty directory.
    """
    target = Path(directory)
    if target.exists() and not _holds_model_only(target):
        raise FileExistsError(f"{target} exists and is not a model; choose another path, or remove it.")


def _holds_model_only(directory: Path) -> bool:
    """Return whether nothing but a model, or an ensemble of models, would be lost with this directory."""
    return directory.is_dir() and all(
        path.name in (CONFIG, WEIGHTS) or (path.name.startswith(MEMBER) and _holds_model_only(path))
        for path in directory.iterdir()
    )
