"""What holds of every example: it runs without a warning, leaves no file, prints and draws."""

import runpy
from pathlib import Path

import pytest

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("agg")
plt = pytest.importorskip("matplotlib.pyplot")

EXAMPLES = Path(__file__).parents[1] / "examples"


def run_example(path, monkeypatch, tmp_path, capsys):
    """Run a script of the gallery, hold it to that, and return its names."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plt, "show", lambda: None)  # Agg would warn that it cannot.
    try:
        with plt.rc_context():  # The style of an example is not that of others.
            names = runpy.run_path(str(EXAMPLES / path))
            assert capsys.readouterr().out
            assert plt.get_fignums()
            for figure in plt.get_fignums():
                plt.figure(figure).canvas.draw()  # What matplotlib would warn of is an error here.
    finally:
        plt.close("all")
    assert list(tmp_path.iterdir()) == []
    return names
