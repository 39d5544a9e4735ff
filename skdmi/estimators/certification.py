"""``certify``: check inverses, whoever computed them; and ``CertificateReport``: what is proved of each."""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from skdmi.arrays import as_array, as_contiguous, as_float_array, to_numpy
from skdmi.dtypes import is_complex
from skdmi.embedding import embed
from skdmi.estimators.checking import check
from skdmi.estimators.findings import Findings, of_embedding
from skdmi.estimators.report import largest_of
from skdmi.estimators.unrounded import as_unrounded
from skdmi.exceptions import name_indices
from skdmi.kinds import is_dask, is_tensor
from skdmi.typing import ArrayLike, BoolArray, DaskArray, Float64Array, Structure
from skdmi.validation import check_square

if TYPE_CHECKING:
    from torch import Tensor

STRUCTURES = (None, "unit_lower", "spd")
_SHAPE = "(..., m, m)"


@dataclass(frozen=True, eq=False, repr=False)
class CertificateReport:
    r"""What is proved of matrices A and their alleged inverses X; numpy arrays of shape ``A.shape[:-2]``.

    Parameters
    ----------
    certified : ndarray of bool
        Whether it is proved that A, as it is stored, is nonsingular, and X as close to its inverse as ``error_bound``
        says, which is finite.
    error_bound : ndarray
        Proved upper bound on :math:`\|X - A^{-1}\|_F / \|A^{-1}\|_F`; NaN or infinite where uncertified. Without
        ``tight`` it holds for the spectral norms, too.
    residual_norm, left_residual_norm : ndarray
        :math:`\|I - A X\|_F` and :math:`\|I - X A\|_F`, as computed, no bounds; NaN where A, X or they are not finite.
    condition_lower, condition_upper : ndarray
        Proved bounds on the condition number :math:`\|A\|_1 \|A^{-1}\|_1`: NaN and infinity where uncertified.
    robust : ndarray of bool
        Whether every matrix within a unit roundoff of A, :math:`|b_{ij} - a_{ij}| \le u |a_{ij}|` in the dtype of A, is
        proved to be nonsingular, too: all that rounds to A, where nothing underflows. Half precision counts as the
        float32 that it is read as.
    entry_bound : array of shape (..., m, m) or None
        With ``tight``: proved upper bounds on :math:`|X - A^{-1}|`, entry by entry, in the container of X; infinite
        where uncertified.
    structured : ndarray of bool or None
        With a ``structure``: whether A has it to the bit; of ``"spd"``, whether it is symmetric.
    positive_definite : ndarray of bool or None
        With ``structure="spd"``: whether A is proved to be symmetric and positive definite.
    smallest_eigenvalue : ndarray or None
        With ``structure="spd"``: proved lower bound on the smallest eigenvalue of A; NaN where nothing is proved.

    Examples
    --------
    >>> import skdmi
    >>> A = np.array([[[2.0, 0.0], [0.0, 4.0]], [[1.0, 2.0], [2.0, 4.0]]])
    >>> report = skdmi.certify(A, np.array([[0.5, 0.0], [0.0, 0.25]]) + np.zeros_like(A))
    >>> report.certified, report.error_bound < 1e-14
    (array([ True, False]), array([ True, False]))
    >>> bool(report.condition_lower[0] <= 2.0 <= report.condition_upper[0])
    True
    """

    certified: BoolArray
    error_bound: Float64Array
    residual_norm: Float64Array
    left_residual_norm: Float64Array
    condition_lower: Float64Array
    condition_upper: Float64Array
    robust: BoolArray
    entry_bound: Any = None
    structured: BoolArray | None = None
    positive_definite: BoolArray | None = None
    smallest_eigenvalue: Float64Array | None = None

    def __len__(self) -> int:
        return self.certified.size

    def __repr__(self) -> str:
        return f"<CertificateReport: {self.summary()}>"

    def summary(self) -> str:
        """Return the report in a sentence, with the indices, along the flattened leading axes, of what has no proof.

        Returns
        -------
        str
            At most ten indices are named.

        Examples
        --------
        >>> import skdmi
        >>> A = np.array([[[2.0, 0.0], [0.0, 4.0]], [[1.0, 2.0], [2.0, 4.0]]])
        >>> print(skdmi.certify(A, A).summary())
        0 of 2 certified; not certified at index 0, 1; largest residual norm ...
        """
        certified = np.ravel(self.certified)
        parts = [f"{np.count_nonzero(certified)} of {len(self)} certified"]
        if not certified.all():
            parts.append(f"not certified at index {name_indices(np.flatnonzero(~certified))}")
        if self.structured is not None and not np.all(self.structured):
            parts.append(f"{np.count_nonzero(~self.structured)} without the structure")
        if self.positive_definite is not None:
            parts.append(f"{np.count_nonzero(self.positive_definite)} proved positive definite")
        parts += largest_of({"residual norm": self.residual_norm, "error bound": self.error_bound})
        return "; ".join(parts)

    def to_frame(self) -> Any:
        """Return all but the entry bounds as a table.

        Returns
        -------
        pandas.DataFrame
            A row a matrix, a column a field that there is.

        Examples
        --------
        >>> import skdmi
        >>> list(skdmi.certify(np.eye(2), np.eye(2)).to_frame().columns)[:3]
        ['certified', 'error_bound', 'residual_norm']
        """
        import pandas as pd

        known = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "entry_bound"}
        return pd.DataFrame({name: np.ravel(values) for name, values in known.items() if values is not None})


