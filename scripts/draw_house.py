"""Draw the rooms of the package and who imports whom, ``docs/images/house.svg``: ``python -m scripts.draw_house``.

Rows are those of ``tests/test_house.py``. An arrow that follows from others is left out. A long arrow has a cell of its
own in every row that it passes, so that none runs through a box; rows are sorted so that few arrows cross.
"""

import ast
from itertools import accumulate, combinations, pairwise
from pathlib import Path

from sklearn.isotonic import isotonic_regression

import skdmi
from tests.test_house import FILES, LEVELS, ORDER, imported, room_of

PICTURE = Path(__file__).parents[1] / "docs" / "images" / "house.svg"
WORDS = {
    "cli": "the commands",
    "inspection": "displays",
    "api": "inv, load_pretrained",
    "export": "graphs for other runtimes",
    "estimators": "all inverters",
    "preconditioners": "of sparse systems",
    "metrics": "norms, scorers",
    "training": "problem, stream, loop",
    "modules": "networks, loss",
    "distributions": "training matrices",
    "iteration": "starts, steps, rules",
    "lanes": "compiled kernels",
    "lapack": "LAPACK, one product",
    "linalg": "scaling, proofs, LAPACK",
    "containers": "numpy, torch, dask",
    "arrays": "what X may be",
    "io": ".mx, .npy, .csv",
    "persistence": "model directories",
    "validation": "layout, size, numbers",
    "datasets": "the audit set",
    "chunks": "how many at a time",
    "dtypes": "real and complex",
    "embedding": "complex as real",
    "exceptions": "errors, warnings",
    "figures": "what a route finds",
    "kinds": "what an object is",
    "processes": "workers end in time",
    "progress": "bars on a terminal",
    "typing": "what a checker is told",
}
"""What is in a room, in a few words; a new room needs some."""
WIDTH, ROW, MARGIN = 800, 74, 16
BOX, TRACK, HEIGHT, GAP = 164, 8, 44, 16
SWEEPS = 200


def draw():
    """Return the picture as text."""
    rows, chains = place(without_implied(imports()))
    sort_rows(rows, chains)
    x = arrange(rows, chains)
    top = {cell: MARGIN + ROW * number for number, row in enumerate(rows) for cell in row}
    height = ROW * (len(rows) - 1) + HEIGHT + 2 * MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'font-family="sans-serif" text-anchor="middle">',
        "<title>The rooms of skdmi; an arrow points to a room that is imported.</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        '<defs><marker id="head" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0,0 L8,4 L0,8 z" fill="#456"/></marker></defs>',
    ]
    parts += [arrow(chain, x, top) for chain in chains]
    parts += [box(cell, x[cell], top[cell]) for row in rows for cell in row if is_room(cell)]
    return "\n".join([*parts, "</svg>", ""])


def imports():
    """Return which rooms each room imports from, by an import or by a name of ``skdmi`` itself."""
    graph = {}
    for path in FILES:
        room = path.relative_to(Path(skdmi.__file__).parent).parts[0].removesuffix(".py")
        if room in LEVELS:
            tree = ast.parse(path.read_text())
            found = {home(module) for module in [*imported(tree), *of_package(tree)]}
            graph.setdefault(room, set()).update(found & LEVELS.keys() - {room})
    return graph


