"""The places of a module where something can be changed, and what it is changed to."""

from hashlib import sha256
from itertools import accumulate
from typing import NamedTuple

import libcst as cst
from libcst.metadata import MetadataWrapper, PositionProvider
from mutmut.mutation.mutators import mutation_operators

_LEFT_ALONE = (cst.Annotation, cst.Decorator, cst.Import, cst.ImportFrom)
_UNMUTATED_CALLS = {"len", "isinstance", "warn"}


class Mutant(NamedTuple):
    """A module with one thing changed."""

    file: str
    scope: str
    """The function or class the change is in, with those around it; "" in the module itself."""
    first: int
    last: int
    """The lines of the statement."""
    line: int
    at: str
    """The line of the source."""
    was: str
    becomes: str
    operator: str
    nth: int
    """How many like it stand before it in its scope."""
    digest: str
    """Of the function or class of the module that the change is in, as it is."""
    source: str
    """The changed module."""

    @property
    def key(self) -> tuple[str, str, str, int]:
        """What names it whatever is changed elsewhere in the file."""
        return (self.scope, self.was, self.becomes, self.nth)


class _Places(cst.CSTVisitor):
    METADATA_DEPENDENCIES = (PositionProvider,)

    def __init__(self) -> None:
        self.found: list[tuple[cst.CSTNode, cst.CSTNode, str, str, list[cst.CSTNode]]] = []
        self.scope: list[str] = []
        self.statements: list[cst.CSTNode] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        if isinstance(node, (cst.FunctionDef, cst.ClassDef)):
            self.scope.append(node.name.value)
        if isinstance(node, (cst.BaseStatement, cst.BaseSmallStatement)):
            self.statements.append(node)
        if isinstance(node, _LEFT_ALONE) or _is_left_alone(node):
            return False
        for kind, operator in mutation_operators:
            if isinstance(node, kind):
                around = self.statements[:1] + self.statements
                name, scope = operator.__name__.removeprefix("operator_"), ".".join(self.scope)
                self.found.extend((node, changed, name, scope, around) for changed in operator(node))
        return True

    def on_leave(self, original_node: cst.CSTNode) -> None:
        if isinstance(original_node, (cst.FunctionDef, cst.ClassDef)):
            self.scope.pop()
        if isinstance(original_node, (cst.BaseStatement, cst.BaseSmallStatement)):
            self.statements.pop()


def _is_left_alone(node: cst.CSTNode) -> bool:
    if isinstance(node, cst.SimpleString):
        return " " in node.value  # prose
    return isinstance(node, cst.Call) and isinstance(node.func, cst.Name) and node.func.value in _UNMUTATED_CALLS


def mutants_of(file: str, source: str) -> list[Mutant]:
    """Return all mutants of a module, in the order of their places.

    >>> for mutant in mutants_of("half.py", "def half(x):\\n    return x / 2\\n"):
    ...     print(mutant.scope, mutant.was, "->", mutant.becomes)
    half x / 2 -> x * 2
    half 2 -> 3
    """
    wrapper = MetadataWrapper(cst.parse_module(source))
    places = _Places()
    wrapper.visit(places)
    positions = wrapper.resolve(PositionProvider)
    lines = source.splitlines(keepends=True)
    at_line = list(accumulate(map(len, lines), initial=0))
    seen: dict[tuple[str, str, str], int] = {}
    digests: dict[cst.CSTNode, str] = {}
    mutants = []
    for node, changed, operator, scope, (outer, *_, statement) in places.found:
        was, becomes = (wrapper.module.code_for_node(part).strip() for part in (node, changed))
        nth = seen[scope, was, becomes] = seen.get((scope, was, becomes), -1) + 1
        span, line = positions[statement], positions[node].start.line
        body = getattr(statement, "body", None)
        last = positions[body].start.line if isinstance(body, cst.BaseSuite) else span.end.line
        ends = positions[node].start, positions[node].end
        begin, end = (at_line[position.line - 1] + position.column for position in ends)
        text = source[:begin] + _code(wrapper.module, changed, node) + source[end:]
        at = lines[line - 1].strip()
        if outer not in digests:
            digests[outer] = sha256(wrapper.module.code_for_node(outer).encode()).hexdigest()[:12]
        span_of = (span.start.line, last, line, at)
        mutants.append(Mutant(file, scope, *span_of, was, becomes, operator, nth, digests[outer], text))
    return mutants


def _code(module: cst.Module, node: cst.CSTNode, beside: cst.CSTNode) -> str:
    """Return the code of a node to stand in the place of another, whose own parentheses stay in the text."""
    return module.code_for_node(node.with_changes(lpar=(), rpar=()) if getattr(beside, "lpar", ()) else node)
