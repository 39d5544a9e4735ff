"""Inverters as files for other runtimes."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skdmi.estimators.meta import unfrozen
from skdmi.io.format import PathLike
from skdmi.persistence import network_in_words, trained_sizes
from skdmi.training.problem import real_draw
from skdmi.training.stream import draw_stack, stream_seed
from skdmi.typing import ExportPolicy

N_MATRICES = 4096
"""Drawn to choose the number of steps by."""


class Exportable:
    """What can be written as a file for other runtimes, as it answers."""

    _source: Callable[[], Any]
    """Returns the network, or the combination of networks, that a file is made from."""
    _check_ready: Callable[[], None]
    _size: Callable[[], int | None]

    def export(
        self, path: PathLike, *, certificate: bool = True, uncertified: ExportPolicy = "keep", opset: int | None = None
    ) -> None:
        """Write the inverter as one ONNX file, which needs neither skdmi nor torch.

        Its answers are those of ``transform``, but in float32 and to rounding, whose order the runtime chooses.

        Parameters
        ----------
        path : path
            Replaced if it is there, whole or not at all.
        certificate : bool, default=True
            Whether the file also returns, for each matrix, ``rho`` and ``residual_norm``. Where ``rho`` is below 1, the
            matrix is proved nonsingular, and ``rho`` bounds the relative error in the units in which the file inverts:
            here those of the matrix (:func:`~skdmi.export.certificate.certify`). ``residual_norm`` is
            ``||I - A X||_F`` as float32 computes it: no proof, and no bound.
        uncertified : {"keep", "nan", "mask"}, default="keep"
            What becomes of inverses that are not proved: returned nonetheless; NaN; or returned with a further output,
            ``certified``, of bool.
        opset : int, default=18
            Version of the standard operators.

        Raises
        ------
        ImportError
            Without onnx: ``pip install "skdmi[export]"``.
        NotFittedError
            If the inverter is not fitted.
        ValueError
            If an argument is not allowed, or the start is one of your own.
        TypeError
            If a member of an ensemble cannot be exported.

        Notes
        -----
        Input ``A``, float32, shape ``(n_matrices, m, m)``, any number of matrices, m as fitted; for several sizes m is
        free. Matrices that are not finite, zero, or beyond about 1e-18 to 1e18 have a rho that is not below 1. As the
        network itself, the file takes out one scale for the whole matrix, so that rows of different units cost
        certificates; :meth:`RefinedInverter.export` equilibrates, save from the start of a family. The file of an
        inverter that is trained on complex matrices takes and returns their embeddings
        (:func:`skdmi.linalg.complex_to_real`), of size 2 m.

        Examples
        --------
        >>> import tempfile, pathlib, onnxruntime
        >>> import numpy as np
        >>> from skdmi import load_pretrained
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder) / "inverse.onnx"
        ...     load_pretrained("uniform-3x3-short").export(path)
        ...     session = onnxruntime.InferenceSession(path)
        >>> inverse, rho, residual_norm = session.run(None, {"A": 2 * np.eye(3, dtype=np.float32)[None]})
        >>> inverse[0].round(3)[0], rho < 1e-3
        (array([0.5, 0. , 0. ], dtype=float32), array([ True]))
        """
        from skdmi.export.files import save  # imports onnx
        from skdmi.export.finish import Ending
        from skdmi.export.fitted import as_it_is

        ending = Ending(certificate, uncertified, opset)
        self._check_ready()
        save(as_it_is(self._source(), size_in_file(self), ending, describe(self)), path)


def source_of(inverter: Any) -> Any:
    """Return what the file of an inverter is made from.

    Raises
    ------
    TypeError
        If it cannot be exported.
    """
    inverter = unfrozen(inverter)
    if not isinstance(inverter, Exportable):
        name = "RefinedInverter() without an inverter" if inverter is None else type(inverter).__name__
        raise TypeError(
            f"{name} cannot be exported: NeuralMatrixInverter, EnsembleInverter and RefinedInverter around either can. "
            f"skdmi.export.fixed(m) and elimination(m) make files for which nothing need be learned."
        )
    return inverter._source()


def size_in_file(inverter: Any) -> int | None:
    """Return the size of the matrices of a file, of embeddings that of these; None for any."""
    m: int | None = inverter._size()
    return 2 * m if m is not None and inverter._embeds(torch.empty(0)) else m


def networks_of(inverter: Any) -> list[Any]:
    """Return the fitted NeuralMatrixInverters in an inverter that can be exported."""
    inverter = unfrozen(inverter)
    if hasattr(inverter, "module_"):
        return [inverter]
    return [one for member in inverter._wrapped() for one in networks_of(member)]


def describe(inverter: Any) -> dict[str, Any]:
    """Return what a file says of itself, as JSON can hold it."""
    networks = networks_of(inverter)
    members = [
        {
            "network": network_in_words(one._architecture),
            "trained_on": repr(one.distribution_) if hasattr(one.distribution_, "to_dict") else "a function",
            "n_matrices_seen": one.n_matrices_seen_,
            "domain": one.domain_,
            "gain": one.gain_,
        }
        for one in networks
    ]
    return {"inverter": type(inverter).__name__, "members": members}


def drawn(inverter: Any) -> list[Tensor]:
    """Return matrices of the distributions that an inverter was trained on, a stack for each of them and each size.

    Raises
    ------
    ValueError
        If they cannot be drawn without the data that the fit saw.
    """
    networks = {repr(network.distribution_): network for network in networks_of(inverter)}
    stacks = []
    for network in networks.values():
        distribution = network.distribution_
        if distribution is None or getattr(distribution, "uses_data", False):
            raise ValueError(
                f"The number of steps is chosen by matrices like those to invert, and {distribution!r} draws none "
                f"without its data. Give some: export(path, X)."
            )
        m = size_in_file(inverter)
        sizes = set(trained_sizes(network._architecture)) if m is None else {m}
        generator = torch.Generator().manual_seed(stream_seed("export", network._seed))
        where = {"generator": generator, "device": torch.device("cpu"), "dtype": torch.float32}
        n_matrices = N_MATRICES // (len(sizes) * len(networks))
        stacks += [draw_stack(real_draw(distribution), n_matrices, m, **where) for m in sorted(sizes)]
    return stacks


def as_float32(stack: Tensor) -> np.ndarray:
    """Return a stack as a file reads it.

    Raises
    ------
    ValueError
        If an entry is beyond the range.
    """
    with np.errstate(over="ignore"):
        array = stack.detach().cpu().numpy().astype(np.float32)
    if not np.isfinite(array).all():
        raise ValueError("X has entries beyond the range of float32, in which files compute. Scale it.")
    return array
