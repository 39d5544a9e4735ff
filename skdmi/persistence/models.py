"""Models on disk: one file in a directory, named by the directory, by itself, or by what it is shipped as."""

import os
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

from skdmi.io import atomic_path
from skdmi.persistence.directories import README, check_writable, is_replaceable, remove_format_1
from skdmi.persistence.files import damaged, open_file, open_regular, write_file
from skdmi.persistence.format_1 import CONFIG, read_directory
from skdmi.persistence.hub import NEWEST, Hub, fetch, is_hub_name
from skdmi.persistence.model import WEIGHTS, Check, Model
from skdmi.persistence.shipped import RETIRED, of_predecessor, pretrained_names, shipped_directory


def save_model(directory: str | os.PathLike[str], model: Model, readme: str) -> None:
    """Write a model into a directory, whole or not at all: one rename, of its one file, is the save.

    The README beside it and what was there of 0.1.0 follow; a README without the mark of this module is left alone.

    Parameters
    ----------
    directory : path
        Made if it is not there; a model in it is replaced, other files stay.
    model : Model
        With weights, and a card that JSON can hold.
    readme : str
        What a reader of the directory should know.

    Raises
    ------
    FileExistsError
        If the path exists, and is neither a directory with a model nor an empty one.
    OSError
        If it cannot be written.
    TypeError, ValueError
        If JSON cannot hold the card, or it is too large.

    Warns
    -----
    UserWarning
        If only the README could not be written.
    """
    check_writable(directory)
    target = Path(os.path.realpath(directory))  # As with a file, symbolic links are followed.
    target.mkdir(parents=True, exist_ok=True)
    write_file(target / WEIGHTS, model.card, model.weights)
    remove_format_1(target)
    if is_replaceable(target / README):
        try:
            with atomic_path(target / README) as temporary:
                temporary.write_text(readme, encoding="utf-8", errors="replace")  # A name may be any bytes.
        except OSError as error:
            warnings.warn(f"The model is saved, its {target / README} is not: {error.strerror}.", stacklevel=2)


def read_model(name_or_path: str | os.PathLike[str], check: Check, *, weights: bool = True, hub: Hub = NEWEST) -> Model:
    """Read a model.

    Parameters
    ----------
    name_or_path : str or path
        As `find_model` takes it.
    check : callable
        Called with the model before its weights are read; raises ValueError unless it is sound.
    weights : bool, default=True
        Whether the weights are read.
    hub : Hub
        How it is fetched, if it is of a hub.

    Raises
    ------
    ConnectionError
        If it is of a hub that is not reached.
    FileNotFoundError
        If there is no such model.
    OSError
        If a file of it cannot be opened.
    ValueError
        If a file of it is damaged, or of a later format.
    """
    path = find_model(name_or_path, hub)
    if not path.is_dir():
        return _read_file(path, check, weights)
    try:
        # Opened first: it is removed only when the file that replaces it is there.
        config = open_regular(path / CONFIG)
    except FileNotFoundError:
        return _read_file(path / WEIGHTS, check, weights)
    with config:
        try:
            model = read_directory(path, config, check, weights=weights)
        except FileNotFoundError as error:
            if not (path / WEIGHTS).exists():
                raise damaged(path / CONFIG, f"there is no {error.filename}") from error
            model = None  # A save has just replaced what was being read.
    return model or _read_file(path / WEIGHTS, check, weights)


def _read_file(path: Path, check: Check, weights: bool) -> Model:
    with open_file(path) as file:
        model = Model(path, file.card, file.entries)
        check(model)
        return replace(model, weights=file.arrays()) if weights else model


def find_model(name_or_path: str | os.PathLike[str], hub: Hub = NEWEST) -> Path:
    """Return where a model is: a shipped one, a directory or a file that is named itself, or one fetched from a hub.

    A Path is always a directory or a file; so is a text with a separator, but for ``owner/name`` where there is none.

    Raises
    ------
    ConnectionError
        If it is of a hub that is not reached.
    FileNotFoundError
        If it is none of these; of a model that is shipped no more, or of the predecessor, it says what to use.
    ValueError
        If there are both a shipped and a local one; or a revision is given of what is of no hub.
    """
    path = _find_here(name_or_path)
    if path is None:
        return fetch(str(name_or_path), hub)
    if hub.revision is not None:
        raise ValueError(f"revision={hub.revision!r} is for models of a hub; {path} is on this machine. Leave it out.")
    return path


def _find_here(name_or_path: str | os.PathLike[str]) -> Path | None:
    """Return where a model is on this machine; None if it can only be of a hub."""
    names, path = pretrained_names(), Path(name_or_path)
    is_directory = path.is_dir()
    is_there = any(map(os.path.lexists, (path / CONFIG, path / WEIGHTS))) if is_directory else os.path.lexists(path)
    if isinstance(name_or_path, str) and name_or_path in names:
        if is_there and is_directory:
            raise ValueError(
                f"{name_or_path!r} is both a shipped model and a model in this directory: for the one in this "
                f"directory write {os.path.join(os.curdir, name_or_path)!r}; for the shipped one rename that."
            )
        return shipped_directory(name_or_path)
    if is_there:
        return path
    if isinstance(name_or_path, str) and name_or_path in RETIRED:
        raise FileNotFoundError(f"{name_or_path!r} was retired in 0.2.0: {RETIRED[name_or_path]}.")
    if answer := of_predecessor(path):
        raise FileNotFoundError(answer)
    if is_hub_name(name_or_path) and not is_directory:
        return None
    missing = path / WEIGHTS if is_directory else path
    raise FileNotFoundError(
        f"No model {str(name_or_path)!r}: there is no {missing}, and the shipped models are "
        f"{', '.join(names) or 'none'}."
    )


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
