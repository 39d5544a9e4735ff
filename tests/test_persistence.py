"""Models on disk: whole or not at all, under every name, and those of 0.1.0 for ever."""

import json
import os
import shutil
import subprocess
import sys
import time
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from skdmi import EnsembleInverter, NeuralMatrixInverter, load_pretrained, persistence
from skdmi.persistence import RETIRED, Model, check_writable, find_model, pretrained_names, read_model, save_model
from skdmi.persistence.directories import MARK
from skdmi.persistence.files import MAX_HEADER, Entry
from skdmi.persistence.format_1 import Budget, _read_config
from tests.models import GOLDEN, card_of, untrained, write_as_0_1_0

CARD = {"class": "NeuralMatrixInverter", "fitted": {"n_iter_": 3}}
WEIGHTS = {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.zeros(0)}
README = f"---\n{MARK}\n---\n"
ANSWERS, ANSWERS_2 = (json.loads((GOLDEN / name / "answers.json").read_text()) for name in ("0.1.0", "2"))


def save(directory, card=CARD, weights=WEIGHTS):
    entries = {name: Entry(array.dtype, array.shape) for name, array in weights.items()}
    save_model(directory, Model(Path(directory), card, entries, weights), README)


def read(name_or_path):
    return read_model(name_or_path, lambda model: None)


@pytest.fixture
def model(tmp_path):
    save(tmp_path / "model")
    return tmp_path / "model"


def test_a_model_comes_back_as_it_was_saved(model):
    for path in (model, model / "model.safetensors", os.fspath(model)):
        found = read(path)
        assert found.card == CARD
        assert found.weights.keys() == WEIGHTS.keys()
        assert all(np.array_equal(found.weights[name], WEIGHTS[name]) for name in WEIGHTS)
    assert sorted(path.name for path in model.iterdir()) == ["README.md", "model.safetensors"]


def test_weights_are_read_after_the_card_was_checked(model):
    def refuse(found):
        assert found.card == CARD
        assert found.entries["a.weight"] == Entry(np.dtype("<f4"), (2, 3))
        assert not found.weights
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        read_model(model, refuse)


