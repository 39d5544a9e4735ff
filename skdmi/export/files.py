"""Files on disk."""

import json
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError

from skdmi.io.atomic import atomic_path
from skdmi.io.format import PathLike
from skdmi.persistence.files import open_regular


def save(model: onnx.ModelProto, path: PathLike) -> None:
    """Write a model as one file, whole or not at all.

    Parameters
    ----------
    model : onnx.ModelProto
        As the functions of :mod:`skdmi.export` return it.
    path : str or path-like
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


def describe_file(path: PathLike) -> dict[str, Any]:
    """Return what a file says of itself, as JSON can hold it.

    Parameters
    ----------
    path : str or path-like
        A file that skdmi has exported.

    Returns
    -------
    dict
        ``"description"``, ``"version"`` of skdmi, ``"opset"``, ``"n_nodes"``, ``"n_bytes"``, ``"inputs"`` and
        ``"outputs"``, which map names to shapes, and the metadata: of fitted inverters ``"inverter"``, ``"members"``,
        and of refined ones ``"steps"``, ``"certified"`` and ``"certified_of"``.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is not a file that skdmi has exported.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from skdmi.export import closed_form, describe_file, save
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "inverse.onnx"
    ...     save(closed_form(3), path)
    ...     describe_file(path)["inputs"]
    {'A': ['n_matrices', 3, 3]}
    """
    with open_regular(Path(path)) as file:
        content = file.read()
    try:
        model = onnx.load_model_from_string(content)
        texts = {entry.key: json.loads(entry.value) for entry in model.metadata_props}
    except (DecodeError, RecursionError, ValueError):
        model = onnx.ModelProto()
    if model.producer_name != "skdmi":
        raise ValueError(f"{path} is no inverse that skdmi has exported.")
    return {
        "description": model.doc_string,
        "version": model.producer_version,
        "opset": model.opset_import[0].version,
        "n_nodes": len(model.graph.node),
        "n_bytes": len(content),
        "inputs": _shapes(model.graph.input),
        "outputs": _shapes(model.graph.output),
        **texts,
    }


def _shapes(values: Any) -> dict[str, list[str | int]]:
    return {
        value.name: [side.dim_param or side.dim_value for side in value.type.tensor_type.shape.dim] for value in values
    }
