"""What tables and cards take from benchmarks and scripts: counts, figures, the table of README."""

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import skdmi
from benchmarks import routes, throughput
from benchmarks.calls import Call, calls_of, count_changes
from benchmarks.lib.ablation_plots import read_tables
from benchmarks.lib.ablation_plots import save_plots as save_ablation_plots
from benchmarks.lib.certify_tables import count_false
from benchmarks.lib.families import FAMILIES as LEARNED
from benchmarks.lib.families import off_family, rounding_floor
from benchmarks.lib.family_plots import save_plots as save_family_plots
from benchmarks.lib.gain import measured_gain
from benchmarks.lib.inverses import NUMPY, TORCH, with_singular_members
from benchmarks.lib.kalman import Bank
from benchmarks.lib.landing_plot import draw as draw_landing
from benchmarks.lib.machine import TUNING, spell, start_as_it_is
from benchmarks.lib.operations import count_operations
from benchmarks.lib.peers import FAMILIES, sketched_products, sketched_steps, unlearned
from benchmarks.lib.readme import BEGIN, CELLS, END, put, table
from benchmarks.lib.records import load_records, save_records
from benchmarks.lib.routes import only, working_routes
from benchmarks.lib.speed_plots import save_plots
from benchmarks.lib.tight_attack import DOORS, attack
from benchmarks.lib.tight_judge import Claims, Truth, relative_errors
from benchmarks.lib.timing import Spent, alternate, in_turn
from scripts.train_pretrained import DEFAULTS, MODELS
from skdmi import NeuralMatrixInverter
from skdmi.distributions import from_dict
from skdmi.estimators.direct import ROUTES, route_for
from skdmi.iteration import STARTS, count_products, minimal_residual
from skdmi.persistence import SHIPPED, pretrained_names
from tests.marks import slow_but
from tests.matrices import make_stack
from tests.models import card_of

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py") if path.stem != "__init__")
AROUND = ("complex_families", "complex_inverses", "inv_sqrt", "pinv", "preconditioners")
SPEED = ("throughput", "routes", "latency", "memory")
RESULTS = ROOT / "benchmarks" / "results"


@pytest.fixture(scope="module")
def A():
    return torch.from_numpy(make_stack("well", 32, 5)).float()


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_says_how_it_is_run(name):
    module = importlib.import_module(f"benchmarks.{name}")
    assert f"python -m benchmarks.{name}" in module.__doc__
    assert callable(module.main)


@pytest.mark.parametrize("symmetric", [False, True])
def test_an_iteration_at_a_budget_has_the_next_products_not_fewer_or_not_more(symmetric):
    above = unlearned(5, 11, symmetric=symmetric)
    within = unlearned(5, 11, symmetric=symmetric, within=True)
    assert len(above) == len(within) == len(FAMILIES)
    assert all(method.products >= 11 for method in above)
    assert all(method.products <= 11 for method in within)


@pytest.mark.parametrize("name", ["MR-2", "MR-3", "MR-3, deflated", "characteristic + 2 MR-3"])
def test_more_products_leave_no_larger_a_residual(A, name):
    kind = name.split(" + ")[0]
    norms = [
        torch.linalg.matrix_norm(torch.eye(5) - A @ method(A)).max().item()
        for budget in (12, 22)
        for method in unlearned(5, budget)
        if method.name.split(" + ")[0] == kind
    ]
    assert norms[-1] < 1e-4
    assert norms[-1] <= 2 * norms[0] + 1e-5


@pytest.mark.parametrize("degree", [1, 2])
@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
def test_a_sketched_step_leaves_no_larger_a_residual_and_has_its_products(A, start, degree):
    identity = torch.eye(5)
    norms = torch.stack([(identity - A @ X).norm(dim=(1, 2)) for X in sketched_steps(A, start, 8, degree)])
    assert (norms[1:] <= norms[:-1] * 1.001 + 1e-6).all()
    if start is STARTS["transpose"]:
        assert norms[-1].median() < 1e-3
    assert sketched_products(3, start, degree) == start.n_products + 3 * (degree + 1)


