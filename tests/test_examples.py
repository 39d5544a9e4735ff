"""The examples: each runs without a warning, leaves no file, draws, and is right in what it claims."""

import numpy as np
import pytest

from skdmi.metrics import frobenius_residuals
from tests.gallery import EXAMPLES, run_example


def train_and_invert(names):
    assert names["report"].certified.all()
    untrained, learned, refined = (np.quantile(norms, 0.99) for norms in names["norms"].values())
    assert refined < 1e-10 < learned < 1e-2 < 1 < untrained
    assert names["learned"].module_.n_products(32) <= names["untrained"].module_.n_products(32)


def grid_search(names):
    work, untrained = names["work"], names["untrained"]
    best = names["search"].best_params_
    depth, atoms = names["DEPTHS"].index(best["depth"]), names["ATOMS"].index(best["n_atoms"])
    assert -names["search"].best_score_ / 1e6 == work.min() < 0.5 * untrained
    assert work[:, 0].min() > 1.5 * work.min()  # The start is what counts,
    assert work[-1, atoms].min() > 1.5 * work[depth, atoms].max()  # steps beyond those that matrices need count,
    np.testing.assert_allclose(work[..., 0], work[..., 1], rtol=0.05)  # and the width does not.


def residual_against_condition(names):
    raw, refined = names["raw"], names["refined"]
    assert not raw.certified[raw.condition > 1e9].any()
    assert refined.certified.all()
    easy = names["condition"] < 1e4
    assert np.all(names["report"].source[easy] == "refined")


def singular_matrices(names):
    assert np.all(names["missing"] == (np.arange(len(names["A"])) < 500))
    assert names["residuals"][:500].min() > 0.999
    assert names["residuals"][500:].max() < 1
    assert names["error"].max() < 1e-10


def ensembles(names):
    residuals = names["residuals"]
    members = np.stack([residuals[f"member {k}"] for k in range(3)])
    np.testing.assert_array_equal(residuals["best"], members.min(axis=0))
    assert residuals["best"].mean() < residuals["mean"].mean() < members.mean()
    assert residuals["iteration, 3x"].mean() < residuals["best"].mean()


def least_squares(names):
    assert names["report"].certified.all()
    np.testing.assert_allclose(names["beta"][0], names["expected"], rtol=1e-12)
    np.testing.assert_allclose(names["raw"], names["expected"], atol=1e-2)
    np.testing.assert_allclose(names["beta"][1:].std(axis=0), names["standard_errors"], rtol=0.2)


def box_draper(names):
    published_by_lapack = [58.5587, 2.6229, 3.4881, 4.8791, -6.9231, -8.6988, -15.1579, -3.8133, -5.3824, -7.5047]
    np.testing.assert_allclose(names["expected"], published_by_lapack, atol=5e-5)
    assert names["error"].max() < 1e-8
    assert names["report"].certified.all()
    assert np.mean(np.abs(names["PUBLISHED"] - names["expected"])) == pytest.approx(3.84, abs=0.005)


def block_inversion(names):
    assert names["sizes"][-1] == 512
    assert names["report"].certified.all()
    for name in names["inverters"]:
        assert max(names["residuals"][name]) < 1e-10
    assert names["display"].residual_norm < 1e-11


def precision_features(names):
    accuracy = dict(zip(names["choices"], names["accuracy"], strict=True))
    assert accuracy["network, certified"] == pytest.approx(accuracy["LAPACK"], abs=0.005)
    assert accuracy["LAPACK"] > accuracy["covariances"] + 0.1


def mimo_zero_forcing(names):
    curves = {name: np.array(rates) for name, rates in names["curves"].items()}
    np.testing.assert_allclose(curves["network"], curves["exact"], rtol=0.1)
    assert curves["Newton-Schulz"][-1] > 10 * curves["exact"][-1]
    norms = {name: frobenius_residuals(names["H"], X).mean() for name, X in names["inverses"].items()}
    assert max(norms["network"], norms["MR-3, deflated"]) < 0.1 * norms["MR-3"] < 0.1 * norms["Newton-Schulz"]
    assert names["report"].certified.all()
    assert names["report"].inverse.dtype == complex


def memorising_against_generating(names):
    results = names["results"]
    gaps = [on_fresh - on_pool for (name, _), (on_pool, on_fresh) in results.items() if name == "dense"]
    assert gaps[0] > 0.15
    assert abs(gaps[-1]) < 0.05
    fresh = [on_fresh for (name, _), (_, on_fresh) in results.items() if name == "polynomial"]
    assert max(fresh) < names["untrained"]


def learn_a_family(names):
    assert names["learned"].start_ == "family"
    before, after = (names["learned"].gain_[name]["0.01"]["products"][1] for name in ("untrained", "trained"))
    assert after < 0.6 * before
    products, norms = names["curves"]["learned"]
    assert norms[products.index(5), 1] < 1e-2
    assert names["search"].best_params_["n_atoms"] > 0
    assert names["outside"].mean() > 0.99


def export_a_family(names):
    certified = names["certified"]
    assert certified["members"].mean() > 0.99
    assert max(certified[name].mean() for name in ("Wishart", "uniform")) < 0.5
    for name, answer in names["answers"].items():
        assert np.all(names["errors"][name][certified[name]] <= answer["rho"][certified[name]])
    assert names["finished"].stdout.endswith("torch is imported: False\n")


def audit(names):
    silent = {name: report.counts()["wrong and silent"] for name, report in names["alone"].items()}
    assert min(silent.values()) > 0
    assert silent["chunk kernel"] > 5
    assert all(report.counts()["wrong and silent"] == 0 for report in names["certified"].values())
    numpys = [names[part]["numpy.linalg.inv"].counts()["right"] for part in ("alone", "certified")]
    assert numpys[1] > numpys[0]


CLAIMS = {
    "learn": [train_and_invert, learn_a_family, grid_search, memorising_against_generating, ensembles],
    "trust": [audit, residual_against_condition, singular_matrices, least_squares],
    "deploy": [export_a_family, mimo_zero_forcing, precision_features, block_inversion, box_draper],
}
SCRIPTS = {
    f"{section}/plot_{number}_{claim.__name__}.py": claim
    for section, claims in CLAIMS.items()
    for number, claim in enumerate(claims, start=1)
}
QUICK = (residual_against_condition, singular_matrices, least_squares, box_draper)


@pytest.mark.parametrize(
    ("script", "claim"),
    [
        pytest.param(script, claim, id=script, marks=() if claim in QUICK else pytest.mark.slow)
        for script, claim in SCRIPTS.items()
    ],
)
def test_example(script, claim, monkeypatch, tmp_path, capsys):
    claim(run_example(script, monkeypatch, tmp_path, capsys))


def test_every_example_is_tested():
    found = {script.relative_to(EXAMPLES).as_posix() for section in CLAIMS for script in (EXAMPLES / section).glob("*")}
    assert found == {*SCRIPTS, *(f"{section}/README.rst" for section in CLAIMS)}
    assert not list(EXAMPLES.glob("*.py"))
