"""``skdmi export``: the file that it writes, what it says, and what it refuses."""

import json
import os

import numpy as np
import onnxruntime
import pytest

import skdmi
from skdmi.export import describe_file
from skdmi.io import write_stack
from tests.models import untrained
from tests.test_cli import fail, succeed


def rho_of(path, A):
    return onnxruntime.InferenceSession(path).run(["rho"], {"A": A.astype(np.float32)})[0]


@pytest.fixture
def stack():
    return np.random.default_rng(0).uniform(-1, 1, (200, 3, 3)) + 3 * np.eye(3)


def test_a_model_answers_as_it_does_in_the_package(tmp_path, stack):
    path = tmp_path / "inverse.onnx"
    said = succeed("export", "uniform-3x3-short", path)
    about = describe_file(path)
    assert said == f"{about['description']} {about['n_nodes']} nodes, {about['n_bytes']:,} bytes: {path}\n"
    (found,) = onnxruntime.InferenceSession(path).run(["inverse"], {"A": stack.astype(np.float32)})
    np.testing.assert_allclose(found, skdmi.load_pretrained("uniform-3x3-short").transform(stack), atol=1e-5)


def test_an_ensemble_directory(tmp_path, stack):
    skdmi.EnsembleInverter.from_fitted([untrained(3), untrained(3, depth=2)]).save_pretrained(tmp_path / "two")
    succeed("export", tmp_path / "two", tmp_path / "two.onnx")
    assert (rho_of(tmp_path / "two.onnx", stack) < 1).all()
    said = succeed("info", tmp_path / "two.onnx")
    assert "member 1" in said
    assert "member 2" in said


def test_refining_by_the_matrices_of_a_file(tmp_path, stack):
    untrained(3).save_pretrained(tmp_path / "plain")
    write_stack(tmp_path / "A.mx", [stack])
    path = tmp_path / "inverse.onnx"
    said = succeed("export", tmp_path / "plain", path, "--refine", "--matrices", tmp_path / "A.mx", "--share", 1)
    assert "100.00% of 200 matrices certified" in said
    assert (rho_of(path, stack) < 1e-4).all()
    assert describe_file(path)["certified_of"] == 200


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("any-size", ()),
        ("fixed", ("--size", 3, "--condition", 100)),
        ("closed-form", ("--size", 3)),
        ("closed-form", ("--size", 3, "--opset", 20)),
    ],
)
def test_forms_that_need_no_model(tmp_path, stack, name, options):
    path = tmp_path / "inverse.onnx"
    succeed("export", name, path, *options)
    assert (rho_of(path, stack) < 1e-3).all()


def test_a_certificate_alone(tmp_path, stack):
    path = tmp_path / "certificate.onnx"
    succeed("export", "certificate", path, "--size", 3)
    A = stack.astype(np.float32)
    (rho,) = onnxruntime.InferenceSession(path).run(["rho"], {"A": A, "X": np.linalg.inv(A)})
    assert (rho < 1e-4).all()


def test_outputs_by_options(tmp_path):
    path = tmp_path / "inverse.onnx"
    succeed("export", "fixed", path, "--size", 2, "--no-certificate")
    assert list(describe_file(path)["outputs"]) == ["inverse"]
    succeed("export", "fixed", path, "--size", 2, "--uncertified", "mask")
    assert list(describe_file(path)["outputs"]) == ["inverse", "certified", "rho", "residual_norm"]
    succeed("export", "fixed", path, "--size", 2, "--uncertified", "nan")
    singular = np.ones((1, 2, 2), np.float32)
    assert np.isnan(onnxruntime.InferenceSession(path).run(["inverse"], {"A": singular})[0]).all()


def test_info_describes_a_file(tmp_path):
    path = tmp_path / "inverse.onnx"
    succeed("export", "uniform-3x3-short", path, "--refine")
    about = json.loads(succeed("info", path, "--json"))
    assert about == describe_file(path)
    said = succeed("info", path)
    for text in (about["description"], "A (n_matrices x 3 x 3)", "rho (n_matrices)", skdmi.__version__, "Uniform"):
        assert text in said


@pytest.mark.parametrize(
    ("arguments", "expected", "exit_code"),
    [
        (("fixed", "x.onnx"), "needs the size", 2),
        (("closed-form", "x.onnx", "--size", 5), "from 1 to 4", 1),
        (("any-size", "x.onnx", "--size", 5), "--size has no meaning", 2),
        (("certificate", "x.onnx", "--no-certificate"), "--no-certificate has no meaning", 2),
        (("uniform-3x3-short", "x.onnx", "--share", 0.5), "--share has no meaning", 2),
        (("uniform-3x3-short", "x.onnx", "--refine", "--size", 3), "--size has no meaning", 2),
        (("uniform-3x3-short", "x.txt"), "expected one of .onnx", 2),
        (("uniform-3x3-short", "x.onnx", "--opset", 17), "from 18", 1),
        (("uniform-3x3-short", "x.onnx", "--no-certificate", "--uncertified", "nan"), "leave out --no-certificate", 2),
        (("no-such-model", "x.onnx"), "No model", 1),
    ],
)
def test_refusals_write_nothing(tmp_path, monkeypatch, arguments, expected, exit_code):
    monkeypatch.chdir(tmp_path)
    assert expected in fail("export", *arguments, exit_code=exit_code)
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_other_origin_is_not_described(tmp_path):
    path = tmp_path / "other.onnx"
    path.write_bytes(b"\x08\x01 nothing of ours")
    assert "no inverse that skdmi has exported" in fail("info", path)
    assert "No such file" in fail("info", tmp_path / "absent.onnx")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.onnx")
    assert "is not a file but" in fail("info", tmp_path / "pipe.onnx")