def test_operations_count_every_product(A):
    n_products = count_products(2)
    found = count_operations(lambda A: minimal_residual(A, 2, rank=2), A, n_products)
    assert found.products == n_products * 2 * 5**3
    assert found.total > found.products + found.coefficients > found.products


def test_the_first_run_does_not_count():
    runs = []
    spent = alternate({"one": runs.append, "two": runs.append}, [1, 2, 3])
    assert runs == [1, 1, 2, 2, 3, 3]
    assert set(spent) == {"one", "two"}


def test_calls_are_those_into_the_package():
    assert calls_of(lambda: minimal_residual(torch.eye(2), 1))[0] == Call("iteration/loop.py", "minimal_residual")
    assert not calls_of(lambda: json.dumps({}))
    assert count_changes([Call("a.py", "f"), Call("a.py", "g"), Call("b.py", "f")]) == 1


def made_up_results():
    def row(name, kind, products, mean, at_5, **more):
        within = [at_5, 0.3, 0.2, 0.1]
        return {"name": name, "kind": kind, "products": products, "mean": mean, "within": within, **more}

    names = ("Newton-Schulz", "Chebyshev, exact spectrum", "characteristic + 1 Newton", "MR-2", "MR-3, deflated")
    problems = {}
    for _, key, _ in CELLS:
        rows = [row(name, "unlearned", n, n / 1e3, n / 1e2) for name in names for n in (3, 5, 9)]
        rows += [row("net", "network", n, 1e-6, 1.0, for_one_size=True) for n in (8, 11, 15, 18)]
        problems[key] = {"n_matrices": 1000, "rows": rows}
    problems["5"]["rows"].append(row("theirs", "published", None, float("nan"), 0.9))
    return {"machine": "a machine", "problems": problems}


def test_the_table_of_readme_takes_the_most_products_within_the_budget():
    lines = table(made_up_results()).splitlines()
    assert lines[2].startswith("| 3x3, abs(det) > 0.1, 8 | 0.005 | 0.005 |")
    assert lines[3].startswith("| 5x5, 11 | 9.00 / 20.00 % |")
    assert "| 100.00 / 20.00 % | about 90 % at 5 % (recalled) |" in lines[3]
    assert lines[-1] == "1,000 matrices a problem; a machine."


def test_a_table_is_put_between_its_markers():
    assert put("new", f"a\n{BEGIN}\nold\n{END}\nb") == f"a\n{BEGIN}\nnew\n{END}\nb"
    with pytest.raises(ValueError, match="No markers"):
        put("new", "a")


def test_readme_has_its_markers():
    text = (ROOT / "README.md").read_text()
    assert text.count(BEGIN) == text.count(END) == 1


def test_the_script_that_trains_knows_every_card():
    assert sorted(MODELS) == pretrained_names()


@pytest.mark.parametrize("name", MODELS)
def test_a_card_has_the_settings_of_the_script(name):
    settings, card = DEFAULTS | MODELS[name], card_of(SHIPPED / name)
    assert NeuralMatrixInverter(**settings).depth == card["parameters"]["depth"]
    assert settings["distribution"] == from_dict(card["fitted"]["distribution_"])


@pytest.mark.parametrize("name", slow_but(["uniform-3x3-short", "diffusion-6x6"], MODELS))
def test_every_shipped_model_gains_on_fresh_matrices(name):
    """Of as many products as the untrained network beside it, or fewer; by more than a twentieth, and beyond chance."""
    model = NeuralMatrixInverter.from_pretrained(name)
    gain, stated = (
        measured_gain(model, n_matrices=20_000 if model.matrix_size_ < 20 else 2_000, random_state=3),
        card_of(SHIPPED / name)["gain"],
    )
    for found in (gain, stated):
        assert found["interval"][0] > 0
        assert found["share"] > 0.05
        assert found["trained"]["products"] <= found["untrained"]["products"]
    assert stated["n_matrices"] >= 20_000
    assert gain["interval"][0] < stated["interval"][1]
    assert stated["interval"][0] < gain["interval"][1]
    assert stated["weights_bytes"] == gain["weights_bytes"] < (SHIPPED / name / "model.safetensors").stat().st_size


