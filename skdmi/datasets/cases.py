"""The cases of the audit set, read from the file that ``scripts/make_audit.py`` writes."""

from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files
from typing import Any

import numpy as np

from skdmi.datasets.families import FAMILIES

DTYPES = ("float64", "float32")


@dataclass(frozen=True, eq=False, repr=False)
class AuditCase:
    """A small stack of one family, with exact inverses; the arrays are the caller's own.

    Parameters
    ----------
    name : str
        Such as ``"hilbert-9"``: the family, and the side m.
    family : str
        One of ``skdmi.datasets.families.FAMILIES``.
    description : str
        What the family is, in a sentence.
    matrices : ndarray of shape (n_matrices, m, m)
        The stack, float32 or float64.
    inverse : ndarray of shape (n_matrices, m, m), float64
        The exact inverse of the stored bits, rounded to the nearest float64, whatever the dtype of the matrices; NaN
        where a member is singular, infinite where an entry is beyond the range of float64.
    inverse_low : ndarray of shape (n_matrices, m, m), float64
        The rest, rounded: ``inverse + inverse_low`` is the exact inverse to :math:`2^{-106}`, entry by entry, where
        that is not below the subnormal numbers.
    singular : ndarray of bool, shape (n_matrices,)
        Whether a member has no inverse, in exact arithmetic.
    out_of_range : ndarray of bool, shape (n_matrices,)
        Whether it has one, but with an entry beyond the range of the dtype of the matrices.

    Examples
    --------
    >>> case = audit("hilbert-9")
    >>> case
    <AuditCase hilbert-9: 3 of 9 x 9, float64>
    >>> case.inverse.shape, case.singular.any()
    ((3, 9, 9), np.False_)
    """

    name: str
    family: str
    description: str
    matrices: np.ndarray
    inverse: np.ndarray
    inverse_low: np.ndarray
    singular: np.ndarray
    out_of_range: np.ndarray

    def __len__(self) -> int:
        return len(self.matrices)

    def __repr__(self) -> str:
        n, m, _ = self.matrices.shape
        return f"<AuditCase {self.name}: {n} of {m} x {m}, {self.matrices.dtype}>"


def audit_names(dtype: Any = "float64") -> list[str]:
    """Return the names of the cases that there are in a dtype, family by family.

    Most families are the same in both: their entries are float32. Those at the ends of the range differ, and what
    float32 cannot hold is in float64 alone.

    Parameters
    ----------
    dtype : {"float64", "float32"} or dtype, default="float64"
        Of the matrices.

    Returns
    -------
    list of str
        For :func:`audit`: the family, and the side m.

    Raises
    ------
    ValueError
        If there is no audit set in this dtype.

    Examples
    --------
    >>> audit_names()[:3]
    ['permutation-4', 'permutation-16', 'leading-zeros-4']
    >>> len(audit_names()) > len(audit_names("float32"))
    True
    """
    return list(_stored(_dtype_name(dtype)))


def audit(name: str, dtype: Any = "float64") -> AuditCase:
    """Return one case of the audit set: a small stack of a family that breaks inverses, and its exact inverses.

    Parameters
    ----------
    name : str
        One of :func:`audit_names`.
    dtype : {"float64", "float32"} or dtype, default="float64"
        Of the matrices. Inverses are exact for the bits of that dtype, and float64 themselves.

    Returns
    -------
    AuditCase
        Arrays of its own, which may be changed.

    Raises
    ------
    ValueError
        If there is no such case in this dtype; names those that there are.

    Notes
    -----
    Matrices are made of integers and fractions and rounded once, inverses by exact rational arithmetic, in
    ``scripts/make_audit.py``.

    References
    ----------
    Higham, "Accuracy and stability of numerical algorithms", 2nd edition, SIAM, 2002, sections 9.4 (growth), 28.1
    (Hilbert) and 28.4 (Pascal).

    Kahan, "Numerical linear algebra", Canadian Mathematical Bulletin 9, 1966.

    S. Yang, B. Wang, Y. Zhang, Y. Shen and Y. Kim, "Parallelizing linear transformers with the delta rule over sequence
    length", NeurIPS 2024, arXiv:2406.06484.

    Examples
    --------
    >>> from skdmi.datasets import audit
    >>> case = audit("hilbert-3")
    >>> case
    <AuditCase hilbert-3: 3 of 3 x 3, float64>
    >>> case.matrices[0]
    array([[60., 30., 20.],
           [30., 20., 15.],
           [20., 15., 12.]])
    >>> case.inverse[0] * 60
    array([[   9.,  -36.,   30.],
           [ -36.,  192., -180.],
           [  30., -180.,  180.]])
    >>> (abs(case.inverse_low[0]) <= abs(case.inverse[0]) * 2.0**-53).all()
    np.True_
    """
    dtype_name = _dtype_name(dtype)
    stored = _stored(dtype_name)
    if name not in stored:
        raise ValueError(f"Got {name!r}; expected the name of a case in {dtype_name}, one of {', '.join(stored)}.")
    arrays = _read(stored[name])
    matrices = arrays["matrices"].astype(dtype_name)
    inverse = arrays["inverse"]
    singular = np.isnan(inverse).any(axis=(1, 2))
    with np.errstate(over="ignore"):
        out_of_range = np.isinf(inverse.astype(dtype_name)).any(axis=(1, 2))
    family = name.rpartition("-")[0]
    return AuditCase(name, family, FAMILIES[family], matrices, inverse, arrays["inverse_low"], singular, out_of_range)


def _dtype_name(dtype: Any) -> str:
    """Return the name of a dtype that there is an audit set in."""
    try:
        name = np.dtype(dtype).name
    except TypeError:
        name = repr(dtype)
    if name not in DTYPES:
        raise ValueError(f"Got dtype {name}; expected one of {', '.join(DTYPES)}.")
    return name


@cache
def _stored(dtype_name: str) -> dict[str, str]:
    """Return names of cases, and where they are in the file, in the order in which they were made."""
    with as_file(files("skdmi.datasets") / "audit.npz") as path, np.load(path) as archive:
        keys = dict.fromkeys(key.rpartition("/")[0] for key in archive.files)
    found = {key.partition("/")[0]: key for key in keys if key.partition("/")[2] in ("both", dtype_name)}
    families = list(FAMILIES)
    return dict(sorted(found.items(), key=lambda item: families.index(item[0].rpartition("-")[0])))


def _read(key: str) -> dict[str, np.ndarray]:
    """Return the arrays of a case, fresh."""
    with as_file(files("skdmi.datasets") / "audit.npz") as path, np.load(path) as archive:
        return {name: archive[f"{key}/{name}"] for name in ("matrices", "inverse", "inverse_low")}
