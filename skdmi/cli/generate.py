"""``skdmi generate``: files of random matrices and of their inverses."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np

import skdmi
from skdmi.chunks import chunk_size
from skdmi.cli.options import OUTPUT, POSITIVE, distribution, example, random_state_option, refuse_same_file
from skdmi.cli.streams import File, open_stacks, quietly, say, with_progress

MAX_DRAWS = 100


@click.command(
    epilog=example("skdmi generate --matrix-size 3 --n-matrices 1000 --output M.mx --inverses I.mx --random-state 0")
)
@click.option("--matrix-size", type=POSITIVE, required=True, help="The side m of each matrix.")
@click.option("--n-matrices", type=POSITIVE, default=1000, help="How many.")
@click.option(
    "--distribution",
    type=distribution,
    help="A name (Uniform, Wishart, ...) or a description in JSON.  [default: Uniform, entries on [-1, 1)]",
)
@click.option("--singular", is_flag=True, help="Integer matrices that are singular in their bits, and pseudo-inverses.")
@click.option("--rank", type=click.IntRange(min=0), help="With --singular: their rank.  [default: m - 1]")
@click.option(
    "--output",
    type=OUTPUT,
    required=True,
    help="The file for the matrices: .mx, .npy or .csv; or -, standard output, as .mx text.",
)
@click.option("--inverses", type=OUTPUT, help="The file for their inverses, or -.")
@random_state_option
def generate(
    matrix_size: int,
    n_matrices: int,
    distribution: Any,
    singular: bool,
    rank: int | None,
    output: File,
    inverses: File | None,
    random_state: int | None,
) -> None:
    """Write random matrices and their inverses.

    All numbers are float64, and the inverses are those of the very matrices in the file. A matrix that is singular to
    working precision, so that LAPACK finds no X with ||I - A X||_F < 1, is drawn again: the file holds as many as asked
    for, distributed as the rest of the distribution is. Both files are written, or neither; what went to standard
    output cannot be taken back.
    """
    if rank is not None and not singular:
        raise click.UsageError("--rank is the rank of singular matrices; add --singular.")
    if singular and distribution is not None:
        raise click.UsageError("--singular is itself a distribution; leave out --distribution.")
    refuse_same_file("--inverses", inverses, output)
    if n_matrices > 1 and ".csv" in [file.suffix.lower() for file in (output, inverses) if isinstance(file, Path)]:
        raise click.UsageError(f"A .csv file holds one matrix, and there are {n_matrices}; write .mx or .npy.")
    if singular:
        distribution = skdmi.distributions.Singular(rank)
    distribution = distribution or skdmi.distributions.Uniform()
    random = np.random.RandomState(random_state)
    draw: Callable[[int], np.ndarray] = partial(draw_nonsingular, distribution, matrix_size, random)
    if singular:
        draw = partial(distribution.sample, matrix_size=matrix_size, random_state=random)
    write_data_sets([(draw, output, inverses)], n_matrices, matrix_size)
    said = f"{n_matrices} matrices of {matrix_size} x {matrix_size} from {distribution!r}: {output}"
    say(said, output, inverses)


def write_data_sets(data_sets: Iterable[tuple[Any, ...]], n_matrices: int, m: int) -> None:
    """Write data sets, all files or none: what draws n matrices, their file, and that of their inverses or None."""
    starts = range(0, n_matrices, chunk_size(m))
    invert = skdmi.ExactInverter(singular="pinv").transform
    with ExitStack() as all_or_none:
        for draw, *outputs in data_sets:
            files = [all_or_none.enter_context(_reserved(file)) for file in outputs if file]
            with ExitStack() as data_set:
                matrices, *inverses = [data_set.enter_context(open_stacks(file)) for file in files]
                sizes = (min(starts.step, n_matrices - start) for start in starts)  # of perhaps endless many
                for stack in with_progress(map(draw, sizes), n_matrices):
                    matrices.write(stack)
                    for writer in inverses:
                        writer.write(invert(stack))


def _reserved(file: File) -> AbstractContextManager[File]:
    """Return what yields a file to write now, which takes its place when all others are written, too."""
    return skdmi.io.atomic_path(file) if isinstance(file, Path) else nullcontext(file)


def draw_nonsingular(distribution: Any, m: int, random: np.random.RandomState, n_matrices: int) -> np.ndarray:
    """Draw matrices that LAPACK can invert; those that it cannot are drawn again."""
    stack = distribution.sample(n_matrices, m, random_state=random)
    missing = np.arange(n_matrices)
    for _ in range(MAX_DRAWS):
        inverses = quietly(skdmi.ExactInverter().transform, stack[missing])
        missing = missing[np.isnan(inverses).any(axis=(1, 2))]
        if len(missing) == 0:
            return stack
        stack[missing] = distribution.sample(len(missing), m, random_state=random)
    raise ValueError(
        f"{distribution!r} at {m} x {m} is still singular to working precision after {MAX_DRAWS} draws; expected "
        f"matrices that have inverses. For singular ones and their pseudo-inverses use --singular."
    )
