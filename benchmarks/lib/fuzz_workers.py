"""Processes that judge cases: one that dies or hangs costs its case, which is a finding, and nothing else."""

import importlib
import multiprocessing as mp
import tempfile
import time
import warnings
from collections.abc import Iterator
from ctypes import c_longlong
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from benchmarks.lib.fuzzing import Outcome, limit_memory, run
from skdmi.processes import end_with_parent

MODULES = {
    "mx": "benchmarks.lib.fuzz_files",
    "csv": "benchmarks.lib.fuzz_files",
    "npy": "benchmarks.lib.fuzz_files",
    "model": "benchmarks.lib.fuzz_models",
}
"""Where each reader is: a process imports its own alone."""
MOST_SILENCE = 120.0
"""Seconds of the clock after which a case that has not ended is one that hangs."""
NOT_STARTED = -1

_CONTEXT = mp.get_context("spawn")


def find_reader(name: str, module: str | None = None) -> Any:
    """Return a reader by its name."""
    return importlib.import_module(module or MODULES[name]).READERS[name]


def scratch() -> tempfile.TemporaryDirectory[str]:
    """Return a folder for files, in memory where the system has such a place."""
    memory = Path("/dev/shm")
    return tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None)


def _work(connection: Connection, place: Any, module: str, name: str, seed: int, pieces: list[range]) -> None:
    """Judge pieces of the cases of a reader, and send what became of each."""
    end_with_parent()
    warnings.simplefilter("ignore")
    reader = find_reader(name, module)
    with scratch() as folder:
        limit_memory()
        for piece in pieces:
            connection.send(run(name, reader, seed, piece, Path(folder), lambda index: setattr(place, "value", index)))
            place.value = NOT_STARTED


class Worker:
    """A process with pieces to judge."""

    def __init__(self, name: str, seed: int, pieces: list[range]) -> None:
        self.pieces = pieces
        self._place = _CONTEXT.Value(c_longlong, NOT_STARTED, lock=False)
        self.connection, theirs = _CONTEXT.Pipe(duplex=False)
        args = (theirs, self._place, MODULES[name], name, seed, pieces)
        self.process = _CONTEXT.Process(target=_work, args=args, daemon=True)
        self.process.start()
        theirs.close()
        self._seen, self._since = NOT_STARTED, time.monotonic()

    def receive(self) -> tuple[range, Outcome] | None:
        """Return a piece that is done, an empty one if none is; None if the process ended, or hung and was ended."""
        if self.connection.poll():
            try:
                outcome = self.connection.recv()
            except EOFError:
                self.process.join()
                return None
            return self.pieces.pop(0), outcome
        place = self._place.value
        if place != self._seen:
            self._seen, self._since = place, time.monotonic()
        if self._hangs():
            self.process.kill()
            self.process.join()
            return None
        return range(0), Outcome()

    def _hangs(self) -> bool:
        """Return whether a case takes too long; what precedes the first one may take its time."""
        return self._seen != NOT_STARTED and time.monotonic() - self._since > MOST_SILENCE

    def leave(self) -> Outcome:
        """Return a finding if the process ended before its work, and keep the pieces that are left for another."""
        if not self.pieces:
            return Outcome()
        place, first = self._place.value, self.pieces[0]
        if place == NOT_STARTED:
            raise RuntimeError(f"A process ended with status {self.process.exitcode} between cases.")
        self.pieces[:1] = [piece for piece in (range(first.start, place), range(place + 1, first.stop)) if piece]
        ended = f"the process ended with status {self.process.exitcode}"
        what = f"hung for {MOST_SILENCE:.0f} s" if self._hangs() else ended
        return Outcome(cases=1, violations=[{"index": place, "what": what}])


def judged(name: str, seed: int, blocks: list[range], jobs: int) -> Iterator[tuple[range, Outcome]]:
    """Judge blocks of cases in so many processes, and yield what became of each block, as it is done."""
    shares = [blocks[k::jobs] for k in range(jobs)]
    workers = [Worker(name, seed, list(share)) for share in shares if share]
    unfinished: dict[range, Outcome] = {block: Outcome() for block in blocks}
    try:
        while workers:
            wait([worker.connection for worker in workers], timeout=1)
            for worker in list(workers):
                done = worker.receive()
                piece, outcome = done or (worker.pieces[0] if worker.pieces else range(0), worker.leave())
                for block in [block for block in unfinished if outcome.cases and piece.start in block]:
                    unfinished[block] += outcome
                    if unfinished[block].cases == len(block):
                        yield block, unfinished.pop(block)
                if done is None:
                    workers.remove(worker)
                    if worker.pieces:
                        workers.append(Worker(name, seed, worker.pieces))
    finally:
        for worker in workers:
            worker.process.kill()
            worker.process.join()
