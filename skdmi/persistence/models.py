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

from skdmi.persistence.shipped import RETIRED, pretrained_names, shipped_directory

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
MEMBER = "member-"
CLASSES = ("NeuralMatrixInverter", "EnsembleInverter")


def trained_sizes(architecture: dict[str, Any]) -> tuple[int, int]:
    """Return the least and the largest size that a network of a card was trained for.

    >>> trained_sizes({"matrix_size": 3}), trained_sizes({"matrix_size": [2, 32]})
    ((3, 3), (2, 32))
    """
    size = architecture["matrix_size"]
    return (size, size) if isinstance(size, int) else (min(size), max(size))


def network_in_words(architecture: dict[str, Any]) -> str:
    """Return what a network of a card is; its start, where that is not the usual one.

    >>> network_in_words({"block": "polynomial", "depth": 2, "width": 8, "start": "family"})
    'polynomial, depth 2, width 8, start family'
    """
    words = "{block}, depth {depth}, width {width}".format(**architecture)
    start = architecture.get("start", "transpose")
    return words if start == "transpose" else f"{words}, start {start}"


def find_model(name_or_directory: str | os.PathLike[str]) -> Path:
    """Return the directory of a model: the name of a shipped one, or a directory itself.

    A Path, and a text with a separator, is always a directory.

    Raises
    ------
    FileNotFoundError
        If it is neither; of one that is shipped no more it says what to use.
    ValueError
        If it is both.
    """
    names = pretrained_names()
    directory = Path(name_or_directory)
    if isinstance(name_or_directory, str) and name_or_directory in names:
        if (directory / CONFIG).is_file():
            raise ValueError(
                f"{name_or_directory!r} is both a shipped model and a model in this directory: for the one in this "
                f"directory write {os.path.join(os.curdir, name_or_directory)!r}; for the shipped one rename that."
            )
        return shipped_directory(name_or_directory)
    missing = [name for name in (CONFIG, WEIGHTS) if not (directory / name).is_file()]
    if missing and not (missing == [WEIGHTS] and (directory / f"{MEMBER}0").is_dir()):
        if isinstance(name_or_directory, str) and name_or_directory in RETIRED:
            raise FileNotFoundError(f"{name_or_directory!r} was retired in 0.2.0: {RETIRED[name_or_directory]}.")
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
    return _parse_card(find_model(name_or_directory) / CONFIG)


def _parse_card(path: Path) -> dict[str, Any]:
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

    >>> member_directories("uniform-3x3-short")
    []
    """
    n_members = read_card(name_or_directory).get("n_estimators", 0)
    return [find_model(name_or_directory) / f"{MEMBER}{i}" for i in range(n_members)]


@contextmanager
def _replacing(directory: str | os.PathLike[str]) -> Iterator[Path]:
    """Give an empty directory to fill, which takes the place of ``directory`` unless the block raises."""
    check_writable(directory)
    target = Path(os.path.realpath(directory))  # As with a file, symbolic links are followed.
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
    if not directory.is_dir():
        return False
    paths = list(directory.iterdir())
    return not paths or (
        _is_ours(directory / CONFIG)  # Others, Hugging Face's among them, name their files as we do.
        and all(
            path.name in (CONFIG, WEIGHTS) or (path.name.startswith(MEMBER) and _holds_model_only(path))
            for path in paths
        )
    )


def _is_ours(config: Path) -> bool:
    try:
        return _parse_card(config).get("class") in CLASSES
    except (OSError, ValueError):
        return False
