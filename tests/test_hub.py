"""Models to and from a hub: a stand-in on this machine, which is asked by the real client."""

import pickle
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from sklearn.base import clone

import skdmi
from scripts.shipped_table import table
from skdmi import EnsembleInverter, NeuralMatrixInverter, load_pretrained
from skdmi.cli import main
from skdmi.io import write_stack
from skdmi.persistence import WEIGHTS
from skdmi.persistence.directories import MARK
from skdmi.persistence.shipped import of_predecessor
from tests.hub_server import TOKEN, hash_of, hub, point_client
from tests.models import untrained

pytest.importorskip("huggingface_hub")
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # of the client's own requests
ROOT = Path(__file__).parents[1]
NAME = "me/tiny-3x3"
A = np.random.default_rng(0).normal(size=(5, 3, 3))
LOADERS = (load_pretrained, NeuralMatrixInverter.from_pretrained)


@pytest.fixture(scope="module")
def network():
    return untrained(3, depth=1)


@pytest.fixture(scope="module")
def network_file(network, tmp_path_factory):
    directory = tmp_path_factory.mktemp("saved")
    network.save_pretrained(directory)
    return (directory / WEIGHTS).read_bytes()


@pytest.fixture
def settle(tmp_path, monkeypatch):
    """Return what points the client to a hub; in an empty working directory."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return partial(point_client, monkeypatch, home=tmp_path / "hub-home")


@pytest.fixture
def server(settle):
    with hub() as (address, state):
        settle(address)
        yield state


@pytest.fixture
def nowhere(settle):
    """The address of a hub that refuses connections."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    settle(address)
    return address


def test_what_is_pushed_comes_back(network, server):
    url = network.push_to_hub(NAME, token=TOKEN, license="mit", private=True)
    assert url.endswith(f"/{NAME}/commit/{hash_of(NAME, 1)}")
    assert server.commits[NAME][-1].keys() == {WEIGHTS, "README.md"}
    assert NAME in server.private
    for load in LOADERS:
        np.testing.assert_array_equal(load(NAME, token=TOKEN).transform(A), network.transform(A))
    with pytest.raises(FileNotFoundError, match="private or gated, give a token"):
        load_pretrained(NAME, cache_dir="another")
    with pytest.raises(ValueError, match="not a EnsembleInverter"):
        EnsembleInverter.from_pretrained(NAME, token=TOKEN)


def test_an_ensemble_is_pushed_in_one_file(network, server):
    ensemble = EnsembleInverter.from_fitted([network, untrained(3, depth=2)])
    ensemble.push_to_hub(NAME, token=TOKEN)
    assert server.commits[NAME][-1].keys() == {WEIGHTS, "README.md"}
    found = EnsembleInverter.from_pretrained(NAME)
    np.testing.assert_array_equal(found.transform(A), ensemble.transform(A))
    np.testing.assert_array_equal(load_pretrained(NAME).transform(A), ensemble.transform(A))
    assert "2 networks" in server.commits[NAME][-1]["README.md"].decode()


def test_a_pushed_file_is_that_of_a_directory(network, network_file, server):
    network.push_to_hub(NAME, token=TOKEN)
    assert server.commits[NAME][-1][WEIGHTS] == network_file


def test_the_card_is_made_from_the_figures_of_the_model(network, server):
    network.push_to_hub(NAME, token=TOKEN, license="bsd-3-clause")
    text = server.commits[NAME][-1]["README.md"].decode()
    _, header, body = text.split("---\n", 2)
    metadata = yaml.safe_load(header)
    assert metadata["library_name"] == "skdmi"
    assert metadata["license"] == "bsd-3-clause"
    assert {"skdmi", "matrix-inversion"} <= set(metadata["tags"])
    assert f'load_pretrained("{NAME}")' in body
    assert f"**products**: {network.module_.n_products(3)} of m x m matrices" in body
    network.push_to_hub("me/unlicensed", token=TOKEN)
    header = server.commits["me/unlicensed"][-1]["README.md"].decode().split("---\n", 2)[1]
    assert "license" not in yaml.safe_load(header)


