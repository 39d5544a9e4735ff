"""Damaged and hostile models: one error of one line through every door, before time or memory is spent."""

import copy
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from skdmi import EnsembleInverter, NeuralMatrixInverter, load_pretrained
from skdmi.cli import main
from skdmi.distributions import Affine
from skdmi.estimators import schema
from skdmi.estimators.card import NOT_STORED
from skdmi.estimators.network import NETWORK_DEFAULTS
from skdmi.io import write_stack
from skdmi.persistence import WEIGHTS, files, format_1
from tests.models import put_together, take_apart, write_as_0_1_0, write_unchecked

UNTRAINED = {"max_epochs": 0, "batches_per_epoch": 1, "batch_size": 64, "random_state": 0}
CONFIG = "config.json"


@pytest.fixture(scope="module")
def network():
    """Card and weights of a network that starts from a family, which has most that can be damaged."""
    family = Affine.diffusion(side=2)
    return (
        NeuralMatrixInverter(2, 2, start="family", n_atoms=2, matrix_size=4, distribution=family, **UNTRAINED)
        .fit()
        ._stored()
    )


@pytest.fixture(scope="module")
def dense():
    return NeuralMatrixInverter(1, 2, block="dense", matrix_size=4, **UNTRAINED).fit()._stored()


@pytest.fixture(scope="module")
def ensemble():
    members = [NeuralMatrixInverter(1, 2, matrix_size=4, **UNTRAINED).fit() for _ in range(2)]
    return EnsembleInverter.from_fitted(members)._stored()


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    path = tmp_path_factory.mktemp("stack") / "stack.npy"
    write_stack(path, np.eye(4)[None])
    return path


