"""Docstrings of the public names, held against numpydoc's checks: ``[tool.numpydoc_validation]`` of pyproject.toml.

``python -m scripts.check_docstrings [MODULE ...]`` prints a line for each finding and fails if there is one.
"""

import ast
import dataclasses
import functools
import inspect
import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from numpydoc.docscrape import get_doc_object
from numpydoc.validate import ERROR_MSGS, Validator, validate

ROOT = Path(__file__).parents[1]
MODULES = [
    "skdmi",
    "skdmi.datasets",
    "skdmi.distributions",
    "skdmi.exceptions",
    "skdmi.export",
    "skdmi.inspection",
    "skdmi.io",
    "skdmi.iteration",
    "skdmi.linalg",
    "skdmi.metrics",
    "skdmi.modules",
    "skdmi.progress",
    "skdmi.training",
]


class Docstring(Validator):
    """Of an object at hand, whose fields may be attributes and whose source may be nowhere."""

    def __init__(self, obj_name: str, value: Any) -> None:
        super().__init__(get_doc_object(value))
        self._name = obj_name

    @property
    def name(self) -> str:
        return self._name

    @property
    def source_file_def_line(self) -> int | None:
        try:
            return super().source_file_def_line
        except StopIteration:
            return None

    @property
    def doc_all_parameters(self) -> dict[str, Any]:
        """Fields of what functions return are attributes: nobody else makes one."""
        documented = super().doc_all_parameters
        if dataclasses.is_dataclass(self.obj) or hasattr(self.obj, "_fields"):
            fields = [field for field in self.signature_parameters if field not in documented]
            attributes = self._doc_parameters(["Attributes"])
            documented |= {name: attributes[name] for name in fields if name in attributes}
        return documented


def public(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """Yield names and values of a module, of what it exports, and of the documented members of its classes."""
    yield module.__name__, module
    for name in module.__all__:
        value = getattr(module, name)
        yield f"{module.__name__}.{name}", value
        if inspect.isclass(value):
            yield from ((f"{module.__name__}.{name}.{part}", member) for part, member in members(value))


def members(cls: type) -> Iterator[tuple[str, Any]]:
    """Yield the public methods and properties that a class has from this package, and documents."""
    seen: set[str] = set()
    for owner in cls.__mro__:
        if owner.__module__.partition(".")[0] != "skdmi":
            continue
        for name, member in vars(owner).items():
            if isinstance(member, classmethod | staticmethod):
                member = member.__func__
            documented = inspect.isfunction(member) or isinstance(member, property | functools.cached_property)
            if documented and not name.startswith("_") and name not in seen and member.__doc__:
                seen.add(name)
                yield name, member


def described_data(module: ModuleType, name: str) -> bool:
    """Return whether a string stands below the assignment to a name, in the module or where it has it from."""
    tree = ast.parse(inspect.getsource(module))
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module and any(alias.name == name for alias in node.names):
            return described_data(import_module(node.module), name)
    for node, following in zip(tree.body, tree.body[1:], strict=False):
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            return isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
    return False


def findings(name: str, value: Any, wanted: set[str]) -> Iterator[str]:
    """Yield a line for each check that a docstring fails."""
    is_code = inspect.isclass(value) or inspect.isroutine(value) or inspect.ismodule(value)
    is_property = isinstance(value, property | functools.cached_property)
    if not (is_code or is_property):
        module, _, attribute = name.rpartition(".")
        if not described_data(import_module(module), attribute):
            yield f"{name}: has no string below it that says what it is"
        return
    result = validate(name, validator_cls=Docstring, value=value)
    path = Path(result["file"]).relative_to(ROOT) if result["file"] else name
    for code, message in result["errors"]:
        if code in wanted:
            yield f"{path}:{result['file_line'] or 1}: {name}: {code} {message}"


def chosen() -> set[str]:
    """Return the checks of pyproject.toml: all but those that it names."""
    checks = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["numpydoc_validation"]["checks"]
    return set(ERROR_MSGS) - set(checks) if "all" in checks else set(checks)


def main(modules: list[str]) -> int:
    """Print the findings; return 1 if there are any, for the shell."""
    wanted, lines, seen = chosen(), [], set()
    for module in map(import_module, modules or MODULES):
        for name, value in public(module):
            if id(value) not in seen:
                seen.add(id(value))
                lines += findings(name, value, wanted)
    print("\n".join([*lines, f"{len(lines)} findings in the docstrings of {len(seen)} public names."]))
    return bool(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