def test_what_is_spent_is_told_beside_the_first_of_the_same_turn():
    slow, fast = Spent(np.array([2.0, 4.0, 9.0]), np.ones(3)), Spent(np.array([1.0, 2.0, 3.0]), np.ones(3))
    row = slow.per(10).record(fast=fast.per(10))
    assert (row["over_fast"], row["over_fast_quartiles"]) == (2.0, [2.0, 2.5])
    assert row["ns"] == pytest.approx(4e8)
    assert row["wall_ns_quartiles"] == pytest.approx([1e8, 1e8])


def test_processor_time_includes_that_of_processes():
    loop = "sum(range(3_000_000))"
    spent = in_turn({"process": lambda _: subprocess.run([sys.executable, "-c", loop], check=True)}, range(2))
    assert spent["process"].processor[0] > 0.01


def test_a_script_of_speed_starts_anew_without_what_tunes_openblas(monkeypatch):
    started = []
    monkeypatch.setattr("os.execve", lambda *args: started.append(args))
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    start_as_it_is()
    assert "OPENBLAS_CORETYPE" not in started[0][2]
    for name in TUNING:
        monkeypatch.delenv(name, raising=False)
    start_as_it_is()
    assert len(started) == 1


def test_figures_are_kept_with_the_machine(tmp_path):
    save_records(tmp_path / "new" / "a.json", {"cpu": "x"}, [{"ns": 1.23456789, "quartiles": [1 / 3, 2]}])
    assert load_records(tmp_path / "new" / "a.json") == ({"cpu": "x"}, [{"ns": 1.2346, "quartiles": [0.33333, 2]}])


@pytest.mark.parametrize("family", throughput.FAMILIES)
def test_a_stack_gets_its_singular_members(family):
    A = throughput.FAMILIES[family].sample(3000, 4, random_state=0)
    spoilt = with_singular_members(A)
    changed = (spoilt != A).any(axis=(1, 2))
    assert np.count_nonzero(changed) == 3
    assert np.linalg.matrix_rank(spoilt[changed]).tolist() == [3, 3, 3]
    assert np.array_equal(spoilt, spoilt.mT) == (family == "Wishart")


def test_filters_agree_whoever_inverts():
    bank = Bank.draw(5)
    for mine, theirs in zip(bank.run(4, skdmi.inv), bank.run(4, np.linalg.inv), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-10)


def test_a_route_alone_takes_any_size():
    with only("lapack"):
        assert route_for(2).name == "lapack"
    assert route_for(2) in ROUTES


def test_every_route_that_works_is_timed_at_every_size():
    rows = routes.time_sizes((2, 50), "float64", 5000, 1)
    assert {(row["m"], row["method"]) for row in rows} == {
        (m, name) for m in (2, 50) for name in (NUMPY, TORCH, *working_routes())
    }
    assert sum(row["taken"] for row in rows) == 2


@pytest.mark.slow
@pytest.mark.parametrize("name", SPEED)
def test_a_script_of_speed_keeps_what_it_measured_and_where(name, tmp_path):
    file = tmp_path / "figures.json"
    command = [sys.executable, "-m", f"benchmarks.{name}", "--quick", "--json", str(file)]
    printed = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    machine, figures = load_records(file)
    assert printed.startswith(spell(machine))
    assert not machine["tuned"]
    assert figures
    assert all(row["ns_quartiles"][0] <= row["ns"] <= row["ns_quartiles"][1] for row in figures if "ns" in row)


