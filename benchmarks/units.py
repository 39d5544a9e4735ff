"""Rows and columns of different units: do they cost digits?

``python benchmarks/units.py [--matrices 200000]`` inverts matrices whose rows, or rows and columns, are in units that
differ by up to 10^300, dense and sparse, general and positive definite, through every door, in both precisions. It
measures each inverse in extended precision and prints, a kind a line,

- how many are not certified (``refused``),
- how many break a promise of ``tol="auto"``: ``||I - A X||_F <= 10 u || |A||X| ||_F``, and the mirror (``right``,
  ``left``), in the units given,
- how many have a column whose relative error is above ten times that of LAPACK on the equilibrated matrix, plus
  ``4 cond u`` (``columns``),
- how many of the last two kinds came without a warning (``silent``),

and then what the scaling itself costs. The exit status is 1 if anything is silent. Extended precision is that of
``numpy.longdouble``, which must be wider than float64 here.
"""

import argparse
import platform
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import median

import numpy as np
import torch

import skdmi
from skdmi import BlockInverter, RefinedInverter
from skdmi.linalg import equilibrate
from skdmi.linalg.scaling import scale_both

SIZES = (2, 3, 5, 8, 16)
MAX_CONDITION = 1e12


# The matrices: float64 stacks in units that a kind chooses, and whether they are in the range of the dtype.


def dense(rng: np.random.Generator, n: int, m: int) -> np.ndarray:
    return rng.uniform(-1, 1, (n, m, m))


def sparse(rng: np.random.Generator, n: int, m: int) -> np.ndarray:
    """Half of the entries are zero, but not those along a cycle, so that few are singular."""
    A = dense(rng, n, m) * (rng.random((n, m, m)) < 0.5)
    rows = np.arange(m)
    A[:, rows, np.roll(rows, 1)] = rng.uniform(0.5, 1.5, (n, m)) * rng.choice([-1, 1], (n, m))
    return A


def positive_definite(rng: np.random.Generator, n: int, m: int) -> np.ndarray:
    G = rng.standard_normal((n, m, 2 * m))
    return G @ G.swapaxes(1, 2) / m


def last_row(rng: np.random.Generator, n: int, m: int, k: float) -> tuple[np.ndarray, np.ndarray]:
    units = np.ones((n, m))
    units[:, -1] = 10.0 ** -np.ceil(rng.uniform(0, k, n))
    return units, np.ones((n, m))


def rows_and_columns(rng: np.random.Generator, n: int, m: int, k: float) -> tuple[np.ndarray, np.ndarray]:
    first, second = (10.0 ** rng.uniform(-k / 2, k / 2, (n, m)) for _ in range(2))
    return first, second


def both_sides(rng: np.random.Generator, n: int, m: int, k: float) -> tuple[np.ndarray, np.ndarray]:
    units = 10.0 ** -rng.uniform(0, k, (n, m))
    return units, units


KINDS = {
    "dense, last row": (dense, last_row, 300, 30),
    "sparse, last row": (sparse, last_row, 300, 30),
    "dense, rows and columns": (dense, rows_and_columns, 300, 30),
    "sparse, rows and columns": (sparse, rows_and_columns, 300, 30),
    "positive definite": (positive_definite, both_sides, 14, 14),
}


def draw(kind: str, dtype: type, n: int, m: int, seed: int) -> np.ndarray:
    """Return matrices of which no entry left the range, and which are nonsingular beyond doubt once equilibrated."""
    entries, units, k64, k32 = KINDS[kind]
    rng = np.random.default_rng(seed)
    B = entries(rng, n, m)
    rows, columns = units(rng, n, m, k64 if dtype is np.float64 else k32)
    with np.errstate(all="ignore"):
        A = (rows[:, :, None] * B * columns[:, None, :]).astype(dtype)
    tiny = np.finfo(dtype).tiny
    in_range = np.isfinite(A).all(axis=(1, 2)) & (((np.abs(A) >= tiny) | (B == 0)).all(axis=(1, 2)))
    A = A[in_range]
    scaled, *_ = equilibrate(torch.from_numpy(A))
    limit = MAX_CONDITION if dtype is np.float64 else 0.02 / np.finfo(dtype).eps
    condition = np.linalg.cond(scaled.double().numpy())
    return A[(condition < limit) & np.isfinite(condition)]


# The doors.


def through_file(A: np.ndarray) -> np.ndarray:
    from click.testing import CliRunner

    from skdmi.cli import main

    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "A.npy"), Path(folder, "X.npy")
        np.save(source, A)
        outcome = CliRunner().invoke(main, ["invert", str(source), str(target)], catch_exceptions=False)
        if "Warning" in outcome.output:
            warnings.warn(outcome.output, stacklevel=1)
        return np.load(target)


DOORS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "skdmi.inv": skdmi.inv,
    "skdmi.inv, torch": lambda A: skdmi.inv(torch.from_numpy(A)).numpy(),
    "RefinedInverter": RefinedInverter().transform,
    "RefinedInverter, network": RefinedInverter(skdmi.load_pretrained("general")).transform,
    "BlockInverter": BlockInverter(block_size=3).transform,
    "skdmi invert": through_file,
}


# The judge, in extended precision.


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


def examine(door: str, kind: str, dtype: type, n: int, seed: int) -> Iterator[Tally]:
    for m in SIZES:
        A = draw(kind, dtype, n, m, seed)
        if len(A) == 0:
            continue
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            X = DOORS[door](A)
        yield judge(A, X, bool(caught))


def print_cost() -> None:
    """Print the time of the scaling beside that of LAPACK, alternating, medians of processor time."""
    print(f"\n{'microseconds a matrix':30}{'dense':>10}{'graded':>10}{'sparse, graded':>16}{'numpy.linalg.inv':>18}")
    for m, n in ((3, 20_000), (8, 5_000), (16, 2_000), (32, 500), (512, 1)):
        rng = np.random.default_rng(0)
        stacks = [dense(rng, n, m), draw("dense, rows and columns", np.float64, n, m, 0)]
        stacks.append(draw("sparse, rows and columns", np.float64, n, m, 0))
        calls = [(equilibrate, torch.from_numpy(A), len(A)) for A in stacks] + [(np.linalg.inv, stacks[0], n)]
        times: list[list[float]] = [[] for _ in calls]
        for _ in range(7):
            for spent, (function, A, count) in zip(times, calls, strict=True):
                started = time.process_time()
                function(A)
                spent.append(1e6 * (time.process_time() - started) / max(1, count))
        dense_us, graded_us, sparse_us, numpy_us = map(median, times)
        print(f"{f'{m} x {m}':30}{dense_us:10.2f}{graded_us:10.2f}{sparse_us:16.2f}{numpy_us:18.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--matrices", type=int, default=20_000, help="about how many in all")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    n = -(-options.matrices // (len(KINDS) * 2 * len(DOORS) * len(SIZES)))
    print(f"{platform.machine()}, {torch.get_num_threads()} thread(s), torch {torch.__version__}")
    print(f"{'':44}" + "".join(f"{f.name:>10}" for f in fields(Tally)))
    total = Tally()
    for kind in KINDS:
        for dtype in (np.float64, np.float32):
            for i, door in enumerate(DOORS):
                tally = sum(examine(door, kind, dtype, n, options.seed + i), start=Tally())
                total += tally
                print(tally.row(f"{kind}, {np.dtype(dtype)}: {door}"), flush=True)
    print(total.row("total"))
    print_cost()
    sys.exit(bool(total.silent))


if __name__ == "__main__":
    main()
