"""``dmxdatasetgenerator``: invertible and singular matrices, with their inverses and pseudo-inverses."""

import math
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np

from skdmi.cli.dmx.common import command, published_distribution
from skdmi.cli.generate import draw_nonsingular, write_data_sets
from skdmi.cli.options import POSITIVE, random_state_option

MANTISSA_BITS = 53
NAMES = ("matrices", "matrices_inverted", "singular_matrices", "singular_matrices_pseudoinverted")


@command("dmxdatasetgenerator 3 1000 -1 1 test", ignore_unknown_options=True)  # -1 is a number, not an option.
@click.argument("size", type=POSITIVE)
@click.argument("n_matrices", metavar="N", type=POSITIVE)
@click.argument("low", metavar="MIN", type=float)
@click.argument("high", metavar="MAX", type=float)
@click.argument("prefix")
@random_state_option
def dmxdatasetgenerator(
    size: int, n_matrices: int, low: float, high: float, prefix: str, random_state: int | None
) -> None:
    """Write N invertible matrices with their inverses, and N singular ones with their pseudo-inverses.

    The invertible ones have entries from MIN to MAX and |det| > 0.1. The singular ones are products of two factors with
    entries from MIN to MAX, of a rank from 1 to SIZE - 1, and singular in their very bits. All are SIZE x SIZE. The
    files are PREFIX_matrices_SxS.mx, PREFIX_matrices_inverted_SxS.mx, PREFIX_singular_matrices_SxS.mx and
    PREFIX_singular_matrices_pseudoinverted_SxS.mx, S being SIZE. All four are written, or none.
    """
    distribution = published_distribution(low, high)
    step, multiples = factor_grid(size, low, high)
    random = np.random.RandomState(random_state)
    paths = [Path(f"{prefix}_{name}_{size}x{size}.mx") for name in NAMES]
    data_sets: list[tuple[Any, ...]] = [
        (partial(draw_nonsingular, distribution, size, random), *paths[:2]),
        (lambda n: step**2 * singular_stack(n, size, multiples, random), *paths[2:]),
    ]
    write_data_sets(data_sets, n_matrices, size)
    click.echo("\n".join(map(str, paths)))


def singular_stack(n_matrices: int, m: int, entries: range, random: np.random.RandomState) -> np.ndarray:
    """Return products of integer factors, of random rank and singular in their very bits.

    >>> random = np.random.RandomState(0)
    >>> np.linalg.matrix_rank(singular_stack(1000, 3, range(-9, 10), random)).max()
    np.int64(2)
    """
    left, right = random.randint(entries.start, entries.stop, size=(2, n_matrices, m, m - 1)).astype(np.float64)
    ranks = random.randint(min(1, m - 1), m, size=n_matrices)
    return (left * (np.arange(m - 1) < ranks[:, None, None])) @ right.transpose(0, 2, 1)


def factor_grid(m: int, low: float, high: float) -> tuple[float, range]:
    """Return a power of two so coarse that products of m x m matrices of its multiples are exact, and those multiples.

    >>> step, multiples = factor_grid(3, -1, 1)
    >>> step == 2**-25, step * multiples[0], step * multiples[-1]
    (True, -1.0, 1.0)
    """
    largest = max(abs(low), abs(high))
    bits = (MANTISSA_BITS - math.ceil(math.log2(max(m - 1, 1)))) // 2
    step = 2.0 ** (math.frexp(largest)[1] - bits)
    multiples = range(math.ceil(low / step), math.floor(high / step) + 1)
    if not (multiples and 1e-100 < largest < 1e100):
        raise click.UsageError(
            f"Got entries from {low:g} to {high:g}, of which no factors have exact singular products; widen the range."
        )
    return step, multiples