@pytest.mark.parametrize("name", SPEED)
def test_figures_of_speed_in_the_docs_are_those_that_are_kept(name):
    machine, figures = load_records(RESULTS / f"{name}.json")
    assert (ROOT / "docs" / "tables" / f"{name}.txt").read_text().startswith(spell(machine))
    assert {row["method"] for row in figures} >= {NUMPY} or name == "latency"


def test_figures_of_speed_are_drawn(tmp_path):
    save_plots(RESULTS, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"speed.png", "speed_large.png"}


def test_what_decided_the_design_is_drawn_from_the_tables_of_its_page(tmp_path):
    page = ROOT / "docs" / "ablation.rst"
    memory = read_tables(page)["ablation_memory.png"]
    assert memory["as it is"] == pytest.approx((16, 208, 0.025, 100 - 95.21, 0.27))
    save_ablation_plots(page, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(re.findall(r"images/(\S+)", page.read_text()))


def test_the_picture_of_the_first_page_is_drawn(tmp_path):
    draw_landing(RESULTS, tmp_path)
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert sizes.keys() == {"landing_learn.png", "landing_trust.png"}
    assert max(sizes.values()) < 150_000


@pytest.mark.parametrize("family", LEARNED, ids=lambda family: family.name)
def test_a_family_to_learn_has_inverses_and_a_world_around_it(family):
    members = family.sample(20, 0)
    assert np.linalg.cond(members).max() < 1e6
    assert np.array_equal(members, members.mT) == family.is_definite
    others = dict(off_family(family, 60))
    assert family.name not in others
    assert sum(map(len, others.values())) == 60
    assert {A.shape[1:] for A in others.values()} == {(family.m, family.m)}


def test_rounding_is_to_blame_for_what_lapack_leaves():
    A = torch.from_numpy(make_stack("spd", 20, 8)).float()
    X = torch.linalg.inv(A)
    assert ((torch.eye(8) - A.double() @ X.double()).norm(dim=(1, 2)) < 4 * rounding_floor(A, X)).all()


@pytest.mark.slow
def test_the_script_of_families_keeps_what_it_measured(tmp_path):
    file = tmp_path / "figures.json"
    command = [sys.executable, "-m", "benchmarks.families", "channels", "--quick", "--json", str(file)]
    printed = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    machine, figures = load_records(file)
    assert printed.startswith(spell(machine))
    assert {"trained", "fitted", "LAPACK, float32"} <= {row["method"] for row in figures if row["part"] == "families"}
    save_family_plots([row for row in figures if row["part"] == "families"], tmp_path)
    assert (tmp_path / "families_channels.png").stat().st_size < 40_000


def test_figures_of_families_in_the_docs_are_those_that_are_kept():
    machine, figures = load_records(RESULTS / "families.json")
    assert (ROOT / "docs" / "tables" / "families.txt").read_text().startswith(spell(machine))
    assert {row["family"] for row in figures} == {family.name for family in LEARNED}


@pytest.mark.slow
def test_the_script_of_exports_keeps_what_it_measured(tmp_path):
    file = tmp_path / "figures.json"
    command = [sys.executable, "-m", "benchmarks.export", "--quick", "--json", str(file)]
    printed = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    machine, figures = load_records(file)
    assert printed.startswith(spell(machine))
    assert not machine["tuned"]
    assert all(row["ns_quartiles"][0] <= row["ns"] <= row["ns_quartiles"][1] for row in figures if "ns" in row)
    judged = [row for row in figures if "false" in row]
    assert {row["part"] for row in judged} == {"shares", "families"}
    assert not sum(row["false"] for row in judged)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["certify", "audit"])