def test_a_card_that_somebody_wrote_stays(network, server):
    network.push_to_hub(NAME, token=TOKEN)
    untrained(3, depth=2).push_to_hub(NAME, token=TOKEN, commit_message="Deeper")
    assert "depth 2" in server.commits[NAME][-1]["README.md"].decode()
    assert server.messages == [f"Upload a model of skdmi {skdmi.__version__}", "Deeper"]
    mine = server.commits[NAME][-1]["README.md"].replace(MARK.encode(), b"") + b"More.\n"
    server.put(NAME, README__md=mine)
    network.push_to_hub(NAME, token=TOKEN)
    assert server.commits[NAME][-1]["README.md"] == mine
    assert load_pretrained(NAME).depth == 1


def test_nothing_but_the_one_file_is_fetched(network_file, server, tmp_path):
    server.put(NAME, model__safetensors=network_file, config__json=b"[" * 10**6, evil__pkl=b"", modeling__py=b"1/0")
    for load in LOADERS:
        load(NAME)
    assert {line.rpartition("/")[2] for line in server.requests if "/resolve/" in line} == {WEIGHTS}
    found = [path.name for path in (tmp_path / "hub-home").rglob("snapshots/*/*")]
    assert found == [WEIGHTS]


def test_revisions_are_what_they_were(network, server):
    network.push_to_hub(NAME, token=TOKEN)
    untrained(3, depth=2).push_to_hub(NAME, token=TOKEN)
    assert [load_pretrained(NAME, revision=hash_of(NAME, number)).depth for number in (1, 2)] == [1, 2]
    assert load_pretrained(NAME).depth == 2
    with pytest.raises(FileNotFoundError, match="has no revision 'v9'"):
        load_pretrained(NAME, revision="v9")


def test_what_is_local_comes_first(network, network_file, server, tmp_path):
    server.put(NAME, model__safetensors=network_file)
    untrained(3, depth=2).save_pretrained(tmp_path / "here" / NAME)
    assert load_pretrained(NAME).depth == 2
    assert server.requests == []
    with pytest.raises(ValueError, match="revision='main' is for models of a hub"):
        load_pretrained(NAME, revision="main")
    (tmp_path / "here" / NAME / WEIGHTS).unlink()
    for name in (NAME, f"./{NAME}", tmp_path / "here" / NAME, tmp_path / "here" / "not" / "there", f"./{NAME}-2"):
        with pytest.raises(FileNotFoundError, match=r"No model"):
            load_pretrained(name)
    assert server.requests == []


@pytest.mark.parametrize("name", ["uniform-3x3-short", "../a/b", "a/b/c", "a\\b", "/a/b", "a/", "a/model.safetensors"])
def test_other_names_are_never_asked_for(name, server):
    if name == "uniform-3x3-short":
        load_pretrained(name)
    else:
        with pytest.raises(FileNotFoundError):
            load_pretrained(name)
    assert server.requests == []


def test_what_was_fetched_serves_without_a_network(network_file, settle, monkeypatch):
    with hub() as (address, state):
        settle(address)
        state.put(NAME, model__safetensors=network_file)
        with pytest.raises(FileNotFoundError, match="nor was it fetched before; local_files_only=False asks"):
            load_pretrained(NAME, local_files_only=True)
        assert state.requests == []
        expected = load_pretrained(NAME).transform(A)
        n_requests = len(state.requests)
        np.testing.assert_array_equal(load_pretrained(NAME, local_files_only=True).transform(A), expected)
        assert len(state.requests) == n_requests
    np.testing.assert_array_equal(load_pretrained(NAME).transform(A), expected)  # the server has gone
    settle(address, HF_HUB_OFFLINE="1")
    np.testing.assert_array_equal(load_pretrained(NAME).transform(A), expected)


def is_friendly(text, address):
    """Return whether a line says what was tried, and what to do."""
    return "\n" not in text and all(part in text for part in (NAME, address, "not reached", "Try again"))


