"""``skdmi export``: a model, or an inverse that needs none, as a file for other runtimes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

import skdmi
from skdmi.cli.errors import needing_an_extra
from skdmi.cli.options import INPUT_FILE, POSITIVE, SuffixedFile, example

FORMS = ("any-size", "fixed", "closed-form", "elimination", "certificate")
"""What nothing was learned for; the size is asked of those between, and may be given for the last."""


@click.command(epilog=example("skdmi export kernel-grid-4x4 inverse.onnx --refine"))
@click.argument("model", metavar="MODEL")
@click.argument("file", metavar="FILE", type=SuffixedFile([".onnx"]))
@click.option("--refine", is_flag=True, help="Add as many steps as certify --share of the matrices.")
@click.option(
    "--matrices",
    type=INPUT_FILE,
    help="Matrices to choose the steps of --refine by.  [default: drawn from what the model was trained on]",
)
@click.option("--share", type=click.FloatRange(0, 1, min_open=True), help="See --refine.  [default: 0.999]")
@click.option("--tol", type=click.FloatRange(min=0), help="A bound that is small enough for --refine.")
@click.option("--size", type=POSITIVE, metavar="M", help="Of the matrices, for what is not any-size.")
@click.option("--condition", type=click.FloatRange(min=1), help="Condition number to serve, for fixed and any-size.")
@click.option(
    "--uncertified",
    type=click.Choice(["keep", "nan", "mask"]),
    help="What becomes of inverses that are not proved: kept; NaN; or kept, with an output `certified` beside. "
    "[default: keep; with --refine nan]",
)
@click.option("--no-certificate", is_flag=True, help="Return inverses alone.")
@click.option("--opset", type=int, help="Version of ONNX's standard operators, 18 at least.  [default: 18]")
def export(model: str, file: Path, **options: Any) -> None:
    """Write an inverse as one ONNX file, which runs without skdmi, torch or LAPACK.

    MODEL is the name of a shipped model, or a directory of a model or an ensemble; or a form for which nothing was
    learned: any-size, fixed, closed-form (sizes to 4), elimination (5 to 12); or certificate, which certifies inverses
    that come from elsewhere. The file takes A, float32, of shape (n_matrices, m, m), and returns inverse, rho, which
    proves a matrix nonsingular where it is below 1, and residual_norm.
    """
    given = {name: value for name, value in options.items() if value not in (None, False)}
    if given.pop("no_certificate", False):
        if given.get("uncertified", "keep") != "keep":
            raise click.UsageError("--uncertified goes by the certificate; leave out --no-certificate.")
        given["certificate"] = False
    with needing_an_extra():
        from skdmi.export import describe_file  # imports onnx
    if model in FORMS:
        _export_form(model, file, given)
    else:
        _export_model(model, file, given)
    about = describe_file(file)
    size = "{n_nodes} nodes, {n_bytes:,} bytes".format(**about)
    if "steps" in about:
        size += "; {certified:.2%} of {certified_of:,} matrices certified".format(**about)
    click.echo(f"{about['description']} {size}: {file}")


def _export_form(name: str, file: Path, given: dict[str, Any]) -> None:
    """Write a file for which nothing was learned."""
    from skdmi.export import any_size, closed_form, elimination, export_certificate, fixed, save

    forms: dict[str, tuple[Callable[..., Any], tuple[str, ...]]] = {
        "any-size": (any_size, ("condition", "certificate", "uncertified", "opset")),
        "fixed": (fixed, ("size", "condition", "certificate", "uncertified", "opset")),
        "closed-form": (closed_form, ("size", "certificate", "uncertified", "opset")),
        "elimination": (elimination, ("size", "certificate", "uncertified", "opset")),
        "certificate": (export_certificate, ("size", "opset")),
    }
    make, allowed = forms[name]
    _refuse_others(name, given, allowed)
    size = given.pop("size", None)
    if size is None and name in FORMS[1:-1]:
        raise click.UsageError(f"{name} needs the size of the matrices: --size M.")
    save(make(**given) if size is None else make(size, **given), file)


def _export_model(name: str, file: Path, given: dict[str, Any]) -> None:
    """Write a model's file, as it answers or refined."""
    ending = {key: given[key] for key in ("certificate", "uncertified", "opset") if key in given}
    if not given.get("refine"):
        _refuse_others(f"{name} without --refine", given, tuple(ending))
        skdmi.load_pretrained(name).export(file, **ending)
        return
    _refuse_others(f"{name} --refine", given, ("refine", "matrices", "share", "tol", *ending))
    inverter = skdmi.RefinedInverter(skdmi.load_pretrained(name), tol=given.get("tol", "auto"))
    matrices = skdmi.io.read_stack(given["matrices"]) if "matrices" in given else None
    inverter.export(file, matrices, share=given.get("share", 0.999), **ending)


def _refuse_others(what: str, given: dict[str, Any], allowed: tuple[str, ...]) -> None:
    for option in given:
        if option not in allowed:
            name = "no-certificate" if option == "certificate" else option
            raise click.UsageError(f"--{name} has no meaning for {what}; leave it out.")
