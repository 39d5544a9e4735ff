"""Print the table of the shipped models for the docs, from what their cards say.

python -m scripts.shipped_table > docs/tables/shipped.txt
"""

import skdmi

HEAD = ("Model", "Matrices", "Depth, width", "Weights", "Products", "Residual norm", "Untrained")


def table() -> str:
    """Return the models as a table in reStructuredText."""
    rows = [HEAD]
    for name, one in skdmi.shipped_models().items():
        rows.append(
            (
                f"``{name}``",
                f"{one.matrices}, {one.training}",
                f"{one.depth}, {one.width}",
                f"{one.n_bytes / 1000:,.0f} kB",
                f"{one.n_products}",
                f"{one.residual_norm:.1e}",
                f"{one.untrained_residual_norm:.1e} in {one.untrained_n_products} products",
            )
        )
    lines = [".. list-table::", "   :header-rows: 1", "   :widths: auto", ""]
    for first, *others in rows:
        lines += [f"   * - {first}", *(f"     - {text}" for text in others)]
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
