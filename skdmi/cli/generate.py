"""``skdmi generate``: files of random matrices and of their inverses."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
import numpy as np

import skdmi
from skdmi.chunks import chunk_size
from skdmi.cli.options import OUTPUT_FILE, POSITIVE, DistributionType, example, random_state_option
from skdmi.cli.streams import quietly, with_progress

__all__ = ["chunk_sizes", "draw_nonsingular", "generate", "pseudo_inverses", "write_with_inverses"]

MAX_DRAWS = 100


@click.command(
    epilog=example("skdmi generate --matrix-size 3 --n-matrices 1000 --output M.mx --inverses I.mx --random-state 0")
)
@click.option("--matrix-size", type=POSITIVE, required=True, help="The side m of each matrix.")
@click.option("--n-matrices", type=POSITIVE, default=1000, help="How many.")
@click.option(
    "--distribution",
    type=DistributionType(),
    help="A name (Uniform, Wishart, ...) or a description in JSON.  [default: Uniform, entries on [-1, 1)]",
)
@click.option("--singular", is_flag=True, help="Integer matrices that are singular in their bits, and pseudo-inverses.")
@click.option("--rank", type=click.IntRange(min=0), help="With --singular: their rank.  [default: m - 1]")
@click.option("--output", type=OUTPUT_FILE, required=True, help="The file for the matrices: .mx, .npy or .csv.")
@click.option("--inverses", type=OUTPUT_FILE, help="The file for their inverses.")
@random_state_option
def generate(
    matrix_size: int,
    n_matrices: int,
    distribution: Any,
    singular: bool,
    rank: int | None,
    output: Path,
    inverses: Path | None,
    random_state: int | None,
) -> None:
    """Write random matrices and their inverses.

    All numbers are float64, and the inverses are those of the very matrices in the file. A matrix that is singular to
    working precision, so that LAPACK finds no X with ||I - A X||_F < 1, is drawn again: the file holds as many as asked
    for, distributed as the rest of the distribution is. Both files are written, or neither.
    """
    if rank is not None and not singular:
        raise click.UsageError("--rank is the rank of singular matrices; add --singular.")
    if singular and distribution is not None:
        raise click.UsageError("--singular is itself a distribution; leave out --distribution.")
    if inverses is not None and inverses.resolve() == output.resolve():
        raise click.UsageError(f"--output and --inverses are both {output}; expected two files.")
    if n_matrices > 1 and ".csv" in [path.suffix.lower() for path in (output, inverses) if path]:
        raise click.UsageError(f"A .csv file holds one matrix, and there are {n_matrices}; write .mx or .npy.")
    if singular:
        distribution = skdmi.distributions.Singular(rank)
    elif distribution is None:
        distribution = skdmi.distributions.Uniform()
    random = np.random.RandomState(random_state)
    sizes = chunk_sizes(n_matrices, matrix_size)
    draw = _draw if singular else draw_nonsingular
    stacks = (draw(distribution, size, matrix_size, random) for size in sizes)
    with ExitStack() as both:
        matrices = both.enter_context(skdmi.io.atomic_path(output))
        results = both.enter_context(skdmi.io.atomic_path(inverses)) if inverses else None
        invert = pseudo_inverses if singular else skdmi.ExactInverter().transform
        write_with_inverses(matrices, with_progress(stacks, n_matrices), results, invert)
    click.echo(f"{n_matrices} matrices of {matrix_size} x {matrix_size} from {distribution!r}: {output}")


def write_with_inverses(
    matrices: Path,
    stacks: Iterable[np.ndarray],
    inverses: Path | None,
    invert: Callable[[np.ndarray], np.ndarray],
) -> None:
    """Write matrices to one file, and the inverses of those that it holds then to another, if there is one."""
    skdmi.io.write_stack(matrices, stacks)
    if inverses:
        skdmi.io.write_stack(inverses, map(invert, skdmi.io.iter_stacks(matrices)))


def chunk_sizes(n_matrices: int, matrix_size: int) -> Iterator[int]:
    """Yield numbers of matrices that fit into memory and add up to ``n_matrices``."""
    size = chunk_size(matrix_size)
    for start in range(0, n_matrices, size):
        yield min(size, n_matrices - start)


def _draw(distribution: Any, n_matrices: int, m: int, random: np.random.RandomState) -> np.ndarray:
    stack: np.ndarray = distribution.sample(n_matrices, m, random_state=random)
    return stack


def draw_nonsingular(distribution: Any, n_matrices: int, m: int, random: np.random.RandomState) -> np.ndarray:
    """Draw matrices that LAPACK can invert; those that it cannot are drawn again."""
    stack = _draw(distribution, n_matrices, m, random)
    missing = _singular_indices(stack)
    for _ in range(MAX_DRAWS):
        if len(missing) == 0:
            return stack
        stack[missing] = _draw(distribution, len(missing), m, random)
        missing = missing[_singular_indices(stack[missing])]
    raise ValueError(
        f"{distribution!r} at {m} x {m}: still singular to working precision after {MAX_DRAWS} draws; for singular "
        f"matrices and their pseudo-inverses use --singular"
    )


def _singular_indices(stack: np.ndarray) -> np.ndarray:
    return np.flatnonzero(np.isnan(quietly(skdmi.ExactInverter().transform, stack)).any(axis=(1, 2)))


def pseudo_inverses(stack: np.ndarray) -> np.ndarray:
    """Return pseudo-inverses, singular values at the level of rounding counting as zero."""
    import torch

    from skdmi.linalg.exact import pseudo_inverse

    inverses: np.ndarray = pseudo_inverse(torch.from_numpy(stack)).inverse.numpy()
    return inverses
