"""Changing functions where they are: whoever holds one then calls it in its new wording."""

import gc
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FunctionType

Codes = list[tuple[FunctionType, CodeType]]


class Rewording:
    """The functions of a file that is imported already."""

    def __init__(self, file: str) -> None:
        self.path = Path(file).resolve()
        self.code = compile(self.path.read_text(), str(self.path), "exec", dont_inherit=True)
        self.functions: list[FunctionType] = []

    def prepare(self) -> None:
        """Look for all functions of the file, under whatever decorator."""
        self.functions = [
            thing
            for thing in gc.get_objects()
            if type(thing) is FunctionType and Path(thing.__code__.co_filename) == self.path
        ]

    def codes(self, source: str) -> Codes:
        """Return functions with their codes in another source; none where that differs in what runs on import."""
        changed = compile(source, str(self.path), "exec", dont_inherit=True)
        if _flattened(self.code) != _flattened(changed):
            return []
        pairs = [
            (old, new) for old, new in _pairs(self.code, changed) if old.co_freevars == new.co_freevars and old != new
        ]
        return [(function, new) for old, new in pairs for function in self.functions if function.__code__ == old]


def _is_class_body(code: CodeType) -> bool:
    return "__module__" in code.co_names and "__qualname__" in code.co_names


def _parts(code: CodeType) -> list[CodeType]:
    return [const for const in code.co_consts if isinstance(const, CodeType)]


def _flattened(code: CodeType) -> list[object]:
    """Return what of a module, or of a class in it, runs as it is imported."""
    shape: list[object] = [code.co_code, code.co_names]
    for const in code.co_consts:
        if isinstance(const, CodeType):
            shape.append(_flattened(const) if _is_class_body(const) else const.co_qualname)
        else:
            shape.append((type(const), repr(const)))
    return shape


def _pairs(old: CodeType, new: CodeType) -> Iterator[tuple[CodeType, CodeType]]:
    """Yield the functions of a module in both wordings, those that others have made already included."""
    for one, other in zip(_parts(old), _parts(new), strict=False):
        if not _is_class_body(one):
            yield one, other
        yield from _pairs(one, other)
