"""The examples beside other packages: each is right in what it claims."""

import pytest

from tests.gallery import run_example


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


CLAIMS = {"plot_2_nist.py": nist}


@pytest.mark.parametrize(("script", "claim"), [pytest.param(*row, id=row[0]) for row in CLAIMS.items()])
def test_example(script, claim, monkeypatch, tmp_path, capsys):
    claim(run_example(f"neighbours/{script}", monkeypatch, tmp_path, capsys))
