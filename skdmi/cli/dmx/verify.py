"""``dmxdatasetverify``: check a data set that ``dmxdatasetgenerator``, or anything else, wrote."""

from functools import partial

import click

from skdmi.cli.dmx.common import INPUT, command, read
from skdmi.cli.streams import File, paired_stacks
from skdmi.cli.verify import absolute_check, run

KINDS = {"invertible": ("inverse", 1e-3), "singular": ("pseudo-inverse", 1e-5)}
"""What the inverses of each are, and how far they may be off."""


@command("dmxdatasetverify test_matrices_3x3.mx test_matrices_inverted_3x3.mx invertible")
@click.argument("matrices", type=INPUT)
@click.argument("inverses", type=INPUT)
@click.argument("kind", type=click.Choice(list(KINDS)))
def dmxdatasetverify(matrices: File, inverses: File, kind: str) -> None:
    """Check the inverses of invertible matrices, or the pseudo-inverses of singular ones.

    With A from MATRICES, X from INVERSES and Frobenius norms, an inverse is valid if ||I - A X|| <= 0.001, a
    pseudo-inverse if it meets the four conditions of Penrose up to 1e-5: ||A X A - A|| relative to ||A||, ||X A X - X||
    to ||X||, ||A X - (A X)^T|| and ||X A - (X A)^T||. "skdmi verify" is stricter. One of the two
    may be a dash, -, for standard input.

    Exits with 0 if all are valid and with 1 otherwise, naming the first matrices that fail.
    """
    name, tolerance = KINDS[kind]
    run(partial(absolute_check, name, tolerance), name, paired_stacks(matrices, inverses, read), inverses)
    click.echo("Dataset valid.")
