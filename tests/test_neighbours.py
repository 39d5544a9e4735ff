"""The examples beside other packages: each is right in what it claims."""

from pathlib import Path

import numpy as np
import pytest

from tests.gallery import EXAMPLES, run_example


def pyriemann(names):
    assert "positive definite" in names["refusal"]
    np.testing.assert_array_equal(np.flatnonzero(~names["report"].certified), names["bridged"])
    regularised = names["Covariances"]("oas").fit_transform(names["signals"])
    assert names["RefinedInverter"]().report(regularised).certified.all()
    scores = names["scores"]
    np.testing.assert_allclose(scores["MDM of precisions"], scores["MDM"], atol=0.02)  # Ties may break by rounding.
    means = {name: score.mean() for name, score in scores.items()}
    assert means["MDM"] + 0.1 < means["covariances"] < means["precisions"] - 0.02
    assert means["tangent space"] > means["precisions"] - 0.03


def nist(names):
    digits, proved = names["digits"], names["proved"]
    exact = {problem for problem, (X, y, _) in names["problems"].items() if (X % 1 == 0).all() and (y % 1 == 0).all()}
    assert exact == {*digits} - {"Norris", "Longley", "Wampler 2"}
    for problem in exact:
        assert min(digits[problem]["bordered"], proved[problem]["bordered"]) > 14
        assert digits[problem]["bordered"] > digits[problem]["QR of X"] + 1
        for name in ("numpy.linalg.inv", "skdmi.inv", "tight"):
            assert proved[problem][name] <= digits[problem][name]
            assert proved[problem][name] < 13
    for problem in ("Longley", "Wampler 2"):
        assert proved[problem]["bordered"] > 14 > 12 > digits[problem]["bordered"]
    hard = {*digits} - {"Norris", "Norris, whole"}
    assert all(proved[problem]["skdmi.inv"] > proved[problem]["numpy.linalg.inv"] + 2 for problem in hard)
    assert all(digits[problem]["QR of X"] > digits[problem]["skdmi.inv"] for problem in hard - {"Wampler 5"})
    assert digits["Wampler 5"]["QR of X"] < digits["Wampler 4"]["QR of X"] - 1
    assert digits["Wampler 1"]["skdmi.inv"] > digits["Wampler 1"]["numpy.linalg.inv"] + 1


def kalman_bank(names):
    fault, broken, others = names["FAULT"], names["BROKEN"], names["others"]
    assert [str(broken) in str(warning.message) for warning in names["caught"]] == [True]
    np.testing.assert_array_equal(names["lost"], np.arange(fault, names["N_STEPS"]))
    for bank in ("estimates", "pseudo"):  # Nobody else is touched, to the last bit.
        np.testing.assert_array_equal(names[bank][:, others], names["intact"][:, others])
    assert np.isfinite(names["intact"]).all()
    assert names["bound"] < 1e-11
    assert names["squares"][10:, others].mean() == pytest.approx(4, rel=0.02)
    assert (np.linalg.matrix_rank(names["watched"][fault:]) == 3).all()
    assert names["raised"] + sum(largest > 1e12 for largest in names["silent"]) == names["N_STEPS"] - fault
    assert names["raised"] > 0
    of_x = np.array(names["measured"])[fault:, broken][:, [0, 2]]
    np.testing.assert_allclose(names["pseudo"][fault:, broken, 0], of_x.mean(axis=1), rtol=1e-6)


CLAIMS = {"plot_1_pyriemann.py": pyriemann, "plot_2_nist.py": nist, "plot_3_kalman_bank.py": kalman_bank}


@pytest.mark.parametrize("script", CLAIMS)
def test_example(script, monkeypatch, tmp_path, capsys):
    if CLAIMS[script] is pyriemann:
        pytest.importorskip("pyriemann")
    CLAIMS[script](run_example(f"neighbours/{script}", monkeypatch, tmp_path, capsys))


def test_every_example_is_tested():
    tests = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_neighbours*.py"))
    scripts = [path.name for path in (EXAMPLES / "neighbours").glob("*.py")]
    assert scripts
    assert [name for name in scripts if name not in tests] == []