def certify(
    A: "ArrayLike | Tensor | DaskArray",
    X: "ArrayLike | Tensor | DaskArray",
    *,
    tight: bool = False,
    structure: Structure | None = None,
) -> CertificateReport:
    r"""Check inverses, whoever computed them: prove that each A is nonsingular, and bound the error of its X.

    *In words.* If A times X is nearly the identity, with room for all that rounding may hide, then A is nonsingular,
    and X is as close to its inverse as the product is to the identity. That asks for nothing but the numbers
    themselves: neither how X was computed, nor on what, nor whether the library behind it is right.

    *In formulas.* With :math:`R = I - A X`, formed in float64 after both have been equilibrated by powers of two, and
    :math:`E \ge |R|` with a bound on its rounding: if :math:`\|E\| < 1` in some norm, A is nonsingular, and
    :math:`A^{-1} - X = A^{-1} R = X R\,(I - R)^{-1}` bounds the error; :func:`skdmi.linalg.certify` has the bounds and
    the proof. This takes two products, one of them for the left residual. With ``tight`` the residual is formed in
    twice the precision and bounds the error entry by entry, mostly by hardly more than it is:

    .. math:: |X - A^{-1}| \le W + W E + \frac{(W E e)\, s^T}{1 - \|E\|_\infty},
       \qquad W \ge |X R|, \quad s_j = \max_i E_{ij},

    see :func:`skdmi.linalg.certify_tightly`.

    *What it does not prove.* Anything about the matrix that A was before it was rounded or measured, save what
    ``robust`` says. That X is the best inverse in its dtype, or meets a tolerance: ``error_bound`` says how close it
    is, and may be large. That an uncertified A is singular, or its X wrong: they may be beyond what this proof reaches,
    which ends at condition numbers of about 1e14, with ``tight`` 1e16. Nor anything about what is computed from X.

    Parameters
    ----------
    A, X : array-likes of shape (..., m, m)
        Matrices and what are said to be their inverses, either of them real or complex: numpy arrays, torch tensors on
        any device, dask arrays, or nested lists; of single or double precision, or what these can hold, for a proof
        about rounded numbers would be none. A member that is not finite is not certified, and spoils no other; 0 x 0
        matrices are their own inverses.
    tight : bool, default=False
        Whether to bound every entry, in about three times the time.
    structure : {None, "unit_lower", "spd"}, default=None
        What A is said to be, which is checked. ``"unit_lower"``, unit lower triangular, as X must be then, is
        certified by products in the dtype of A (:func:`skdmi.linalg.certify_unit_lower`); ``"spd"``, symmetric to the
        bit and positive definite, is proved, with a lower bound on the smallest eigenvalue
        (:func:`skdmi.linalg.certify_positive_definite`). Complex matrices may be Hermitian, ``"spd"``, too.

    Returns
    -------
    CertificateReport
        Of every matrix what is proved, in numpy arrays.

    Raises
    ------
    ValueError
        If A and X are not of one shape (..., m, m), or hold integers or long doubles that float64 cannot hold; or if an
        argument is not allowed.
    TypeError
        If they are no arrays of numbers.

    See Also
    --------
    inv : Inverses that come with such a proof.
    linalg.certify : The same on tensors, which stays on their device.

    Notes
    -----
    Complex matrices are certified in their embedding (:func:`skdmi.linalg.complex_to_real`), and what is said is said
    of the complex ones: norms are those of the embedding over the root of two, and a lower bound on the condition
    number may be half of what it could be, since sums of real and imaginary parts stand in for moduli.

    Gradients are ignored. Autocast, TF32 and reduced precision of products weaken nothing, since float64 knows none of
    them; nor does flushing subnormal numbers to zero.

    References
    ----------
    .. [1] Ogita, Rump and Oishi, "Verified solutions of linear systems without directed rounding", Tech. Rep. 2005-04,
       Waseda University, 2005.
    .. [2] Rump, "Verification methods: rigorous results using floating-point arithmetic", Acta Numerica 19, 2010.

    Examples
    --------
    >>> import skdmi
    >>> A = np.array([[[4.0, 3.0], [6.0, 3.0]], [[1.0, 2.0], [2.0, 4.0]]])
    >>> X = np.array([[[-0.5, 0.5], [1.0, -2 / 3]], [[0.2, 0.4], [0.4, 0.8]]])
    >>> report = skdmi.certify(A, X)
    >>> report.certified
    array([ True, False])
    >>> bool(report.error_bound[0] < 1e-14)
    True
    >>> skdmi.certify(A, X, tight=True).entry_bound[0] < 1e-16
    array([[ True,  True],
           [ True,  True]])
    """
    if not isinstance(tight, bool | np.bool_):
        raise ValueError(f"tight={tight!r}; expected True or False.")
    if structure not in STRUCTURES:
        raise ValueError(f"structure={structure!r}; expected one of {', '.join(map(repr, STRUCTURES))}.")
    if is_dask(A) or is_dask(X):
        return _certify_dask(A, X, tight, structure)
    return _certify_whole(A, X, tight, structure)