def test_the_scripts_of_certificates_keep_what_they_found(name, tmp_path):
    file = tmp_path / "figures.json"
    command = [sys.executable, "-m", f"benchmarks.{name}", "--quick", "--json", str(file)]
    printed = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    machine, figures = load_records(file)
    assert printed.startswith(spell(machine))
    assert all(row["ns_quartiles"][0] <= row["ns"] <= row["ns_quartiles"][1] for row in figures if "ns" in row)
    if name == "certify":
        assert {row["part"] for row in figures} >= {"bounds", "reach", "costs", "chunks", "attacks"}
        assert count_false([row for row in figures if row["part"] == "attacks"]) == 0
    else:
        assert {row["method"] for row in figures} >= {NUMPY, TORCH, "skdmi.inv"}


@pytest.mark.slow
@pytest.mark.parametrize("name", AROUND)
def test_the_scripts_around_the_inverse_keep_what_they_found(name, tmp_path, monkeypatch, capsys):
    if name == "preconditioners":
        pytest.importorskip("pyamg")
    file = tmp_path / "figures.json"
    attacks = [] if name == "preconditioners" else ["--attacks", "100"]
    monkeypatch.setattr(sys, "argv", [name, "--quick", "--json", str(file), *attacks])
    code = None
    try:
        importlib.import_module(f"benchmarks.{name}").main()
    except SystemExit as ended:
        code = ended.code
    assert not code
    machine, figures = load_records(file)
    printed = capsys.readouterr().out
    assert printed.startswith(spell(machine))
    assert "Target" in printed or name == "complex_families"
    assert {row["method"] for row in figures if "method" in row} > {"none"} or name != "preconditioners"
    assert all(row["n_false"] == 0 for row in figures if row["case"] == "attacks")


@pytest.mark.parametrize("name", AROUND)
def test_figures_around_the_inverse_are_those_that_are_kept(name):
    machine, figures = load_records(RESULTS / f"{name}.json")
    assert figures
    assert (ROOT / "docs" / "tables" / f"{name}.txt").read_text().startswith(spell(machine))


@pytest.mark.parametrize("spoilt", [None, "entry_bound", "error_bound", "condition_upper", "condition_lower"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_judge_of_certificates_tells_what_is_true_from_what_is_not(dtype, spoilt):
    """By a hair either way: bounds are as large as what they bound, but for a part in 10^11."""
    A = make_stack("well", 6, 3).astype(dtype)
    truth = Truth(A)
    X, more = truth.high * (1 + 2.0**-30), 1 + 1e-11
    error = np.abs(X - truth.high - truth.low)
    condition = np.linalg.norm(truth.A64, 1, axis=(1, 2)) * np.linalg.norm(truth.high, 1, axis=(1, 2))
    claims = {
        "error_bound": relative_errors(X, truth.high, truth.low) * more,
        "entry_bound": error * more,
        "condition_lower": condition / more,
        "condition_upper": condition * more,
    }
    if spoilt is not None:
        claims[spoilt] = claims[spoilt] * (more**2 if spoilt == "condition_lower" else more**-2)
    counts, wrong = truth.judge(np.arange(6), Claims(X, np.ones(6, bool), **claims))
    assert counts.violated == len(wrong) == (0 if spoilt is None else 6)


def test_the_judge_of_certificates_knows_what_is_singular():
    A = np.array([[[1.0, 2.0], [2.0, 4.0]], [[1.0, 2.0], [2.0, np.nextafter(4, 5)]]])
    counts, wrong = Truth(A).judge(np.arange(2), Claims(np.zeros_like(A), np.ones(2, bool)))
    assert (counts.singular, counts.false, wrong) == (1, 1, [0])


def test_a_few_attacks_on_certificates_fail():
    found = attack(1000)
    assert set(found) == set(DOORS)
    assert not any(counts.violated for counts in found.values())


def test_figures_of_exports_in_the_docs_are_those_that_are_kept():
    machine, figures = load_records(RESULTS / "export.json")
    text = (ROOT / "docs" / "tables" / "export.txt").read_text()
    assert text.startswith(spell(machine))
    assert all(row["method"] in text for row in figures if row["part"] in ("general", "networks", "shares"))
