"""The examples beside other packages: each is right in what it claims."""

import numpy as np
import pytest

from tests.gallery import run_example


def pyriemann(names):
    assert "positive definite" in names["refusal"]
    np.testing.assert_array_equal(np.flatnonzero(~names["report"].certified), names["bridged"])
    assert (
        names["RefinedInverter"]().report(names["Covariances"]("oas").fit_transform(names["signals"])).certified.all()
    )
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


CLAIMS = {"plot_1_pyriemann.py": pyriemann, "plot_2_nist.py": nist}


@pytest.mark.parametrize("script", CLAIMS)
def test_example(script, monkeypatch, tmp_path, capsys):
    if CLAIMS[script] is pyriemann:
        pytest.importorskip("pyriemann")
    CLAIMS[script](run_example(f"neighbours/{script}", monkeypatch, tmp_path, capsys))
