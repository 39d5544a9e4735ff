"""Files that are written whole or not at all, and what killed writers leave, collected."""

import hashlib
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import EACCES, EEXIST
from pathlib import Path

from skdmi.io.format import PathLike

try:
    import fcntl
except ImportError:  # Where there are no such locks nobody can tell who still writes, and nothing is collected.
    fcntl = None  # type: ignore[assignment]

_TEMPORARY = re.compile(r"\.skdmi-([0-9a-f]{16})-[0-9a-f]{16}(\..*)?")
_OPEN_FILE = re.compile(r"/dev/(std(in|out|err)|fd/\d+)|/proc/(self|\d+)/fd/\d+")
_MAX_SUFFIX = 32  # A name may have 255 bytes, and be hardly more than its suffix.
_held: dict[Path, int] = {}
"""The temporary files of this process and the descriptors that hold their locks."""


@contextmanager
def atomic_path(path: PathLike) -> Iterator[Path]:
    """Replace a file whole or not at all.

    The block writes to a temporary file in the same folder. If it succeeds, that file takes the place of `path` in one
    step, after its bytes are on the disk; if it raises anything, Ctrl-C included, the temporary file is removed and
    `path` is as it was before. What a killed process leaves is removed by the next write of the same file.

    Parameters
    ----------
    path : str or path-like
        The file to write. As with `open`, symbolic links are followed, an existing file keeps its permissions, and a
        new one gets those of the umask. A pipe or a character device is written straight: nothing there can be taken
        back.

    Yields
    ------
    pathlib.Path
        The temporary file: empty, with the suffix of `path`. For a pipe or a device, `path` itself.

    Raises
    ------
    OSError
        If no file can be written there, or `path` is something that is not a file. An error of the block that names no
        file, such as that of a full disk, names `path`.

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
    if is_stream(path):
        with errors_naming(path):
            yield Path(path)
        return
    target = Path(os.path.realpath(path))
    known = _replaceable(path)
    with errors_naming(path):
        temporary, descriptor = _create(target)
    try:
        with errors_naming(path, temporary):
            if known:
                _take_over(known, temporary)
            yield temporary
            _sync(temporary)
            if known:
                temporary.chmod(stat.S_IMODE(known.st_mode))
            os.replace(temporary, target)
            if target in _held:  # A write within a write: the lock goes on to the file that is there.
                os.dup2(descriptor, _held[target], inheritable=False)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    finally:
        _release(temporary)


def is_stream(path: PathLike) -> bool:
    """Return whether a path is a pipe or a character device, which is read and written once, from its beginning.

    So is the name of an open file, such as /dev/stdout, whatever that is: others hold it, and it cannot be replaced.

    >>> is_stream(os.devnull), is_stream("/dev/stdout"), is_stream("no such file")
    (True, True, False)
    """
    if _OPEN_FILE.fullmatch(os.fsdecode(path)):
        return True
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)


@contextmanager
def errors_naming(path: PathLike, *others: Path) -> Iterator[None]:
    """Give an OSError that names no file, or one of `others`, the name that the user gave.

    >>> with errors_naming("results.mx"):
    ...     raise OSError(28, "No space left on device")
    Traceback (most recent call last):
    OSError: [Errno 28] No space left on device: 'results.mx'
    """
    try:
        yield
    except OSError as error:
        # Without a number there is a text of its own, which a name would hide.
        if error.errno is not None and error.filename in (None, *others, *map(str, others)):
            error.filename = os.fspath(path)
            del error.filename2  # Of a rename.
        raise


def _replaceable(path: PathLike) -> os.stat_result | None:
    """Return what is known of the file to replace, None if there is none, or raise an OSError."""
    try:
        known = os.stat(path)
    except FileNotFoundError:  # Which a loop of links is not.
        return None
    if not stat.S_ISREG(known.st_mode):
        raise OSError(EEXIST, "Exists and is not a file, so it cannot be replaced", os.fspath(path))
    if not os.access(path, os.W_OK):
        raise PermissionError(EACCES, os.strerror(EACCES), os.fspath(path))
    return known


def _create(target: Path) -> tuple[Path, int]:
    """Create a temporary file for `target` and hold it; collect those that nobody holds."""
    within = _TEMPORARY.fullmatch(target.name)
    key = within[1] if within else hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]
    if fcntl:
        with suppress(OSError):  # A folder may be written without being read.
            _collect(target.parent, f".skdmi-{key}-")
    while True:
        temporary = target.with_name(f".skdmi-{key}-{secrets.token_hex(8)}{target.suffix[:_MAX_SUFFIX]}")
        try:
            descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        except OSError as error:
            error.filename = None  # The user should read the name that they gave.
            raise
        _held[temporary] = descriptor
        if not fcntl:
            _release(temporary)  # What is open cannot be renamed there.
            return temporary, descriptor
        with suppress(OSError):  # A file system without locks has nothing collected either.
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if _is(temporary, descriptor):
            return temporary, descriptor
        _release(temporary)  # Collected before it was locked.


def _collect(folder: Path, prefix: str) -> None:
    """Remove the temporary files whose lock can be had: whoever wrote them is gone."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.name.startswith(prefix)]
    for path in map(folder.joinpath, names):
        with suppress(OSError):
            descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is(path, descriptor):
                    path.unlink()
            finally:
                os.close(descriptor)


def _is(path: Path, descriptor: int) -> bool:
    """Return whether a path still is the file that was opened."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _release(temporary: Path) -> None:
    descriptor = _held.pop(temporary, None)
    if descriptor is not None:
        os.close(descriptor)


def _take_over(known: os.stat_result, temporary: Path) -> None:
    """Give a temporary file owner and permissions of the file that it will replace, and be able to write it."""
    if hasattr(os, "chown"):
        with suppress(OSError):
            os.chown(temporary, known.st_uid, known.st_gid)
    temporary.chmod(stat.S_IMODE(known.st_mode) | stat.S_IRUSR | stat.S_IWUSR)


def _sync(temporary: Path) -> None:
    """Wait until the bytes are on the disk, where a full one may show itself first."""
    descriptor = os.open(temporary, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