def test_a_model_replaces_a_model_and_nothing_else(model):
    (model / "notes.txt").write_text("mine")
    save(model, CARD | {"fitted": {}})
    assert read(model).card["fitted"] == {}
    assert sorted(path.name for path in model.iterdir()) == ["README.md", "model.safetensors", "notes.txt"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_an_interrupted_save_leaves_the_old_model(model, monkeypatch, error):
    def fail(*args):
        raise error

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(error):
        save(model, CARD | {"fitted": {}})
    assert read(model).card == CARD
    assert sorted(path.name for path in model.iterdir()) == ["README.md", "model.safetensors"]


def test_what_cannot_be_stored_is_refused_before_anything_is_written(tmp_path, model):
    for directory in (model, tmp_path / "new"):
        with pytest.raises(TypeError):
            save(directory, {"function": print})
        with pytest.raises(ValueError, match="dtype"):
            save(directory, CARD, {"a": np.zeros(1, dtype=np.float16)})
    assert read(model).card == CARD


class TestReadme:
    def test_it_is_written_anew_with_the_model(self, model):
        (model / "README.md").write_text(f"old\n{MARK}\n")
        save(model)
        assert (model / "README.md").read_text() == README

    def test_one_without_the_mark_is_the_users(self, model):
        (model / "README.md").write_text("# Mine\n")
        save(model)
        assert (model / "README.md").read_text() == "# Mine\n"

    def test_one_with_the_mark_far_below_is_the_users(self, model):
        text = "# Mine\n" + 1000 * "text\n" + MARK
        (model / "README.md").write_text(text)
        save(model)
        assert (model / "README.md").read_text() == text

    def test_without_it_the_model_is_saved_all_the_same(self, model, monkeypatch):
        replace = os.replace

        def fail(source, target):
            if os.fspath(target).endswith("README.md"):
                raise OSError(28, "No space left on device", os.fspath(target))
            replace(source, target)

        monkeypatch.setattr("os.replace", fail)
        with pytest.warns(UserWarning, match=r"model is saved, its .*README\.md is not: No space left on device"):
            save(model, CARD | {"fitted": {}})
        assert read(model).card["fitted"] == {}

    def test_it_says_what_the_model_is_and_how_to_load_it(self, tmp_path):
        untrained(3).save_pretrained(tmp_path / "mine")
        text = (tmp_path / "mine" / "README.md").read_text()
        assert text.startswith(f"---\n{MARK}\nlibrary_name: skdmi\ntags:\n")
        for part in (
            "# mine",
            "3 x 3",
            "polynomial, depth 3, width 16",
            "Uniform()",
            "condition",
            'load_pretrained("mine")',
        ):
            assert part in text

    def test_the_code_in_it_runs(self, tmp_path, monkeypatch):
        untrained(3).save_pretrained(tmp_path / "mine")
        text = (tmp_path / "mine" / "README.md").read_text()
        monkeypatch.chdir(tmp_path)
        found = {"matrices": np.eye(3)[None]}
        exec(text.split("```python\n")[1].split("```")[0], found)
        np.testing.assert_allclose(found["inverses"], np.eye(3)[None], atol=1e-12)

    def test_of_an_ensemble_it_lists_the_members(self, tmp_path):
        EnsembleInverter.from_fitted([untrained(3, depth) for depth in (2, 3)]).save_pretrained(tmp_path / "both")
        text = (tmp_path / "both" / "README.md").read_text()
        assert "2 networks" in text
        assert "both/member-0" in text
        assert "both/member-1" in text


class TestWhatMayBeReplaced:
    def test_nothing_that_is_no_model(self, tmp_path):
        (tmp_path / "file").write_text("mine")
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / "notes.txt").write_text("mine")
        for path in (tmp_path / "file", tmp_path / "folder"):
            for door in (save, check_writable):
                with pytest.raises(FileExistsError, match="not a model"):
                    door(path)
        assert (tmp_path / "folder" / "notes.txt").read_text() == (tmp_path / "file").read_text() == "mine"

    @pytest.mark.parametrize("beside", [".skdmi-0123-abc.safetensors", "checkpoints", "README.md"])
    def test_what_was_left_by_a_training_is_no_obstacle(self, tmp_path, beside):
        target = tmp_path / beside
        if beside == "checkpoints":
            target.mkdir()
        else:
            target.write_text(README if beside == "README.md" else "")
        save(tmp_path)
        assert read(tmp_path).card == CARD

    def test_a_readme_of_the_user_is_one(self, tmp_path):
        (tmp_path / "README.md").write_text("# My project\n")
        with pytest.raises(FileExistsError, match="not a model"):
            save(tmp_path)

    @pytest.mark.parametrize(
        "config", ['{"architectures": ["BertModel"]}', '{"class": "Bert"}', '{"class": []}', "[]", "{", "[" * 100_000]
    )
    @pytest.mark.parametrize("names", [["config.json"], ["config.json", "model.safetensors"], ["model.safetensors"]])
    def test_files_of_others_under_our_names_are_not(self, tmp_path, config, names):
        for name in names:
            (tmp_path / name).write_text(config)
        with pytest.raises(FileExistsError, match="not a model"):
            save(tmp_path)
        assert sorted(path.name for path in tmp_path.iterdir()) == names
        assert all((tmp_path / name).read_text() == config for name in names)

    def test_a_model_of_0_1_0_may_be_described_in_any_language(self, tmp_path):
        (tmp_path / "config.json").write_text('{"class": "EnsembleInverter", "note": "grün"}', encoding="utf-8")
        check_writable(tmp_path)

    @pytest.mark.parametrize(
        ("budget", "text"),
        [
            (Budget(n_bytes=20), b'{"a": 123456789012345}'),
            (Budget(values=2), b'{"a": [1, 2, 3, 4, 5]}'),
            (Budget(n_bytes=2 * MAX_HEADER), b'{"a": "' + MAX_HEADER * b"x" + b'"}'),
        ],
        ids=["bytes", "values", "length"],
    )
    def test_a_configuration_of_0_1_0_is_read_within_its_budget(self, budget, text):
        with pytest.raises(ValueError, match=r"it has more than .* bytes or .* values, or .* bytes with its ensemble"):
            _read_config(Path("config.json"), BytesIO(text), budget)

    @pytest.mark.parametrize("existing", [True, False])
    def test_a_symbolic_link_is_followed(self, tmp_path, existing):
        (tmp_path / "disk").mkdir()
        if existing:
            save(tmp_path / "disk" / "model", CARD | {"fitted": {}})
        (tmp_path / "link").symlink_to(tmp_path / "disk" / "model", target_is_directory=True)
        save(tmp_path / "link")
        assert (tmp_path / "link").is_symlink()
        assert read(tmp_path / "disk" / "model").card == CARD
        assert sorted(path.name for path in tmp_path.iterdir()) == ["disk", "link"]

    def test_a_symbolic_link_that_loops_is_named(self, tmp_path):
        (tmp_path / "loop").symlink_to("loop")
        for door in (save, check_writable):
            with pytest.raises(OSError, match="loop") as caught:
                door(tmp_path / "loop")
            assert caught.value.filename is not None