def command(*arguments):
    """Run a command as a user does; what it says on stderr becomes the error that the library raised."""
    result = CliRunner().invoke(main, [os.fspath(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception  # a traceback
    if result.exit_code:
        (line,) = result.stderr.splitlines()
        assert line.startswith("Error: ")
        raise ValueError(line)


DOORS = {
    "network": lambda path, stack: NeuralMatrixInverter.from_pretrained(path),
    "ensemble": lambda path, stack: EnsembleInverter.from_pretrained(path),
    "load": lambda path, stack: load_pretrained(path),
    "info": lambda path, stack: command("info", path),
    "info --json": lambda path, stack: command("info", "--json", path),
    "invert": lambda path, stack: command("invert", stack, stack.with_name("inverse.npy"), "--raw", "--model", path),
}


def set_to(value, *field):
    """Return what sets a field of a card, ``fitted``, ``_architecture``, ``depth`` for one, to a value."""

    def damage(card):
        *around, last = field
        part = card
        for name in around:
            part = part[name]
        part[last] = value

    return damage


def without(*field):
    """Return what removes a field of a card."""

    def damage(card):
        *around, last = field
        part = card
        for name in around:
            part = part[name]
        del part[last]

    return damage


def nested(depth, value=None):
    for _ in range(depth):
        value = [value]
    return value


def mixtures(depth):
    description = {"name": "Uniform"}
    for _ in range(depth):
        description = {"name": "Mixture", "components": [description]}
    return description


ARCHITECTURE = ("fitted", "_architecture")
NETWORKS = {
    "architecture missing": (without(*ARCHITECTURE), "fitted._architecture is missing"),
    "architecture a list": (set_to([], *ARCHITECTURE), r"fitted\._architecture is \[\]; expected an object"),
    "architecture with the unknown": (set_to(1, *ARCHITECTURE, "heads"), "has 'heads', which this version does not"),
    "architecture with a generator": (set_to(1, *ARCHITECTURE, "generator"), "has 'generator', which this version"),
    "matrix_size infinite": (set_to(float("inf"), *ARCHITECTURE, "matrix_size"), r"_architecture\.matrix_size is inf"),
    "matrix_size a list of lists": (set_to([[4], [4]], *ARCHITECTURE, "matrix_size"), r"matrix_size\[0\] is \[4\]"),
    "matrix_size a long list": (set_to([4] * 100, *ARCHITECTURE, "matrix_size"), "_architecture.matrix_size is"),
    "matrix_size null": (set_to(None, *ARCHITECTURE, "matrix_size"), "_architecture.matrix_size is None"),
    "matrix_size the wrong way": (set_to([5, 4], *ARCHITECTURE, "matrix_size"), "expected the smallest first"),
    "matrix_size a range": (set_to([4, 5], *ARCHITECTURE, "matrix_size"), "start='family' is for one size"),
    "matrix_size 10**30": (set_to([10**30] * 2, *ARCHITECTURE, "matrix_size"), r"matrix_size\[0\] is 1000.*from 1 to"),
    "matrix_size of 65536": (set_to([65536] * 2, *ARCHITECTURE, "matrix_size"), "are float32 of shape"),
    "depth 10**12": (set_to(10**12, *ARCHITECTURE, "depth"), "depth is 1000000000000; expected an integer from 1 to"),
    "depth 256": (set_to(256, *ARCHITECTURE, "depth"), "have 256 blocks, but the file lists"),
    "depth a text": (set_to("2", *ARCHITECTURE, "depth"), "depth is '2'"),
    "depth true": (set_to(True, *ARCHITECTURE, "depth"), "depth is True"),
    "depth a fraction": (set_to(2.0, *ARCHITECTURE, "depth"), "depth is 2.0"),
    "depth another": (set_to(3, *ARCHITECTURE, "depth"), "lacks the weights 'core.blocks.1"),
    "width 10**9": (set_to(10**9, *ARCHITECTURE, "width"), "width is 1000000000"),
    "width 65536": (set_to(65536, *ARCHITECTURE, "width"), "are float32 of shape"),
    "expansion -1": (set_to(-1, *ARCHITECTURE, "expansion"), "expansion is -1"),
    "rank 10**9": (set_to(10**9, *ARCHITECTURE, "rank"), "rank is 1000000000"),
    "n_atoms 10**9": (set_to(10**9, *ARCHITECTURE, "n_atoms"), "n_atoms is 1000000000"),
    "n_atoms 4096": (set_to(4096, *ARCHITECTURE, "n_atoms"), "are float32 of shape"),
    "n_places 2**20": (set_to(2**20, *ARCHITECTURE, "n_places"), "are float32 of shape"),
    "block unknown": (set_to("os.system", *ARCHITECTURE, "block"), "block is 'os.system'; expected one of"),
    "start of another": (set_to("mine", *ARCHITECTURE, "start"), "start is 'mine'; expected one of"),
    "precision another": (set_to("float64", *ARCHITECTURE, "precision"), r"are float32 of shape .*, not float64"),
    "class a list": (set_to([], "class"), r"class is \[\]; expected a printable text"),
    "class another": (set_to("Inverter", "class"), "holds a 'Inverter', not a"),
    "class with an escape": (set_to("\x1b[2J", "class"), r"class is '\\x1b\[2J'"),
    "versions a text": (set_to("0.2.0", "versions"), "versions is '0.2.0'"),
    "versions with a line": (set_to({"skdmi": "1\nError: none"}, "versions"), r"versions\.skdmi is '1\\nError"),
    "parameters missing": (without("parameters"), "parameters is missing"),
    "parameters a list": (set_to([1], "parameters"), r"parameters is \[1\]"),
    "size 10**30": (set_to(10**30, "parameters", "matrix_size"), "parameters.matrix_size is 1000"),
    "size of many digits": (set_to(10**4000, "parameters", "matrix_size"), "parameters.matrix_size is 1000"),
    "learning rate NaN": (set_to(float("nan"), "parameters", "learning_rate"), "parameters.learning_rate is nan"),
    "net_params a text": (set_to("rm", "parameters", "net_params"), "parameters.net_params is 'rm'"),
    "distribution of a function": (set_to({"name": "print"}, "parameters", "distribution"), "distribution: Got"),
    "distribution without end": (set_to(mixtures(40), "parameters", "distribution"), "nested too deep|levels"),
    "distribution of long texts": (
        set_to({"name": "Affine", "matrices": [[["a" * 10**6, *[0] * 500]]]}, "parameters", "distribution"),
        "distribution: ",
    ),
    "distribution of text": (set_to({"name": "Uniform", "low": "0"}, "fitted", "distribution_"), "got low='0'"),
    "fitted null": (set_to(None, "fitted"), "fitted is None"),
    "matrix_size_ another": (set_to(5, "fitted", "matrix_size_"), "n_features_in_ is 16, but matrix_size_ is 5"),
    "names too few": (set_to(["a"], "fitted", "feature_names_in_"), "has 1 names, but n_features_in_ is 16"),
    "names numbers": (set_to([1] * 16, "fitted", "feature_names_in_"), r"feature_names_in_\[0\] is 1"),
    "seed negative": (set_to(-1, "fitted", "_seed"), "fitted._seed is -1"),
    "seen a fraction": (set_to(0.5, "fitted", "n_matrices_seen_"), "fitted.n_matrices_seen_ is 0.5"),
    "loss a text": (set_to("low", "fitted", "best_loss_"), "fitted.best_loss_ is 'low'"),
    "loss of many digits": (set_to(10**400, "fitted", "best_loss_"), "fitted.best_loss_ is 1000"),
    "history an object": (set_to({}, "fitted", "history_"), r"fitted\.history_ is \{\}"),
    "history of numbers": (set_to([1, 2], "fitted", "history_"), r"fitted\.history_\[0\] is 1"),
    "domain without scale": (without("fitted", "domain_", "scale"), "fitted.domain_.scale is missing"),
    "domain of two lengths": (set_to([1.0], "fitted", "domain_", "scale"), "as many values of scale and condition"),
    "gain a list": (set_to([1], "fitted", "gain_"), r"fitted\.gain_ is \[1\]"),
    "gain without costs": (set_to({}, "fitted", "gain_", "untrained"), r"gain_\.untrained\.0\.01 is missing"),
    "figures a list": (set_to([1], "figures"), r"figures is \[1\]"),
    "figures of no size": (set_to({"\x1b": {}}, "figures"), "a name in figures"),
    "figures of nothing": (set_to({"4": {}}, "figures"), r"figures\.4\.products is missing"),
    "figures of text": (
        set_to({"4": {"products": 1, "mean": "0", "within_tolerance_shares": {"0.05": 1}}}, "figures"),
        r"figures\.4\.mean is '0'",
    ),
    "shares above one": (
        set_to({"4": {"products": 1, "mean": 0, "within_tolerance_shares": {"0.05": 10**400}}}, "figures"),
        "within_tolerance_shares.0.05 is 1000",
    ),
    "shipped gain of text": (set_to({"gain": "1"}, "gain"), "gain.untrained is missing"),
    "nested deep": (set_to(nested(100), "parameters", "net_params"), "nested too deep"),
    "nested deeper than Python": (set_to(nested(900), "figures"), "nested too deep"),
}
"""What is done to the card of a network, and what is said of it."""

ENSEMBLES = {
    "combine missing": (without("combine"), "combine is missing"),
    "combine unknown": (set_to("product", "combine"), "combine is 'product'; expected one of 'mean', 'best'"),
    "a member damaged": (
        set_to(9, "members", 1, "fitted", "matrix_size_"),
        r"(members\[1\]\.|member-1.*)fitted\.n_feat",
    ),
    "a member that is none": (set_to({}, "members", 1), r"(members\[1\]\.|member-1.*)class is missing"),
    "members of two sizes": (
        lambda card: card["members"][1]["fitted"].update(matrix_size_=5, n_features_in_=25),
        "members are for matrices of different sizes, 4 and 5",
    ),
    "a member without members": (
        set_to({"class": "EnsembleInverter", "versions": {}, "combine": "mean", "members": []}, "members", 1),
        r"members\[1\]\.members is \[\]|n_estimators is 0",
    ),
}

WEIGHTS_OF = {
    "missing": (lambda weights: weights.pop("core.start.constant"), "lacks the weights 'core.start.constant'"),
    "surplus": (lambda weights: weights.update(more=np.zeros(1)), "holds 'more', which is not part"),
    "another name": (
        lambda weights: weights.update({"core.x": weights.pop("core.start.constant")}),
        "lacks the weights 'core.start.constant'",
    ),
    "another shape": (
        lambda weights: weights.update({"core.start.constant": np.zeros((4, 4, 1), np.float32)}),
        r"'core\.start\.constant' are float32 of shape \(4, 4, 1\), not float32 of shape \(4, 4\)",
    ),
    "another dtype": (
        lambda weights: weights.update({"core.start.constant": np.zeros((4, 4))}),
        r"are float64 of shape \(4, 4\), not float32",
    ),
    "integers": (
        lambda weights: weights.update({"core.start.constant": np.zeros((4, 4), np.int64)}),
        "are int64 of shape",
    ),
    "half precision": (
        lambda weights: weights.update({"core.start.constant": np.zeros((4, 4), np.float16)}),
        "is of dtype 'F16'",
    ),
    "NaN": (lambda weights: weights["core.start.constant"].fill(np.nan), "'core.start.constant' are not finite"),
    "infinite": (lambda weights: weights["core.start.bound"].fill(np.inf), "'core.start.bound' are not finite"),
    "places outside": (lambda weights: weights["core.start.places"].fill(16), "'core.start.places' are no places"),
    "places negative": (lambda weights: weights["core.start.places"].fill(-1), "'core.start.places' are no places"),
}


def write(directory, card, weights, layout):
    """Write a model as of today or of 0.1.0; return what is to be named where it is damaged."""
    if layout == "0.1.0":
        write_as_0_1_0(directory, card, weights)
    else:
        directory.mkdir()
        write_unchecked(directory / WEIGHTS, card, weights)
    return directory


def refused(door, path, stack, match):
    """Hold a door to one error of one short line that names the file and what is wrong."""
    with pytest.raises(ValueError, match=match) as caught:
        DOORS[door](path, stack)
    text = str(caught.value)
    assert path.name in text
    assert text.isprintable()
    assert len(text) < 1500
    assert not stack.with_name("inverse.npy").exists()


layouts = pytest.mark.parametrize("layout", ["today", "0.1.0"])


@layouts
@pytest.mark.parametrize("damage", NETWORKS)
def test_every_field_of_a_network(damage, layout, network, stack, tmp_path):
    change, match = NETWORKS[damage]
    card, weights = copy.deepcopy(network)
    change(card)
    path = write(tmp_path / "model", card, weights, layout)
    for door in DOORS:
        if damage == "class another" and door.startswith("info"):
            DOORS[door](path, stack)  # Of a class of one's own it tells as well.
        else:
            refused(door, path, stack, match)


@layouts
@pytest.mark.parametrize("damage", ENSEMBLES)
def test_every_field_of_an_ensemble(damage, layout, ensemble, stack, tmp_path):
    change, match = ENSEMBLES[damage]
    card, weights = copy.deepcopy(ensemble)
    change(card)
    path = write(tmp_path / "model", card, weights, layout)
    for door in DOORS:
        refused(door, path, stack, match)


@layouts
@pytest.mark.parametrize("damage", WEIGHTS_OF)
def test_weights(damage, layout, network, stack, tmp_path):
    change, match = WEIGHTS_OF[damage]
    card, weights = copy.deepcopy(network)
    change(weights)
    path = write(tmp_path / "model", card, weights, layout)
    for door in ("network", "load", "invert"):
        refused(door, path, stack, match)
    if not any(word in match for word in ("finite", "places")):  # info does not read weights
        refused("info", path, stack, match)


@layouts
def test_a_network_on_entries_of_another_size(layout, dense, stack, tmp_path):
    card, weights = copy.deepcopy(dense)
    card["fitted"] |= {"matrix_size_": 3, "n_features_in_": 9}
    path = write(tmp_path / "model", card, weights, layout)
    for door in DOORS:
        refused(door, path, stack, r"_architecture\.matrix_size is 4, but matrix_size_ is 3")


@layouts
def test_fields_of_a_later_version_are_not_looked_at(layout, network, stack, tmp_path):
    card, weights = copy.deepcopy(network)
    card |= {"license": "MIT"}
    card["parameters"] |= {"momentum": 0.9, "get_params": 1}
    card["fitted"] |= {"mood_": "good", "transform": 1, "__class__": 1}
    path = write(tmp_path / "model", card, weights, layout)
    inverter = NeuralMatrixInverter.from_pretrained(path)
    assert inverter.transform(np.eye(4)[None]).shape == (1, 4, 4)
    assert not vars(inverter).keys() & {"mood_", "transform", "momentum", "__class__"}
    command("info", path)


def test_a_file_of_a_later_format_says_to_update(network, stack, tmp_path):
    path = write(tmp_path / "model", *network, "today")
    header, data = take_apart(path / WEIGHTS)
    header["__metadata__"]["version"] = "3"
    put_together(path / WEIGHTS, header, data)
    for door in DOORS:
        refused(door, path, stack, r"written by a newer skdmi \(format 3, this one reads 2\); update it")


@pytest.mark.parametrize(
    "content", [b"", b"\x00", b"\xff" * 100, b"[" * 100_000, b"{}", b'{"class": 1}', b"PK\x03\x04" + bytes(100)]
)
@pytest.mark.parametrize("name", [WEIGHTS, CONFIG])
def test_files_that_are_something_else(content, name, network, stack, tmp_path):
    path = write(tmp_path / "model", *network, "0.1.0")
    (path / name).write_bytes(content)
    for door in DOORS:
        refused(door, path, stack, name)


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG])
@pytest.mark.parametrize("kind", ["pipe", "directory", "loop", "device"])
def test_what_is_no_file(kind, name, network, stack, tmp_path):
    path = write(tmp_path / "model", *network, "0.1.0")
    (path / name).unlink()
    if kind == "pipe":
        os.mkfifo(path / name)
    elif kind == "directory":
        (path / name).mkdir()
    elif kind == "loop":
        (path / name).symlink_to(name)
    else:
        (path / name).symlink_to("/dev/zero")
    for door in DOORS:
        with pytest.raises((ValueError, OSError), match=name):
            DOORS[door](path, stack)
        with pytest.raises((ValueError, OSError), match=name):
            DOORS[door](path / name, stack)


def test_a_model_of_which_a_file_is_missing(network, ensemble, stack, tmp_path):
    path = write(tmp_path / "model", *network, "0.1.0")
    (path / WEIGHTS).unlink()
    for door in DOORS:
        refused(door, path, stack, f"there is no {WEIGHTS}")
    path = write(tmp_path / "ensemble", *ensemble, "0.1.0")
    (path / "member-1" / CONFIG).unlink()
    for door in DOORS:
        refused(door, path, stack, r"there is no .*member-1")


@pytest.mark.parametrize(
    ("n_estimators", "match"),
    [
        ("2", "n_estimators is '2'"),
        (10**9, "n_estimators is 1000000000; expected an integer from 1 to 1,000"),
        (10**30, "n_estimators is 1000"),
        (0, "n_estimators is 0"),
        (-1, "n_estimators is -1"),
        (2.0, "n_estimators is 2.0"),
        (float("inf"), "n_estimators is inf"),
        ([2], r"n_estimators is \[2\]"),
        (3, "there is no .*member-2"),
    ],
    ids=str,
)
def test_the_number_of_members(n_estimators, match, ensemble, stack, tmp_path):
    path = write(tmp_path / "model", *ensemble, "0.1.0")
    config = json.loads((path / CONFIG).read_text())
    (path / CONFIG).write_text(json.dumps(config | {"n_estimators": n_estimators}))
    for door in DOORS:
        refused(door, path, stack, match)


def test_an_ensemble_that_contains_itself_by_links(ensemble, stack, tmp_path):
    path = write(tmp_path / "model", *ensemble, "0.1.0")
    for name in (CONFIG, WEIGHTS):
        (path / "member-1" / name).unlink()
    (path / "member-1").rmdir()
    (path / "member-1").symlink_to(path, target_is_directory=True)
    for door in DOORS:
        refused(door, path, stack, "contains itself")


def test_an_ensemble_that_grows_by_links(network, stack, tmp_path):
    """Ten levels of ten members each would be 10^10 networks."""
    path = write(tmp_path / "level", *network, "0.1.0")
    card = {"class": "EnsembleInverter", "versions": {}, "combine": "mean", "n_estimators": 10}
    for level in range(9):
        below, path = path, tmp_path / f"level-{level}"
        path.mkdir()
        (path / CONFIG).write_text(json.dumps(card))
        for i in range(10):
            (path / f"member-{i}").symlink_to(below, target_is_directory=True)
    for door in DOORS:
        refused(door, path, stack, "contains itself, another one twice")


def test_many_blocks_of_different_networks(tmp_path, monkeypatch):
    """A network of each kind is built to hold the weights against, which takes time."""
    monkeypatch.setattr("skdmi.estimators.stored.MAX_DEPTHS", 5)
    networks = [NeuralMatrixInverter(depth, 1, matrix_size=2, **UNTRAINED).fit() for depth in (2, 4)]
    with pytest.raises(ValueError, match="more than 5 blocks"):
        EnsembleInverter.from_fitted(networks).save_pretrained(tmp_path / "model")
    assert not (tmp_path / "model").exists()
    EnsembleInverter.from_fitted(networks[1:] * 3).save_pretrained(tmp_path / "model")
    load_pretrained(tmp_path / "model")


def test_the_table_has_every_parameter():
    assert schema.PARAMETERS.keys() == NeuralMatrixInverter().get_params().keys() - set(NOT_STORED)
    card = {"depth": 1, "width": 1, "block": "dense", "matrix_size": 1}
    for name in NETWORK_DEFAULTS:
        with pytest.raises(ValueError, match=rf"\.{name} is \{{\}}"):
            schema.ARCHITECTURE.check(card | {name: {}}, "_architecture")


def test_what_could_not_be_read_is_not_saved(tmp_path):
    inverter = NeuralMatrixInverter(2, 2, matrix_size=3, **UNTRAINED).fit()
    inverter.save_pretrained(tmp_path / "model")
    before = (tmp_path / "model" / WEIGHTS).read_bytes()
    with pytest.raises(ValueError, match=r"parameters\.depth is 1000"):
        inverter.set_params(depth=1000).save_pretrained(tmp_path / "model")
    inverter.set_params(depth=2).module_.core.blocks[0].departure.up.weight.data.fill_(np.nan)
    with pytest.raises(ValueError, match="are not finite"):
        inverter.save_pretrained(tmp_path / "model")
    assert (tmp_path / "model" / WEIGHTS).read_bytes() == before


WORST = """
import os, sys, time, tracemalloc
import skdmi
skdmi.load_pretrained("uniform-3x3-short")

def refuse(path):
    started = time.process_time()
    try:
        skdmi.load_pretrained(path)
    except ValueError as error:
        assert len(str(error)) < 1500, path
        return time.process_time() - started
    raise AssertionError(path)

paths = [os.path.join(sys.argv[1], name) for name in sorted(os.listdir(sys.argv[1]))]
seconds = {path: refuse(path) for path in paths}
tracemalloc.start()
for path in paths:
    tracemalloc.reset_peak()
    refuse(path)
    peak = tracemalloc.get_traced_memory()[1] / 1e6
    print(f"{os.path.basename(path)}: {seconds[path]:.2f} s, {peak:.0f} MB")
    assert seconds[path] < 5 and peak < 100
"""


@pytest.mark.slow
def test_the_worst_take_little_time_and_memory(network, ensemble, tmp_path):
    """Measured in a process of its own; the limit of time leaves room for a slow machine."""
    card, weights = copy.deepcopy(network)
    many, digits, wide = "[]," * 350_000 + "0", "1" * 4300, "\\ud83d\\ude00" * 550_000
    for name, text in {"many": f"[{many}]", "digits": f"[{','.join([digits] * 1900)}]", "wide": f'"{wide}"'}.items():
        path = write(tmp_path / name, card | {"figures": "HERE"}, weights, "today")
        header, data = take_apart(path / WEIGHTS)
        header["__metadata__"]["card"] = header["__metadata__"]["card"].replace('"HERE"', text)
        put_together(path / WEIGHTS, header, data)
        assert (path / WEIGHTS).stat().st_size < files.MAX_HEADER
    for name, value in {"depth": 10**12, "width": 2**16, "n_atoms": 2**12, "n_places": 2**20}.items():
        damaged = copy.deepcopy(card)
        damaged["fitted"]["_architecture"][name] = value
        write(tmp_path / name, damaged, weights, "today")
    path = write(tmp_path / "sparse", card, weights, "today")
    header, _ = take_apart(path / WEIGHTS)
    header["core.start.constant"] = {"dtype": "F32", "shape": [2**15, 2**15], "data_offsets": [0, 2**32]}
    put_together(path / WEIGHTS, {key: header[key] for key in ("__metadata__", "core.start.constant")}, b"")
    os.truncate(path / WEIGHTS, (path / WEIGHTS).stat().st_size + 2**32)
    path = write(tmp_path / "members", *ensemble, "0.1.0")
    (path / CONFIG).write_text((path / CONFIG).read_text().replace('"n_estimators": 2', '"n_estimators": 1000000000'))
    done = subprocess.run([sys.executable, "-c", WORST, tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(done.stdout.splitlines()) == 9


def test_links_do_not_repeat_a_long_member_without_end(network, stack, tmp_path):
    card, weights = copy.deepcopy(network)
    path = tmp_path / "model"
    path.mkdir()
    write_as_0_1_0(path / "member-0", card | {"later": "x" * (format_1.MAX_HEADER // 2)}, weights)
    for i in range(1, 40):
        (path / f"member-{i}").symlink_to(path / "member-0", target_is_directory=True)
    (path / CONFIG).write_text('{"class": "EnsembleInverter", "versions": {}, "combine": "mean", "n_estimators": 40}')
    for door in ("ensemble", "load", "info"):
        refused(door, path, stack, "bytes with its ensemble")
