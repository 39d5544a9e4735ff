"""The examples on what others solve with: each is right in what it claims."""

import os
import warnings

import numpy as np
import pytest
from scipy.sparse.linalg import spsolve

from tests.gallery import run_example

mpmath = pytest.importorskip("mpmath", reason="it comes with torch")


def exact_likelihood(kernel, y):
    """Return the profile log likelihood of a kernel as it is stored, to fifty digits."""
    with mpmath.workdps(50):
        C = mpmath.cholesky(mpmath.matrix(kernel.tolist()))
        z = mpmath.matrix(y.tolist())
        for i in range(len(y)):
            z[i] = (z[i] - mpmath.fdot(C[i, :i], z[:i])) / C[i, i] if i else z[i] / C[i, i]
        half_log_det = mpmath.fsum(mpmath.log(C[i, i]) for i in range(len(y)))
        return -mpmath.mpf(len(y)) / 2 * mpmath.log(mpmath.fdot(z, z) / len(y)) - half_log_det


@pytest.mark.slow
def test_length_scales(monkeypatch, tmp_path, capsys):
    names = run_example("neighbours/plot_4_length_scales.py", monkeypatch, tmp_path, capsys)
    sound, cholesky, outside = names["sound"], names["cholesky"], names["outside"]
    assert sound.argmin() == sound.sum() > 20  # The long ones are named, and no others.
    exact = [exact_likelihood(kernel, names["y"]) for kernel in names["K"][sound]]
    bounds = zip(names["lower"][sound].tolist(), exact, names["upper"][sound].tolist(), strict=True)
    assert all(lower < value < upper for lower, value, upper in bounds)
    assert np.nanmax(names["upper"] - names["lower"]) < 1e-7
    assert np.nanmax(outside) > 1e-3
    assert np.all(outside[names["length_scales"] < 3] <= 0)
    assert np.isfinite(cholesky[~sound]).any()  # Answered, and without a warning.
    assert np.isnan(cholesky[~sound]).any()
    assert np.nanargmax(cholesky) == np.nanargmax(names["lower"])


def test_block_jacobi(monkeypatch, tmp_path, capsys):
    pytest.importorskip("pyamg", reason="it is in the extra test")
    names = run_example("neighbours/plot_5_block_jacobi.py", monkeypatch, tmp_path, capsys)
    n_iterations = {name: len(norms) - 1 for name, norms in names["curves"].items()}
    assert n_iterations["Jacobi"] == pytest.approx(n_iterations["none"], rel=0.05)
    assert n_iterations["blocks of 8"] < n_iterations["Jacobi"] / 2
    assert n_iterations["blocks of 32"] < n_iterations["blocks of 8"] / 2
    assert n_iterations["multigrid"] < n_iterations["blocks of 32"] / 2
    assert names["against"]["blocks of 32"] > 0.9 * names["against"]["Jacobi"]
    assert names["against"]["multigrid"] < names["against"]["Jacobi"] / 10
    expected = spsolve(names["A"].tocsc(), names["b"])
    for name, x in names["solutions"].items():
        assert names["curves"][name][-1] <= 1e-8
        assert np.linalg.norm(x - expected) < 1e-5 * np.linalg.norm(expected)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="the workers are counted as on Linux")
def test_dask_cluster(monkeypatch, tmp_path, capsys):
    pytest.importorskip("distributed", reason="it is in the extra docs")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own event loop
        names = run_example("neighbours/plot_6_dask_cluster.py", monkeypatch, tmp_path, capsys)
    assert names["TOTAL"] > 2 * names["LIMIT"]
    assert max(names["peaks"]) < names["LIMIT"] / 1e6
    assert names["before"].keys() == names["after"].keys()  # A nanny gives another address to what it starts anew.
    assert names["residual"] < 1e-10
    assert names["graph_residual"] < 1e-9
    assert 0.1 < names["rms_left_out"] < 0.2
