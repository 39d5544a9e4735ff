"""The directory of a model: what in it is ours, what may be replaced, and what 0.1.0 left."""

import os
import stat
from contextlib import suppress
from pathlib import Path

from skdmi.persistence.files import MAX_HEADER, open_file, open_regular, parse_json
from skdmi.persistence.format_1 import CLASSES, CONFIG
from skdmi.persistence.model import WEIGHTS

README = "README.md"
MARK = "# Written by skdmi with the model, and with the next one anew; without this line it is yours."
"""In the first lines of a README that may be replaced."""
CHECKPOINTS = "checkpoints"
"""Where a training keeps what it goes on from."""
SCRATCH = ".skdmi-"
"""What the names of unfinished files begin with."""

_MARKED_WITHIN = 4096


def check_writable(directory: str | os.PathLike[str]) -> None:
    """Refuse to write a model where something else is.

    Raises
    ------
    FileExistsError
        If the path exists, and is neither a directory with a model nor one with nothing in it.
    OSError
        If symbolic links lead nowhere but to each other.
    """
    target = Path(directory)
    try:
        is_directory = stat.S_ISDIR(os.stat(target).st_mode)
    except FileNotFoundError:
        return
    if not is_directory or not (_holds_model(target) or all(map(_is_beside, target.iterdir()))):
        raise FileExistsError(f"{target} exists and is not a model; choose another path, or remove it.")


def is_replaceable(readme: Path) -> bool:
    """Return whether a README is not there, or was written with a model."""
    try:
        with open_regular(readme) as file:
            return MARK.encode() in file.read(_MARKED_WITHIN)
    except FileNotFoundError:
        return True
    except (OSError, ValueError):
        return False


def remove_format_1(directory: Path, *, is_member: bool = False) -> None:
    """Remove the model of 0.1.0 beside the file that replaced it; its configuration, which says what it is, last."""
    if _is_config(directory / CONFIG):
        for member in directory.glob("member-[0-9]*"):
            if member.is_dir() and not member.is_symlink():
                remove_format_1(member, is_member=True)
        if is_member:
            (directory / WEIGHTS).unlink(missing_ok=True)
        (directory / CONFIG).unlink(missing_ok=True)
    if is_member:
        with suppress(OSError):  # Whatever else is in there stays.
            directory.rmdir()


def _holds_model(directory: Path) -> bool:
    try:
        with open_file(directory / WEIGHTS):
            return True
    except (OSError, ValueError):
        return _is_config(directory / CONFIG)


def _is_config(path: Path) -> bool:
    """Return whether 0.1.0 wrote a file: others, Hugging Face's among them, name theirs as we did."""
    try:
        with open_regular(path) as file:
            return parse_json(path, file.read(MAX_HEADER), "it", "utf-8").get("class") in CLASSES
    except (OSError, ValueError):
        return False


def _is_beside(path: Path) -> bool:
    """Return whether a file may be where a model is to be."""
    return (
        path.name.startswith(SCRATCH)
        or (path.name == README and is_replaceable(path))
        or (path.name == CHECKPOINTS and path.is_dir())
    )
