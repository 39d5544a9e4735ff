"""Files that nothing was learned for: fixed coefficients, closed forms, and a certificate alone."""

import math
from numbers import Integral, Real
from typing import Any

import onnx

from skdmi.export.certificate import CERTIFIED_UP_TO, certify
from skdmi.export.cofactors import CLOSED_UP_TO
from skdmi.export.finish import Ending
from skdmi.export.gauss_jordan import ELIMINATED_UP_TO
from skdmi.export.graph import FIRST, LAST, Graph
from skdmi.export.refined import invert_along_stack, invert_by_steps
from skdmi.export.scale import equilibrate
from skdmi.iteration import TRANSPOSE
from skdmi.typing import ExportPolicy

CONDITION = 3e3
"""That files are made for: of matrices with uniform entries, m = 16, eight in a thousand are worse."""


def fixed(
    m: int,
    *,
    condition: float = CONDITION,
    certificate: bool = True,
    uncertified: ExportPolicy = "keep",
    opset: int | None = None,
) -> onnx.ModelProto:
    r"""Return a file that inverts m x m matrices by steps with fixed coefficients: no training, two products a step.

    .. math:: A' = D_1^{-1} A D_2^{-1}, \quad X_0 = c A'^T, \quad X_k = X_{k-1} (\alpha_k I - A' X_{k-1}), \quad
       X = D_2^{-1} X_n D_1^{-1}

    with powers of two D1 and D2 that bring rows and then columns to one scale, and :math:`\alpha_k` in closed form
    (:func:`~skdmi.export.steps.equalizing_steps`). Powers of two on rows cost nothing, on columns about a factor of two
    in ``rho``; where those of rows and columns together span more than about 1e25, nothing is certified.

    Parameters
    ----------
    m : int
        The size of the matrices.
    condition : float, default=3e3
        The condition number of A' up to which inverses are as accurate as float32 allows; up to more than ten times
        that they are still certified, as far as float32 certifies any. Every factor of two costs a step.
    certificate : bool, default=True
        Whether the file also returns ``rho`` and ``residual_norm``. Where ``rho`` is below 1, the matrix is proved
        nonsingular, and ``rho`` bounds the relative error of the inverse of A'
        (:func:`~skdmi.export.certificate.certify`). ``residual_norm`` is ``||I - A X||_F`` as float32 computes it: no
        proof, and no bound.
    uncertified : {"keep", "nan", "mask"}, default="keep"
        What becomes of inverses that are not proved: returned nonetheless, or NaN in their place; or returned with a
        further output, ``certified``, of bool.
    opset : int, default=18
        Version of the standard operators.

    Returns
    -------
    onnx.ModelProto
        Input ``A``, float32, shape ``(n_matrices, m, m)``; outputs ``inverse``, of the same shape, and ``rho`` and
        ``residual_norm``, of shape ``(n_matrices,)``. :func:`~skdmi.export.save` writes it.

    Raises
    ------
    ValueError
        If an argument is not allowed.

    See Also
    --------
    closed_form : For m up to 4, in a fraction of the time.
    elimination : For m from 5 to 12, for stacks of a hundred matrices or more.

    Examples
    --------
    >>> import numpy as np
    >>> import onnxruntime
    >>> from skdmi.export import fixed
    >>> session = onnxruntime.InferenceSession(fixed(2).SerializeToString())
    >>> A = np.array([[[2, 0], [0, 4]], [[1, 2], [2, 4]]], np.float32)
    >>> inverse, rho, residual_norm = session.run(None, {"A": A})
    >>> inverse[0]
    array([[0.5 , 0.  ],
           [0.  , 0.25]], dtype=float32)
    >>> rho < 1
    array([ True, False])
    """
    graph = Graph(_checked(m))
    ending = Ending(certificate, uncertified, opset)
    _by_steps(graph, condition, ending)
    return ending.model(graph, f"Inverses of {m} x {m} matrices, by fixed steps", {"condition": f"{condition:g}"})


def any_size(
    *,
    condition: float = CONDITION,
    certificate: bool = True,
    uncertified: ExportPolicy = "keep",
    opset: int | None = None,
) -> onnx.ModelProto:
    """Return one file for every m: :func:`fixed`, with all that depends on m computed inside.

    Parameters
    ----------
    condition : float, default=3e3
        As for :func:`fixed`, up to m = 64; beyond, it shrinks as the fourth root of m.
    certificate : bool, default=True
        As for :func:`fixed`. No matrix beyond m = 4096 is certified.
    uncertified : {"keep", "nan", "mask"}, default="keep"
        As for :func:`fixed`.
    opset : int, default=18
        Version of the standard operators.

    Returns
    -------
    onnx.ModelProto
        As of :func:`fixed`, with m for the file's user to choose.

    Examples
    --------
    >>> import numpy as np
    >>> import onnxruntime
    >>> from skdmi.export import any_size
    >>> session = onnxruntime.InferenceSession(any_size().SerializeToString())
    >>> [session.run(["rho"], {"A": np.eye(m, dtype=np.float32)[None]})[0] < 1 for m in (1, 5)]
    [array([ True]), array([ True])]
    """
    graph = Graph(None)
    ending = Ending(certificate, uncertified, opset)
    _by_steps(graph, condition, ending)
    return ending.model(graph, "Inverses of matrices of any size, by fixed steps", {"condition": f"{condition:g}"})


