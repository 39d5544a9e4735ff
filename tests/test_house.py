"""The house stands: rooms are small, and imports point downwards."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import skdmi

ROOT = Path(skdmi.__file__).parent
ORDER = [
    {"cli"},
    {"inspection"},
    {"api", "preconditioners"},
    {"estimators"},
    {"export"},
    {"metrics", "training"},
    {"modules"},
    {"distributions", "iteration"},
    {"linalg"},
    {"lapack"},
    {"lanes"},
    {"containers"},
    {"arrays", "persistence", "validation"},
    {"datasets", "io", "processes"},
    {"figures", "kinds", "progress"},
    {"chunks", "dtypes", "embedding", "exceptions", "typing"},
]
"""From above: a module imports from rows below its own, from its own room, and from ``skdmi`` itself."""
LEVELS = {room: level for level, rooms in enumerate(ORDER) for room in rooms}
FILES = sorted(ROOT.rglob("*.py"))
each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())


def room_of(module):
    """Return the room of ``skdmi.room.module``; "" of the package itself."""
    return ([*module.split("."), ""])[1]


def imported(tree):
    """Yield the modules of the package that a file imports, wherever the import stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "skdmi")
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "skdmi":
            yield from (
                (f"{node.module}.{alias.name}" for alias in node.names) if node.module == "skdmi" else [node.module]
            )


def is_docstring(node):
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def statement_lines(function):
    """Return the number of lines on which statements of a function stand, docstrings aside."""
    lines = set()
    for node in function.body:
        if not is_docstring(node):
            lines |= set(range(node.lineno, node.end_lineno + 1))
    return len(lines)


@each_file
def test_imports_point_downwards(path):
    room = path.relative_to(ROOT).parts[0].removesuffix(".py")
    if room == "__init__":
        return  # the table of contents
    for module in imported(ast.parse(path.read_text())):
        other = room_of(module)
        if other in LEVELS and other != room:
            assert LEVELS[other] > LEVELS[room], f"{room} imports {module}"


@each_file
def test_rooms_are_small(path):
    text = path.read_text()
    assert text.count("\n") <= 400, "two ideas"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert statement_lines(node) <= 60, node.name


def test_no_module_imports_itself_through_others():
    graph = {}
    for path in FILES:
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if name != "skdmi":
            graph[name] = set(imported(ast.parse(path.read_text()))) - {name}
    modules = {module: found & graph.keys() for module, found in graph.items()}
    TopologicalSorter(modules).prepare()  # CycleError names the circle


def test_every_room_has_its_place():
    rooms = {path.relative_to(ROOT).parts[0].removesuffix(".py") for path in FILES} - {"__init__"}
    assert rooms <= set(LEVELS)
