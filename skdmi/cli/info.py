"""``skdmi info``: which models there are, and what a model is."""

import json
from dataclasses import asdict

import click

import skdmi
from skdmi.cli.errors import needing_an_extra
from skdmi.cli.options import example
from skdmi.lanes.kernels import KERNELS, describe
from skdmi.progress import progress

EXPORTED = ".onnx"


@click.command(epilog=example("skdmi info uniform-3x3-short"))
@click.argument("model", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
@click.option("--compile", "compiles", is_flag=True, help="Compile the kernels for this machine, within a minute.")
def info(model: str | None, as_json: bool, compiles: bool) -> None:
    """List the models that come with skdmi and the compiled kernels, or describe MODEL.

    MODEL is the name of a shipped model, a model directory or the file in it, a model of a hub, owner/name, or a file
    that was exported; of an ensemble the members are listed.
    """
    if compiles:
        with progress(len(KERNELS), "kernels") as bar:
            for kernel in KERNELS.values():
                kernel.compile()
                bar.advance()
    if model is not None and model.lower().endswith(EXPORTED):
        _describe_exported(model, as_json)
        return
    if model is None:
        _list_shipped(as_json)
        return
    from skdmi.estimators.description import describe_model  # imports torch

    networks = describe_model(model)
    if [one.name for one in networks] == [model]:
        (network,) = networks
        content, lines = network.content | network.figures, _aligned(network.rows)
    else:
        content = {one.name: one.content for one in networks}
        lines = [f"{one.name}: " + "{matrices}, {network}, {training}".format(**one.texts) for one in networks]
    click.echo(json.dumps(content, indent=1) if as_json else "\n".join(lines))


def _list_shipped(as_json: bool) -> None:
    """Print what comes with skdmi, and what kernels there are."""
    models = skdmi.shipped_models()
    if as_json:
        click.echo(json.dumps({name: asdict(one) for name, one in models.items()}, indent=1))
    else:
        click.echo(f"{models or 'No model comes with this installation.'}\n{describe()}")


def _describe_exported(path: str, as_json: bool) -> None:
    """Print what an exported file says of itself."""
    with needing_an_extra():
        from skdmi.export import describe_file  # imports onnx
    about = describe_file(path)
    if as_json:
        click.echo(json.dumps(about, indent=1))
        return
    shapes = {
        kind: ", ".join(f"{name} ({' x '.join(map(str, shape))})" for name, shape in about[kind].items())
        for kind in ("inputs", "outputs")
    }
    rows = {"file": path, "what": about["description"], **shapes}
    if "condition" in about:
        rows["condition"] = "numbers up to {condition:g}".format(**about)
    if "steps" in about:
        rows["certified"] = "{certified:.2%} of {certified_of:,} matrices".format(**about)
    for number, member in enumerate(about.get("members", []), 1):
        name = "trained on" if len(about["members"]) == 1 else f"member {number}"
        rows[name] = "{trained_on}, {n_matrices_seen:,} matrices; {network}".format(**member)
    rows["graph"] = "{n_nodes} nodes, {n_bytes:,} bytes, opset {opset}".format(**about)
    rows["exported by"] = f"skdmi {about['version']}"
    click.echo("\n".join(_aligned(rows)))


def _aligned(rows: dict[str, str]) -> list[str]:
    width = max(map(len, rows)) + 2
    return [f"{name:{width}}{text}" for name, text in rows.items()]
