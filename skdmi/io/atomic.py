"""Files that are written whole or not at all."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EEXIST
from pathlib import Path

from skdmi.io.format import PathLike


@contextmanager
def atomic_path(path: PathLike) -> Iterator[Path]:
    """Replace a file whole or not at all.

    The block writes to a temporary file in the same folder. If it succeeds, that file takes the place of `path` in one
    step; if it raises anything, Ctrl-C included, the temporary file is removed and `path` is as it was before.

    Parameters
    ----------
    path : str or path-like
        The file to write. As with `open`, symbolic links are followed, an existing file keeps its permissions, and a
        new one gets those of the umask.

    Yields
    ------
    pathlib.Path
        The temporary file: empty, with the suffix of `path`.

    Raises
    ------
    OSError
        If no file can be written there, or `path` is something that is not a file.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "answer.txt"
    ...     with atomic_path(path) as temporary:
    ...         _ = temporary.write_text("42")
    ...         path.exists()
    ...     path.read_text()
    False
    '42'
    """
    target = Path(os.path.realpath(path))
    existed = target.exists()
    if existed and not target.is_file():
        raise OSError(EEXIST, "Exists and is not a file, so it cannot be replaced", os.fspath(path))
    temporary = target.with_name(f".skdmi-{secrets.token_hex(8)}{target.suffix}")
    try:
        temporary.touch(exist_ok=False)
    except OSError as error:  # The user should read the name that they gave.
        raise OSError(error.errno, error.strerror, os.fspath(path)) from None
    try:
        if existed:
            shutil.copymode(target, temporary)
        yield temporary
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