def _certify_whole(A: Any, X: Any, tight: bool, structure: str | None) -> CertificateReport:
    """Certify arrays and tensors."""
    A, X = (_read(T, name) for T, name in ((A, "A"), (X, "X")))
    _check_shapes(A, X)
    *leading, m, _ = A.shape
    if 0 in A.shape:
        found = _of_nothing(A.shape, tight, structure)
    else:
        found = _find(A.reshape(-1, m, m), X.reshape(-1, m, m), tight, structure)
    bound = found.entry_bound
    if bound is not None:
        bound = bound.reshape(A.shape)
        if is_tensor(X):
            bound = _as_tensor(bound).to(X.device)
    return _report(found, tuple(leading), bound)


def _read(T: Any, name: str) -> Any:
    """Return a tensor or a numpy array of one of LAPACK's dtypes, contiguous."""
    if not is_tensor(T):
        T = as_unrounded(T, name=name, shape=_SHAPE, allows_complex=True)
        return as_float_array(T, name=name, shape=_SHAPE, allows_complex=True)
    T = as_array(T, name=name, shape=_SHAPE, allows_complex=True).detach().resolve_neg().resolve_conj()
    T = as_unrounded(T, name=name, allows_complex=True)
    if T.is_complex():
        return T
    return T.double() if not T.is_floating_point() else T.float() if T.dtype.itemsize < 4 else T


def _check_shapes(A: Any, X: Any) -> None:
    for name, T in (("A", A), ("X", X)):
        check_square(name, T)
    if A.shape != X.shape:
        raise ValueError(
            f"A has shape {tuple(A.shape)}, X has shape {tuple(X.shape)}. Expected one inverse for every matrix, X of "
            f"the shape of A; for one matrix and many inverses try numpy.broadcast_to(A, X.shape)."
        )


