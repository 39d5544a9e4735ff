"""``dmxdatasetgenerator``: invertible and singular matrices, with their inverses and pseudo-inverses."""

import math
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
import numpy as np

import skdmi
from skdmi.cli.dmx.common import command, published_distribution
from skdmi.cli.generate import chunk_sizes, draw_nonsingular, pseudo_inverses, write_with_inverses
from skdmi.cli.options import POSITIVE, random_state_option
from skdmi.cli.streams import with_progress

MANTISSA_BITS = 53


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
    check_factors(size, low, high)
    random = np.random.RandomState(random_state)

    def invertible(n: int) -> np.ndarray:
        return draw_nonsingular(distribution, n, size, random)

    def singular(n: int) -> np.ndarray:
        return singular_stack(n, size, low, high, random)

    plans: list[tuple[str, Any, str, Any]] = [
        ("matrices", invertible, "matrices_inverted", skdmi.ExactInverter().transform),
        ("singular_matrices", singular, "singular_matrices_pseudoinverted", pseudo_inverses),
    ]
    written = [Path(f"{prefix}_{name}_{size}x{size}.mx") for plan in plans for name in plan[::2]]
    with ExitStack() as all_or_none:
        paths = iter([all_or_none.enter_context(skdmi.io.atomic_path(path)) for path in written])
        for _, draw, _, invert in plans:
            stacks = map(draw, chunk_sizes(n_matrices, size))
            write_with_inverses(next(paths), with_progress(stacks, n_matrices), next(paths), invert)
    click.echo("\n".join(map(str, written)))


def singular_stack(n_matrices: int, m: int, low: float, high: float, random: np.random.RandomState) -> np.ndarray:
    """Return products of factors with entries in [low, high], of random rank, singular in their very bits.

    The entries of the factors are multiples of a power of two so coarse that their products and sums are exact.

    >>> random = np.random.RandomState(0)
    >>> np.linalg.matrix_rank(singular_stack(1000, 3, -1, 1, random)).max()
    np.int64(2)
    """
    step, first, last = _grid(m, low, high)
    left, right = step * random.randint(first, last + 1, size=(2, n_matrices, m, m - 1))
    ranks = random.randint(min(1, m - 1), m, size=n_matrices)
    product: np.ndarray = (left * (np.arange(m - 1) < ranks[:, None, None])) @ right.transpose(0, 2, 1)
    return product


def check_factors(m: int, low: float, high: float) -> None:
    """Raise a usage error if no factors with entries in [low, high] have exact products."""
    within = 1e-100 < max(abs(low), abs(high)) < 1e100
    _, first, last = _grid(m, low, high) if within else (0, 1, 0)
    if first > last:
        raise click.UsageError(
            f"No singular matrices are exact products of factors from {low:g} to {high:g}; widen it."
        )


def _grid(m: int, low: float, high: float) -> tuple[float, int, int]:
    """Return a power of two, and the least and the largest of its multiples in [low, high], as numbers of it."""
    bits = (MANTISSA_BITS - math.ceil(math.log2(max(m - 1, 1)))) // 2
    step = 2.0 ** (math.frexp(max(abs(low), abs(high)))[1] - bits)
    return step, math.ceil(low / step), math.floor(high / step)
