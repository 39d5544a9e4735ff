"""Change the code in one place at a time and see whether a test fails: mutants, of which good tests kill most.

The changes are those of mutmut, at all places of a module, those that run as it is imported and decorated functions
included; annotations, decorators and the prose of messages are left alone. Each target is imported anew, in its changed
wording, by a fork of a process that has loaded torch and the like already, which runs the tests that reach the line,
those that killed before first, and stops at the first failure. Nothing is written but build/mutants and the results;
the tests run in a copy of the tree. What was tried is kept there: a run goes on where the last one ended.

python -m scripts.mutants                           all targets
python -m scripts.mutants certificate --sample 100  some of one
python -m scripts.mutants --again certificate       what survived for no known reason, by all tests of the target
python -m scripts.mutants --report                  write benchmarks/results/mutants.json; print the table
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from math import inf
from multiprocessing import get_context
from pathlib import Path

from scripts.mutants.report import report
from scripts.mutants.targets import SAMPLES, TARGETS
from scripts.mutants.trials import try_file

ROOT = Path(__file__).parents[2]
INSIDE = "SKDMI_MUTANTS"
"""Of the environment, set in the copy of the tree: the directory that it is in."""
WORK = Path(os.environ.get(INSIDE, ROOT / "build" / "mutants"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; all by default")
    parser.add_argument("--sample", type=int, metavar="N", help="try so many mutants of a file, drawn at random")
    parser.add_argument("--files", type=int, metavar="N", help="use the first files of tests alone")
    parser.add_argument("--seconds", type=float, default=inf, help="give a mutant up after so many seconds of tests")
    parser.add_argument("--again", action="store_true", help="try what survived for no known reason, by all tests")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--report", action="store_true", help="write the results and print the table")
    args = parser.parse_args()
    if unknown := set(args.targets) - set(TARGETS):
        parser.error(f"No target {', '.join(sorted(unknown))}; expected some of {', '.join(TARGETS)}.")
    if args.report:
        sys.exit(report(ROOT, WORK))
    if INSIDE not in os.environ:
        sys.exit(run_in_copy())
    jobs = [
        (WORK, file, tests[: args.files], args.sample or SAMPLES.get(name), args.seconds, args.again)
        for name in args.targets or TARGETS
        for file, tests in TARGETS[name].items()
    ]
    with get_context("spawn").Pool(min(args.workers, len(jobs)), maxtasksperchild=1) as pool:
        for line in pool.starmap(try_file, jobs, chunksize=1):
            print(line)


def run_in_copy() -> int:
    """Run this command in a copy of the tree, which a mutant may spoil, beside a copy of the kernels."""
    from skdmi.lanes.compiler import cache_directory

    WORK.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="run-", dir=WORK) as folder:
        tree, kernels = Path(folder, "tree"), Path(folder, "kernels")
        listing = ["git", "ls-files", "-z", "-co", "--exclude-standard"]
        for name in subprocess.run(listing, cwd=ROOT, capture_output=True, check=True, text=True).stdout.split("\0"):
            if name and (ROOT / name).is_file():
                (tree / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, tree / name)
        if cache_directory().is_dir():
            shutil.copytree(cache_directory(), kernels)
        path = os.pathsep.join([str(tree), str(tree / "scripts" / "mutants" / "hook")])
        places = {INSIDE: str(WORK), "PYTHONPATH": path, "SKDMI_CACHE_DIR": str(kernels), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "scripts.mutants", *sys.argv[1:]]
        return subprocess.run(command, cwd=tree, env=os.environ | places).returncode


if __name__ == "__main__":
    main()