class TestNames:
    def test_one_that_means_two_models_is_refused(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "uniform-3x3-short").mkdir()
        assert find_model("uniform-3x3-short") == persistence.SHIPPED / "uniform-3x3-short"
        save("uniform-3x3-short")
        with pytest.raises(ValueError, match=r"write '\./uniform-3x3-short'"):
            find_model("uniform-3x3-short")
        for local in ("./uniform-3x3-short", tmp_path / "uniform-3x3-short", Path("uniform-3x3-short")):
            assert read(local).card == CARD
        assert read(persistence.shipped_directory("uniform-3x3-short")).card != CARD
        assert "uniform-16x16-short" in pretrained_names()

    def test_an_unknown_one_says_which_there_are(self, tmp_path):
        for path in (tmp_path / "nothing", tmp_path):
            with pytest.raises(FileNotFoundError, match="uniform-3x3-short"):
                find_model(path)

    @pytest.mark.parametrize("name", RETIRED)
    @pytest.mark.parametrize(
        "door",
        [find_model, load_pretrained, NeuralMatrixInverter.from_pretrained, EnsembleInverter.from_pretrained],
        ids=["find_model", "load_pretrained", "NeuralMatrixInverter", "EnsembleInverter"],
    )
    def test_a_retired_one_says_what_to_use(self, name, door):
        with pytest.raises(FileNotFoundError) as caught:
            door(name)
        assert str(caught.value) == f"{name!r} was retired in 0.2.0: {RETIRED[name]}."

    def test_what_takes_the_place_of_retired_ones_is_there(self):
        assert not set(RETIRED) & set(pretrained_names())
        assert all("max_epochs=0" in text or f"'{pretrained_names()[-1]}'" in text for text in RETIRED.values())

    def test_a_model_of_ones_own_may_have_a_retired_one(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        save("general")
        assert find_model("general") == Path("general")


@pytest.mark.parametrize(
    ("path", "answers"),
    [(GOLDEN / "0.1.0" / name, ANSWERS[name]) for name in ANSWERS]
    + [(GOLDEN / "2" / name, ANSWERS_2[name]) for name in ANSWERS_2],
    ids=lambda value: "/".join(value.parts[-2:]) if isinstance(value, Path) else "",
)
def test_what_every_version_wrote_loads_and_answers_as_it_did(path, answers):
    """The golden files were written by the versions that they are named after, or by the first of a format."""
    inverter = load_pretrained(path).estimator
    A, X = (np.array(answers[part]) for part in "AX")
    if hasattr(inverter, "feature_names_in_"):
        assert list(inverter.feature_names_in_) == ["a00", "a01", "a10", "a11"]
        del inverter.feature_names_in_  # A is no DataFrame.
    np.testing.assert_allclose(inverter.transform(A), X, rtol=1e-4, atol=1e-5)


class TestFormat1:
    """What 0.1.0 wrote, overwritten and read at once."""

    @pytest.mark.parametrize("name", ANSWERS)
    def test_saving_replaces_it_with_the_same_model_in_one_file(self, name, tmp_path):
        shutil.copytree(GOLDEN / "0.1.0" / name, tmp_path / name)
        old = read(tmp_path / name)
        (tmp_path / name / "notes.txt").write_text("mine")
        load_pretrained(tmp_path / name).estimator.save_pretrained(tmp_path / name)
        assert sorted(os.listdir(tmp_path / name)) == ["README.md", "model.safetensors", "notes.txt"]
        new = read(tmp_path / name)
        assert new.weights.keys() == old.weights.keys()
        assert all(new.weights[key].tobytes() == array.tobytes() for key, array in old.weights.items())
        A = np.array(ANSWERS[name]["A"])
        before, after = (load_pretrained(path).estimator for path in (GOLDEN / "0.1.0" / name, tmp_path / name))
        if not hasattr(before, "feature_names_in_"):
            np.testing.assert_array_equal(after.transform(A), before.transform(A))

    @pytest.mark.parametrize("name", ["polynomial", "ensemble", "ensemble-of-ensembles"])
    def test_the_new_file_wins_over_what_a_killed_save_left(self, name, tmp_path):
        shutil.copytree(GOLDEN / "0.1.0" / name, tmp_path / "model")
        save(tmp_path / "new")
        shutil.copy(tmp_path / "new" / "model.safetensors", tmp_path / "model")
        assert read(tmp_path / "model").card == CARD
        save(tmp_path / "model")
        assert sorted(os.listdir(tmp_path / "model")) == ["README.md", "model.safetensors"]

    def test_files_of_others_within_it_stay(self, tmp_path):
        shutil.copytree(GOLDEN / "0.1.0" / "ensemble", tmp_path / "model")
        (tmp_path / "model" / "member-0" / "notes.txt").write_text("mine")
        (tmp_path / "model" / "member-1" / "config.json").write_text("{}")
        (tmp_path / "model" / "member-notes").mkdir()
        save(tmp_path / "model")
        assert sorted(os.listdir(tmp_path / "model")) == [
            "README.md",
            "member-0",
            "member-1",
            "member-notes",
            "model.safetensors",
        ]
        assert os.listdir(tmp_path / "model" / "member-0") == ["notes.txt"]
        assert read(tmp_path / "model").card == CARD

    def test_a_member_that_goes_while_it_is_read_means_that_the_new_file_is_there(self, tmp_path):
        shutil.copytree(GOLDEN / "0.1.0" / "ensemble", tmp_path / "model")
        seen = []

        def check(found):
            if not seen:
                save(tmp_path / "model")
            seen.append(found.path)

        assert read_model(tmp_path / "model", check).card == CARD
        assert seen == [tmp_path / "model" / "member-0" / "config.json", tmp_path / "model" / "model.safetensors"]

    def test_a_model_that_is_replaced_while_it_is_read_is_read_whole(self, tmp_path, monkeypatch):
        shutil.copytree(GOLDEN / "0.1.0" / "polynomial", tmp_path / "model")
        opened = persistence.models.open_regular

        def open_and_save(path):
            file = opened(path)
            save(tmp_path / "model")
            return file

        monkeypatch.setattr("skdmi.persistence.models.open_regular", open_and_save)
        assert read(tmp_path / "model").card == CARD

    def test_tests_write_it_as_0_1_0_did(self, tmp_path):
        for name in ANSWERS:
            found = read(GOLDEN / "0.1.0" / name)
            write_as_0_1_0(tmp_path / name, found.card, found.weights)
            again = read(tmp_path / name)
            assert again.card == found.card
            assert again.entries == found.entries


def test_the_golden_files_are_small():
    assert sum(path.stat().st_size for path in GOLDEN.rglob("*") if path.is_file()) < 60_000


def test_shipped_models_are_small_and_complete():
    assert sum(path.stat().st_size for path in persistence.SHIPPED.rglob("*") if path.is_file()) < 2_000_000
    for name in pretrained_names():
        assert sorted(os.listdir(find_model(name))) == ["README.md", "model.safetensors"]
        card = card_of(find_model(name))
        assert isinstance(card["fitted"]["gain_"], dict)
        parameters, fitted = card["parameters"], card["fitted"]
        epoch = parameters["batches_per_epoch"] * parameters["batch_size"]
        assert fitted["n_matrices_seen_"] == fitted["n_iter_"] * epoch
        assert fitted["n_iter_"] <= 3 * parameters["max_epochs"]  # trained in rounds
        assert isinstance(parameters["random_state"], int)


SAVE = """
import sys
from pathlib import Path
import numpy as np
from skdmi.persistence import Model, save_model
from skdmi.persistence.directories import MARK
directory, number, n_saves = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
print("begun", flush=True)
for i in range(n_saves):
    weights = {"a": np.full(20_000, number, dtype=np.float32)}
    card = {"class": "NeuralMatrixInverter", "number": number}
    save_model(directory, Model(directory, card, {}, weights), MARK)
"""


def start_saving(directory, number, n_saves):
    arguments = [sys.executable, "-c", SAVE, directory, str(number), str(n_saves)]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE)
    process.stdout.readline()
    return process