@pytest.mark.parametrize("offline", ["0", "1"])
def test_without_a_network_one_line_says_what_to_do(offline, nowhere, settle, network, tmp_path):
    settle(nowhere, HF_HUB_OFFLINE=offline)
    for call in (lambda: load_pretrained(NAME), lambda: network.push_to_hub(NAME, token=TOKEN)):
        with pytest.raises(ConnectionError) as caught:
            call()
        assert is_friendly(str(caught.value), nowhere)
    write_stack(tmp_path / "A.npy", A)
    for command in (
        ["invert", f"{tmp_path / 'A.npy'}", f"{tmp_path / 'X.npy'}", "--model", NAME],
        ["score", f"{tmp_path / 'A.npy'}", "--model", NAME],
        ["info", NAME],
    ):
        result = CliRunner().invoke(main, command)
        assert result.exit_code == 1
        assert is_friendly(result.stderr.rstrip("\n"), nowhere)
    assert not (tmp_path / "X.npy").exists()


def test_commands_take_models_of_the_hub(network_file, network, server, tmp_path):
    server.put(NAME, model__safetensors=network_file)
    write_stack(tmp_path / "A.npy", A)
    command = ["invert", f"{tmp_path / 'A.npy'}", f"{tmp_path / 'X.npy'}", "--raw", "--model", NAME]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.stderr
    np.testing.assert_array_equal(np.load(tmp_path / "X.npy"), network.transform(A))
    assert f"model       {NAME}" in CliRunner().invoke(main, ["info", NAME]).stdout
    assert skdmi.certify(A, skdmi.inv(A, model=NAME)).certified.all()


@pytest.mark.parametrize("content", [b"", b"\xff" * 64, b"<html></html>", b"\x02\0\0\0\0\0\0\0{}"])
def test_a_file_of_the_hub_is_as_hostile_as_any(content, server):
    server.put(NAME, model__safetensors=content)
    for load in LOADERS:
        with pytest.raises(ValueError, match=r"model\.safetensors"):
            load(NAME)


def test_other_peoples_models_are_refused(server):
    server.put(NAME, pytorch_model__bin=b"", model__keras=b"")
    for load in LOADERS:
        with pytest.raises(FileNotFoundError, match=r"holds no model\.safetensors, which push_to_hub"):
            load(NAME)
    with pytest.raises(FileNotFoundError, match="no model 'me/nothing' at"):
        load_pretrained("me/nothing")


def test_a_hub_that_refuses_says_so(network, server):
    with pytest.raises(PermissionError, match="Give a token that may write there"):
        network.push_to_hub(NAME, token="hf_wrong")
    assert NAME not in server.commits


@pytest.mark.parametrize(
    "arguments", [{"repo_id": "tiny"}, {"repo_id": "./a/b"}, {"license": "mit\ntags: []"}, {"license": 3}]
)
def test_what_cannot_be_pushed_is_refused_before_the_hub_is_asked(arguments, network, server):
    with pytest.raises(ValueError, match=r"expected (owner/name|one such as)"):
        network.push_to_hub(**{"repo_id": NAME, "token": TOKEN} | arguments)
    assert server.requests == []


def test_what_is_not_fitted_is_not_pushed(server):
    with pytest.raises(ValueError, match="not fitted"):
        NeuralMatrixInverter().push_to_hub(NAME, token=TOKEN)
    assert server.requests == []


def test_estimators_know_nothing_of_the_hub(network, server):
    network.push_to_hub(NAME, token=TOKEN)
    found = NeuralMatrixInverter.from_pretrained(NAME)
    assert found.get_params().keys() == NeuralMatrixInverter().get_params().keys()
    assert clone(found).get_params() == clone(network).get_params()
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(found)).transform(A), network.transform(A))
    assert not [kind for kind in type(found).__mro__ if kind.__module__.startswith("huggingface_hub")]


WITHOUT_HUB = f"""
import sys
sys.modules["huggingface_hub"] = None  # as if it were not installed
import skdmi
inverter = skdmi.load_pretrained("uniform-3x3-short").estimator
for ask in (lambda: skdmi.load_pretrained("{NAME}"), lambda: inverter.push_to_hub("{NAME}")):
    try:
        ask()
    except (FileNotFoundError, ImportError) as error:
        print(type(error).__name__, error)
"""


