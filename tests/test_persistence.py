"""Model directories: whole or not at all, and no code run when read."""

import json
from pathlib import Path

import numpy as np
import pytest

from skdmi import EnsembleInverter, NeuralMatrixInverter, load_pretrained, persistence
from skdmi.persistence import (
    RETIRED,
    check_writable,
    find_model,
    load_model,
    pretrained_names,
    read_card,
    save_ensemble,
    save_model,
)

CONFIG = {"class": "NeuralMatrixInverter", "fitted": {"n_iter_": 3}}
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
    save_model(model, CONFIG | {"fitted": {}}, WEIGHTS)
    assert read_card(model)["fitted"] == {}
    assert [path.name for path in model.parent.iterdir()] == ["model"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_an_interrupted_save_leaves_the_old_model(model, monkeypatch, error):
    def fail(*args):
        raise error

    monkeypatch.setattr("skdmi.persistence.models.save_file", fail)
    with pytest.raises(error):
        save_model(model, CONFIG | {"fitted": {}}, WEIGHTS)
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


@pytest.mark.parametrize(
    "config", ['{"architectures": ["BertModel"]}', '{"class": "Bert"}', '{"class": []}', "[]", "{"]
)
@pytest.mark.parametrize("names", [["config.json"], ["config.json", "model.safetensors"], ["model.safetensors"]])
def test_files_of_others_under_our_names_are_not_replaced(tmp_path, config, names):
    for name in names:
        (tmp_path / name).write_text(config)
    with pytest.raises(FileExistsError, match="not a model"):
        save_model(tmp_path, CONFIG, WEIGHTS)
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert all((tmp_path / name).read_text() == config for name in names)


def test_an_ensemble_is_replaced_unless_a_member_is_not_ours(tmp_path):
    def save():
        config = {"class": "EnsembleInverter", "n_estimators": 1}
        save_ensemble(tmp_path / "model", config, [lambda path: save_model(path, CONFIG, WEIGHTS)])

    save()
    save()
    (tmp_path / "model" / "member-0" / "config.json").write_text("{}")
    with pytest.raises(FileExistsError, match="not a model"):
        save()


@pytest.mark.parametrize("existing", [True, False])
def test_a_symbolic_link_is_followed(tmp_path, existing):
    (tmp_path / "disk").mkdir()
    if existing:
        save_model(tmp_path / "disk" / "model", CONFIG | {"fitted": {}}, WEIGHTS)
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "model", target_is_directory=True)
    save_model(tmp_path / "link", CONFIG, WEIGHTS)
    assert (tmp_path / "link").is_symlink()
    assert read_card(tmp_path / "disk" / "model") == CONFIG
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disk", "link"]


def test_a_name_that_means_two_models_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "uniform-3x3-short").mkdir()
    assert find_model("uniform-3x3-short") == persistence.SHIPPED / "uniform-3x3-short"
    save_model("uniform-3x3-short", CONFIG, WEIGHTS)
    with pytest.raises(ValueError, match=r"write '\./uniform-3x3-short'"):
        find_model("uniform-3x3-short")
    for local in ("./uniform-3x3-short", tmp_path / "uniform-3x3-short", Path("uniform-3x3-short")):
        assert read_card(local) == CONFIG
    assert read_card(persistence.shipped_directory("uniform-3x3-short")) != CONFIG
    assert "uniform-16x16-short" in pretrained_names()


def test_an_unknown_model_says_which_there_are(tmp_path):
    with pytest.raises(FileNotFoundError, match="uniform-3x3-short"):
        find_model(tmp_path / "nothing")


@pytest.mark.parametrize("name", RETIRED)
@pytest.mark.parametrize(
    "door",
    [find_model, load_pretrained, NeuralMatrixInverter.from_pretrained, EnsembleInverter.from_pretrained],
    ids=["find_model", "load_pretrained", "NeuralMatrixInverter", "EnsembleInverter"],
)
def test_a_retired_model_says_what_to_use(name, door):
    with pytest.raises(FileNotFoundError) as caught:
        door(name)
    assert str(caught.value) == f"{name!r} was retired in 0.2.0: {RETIRED[name]}."


def test_what_takes_the_place_of_retired_models_is_there():
    assert not set(RETIRED) & set(pretrained_names())
    assert all("max_epochs=0" in text or f"'{pretrained_names()[-1]}'" in text for text in RETIRED.values())


def test_a_model_of_ones_own_may_have_a_retired_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_model("general", CONFIG, WEIGHTS)
    assert find_model("general") == Path("general")


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
    assert sum(path.stat().st_size for path in persistence.SHIPPED.rglob("*") if path.is_file()) < 2_000_000
    for name in pretrained_names():
        directory = find_model(name)
        card = json.loads((directory / "config.json").read_text())
        assert isinstance(card["fitted"]["gain_"], dict)
        parameters, fitted = card["parameters"], card["fitted"]
        epoch = parameters["batches_per_epoch"] * parameters["batch_size"]
        assert fitted["n_matrices_seen_"] == fitted["n_iter_"] * epoch
        assert fitted["n_iter_"] <= 3 * parameters["max_epochs"]  # trained in rounds
        assert isinstance(parameters["random_state"], int)
