"""What values of a card may be: rules that read as a table, and that no value can hurt."""

import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from itertools import chain
from reprlib import Repr
from typing import Any

LARGEST = sys.float_info.max
COUNT = 10**15
"""More than anything that is counted."""

_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxlong = _SHORT.maxother = 60


@dataclass(frozen=True)
class Rule:
    """What a value must be, in words and in code."""

    expected: str
    holds: Callable[[Any], bool]
    inside: Callable[[Any, str], None] | None = None
    """Checks the parts of a value that holds, given the field that it stands in."""

    def check(self, value: Any, field: str) -> None:
        """Raise ValueError, naming the field, unless the value and all its parts are as they must be.

        >>> integer(1, 9).check(12, "depth")
        Traceback (most recent call last):
            ...
        ValueError: depth is 12; expected an integer from 1 to 9.
        """
        if not self.holds(value):
            raise ValueError(f"{field} is {shown(value)}; expected {self.expected}.")
        if self.inside is not None:
            self.inside(value, field)


def shown(value: Any) -> str:
    """Return a value as it may stand in a message, in one short line."""
    return _SHORT.repr(value)


def integer(low: int = 0, high: int = COUNT) -> Rule:
    """Return the rule of an integer, and no bool, within bounds."""
    expected = f"an integer from {low:,} to {high:,}" if high < COUNT else f"an integer of at least {low}"
    return Rule(expected, lambda value: type(value) is int and low <= value <= high)


def number(low: float = -LARGEST, high: float = LARGEST, *, above: float | None = None) -> Rule:
    """Return the rule of a finite number within bounds, or above one."""
    expected = "a finite number" + (f" of at least {low:g}" if low > -LARGEST else "")
    expected += (f" above {above:g}" if above is not None else "") + (f" up to {high:g}" if high < LARGEST else "")
    # Integers are compared as they are: a conversion to float could overflow.
    return Rule(expected, lambda value: _is_real(value) and low <= value <= high and (above is None or value > above))


def measured() -> Rule:
    """Return the rule of a measurement: any number that float64 has, infinite ones and NaN among them."""
    return Rule("a number", lambda value: type(value) is float or (type(value) is int and abs(value) <= LARGEST))


def text(longest: int = 200, *, printable: bool = True) -> Rule:
    """Return the rule of a text that is not too long, and does nothing to a terminal."""
    return Rule(
        f"a{' printable' * printable} text of at most {longest} characters",
        lambda value: type(value) is str and len(value) <= longest and (value.isprintable() or not printable),
    )


def word(*tables: Collection[str]) -> Rule:
    """Return the rule of one of the texts in some tables, to which rows may be added."""
    expected = f"one of {', '.join(map(repr, chain(*tables)))}"
    return Rule(expected, lambda value: type(value) is str and any(value in table for table in tables))


def flag() -> Rule:
    """Return the rule of true or false."""
    return Rule("true or false", lambda value: type(value) is bool)


def anything() -> Rule:
    """Return the rule that allows whatever JSON can hold."""
    return Rule("anything", lambda value: True)


def nothing() -> Rule:
    """Return the rule of null."""
    return Rule("null", lambda value: value is None)


def either(*rules: Rule) -> Rule:
    """Return the rule that allows what one of some rules allows."""

    def inside(value: Any, field: str) -> None:
        next(rule for rule in rules if rule.holds(value)).check(value, field)

    expected = ", or ".join(rule.expected for rule in rules)
    return Rule(expected, lambda value: any(rule.holds(value) for rule in rules), inside)


def optional(rule: Rule) -> Rule:
    """Return the rule that allows null beside what another allows."""
    return either(rule, nothing())


def sequence(rule: Rule, shortest: int = 0, longest: int = COUNT) -> Rule:
    """Return the rule of a list of which every value is as another says."""

    def inside(values: list[Any], field: str) -> None:
        for i, value in enumerate(values):
            rule.check(value, f"{field}[{i}]")

    length = f"{shortest}" if shortest == longest else f"{shortest:,} to {longest:,}"
    expected = f"a list of {length} values" if longest < COUNT else "a list"
    return Rule(expected, lambda value: type(value) is list and shortest <= len(value) <= longest, inside)


def mapping(rule: Rule, name: Rule | None = None) -> Rule:
    """Return the rule of an object of any names, of which every value is as another says."""

    def inside(values: dict[str, Any], field: str) -> None:
        for key, value in values.items():
            if name is not None:
                name.check(key, f"a name in {field}")
            rule.check(value, f"{field}.{shown(key)[1:-1]}")

    return Rule("an object", lambda value: type(value) is dict, inside)


def record(required: Mapping[str, Rule], others: Mapping[str, Rule] | None = None, *, closed: bool = False) -> Rule:
    """Return the rule of an object of named values, of which ``others`` may be missing.

    Names that are in neither table are of a later version: they are not looked at, or with ``closed`` refused.

    >>> record({"epoch": integer(1)}).check({"epoch": 3, "mood": "good"}, "row")
    """
    table = {**required, **(others or {})}

    def inside(values: dict[str, Any], field: str) -> None:
        start = f"{field}." if field else ""
        for name, rule in table.items():
            if name in values:
                rule.check(values[name], start + name)
            elif name in required:
                raise ValueError(f"{start}{name} is missing; expected {rule.expected}.")
        if closed and values.keys() - table.keys():
            unknown = min(values.keys() - table.keys())
            raise ValueError(f"{field} has {shown(unknown)}, which this version does not know. Update skdmi.")

    return Rule("an object", lambda value: type(value) is dict, inside)


def _is_real(value: Any) -> bool:
    return type(value) in (int, float)
