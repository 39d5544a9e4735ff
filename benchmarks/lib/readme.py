"""README's table of accuracy, from the figures that ``benchmarks.accuracy --json`` has saved.

``python -m benchmarks.lib.readme RESULTS README [--output FILE]`` puts it between two markers.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- table of accuracy: made by make tables -->", "<!-- end of the table of accuracy -->"
CELLS = (
    ("3x3, abs(det) > 0.1", "3 filtered", 8),
    ("5x5", "5", 11),
    ("16x16", "16", 11),
    ("16x16", "16", 15),
    ("32x32", "32", 18),
)
"""Title, key of the problem, and products."""
UNLEARNED: dict[str, Callable[[str], bool]] = {
    "Newton-Schulz": "Newton-Schulz".__eq__,
    "Chebyshev, exact spectrum": "Chebyshev, exact spectrum".__eq__,
    "characteristic, Newton": lambda name: name.startswith("characteristic") and not name.endswith("MR-3"),
    "MR-2": "MR-2".__eq__,
    "MR-3, deflated": "MR-3, deflated".__eq__,
}
"""By the title of the column, whether a method belongs there."""

Rows = Sequence[Mapping[str, Any]]


def table(results: Mapping[str, Any]) -> str:
    """Return the table in Markdown, below it where it was made."""
    titles = ("problem, products", *UNLEARNED, "network", "published")
    lines = [titles, ["---"] * len(titles)]
    lines += [cells(title, key, budget, results["problems"][key]["rows"]) for title, key, budget in CELLS]
    counts = {f"{results['problems'][key]['n_matrices']:,}" for _, key, _ in CELLS}
    made = f"{' or '.join(sorted(counts))} matrices a problem; {results['machine']}."
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + f"\n\n{made}"


def cells(title: str, key: str, budget: int, rows: Rows) -> list[str]:
    value = mean if key == "3 filtered" else shares
    network = network_of(rows, budget)
    unlearned = [value(most_products(rows, budget, belongs)) for belongs in UNLEARNED.values()]
    return [f"{title}, {budget}", *unlearned, value(network) if network else "", published(rows)]


def most_products(rows: Rows, budget: int, belongs: Callable[[str], bool]) -> Mapping[str, Any]:
    """Return the row of a method with the most products within the budget."""
    inside = [row for row in rows if row["kind"] == "unlearned" and belongs(row["name"]) and row["products"] <= budget]
    return max(inside, key=lambda row: row["products"])


def network_of(rows: Rows, budget: int) -> Mapping[str, Any] | None:
    """Return the network of so many products, if there is one: one for that size alone rather than others."""
    found = [row for row in rows if row["kind"] == "network" and row["products"] == budget]
    return max(found, key=lambda row: row["for_one_size"], default=None)


def mean(row: Mapping[str, Any]) -> str:
    return f"{row['mean']:.2g}"


def shares(row: Mapping[str, Any]) -> str:
    at_5, _, at_1, _ = row["within"]
    return f"{100 * at_5:.2f} / {100 * at_1:.2f} %"


def published(rows: Rows) -> str:
    found = [row for row in rows if row["kind"] == "published"]
    if not found:
        return ""
    at_5 = found[0]["within"][0]
    return f"{found[0]['mean']:.3g}" if at_5 != at_5 else f"about {100 * at_5:.0f} % at 5 % (recalled)"


def put(text: str, into: str) -> str:
    """Return a text with what stands between the markers replaced.

    Raises
    ------
    ValueError
        If the markers are not there.
    """
    before, begin, rest = into.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"No markers {BEGIN!r} and {END!r}.")
    return f"{before}{BEGIN}\n{text}\n{END}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("readme", type=Path)
    parser.add_argument("--output", type=Path, help="by default README itself")
    options = parser.parse_args()
    text = put(table(json.loads(options.results.read_text())), options.readme.read_text())
    (options.output or options.readme).write_text(text)


if __name__ == "__main__":
    main()
