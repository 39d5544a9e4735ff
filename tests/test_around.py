"""The examples around the inverse: each is right in what it claims."""

from pathlib import Path

import numpy as np
import pytest

from tests.gallery import EXAMPLES, run_example


def robot_arm(names):
    assert names["report"].certified.all()
    assert (names["report"].rank == 6).all()
    assert "at index" in str(names["caught"][0].message)
    stretched, damped = names["stretched"], names["damped"]
    assert not stretched.certified[-1]
    assert stretched.rank[-1] < 6
    assert stretched.certified[names["bends"] > 1e-5].all()
    assert damped.certified.all()
    largest = np.linalg.norm(damped.pseudo_inverse, 2, axis=(1, 2))
    assert (largest <= 0.5 / names["DAMPING"] * (1 + 1e-9)).all()
    assert names["speed"]["plain"][:-1].max() > 100 * names["speed"]["damped"].max()
    velocities = names["J"][:-1] @ names["X"][:-1] @ names["hand"]
    np.testing.assert_allclose(velocities[:200], np.broadcast_to(names["hand"], (200, 6)), atol=1e-9)


def whitening(names):
    assert f"at index {names['DEAD']}." in str(names["caught"][0].message)
    np.testing.assert_array_equal(names["report"].certified, names["alive"])
    np.testing.assert_allclose(names["again"], np.broadcast_to(np.eye(16), names["again"].shape), atol=1e-10)
    assert names["steps"]["learned"].mean() <= names["steps"]["scaled"].mean()
    assert not np.isnan(names["roots"]).any()


def diffusion_sequence(names):
    counts = names["counts"]
    assert counts["family"] < counts["diagonal"] / 2
    assert counts["blocks"] < counts["diagonal"] < counts["none"]
    assert names["search"].best_params_["block_size"] == 48
    for curve in names["curves"]["family"]:
        assert curve[-1] <= 1e-7


CLAIMS = {
    "plot_1_robot_arm.py": robot_arm,
    "plot_2_whitening.py": whitening,
    "plot_3_diffusion_sequence.py": diffusion_sequence,
}


@pytest.mark.parametrize("script", CLAIMS)
def test_example(script, monkeypatch, tmp_path, capsys):
    CLAIMS[script](run_example(f"around/{script}", monkeypatch, tmp_path, capsys))


def test_every_example_is_tested():
    assert sorted(CLAIMS) == sorted(path.name for path in (EXAMPLES / "around").glob("*.py"))
    assert Path(EXAMPLES / "around" / "README.rst").is_file()
