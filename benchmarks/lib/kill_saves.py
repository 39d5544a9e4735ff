"""Models that are saved by processes that are killed, and by several at once while others load them."""

import hashlib
import multiprocessing as mp
import random
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import skdmi
from skdmi import EnsembleInverter, NeuralMatrixInverter

GOLDEN = Path(__file__).parents[2] / "tests" / "golden" / "0.1.0"
OLD = ("polynomial", "ensemble-of-ensembles")
"""Models of 0.1.0 that are saved over."""
KEPT = {"model.safetensors", "README.md"}
SAVES = 4
"""The time of so many is that within which a process is killed."""

_CONTEXT = mp.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["benchmarks.lib.kill_saves"])


@dataclass
class Survival:
    """What kills have left."""

    kills: int = 0
    lost: int = 0
    """What was there before, or should be there after, cannot be read."""
    damaged: int = 0
    """It can be read, and is neither the one nor the other."""
    scratch: int = 0
    """Kills that left unfinished files; the next run collects them."""
    uncollected: int = 0
    """Unfinished files that the next run left, too."""
    said: list[str] = field(default_factory=list)

    @property
    def failures(self) -> int:
        return self.lost + self.damaged + self.uncollected


def two_models(folder: Path) -> list[Path]:
    """Save a network and an ensemble of two, whose saves take about a hundredth of a second, and return where."""
    networks = [NeuralMatrixInverter(2, matrix_size=3, max_epochs=0, random_state=seed).fit() for seed in range(3)]
    models = (networks[0], EnsembleInverter.from_fitted(networks[1:]))
    paths = [folder / "one", folder / "other"]
    for path, model in zip(paths, models, strict=True):
        model.save_pretrained(path)
    return paths


def load(path: Path) -> Any:
    return skdmi.load_pretrained(path).estimator


def digest(model: Any) -> str:
    """Return what tells the weights of one model from those of another."""
    if hasattr(model, "estimators_"):
        return " ".join(digest(getattr(member, "estimator", member)) for member in model.estimators_)
    sums = hashlib.blake2b(digest_size=8)
    for name, weights in sorted(model.module_.state_dict().items()):
        sums.update(name.encode() + np.ascontiguousarray(weights.numpy()).tobytes())
    return sums.hexdigest()


def save_in_turn(directory: Path, sources: list[Path], n: int, ready: Any = None, failures: Any = None) -> None:
    """Save one model after the other into a directory, n times."""
    models = [load(path) for path in sources]
    if ready is not None:
        ready.set()
    said = []
    for k in range(n):
        try:
            models[k % len(models)].save_pretrained(directory)
        except Exception as error:
            said.append(f"saving: {type(error).__name__}: {error}")
    if failures is not None:
        failures.put(said)


def load_again_and_again(directory: Path, known: set[str], n: int, failures: Any) -> None:
    """Load what is in a directory n times; it must be a model that is known, whole."""
    said = []
    for _ in range(n):
        try:
            if digest(load(directory)) not in known:
                said.append("loading: another model than any that was saved")
        except Exception as error:
            said.append(f"loading: {type(error).__name__}: {error}")
    failures.put(said)


def kill_saves(n: int, folder: Path, draw: random.Random) -> Survival:
    """Kill n processes that save, every third over a model of 0.1.0, and look at what they leave."""
    sources = two_models(folder)
    known = {digest(load(path)) for path in sources}
    directory = folder / "model"
    span = _seconds_of_saves(sources, folder / "timed")
    found = Survival()
    while found.kills < n:
        over_old = found.kills % 3 == 0
        shutil.rmtree(directory, ignore_errors=True)
        before = GOLDEN / OLD[found.kills % len(OLD)] if over_old else sources[0]
        shutil.copytree(before, directory)
        allowed = known | {digest(load(before))}
        ready = _CONTEXT.Event()
        process = _CONTEXT.Process(target=save_in_turn, args=(directory, sources, 10**6, ready))
        process.start()
        ready.wait()
        time.sleep(draw.uniform(0, span / SAVES * 1.5 if over_old else span))
        process.kill()
        process.join()
        found.kills += 1
        _look(directory, allowed, found)
        load(sources[1]).save_pretrained(directory)
        if rest := {path.name for path in directory.iterdir()} - KEPT:
            found.uncollected += 1
            found.said.append(f"kill {found.kills}: {', '.join(sorted(rest))} stayed")
    return found


def _seconds_of_saves(sources: list[Path], directory: Path) -> float:
    """Return how long a few saves take, by the clock."""
    started = time.perf_counter()
    for path in sources * (SAVES // 2):
        load(path).save_pretrained(directory)
    return time.perf_counter() - started


def _look(directory: Path, allowed: set[str], found: Survival) -> None:
    found.scratch += any(path.name.startswith(".skdmi-") for path in directory.iterdir())
    try:
        if digest(load(directory)) not in allowed:
            found.damaged += 1
            found.said.append(f"kill {found.kills}: another model than any that was saved")
    except Exception as error:
        found.lost += 1
        found.said.append(f"kill {found.kills}: {type(error).__name__}: {error}")


def at_once(n: int, folder: Path, *, writers: int = 2, readers: int = 4) -> tuple[int, list[str]]:
    """Let writers save and readers load one model n times each, all at once; return how often, and what failed."""
    sources = two_models(folder)
    known = {digest(load(path)) for path in sources}
    directory = folder / "model"
    load(sources[0]).save_pretrained(directory)
    failures = _CONTEXT.Queue()
    saving = [
        _CONTEXT.Process(target=save_in_turn, args=(directory, sources, n, None, failures)) for _ in range(writers)
    ]
    loading = [
        _CONTEXT.Process(target=load_again_and_again, args=(directory, known, n, failures)) for _ in range(readers)
    ]
    for process in (*saving, *loading):
        process.start()
    said = [text for _ in (*saving, *loading) for text in failures.get()]
    for process in (*saving, *loading):
        process.join()
    if rest := {path.name for path in directory.iterdir()} - KEPT:
        said.append(f"{', '.join(sorted(rest))} stayed")
    return n * (writers + readers), said
