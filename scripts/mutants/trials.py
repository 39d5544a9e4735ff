"""Trying mutants: forks of a process that has imported all but what is changed, and what is kept of them."""

import json
import os
import random
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import redirect_stdout, suppress
from io import StringIO
from itertools import accumulate, zip_longest
from pathlib import Path
from typing import Any

import coverage
import pytest

from scripts.mutants.hook.sitecustomize import VARIABLE
from scripts.mutants.places import Mutant, mutants_of
from scripts.mutants.reasons import reason_for
from scripts.mutants.rewording import Codes, Rewording

OPTIONS = ["-q", "--tb=no", "--no-header", "-m", "not slow", "--hypothesis-profile=mutants"]
OPTIONS += ["-p", "no:cacheprovider", "-p", "no:xdist", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
KILLED, SURVIVED, TIMED_OUT, UNREACHED = "killed", "survived", "timed out", "unreached"


def try_file(work: Path, file: str, tests: list[str], sample: int | None, seconds: float, again: bool) -> str:
    """Try the mutants of a file that were not tried, and say how many live."""
    kept = Kept(kept_in(work, file))
    mutants = mutants_of(file, Path(file).read_text())
    random.Random(0).shuffle(mutants)  # so that those tried are a random sample, whenever it ends
    chosen = mutants[:sample]
    left = [mutant for mutant in chosen if (kept.survived_without_reason(mutant) if again else not kept.of(mutant))]
    if left:
        _register_profile()
        nursery = Nursery(file, left, kept, seconds, all_tests=again)
        said = StringIO()
        with redirect_stdout(said):
            status = pytest.main([*OPTIONS, *tests, file], plugins=[nursery])
        if status:
            return f"{file}: no mutant was tried, for\n{said.getvalue()}"
    n_survived = sum(kept.survived(mutant) for mutant in chosen)
    return f"{file}: {n_survived} of {len(chosen)} mutants live ({len(mutants)} in all)"


def kept_in(work: Path, file: str) -> Path:
    """Return where the mutants of a file are kept."""
    return work / f"{file.replace('/', '.')}.jsonl"


class Kept:
    """What is known of the mutants of a file, a line of JSON each; the last word counts."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records: dict[tuple[Any, ...], dict[str, Any]] = {}
        if path.exists():
            for line in path.read_text().splitlines():
                record = json.loads(line)
                self.records[tuple(record["key"])] = record

    def of(self, mutant: Mutant) -> dict[str, Any]:
        """Return what is known of a mutant; nothing where the function around it is another now."""
        record = self.records.get(mutant.key, {})
        return record if record.get("digest") == mutant.digest else {}

    def survived(self, mutant: Mutant) -> bool:
        """Return whether no test noticed the mutant."""
        return self.of(mutant).get("outcome") in (SURVIVED, UNREACHED)

    def survived_without_reason(self, mutant: Mutant) -> bool:
        """Return whether nobody has said, either, why it may live."""
        return self.survived(mutant) and not reason_for(mutant._asdict())

    def add(self, mutant: Mutant, found: dict[str, Any]) -> None:
        """Keep what was found."""
        record = {"key": mutant.key, "digest": mutant.digest, "line": mutant.line, "at": mutant.at, **found}
        self.records[mutant.key] = record
        with self.path.open("a") as file:
            file.write(json.dumps(record) + "\n")


class Nursery:
    """Tries mutants of one file: a plugin of pytest, which forks in the place of running what it has collected."""

    def __init__(self, file: str, mutants: list[Mutant], kept: Kept, budget: float, *, all_tests: bool) -> None:
        self.file, self.mutants, self.kept, self.budget, self.all_tests = file, mutants, kept, budget, all_tests
        self.module = file.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
        self.rewording = Rewording(file)
        self.is_compiled, self.compiles = "@njit" in Path(file).read_text(), file.endswith("lanes/compiler.py")
        self.reached: dict[int, list[str]] = {}
        self.seconds: dict[str, float] = {}
        self.kills: Counter[str] = Counter()

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run the tests on the file as it is, then on each mutant."""
        if session.testsfailed:
            raise session.Interrupted("The tests cannot be collected.")
        self.rewording.prepare()
        told = _in_fork(lambda: self._first_run(session), limit=600.0, patience=3600.0)
        if told["by"]:
            raise session.Interrupted(f"A test fails without a mutant: {told['by']}")
        self.reached = {int(line): names for line, names in told["reached"].items()}
        self.seconds = told["seconds"]
        told = self.run(session, Path(self.file).read_text(), [], self.within_budget(self.seconds))
        if told["by"]:
            raise session.Interrupted(f"A test fails anew without a mutant: {told['by']}")
        for mutant in self.mutants:
            self.kept.add(mutant, self.try_one(session, mutant))
        return True

    def try_one(self, session: pytest.Session, mutant: Mutant) -> dict[str, Any]:
        """Return the outcome, the test that failed, and the seconds it took."""
        names = {name for line in range(mutant.first, mutant.last + 1) for name in self.reached.get(line, [])}
        source = mutant.source
        try:
            codes = self.rewording.codes(source)
        except SyntaxError as error:
            return {"outcome": KILLED, "by": f"SyntaxError: {error}", "seconds": 0.0}
        if self.is_compiled or (self.compiles and not names):  # what the cache of kernels keeps from running
            codes, names = [], set(self.seconds)
        if self.all_tests or not codes:
            names = set(self.seconds)
        if not names:
            return {"outcome": UNREACHED, "by": "", "seconds": 0.0}
        start = time.monotonic()
        by = self.run(session, source, codes, self.within_budget(names))["by"]
        self.kills[by] += 1
        outcome = by if by == TIMED_OUT else KILLED if by else SURVIVED
        return {"outcome": outcome, "by": by, "seconds": round(time.monotonic() - start, 2)}

    def within_budget(self, names: Iterable[str]) -> list[str]:
        """Return tests in the order in which they are to run."""
        order = sorted(names, key=lambda name: (-self.kills[name], self.seconds[name]))
        spent = accumulate(self.seconds[name] for name in order)
        return [name for name, so_far in zip(order, spent, strict=True) if so_far < self.budget] or order[:1]

    def run(self, session: pytest.Session, source: str, codes: Codes, order: list[str]) -> dict[str, Any]:
        """Run tests in a fork until one fails, which is named."""
        limit = 20 + 4 * sum(self.seconds[name] for name in order) + (300 if self.is_compiled or self.compiles else 0)
        return _in_fork(lambda: self._run(session, source, codes, order), limit, patience=6 * limit)

    def _first_run(self, session: pytest.Session) -> dict[str, Any]:
        watch = coverage.Coverage(data_file=None, config_file=False, include=[self.file])
        watch.set_option("run:disable_warnings", ["no-data-collected"])  # of a file that runs as it is imported alone
        watch.start()
        seconds = {}
        by = ""
        for item in session.items:
            watch.switch_context(item.nodeid)
            start = time.process_time()
            by = by or _failure_of(session, [item])
            seconds[item.nodeid] = time.process_time() - start
        watch.stop()
        reached = watch.get_data().contexts_by_lineno(str(Path(self.file).resolve()))
        return {"by": by, "reached": reached, "seconds": seconds}

    def _run(self, session: pytest.Session, source: str, codes: Codes, order: list[str]) -> dict[str, Any]:
        said = Path(tempfile.gettempdir()) / "mutant.json"
        said.write_text(json.dumps({"module": self.module, "path": self.file, "source": source}))
        os.environ[VARIABLE] = str(said)
        if codes:
            for function, code in codes:
                function.__code__ = code
            items = {item.nodeid: item for item in session.items}
            return {"by": _failure_of(session, [items[name] for name in order])}
        if self.is_compiled or self.compiles:
            os.environ["SKDMI_CACHE_DIR"] = tempfile.mkdtemp()
            _keep_kernels_without(Path(self.file), Path(os.environ["SKDMI_CACHE_DIR"]))
        answer = Path(tempfile.gettempdir()) / "answer.json"
        answer.write_text(json.dumps(order))
        command = [sys.executable, "-m", "scripts.mutants.trials", str(answer), *session.config.args]
        status = subprocess.run(command).returncode
        if status:
            return {"by": TIMED_OUT if status == -signal.SIGXCPU else "a crash"}
        return json.loads(answer.read_text())


def run_anew(answer: Path, tests: list[str]) -> None:
    """Run tests in this process, in the order that a file holds; write what failed there."""
    chosen = Chosen(json.loads(answer.read_text()))
    _register_profile()
    status = pytest.main([*OPTIONS, "-x", *tests], plugins=[chosen])
    answer.write_text(json.dumps({"by": chosen.by or ("import" if status else "")}))


class Chosen:
    """Keeps some tests, in an order, and notes the first that fails."""

    def __init__(self, order: list[str]) -> None:
        self.rank = {name: i for i, name in enumerate(order)}
        self.by = ""

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = sorted((item for item in items if item.nodeid in self.rank), key=lambda item: self.rank[item.nodeid])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.by = self.by or report.nodeid


def _failure_of(session: pytest.Session, items: list[pytest.Item]) -> str:
    """Run tests until one fails; return its name."""
    notes = Chosen([])
    session.config.pluginmanager.register(notes)
    for item, following in zip_longest(items, items[1:]):
        session.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if notes.by:
            break
    session.config.pluginmanager.unregister(notes)
    return notes.by


def _keep_kernels_without(file: Path, folder: Path) -> None:
    """Copy those kernels that are not made of a file into another cache; the others are compiled anew."""
    from skdmi.lanes.compiler import sources
    from skdmi.lanes.kernels import KERNELS

    for kernel in KERNELS.values():
        if file.read_text() not in sources(kernel.name):
            shutil.copy(kernel.file(), folder)


def _register_profile() -> None:
    """Let hypothesis not look for the smallest example that fails: one is enough."""
    from hypothesis import HealthCheck, Phase, settings

    settings.register_profile(
        "mutants",
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate],
    )