def is_whole(directory):
    found = read(directory)
    return (found.weights["a"] == found.card["number"]).all()


@pytest.mark.slow
@pytest.mark.parametrize("before", ["nothing", "polynomial", "ensemble-of-ensembles"])
def test_two_writers_and_a_reader_never_meet_half_a_model(before, tmp_path):
    directory = tmp_path / "model"
    if before != "nothing":
        shutil.copytree(GOLDEN / "0.1.0" / before, directory)
    writers = [start_saving(directory, number, 100) for number in (1, 2)]
    n_reads = 0
    while any(writer.poll() is None for writer in writers):
        try:
            found = read(directory)
        except FileNotFoundError:
            assert before == "nothing"
            assert n_reads == 0
            continue
        n_reads += 1
        assert "number" not in found.card or (found.weights["a"] == found.card["number"]).all()
    assert [writer.wait() for writer in writers] == [0, 0]
    assert n_reads
    assert is_whole(directory)
    assert sorted(os.listdir(directory)) == ["README.md", "model.safetensors"]
    for writer in writers:
        writer.stdout.close()


@pytest.mark.slow
def test_a_killed_save_loses_nothing_and_leaves_nothing_after_the_next(tmp_path):
    directory = tmp_path / "model"
    save(directory, CARD | {"number": 0}, {"a": np.zeros(3, dtype=np.float32)})
    random = np.random.default_rng(0)
    for number in range(1, 11):
        with start_saving(directory, number, 10**6) as process:
            time.sleep(random.uniform(0.0, 0.2))
            process.kill()
        assert is_whole(directory)
    save(directory)
    assert sorted(os.listdir(directory)) == ["README.md", "model.safetensors"]
    assert os.listdir(tmp_path) == ["model"]


def test_a_directory_may_be_named_by_any_bytes(tmp_path):
    directory = tmp_path / os.fsdecode(b"m\xff\n")
    try:
        directory.mkdir()
    except OSError:
        pytest.skip("this file system takes no such names")
    inverter = NeuralMatrixInverter(1, 2, matrix_size=2, max_epochs=0).fit()
    inverter.save_pretrained(directory)
    assert sorted(os.listdir(directory)) == ["README.md", "model.safetensors"]
    assert NeuralMatrixInverter.from_pretrained(directory).depth == 1
