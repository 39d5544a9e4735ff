"""What is promised of inverses in any units, judged in extended precision, which must be wider than float64 here."""

from dataclasses import dataclass, fields

import numpy as np
import torch

from skdmi.linalg import equilibrate
from skdmi.linalg.scaling import scale_both


@dataclass
class Tally:
    matrices: int = 0
    refused: int = 0
    right: int = 0
    left: int = 0
    columns: int = 0
    silent: int = 0

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def row(self, name: str) -> str:
        return f"{name:44}" + "".join(f"{getattr(self, f.name):>10}" for f in fields(self))


def extended_inverse(A: np.ndarray) -> np.ndarray:
    """Return inverses of equilibrated matrices, by steps in extended precision from LAPACK's."""
    X = np.linalg.inv(A).astype(np.longdouble)
    A = A.astype(np.longdouble)
    for _ in range(3):
        X = X + X @ (np.eye(A.shape[-1], dtype=np.longdouble) - A @ X)
    return X


def norm(stack: np.ndarray) -> np.ndarray:
    return np.sqrt((stack**2).sum(axis=(1, 2)))


def breaks_promise(first: np.ndarray, second: np.ndarray, unit: float) -> np.ndarray:
    """Judge ``||I - A X||_F <= 10 u || |A||X| ||_F`` in extended precision, whose range no unit leaves."""
    first, second = first.astype(np.longdouble), second.astype(np.longdouble)
    R = np.eye(first.shape[-1], dtype=np.longdouble) - first @ second
    return ~(norm(R) <= 10 * unit * norm(np.abs(first) @ np.abs(second)))


def judge(A: np.ndarray, X: np.ndarray, warned: bool) -> Tally:
    """Compare with LAPACK on the equilibrated matrix, rounded as A is, column by column."""
    unit = np.finfo(A.dtype).eps / 2
    found = np.isfinite(X).all(axis=(1, 2))
    A, X = A[found], X[found]
    scaled, rows, columns = equilibrate(torch.from_numpy(A).double())
    true = extended_inverse(scaled.numpy())
    mine = scale_both(torch.from_numpy(X).double(), -columns, -rows).numpy()
    peer = np.linalg.inv(scaled.numpy()).astype(A.dtype)
    size = np.sqrt((true**2).sum(axis=1))
    of_mine, of_peer = (np.sqrt(((T - true) ** 2).sum(axis=1)) / size for T in (mine, peer))
    condition = np.linalg.cond(scaled.numpy())[:, None]
    wrong = (of_mine > 10 * of_peer + 4 * condition * unit).any(axis=1)
    right, left = breaks_promise(A, X, unit), breaks_promise(X, A, unit)
    silent = 0 if warned else int((wrong | right | left).sum())
    return Tally(len(found), int((~found).sum()), int(right.sum()), int(left.sum()), int(wrong.sum()), silent)
