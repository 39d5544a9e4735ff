"""Packages of npm come at their pinned versions, once, whole, or with the reason why not."""

import os

import pytest

from scripts.npm_packages import Unavailable, install

posix = pytest.mark.skipif(os.name != "posix", reason="The npm of these tests is a shell script.")


@pytest.fixture
def npm(tmp_path, monkeypatch):
    """A function that makes of a line of shell the npm that is found, with a cache of its own."""
    tools = tmp_path / "bin"
    tools.mkdir()
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def write(line):
        for name, text in (("npm", line), ("node", "true")):
            (tools / name).write_text(f"#!/bin/sh\n{text}\n")
            (tools / name).chmod(0o755)

    return write


@posix
def test_packages_are_installed_once_at_their_pinned_versions(npm, tmp_path):
    npm('echo "$@" >> ran; mkdir node_modules')
    folder = install("onnxruntime-web")
    assert folder == install("onnxruntime-web")
    assert folder.is_relative_to(tmp_path / "cache")
    (ran,) = (folder / "ran").read_text().splitlines()
    assert "onnxruntime-web@1." in ran
    assert "--ignore-scripts" in ran
    assert (folder / "node_modules").is_dir()


@posix
def test_other_packages_go_elsewhere(npm):
    npm("true")
    assert install("onnxruntime-web") != install("onnxruntime-node", "onnxruntime-web")
    assert install("onnxruntime-node", "onnxruntime-web") == install("onnxruntime-web", "onnxruntime-node")


@posix
def test_what_fails_leaves_nothing_that_looks_finished(npm):
    npm("echo no network >&2; mkdir node_modules; exit 1")
    with pytest.raises(Unavailable, match=r"npm could not install onnxruntime-web@.*: no network"):
        install("onnxruntime-web")
    npm("true")
    assert not (install("onnxruntime-web") / "node_modules").exists()


def test_without_node_the_reason_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match=r"^node is not installed\.$"):
        install("onnxruntime-web")
