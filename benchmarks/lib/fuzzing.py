"""Readers of files, held to what they promise on files that were changed: a case is known by reader, seed and index."""

import re
import resource
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any

MOST_SECONDS = 1.0
"""Of processor time, a case: that of the clock would be the machine's."""
MOST_MEMORY = 100 * 2**20
LONGEST_MESSAGE = 1000
"""Characters beside the path."""


@dataclass(frozen=True)
class Reader:
    """Something that reads files: how it is tempted, and how its answers are judged."""

    make: Callable[[Random], Any]
    """Returns the content of a case."""
    write: Callable[[Path, Any], Path]
    """Puts a content into a folder, and returns the path to be read."""
    read: Callable[[Path, Random], Any]
    judge: Callable[[Any, Any], str | None]
    """Takes a content and what was read of it, None if it was refused, and returns what is wrong with that."""


@dataclass
class Outcome:
    """What became of cases."""

    cases: int = 0
    accepted: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    violations: list[dict[str, Any]] = field(default_factory=list)
    """Of each the index, and what happened."""
    seconds: float = 0.0
    """Of processor time, of the case that took most."""
    memory: int = 0
    """Bytes by which the process grew at most, over all its cases."""

    def __add__(self, other: "Outcome") -> "Outcome":
        return Outcome(
            self.cases + other.cases,
            self.accepted + other.accepted,
            self.refused + other.refused,
            self.violations + other.violations,
            max(self.seconds, other.seconds),
            max(self.memory, other.memory),
        )

    def record(self) -> dict[str, Any]:
        return asdict(self) | {"refused": dict(self.refused)}

    @classmethod
    def of_record(cls, record: dict[str, Any]) -> "Outcome":
        return cls(**record | {"refused": Counter(record["refused"])})


def generator(reader: str, seed: int, index: int) -> Random:
    """Return the random numbers of a case."""
    return Random(f"{reader} {seed} {index}")


def run(
    name: str, reader: Reader, seed: int, indices: range, folder: Path, started: Callable[[int], None] = lambda _: None
) -> Outcome:
    """Judge cases, one after the other; ``started`` is told the index of each."""
    found = Outcome()
    before = resident_now()
    for index in indices:
        started(index)
        random = generator(name, seed, index)
        content = reader.make(random)
        judge_case(reader, content, reader.write(folder, content), random, index, found)
    found.memory = max(0, _status("VmHWM") - before)
    return found


def judge_case(reader: Reader, content: Any, path: Path, random: Random, index: int, found: Outcome) -> None:
    """Read one file, and add what became of it."""
    answer = wrong = None
    begun = time.process_time()
    try:
        answer = reader.read(path, random)
    except (ValueError, OSError) as error:
        spent = time.process_time() - begun
        wrong = _ill_said(error, path)
        if wrong is None:
            found.refused[kind_of(str(error), path)] += 1
    except Exception as error:
        spent = time.process_time() - begun
        wrong = f"{type(error).__name__}: {error}"
    else:
        spent = time.process_time() - begun
        found.accepted += 1
    if wrong is None:
        wrong = reader.judge(content, answer)
    if wrong is None and spent > MOST_SECONDS:
        wrong = f"took {spent:.1f} s"
    if wrong is not None:
        found.violations.append({"index": index, "what": wrong[:300]})
    found.cases += 1
    found.seconds = max(found.seconds, spent)


def _ill_said(error: BaseException, path: Path) -> str | None:
    """Return what is wrong with a documented error: it names the path in one line, and does not hide want of memory."""
    message, cause = str(error), error.__cause__ or error.__context__
    while cause is not None:
        if isinstance(cause, MemoryError):
            return f"out of memory behind {message}"
        cause = cause.__cause__ or cause.__context__
    if str(path) not in message:
        return f"{type(error).__name__} without the path: {message}"
    if not message.isprintable():
        return f"not one line of text: {message!r}"
    if len(message) > len(str(path)) + LONGEST_MESSAGE:
        return f"a message of {len(message)} characters: {message}"
    return None


_VARIABLE = re.compile(
    r"""\(.*\)|\{.*\}|'(?:[^'\\]|\\.)*'(?:\.\.\.)?|"(?:[^"\\]|\\.)*"(?:\.\.\.)?|\d[\d.,]*""", re.DOTALL
)
_VALUE = re.compile(r"\b(is|got) \S.*; expected")
_WITHIN = re.compile(r"\.\.\.(/[^\s:]*)?(: (?=members))?(members\[N\]\.)*")


def kind_of(message: str, path: Path) -> str:
    """Return a message without what differs from file to file.

    >>> kind_of("a.mx:5: got 'x'; expected a number.", Path("a.mx"))
    '...:N: got ...; expected a number.'
    """
    message = _VALUE.sub(r"\1 ...; expected", message.replace(str(path), "..."))
    message = _VARIABLE.sub(lambda found: "N" if found[0][-1] in "0123456789.," else "...", message)
    return _WITHIN.sub("...", message)[:160]


def limit_memory() -> None:
    """Let this process have so much more memory than it has, and no more."""
    most = _status("VmSize") + MOST_MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))


def resident_now() -> int:
    """Return how many bytes of memory this process has, and let the system forget that it ever had more."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _status(name: str) -> int:
    """Return a figure of this process in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))