def _in_fork(work: Callable[[], dict[str, Any]], limit: float, patience: float) -> dict[str, Any]:
    """Return what the work returns in a process of its own; where that ends before, ``by`` says of what.

    Parameters
    ----------
    work : callable
    limit, patience : float
        Seconds of processor time of the process, and seconds until it is ended with all that it started.
    """
    folder = tempfile.mkdtemp(prefix="mutant-")
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.setsid()
        os.close(reader)
        resource.setrlimit(resource.RLIMIT_CPU, (int(limit), int(limit) + 5))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        silent = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(silent, stream)
        os.environ["TMPDIR"] = tempfile.tempdir = folder
        try:
            answer = work()
        except BaseException as error:
            answer = {"by": f"{type(error).__name__}: {error}"}
        os.write(writer, json.dumps(answer).encode() + b"\n")
        os._exit(0)
    os.close(writer)
    end = time.monotonic() + patience
    said = _read_line(reader, end)
    os.close(reader)
    is_late = time.monotonic() > end
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    shutil.rmtree(folder, ignore_errors=True)
    if said.endswith(b"\n"):
        return json.loads(said)
    is_late = is_late or (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU)
    return {"by": TIMED_OUT if is_late else "a crash"}


def _read_line(reader: int, deadline: float) -> bytes:
    said = b""
    while not said.endswith(b"\n") and select.select([reader], [], [], max(deadline - time.monotonic(), 0.0))[0]:
        if not (part := os.read(reader, 1 << 16)):
            break
        said += part
    return said


if __name__ == "__main__":
    run_anew(Path(sys.argv[1]), sys.argv[2:])
