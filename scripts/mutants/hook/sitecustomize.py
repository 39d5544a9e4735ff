"""Import one module in another wording, in every process whose ``PYTHONPATH`` holds this folder."""

import json
import os
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType

VARIABLE = "SKDMI_MUTANT"
"""Of the environment: the path of a JSON file with ``module``, ``path`` and ``source``; unset, nothing is changed."""


class _Loader(SourceFileLoader):
    source = ""

    def get_code(self, fullname: str) -> CodeType:
        return compile(self.source, self.path, "exec", dont_inherit=True)


class Finder(MetaPathFinder):
    """Finds one module: the source given instead of that on the disk."""

    def __init__(self, module: str, path: str, source: str) -> None:
        self.module, self.path, self.source = module, path, source

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        del path, target
        if fullname != self.module:
            return None
        loader = _Loader(fullname, self.path)
        loader.source = self.source
        folder = [str(Path(self.path).parent)] if self.path.endswith("__init__.py") else None
        return spec_from_file_location(fullname, self.path, loader=loader, submodule_search_locations=folder)


def install() -> None:
    """Put the finder that the environment asks for before all others."""
    if chosen := os.environ.get(VARIABLE):
        sys.meta_path.insert(0, Finder(**json.loads(Path(chosen).read_text())))


if __name__ == "sitecustomize":
    install()