def of_package(tree):
    """Yield ``skdmi.name`` wherever a file uses a name of the package itself."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "skdmi":
            yield f"skdmi.{node.attr}"


def home(module):
    """Return the room of a module, or where a name of the package comes from."""
    name = room_of(module)
    return room_of(skdmi._HOMES.get(name, module))


def without_implied(graph):
    """Return the graph without the arrows that follow from others."""

    def reached(room):
        return graph[room].union(*map(reached, graph[room]))

    return {
        room: {low for low in lows if not any(low in reached(other) for other in lows)} for room, lows in graph.items()
    }


def place(graph):
    """Return rows of cells, rooms and long arrows that pass, and the chain of cells of every arrow."""
    levels = [level for level, rooms in enumerate(ORDER) if rooms & graph.keys()]
    row_of = {room: levels.index(LEVELS[room]) for room in graph}
    rows = [sorted(ORDER[level] & graph.keys()) for level in levels]
    chains = []
    for high, low in sorted((high, low) for high, lows in graph.items() for low in lows):
        passing = [(high, low, row) for row in range(row_of[high] + 1, row_of[low])]
        for cell in passing:
            rows[cell[2]].append(cell)
        chains.append([high, *passing, low])
    return rows, chains


def sort_rows(rows, chains):
    """Sort every row by where its neighbours above, then below, stand; of all orders met keep one with few crossings.

    Sugiyama, Tagawa and Toda, "Methods for visual understanding of hierarchical system structures", 1981.
    """
    links = [link for chain in chains for link in pairwise(chain)]
    beside = neighbours(chains)
    met = {}
    for sweep in range(SWEEPS):
        x = {cell: number - len(row) / 2 for row in rows for number, cell in enumerate(row)}
        met.setdefault(n_crossings(rows, links, x), [list(row) for row in rows])
        steps = list(pairwise(rows)) if sweep % 2 else list(pairwise(rows[::-1]))
        for fixed, row in steps:
            goals = {cell: mean([(1, x[near]) for near in beside[cell] if near in fixed], x[cell]) for cell in row}
            row.sort(key=goals.__getitem__)
            x |= {cell: number - len(row) / 2 for number, cell in enumerate(row)}
    rows[:] = met[min(met)]


def n_crossings(rows, links, x):
    row_of = {cell: number for number, row in enumerate(rows) for cell in row}
    pairs = combinations(((row_of[high], x[high], x[low]) for high, low in links), 2)
    return sum(row == other and (a - c) * (b - d) < 0 for (row, a, b), (other, c, d) in pairs)


def arrange(rows, chains):
    """Return the middle of each cell: as near to its neighbours as its row has room, long arrows above all."""
    beside = neighbours(chains)
    x = {}
    for row in rows:
        x |= packed(row, [WIDTH / 2] * len(row))
    for sweep in range(SWEEPS):
        for row in rows if sweep % 2 else rows[::-1]:
            weighted = {cell: [(4 ** (not is_room(near)), x[near]) for near in beside[cell]] for cell in row}
            x |= packed(row, [mean(weighted[cell], x[cell]) for cell in row])
    return x


def neighbours(chains):
    beside = {}
    for high, low in (link for chain in chains for link in pairwise(chain)):
        beside.setdefault(high, []).append(low)
        beside.setdefault(low, []).append(high)
    return beside


def mean(weighted, default):
    total = sum(weight for weight, _ in weighted)
    return sum(weight * x for weight, x in weighted) / total if total else default


def packed(row, goals):
    """Return the middles nearest to the goals, in order, that leave room for every cell."""
    offsets = list(accumulate(((width(a) + width(b)) / 2 + GAP for a, b in pairwise(row)), initial=0))
    least = MARGIN + width(row[0]) / 2
    most = WIDTH - MARGIN - width(row[-1]) / 2 - offsets[-1]
    moved = [goal - offset for goal, offset in zip(goals, offsets, strict=True)]
    found = isotonic_regression(moved, y_min=least, y_max=most)
    return {cell: float(left + offset) for cell, left, offset in zip(row, found, offsets, strict=True)}


def width(cell):
    return BOX if is_room(cell) else TRACK


def is_room(cell):
    return isinstance(cell, str)


def arrow(chain, x, top):
    """Return a line from the lower edge of a box to the upper edge of another, upright beside all between."""
    first, *passing, last = chain
    points = [(x[first], top[first] + HEIGHT)]
    for cell in passing:
        points += [(x[cell], top[cell]), (x[cell], top[cell] + HEIGHT)]
    points.append((x[last], top[last]))
    path = f"M{points[0][0]:.0f},{points[0][1]}"
    for (x_1, y_1), (x_2, y_2) in pairwise(points):
        middle = (y_1 + y_2) // 2
        path += f" C{x_1:.0f},{middle} {x_2:.0f},{middle} {x_2:.0f},{y_2}"
    title = f"<title>{first} imports {last}</title>"
    return f'<path d="{path}" fill="none" stroke="#456" stroke-width="1.3" marker-end="url(#head)">{title}</path>'


def box(room, x, top):
    left = x - BOX / 2
    return (
        f'<rect x="{left:.0f}" y="{top}" width="{BOX}" height="{HEIGHT}" rx="6" fill="#eef3f8" stroke="#456"/>'
        f'<text x="{x:.0f}" y="{top + 19}" font-size="15" font-weight="bold" fill="#123">{room}</text>'
        f'<text x="{x:.0f}" y="{top + 36}" font-size="12.5" fill="#345">{WORDS[room]}</text>'
    )


if __name__ == "__main__":
    PICTURE.write_text(draw(), encoding="utf-8")
