"""Models on a hub: huggingface_hub carries files to and fro, which are written and read here like any other.

Its mixin reads a ``config.json`` without limits and keeps the arguments of every constructor, so inverters are no
subclasses of it: a model is fetched as the one file `WEIGHTS`, and sent by a mixin around what is to be saved.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skdmi.persistence.directories import README, is_replaceable
from skdmi.persistence.model import WEIGHTS

EXTRA = 'needs huggingface_hub; try pip install "skdmi[hub]"'
TIMEOUT = 10.0
"""Seconds for the first answer of a hub; then what was fetched before serves."""

_PART = r"\w(?:[\w.-]*\w)?"
_NAME = re.compile(rf"(?!.*(?:--|\.\.|\.git$)){_PART}/(?=.{{1,96}}$){_PART}", re.ASCII)
"""As the client takes it; of another it says so in words of its own, where nothing was asked of a hub."""
_LICENSE = re.compile(r"[a-z0-9][a-z0-9.-]*", re.ASCII)


@dataclass(frozen=True)
class Hub:
    """How a model is fetched from a hub: see ``from_pretrained``."""

    revision: str | None = None
    cache_dir: str | os.PathLike[str] | None = None
    token: str | bool | None = None
    local_files_only: bool = False


NEWEST = Hub()
"""What is newest, if it can be reached, of what may be read by the token of this machine."""


def is_hub_name(name: object) -> bool:
    """Return whether a name may be one on a hub.

    >>> [is_hub_name(name) for name in ("owner/name", "./name", "owner/model.safetensors", "name", "owner/a--b")]
    [True, False, False, False, False]
    """
    return isinstance(name, str) and _NAME.fullmatch(name) is not None and not name.endswith(Path(WEIGHTS).suffix)


def fetch(name: str, hub: Hub) -> Path:
    """Return where the file of a model is after it was fetched from the hub, or once before.

    Raises
    ------
    ConnectionError
        If the hub is not reached, and the model was not fetched before.
    FileNotFoundError
        If there is no such model, or huggingface_hub is not installed.
    OSError
        If the cache cannot be written.
    PermissionError
        If the token of this machine is asked for, and there is none.
    TypeError
        If the revision is no text.
    """
    if not isinstance(hub.revision, str | None):
        raise TypeError(f"revision={hub.revision!r} is no text; expected a branch, a tag or a commit, or None.")
    try:
        import huggingface_hub as client
    except ImportError as error:
        raise FileNotFoundError(f"There is no {name} here, and to look for it on a hub {EXTRA}.") from error
    try:
        return _download(client, name, WEIGHTS, hub)
    except Exception as error:  # They have no base but this, and other ones in every version of the client.
        raise _explained(client, name, hub, error) from error


def push(
    save: Callable[[Path], None],
    name: str,
    *,
    commit_message: str,
    private: bool | None,
    token: str | None,
    branch: str | None,
    create_pr: bool,
) -> str:
    """Send what a function saves into a directory to the hub, and return the address of the commit.

    A README on the hub that somebody has written or taken over stays, as it does in a directory.

    Raises
    ------
    ConnectionError
        If the hub is not reached.
    ImportError
        If huggingface_hub is not installed.
    OSError
        If the hub refuses it.
    ValueError
        If the name is none of a hub.
    """
    try:
        import huggingface_hub as client
    except ImportError as error:
        raise ImportError(f"push_to_hub {EXTRA}.") from error
    if not is_hub_name(name):
        raise ValueError(f"{name!r} is not the name of a model on a hub; expected owner/name.")

    unsaved = []

    class Pushed(client.ModelHubMixin):
        def _save_pretrained(self, save_directory: Path) -> None:
            try:
                save(save_directory)
            except Exception as error:
                unsaved.append(error)
                raise

    try:
        kept = None if _is_our_readme(client, name, Hub(revision=branch, token=token)) else [README]
        done: Any = Pushed().push_to_hub(
            name,
            commit_message=commit_message,
            private=private,
            token=token,
            branch=branch,
            create_pr=create_pr,
            ignore_patterns=kept,
        )
        return str(done.commit_url)  # Which its text is, or is not, by version.
    except Exception as error:
        if error in unsaved:
            raise
        raise _refused(client, name, error) from error


def check_license(license: str | None) -> None:
    """Raise ValueError unless a licence is an identifier that may stand in the header of a card."""
    if license is not None and not (isinstance(license, str) and _LICENSE.fullmatch(license)):
        raise ValueError(f"license={license!r} is no identifier of a licence; expected one such as 'bsd-3-clause'.")


def _download(client: Any, name: str, file: str, hub: Hub) -> Path:
    """Fetch a file; without asking for it again and again where the hub does not answer."""
    unreached = None
    if not hub.local_files_only:
        url = client.hf_hub_url(name, file, revision=hub.revision)
        try:
            client.get_hf_file_metadata(url, token=hub.token, timeout=TIMEOUT)
        except Exception as error:
            if _is_absent(client, error):
                raise
            unreached = error
    try:
        path = client.hf_hub_download(
            name,
            file,
            revision=hub.revision,
            cache_dir=hub.cache_dir,
            token=hub.token,
            local_files_only=hub.local_files_only or unreached is not None,
        )
    except Exception as error:
        raise unreached or error from error
    return Path(path)


def _is_our_readme(client: Any, name: str, hub: Hub) -> bool:
    try:
        return is_replaceable(_download(client, name, README, hub))
    except Exception as error:
        if _is_absent(client, error):
            return True
        raise


def _is_absent(client: Any, error: Exception) -> bool:
    """Return whether the hub has answered, and that there is no such thing."""
    errors = client.errors
    is_there_at_all = not isinstance(error, errors.LocalEntryNotFoundError)
    kinds = (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.EntryNotFoundError)
    return is_there_at_all and isinstance(error, kinds)


def _explained(client: Any, name: str, hub: Hub, error: Exception) -> OSError:
    """Return the error of a model that was not fetched: what was tried, and what to do."""
    endpoint, errors = client.constants.ENDPOINT, client.errors
    here = f"There is no directory {name} here"
    if hub.local_files_only:
        return FileNotFoundError(f"{here}, nor was it fetched before; local_files_only=False asks {endpoint} for it.")
    if isinstance(error, errors.LocalTokenNotFoundError):
        return PermissionError("token=True, but this machine has none: give one, or log in with 'hf auth login'.")
    if isinstance(error, OSError) and error.filename is not None:
        return type(error)(
            error.errno, f"What is fetched cannot be kept ({error.strerror}); try another cache_dir", error.filename
        )
    if not _is_absent(client, error):
        return ConnectionError(
            f"{here}, it was not fetched before, and {endpoint} was not reached, or is no hub ({_in_short(error)}). "
            f"Try again when it is, or give the path of a model on this machine."
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return FileNotFoundError(f"{name!r} at {endpoint} has no revision {hub.revision!r}; None is the newest.")
    if isinstance(error, errors.RepositoryNotFoundError):
        return FileNotFoundError(
            f"{here}, and no model {name!r} at {endpoint}. If it is private or gated, give a token, or log in with "
            f"'hf auth login'; shipped models have no owner in their names."
        )
    return FileNotFoundError(
        f"{name!r} at {endpoint} holds no {WEIGHTS}, which push_to_hub of an inverter writes; models of other "
        f"libraries are not read."
    )


def _refused(client: Any, name: str, error: Exception) -> OSError:
    """Return the error of a model that was not sent."""
    while type(error) is RuntimeError and isinstance(error.__cause__, Exception):  # of a large file
        error = error.__cause__
    status = getattr(getattr(error, "response", None), "status_code", None)
    endpoint, why = client.constants.ENDPOINT, _in_short(error)
    if status is None:
        return ConnectionError(
            f"{name!r} is not on the hub: {endpoint} was not reached, or is no hub ({why}). Try again when it is."
        )
    if status in (401, 403, 404):
        return PermissionError(
            f"{name!r} is not on the hub: {endpoint} refused it ({why}). Give a token that may write there, or log in "
            f"with 'hf auth login'."
        )
    return OSError(f"{name!r} is not on the hub: {endpoint} refused it ({why}).")


def _in_short(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:200]}..."
