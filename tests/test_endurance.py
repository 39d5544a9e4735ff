"""What judges in fuzzing, soaking and killing: it finds faults that are there, and none that are not."""

import io
import subprocess
import sys
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch

from benchmarks.fuzz import Progress
from benchmarks.lib import fuzz_npy, fuzz_text
from benchmarks.lib.fuzz_files import READERS
from benchmarks.lib.fuzz_workers import MODULES, judged
from benchmarks.lib.fuzzing import Outcome, generator, run
from benchmarks.lib.machine import spell
from benchmarks.lib.records import load_records
from benchmarks.lib.soak_judge import enclose, judge
from benchmarks.lib.soak_rounds import play
from benchmarks.lib.soak_stacks import LAYOUTS, TENSOR_LAYOUTS, Kind, give
from benchmarks.lib.tight_judge import Claims, Truth
from tests import fuzzed
from tests.matrices import make_stack

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", READERS)
def test_a_case_is_known_by_its_index(name, tmp_path):
    first, again = (READERS[name].make(generator(name, 0, 5)) for _ in range(2))
    assert first == again != READERS[name].make(generator(name, 0, 6))


@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::UserWarning")
@pytest.mark.parametrize("name", READERS)
def test_readers_of_matrices_bear_changed_files(name, tmp_path):
    found = run(name, READERS[name], 0, range(300), tmp_path)
    assert (found.cases, found.violations) == (300, [])
    assert found.accepted > 30
    assert sum(found.refused.values()) == 300 - found.accepted


def test_the_second_reading_of_text_reads_what_is_valid_and_nothing_else():
    rows = fuzz_text.a_text(Random(0), 2)
    text = "".join(",".join(row) + "\n" for row in rows)
    numbers = [[float(token) for token in row] for row in rows if row != ["END"]]
    assert np.array_equal(
        fuzz_text.parsed(b"\xef\xbb\xbf" + text.encode()).reshape(-1), np.ravel(numbers), equal_nan=True
    )
    for wrong in ("", "END\n", "1,2\nEND\n", "1,x\n2,3\n", "1_0\n", "1\nEND\n1,2\n3,4\n", "0x1\n", "1\x00\n"):
        assert fuzz_text.parsed(wrong.encode()) is None


@pytest.mark.parametrize(("array", "is_stack"), [(np.arange(8, dtype=">i4").reshape(2, 2, 2), True), ([[None]], False)])
def test_the_second_reading_of_arrays_is_that_of_numpy(array, is_stack):
    file = io.BytesIO()
    np.save(file, array)
    found = fuzz_npy.parsed(file.getvalue())
    assert np.array_equal(found, array) if is_stack else found is None
    assert fuzz_npy.parsed(file.getvalue()[:-1]) is None


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited and measured by means of Linux")
def test_every_fault_of_a_reader_is_found_and_costs_its_own_case_alone(monkeypatch):
    monkeypatch.setitem(MODULES, "bad", "tests.fuzzed")
    blocks = [range(12), range(12, 24)]
    found = dict(judged("bad", 0, blocks, jobs=2))
    assert [found[block].cases for block in blocks] == [12, 12]
    faults = [fuzzed.make(generator("bad", 0, index)) for index in range(24)]
    wrong = {violation["index"]: violation["what"] for block in blocks for violation in found[block].violations}
    assert set(wrong) == {k for k, fault in enumerate(faults) if fault not in ("refuses", "accepts")}
    assert {wrong[k] for k in wrong if faults[k] == "dies"} == {"the process ended with status 7"}


def test_an_interrupted_run_goes_on_where_it_was(tmp_path):
    found = Outcome(cases=10, accepted=4)
    found.refused["..."] += 6
    Progress(tmp_path, "mx", 0).add(range(10), found)
    with open(tmp_path / "mx-0.jsonl", "a") as file:
        file.write('{"cases": [10, 20], "fou')  # killed there
    assert Progress(tmp_path, "mx", 0).done == {range(10): found}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_another_proof_encloses_inverses(dtype):
    A = np.concatenate([make_stack("well", 6, 4), make_stack("singular", 4, 4)]).astype(dtype).astype(float)
    known, truth = enclose(A), Truth(A)
    assert not (known.proved & truth.singular).any()
    assert known.proved[:6].all()
    distance = np.abs(known.center - truth.high - truth.low)
    assert (distance <= known.radius)[known.proved].all()


@pytest.mark.parametrize("spoilt", [None, "certified", "error_bound", "entry_bound"])
def test_a_soak_finds_what_is_false(spoilt):
    A = np.concatenate([make_stack("well", 6, 3), np.ones((1, 3, 3))])
    truth = Truth(A)
    X = truth.high * (1 + 2.0**-20)
    claims = {
        "certified": np.arange(7) < (7 if spoilt == "certified" else 6),
        "error_bound": np.full(7, 2.0**-20 * (0.9 if spoilt == "error_bound" else 1.1)),
        "entry_bound": np.abs(X) * 2.0**-20 * (0.9 if spoilt == "entry_bound" else 1.1),
    }
    verdict, false = judge(A, np.float64, Claims(X, **claims), np.random.default_rng(0))
    assert verdict.false == len(false) == {None: 0, "certified": 1}.get(spoilt, 6)
    assert verdict.certified == claims["certified"].sum()


@pytest.mark.parametrize("container", ["numpy", "torch", "list"])
def test_a_stack_keeps_its_numbers_in_every_layout(container):
    A = make_stack("well", 4, 3)
    for layout in {"numpy": LAYOUTS, "torch": TENSOR_LAYOUTS, "list": ["plain"]}[container]:
        given = give(A, Kind(container, torch.float64 if container == "torch" else np.float64, layout))
        expected = np.broadcast_to(A[:1], A.shape) if layout == "one_many_times" else A
        assert np.array_equal(given.numbers(), expected)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(12))
def test_rounds_of_a_soak_are_without_fault(number):
    found = play(7, number)
    assert (found.faults, found.verdict.false) == ([], 0)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory and processes are measured by means of Linux")
@pytest.mark.parametrize("command", ["fuzz --quick", "soak --quick", "kills --quick saving at-once"])
def test_the_scripts_of_endurance_keep_what_they_found(command, tmp_path):
    file = tmp_path / "figures.json"
    name, *options = command.split()
    command = [sys.executable, "-m", f"benchmarks.{name}", *options, "--json", str(file)]
    printed = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    machine, figures = load_records(file)
    assert printed.startswith(spell(machine))
    assert figures