def _find(A: Any, X: Any, tight: bool, structure: str | None) -> Findings:
    """Certify flat stacks: through numpy where both are on the CPU, else on the device of A."""
    if is_complex(A) or is_complex(X):
        if structure == "unit_lower":
            raise ValueError("structure='unit_lower' is for real matrices, got complex ones. Try None.")
        return of_embedding(_find(_embedded(A), _embedded(X), tight, structure))
    on_device = [T for T in (A, X) if is_tensor(T) and T.device.type != "cpu"]
    if not on_device:
        A, X = (as_contiguous(to_numpy(T)) for T in (A, X))
        return check(A, X, tight=tight, structure=structure)
    from skdmi.estimators.reference import check_tensors  # imports torch

    A, X = (T if is_tensor(T) else _as_tensor(T) for T in (A, X))
    device = on_device[0].device
    found = check_tensors(A.to(device), X.to(device), tight=tight, structure=structure)
    return Findings._make(None if field is None else to_numpy(field) for field in found)


def _embedded(T: Any) -> Any:
    """Return a complex stack, or a real one beside it, as real matrices of twice the size."""
    if not is_tensor(T):
        return embed(T)
    from skdmi.linalg.complex import embedded  # imports torch

    return embedded(T)


def _of_nothing(shape: tuple[int, ...], tight: bool, structure: str | None) -> Findings:
    """Certify matrices without entries: each is its own inverse, and of the least eigenvalue any bound is proved."""
    proved, nothing = np.ones(shape[:-2], bool), np.zeros(shape[:-2])
    figures = {name: nothing.copy() for name in ("error_bound", "residual_norm", "left_residual_norm")}
    figures |= {name: nothing.copy() for name in ("condition_lower", "condition_upper")}
    if structure is not None:
        figures["structured"] = proved.copy()
    if structure == "spd":
        figures |= {"positive_definite": proved.copy(), "smallest_eigenvalue": np.full(shape[:-2], np.inf)}
    return Findings(certified=proved, robust=proved.copy(), entry_bound=np.empty(shape) if tight else None, **figures)


def _as_tensor(array: np.ndarray) -> Any:
    import torch

    return torch.from_numpy(as_contiguous(array, writeable=True))


def _report(found: Findings, leading: tuple[int, ...], entry_bound: Any) -> CertificateReport:
    known = {name: field for name, field in found._asdict().items() if name != "entry_bound" and field is not None}
    return CertificateReport(**{name: field.reshape(leading) for name, field in known.items()}, entry_bound=entry_bound)


def _certify_dask(A: Any, X: Any, tight: bool, structure: Structure | None) -> CertificateReport:
    """Certify block by block, of whole matrices; entry bounds are left lazy."""
    import dask.array as da

    A, X = (
        T if is_dask(T) else da.from_array(to_numpy(_read(T, name)), chunks="auto") for T, name in ((A, "A"), (X, "X"))
    )
    _check_shapes(A, X)
    last = A.ndim - 1
    A = A.rechunk({last - 1: -1, last: -1})
    X = X.rechunk(A.chunks)
    names = [field.name for field in fields(CertificateReport)]

    def figures(A: np.ndarray, X: np.ndarray) -> np.ndarray:
        report = certify(A, X, tight=tight, structure=structure)
        known = [getattr(report, name) for name in names if name != "entry_bound"]
        return np.stack([np.full(A.shape[:-2], np.nan) if values is None else values for values in known], axis=-1)

    def bounds(A: np.ndarray, X: np.ndarray) -> Any:
        return certify(A, X, tight=True, structure=structure).entry_bound

    chunks = (*A.chunks[:-2], (len(names) - 1,))
    meta = np.empty((0,) * last)
    found = da.map_blocks(figures, A, X, dtype=float, drop_axis=[last], chunks=chunks, meta=meta).compute()
    known = dict(zip([name for name in names if name != "entry_bound"], np.moveaxis(found, -1, 0), strict=True))
    for name in ("certified", "robust", "structured", "positive_definite"):
        known[name] = known[name].astype(bool)
    if structure is None:
        known["structured"] = None
    if structure != "spd":
        known["positive_definite"] = known["smallest_eigenvalue"] = None
    entry_bound = da.map_blocks(bounds, A, X, dtype=float, meta=np.empty((0,) * A.ndim)) if tight else None
    return CertificateReport(**known, entry_bound=entry_bound)
