"""Models as directories: a configuration in JSON and weights in safetensors, neither of which runs code when read."""

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

__all__ = ["check_writable", "find_model", "load_model", "pretrained_names", "read_card", "save_model"]

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
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
    if missing:
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
        If its configuration is not JSON.
    """
    path = find_model(name_or_directory) / CONFIG
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}); save the model again.") from error


def load_model(name_or_directory: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the configuration and the weights of a model.

    Raises
    ------
    FileNotFoundError
        If there is no such model.
    ValueError
        If a file of it is damaged.
    """
    directory = find_model(name_or_directory)
    config = read_card(directory)
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
    target = Path(directory).absolute()
    check_writable(target)
    text = json.dumps(config, indent=1) + "\n"
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as scratch:
        fresh = Path(scratch) / "fresh"
        fresh.mkdir()
        (fresh / CONFIG).write_text(text, encoding="utf-8")
        save_file(weights, fresh / WEIGHTS)
        shutil.copymode(fresh / CONFIG, fresh / WEIGHTS)
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
    if not target.exists():
        return
    if not target.is_dir() or not {path.name for path in target.iterdir()} <= {CONFIG, WEIGHTS}:
        raise FileExistsError(f"{target} exists and is not a model; choose another path, or remove it.")
