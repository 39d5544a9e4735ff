"""Fitted inverters into directories and onto hubs, and back; held to what a reader of them will ask."""

import os
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np

from skdmi import __version__
from skdmi.estimators.description import readme
from skdmi.estimators.stored import check_stored, check_weights, read_checked
from skdmi.persistence import WEIGHTS, Hub, Model, push, save_model
from skdmi.persistence.files import Entry
from skdmi.persistence.hub import check_license


class Storable:
    """What can be written and read: card and weights are those that `_stored` returns and `_restored` takes."""

    def save_pretrained(self, directory: str | os.PathLike[str]) -> None:
        """Write the model as ``model.safetensors``, whole or not at all, and a ``README.md`` that says what it is.

        ``device``, ``callbacks``, checkpoints, RandomState objects, and a distribution or ``net_params`` that JSON
        cannot hold are not stored. The members of an ensemble are in the one file.

        Parameters
        ----------
        directory : path
            Made if it is not there; a model in it is replaced, other files stay.

        Raises
        ------
        FileExistsError
            If the path exists, and is neither a directory with a model nor an empty one.
        NotFittedError
            If the inverter is not fitted.
        OSError
            If it cannot be written.
        TypeError
            If a member of an ensemble is neither a NeuralMatrixInverter nor an ensemble of them.

        Examples
        --------
        >>> import os, tempfile
        >>> from skdmi import NeuralMatrixInverter
        >>> inverter = NeuralMatrixInverter.from_pretrained("uniform-3x3-short")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     inverter.save_pretrained(folder)
        ...     sorted(os.listdir(folder))
        ['README.md', 'model.safetensors']
        """
        save(directory, *self._stored())

    def push_to_hub(
        self,
        repo_id: str,
        *,
        commit_message: str | None = None,
        private: bool | None = None,
        token: str | None = None,
        branch: str | None = None,
        create_pr: bool = False,
        license: str | None = None,
    ) -> str:
        """Send the model to a hub: the two files of `save_pretrained`, in one commit.

        Needs ``pip install "skdmi[hub]"``, and the permission to write there: a token, or ``hf auth login``. A README
        there that somebody has written is left alone.

        Parameters
        ----------
        repo_id : str
            ``"owner/name"``; made if it is not there.
        commit_message : str, default=None
            None says that it is a model, and of which version.
        private : bool, default=None
            Whether a repository that is made is private; None leaves it to the hub.
        token : str, default=None
            None takes the one of ``hf auth login``.
        branch : str, default=None
            None is the main one.
        create_pr : bool, default=False
            Whether to propose the commit, as a pull request, in place of making it.
        license : str, default=None
            An identifier for the card, such as ``"bsd-3-clause"``; None says nothing of it.

        Returns
        -------
        str
            The address of the commit.

        Raises
        ------
        ImportError
            If huggingface_hub is not installed.
        NotFittedError
            If the inverter is not fitted.
        OSError
            If the hub is not reached, or refuses it.
        ValueError
            If ``repo_id`` or ``license`` cannot be one.

        Examples
        --------
        >>> from skdmi import NeuralMatrixInverter
        >>> inverter = NeuralMatrixInverter.from_pretrained("uniform-3x3-short")
        >>> inverter.push_to_hub("me/uniform-3x3-short", license="bsd-3-clause")  # doctest: +SKIP
        """
        check_license(license)
        card, weights = self._stored()
        return push(
            partial(save, card=card, weights=weights, repository=repo_id, license=license),
            repo_id,
            commit_message=f"Upload a model of skdmi {__version__}" if commit_message is None else commit_message,
            private=private,
            token=token,
            branch=branch,
            create_pr=create_pr,
        )

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | os.PathLike[str],
        *,
        revision: str | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        token: str | bool | None = None,
        local_files_only: bool = False,
    ) -> Self:
        """Load a fitted inverter: of ``save_pretrained``, of a hub, or one that comes with skdmi.

        An ensemble comes with frozen members, as `EnsembleInverter.from_fitted` makes it.

        Parameters
        ----------
        name_or_path : str or path
            A directory, its ``model.safetensors`` itself, or a name such as ``"uniform-3x3-short"``; ``"owner/name"``
            is a model of a hub where there is no such directory here, ``"./owner/name"`` never.
        revision : str, default=None
            Of a model of a hub: a branch, a tag, or the hash of a commit, which alone always stands for the same
            weights. None is the newest.
        cache_dir : path, default=None
            Where what is fetched from a hub is kept; None leaves it to huggingface_hub.
        token : str or bool, default=None
            For private models of a hub; None takes the one of ``hf auth login``, False none.
        local_files_only : bool, default=False
            Whether only what was fetched from a hub before may serve.

        Returns
        -------
        inverter
            Of this class.

        Raises
        ------
        ConnectionError
            If a hub is not reached, and the model was not fetched before.
        FileNotFoundError
            If there is no such model.
        ValueError
            If it is damaged, of a later format, or not of this class; if a ``revision`` is given of what is of no hub.

        Examples
        --------
        >>> from skdmi import NeuralMatrixInverter
        >>> NeuralMatrixInverter.from_pretrained("uniform-3x3-short").matrix_size_
        3
        """
        return cls._restored(read_checked(name_or_path, hub=Hub(revision, cache_dir, token, local_files_only)))

    def _stored(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return card and weights."""
        raise NotImplementedError

    @classmethod
    def _restored(cls, model: Model) -> Self:
        """Return the inverter of a checked model."""
        raise NotImplementedError


def save(
    directory: str | os.PathLike[str],
    card: dict[str, Any],
    weights: dict[str, np.ndarray],
    *,
    repository: str | None = None,
    license: str | None = None,
) -> None:
    """Write a model; it raises as `skdmi.persistence.save_model`, and ValueError for what could not be read again.

    Its README names it by the directory, or by the repository of a hub that it goes to.
    """
    entries = {name: Entry(array.dtype, array.shape) for name, array in weights.items()}
    model = Model(Path(directory) / WEIGHTS, card, entries, weights)
    check_stored(model)
    check_weights(model)
    name = Path(os.path.realpath(directory)).name
    save_model(directory, model, readme(name, model, repository=repository, license=license))
