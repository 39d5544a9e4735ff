"""``skdmi info``: which models there are, and what a model is."""

import json

import click

import skdmi
from skdmi.cli.models import ModelCard, shipped_cards
from skdmi.cli.options import example
from skdmi.persistence import member_directories, trained_sizes


@click.command(epilog=example("skdmi info uniform-3x3"))
@click.argument("model", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
def info(model: str | None, as_json: bool) -> None:
    """List the models that come with skdmi, or describe MODEL.

    MODEL is the name of a shipped model or a model directory; of an ensemble the members are listed.
    """
    members = member_directories(model) if model is not None else []
    cards = [ModelCard.read(str(path)) for path in members] if model is not None else shipped_cards()
    if model is None or cards:
        if as_json:
            click.echo(json.dumps({card.name: card.content for card in cards}, indent=1))
        else:
            click.echo("\n".join(map(_line, cards)) or "No model comes with this installation.")
        return
    card = ModelCard.read(model)
    figures = _figures(card)
    if as_json:
        click.echo(json.dumps(card.content | figures, indent=1))
        return
    rows = _rows(card, figures)
    width = max(map(len, rows)) + 2
    click.echo("\n".join(f"{name:{width}}{text}" for name, text in rows.items()))


def _line(card: ModelCard) -> str:
    return f"{card.name}: {card.size_text}, {card.architecture_text}, trained on {card.distribution_text}"


def _figures(card: ModelCard) -> dict[str, int]:
    """Return what only the network itself tells; products at the largest size that it was trained for."""
    module = skdmi.load_pretrained(card.name).module_
    return {
        "n_parameters": sum(parameter.numel() for parameter in module.parameters()),
        "n_products": module.n_products(max(trained_sizes(card.architecture))),
    }


def _rows(card: ModelCard, figures: dict[str, int]) -> dict[str, str]:
    fitted = card.content["fitted"]
    rows = {
        "model": card.name,
        "matrices": card.size_text,
        "network": card.architecture_text,
        "parameters": f"{figures['n_parameters']:,}",
        "products": f"{figures['n_products']} of m x m matrices for each inverse",
        "trained on": f"{fitted['n_matrices_seen_']:,} matrices from {card.distribution_text}",
    }
    rows["validation"] = f"loss {fitted['best_loss_']:.4g}, {fitted['n_iter_']} epochs"
    for m, measured in card.content.get("figures", {}).items():
        rows[f"at {m} x {m}"] = (
            f"{measured['products']} products, mean residual norm {measured['mean']:.1e}, "
            f"{measured['within_tolerance_shares']['0.05']:.2%} within 5 %"
        )
    domain = fitted["domain_"]
    for name in ("scale", "condition"):
        quantiles = zip(domain["quantiles"], domain[name], strict=True)
        rows[name] = ", ".join(f"{value:.3g} ({share:.0%})" for share, value in quantiles)
    rows["saved by"] = ", ".join(f"{name} {version}" for name, version in card.content["versions"].items())
    return rows