def test_without_the_client_what_to_install_is_said(tmp_path):
    run = subprocess.run([sys.executable, "-c", WITHOUT_HUB], capture_output=True, text=True, check=True, cwd=tmp_path)
    what = 'needs huggingface_hub; try pip install "skdmi[hub]".'
    assert run.stdout.splitlines() == [
        f"FileNotFoundError There is no {NAME} here, and to look for it on a hub {what}",
        f"ImportError push_to_hub {what}",
    ]


@pytest.mark.parametrize(
    "name",
    [
        "gmrandazzo/deepmatrixinversion-3x3",
        "somebody/deepmatrixinversion-5x5",
        "resnet_7layers_3x3_20240920182800_v1",
        "models/resnet_7layers_3x3_20240920182800_v1",
    ],
)
def test_models_of_the_predecessor_are_named_with_what_to_use(name, server):
    for load in (*LOADERS, lambda name: skdmi.inv(A, model=name)):
        with pytest.raises(FileNotFoundError, match=r"TensorFlow model of DeepMatrixInversion.*'uniform-3x3-short'"):
            load(name)
    assert server.requests == []
    load_pretrained("uniform-3x3-short")  # is there to be used


def test_a_directory_of_the_predecessor_is_recognised(tmp_path, network):
    directory = tmp_path / "Model_20240920182800"
    directory.mkdir()
    (directory / "1.keras").write_bytes(b"PK")
    with pytest.raises(FileNotFoundError, match="TensorFlow model of DeepMatrixInversion"):
        load_pretrained(directory)
    network.save_pretrained(tmp_path / "mine")
    (tmp_path / "mine" / "1.keras").write_bytes(b"PK")
    assert load_pretrained(tmp_path / "mine").depth == 1
    assert of_predecessor(tmp_path / "resnet-3x3") is None


def test_shipped_models_are_listed_with_what_was_measured():
    models = skdmi.shipped_models()
    lines = str(models).splitlines()
    for (name, one), line in zip(models.items(), lines, strict=True):
        inverter = load_pretrained(name).estimator
        m = inverter.matrix_size_
        assert (one.name, one.depth, one.matrices) == (name, inverter.depth, f"{m} x {m}")
        assert one.n_products == inverter.module_.n_products(m)
        assert one.n_parameters == sum(parameter.numel() for parameter in inverter.module_.parameters())
        assert one.residual_norm < one.untrained_residual_norm, "only what gains is shipped"
        assert one.n_products <= one.untrained_n_products
        assert line.startswith(f"{name}: {m} x {m}, ")
        assert f"{one.residual_norm:.1e} in {one.n_products} products" in line


def test_the_table_of_shipped_models_is_todays():
    assert (ROOT / "docs" / "tables" / "shipped.txt").read_text() == f"{table()}\n", "run scripts.shipped_table anew"


@pytest.mark.parametrize("name", ["me/a--b", "me/a..b", "me/a-", "me/a.", "me-/a", "me/a.git", f"me/{'a' * 97}"])
def test_names_that_no_hub_takes_are_called_so(name, network, server):
    with pytest.raises(FileNotFoundError, match=r"No model 'me.*the shipped models are"):
        load_pretrained(name)
    with pytest.raises(ValueError, match="is not the name of a model on a hub"):
        network.push_to_hub(name, token=TOKEN)
    assert server.requests == []


def test_what_is_wrong_here_is_not_laid_at_the_door_of_the_hub(network_file, server, tmp_path):
    server.put(NAME, model__safetensors=network_file)
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match=r"cannot be kept .*; try another cache_dir: .*file"):
        load_pretrained(NAME, cache_dir=tmp_path / "file")
    with pytest.raises(PermissionError, match="token=True, but this machine has none"):
        load_pretrained(NAME, token=True)
    with pytest.raises(TypeError, match="revision=5 is no text; expected a branch"):
        load_pretrained(NAME, revision=5)