def closed_form(
    m: int, *, certificate: bool = True, uncertified: ExportPolicy = "keep", opset: int | None = None
) -> onnx.ModelProto:
    r"""Return a file that inverts by cofactors, :math:`A^{-1} = \operatorname{adj}(A) / \det A`, for m up to 4.

    Rows and columns are equilibrated before as in :func:`fixed`. Operations run along the stack, not along matrices,
    so that stacks of any length cost little.

    Parameters
    ----------
    m : {1, 2, 3, 4}
        The size of the matrices.
    certificate : bool, default=True
        As for :func:`fixed`.
    uncertified : {"keep", "nan", "mask"}, default="keep"
        As for :func:`fixed`.
    opset : int, default=18
        Version of the standard operators.

    Returns
    -------
    onnx.ModelProto
        As of :func:`fixed`.

    Raises
    ------
    ValueError
        If an argument is not allowed.

    Examples
    --------
    >>> import numpy as np
    >>> import onnxruntime
    >>> from skdmi.export import closed_form
    >>> session = onnxruntime.InferenceSession(closed_form(2).SerializeToString())
    >>> session.run(["inverse"], {"A": np.array([[[1, 4], [2, 4]]], np.float32)})[0]
    array([[[-1.  ,  1.  ],
            [ 0.5 , -0.25]]], dtype=float32)
    """
    return _along_stack(_checked(m, 1, CLOSED_UP_TO), "cofactors", Ending(certificate, uncertified, opset))


def elimination(
    m: int, *, certificate: bool = True, uncertified: ExportPolicy = "keep", opset: int | None = None
) -> onnx.ModelProto:
    """Return a file that inverts by Gauss-Jordan elimination with partial pivoting, for m from 5 to 12.

    Rows and columns are equilibrated before as in :func:`fixed`, and operations run along the stack as in
    :func:`closed_form`. Faster than :func:`fixed` for stacks of a hundred matrices or more, and accurate whatever the
    condition number; slower for one matrix, since there are more nodes.

    Parameters
    ----------
    m : int
        The size of the matrices, from 5 to 12.
    certificate : bool, default=True
        As for :func:`fixed`.
    uncertified : {"keep", "nan", "mask"}, default="keep"
        As for :func:`fixed`.
    opset : int, default=18
        Version of the standard operators.

    Returns
    -------
    onnx.ModelProto
        As of :func:`fixed`.

    Raises
    ------
    ValueError
        If an argument is not allowed.

    Examples
    --------
    >>> import numpy as np
    >>> import onnxruntime
    >>> from skdmi.export import elimination
    >>> session = onnxruntime.InferenceSession(elimination(5).SerializeToString())
    >>> P = np.eye(5, dtype=np.float32)[[3, 0, 4, 1, 2]]
    >>> bool((session.run(["inverse"], {"A": P[None]})[0] == P.T).all())
    True
    """
    smallest = CLOSED_UP_TO + 1
    return _along_stack(_checked(m, smallest, ELIMINATED_UP_TO), "elimination", Ending(certificate, uncertified, opset))


def export_certificate(m: int | None = None, *, opset: int | None = None) -> onnx.ModelProto:
    """Return a file that certifies inverses that something else has found: one product.

    Parameters
    ----------
    m : int, optional
        The size of the matrices; by default any.
    opset : int, default=18
        Version of the standard operators.

    Returns
    -------
    onnx.ModelProto
        Inputs ``A`` and ``X``, float32, shape ``(n_matrices, m, m)``; outputs ``rho`` and ``residual_norm``, shape
        ``(n_matrices,)``: see :func:`~skdmi.export.certificate.certify`.

    Raises
    ------
    ValueError
        If an argument is not allowed.

    Examples
    --------
    >>> import numpy as np
    >>> import onnxruntime
    >>> from skdmi.export import export_certificate
    >>> session = onnxruntime.InferenceSession(export_certificate(2).SerializeToString())
    >>> A = 2 * np.eye(2, dtype=np.float32)[None]
    >>> [session.run(["rho"], {"A": A, "X": X})[0] < 1 for X in (A / 4, A)]
    [array([ True]), array([False])]
    """
    graph = Graph(None if m is None else _checked(m), LAST if m is not None and m <= CLOSED_UP_TO else FIRST)
    scaled = equilibrate(graph.input("A"))
    found = certify(graph, scaled, scaled.scaled_inverse(graph.input("X", inverse=True)))
    graph.output("rho", found.rho)
    graph.output("residual_norm", found.residual_norm)
    return Ending(True, "keep", opset).model(graph, "Certificates for inverses", {})


def _along_stack(m: int, how: str, ending: Ending) -> onnx.ModelProto:
    graph = Graph(m, LAST)
    ending.finish(graph, *invert_along_stack(graph, graph.input("A")))
    return ending.model(graph, f"Inverses of {m} x {m} matrices, by {how}", {})


def _by_steps(graph: Graph, condition: Any, ending: Ending) -> None:
    if isinstance(condition, bool) or not isinstance(condition, Real) or not 1 <= float(condition) < math.inf:
        raise ValueError(f"condition={condition!r}; expected a number of at least 1, the condition number to serve.")
    ending.finish(graph, *invert_by_steps(graph, graph.input("A"), start=TRANSPOSE, condition=float(condition)))


def _checked(m: Any, smallest: int = 1, largest: int = CERTIFIED_UP_TO) -> int:
    if isinstance(m, bool) or not isinstance(m, Integral) or not smallest <= int(m) <= largest:
        raise ValueError(f"m={m!r}; expected a whole number from {smallest} to {largest}, the size of the matrices.")
    return int(m)
