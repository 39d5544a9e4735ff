"""Files on disk."""

import onnx

from skdmi.io.atomic import atomic_path
from skdmi.io.format import PathLike


def save(model: onnx.ModelProto, path: PathLike) -> None:
    """Write a model as one file, whole or not at all.

    Parameters
    ----------
    model : onnx.ModelProto
    path : path
        Replaced if it is there.

    Raises
    ------
    OSError
        If no file can be written there.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from skdmi.export import closed_form, save
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "inverse.onnx"
    ...     save(closed_form(3), path)
    ...     path.stat().st_size < 4000
    True
    """
    with atomic_path(path) as temporary:
        temporary.write_bytes(model.SerializeToString(deterministic=True))
