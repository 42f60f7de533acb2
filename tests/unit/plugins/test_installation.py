"""Files where container engines look: written, known again, taken away; those of others stay as they are."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from wefted.errors import InUse, Unsupported
from wefted.plugins import installation, native

SETTINGS = {"socket": "/run/wefted/wefted.sock", "command": "/usr/bin/wefted"}


@pytest.fixture
def wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    program = tmp_path / "wefted-cni"
    program.write_bytes(b"\x7fELF ... " + native.MARK)
    monkeypatch.setattr(native, "PROGRAM", program)
    hook = tmp_path / "hooks.d/wefted.json"
    return installation.files(SETTINGS, tmp_path / "bin", tmp_path / "net.d/50-wefted.conflist", "blue", hook)


def test_what_is_installed(wanted, tmp_path) -> None:
    done = [str(path.relative_to(tmp_path)) for path in installation.install(wanted)]
    assert done == [
        "bin/wefted",
        "bin/wefted.command",
        "net.d/50-wefted.conflist",
        "bin/wefted-oci-hook",
        "bin/wefted-runc",
        "hooks.d/wefted.json",
    ]
    assert os.access(tmp_path / "bin/wefted-oci-hook", os.X_OK)
    assert (tmp_path / "bin/wefted.command").read_text() == "/run/wefted/wefted.sock\n/usr/bin/wefted\n"
    conf = json.loads((tmp_path / "net.d/50-wefted.conflist").read_text())
    assert (conf["name"], conf["plugins"][0]["type"]) == ("blue", "wefted")
    hook = json.loads((tmp_path / "hooks.d/wefted.json").read_text())
    assert hook["when"] == {"annotations": {"^wefted\\.network$": ".+"}}
    assert hook["hook"]["path"] == str(tmp_path / "bin/wefted-oci-hook")


def test_installing_again_and_uninstalling_twice(wanted, tmp_path) -> None:
    installation.install(wanted)
    installation.install(wanted)
    assert len(installation.uninstall(wanted)) == 6
    assert installation.uninstall(wanted) == []
    assert sorted(path.name for path in tmp_path.rglob("*") if not path.is_dir()) == ["wefted-cni"]


@pytest.mark.parametrize(
    ("place", "content"),
    [
        ("bin/wefted", b"#!/bin/sh"),
        ("bin/wefted.command", b"something else"),
        ("net.d/50-wefted.conflist", b'{"plugins": [{"type": "bridge"}]}'),
        ("net.d/50-wefted.conflist", b"not JSON"),
        ("hooks.d/wefted.json", b'{"hook": {"path": "/usr/bin/nvidia"}}'),
        ("bin/wefted-runc", b"#!/bin/sh"),
    ],
)
def test_a_file_of_somebody_else_stays_and_nothing_is_installed(wanted, tmp_path, place, content) -> None:
    foreign = tmp_path / place
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(content)
    with pytest.raises(InUse, match="not ours"):
        installation.install(wanted)
    assert [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.name != "wefted-cni"] == [content]
    assert foreign not in installation.uninstall(wanted)
    assert foreign.read_bytes() == content


def test_without_the_program_nothing_is_installed(wanted, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(native, "PROGRAM", tmp_path / "nowhere")
    with pytest.raises(Unsupported, match="not been built"):
        installation.install(wanted)
    assert not (tmp_path / "bin").exists()
