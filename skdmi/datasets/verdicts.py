"""``judge``: what anybody's inverse makes of the audit set."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from skdmi.datasets.allowance import measure
from skdmi.datasets.calls import Uncallable, ask, find_convention
from skdmi.datasets.cases import AuditCase, audit, audit_names
from skdmi.datasets.families import FAMILIES
from skdmi.progress import progress

VERDICTS = RIGHT, SAID_SO, SILENT = ("right", "wrong and said so", "wrong and silent")
RAISES, REFUSES = "raises for the stack", "raises for every matrix"


@dataclass(frozen=True, eq=False)
class CaseVerdict:
    """What became of one case; arrays of shape (n_matrices,).

    Parameters
    ----------
    name, family : str
        Of the case, as :func:`~skdmi.datasets.audit` has them.
    verdict : ndarray of str
        ``"right"``, ``"wrong and said so"`` or ``"wrong and silent"``.
    error : ndarray of float64
        Relative, in the units of the equilibrated matrix; NaN where nothing finite was returned, infinite where there
        is nothing to be near to.
    allowed : ndarray of float64
        How large it may be; 0 where there is no inverse.
    said_so : ndarray of bool
        Whether it was said, in whatever way, that there is no inverse, or that the answer is none.
    note : str
        ``"raises for the stack"`` where members had to be given one by one, because one of them raised an error for
        all; ``"raises for every matrix"`` where even the identity of this size does; else empty.

    Examples
    --------
    >>> case = judge(np.linalg.inv, families=["permutation"], sizes=[4]).cases[0]
    >>> case.name, set(case.verdict.tolist()), case.error.max()
    ('permutation-4', {'right'}, np.float64(0.0))
    """

    name: str
    family: str
    verdict: np.ndarray
    error: np.ndarray
    allowed: np.ndarray
    said_so: np.ndarray
    note: str


@dataclass(frozen=True, eq=False, repr=False)
class AuditReport:
    """What became of the audit set: str(report) is a table of families.

    Parameters
    ----------
    dtype : str
        ``"float64"`` or ``"float32"``.
    cases : tuple of CaseVerdict
        In the order of :func:`~skdmi.datasets.audit_names`.

    Examples
    --------
    >>> report = judge(lambda A: np.linalg.inv(A) * 1.001, families=["permutation"], sizes=[4])
    >>> report.counts()["wrong and silent"] == len(report.silent()["permutation-4"]) > 0
    True
    """

    dtype: str
    cases: tuple[CaseVerdict, ...]

    def __repr__(self) -> str:
        return f"<AuditReport, {self.dtype}: {', '.join(f'{n} {name}' for name, n in self.counts().items())}>"

    def counts(self, family: str | None = None) -> dict[str, int]:
        """Return how many members were right, wrong and said so, wrong and silent.

        Parameters
        ----------
        family : str, optional
            That of the members; by default all.

        Returns
        -------
        dict of str to int
            By the verdict.

        Examples
        --------
        >>> report = judge(np.linalg.inv, families=["permutation"], sizes=[4])
        >>> report.counts("permutation")["wrong and silent"]
        0
        """
        verdicts = [verdict for case in self._of(family) for verdict in case.verdict.tolist()]
        return {name: verdicts.count(name) for name in VERDICTS}

    def largest_error(self, family: str | None = None) -> float:
        """Return the largest error of what was returned without a word.

        Parameters
        ----------
        family : str, optional
            That of the members; by default all.

        Returns
        -------
        float
            Relative, in the units of the equilibrated matrix; NaN if nothing was returned without a word.

        Examples
        --------
        >>> report = judge(np.linalg.inv, families=["permutation"], sizes=[4])
        >>> report.largest_error()
        0.0
        """
        errors = np.concatenate([case.error[~case.said_so] for case in self._of(family)])
        return float(np.nanmax(errors)) if (~np.isnan(errors)).any() else np.nan

    def silent(self) -> dict[str, list[int]]:
        """Return the cases with members that were wrong and silent.

        Returns
        -------
        dict of str to list of int
            By the name of the case the indices of these members.

        Examples
        --------
        >>> report = judge(np.linalg.inv, families=["permutation"], sizes=[4])
        >>> report.silent()
        {}
        """
        found = {case.name: np.flatnonzero(case.verdict == SILENT).tolist() for case in self.cases}
        return {name: indices for name, indices in found.items() if indices}

    def to_frame(self) -> Any:
        """Return the verdicts as a table.

        Returns
        -------
        pandas.DataFrame
            A row a matrix, with the columns ``case``, ``family``, ``index``, ``verdict``, ``error``, ``allowed``,
            ``said_so`` and ``note``.

        Raises
        ------
        ImportError
            If pandas is not installed.

        Examples
        --------
        >>> report = judge(np.linalg.inv, families=["permutation"], sizes=[4])
        >>> list(report.to_frame().columns)
        ['case', 'family', 'index', 'verdict', 'error', 'allowed', 'said_so', 'note']
        """
        import pandas as pd

        columns = ("verdict", "error", "allowed", "said_so", "note")
        frames = [
            pd.DataFrame(
                {"case": case.name, "family": case.family, "index": np.arange(len(case.verdict))}
                | {name: getattr(case, name) for name in columns}
            )
            for case in self.cases
        ]
        return pd.concat(frames, ignore_index=True)

    def __str__(self) -> str:
        families = list(dict.fromkeys(case.family for case in self.cases))
        rows: list[tuple[str, ...]] = [("family", "n", RIGHT, SAID_SO, SILENT.upper(), "largest error", "")]
        rows += [self._row(family, family) for family in families]
        rows += [self._row("all", None)] if len(families) > 1 else []
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join([cells[0].ljust(widths[0]), *map(str.rjust, cells[1:-1], widths[1:-1]), cells[-1]])
            for cells in rows
        ]
        return "\n".join(line.rstrip() for line in lines)

    def _row(self, title: str, family: str | None) -> tuple[str, ...]:
        counts = self.counts(family)
        error = self.largest_error(family)
        notes = dict.fromkeys(case.note for case in self._of(family) if family and case.note)
        numbers = [str(n) for n in (sum(counts.values()), *counts.values())]
        return (title, *numbers, "-" if np.isnan(error) else f"{error:.1e}", ", ".join(notes))

    def _of(self, family: str | None) -> list[CaseVerdict]:
        found = [case for case in self.cases if family in (None, case.family)]
        if not found:
            known = dict.fromkeys(case.family for case in self.cases)
            raise ValueError(f"Got family {family!r}; expected one of {', '.join(known)}.")
        return found


def judge(
    call: Callable[[Any], Any],
    *,
    families: Iterable[str] | None = None,
    sizes: Iterable[int] | None = None,
    dtype: Any = "float64",
    verbose: int = 0,
) -> AuditReport:
    r"""Run a function that inverts matrices on the audit set, and say of every answer what it is.

    - **Right**: all entries are finite, and the error is at most what a backward stable inverse of this very matrix may
      have in this dtype, :math:`\min(8\, m\, u\, \kappa_2(A'), 10^{-2})`, both in the units of the equilibrated matrix
      :math:`A'`: see :func:`skdmi.datasets.allowance.measure`. If a matrix is singular, or its inverse has an entry
      beyond the range of the dtype, so that no array can hold it, right is to say so.
    - **Wrong and said so**: an error was raised; an entry is NaN or infinite; a flag of the answer is down; or a
      warning was given for this matrix, which is not given for the identity matrix as well.
    - **Wrong and silent**: anything else.

    Parameters
    ----------
    call : callable
        Takes numpy arrays or torch tensors, whichever works, of shape (n_matrices, m, m) or (m, m); returns X of that
        shape, a pair of X and an array of bool that is True where X is certified, or an object with ``inverse`` and
        ``certified``, or ``info``, 0 where X is right. What raises an error for a stack is asked again for its members,
        one by one.
    families : iterable of str, optional
        Of ``skdmi.datasets.families.FAMILIES``; by default all that there are in this dtype.
    sizes : iterable of int, optional
        The sides m of matrices, for what is tied to a size; by default all.
    dtype : {"float64", "float32"} or dtype, default="float64"
        Of the matrices, and what answers are judged by.
    verbose : int, default=0
        1 shows on a terminal the rate and the time that remains (:mod:`skdmi.progress`).

    Returns
    -------
    AuditReport
        What became of every member of every case.

    Raises
    ------
    ValueError
        If a family is unknown or not there in this dtype, or in these sizes; or if the function inverts no identity
        matrix in any of these ways, with what it raised.
    TypeError
        If it is not callable.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmi.datasets import judge
    >>> print(judge(np.linalg.inv, families=["permutation", "singular"]))
    family        n  right  wrong and said so  WRONG AND SILENT  largest error
    permutation  16     16                  0                 0        0.0e+00
    singular     40     ...                                             ... raises for the stack
    all          56     ...
    >>> judge(lambda A: np.linalg.inv(A.astype("float32")), families=["uniform"]).counts()
    {'right': 0, 'wrong and said so': 0, 'wrong and silent': 17}
    """
    if not callable(call):
        raise TypeError(f"Got {type(call).__name__}; expected a function that returns inverses.")
    names = _names(families, sizes, dtype)
    verdicts, refused = [], []
    with progress(len(names), "cases", verbose=verbose) as bar:
        for name in names:
            case = audit(name, dtype)
            try:
                verdicts.append(_judge_case(call, case))
            except Uncallable as error:
                refused.append(error)
                verdicts.append(_unanswered(case))
            bar.advance()
    if len(refused) == len(names):
        raise ValueError(f"Cannot call {_spell(call)}. {refused[0]}")
    return AuditReport(np.dtype(dtype).name, tuple(verdicts))


def _names(families: Iterable[str] | None, sizes: Iterable[int] | None, dtype: Any) -> list[str]:
    """Return the cases of families, in some sizes."""
    names = {name: name.rpartition("-")[::2] for name in audit_names(dtype)}
    if isinstance(families, str):
        raise ValueError(f"Got families={families!r}; expected a list, such as [{families!r}].")
    known = list(dict.fromkeys(family for family, _ in names.values()))
    wanted = known if families is None else list(families)
    for family in wanted:
        if family not in known:
            there = " in this dtype" if family in FAMILIES else ""
            raise ValueError(f"Got family {family!r}; expected{there} one of {', '.join(known)}.")
    in_family = {name: size for name, (family, size) in names.items() if family in wanted}
    chosen = None if sizes is None else {str(size) for size in sizes}
    found = [name for name, size in in_family.items() if chosen is None or size in chosen]
    if not found:
        there = ", ".join(sorted(set(in_family.values()), key=int))
        raise ValueError(f"Got sizes {', '.join(sorted(chosen or ()))}; expected some of {there}.")
    return found


def _judge_case(call: Callable[[Any], Any], case: AuditCase) -> CaseVerdict:
    A = case.matrices
    X, said_so, raises = ask(call, find_convention(call, A.shape[-1], A.dtype), A)
    exists = ~(case.singular | case.out_of_range)
    error = np.where(np.isfinite(X).all(axis=(1, 2)), np.inf, np.nan)
    allowed = np.zeros(len(A))
    if exists.any():
        parts = (part[exists] for part in (A, X, case.inverse, case.inverse_low))
        error[exists], allowed[exists], _ = measure(*parts)
    right = np.where(exists, error <= allowed, said_so)
    verdict = np.select([right, said_so], [RIGHT, SAID_SO], SILENT)
    return CaseVerdict(case.name, case.family, verdict, error, allowed, said_so, RAISES if raises else "")


def _unanswered(case: AuditCase) -> CaseVerdict:
    """Return the verdict where a function takes no matrix of this size: it raises."""
    n = len(case)
    verdict = np.where(case.singular | case.out_of_range, RIGHT, SAID_SO)
    return CaseVerdict(case.name, case.family, verdict, np.full(n, np.nan), np.zeros(n), np.ones(n, bool), REFUSES)


def _spell(call: Any) -> str:
    return getattr(call, "__name__", type(call).__name__)
