"""Model directories: whole or not at all, and no code run when read."""

import json

import numpy as np
import pytest

from skdmi.persistence import check_writable, find_model, load_model, pretrained_names, read_card, save_model

CONFIG = {"class": "Any", "fitted": {"n_iter_": 3}}
WEIGHTS = {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.zeros(0)}


@pytest.fixture
def model(tmp_path):
    save_model(tmp_path / "model", CONFIG, WEIGHTS)
    return tmp_path / "model"


def test_a_model_comes_back_as_it_was_saved(model):
    config, weights = load_model(model)
    assert config == CONFIG == read_card(model)
    assert weights.keys() == WEIGHTS.keys()
    assert all(np.array_equal(weights[name], WEIGHTS[name]) for name in WEIGHTS)
    assert sorted(path.name for path in model.iterdir()) == ["config.json", "model.safetensors"]


def test_a_model_replaces_a_model(model):
    save_model(model, CONFIG | {"class": "Other"}, WEIGHTS)
    assert read_card(model)["class"] == "Other"
    assert [path.name for path in model.parent.iterdir()] == ["model"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_an_interrupted_save_leaves_the_old_model(model, monkeypatch, error):
    def fail(*args):
        raise error

    monkeypatch.setattr("skdmi.persistence.save_file", fail)
    with pytest.raises(error):
        save_model(model, CONFIG | {"class": "Other"}, WEIGHTS)
    assert load_model(model)[0] == CONFIG
    assert [path.name for path in model.parent.iterdir()] == ["model"]


def test_what_json_cannot_hold_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(TypeError):
        save_model(tmp_path / "model", {"function": print}, WEIGHTS)
    assert list(tmp_path.iterdir()) == []


def test_nothing_else_is_ever_replaced(tmp_path, model):
    (model / "notes.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for path in (model, tmp_path / "file"):
        with pytest.raises(FileExistsError, match="not a model"):
            save_model(path, CONFIG, WEIGHTS)
        with pytest.raises(FileExistsError, match="not a model"):
            check_writable(path)
    assert (model / "notes.txt").read_text() == (tmp_path / "file").read_text() == "mine"


def test_an_unknown_model_says_which_there_are(tmp_path):
    with pytest.raises(FileNotFoundError, match="uniform-3x3"):
        find_model(tmp_path / "nothing")


def test_damage_is_a_value_error_naming_the_file(model):
    (model / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged"):
        load_model(model)
    (model / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json is not JSON"):
        read_card(model)
    (model / "config.json").write_text("[]")
    with pytest.raises(ValueError, match=r"config\.json holds no JSON object"):
        read_card(model)


def test_shipped_models_are_small_and_complete():
    for name in pretrained_names():
        directory = find_model(name)
        assert sum(path.stat().st_size for path in directory.iterdir()) < 300_000
        card = json.loads((directory / "config.json").read_text())
        parameters, fitted = card["parameters"], card["fitted"]
        epoch = parameters["batches_per_epoch"] * parameters["batch_size"]
        assert fitted["n_matrices_seen_"] == parameters["max_epochs"] * epoch
        assert isinstance(parameters["random_state"], int)
