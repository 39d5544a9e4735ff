"""What tables and cards take from benchmarks and scripts: counts, figures, the table of README."""

import importlib
import json
from pathlib import Path

import pytest
import torch

from benchmarks.calls import Call, calls_of, count_changes
from benchmarks.lib.operations import count_operations
from benchmarks.lib.peers import FAMILIES, unlearned
from benchmarks.lib.readme import BEGIN, CELLS, END, put, table
from benchmarks.lib.timing import alternate
from scripts.train_pretrained import MODELS, settings_of
from skdmi import NeuralMatrixInverter
from skdmi.iteration import count_products, minimal_residual
from skdmi.persistence import pretrained_names, read_card
from tests.matrices import make_stack

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py") if path.stem != "__init__")


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
        rows += [row("net", "network", n, 1e-6, 1.0, for_one_size=True, over_lapack=7.4) for n in (8, 11, 15, 18)]
        problems[key] = {"n_matrices": 1000, "rows": rows}
    problems["5"]["rows"].append(row("theirs", "published", None, float("nan"), 0.9))
    return {"machine": "a machine", "problems": problems}


def test_the_table_of_readme_takes_the_most_products_within_the_budget():
    lines = table(made_up_results()).splitlines()
    assert lines[2].startswith("| 3x3, abs(det) > 0.1, 8 | 0.005 | 0.005 |")
    assert lines[3].startswith("| 5x5, 11 | 9.00 / 20.00 % |")
    assert "| 100.00 / 20.00 % | 7 | about 90 % at 5 % (recalled) |" in lines[3]
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
def test_a_card_says_whether_its_model_may_be_chosen_by_size(name):
    settings, chosen_by_size = settings_of(name)
    assert read_card(name)["chosen_by_size"] is chosen_by_size
    assert NeuralMatrixInverter(**settings).depth == read_card(name)["parameters"]["depth"]
