"""``skdmi info``: which models there are, and what a model is."""

import json

import click

import skdmi
from skdmi.cli.errors import needing_an_extra
from skdmi.cli.models import ModelCard, shipped_cards
from skdmi.cli.options import example
from skdmi.lanes.kernels import KERNELS, describe
from skdmi.persistence import member_directories, trained_sizes

EXPORTED = ".onnx"


@click.command(epilog=example("skdmi info uniform-3x3-short"))
@click.argument("model", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
@click.option("--compile", "compiles", is_flag=True, help="Compile the kernels for this machine, within a minute.")
def info(model: str | None, as_json: bool, compiles: bool) -> None:
    """List the models that come with skdmi and the compiled kernels, or describe MODEL.

    MODEL is the name of a shipped model, a model directory, or a file that was exported; of an ensemble the members are
    listed.
    """
    if compiles:
        for kernel in KERNELS.values():
            kernel.compile()
    if model is not None and model.lower().endswith(EXPORTED):
        _describe_exported(model, as_json)
        return
    members = member_directories(model) if model is not None else []
    cards = [ModelCard.read(str(path)) for path in members] if model is not None else shipped_cards()
    if model is not None and not cards:
        card = ModelCard.read(model)
        figures = _figures(card)
        content, rows = card.content | figures, _rows(card, figures)
        lines = _aligned(rows)
    else:
        content = {card.name: card.content for card in cards}
        lines = [f"{card.name}: " + "{matrices}, {network}, {training}".format(**card.texts) for card in cards]
    lines = lines or ["No model comes with this installation."]
    if model is None:
        lines.append(describe())
    click.echo(json.dumps(content, indent=1) if as_json else "\n".join(lines))


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


def _figures(card: ModelCard) -> dict[str, int]:
    """Return what only the network itself tells; products at the largest size that it was trained for."""
    module = skdmi.load_pretrained(card.name).module_
    return {
        "n_parameters": sum(parameter.numel() for parameter in module.parameters()),
        "n_products": module.n_products(max(trained_sizes(card.content["fitted"]["_architecture"]))),
    }


def _gain(card: ModelCard) -> str | None:
    """Say what training bought: the card of a shipped model compares residual norms, any other the products to one."""
    fitted = card.content["fitted"].get("gain_")
    if "gain" not in card.content:
        from skdmi.training import describe_gain  # imports torch

        return describe_gain(fitted) if fitted else None
    gain = card.content["gain"]
    before, after = (
        f"{gain[name]['mean']:.2g} {word} ({gain[name]['products']} products, {gain[name]['operations']:,} operations)"
        for name, word in (("untrained", "untrained"), ("trained", card.state))
    )
    low, high = gain["interval"]
    return (
        f"mean residual norm {before}, {after}: {gain['gain']:.2g} less (95 %: {low:.2g} to {high:.2g}), for "
        f"{gain['weights_bytes'] / 1e3:.0f} kB of weights"
    )


def _rows(card: ModelCard, figures: dict[str, int]) -> dict[str, str]:
    fitted, domain = card.content["fitted"], card.content["fitted"]["domain_"]
    texts, n_seen = card.texts, f"{fitted['n_matrices_seen_']:,}"
    rows = {
        "model": card.name,
        "matrices": texts["matrices"],
        "network": texts["network"],
        "parameters": f"{figures['n_parameters']:,}",
        "products": f"{figures['n_products']} of m x m matrices for each inverse",
        "training": {
            "untrained": f"untrained, after {n_seen} matrices from {texts['source']}",
            "fitted": f"{texts['training']}, after {n_seen} matrices",
            "trained": f"trained on {n_seen} matrices from {texts['source']}",
        }[card.state],
        "validation": f"loss {fitted['best_loss_']:.4g}, {fitted['n_iter_']} epochs",
    }
    if gain := _gain(card):
        rows["gain"] = gain
    for m, measured in card.content.get("figures", {}).items():
        rows[f"at {m} x {m}"] = (
            f"{measured['products']} products, mean residual norm {measured['mean']:.1e}, "
            f"{measured['within_tolerance_shares']['0.05']:.2%} within 5 %"
        )
    for name in ("scale", "condition"):
        quantiles = zip(domain["quantiles"], domain[name], strict=True)
        rows[name] = ", ".join(f"{value:.3g} ({share:.0%})" for share, value in quantiles)
    rows["saved by"] = ", ".join(f"{name} {version}" for name, version in card.content["versions"].items())
    return rows
