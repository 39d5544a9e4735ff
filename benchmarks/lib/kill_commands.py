"""Commands that are killed at any moment of their run: what they leave, and what the next run makes of it."""

import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.lib.kill_saves import KEPT, Survival
from skdmi.persistence import WEIGHTS, read_file

SKDMI = (sys.executable, "-m", "skdmi.cli")
TRAINING = (
    *("train", "--matrix-size", "3", "--depth", "2", "--width", "8", "--epochs", "25", "--batches-per-epoch", "20"),
    *("--batch-size", "256", "--random-state", "0", "--checkpoint-every", "1", "--output"),
)
N_MATRICES = "40000"

Args = tuple[str, ...]


def run(*args: str) -> float:
    """Run a command to its end, which must be a good one, and return the seconds that it took."""
    started = time.perf_counter()
    done = subprocess.run([*SKDMI, *args], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"skdmi {' '.join(args)} ended with {done.returncode}: {done.stderr[-300:]}")
    return time.perf_counter() - started


def at_once() -> bool:
    """Return that a command has begun as soon as it is started."""
    return True


def run_and_kill(args: Args, seconds: float, has_begun: Callable[[], bool] = at_once) -> bool:
    """Start a command and kill it so many seconds after it has begun; return whether it still ran."""
    with subprocess.Popen([*SKDMI, *args], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while not has_begun() and process.poll() is None:
            time.sleep(0.005)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            return True
    return False


def kill_trainings(n: int, folder: Path, draw: random.Random) -> tuple[Survival, int, int]:
    """Kill n trainings, every second one after its first checkpoint, and again when it was resumed.

    Return also how many ended in the same weights, and how many were resumed from a checkpoint.
    """
    reference, output = folder / "reference", folder / "trained"
    seconds = run(*TRAINING, str(reference))
    expected = read_file(reference / WEIGHTS)[1]
    found, equal, n_from_checkpoints = Survival(), 0, 0

    def has_checkpoint() -> bool:
        return any(output.glob("checkpoints/[!.]*.safetensors"))

    for k in range(n):
        shutil.rmtree(output, ignore_errors=True)
        args = (*TRAINING, str(output))
        has_begun, within = (has_checkpoint, seconds / 4) if k % 2 else (at_once, seconds)
        while not (run_and_kill(args, draw.uniform(0, within), has_begun) and has_begun()):
            shutil.rmtree(output)  # It had ended before.
        found.kills += 1
        n_from_checkpoints += has_checkpoint()
        resumed = (*args, "--resume")
        if k % 2 and run_and_kill(resumed, draw.uniform(0, seconds)):
            found.kills += 1
        found.scratch += _has_scratch(output)
        try:
            run(*resumed)
            weights = read_file(output / WEIGHTS)[1]
        except (OSError, RuntimeError, ValueError) as error:
            found.lost += 1
            found.said.append(f"training {k}: {error}")
            continue
        is_equal = weights.keys() == expected.keys() and all(
            np.array_equal(weights[name].view(np.uint8), expected[name].view(np.uint8)) for name in expected
        )
        equal += is_equal
        found.damaged += not is_equal
        if rest := {path.name for path in output.iterdir()} - KEPT:
            found.uncollected += 1
            found.said.append(f"training {k}: {', '.join(sorted(rest))} stayed")
    return found, equal, n_from_checkpoints


def kill_generators(n: int, folder: Path, draw: random.Random) -> Survival:
    """Kill n commands that write matrices and their inverses over earlier ones."""
    names = ("M.npy", "I.npy") if n % 2 else ("M.mx", "I.mx")

    def args(place: Path, seed: int) -> Args:
        paths = [str(place / name) for name in names]
        size = ("generate", "--matrix-size", "3", "--n-matrices", N_MATRICES, "--random-state", str(seed))
        return (*size, "--output", paths[0], "--inverses", paths[1])

    return _kill_writers(n, folder, draw, names, args)


def kill_inverters(n: int, folder: Path, draw: random.Random) -> Survival:
    """Kill n commands that invert a file in place, which holds other matrices every time."""
    folder.mkdir()
    for seed in (0, 1):
        run(
            "generate",
            "--matrix-size",
            "3",
            "--n-matrices",
            N_MATRICES,
            "--random-state",
            str(seed),
            "--output",
            str(folder / f"{seed}.mx"),
        )

    def args(place: Path, seed: int) -> Args:
        return ("invert", str(folder / f"{seed}.mx"), str(place / "X.mx"))

    return _kill_writers(n, folder, draw, ("X.mx",), args)


def _kill_writers(
    n: int, folder: Path, draw: random.Random, names: tuple[str, ...], args: Callable[[Path, int], Args]
) -> Survival:
    """Kill n commands whose files replace those of another seed; the files must all be the earlier or the later."""
    old, new, place = folder / "old", folder / "new", folder / "place"
    for path in (old, new):
        path.mkdir(parents=True)
    run(*args(old, 0))
    seconds = run(*args(new, 1))
    before, after = ([(path / name).read_bytes() for name in names] for path in (old, new))
    found = Survival()
    while found.kills < n:
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(old, place)
        if not run_and_kill(args(place, 1), draw.uniform(0, seconds)):
            continue
        found.kills += 1
        found.scratch += _has_scratch(place)
        content = [(place / name).read_bytes() if (place / name).exists() else None for name in names]
        found.lost += None in content
        if None not in content and content not in (before, after):
            found.damaged += 1
            found.said.append(
                f"{args(place, 1)[0]}, kill {found.kills}: {', '.join(names)} are neither the earlier nor the later"
            )
        run(*args(place, 1))
        if [(place / name).read_bytes() for name in names] != after:
            found.damaged += 1
            found.said.append(f"{args(place, 1)[0]}, kill {found.kills}: the next run wrote something else")
        if rest := set(os.listdir(place)) - set(names):
            found.uncollected += 1
            found.said.append(f"{args(place, 1)[0]}, kill {found.kills}: {', '.join(sorted(rest))} stayed")
    return found


def _has_scratch(folder: Path) -> bool:
    return folder.is_dir() and any(path.name.startswith(".skdmi-") for path in folder.rglob("*"))
